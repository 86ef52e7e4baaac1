#include "src/kernel/pci_host_description.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>

namespace inflight::kernel {
namespace {

using namespace std::string_view_literals;
using node = device_tree::node;
using property = device_tree::property;

// Cells of an address on the bus, and of a size there (PCI Bus Binding to IEEE 1275, 2.1).
constexpr std::uint32_t bus_address_cells = 3;
constexpr std::uint32_t bus_size_cells = 2;

std::uint64_t two_cells(const property& list, std::size_t at) noexcept {
    return std::uint64_t{list.cell(at).value_or(0)} << 32 | list.cell(at + 1).value_or(0);
}

std::size_t cells_in(const property& list) noexcept {
    return list.value().size() / sizeof(std::uint32_t);
}

// What the page tables reach (Sv48, the lower half).
constexpr std::uint64_t max_physical_address = std::uint64_t{1} << 47;

void keep_larger(pci::address_window& window, const pci::address_window& other) noexcept {
    window = other.size > window.size ? other : window;
}

pci_host_error describe_registers(const node& host, pci_host_description& description) noexcept {
    constexpr std::uint64_t function_bytes = 4096;
    constexpr std::uint64_t bus_bytes = std::uint64_t{1} << 20;
    constexpr std::uint32_t buses = 256;
    const auto registers = host.reg(0);
    if (!registers || registers->size < bus_bytes || registers->base % function_bytes != 0) {
        return pci_host_error::registers_damaged;
    }
    description.registers = *registers;
    const auto range = host.find("bus-range"sv);
    const std::uint32_t first = range ? range->cell(0).value_or(buses) : 0;
    const std::uint64_t last =
        range ? range->cell(1).value_or(buses) : std::min<std::uint64_t>(registers->size / bus_bytes, buses) - 1;
    if (first > last || last >= buses) {
        return pci_host_error::bus_range_damaged;
    }
    description.buses = {static_cast<std::uint8_t>(first), static_cast<std::uint8_t>(last)};
    return pci_host_error::none;
}

// Where the interrupts of a map lead to.
struct map_parent {
    std::uint32_t phandle = 0;
    std::size_t address_cells = 0;
    std::size_t interrupt_cells = 0;
};

std::optional<map_parent> find_map_parent(const device_tree& tree, std::uint32_t phandle) noexcept {
    const auto found = tree.find_by_phandle(phandle);
    const auto interrupt_cells = found ? found->interrupt_cells() : std::nullopt;
    // Here, an absent #address-cells is 0, not 2: that of a controller counts only for maps.
    const auto address_cells =
        found && found->find("#address-cells"sv) ? found->address_cells() : std::optional<std::uint32_t>{0};
    if (!interrupt_cells || *interrupt_cells == 0 || !address_cells) {
        return std::nullopt;
    }
    return map_parent{phandle, *address_cells, *interrupt_cells};
}

} // namespace

pci_host_error pci_host_description::read_windows(pci::host_windows& windows) const noexcept {
    pci::host_windows read;
    windows = {}; // also after an error
    const auto parent = host.parent();
    const std::uint32_t cpu_cells = parent ? parent->address_cells().value_or(0) : 0;
    const auto found = host.find("ranges"sv);
    if (!found || cpu_cells < 1 || cpu_cells > 2 || host.address_cells() != bus_address_cells ||
        host.size_cells() != bus_size_cells) {
        return pci_host_error::ranges_damaged;
    }
    const property& ranges = *found;
    const std::size_t entry_cells = bus_address_cells + cpu_cells + bus_size_cells;
    if (ranges.value().size() % (entry_cells * sizeof(std::uint32_t)) != 0) {
        return pci_host_error::ranges_damaged;
    }
    const std::size_t cells = cells_in(ranges);
    for (std::size_t at = 0; at < cells; at += entry_cells) {
        const std::uint32_t space = ranges.cell(at).value_or(0) >> 24 & 3;
        const std::uint64_t bus_address = two_cells(ranges, at + 1);
        const std::size_t cpu_at = at + bus_address_cells;
        const memory_range in_parent{cpu_cells == 2 ? two_cells(ranges, cpu_at) : ranges.cell(cpu_at).value_or(0),
                                     two_cells(ranges, cpu_at + cpu_cells)};
        const auto physical =
            wraps(in_parent) || wraps({bus_address, in_parent.size}) ? std::nullopt : host.physical(in_parent);
        if (!physical || wraps(*physical)) {
            return pci_host_error::ranges_damaged;
        }
        if (physical->base + (physical->size - 1) >= max_physical_address) {
            continue; // it could not be mapped
        }
        const pci::address_window window{bus_address, physical->base, physical->size};
        switch (space) {
        case 1: keep_larger(read.io, window); break;
        case 2: keep_larger(read.memory32, window); break;
        case 3: keep_larger(read.memory64, window); break;
        default: break; // configuration space
        }
    }
    if (read.memory32.size == 0 && read.memory64.size == 0) {
        return pci_host_error::no_memory_window;
    }
    windows = read;
    return pci_host_error::none;
}

std::uint32_t pci_host_description::interrupt_source(std::uint8_t root_device, std::uint8_t root_pin) const noexcept {
    constexpr std::size_t key_cells = bus_address_cells + 1; // #interrupt-cells of a PCI bus is 1
    constexpr std::size_t max_entries = std::size_t{pci::devices_per_bus} * pci::functions_per_device * 4;
    const std::array<std::uint32_t, key_cells> key = {std::uint32_t{root_device} << 11, 0, 0, root_pin};
    if (root_pin == 0) {
        return 0;
    }
    const property interrupt_map = host.find("interrupt-map"sv).value_or(property());
    const property interrupt_map_mask = host.find("interrupt-map-mask"sv).value_or(property());
    const std::size_t cells = cells_in(interrupt_map);
    std::optional<map_parent> parent;
    std::size_t at = 0;
    for (std::size_t entry = 0; entry < max_entries && at + key_cells < cells; ++entry) {
        const std::uint32_t phandle = interrupt_map.cell(at + key_cells).value_or(0);
        if (!parent || parent->phandle != phandle) { // consecutive entries usually have the same controller
            parent = find_map_parent(tree, phandle);
        }
        if (!parent) {
            return 0;
        }
        const std::size_t source_at = at + key_cells + 1 + parent->address_cells;
        if (source_at + parent->interrupt_cells > cells) {
            return 0;
        }
        bool matches = true;
        for (std::size_t index = 0; index < key_cells; ++index) {
            const std::uint32_t mask = interrupt_map_mask.cell(index).value_or(0xffff'ffff); // absent: all bits count
            matches &= ((interrupt_map.cell(at + index).value_or(0) ^ key[index]) & mask) == 0;
        }
        if (matches) {
            return phandle == controller_phandle ? interrupt_map.cell(source_at).value_or(0) : 0;
        }
        at = source_at + parent->interrupt_cells;
    }
    return 0;
}

std::uint32_t pci_host_description::msi_parent() const noexcept {
    const auto parent = host.find("msi-parent"sv);
    return parent ? parent->cell(0).value_or(0) : 0;
}

bool pci_host_description::is_dma_coherent() const noexcept {
    return host.find("dma-coherent"sv).has_value();
}

void describe_pci_host(const device_tree& tree, const node& host, const device_tree::interrupt_controller& controller,
                       pci_host_description& description) noexcept {
    description.tree = tree;
    description.host = host;
    description.controller_phandle = controller.phandle;
    description.outcome = describe_registers(host, description);
}

std::string_view text(pci_host_error error) noexcept {
    switch (error) {
    case pci_host_error::none: return "the device tree describes the PCI bus"sv;
    case pci_host_error::registers_damaged:
        return "the PCI host bridge of the device tree has no well-formed reg of at least 1 MiB"sv;
    case pci_host_error::bus_range_damaged:
        return "the bus-range of the PCI host bridge in the device tree is not two ascending numbers below 256"sv;
    case pci_host_error::ranges_damaged:
        return "the PCI host bridge of the device tree has malformed ranges, or ranges without a physical address"sv;
    case pci_host_error::overlaps_memory:
        return "the PCI host bridge of the device tree has registers or ranges within the machine's memory"sv;
    case pci_host_error::no_response:
        return "nothing responds at the address that the device tree gives to the registers of the PCI host bridge"sv;
    case pci_host_error::no_memory_window:
        return "the PCI host bridge of the device tree has no memory window in its ranges: no device can be placed"sv;
    }
    return "unknown error of a PCI host bridge"sv;
}

} // namespace inflight::kernel
