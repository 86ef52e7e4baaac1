// Control and status registers of S-mode (RISC-V Privileged Architecture, chapter "Supervisor-Level ISA").
#pragma once

#include <cstdint>

namespace inflight::arch::riscv64 {

// clang-format off
#define INFLIGHT_CSR_READ(name) __extension__({ std::uint64_t value_; asm volatile("csrr %0, " #name : "=r"(value_)); value_; })
#define INFLIGHT_CSR_WRITE(name, value) __extension__({ asm volatile("csrw " #name ", %0" : : "rK"(std::uint64_t{value}) : "memory"); })
#define INFLIGHT_CSR_SET(name, bits) __extension__({ asm volatile("csrs " #name ", %0" : : "rK"(std::uint64_t{bits}) : "memory"); })
#define INFLIGHT_CSR_CLEAR(name, bits) __extension__({ asm volatile("csrc " #name ", %0" : : "rK"(std::uint64_t{bits}) : "memory"); })
// clang-format on

inline constexpr std::uint64_t sstatus_sie = 1u << 1;

// Bits of sie and sip.
inline constexpr std::uint64_t software_interrupt = 1u << 1;
inline constexpr std::uint64_t timer_interrupt = 1u << 5;
inline constexpr std::uint64_t external_interrupt = 1u << 9;

// Values of scause.
inline constexpr std::uint64_t cause_is_interrupt = std::uint64_t{1} << 63;
inline constexpr std::uint64_t cause_software = cause_is_interrupt | 1;
inline constexpr std::uint64_t cause_timer = cause_is_interrupt | 5;
inline constexpr std::uint64_t cause_external = cause_is_interrupt | 9;

// Turns on translation with `satp` on the calling hart. The running code must be mapped to itself. Returns false, with
// no effect (4.1.11), if the hart does not support the mode.
[[nodiscard]] inline bool translate(std::uint64_t satp) noexcept {
    // The first fence: the tables before they are walked. The second: what is cached from the previous mode.
    asm volatile("sfence.vma\n\tcsrw satp, %0\n\tsfence.vma" : : "r"(satp) : "memory");
    return INFLIGHT_CSR_READ(satp) == satp;
}

[[nodiscard]] inline bool translates() noexcept {
    return INFLIGHT_CSR_READ(satp) != 0;
}

} // namespace inflight::arch::riscv64
