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

constexpr std::uint64_t maximum_plic_source = 1023;

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
    constexpr known_name names[] = {
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

// Returns the first interrupt of the device at that PLIC, 0 if there is none. "interrupts-extended" takes precedence
// over "interrupts" (Devicetree Specification 0.4, 2.4.1).
std::uint32_t interrupt_at(const device_tree::interrupt_controller& plic, const node& device) noexcept {
    if (!device.find("interrupts-extended"sv)) {
        return device.interrupt_at(plic, 0).value_or(0);
    }
    std::uint32_t source = 0;
    // Entries before a damaged one count.
    static_cast<void>(device.for_each_extended_interrupt(
        [&](std::size_t, const node& controller, const device_tree::property& cells) {
            if (source == 0 && controller == plic.self) {
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

machine_error describe_plic(const node& plic, machine_description& machine) noexcept {
    const auto registers = plic.reg(0);
    const bool tells_sources = plic.find("riscv,ndev"sv).has_value();
    const auto sources = tells_sources ? plic.number("riscv,ndev"sv) : maximum_plic_source;
    if (!registers || !sources || *sources == 0 || *sources > maximum_plic_source) {
        return machine_error::plic_damaged;
    }
    machine.plic.registers = *registers;
    machine.plic.source_count = static_cast<std::uint32_t>(*sources);
    bool any = false;
    const bool whole = for_each_hart_interrupt(plic, supervisor_external_interrupt, machine,
                                               [&](hart_description& hart, std::size_t index) {
                                                   if (!hart.plic_context) {
                                                       hart.plic_context = static_cast<std::uint32_t>(index);
                                                   }
                                                   any = true;
                                               });
    if (!whole) {
        return machine_error::plic_damaged;
    }
    return any ? machine_error::none : machine_error::no_supervisor_context;
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

// Finds the devices by which errors are reported, and returns the PLIC. If there are several (one per NUMA node in
// QEMU), returns the one of the first virtio slot.
std::optional<node> survey(const device_tree& tree, const std::optional<node>& chosen,
                           machine_description& machine) noexcept {
    std::string_view path = chosen ? chosen->string("stdout-path"sv).value_or(std::string_view()) : std::string_view();
    const auto standard_output = tree.find_by_path(cut(path, ':')); // options follow the ':'
    std::optional<node> first_plic;
    std::optional<node> plic_of_virtio;
    for (const node& candidate : tree.nodes()) {
        const roles role = roles_of(candidate);
        if (role.test_finisher) {
            machine.test_finisher = machine.test_finisher ? machine.test_finisher : candidate.reg(0);
        } else if (role.uart) {
            describe_uart(candidate, standard_output == candidate, machine);
        }
        if (role.plic) {
            ++machine.plic.controllers;
            first_plic = first_plic ? first_plic : candidate;
        } else if (role.virtio && !plic_of_virtio) {
            const auto controller = controller_of(candidate);
            plic_of_virtio = controller && roles_of(*controller).plic ? controller : std::nullopt;
        }
    }
    return plic_of_virtio ? plic_of_virtio : first_plic;
}

bool overlap(const memory_range& one, const memory_range& other) noexcept {
    return one.base < other.base ? other.base - one.base < one.size : one.base - other.base < other.size;
}

// A device whose description is damaged is left out; the others are not affected.
void describe_devices(const device_tree& tree, const node& plic, machine_description& machine) noexcept {
    const device_tree::interrupt_controller controller = plic.as_interrupt_controller();
    for (const node& device : tree.nodes()) {
        const roles role = roles_of(device);
        if (role.pci_host && !machine.pci) {
            machine.pci = describe_pci_host(tree, device, controller);
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
    const auto plic = survey(tree, chosen, machine);
    if (const auto error = describe_memory(tree, machine); error != machine_error::none) {
        return error;
    }
    if (const auto error = describe_harts(tree, machine); error != machine_error::none) {
        return error;
    }
    if (!plic) {
        return machine_error::no_plic;
    }
    if (const auto error = describe_plic(*plic, machine); error != machine_error::none) {
        return error;
    }
    describe_devices(tree, *plic, machine);
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
    case machine_error::no_plic: return "the device tree has no PLIC: boot with -machine virt and without aia="sv;
    case machine_error::plic_damaged:
        return "the PLIC node of the device tree has a malformed reg, riscv,ndev or interrupts-extended property"sv;
    case machine_error::no_supervisor_context:
        return "the PLIC has no supervisor context for any enabled hart: boot with harts that have that mode"sv;
    case machine_error::bootargs_damaged: return "the property bootargs in /chosen does not end in a NUL"sv;
    case machine_error::initrd_damaged:
        return "linux,initrd-start and linux,initrd-end in /chosen are not two numbers in ascending order"sv;
    }
    return "unknown error of a machine"sv;
}

} // namespace inflight::kernel
