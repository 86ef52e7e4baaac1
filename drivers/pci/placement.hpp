// Gives the functions behind a host bridge their addresses.
#pragma once

#include "inflight/drivers/pci/configuration_space.hpp"
#include "inflight/drivers/pci/function.hpp"

#include <cstdint>

namespace inflight::pci {

// Addresses of the bus that the host bridge forwards, and where a hart finds them. Size 0: none. The first 4 KiB of a
// space are not used: devices take address 0 as "no address".
struct address_window {
    std::uint64_t bus_address = 0;
    std::uint64_t cpu_address = 0;
    std::uint64_t size = 0;
};

struct host_windows {
    address_window io;       // only the part below 64 KiB is used
    address_window memory32; // only the part below 4 GiB is used
    address_window memory64; // anywhere
};

// Sizes the BARs of all functions that enumerate() has found, places them anew in the windows, and opens the windows of
// bridges; what nothing is behind stays closed. Bridges forward afterwards; the decoding of functions stays off until
// enable(). A function with a BAR that has no place gets an `outcome`, unless the BAR is in I/O space and the function
// has others in memory space. The other functions are not affected.
void place(configuration_space& space, const host_windows& windows, function_list& functions) noexcept;

// Bits of the register command.
struct command_bit {
    static constexpr std::uint16_t io = 1 << 0;
    static constexpr std::uint16_t memory = 1 << 1;
    static constexpr std::uint16_t bus_master = 1 << 2;
    static constexpr std::uint16_t intx_disable = 1 << 10;
};

// Turns on bus master and the decoding of those spaces (I/O, memory) in which each BAR of the function has a place.
// Returns the command bits that are set then. INTx stays as it is: off after enumerate().
std::uint16_t enable(configuration_space& space, const function& of) noexcept;

// Turns off decoding, bus master and INTx.
void disable(configuration_space& space, function_address where) noexcept;

// Turns off bus master, which ends messages too, and INTx. The function's registers can still be read.
void isolate(configuration_space& space, function_address where) noexcept;

// Lets the function interrupt by its pin, or not. With MSI-X enabled it does not, either way.
void set_intx(configuration_space& space, function_address where, bool enabled) noexcept;

} // namespace inflight::pci
