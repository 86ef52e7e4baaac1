// The port of arch/arch.hpp on which harts are threads: what the runtime needs, without devices. For the thread
// sanitizer, which sees the orders of memory that the runtime itself asks for: nothing here orders more than the
// contract says.
#pragma once

#define INFLIGHT_ARCH_DEFINES_ATOMIC 1

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>

namespace inflight::arch {

template <typename T>
using atomic = std::atomic<T>;

namespace threads {

struct hart {
    ticks deadline = no_deadline;
    void* local = nullptr;
    std::atomic<std::uint32_t> pending{0}; // a software interrupt; a futex
    bool masked = false;
};

inline constexpr hart_index max_harts = 8;
inline hart harts[max_harts];
inline hart_index count = 1;
inline thread_local hart_index self = 0;

void wait(hart& waiter) noexcept;
void wake(hart& woken) noexcept;

// Runs `program` on so many harts at once, until it has returned on all of them.
void run(hart_index harts, const std::function<void(hart_index)>& program);

} // namespace threads

inline hart_index this_hart() noexcept {
    return threads::self;
}
inline hart_index harts() noexcept {
    return threads::count;
}
inline void*& hart_local() noexcept {
    return threads::harts[threads::self].local;
}
inline bool mask_interrupts() noexcept {
    threads::hart& self = threads::harts[threads::self];
    const bool was_unmasked = !self.masked;
    self.masked = true;
    return was_unmasked;
}
// Takes what is pending: there is nothing to do for it.
inline void restore_interrupts(bool unmask) noexcept {
    if (unmask) {
        threads::hart& self = threads::harts[threads::self];
        self.masked = false;
        self.pending.store(0, std::memory_order_relaxed);
    }
}
inline void wait_for_interrupt() noexcept {
    threads::wait(threads::harts[threads::self]);
}
inline void interrupt_hart(hart_index hart) noexcept {
    threads::wake(threads::harts[hart]);
}
inline void spin_hint() noexcept {
    std::this_thread::yield();
}
inline ticks now() noexcept {
    return static_cast<ticks>(std::chrono::steady_clock::now().time_since_epoch().count());
}
inline ticks trace_time() noexcept {
    return now();
}
inline ticks ticks_per_second() noexcept {
    return std::chrono::steady_clock::period::den;
}
inline void set_deadline(ticks deadline) noexcept {
    threads::harts[threads::self].deadline = deadline;
}
inline std::uint64_t instructions() noexcept {
    return 0;
}
[[noreturn]] void panic(const char* message) noexcept;

} // namespace inflight::arch
