// Tests of latches.
#include "async/counting_scope.hpp"
#include "async/latch.hpp"
#include "async/task.hpp"
#include "tests/host/hart_fixture.hpp"

#include <boost/test/unit_test.hpp>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::async;
using boost::test_tools::per_element;
using tests::hart;

} // namespace

BOOST_AUTO_TEST_SUITE(latch_tests)

BOOST_AUTO_TEST_CASE(all_who_arrive_go_on_with_the_last) {
    hart h;
    latch all{3};
    std::vector<int> log;
    counting_scope scope;
    const auto arrive = [](latch& at, std::vector<int>& into, int id) -> task<void> {
        co_await at.arrive_and_wait();
        into.push_back(id);
    };
    BOOST_REQUIRE(scope.spawn(arrive(all, log, 0)));
    BOOST_REQUIRE(scope.spawn(arrive(all, log, 1)));
    h.run_ready();
    BOOST_TEST(log.empty());
    BOOST_TEST(!all.try_wait());
    BOOST_REQUIRE(scope.spawn(arrive(all, log, 2)));
    h.run_ready();
    BOOST_TEST(log == (std::vector{2, 0, 1}), per_element()); // the last need not wait
}

BOOST_AUTO_TEST_SUITE_END()
