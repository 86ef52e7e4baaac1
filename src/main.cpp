// From the first line of C++ to the verdict of the program that the command line names.

#include "arch/arch.hpp"
#include "async/executor.hpp"
#include "async/sync_wait.hpp"
#include "src/console.hpp"
#include "src/device_tree.hpp"
#include "src/disks.hpp"
#include "src/end.hpp"
#include "src/interrupts.hpp"
#include "src/memory.hpp"
#include "src/options.hpp"
#include "src/program.hpp"

#include <algorithm>

extern "C" {
inflight::arch::riscv64::hart boot_hart; // boot.S puts its address into tp

extern std::byte trap_stack_end;
using constructor = void (*)();
extern constructor init_array_begin[];
extern constructor init_array_end[];

[[noreturn]] void kernel_main(std::uint64_t hart_id, const void* device_tree_blob) noexcept;
}

namespace inflight::kernel {

namespace {

constexpr std::size_t largest_device_tree = 1u << 20;

// A sixteenth of the memory holds coroutine frames, within reason.
constexpr std::size_t least_frame_memory = 64u << 10;
constexpr std::size_t most_frame_memory = 32u << 20;

const hart_description& this_hart(const machine_description& machine, std::uint64_t hart_id) noexcept {
    for (const hart_description& hart : machine.harts) {
        if (hart.id == hart_id) {
            return hart;
        }
    }
    fail("the device tree does not know hart %lu, on which the kernel was started", hart_id);
}

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

async::executor& create_executor(memory& from) noexcept {
    const std::size_t bytes = std::clamp(from.available() / 16, least_frame_memory, most_frame_memory);
    std::byte* const frames = from.allocate(bytes, async::frame_slab::granule);
    if (frames == nullptr) {
        fail("the machine has too little memory: give it at least 16 MiB (./run --memory)");
    }
    alignas(async::executor) static std::byte storage[sizeof(async::executor)];
    return *::new (storage) async::executor{std::span{frames, bytes}};
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

    const hart_description& hart = this_hart(machine, hart_id);
    if (!hart.plic_context) {
        fail("the PLIC has no S-mode context for hart %lu, so no interrupt could reach it", hart_id);
    }
    arch::riscv64::the_clock = {.ticks_per_second = machine.timebase_frequency, .has_sstc = hart.has_extension("sstc")};
    arch::set_deadline(arch::no_deadline);

    static options wanted;
    static char message[512];
    if (!parse_options(machine.bootargs, wanted, message)) {
        fail("%s", message);
    }
    const program& chosen = find_program(wanted.program);

    static memory free_memory{machine, {static_cast<const std::byte*>(device_tree_blob), tree.tree.size()}};
    async::executor& executor = create_executor(free_memory);
    executor.set_poll_mode(wanted.poll);
    interrupts::open(machine.plic, *hart.plic_context);
    static device_list devices;
    find_devices(machine, free_memory, wanted, devices);
    arch::restore_interrupts(true);

    const environment here{
        .machine = machine, .wanted = wanted, .devices = {devices.begin(), devices.size()}, .free_memory = free_memory};
    const bool passed = async::sync_wait(chosen.run(here));
    end(passed ? 0 : exit_failure);
}

} // namespace

} // namespace inflight::kernel

void kernel_main(std::uint64_t hart_id, const void* device_tree_blob) noexcept {
    boot_hart.trap_stack_end = &trap_stack_end;
    boot_hart.hardware_id = hart_id;
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
