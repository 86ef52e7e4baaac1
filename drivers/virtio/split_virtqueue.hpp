// A split virtqueue, driver side (VIRTIO 1.2, 2.7): makes buffers available, takes used ones, and tells when to notify.
//
// This is one of the ring formats of virtqueue.hpp. It knows rings, not requests. The indices that it works with are
// its own. What the device can write is loaded once and never taken for state (see driver_written and device_written).
// One hart uses it; used_index() alone is for any hart.
#pragma once

#include "inflight/arch/arch.hpp"
#include "inflight/drivers/virtio/split_ring.hpp"
#include "inflight/drivers/virtio/transport.hpp"

#include <cstddef>
#include <cstdint>
#include <limits>

namespace inflight::virtio {

class split_virtqueue {
  public:
    split_virtqueue() noexcept = default;

    // Lays a queue of `size` descriptors (a power of two) into `memory`, which has ring_layout::of(size, legacy).bytes
    // bytes of its alignment, and zeroes it. The device must not know the memory yet, or have been reset.
    void lay_out(std::byte* memory, std::uint16_t size, bool legacy, bool event_idx) noexcept;

    // Instead of lay_out(), for a queue of another format: there is no ring, the run has ended, and used_index() reads
    // what lies in `memory`.
    void lay_out_nothing(const std::byte* memory) noexcept { device_area_ = memory; }

    [[nodiscard]] queue_addresses addresses() const noexcept;
    [[nodiscard]] std::uint16_t size() const noexcept { return size_; }

    // The descriptor table. A descriptor of a chain in flight must not be touched.
    [[nodiscard]] descriptor& descriptor_at(std::uint16_t index) noexcept { return descriptors_[index]; }

    // Puts the chain that begins at `head` into the available ring (2.7.13). The device sees it at the next publish().
    // There is always room, because heads in flight are distinct and no more than there are descriptors.
    void make_available(std::uint16_t head) noexcept {
        if (run_has_ended()) [[unlikely]] {
            begin_run(size_);
        }
        driver_written<std::uint16_t>* const place = next_available_;
        next_available_ = place + 1;
        place->store(head);
    }

    // Chains are made available in runs of contiguous entries, so that one comparison tells both that the ring ends
    // here and that a caller wants to be told. begin_run() begins one of `entries` entries, or fewer where the ring
    // ends.
    void begin_run(std::size_t entries) noexcept;
    [[nodiscard]] bool run_has_ended() const noexcept { return next_available_ == run_end_; }

    // How many chains were made available since lay_out(), and how many of them have not been taken back as used.
    [[nodiscard]] std::size_t available() const noexcept {
        return before_this_lap_ + static_cast<std::size_t>(next_available_ - available_);
    }
    [[nodiscard]] std::size_t in_flight() const noexcept { return available() - taken_; }

    // How many chains the device has been shown, and how many of them have not been taken back: more cannot have been
    // used.
    [[nodiscard]] std::size_t published() const noexcept { return published_; }
    [[nodiscard]] std::size_t in_flight_published() const noexcept { return published_ - taken_; }
    [[nodiscard]] bool has_unpublished() const noexcept { return available() != published_; }

    // The available index that was published, which a notification may carry (2.9).
    [[nodiscard]] std::uint16_t next_available() const noexcept { return low16(published_); }

    // How many used chains were taken since lay_out().
    [[nodiscard]] std::size_t taken() const noexcept { return taken_; }

    // Shows the device all that was made available since the last time. True if the device wants a notification for it.
    [[nodiscard]] bool publish() noexcept {
        const std::uint16_t before = low16(published_);
        published_ = available();
        const std::uint16_t now = low16(published_);
        // Chains and ring entries before the index: pairs with the device's read of the index.
        arch::fence_publish();
        own_field(ring_index).store(now);
        // The index before the read of the device's notification request: pairs with the device, which writes its
        // request before it reads the index.
        arch::fence_full();
        if (used_event_ != nullptr) {
            return crossed(notification_event(), now, before);
        }
        return (device_field(ring_flags).load() & used_no_notify) == 0;
    }

    // Whether the device would want a notification if publish() were called now. A hint: no fence orders it.
    [[nodiscard]] bool publish_would_notify() const noexcept {
        return used_event_ != nullptr ? crossed(notification_event(), available(), published_)
                                      : (device_field(ring_flags).load() & used_no_notify) == 0;
    }

    // See virtqueue::still_wants_notification().
    [[nodiscard]] bool still_wants_notification() const noexcept {
        return used_event_ != nullptr ? crossed(notification_event(), published_, taken_)
                                      : (device_field(ring_flags).load() & used_no_notify) == 0;
    }

    // enable_interrupts() and publish() with one full fence. `available_now` is available(), and not published(). Calls
    // notify() if the device wants a notification. Returns what enable_interrupts() does.
    template <typename Notify>
    [[nodiscard, gnu::always_inline]] inline bool enable_interrupts_and_publish(std::size_t available_now,
                                                                                Notify&& notify) noexcept {
        const std::size_t before = published_;
        const std::size_t taken = taken_;
        published_ = available_now;
        driver_written<std::uint16_t>* const used_event = used_event_;
        if (used_event != nullptr) [[likely]] {
            used_event->store(low16(taken));
        } else {
            own_field(ring_flags).store(0);
        }
        // Chains and ring entries before the index: pairs with the device's read of the index.
        arch::fence_publish();
        own_field(ring_index).store(low16(available_now));
        // The interrupt request before the read of the used index, and the available index before the read of the
        // device's notification request: pairs with the device, which writes its own before it reads ours, in both
        // cases; and with the fence in virtqueue::mark_if_completed_split().
        arch::fence_full();
        const bool found = in_high_bits(used_index() - taken) != 0;
        if (used_event != nullptr ? crossed(notification_event(), available_now, before)
                                  : (device_field(ring_flags).load() & used_no_notify) == 0) {
            notify();
        }
        return found;
    }

    // How many used chains the device says are waiting. The device may say anything.
    [[nodiscard]] std::size_t used_count() const noexcept { return low16(used_index() - taken_); }

    // Takes used chains one after the other, up to `count`, which used_count() has returned and is not 0, after one
    // fence_consume() since. Calls visit(id, length) for each, until a call returns false, which leaves that chain
    // where it is, or until the ring begins again. Returns how many were taken. Both fields have 32 bits in the ring
    // and are sign-extended, as the hart does it when it loads them: 2^31 and more, which no honest device says, stays
    // out of every valid range.
    template <typename Visit>
    [[gnu::always_inline]] inline std::size_t for_each_used(std::size_t count, Visit&& visit) noexcept {
        const used_element* next = next_used_;
        if (next == used_end_) [[unlikely]] {
            next = used_;
        }
        const auto contiguous = static_cast<std::size_t>(used_end_ - next);
        std::size_t took = count;
        if (count > contiguous) [[unlikely]] {
            took = contiguous;
            asm("" : "+r"(took)); // a branch, because a minimum is computed without one, in three instructions more
        }
        const used_element* const end = next + took;
        do {
            // Each field is loaded once, because the device may write it again.
            if (!visit(widened(next->id.load()), widened(next->length.load()))) [[unlikely]] {
                took -= static_cast<std::size_t>(end - next);
                break;
            }
        } while (++next != end);
        next_used_ = next;
        taken_ += took;
        return took;
    }

    // With IN_ORDER, a used chain stands for a batch: all chains from the next one up to the one that it names (2.7.9).
    // All chains have one descriptor, and are made available in the order of the table, so the number of a chain since
    // lay_out() is its id.
    struct batch {
        std::size_t chains;   // 0: it names none that can be used
        std::uint64_t length; // of the last chain; those before it were used whole. Widened as in for_each_used()
    };

    // The next batch, of at most `count` chains, which used_count() has returned and is not 0, after one fence_consume()
    // since.
    [[nodiscard]] batch next_batch(std::size_t count) const noexcept {
        const std::size_t next = next_id();
        const std::uint64_t id = widened(used_[next].id.load()); // once, because the device may write it again
        const std::size_t chains = ((id - next) & (size_ - 1u)) + 1;
        return {.chains = id < size_ && chains <= count ? chains : 0, .length = widened(used_[next].length.load())};
    }
    // The id of the chain that is used next. take_next() takes it.
    [[nodiscard]] std::uint16_t next_id() const noexcept { return low16(taken_ & (size_ - 1u)); }
    void take_next() noexcept {
        ++taken_;
        next_used_ = used_ + next_id();
    }

    // The used index at which used_count() is 0. used_index() is for any hart, interrupt handlers too: if it returns
    // another value than that, the device has used a chain since.
    [[nodiscard]] std::size_t used_position() const noexcept { return taken_; }
    [[nodiscard]] std::uint16_t used_index() const noexcept { return device_field(ring_index).load(); }

    // Asks for an interrupt at the next used chain. True if chains are waiting already, for which no interrupt may come.
    [[nodiscard]] bool enable_interrupts() noexcept {
        if (used_event_ != nullptr) {
            used_event_->store(low16(taken_));
        } else {
            own_field(ring_flags).store(0);
        }
        // The interrupt request before the read of the used index: pairs with the device, which writes the index before
        // it reads the request; and with the fence in virtqueue::mark_if_completed_split().
        arch::fence_full();
        return used_count() != 0;
    }

    // Asks for no interrupt. It is a hint, and one may come nevertheless. With EVENT_IDX there is nothing to write:
    // the index written last has passed, or one more interrupt comes.
    void disable_interrupts() noexcept {
        if (used_event_ == nullptr) {
            own_field(ring_flags).store(avail_no_interrupt);
        }
    }

  private:
    // 2.7.10: whether the step from `before` to `now` put an entry at `event`.
    static bool crossed(std::size_t event, std::size_t now, std::size_t before) noexcept {
        return in_high_bits(now - event - 1) < in_high_bits(now - before);
    }

    // Compares like the low 16 bits of an index, and takes an instruction less.
    static constexpr std::size_t in_high_bits(std::size_t index) noexcept {
        return index << (std::numeric_limits<std::size_t>::digits - 16);
    }

    // With EVENT_IDX: at which index of available chains the device wants a notification. It lies behind the used ring.
    [[nodiscard]] std::uint16_t notification_event() const noexcept {
        return reinterpret_cast<const device_written<std::uint16_t>*>(used_end_)->load();
    }

    static constexpr std::uint64_t widened(std::uint32_t field) noexcept {
        return static_cast<std::uint64_t>(static_cast<std::int32_t>(field));
    }
    static constexpr std::uint16_t low16(std::size_t index) noexcept { return static_cast<std::uint16_t>(index); }

    [[nodiscard]] driver_written<std::uint16_t>& own_field(std::size_t offset) const noexcept {
        return *reinterpret_cast<driver_written<std::uint16_t>*>(driver_area_ + offset);
    }
    [[nodiscard]] const device_written<std::uint16_t>& device_field(std::size_t offset) const noexcept {
        return *reinterpret_cast<const device_written<std::uint16_t>*>(device_area_ + offset);
    }

    descriptor* descriptors_ = nullptr;
    driver_written<std::uint16_t>* available_ = nullptr;
    std::byte* driver_area_ = nullptr;
    const std::byte* device_area_ = nullptr;
    driver_written<std::uint16_t>* next_available_ = nullptr; // where the next chain goes
    driver_written<std::uint16_t>* run_end_ = nullptr;
    const used_element* used_ = nullptr;
    const used_element* used_end_ = nullptr;
    const used_element* next_used_ = nullptr; // the next used chain to take, or where the ring ends
    // Indices are whole words, which saves instructions. The ring has their low 16 bits.
    std::size_t before_this_lap_ = 0; // of chains made available: how many until the ring began again
    std::size_t published_ = 0;
    std::size_t taken_ = 0;
    driver_written<std::uint16_t>* used_event_ = nullptr; // without EVENT_IDX: there is none
    std::uint16_t size_ = 0;
};

} // namespace inflight::virtio
