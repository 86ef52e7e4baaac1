#include "src/kernel/devices.hpp"

#include "arch/riscv64/probe.hpp"
#include "drivers/virtio/mmio.hpp"
#include "src/kernel/console.hpp"
#include "src/kernel/disk_interrupts.hpp"
#include "src/kernel/disk_notes.hpp"
#include "src/kernel/interrupt_route.hpp"
#include "src/kernel/pci_bus.hpp"

#include <cstdio>
#include <new>

namespace inflight::kernel {

namespace {

// What the driver of a found device needs to start it.
struct starter {
    memory& from;
    const options& wanted;
    interrupt_controller& interrupts;
    pci_bus* bus;                  // nullptr: the device is not on PCI
    const pci_bus::device* on_bus; // the same
};

// `on_pci`: the device's transport if it is on PCI.
void set_route(virtio_device& device, const starter& with, virtio::pci_transport* on_pci, message_use use) noexcept {
    if (on_pci != nullptr) {
        device.route =
            choose_route(*with.bus, *with.on_bus, *on_pci, use, with.wanted.queues, with.interrupts, with.from);
    }
}

virtio::error start_disk(virtio_device& device, const starter& with) noexcept {
    virtio::pci_transport* on_pci = nullptr;
    virtio::transport* const transport = create_transport(with.from, device.location, on_pci);
    block::disk* const disk = transport == nullptr ? nullptr : with.from.emplace<block::disk>(*transport);
    disk_identity* const disk_id = disk == nullptr ? nullptr : with.from.emplace<disk_identity>(*disk);
    disk_notes* const notes =
        disk_id == nullptr ? nullptr : with.from.emplace<disk_notes>(device.name, *disk, with.wanted.request_timeout);
    if (notes == nullptr) {
        return virtio::error::out_of_memory;
    }
    set_route(device, with, on_pci, message_use::per_queue);
    const std::span messages = with.from.create<disk_interrupts::connection>(
        device.route.messages.size(), [](std::size_t) { return disk_interrupts::connection{}; });
    if (messages.size() != device.route.messages.size()) {
        return virtio::error::out_of_memory;
    }
    disk_interrupts* const line =
        with.from.emplace<disk_interrupts>(std::string_view{device.name}, *disk, device.route, messages);
    if (line == nullptr) {
        return virtio::error::out_of_memory;
    }
    const virtio::error outcome =
        disk->start(with.from, {.queues = with.wanted.queues,
                                .queue_size = with.wanted.queue_size,
                                .features_off = with.wanted.features_off,
                                .request_timeout = with.wanted.request_timeout * arch::ticks_per_second(),
                                .strict_lengths = with.wanted.strict_lengths,
                                .report = disk_notes::report,
                                .report_context = notes});
    if (outcome == virtio::error::none) {
        device.disk = disk;
        device.disk_id = disk_id;
        device.interrupts = line;
        if (with.wanted.interrupts != interrupt_routing::nobody) {
            line->begin(with.interrupts, with.wanted.interrupts == interrupt_routing::any_hart
                                             ? interrupt_target::all_harts
                                             : interrupt_target::this_hart);
        }
    }
    return outcome;
}

// The end of its interrupt that belongs to a device of one queue. A masked interrupt needs no note: fill() reports that
// the device does not return the buffer, and end_log() what the log lacks.
template <typename Driver>
interrupt_connection* create_connection(memory& from, Driver& driver) noexcept {
    interrupt_connection* const made = from.emplace<interrupt_connection>();
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

// Connects a device of one queue, whose driver has started it on this hart.
bool connect_one_queue(const interrupt_route& route, const starter& with, interrupt_connection& connection) noexcept {
    if (!route.messages.empty()) {
        connection.may_stray = false;
        return with.interrupts.connect(route.messages.front().source, route.messages.front().hart, connection);
    }
    return with.interrupts.connect(route.line, interrupt_target::this_hart, connection);
}

virtio::error start_entropy(virtio_device& device, const starter& with) noexcept {
    constexpr std::uint32_t forever_in_seconds = 86'400;
    virtio::pci_transport* on_pci = nullptr;
    virtio::transport* const transport = create_transport(with.from, device.location, on_pci);
    entropy* const rng = transport == nullptr ? nullptr : with.from.emplace<entropy>(*transport);
    interrupt_connection* const connection = rng == nullptr ? nullptr : create_connection(with.from, *rng);
    if (connection == nullptr) {
        return virtio::error::out_of_memory;
    }
    set_route(device, with, on_pci, message_use::one);
    const std::uint32_t timeout = with.wanted.request_timeout;
    const std::uint32_t seconds = timeout != 0 ? timeout : forever_in_seconds;
    const virtio::error outcome = rng->start(with.from, seconds * arch::ticks_per_second(), with.wanted.features_off);
    if (outcome == virtio::error::none) {
        device.rng = rng;
        if (!connect_one_queue(device.route, with, *connection)) {
            console::print("note: %s has no interrupt that the interrupt controller knows: it returns nothing\n",
                           device.name);
        }
    }
    return outcome;
}

virtio::error start_log(virtio_device& device, const starter& with) noexcept {
    virtio::pci_transport* on_pci = nullptr;
    virtio::transport* const transport = create_transport(with.from, device.location, on_pci);
    console_log* const log = transport == nullptr ? nullptr : with.from.emplace<console_log>(*transport);
    interrupt_connection* const connection = log == nullptr ? nullptr : create_connection(with.from, *log);
    if (connection == nullptr) {
        return virtio::error::out_of_memory;
    }
    set_route(device, with, on_pci, message_use::one);
    const virtio::error outcome = log->start(with.from, with.wanted.features_off);
    if (outcome == virtio::error::none) {
        device.log = log;
        console::open_log(*log);
        if (!connect_one_queue(device.route, with, *connection)) {
            console::print("note: %s has no interrupt that the interrupt controller knows: it is written at the end\n",
                           device.name);
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

class finder {
  public:
    finder(memory& from, const options& wanted, interrupt_controller& interrupts, device_list& found) noexcept
        : from_{from}, wanted_{wanted}, interrupts_{interrupts}, found_{found} {}

    void find_on_mmio(const machine_description& machine) noexcept;
    void find_on_pci(pci_bus& bus) noexcept;

  private:
    // Starts the device, unless it has failed already, and appends it to the list.
    void add(virtio_device& device, pci_bus* bus, const pci_bus::device* on_bus) noexcept;
    [[nodiscard]] virtio::error start(virtio_device& device, const starter& with) noexcept;

    memory& from_;
    const options& wanted_;
    interrupt_controller& interrupts_;
    device_list& found_;
    unsigned disks_ = 0;
    unsigned sources_of_entropy_ = 0;
    bool has_log_ = false;
};

void finder::find_on_mmio(const machine_description& machine) noexcept {
    if (const std::size_t more = machine.virtio_unusable + machine.virtio.dropped(); more != 0) {
        console::print("note: %lu virtio,mmio nodes of the device tree are left out: they have no legible reg of their "
                       "own, or are more than %lu\n",
                       more, machine.virtio.size());
    }
    for (std::size_t i = machine.virtio.size(); i-- > 0;) {
        const virtio_slot& slot = machine.virtio[i];
        virtio_device device;
        device.location.registers = slot.registers.base;
        device.route.line = slot.interrupt;
        std::snprintf(device.location.text, sizeof device.location.text, "slot 0x%lx", slot.registers.base);
        if (!arch::riscv64::answers(slot.registers.base)) {
            device.failure = "no device responds at this address, which the device tree gives to a VIRTIO device";
        } else {
            const virtio::mmio_identity identity = virtio::identify_mmio(slot.registers.base);
            if (identity.outcome == virtio::error::no_device) {
                continue;
            }
            device.id = identity.id;
            device.location.interface = identity.version == 1 ? device_interface::mmio_legacy : device_interface::mmio;
            if (identity.outcome != virtio::error::none) {
                device.failure = virtio::to_string(identity.outcome);
            }
        }
        add(device, nullptr, nullptr);
    }
}

void finder::find_on_pci(pci_bus& bus) noexcept {
    bus.start();
    bus.for_each_virtio([this, &bus](const pci_bus::device& on_bus) noexcept {
        virtio_device device;
        device.id = on_bus.id;
        device.location = on_bus.location;
        device.route.line = on_bus.line;
        device.failure = on_bus.failure;
        add(device, &bus, &on_bus);
    });
}

void finder::add(virtio_device& device, pci_bus* bus, const pci_bus::device* on_bus) noexcept {
    if (found_.is_full()) {
        found_.push_back(device); // which counts it
        if (bus != nullptr) {
            bus->stop(*on_bus);
        }
        return;
    }
    if (device.is_disk()) {
        name_disk(device, disks_++);
    }
    if (device.failure == nullptr) {
        const starter with{.from = from_, .wanted = wanted_, .interrupts = interrupts_, .bus = bus, .on_bus = on_bus};
        const virtio::error outcome = start(device, with);
        if (outcome != virtio::error::none) {
            device.failure = device.is_disk() ? block::describe(outcome) : virtio::to_string(outcome);
        }
    }
    if (bus != nullptr && device.disk == nullptr && device.rng == nullptr && device.log == nullptr) {
        bus->stop(*on_bus); // nobody drives it
    }
    if (device.failure != nullptr) {
        console::print("note: %s%s%s cannot be used: %s\n", device.name, device.name[0] != '\0' ? ", " : "",
                       device.location.text, device.failure);
    }
    found_.push_back(device);
}

virtio::error finder::start(virtio_device& device, const starter& with) noexcept {
    switch (device.id) {
    case virtio::device_id::block: return start_disk(device, with);
    case virtio::device_id::entropy:
        std::snprintf(device.name, sizeof device.name, "rng%u", sources_of_entropy_++);
        return start_entropy(device, with);
    case virtio::device_id::console:
        if (has_log_) {
            return virtio::error::none;
        }
        has_log_ = true;
        std::snprintf(device.name, sizeof device.name, "log");
        return start_log(device, with);
    default: return virtio::error::none;
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

void find_devices(const machine_description& machine, pci_bus* bus, memory& from, const options& wanted,
                  interrupt_controller& interrupts, device_list& found) noexcept {
    known_devices = &found;
    finder search{from, wanted, interrupts, found};
    search.find_on_mmio(machine);
    if (bus != nullptr) {
        search.find_on_pci(*bus);
    }
    if (found.dropped() != 0) {
        console::print("note: %lu VIRTIO devices are left out: the kernel knows at most %lu\n", found.dropped(),
                       found.size());
    }
}

void reset_devices(void (*say)(const char* name) noexcept) noexcept {
    if (known_devices == nullptr) {
        return;
    }
    for (const virtio_device& device : *known_devices) {
        const bool started = device.disk != nullptr || device.rng != nullptr || device.log != nullptr;
        if (started && !reset_device(device.location)) {
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
