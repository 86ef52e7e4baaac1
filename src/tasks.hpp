// What the tasks of all harts are doing, on the console: for a kernel that has panicked, or hangs.
#pragma once

namespace inflight::kernel {

// Prints the task that the calling hart runs, with all that await it; then a line for each live task, up to a bound, of this
// hart and then of the others. Those may be running meanwhile: what is said of them is a snapshot, and may not fit together.
void print_tasks() noexcept;

// Starts a task of the calling hart that prints the tasks when nothing but itself has been resumed for two seconds on
// any hart, once for every such time. It never ends.
void watch_for_standstill() noexcept;

} // namespace inflight::kernel
