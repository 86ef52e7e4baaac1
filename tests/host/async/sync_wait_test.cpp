// Tests of sync_wait.
#include "async/counting_scope.hpp"
#include "async/sync_wait.hpp"
#include "tests/host/async/small_tasks.hpp"
#include "tests/host/hart_fixture.hpp"

#include <boost/test/unit_test.hpp>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::async;
using tests::hart;
using tests::log_steps;
using tests::nothing;
using tests::value_later;

} // namespace

BOOST_AUTO_TEST_SUITE(sync_wait_tests)

BOOST_AUTO_TEST_CASE(sync_wait_runs_everything_else_too) {
    hart h;
    std::vector<int> log;
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(log_steps(log, 4, 3)));
    BOOST_TEST(sync_wait(value_later(6, 2)) == 6);
    BOOST_TEST(log.size() == 3u); // as far as three rounds go
    h.run_ready();
    BOOST_TEST(scope.size() == 0u);
    sync_wait(nothing());
    BOOST_TEST(h.live() == 0u);
    BOOST_TEST(h.waits == 0u); // nothing ever slept
}

BOOST_AUTO_TEST_SUITE_END()
