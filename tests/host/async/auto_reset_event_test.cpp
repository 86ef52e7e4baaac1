// Tests of auto-reset events; what they have in common with other waits is tested in wait_operation_test.cpp.
#include "async/auto_reset_event.hpp"
#include "async/counting_scope.hpp"
#include "async/task.hpp"
#include "tests/host/hart_fixture.hpp"

#include <boost/test/unit_test.hpp>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::async;
using boost::test_tools::per_element;
using tests::hart;

task<void> wait_then_log(auto_reset_event& what, std::vector<int>& log, int id) {
    co_await what.wait();
    log.push_back(id);
}

} // namespace

BOOST_AUTO_TEST_SUITE(auto_reset_event_tests)

BOOST_AUTO_TEST_CASE(a_set_lets_one_through) {
    hart h;
    auto_reset_event what;
    std::vector<int> log;
    counting_scope scope;
    for (int id = 0; id < 3; ++id) {
        BOOST_REQUIRE(scope.spawn(wait_then_log(what, log, id)));
    }
    h.run_ready();
    BOOST_TEST(log.empty());
    for (int id = 0; id < 3; ++id) {
        what.set();
        h.run_ready();
        BOOST_TEST(log.size() == static_cast<std::size_t>(id) + 1);
    }
    BOOST_TEST(log == (std::vector{0, 1, 2}), per_element());
}

// Set while nobody waits: it is kept for the one that comes, and two are one.
BOOST_AUTO_TEST_CASE(what_is_set_before_is_kept_once) {
    hart h;
    auto_reset_event what;
    what.set();
    what.set();
    std::vector<int> log;
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(wait_then_log(what, log, 0)));
    BOOST_REQUIRE(scope.spawn(wait_then_log(what, log, 1)));
    h.run_ready();
    BOOST_TEST(log == (std::vector{0}), per_element());
    what.set();
    h.run_ready();
    BOOST_TEST(log == (std::vector{0, 1}), per_element());
}

BOOST_AUTO_TEST_SUITE_END()
