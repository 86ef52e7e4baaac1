#include "src/memory.hpp"

#include <algorithm>

extern "C" {
extern const std::byte kernel_begin;
extern const std::byte kernel_end;
}

namespace inflight::kernel {

namespace {

struct stretch {
    std::uint64_t begin;
    std::uint64_t end;
    [[nodiscard]] std::uint64_t size() const noexcept { return end > begin ? end - begin : 0; }
};

// The larger of what remains of `free` on either side of `taken`.
stretch without(stretch free, std::uint64_t begin, std::uint64_t end) noexcept {
    if (end <= free.begin || begin >= free.end) {
        return free;
    }
    const stretch before{free.begin, std::max(begin, free.begin)};
    const stretch after{std::min(end, free.end), free.end};
    return before.size() > after.size() ? before : after;
}

} // namespace

memory::memory(const machine_description& machine, std::span<const std::byte> device_tree) noexcept {
    const auto tree = reinterpret_cast<std::uint64_t>(device_tree.data());
    // The firmware lies below the kernel; older ones do not reserve themselves, so nothing below is taken.
    constexpr std::uint64_t firmware_span = 2u << 20;
    const auto kernel = reinterpret_cast<std::uint64_t>(&kernel_begin);
    const auto kernel_last = reinterpret_cast<std::uint64_t>(&kernel_end);

    stretch largest{0, 0};
    for (const memory_range& bank : machine.memory) {
        stretch free{bank.base, bank.base + bank.size};
        free = without(free, kernel - firmware_span, kernel_last);
        free = without(free, tree, tree + device_tree.size());
        for (const memory_range& reserved : machine.reservations) {
            free = without(free, reserved.base, reserved.base + reserved.size);
        }
        if (machine.initrd) {
            free = without(free, machine.initrd->base, machine.initrd->base + machine.initrd->size);
        }
        if (free.size() > largest.size()) {
            largest = free;
        }
    }
    begin_ = next_ = highest_ = reinterpret_cast<std::byte*>(largest.begin);
    end_ = reinterpret_cast<std::byte*>(largest.end);
}

std::byte* memory::allocate(std::size_t bytes, std::size_t alignment) noexcept {
    const auto address = reinterpret_cast<std::uintptr_t>(next_);
    const std::size_t skip = (alignment - address % alignment) % alignment;
    if (skip > available() || bytes > available() - skip) {
        return nullptr;
    }
    std::byte* const allocated = next_ + skip;
    next_ = allocated + bytes;
    highest_ = std::max(highest_, next_);
    return allocated;
}

std::size_t kernel_bytes() noexcept {
    return static_cast<std::size_t>(&kernel_end - &kernel_begin);
}

} // namespace inflight::kernel
