// Finds the VIRTIO devices of the machine, and starts the disks among them.
#pragma once

#include "drivers/block/disk.hpp"
#include "drivers/virtio/mmio.hpp"
#include "src/device_tree.hpp"
#include "src/memory.hpp"
#include "src/options.hpp"

#include <cstdint>

namespace inflight::kernel {

struct virtio_device {
    std::uintptr_t address;
    std::uint32_t interrupt;
    virtio::mmio_identity identity;
    char name[8];      // "vda" and so on for a disk, else empty
    block::disk* disk; // nullptr if it is none
};

using device_list = bounded_list<virtio_device, 32>;

// Looks at every slot, from the highest address down, which is the order of QEMU's -device options; empty ones are passed
// over. Starts every disk and routes its interrupt to this hart. Ends the machine with one sentence if a disk cannot be
// used.
void find_devices(const machine_description& machine, memory& from, const options& wanted, device_list& found) noexcept;

} // namespace inflight::kernel
