// The machine's PCI bus, and the VIRTIO devices on it.
#pragma once

#include "drivers/pci/ecam.hpp"
#include "drivers/pci/function.hpp"
#include "drivers/pci/msix.hpp"
#include "drivers/virtio/features.hpp"
#include "src/kernel/device_location.hpp"
#include "src/kernel/machine_description.hpp"
#include "src/kernel/pci_host_description.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace inflight::kernel {

class pci_bus {
  public:
    // A VIRTIO device. `failure` says why it cannot be used, in static storage; nullptr: it can be.
    struct device {
        virtio::device_id id = virtio::device_id::none;
        device_location location;
        const char* failure = nullptr;
        std::uint32_t line = 0; // source of its interrupt pin at the machine's controller; 0: none
    };

    explicit pci_bus(const pci_host_description& host) noexcept
        : host_{host}, space_{host.registers.base, host.registers.size, host.buses} {}
    pci_bus(const pci_bus&) = delete;
    pci_bus& operator=(const pci_bus&) = delete;

    // Whether the host bridge of the machine, whose tree may be wrong, can be looked at: its addresses are not those of
    // memory, and something responds there. Memory is not translated yet.
    [[nodiscard]] static pci_host_error check(const machine_description& machine) noexcept;

    // Finds all functions. Returns whether there is a VIRTIO device among them. Once, before start().
    [[nodiscard]] bool find_functions() noexcept;

    // Gives all functions their addresses. Prints a note for what cannot be used. Once.
    void start() noexcept;

    // After start(): calls `visit(device)` for each VIRTIO device, in the order of the addresses. A usable one decodes its
    // addresses.
    template <typename Visit>
    void for_each_virtio(Visit&& visit) noexcept {
        for (const pci::function& each : functions_) {
            device found;
            if (find_virtio(each, found)) {
                visit(found);
            }
        }
    }

    // For programs that show registers.
    [[nodiscard]] pci::configuration_space& space() noexcept { return space_; }

    // The MSI-X table of a device that for_each_virtio() has found; nothing is wrong if it has none.
    [[nodiscard]] pci::msix_table::open_result msix(const device& of) noexcept;

    // Ends its access to memory, its interrupts, and the access to its registers.
    void stop(const device& of) noexcept;

    // Lets the device interrupt by its pin.
    void use_line(const device& of) noexcept;

  private:
    static constexpr std::size_t max_functions = 64;

    [[nodiscard]] bool find_virtio(const pci::function& candidate, device& found) noexcept;
    [[nodiscard]] const char* locate(const pci::function& of, bool is_transitional, device_location& where) noexcept;

    const pci_host_description& host_;
    pci::ecam space_;
    std::array<pci::function, max_functions> storage_;
    pci::function_list functions_{storage_};
};

} // namespace inflight::kernel
