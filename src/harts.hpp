// The harts of the machine: their executors, and how those start that the firmware has not started.
#pragma once

#include "src/device_tree.hpp"
#include "src/memory.hpp"
#include "src/options.hpp"

#include <cstdint>

namespace inflight::kernel {

// Makes the calling hart, by its hardware id, hart 0: its executor and its interrupts. Then starts all others and waits until
// they are as far. Ends the machine with one sentence if that cannot be.
void start_harts(const machine_description& machine, std::uint64_t first_hart, memory& from,
                 const options& wanted) noexcept;

} // namespace inflight::kernel
