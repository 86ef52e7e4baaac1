#include "tests/simulation/end_checks.hpp"

#include <string>

namespace inflight::simulation {

using arch::host::run_end;

namespace {

// Empty if no task is.
std::string tasks_left(const simulated_harts& harts) {
    std::string left;
    for (hart_index hart = 0; hart < harts.size(); ++hart) {
        if (harts[hart].scope.size() != 0) {
            left += " hart " + std::to_string(hart) + ": " + std::to_string(harts[hart].scope.size()) + " tasks;";
        }
    }
    return left;
}

void check_hart(run_context& in, const simulated_hart& hart) {
    in.expect(hart.executor->frames().count().live == 0, "a frame is left");
    in.expect(hart.executor->frames().count().failures == 0, "there was no memory for a frame");
    in.expect(hart.permits.available() == hart.all_permits, "permits are missing");
    in.expect(hart.posted == 0, "something that was posted has not arrived");
    in.expect(hart.holders == 0 && hart.came == hart.served, "somebody waits for a permit");
}

// What polling harts have left when they were told to stop.
void finish_rounds(run_context& in, simulated_harts& harts) {
    for (unsigned round = 0; round < 8; ++round) {
        for (hart_index hart = 0; hart < harts.size(); ++hart) {
            in.host.select_hart(hart);
            in.host.run_until(in.host.time() + 20'000);
            while (harts[hart].executor->tick()) {
            }
        }
    }
}

void check_disk(run_context& in, const simulated_disk& on) {
    in.expect(!on.disk->lost(), "a device was lost");
    const block::disk::counters counted = on.disk->count();
    const std::uint64_t asked = on.model->fired(model::fault::needs_reset);
    in.expect(counted.protocol_violations <= on.broken_rules(), "a device is said to break the rules");
    // One reset may be for several reasons.
    const std::uint64_t reasons = asked + counted.protocol_violations + on.swallowed + on.dead;
    const bool several = (asked != 0) + (counted.protocol_violations != 0) + (on.swallowed != 0) > 1 ||
                         counted.protocol_violations > 1 || on.swallowed > 1 || on.dead != 0;
    in.expect(several ? counted.resets != 0 && counted.resets <= reasons : counted.resets == reasons,
              "a device was reset " + std::to_string(counted.resets) + " times for " + std::to_string(reasons) +
                  " reasons");
    in.expect(on.limit != 0 || counted.lost_interrupts == 0, "an interrupt was missed without a limit");
    static_cast<void>(on.model->idle()); // reports what is left
    in.expect(on.account.agrees(0, on.model->disk()), "the disk does not hold what was written");
}

} // namespace

void check_end(run_context& in, run_end end, simulated_harts& harts,
               const std::vector<std::unique_ptr<simulated_disk>>& disks, const workload& work) {
    if (const std::string left = tasks_left(harts); !left.empty()) {
        return in.host.report("STALL", "every hart waits, and nothing can ever wake one;" + left);
    }
    in.expect(end == (harts.any_polls_always() ? run_end::finished : run_end::stalled), "the run ends in another way");
    in.expect(work.each_ended_once(), "a task has not ended once");
    for (const auto& each : harts) {
        check_hart(in, *each);
    }
    for (const auto& each : disks) {
        each->observer.reset();
    }
    if (harts.any_polls_always()) {
        finish_rounds(in, harts);
    }
    in.host.select_hart(0);
    for (const auto& each : disks) {
        check_disk(in, *each);
    }
}

} // namespace inflight::simulation
