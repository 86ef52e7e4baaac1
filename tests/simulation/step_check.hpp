// What must hold after each step of the machine: time does not go back, and no hart sleeps on although something has
// been posted to it.
#pragma once

#include "tests/simulation/run_context.hpp"
#include "tests/simulation/simulated_harts.hpp"

#include <array>
#include <cstdint>
#include <optional>

namespace inflight::simulation {

class step_check {
  public:
    step_check(run_context& in, const simulated_harts& harts) : in_{in}, harts_{harts} {}

    void check();
    bool sleeping(hart_index hart) const { return sleeping_[hart]; } // at the last step

  private:
    bool others_have_gone_on(hart_index sleeper, const std::array<std::uint64_t, max_harts>& since) const;

    run_context& in_;
    const simulated_harts& harts_;
    ticks time_ = 0;
    std::array<bool, max_harts> sleeping_{};
    std::array<std::uint64_t, max_harts> steps_of_{};
    std::array<std::optional<std::array<std::uint64_t, max_harts>>, max_harts> forgotten_{}; // since these steps
};

} // namespace inflight::simulation
