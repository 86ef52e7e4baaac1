// Probes an address where there may be no device.
#pragma once

#include <cstdint>

namespace inflight::arch::riscv64 {

// Reads 32 bits at that address. Returns false if the access faults, because nothing is there or access is denied. Any
// context. Replaces the hart's trap vector meanwhile.
extern "C" bool answers(std::uintptr_t address) noexcept;

} // namespace inflight::arch::riscv64
