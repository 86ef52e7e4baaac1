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

    // Of a machine that has a usable host bridge.
    explicit pci_bus(const machine_description& machine) noexcept
        : machine_{machine}, host_{*machine.pci}, space_{host_.registers.base, host_.registers.size, host_.buses} {}
    pci_bus(const pci_bus&) = delete;
    pci_bus& operator=(const pci_bus&) = delete;

    // Finds all functions. Fails if the tree is wrong about the registers of the host bridge: they are within memory, or
    // nothing responds there. Once, before start(), and before memory is translated.
    [[nodiscard]] pci_host_error find_functions() noexcept;

    // Whether there is a VIRTIO device among them.
    [[nodiscard]] bool has_virtio() const noexcept;

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

    // Ends the device's access to memory, and its interrupts.
    void stop(const device& of) noexcept;

    // Lets the device interrupt by its pin.
    void use_line(const device& of) noexcept;

  private:
    static constexpr std::size_t max_functions = 64;

    [[nodiscard]] bool find_virtio(const pci::function& candidate, device& found) noexcept;
    [[nodiscard]] const char* locate(const pci::function& of, bool is_transitional, device_location& where) noexcept;

    [[nodiscard]] bool is_memory(std::uint64_t base, std::uint64_t size) const noexcept;
    [[nodiscard]] pci_host_error read_windows(pci::host_windows& windows) const noexcept;

    const machine_description& machine_;
    const pci_host_description& host_;
    pci::ecam space_;
    std::array<pci::function, max_functions> storage_;
    pci::function_list functions_{storage_};
};

} // namespace inflight::kernel
