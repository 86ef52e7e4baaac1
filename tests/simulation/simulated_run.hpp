// One seed: one machine, one workload and one interleaving.
#pragma once

#include "tests/simulation/run_context.hpp"
#include "tests/simulation/simulated_disk.hpp"
#include "tests/simulation/simulated_harts.hpp"
#include "tests/simulation/step_check.hpp"
#include "tests/simulation/totals.hpp"
#include "tests/simulation/workload.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace inflight::simulation {

class simulated_run {
  public:
    // `verbose`: prints what it is made of.
    simulated_run(std::uint64_t seed, bool verbose);

    // False if something was found; description() tells what.
    bool run();
    std::string description() const;
    const totals& figures() const { return in_.counted; }

  private:
    arch::host::run_end run_harts();
    void count();
    void destroy();

    run_context in_;
    simulated_harts harts_;
    std::vector<std::unique_ptr<simulated_disk>> disks_;
    workload workload_;
    step_check step_check_;
};

} // namespace inflight::simulation
