// Spans of time, by a clock that may step back when a virtual machine loads a snapshot or moves to another host.
#pragma once

#include "arch/arch.hpp"

#include <cstdint>
#include <optional>

namespace inflight::kernel {

// Returns true if the clock has stepped back between two readings. The difference is signed, because a clock that steps
// back below 0 continues near 2^64.
[[nodiscard]] constexpr bool has_stepped_back(arch::ticks before, arch::ticks now) noexcept {
    return static_cast<std::int64_t>(now - before) < 0;
}

// Returns the time between two readings, at least 1; nothing if the clock has stepped back by more than has passed in
// between. A smaller step back is not detected: a caller that must detect it reads the clock more often.
[[nodiscard]] constexpr std::optional<arch::ticks> elapsed(arch::ticks before, arch::ticks now) noexcept {
    if (has_stepped_back(before, now)) {
        return std::nullopt;
    }
    return now == before ? 1 : now - before;
}

// Rounded down. Exact even if the frequency does not divide 10^9.
[[nodiscard]] constexpr std::uint64_t to_nanoseconds(arch::ticks span, arch::ticks per_second) noexcept {
    constexpr std::uint64_t second = 1'000'000'000;
    return span / per_second * second + span % per_second * second / per_second;
}
[[nodiscard]] inline std::uint64_t to_nanoseconds(arch::ticks span) noexcept {
    return to_nanoseconds(span, arch::ticks_per_second());
}

} // namespace inflight::kernel
