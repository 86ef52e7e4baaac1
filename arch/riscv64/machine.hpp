// The contract of arch/arch.hpp on RISC-V, in S-mode, with memory mapped to itself.
#pragma once

#include "arch/riscv64/atomic.hpp"
#include "arch/riscv64/csr.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace inflight::arch {

namespace riscv64 {

// What belongs to one hart. Its address is in the register tp from the first instructions of boot.S on, which nobody
// changes. boot.S and trap.S know where the first four members are.
struct hart {
    std::byte* trap_stack_end;               // the stack on which a panic runs
    std::array<std::uint64_t, 32> registers; // x0 to x31 as an exception found them
    std::byte* stack_end;                    // the stack on which a hart starts that is not the first
    std::uint64_t hardware_id;               // what the firmware and the device tree call this hart
    std::uintptr_t software_interrupt;       // the register that makes one pending here; 0: the firmware is asked
    std::byte* stack_begin;                  // of both stacks: the hart's own, and that of a panic behind it
    std::uintptr_t claim_register;           // of its context of the PLIC; 0: not opened yet
    std::uint32_t plic_context;              // the number of that
    hart_index index;
    void* local;
    std::uint64_t mmio_accesses; // to registers of 32 bits
};
static_assert(offsetof(hart, trap_stack_end) == 0 && offsetof(hart, registers) == 8 &&
              offsetof(hart, stack_end) == 264 && offsetof(hart, hardware_id) == 272);

inline hart_index hart_count = 1;

// Every hart that runs, by index; nullptr behind the last. Changed only before they have one another to reckon with.
extern "C" std::array<hart*, most_harts + 1> all_harts;

inline hart& current_hart() noexcept {
    return *static_cast<hart*>(__builtin_thread_pointer()); // so that loads name tp itself
}

// One instruction, so that an interrupt in between loses no count.
inline void count_mmio_access() noexcept {
    asm volatile("amoadd.d zero, %1, %0" : "+A"(current_hart().mmio_accesses) : "r"(1UL));
}

// Set once, before the second hart starts and before the first use.
struct clock {
    ticks ticks_per_second;
    bool has_sstc; // the deadline is a register of S-mode; else it is asked of the firmware
};
inline clock the_clock{10'000'000, false};

// Serves an interrupt of this cause (csr.hpp), with interrupts masked. Defined by who routes interrupts; called from trap.S, too.
extern "C" void interrupt_entry(std::uint64_t cause) noexcept;

void set_deadline_by_firmware(ticks deadline) noexcept;
void interrupt_hart_by_firmware(std::uint64_t hardware_id) noexcept;

} // namespace riscv64

inline hart_index this_hart() noexcept {
    return riscv64::current_hart().index;
}

inline hart_index harts() noexcept {
    return riscv64::hart_count;
}

inline void*& hart_local() noexcept {
    return riscv64::current_hart().local;
}

inline bool mask_interrupts() noexcept {
    std::uint64_t before;
    asm volatile("csrrci %0, sstatus, 2" : "=r"(before) : : "memory");
    return (before & riscv64::sstatus_sie) != 0;
}

// A device's interrupt that is pending here is served by a call: the trap would have to save registers that nobody needs.
inline void restore_interrupts(bool unmasked) noexcept {
    if (unmasked) {
        if ((INFLIGHT_CSR_READ(sip) & INFLIGHT_CSR_READ(sie) & riscv64::external_interrupt) != 0) {
            riscv64::interrupt_entry(riscv64::cause_external);
        }
        asm volatile("csrsi sstatus, 2" : : : "memory");
    }
}

inline void wait_for_interrupt() noexcept {
    asm volatile("wfi" : : : "memory");
}

// pause of Zihintpause, by its number, for the assembler is not asked for the extension; a fence without effect elsewhere.
inline void spin_hint() noexcept {
    asm volatile(".4byte 0x0100000f" : : : "memory");
}

inline ticks now() noexcept {
    ticks value;
    asm volatile("rdtime %0" : "=r"(value));
    return value;
}

inline ticks trace_time() noexcept {
    return now();
}

inline ticks ticks_per_second() noexcept {
    return riscv64::the_clock.ticks_per_second;
}

inline void set_deadline(ticks deadline) noexcept {
    if (riscv64::the_clock.has_sstc) {
        asm volatile("csrw 0x14d, %0" : : "r"(deadline) : "memory"); // stimecmp; the assembler is older than its name
    } else {
        riscv64::set_deadline_by_firmware(deadline);
    }
}

inline std::uint64_t instructions() noexcept {
    std::uint64_t value;
    asm volatile("rdinstret %0" : "=r"(value));
    return value;
}

inline std::uint64_t mmio_accesses() noexcept {
    return riscv64::current_hart().mmio_accesses;
}

inline void interrupt_hart(hart_index index) noexcept {
    const riscv64::hart& woken = *riscv64::all_harts[index];
    asm volatile("fence w, o"
                 :
                 :
                 : "memory"); // what it is woken for, before the interrupt: pairs with its reading after
    if (woken.software_interrupt != 0) {
        asm volatile("sw %0, 0(%1)" : : "r"(1), "r"(woken.software_interrupt) : "memory");
    } else {
        riscv64::interrupt_hart_by_firmware(woken.hardware_id);
    }
}

// Written as instructions, so that no compiler can merge, split, repeat or address-fold an access. The memory clobber
// keeps the compiler, and the fence keeps the hart, from moving a later access to memory before a read.

inline std::uint8_t mmio_read8(std::uintptr_t address) noexcept {
    std::uint64_t value;
    asm volatile("lbu %0, 0(%1)\n\tfence i, rw" : "=r"(value) : "r"(address) : "memory");
    return static_cast<std::uint8_t>(value);
}

inline std::uint16_t mmio_read16(std::uintptr_t address) noexcept {
    std::uint64_t value;
    asm volatile("lhu %0, 0(%1)\n\tfence i, rw" : "=r"(value) : "r"(address) : "memory");
    return static_cast<std::uint16_t>(value);
}

inline std::uint32_t mmio_read32(std::uintptr_t address) noexcept {
    riscv64::count_mmio_access();
    std::uint64_t value;
    asm volatile("lwu %0, 0(%1)\n\tfence i, rw" : "=r"(value) : "r"(address) : "memory");
    return static_cast<std::uint32_t>(value);
}

inline void mmio_write8(std::uintptr_t address, std::uint8_t value) noexcept {
    asm volatile("sb %0, 0(%1)" : : "r"(value), "r"(address) : "memory");
}

inline void mmio_write16(std::uintptr_t address, std::uint16_t value) noexcept {
    asm volatile("sh %0, 0(%1)" : : "r"(value), "r"(address) : "memory");
}

inline void mmio_write32(std::uintptr_t address, std::uint32_t value) noexcept {
    riscv64::count_mmio_access();
    asm volatile("sw %0, 0(%1)" : : "r"(value), "r"(address) : "memory");
}

inline void fence_publish() noexcept {
    asm volatile("fence rw, w" : : : "memory");
}

inline void fence_consume() noexcept {
    asm volatile("fence r, rw" : : : "memory");
}

inline void fence_full() noexcept {
    asm volatile("fence rw, rw" : : : "memory");
}

inline void fence_doorbell() noexcept {
    asm volatile("fence w, o" : : : "memory");
}

inline void fence_acknowledge() noexcept {
    asm volatile("fence o, r" : : : "memory");
}

inline std::uint64_t device_address(const void* memory) noexcept {
    return reinterpret_cast<std::uintptr_t>(memory);
}

// Defined by the kernel: prints the message, a backtrace and what it knows, and ends the machine with a failure.
[[noreturn]] void panic(const char* message) noexcept;

} // namespace inflight::arch
