#include "arch/arch.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace inflight::arch {

namespace threads {

namespace {

// A hart that sleeps for longer than this without a deadline has lost a wake-up: others are never idle for so long.
constexpr ticks too_long = 20'000'000'000;

} // namespace

void wait(hart& waiter) noexcept {
    const ticks start = now();
    while (waiter.pending.load(std::memory_order_relaxed) == 0) {
        const ticks time = now();
        if (time >= waiter.deadline) {
            return;
        }
        if (time - start > too_long) {
            panic("lost wake-up: a hart sleeps and nobody wakes it");
        }
        const ticks left = std::min(waiter.deadline - time, too_long);
        const timespec span{.tv_sec = static_cast<time_t>(left / 1'000'000'000),
                            .tv_nsec = static_cast<long>(left % 1'000'000'000)};
        syscall(SYS_futex, &waiter.pending, FUTEX_WAIT_PRIVATE, 0, &span, nullptr, 0);
    }
}

void wake(hart& woken) noexcept {
    woken.pending.store(1, std::memory_order_relaxed);
    syscall(SYS_futex, &woken.pending, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

void run(hart_index number, const std::function<void(hart_index)>& program) {
    count = number;
    std::vector<std::thread> running;
    for (hart_index hart = 0; hart < number; ++hart) {
        harts[hart].pending.store(0);
        harts[hart].deadline = no_deadline;
        harts[hart].masked = false;
        running.emplace_back([hart, &program] {
            self = hart;
            program(hart);
        });
    }
    for (std::thread& each : running) {
        each.join();
    }
}

} // namespace threads

void panic(const char* message) noexcept {
    std::fprintf(stderr, "panic: %s\n", message);
    std::abort();
}

} // namespace inflight::arch
