// A virtqueue as a driver of any device type uses it: a ring, of whichever format was negotiated, and its interrupt.
//
//     make_available(id) ... publish() -> notify      the driver gives buffers to the device
//     begin_drain() ... for_each_used(visit)           the driver takes used buffers back
//     arm(), disarm()                                  the hart that owns the queue goes to sleep, and wakes up
//     interrupted(), mark_if_completed()               any hart: has something completed that the owner waits for?
//
// One hart owns the queue. The functions that are for any hart say so.
#pragma once

#include "inflight/arch/arch.hpp"
#include "inflight/drivers/virtio/packed_virtqueue.hpp"
#include "inflight/drivers/virtio/split_virtqueue.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace inflight::virtio {

// How much memory a queue of `size` descriptors takes, of whichever format, and how it is aligned.
struct queue_memory {
    std::size_t bytes;
    std::size_t alignment;

    static constexpr queue_memory of(std::uint32_t size, bool legacy) noexcept {
        const ring_layout split = ring_layout::of(size, legacy);
        return {.bytes = std::max(split.bytes, packed_layout::of(size).bytes), .alignment = split.alignment};
    }
};

class virtqueue {
  public:
    virtqueue() noexcept = default;
    virtqueue(const virtqueue&) = delete;
    virtqueue& operator=(const virtqueue&) = delete;

    // Lays an empty queue of `size` descriptors into `memory`, which is as queue_memory::of() says, and zeroes it. The
    // size is a power of two, or for a packed queue a multiple of the chain length. The device does not know the memory,
    // or was reset. A ring of zeroes asks for interrupts, so the queue is armed.
    void lay_out(std::byte* memory, std::uint16_t size, const queue_format& format) noexcept;

    [[nodiscard]] bool is_packed() const noexcept { return is_packed_; }

    // With IN_ORDER: what the device says of a chain may stand for others, which were made available before it.
    [[nodiscard]] bool is_in_order() const noexcept { return is_in_order_; }

    [[nodiscard]] queue_addresses addresses() const noexcept {
        return is_packed_ ? packed_.addresses() : split_.addresses();
    }
    [[nodiscard]] std::uint16_t size() const noexcept { return is_packed_ ? packed_.size() : split_.size(); }

    // The ring of a queue that is_packed(), and of one that is not. The split ring of a packed queue says that its run
    // has ended, always.
    [[nodiscard]] split_virtqueue& split() noexcept { return split_; }
    [[nodiscard]] const split_virtqueue& split() const noexcept { return split_; }
    [[nodiscard]] packed_virtqueue& packed() noexcept { return packed_; }
    [[nodiscard]] const packed_virtqueue& packed() const noexcept { return packed_; }

    // Makes a single buffer available under `id`, which is below size() and not in flight. The device sees it at the next
    // publish(). The chain length is 1.
    void make_available(std::uint16_t id, const buffer& single) noexcept {
        if (is_packed_) {
            packed_.make_available(id, &single);
        } else {
            split_.descriptor_at(id).store(single.address, single.length, single.flags, 0);
            split_.make_available(id);
        }
    }

    // Chains that were made available and not taken back; of these, the ones that the device has been shown.
    [[nodiscard]] std::size_t in_flight() const noexcept {
        return is_packed_ ? packed_.in_flight() : split_.in_flight();
    }
    [[nodiscard]] std::size_t in_flight_published() const noexcept {
        return is_packed_ ? packed_.in_flight_published() : split_.in_flight_published();
    }
    // Whether the device would want a notification if publish() were called now: it may change its mind until then.
    [[nodiscard]] bool publish_would_notify() const noexcept {
        return is_packed_ ? packed_.publish_would_notify() : split_.publish_would_notify();
    }
    [[nodiscard]] bool has_unpublished() const noexcept {
        return is_packed_ ? packed_.has_unpublished() : split_.has_unpublished();
    }

    // Whether the device wants a notification for any of the chains that it has been shown and has not used. One that
    // asks for notifications by number (EVENT_IDX) does not, once it has seen them all.
    [[nodiscard]] bool still_wants_notification() const noexcept {
        return in_flight_published() != 0 &&
               (is_packed_ ? packed_.still_wants_notification() : split_.still_wants_notification());
    }

    // How many chains the device has been shown, and how many were taken back, since lay_out().
    [[nodiscard]] std::size_t published() const noexcept {
        return is_packed_ ? packed_.published() : split_.published();
    }
    [[nodiscard]] std::size_t taken() const noexcept { return is_packed_ ? packed_.taken() : split_.taken(); }

    // Shows the device all that was made available. True if it wants a notification for that.
    [[nodiscard]] bool publish() noexcept { return is_packed_ ? packed_.publish() : split_.publish(); }

    // After publish(): what a notification of the queue carries beside its number, with NOTIFICATION_DATA (2.9).
    [[nodiscard]] std::uint16_t next_available() const noexcept {
        return is_packed_ ? packed_.next_available() : split_.next_available();
    }

    static constexpr std::size_t protocol_violation = ~std::size_t{0};

    // How many used buffers for_each_used() may take now; protocol_violation if the device claims to have used more
    // than it was shown. Disarms the queue.
    [[nodiscard]] std::size_t begin_drain() noexcept {
        disarm(); // before the look: what comes after it is found when the queue is armed, at the latest
        return is_packed_ ? used_to_drain_packed() : used_to_drain();
    }

    // The same for a split queue, but returns 0 while armed(), because an interrupt will tell.
    [[nodiscard, gnu::always_inline]] inline std::size_t begin_drain_split_unless_armed() noexcept {
        const std::uint64_t awaited = awaited_.load(std::memory_order_relaxed);
        if (awaited >= armed_from(0)) {
            return 0;
        }
        if (awaited != not_armed) {
            awaited_.store(not_armed, std::memory_order_relaxed); // as in begin_drain()
            split_.disable_interrupts();
        }
        return used_to_drain();
    }

    // For a packed queue: false while armed(). Else disarms it, and returns true.
    [[nodiscard, gnu::always_inline]] inline bool disarm_unless_armed_packed() noexcept {
        const std::uint64_t awaited = awaited_.load(std::memory_order_relaxed);
        if (awaited >= armed_packed) {
            return false;
        }
        if (awaited != not_armed) {
            awaited_.store(not_armed, std::memory_order_relaxed); // as in begin_drain()
            packed_.disable_interrupts();
        }
        return true;
    }

    // Takes used buffers in order, up to `count`, which begin_drain() has returned and is not 0: visit(id, length,
    // reserved) for each, until one call returns false, which leaves that buffer where it is, or until the ring begins
    // again. Returns how many were taken. Nothing that is visited is checked. `reserved`: the length means nothing.
    template <typename Visit>
    std::size_t for_each_used(std::size_t count, Visit&& visit) noexcept {
        if (is_packed_) {
            return packed_.for_each_used(count, visit);
        }
        return split_.for_each_used(
            count, [&visit](std::uint64_t id, std::uint64_t length) { return visit(id, length, false); });
    }

    // Asks for an interrupt at the next used buffer, then looks. True if something is waiting already.
    [[nodiscard]] bool arm() noexcept;
    void disarm() noexcept {
        if (awaited_.load(std::memory_order_relaxed) != not_armed) {
            awaited_.store(not_armed, std::memory_order_relaxed);
            is_packed_ ? packed_.disable_interrupts() : split_.disable_interrupts();
        }
    }

    // For a split queue: true if arm_and_publish_split() may be called. The queue is not armed, and of the `available`
    // chains some are not published.
    [[nodiscard]] bool wants_arm_and_publish_split(std::size_t available) const noexcept {
        return awaited_.load(std::memory_order_relaxed) == not_armed && available != split_.published();
    }

    // arm() and publish() of a split queue at once. `available` is split().available(). Calls notify() if the device
    // wants a notification. Returns what arm() returns.
    template <typename Notify>
    [[nodiscard, gnu::always_inline]] inline bool arm_and_publish_split(std::size_t available,
                                                                        Notify&& notify) noexcept {
        awaited_.store(armed_from(split_.used_position()), std::memory_order_relaxed); // as in arm()
        const bool found = split_.enable_interrupts_and_publish(available, notify);
        if (found) [[unlikely]] {
            disarm();
        }
        return found;
    }

    // The same two for a packed queue.
    [[nodiscard]] bool wants_arm_and_publish_packed() const noexcept {
        return awaited_.load(std::memory_order_relaxed) == not_armed && packed_.has_unpublished();
    }
    template <typename Notify>
    [[nodiscard, gnu::always_inline]] inline bool arm_and_publish_packed(Notify&& notify) noexcept {
        awaited_.store(packed_.used_position(), std::memory_order_relaxed); // as in arm()
        const bool found = packed_.enable_interrupts_and_publish(notify);
        if (found) [[unlikely]] {
            disarm();
        }
        return found;
    }

    // True while an interrupt is to tell of the next used buffer, and has not.
    [[nodiscard]] bool armed() const noexcept { return awaited_.load(std::memory_order_relaxed) >= armed_from(0); }

    // If the queue is armed and the device has used a buffer since, marks the queue and returns true. If the queue is
    // not armed, its hart looks for itself, at the latest when it arms the queue. Any hart, interrupt handlers too.
    bool mark_if_completed() noexcept {
        const std::uint64_t awaited = awaited_.load(std::memory_order_relaxed);
        return awaited >= armed_packed ? mark_if_completed_packed(awaited) : mark_if_completed_split();
    }

    // The same for an interrupt handler, which counts it.
    bool interrupted() noexcept { return count_interrupt(mark_if_completed()); }
    bool interrupted_split() noexcept { return count_interrupt(mark_if_completed_split()); } // of a split queue
    [[nodiscard]] std::uint64_t interrupts() const noexcept { return interrupts_.load(std::memory_order_relaxed); }

    // The same for the owner, without an interrupt: true if a buffer was used whose interrupt was lost.
    bool mark_if_interrupt_lost() noexcept {
        if (!armed() || (is_packed_ ? packed_.used_count() : split_.used_count()) == 0) {
            return false;
        }
        awaited_.store(marked, std::memory_order_relaxed);
        return true;
    }

  private:
    [[nodiscard, gnu::always_inline]] inline std::size_t used_to_drain() const noexcept {
        const std::size_t used = split_.used_count();
        if (used == 0) {
            return 0;
        }
        if (used > split_.in_flight_published()) [[unlikely]] {
            return protocol_violation;
        }
        // The used index before elements, data and status: pairs with the device, which writes the index last.
        arch::fence_consume();
        return used;
    }
    [[nodiscard]] std::size_t used_to_drain_packed() const noexcept;

    bool mark_if_completed_split() noexcept {
        const std::uint16_t position = split_.used_index();
        // The used index before awaited_: pairs with the fences in enable_interrupts() and
        // enable_interrupts_and_publish(), which lie between the store of awaited_ and the read of the used index.
        arch::fence_consume();
        const std::uint64_t awaited = awaited_.load(std::memory_order_relaxed);
        if (awaited < armed_from(0) || static_cast<std::uint16_t>(awaited - armed_from(position)) == 0) {
            return false;
        }
        awaited_.store(marked, std::memory_order_relaxed);
        return true;
    }
    // The descriptor is looked at after `awaited`, which names it, was read. If the queue was not armed yet then, the
    // owner looks after it has armed the queue, and finds what the device had used before it interrupted.
    bool mark_if_completed_packed(std::uint64_t awaited) noexcept {
        if (!packed_virtqueue::used_since(awaited)) {
            return false;
        }
        awaited_.store(marked, std::memory_order_relaxed);
        return true;
    }

    bool count_interrupt(bool completed) noexcept {
        if (completed) {
            interrupts_.fetch_add(1, std::memory_order_relaxed);
        }
        return completed;
    }

    // The state of the interrupt, in one word: not armed; armed, from a position of the used ring on; or marked, because
    // the device has used a buffer since. Any hart reads it, and changes armed to marked. A handler that is late may do
    // so to the next wait: it wakes the owner in any case, which looks and waits again.
    static constexpr std::uint64_t not_armed = 0;
    static constexpr std::uint64_t marked = 1;
    static constexpr std::uint64_t armed_from(std::uint64_t position) noexcept { return position + 2; }
    // Those of packed rings are above any of a split ring.
    static constexpr std::uint64_t armed_packed = packed_virtqueue::lowest_position;

    split_virtqueue split_;
    packed_virtqueue packed_;
    bool is_packed_ = false;
    bool is_in_order_ = false;
    arch::atomic<std::uint64_t> awaited_{not_armed};
    arch::atomic<std::uint64_t> interrupts_{0};
};

} // namespace inflight::virtio
