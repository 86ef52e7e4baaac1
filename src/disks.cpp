#include "src/disks.hpp"

#include "src/end.hpp"
#include "src/interrupts.hpp"

#include <cstdio>
#include <new>

namespace inflight::kernel {

namespace {

template <typename T, typename... Arguments>
T& create(memory& from, Arguments&&... arguments) noexcept {
    std::byte* const place = from.allocate(sizeof(T), alignof(T));
    if (place == nullptr) {
        fail("no memory is left for the devices: give the machine more (./run --memory)");
    }
    return *::new (place) T{static_cast<Arguments&&>(arguments)...};
}

virtio::transport& create_transport(memory& from, const virtio_device& device) noexcept {
    if (device.identity.version == 1) {
        return create<virtio::legacy_mmio_transport>(from, device.address);
    }
    return create<virtio::mmio_transport>(from, device.address);
}

void start_disk(virtio_device& device, memory& from, const options& wanted) noexcept {
    device.disk = &create<block::disk>(from, create_transport(from, device));
    const virtio::error outcome =
        device.disk->start(from, {.queues = wanted.queues,
                                  .queue_size = wanted.queue_size,
                                  .features_off = wanted.features_off,
                                  .request_timeout = wanted.request_timeout * arch::ticks_per_second()});
    if (outcome != virtio::error::none) {
        fail("%s at 0x%lx: %s", device.name, device.address, virtio::to_string(outcome));
    }
    if (wanted.interrupts == interrupt_routing::nobody) {
        return;
    }
    if (!interrupts::route(
            device.interrupt, [](void* disk) noexcept { static_cast<block::disk*>(disk)->handle_interrupt(); },
            device.disk)) {
        fail("%s at 0x%lx: the device tree gives it the interrupt source %u, which the PLIC does not have", device.name,
             device.address, device.interrupt);
    }
    if (wanted.interrupts == interrupt_routing::any_hart) {
        interrupts::route_to_all(device.interrupt);
    }
}

} // namespace

void find_devices(const machine_description& machine, memory& from, const options& wanted,
                  device_list& found) noexcept {
    char letter = 'a';
    for (std::size_t i = machine.virtio.size(); i-- > 0;) {
        const virtio_slot& slot = machine.virtio[i];
        virtio_device device{.address = slot.registers.base,
                             .interrupt = slot.interrupt,
                             .identity = virtio::identify_mmio(slot.registers.base),
                             .name = "",
                             .disk = nullptr};
        if (device.identity.outcome == virtio::error::no_device) {
            continue;
        }
        if (device.identity.outcome == virtio::error::none && device.identity.id == virtio::device_id::block) {
            std::snprintf(device.name, sizeof device.name, "vd%c", letter++);
            start_disk(device, from, wanted);
        }
        found.push_back(device);
    }
}

} // namespace inflight::kernel
