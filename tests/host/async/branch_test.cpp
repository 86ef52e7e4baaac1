// Tests of what when_all, when_any and with_timeout have in common: their branches, and what they refuse.
#include "async/branch.hpp"
#include "async/scheduler.hpp"
#include "async/semaphore.hpp"
#include "async/stop_token.hpp"
#include "async/task.hpp"
#include "async/when_all.hpp"
#include "async/when_any.hpp"
#include "async/with_timeout.hpp"
#include "tests/host/async/small_tasks.hpp"
#include "tests/host/hart_fixture.hpp"

#include <boost/test/unit_test.hpp>
#include <span>

namespace {

using namespace inflight;
using namespace inflight::async;
using tests::expect_panic_of;
using tests::value_later;
using tests::value_of;

} // namespace

BOOST_AUTO_TEST_SUITE(branch_tests)

BOOST_AUTO_TEST_CASE(the_same_is_not_given_twice_to_one_combinator) {
    constexpr const char* twice = "panic: the same object was given twice to one when_all or when_any\n";
    expect_panic_of(twice, []() -> task<void> {
        task<int> work = value_later(1);
        static_cast<void>(co_await when_all(work, work));
    });
    expect_panic_of(twice, []() -> task<void> {
        task<int> work = value_later(1);
        static_cast<void>(co_await when_any(work, value_of(1), work));
    });
    expect_panic_of(twice, []() -> task<void> {
        semaphore permits{0};
        auto acquire = permits.acquire();
        static_cast<void>(co_await when_all(value_of(1), acquire, acquire));
    });
}

BOOST_AUTO_TEST_CASE(each_is_awaited_once) {
    expect_panic_of("panic: a when_all was awaited twice: make another one\n", []() -> task<void> {
        semaphore permits{8};
        auto one = permits.acquire();
        auto other = permits.acquire();
        auto both = when_all(one, other);
        static_cast<void>(co_await both);
        static_cast<void>(co_await both);
    });
    expect_panic_of("panic: a when_all was awaited twice: make another one\n", []() -> task<void> {
        yield row[] = {yield{}, yield{}};
        auto all = when_all(std::span{row});
        static_cast<void>(co_await all);
        static_cast<void>(co_await all);
    });
    expect_panic_of("panic: a when_any was awaited twice: make another one\n", []() -> task<void> {
        semaphore permits{8};
        auto one = permits.acquire(stop_token{});
        auto first = when_any(one);
        static_cast<void>(co_await first);
        static_cast<void>(co_await first);
    });
    for (const std::size_t permits : {0u, 8u}) { // ended by its deadline, and at once
        expect_panic_of("panic: a with_timeout was awaited twice: make another one\n", [permits] {
            return [](std::size_t count) -> task<void> {
                semaphore some{count};
                auto one = some.acquire(stop_token{});
                auto limited = with_timeout(one, 100);
                static_cast<void>(co_await limited);
                static_cast<void>(co_await limited);
            }(permits);
        });
    }
}

BOOST_AUTO_TEST_SUITE_END()
