// This kernel's own header of that name: the devices of its machine, QEMU's virt.
#pragma once

#include <cstdint>

namespace arch {

inline constexpr std::uintptr_t finisher = 0x100000;
inline constexpr std::uintptr_t timer_compare = 0x2004000; // of hart 0
inline constexpr std::uintptr_t plic = 0xc000000;
inline constexpr std::uintptr_t uart = 0x10000000;
inline constexpr std::uintptr_t first_slot = 0x10001000;
inline constexpr std::uint32_t slots = 8;

template <typename Register>
volatile Register& at(std::uintptr_t address) noexcept {
    return *reinterpret_cast<volatile Register*>(address);
}

} // namespace arch
