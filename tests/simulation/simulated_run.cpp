#include "tests/simulation/simulated_run.hpp"

#include "tests/simulation/end_checks.hpp"

#include <utility>

namespace inflight::simulation {

using arch::host::run_end;

simulated_run::simulated_run(std::uint64_t seed, bool verbose)
    : in_{seed, verbose}, harts_{in_}, workload_{in_, harts_}, step_check_{in_, harts_} {
    const auto disks = static_cast<unsigned>(in_.choose.percent(25) ? 2 : 1);
    for (unsigned disk = 0; disk < disks; ++disk) {
        disks_.push_back(std::make_unique<simulated_disk>(in_, disk));
    }
    workload_.start(disks_);
}

bool simulated_run::run() {
    const run_end end = run_harts();
    if (in_.host.violations().empty()) {
        check_end(in_, end, harts_, disks_, workload_);
    }
    if (!in_.host.violations().empty()) {
        return false;
    }
    count();
    destroy();
    return in_.host.violations().empty();
}

run_end simulated_run::run_harts() {
    std::vector<machine::callback> bodies;
    for (hart_index hart = 0; hart < harts_.size(); ++hart) {
        bodies.emplace_back([this, hart] { harts_.run(hart); });
    }
    in_.host.on_step([this] { step_check_.check(); });
    // When all is done all harts sleep: a stall is how a run ends if nothing goes wrong.
    return in_.host.run(std::move(bodies), {.steps = 3'000'000, .stall_permitted = true});
}

std::string simulated_run::description() const {
    std::string text = in_.host.describe();
    for (hart_index hart = 0; hart < harts_.size(); ++hart) {
        text += "\n  hart " + std::to_string(hart) + ": " + std::to_string(harts_[hart].scope.size()) +
                " tasks, posted to it and not arrived " + std::to_string(harts_[hart].posted) +
                (step_check_.sleeping(hart) ? ", asleep" : "");
    }
    for (const auto& each : disks_) {
        text += "\n  disk: " + std::to_string(each->model->in_flight()) + " requests in flight, " +
                std::to_string(each->disk->count().resets) + " resets, line " +
                (in_.host.line_high(each->model->configuration().line) ? "high" : "low");
    }
    return text;
}

void simulated_run::count() {
    totals& counted = in_.counted;
    counted.seeds = 1;
    counted.harts = in_.host.harts();
    counted.steps = in_.host.steps();
    counted.switches = in_.host.switches();
    counted.interrupts = in_.host.interrupts_taken();
    for (hart_index hart = 0; hart < in_.host.harts(); ++hart) {
        counted.software_interrupts += in_.host.software_interrupts_taken(hart);
        counted.sleeps += harts_[hart].executor->count().sleeps;
    }
    for (const auto& each : disks_) {
        counted.resets += each->disk->count().resets;
        counted.sent += each->disk->count().forwarded;
        counted.lost_interrupts += each->model->fired(model::fault::no_interrupt);
        counted.lost_notifications += each->model->fired(model::fault::notification_lost);
        counted.lies += each->disk->count().protocol_violations;
    }
}

void simulated_run::destroy() {
    for (const auto& each : disks_) {
        each->detach();
    }
    disks_.clear();
    harts_.destroy();
}

} // namespace inflight::simulation
