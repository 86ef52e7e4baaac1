#pragma once

#include <cstdint>

namespace inflight::kernel {

// `size` bytes from the physical address `base`; never beyond the end of the 64-bit address space.
struct memory_range {
    std::uint64_t base = 0;
    std::uint64_t size = 0;

    friend bool operator==(const memory_range&, const memory_range&) noexcept = default;
};

// Returns whether these untrusted numbers go beyond the end of the address space, so that they are no memory_range.
[[nodiscard]] constexpr bool wraps(const memory_range& range) noexcept {
    return range.size != 0 && range.base > UINT64_MAX - (range.size - 1);
}

} // namespace inflight::kernel
