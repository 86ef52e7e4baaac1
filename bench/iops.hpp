// iops: the benchmark that runs in the guest.
#pragma once

#include "src/program.hpp"

namespace inflight::bench {

// The kernel program `iops`: one table line for each depth, on the first disk.
async::task<bool> run_iops(const kernel::environment& here);

} // namespace inflight::bench
