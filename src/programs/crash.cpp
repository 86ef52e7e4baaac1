// crash: panics on purpose, to show what a panic looks like and that the host does not take it for success.

#include "async/counting_scope.hpp"
#include "async/event.hpp"
#include "async/schedule_on.hpp"
#include "async/scheduler.hpp"
#include "async/semaphore.hpp"
#include "src/kernel/end.hpp"
#include "src/kernel/program.hpp"

#include <cstdint>

extern "C" void _start() noexcept; // boot.S

namespace inflight::kernel {

namespace {

// On a machine without protection these stores change nothing.

// In assembly, because such a store is undefined behaviour in C++.
void store_to(std::uintptr_t address) noexcept {
    std::uint64_t value;
    asm volatile("ld %0, 0(%1)\n\tsd %0, 0(%1)" : "=&r"(value) : "r"(address) : "memory");
}

// Overflows the stack into its guard. If the guard is mapped, it returns, and the executor detects the damage.
[[gnu::noinline]] std::uint64_t overflow_stack(std::uint64_t depth) noexcept {
    const std::byte* const last = arch::riscv64::current_hart().stack_begin - 2048;
    volatile std::uint64_t local[4] = {depth, depth, depth, depth}; // and no tail call
    if (static_cast<const std::byte*>(__builtin_frame_address(0)) > last) {
        local[0] = overflow_stack(depth + 1);
    }
    return local[0] + local[3];
}

constinit const std::uint64_t constant = 42;
constinit std::uint32_t instructions[] = {0x00008067}; // ret

async::task<bool> store_to_nowhere() {
    // The `virt` machine has nothing at address 0.
    asm volatile("sd zero, 0(zero)" ::: "memory");
    co_return false; // without a panic, the program has failed
}

async::task<bool> overflow() {
    static_cast<void>(overflow_stack(0));
    co_await async::yield{};
    co_return false;
}

async::task<bool> store_to_text() {
    store_to(reinterpret_cast<std::uintptr_t>(&_start));
    co_return false;
}

async::task<bool> store_to_constant() {
    store_to(reinterpret_cast<std::uintptr_t>(&constant));
    co_return false;
}

async::task<bool> jump_into_data() {
    // The store before the instruction fetch, so that a machine without protection runs the instructions.
    asm volatile("fence.i" : : : "memory");
    reinterpret_cast<void (*)()>(reinterpret_cast<std::uintptr_t>(instructions))();
    co_return false;
}

async::task<bool> crash(crash_kind kind) {
    switch (kind) {
    case crash_kind::null: return store_to_nowhere();
    case crash_kind::stack: return overflow();
    case crash_kind::text: return store_to_text();
    case crash_kind::rodata: return store_to_constant();
    case crash_kind::data: return jump_into_data();
    }
    return store_to_nowhere();
}

// Nested tasks: the panic prints which task awaits which.
async::task<bool> call_crash(crash_kind kind) {
    co_await async::yield{}; // so that the others start
    co_return co_await crash(kind).named("store");
}

// Unrelated tasks.
async::task<void> wait_for(async::event& never) {
    co_await never.wait();
}

async::task<void> wait_in_line(async::semaphore& empty) {
    co_await empty.acquire();
}

async::task<void> sleep() {
    co_await async::sleep_for(arch::ticks_per_second() * 3600);
}

async::task<bool> run_crash(const environment& here) {
    async::event never;
    async::semaphore empty{0};
    async::counting_scope others;
    const bool spawned = others.spawn(wait_for(never).named("waiter")) &&
                         others.spawn(wait_in_line(empty).named("queuer")) && others.spawn(sleep());
    if (!spawned) {
        fail("no memory is left for the tasks that look on");
    }
    const arch::hart_index last = arch::harts() - 1;
    if (last == 0) {
        co_return co_await call_crash(here.wanted.kind).named("caller");
    }
    co_return co_await async::on(last, call_crash(here.wanted.kind).named("caller"));
}

const program registered{"crash", "ends in a panic on purpose: shows what a panic looks like", run_crash};

} // namespace

} // namespace inflight::kernel
