// What the executor refuses, and how it says so.
#include "async/counting_scope.hpp"
#include "async/executor.hpp"
#include "async/message.hpp"
#include "async/schedule_on.hpp"
#include "async/scheduler.hpp"
#include "async/sync_wait.hpp"
#include "async/task.hpp"
#include "tests/host/async/small_tasks.hpp"
#include "tests/host/hart_fixture.hpp"

#include <boost/test/unit_test.hpp>

namespace {

using namespace inflight;
using namespace inflight::async;
using tests::expect_panic;
using tests::expect_panic_of;
using tests::hart;
using tests::nothing_later;
using tests::value_later;
using tests::value_of;

} // namespace

BOOST_AUTO_TEST_SUITE(executor_misuse_tests)

constexpr const char* it_runs =
    "panic: sync_wait(), run_until(), tick() or idle() was called by what the executor runs: a "
    "coroutine awaits the task instead\n";

BOOST_AUTO_TEST_CASE(what_the_executor_runs_does_not_run_it) {
    expect_panic_of(it_runs, []() -> task<int> {
        co_await yield{};
        const int inner = sync_wait(value_of(1));
        co_return inner;
    });
    expect_panic_of(it_runs, []() -> task<void> {
        executor::current().tick();
        co_return;
    });
    expect_panic_of(it_runs, []() -> task<void> {
        executor::current().idle();
        co_return;
    });
    expect_panic_of(it_runs, []() -> task<void> {
        const bool done = true;
        executor::current().run_until(done);
        co_return;
    });
    expect_panic(it_runs, [] { // in a round of tick(), too, and from a callback
        hart h;
        message nested{[](void*) noexcept { static_cast<void>(executor::current().tick()); }, nullptr};
        nested.post(h.runtime);
        h.runtime.tick();
    });
}

// Between rounds it may be run as one likes.
BOOST_AUTO_TEST_CASE(one_after_the_other_is_no_misuse) {
    hart h;
    BOOST_TEST(sync_wait(value_later(1)) == 1);
    h.run_ready();
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(nothing_later()));
    BOOST_TEST(h.runtime.tick());
    BOOST_TEST(sync_wait(value_later(2)) == 2);
    BOOST_TEST(scope.size() == 0u);
    BOOST_TEST(!h.runtime.tick());
}

BOOST_AUTO_TEST_CASE(a_hart_without_an_executor_is_named_as_that) {
    for (const arch::hart_index hart : {1u, 7u, executor::max_harts, 9999u, ~0u}) {
        expect_panic_of("panic: a coroutine was sent to a hart that has no executor\n",
                        [hart] { return on(hart, value_later(1)); });
        expect_panic("panic: a coroutine was sent to a hart that has no executor\n", [hart] {
            tests::hart h;
            counting_scope scope;
            static_cast<void>(spawn_on(scope, hart, nothing_later()));
            h.run_ready();
        });
    }
}

BOOST_AUTO_TEST_SUITE_END()
