#include "tests/simulation/step_check.hpp"

#include <string>

namespace inflight::simulation {

void step_check::check() {
    in_.expect(in_.host.time() >= time_, "time goes back");
    time_ = in_.host.time();
    ++steps_of_[in_.host.selected_hart()];
    for (hart_index hart = 0; hart < in_.host.harts(); ++hart) {
        sleeping_[hart] = in_.host.waiting(hart);
        if (harts_[hart].posted <= 0 || !in_.host.waiting(hart) || in_.host.wake_due(hart)) {
            forgotten_[hart].reset();
        } else if (!forgotten_[hart]) {
            forgotten_[hart] = steps_of_;
        } else if (others_have_gone_on(hart, *forgotten_[hart])) {
            in_.host.report("LOST WAKE-UP", "hart " + std::to_string(hart) + " sleeps although something was posted");
        }
    }
}

// Whoever posts may be on his way from the inbox to the interrupt, with an interrupt of his own in between.
bool step_check::others_have_gone_on(hart_index sleeper, const std::array<std::uint64_t, max_harts>& since) const {
    for (hart_index hart = 0; hart < in_.host.harts(); ++hart) {
        if (hart != sleeper && !in_.host.ended(hart) && !in_.host.waiting(hart) &&
            steps_of_[hart] - since[hart] < 200) {
            return false;
        }
    }
    return true;
}

} // namespace inflight::simulation
