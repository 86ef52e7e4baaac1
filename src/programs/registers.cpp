// registers: prints the registers of every VIRTIO device as the tables of the specification show them (VIRTIO 1.2):
// offset, name, access, value, and what the value means. For those who learn VIRTIO, and for bug reports.
//
// Nothing changes by it: registers that can only be written are named and not touched, but for the two selectors, which
// choose what is read. They are written back to 0; the driver writes them before each use. A program runs on the hart
// that resets devices, and never between two steps of that.

#include "arch/arch.hpp"
#include "arch/riscv64/probe.hpp"
#include "drivers/pci/capabilities.hpp"
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
    std::uint32_t bytes = 4;
};

// Where the rows of a device begin: its slot, its common configuration structure, or its legacy registers on PCI.
std::uintptr_t registers_of(const virtio_device& device) noexcept {
    return device.location.interface == device_interface::pci ? device.location.structures.common
                                                              : device.location.registers;
}

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
    print("%s", value == 0 ? "an empty slot" : virtio::to_string(device.id));
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

void explain_page(std::uint32_t value, const virtio_device&) noexcept {
    print(value != 0 ? "the queue lies in page 0x%x of 4096 bytes" : "not in use", value);
}

void explain_vector(std::uint32_t value, const virtio_device&) noexcept {
    constexpr std::uint32_t no_vector = 0xffff;
    print("%s", value == no_vector ? "NO_VECTOR" : "vector of MSI-X");
}

void explain_shared_memory(std::uint32_t value, const virtio_device&) noexcept {
    print("%s", value == ~0u ? "there is no shared memory" : "bytes of shared memory region SHMSel");
}

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
    {72, 4, "zone_sectors", 17, ""},
    {76, 4, "max_open_zones", 17, "0: no limit"},
    {80, 4, "max_active_zones", 17, "0: no limit"},
    {84, 4, "max_append_sectors", 17, "0: no append"},
    {88, 4, "write_granularity", 17, "bytes"},
    {92, 1, "model", 17, "0 none, 1 host-managed, 2 host-aware"},
};

// 5.3.4.
constexpr configuration_field console_fields[] = {
    {0, 2, "cols", 0, "columns"},
    {2, 2, "rows", 0, "rows"},
    {4, 4, "max_nr_ports", 1, "ports"},
};

std::uint32_t read_register(const virtio_device& device, const register_row& row) noexcept {
    const std::uintptr_t address = registers_of(device) + row.offset;
    switch (row.bytes) {
    case 1: return arch::mmio_read8(address);
    case 2: return arch::mmio_read16(address);
    default: return arch::mmio_read32(address);
    }
}

void print_row(const virtio_device& device, const register_row& row) noexcept {
    if (row.access[0] != 'R') {
        print("  0x%03x  %-30s %s\n", row.offset, row.name, row.access);
        return;
    }
    const std::uint32_t value = read_register(device, row);
    print("  0x%03x  %-30s %-3s 0x%0*x", row.offset, row.name, row.access, 2 * static_cast<int>(row.bytes), value);
    if (row.explain != nullptr) {
        print("%*s", 2 * (5 - static_cast<int>(row.bytes)), "");
        row.explain(value, device);
    }
    print("\n");
}

void print_rows(const virtio_device& device, std::span<const register_row> rows) noexcept {
    for (const register_row& row : rows) {
        print_row(device, row);
    }
}

// Which registers of an interface print_features() and print_queues() use.
struct selectors {
    register_row features;
    std::uint32_t features_select; // 0: there is none, and one word
    std::uint32_t queue_select;
    std::uint32_t queue_select_bytes;
    const char* queue_select_name;
};

constexpr selectors modern_mmio{{0x010, "DeviceFeatures", "R", nullptr}, 0x014, 0x030, 4, "QueueSel"};
constexpr selectors legacy_mmio{{0x010, "HostFeatures", "R", nullptr}, 0, 0x030, 4, "QueueSel"};
constexpr selectors modern_pci{{0x04, "device_feature", "R", nullptr}, 0x00, 0x16, 2, "queue_select"};
constexpr selectors legacy_pci{{0x00, "device features", "R", nullptr}, 0, 0x0e, 2, "queue_select"};

// Both halves of the features, or one of a legacy interface.
std::uint64_t print_features(const virtio_device& device, const selectors& with) noexcept {
    const bool legacy = device.location.is_legacy();
    const std::uintptr_t select = registers_of(device) + with.features_select;
    std::uint64_t features = 0;
    for (std::uint32_t half = 0; half < (legacy ? 1u : 2u); ++half) {
        if (!legacy) {
            arch::mmio_write32(select, half);
        }
        const std::uint32_t value = read_register(device, with.features);
        features |= std::uint64_t{value} << 32 * half;
        print("  0x%03x  %-30s R   0x%08x  bits %u to %u:", with.features.offset, with.features.name, value, 32 * half,
              32 * half + 31);
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
    if (!legacy) {
        arch::mmio_write32(select, 0);
    }
    return features;
}

void select_queue(const virtio_device& device, const selectors& with, std::uint32_t queue) noexcept {
    const std::uintptr_t select = registers_of(device) + with.queue_select;
    if (with.queue_select_bytes == 2) {
        arch::mmio_write16(select, static_cast<std::uint16_t>(queue));
    } else {
        arch::mmio_write32(select, queue);
    }
}

void print_queues(const virtio_device& device, const selectors& with, std::span<const register_row> rows) noexcept {
    constexpr std::uint32_t max_queues = 64; // more are not looked for
    for (std::uint32_t queue = 0; queue < max_queues; ++queue) {
        select_queue(device, with, queue);
        if (read_register(device, rows.front()) == 0) {
            break;
        }
        print(" queue %u (%s = %u)\n", queue, with.queue_select_name, queue);
        print_rows(device, rows);
    }
    select_queue(device, with, 0);
}

// A field as wide as the specification gives it; 64 bits by halves.
std::uint64_t read_field(std::uintptr_t configuration, const configuration_field& field) noexcept {
    const std::uintptr_t address = configuration + field.offset;
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
    if (device.id == virtio::device_id::console) {
        return console_fields;
    }
    return {};
}

std::uint32_t bytes_of_fields(const virtio_device& device) noexcept {
    const std::span<const configuration_field> fields = fields_of(device);
    return fields.empty() ? 0 : fields.back().offset + fields.back().bytes;
}

// `offset` is what the table gives the first field, at address `configuration`.
void print_configuration(const virtio_device& device, std::uint64_t features, std::uintptr_t configuration,
                         std::uint32_t offset) noexcept {
    const std::span<const configuration_field> fields = fields_of(device);
    if (fields.empty()) {
        return;
    }
    print(" configuration of the device\n");
    for (const configuration_field& field : fields) {
        const char* const access = field.offset == 32 && device.is_disk() ? "RW" : "R";
        print("  0x%03x  %-30s %-3s ", offset + field.offset, field.name, access);
        if (field.feature >= 0 && (features >> field.feature & 1) == 0) {
            const auto bit = static_cast<unsigned>(field.feature);
            print("not there without %s\n", device.is_disk() ? block::virtio_blk::feature_name(bit)
                                            : bit == 0       ? "SIZE"
                                                             : "MULTIPORT");
            continue;
        }
        const std::uint64_t value = read_field(configuration, field);
        print(field.meaning[0] != '\0' ? "%-10lu  %s\n" : "%lu\n", value, field.meaning);
    }
}

void print_head() noexcept {
    print("  %-5s  %-30s %-3s %-10s  meaning\n", "at", "name", "", "value");
}

// Of the MMIO transport.
void print_mmio(const virtio_device& device) noexcept {
    print("%s%s%s: registers of VIRTIO over MMIO", device.name, device.name[0] != '\0' ? ", " : "",
          device.location.text);
    if (!arch::riscv64::answers(device.location.registers)) {
        print("\n  %s\n", device.failure);
        return;
    }
    const std::uint32_t layout = read_register(device, identity[1]);
    const bool legacy = layout == 1;
    print(", %s\n", legacy ? "the legacy layout (4.2.4)" : "4.2.2");
    print_head();
    print_rows(device, identity);
    if (layout != 1 && layout != 2) {
        print("  the rest is not looked at: %s\n", device.failure != nullptr ? device.failure : "an unknown layout");
        return;
    }
    const selectors& with = legacy ? legacy_mmio : modern_mmio;
    const std::uint64_t features = print_features(device, with);
    print_rows(device, legacy ? std::span<const register_row>{legacy_device} : modern_device);
    print_queues(device, with, legacy ? std::span<const register_row>{legacy_queue} : modern_queue);
    constexpr std::uint32_t configuration = 0x100;
    print_configuration(device, features, device.location.registers + configuration, configuration);
}

const char* type_of_structure(std::uint8_t type) noexcept {
    switch (type) {
    case 1: return "common configuration";
    case 2: return "notifications";
    case 3: return "ISR status (not read here: a read acknowledges)";
    case 4: return "device-specific configuration";
    case 5: return "access by configuration space";
    case 8: return "shared memory";
    case 9: return "of the vendor";
    default: return "unknown";
    }
}

// The control register of the capability at that offset (PCI Local Bus 3.0, 6.8.2.3).
std::uint16_t msix_control(pci::configuration_space& space, pci::function_address function, std::uint16_t at) noexcept {
    return space.read16(function, static_cast<std::uint16_t>(at + 2));
}
constexpr std::uint16_t msix_enabled = 0x8000;

// The capabilities of the function (4.1.4).
void print_capabilities(const virtio_device& device, pci::configuration_space& space) noexcept {
    print(" capabilities in the configuration space\n");
    const pci::function_address function = device.location.function;
    for (pci::capability_cursor each{space, function}; each; each.next()) {
        const std::uint16_t at = each.offset();
        print("  0x%03x  ", at);
        if (each.id() == pci::capability_id::msix) {
            const std::uint16_t control = msix_control(space, function, at);
            print("MSI-X, %u vectors, %s\n", (control & 0x7ffu) + 1,
                  (control & msix_enabled) != 0 ? "enabled" : "not enabled");
        } else if (each.id() != pci::capability_id::vendor_specific || at > 0xf0) {
            print("id 0x%02x\n", each.id());
        } else {
            print("cfg_type %u, BAR %u, offset 0x%x, %u bytes: %s\n", space.read8(function, at + 3),
                  space.read8(function, at + 4), space.read32(function, at + 8), space.read32(function, at + 12),
                  type_of_structure(space.read8(function, at + 3)));
        }
    }
}

// 4.1.4.3. device_feature is printed apart.
constexpr register_row common_configuration[] = {
    {0x00, "device_feature_select", "RW", nullptr, 4},
    {0x08, "driver_feature_select", "RW", nullptr, 4},
    {0x0c, "driver_feature", "RW", nullptr, 4},
    {0x10, "config_msix_vector", "RW", explain_vector, 2},
    {0x12, "num_queues", "R", nullptr, 2},
    {0x14, "device_status", "RW", explain_status, 1},
    {0x15, "config_generation", "R", explain_generation, 1},
    {0x16, "queue_select", "RW", nullptr, 2},
};
constexpr register_row common_configuration_queue[] = {
    {0x18, "queue_size", "RW", explain_queue_size, 2},
    {0x1a, "queue_msix_vector", "RW", explain_vector, 2},
    {0x1c, "queue_enable", "RW", explain_ready, 2},
    {0x1e, "queue_notify_off", "R", nullptr, 2},
    {0x20, "queue_desc", "RW", nullptr, 4},
    {0x24, "queue_desc, upper half", "RW", nullptr, 4},
    {0x28, "queue_driver", "RW", nullptr, 4},
    {0x2c, "queue_driver, upper half", "RW", nullptr, 4},
    {0x30, "queue_device", "RW", nullptr, 4},
    {0x34, "queue_device, upper half", "RW", nullptr, 4},
};

// 4.1.4.10.
constexpr register_row legacy_pci_device[] = {
    {0x04, "driver features", "RW", nullptr, 4},
    {0x0e, "queue_select", "RW", nullptr, 2},
    {0x10, "queue_notify", "W", nullptr, 2},
    {0x12, "device_status", "RW", explain_status, 1},
    {0x13, "ISR status: a read acknowledges", "(R)", nullptr, 1},
};
constexpr register_row legacy_pci_queue[] = {
    {0x0c, "queue_size", "R", explain_queue_size, 2},
    {0x08, "queue address", "RW", explain_page, 4},
};

// Of the PCI transport.
void print_pci(const virtio_device& device, pci::configuration_space& space) noexcept {
    const bool legacy = device.location.is_legacy();
    print("%s%s%s: registers of VIRTIO over PCI, %s\n", device.name, device.name[0] != '\0' ? ", " : "",
          device.location.text, legacy ? "the legacy interface (4.1.4.10)" : "4.1.4.3");
    print_capabilities(device, space);
    if (registers_of(device) == 0) {
        print("  the rest is not looked at: %s\n", device.failure);
        return;
    }
    print(legacy ? " I/O registers of BAR 0, at 0x%lx\n" : " common configuration, at 0x%lx\n", registers_of(device));
    print_head();
    const selectors& with = legacy ? legacy_pci : modern_pci;
    const std::uint64_t features = print_features(device, with);
    print_rows(device, legacy ? std::span<const register_row>{legacy_pci_device} : common_configuration);
    print_queues(device, with, legacy ? std::span<const register_row>{legacy_pci_queue} : common_configuration_queue);
    if (!legacy) {
        if (device.location.structures.device_length >= bytes_of_fields(device)) {
            print_configuration(device, features, device.location.structures.device, 0);
        }
        return;
    }
    // The vectors are there while MSI-X is enabled, and move what follows (4.1.4.10).
    const std::uint16_t msix = pci::find_capability(space, device.location.function, pci::capability_id::msix);
    const bool vectors = msix != 0 && (msix_control(space, device.location.function, msix) & msix_enabled) != 0;
    const std::uint32_t offset = vectors ? 24 : 20;
    if (device.location.register_bytes >= offset + bytes_of_fields(device)) {
        print_configuration(device, features, device.location.registers + offset, offset);
    }
}

async::task<bool> run_registers(const environment& here) {
    print("R: the driver reads it. W: the driver writes it, so it has no value to show. In brackets: it is not read "
          "here,\n"
          "because it needs a feature that the driver does not accept, or because a read changes it\n");
    for (const virtio_device& device : here.devices) {
        if (device.location.is_pci()) {
            print_pci(device, here.pci->space());
        } else {
            print_mmio(device);
        }
    }
    if (here.devices.empty()) {
        print("there is no VIRTIO device in any of the %lu slots\n", here.machine.virtio.size());
    }
    print("@result {\"program\":\"registers\",\"devices\":[");
    const char* separator = "";
    for (const virtio_device& device : here.devices) {
        print("%s{\"location\":\"%s\",\"interface\":\"%s\",\"legacy\":%s}", separator, device.location.text,
              to_string(device.location.interface), device.location.is_legacy() ? "true" : "false");
        separator = ",";
    }
    print("]}\n");
    co_return true;
}

const program registered{"registers", "the registers of every device, as the tables of VIRTIO show them",
                         run_registers};

} // namespace

} // namespace inflight::kernel
