// How long to wait between two looks at something that another one will change: longer each time, up to a bound.
//
// Polling too often slows the party that is polled: it takes the core, the memory, or the clock, which a virtual
// machine has to ask its host for. Polling too rarely is late. This backoff is late by a part of what it has waited.
//
//     bool example() {
//         arch::atomic<bool> flag{true}; // which another hart sets
//         backoff between_looks;
//         while (!flag.load(std::memory_order_acquire)) {
//             between_looks.wait();
//         }
//         return flag.load(std::memory_order_relaxed);
//     }
#pragma once

#include "inflight/arch/arch.hpp"

#include <algorithm>

namespace inflight::async {

class backoff {
  public:
    // As long as the longest, at once.
    static void wait_longest() noexcept { wait_for(max_hints); }

    void wait() noexcept {
        wait_for(hints_);
        hints_ = std::min(hints_ + more_hints, max_hints);
    }

  private:
    // Measured (docs/performance-notebook.md); a hint takes about 50 ns where QEMU emulates the hart.
    static constexpr unsigned more_hints = 4;
    static constexpr unsigned max_hints = 64;

    static void wait_for(unsigned hints) noexcept {
        for (unsigned i = 0; i < hints; ++i) {
            arch::spin_hint();
        }
    }

    unsigned hints_ = more_hints;
};

} // namespace inflight::async
