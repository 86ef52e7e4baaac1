#include "src/kernel/pci_bus.hpp"

#include "arch/riscv64/probe.hpp"
#include "drivers/pci/enumeration.hpp"
#include "drivers/pci/placement.hpp"
#include "drivers/virtio/pci_capabilities.hpp"
#include "src/kernel/console.hpp"

#include <algorithm>
#include <cstdio>

namespace inflight::kernel {

namespace {

// The registers of the legacy interface up to the device-specific configuration (VIRTIO 1.2, 4.1.4.10).
constexpr std::uint64_t legacy_register_bytes = 20;

constexpr std::uint32_t capacity_bytes = 8; // the first field of a disk's configuration (5.2.4)

void print_address(const pci::function& of, device_location& where) noexcept {
    std::snprintf(where.text, sizeof where.text, "PCI %02x:%02x.%u", of.address.bus, of.address.device,
                  of.address.function);
}

} // namespace

bool pci_bus::is_memory(std::uint64_t base, std::uint64_t size) const noexcept {
    return size != 0 && std::ranges::any_of(machine_.memory, [=](const memory_range& bank) {
               return base <= bank.base + (bank.size - 1) && bank.base <= base + (size - 1);
           });
}

pci_host_error pci_bus::find_functions() noexcept {
    if (is_memory(host_.registers.base, host_.registers.size)) {
        return pci_host_error::overlaps_memory;
    }
    if (!arch::riscv64::answers(host_.registers.base)) {
        return pci_host_error::no_response;
    }
    pci::enumerate(space_, host_.buses, functions_);
    return pci_host_error::none;
}

bool pci_bus::has_virtio() const noexcept {
    return std::ranges::any_of(functions_,
                               [](const pci::function& each) { return virtio::identify_pci(each).is_virtio; });
}

// There are none after an error.
pci_host_error pci_bus::read_windows(pci::host_windows& windows) const noexcept {
    const pci_host_error outcome = host_.read_windows(windows);
    for (const pci::address_window* const each : {&windows.io, &windows.memory32, &windows.memory64}) {
        if (is_memory(each->cpu_address, each->size)) {
            windows = {};
            return pci_host_error::overlaps_memory;
        }
    }
    return outcome;
}

void pci_bus::start() noexcept {
    if (functions_.dropped() != 0) {
        console::print("note: %lu PCI functions are left out: the kernel knows at most %lu\n", functions_.dropped(),
                       max_functions);
    }
    pci::host_windows windows;
    if (const pci_host_error outcome = read_windows(windows); outcome != pci_host_error::none) {
        console::print("note: devices on PCI cannot be used: %s\n", text(outcome).data());
    }
    pci::place(space_, windows, functions_);
    for (const pci::function& each : functions_) {
        if (each.outcome != pci::function_error::none && !virtio::identify_pci(each).is_virtio) {
            device_location where;
            print_address(each, where);
            console::print("note: %s cannot be used: %s\n", where.text, pci::to_string(each.outcome));
        }
    }
}

bool pci_bus::find_virtio(const pci::function& candidate, device& found) noexcept {
    const virtio::pci_identity identity = virtio::identify_pci(candidate);
    if (!identity.is_virtio) {
        return false;
    }
    found.id = identity.id;
    found.location.function = candidate.address;
    print_address(candidate, found.location);
    if (candidate.outcome != pci::function_error::none) {
        found.failure = pci::to_string(candidate.outcome);
        return true;
    }
    found.failure = locate(candidate, identity.is_transitional, found.location);
    if (found.failure == nullptr && found.id == virtio::device_id::block &&
        found.location.interface == device_interface::pci && found.location.structures.device_length < capacity_bytes) {
        found.failure =
            "the device-specific configuration of the disk has no room for its capacity: the device is broken";
    }
    if (found.failure == nullptr) {
        pci::enable(space_, candidate);
        found.line = host_.interrupt_source(candidate.root_device, candidate.root_pin);
    }
    return true;
}

// The modern interface, if the function has one. Returns why neither can be used, or nullptr.
const char* pci_bus::locate(const pci::function& of, bool is_transitional, device_location& where) noexcept {
    where.interface = device_interface::pci;
    const virtio::pci_structures_error outcome = virtio::find_structures(space_, of, where.structures);
    if (outcome == virtio::pci_structures_error::none) {
        return nullptr;
    }
    const pci::base_address& bar = of.bars[0];
    if (outcome != virtio::pci_structures_error::not_modern || !is_transitional || bar.kind != pci::bar_kind::io ||
        !of.decodes_io() || bar.size < legacy_register_bytes) {
        return virtio::to_string(outcome);
    }
    where.interface = device_interface::pci_legacy;
    where.registers = bar.cpu_address;
    where.register_bytes = static_cast<std::uint32_t>(bar.size);
    return nullptr;
}

pci::msix_table::open_result pci_bus::msix(const device& of) noexcept {
    const auto function = std::ranges::find_if(
        functions_, [&](const pci::function& each) { return each.address == of.location.function; });
    return pci::msix_table::open(space_, *function);
}

void pci_bus::stop(const device& of) noexcept {
    pci::isolate(space_, of.location.function);
}

void pci_bus::use_line(const device& of) noexcept {
    pci::set_intx(space_, of.location.function, true);
}

} // namespace inflight::kernel
