// Counters of devices and harts, at one moment or as the difference between two.
#pragma once

#include "arch/arch.hpp"
#include "async/common_sleep.hpp"
#include "async/executor.hpp"
#include "async/schedule_on.hpp"
#include "async/task.hpp"
#include "drivers/block/disk.hpp"

#include <cstdint>

namespace inflight::bench {

struct device_counters {
    std::uint64_t notifications = 0;
    std::uint64_t interrupts = 0;

    static device_counters of(const block::disk& disk) noexcept {
        device_counters now{.notifications = 0, .interrupts = disk.count().interrupts};
        for (std::uint16_t i = 0; i < disk.properties().queues; ++i) {
            now.notifications += disk.count(i).notifications;
        }
        return now;
    }
    device_counters& operator+=(const device_counters& other) noexcept {
        notifications += other.notifications;
        interrupts += other.interrupts;
        return *this;
    }
    device_counters operator-(const device_counters& before) const noexcept {
        return {.notifications = notifications - before.notifications, .interrupts = interrupts - before.interrupts};
    }
};

// Counters of the calling hart.
struct hart_counters {
    // Excludes sleeps, in which QEMU's --icount advances the counter with the clock. Meaningless if the machine has
    // several harts, because they share one counter (count_instructions_of_all).
    std::uint64_t instructions = 0;
    std::uint64_t allocations = 0; // of coroutine frames
    std::uint64_t mmio_accesses = 0;
    std::uint64_t sleeps = 0;
    std::uint64_t rounds = 0;
    std::uint64_t resumptions = 0;
    arch::ticks asleep = 0;

    static hart_counters now() noexcept {
        async::executor& hart = async::executor::current();
        const async::executor::counters& count = hart.count();
        return {.instructions = arch::instructions() - count.instructions_asleep,
                .allocations = hart.frames().allocations(),
                .mmio_accesses = arch::mmio_accesses(),
                .sleeps = count.sleeps,
                .rounds = count.rounds,
                .resumptions = count.resumptions,
                .asleep = count.asleep};
    }
    hart_counters& operator+=(const hart_counters& other) noexcept {
        instructions += other.instructions;
        allocations += other.allocations;
        mmio_accesses += other.mmio_accesses;
        sleeps += other.sleeps;
        rounds += other.rounds;
        resumptions += other.resumptions;
        asleep += other.asleep;
        return *this;
    }
    hart_counters operator-(const hart_counters& before) const noexcept {
        return {.instructions = instructions - before.instructions,
                .allocations = allocations - before.allocations,
                .mmio_accesses = mmio_accesses - before.mmio_accesses,
                .sleeps = sleeps - before.sleeps,
                .rounds = rounds - before.rounds,
                .resumptions = resumptions - before.resumptions,
                .asleep = asleep - before.asleep};
    }
};

inline async::common_sleep sleep_of_all;

// Adds the calling hart to instructions_of_all().
inline async::task<void> join_sleep_of_all() {
    async::executor::current().join(sleep_of_all);
    co_return;
}

// Must be awaited before the first call of instructions_of_all().
inline async::task<void> count_instructions_of_all() {
    for (arch::hart_index hart = 0; arch::harts() > 1 && hart < arch::harts(); ++hart) {
        co_await async::on(hart, join_sleep_of_all());
    }
}

// Returns the instructions of all harts together, in a machine that counts them (--icount).
inline std::uint64_t instructions_of_all() noexcept {
    return arch::harts() > 1 ? sleep_of_all.instructions() : hart_counters::now().instructions;
}

} // namespace inflight::bench
