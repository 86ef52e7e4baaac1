// costs: what the steps of the runtime cost, in guest instructions.
#pragma once

#include "src/program.hpp"

namespace inflight::bench {

// The kernel program `costs`: one table line for each step. Needs a machine that counts instructions, and no disk.
async::task<bool> run_costs(const kernel::environment& here);

} // namespace inflight::bench
