#include "tests/simulation/run_context.hpp"

#include <cstdio>

namespace inflight::simulation {

namespace {

using arch::host::machine_options;

machine_options options_of(std::uint64_t seed, chooser& choose, bool verbose) {
    machine_options options;
    options.seed = seed;
    options.harts = static_cast<hart_index>(choose.between(1, max_harts));
    options.memory_bytes = std::size_t{640} << 10;
    constexpr unsigned switches[] = {1, 10, 100, 500, 1000};
    options.switches = choose.one_of(switches);
    options.priorities = choose.percent(30);
    options.longest_turn = choose.between(50, 2000);
    options.cost_of_now = choose.between(1, 20);
    options.cost_of_access = choose.between(1, 40);
    options.cost_of_step = choose.between(1, 4);
    options.longest_line_delay = choose.percent(40) ? choose.between(1, 2000) : 0;
    options.longest_software_delay = choose.percent(40) ? choose.between(1, 500) : 0;
    options.spurious_wake_ups = choose.percent(30) ? 200 : 0;
    options.spurious_lines = choose.percent(30) ? 5 : 0;
    options.pauses = choose.percent(30) ? 10 : 0;
    options.longest_pause = choose.between(10, 5000);
    options.weak_failures = choose.percent(30) ? 200 : 0;
    options.trace_length = verbose ? 1024 : 64;
    return options;
}

} // namespace

run_context::run_context(std::uint64_t seed, bool prints)
    : choose{seed}, verbose{prints}, host{options_of(seed, choose, verbose)}, memory{host} {
    say("seed " + std::to_string(seed) + ": " + std::to_string(host.harts()) + " harts, switches " +
        std::to_string(host.options().switches) + (host.options().priorities ? ", priorities" : ""));
}

void run_context::expect(bool holds, const std::string& otherwise) {
    if (!holds) {
        host.report("WRONG", otherwise);
    }
}

void run_context::expect(bool holds, const char* otherwise) {
    if (!holds) {
        host.report("WRONG", otherwise);
    }
}

void run_context::say(const std::string& what) const {
    if (verbose) {
        std::printf("%s\n", what.c_str());
    }
}

} // namespace inflight::simulation
