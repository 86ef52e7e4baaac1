// A packed virtqueue, driver side (VIRTIO 1.2, 2.8): makes buffers available, takes used ones, and tells when to notify.
//
// This is one of the ring formats of virtqueue.hpp. There is one ring. The driver writes chains into it, and the device
// writes a used descriptor for each chain, in the order in which it has used them. AVAIL and USED, two flags of each
// descriptor, tell whose it is, by a wrap counter that changes with each lap:
//
//     wrap counter 1: available AVAIL=1 USED=0, used AVAIL=1 USED=1
//     wrap counter 0: available AVAIL=0 USED=1, used AVAIL=0 USED=0
//
// All chains of a queue have the same number of descriptors, which divides the size of the ring. So no chain goes past
// the end of the ring, and the place of the next used descriptor does not depend on which chain was used.
//
// What the device can write is loaded once and never taken for state (see handed_over). One hart uses the queue;
// used_since() alone is for any hart.
#pragma once

#include "inflight/arch/arch.hpp"
#include "inflight/drivers/virtio/packed_ring.hpp"
#include "inflight/drivers/virtio/transport.hpp"

#include <cstddef>
#include <cstdint>

namespace inflight::virtio {

class packed_virtqueue {
  public:
    packed_virtqueue() noexcept = default;

    // Lays a queue of `size` descriptors, a multiple of `chain_length`, into `memory`, which has
    // packed_layout::of(size).bytes bytes of its alignment, and zeroes it. The device must not know the memory yet, or
    // have been reset.
    void lay_out(std::byte* memory, std::uint16_t size, std::uint16_t chain_length, bool event_idx) noexcept;

    [[nodiscard]] queue_addresses addresses() const noexcept;
    [[nodiscard]] std::uint16_t size() const noexcept { return size_; }
    [[nodiscard]] std::uint16_t chain_length() const noexcept { return chain_length_; }

    // Makes a chain of chain_length() buffers available under `id`. The device sees it at the next publish(). There is
    // always room, because chains in flight are no more than fit.
    void make_available(std::uint16_t id, const buffer* chain) noexcept;

    // For a packed_slot_table, which says itself where the next chain goes: the place of each chain, which begins with
    // the descriptor that is returned, up to the end of the ring; what is stored there; and go_to() where the next chain
    // goes, before anything of what is below is asked.
    [[nodiscard]] packed_descriptor* place(std::size_t chain) const noexcept { return ring_ + chain * chain_length_; }
    void store_chain(packed_descriptor* first, std::uint16_t id, const buffer* chain) noexcept;
    void store_single(packed_descriptor& at, std::uint64_t address, std::uint64_t word) noexcept {
        at.address.store(address);
        if (held_back_ == nullptr) {
            hold_back(at, word);
        } else {
            at.word.store(word);
        }
    }
    // The first descriptor of a batch: the device takes none of it before publish() stores this word.
    void hold_back(packed_descriptor& first, std::uint64_t word) noexcept {
        held_back_ = &first;
        held_back_word_ = word;
        held_back_event_ = available_event_ + number(&first);
        first.word.store(word ^ packed_word::available); // as a used one of the lap before
    }
    void go_to(packed_descriptor* next) noexcept { next_ = next; }
    // The same before enable_interrupts_and_publish().
    void publish_up_to(packed_descriptor* next) noexcept {
        next_ = next;
        published_ = available(next);
    }
    [[nodiscard]] std::size_t in_flight(const packed_descriptor* next) const noexcept { // before go_to()
        return (available(next) - taken_) / chain_bytes_;
    }
    [[nodiscard]] packed_descriptor* next() const noexcept { return next_; }
    [[nodiscard]] std::size_t next_chain() const noexcept {
        return static_cast<std::size_t>(next_ - ring_) / chain_length_;
    }

    // The ring has come to its end, and begins again.
    void begin_lap() noexcept {
        next_ = ring_;
        available_from_ += ring_bytes();
        available_flags_ ^= packed_word::available | packed_word::used;
        available_event_ = event_at(ring_, available_flags_ == packed_word::available);
    }
    // Of the word of a descriptor that is made available in this lap.
    [[nodiscard]] std::uint64_t available_flags() const noexcept { return available_flags_; }

    // As those of split_virtqueue: counted in chains, since lay_out().
    [[nodiscard]] std::size_t available() const noexcept { return available(next_) / chain_bytes_; }
    [[nodiscard]] std::size_t in_flight() const noexcept { return in_flight(next_); }
    [[nodiscard]] std::size_t published() const noexcept { return published_ / chain_bytes_; }
    [[nodiscard]] std::size_t in_flight_published() const noexcept { return (published_ - taken_) / chain_bytes_; }
    [[nodiscard]] bool has_unpublished() const noexcept { return held_back_ != nullptr; }
    [[nodiscard]] std::size_t taken() const noexcept { return taken_ / chain_bytes_; }

    // Shows the device all that was made available since the last time. True if the device wants a notification for it.
    [[nodiscard]] bool publish() noexcept;

    // enable_interrupts() and publish() with one full fence, where has_unpublished(), after publish_up_to(). Calls
    // notify() if the device wants a notification. Returns what enable_interrupts() does.
    template <typename Notify>
    [[nodiscard, gnu::always_inline]] inline bool enable_interrupts_and_publish(Notify&& notify) noexcept {
        packed_descriptor* const first = held_back_;
        const packed_descriptor* const next_used = next_used_;
        const std::uint64_t first_word = held_back_word_;
        const std::uint64_t used_flags = used_flags_;
        held_back_ = nullptr;
        request_interrupt(next_used);
        // As in publish().
        arch::fence_publish();
        first->word.store(first_word);
        // The interrupt request before the read of the used flags, and the descriptor's flags before the read of the
        // device's event suppression: as in enable_interrupts() and in publish().
        arch::fence_full();
        const bool found = packed_word::is_used(next_used->word.load(), used_flags);
        if (wants_notification(first)) {
            notify();
        }
        return found;
    }

    // Whether the device would want a notification if publish() were called now. A hint: no fence orders it.
    [[nodiscard]] bool publish_would_notify() const noexcept;

    // See virtqueue::still_wants_notification().
    [[nodiscard]] bool still_wants_notification() const noexcept;

    // After publish(): where the next chain is going to be, slot and wrap counter, which a notification may carry (2.9).
    [[nodiscard]] std::uint16_t next_available() const noexcept {
        const bool wrap = available_flags_ == packed_word::available;
        if (next_ == ring_end_) { // and the next lap has the other wrap counter
            return wrap ? std::uint16_t{0} : std::uint16_t{event_suppression::wrap};
        }
        return static_cast<std::uint16_t>(static_cast<std::uint32_t>(next_ - ring_) |
                                          (wrap ? event_suppression::wrap : 0));
    }

    // How many used descriptors are waiting. Looks at no more than there are chains in flight.
    [[nodiscard]] std::size_t used_count() const noexcept;

    // As split_virtqueue's. `reserved` tells the visitor that the device says that it has written nothing, and then the
    // length means nothing (2.8.4). QEMU says so always.
    template <typename Visit>
    [[gnu::always_inline]] inline std::size_t for_each_used(std::size_t count, Visit&& visit) noexcept {
        packed_descriptor* next = next_used_;
        const std::size_t step = chain_length_;
        const std::size_t contiguous = static_cast<std::size_t>(ring_end_ - next) / step;
        const packed_descriptor* const end = next + (count < contiguous ? count : contiguous) * step;
        do {
            const std::uint64_t word = next->word.load(); // once, because the device may write it again
            if (!visit(std::uint64_t{packed_word::id(word)}, packed_word::length(word),
                       (word & packed_word::write) == 0)) [[unlikely]] {
                break;
            }
            next += step;
        } while (next != end);
        const std::size_t took = static_cast<std::size_t>(next - next_used_) / step;
        static_cast<void>(this->took(next));
        return took;
    }

    // For a packed_slot_table. Where the next used descriptor is going to be; where those end that may be used after it,
    // or where the ring ends; whether the next one is used; and what its flags are then.
    [[nodiscard]] packed_descriptor* next_used() const noexcept { return next_used_; }
    [[nodiscard]] const packed_descriptor* end_of_published() const noexcept {
        const packed_descriptor* const end = behind(next_used_, published_ - taken_);
        return end < ring_end_ ? end : ring_end_;
    }
    [[nodiscard]] bool some_used() const noexcept {
        return published_ != taken_ && packed_word::is_used(next_used_->word.load(), used_flags_);
    }
    [[nodiscard]] std::uint64_t used_flags() const noexcept { return used_flags_; }
    // How many bytes a chain takes in the ring; what lies behind it; and the chain behind this one.
    [[nodiscard]] std::size_t chain_bytes() const noexcept { return chain_bytes_; }
    [[nodiscard]] static packed_descriptor* behind(packed_descriptor* from, std::size_t bytes) noexcept {
        return reinterpret_cast<packed_descriptor*>(reinterpret_cast<std::byte*>(from) + bytes);
    }
    [[nodiscard]] packed_descriptor* next_chain(packed_descriptor* chain) const noexcept {
        return behind(chain, chain_bytes_);
    }
    // How many chains were made available and not published; and how much was made available, and taken, since
    // lay_out(), to be compared.
    [[nodiscard]] std::size_t unpublished() const noexcept { return (available(next_) - published_) / chain_bytes_; }
    [[nodiscard]] std::size_t available_bytes() const noexcept { return available(next_); }
    [[nodiscard]] std::size_t taken_bytes() const noexcept { return taken_; }
    // Those before `end` were taken. True if the ring ends there.
    bool took(packed_descriptor* end) noexcept {
        taken_ += reinterpret_cast<std::uintptr_t>(end) - reinterpret_cast<std::uintptr_t>(next_used_);
        next_used_ = end;
        if (end != ring_end_) [[likely]] {
            return false;
        }
        next_used_ = ring_;
        used_flags_ ^= packed_word::available | packed_word::used;
        used_event_ = event_at(ring_, used_flags_ != 0);
        used_lap_ ^= 1;
        return true;
    }

    // Where the next used descriptor is going to be, for used_since(): half of its address, the wrap counter in bit 0,
    // and the highest bit set.
    static constexpr std::uint64_t lowest_position = std::uint64_t{1} << 63;
    [[nodiscard]] std::uint64_t used_position() const noexcept {
        return reinterpret_cast<std::uintptr_t>(next_used_) >> 1 | used_lap_;
    }

    // Any hart, interrupt handlers too: whether the device has used the descriptor at `position`.
    [[nodiscard]] static bool used_since(std::uint64_t position) noexcept {
        constexpr std::uint64_t wrap = 2;
        static_assert(alignof(packed_descriptor) > wrap);
        const std::uint64_t address = position << 1;
        const std::uint64_t flags = (address & wrap) != 0 ? packed_word::available | packed_word::used : 0;
        const auto* const at = reinterpret_cast<const packed_descriptor*>(static_cast<std::uintptr_t>(address & ~wrap));
        return packed_word::is_used(at->word.load(), flags);
    }

    // Asks for an interrupt at the next used descriptor. True if some are waiting already, for which no interrupt may
    // come.
    [[nodiscard]] bool enable_interrupts() noexcept;

    // Asks for no interrupt. It is a hint, and one may come nevertheless.
    void disable_interrupts() noexcept { driver_event_->store(event_suppression::disable); }

  private:
    [[nodiscard]] std::size_t ring_bytes() const noexcept { return std::size_t{size_} * sizeof(packed_descriptor); }
    [[nodiscard]] std::size_t available(const packed_descriptor* next) const noexcept {
        return reinterpret_cast<std::uintptr_t>(next) + available_from_;
    }

    // What event suppression says for the descriptor at `at` with that wrap counter, less the number of `at` in memory:
    // so it is the same for a whole lap.
    [[nodiscard]] static std::uint32_t number(const packed_descriptor* at) noexcept {
        return static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(at) / sizeof(packed_descriptor));
    }
    [[nodiscard]] static std::uint32_t event_at(const packed_descriptor* first, bool wrap) noexcept {
        return (event_suppression::descriptor | (wrap ? event_suppression::wrap : 0)) - number(first);
    }

    void request_interrupt(const packed_descriptor* next_used) noexcept {
        driver_event_->store(event_idx_ ? used_event_ + number(next_used) : event_suppression::enable);
    }

    // 2.8.10, for what was made available from `first` on. With EVENT_IDX the device may name a slot: then it wants a
    // notification if that is one of those that were written.
    [[nodiscard]] bool wants_notification(const packed_descriptor* first) const noexcept {
        const std::uint32_t event = device_event_->load();
        if (event == held_back_event_) [[likely]] { // it has taken all before `first`
            return true;
        }
        const std::uint32_t flags = event & event_suppression::flags;
        if (flags != event_suppression::descriptor || !event_idx_) {
            return flags != event_suppression::disable;
        }
        // Slots are counted from the lap in which `next_` is, or which it has just ended.
        const bool wrap = available_flags_ == packed_word::available;
        const bool of_this_lap = ((event & event_suppression::wrap) != 0) == wrap;
        const auto slot = static_cast<std::ptrdiff_t>(event & event_suppression::slot);
        const std::ptrdiff_t end = next_ - ring_;
        const std::ptrdiff_t begin = first - ring_;
        if (begin < end) {
            return of_this_lap && begin <= slot && slot < end;
        }
        return of_this_lap ? slot < end : begin <= slot; // it begins in the lap before
    }

    packed_descriptor* ring_ = nullptr;
    packed_descriptor* ring_end_ = nullptr;
    driver_written<std::uint32_t>* driver_event_ = nullptr;
    const device_written<std::uint32_t>* device_event_ = nullptr;

    packed_descriptor* next_ = nullptr; // where the next chain goes
    std::uint64_t available_flags_ = 0; // of descriptors that are made available in this lap
    // The first chain that was made available and not published. The device takes chains in the order of the ring, so
    // it takes none while the first descriptor of this one does not look available.
    packed_descriptor* held_back_ = nullptr;
    std::uint64_t held_back_word_ = 0;
    std::uint32_t held_back_event_ = 0; // what event suppression says for it

    packed_descriptor* next_used_ = nullptr;
    std::uint64_t used_flags_ = 0; // of descriptors that are used in this lap
    std::uint64_t used_lap_ = 0;   // of used_position(), all but the address

    // In bytes of descriptors.
    std::size_t available_from_ = 0; // added to the address of a place in this lap, it makes what is available there
    std::size_t published_ = 0;
    std::size_t taken_ = 0;
    std::size_t chain_bytes_ = sizeof(packed_descriptor);
    std::uint32_t available_event_ = 0; // see event_at()
    std::uint32_t used_event_ = 0;
    std::uint16_t size_ = 0;
    std::uint16_t chain_length_ = 1;
    bool event_idx_ = false;
};

} // namespace inflight::virtio
