// VIRTIO over MMIO (VIRTIO 1.2, 4.2): version 2, and version 1, the legacy interface (4.2.4).
#pragma once

#include "inflight/drivers/virtio/transport.hpp"

#include <cstdint>

namespace inflight::virtio {

// What a slot says about itself.
struct mmio_identity {
    error outcome; // none: there is a device. no_device: an empty slot, which is no error.
    std::uint32_t version;
    device_id id;
    std::uint32_t vendor;
};

// Looks at a slot in the order that the specification asks for (MMIO-24 to -27): an empty or foreign one is not touched
// beyond what tells that it is.
mmio_identity identify_mmio(std::uintptr_t registers) noexcept;

// Version 2.
class mmio_transport : public transport {
  public:
    // `registers` is the slot's address; identify_mmio() has answered version 2 there.
    explicit mmio_transport(std::uintptr_t registers) noexcept : registers_{registers} {}

    [[nodiscard]] bool is_legacy() const noexcept override { return false; }
    [[nodiscard]] feature_set supported_features() const noexcept override;
    [[nodiscard]] bool reset() noexcept override;
    [[nodiscard]] std::uint8_t status() noexcept override;
    void set_status(std::uint8_t bits) noexcept override;
    [[nodiscard]] feature_set offered_features() noexcept override;
    void accept_features(feature_set accepted) noexcept override;
    [[nodiscard]] std::uint8_t read_config8(std::size_t offset) noexcept override;
    [[nodiscard]] std::uint16_t read_config16(std::size_t offset) noexcept override;
    [[nodiscard]] std::uint32_t read_config32(std::size_t offset) noexcept override;
    void write_config8(std::size_t offset, std::uint8_t value) noexcept override;
    [[nodiscard]] std::uint32_t configuration_generation() noexcept override;
    [[nodiscard]] error queue_size_max(std::uint16_t index, std::uint32_t& size) noexcept override;
    [[nodiscard]] error enable_queue(std::uint16_t index, std::uint16_t size,
                                     const queue_addresses& where) noexcept override;
    [[nodiscard]] bool reset_queue(std::uint16_t index) noexcept override;
    void notify(std::uint16_t index, std::uint16_t next) noexcept override;
    [[nodiscard]] interrupt_delivery interrupts() const noexcept override { return interrupt_delivery::shared_line; }
    interrupt_cause acknowledge_interrupt() noexcept override;
    [[nodiscard]] fast_path_registers registers_of_fast_path(std::uint16_t index) const noexcept override;

  protected:
    std::uintptr_t registers_;

  private:
    bool notifies_with_data_ = false; // NOTIFICATION_DATA is accepted
};

// Version 1: pages instead of addresses, no FEATURES_OK, no generation; the rest is the same.
class legacy_mmio_transport final : public mmio_transport {
  public:
    // `registers` is the slot's address; identify_mmio() has answered version 1 there.
    explicit legacy_mmio_transport(std::uintptr_t registers) noexcept : mmio_transport{registers} {}

    [[nodiscard]] bool is_legacy() const noexcept override { return true; }
    [[nodiscard]] feature_set supported_features() const noexcept override;
    [[nodiscard]] bool reset() noexcept override;
    [[nodiscard]] feature_set offered_features() noexcept override;
    void accept_features(feature_set accepted) noexcept override;
    [[nodiscard]] std::uint32_t configuration_generation() noexcept override { return 0; }
    [[nodiscard]] error queue_size_max(std::uint16_t index, std::uint32_t& size) noexcept override;
    [[nodiscard]] error enable_queue(std::uint16_t index, std::uint16_t size,
                                     const queue_addresses& where) noexcept override;
};

} // namespace inflight::virtio
