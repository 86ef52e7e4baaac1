// Tests of when_any.
#include "async/channel.hpp"
#include "async/counting_scope.hpp"
#include "async/event.hpp"
#include "async/scheduler.hpp"
#include "async/semaphore.hpp"
#include "async/stop_token.hpp"
#include "async/sync_wait.hpp"
#include "async/task.hpp"
#include "async/when_all.hpp"
#include "async/when_any.hpp"
#include "tests/host/async/small_tasks.hpp"
#include "tests/host/hart_fixture.hpp"

#include <boost/test/unit_test.hpp>
#include <optional>
#include <tuple>
#include <utility>

namespace {

using namespace inflight;
using namespace inflight::async;
using tests::for_ever;
using tests::hart;
using tests::nap;
using tests::value_after;

} // namespace

BOOST_AUTO_TEST_SUITE(when_any_tests)

BOOST_AUTO_TEST_CASE(the_first_wins_and_the_others_are_stopped) {
    hart h;
    const auto work = []() -> task<bool> {
        event never;
        semaphore none{0};
        const auto first = co_await when_any(never.wait(stop_token{}), nap(for_ever), value_after(7, 100),
                                             none.acquire(stop_token{}), sleep_for(for_ever, stop_token{}));
        co_return first.index == 2 &&
            std::get<0>(first.results) == wait_result::stopped&& std::get<1>(first.results) ==
                wait_result::stopped&& std::get<2>(first.results) == 7 &&
            std::get<3>(first.results) == wait_result::stopped&& std::get<4>(first.results) ==
                wait_result::stopped&& none.available() == 0;
    };
    BOOST_TEST(sync_wait(work()));
    BOOST_TEST(h.live() == 0u);
    BOOST_TEST(h.simulated.time() < 1'000'000u);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_stopped_is_awaited) {
    hart h;
    const auto work = [](hart& on) -> task<bool> {
        const arch::ticks start = on.simulated.time();
        const auto first = co_await when_any(value_after(1, 50'000), value_after(2, 100));
        co_return first.index == 1 && std::get<0>(first.results) == 1 && std::get<1>(first.results) == 2 &&
            on.simulated.time() >= start + 50'000;
    };
    BOOST_TEST(sync_wait(work(h)));
}

BOOST_AUTO_TEST_CASE(one_that_is_ready_wins_at_once) {
    hart h;
    const auto work = []() -> task<bool> {
        semaphore permits{1};
        const auto first = co_await when_any(permits.acquire(stop_token{}), sleep_for(for_ever, stop_token{}));
        co_return first.index == 0 && std::get<0>(first.results) == wait_result::done&& std::get<1>(first.results) ==
                                          wait_result::stopped&& permits.available() == 0;
    };
    BOOST_TEST(sync_wait(work()));
}

// Two are given what they wait for before either is resumed: the second is not the first, and is not robbed.
BOOST_AUTO_TEST_CASE(who_comes_second_keeps_what_was_handed_over) {
    hart h;
    std::optional<int> value;
    bool permit = false;
    std::size_t index = 9;
    semaphore permits{0};
    channel<int, 1> values;
    const auto race = [](semaphore& from, channel<int, 1>& numbers, std::size_t& first_of, bool& have,
                         std::optional<int>& number) -> task<void> {
        auto first = co_await when_any(from.acquire(stop_token{}), numbers.receive(stop_token{}));
        first_of = first.index;
        have = std::get<0>(first.results) == wait_result::done;
        number = std::get<1>(first.results);
    };
    const auto give = [](semaphore& to, channel<int, 1>& numbers) -> task<void> {
        to.release();
        static_cast<void>(co_await numbers.send(42));
    };
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(race(permits, values, index, permit, value)));
    h.run_ready();
    BOOST_REQUIRE(scope.spawn(give(permits, values)));
    h.run_ready();
    BOOST_TEST(scope.size() == 0u);
    BOOST_TEST(index == 0u);
    BOOST_TEST(permit);
    BOOST_TEST((value == 42));
}

BOOST_AUTO_TEST_CASE(a_stop_from_outside_reaches_all) {
    for (const bool by_own_token : {false, true}) {
        hart h;
        stop_source source;
        int stopped = 0;
        const auto race = [](stop_token own, int& count) -> task<void> {
            event never;
            const auto first = co_await when_any(sleep_for(for_ever, stop_token{}), never.wait(own), nap(for_ever));
            count += std::get<0>(first.results) == wait_result::stopped;
            count += std::get<1>(first.results) == wait_result::stopped;
            count += std::get<2>(first.results) == wait_result::stopped;
        };
        counting_scope scope;
        task<void> work = race(by_own_token ? source.get_token() : stop_token{}, stopped);
        if (!by_own_token) {
            work.set_stop_token(source.get_token());
        }
        BOOST_REQUIRE(scope.spawn(std::move(work)));
        h.run_ready();
        BOOST_TEST(scope.size() == 1u);
        source.request_stop();
        h.run_ready();
        BOOST_TEST(scope.size() == 0u);
        BOOST_TEST(stopped == 3);
    }
}

BOOST_AUTO_TEST_CASE(races_nest) {
    hart h;
    const auto work = []() -> task<bool> {
        auto first = co_await when_any(when_any(nap(for_ever), nap(for_ever)), when_all(nap(100), nap(200)));
        co_return first.index == 1 && std::get<0>(std::get<0>(first.results).results) ==
                                          wait_result::stopped&& std::get<1>(std::get<1>(first.results)) ==
                                          wait_result::done;
    };
    BOOST_TEST(sync_wait(work()));
}

BOOST_AUTO_TEST_SUITE_END()
