// The harts of the machine: their executors, and how secondary harts are started.
#pragma once

#include "src/kernel/interrupt_controller.hpp"
#include "src/kernel/machine_description.hpp"
#include "src/kernel/memory.hpp"
#include "src/kernel/options.hpp"

#include <cstdint>

namespace inflight::kernel {

// Numbers the harts: the calling hart, whose hardware id is `first_hart`, is hart 0. Allocates the stacks and the
// memory of each. Ends the machine with one sentence if that fails.
void describe_harts(const machine_description& machine, std::uint64_t first_hart, memory& from,
                    const options& wanted) noexcept;

// After describe_harts(): starts the executor and enables the interrupts of the calling hart, then starts all others
// and waits until they have done the same. If one does not come up, ends the machine with one sentence.
void start_harts(interrupt_controller& interrupts) noexcept;

} // namespace inflight::kernel
