// The hostile matrix: thirty kinds of faults of a device, each in eight states of the driver. All 240 cells are generated,
// and printed as a table: passed, FAILED, or impossible, with the reason.
//
// A cell is many runs: by kinds of device, by the details of the fault, and, where the driver sets the device up, by the
// register access at which it strikes. A cell passes if in each run every waiter ends exactly once, with a status that this
// fault may have, and true data where it is ok; no buffer that was handed back is written again; the driver breaks no rule
// of the model; the device does not have to be helped out, as the driver has a time limit; and then all slots are there and
// the next operations work, or the disk is lost for good and says so at once.
//
// hostile_matrix/permitted.cpp lists what each fault may lead to, and no more than that.
//
// Each cell runs in a process of its own, so that one that panics, crashes or hangs does not end the others.
#include "tests/host/hostile_matrix/encounter.hpp"

#include <boost/test/results_collector.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::test;
using namespace inflight::test::hostile;

unsigned long failures() {
    using namespace boost::unit_test;
    return results_collector.results(framework::current_test_case().p_id).p_assertions_failed;
}

// How many accesses to registers it takes to set such a device up.
unsigned accesses_of_start(const device_kind& device) {
    world w{make_setup({faults[spurious_interrupt - 1], states[0], device, 0, 0})};
    w.start_all();
    return static_cast<unsigned>(w.model().access_count());
}

// How many of these come before the reset: the identification, or the choice of vectors. They are not made again.
unsigned accesses_before_start(const device_kind& device) {
    if (!device.pci)
        return 3;
    world w{make_setup({faults[spurious_interrupt - 1], states[0], device, 0, 0})};
    w.find_on_pci(0);
    w.checked_at_end = false;
    return static_cast<unsigned>(w.model().access_count());
}

struct tally {
    unsigned runs = 0;
    unsigned struck = 0;
};

// Stops at the first run that fails.
tally run_cell(const fault_kind& fault, const state_kind& when) {
    tally sum;
    const unsigned long before = failures();
    for (const device_kind& device : devices) {
        const unsigned accesses = accesses_of_start(device);
        const unsigned looks = device.packed ? 1 : 2; // taking them; the handler of a split ring has a fence, too
        const unsigned moments = when.what == state::probing     ? accesses
                                 : when.what == state::resetting ? accesses - accesses_before_start(device)
                                 : when.what == state::draining  ? looks
                                                                 : 1;
        // Where there are many, half of the kinds of devices do, and not every number at every access.
        const bool many = moments > 2;
        if (many && device.poll != poll_mode::off)
            continue;
        const unsigned step = !many ? 1 : device.pci ? 7 : fault.what == bad_numbers ? 5 : 1;
        for (unsigned detail = 0; detail < details_of(fault.what); ++detail)
            for (unsigned at = (detail + fault.what) % step; at < moments; at += step) {
                const run it{fault, when, device, detail, at};
                if (!applies(it))
                    continue;
                BOOST_TEST_CONTEXT(it) {
                    ++sum.runs;
                    {
                        encounter met{it};
                        sum.struck += met.go() ? 1 : 0;
                    }
                    if (failures() != before)
                        return sum;
                }
            }
    }
    BOOST_TEST(sum.struck != 0U, fault.name << ", " << when.name << ": it never happened");
    return sum;
}

enum class verdict : std::uint8_t { passed, failed, died };

// In a process of its own. What it says goes where this one's output goes.
verdict run_apart(const fault_kind& fault, const state_kind& when, tally& sum) {
    std::cout << std::flush;
    std::fflush(stdout);
    int ends[2];
    BOOST_REQUIRE(pipe(ends) == 0);
    const pid_t child = fork();
    BOOST_REQUIRE(child >= 0);
    if (child == 0) {
        for (const int each : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM})
            static_cast<void>(std::signal(each, SIG_DFL)); // and not back into the framework
        alarm(240);
        int code = 1;
        const unsigned long before = failures();
        try {
            const tally mine = run_cell(fault, when);
            static_cast<void>(!write(ends[1], &mine, sizeof mine));
            code = failures() == before ? 0 : 1;
        } catch (...) { // a requirement
        }
        std::cout << std::flush;
        std::fflush(stdout);
        _exit(code);
    }
    close(ends[1]);
    tally its;
    if (read(ends[0], &its, sizeof its) == sizeof its) {
        sum.runs += its.runs;
        sum.struck += its.struck;
    }
    close(ends[0]);
    int code = 0;
    BOOST_REQUIRE(waitpid(child, &code, 0) == child);
    return WIFSIGNALED(code) ? verdict::died : WEXITSTATUS(code) == 0 ? verdict::passed : verdict::failed;
}

// INFLIGHT_CELL=fault:state runs one cell only: numbers as in the table, states from 1.
bool chosen(const fault_kind& fault, unsigned number_of_state) {
    const char* const one = std::getenv("INFLIGHT_CELL");
    if (one == nullptr)
        return true;
    unsigned which = 0, when = 0;
    if (std::sscanf(one, "%u:%u", &which, &when) != 2)
        arch::panic("INFLIGHT_CELL is fault:state, two numbers");
    return (which == 0 || which == fault.what) && (when == 0 || when == number_of_state + 1);
}

} // namespace

BOOST_AUTO_TEST_SUITE(hostile)

BOOST_AUTO_TEST_CASE(the_matrix_is_whole) {
    unsigned passed = 0, impossible = 0, other = 0;
    tally sum;
    std::vector<std::string> table;
    for (const fault_kind& fault : faults) {
        for (unsigned i = 0; i < std::size(states); ++i) {
            const state_kind& when = states[i];
            if (!chosen(fault, i))
                continue;
            std::string said = "passed";
            if (const char* const reason = why_impossible(fault, when)) {
                said = std::string{"impossible: "} + reason;
                ++impossible;
            } else {
                const verdict found = run_apart(fault, when, sum);
                said = found == verdict::passed ? "passed" : found == verdict::failed ? "FAILED" : "DIED";
                (found == verdict::passed ? passed : other)++;
                BOOST_TEST((found == verdict::passed), fault.name << ", " << when.name << ": " << said);
            }
            char line[160];
            std::snprintf(line, sizeof line, "%2u %-38s %-29s %s", fault.what, fault.name, when.name, said.c_str());
            table.emplace_back(line);
        }
    }
    for (const std::string& line : table)
        std::printf("%s\n", line.c_str());
    std::printf("hostile matrix: %zu cells, %u passed, %u impossible, %u failed; %u runs, the fault struck in %u\n",
                table.size(), passed, impossible, other, sum.runs, sum.struck);
    std::fflush(stdout);
    if (std::getenv("INFLIGHT_CELL") == nullptr)
        BOOST_TEST(table.size() == 240U);
}

BOOST_AUTO_TEST_SUITE_END()
