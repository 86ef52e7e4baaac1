// info: what there is. Every VIRTIO device, and of a disk everything that it says about itself.

#include "src/console.hpp"
#include "src/programs/programs.hpp"

namespace inflight::kernel {

namespace {

using console::print;

void print_features(const char* label, virtio::feature_set features) noexcept {
    print("  %-18s", label);
    for (unsigned bit = 0; bit < 64; ++bit) {
        if ((features >> bit & 1) != 0) {
            const char* const name = virtio::block_feature_name(bit);
            if (name != nullptr) {
                print(" %s", name);
            } else {
                print(" bit-%u", bit);
            }
        }
    }
    print("\n");
}

void print_disk(const virtio_device& device, const block::virtio_blk::id_string& id) noexcept {
    const block::disk_properties& disk = device.disk->properties();
    print("  %-18s %lu sectors of 512 bytes (%lu MiB)\n", "capacity", disk.capacity, disk.capacity >> 11);
    print("  %-18s logical %u, physical %u, alignment offset %u bytes\n", "block size", disk.logical_block_size,
          disk.physical_block_size, disk.alignment_offset);
    print("  %-18s minimum %u, optimal %u bytes\n", "I/O size", disk.minimum_io_size, disk.optimal_io_size);
    print("  %-18s %u bytes in a segment, %u segments in a request\n", "limits", disk.size_max, disk.seg_max);
    if (disk.max_discard_sectors != 0) {
        print("  %-18s up to %u sectors, aligned to %u\n", "discard", disk.max_discard_sectors,
              disk.discard_sector_alignment);
    } else {
        print("  %-18s no\n", "discard");
    }
    if (disk.max_write_zeroes_sectors != 0) {
        print("  %-18s up to %u sectors\n", "write zeroes", disk.max_write_zeroes_sectors);
    } else {
        print("  %-18s no\n", "write zeroes");
    }
    print("  %-18s %s\n", "access", disk.read_only ? "read-only" : "read and write");
    print("  %-18s %s\n", "write cache", disk.write_cache ? "write-back, flushed on request" : "write-through");
    print("  %-18s %u of %u descriptors, %u requests each\n", "queues", disk.queues, disk.queue_size,
          disk.slots_per_queue);
    print("  %-18s %.*s\n", "serial", static_cast<int>(id.size()), id.data());
    print_features("features offered", disk.offered);
    print_features("features accepted", disk.accepted);
}

void print_json(std::span<const virtio_device> devices) noexcept {
    print("@result {\"program\":\"info\",\"devices\":[");
    bool first = true;
    for (const virtio_device& device : devices) {
        print("%s{\"address\":%lu,\"version\":%u,\"device\":\"%s\",\"interrupt\":%u", first ? "" : ",", device.address,
              device.identity.version, virtio::to_string(device.identity.id), device.interrupt);
        if (device.disk != nullptr) {
            const block::disk_properties& disk = device.disk->properties();
            print(",\"name\":\"%s\",\"capacity\":%lu,\"logical_block_size\":%u,\"physical_block_size\":%u", device.name,
                  disk.capacity, disk.logical_block_size, disk.physical_block_size);
            print(",\"read_only\":%s,\"write_cache\":%s,\"queues\":%u,\"queue_size\":%u,\"slots_per_queue\":%u",
                  disk.read_only ? "true" : "false", disk.write_cache ? "true" : "false", disk.queues, disk.queue_size,
                  disk.slots_per_queue);
            print(",\"features_offered\":%lu,\"features_accepted\":%lu", disk.offered, disk.accepted);
        }
        print("}");
        first = false;
    }
    print("]}\n");
}

} // namespace

async::task<bool> run_info(const environment& here) {
    print("inflight on %lu hart%s, interrupts through the PLIC, %lu MiB free\n", here.machine.harts.size(),
          here.machine.harts.size() == 1 ? "" : "s", here.free_memory.available() >> 20);
    bool passed = true;
    for (const virtio_device& device : here.devices) {
        print("%s%sslot 0x%lx: ", device.name, device.disk != nullptr ? ", " : "", device.address);
        if (device.identity.outcome != virtio::error::none) {
            print("%s\n", virtio::to_string(device.identity.outcome));
            continue;
        }
        print("%s (device id %u), register layout version %u%s, interrupt %u\n", virtio::to_string(device.identity.id),
              static_cast<unsigned>(device.identity.id), device.identity.version,
              device.identity.version == 1 ? " (legacy)" : "", device.interrupt);
        if (device.disk != nullptr) {
            block::virtio_blk::id_string id{};
            const block::status outcome = co_await device.disk->get_id(id);
            print_disk(device, id);
            if (outcome != block::status::ok) {
                print("error: %s does not tell its serial: %s\n", device.name, block::to_string(outcome));
                passed = false;
            }
        }
    }
    if (here.devices.empty()) {
        print("there is no VIRTIO device in any of the %lu slots\n", here.machine.virtio.size());
    }
    print_json(here.devices);
    co_return passed;
}

} // namespace inflight::kernel
