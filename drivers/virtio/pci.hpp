// VIRTIO over PCI (VIRTIO 1.2, 4.1): the modern interface, and the legacy one in the I/O space of BAR0 (4.1.4.10).
//
// Whoever has found the device has placed its BARs and switched on decoding and bus mastering; for messages it has also
// filled in the MSI-X table and enabled MSI-X. Here are the registers of the device itself.
//
// Interrupts. The kernel looks for the largest number of vectors that the device takes:
//
//     MSI-X enabled:  try_vectors({queues + 1}, queues), or try_vectors({2}, queues), or try_vectors({1}, queues)
//     none taken:     MSI-X disabled, try_vectors({0}, queues)
//
// | vectors    | who interrupts                          | interrupts() | to be called                                |
// |------------|-----------------------------------------|--------------|---------------------------------------------|
// | 0          | the line: MSI-X is off                  | shared_line  | handle_line()                               |
// | 1          | vector 0: everything                    | shared_line  | handle_line()                               |
// | queues + 1 | vector 0: configuration; 1 + q: queue q | per_queue    | handle_configuration(), handle_queue(q)     |
// | 2          | vector 0: configuration; 1: all queues  | shared_line  | handle_configuration(), handle_line()       |
#pragma once

#include "inflight/arch/arch.hpp"
#include "inflight/drivers/virtio/pci_structures.hpp"
#include "inflight/drivers/virtio/transport.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace inflight::virtio {

// How many vectors of MSI-X a device uses; see above. 0: MSI-X is disabled, anything else: it is enabled.
struct pci_vectors {
    std::uint16_t count = 0;
};

// The modern interface, of a modern or transitional device.
class pci_transport : public transport {
  public:
    // A queue with a higher index is refused.
    static constexpr std::uint16_t max_queues = 64;

    // With MSI-X off.
    explicit pci_transport(const pci_structures& where) noexcept;

    // Before the device is started: whether it accepts these vectors for its configuration and its first `queues`
    // queues. If it does, they are used from here on, after each reset again; no more queues can be enabled than have a
    // vector. To try vectors, it resets the device before and after that.
    [[nodiscard]] bool try_vectors(pci_vectors vectors, std::uint16_t queues) noexcept;

    [[nodiscard]] pci_vectors vectors() const noexcept { return vectors_; }

    [[nodiscard]] bool is_legacy() const noexcept override { return false; }
    [[nodiscard]] feature_set supported_features() const noexcept override;
    [[nodiscard]] bool reset() noexcept override;
    [[nodiscard]] std::uint8_t status() noexcept override;
    void set_status(std::uint8_t bits) noexcept override;
    [[nodiscard]] feature_set offered_features() noexcept override;
    void accept_features(feature_set accepted) noexcept override;
    // All ones where the device has no such field.
    [[nodiscard]] std::uint8_t read_config8(std::size_t offset) noexcept override;
    [[nodiscard]] std::uint16_t read_config16(std::size_t offset) noexcept override;
    [[nodiscard]] std::uint32_t read_config32(std::size_t offset) noexcept override;
    // Nothing is written where the device has no such field.
    void write_config8(std::size_t offset, std::uint8_t value) noexcept override;
    [[nodiscard]] std::uint32_t configuration_generation() noexcept override;
    [[nodiscard]] error queue_size_max(std::uint16_t index, std::uint32_t& size) noexcept override;
    [[nodiscard]] error enable_queue(std::uint16_t index, std::uint16_t size,
                                     const queue_addresses& where) noexcept override;
    [[nodiscard]] bool reset_queue(std::uint16_t index) noexcept override;
    void notify(std::uint16_t index, std::uint16_t next) noexcept override;
    [[nodiscard]] fast_path_registers registers_of_fast_path(std::uint16_t index) const noexcept override;
    [[nodiscard]] interrupt_delivery interrupts() const noexcept override {
        return per_queue_ ? interrupt_delivery::per_queue : interrupt_delivery::shared_line;
    }
    interrupt_cause acknowledge_interrupt() noexcept override;

  protected:
    // The registers that both interfaces have, at addresses of their own.
    struct common_registers {
        std::uintptr_t status;
        std::uintptr_t isr;
        std::uintptr_t queue_select;
        std::uintptr_t configuration_vector;
        std::uintptr_t queue_vector;
    };

    pci_transport(const pci_structures& where, const common_registers& registers) noexcept
        : where_{where}, registers_{registers} {}

    // The vectors of queue `index`, which is selected, and before the first queue that of the configuration.
    [[nodiscard]] error set_vectors(std::uint16_t index) noexcept;
    virtual void use_vectors(pci_vectors vectors) noexcept { vectors_ = vectors; }

    pci_structures where_;
    common_registers registers_;
    struct notification {
        std::uintptr_t address = 0;
        std::uint16_t queue = 0; // what it names, see fast_path_registers
    };
    std::array<notification, max_queues> notify_{}; // by queue

  private:
    [[nodiscard]] bool has(feature_set bits) const noexcept { return (accepted_ & bits) == bits; }
    [[nodiscard]] bool has_config(std::size_t offset, std::size_t width) const noexcept;
    [[nodiscard]] bool accepts_vectors(std::uint16_t queues) noexcept;
    [[nodiscard]] bool configuration_may_have_changed() noexcept;

    pci_vectors vectors_;
    bool per_queue_ = false;
    bool configuration_vector_set_ = false; // since the last reset
    feature_set accepted_ = 0;
    // Of acknowledge_interrupt(), with one vector.
    arch::atomic<std::uint32_t> generation_seen_{~0U};
    arch::atomic<bool> needs_reset_told_{false}; // and nobody has looked at the status since
};

// The legacy interface. The device decides the size of its queues.
class legacy_pci_transport final : public pci_transport {
  public:
    // `registers` is where the I/O space of BAR0 can be accessed, `length` its size: at least 20.
    legacy_pci_transport(std::uintptr_t registers, std::uint32_t length) noexcept;

    [[nodiscard]] bool is_legacy() const noexcept override { return true; }
    [[nodiscard]] feature_set supported_features() const noexcept override;
    [[nodiscard]] feature_set offered_features() noexcept override;
    void accept_features(feature_set accepted) noexcept override;
    [[nodiscard]] std::uint32_t configuration_generation() noexcept override { return 0; }
    [[nodiscard]] bool queue_size_is_fixed() const noexcept override { return true; }
    [[nodiscard]] error queue_size_max(std::uint16_t index, std::uint32_t& size) noexcept override;
    [[nodiscard]] error enable_queue(std::uint16_t index, std::uint16_t size,
                                     const queue_addresses& where) noexcept override;

  private:
    void use_vectors(pci_vectors vectors) noexcept override;
    void locate_configuration() noexcept;

    std::uintptr_t window_;
    std::uint32_t length_;
};

} // namespace inflight::virtio
