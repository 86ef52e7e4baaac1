#include "src/kernel/machine_description.hpp"

#include "src/kernel/cut.hpp"

#include <algorithm>

namespace inflight::kernel {
namespace {

using namespace std::string_view_literals;
using node = device_tree::node;

// Interrupt numbers at a hart's local controller (RISC-V privileged architecture, mcause codes).
constexpr std::uint32_t supervisor_software_interrupt = 1;
constexpr std::uint32_t supervisor_external_interrupt = 9;

constexpr std::uint64_t max_wired_sources = 1023; // of a PLIC, and of an APLIC

// RISC-V AIA 1.0, 3.6 and 4.9.1.
constexpr std::uint64_t interrupt_file_bytes = 4096;
constexpr unsigned interrupt_file_shift = 12;
constexpr std::uint32_t max_aplic_harts = 1u << 14;
constexpr std::uint64_t aplic_bytes = 0x4000;  // without the part that delivers to harts
constexpr std::uint64_t aplic_hart_bytes = 32; // in that part

bool is_digit(char character) noexcept {
    return character >= '0' && character <= '9';
}

char lower(char character) noexcept {
    return character >= 'A' && character <= 'Z' ? static_cast<char>(character - 'A' + 'a') : character;
}

bool same_extension(std::string_view announced, std::string_view wanted) noexcept {
    if (announced.size() != wanted.size()) {
        return false;
    }
    for (std::size_t index = 0; index < wanted.size(); ++index) {
        if (lower(announced[index]) != wanted[index]) {
            return false;
        }
    }
    return true;
}

// Removes the version from "zicsr2p0" and "zicsr2". Names never end in a digit.
std::string_view without_version(std::string_view name) noexcept {
    const auto without_digits = [](std::string_view from) {
        while (!from.empty() && is_digit(from[from.size() - 1])) {
            from.remove_suffix(1);
        }
        return from;
    };
    const std::string_view major = without_digits(name);
    if (major.size() < name.size() && major.size() > 1 && lower(major[major.size() - 1]) == 'p' &&
        is_digit(major[major.size() - 2])) {
        return without_digits({major.data(), major.size() - 1});
    }
    return major;
}

// One part of an ISA string between '_': single letters with optional versions, then at most one longer name.
bool part_announces(std::string_view part, std::string_view wanted) noexcept {
    while (!part.empty()) {
        const char letter = lower(part[0]);
        const bool modes = letter == 's' && part.size() > 1 && lower(part[1]) == 'u'; // "su", of QEMU before 7.1
        if (letter == 'z' || letter == 'x' || (letter == 's' && part.size() > 1 && !(modes && part.size() == 2))) {
            return same_extension(without_version(part), wanted);
        }
        constexpr std::string_view general = "imafd";
        if (wanted.size() == 1 ? letter == wanted[0] || (letter == 'g' && find_character(general, wanted[0]) < 5)
                               : letter == 'g' && (wanted == "zicsr"sv || wanted == "zifencei"sv)) {
            return true;
        }
        part.remove_prefix(1);
        while (!part.empty() &&
               (is_digit(part[0]) || (lower(part[0]) == 'p' && part.size() > 1 && is_digit(part[1])))) {
            part.remove_prefix(1);
        }
    }
    return false;
}

// The kinds of devices that the kernel knows, by "compatible"; a node may be several.
struct roles {
    bool test_finisher = false;
    bool uart = false;
    bool plic = false;
    bool aplic = false;
    bool imsic = false;
    bool virtio = false;
    bool sswi = false;
    bool pci_host = false;
};

// Returns none for a disabled node. Reads "compatible" once, because the kernel knows few of a tree's nodes.
roles roles_of(const node& candidate) noexcept {
    struct known_name {
        std::string_view name;
        bool roles::*role;
    };
    static constexpr known_name names[] = {
        {"virtio,mmio"sv, &roles::virtio},
        {"ns16550a"sv, &roles::uart},
        {"sifive,test0"sv, &roles::test_finisher},
        {"sifive,test1"sv, &roles::test_finisher},
        {"riscv,aclint-sswi"sv, &roles::sswi},
        {"pci-host-ecam-generic"sv, &roles::pci_host},
        // Names of the Linux bindings. All have the registers of the PLIC specification.
        {"sifive,plic-1.0.0"sv, &roles::plic},
        {"riscv,plic0"sv, &roles::plic},
        {"thead,c900-plic"sv, &roles::plic},
        {"andestech,nceplic100"sv, &roles::plic},
        {"riscv,aplic"sv, &roles::aplic},
        {"riscv,imsics"sv, &roles::imsic},
    };
    roles found;
    bool any = false;
    const auto compatible = candidate.find("compatible"sv);
    for (std::size_t index = 0; compatible; ++index) {
        const auto announced = compatible->string(index);
        if (!announced) {
            break;
        }
        for (const known_name& known : names) {
            if (known.name == *announced) {
                found.*known.role = any = true;
            }
        }
    }
    return any && candidate.okay() ? found : roles();
}

// "device_type" is required in memory and cpu nodes, but some trees lack it: then the node's name decides.
bool is_of_type(const node& candidate, std::string_view type) noexcept {
    const auto found = candidate.find("device_type"sv);
    return found ? found->string() == type : candidate.base_name() == type;
}

// Calls `visitor(range)` for each entry of "reg". Returns false if the property is damaged or cannot be translated.
template <class Visitor>
bool for_each_reg(const node& owner, Visitor&& visitor) noexcept {
    const std::size_t count = owner.reg_count();
    for (std::size_t index = 0; index < count; ++index) {
        const auto range = owner.reg(index);
        if (!range) {
            return false;
        }
        visitor(*range);
    }
    const auto property = owner.find("reg"sv);
    return count > 0 || !property || property->value().empty();
}

machine_error describe_memory(const device_tree& tree, machine_description& machine) noexcept {
    bool damaged = false; // then its memory is not used
    for (const node& candidate : tree.root().children()) {
        if (!is_of_type(candidate, "memory"sv) || !candidate.okay()) {
            continue;
        }
        const auto keep = [&](const memory_range& bank) {
            if (bank.size != 0) {
                machine.memory.push_back(bank);
            }
        };
        damaged |= !for_each_reg(candidate, keep);
    }
    if (machine.memory.empty()) {
        return damaged ? machine_error::memory_damaged : machine_error::no_memory;
    }
    const auto reserve = [&](const memory_range& range) {
        if (range.size != 0) {
            machine.reservations.push_back(range);
        }
    };
    for (std::size_t index = 0; index < tree.reservation_count(); ++index) {
        const memory_range range = *tree.reservation(index);
        if (wraps(range)) {
            return machine_error::reservation_damaged;
        }
        reserve(range);
    }
    // A child without "reg" requests memory at any address, which is not allocated yet.
    if (const auto parent = tree.root().child("reserved-memory"sv)) {
        for (const node& child : parent->children()) {
            if (child.okay() && !for_each_reg(child, reserve)) {
                return machine_error::reservation_damaged;
            }
        }
    }
    return machine.reservations.dropped() == 0 ? machine_error::none : machine_error::too_many_reservations;
}

machine_error describe_harts(const device_tree& tree, machine_description& machine) noexcept {
    const auto parent = tree.root().child("cpus"sv);
    if (!parent) {
        return machine_error::no_harts;
    }
    machine.timebase_frequency = parent->number("timebase-frequency"sv).value_or(0);
    for (const node& cpu : parent->children()) {
        if (!is_of_type(cpu, "cpu"sv) || !cpu.okay()) {
            continue;
        }
        const auto id = cpu.bus_reg(0);
        if (!id) {
            return machine_error::hart_damaged;
        }
        hart_description hart;
        hart.id = id->base;
        hart.isa = cpu.string("riscv,isa"sv).value_or(std::string_view());
        hart.isa_extensions = cpu.find("riscv,isa-extensions"sv).value_or(device_tree::property());
        for (const node& child : cpu.children()) {
            if (child.compatible("riscv,cpu-intc"sv)) {
                hart.interrupt_controller = child.phandle();
            }
        }
        for (const hart_description& other : machine.harts) {
            if (other.id == hart.id ||
                (hart.interrupt_controller != 0 && other.interrupt_controller == hart.interrupt_controller)) {
                return machine_error::duplicate_hart;
            }
        }
        machine.harts.push_back(hart);
        if (machine.timebase_frequency == 0) {
            machine.timebase_frequency = cpu.number("timebase-frequency"sv).value_or(0);
        }
    }
    if (machine.harts.empty()) {
        return machine_error::no_harts;
    }
    return machine.timebase_frequency != 0 ? machine_error::none : machine_error::no_timebase;
}

// Calls `visitor(hart, index)` for each entry of "interrupts-extended" with that interrupt of a described hart.
template <class Visitor>
bool for_each_hart_interrupt(const node& device, std::uint32_t interrupt, machine_description& machine,
                             Visitor&& visitor) noexcept {
    return device.for_each_extended_interrupt(
        [&](std::size_t index, const node& controller, const device_tree::property& cells) {
            if (cells.cell(0) != interrupt) {
                return;
            }
            const std::uint32_t handle = controller.phandle();
            for (hart_description& hart : machine.harts) {
                if (hart.interrupt_controller == handle) {
                    visitor(hart, index);
                }
            }
        });
}

// Returns the first interrupt of the device at that controller, 0 if there is none. "interrupts-extended" takes precedence
// over "interrupts" (Devicetree Specification 0.4, 2.4.1).
std::uint32_t interrupt_at(const device_tree::interrupt_controller& wired, const node& device) noexcept {
    if (!device.find("interrupts-extended"sv)) {
        return device.interrupt_at(wired, 0).value_or(0);
    }
    std::uint32_t source = 0;
    // Entries before a damaged one count.
    static_cast<void>(device.for_each_extended_interrupt(
        [&](std::size_t, const node& controller, const device_tree::property& cells) {
            if (source == 0 && controller == wired.self) {
                source = cells.cell(0).value_or(0);
            }
        }));
    return source;
}

// Returns the controller of the device's first interrupt.
std::optional<node> controller_of(const node& device) noexcept {
    if (!device.find("interrupts-extended"sv)) {
        return device.interrupt_parent();
    }
    std::optional<node> first;
    static_cast<void>(
        device.for_each_extended_interrupt([&](std::size_t, const node& controller, const device_tree::property&) {
            first = first ? first : controller;
        }));
    return first;
}

bool interrupts_supervisor(const node& controller) noexcept {
    bool any = false;
    // Entries before a damaged one count.
    static_cast<void>(
        controller.for_each_extended_interrupt([&](std::size_t, const node&, const device_tree::property& cells) {
            any |= cells.cell(0) == supervisor_external_interrupt;
        }));
    return any;
}

// Returns the IMSIC to which the APLIC sends messages. Nothing if the property "msi-parent" names none.
std::optional<node> imsic_of(const device_tree& tree, const node& aplic) noexcept {
    const auto parent = aplic.find("msi-parent"sv);
    const auto imsic = parent ? tree.find_by_phandle(parent->cell(0).value_or(0)) : std::nullopt;
    return imsic && roles_of(*imsic).imsic ? imsic : std::nullopt;
}

// A machine has an APLIC and an IMSIC for each privilege mode.
bool serves_supervisor(const device_tree& tree, const node& aplic) noexcept {
    if (!aplic.find("msi-parent"sv)) {
        return interrupts_supervisor(aplic);
    }
    const auto imsic = imsic_of(tree, aplic);
    return imsic && interrupts_supervisor(*imsic);
}

// Records what the controller calls the supervisor mode of each hart.
machine_error describe_wired_targets(const node& wired, machine_error damaged, machine_description& machine) noexcept {
    bool any = false;
    const bool whole = for_each_hart_interrupt(wired, supervisor_external_interrupt, machine,
                                               [&](hart_description& hart, std::size_t index) {
                                                   if (!hart.wired_target) {
                                                       hart.wired_target = static_cast<std::uint32_t>(index);
                                                   }
                                                   any = true;
                                               });
    if (!whole) {
        return damaged;
    }
    return any ? machine_error::none : machine_error::no_supervisor_context;
}

machine_error describe_plic(const node& plic, machine_description& machine) noexcept {
    const auto registers = plic.reg(0);
    const bool tells_sources = plic.find("riscv,ndev"sv).has_value();
    const auto sources = tells_sources ? plic.number("riscv,ndev"sv) : max_wired_sources;
    if (!registers || !sources || *sources == 0 || *sources > max_wired_sources) {
        return machine_error::plic_damaged;
    }
    machine.wired.kind = wired_controller_kind::plic;
    machine.wired.registers = *registers;
    machine.wired.source_count = static_cast<std::uint32_t>(*sources);
    return describe_wired_targets(plic, machine_error::plic_damaged, machine);
}

// The address of a hart's interrupt file, and its parts.
class interrupt_files {
  public:
    // Returns nothing if a property is malformed. `count`: files, of harts of any kind.
    [[nodiscard]] static std::optional<interrupt_files> of(const node& imsic, std::size_t count) noexcept {
        const auto bits = [&imsic](std::string_view name, std::uint64_t absent, std::uint64_t largest) {
            const auto value = imsic.find(name) ? imsic.number(name) : absent;
            return value && *value <= largest ? static_cast<unsigned>(*value) : invalid;
        };
        unsigned hart_bits_for_count = 0;
        while ((std::size_t{1} << hart_bits_for_count) < count) {
            ++hart_bits_for_count;
        }
        interrupt_files files{imsic};
        files.guest_bits_ = bits("riscv,guest-index-bits"sv, 0, 7);
        files.hart_bits_ = bits("riscv,hart-index-bits"sv, hart_bits_for_count, 15);
        files.group_bits_ = bits("riscv,group-index-bits"sv, 0, 7);
        files.group_shift_ = bits("riscv,group-index-shift"sv, std::uint64_t{2} * interrupt_file_shift, 55);
        const bool valid = files.guest_bits_ != invalid && files.hart_bits_ != invalid &&
                           files.group_bits_ != invalid && files.group_shift_ != invalid &&
                           (files.group_bits_ == 0 || files.group_shift_ >= files.hart_shift() + files.hart_bits_);
        return valid ? std::optional{files} : std::nullopt;
    }

    // Returns 0 if "reg" has no room for that file, or is malformed. The files of each entry follow one another.
    [[nodiscard]] std::uint64_t address(std::size_t index) const noexcept {
        std::uint64_t offset = static_cast<std::uint64_t>(index) << hart_shift();
        const std::size_t count = imsic_.reg_count();
        for (std::size_t each = 0; each < count; ++each) {
            const auto files = imsic_.reg(each);
            if (!files || files->base % interrupt_file_bytes != 0) {
                return 0;
            }
            if (offset < files->size) {
                return files->size - offset >= interrupt_file_bytes ? files->base + offset : 0;
            }
            const std::uint64_t stride = std::uint64_t{1} << hart_shift();
            const std::uint64_t taken = files->size / stride + (files->size % stride != 0 ? 1 : 0);
            if (offset / stride < taken) {
                return 0;
            }
            offset -= taken * stride;
        }
        return 0;
    }

    // What an APLIC calls the hart with that file.
    [[nodiscard]] std::uint64_t hart_index(std::uint64_t file) const noexcept {
        const auto field = [file](unsigned shift, unsigned bits) {
            return file >> shift & ((std::uint64_t{1} << bits) - 1);
        };
        return field(group_shift_, group_bits_) << hart_bits_ | field(hart_shift(), hart_bits_);
    }

  private:
    static constexpr unsigned invalid = ~0u;

    explicit interrupt_files(const node& imsic) noexcept : imsic_(imsic) {}

    [[nodiscard]] unsigned hart_shift() const noexcept { return interrupt_file_shift + guest_bits_; }

    node imsic_;
    unsigned guest_bits_ = 0;
    unsigned hart_bits_ = 0;
    unsigned group_bits_ = 0;
    unsigned group_shift_ = 0;
};

machine_error describe_imsic(const node& imsic, machine_description& machine) noexcept {
    constexpr std::uint64_t min_ids = 63;
    constexpr std::uint64_t max_ids = 2047;
    const auto ids = imsic.number("riscv,num-ids"sv);
    std::size_t count = 0;
    const auto count_entries = [&count](std::size_t index, const node&, const device_tree::property&) {
        count = index + 1;
    };
    const bool whole = imsic.for_each_extended_interrupt(count_entries);
    const auto files = interrupt_files::of(imsic, count);
    if (!whole || !files || !ids || *ids < min_ids || *ids > max_ids) {
        return machine_error::imsic_damaged;
    }
    machine.imsic = {.phandle = imsic.phandle(), .id_count = static_cast<std::uint32_t>(*ids)};
    bool any = false;
    bool damaged = false;
    static_cast<void>(for_each_hart_interrupt(
        imsic, supervisor_external_interrupt, machine, [&](hart_description& hart, std::size_t index) {
            const std::uint64_t file = files->address(index);
            const std::uint64_t hart_index = files->hart_index(file);
            damaged |= file == 0 || hart_index >= max_aplic_harts;
            // Without Ssaia, the hart cannot claim what arrives.
            if (!damaged && hart.has_extension("ssaia"sv) && hart.interrupt_file == 0) {
                hart.interrupt_file = file;
                hart.wired_target = static_cast<std::uint32_t>(hart_index);
                any = true;
            }
        }));
    if (damaged) {
        return machine_error::imsic_damaged;
    }
    return any ? machine_error::none : machine_error::imsic_without_hart;
}

machine_error describe_aplic(const device_tree& tree, const node& aplic, machine_description& machine) noexcept {
    const auto registers = aplic.reg(0);
    const auto sources = aplic.number("riscv,num-sources"sv);
    if (!registers || registers->size < aplic_bytes || !sources || *sources == 0 || *sources > max_wired_sources) {
        return machine_error::aplic_damaged;
    }
    machine.wired.registers = *registers;
    machine.wired.source_count = static_cast<std::uint32_t>(*sources);
    if (aplic.find("msi-parent"sv)) {
        const auto imsic = imsic_of(tree, aplic);
        machine.wired.kind = wired_controller_kind::aplic_imsic;
        return imsic ? describe_imsic(*imsic, machine) : machine_error::aplic_damaged;
    }
    machine.wired.kind = wired_controller_kind::aplic;
    if (const auto error = describe_wired_targets(aplic, machine_error::aplic_damaged, machine);
        error != machine_error::none) {
        return error;
    }
    const std::uint64_t most = (registers->size - aplic_bytes) / aplic_hart_bytes;
    const bool fits = std::all_of(machine.harts.begin(), machine.harts.end(), [most](const hart_description& hart) {
        return hart.wired_target.value_or(0) < most;
    });
    return fits ? machine_error::none : machine_error::aplic_damaged;
}

machine_error describe_wired(const device_tree& tree, const node& wired, machine_description& machine) noexcept {
    machine.wired.phandle = wired.phandle();
    return roles_of(wired).plic ? describe_plic(wired, machine) : describe_aplic(tree, wired, machine);
}

void describe_uart(const node& candidate, bool is_output, machine_description& machine) noexcept {
    const auto registers = candidate.reg(0);
    const auto shift = candidate.number("reg-shift"sv).value_or(0);
    if (candidate.number("reg-io-width"sv).value_or(1) != 1) {
        return; // the console needs byte accesses; the firmware prints instead
    }
    if (registers && shift < 8 && (!machine.uart || is_output)) {
        machine.uart = {*registers, static_cast<std::uint32_t>(shift), 0, is_output};
    }
}

// Finds the devices by which errors are reported, and returns the controller of wired sources. If there are several (one
// per NUMA node in QEMU), returns the one of the first virtio slot.
std::optional<node> survey(const device_tree& tree, const std::optional<node>& chosen,
                           machine_description& machine) noexcept {
    std::string_view path = chosen ? chosen->string("stdout-path"sv).value_or(std::string_view()) : std::string_view();
    const auto standard_output = tree.find_by_path(cut(path, ':')); // options follow the ':'
    std::optional<node> first;
    std::optional<node> of_virtio;
    for (const node& candidate : tree.nodes()) {
        const roles role = roles_of(candidate);
        if (role.test_finisher) {
            machine.test_finisher = machine.test_finisher ? machine.test_finisher : candidate.reg(0);
        } else if (role.uart) {
            describe_uart(candidate, standard_output == candidate, machine);
        }
        if (role.plic || (role.aplic && serves_supervisor(tree, candidate))) {
            ++machine.wired.controllers;
            first = first ? first : candidate;
        } else if (role.virtio && !of_virtio) {
            const auto controller = controller_of(candidate);
            const roles of = controller ? roles_of(*controller) : roles();
            of_virtio = of.plic || of.aplic ? controller : std::nullopt;
        }
    }
    return of_virtio ? of_virtio : first;
}

bool overlap(const memory_range& one, const memory_range& other) noexcept {
    return one.base < other.base ? other.base - one.base < one.size : one.base - other.base < other.size;
}

// A device whose description is damaged is left out; the others are not affected.
void describe_devices(const device_tree& tree, const node& wired, machine_description& machine) noexcept {
    const device_tree::interrupt_controller controller = wired.as_interrupt_controller();
    for (const node& device : tree.nodes()) {
        const roles role = roles_of(device);
        if (role.pci_host && !machine.pci) {
            describe_pci_host(tree, device, controller, machine.pci.emplace());
        }
        if (!role.virtio && !role.sswi && !role.uart) {
            continue;
        }
        const auto registers = device.reg(0);
        if (role.virtio) {
            const auto taken = [&](const virtio_slot& other) {
                return overlap(other.registers, *registers);
            };
            if (!registers || std::any_of(machine.virtio.begin(), machine.virtio.end(), taken)) {
                ++machine.virtio_unusable;
                continue;
            }
            machine.virtio.push_back({*registers, interrupt_at(controller, device)});
        } else if (role.sswi) {
            // Optional: without such a register, the firmware interrupts the hart.
            const auto place = [&](hart_description& hart, std::size_t index) {
                if (index < registers->size / sizeof(std::uint32_t)) {
                    hart.sswi_register = registers->base + index * sizeof(std::uint32_t);
                }
            };
            if (registers && for_each_hart_interrupt(device, supervisor_software_interrupt, machine, place)) {
                machine.sswi = machine.sswi ? machine.sswi : registers;
            }
        } else if (machine.uart && registers == machine.uart->registers) {
            machine.uart->interrupt = interrupt_at(controller, device);
        }
    }
    // Insertion sort: the list is short.
    for (std::size_t end = 1; end < machine.virtio.size(); ++end) {
        const virtio_slot slot = machine.virtio[end];
        std::size_t at = end;
        for (; at > 0 && machine.virtio[at - 1].registers.base > slot.registers.base; --at) {
            machine.virtio[at] = machine.virtio[at - 1];
        }
        machine.virtio[at] = slot;
    }
}

machine_error describe_chosen(const std::optional<node>& chosen, machine_description& machine) noexcept {
    if (!chosen) {
        return machine_error::none;
    }
    if (const auto arguments = chosen->find("bootargs"sv)) {
        const auto line = arguments->string();
        if (!line) {
            return machine_error::bootargs_damaged;
        }
        machine.bootargs = *line;
    }
    const auto has = [&](std::string_view name) {
        return chosen->find(name).has_value();
    };
    if (has("linux,initrd-start"sv) || has("linux,initrd-end"sv)) {
        const auto start = chosen->number("linux,initrd-start"sv);
        const auto end = chosen->number("linux,initrd-end"sv);
        if (!start || !end || *end < *start) {
            return machine_error::initrd_damaged;
        }
        if (*end > *start) {
            machine.initrd = memory_range{*start, *end - *start};
        }
    }
    return machine_error::none;
}

} // namespace

bool hart_description::has_extension(std::string_view name) const noexcept {
    if (isa_extensions.contains(name)) {
        return true;
    }
    std::string_view rest = isa;
    const bool has_base = rest.size() > 4 && lower(rest[0]) == 'r' && lower(rest[1]) == 'v' &&
                          ((rest[2] == '3' && rest[3] == '2') || (rest[2] == '6' && rest[3] == '4'));
    if (!has_base || name.empty()) {
        return false;
    }
    rest.remove_prefix(4);
    while (!rest.empty()) {
        if (part_announces(cut(rest, '_'), name)) {
            return true;
        }
    }
    return false;
}

machine_error describe(const device_tree& tree, machine_description& machine) noexcept {
    const auto chosen = tree.root().child("chosen"sv);
    const auto wired = survey(tree, chosen, machine);
    if (const auto error = describe_memory(tree, machine); error != machine_error::none) {
        return error;
    }
    if (const auto error = describe_harts(tree, machine); error != machine_error::none) {
        return error;
    }
    if (!wired) {
        return machine_error::no_wired_controller;
    }
    if (const auto error = describe_wired(tree, *wired, machine); error != machine_error::none) {
        return error;
    }
    describe_devices(tree, *wired, machine);
    return describe_chosen(chosen, machine);
}

memory_range largest_free_range(std::span<const memory_range> banks, std::span<const memory_range> taken) noexcept {
    const auto end_of = [](const memory_range& range) {
        return wraps({range.base, range.size + 1}) ? UINT64_MAX : range.base + range.size;
    };
    memory_range largest;
    for (const memory_range& bank : banks) {
        const std::uint64_t end = end_of(bank);
        for (std::uint64_t from = bank.base; from < end;) {
            // Either `from` is taken, and the search continues after that range, or it is free up to `next`.
            std::uint64_t next = end;
            const memory_range* around = nullptr;
            for (const memory_range& range : taken) {
                if (range.base > from) {
                    next = range.size != 0 ? std::min(next, range.base) : next;
                } else if (end_of(range) > from) {
                    around = &range;
                }
            }
            if (around != nullptr) {
                from = end_of(*around);
                continue;
            }
            if (next - from > largest.size) {
                largest = {from, next - from};
            }
            from = next;
        }
    }
    return largest;
}

std::string_view text(machine_error error) noexcept {
    switch (error) {
    case machine_error::none: return "the device tree describes the machine"sv;
    case machine_error::no_memory: return "the device tree has no memory: a node memory with a bank is needed"sv;
    case machine_error::memory_damaged: return "a memory node of the device tree has a malformed reg property"sv;
    case machine_error::reservation_damaged:
        return "a memory reservation of the device tree is malformed or has no physical address"sv;
    case machine_error::too_many_reservations:
        return "the device tree reserves more memory ranges than the kernel can keep clear of"sv;
    case machine_error::no_harts: return "the device tree has no enabled hart: /cpus lacks cpu nodes that are okay"sv;
    case machine_error::hart_damaged: return "a cpu node of the device tree has no well-formed hart id in reg"sv;
    case machine_error::duplicate_hart:
        return "two cpu nodes of the device tree have the same hart id or interrupt controller"sv;
    case machine_error::no_timebase:
        return "the device tree has no timebase-frequency, neither in /cpus nor in a cpu node: the timer has no unit"sv;
    case machine_error::no_wired_controller:
        return "the device tree has neither a PLIC nor an APLIC of supervisor mode: boot with -machine virt"sv;
    case machine_error::plic_damaged:
        return "the PLIC node of the device tree has a malformed reg, riscv,ndev or interrupts-extended property"sv;
    case machine_error::aplic_damaged:
        return "the APLIC node of the device tree has a malformed reg, riscv,num-sources, interrupts-extended or "
               "msi-parent property: boot with a PLIC instead (aia=none)"sv;
    case machine_error::imsic_damaged:
        return "the IMSIC node of the device tree has a malformed reg, riscv,num-ids, interrupts-extended, or index "
               "bits property: boot without it (aia=aplic or aia=none)"sv;
    case machine_error::imsic_without_hart:
        return "the IMSIC has no interrupt file for any enabled hart that announces the extension Ssaia: boot without "
               "it (aia=aplic or aia=none)"sv;
    case machine_error::no_supervisor_context:
        return "the interrupt controller has no supervisor context for any enabled hart: boot with harts that have that mode"sv;
    case machine_error::bootargs_damaged: return "the property bootargs in /chosen does not end in a NUL"sv;
    case machine_error::initrd_damaged:
        return "linux,initrd-start and linux,initrd-end in /chosen are not two numbers in ascending order"sv;
    }
    return "unknown error of a machine"sv;
}

} // namespace inflight::kernel
