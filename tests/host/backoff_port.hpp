// A port of arch/arch.hpp that counts the hints of a loop that waits: all that backoff uses of the contract.
#pragma once

#include <cstddef>

namespace inflight::arch {

inline std::size_t spin_hints = 0;

inline void spin_hint() noexcept {
    ++spin_hints;
}

// What arch/arch.hpp uses itself.
constexpr bool mask_interrupts() noexcept {
    return false;
}
constexpr void restore_interrupts(bool) noexcept {}

} // namespace inflight::arch
