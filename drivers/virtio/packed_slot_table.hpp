// What a driver remembers of the buffers that a device has in a packed ring: one slot for each chain, found by the
// chain's id, as in slot_table.hpp. Here the free slots form a queue, in the order of the places of the ring that are
// free: the place of a used descriptor goes to the slot that it gives back. So a free slot knows its place, and making it
// available takes no more than to write down what is prepared.
//
// Slots that are made available one after the other keep the link from each to the next. If the device uses them in that
// order, as most do most of the time, one comparison tells that a used descriptor says of the next slot what is expected
// of it. If it uses another one, that is found by its id.
//
// The queue has marks: slots without a shape, where something has to be done before the next one is taken. The next chain
// begins a batch, so that its first descriptor has to be held back until the batch is published; a run ends; the ring
// begins again; or no slot is free.
//
// The table lies in private memory, and authenticates what a device says as slot_table does: a used descriptor counts
// only if its id names a chain that is in flight, was published, and was not used before, and if its length is credible.
#pragma once

#include "inflight/arch/arch.hpp"
#include "inflight/drivers/memory/dma_memory.hpp"
#include "inflight/drivers/virtio/packed_virtqueue.hpp"
#include "inflight/drivers/virtio/slot_table.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>

namespace inflight::virtio {

template <typename Slot>
class packed_slot_table {
  public:
    constexpr packed_slot_table() noexcept {
        for (Slot* const mark : {&batch_end_, &run_end_, &lap_end_, &full_}) {
            mark->is_mark = 1;
        }
    }
    packed_slot_table(const packed_slot_table&) = delete;
    packed_slot_table& operator=(const packed_slot_table&) = delete;

    // Takes private memory for `chains` ids. Once. False if no memory is left. `usual` is what descriptors usually say:
    // the word that is made available, but for id, AVAIL and USED. `least_written` is how many bytes of a chain the
    // device writes at the least.
    [[nodiscard]] bool allocate(dma_memory& memory, std::uint32_t chains, std::uint64_t usual,
                                std::uint32_t least_written) noexcept {
        std::byte* const at = memory.allocate_private(sizeof(Slot) * chains, std::bit_ceil(sizeof(Slot)));
        if (at == nullptr) {
            return false;
        }
        slots_ = reinterpret_cast<Slot*>(at);
        for (std::uint32_t i = 0; i < chains; ++i) {
            ::new (slots_ + i) Slot{};
            slots_[i].id = static_cast<std::uint16_t>(i);
            slots_[i].least_written = least_written;
        }
        usual_ = usual - least_written;
        chains_ = chains;
        return true;
    }
    [[nodiscard]] bool is_allocated() const noexcept { return slots_ != nullptr; }
    [[nodiscard]] std::uint32_t size() const noexcept { return chains_; }
    [[nodiscard]] Slot& slot(std::uint32_t id) noexcept { return slots_[id]; }

    // After the ring was laid out: no slot is free. What was in flight stays so until take_back().
    void clear_free(const packed_virtqueue& ring) noexcept {
        full_.place = ring.next();
        front_ = &full_;
        run_cut_ = nullptr;
    }

    // Makes all slots free, and calls build(slot) for each. Nothing is in flight in the ring.
    template <typename Build>
    void free_all(packed_virtqueue& ring, Build&& build) noexcept {
        std::size_t at = ring.next_chain();
        if (at == chains_) {
            ring.begin_lap();
            at = 0;
        }
        lap_word_ = usual_ + ring.available_flags();
        Slot* last = &free_; // before the first
        for (std::uint32_t i = 0; i < chains_; ++i, ++at) {
            if (at == chains_) {
                last = append_lap_end(ring, last);
                at = 0;
            }
            build(slots_[i]);
            slots_[i].place = ring.place(at);
            last->next_free = slots_ + i;
            last = slots_ + i;
        }
        if (at == chains_) {
            last = append_lap_end(ring, last);
        }
        last->next_free = &full_;
        full_.place = ring.place(at == chains_ ? 0 : at);
        tail_ = last;
        predicted_ = free_.next_free;
        in_order_from_ = 0;
        run_cut_ = nullptr;
        set_front(ring, free_.next_free);
    }

    // The slot that take() takes next, or a mark.
    [[nodiscard]] Slot& front() const noexcept { return *front_; }
    Slot& take() noexcept {
        Slot& taken = *front_;
        front_ = taken.next_free;
        return taken;
    }
    // What the first descriptor of a usual chain says.
    [[nodiscard]] std::uint64_t word_of(const Slot& taken) const noexcept { return taken.word() + lap_word_; }

    // True if the next slot begins a batch: batch_front(). take_batch_front() takes it, where nothing is unpublished.
    [[nodiscard]] bool is_between_batches() const noexcept { return front_ == &batch_end_; }
    [[nodiscard]] Slot& batch_front() const noexcept { return *batch_end_.next_free; }
    Slot& take_batch_front() noexcept {
        front_ = first_unpublished_ = batch_end_.next_free;
        return take();
    }

    // The slot that take_any() takes next. There must be a free one.
    [[nodiscard]] Slot& next(packed_virtqueue& ring) noexcept {
        if (run_has_ended()) {
            begin_run(ring, chains_);
        }
        return is_between_batches() ? batch_front() : front();
    }
    Slot& take_any(packed_virtqueue& ring) noexcept {
        static_cast<void>(next(ring));
        return is_between_batches() ? take_batch_front() : take();
    }

    // A run: so many chains, or fewer: as many as there are free slots, up to where the ring begins again.
    void begin_run(packed_virtqueue& ring, std::size_t chains) noexcept {
        if (run_cut_ != nullptr) {
            if (front_ == &run_end_) {
                pass_mark(ring, run_end_, run_cut_);
            } else {
                run_cut_->next_free = run_end_.next_free; // that end is not reached
            }
            run_cut_ = nullptr;
        }
        if (front_ == &lap_end_) {
            begin_lap(ring);
        }
        if (chains < chains_) {
            cut_run(chains);
        }
    }
    [[nodiscard]] bool run_has_ended() const noexcept {
        return front_ == &full_ || front_ == &lap_end_ || front_ == &run_end_;
    }

    // Tells the ring where the next chain goes: it does not see what is taken from front().
    void catch_up(packed_virtqueue& ring) const noexcept { ring.go_to(front_->place); }

    // The same before it is published.
    void publish(packed_virtqueue& ring) noexcept {
        ring.publish_up_to(front_->place);
        begin_batch();
    }
    [[nodiscard]] std::size_t in_flight(const packed_virtqueue& ring) const noexcept {
        return ring.in_flight(front_->place);
    }
    [[nodiscard]] bool full() const noexcept {
        return front_ == &full_ || (front_ == &lap_end_ && lap_end_.next_free == &full_);
    }

    // Takes used chains that come in the order in which they were made available, and are exactly what is expected of
    // them: visit(slot) for each, which returns false to leave a chain to take_expected(). Ends where the ring begins
    // again. Returns whether it took any. It calls nothing but visit().
    template <typename Visit>
    [[gnu::always_inline]] inline bool take_in_order(packed_virtqueue& ring, Visit&& visit) noexcept {
        packed_descriptor* place = ring.next_used();
        const packed_descriptor* const end = ring.end_of_published();
        Slot* const first = predicted_;
        // If one slot is at its place, all behind it are at theirs, see in_order_from_. So they are published.
        if (place == end || first->place != place || ring.taken_bytes() < in_order_from_) {
            return false;
        }
        const std::size_t step = ring.chain_bytes();
        const std::uint64_t used_flags = ring.used_flags();
        std::uint64_t told = packed_word::told;
        std::uint64_t not_in_flight = Slot::not_in_flight;
        asm("" : "+r"(told), "+r"(not_in_flight)); // keeps the constants in registers
        Slot* last = nullptr;
        Slot* each = first;
        do {
            // Once, because the device may write it again.
            const std::uint64_t word = place->word.load();
            if (((word & told) ^ used_flags) != each->expected) [[unlikely]] {
                break;
            }
            // The word before data and status: pairs with the device, which writes the flags last.
            arch::fence_consume();
            if (!visit(*each)) [[unlikely]] {
                break;
            }
            each->expected = not_in_flight;
            last = each;
            each = each->next_free;
            place = packed_virtqueue::behind(place, step);
        } while (place != end);
        if (last == nullptr) [[unlikely]] {
            return false;
        }
        give_back(ring, *first, *last, each, place);
        return true;
    }

    // The same in any order.
    template <typename Visit>
    [[gnu::always_inline]] inline bool take_expected(packed_virtqueue& ring, Visit&& visit) noexcept {
        catch_up(ring);
        return ring.has_unpublished() ? take_found<true>(ring, visit) : take_found<false>(ring, visit);
    }

    enum class checked : std::uint8_t { nothing, authentic, violation };

    // Takes one used chain, which may be anything. If it is authentic, visit(slot, length, reserved) returns false if it
    // is a protocol violation nevertheless. `reserved`: the length means nothing, by the rules of the ring.
    template <typename Visit>
    [[nodiscard]] checked take_checked(packed_virtqueue& ring, Visit&& visit) noexcept {
        const used_chain said = look_at_next(ring);
        if (said.is != checked::authentic) {
            return said.is;
        }
        Slot& found = slots_[said.id];
        if (!visit(found, said.length, said.is_reserved)) {
            return checked::violation;
        }
        if (&found != predicted_) {
            in_order_from_ = ring.available_bytes();
        }
        packed_descriptor* const place = ring.next_used();
        found.expected = Slot::not_in_flight;
        found.place = place;
        give_back(ring, found, found, found.next_free, ring.next_chain(place));
        return checked::authentic;
    }

    // With IN_ORDER: takes one used descriptor, which may be anything. It stands for all chains from the oldest in flight
    // up to the one that it names; the used descriptors of the others are left out (2.8.8). visit(slot, length,
    // reserved) as in take_checked(), for each of them.
    template <typename Visit>
    [[nodiscard]] checked take_batch(packed_virtqueue& ring, Visit&& visit) noexcept {
        const used_chain said = look_at_next(ring);
        if (said.is != checked::authentic) {
            return said.is;
        }
        const Slot& last = slots_[said.id];
        const Slot* taken = nullptr;
        while (taken != &last) {
            // The device has used chains in no other order since the ring was laid out, so this is the oldest in flight,
            // and `last`, which is in flight, is this one or behind it.
            Slot& next = *predicted_;
            const bool is_last = &next == &last;
            if (!visit(next, said.length, said.is_reserved || !is_last)) {
                return checked::violation;
            }
            next.expected = Slot::not_in_flight;
            give_back(ring, next, next, next.next_free, ring.next_chain(ring.next_used()));
            taken = &next;
        }
        return checked::authentic;
    }

    // As those of slot_table.
    template <typename Take>
    void take_back(Take&& take) noexcept {
        for (std::uint32_t i = 0; i < chains_; ++i) {
            slots_[i].take_back(take);
        }
    }
    template <typename Starved>
    void grow_older(std::uint32_t old, std::uint64_t completed, Starved&& starved) noexcept {
        for (std::uint32_t i = 0; i < chains_; ++i) {
            if (slots_[i].in_flight() && slots_[i].grow_older(old, completed, chains_)) {
                starved(slots_[i]);
            }
        }
    }

  private:
    template <bool checks_published, typename Visit>
    [[gnu::always_inline]] inline bool take_found(packed_virtqueue& ring, Visit&& visit) noexcept {
        // Locals, because the compiler cannot prove that nothing written in the loop changes them.
        packed_descriptor* place = ring.next_used();
        const packed_descriptor* const end = ring.end_of_published();
        const std::size_t step = ring.chain_bytes();
        const std::uint64_t used_flags = ring.used_flags();
        const std::uint64_t chains = chains_;
        Slot* const slots = slots_;
        std::uint64_t told = packed_word::told;
        std::uint64_t not_in_flight = Slot::not_in_flight;
        asm("" : "+r"(told), "+r"(not_in_flight)); // keeps the constants in registers
        Slot* last = &free_;                       // before the first
        Slot* predicted = predicted_;
        bool in_order = true;
        for (; place != end; place = packed_virtqueue::behind(place, step)) {
            const std::uint64_t said = (place->word.load() & told) ^ used_flags; // once
            // An id with flags that a used descriptor has not is none.
            const std::uint64_t id = said >> packed_word::id_shift;
            if (id >= chains) [[unlikely]] {
                break;
            }
            Slot& found = slots[id];
            if (said != found.expected) [[unlikely]] {
                break;
            }
            if constexpr (checks_published) {
                if (!is_published(ring, found)) [[unlikely]] {
                    break;
                }
            }
            // As in take_in_order().
            arch::fence_consume();
            if (!visit(found)) [[unlikely]] {
                break;
            }
            in_order = in_order && &found == predicted;
            predicted = found.next_free;
            found.expected = not_in_flight;
            found.place = place;
            last->next_free = &found;
            last = &found;
        }
        if (last == &free_) {
            return false;
        }
        if (!in_order) {
            in_order_from_ = ring.available_bytes();
        }
        give_back(ring, *free_.next_free, *last, predicted, place);
        if (ring.taken_bytes() == ring.available_bytes()) { // the next one is the next that becomes available
            predicted_ = is_between_batches() ? batch_end_.next_free : front_;
        }
        return true;
    }

    // What the next used descriptor says. It is authentic if its id names a chain that is in flight, so that it is used
    // once, and was published.
    struct used_chain {
        checked is;
        std::uint16_t id;
        std::uint32_t length;
        bool is_reserved; // the length
    };
    [[nodiscard]] used_chain look_at_next(packed_virtqueue& ring) const noexcept {
        const packed_descriptor* const place = ring.next_used();
        // Once, because the device may write it again.
        const std::uint64_t word = place == ring.end_of_published() ? 0 : place->word.load();
        used_chain said{.is = checked::nothing,
                        .id = packed_word::id(word),
                        .length = static_cast<std::uint32_t>(word),
                        .is_reserved = (word & packed_word::write) == 0};
        if (place != ring.end_of_published() && packed_word::is_used(word, ring.used_flags())) {
            // As in take_in_order().
            arch::fence_consume();
            catch_up(ring);
            const bool is_authentic =
                said.id < chains_ && slots_[said.id].in_flight() && is_published(ring, slots_[said.id]);
            said.is = is_authentic ? checked::authentic : checked::violation;
        }
        return said;
    }

    // The slot before a mark keeps the link to the slot behind it, as long as it is in flight.
    void pass_mark(const packed_virtqueue& ring, const Slot& mark, Slot* before) noexcept {
        if (before->in_flight()) {
            before->next_free = mark.next_free;
        }
        if (predicted_ == &mark) {
            predicted_ = mark.next_free;
        }
        set_front(ring, mark.next_free);
    }
    void begin_lap(packed_virtqueue& ring) noexcept {
        ring.begin_lap();
        lap_word_ = usual_ + ring.available_flags();
        if (tail_ == &lap_end_) {
            tail_ = last_of_lap_;
        }
        pass_mark(ring, lap_end_, last_of_lap_);
    }

    // The next chain is the first one of a batch unless the batch before is not published.
    void set_front(const packed_virtqueue& ring, Slot* first) noexcept {
        front_ = first;
        if (!ring.has_unpublished()) {
            begin_batch();
        }
    }
    void begin_batch() noexcept {
        if (front_->is_mark == 0) {
            batch_end_.place = front_->place;
            batch_end_.next_free = front_;
            front_ = &batch_end_;
        }
    }

    Slot* append_lap_end(const packed_virtqueue& ring, Slot* last) noexcept {
        last_of_lap_ = last;
        last->next_free = &lap_end_;
        lap_end_.place = ring.place(chains_);
        lap_end_.next_free = &full_;
        return &lap_end_;
    }

    [[nodiscard]] bool is_slot(const Slot* each) const noexcept { return each != &full_ && each != &lap_end_; }
    void cut_run(std::size_t chains) noexcept {
        if (run_has_ended()) {
            return;
        }
        Slot* last = is_between_batches() ? batch_end_.next_free : front_;
        for (std::size_t i = 1; i < chains && is_slot(last->next_free); ++i) {
            last = last->next_free;
        }
        if (is_slot(last->next_free)) {
            run_end_.next_free = last->next_free;
            run_end_.place = last->next_free->place;
            last->next_free = &run_end_;
            run_cut_ = last;
        }
    }

    // Whether a slot in flight was published.
    [[nodiscard, gnu::noinline]] bool is_published(const packed_virtqueue& ring, const Slot& of) const noexcept {
        const Slot* each = first_unpublished_;
        for (std::size_t i = ring.unpublished(); i != 0; --i, each = each->next_free) {
            if (each == &of) {
                return false;
            }
        }
        return true;
    }

    // The places before `end` have gone to the slots from `first` to `last`, and those are free. `predicted` is the next
    // one if the device uses chains in order.
    void give_back(packed_virtqueue& ring, Slot& first, Slot& last, Slot* predicted, packed_descriptor* end) noexcept {
        if (front_ == &lap_end_) {
            begin_lap(ring); // there is one such mark
            predicted = predicted == &lap_end_ ? lap_end_.next_free : predicted;
        }
        predicted_ = predicted == &full_ ? &first : predicted;
        if (front_ != &full_ || tail_->in_flight()) {
            tail_->next_free = &first;
        }
        last.next_free = &full_;
        tail_ = &last;
        if (ring.took(end)) {
            tail_ = append_lap_end(ring, &last);
        }
        full_.place = ring.next_used();
        if (front_ == &full_) {
            set_front(ring, &first);
        }
    }

    Slot* front_ = &full_;
    Slot* tail_ = &full_; // the last free slot, or the last one that was, or lap_end_ behind it
    Slot* predicted_ = &full_;
    // While fewer descriptors were taken, chains that were made available before the device used one out of order may be
    // in flight. Later, those in flight are all in order, or as many as were overtaken shift all others from their
    // places.
    std::size_t in_order_from_ = 0;
    Slot* first_unpublished_ = &full_;
    Slot* last_of_lap_ = &full_; // before lap_end_
    Slot* slots_ = nullptr;      // by id
    std::uint64_t lap_word_ = 0; // added to the word of a slot, it makes the word of its descriptor
    std::uint64_t usual_ = 0;    // the same without AVAIL and USED
    std::uint32_t chains_ = 0;
    Slot* run_cut_ = nullptr; // the last slot of a run that ends by itself

    // The marks. Their place is that of the next chain.
    Slot batch_end_;
    Slot run_end_;
    Slot lap_end_;
    Slot full_;
    Slot free_; // only its link is used: before the first of a list that is being made
};

} // namespace inflight::virtio
