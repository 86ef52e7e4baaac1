// Tests of a job's times: the watch over the clock, and when requests may begin.
#include "bench/fio/times.hpp"

#include <boost/test/unit_test.hpp>

namespace {

using namespace inflight;
using bench::clock_watch;
using bench::direction;
using bench::has_come;
using bench::job;
using bench::pacing;

BOOST_AUTO_TEST_SUITE(times)

BOOST_AUTO_TEST_CASE(a_time_comes_once_and_stays) {
    BOOST_TEST(!has_come(10, 9));
    BOOST_TEST(has_come(10, 10));
    BOOST_TEST(has_come(10, 11));
    BOOST_TEST(!has_come(arch::no_deadline, 11));
    BOOST_TEST(!has_come(10, arch::ticks{0} - 5)); // stepped back below 0
}

BOOST_AUTO_TEST_CASE(a_step_back_is_seen_once) {
    clock_watch clock;
    clock.begin(100);
    BOOST_TEST(!clock.look(clock.seen(), 150));
    BOOST_TEST(!clock.look(clock.seen(), 150));
    BOOST_TEST(!clock.has_stepped());
    const auto step = clock.look(clock.seen(), 120);
    BOOST_REQUIRE(step.has_value());
    BOOST_TEST(*step == 30u);
    BOOST_TEST(clock.has_stepped());
    BOOST_TEST(!clock.look(clock.seen(), 90)); // again: known
    BOOST_TEST(clock.has_stepped());
}

BOOST_AUTO_TEST_CASE(a_step_is_measured_from_the_later_time) {
    clock_watch clock;
    clock.begin(100);
    const auto step = clock.look(200, 150); // a request began at 200
    BOOST_REQUIRE(step.has_value());
    BOOST_TEST(*step == 50u);

    clock_watch other;
    other.begin(100);
    BOOST_TEST(!other.look(50, 100)); // a request that began before the last look
    BOOST_TEST(!other.has_stepped());
    BOOST_TEST(other.look(50, 99).value() == 1u);
}

BOOST_AUTO_TEST_CASE(a_rate_spaces_requests_of_its_direction) {
    job of;
    of.rate_iops = {1000, 0, 0};
    pacing paces{of};
    BOOST_TEST(paces.pauses());
    BOOST_TEST(!paces.thinks());
    paces.begin(5000);
    const arch::ticks between = arch::ticks_per_second() / 1000;
    for (arch::ticks i = 0; i < 10; ++i) {
        BOOST_TEST(paces.not_before(direction::read, 7000) == 5000 + i * between);
        paces.request_begins(direction::read);
        paces.request_begins(direction::write);
    }
    BOOST_TEST(paces.not_before(direction::write, 7000) == 7000u);
}

BOOST_AUTO_TEST_CASE(thinktime_counts_from_the_last_end) {
    job of;
    of.thinktime = 20; // microseconds
    pacing paces{of};
    BOOST_TEST(paces.pauses());
    BOOST_TEST(paces.thinks());
    paces.begin(5000);
    BOOST_TEST(paces.thinking_until() == 5000u);
    paces.request_ends(6000);
    paces.request_ends(7000);
    BOOST_TEST(paces.thinking_until() == 7000 + 20 * arch::ticks_per_second() / 1'000'000);
    BOOST_TEST(!pacing{job{}}.pauses());
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
