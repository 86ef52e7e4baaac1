// The port of arch/arch.hpp that the checker of interleavings is: what the code under test uses of the contract.
#pragma once

namespace inflight::interleavings {
template <typename T>
class atomic;
bool mask_interrupts(const char* file, int line);
void restore_interrupts(bool unmask, const char* file, int line);
} // namespace inflight::interleavings

namespace inflight::arch {

template <typename T>
using atomic = interleavings::atomic<T>;

inline bool mask_interrupts(const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    return interleavings::mask_interrupts(file, line);
}

inline void restore_interrupts(bool unmask, const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    interleavings::restore_interrupts(unmask, file, line);
}

} // namespace inflight::arch
