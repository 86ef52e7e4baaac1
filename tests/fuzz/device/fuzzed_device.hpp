// The registers of the device, its queues and its interrupt. What it does wrong is in misbehaviour.hpp.
#pragma once

#include "tests/fuzz/device/device_queue.hpp"
#include "tests/fuzz/device/input.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>

namespace inflight::fuzz {

class fuzzed_device final : public arch::host::mmio_device, public arch::host::observer {
  public:
    fuzzed_device(arch::host::machine&, input&, const driver_memory&, request_table&);
    ~fuzzed_device() override;
    fuzzed_device(const fuzzed_device&) = delete;
    fuzzed_device& operator=(const fuzzed_device&) = delete;

    // ---- as the machine sees it
    std::uint32_t read(std::uint64_t offset, unsigned width) override;
    void write(std::uint64_t offset, unsigned width, std::uint32_t value) override;
    void on_fence(arch::host::fence_kind) override;

    // ---- what kind of device it is
    void offer(std::uint32_t version, std::uint64_t features);
    template <typename T>
    void configure(std::size_t at, T value) {
        std::memcpy(&configuration_[at], &value, sizeof value);
    }

    // ---- at work
    void complete(device_queue&, std::uint16_t head);
    void serve(device_queue&); // completes all that it has
    void raise(std::uint32_t bits);
    void request_reset() { status_ |= model::status_bit::needs_reset; }
    void advance_generation() { ++generation_; }
    void claim(std::uint64_t offset, std::uint32_t value) { claimed_ = {offset, value}; }
    void become_honest();
    void remove() { removed_ = true; }

    bool honest() const { return honest_; }
    bool removed() const { return removed_; }
    bool driver_ok() const { return (status_ & model::status_bit::driver_ok) != 0; }

    std::function<void()> interfere; // at each access and each fence
    scribbles own;
    std::array<device_queue, max_queues> queues;

  private:
    std::uint32_t read_register(std::uint64_t offset);
    void write_register(std::uint64_t offset, std::uint32_t value);
    void end_reset();
    device_queue* selected() { return queue_sel_ < max_queues ? &queues[queue_sel_] : nullptr; }

    arch::host::machine& host_;
    input& in_;
    bool honest_ = false, removed_ = false;
    std::uint32_t version_ = 2, status_ = 0, interrupt_status_ = 0, generation_ = 0, queue_sel_ = 0, feature_sel_ = 0;
    std::uint32_t page_size_ = 4096;
    std::uint64_t features_ = 0;
    std::uint32_t driver_feature_sel_ = 0, accepted_high_ = 0; // bits 32 to 63 of what the driver accepts
    unsigned resetting_ = 0;                                   // reads of Status that do not show the reset yet
    std::array<std::uint8_t, 96> configuration_{};
    std::optional<std::pair<std::uint64_t, std::uint32_t>> claimed_; // the next read of this register returns this
};

} // namespace inflight::fuzz
