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
#include "inflight/drivers/virtio/split_virtqueue.hpp"

#include <cstddef>
#include <cstdint>

namespace inflight::virtio {

class virtqueue {
  public:
    virtqueue() noexcept = default;
    virtqueue(const virtqueue&) = delete;
    virtqueue& operator=(const virtqueue&) = delete;

    // Lays an empty queue of `size` descriptors (a power of two) into `memory`, which has ring_layout::of(size,
    // legacy).bytes bytes of its alignment. The device does not know the memory, or was reset. A ring of zeroes asks
    // for interrupts, so the queue is armed.
    void lay_out(std::byte* memory, std::uint16_t size, bool legacy, bool event_idx) noexcept {
        ring_.lay_out(memory, size, legacy, event_idx);
        awaited_.store(armed_from(0), std::memory_order_relaxed);
    }

    [[nodiscard]] queue_addresses addresses() const noexcept { return ring_.addresses(); }
    [[nodiscard]] std::uint16_t size() const noexcept { return ring_.size(); }

    // Descriptor `index` of the queue. A descriptor of a chain in flight must not be touched.
    [[nodiscard]] descriptor& descriptor_at(std::uint16_t index) noexcept { return ring_.descriptor_at(index); }

    // Makes the chain that begins at descriptor `head` available. The device sees it at the next publish().
    void make_available(std::uint16_t head) noexcept { ring_.make_available(head); }

    // A run: `entries` chains, or fewer where the ring begins again. See queue::begin_quantum().
    void begin_run(std::size_t entries) noexcept { ring_.begin_run(entries); }
    [[nodiscard]] bool run_has_ended() const noexcept { return ring_.run_has_ended(); }

    // Chains that were made available and not taken back; of these, the ones that the device has been shown.
    [[nodiscard]] std::size_t in_flight() const noexcept { return ring_.in_flight(); }
    [[nodiscard]] std::size_t in_flight_published() const noexcept { return ring_.in_flight_published(); }
    // Whether the device would want a notification if publish() were called now: it may change its mind until then.
    [[nodiscard]] bool publish_would_notify() const noexcept { return ring_.publish_would_notify(); }
    [[nodiscard]] bool has_unpublished() const noexcept { return ring_.has_unpublished(); }

    // How many chains the device has been shown, and how many were taken back, since lay_out().
    [[nodiscard]] std::size_t published() const noexcept { return ring_.published(); }
    [[nodiscard]] std::size_t taken() const noexcept { return ring_.taken(); }

    // Shows the device all that was made available. True if it wants a notification for that.
    [[nodiscard]] bool publish() noexcept { return ring_.publish(); }

    static constexpr std::size_t protocol_violation = ~std::size_t{0};

    // How many used buffers for_each_used() may take now; protocol_violation if the device claims to have used more
    // than it was shown. Disarms the queue.
    [[nodiscard]] std::size_t begin_drain() noexcept {
        disarm(); // before the look: what comes after it is found when the queue is armed, at the latest
        return used_to_drain();
    }

    // The same, but returns 0 while armed(), because an interrupt will tell.
    [[nodiscard, gnu::always_inline]] inline std::size_t begin_drain_unless_armed() noexcept {
        const std::uint64_t awaited = awaited_.load(std::memory_order_relaxed);
        if (awaited >= armed_from(0)) {
            return 0;
        }
        if (awaited != not_armed) {
            awaited_.store(not_armed, std::memory_order_relaxed); // as in begin_drain()
            ring_.disable_interrupts();
        }
        return used_to_drain();
    }

    // Takes used buffers in order, up to `count`, which begin_drain() has returned and is not 0: visit(id, length) for
    // each, until one call returns false, which leaves that buffer where it is, or until the ring begins again. Returns
    // how many were taken. Nothing that is visited is checked.
    template <typename Visit>
    [[gnu::always_inline]] inline std::size_t for_each_used(std::size_t count, Visit&& visit) noexcept {
        return ring_.for_each_used(count, visit);
    }

    // Asks for an interrupt at the next used buffer, then looks. True if something is waiting already.
    [[nodiscard]] bool arm() noexcept {
        const std::uint64_t awaited = awaited_.load(std::memory_order_relaxed);
        if (awaited == not_armed) {
            // Before the look: pairs with the handler, which looks first and then asks whether interrupts are on.
            awaited_.store(armed_from(ring_.used_position()), std::memory_order_relaxed);
            if (ring_.enable_interrupts()) {
                disarm();
                return true;
            }
            return false; // a handler that marks the queue after this wakes its hart
        }
        return awaited == marked;
    }
    void disarm() noexcept {
        if (awaited_.load(std::memory_order_relaxed) != not_armed) {
            awaited_.store(not_armed, std::memory_order_relaxed);
            ring_.disable_interrupts();
        }
    }

    // How many chains were made available since lay_out().
    [[nodiscard]] std::size_t available() const noexcept { return ring_.available(); }

    // True if arm_and_publish() may be called: the queue is not armed, and of the `available` chains some are not
    // published.
    [[nodiscard]] bool wants_arm_and_publish(std::size_t available) const noexcept {
        return awaited_.load(std::memory_order_relaxed) == not_armed && available != ring_.published();
    }

    // arm() and publish() at once. `available` is available(). Calls notify() if the device wants a notification.
    // Returns what arm() returns.
    template <typename Notify>
    [[nodiscard, gnu::always_inline]] inline bool arm_and_publish(std::size_t available, Notify&& notify) noexcept {
        awaited_.store(armed_from(ring_.used_position()), std::memory_order_relaxed); // as in arm()
        const bool found = ring_.enable_interrupts_and_publish(available, notify);
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
        const std::uint16_t position = ring_.used_index();
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

    // The same for an interrupt handler, which counts it.
    bool interrupted() noexcept {
        const bool completed = mark_if_completed();
        if (completed) {
            interrupts_.fetch_add(1, std::memory_order_relaxed);
        }
        return completed;
    }
    [[nodiscard]] std::uint64_t interrupts() const noexcept { return interrupts_.load(std::memory_order_relaxed); }

    // The same for the owner, without an interrupt: true if a buffer was used whose interrupt was lost.
    bool mark_if_interrupt_lost() noexcept {
        if (!armed() || ring_.used_count() == 0) {
            return false;
        }
        awaited_.store(marked, std::memory_order_relaxed);
        return true;
    }

  private:
    [[nodiscard, gnu::always_inline]] inline std::size_t used_to_drain() const noexcept {
        const std::size_t used = ring_.used_count();
        if (used == 0) {
            return 0;
        }
        if (used > ring_.in_flight_published()) [[unlikely]] {
            return protocol_violation;
        }
        // The used index before elements, data and status: pairs with the device, which writes the index last.
        arch::fence_consume();
        return used;
    }

    // The state of the interrupt, in one word: not armed; armed, from a position of the used ring on; or marked, because
    // the device has used a buffer since. Any hart reads it, and changes armed to marked. A handler that is late may do
    // so to the next wait: it wakes the owner in any case, which looks and waits again.
    static constexpr std::uint64_t not_armed = 0;
    static constexpr std::uint64_t marked = 1;
    static constexpr std::uint64_t armed_from(std::uint64_t position) noexcept { return position + 2; }

    split_virtqueue ring_;
    arch::atomic<std::uint64_t> awaited_{not_armed};
    arch::atomic<std::uint64_t> interrupts_{0};
};

} // namespace inflight::virtio
