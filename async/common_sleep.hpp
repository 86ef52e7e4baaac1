// For a machine whose harts share one counter of instructions, as QEMU's do with --icount: what that counter has
// counted while any hart was awake. It runs on while all sleep, as the clock does, and no hart alone knows when that
// was.
//
//     bool example() {
//         common_sleep machine;
//         machine.join();
//         machine.fall_asleep();
//         machine.wake_up(); // what was counted meanwhile is nobody's
//         const std::uint64_t before = machine.instructions();
//         return machine.instructions() >= before;
//     }
#pragma once

#include "inflight/arch/arch.hpp"

#include <cstdint>

namespace inflight::async {

class common_sleep {
  public:
    // Each hart: to be counted from here on, awake. Before it falls asleep for the first time.
    void join() noexcept { wake_up(); }

    // Any hart, once all have joined. Instructions of all harts together, since any time.
    [[nodiscard]] std::uint64_t instructions() const noexcept {
        return arch::instructions() - asleep_.load(std::memory_order_relaxed);
    }

    void fall_asleep() noexcept { change(-1); }
    void wake_up() noexcept {
        const state before = change(1);
        if (before.awake == 0) {
            asleep_.fetch_add(before.passed, std::memory_order_relaxed);
        }
    }

  private:
    struct state {
        std::uint64_t awake;  // harts
        std::uint64_t passed; // what has been counted since the change before
    };

    // The number of harts that are awake, and the count at the last change, in one word: such a machine runs one hart
    // after the other, and takes turns anywhere.
    state change(std::int64_t difference) noexcept {
        std::uint64_t old = word_.load(std::memory_order_relaxed);
        for (;;) {
            const std::uint64_t now = arch::instructions();
            const std::uint64_t awake = (old & awake_mask) + static_cast<std::uint64_t>(difference);
            if (word_.compare_exchange_weak(old, now << awake_bits | awake, std::memory_order_relaxed,
                                            std::memory_order_relaxed)) {
                return {.awake = old & awake_mask, .passed = now - (old >> awake_bits)};
            }
        }
    }

    static constexpr unsigned awake_bits = 8;
    static constexpr std::uint64_t awake_mask = (1u << awake_bits) - 1;
    static_assert(arch::max_harts < awake_mask);

    arch::atomic<std::uint64_t> word_{0};
    arch::atomic<std::uint64_t> asleep_{0};
};

} // namespace inflight::async
