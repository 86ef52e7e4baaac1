#include "src/kernel/interrupt_route.hpp"

#include "src/kernel/console.hpp"

#include <algorithm>

namespace inflight::kernel {

namespace {

// How many queues the device has, but at most `limit`.
std::uint16_t count_queues(virtio::pci_transport& transport, std::uint16_t limit) noexcept {
    std::uint16_t count = 0;
    std::uint32_t size = 0;
    if (!transport.reset()) {
        return 0; // start() fails, and says so
    }
    while (count < limit && transport.queue_size_max(count, size) == virtio::error::none && size != 0) {
        ++count;
    }
    return count;
}

// Allocates messages for configuration changes, on this hart, and for queue i on hart i modulo the number of harts, until
// the controller has no more. Returns how many it has allocated.
std::size_t allocate_messages(interrupt_controller& controller, std::span<interrupt_message> messages) noexcept {
    for (std::size_t i = 0; i < messages.size(); ++i) {
        const arch::hart_index hart =
            i == 0 ? arch::this_hart() : static_cast<arch::hart_index>((i - 1) % arch::harts());
        const auto message = controller.allocate_message(hart);
        if (!message) {
            return i;
        }
        messages[i] = *message;
    }
    return messages.size();
}

void write_table(const pci::msix_table& table, std::span<const interrupt_message> messages) noexcept {
    table.begin();
    for (std::size_t i = 0; i < messages.size(); ++i) {
        table.set(static_cast<std::uint16_t>(i), messages[i].address, messages[i].data);
    }
    table.enable();
}

} // namespace

interrupt_route choose_route(pci_bus& bus, const pci_bus::device& of, virtio::pci_transport& transport, message_use use,
                             std::uint16_t max_queues, interrupt_controller& controller, memory& from) noexcept {
    const pci::msix_table::open_result msix = bus.msix(of);
    if (!msix && msix.error != pci::msix_error::absent) {
        console::print("note: MSI-X of %s is not used: %s\n", of.location.text, pci::to_string(msix.error));
    }
    if (msix) {
        const std::uint16_t queues = count_queues(transport, max_queues);
        const std::size_t per_queue = use == message_use::per_queue ? queues + std::size_t{1} : 1;
        const std::size_t most =
            per_queue <= msix.table.size() ? per_queue : std::min<std::size_t>(msix.table.size(), 2);
        const std::span messages =
            from.create<interrupt_message>(most, [](std::size_t) { return interrupt_message{}; });
        const std::size_t allocated = queues == 0 ? 0 : allocate_messages(controller, messages);
        for (const std::size_t count : {per_queue, std::size_t{2}, std::size_t{1}}) {
            // With one message for everything each is taken for a configuration change where there is no generation.
            if (count > allocated || (count == 1 && transport.is_legacy() && use == message_use::per_queue)) {
                continue;
            }
            write_table(msix.table, messages.first(count));
            if (transport.try_vectors({.count = static_cast<std::uint16_t>(count)}, queues)) {
                return {.line = 0,
                        .messages = messages.first(count),
                        .is_per_queue = transport.interrupts() == virtio::interrupt_delivery::per_queue};
            }
            msix.table.disable();
        }
        msix.table.disable(); // whatever the firmware has left
        static_cast<void>(transport.try_vectors({}, queues));
    }
    bus.use_line(of);
    return {.line = of.line, .messages = {}, .is_per_queue = false};
}

} // namespace inflight::kernel
