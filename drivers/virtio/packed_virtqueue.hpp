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

    // The same for a single buffer where the chain length is 1, and the run has not ended.
    [[gnu::always_inline]] inline void make_one_available(std::uint16_t id, const buffer& single) noexcept {
        packed_descriptor* const place = next_;
        const std::uint64_t word = packed_word::of(single.length, id, single.flags);
        place->address.store(single.address);
        if (held_back_ == nullptr) [[unlikely]] {
            hold_back(*place, word);
        } else {
            place->word.store(word | available_flags_);
        }
        next_ = place + 1;
    }

    // See split_virtqueue. A run ends where the ring ends.
    void begin_run(std::size_t chains) noexcept;
    [[nodiscard]] bool run_has_ended() const noexcept { return next_ == run_end_; }

    // As those of split_virtqueue: counted in chains, since lay_out().
    [[nodiscard]] std::size_t available() const noexcept {
        return (before_this_lap_ + static_cast<std::size_t>(next_ - ring_)) / chain_length_;
    }
    [[nodiscard]] std::size_t in_flight() const noexcept { return available() - taken_; }
    [[nodiscard]] std::size_t published() const noexcept { return published_; }
    [[nodiscard]] std::size_t in_flight_published() const noexcept { return published_ - taken_; }
    [[nodiscard]] bool has_unpublished() const noexcept { return held_back_ != nullptr; }
    [[nodiscard]] std::size_t taken() const noexcept { return taken_; }

    // Shows the device all that was made available since the last time. True if the device wants a notification for it.
    [[nodiscard]] bool publish() noexcept;

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
        const packed_descriptor* next = next_used_;
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
        taken_ += took;
        next_used_ = next;
        if (next == ring_end_) [[unlikely]] {
            next_used_ = ring_;
            used_flags_ ^= packed_word::available | packed_word::used;
        }
        return took;
    }

    // Where the next used descriptor is going to be, for used_since(): slot and wrap counter.
    [[nodiscard]] std::uint16_t used_position() const noexcept {
        const auto slot = static_cast<std::uint32_t>(next_used_ - ring_);
        return static_cast<std::uint16_t>(slot | (used_flags_ != 0 ? event_suppression::wrap : 0));
    }

    // Any hart, interrupt handlers too: whether the device has used the descriptor at `position`.
    [[nodiscard]] bool used_since(std::uint16_t position) const noexcept {
        const std::uint64_t flags =
            (position & event_suppression::wrap) != 0 ? packed_word::available | packed_word::used : 0;
        return is_used(ring_[position & event_suppression::slot].word.load(), flags);
    }

    // Asks for an interrupt at the next used descriptor. True if some are waiting already, for which no interrupt may
    // come.
    [[nodiscard]] bool enable_interrupts() noexcept;

    // Asks for no interrupt. It is a hint, and one may come nevertheless.
    void disable_interrupts() noexcept { driver_event_->store(event_suppression::disable); }

  private:
    static bool is_used(std::uint64_t word, std::uint64_t flags) noexcept {
        return (word & (packed_word::available | packed_word::used)) == flags;
    }
    [[gnu::noinline]] void hold_back(packed_descriptor& first, std::uint64_t word) noexcept;
    [[nodiscard]] bool wants_notification(std::size_t chains) const noexcept;

    packed_descriptor* ring_ = nullptr;
    packed_descriptor* ring_end_ = nullptr;
    driver_written<std::uint32_t>* driver_event_ = nullptr;
    const device_written<std::uint32_t>* device_event_ = nullptr;

    packed_descriptor* next_ = nullptr; // where the next chain goes
    packed_descriptor* run_end_ = nullptr;
    std::uint64_t available_flags_ = 0; // of descriptors that are made available in this lap
    // The first chain that was made available and not published. The device takes chains in the order of the ring, so
    // it takes none while the first descriptor of this one does not look available.
    packed_descriptor* held_back_ = nullptr;
    std::uint64_t held_back_word_ = 0;

    const packed_descriptor* next_used_ = nullptr;
    std::uint64_t used_flags_ = 0; // of descriptors that are used in this lap

    std::size_t before_this_lap_ = 0; // descriptors that were made available until the ring began again
    std::size_t published_ = 0;
    std::size_t taken_ = 0;
    std::uint16_t size_ = 0;
    std::uint16_t chain_length_ = 1;
    bool event_idx_ = false;
};

} // namespace inflight::virtio
