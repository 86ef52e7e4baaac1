#include "inflight/drivers/pci/address_pool.hpp"

#include <algorithm>

namespace inflight::pci {

namespace {

constexpr std::uint64_t lowest = 0x1000;

bool place_in(address_pool& pool, base_address& bar) noexcept {
    const std::uint64_t address = pool.take(bar.size);
    if (address == 0) {
        return false;
    }
    bar.bus_address = address;
    bar.cpu_address = pool.cpu_address(address);
    return true;
}

} // namespace

address_pool::address_pool(const address_window& window, std::uint64_t limit) noexcept
    : next_{std::max(window.bus_address, lowest)},
      end_{std::min(limit, window.bus_address + std::min(window.size, UINT64_MAX - window.bus_address))},
      to_cpu_{window.cpu_address - window.bus_address} {}

std::uint64_t address_pool::take(std::uint64_t size) noexcept {
    if (size == 0 || next_ > UINT64_MAX - (size - 1)) {
        return 0;
    }
    const std::uint64_t address = (next_ + (size - 1)) & ~(size - 1);
    if (address >= end_ || size > end_ - address) {
        return 0;
    }
    next_ = address + size;
    return address;
}

address_pool address_pool::in_units_of(std::uint64_t unit) const noexcept {
    if (next_ > UINT64_MAX - (unit - 1)) {
        return {};
    }
    address_pool part = *this;
    part.next_ = (next_ + (unit - 1)) & ~(unit - 1);
    part.end_ = end_ & ~(unit - 1);
    return part;
}

void address_pools::place(base_address& bar) noexcept {
    switch (bar.kind) {
    case bar_kind::absent: break;
    case bar_kind::io: static_cast<void>(place_in(io, bar)); break;
    case bar_kind::memory32: static_cast<void>(place_in(memory32, bar)); break;
    case bar_kind::memory64:
        // Bridges forward the range above 4 GiB only as prefetchable.
        if (!(is_root || bar.prefetchable) || !place_in(memory64, bar)) {
            static_cast<void>(place_in(memory32, bar));
        }
        break;
    }
}

} // namespace inflight::pci
