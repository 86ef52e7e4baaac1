#include "src/kernel/device_location.hpp"

#include "drivers/virtio/mmio.hpp"

namespace inflight::kernel {

const char* to_string(device_interface which) noexcept {
    switch (which) {
    case device_interface::mmio_legacy: return "register layout version 1 (legacy)";
    case device_interface::mmio: return "register layout version 2";
    case device_interface::pci_legacy: return "legacy interface";
    case device_interface::pci: return "modern interface";
    }
    return "unknown interface";
}

virtio::transport* create_transport(memory& from, const device_location& where,
                                    virtio::pci_transport*& on_pci) noexcept {
    on_pci = nullptr;
    switch (where.interface) {
    case device_interface::mmio_legacy: return from.emplace<virtio::legacy_mmio_transport>(where.registers);
    case device_interface::mmio: return from.emplace<virtio::mmio_transport>(where.registers);
    case device_interface::pci_legacy:
        return on_pci = from.emplace<virtio::legacy_pci_transport>(where.registers, where.register_bytes);
    case device_interface::pci: return on_pci = from.emplace<virtio::pci_transport>(where.structures);
    }
    return nullptr;
}

bool reset_device(const device_location& where) noexcept {
    switch (where.interface) {
    case device_interface::mmio_legacy: return virtio::legacy_mmio_transport{where.registers}.reset();
    case device_interface::mmio: return virtio::mmio_transport{where.registers}.reset();
    case device_interface::pci_legacy:
        return virtio::legacy_pci_transport{where.registers, where.register_bytes}.reset();
    case device_interface::pci: return virtio::pci_transport{where.structures}.reset();
    }
    return false;
}

} // namespace inflight::kernel
