// Finds out whether a PCI function is a VIRTIO device, and where its structures are (VIRTIO 1.2, 4.1.2 and 4.1.4).
#pragma once

#include "inflight/drivers/pci/configuration_space.hpp"
#include "inflight/drivers/pci/function.hpp"
#include "inflight/drivers/virtio/features.hpp"
#include "inflight/drivers/virtio/pci_structures.hpp"

#include <cstdint>

namespace inflight::virtio {

// What a function says about itself.
struct pci_identity {
    bool is_virtio = false;       // vendor and device are those of VIRTIO; the rest is meaningful only then
    bool is_transitional = false; // device 0x1000 to 0x103f: a legacy interface, and perhaps the modern one
    device_id id = device_id::none;
};

[[nodiscard]] pci_identity identify_pci(const pci::function& of) noexcept;

// Why the structures of a function cannot be used.
enum class pci_structures_error : std::uint8_t {
    none,
    not_modern,     // no structure at all: the device has only the legacy interface
    common_missing, // no capability for the common configuration
    notify_missing, // no capability for notifications in memory space
    isr_missing,
    capability_damaged, // cap_len is less than the type needs, or the capability leaves the configuration space
    bar_missing,        // the structure is in a BAR that is absent or has no address
    outside_bar,        // offset and length leave the BAR
    misaligned,
    structure_too_short,
    multiplier_invalid, // notify_off_multiplier is neither 0 nor a power of two from 2
};

// One sentence that names the cause and the remedy.
[[nodiscard]] const char* to_string(pci_structures_error why) noexcept;

// Fills `structures` from the first usable capability of each type. Those in I/O space are passed over. Fails with the
// first error of a type that has no usable one, and then leaves `structures` as it is. place() has placed the BARs;
// decoding may still be off. A device without a device-specific configuration is no error: `structures.device` is 0.
[[nodiscard]] pci_structures_error find_structures(pci::configuration_space& space, const pci::function& of,
                                                   pci_structures& structures) noexcept;

} // namespace inflight::virtio
