// A virtqueue that one hart drives: all of a simple device's driver that has nothing to do with what the device is for.
// Its interrupts come on any hart; its rounds are those of the executor of the hart that has opened it.
//
// A driver derives from it, once for each queue, and sets the queue up as a part of step 7 (device.hpp). A device that
// asks for a reset, or breaks the rules of the ring, stops the queue: nothing of it is used until it is set up and
// opened again.
#pragma once

#include "inflight/async/executor.hpp"
#include "inflight/drivers/memory/dma_memory.hpp"
#include "inflight/drivers/virtio/device.hpp"
#include "inflight/drivers/virtio/virtqueue.hpp"

#include <cstddef>
#include <cstdint>

namespace inflight::virtio {

class hart_queue : private async::completion_source {
  public:
    // Interrupt context, any hart: as the transport delivers interrupts (interrupt_delivery). handle_line() returns
    // whether there was a cause. An interrupt before open() has nothing to tell of.
    bool handle_line() noexcept {
        const interrupt_cause cause = device_.acknowledge_interrupt();
        if (cause.has(interrupt_cause::configuration_change)) {
            handle_configuration();
        }
        handle_queue();
        return !cause.none();
    }
    void handle_queue() noexcept {
        // acquire: the flag before the queue; pairs with open().
        if (opened_.load(std::memory_order_acquire) && queue_.interrupted()) {
            wake();
        }
    }
    void handle_configuration() noexcept {
        configuration_changed_.store(true, std::memory_order_relaxed);
        if (opened_.load(std::memory_order_acquire)) { // as in handle_queue()
            wake();
        }
    }

    [[nodiscard]] std::uint16_t queue_size() const noexcept { return queue_.size(); }

  protected:
    // Queue `index` of the device, with no more than `max_size` descriptors, a power of two.
    hart_queue(device& of, std::uint16_t index, std::uint16_t max_size) noexcept
        : device_{of}, index_{index}, max_size_{max_size} {}
    ~hart_queue() = default;

    // Before the device is started: takes the memory of the ring, of any size that a device may decide on by itself. False
    // if there is none left.
    [[nodiscard]] bool allocate(dma_memory& memory) noexcept {
        constexpr std::uint16_t max_fixed_size = 1024;
        if (device_.underlying_transport().queue_size_is_fixed()) {
            max_size_ = max_fixed_size;
        }
        const queue_memory needed = queue_memory::of(max_size_, device_.is_legacy());
        ring_ = memory.allocate(needed.bytes, needed.alignment);
        return ring_ != nullptr;
    }

    // In step 7, at the start and after each reset: an empty queue. Fails as device::queue_size()
    // and device::enable_queue().
    [[nodiscard]] error set_up() noexcept {
        std::uint16_t size = 0;
        const queue_format format = device_.format_of_queues(1);
        const error outcome = device_.queue_size(index_, format, 1, max_size_, size);
        if (outcome != error::none) {
            return outcome;
        }
        queue_.lay_out(ring_, size, format);
        return device_.enable_queue(index_, size, queue_.addresses());
    }

    // When the device is live. The first time, this hart becomes the queue's.
    void open() noexcept {
        is_open_ = true;
        if (!opened_.load(std::memory_order_relaxed)) {
            home_ = arch::this_hart();
            // release: the queue, and the hart to wake, before the flag; pairs with the handlers.
            opened_.store(true, std::memory_order_release);
            async::executor::current().add(*this);
        }
    }

    // Nothing of the queue is used until open().
    void close() noexcept { is_open_ = false; }
    [[nodiscard]] bool is_open() const noexcept { return is_open_; }

    [[nodiscard]] virtqueue& ring() noexcept { return queue_; }

    // What a round does, on the queue's hart, for a driver that has to wait where rounds have ended.
    void look() noexcept {
        disarm();
        publish();
        static_cast<void>(poll());
    }

    // Takes `count` used buffers from ring(). False if the device has broken the rules.
    [[nodiscard]] virtual bool take_used(std::size_t count) noexcept = 0;

    // After publish(): the device has been shown all that was made available.
    virtual void published() noexcept = 0;

    // The queue was closed: needs_reset or protocol_violation.
    virtual void stopped(error why) noexcept = 0;

  private:
    bool poll() noexcept override {
        if (is_open_ && configuration_changed_.load(std::memory_order_relaxed)) {
            configuration_changed_.store(false, std::memory_order_relaxed); // before the look at the status
            if (device_.needs_reset()) {
                return stop(error::needs_reset);
            }
        }
        const std::size_t used = is_open_ && !queue_.armed() ? queue_.begin_drain() : 0;
        if (used == virtqueue::protocol_violation || (used != 0 && !take_used(used))) {
            return stop(error::protocol_violation);
        }
        return used != 0;
    }
    void publish() noexcept override {
        if (is_open_ && queue_.has_unpublished()) {
            if (queue_.publish()) {
                device_.underlying_transport().notify(index_, queue_.next_available());
            }
            published();
        }
    }
    bool arm_and_publish() noexcept override {
        const bool work = is_open_ && (queue_.arm() || configuration_changed_.load(std::memory_order_relaxed));
        publish();
        return work;
    }
    void disarm() noexcept override { queue_.disarm(); }
    [[nodiscard]] bool has_unpublished() noexcept override { return is_open_ && queue_.has_unpublished(); }

    bool stop(error why) noexcept {
        is_open_ = false;
        stopped(why);
        return true;
    }

    // What a handler has marked is seen before the hart sleeps again.
    void wake() const noexcept {
        if (arch::this_hart() != home_) {
            arch::interrupt_hart(home_);
        }
    }

    device& device_;
    std::uint16_t index_;
    std::uint16_t max_size_;
    virtqueue queue_;
    std::byte* ring_ = nullptr;
    arch::hart_index home_ = 0;
    bool is_open_ = false;
    arch::atomic<bool> opened_{false};                // ever
    arch::atomic<bool> configuration_changed_{false}; // the device says that something has changed
};

} // namespace inflight::virtio
