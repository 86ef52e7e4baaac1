#include "inflight/drivers/pci/bridge_windows.hpp"

#include "inflight/drivers/pci/registers.hpp"

namespace inflight::pci {

namespace {

constexpr std::uint64_t io_unit = 0x1000;
constexpr std::uint64_t memory_unit = 0x10'0000;

// Base above limit.
constexpr std::uint16_t closed_io = 0x00f0;
constexpr std::uint32_t closed_memory = 0x0000'fff0;

struct taken_range {
    std::uint64_t base = 0;
    std::uint64_t limit = 0; // included
    [[nodiscard]] bool empty() const noexcept { return limit == 0; }
};

// The units that were taken; `before` is moved behind them.
taken_range taken(const address_pool& untouched, const address_pool& below, std::uint64_t unit,
                  address_pool& before) noexcept {
    if (below.next() == untouched.next()) {
        return {};
    }
    const std::uint64_t end = (below.next() + (unit - 1)) & ~(unit - 1); // a pool behind a bridge ends with a unit
    before.skip_to(end);
    return {untouched.next(), end - 1};
}

std::uint32_t memory_bits(const taken_range& range) noexcept {
    return static_cast<std::uint32_t>(range.base >> 16 & 0xfff0) |
           static_cast<std::uint32_t>(range.limit & 0xfff0'0000);
}

} // namespace

bridge_windows::bridge_windows(configuration_space& space, function_address where) noexcept
    : space_{space}, where_{where} {
    space.write16(where, registers::io_window, closed_io);
    space.write32(where, registers::io_window_upper, 0);
    space.write32(where, registers::memory_window, closed_memory);
    space.write32(where, registers::prefetchable_window, closed_memory);
    space.write32(where, registers::prefetchable_base_upper, 0);
    space.write32(where, registers::prefetchable_limit_upper, 0);
    has_io_ = (space.read16(where, registers::io_window) & 0xf0) == 0xf0;
    has_prefetchable64_ = (space.read32(where, registers::prefetchable_window) & 0xffff) == 0xfff1;
}

address_pools bridge_windows::reachable(const address_pools& before) const noexcept {
    return {.io = has_io_ ? before.io.in_units_of(io_unit) : address_pool{},
            .memory32 = before.memory32.in_units_of(memory_unit),
            .memory64 = has_prefetchable64_ ? before.memory64.in_units_of(memory_unit) : address_pool{},
            .is_root = false};
}

void bridge_windows::open(const address_pools& untouched, const address_pools& below,
                          address_pools& before) const noexcept {
    if (const taken_range io = taken(untouched.io, below.io, io_unit, before.io); !io.empty()) {
        space_.write16(where_, registers::io_window,
                       static_cast<std::uint16_t>((io.base >> 8 & 0xf0) | (io.limit & 0xf000)));
    }
    if (const taken_range memory = taken(untouched.memory32, below.memory32, memory_unit, before.memory32);
        !memory.empty()) {
        space_.write32(where_, registers::memory_window, memory_bits(memory));
    }
    if (const taken_range memory = taken(untouched.memory64, below.memory64, memory_unit, before.memory64);
        !memory.empty()) {
        space_.write32(where_, registers::prefetchable_window, memory_bits(memory));
        space_.write32(where_, registers::prefetchable_base_upper, static_cast<std::uint32_t>(memory.base >> 32));
        space_.write32(where_, registers::prefetchable_limit_upper, static_cast<std::uint32_t>(memory.limit >> 32));
    }
}

} // namespace inflight::pci
