// The port of arch/arch.hpp that the checker of interleavings is: what the code under test uses of the contract. Time stands
// still, there are no registers, and device addresses are those of the process.
#pragma once

#define INFLIGHT_ARCH_DEFINES_ATOMIC 1

#include "tests/interleavings/words.hpp"

namespace inflight::interleavings {

bool mask_interrupts(const char* file, int line);
void restore_interrupts(bool unmask, const char* file, int line);
void wait_for_interrupt(const char* file, int line);
unsigned this_hart();
void*& hart_local();
void interrupt_hart(unsigned hart, const char* file, int line);
[[noreturn]] void panic(const char* message);

} // namespace inflight::interleavings

#define INFLIGHT_ARCH_DEVICE_WORD inflight::interleavings::device_word

namespace inflight::arch {

template <typename T>
using atomic = interleavings::atomic<T>;

inline hart_index this_hart() noexcept {
    return interleavings::this_hart();
}
inline hart_index harts() noexcept { // with an executor
    return 1;
}
inline void*& hart_local() noexcept {
    return interleavings::hart_local();
}
inline bool mask_interrupts(const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    return interleavings::mask_interrupts(file, line);
}
inline void restore_interrupts(bool unmask, const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    interleavings::restore_interrupts(unmask, file, line);
}
inline void wait_for_interrupt(const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    interleavings::wait_for_interrupt(file, line);
}
inline void interrupt_hart(hart_index hart, const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    interleavings::interrupt_hart(hart, file, line);
}
constexpr void spin_hint() noexcept {}
constexpr ticks now() noexcept {
    return 1;
}
constexpr ticks trace_time() noexcept {
    return 1;
}
constexpr ticks ticks_per_second() noexcept {
    return 10'000'000;
}
constexpr void set_deadline(ticks) noexcept {}
constexpr std::uint64_t instructions() noexcept {
    return 0;
}
inline void fence_publish(const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    interleavings::fence(interleavings::fence_kind::publish, file, line);
}
inline void fence_consume(const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    interleavings::fence(interleavings::fence_kind::consume, file, line);
}
inline void fence_full(const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    interleavings::fence(interleavings::fence_kind::full, file, line);
}
inline void fence_doorbell(const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    interleavings::fence(interleavings::fence_kind::doorbell, file, line);
}
inline void fence_acknowledge(const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    interleavings::fence(interleavings::fence_kind::acknowledge, file, line);
}
inline std::uint64_t device_address(const void* memory) noexcept {
    return reinterpret_cast<std::uintptr_t>(memory);
}
[[noreturn]] inline void panic(const char* message) noexcept {
    interleavings::panic(message);
}
// The transport of ring.cpp has no registers: what is inline for those that have some (virtio::fast_path_registers) is not called.
inline std::uint32_t mmio_read32(std::uintptr_t) noexcept {
    panic("a register is read, and there is none");
}
inline void mmio_write16(std::uintptr_t, std::uint16_t) noexcept {
    panic("a register is written, and there is none");
}
inline void mmio_write32(std::uintptr_t, std::uint32_t) noexcept {
    panic("a register is written, and there is none");
}

} // namespace inflight::arch
