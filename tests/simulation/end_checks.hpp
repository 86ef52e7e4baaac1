// What must hold when a run has ended.
#pragma once

#include "tests/simulation/run_context.hpp"
#include "tests/simulation/simulated_disk.hpp"
#include "tests/simulation/simulated_harts.hpp"
#include "tests/simulation/workload.hpp"

#include <memory>
#include <vector>

namespace inflight::simulation {

void check_end(run_context&, arch::host::run_end, simulated_harts&, const std::vector<std::unique_ptr<simulated_disk>>&,
               const workload&);

} // namespace inflight::simulation
