// Tests of events.
#include "async/counting_scope.hpp"
#include "async/event.hpp"
#include "tests/host/async/small_tasks.hpp"
#include "tests/host/hart_fixture.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <type_traits>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::async;
using tests::hart;
using tests::wait_for;

} // namespace

BOOST_AUTO_TEST_SUITE(event_tests)

BOOST_AUTO_TEST_CASE(an_event_wakes_all_and_stays_set) {
    hart h;
    event what;
    std::vector<int> log;
    counting_scope scope;
    for (int id = 0; id < 300; ++id) { // more than one round's budget
        BOOST_REQUIRE(scope.spawn(wait_for(what, log, id)));
    }
    h.run_ready();
    BOOST_TEST(log.empty());
    BOOST_TEST(!what.is_set());
    what.set();
    BOOST_TEST(what.is_set());
    what.set();              // twice is once
    BOOST_TEST(log.empty()); // they run in their turn, not inside set()
    h.run_ready();
    BOOST_REQUIRE(log.size() == 300);
    BOOST_TEST(std::is_sorted(log.begin(), log.end()));

    BOOST_REQUIRE(scope.spawn(wait_for(what, log, 300)));
    h.runtime.tick();
    BOOST_TEST(log.back() == 300); // at once
    what.reset();
    BOOST_TEST(!what.is_set());
    BOOST_REQUIRE(scope.spawn(wait_for(what, log, 301)));
    h.run_ready();
    BOOST_TEST(log.back() == 300);
    what.set();
    what.reset(); // those who waited have been let go all the same
    h.run_ready();
    BOOST_TEST(log.back() == 301);
    BOOST_TEST(scope.size() == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
