#include "src/kernel/memory.hpp"

#include <algorithm>

extern "C" {
extern const std::byte kernel_begin;
extern const std::byte kernel_end;
}

namespace inflight::kernel {

namespace {

// Whole pages, because what is next to the kernel's memory may have other permissions.
constexpr std::uint64_t page = 4096;

std::uint64_t page_at(std::uint64_t address) noexcept {
    return address & ~(page - 1);
}

// The first page that begins at or after that address; the last page if there is none.
std::uint64_t page_from(std::uint64_t address) noexcept {
    return page_at(address + std::min(page - 1, ~address));
}

// The pages that a range overlaps, and the pages that it contains.
memory_range pages_around(const memory_range& range) noexcept {
    const std::uint64_t begin = page_at(range.base);
    const std::uint64_t end = page_from(range.base + std::min(range.size, ~range.base));
    return {begin, range.size == 0 ? 0 : end - begin};
}

memory_range pages_within(const memory_range& range) noexcept {
    const std::uint64_t begin = page_from(range.base);
    const std::uint64_t end = page_at(range.base + range.size);
    return {begin, end > begin ? end - begin : 0};
}

} // namespace

memory::memory(const machine_description& machine, std::span<const std::byte> device_tree) noexcept {
    const auto tree = reinterpret_cast<std::uint64_t>(device_tree.data());
    // The firmware is below the kernel. Old firmware does not reserve its memory, so nothing below the kernel is used.
    constexpr std::uint64_t firmware_span = 2u << 20;
    const auto kernel = reinterpret_cast<std::uint64_t>(&kernel_begin);
    const auto kernel_last = reinterpret_cast<std::uint64_t>(&kernel_end);

    bounded_list<memory_range, max_reservations + 4> taken;
    taken.push_back({0, page});
    taken.push_back(pages_around({kernel - firmware_span, kernel_last - (kernel - firmware_span)}));
    taken.push_back(pages_around({tree, device_tree.size()}));
    taken.push_back(pages_around(machine.initrd.value_or(memory_range{})));
    for (const memory_range& reserved : machine.reservations) {
        taken.push_back(pages_around(reserved));
    }
    const memory_range largest = pages_within(
        largest_free_range({machine.memory.begin(), machine.memory.size()}, {taken.begin(), taken.size()}));
    begin_ = next_ = highest_ = reinterpret_cast<std::byte*>(largest.base);
    end_ = begin_ + largest.size;
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
