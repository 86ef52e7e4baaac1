// Where a VIRTIO device is, and how a driver reaches its registers.
#pragma once

#include "drivers/pci/configuration_space.hpp"
#include "drivers/virtio/pci.hpp"
#include "drivers/virtio/pci_structures.hpp"
#include "drivers/virtio/transport.hpp"
#include "src/kernel/memory.hpp"

#include <cstdint>

namespace inflight::kernel {

enum class device_interface : std::uint8_t {
    mmio_legacy, // register layout version 1
    mmio,        // version 2
    pci_legacy,
    pci,
};

struct device_location {
    device_interface interface = device_interface::mmio;
    std::uintptr_t registers = 0;      // of an MMIO slot, or of the legacy interface on PCI
    std::uint32_t register_bytes = 0;  // of the legacy interface on PCI
    pci::function_address function;    // on PCI
    virtio::pci_structures structures; // of the modern interface on PCI
    char text[20] = "";                // "slot 0x10008000", "PCI 00:01.0"

    [[nodiscard]] bool is_pci() const noexcept {
        return interface == device_interface::pci || interface == device_interface::pci_legacy;
    }
    [[nodiscard]] bool is_legacy() const noexcept {
        return interface == device_interface::mmio_legacy || interface == device_interface::pci_legacy;
    }
};

// Words that follow the name of the device's type: "register layout version 2".
[[nodiscard]] const char* to_string(device_interface which) noexcept;

// The transport of that device; nullptr if no memory is left. `on_pci` is the same transport if it is on PCI, else nullptr.
[[nodiscard]] virtio::transport* create_transport(memory& from, const device_location& where,
                                                  virtio::pci_transport*& on_pci) noexcept;

// Resets the device through a new transport, because what its driver keeps in memory may be damaged. Returns false if it
// does not end its reset.
[[nodiscard]] bool reset_device(const device_location& where) noexcept;

} // namespace inflight::kernel
