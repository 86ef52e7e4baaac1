// crash: ends in a panic on purpose, to show what a panic looks like and that nobody takes it for success.

#include "async/counting_scope.hpp"
#include "async/event.hpp"
#include "async/scheduler.hpp"
#include "async/semaphore.hpp"
#include "src/end.hpp"
#include "src/programs/programs.hpp"

namespace inflight::kernel {

namespace {

// The one that crashes, called by one that is called: the panic tells who awaits whom.
async::task<bool> store_to_nowhere() {
    // Nothing on `virt` answers to a store to address 0. In assembly: to the compiler such a store would be undefined.
    asm volatile("sd zero, 0(zero)" ::: "memory");
    co_return false; // a machine that lets it pass has not panicked, and that is a failure
}

async::task<bool> call_store() {
    co_await async::yield{}; // the others begin meanwhile
    co_return co_await store_to_nowhere().named("store");
}

// And some that have nothing to do with it.
async::task<void> wait_for(async::event& never) {
    co_await never.wait();
}

async::task<void> wait_in_line(async::semaphore& empty) {
    co_await empty.acquire();
}

async::task<void> sleep() {
    co_await async::sleep_for(arch::ticks_per_second() * 3600);
}

} // namespace

async::task<bool> run_crash(const environment&) {
    async::event never;
    async::semaphore empty{0};
    async::counting_scope others;
    const bool spawned = others.spawn(wait_for(never).named("waiter")) &&
                         others.spawn(wait_in_line(empty).named("queuer")) && others.spawn(sleep());
    if (!spawned) {
        fail("no memory is left for the tasks that look on");
    }
    co_return co_await call_store().named("caller");
}

} // namespace inflight::kernel
