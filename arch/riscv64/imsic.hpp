// The interrupt file of the calling hart's supervisor mode (RISC-V Advanced Interrupt Architecture 1.0, chapter 3), which
// takes messages: a store of an identity to the file's page makes that identity pending.
//
// A lower identity has a higher priority. An identity that is stored twice before it is claimed interrupts once. All
// functions are for the calling hart, with interrupts masked. A host test defines those that access registers.
#pragma once

#include "inflight/arch/arch.hpp"

#include <cstdint>

namespace inflight::arch::imsic {

// Identities in a register of `pending` and `enabled`, on RV64.
inline constexpr std::uint32_t ids_per_register = 64;

// Indirect registers. Those of the arrays are numbered in steps of 2 on RV64; an access to a register that does not exist
// is an illegal instruction.
enum class indirect : std::uint64_t {
    delivery = 0x70,  // 1: the file interrupts the hart
    threshold = 0x72, // only identities below it interrupt; 0: all
    pending = 0x80,   // 64 identities a register
    enabled = 0xc0,
};

// The register of an array that has the bit of that identity.
[[nodiscard]] constexpr indirect register_of(indirect array, std::uint32_t id) noexcept {
    return static_cast<indirect>(static_cast<std::uint64_t>(array) + std::uint64_t{id / ids_per_register} * 2);
}

#ifdef __riscv

// CSRs by their numbers, because old assemblers do not know their names.

inline void write(indirect which, std::uint64_t value) noexcept {
    asm volatile("csrw 0x150, %0\n\tcsrw 0x151, %1" : : "r"(which), "r"(value) : "memory"); // siselect, sireg
}

inline void clear_bits(indirect which, std::uint64_t bits) noexcept {
    asm volatile("csrw 0x150, %0\n\tcsrc 0x151, %1" : : "r"(which), "r"(bits) : "memory");
}

// Claims the pending and enabled identity of the highest priority, and returns it in bits 16 and up; 0: there is none.
// Accesses to memory come after the claim: what a device writes and announces later interrupts again.
[[nodiscard]] inline std::uint64_t claim() noexcept {
    std::uint64_t value;
    asm volatile("csrrw %0, 0x15c, zero\n\tfence io, rw" : "=r"(value) : : "memory"); // stopei
    return value;
}

// Whether an identity is pending and enabled. Changes nothing.
[[nodiscard]] inline bool has_pending() noexcept {
    std::uint64_t value;
    asm volatile("csrr %0, 0x15c" : "=r"(value) : : "memory"); // stopei
    return value != 0;
}

// From here on other harts interrupt this one by a store of 1 to its file.
inline void take_software_interrupts(std::uintptr_t file) noexcept {
    riscv64::set_software_interrupt_register(file);
}

inline void handle_software_interrupt() noexcept {
    riscv64::call_handler(interrupt::software);
}

#else

void write(indirect which, std::uint64_t value) noexcept;
void clear_bits(indirect which, std::uint64_t bits) noexcept;
[[nodiscard]] std::uint64_t claim() noexcept;
[[nodiscard]] bool has_pending() noexcept;
void take_software_interrupts(std::uintptr_t file) noexcept;
void handle_software_interrupt() noexcept;

#endif

} // namespace inflight::arch::imsic
