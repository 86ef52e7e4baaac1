// info: prints every VIRTIO device, and for a disk all its properties.

#include "src/kernel/console.hpp"
#include "src/kernel/program.hpp"

#include <cstdio>
#include <iterator>

namespace inflight::kernel {

namespace {

using console::print;

void print_features(const char* label, virtio::feature_set features,
                    const char* (*name_of)(unsigned bit) noexcept) noexcept {
    print("  %-18s", label);
    for (unsigned bit = 0; bit < 64; ++bit) {
        if ((features >> bit & 1) != 0) {
            const char* const name = name_of(bit);
            if (name != nullptr) {
                print(" %s", name);
            } else {
                print(" bit-%u", bit);
            }
        }
    }
    print("\n");
}

std::uint64_t short_lengths(const block::disk& disk) noexcept {
    std::uint64_t sum = 0;
    for (std::uint16_t queue = 0; queue < disk.properties().queues; ++queue) {
        sum += disk.count(queue).short_lengths;
    }
    return sum;
}

void print_ranges(const char* label, block::virtio_blk::request_type type, const block::disk_properties& disk,
                  const char* more) noexcept {
    const block::range_limits limits = limits_of(type, disk);
    if (limits.max_sectors == 0) {
        print("  %-18s no\n", label);
        return;
    }
    print("  %-18s up to %u sectors in a segment, %u segment%s in a request", label, limits.max_sectors,
          limits.max_segments, limits.max_segments == 1 ? "" : "s");
    if (limits.alignment > 1) {
        print(", aligned to %u", limits.alignment);
    }
    print("%s\n", more);
}

void print_zones(const block::disk_properties& disk) noexcept {
    if (disk.zone_sectors == 0) {
        return;
    }
    print(
        "  %-18s %lu of %u sectors, at most %u open and %u active (0: no limit), append up to %u sectors, in units of "
        "%u bytes\n",
        "zones", (disk.capacity + disk.zone_sectors - 1) / disk.zone_sectors, disk.zone_sectors, disk.max_open_zones,
        disk.max_active_zones, disk.max_append_sectors, disk.write_granularity);
}

const char* write_cache_of(const block::disk_properties& disk) noexcept {
    if (!disk.can_flush) {
        return "none: every write is durable when it ends";
    }
    if (disk.write_cache) {
        return disk.can_switch_write_cache ? "write-back, flushed on request; can be switched"
                                           : "write-back, flushed on request";
    }
    return disk.can_switch_write_cache ? "write-through; can be switched" : "write-through";
}

// Asked of the device while the program runs.
void print_lifetime(block::status outcome, const block::virtio_blk::lifetime& life) noexcept {
    constexpr const char* reserve[] = {"not defined", "normal", "80 % used", "90 % used"};
    static_assert(std::size(reserve) == block::virtio_blk::lifetime_limits::pre_eol_info + 1);
    if (outcome == block::status::ok) { // in tenths, rounded up; 0: not defined, 11: over
        print("  %-18s reserved blocks %s, of the life %u/10 (SLC) and %u/10 (MLC) are over\n", "lifetime",
              reserve[life.pre_eol_info], life.device_lifetime_est_typ_a, life.device_lifetime_est_typ_b);
    } else if (outcome == block::status::unsupported) {
        print("  %-18s not said\n", "lifetime");
    } else {
        print("  %-18s unknown: %s\n", "lifetime", block::to_string(outcome));
    }
}

void print_disk(const virtio_device& device) noexcept {
    const block::disk_properties& disk = device.disk->properties();
    print("  %-18s %lu sectors of 512 bytes (%lu MiB)\n", "capacity", disk.capacity, disk.capacity >> 11);
    print("  %-18s logical %u, physical %lu, alignment offset %lu bytes\n", "block size", disk.logical_block_size,
          disk.physical_block_size, disk.alignment_offset);
    print("  %-18s minimum %lu, optimal %lu bytes\n", "I/O size", disk.minimum_io_size, disk.optimal_io_size);
    print("  %-18s %u bytes in a segment, %u segments in a request\n", "limits", disk.size_max, disk.seg_max);
    if (disk.geometry != block::disk_geometry{}) {
        print("  %-18s %u cylinders, %u heads, %u sectors in a track\n", "geometry", disk.geometry.cylinders,
              disk.geometry.heads, disk.geometry.sectors);
    } else {
        print("  %-18s not said\n", "geometry");
    }
    print_ranges("discard", block::virtio_blk::request_type::discard, disk, "");
    print_ranges("write zeroes", block::virtio_blk::request_type::write_zeroes, disk,
                 disk.write_zeroes_may_unmap ? ", may unmap" : "");
    print_ranges("secure erase", block::virtio_blk::request_type::secure_erase, disk, "");
    print_zones(disk);
    print("  %-18s %s\n", "access", disk.read_only ? "read-only" : "read and write");
    print("  %-18s %s\n", "write cache", write_cache_of(disk));
    print("  %-18s %u of %u descriptors, %u requests each\n", "queues", disk.queues, disk.queue_size,
          disk.slots_per_queue);
    switch (const block::status outcome = device.disk_id->outcome(); outcome) {
    case block::status::ok: print("  %-18s %s\n", "serial", device.disk_id->printable().c_str()); break;
    case block::status::timed_out: print("  %-18s unknown: the device has not replied\n", "serial"); break;
    default: print("  %-18s unknown: %s\n", "serial", block::to_string(outcome)); break;
    }
    print_features("features offered", disk.offered, block::virtio_blk::feature_name);
    print_features("features accepted", disk.accepted, block::virtio_blk::feature_name);
    if (const std::uint64_t wrong = short_lengths(*device.disk); wrong != 0) {
        print("  %-18s %lu of the requests since the start: too short\n", "used lengths", wrong);
    }
}

// VIRTIO 1.2, 5.3.3.
const char* console_feature_name(unsigned bit) noexcept {
    constexpr const char* names[] = {"SIZE", "MULTIPORT", "EMERG_WRITE"};
    return bit < std::size(names) ? names[bit] : virtio::feature_name(bit);
}

// Of a driver with one queue and one buffer.
template <typename Driver>
void print_one_queue(const Driver& driver, const char* (*name_of)(unsigned bit) noexcept) noexcept {
    print("  %-18s 1 of %u descriptors, 1 buffer of %zu bytes\n", "queues", driver.queue_size(), Driver::buffer_size);
    print_features("features offered", driver.device().offered(), name_of);
    print_features("features accepted", driver.device().accepted(), name_of);
}

template <typename Driver>
void print_one_queue_json(const virtio_device& device, const Driver& driver) noexcept {
    print(",\"name\":\"%s\",\"queue_size\":%u,\"features_offered\":%lu,\"features_accepted\":%lu", device.name,
          driver.queue_size(), driver.device().offered(), driver.device().accepted());
}

void print_interrupts(const interrupt_route& route) noexcept {
    if (route.messages.empty()) {
        print("interrupt %u\n", route.line);
        return;
    }
    const std::size_t count = route.messages.size();
    print("%lu message%s (MSI-X)\n", count, count == 1 ? "" : "s");
    for (std::size_t vector = 0; vector < count; ++vector) {
        char purpose[24];
        if (vector != 0 && route.is_per_queue) {
            std::snprintf(purpose, sizeof purpose, "queue %lu", vector - 1);
        } else {
            std::snprintf(purpose, sizeof purpose, "%s",
                          vector != 0  ? "all queues"
                          : count == 1 ? "everything"
                                       : "configuration");
        }
        const interrupt_message& each = route.messages[vector];
        print("  %-18s vector %lu, id %u of hart %u\n", purpose, vector, each.data, each.hart);
    }
}

void print_location_json(const virtio_device& device) noexcept {
    print("\"location\":\"%s\",\"interface\":\"%s\",\"device\":\"%s\",", device.location.text,
          to_string(device.location.interface), virtio::to_string(device.id));
    if (!device.location.is_pci()) {
        print("\"address\":%lu,\"version\":%u,", device.location.registers, device.location.is_legacy() ? 1 : 2);
    }
    print("\"interrupt\":%u,\"messages\":[", device.route.line);
    const char* separator = "";
    for (const interrupt_message& each : device.route.messages) {
        print("%s{\"hart\":%u,\"id\":%u}", separator, each.hart, each.data);
        separator = ",";
    }
    print("]");
}

// As ./run --interrupts has them, and as people write them.
struct names {
    const char* in_json;
    const char* in_text;
};

names controller_name(wired_controller_kind kind) noexcept {
    switch (kind) {
    case wired_controller_kind::plic: break;
    case wired_controller_kind::aplic: return {"aplic", "APLIC"};
    case wired_controller_kind::aplic_imsic: return {"imsic", "IMSIC"};
    }
    return {"plic", "PLIC"};
}

void print_ranges_json(const char* name, block::virtio_blk::request_type type,
                       const block::disk_properties& disk) noexcept {
    const block::range_limits limits = limits_of(type, disk);
    print(",\"max_%s_sectors\":%u,\"max_%s_seg\":%u", name, limits.max_sectors, name, limits.max_segments);
}

void print_json(const machine_description& machine, std::span<const virtio_device> devices) noexcept {
    print("@result {\"program\":\"info\",\"interrupts\":\"%s\",\"devices\":[",
          controller_name(machine.wired.kind).in_json);
    bool first = true;
    for (const virtio_device& device : devices) {
        print("%s{", first ? "" : ",");
        print_location_json(device);
        if (device.disk != nullptr) {
            const block::disk_properties& disk = device.disk->properties();
            print(",\"name\":\"%s\",\"capacity\":%lu,\"logical_block_size\":%u,\"physical_block_size\":%lu",
                  device.name, disk.capacity, disk.logical_block_size, disk.physical_block_size);
            print(",\"read_only\":%s,\"write_cache\":%s,\"queues\":%u,\"queue_size\":%u,\"slots_per_queue\":%u",
                  disk.read_only ? "true" : "false", disk.write_cache ? "true" : "false", disk.queues, disk.queue_size,
                  disk.slots_per_queue);
            print(",\"cylinders\":%u,\"heads\":%u,\"sectors\":%u", disk.geometry.cylinders, disk.geometry.heads,
                  disk.geometry.sectors);
            print(",\"alignment_offset\":%lu,\"minimum_io_size\":%lu,\"optimal_io_size\":%lu", disk.alignment_offset,
                  disk.minimum_io_size, disk.optimal_io_size);
            print(",\"can_flush\":%s,\"can_switch_write_cache\":%s,\"write_zeroes_may_unmap\":%s",
                  disk.can_flush ? "true" : "false", disk.can_switch_write_cache ? "true" : "false",
                  disk.write_zeroes_may_unmap ? "true" : "false");
            print_ranges_json("discard", block::virtio_blk::request_type::discard, disk);
            print_ranges_json("write_zeroes", block::virtio_blk::request_type::write_zeroes, disk);
            print_ranges_json("secure_erase", block::virtio_blk::request_type::secure_erase, disk);
            print(",\"zone_sectors\":%u", disk.zone_sectors);
            print(",\"features_offered\":%lu,\"features_accepted\":%lu,", disk.offered, disk.accepted);
            device.disk_id->print_json();
            print(",\"short_lengths\":%lu", short_lengths(*device.disk));
        } else if (device.rng != nullptr) {
            print_one_queue_json(device, *device.rng);
        } else if (device.log != nullptr) {
            print_one_queue_json(device, *device.log);
        }
        print("}");
        first = false;
    }
    print("]}\n");
}

async::task<bool> run_info(const environment& here) {
    print("inflight on %lu hart%s, interrupts through the %s, %lu MiB free\n", here.machine.harts.size(),
          here.machine.harts.size() == 1 ? "" : "s", controller_name(here.machine.wired.kind).in_text,
          here.free_memory.available() >> 20);
    co_await identify_disks(here.devices, here.wanted);
    for (const virtio_device& device : here.devices) {
        print("%s%s%s: ", device.name, device.name[0] != '\0' ? ", " : "", device.location.text);
        if (device.failure != nullptr) {
            print("cannot be used: %s\n", device.failure);
            continue;
        }
        print("%s (device id %u), %s, ", virtio::to_string(device.id), static_cast<unsigned>(device.id),
              to_string(device.location.interface));
        print_interrupts(device.route);
        if (device.disk != nullptr) {
            print_disk(device);
            block::virtio_blk::lifetime life{};
            const block::status outcome = co_await device.disk->get_lifetime(life);
            print_lifetime(outcome, life);
        } else if (device.rng != nullptr) {
            print_one_queue(*device.rng, virtio::feature_name);
        } else if (device.log != nullptr) {
            print_one_queue(*device.log, console_feature_name);
        }
    }
    if (here.devices.empty()) {
        print("there is no VIRTIO device in any of the %lu slots%s\n", here.machine.virtio.size(),
              here.machine.pci ? ", and none on PCI" : "");
    }
    print_json(here.machine, here.devices);
    co_return true;
}

const program registered{"info", "what devices there are, and what the disks say about themselves", run_info};

} // namespace

} // namespace inflight::kernel
