// The contract of arch/arch.hpp on RISC-V, in S-mode, with memory mapped to itself.
#pragma once

#include "inflight/arch/atomic.hpp"
#include "inflight/arch/riscv64/csr.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace inflight::arch {

namespace riscv64 {

// The handler of an interrupt that is not enabled. It may be pending nevertheless: restore_interrupts() does not ask.
inline constexpr interrupt_handler no_handler{.call = [](void*) noexcept {}, .context = nullptr};

// One hart. boot.S puts its address into the register tp, which never changes. boot.S and trap.S know the offsets of
// the first five members.
struct hart {
    std::byte* trap_stack_end;                 // the stack on which a panic runs
    std::array<std::uint64_t, 32> registers;   // x0 to x31 at an exception
    std::byte* stack_end;                      // the stack of a hart that is not the first
    std::uint64_t hardware_id;                 // its id of the firmware and the device tree
    void (*main)() noexcept;                   // where a hart that is not the first starts; never returns
    atomic<std::uintptr_t> software_interrupt; // register: a store of 1 interrupts this hart; 0: by the firmware
    std::byte* stack_begin;                    // of the hart's own stack. Each stack has a guard below it
    std::byte* trap_stack_begin;
    std::array<interrupt_handler, 3> interrupt_handlers{no_handler, no_handler, no_handler}; // by kind
    hart_index index;
    void* local;
    std::uint64_t mmio_accesses;
};
static_assert(offsetof(hart, trap_stack_end) == 0 && offsetof(hart, registers) == 8 &&
              offsetof(hart, stack_end) == 264 && offsetof(hart, hardware_id) == 272 && offsetof(hart, main) == 280);

// The size of the guard below each stack. No function's frame is larger (CMakeLists.txt), so none skips the guard.
inline constexpr std::size_t stack_guard_bytes = 8192;

inline hart_index hart_count = 1;

extern "C" hart boot_hart; // the first: boot.S puts its address into tp

// Every hart that runs, by index; nullptr after the last. Changed only before the other harts run.
extern "C" std::array<hart*, max_harts + 1> all_harts;

inline hart& current_hart() noexcept {
    return *static_cast<hart*>(__builtin_thread_pointer()); // so that loads name tp itself
}

// A single instruction adds, so that no interrupt can lose a count. The address is computed here, because the compiler would keep it
// across calls.
inline void count_mmio_access() noexcept {
    std::uint64_t address;
    asm volatile("addi %0, tp, %1\n\tamoadd.d zero, %2, (%0)"
                 : "=&r"(address)
                 : "i"(offsetof(hart, mmio_accesses)), "r"(1UL)
                 : "memory");
}

// From here on other harts interrupt the calling hart by a store of 1 to that register. They may do so already, in the
// previous way.
inline void set_software_interrupt_register(std::uintptr_t address) noexcept {
    current_hart().software_interrupt.store(address, std::memory_order_relaxed);
}

// Set once, before the first use and before the other harts run.
struct clock {
    ticks ticks_per_second;
    bool has_sstc; // deadlines are set by a register of S-mode, else by the firmware
};
inline clock the_clock{10'000'000, false};

inline void call_handler(interrupt kind) noexcept {
    const interrupt_handler& handler = current_hart().interrupt_handlers[static_cast<std::size_t>(kind)];
    handler.call(handler.context);
}

// What the port calls when the kernel cannot go on: on the hart's stack for panics, with interrupts masked. Neither
// returns.
struct fatal_handlers {
    void (*panic)(const char* message, std::uint64_t frame) noexcept; // the frame pointer of arch::panic()
    void (*exception)(const std::uint64_t* registers) noexcept;       // x0 to x31; the rest is in the CSRs
};

// On the first hart, before anything may fail and before the other harts run. Until then, a panic or an exception shuts
// the machine down without a message.
void set_fatal_handlers(const fatal_handlers& handlers) noexcept;

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

// Serves a pending external interrupt by a call, because a trap would save registers for nothing.
inline void restore_interrupts(bool unmasked) noexcept {
    if (unmasked) {
        if ((INFLIGHT_CSR_READ(sip) & riscv64::external_interrupt) != 0) { // where it is not enabled: no_handler
            riscv64::call_handler(interrupt::external);
        }
        asm volatile("csrsi sstatus, 2" : : : "memory");
    }
}

inline void set_interrupt_handler(interrupt kind, interrupt_handler handler) noexcept {
    constexpr std::uint64_t bits[] = {riscv64::software_interrupt, riscv64::timer_interrupt,
                                      riscv64::external_interrupt};
    riscv64::current_hart().interrupt_handlers[static_cast<std::size_t>(kind)] = handler;
    INFLIGHT_CSR_SET(sie, bits[static_cast<std::size_t>(kind)]);
}

inline void wait_for_interrupt() noexcept {
    asm volatile("wfi" : : : "memory");
}

// pause of Zihintpause, by its encoding, because the extension is not enabled. Other harts execute it as a fence
// without effect.
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
        asm volatile("csrw 0x14d, %0" : : "r"(deadline) : "memory"); // stimecmp; old assemblers do not know its name
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
    // Memory writes before the interrupt: pairs with the woken hart's reads after its wait.
    asm volatile("fence w, o" : : : "memory");
    const std::uintptr_t by_register = woken.software_interrupt.load(std::memory_order_relaxed);
    if (by_register != 0) {
        asm volatile("sw %0, 0(%1)" : : "r"(1), "r"(by_register) : "memory");
    } else {
        riscv64::interrupt_hart_by_firmware(woken.hardware_id);
    }
}

// In assembly, so that no compiler merges, splits or repeats an access. The memory clobber prevents the compiler, and
// the fence the hart, from moving a later memory access before a read.

inline std::uint8_t mmio_read8(std::uintptr_t address) noexcept {
    riscv64::count_mmio_access();
    std::uint64_t value;
    asm volatile("lbu %0, 0(%1)\n\tfence i, rw" : "=r"(value) : "r"(address) : "memory");
    return static_cast<std::uint8_t>(value);
}

inline std::uint16_t mmio_read16(std::uintptr_t address) noexcept {
    riscv64::count_mmio_access();
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
    riscv64::count_mmio_access();
    asm volatile("sb %0, 0(%1)" : : "r"(value), "r"(address) : "memory");
}

inline void mmio_write16(std::uintptr_t address, std::uint16_t value) noexcept {
    riscv64::count_mmio_access();
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

// Calls the registered riscv64::fatal_handlers::panic.
[[noreturn]] void panic(const char* message) noexcept;

} // namespace inflight::arch
