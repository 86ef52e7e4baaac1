#include "inflight/drivers/pci/bars.hpp"

#include "inflight/drivers/pci/registers.hpp"

#include <bit>

namespace inflight::pci {

namespace {

constexpr std::uint32_t is_io = 1;       // bit 0
constexpr std::uint32_t type_mask = 6;   // bits 2:1 of a BAR in memory space
constexpr std::uint32_t type_64_bit = 4; // the only type but 0 that is in use
constexpr std::uint32_t is_prefetchable = 8;
constexpr std::uint32_t io_flags = 3;
constexpr std::uint32_t memory_flags = 15;

std::uint16_t bar_register(std::size_t index) noexcept {
    return static_cast<std::uint16_t>(registers::bars + 4 * index);
}

// What a register reads when all its bits are written as one: 0 in those that are fixed.
std::uint32_t probe(configuration_space& space, function_address where, std::uint16_t offset) noexcept {
    const std::uint32_t before = space.read32(where, offset);
    space.write32(where, offset, 0xffff'ffff);
    const std::uint32_t mask = space.read32(where, offset);
    space.write32(where, offset, before);
    return mask;
}

// The size of a BAR whose address bits are `mask`; 0 if they are no size.
std::uint64_t size_of(std::uint64_t mask) noexcept {
    const std::uint64_t size = ~mask + 1;
    return std::has_single_bit(size) ? size : 0;
}

// The same for a BAR of 32 bits.
std::uint64_t size_of(std::uint32_t mask) noexcept {
    return mask == 0 ? 0 : size_of(0xffff'ffff'0000'0000 | mask);
}

std::size_t bars_of(const function& of) noexcept {
    return of.header_type == 0 ? max_bars : of.header_type == 1 ? 2 : 0;
}

base_address measure(configuration_space& space, function_address where, std::uint16_t offset,
                     bool has_upper) noexcept {
    base_address bar;
    const std::uint32_t low = probe(space, where, offset);
    if (low == 0) {
        return bar;
    }
    if ((low & is_io) != 0) {
        bar.kind = bar_kind::io;
        const std::uint32_t mask = low & ~io_flags;
        const bool decodes_16_bits = mask != 0 && mask >> 16 == 0;
        bar.size = size_of(decodes_16_bits ? mask | 0xffff'0000 : mask);
        return bar;
    }
    bar.prefetchable = (low & is_prefetchable) != 0;
    bar.kind = bar_kind::memory32;
    const std::uint32_t mask = low & ~memory_flags;
    if ((low & type_mask) == 0) {
        bar.size = size_of(mask);
    } else if ((low & type_mask) == type_64_bit && has_upper) {
        bar.kind = bar_kind::memory64;
        const std::uint32_t high = probe(space, where, static_cast<std::uint16_t>(offset + 4));
        bar.size = size_of(std::uint64_t{high} << 32 | mask);
    }
    return bar;
}

} // namespace

void size_bars(configuration_space& space, function& of) noexcept {
    const std::size_t count = bars_of(of);
    for (std::size_t index = 0; index < count; ++index) {
        base_address& bar = of.bars[index];
        bar = measure(space, of.address, bar_register(index), index + 1 < count);
        if (bar.kind == bar_kind::memory64) {
            of.bars[++index] = {};
        }
    }
}

bool write_bar(configuration_space& space, const function& of, std::size_t index, std::uint64_t bus_address) noexcept {
    const base_address& bar = of.bars[index];
    const auto holds = [&](std::uint16_t offset, std::uint32_t value, std::uint32_t flags) {
        space.write32(of.address, offset, value);
        return (space.read32(of.address, offset) & ~flags) == value;
    };
    const bool low_holds = holds(bar_register(index), static_cast<std::uint32_t>(bus_address),
                                 bar.kind == bar_kind::io ? io_flags : memory_flags);
    const bool high_holds = bar.kind != bar_kind::memory64 ||
                            holds(bar_register(index + 1), static_cast<std::uint32_t>(bus_address >> 32), 0);
    return low_holds && high_holds;
}

} // namespace inflight::pci
