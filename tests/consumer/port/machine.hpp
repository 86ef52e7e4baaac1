// What inflight asks of a machine (its arch/arch.hpp), on one hart in M-mode. Interrupts never trap: one that is pending is
// served where the contract lets it be taken.
#pragma once

#include "arch/arch.hpp" // the kernel's own

#include <cstddef>
#include <cstdint>

namespace inflight::arch {

inline hart_index this_hart() noexcept {
    return 0;
}
inline hart_index harts() noexcept {
    return 1;
}
inline void*& hart_local() noexcept {
    static void* local = nullptr;
    return local;
}

inline bool unmasked = false;
inline bool mask_interrupts() noexcept {
    const bool before = unmasked;
    unmasked = false;
    return before;
}
inline interrupt_handler external_handler;
// The only kind that this kernel handles. start.S has enabled it.
inline void set_interrupt_handler(interrupt kind, interrupt_handler handler) noexcept {
    if (kind == interrupt::external) {
        external_handler = handler;
    }
}
inline void restore_interrupts(bool unmask) noexcept {
    std::uint64_t pending;
    asm volatile("csrr %0, mip" : "=r"(pending) : : "memory");
    unmasked = unmask;
    if (unmask && (pending & 1 << 11) != 0) {
        external_handler.call(external_handler.context);
    }
}
inline void wait_for_interrupt() noexcept {
    asm volatile("wfi" ::: "memory");
}
inline void interrupt_hart(hart_index) noexcept {}
inline void spin_hint() noexcept {}

inline ticks now() noexcept {
    ticks value;
    asm volatile("rdtime %0" : "=r"(value));
    return value;
}
inline ticks trace_time() noexcept {
    return now();
}
inline ticks ticks_per_second() noexcept {
    return 10'000'000;
}
inline void set_deadline(ticks deadline) noexcept {
    ::arch::at<std::uint64_t>(::arch::timer_compare) = deadline;
}
inline std::uint64_t instructions() noexcept {
    return 0;
}
inline std::uint64_t mmio_accesses() noexcept {
    return 0;
}

template <typename Register>
Register mmio_read(std::uintptr_t address) noexcept {
    const Register value = ::arch::at<Register>(address);
    asm volatile("fence i, rw" ::: "memory");
    return value;
}
template <typename Register>
void mmio_write(std::uintptr_t address, Register value) noexcept {
    asm volatile("" ::: "memory");
    ::arch::at<Register>(address) = value;
}
inline std::uint8_t mmio_read8(std::uintptr_t address) noexcept {
    return mmio_read<std::uint8_t>(address);
}
inline std::uint16_t mmio_read16(std::uintptr_t address) noexcept {
    return mmio_read<std::uint16_t>(address);
}
inline std::uint32_t mmio_read32(std::uintptr_t address) noexcept {
    return mmio_read<std::uint32_t>(address);
}
inline void mmio_write8(std::uintptr_t address, std::uint8_t value) noexcept {
    mmio_write(address, value);
}
inline void mmio_write16(std::uintptr_t address, std::uint16_t value) noexcept {
    mmio_write(address, value);
}
inline void mmio_write32(std::uintptr_t address, std::uint32_t value) noexcept {
    mmio_write(address, value);
}

inline void fence_publish() noexcept {
    asm volatile("fence rw, w" ::: "memory");
}
inline void fence_consume() noexcept {
    asm volatile("fence r, rw" ::: "memory");
}
inline void fence_full() noexcept {
    asm volatile("fence rw, rw" ::: "memory");
}
inline void fence_doorbell() noexcept {
    asm volatile("fence w, o" ::: "memory");
}
inline void fence_acknowledge() noexcept {
    asm volatile("fence o, r" ::: "memory");
}

inline std::uint64_t device_address(const void* memory) noexcept {
    return reinterpret_cast<std::uintptr_t>(memory);
}

[[noreturn]] void panic(const char* message) noexcept;

} // namespace inflight::arch
