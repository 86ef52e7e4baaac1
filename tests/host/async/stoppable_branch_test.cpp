// Tests of stoppable_branch and stop_relay: whose stop reaches what.
#include "async/callback.hpp"
#include "async/event.hpp"
#include "async/stop_token.hpp"
#include "async/stoppable_branch.hpp"
#include "tests/host/hart_fixture.hpp"

#include <boost/test/unit_test.hpp>
#include <coroutine>
#include <utility>

namespace {

using namespace inflight;
using namespace inflight::async;
using tests::hart;

using stoppable_event_wait = decltype(std::declval<event&>().wait(stop_token{}));
using plain_event_wait = decltype(std::declval<event&>().wait());
static_assert(stoppable<stoppable_event_wait> && !stoppable<plain_event_wait>);

// Ready without a wait.
struct five {
    [[nodiscard]] bool await_ready() const noexcept { return true; }
    [[nodiscard]] bool await_suspend(std::coroutine_handle<>) const noexcept { return true; }
    [[nodiscard]] int await_resume() const noexcept { return 5; }
};

// Notes that it was resumed.
struct resumption {
    unsigned count = 0;
    callback call{[](void* self) noexcept { ++static_cast<resumption*>(self)->count; }, this};
};

} // namespace

BOOST_AUTO_TEST_SUITE(stoppable_branch_tests)

BOOST_AUTO_TEST_CASE(a_stop_of_the_relay_reaches_all_branches) {
    hart h;
    event never;
    auto first = never.wait(stop_token{});
    auto second = never.wait(stop_token{});
    stop_relay relay;
    stoppable_branch<decltype(first)> one{first};
    stoppable_branch<decltype(second)> other{second};
    resumption ended;
    BOOST_TEST(!one.start(relay, ended.call.handle()));
    BOOST_TEST(!other.start(relay, ended.call.handle()));
    h.run_ready();
    BOOST_TEST(ended.count == 0u);
    relay.source().request_stop();
    h.run_ready();
    BOOST_TEST(ended.count == 2u);
    BOOST_TEST((one.result() == wait_result::stopped));
    BOOST_TEST((other.result() == wait_result::stopped));
}

// The token that a branch had is still heard, and what it says is said to the others, too.
BOOST_AUTO_TEST_CASE(a_stop_by_the_token_of_a_branch_is_passed_on_to_all) {
    hart h;
    event never;
    stop_source own;
    auto first = never.wait(own.get_token());
    auto second = never.wait(stop_token{});
    stop_relay relay;
    stoppable_branch<decltype(first)> one{first};
    stoppable_branch<decltype(second)> other{second};
    resumption ended;
    BOOST_TEST(!one.start(relay, ended.call.handle()));
    BOOST_TEST(!other.start(relay, ended.call.handle()));
    own.request_stop();
    h.run_ready();
    BOOST_TEST(ended.count == 2u);
    BOOST_TEST((one.result() == wait_result::stopped));
    BOOST_TEST((other.result() == wait_result::stopped));
    BOOST_TEST(relay.source().get_token().stop_requested());
}

BOOST_AUTO_TEST_CASE(a_stop_before_the_start_is_heard_as_well) {
    hart h;
    event never;
    stop_source own;
    own.request_stop();
    auto wait = never.wait(own.get_token());
    stop_relay relay;
    stoppable_branch<decltype(wait)> one{wait};
    resumption ended;
    const bool at_once = one.start(relay, ended.call.handle());
    h.run_ready();
    BOOST_TEST(ended.count == (at_once ? 0u : 1u));
    BOOST_TEST((one.result() == wait_result::stopped));
    BOOST_TEST(relay.source().get_token().stop_requested());
}

// Who has taken the result may end before the source of the token does.
BOOST_AUTO_TEST_CASE(after_the_result_the_token_of_a_branch_is_not_passed_on) {
    hart h;
    event what;
    stop_source own;
    auto wait = what.wait(own.get_token());
    stop_relay relay;
    stoppable_branch<decltype(wait)> one{wait};
    resumption ended;
    BOOST_TEST(!one.start(relay, ended.call.handle()));
    what.set();
    h.run_ready();
    BOOST_TEST(ended.count == 1u);
    BOOST_TEST((one.result() == wait_result::done));
    own.request_stop();
    BOOST_TEST(!relay.source().get_token().stop_requested());
}

BOOST_AUTO_TEST_CASE(what_cannot_be_stopped_goes_on) {
    hart h;
    event what;
    auto wait = what.wait();
    stop_relay relay;
    stoppable_branch<decltype(wait)> one{wait};
    resumption ended;
    BOOST_TEST(!one.start(relay, ended.call.handle()));
    relay.source().request_stop();
    h.run_ready();
    BOOST_TEST(ended.count == 0u);
    what.set();
    h.run_ready();
    BOOST_TEST(ended.count == 1u);
    one.result();
}

BOOST_AUTO_TEST_CASE(what_is_ready_ends_at_once_and_resumes_nobody) {
    hart h;
    five ready;
    stop_relay relay;
    stoppable_branch<five> one{ready};
    resumption ended;
    BOOST_TEST(one.start(relay, ended.call.handle()));
    h.run_ready();
    BOOST_TEST(ended.count == 0u);
    BOOST_TEST(one.result() == 5);
}

BOOST_AUTO_TEST_SUITE_END()
