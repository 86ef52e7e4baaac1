// What a driver remembers of the buffers that a device has: one slot for each chain of descriptors, found by the
// chain's id.
//
// The table authenticates what a device says, once for every device type. A used element counts only if its id names a
// slot whose chain is in flight, was published, and was not used before, and if its length is credible. The table lies
// in private memory: no device can write what is compared.
#pragma once

#include "inflight/drivers/memory/dma_memory.hpp"
#include "inflight/drivers/virtio/virtqueue.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>

namespace inflight::virtio {

// The base of a driver's slot. `Slot` derives from it, and adds what the driver has to know of a buffer. A
// default-constructed Slot stands for "no free slot", so a driver that prepares slots gives it a shape that no request
// has.
template <typename Slot>
struct slot_base {
    // What is expected of the device: the length that it has to claim, which is how many bytes of the chain it may
    // write. In a packed_slot_table also the id. Above these 48 bits is whether the completion is irregular, and the age,
    // see slot_table::grow_older(). So one comparison with what the device claims tells the common case from all others.
    // A free slot expects what no device can claim, because lengths are sign-extended from 32 bits.
    static constexpr std::uint64_t irregular = std::uint64_t{1} << 48;
    static constexpr std::uint64_t one_period_old = std::uint64_t{1} << 56;
    static constexpr std::uint32_t oldest = 127;
    static constexpr std::uint64_t not_in_flight = std::uint64_t{1}
                                                   << 62; // in no used descriptor, see packed_word::told
    static constexpr std::size_t never_available = ~std::size_t{0};

    Slot* next_free = nullptr; // of a free slot; in flight, as it was when the slot was taken
    std::uint64_t expected = not_in_flight;
    union {
        std::size_t available_at = never_available; // see slot_table::mark_unpublished()
        packed_descriptor* place;                   // in a packed_slot_table: where the chain goes
    };
    // These make a word, see word().
    std::uint32_t least_written = 0; // how many bytes of the chain the device writes at the least
    std::uint16_t id = 0;            // of the chain
    std::uint16_t is_mark = 0;       // 1 in what stands for no slot
    std::uint32_t aged_since = 0;    // how many others had completed when grow_older() first met it

    [[nodiscard]] bool in_flight() const noexcept { return expected != not_in_flight; }
    [[nodiscard]] std::uint32_t expected_length() const noexcept { return static_cast<std::uint32_t>(expected); }
    [[nodiscard]] std::uint32_t age() const noexcept { return static_cast<std::uint32_t>(expected / one_period_old); }

    // For a packed_slot_table: what a used descriptor says, but for its flags, if the device has written no more than it
    // has to.
    [[nodiscard]] std::uint64_t word() const noexcept { return packed_word::of(least_written, id, is_mark); }

    // If the slot is in flight, it is not any more: take(slot, age).
    template <typename Take>
    void take_back(Take&& take) noexcept {
        if (in_flight()) {
            const std::uint32_t its_age = age();
            expected = not_in_flight;
            take(static_cast<Slot&>(*this), its_age);
        }
    }

    // Makes a slot in flight, in a table of `slots`, one period older. True if it is starved, see
    // slot_table::grow_older().
    bool grow_older(std::uint32_t old, std::uint64_t completed, std::uint32_t slots) noexcept {
        constexpr std::uint32_t laps_until_starved = 4;
        const auto now = static_cast<std::uint32_t>(completed);
        if (age() == 0) {
            aged_since = now;
        }
        expected += age() != oldest ? one_period_old : 0;
        return age() >= old && now - aged_since > laps_until_starved * slots;
    }
};

template <typename Slot>
class slot_table {
  public:
    slot_table() noexcept = default;
    slot_table(const slot_table&) = delete;
    slot_table& operator=(const slot_table&) = delete;

    // Takes private memory for `ids` ids, of which every `stride`-th is a slot. Once. False if no memory is left.
    [[nodiscard]] bool allocate(dma_memory& memory, std::uint32_t ids, std::uint32_t stride) noexcept {
        constexpr std::size_t alignment = std::bit_ceil(sizeof(Slot));
        std::byte* const place = memory.allocate_private(sizeof(Slot) * ids, alignment);
        if (place == nullptr) {
            return false;
        }
        slots_ = reinterpret_cast<Slot*>(place);
        for (std::uint32_t i = 0; i < ids; ++i) {
            ::new (slots_ + i) Slot{};
            slots_[i].id = static_cast<std::uint16_t>(i);
        }
        ids_ = ids;
        stride_ = stride;
        slots_there_are_ = ids / stride;
        return true;
    }
    [[nodiscard]] bool is_allocated() const noexcept { return slots_ != nullptr; }
    [[nodiscard]] std::uint32_t size() const noexcept { return slots_there_are_; }
    [[nodiscard]] Slot& slot(std::uint32_t number) noexcept { return slots_[std::size_t{number} * stride_]; }

    // Before the queue is laid out anew: no slot is free. What is in flight stays so until take_back().
    void clear_free() noexcept {
        free_ = &none;
        first_unpublished_ = &none;
        marked_at_ = Slot::never_available;
    }

    // Makes all slots free, the lowest first, and calls build(slot) for each. Nothing is in flight.
    template <typename Build>
    void free_all(Build&& build) noexcept {
        last_free_ = slots_there_are_ != 0 ? &slot(slots_there_are_ - 1) : &none;
        for (std::uint32_t i = slots_there_are_; i-- > 0;) {
            Slot& each = slot(i);
            build(each);
            each.available_at = Slot::never_available;
            each.next_free = free_;
            free_ = &each;
        }
        first_unpublished_ = free_;
    }

    // The free slot that take() takes next; where there is none, one that has no shape.
    [[nodiscard]] Slot& front() const noexcept { return *free_; }
    [[nodiscard]] bool full() const noexcept { return free_ == &none; }
    Slot& take() noexcept {
        Slot& taken = *free_;
        free_ = taken.next_free;
        return taken;
    }

    // After the queue was published.
    void published() noexcept { first_unpublished_ = free_; }

    // Of a split queue: takes used buffers that are exactly what was expected of them: visit(slot) for each, which
    // returns false to leave a buffer to for_each_checked(). `count` is what virtqueue::begin_drain() has returned. Returns how many were
    // taken.
    template <typename Visit>
    std::size_t for_each_expected(virtqueue& queue, std::size_t count, Visit&& visit) noexcept {
        return some_unpublished(queue.split()) ? take_expected<true>(queue.split(), count, visit)
                                               : take_expected<false>(queue.split(), count, visit);
    }

    // The same where !some_unpublished(): with fewer things to keep in registers.
    template <typename Visit>
    [[gnu::always_inline]] inline std::size_t for_each_expected_published(split_virtqueue& ring, std::size_t count,
                                                                          Visit&& visit) noexcept {
        return take_expected<false>(ring, count, visit);
    }

    // True if something was made available since the last publish.
    template <typename Ring>
    [[nodiscard]] bool some_unpublished(const Ring& ring) const noexcept {
        return first_unpublished_ != free_ || marked_at_ == ring.published();
    }

    // Takes used buffers of which the first may be anything. For each that is authentic, visit(slot, length, reserved)
    // returns false if it is a protocol violation nevertheless. `reserved`: the length means nothing, by the rules of the
    // ring. Returns false if the device has violated the protocol; then the rest is left.
    template <typename Visit>
    [[nodiscard]] bool for_each_checked(virtqueue& queue, std::size_t count, Visit&& visit) noexcept {
        if (some_unpublished(queue)) {
            mark_unpublished(queue.published());
        }
        bool honest = true;
        const auto check = [&](std::uint64_t id, std::uint64_t length, bool reserved) noexcept {
            // The id is in the ring, in flight (so it is the head of a chain, and used once), and published.
            honest = id < ids_ && slots_[id].in_flight() && slots_[id].available_at != queue.published() &&
                     visit(slots_[id], static_cast<std::uint32_t>(length), reserved);
            if (honest) {
                release(slots_[id]);
            }
            return honest;
        };
        while (count != 0 && honest) { // more than once where the ring begins again
            count -= queue.for_each_used(count, check);
        }
        first_unpublished_ = free_;
        return honest;
    }

    // With IN_ORDER, where slots are taken and become free in the order of their ids: takes used buffers that are exactly
    // what was expected of them, visit(slot) for each, which returns false to leave a buffer to check_in_order(). `batch`
    // is left with what was not taken of it, and is empty at first. Returns how many were taken of the `count` that
    // virtqueue::begin_drain() has returned.
    template <typename Visit>
    std::size_t expect_in_order(split_virtqueue& ring, split_virtqueue::batch& batch, std::size_t count,
                                Visit&& visit) noexcept {
        std::size_t taken = 0;
        while (taken != count) {
            if (batch.chains == 0) {
                batch = ring.next_batch(count - taken);
            }
            Slot& next = slots_[ring.next_id()];
            const std::uint64_t length = batch.chains > 1 ? next.expected_length() : batch.length; // used whole
            if (batch.chains == 0 || length != next.expected || !visit(next)) {
                break;
            }
            take_in_order(ring, batch, next);
            ++taken;
        }
        return taken;
    }

    // The same for one buffer, which may be anything; visit as for_each_checked(). Returns false if the device has
    // violated the protocol.
    template <typename Visit>
    [[nodiscard]] bool check_in_order(split_virtqueue& ring, split_virtqueue::batch& batch, std::size_t count,
                                      Visit&& visit) noexcept {
        if (batch.chains == 0) {
            batch = ring.next_batch(count);
        }
        Slot& next = slots_[ring.next_id()];
        // Whatever the batch says, it ends within `count`, so the chain was published and not used before.
        if (batch.chains == 0 || !next.in_flight() ||
            !visit(next, static_cast<std::uint32_t>(batch.length), batch.chains > 1)) {
            return false;
        }
        take_in_order(ring, batch, next);
        return true;
    }

    // Takes back what is in flight, after the device was reset or lost: take(slot) for each. The slots do not become
    // free.
    template <typename Take>
    void take_back(Take&& take) noexcept {
        for (std::uint32_t i = 0; i < slots_there_are_; ++i) {
            slot(i).take_back(take);
        }
    }

    // Makes everything in flight one period older. Calls starved(slot) for each slot that has seen `old` periods, and
    // since the first of them the queue has completed several times as many others as it has slots. `completed`: how
    // many it has completed.
    template <typename Starved>
    void grow_older(std::uint32_t old, std::uint64_t completed, Starved&& starved) noexcept {
        for (std::uint32_t i = 0; i < slots_there_are_; ++i) {
            Slot& each = slot(i);
            if (each.in_flight() && each.grow_older(old, completed, slots_there_are_)) {
                starved(each);
            }
        }
    }

  private:
    static inline constinit Slot none{};

    // Marks the slots that were made available since the last publish, so that a device that guesses their ids is
    // caught. It costs nothing when a buffer is made available. Slots are taken from the front of the free list and
    // keep their link to the next one, so they form a chain from the front at the last publish (or drain) to the front
    // now.
    void mark_unpublished(std::size_t published) noexcept {
        marked_at_ = published;
        for (Slot* each = first_unpublished_; each != free_; each = each->next_free) {
            each->available_at = marked_at_;
        }
        first_unpublished_ = free_;
    }

    void release(Slot& done) noexcept {
        done.expected = Slot::not_in_flight;
        done.next_free = free_;
        free_ = &done;
    }

    void take_in_order(split_virtqueue& ring, split_virtqueue::batch& batch, Slot& done) noexcept {
        ring.take_next();
        --batch.chains;
        done.expected = Slot::not_in_flight;
        done.next_free = &none;
        (full() ? free_ : last_free_->next_free) = &done;
        last_free_ = &done;
    }

    template <bool checks_published, typename Ring, typename Visit>
    [[gnu::always_inline]] inline std::size_t take_expected(Ring& ring, std::size_t count, Visit&& visit) noexcept {
        if constexpr (checks_published) {
            mark_unpublished(ring.published());
        }
        // Locals, because the compiler cannot prove that nothing written in the loop changes them.
        const std::uint64_t ids = ids_;
        const std::size_t published = ring.published();
        Slot* const slots = slots_;
        Slot* free_slots = free_;
        std::uint64_t not_in_flight = Slot::not_in_flight;
        asm("" : "+r"(not_in_flight)); // keeps the constant in a register, because building it takes two instructions
        const std::size_t taken = ring.for_each_used(
            count, [&](std::uint64_t id, std::uint64_t length, auto...) __attribute__((always_inline)) {
                if (id >= ids) [[unlikely]] {
                    return false;
                }
                Slot& done = slots[id];
                if (length != done.expected) [[unlikely]] { // a free slot expects what no device can claim
                    return false;
                }
                if constexpr (checks_published) {
                    if (done.available_at == published) [[unlikely]] {
                        return false;
                    }
                }
                if (!visit(done)) [[unlikely]] {
                    return false;
                }
                done.expected = not_in_flight;
                done.next_free = free_slots;
                free_slots = &done;
                return true;
            });
        free_ = free_slots;
        first_unpublished_ = free_slots;
        return taken;
    }

    Slot* free_ = &none;
    Slot* last_free_ = &none;                       // with IN_ORDER
    Slot* first_unpublished_ = &none;               // see mark_unpublished()
    std::size_t marked_at_ = Slot::never_available; // how many chains were published when slots were last marked
    Slot* slots_ = nullptr;                         // by id; those between slots are never in use
    std::uint64_t ids_ = 0;
    std::uint32_t stride_ = 1;
    std::uint32_t slots_there_are_ = 0;
};

} // namespace inflight::virtio
