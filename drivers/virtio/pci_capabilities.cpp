#include "inflight/drivers/virtio/pci_capabilities.hpp"

#include "inflight/drivers/pci/capabilities.hpp"
#include "inflight/drivers/pci/registers.hpp"

#include <bit>
#include <cstddef>

namespace inflight::virtio {

namespace {

// Fields of struct virtio_pci_cap.
constexpr std::uint16_t cap_len = 2;
constexpr std::uint16_t cfg_type = 3;
constexpr std::uint16_t bar_field = 4;
constexpr std::uint16_t offset_field = 8;
constexpr std::uint16_t length_field = 12;
constexpr std::uint16_t notify_off_multiplier = 16;

// What a structure needs, in the order of cfg_type from 1.
struct structure_rules {
    std::uint8_t capability_length; // at least
    std::uint32_t alignment;
    std::uint32_t length; // at least
    pci_structures_error missing;
};

enum structure : std::uint8_t { common, notify, isr, device_configuration, structures_in_use };

constexpr structure_rules rules[structures_in_use] = {
    {.capability_length = 16, .alignment = 4, .length = 56, .missing = pci_structures_error::common_missing},
    {.capability_length = 20, .alignment = 2, .length = 2, .missing = pci_structures_error::notify_missing},
    {.capability_length = 16, .alignment = 1, .length = 1, .missing = pci_structures_error::isr_missing},
    {.capability_length = 16, .alignment = 4, .length = 1, .missing = pci_structures_error::none}, // optional
};

struct structure_place {
    pci_structures_error outcome = pci_structures_error::none;
    std::uintptr_t address = 0; // 0 without an error: the capability is passed over
    std::uint32_t length = 0;
    std::uint32_t multiplier = 0;
};

structure_place failed(pci_structures_error why) noexcept {
    structure_place place;
    place.outcome = why;
    return place;
}

// Reads the capability at `capability`.
structure_place read_capability(pci::configuration_space& space, const pci::function& of, std::uint16_t capability,
                                structure kind) noexcept {
    const structure_rules& rule = rules[kind];
    const auto at = [capability](std::uint16_t field) {
        return static_cast<std::uint16_t>(capability + field);
    };
    if (space.read8(of.address, at(cap_len)) < rule.capability_length ||
        capability > pci::registers::end_of_capabilities - rule.capability_length) {
        return failed(pci_structures_error::capability_damaged);
    }
    const std::uint8_t index = space.read8(of.address, at(bar_field));
    if (index >= pci::max_bars) {
        return {}; // 4.1.4: other values are reserved, and ignored
    }
    const pci::base_address& bar = of.bars[index];
    if (bar.kind == pci::bar_kind::io) {
        return {}; // there are others in memory space
    }
    if (!bar.is_memory() || !of.decodes_memory()) {
        return failed(pci_structures_error::bar_missing);
    }
    const std::uint32_t offset = space.read32(of.address, at(offset_field));
    structure_place place;
    place.length = space.read32(of.address, at(length_field));
    if (offset > bar.size || place.length > bar.size - offset) {
        return failed(pci_structures_error::outside_bar);
    }
    if (offset % rule.alignment != 0) {
        return failed(pci_structures_error::misaligned);
    }
    if (place.length < rule.length) {
        return failed(pci_structures_error::structure_too_short);
    }
    if (kind == notify) {
        place.multiplier = space.read32(of.address, at(notify_off_multiplier));
        if (place.multiplier == 1 || (place.multiplier != 0 && !std::has_single_bit(place.multiplier))) {
            return failed(pci_structures_error::multiplier_invalid);
        }
    }
    place.address = static_cast<std::uintptr_t>(bar.cpu_address + offset);
    return place;
}

} // namespace

pci_identity identify_pci(const pci::function& of) noexcept {
    constexpr std::uint16_t virtio_vendor = 0x1af4;
    constexpr std::uint16_t first_transitional = 0x1000;
    constexpr std::uint16_t first_modern = 0x1040;
    constexpr std::uint16_t last_device = 0x107f;
    pci_identity identity;
    if (of.vendor != virtio_vendor || of.device < first_transitional || of.device > last_device ||
        of.header_type != 0) {
        return identity;
    }
    identity.is_virtio = true;
    identity.is_transitional = of.device < first_modern;
    if (!identity.is_transitional) {
        identity.id = device_id{static_cast<std::uint32_t>(of.device - first_modern)};
        return identity;
    }
    switch (of.device) { // 4.1.2.1
    case 0x1000: identity.id = device_id::network; break;
    case 0x1001: identity.id = device_id::block; break;
    case 0x1002: identity.id = device_id::balloon; break;
    case 0x1003: identity.id = device_id::console; break;
    case 0x1004: identity.id = device_id::scsi_host; break;
    case 0x1005: identity.id = device_id::entropy; break;
    case 0x1009: identity.id = device_id::file_system_9p; break;
    default: identity.id = device_id{of.subsystem}; break;
    }
    return identity;
}

pci_structures_error find_structures(pci::configuration_space& space, const pci::function& of,
                                     pci_structures& structures) noexcept {
    structure_place found[structures_in_use];
    pci_structures_error errors[structures_in_use] = {};
    bool any = false;
    for (pci::capability_cursor at{space, of.address}; at; at.next()) {
        if (at.id() != pci::capability_id::vendor_specific ||
            at.offset() > pci::registers::end_of_capabilities - bar_field) {
            continue;
        }
        const unsigned type = space.read8(of.address, static_cast<std::uint16_t>(at.offset() + cfg_type));
        if (type == 0 || type > structures_in_use) {
            continue; // PCI_CFG, shared memory, or reserved
        }
        any = true;
        const auto kind = static_cast<structure>(type - 1);
        if (found[kind].address != 0) {
            continue; // the first usable one counts
        }
        found[kind] = read_capability(space, of, at.offset(), kind);
        if (errors[kind] == pci_structures_error::none) {
            errors[kind] = found[kind].outcome;
        }
    }
    if (!any) {
        return pci_structures_error::not_modern;
    }
    for (std::uint8_t kind = common; kind < structures_in_use; ++kind) {
        if (found[kind].address == 0) {
            const pci_structures_error why =
                errors[kind] != pci_structures_error::none ? errors[kind] : rules[kind].missing;
            if (why != pci_structures_error::none) {
                return why;
            }
        }
    }
    structures = {.common = found[common].address,
                  .common_length = found[common].length,
                  .isr = found[isr].address,
                  .device = found[device_configuration].address,
                  .device_length = found[device_configuration].length,
                  .notify = found[notify].address,
                  .notify_length = found[notify].length,
                  .notify_off_multiplier = found[notify].multiplier};
    return pci_structures_error::none;
}

const char* to_string(pci_structures_error why) noexcept {
    switch (why) {
    case pci_structures_error::none: return "no error";
    case pci_structures_error::not_modern:
        return "the device has only the legacy interface of PCI: give it the modern one (QEMU: disable-modern=off)";
    case pci_structures_error::common_missing:
        return "the device has no capability for its common configuration: it is broken";
    case pci_structures_error::notify_missing:
        return "the device has no capability for notifications in memory space: it is broken";
    case pci_structures_error::isr_missing:
        return "the device has no capability for its interrupt status: it is broken";
    case pci_structures_error::capability_damaged:
        return "a VIRTIO capability of the device is shorter than its type needs: it is broken";
    case pci_structures_error::bar_missing:
        return "a structure of the device is in a BAR that does not exist or has no address: see the error of its "
               "function, or it is broken";
    case pci_structures_error::outside_bar: return "a structure of the device leaves its BAR: it is broken";
    case pci_structures_error::misaligned: return "a structure of the device is not aligned: it is broken";
    case pci_structures_error::structure_too_short:
        return "a structure of the device is shorter than the fields that it must have: it is broken";
    case pci_structures_error::multiplier_invalid:
        return "the device's notify_off_multiplier is neither 0 nor an even power of two: it is broken";
    }
    return "unknown error";
}

} // namespace inflight::virtio
