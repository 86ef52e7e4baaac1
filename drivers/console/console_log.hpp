// A log on a virtio-console device (VIRTIO 1.2, 5.3), which is written and never read. The device has one part of the
// driver's buffer at a time; text that is written meanwhile goes with the next part. A device that breaks the rules, or
// asks for a reset, ends the log.
#pragma once

#include "inflight/async/message.hpp"
#include "inflight/drivers/virtio/hart_queue.hpp"
#include "inflight/drivers/virtio/slot_table.hpp"

#include <string_view>

namespace inflight {

class console_log final : public virtio::hart_queue {
  public:
    static constexpr std::size_t buffer_size = 65536;
    // The device stays untouched until start(). `transport` must outlive this object, which must outlive the executor.
    explicit console_log(virtio::transport& transport) noexcept
        : hart_queue{device_, transmit_queue, max_queue_size},
          device_{transport},
          wake_{[](void* log) noexcept { static_cast<console_log*>(log)->woken(); }, this} {}

    // Initialises the device, once, on its home hart. `memory` keeps what was allocated.
    [[nodiscard]] virtio::error start(dma_memory& memory, virtio::feature_set features_off) noexcept;

    // Any hart, interrupt handlers too. Never waits: text without room, or during another write, is dropped as a whole.
    void write(std::string_view text) noexcept;

    // Not in an interrupt handler. Waits for `patience` ticks at most until no text is left; only the home hart sends.
    void flush(arch::ticks patience) noexcept;

    // Any hart. How many bytes the device has not used; with those dropped; and why the log has ended (none: it has not).
    [[nodiscard]] std::size_t unused() const noexcept {
        const std::size_t used = used_.load(std::memory_order_acquire); // first: it is never ahead
        return written_.load(std::memory_order_acquire) - used;
    }
    [[nodiscard]] std::size_t missing() const noexcept { return dropped_.load(std::memory_order_relaxed) + unused(); }
    [[nodiscard]] virtio::error failure() const noexcept { return failure_.load(std::memory_order_relaxed); }
    [[nodiscard]] const virtio::device& device() const noexcept { return device_; }

  private:
    static constexpr std::uint16_t transmit_queue = 1; // 5.3.2
    static constexpr std::uint16_t max_queue_size = 8;
    struct slot : virtio::slot_base<slot> {};
    [[nodiscard]] bool take_used(std::size_t count) noexcept override;
    void published() noexcept override { slots_.published(); }
    void stopped(virtio::error why) noexcept override { failure_.store(why, std::memory_order_relaxed); }
    void send() noexcept;
    void woken() noexcept {
        wake_posted_.exchange(0, std::memory_order_acq_rel);
        send();
    }

    virtio::device device_;
    virtio::slot_table<slot> slots_; // one
    std::byte* buffer_ = nullptr;
    std::uint32_t in_flight_ = 0; // bytes
    async::executor* home_ = nullptr;
    async::message wake_;
    arch::atomic<std::uint32_t> wake_posted_{0}, writing_{0};
    arch::atomic<std::size_t> written_{0}, used_{0}, dropped_{0}; // bytes since the start
    arch::atomic<virtio::error> failure_{virtio::error::no_device};
};

} // namespace inflight
