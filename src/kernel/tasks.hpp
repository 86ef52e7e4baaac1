// Prints what the tasks of all harts are doing, for a kernel that has panicked or hangs.
#pragma once

#include <cstdint>

namespace inflight::kernel {

// Prints the task that the calling hart runs, with the tasks that await it; then a line for each live task, up to a
// limit, first of this hart and then of the others. Bit i of `stopped` says that hart i has stopped: its tasks are
// exact, and include the one that it was running. The other harts may be running: their state is a snapshot, which may
// be inconsistent.
void print_tasks(std::uint64_t stopped = 0) noexcept;

// Starts a task on the calling hart, which prints the tasks once each time that no other task has been resumed on any
// hart for two seconds. It never ends.
void watch_for_standstill() noexcept;

} // namespace inflight::kernel
