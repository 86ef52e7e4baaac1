// Addresses of the bus that are still free, given away in ascending order.
#pragma once

#include "inflight/drivers/pci/function.hpp"
#include "inflight/drivers/pci/placement.hpp"

#include <cstdint>

namespace inflight::pci {

// Never hands out the first page of a space: devices and bridges take address 0 as "no address".
class address_pool {
  public:
    constexpr address_pool() noexcept = default; // has nothing
    // The addresses of `window` below `limit`.
    address_pool(const address_window& window, std::uint64_t limit) noexcept;

    // Returns `size` bytes at a multiple of it, a power of two; 0 if there is no room.
    [[nodiscard]] std::uint64_t take(std::uint64_t size) noexcept;

    // The whole units of it, for what is behind a bridge.
    [[nodiscard]] address_pool in_units_of(std::uint64_t unit) const noexcept;

    // Takes what `part`, which in_units_of() has returned, has given away meanwhile.
    void skip_to(std::uint64_t address) noexcept { next_ = address; }

    [[nodiscard]] std::uint64_t next() const noexcept { return next_; }
    [[nodiscard]] std::uint64_t cpu_address(std::uint64_t bus_address) const noexcept { return bus_address + to_cpu_; }

  private:
    std::uint64_t next_ = 0;
    std::uint64_t end_ = 0;
    std::uint64_t to_cpu_ = 0; // modulo 2^64
};

// What the functions of one bus can reach.
struct address_pools {
    address_pool io;
    address_pool memory32;
    address_pool memory64;
    bool is_root = false; // the root bus; else memory64 is behind prefetchable windows of bridges

    // Gives the BAR its addresses, or leaves it as it is.
    void place(base_address& bar) noexcept;
};

} // namespace inflight::pci
