// From the first line of C++ to the verdict of the program that the command line names.

#include "arch/arch.hpp"
#include "async/executor.hpp"
#include "async/sync_wait.hpp"
#include "src/console.hpp"
#include "src/device_tree.hpp"
#include "src/disks.hpp"
#include "src/end.hpp"
#include "src/harts.hpp"
#include "src/interrupts.hpp"
#include "src/memory.hpp"
#include "src/options.hpp"
#include "src/program.hpp"
#include "src/tasks.hpp"

#include <algorithm>

extern "C" {
extern inflight::arch::riscv64::hart boot_hart;
extern std::byte boot_stack;
extern std::byte trap_stack_end;
using constructor = void (*)();
extern constructor init_array_begin[];
extern constructor init_array_end[];

[[noreturn]] void kernel_main(std::uint64_t hart_id, const void* device_tree_blob) noexcept;
}

namespace inflight::kernel {

namespace {

constexpr std::size_t largest_device_tree = 1u << 20;

const program& find_program(std::string_view name) noexcept {
    for (const program& candidate : programs()) {
        if (candidate.name == name) {
            return candidate;
        }
    }
    console::print("error: there is no program '%.*s'; there are:\n", static_cast<int>(name.size()), name.data());
    for (const program& candidate : programs()) {
        console::print("  %-8s %s\n", candidate.name.data(), candidate.summary);
    }
    end(exit_failure);
}

[[noreturn]] void run(std::uint64_t hart_id, const void* device_tree_blob) noexcept {
    const device_tree::open_result tree = device_tree::open(device_tree_blob, largest_device_tree);
    if (!tree) {
        fail("%s", text(tree.error).data());
    }
    static machine_description machine;
    const device_tree_error description = describe(tree.tree, machine);
    if (machine.uart) {
        console::open(*machine.uart);
    }
    if (machine.test_finisher) {
        set_test_finisher(machine.test_finisher->base);
    }
    if (description != device_tree_error::none) {
        fail("%s", text(description).data());
    }

    // The harts' deadlines are registers only if that is so for all.
    const bool has_sstc = std::all_of(machine.harts.begin(), machine.harts.end(),
                                      [](const hart_description& hart) { return hart.has_extension("sstc"); });
    arch::riscv64::the_clock = {.ticks_per_second = machine.timebase_frequency, .has_sstc = has_sstc};

    static options wanted;
    static char message[512];
    if (!parse_options(machine.bootargs, wanted, message)) {
        fail("%s", message);
    }
    const program& chosen = find_program(wanted.program);

    static memory free_memory{machine, {static_cast<const std::byte*>(device_tree_blob), tree.tree.size()}};
    interrupts::describe(machine.plic);
    start_harts(machine, hart_id, free_memory, wanted);
    static device_list devices;
    find_devices(machine, free_memory, wanted, devices);
    arch::restore_interrupts(true);

    const environment here{
        .machine = machine, .wanted = wanted, .devices = {devices.begin(), devices.size()}, .free_memory = free_memory};
    if (wanted.tasks) {
        watch_for_standstill();
    }
    const bool passed = async::sync_wait(chosen.run(here).named(chosen.name.data()));
    if (wanted.tasks) {
        print_tasks();
    }
    end(passed ? 0 : exit_failure);
}

} // namespace

} // namespace inflight::kernel

void kernel_main(std::uint64_t hart_id, const void* device_tree_blob) noexcept {
    boot_hart.stack_begin = &boot_stack;
    boot_hart.trap_stack_end = &trap_stack_end;
    for (constructor* next = init_array_begin; next != init_array_end; ++next) {
        (*next)();
    }
    inflight::kernel::run(hart_id, device_tree_blob);
}

// What the C++ library wants from its system. Nothing is ever destroyed here, and nothing virtual is called too early.
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
[[noreturn]] void __throw_out_of_range_fmt(const char*, ...) {
    inflight::arch::panic("a string was cut behind its end");
}
} // namespace std
