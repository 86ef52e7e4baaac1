// What must hold for each request at its end.
#pragma once

#include "tests/simulation/run_context.hpp"
#include "tests/simulation/simulated_disk.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::simulation {

// A read or a write that has ended.
struct transfer_result {
    std::uint64_t sector;
    std::span<const std::byte> data;
    bool writes;
    bool in_pieces;
    bool stopped;   // somebody has asked for it
    bool was_reset; // the device, meanwhile
    ticks began;
    block::status outcome;
};

inline constexpr std::byte unread{0xEE}; // what the buffer of a read is filled with before

// Checks it, and keeps the account of the disk.
void check_transfer(run_context&, simulated_disk&, const transfer_result&);

// Counts a request of any kind and checks its status. What only the caller knows of a cancelled or late request is not
// checked. `sector`: one of the worker's.
void check_status(run_context&, simulated_disk&, std::uint64_t sector, ticks began, block::status outcome,
                  block::status expected);

} // namespace inflight::simulation
