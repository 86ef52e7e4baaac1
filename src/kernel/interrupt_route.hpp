// How the interrupts of a device reach the harts.
#pragma once

#include "drivers/virtio/pci.hpp"
#include "src/kernel/interrupt_controller.hpp"
#include "src/kernel/memory.hpp"
#include "src/kernel/pci_bus.hpp"

#include <cstdint>
#include <span>

namespace inflight::kernel {

// A wired line, or messages. There are as many messages as virtio::pci_transport has vectors, in their order.
struct interrupt_route {
    std::uint32_t line = 0;                      // source at the controller; 0: none
    std::span<const interrupt_message> messages; // not empty: the line is not used
    bool is_per_queue = false; // each queue has a message of its own, which goes to the hart that owns the queue
};

// Which messages a driver can use.
enum class message_use : std::uint8_t {
    per_queue, // also one for configuration changes and one for all queues, or one for everything
    one,       // for everything
};

// Chooses the best route that the device, its MSI-X table, the controller and the driver have: a message for each of its
// first `max_queues` queues, and one for configuration changes; or one message for all queues; or one for everything; or
// its interrupt pin. Before the driver starts the device. Prints a note if MSI-X is broken.
[[nodiscard]] interrupt_route choose_route(pci_bus& bus, const pci_bus::device& of, virtio::pci_transport& transport,
                                           message_use use, std::uint16_t max_queues, interrupt_controller& controller,
                                           memory& from) noexcept;

} // namespace inflight::kernel
