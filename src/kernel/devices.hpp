// Finds the VIRTIO devices of the machine, starts the disks, the sources of entropy and the first console among them,
// and identifies the disks.
#pragma once

#include "drivers/block/disk.hpp"
#include "drivers/console/console_log.hpp"
#include "drivers/entropy/entropy.hpp"
#include "drivers/virtio/features.hpp"
#include "src/kernel/device_location.hpp"
#include "src/kernel/disk_identity.hpp"
#include "src/kernel/disk_interrupts.hpp"
#include "src/kernel/interrupt_controller.hpp"
#include "src/kernel/machine_description.hpp"
#include "src/kernel/memory.hpp"
#include "src/kernel/options.hpp"
#include "src/kernel/pci_bus.hpp"

#include <cstdint>
#include <span>

namespace inflight::kernel {

struct virtio_device {
    virtio::device_id id = virtio::device_id::none;
    device_location location;
    interrupt_route route; // how it interrupts, or would
    char name[8] = ""; // "vda" and so on for a disk, "rng0" for a source of entropy, "log"; empty for another device
    const char* failure = nullptr;         // why the device is unusable, in static storage; nullptr: it is usable
    block::disk* disk = nullptr;           // nullptr: not a disk, or unusable
    disk_identity* disk_id = nullptr;      // nullptr: no usable disk
    disk_interrupts* interrupts = nullptr; // nullptr: no usable disk
    entropy* rng = nullptr;                // nullptr: not a source of entropy, or unusable
    console_log* log = nullptr;            // nullptr: not the first console, or unusable

    // Usable or not.
    [[nodiscard]] bool is_disk() const noexcept { return id == virtio::device_id::block; }
};

using device_list = bounded_list<virtio_device, 32>;

// Examines every slot, from the highest address down, which is the order of QEMU's -device options, and then the PCI bus,
// by ascending address. Skips empty slots. Starts every device that has a driver and connects its interrupt as `wanted` says; the first console becomes the log.
// Prints a note for an unusable device, and adds it to `found` with the reason. `bus`: nullptr if no VIRTIO device is on
// PCI; it stays for ever.
void find_devices(const machine_description& machine, pci_bus* bus, memory& from, const options& wanted,
                  interrupt_controller& interrupts, device_list& found) noexcept;

// For a panic, when all other harts have stopped: resets every device that find_devices() has started, so that it stops
// accessing memory. Calls `say` with the name of each device that does not reset within a second.
void reset_devices(void (*say)(const char* name) noexcept) noexcept;
// Requests the serial numbers of all disks concurrently, and waits a few seconds at most. Then decides for each disk
// whether programs may write to it: options::overwrite must name its serial number, and no other disk may have the
// same.
async::task<void> identify_disks(std::span<const virtio_device> devices, const options& wanted);

} // namespace inflight::kernel
