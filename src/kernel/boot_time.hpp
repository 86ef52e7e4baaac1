// When the kernel started.
#pragma once

#include "arch/arch.hpp"

#include <cstdint>

extern "C" const std::uint64_t boot_time_at_start; // in boot.S

namespace inflight::kernel {

// The time at the first instruction of the first hart.
[[nodiscard]] inline arch::ticks boot_time() noexcept {
    return boot_time_at_start;
}

} // namespace inflight::kernel
