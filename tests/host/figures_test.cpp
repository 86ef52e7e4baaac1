// Tests of what figures are made of: spans of time by a clock that may step back, and instructions where harts share a counter.
#include "async/common_sleep.hpp"
#include "src/kernel/elapsed.hpp"
#include "tests/host/hart_fixture.hpp"

#include <boost/test/unit_test.hpp>

namespace {

using namespace inflight;
using kernel::elapsed;
using kernel::has_stepped_back;
using kernel::to_nanoseconds;

BOOST_AUTO_TEST_SUITE(figures)

BOOST_AUTO_TEST_CASE(a_span_is_at_least_a_tick) {
    BOOST_TEST(elapsed(5, 5).value() == 1u);
    BOOST_TEST(elapsed(5, 6).value() == 1u);
    BOOST_TEST(elapsed(5, 105).value() == 100u);
}

BOOST_AUTO_TEST_CASE(a_clock_that_steps_back_measures_nothing) {
    BOOST_TEST(!elapsed(105, 104));
    BOOST_TEST(!elapsed(105, arch::ticks{0} - 1000)); // below 0
    BOOST_TEST(has_stepped_back(105, arch::ticks{0} - 1000));
    BOOST_TEST(!has_stepped_back(105, 105));
}

BOOST_AUTO_TEST_CASE(a_clock_below_0_goes_on_through_it) {
    BOOST_TEST(elapsed(arch::ticks{0} - 10, arch::ticks{0} - 4).value() == 6u);
    BOOST_TEST(elapsed(arch::ticks{0} - 10, 5).value() == 15u);
}

BOOST_AUTO_TEST_CASE(nanoseconds_are_right_at_every_frequency) {
    BOOST_TEST(to_nanoseconds(3, 10'000'000) == 300u);
    BOOST_TEST(to_nanoseconds(24'000'000, 24'000'000) == 1'000'000'000u); // 41.67 ns a tick
    BOOST_TEST(to_nanoseconds(1, 24'000'000) == 41u);
    BOOST_TEST(to_nanoseconds(4'000'000'000, 4'000'000'000) == 1'000'000'000u); // less than a nanosecond a tick
    BOOST_TEST(to_nanoseconds(10'000'000ULL * 3600 * 24 * 365, 10'000'000) == 1'000'000'000ULL * 3600 * 24 * 365);
}

void execute(unsigned instructions) {
    for (unsigned i = 0; i != instructions; ++i) {
        static_cast<void>(arch::now());
    }
}

BOOST_AUTO_TEST_CASE(only_what_all_harts_sleep_through_is_left_out) {
    const tests::hart h;
    async::common_sleep all;
    all.join();
    all.join();
    const auto counted = [&, before = all.instructions()] {
        return all.instructions() - before;
    };
    execute(100);
    BOOST_TEST(counted() == 100u);
    all.fall_asleep(); // one of the two
    execute(20);
    BOOST_TEST(counted() == 120u);
    all.fall_asleep();
    execute(5000);
    all.wake_up();
    BOOST_TEST(counted() == 120u);
    execute(3);
    all.wake_up();
    execute(4);
    BOOST_TEST(counted() == 127u);
    all.fall_asleep();
    all.wake_up();
    BOOST_TEST(counted() == 127u);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
