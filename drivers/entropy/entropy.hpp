// A source of entropy: a virtio-rng device (VIRTIO 1.2, 5.4) with an awaitable interface.
//
//     const virtio::error outcome = co_await entropy.fill(bytes);
//
// The device knows one buffer, which is the driver's own; what it writes is copied from there.
#pragma once

#include "inflight/async/event.hpp"
#include "inflight/async/mutex.hpp"
#include "inflight/async/task.hpp"
#include "inflight/drivers/virtio/hart_queue.hpp"
#include "inflight/drivers/virtio/slot_table.hpp"

#include <span>

namespace inflight {

// All functions but the handlers of its interrupts are called on the hart that started it.
class entropy final : public virtio::hart_queue {
  public:
    static constexpr std::size_t buffer_size = 512;

    // The device stays untouched until start(). `transport` must outlive this object, which must outlive the executor.
    explicit entropy(virtio::transport& transport) noexcept
        : hart_queue{device_, 0, max_queue_size}, device_{transport} {}

    // Initialises the device, once. The device may keep the buffer for `timeout` ticks. `memory` keeps what was
    // allocated.
    [[nodiscard]] virtio::error start(dma_memory& memory, arch::ticks timeout,
                                      virtio::feature_set features_off) noexcept;

    // Fills all the bytes. After an error their contents are undefined; it may be tried again unless failure() says
    // otherwise.
    async::task<virtio::error> fill(std::span<std::byte> bytes);

    // Why the device cannot be used, for good; error::none if it can.
    [[nodiscard]] virtio::error failure() const noexcept { return failure_; }
    [[nodiscard]] const virtio::device& device() const noexcept { return device_; }

  private:
    static constexpr std::uint16_t max_queue_size = 8;
    struct slot : virtio::slot_base<slot> {};

    [[nodiscard]] bool take_used(std::size_t count) noexcept override;
    void published() noexcept override { slots_.published(); }
    void stopped(virtio::error why) noexcept override { end(why); }
    [[nodiscard]] virtio::error configure() noexcept;
    void end(virtio::error outcome) noexcept;

    virtio::device device_;
    virtio::slot_table<slot> slots_; // one, for the buffer
    std::byte* buffer_ = nullptr;
    arch::ticks timeout_ = 0;
    virtio::error failure_ = virtio::error::no_device;

    async::mutex one_at_a_time_;
    async::event ended_; // the device has used the buffer, or cannot: outcome_
    virtio::error outcome_ = virtio::error::none;
    std::uint32_t received_ = 0; // bytes in the buffer
};

} // namespace inflight
