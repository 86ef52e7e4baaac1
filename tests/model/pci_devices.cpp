// Functions of the PCI model: MSI-X, VIRTIO devices, bridges.
#include "tests/model/pci_model.hpp"

#include <utility>

namespace inflight::model {

namespace {

constexpr std::uint8_t msix_capability = 0x11;
constexpr std::uint8_t vendor_capability = 0x09;
constexpr std::uint8_t express_capability = 0x10;

void append(std::vector<std::uint8_t>& bytes, std::uint32_t value) {
    for (unsigned shift = 0; shift < 32; shift += 8) {
        bytes.push_back(static_cast<std::uint8_t>(value >> shift));
    }
}

} // namespace

pci_msix_registers::pci_msix_registers(arch::host::machine& machine, pci_function& owner, std::size_t bar,
                                       std::uint16_t vectors, std::uint32_t pending_at, std::uint64_t bar_size)
    : machine_{machine}, owner_{&owner}, pending_at_{pending_at}, entries_(vectors, {0, 0, 0, 1}), pending_(vectors) {
    owner.set_bar(bar, {.kind = pci_bar_kind::memory32, .size = bar_size, .registers = this});
    std::vector<std::uint8_t> body{static_cast<std::uint8_t>(vectors - 1),
                                   static_cast<std::uint8_t>((vectors - 1) >> 8)};
    append(body, static_cast<std::uint32_t>(bar));
    append(body, pending_at | static_cast<std::uint32_t>(bar));
    const std::uint8_t writable[] = {0, 0xc0};
    capability_ = owner.add_capability(msix_capability, body, writable);
    owner.on_write = [this, before = std::move(owner.on_write)](std::uint16_t offset, unsigned width) {
        if (before) {
            before(offset, width);
        }
        send_pending();
    };
}

std::uint16_t pci_msix_registers::control() const {
    return static_cast<std::uint16_t>(owner_->peek(static_cast<std::uint16_t>(capability_ + 2), 2));
}

bool pci_msix_registers::is_masked(std::uint16_t vector) const {
    return (control() & 0x4000) != 0 || (entries_.at(vector)[3] & 1) != 0;
}

void pci_msix_registers::raise(std::uint16_t vector) {
    pending_.at(vector) = true;
    send_pending();
}

void pci_msix_registers::send_pending() {
    for (std::uint16_t vector = 0; vector < vectors(); ++vector) {
        if (pending_[vector] && is_enabled() && !is_masked(vector) && pci_model::is_bus_master(*owner_)) {
            pending_[vector] = false;
            const auto& entry = entries_[vector];
            if (deliver_) {
                deliver_(std::uint64_t{entry[1]} << 32 | entry[0], entry[2]);
            }
        }
    }
}

std::uint32_t pci_msix_registers::read(std::uint64_t offset, unsigned width) {
    if (width != 4) {
        machine_.report("PCI-WIDTH", "the MSI-X table is read with " + std::to_string(width) + " bytes");
        return 0;
    }
    if (offset < entries_.size() * 16) {
        return entries_[offset / 16][offset / 4 % 4];
    }
    std::uint32_t bits = 0;
    if (offset >= pending_at_) {
        for (std::uint64_t vector = (offset - pending_at_) * 8, bit = 0; bit < 32 && vector + bit < pending_.size();
             ++bit) {
            bits |= std::uint32_t{pending_[vector + bit]} << bit;
        }
    }
    return bits;
}

void pci_msix_registers::write(std::uint64_t offset, unsigned width, std::uint32_t value) {
    if (width != 4) {
        return machine_.report("PCI-WIDTH", "the MSI-X table is written with " + std::to_string(width) + " bytes");
    }
    if (offset >= entries_.size() * 16) {
        return machine_.report("PCI-READ-ONLY", "a write behind the entries of the MSI-X table");
    }
    const auto vector = static_cast<std::uint16_t>(offset / 16);
    const std::uint64_t word = offset / 4 % 4;
    if (word != 3 && is_enabled() && !is_masked(vector)) {
        machine_.report("PCI-MSIX", "entry " + std::to_string(vector) + " is changed while it is unmasked");
    }
    entries_[vector][word] = word == 3 ? value & 1 : value;
    send_pending();
}

std::vector<std::uint8_t> virtio_capability(std::uint8_t cfg_type, std::uint8_t bar, std::uint32_t offset,
                                            std::uint32_t length, std::uint32_t multiplier) {
    const bool is_long = cfg_type == 2 || cfg_type == 5;
    std::vector<std::uint8_t> body{is_long ? std::uint8_t{20} : std::uint8_t{16}, cfg_type, bar, 0, 0, 0};
    append(body, offset);
    append(body, length);
    if (is_long) {
        append(body, multiplier);
    }
    return body;
}

std::unique_ptr<pci_function> virtio_function(std::uint16_t type, bool transitional, arch::host::mmio_device* registers,
                                              const pci_virtio_layout& layout) {
    constexpr std::uint16_t transitional_ids[] = {0, 0x1000, 0x1001, 0x1003, 0x1005, 0x1002};
    pci_identity identity{.vendor = 0x1af4,
                          .device = static_cast<std::uint16_t>(0x1040 + type),
                          .class_code = 0x010000,
                          .revision = 1,
                          .subsystem_vendor = 0x1af4,
                          .subsystem = 0x1100};
    if (transitional) {
        identity.device = type < std::size(transitional_ids) ? transitional_ids[type] : std::uint16_t{0x103f};
        identity.subsystem = type;
        identity.revision = 0;
    }
    auto device = std::make_unique<pci_function>(identity);
    if (transitional) {
        device->set_bar(0, {.kind = pci_bar_kind::io, .size = 0x80});
    }
    device->set_bar(layout.bar, {.kind = pci_bar_kind::prefetchable64, .size = 0x4000, .registers = registers});
    const std::uint8_t bar = layout.bar;
    device->add_capability(vendor_capability, virtio_capability(5, 0, 0, 0)); // PCI_CFG
    device->add_capability(vendor_capability,
                           virtio_capability(2, bar, layout.notify, layout.length, layout.multiplier));
    device->add_capability(vendor_capability, virtio_capability(4, bar, layout.device, layout.length));
    device->add_capability(vendor_capability, virtio_capability(3, bar, layout.isr, layout.length));
    device->add_capability(vendor_capability, virtio_capability(1, bar, layout.common, layout.length));
    return device;
}

std::unique_ptr<pci_function> bridge_function(bool root_port) {
    auto bridge = std::make_unique<pci_function>(pci_identity{
        .device = root_port ? std::uint16_t{0x000c} : std::uint16_t{0x0001}, .class_code = 0x060400, .header_type = 1});
    if (root_port) {
        const std::uint8_t express[] = {0x42, 0x00}; // version 2, type 4
        bridge->add_capability(express_capability, express);
    }
    return bridge;
}

} // namespace inflight::model
