// Where the registers of a VIRTIO device on PCI lie (VIRTIO 1.2, 4.1.4), as addresses that a hart can access.
#pragma once

#include <cstdint>

namespace inflight::virtio {

// Of a modern or transitional device. Every structure lies within its BAR, and is as long as its fields need.
struct pci_structures {
    std::uintptr_t common = 0;       // common configuration
    std::uint32_t common_length = 0; // at least 56; the fields of optional features follow
    std::uintptr_t isr = 0;
    std::uintptr_t device = 0; // device-specific configuration; 0: the device has none
    std::uint32_t device_length = 0;
    std::uintptr_t notify = 0;
    std::uint32_t notify_length = 0;
    std::uint32_t notify_off_multiplier = 0;
};

} // namespace inflight::virtio
