// Boots the kernel and runs the program that the command line names.

#include "arch/arch.hpp"
#include "async/executor.hpp"
#include "async/sync_wait.hpp"
#include "src/kernel/aplic_controller.hpp"
#include "src/kernel/console.hpp"
#include "src/kernel/device_tree.hpp"
#include "src/kernel/devices.hpp"
#include "src/kernel/end.hpp"
#include "src/kernel/harts.hpp"
#include "src/kernel/imsic_controller.hpp"
#include "src/kernel/machine_description.hpp"
#include "src/kernel/memory.hpp"
#include "src/kernel/options.hpp"
#include "src/kernel/panic.hpp"
#include "src/kernel/pci_bus.hpp"
#include "src/kernel/plic_controller.hpp"
#include "src/kernel/program.hpp"
#include "src/kernel/protection.hpp"
#include "src/kernel/tasks.hpp"

#include <algorithm>
#include <new>

extern "C" {
extern std::byte boot_stack; // boot.S
extern std::byte boot_stack_end;
extern std::byte trap_stack;
extern std::byte trap_stack_end;
using constructor = void (*)();
extern constructor init_array_begin[];
extern constructor init_array_end[];

[[noreturn]] void kernel_main(std::uint64_t hart_id, const void* device_tree_blob) noexcept;
}

namespace inflight::kernel {

namespace {

constexpr std::size_t max_device_tree_bytes = 1u << 20;

const program& find_program(std::string_view name) noexcept {
    if (const program* const found = program::find(name); found != nullptr) {
        return *found;
    }
    console::print("error: there is no program '%.*s'; there are:\n", static_cast<int>(name.size()), name.data());
    for (const program* each = program::first(); each != nullptr; each = each->next()) {
        console::print("  %-8s %s\n", each->name().data(), each->summary());
    }
    end(exit_failure);
}

// Reports the words that other loaders add, because they take this kernel for Linux. Unprintable characters become
// question marks.
void tell_words_for_linux(const options& wanted) noexcept {
    if (wanted.for_linux.empty()) {
        return;
    }
    console::write("note: taken, and without effect here, as boot arguments of Linux:");
    for (const std::string_view word : wanted.for_linux) {
        char text[64];
        const std::size_t length = std::min(word.size(), sizeof text);
        std::transform(word.begin(), word.begin() + length, text,
                       [](char each) { return each >= ' ' && each <= '~' ? each : '?'; });
        console::print(" %.*s%s", static_cast<int>(length), text, length < word.size() ? "..." : "");
    }
    if (wanted.for_linux.dropped() != 0) {
        console::print(" and %lu more", wanted.for_linux.dropped());
    }
    console::write("\n");
}

template <typename Controller, typename... Descriptions>
interrupt_controller& create_controller(memory& from, const Descriptions&... described) noexcept {
    std::byte* const place = from.allocate_private(sizeof(Controller), alignof(Controller));
    if (place == nullptr) {
        fail(
            "the machine has too little memory for its interrupt controller: give it at least 16 MiB (./run --memory)");
    }
    return *::new (place) Controller{described...};
}

// The one that the device tree describes.
interrupt_controller& create_interrupt_controller(const machine_description& machine, memory& from) noexcept {
    switch (machine.wired.kind) {
    case wired_controller_kind::plic: return create_controller<plic_controller>(from, machine.wired);
    case wired_controller_kind::aplic: return create_controller<aplic_controller>(from, machine.wired);
    case wired_controller_kind::aplic_imsic:
        return create_controller<imsic_controller>(from, machine.wired, *machine.imsic);
    }
    arch::panic("an interrupt controller of an unknown kind");
}

// The machine's PCI bus if a VIRTIO device is on it, else nullptr. Before memory is protected, so that the bus is mapped only
// then.
pci_bus* find_pci_bus(machine_description& machine) noexcept {
    if (!machine.pci) {
        return nullptr;
    }
    if (machine.pci->outcome != pci_host_error::none) {
        console::print("note: devices on PCI are left out: %s\n", text(machine.pci->outcome).data());
        return nullptr;
    }
    static pci_bus bus{machine};
    const pci_host_error outcome = bus.find_functions();
    if (outcome != pci_host_error::none) {
        console::print("note: devices on PCI are left out: %s\n", text(outcome).data());
    }
    machine.pci->is_used = outcome == pci_host_error::none && bus.has_virtio();
    return machine.pci->is_used ? &bus : nullptr;
}

[[noreturn]] void run(std::uint64_t hart_id, const void* device_tree_blob) noexcept {
    const device_tree::open_result tree = device_tree::open(device_tree_blob, max_device_tree_bytes);
    if (!tree) {
        fail("%s", text(tree.error).data());
    }
    static machine_description machine;
    const machine_error description = describe(tree.tree, machine);
    if (machine.uart) {
        console::open(*machine.uart);
    }
    if (machine.test_finisher) {
        set_test_finisher(machine.test_finisher->base);
    }
    if (description != machine_error::none) {
        fail("%s", text(description).data());
    }

    // Sstc is used only if all harts have it.
    const bool has_sstc = std::all_of(machine.harts.begin(), machine.harts.end(),
                                      [](const hart_description& hart) { return hart.has_extension("sstc"); });
    arch::riscv64::the_clock = {.ticks_per_second = machine.timebase_frequency, .has_sstc = has_sstc};

    static options wanted;
    static char message[512];
    if (!parse_options(machine.bootargs, wanted, message)) {
        fail("%s", message);
    }
    tell_words_for_linux(wanted);
    const program& chosen = find_program(wanted.program);

    const std::span blob{static_cast<const std::byte*>(device_tree_blob), tree.tree.size()};
    static memory free_memory{machine, blob};
    interrupt_controller& interrupts = create_interrupt_controller(machine, free_memory);
    describe_harts(machine, hart_id, free_memory, wanted);
    pci_bus* const bus = find_pci_bus(machine);
    protect_memory(machine, free_memory, blob);
    start_harts(interrupts);
    static device_list devices;
    find_devices(machine, bus, free_memory, wanted, interrupts, devices);
    arch::restore_interrupts(true);

    const environment here{.machine = machine,
                           .wanted = wanted,
                           .devices = {devices.begin(), devices.size()},
                           .pci = bus,
                           .free_memory = free_memory};
    if (wanted.tasks) {
        watch_for_standstill();
    }
    const bool passed = async::sync_wait(chosen.run(here).named(chosen.name().data()));
    if (wanted.tasks) {
        print_tasks();
    }
    end(passed ? 0 : exit_failure);
}

} // namespace

} // namespace inflight::kernel

void kernel_main(std::uint64_t hart_id, const void* device_tree_blob) noexcept {
    using namespace inflight;
    arch::riscv64::hart& hart = arch::riscv64::boot_hart;
    hart.stack_begin = &boot_stack;
    hart.stack_end = &boot_stack_end;
    hart.trap_stack_begin = &trap_stack;
    hart.trap_stack_end = &trap_stack_end;
    kernel::handle_panics();
    for (constructor* next = init_array_begin; next != init_array_end; ++next) {
        (*next)();
    }
    kernel::run(hart_id, device_tree_blob);
}

// What the C++ library needs from the kernel, which destroys no static object.
extern "C" {
void* __dso_handle = nullptr;
int __cxa_atexit(void (*)(void*), void*, void*) noexcept {
    return 0;
}
[[noreturn]] void __cxa_pure_virtual() noexcept {
    inflight::arch::panic("a pure virtual function was called");
}
}

namespace std {
void __throw_out_of_range_fmt(const char*, ...) {
    inflight::arch::panic("a string was cut behind its end");
}
} // namespace std
