// registers: prints the registers of every VIRTIO device as the tables of the specification show them (VIRTIO 1.2):
// offset, name, access, value, and what the value means. For those who learn VIRTIO, and for bug reports.
//
// Nothing changes by it: registers that can only be written are named and not touched, but for the two selectors, which
// choose what is read. They are written back to 0; the driver writes them before each use. A program runs on the hart
// that resets devices, and never between two steps of that.

#include "arch/arch.hpp"
#include "src/kernel/console.hpp"
#include "src/kernel/program.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::kernel {

namespace {

using console::print;

// What a value means: prints it behind the value.
using explanation = void (*)(std::uint32_t value, const virtio_device& device) noexcept;

// A row of a table. What is read has no side effect.
struct register_row {
    std::uint32_t offset;
    const char* name;
    const char* access; // "R", "W", "RW", from the driver's side; what does not begin with R is not read
    explanation explain;
};

void print_bit(std::uint32_t value, std::uint32_t bit, const char* name) noexcept {
    if ((value & bit) != 0) {
        print(" %s", name);
    }
}

void explain_magic(std::uint32_t value, const virtio_device&) noexcept {
    constexpr std::uint32_t magic = 0x74726976;
    print("%s", value == magic ? "\"virt\", little-endian" : "not a VIRTIO device");
}

void explain_version(std::uint32_t value, const virtio_device&) noexcept {
    print("%s", value == 2 ? "the layout of VIRTIO 1.x" : value == 1 ? "the legacy layout" : "unknown");
}

void explain_device_id(std::uint32_t value, const virtio_device& device) noexcept {
    print("%s", value == 0 ? "an empty slot" : virtio::to_string(device.identity.id));
}

void explain_status(std::uint32_t value, const virtio_device&) noexcept {
    print("bits:");
    print_bit(value, virtio::status_bit::acknowledge, "ACKNOWLEDGE");
    print_bit(value, virtio::status_bit::driver, "DRIVER");
    print_bit(value, virtio::status_bit::driver_ok, "DRIVER_OK");
    print_bit(value, virtio::status_bit::features_ok, "FEATURES_OK");
    print_bit(value, virtio::status_bit::device_needs_reset, "DEVICE_NEEDS_RESET");
    print_bit(value, virtio::status_bit::failed, "FAILED");
    print("%s", value == 0 ? " none: the device was reset" : "");
}

void explain_interrupt_status(std::uint32_t value, const virtio_device&) noexcept {
    print("%s", value == 0 ? "nothing to acknowledge" : "pending:");
    print_bit(value, virtio::interrupt_cause::used_buffer, "a used buffer");
    print_bit(value, virtio::interrupt_cause::configuration_change, "a configuration change");
}

void explain_generation(std::uint32_t, const virtio_device&) noexcept {
    print("another one after each change of the configuration");
}

void explain_queue_size(std::uint32_t value, const virtio_device&) noexcept {
    print("%s", value == 0 ? "there is no such queue" : "descriptors at most");
}

void explain_ready(std::uint32_t value, const virtio_device&) noexcept {
    print("%s", value != 0 ? "the device uses the queue" : "not in use");
}

void explain_pfn(std::uint32_t value, const virtio_device&) noexcept {
    print(value != 0 ? "the queue lies in page 0x%x of QueueAlign bytes" : "not in use", value);
}

void explain_shared_memory(std::uint32_t value, const virtio_device&) noexcept {
    print("%s", value == ~0u ? "there is no shared memory" : "bytes of shared memory region SHMSel");
}

constexpr std::uint32_t device_features = 0x010;
constexpr std::uint32_t device_features_sel = 0x014;
constexpr std::uint32_t queue_sel = 0x030;
constexpr std::uint32_t status = 0x070;
constexpr std::uint32_t configuration = 0x100;

constexpr register_row identity[] = {
    {0x000, "MagicValue", "R", explain_magic},
    {0x004, "Version", "R", explain_version},
    {0x008, "DeviceID", "R", explain_device_id},
    {0x00c, "VendorID", "R", nullptr},
};

// 4.2.2. DeviceFeatures is printed apart.
constexpr register_row modern_device[] = {
    {0x014, "DeviceFeaturesSel", "W", nullptr},
    {0x020, "DriverFeatures", "W", nullptr},
    {0x024, "DriverFeaturesSel", "W", nullptr},
    {0x030, "QueueSel", "W", nullptr},
    {0x050, "QueueNotify", "W", nullptr},
    {0x060, "InterruptStatus", "R", explain_interrupt_status},
    {0x064, "InterruptACK", "W", nullptr},
    {0x070, "Status", "RW", explain_status},
    {0x0ac, "SHMSel", "W", nullptr},
    {0x0b0, "SHMLenLow", "R", explain_shared_memory},
    {0x0b4, "SHMLenHigh", "R", nullptr},
    {0x0b8, "SHMBaseLow", "R", nullptr},
    {0x0bc, "SHMBaseHigh", "R", nullptr},
    {0x0fc, "ConfigGeneration", "R", explain_generation},
};
constexpr register_row modern_queue[] = {
    {0x034, "QueueSizeMax", "R", explain_queue_size}, {0x038, "QueueSize", "W", nullptr},
    {0x044, "QueueReady", "RW", explain_ready},       {0x080, "QueueDescLow", "W", nullptr},
    {0x084, "QueueDescHigh", "W", nullptr},           {0x090, "QueueDriverLow", "W", nullptr},
    {0x094, "QueueDriverHigh", "W", nullptr},         {0x0a0, "QueueDeviceLow", "W", nullptr},
    {0x0a4, "QueueDeviceHigh", "W", nullptr},         {0x0c0, "QueueReset", "(RW)", nullptr},
};

// 4.2.4.
constexpr register_row legacy_device[] = {
    {0x014, "HostFeaturesSel", "W", nullptr},
    {0x020, "GuestFeatures", "W", nullptr},
    {0x024, "GuestFeaturesSel", "W", nullptr},
    {0x028, "GuestPageSize", "W", nullptr},
    {0x030, "QueueSel", "W", nullptr},
    {0x050, "QueueNotify", "W", nullptr},
    {0x060, "InterruptStatus", "R", explain_interrupt_status},
    {0x064, "InterruptACK", "W", nullptr},
    {0x070, "Status", "RW", explain_status},
};
constexpr register_row legacy_queue[] = {
    {0x034, "QueueNumMax", "R", explain_queue_size},
    {0x038, "QueueNum", "W", nullptr},
    {0x03c, "QueueAlign", "W", nullptr},
    {0x040, "QueuePFN", "RW", explain_pfn},
};

// A field of a device's configuration, which exists only with its feature.
struct configuration_field {
    std::uint32_t offset;
    std::uint32_t bytes;
    const char* name;
    int feature; // -1: always there
    const char* meaning;
};

// 5.2.4.
constexpr configuration_field block_fields[] = {
    {0, 8, "capacity", -1, "sectors of 512 bytes"},
    {8, 4, "size_max", 1, "bytes in a segment at most"},
    {12, 4, "seg_max", 2, "segments in a request at most"},
    {16, 2, "geometry.cylinders", 4, ""},
    {18, 1, "geometry.heads", 4, ""},
    {19, 1, "geometry.sectors", 4, ""},
    {20, 4, "blk_size", 6, "bytes in a logical block"},
    {24, 1, "topology.physical_block_exp", 10, "log2 of logical blocks in a physical one"},
    {25, 1, "topology.alignment_offset", 10, "logical blocks to the first aligned one"},
    {26, 2, "topology.min_io_size", 10, "logical blocks"},
    {28, 4, "topology.opt_io_size", 10, "logical blocks"},
    {32, 1, "writeback", 11, "0 write-through, 1 write-back"},
    {34, 2, "num_queues", 12, ""},
    {36, 4, "max_discard_sectors", 13, "in a segment"},
    {40, 4, "max_discard_seg", 13, "segments in a request"},
    {44, 4, "discard_sector_alignment", 13, "sectors"},
    {48, 4, "max_write_zeroes_sectors", 14, "in a segment"},
    {52, 4, "max_write_zeroes_seg", 14, "segments in a request"},
    {56, 1, "write_zeroes_may_unmap", 14, ""},
    {60, 4, "max_secure_erase_sectors", 16, "in a segment"},
    {64, 4, "max_secure_erase_seg", 16, "segments in a request"},
    {68, 4, "secure_erase_sector_alignment", 16, "sectors"},
};

// 5.3.4.
constexpr configuration_field console_fields[] = {
    {0, 2, "cols", 0, "columns"},
    {2, 2, "rows", 0, "rows"},
    {4, 4, "max_nr_ports", 1, "ports"},
};

std::uint32_t read_register(const virtio_device& device, std::uint32_t offset) noexcept {
    return arch::mmio_read32(device.address + offset);
}

void print_row(const virtio_device& device, const register_row& row) noexcept {
    if (row.access[0] != 'R') {
        print("  0x%03x  %-30s %s\n", row.offset, row.name, row.access);
        return;
    }
    const std::uint32_t value = read_register(device, row.offset);
    print("  0x%03x  %-30s %-3s 0x%08x", row.offset, row.name, row.access, value);
    if (row.explain != nullptr) {
        print("  ");
        row.explain(value, device);
    }
    print("\n");
}

void print_rows(const virtio_device& device, std::span<const register_row> rows) noexcept {
    for (const register_row& row : rows) {
        print_row(device, row);
    }
}

// Both halves of the features, or one of the legacy layout.
std::uint64_t print_features(const virtio_device& device, bool legacy) noexcept {
    std::uint64_t features = 0;
    for (std::uint32_t half = 0; half < (legacy ? 1u : 2u); ++half) {
        arch::mmio_write32(device.address + device_features_sel, half);
        const std::uint32_t value = read_register(device, device_features);
        features |= std::uint64_t{value} << 32 * half;
        print("  0x%03x  %-30s R   0x%08x  bits %u to %u:", device_features, legacy ? "HostFeatures" : "DeviceFeatures",
              value, 32 * half, 32 * half + 31);
        for (unsigned bit = 32 * half; bit < 32 * half + 32; ++bit) {
            if ((features >> bit & 1) != 0) {
                const char* const name =
                    device.is_disk() ? block::virtio_blk::feature_name(bit) : virtio::feature_name(bit);
                if (name != nullptr) {
                    print(" %s", name);
                } else {
                    print(" %u", bit);
                }
            }
        }
        print("\n");
    }
    arch::mmio_write32(device.address + device_features_sel, 0);
    return features;
}

void print_queues(const virtio_device& device, std::span<const register_row> rows) noexcept {
    constexpr std::uint32_t max_queues = 64; // more are not looked for
    for (std::uint32_t queue = 0; queue < max_queues; ++queue) {
        arch::mmio_write32(device.address + queue_sel, queue);
        if (read_register(device, rows.front().offset) == 0) {
            break;
        }
        print(" queue %u (QueueSel = %u)\n", queue, queue);
        print_rows(device, rows);
    }
    arch::mmio_write32(device.address + queue_sel, 0);
}

// A field as wide as the specification gives it; 64 bits by halves.
std::uint64_t read_field(const virtio_device& device, const configuration_field& field) noexcept {
    const std::uintptr_t address = device.address + configuration + field.offset;
    switch (field.bytes) {
    case 1: return arch::mmio_read8(address);
    case 2: return arch::mmio_read16(address);
    case 4: return arch::mmio_read32(address);
    default: return arch::mmio_read32(address) | std::uint64_t{arch::mmio_read32(address + 4)} << 32;
    }
}

std::span<const configuration_field> fields_of(const virtio_device& device) noexcept {
    if (device.is_disk()) {
        return block_fields;
    }
    if (device.identity.id == virtio::device_id::console) {
        return console_fields;
    }
    return {};
}

void print_configuration(const virtio_device& device, std::uint64_t features) noexcept {
    const std::span<const configuration_field> fields = fields_of(device);
    if (fields.empty()) {
        return;
    }
    print(" configuration of the device\n");
    for (const configuration_field& field : fields) {
        const char* const access = field.offset == 32 && device.is_disk() ? "RW" : "R";
        print("  0x%03x  %-30s %-3s ", configuration + field.offset, field.name, access);
        if (field.feature >= 0 && (features >> field.feature & 1) == 0) {
            const auto bit = static_cast<unsigned>(field.feature);
            print("not there without %s\n", device.is_disk() ? block::virtio_blk::feature_name(bit)
                                            : bit == 0       ? "SIZE"
                                                             : "MULTIPORT");
            continue;
        }
        const std::uint64_t value = read_field(device, field);
        print(field.meaning[0] != '\0' ? "%-10lu  %s\n" : "%lu\n", value, field.meaning);
    }
}

// Of the MMIO transport. A device on another bus gets a function like this one, and its rows.
void print_mmio(const virtio_device& device) noexcept {
    const bool legacy = device.identity.version == 1;
    print("%s%sslot 0x%lx: registers of VIRTIO over MMIO, %s\n", device.name, device.name[0] != '\0' ? ", " : "",
          device.address, legacy ? "the legacy layout (4.2.4)" : "4.2.2");
    print("  %-5s  %-30s %-3s %-10s  meaning\n", "at", "name", "", "value");
    print_rows(device, identity);
    if (device.identity.version != 1 && device.identity.version != 2) {
        print("  the rest is not looked at: %s\n", device.failure != nullptr ? device.failure : "an unknown layout");
        return;
    }
    const std::uint64_t features = print_features(device, legacy);
    print_rows(device, legacy ? std::span<const register_row>{legacy_device} : modern_device);
    print_queues(device, legacy ? std::span<const register_row>{legacy_queue} : modern_queue);
    print_configuration(device, features);
}

async::task<bool> run_registers(const environment& here) {
    print("R: the driver reads it. W: the driver writes it, so it has no value to show. In brackets: only with a "
          "feature\n"
          "that the driver does not accept\n");
    for (const virtio_device& device : here.devices) {
        print_mmio(device);
    }
    if (here.devices.empty()) {
        print("there is no VIRTIO device in any of the %lu slots\n", here.machine.virtio.size());
    }
    print("@result {\"program\":\"registers\",\"devices\":[");
    const char* separator = "";
    for (const virtio_device& device : here.devices) {
        print("%s{\"address\":%lu,\"version\":%u,\"status\":%u}", separator, device.address, device.identity.version,
              read_register(device, status));
        separator = ",";
    }
    print("]}\n");
    co_return true;
}

const program registered{"registers", "the registers of every device, as the tables of VIRTIO show them",
                         run_registers};

} // namespace

} // namespace inflight::kernel
