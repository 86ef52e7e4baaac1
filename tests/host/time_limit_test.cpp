// Tests of the limit of a loop that waits.
#include "arch/time_limit.hpp"
#include "tests/host/hart_fixture.hpp"

#include <boost/test/unit_test.hpp>

namespace {

using namespace inflight;
using namespace inflight::async;
using tests::hart;

} // namespace

BOOST_AUTO_TEST_SUITE(time_limit_tests)

// What waits in a loop: by a clock that stands still, goes back or leaps forward.
BOOST_AUTO_TEST_CASE(a_limit_of_a_loop_counts_what_passes) {
    for (const std::int64_t step : {std::int64_t{0}, std::int64_t{-36'000'000'000}, std::int64_t{36'000'000'000}}) {
        hart h;
        h.simulated.run_until(5000);
        arch::time_limit patience{8000};
        const arch::ticks begin = h.simulated.time();
        for (unsigned turn = 0; !patience.is_over(); ++turn) {
            if (turn == 3) {
                h.simulated.step_clock(step);
            }
            h.simulated.run_until(h.simulated.time() + 100);
        }
        const arch::ticks waited = h.simulated.time() - begin;
        BOOST_TEST(waited >= 6900U);
        BOOST_TEST(waited < 8300U);
    }
}

BOOST_AUTO_TEST_SUITE_END()
