// A device that does nothing by itself, as a transport: the test or the checker acts in its place.
#pragma once

#include "drivers/virtio/transport.hpp"

#include <functional>
#include <utility>

namespace inflight::test {

struct mute_device final : virtio::transport {
    mute_device() = default;

    bool is_legacy() const noexcept override { return false; }
    virtio::feature_set supported_features() const noexcept override {
        return virtio::feature::version_1 | virtio::feature::indirect_desc | virtio::feature::event_idx |
               virtio::feature::ring_packed;
    }
    bool reset() noexcept override {
        status_byte = 0;
        used = 0;
        return true;
    }
    std::uint8_t status() noexcept override { return status_byte; }
    void set_status(std::uint8_t bits_written) noexcept override {
        status_byte = bits_written;
        if ((bits_written & virtio::status_bit::driver_ok) != 0 && on_driver_ok)
            on_driver_ok();
    }
    virtio::feature_set offered_features() noexcept override { return features; }
    void accept_features(virtio::feature_set) noexcept override {}
    std::uint8_t read_config8(std::size_t) noexcept override { return 0; }
    void write_config8(std::size_t, std::uint8_t) noexcept override {}
    std::uint16_t read_config16(std::size_t) noexcept override { return 1; }
    std::uint32_t read_config32(std::size_t offset) noexcept override {
        switch (offset) {
        case 0: return static_cast<std::uint32_t>(capacity);
        case 4: return static_cast<std::uint32_t>(capacity >> 32);
        case 8: return size_max;
        case 12: return seg_max;
        case 20: return blk_size;
        case 36: return max_discard_sectors;
        case 40: return 1;
        case 44: return discard_sector_alignment;
        default: return 0;
        }
    }
    std::uint32_t configuration_generation() noexcept override { return 0; }
    virtio::error queue_size_max(std::uint16_t, std::uint32_t& size) noexcept override {
        size = 8;
        return virtio::error::none;
    }
    virtio::error enable_queue(std::uint16_t, std::uint16_t size, const virtio::queue_addresses& at) noexcept override {
        where = at;
        queue_size = size;
        return virtio::error::none;
    }
    void notify(std::uint16_t, std::uint16_t) noexcept override {}
    virtio::interrupt_delivery interrupts() const noexcept override { return virtio::interrupt_delivery::shared_line; }
    virtio::interrupt_cause acknowledge_interrupt() noexcept override { return {.bits = std::exchange(cause, 0)}; }

    std::uint64_t features = virtio::feature::version_1 | virtio::feature::indirect_desc;
    std::uint64_t capacity = 1 << 20;
    std::uint32_t size_max = 65536;
    std::uint32_t seg_max = 30;
    std::uint32_t blk_size = 512;
    std::uint32_t max_discard_sectors = 16;
    std::uint32_t discard_sector_alignment = 1;

    std::uint8_t status_byte = 0;
    std::uint32_t cause = 0;
    std::function<void()> on_driver_ok;
    virtio::queue_addresses where{};
    std::uint16_t queue_size = 0;
    std::uint16_t used = 0;
};

} // namespace inflight::test
