#include "inflight/arch/riscv64/page_table.hpp"

#include <algorithm>
#include <new>

namespace inflight::arch::riscv64 {

namespace {

// Bits of an entry. Accessed and dirty are always set, because a hart may fault instead of setting them.
constexpr std::uint64_t valid = 1u << 0;
constexpr std::uint64_t readable = 1u << 1;
constexpr std::uint64_t writable = 1u << 2;
constexpr std::uint64_t executable = 1u << 3;
constexpr std::uint64_t global = 1u << 5;
constexpr std::uint64_t accessed = 1u << 6;
constexpr std::uint64_t dirty = 1u << 7;
constexpr std::uint64_t leaf = readable | writable | executable; // an entry without any of them points to a table

constexpr unsigned root_level = 3;     // of Sv48
constexpr unsigned max_leaf_level = 2; // 1 GiB: Sv39 has no larger

constexpr std::uint64_t span_of(unsigned level) noexcept {
    return page_bytes << (9 * level);
}

constexpr std::uint64_t page_number_bits(std::uint64_t address) noexcept {
    return address / page_bytes << 10;
}

constexpr std::uint64_t bits_of(permission allowed) noexcept {
    constexpr std::uint64_t always = valid | readable | global | accessed | dirty;
    switch (allowed) {
    case permission::read: return always;
    case permission::read_write: return always | writable;
    case permission::read_execute: return always | executable;
    case permission::none: break;
    }
    return 0;
}

template <typename Table>
Table* table_at(std::uint64_t entry) noexcept {
    return reinterpret_cast<Table*>((entry >> 10) * page_bytes);
}

} // namespace

page_table::table* page_table::create_table() noexcept {
    std::byte* const page = allocate_(context_);
    return page == nullptr ? nullptr : ::new (page) table{};
}

// Returns the table that `entry` of that level points to. If there is none, makes one with the same mappings.
page_table::table* page_table::child(std::uint64_t& entry, std::uint64_t address, unsigned level) noexcept {
    if ((entry & valid) != 0 && (entry & leaf) == 0) {
        return table_at<table>(entry);
    }
    table* const made = create_table();
    if (made == nullptr) {
        return nullptr;
    }
    if ((entry & valid) != 0) {
        const std::uint64_t bits = entry & (page_number_bits(page_bytes) - 1);
        std::uint64_t page = address & ~(span_of(level) - 1);
        for (std::uint64_t& each : *made) {
            each = page_number_bits(page) | bits;
            page += span_of(level - 1);
        }
    }
    entry = page_number_bits(reinterpret_cast<std::uintptr_t>(made)) | valid;
    return made;
}

bool page_table::set(table& within, unsigned level, std::uint64_t begin, std::uint64_t end,
                     std::uint64_t bits) noexcept {
    while (begin < end) {
        const std::uint64_t span = span_of(level);
        const std::uint64_t next = std::min(end, (begin & ~(span - 1)) + span);
        std::uint64_t& entry = within[begin / span % entries];
        if (next - begin == span && level <= max_leaf_level) {
            entry = bits == 0 ? 0 : page_number_bits(begin) | bits;
        } else if (bits != 0 || entry != 0) { // else it is not mapped already
            table* const below = child(entry, begin, level);
            if (below == nullptr || !set(*below, level - 1, begin, next, bits)) {
                return false;
            }
        }
        begin = next;
    }
    return true;
}

bool page_table::set(std::uint64_t begin, std::uint64_t end, permission allowed) noexcept {
    if (begin >= end) {
        return true;
    }
    if (root_ == nullptr) {
        root_ = create_table();
        // Makes the root of Sv39 at once, so that satp() always has one.
        if (root_ == nullptr || child(root_->front(), 0, root_level) == nullptr) {
            return false;
        }
    }
    if (allowed != permission::none) {
        mode_ = std::max(mode_, end <= sv39_reach ? translation_mode::sv39 : translation_mode::sv48);
    }
    return set(*root_, root_level, begin, end, bits_of(allowed));
}

std::uint64_t page_table::satp() const noexcept {
    if (mode_ == translation_mode::bare) {
        return 0;
    }
    const std::uint64_t root =
        mode_ == translation_mode::sv48 ? reinterpret_cast<std::uintptr_t>(root_) / page_bytes : root_->front() >> 10;
    return std::uint64_t{static_cast<std::uint8_t>(mode_)} << 60 | root;
}

} // namespace inflight::arch::riscv64
