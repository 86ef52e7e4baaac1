// The host bridge of a PCI bus, from the device tree ("pci-host-ecam-generic"; Devicetree binding "host-generic-pci").
#pragma once

#include "inflight/drivers/pci/configuration_space.hpp"
#include "inflight/drivers/pci/placement.hpp"
#include "src/kernel/device_tree.hpp"
#include "src/kernel/memory_range.hpp"

#include <cstdint>
#include <string_view>

namespace inflight::kernel {

// Why the machine's PCI bus cannot be used.
enum class pci_host_error : std::uint8_t {
    none,
    registers_damaged,
    bus_range_damaged,
    ranges_damaged,
    no_memory_window,
    overlaps_memory,
    no_response,
};

// One sentence that names the cause and, where there is one, the remedy. Static storage.
[[nodiscard]] std::string_view text(pci_host_error error) noexcept;

// Refers to the blob. Only what it takes to look for functions is read at once, because most machines have none.
struct pci_host_description {
    pci_host_error outcome = pci_host_error::none; // if it is not none, the rest must not be used
    memory_range registers;                        // ECAM, from the first page of bus `buses.first`
    pci::bus_range buses;
    // Whoever finds no function but host bridges, before memory is protected, sets this to false: then neither
    // registers nor windows are mapped.
    bool is_used = true;

    // Fills `windows`, of each kind with the largest; after an error it has none.
    [[nodiscard]] pci_host_error read_windows(pci::host_windows& windows) const noexcept;

    // The source, at the machine's controller, of an interrupt pin (1 .. 4) of a device on the root bus. 0: none there.
    // The entries of the interrupt map before a damaged one count.
    [[nodiscard]] std::uint32_t interrupt_source(std::uint8_t root_device, std::uint8_t root_pin) const noexcept;

    // The phandle of the controller that takes messages; 0: none.
    [[nodiscard]] std::uint32_t msi_parent() const noexcept;
    [[nodiscard]] bool is_dma_coherent() const noexcept;

    device_tree tree;
    device_tree::node host;
    std::uint32_t controller_phandle = 0; // of the machine's controller
};

// Fills a default-constructed `description` from the node `host`. `controller` is the one that the sources of
// interrupt_source() are of.
void describe_pci_host(const device_tree& tree, const device_tree::node& host,
                       const device_tree::interrupt_controller& controller, pci_host_description& description) noexcept;

} // namespace inflight::kernel
