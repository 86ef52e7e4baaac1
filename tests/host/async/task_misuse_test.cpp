// What tasks refuse, and how they say so.
#include "async/counting_scope.hpp"
#include "async/event.hpp"
#include "async/executor.hpp"
#include "async/schedule_on.hpp"
#include "async/scheduler.hpp"
#include "async/stop_token.hpp"
#include "async/sync_wait.hpp"
#include "async/task.hpp"
#include "async/when_all.hpp"
#include "tests/host/async/small_tasks.hpp"
#include "tests/host/hart_fixture.hpp"

#include <boost/test/unit_test.hpp>
#include <optional>
#include <utility>

namespace {

using namespace inflight;
using namespace inflight::async;
using tests::expect_panic;
using tests::expect_panic_of;
using tests::hart;
using tests::nothing_later;
using tests::value_later;
using tests::value_of;
using tests::wait_for;

task<std::optional<int>> perhaps() {
    co_return 1;
}

constexpr const char* after_its_end = "panic: a task was awaited or spawned again after its end: a task runs once\n";

constexpr const char* before_its_end = "panic: a task was awaited or spawned again before its end: a task runs once\n";

constexpr const char* no_task =
    "panic: a task without a frame was awaited or spawned: it has been moved from, or was made "
    "without a coroutine\n";

} // namespace

BOOST_AUTO_TEST_SUITE(task_misuse_tests)

BOOST_AUTO_TEST_CASE(a_task_is_awaited_once) {
    for (const bool ready : {true, false}) {
        expect_panic_of(after_its_end, [ready]() {
            return [](bool at_once) -> task<int> {
                task<int> work = at_once ? value_of(1) : value_later(1);
                const int first = co_await std::move(work);
                const int second = co_await std::move(work); // NOLINT: that is the point
                co_return first + second;
            }(ready);
        });
    }
    expect_panic_of(after_its_end, []() -> task<void> {
        task<int> work = value_of(1);
        co_await work.ended();
        co_await work.ended();
    });
    expect_panic_of(after_its_end, []() -> task<void> {
        task<int> work = value_of(1);
        static_cast<void>(co_await std::move(work));
        static_cast<void>(co_await when_all(work, value_of(2))); // NOLINT
    });
}

BOOST_AUTO_TEST_CASE(a_task_is_awaited_by_one) {
    expect_panic_of(before_its_end, []() -> task<void> {
        event never;
        task<void> work = wait_for(never);
        counting_scope scope;
        const auto await_it = [](task<void>& it) -> task<void> {
            co_await std::move(it);
        };
        static_cast<void>(scope.spawn(await_it(work)));
        static_cast<void>(scope.spawn(await_it(work)));
        co_await scope.join();
    });
    expect_panic_of(before_its_end, []() -> task<void> {
        const auto await_itself = [](std::optional<task<void>>& self) -> task<void> {
            co_await std::move(*self);
        };
        std::optional<task<void>> work;
        work.emplace(await_itself(work));
        co_await std::move(*work);
    });
}

BOOST_AUTO_TEST_CASE(what_is_no_task_is_not_begun) {
    expect_panic_of(no_task, []() -> task<void> {
        task<int> work = value_later(1);
        const task<int> elsewhere = std::move(work);
        static_cast<void>(co_await std::move(work)); // NOLINT
    });
    expect_panic_of(no_task, []() -> task<void> {
        task<std::optional<int>> work; // which could tell that there was no memory, but there was
        static_cast<void>(co_await std::move(work));
    });
    expect_panic_of(no_task, []() -> task<void> {
        task<int> work;
        static_cast<void>(co_await when_all(work, value_of(1)));
    });
    expect_panic_of(no_task, []() -> task<void> { static_cast<void>(co_await on(0, task<int>{})); });
    expect_panic_of(no_task, []() -> task<void> {
        counting_scope scope;
        task<void> work = nothing_later();
        static_cast<void>(scope.spawn(std::move(work)));
        static_cast<void>(scope.spawn(std::move(work))); // NOLINT
        co_await scope.join();
    });
    expect_panic("sync_wait was given a task without a frame: it has been moved from, or was made without a coroutine",
                 [] {
                     hart h;
                     static_cast<void>(sync_wait(task<std::optional<int>>{}));
                 });
    hart h; // such a task may be asked, named and given a token, and be dropped
    stop_source source;
    task<int> none;
    none.set_stop_token(source.get_token());
    task<int> still_none = std::move(none).named("none");
    BOOST_TEST(!still_none.has_frame());
    BOOST_TEST(!still_none.is_refused());
}

BOOST_AUTO_TEST_CASE(a_task_is_spawned_once) {
    expect_panic_of(after_its_end, []() -> task<void> {
        counting_scope scope;
        task<void> work = nothing_later();
        co_await std::move(work);
        static_cast<void>(scope.spawn(std::move(work))); // NOLINT
        co_await scope.join();
    });
    expect_panic_of(before_its_end, []() -> task<void> {
        counting_scope scope;
        event never;
        task<void> work = wait_for(never);
        const auto await_it = [](task<void>& it) -> task<void> {
            co_await std::move(it);
        };
        static_cast<void>(scope.spawn(await_it(work)));
        co_await yield{};
        static_cast<void>(scope.spawn(std::move(work))); // NOLINT
        co_await scope.join();
    });
}

BOOST_AUTO_TEST_CASE(a_refused_task_says_what_was_wanted) {
    const auto none_is_left = []() -> task<void> {
        void* taken = nullptr;
        do {
            taken = executor::current().frames().allocate(64);
        } while (taken != nullptr);
        static_cast<void>(co_await value_of(1));
    };
    expect_panic_of(
        "panic: a task without a frame was awaited: the memory for coroutines is used up (the last frame that was "
        "refused has ",
        none_is_left, 16384);
    hart h; // and those that can tell it do, and are told from those that are none
    h.runtime.frames().refuse(1);
    task<std::optional<int>> work = perhaps();
    BOOST_TEST(work.is_refused());
    BOOST_TEST(!work.has_frame());
    task<std::optional<int>> same = std::move(work);
    BOOST_TEST(same.is_refused());
    BOOST_TEST(!work.is_refused()); // NOLINT: moved from, and that is the point
    BOOST_TEST(!sync_wait(std::move(same)).has_value());
    h.runtime.frames().refuse(1);
    counting_scope scope;
    BOOST_TEST(!scope.spawn(nothing_later()));
    h.runtime.frames().refuse(1);
    BOOST_TEST(!spawn_on(scope, 0, nothing_later()));
}

BOOST_AUTO_TEST_SUITE_END()
