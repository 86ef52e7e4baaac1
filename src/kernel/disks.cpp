#include "src/kernel/disks.hpp"

#include "arch/riscv64/probe.hpp"
#include "src/kernel/console.hpp"
#include "src/kernel/disk_line.hpp"
#include "src/kernel/disk_notes.hpp"

#include <cstdio>
#include <new>

namespace inflight::kernel {

namespace {

// Returns nullptr if no memory is left.
template <typename T, typename... Arguments>
T* create(memory& from, Arguments&&... arguments) noexcept {
    std::byte* const place = from.allocate(sizeof(T), alignof(T));
    return place == nullptr ? nullptr : ::new (place) T{static_cast<Arguments&&>(arguments)...};
}

virtio::transport* create_transport(memory& from, const virtio_device& device) noexcept {
    if (device.identity.version == 1) {
        return create<virtio::legacy_mmio_transport>(from, device.address);
    }
    return create<virtio::mmio_transport>(from, device.address);
}

virtio::error start_disk(virtio_device& device, memory& from, const options& wanted,
                         interrupt_controller& interrupts) noexcept {
    virtio::transport* const transport = create_transport(from, device);
    block::disk* const disk = transport == nullptr ? nullptr : create<block::disk>(from, *transport);
    disk_line* const line =
        disk == nullptr ? nullptr : create<disk_line>(from, std::string_view{device.name}, *disk, device.interrupt);
    disk_identity* const disk_id = line == nullptr ? nullptr : create<disk_identity>(from, *disk);
    disk_notes* const notes =
        disk_id == nullptr ? nullptr : create<disk_notes>(from, device.name, *disk, wanted.request_timeout);
    if (notes == nullptr) {
        return virtio::error::out_of_memory;
    }
    const virtio::error outcome =
        disk->start(from, {.queues = wanted.queues,
                           .queue_size = wanted.queue_size,
                           .features_off = wanted.features_off,
                           .request_timeout = wanted.request_timeout * arch::ticks_per_second(),
                           .strict_lengths = wanted.strict_lengths,
                           .report = disk_notes::report,
                           .report_context = notes});
    if (outcome == virtio::error::none) {
        device.disk = disk;
        device.disk_id = disk_id;
        if (wanted.interrupts != interrupt_routing::nobody) {
            line->begin(interrupts, wanted.interrupts == interrupt_routing::any_hart ? interrupt_target::all_harts
                                                                                     : interrupt_target::this_hart);
        }
    }
    return outcome;
}

// The end of its interrupt that belongs to a device of one queue. A masked interrupt needs no note: fill() reports that
// the device does not return the buffer, and end_log() what the log lacks.
template <typename Driver>
interrupt_connection* create_connection(memory& from, Driver& driver) noexcept {
    interrupt_connection* const made = create<interrupt_connection>(from);
    if (made != nullptr) {
        made->serve = [](void* device) noexcept {
            return static_cast<Driver*>(device)->handle_line();
        };
        made->context = &driver;
        made->masked = [](interrupt_connection&, std::uint32_t, interrupt_storm) noexcept {
        };
    }
    return made;
}

virtio::error start_entropy(virtio_device& device, memory& from, const options& wanted,
                            interrupt_controller& interrupts) noexcept {
    constexpr std::uint32_t forever_in_seconds = 86'400;
    virtio::transport* const transport = create_transport(from, device);
    entropy* const rng = transport == nullptr ? nullptr : create<entropy>(from, *transport);
    interrupt_connection* const connection = rng == nullptr ? nullptr : create_connection(from, *rng);
    if (connection == nullptr) {
        return virtio::error::out_of_memory;
    }
    const std::uint32_t seconds = wanted.request_timeout != 0 ? wanted.request_timeout : forever_in_seconds;
    const virtio::error outcome = rng->start(from, seconds * arch::ticks_per_second(), wanted.features_off);
    if (outcome == virtio::error::none) {
        device.rng = rng;
        if (!interrupts.connect(device.interrupt, interrupt_target::this_hart, *connection)) {
            console::print("note: %s has no interrupt that the PLIC knows: it returns nothing\n", device.name);
        }
    }
    return outcome;
}

virtio::error start_log(virtio_device& device, memory& from, const options& wanted,
                        interrupt_controller& interrupts) noexcept {
    virtio::transport* const transport = create_transport(from, device);
    console_log* const log = transport == nullptr ? nullptr : create<console_log>(from, *transport);
    interrupt_connection* const connection = log == nullptr ? nullptr : create_connection(from, *log);
    if (connection == nullptr) {
        return virtio::error::out_of_memory;
    }
    const virtio::error outcome = log->start(from, wanted.features_off);
    if (outcome == virtio::error::none) {
        device.log = log;
        console::open_log(*log);
        if (!interrupts.connect(device.interrupt, interrupt_target::this_hart, *connection)) {
            console::print("note: %s has no interrupt that the PLIC knows: it is written at the end\n", device.name);
        }
    }
    return outcome;
}

// vda to vdz, then vdaa, as Linux names them.
void name_disk(virtio_device& device, unsigned number) noexcept {
    constexpr unsigned letters = 26;
    if (number < letters) {
        std::snprintf(device.name, sizeof device.name, "vd%c", static_cast<char>('a' + number));
    } else {
        std::snprintf(device.name, sizeof device.name, "vd%c%c", static_cast<char>('a' + number / letters - 1),
                      static_cast<char>('a' + number % letters));
    }
}

const device_list* known_devices = nullptr;
// Long enough for a device on a busy host, short enough for a user whose device never replies.
constexpr std::uint32_t patience_in_seconds = 3;

const char* write_refusal(std::span<const virtio_device> devices, const disk_identity& candidate,
                          const options& wanted) noexcept {
    if (candidate.outcome() != block::status::ok) {
        return "it does not report its serial number";
    }
    if (candidate.serial().empty()) {
        return "its serial number is empty";
    }
    if (!names_serial(wanted.overwrite, candidate.serial())) {
        return "no overwrite= names its serial number";
    }
    for (const virtio_device& other : devices) {
        if (other.disk_id != nullptr && other.disk_id != &candidate && other.disk_id->serial() == candidate.serial()) {
            return "another disk has the same serial number";
        }
    }
    return nullptr;
}

} // namespace

void find_devices(const machine_description& machine, memory& from, const options& wanted,
                  interrupt_controller& interrupts, device_list& found) noexcept {
    known_devices = &found;
    if (const std::size_t more = machine.virtio_unusable + machine.virtio.dropped(); more != 0) {
        console::print("note: %lu virtio,mmio nodes of the device tree are left out: they have no legible reg of their "
                       "own, or are more than %lu\n",
                       more, machine.virtio.size());
    }
    unsigned disks = 0;
    unsigned sources_of_entropy = 0;
    bool has_log = false;
    for (std::size_t i = machine.virtio.size(); i-- > 0;) {
        const virtio_slot& slot = machine.virtio[i];
        virtio_device device{.address = slot.registers.base,
                             .interrupt = slot.interrupt,
                             .identity = {},
                             .name = "",
                             .disk = nullptr,
                             .failure = nullptr,
                             .disk_id = nullptr,
                             .rng = nullptr,
                             .log = nullptr};
        if (!arch::riscv64::answers(device.address)) {
            device.failure = "no device responds at this address, which the device tree gives to a VIRTIO device";
            console::print("note: slot 0x%lx: %s\n", device.address, device.failure);
            found.push_back(device);
            continue;
        }
        device.identity = virtio::identify_mmio(device.address);
        virtio::error outcome = device.identity.outcome;
        if (outcome == virtio::error::no_device) {
            continue;
        }
        if (outcome == virtio::error::none && device.identity.id == virtio::device_id::block) {
            name_disk(device, disks++);
            outcome = start_disk(device, from, wanted, interrupts);
        } else if (outcome == virtio::error::none && device.identity.id == virtio::device_id::entropy) {
            std::snprintf(device.name, sizeof device.name, "rng%u", sources_of_entropy++);
            outcome = start_entropy(device, from, wanted, interrupts);
        } else if (outcome == virtio::error::none && device.identity.id == virtio::device_id::console && !has_log) {
            has_log = true;
            std::snprintf(device.name, sizeof device.name, "log");
            outcome = start_log(device, from, wanted, interrupts);
        }
        if (outcome != virtio::error::none) {
            device.failure =
                device.identity.id == virtio::device_id::block ? block::describe(outcome) : virtio::to_string(outcome);
            console::print("note: %s%sslot 0x%lx cannot be used: %s\n", device.name, device.name[0] != '\0' ? ", " : "",
                           device.address, device.failure);
        }
        found.push_back(device);
    }
}

// Uses a new transport, because nothing that the driver keeps in memory is trusted.
void reset_devices(void (*say)(const char* name) noexcept) noexcept {
    if (known_devices == nullptr) {
        return;
    }
    for (const virtio_device& device : *known_devices) {
        const bool started = device.disk != nullptr || device.rng != nullptr || device.log != nullptr;
        if (started && !virtio::mmio_transport{device.address}.reset()) {
            say(device.name);
        }
    }
}

async::task<void> identify_disks(std::span<const virtio_device> devices, const options& wanted) {
    const arch::ticks deadline = async::executor::current().now() + patience_in_seconds * arch::ticks_per_second();
    for (const virtio_device& device : devices) {
        if (device.disk_id != nullptr) {
            device.disk_id->ask();
        }
    }
    for (const virtio_device& device : devices) {
        if (device.disk_id != nullptr) {
            co_await device.disk_id->answer(deadline);
        }
    }
    for (const virtio_device& device : devices) {
        if (device.disk_id != nullptr) {
            device.disk_id->set_write_refusal(write_refusal(devices, *device.disk_id, wanted));
        }
    }
}

} // namespace inflight::kernel
