// Tests of with_timeout.
#include "async/auto_reset_event.hpp"
#include "async/channel.hpp"
#include "async/counting_scope.hpp"
#include "async/mutex.hpp"
#include "async/scheduler.hpp"
#include "async/semaphore.hpp"
#include "async/stop_token.hpp"
#include "async/sync_wait.hpp"
#include "async/task.hpp"
#include "async/when_all.hpp"
#include "async/when_any.hpp"
#include "async/with_timeout.hpp"
#include "tests/host/async/small_tasks.hpp"
#include "tests/host/hart_fixture.hpp"

#include <boost/test/unit_test.hpp>
#include <memory>
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

BOOST_AUTO_TEST_SUITE(with_timeout_tests)

static_assert(stoppable<task<int>> && stoppable<stoppable_wait<sleeper>>);

static_assert(!stoppable<wait_operation<sleeper>> && !stoppable<yield>);

static_assert(stoppable<when_all<task<int>, task<void>>> && !stoppable<when_all<task<int>, yield>>);

BOOST_AUTO_TEST_CASE(what_ends_in_time_answers_and_takes_its_timer_along) {
    hart h;
    const auto nothing = []() -> task<void> {
        co_return;
    };
    const auto work = [](auto& ends_at_once) -> task<bool> {
        const std::optional<int> value = co_await with_timeout(value_after(3, 100), 1'000'000'000);
        const std::optional<std::monostate> ended = co_await with_timeout(ends_at_once(), 1'000'000'000);
        co_return value == 3 && ended.has_value();
    };
    BOOST_TEST(sync_wait(work(nothing)));
    BOOST_TEST(h.simulated.time() < 1'000'000u);
    h.simulated.run_until(2'000'000'000);
    const auto resumptions = h.runtime.count().resumptions;
    h.run_ready();
    BOOST_TEST(h.runtime.count().resumptions == resumptions); // no timer is left
}

BOOST_AUTO_TEST_CASE(a_wait_in_line_is_stopped_by_the_deadline) {
    hart h;
    const auto work = [](hart& on) -> task<bool> {
        semaphore none{0};
        const arch::ticks start = on.simulated.time();
        const std::optional<wait_result> outcome = co_await with_timeout(none.acquire(stop_token{}), 10'000);
        const bool late = on.simulated.time() >= start + 10'000;
        none.release();
        co_return !outcome.has_value() && late && none.available() == 1;
    };
    BOOST_TEST(sync_wait(work(h)));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_stopped_answers_late) {
    hart h;
    const auto work = []() -> task<bool> {
        const auto value = co_await with_timeout(value_after(3, 100'000), 100);
        co_return !value.has_value() && value.late == 3;
    };
    BOOST_TEST(sync_wait(work()));
}

BOOST_AUTO_TEST_CASE(a_stop_that_is_not_the_deadline_is_a_result) {
    hart h;
    stop_source source;
    std::optional<std::optional<wait_result>> outcome;
    const auto work = [](auto& answer) -> task<void> {
        answer.emplace(co_await with_timeout(nap(for_ever), 1'000'000'000));
    };
    counting_scope scope;
    task<void> stopped = work(outcome);
    stopped.set_stop_token(source.get_token());
    BOOST_REQUIRE(scope.spawn(std::move(stopped)));
    h.run_ready();
    BOOST_TEST(!outcome.has_value());
    source.request_stop();
    h.run_ready();
    BOOST_REQUIRE(outcome.has_value());
    BOOST_TEST((*outcome == wait_result::stopped));
    BOOST_TEST(scope.size() == 0u);
}

BOOST_AUTO_TEST_CASE(optionals_and_sends_tell_of_a_stop_too) {
    hart h;
    const auto work = []() -> task<bool> {
        channel<int, 1> values;
        const std::optional<std::optional<int>> none = co_await with_timeout(values.receive(stop_token{}), 100);
        const auto first = co_await with_timeout(values.send(1, stop_token{}), 100);
        const auto second = co_await with_timeout(values.send(2, stop_token{}), 100);
        const std::optional<std::optional<int>> one = co_await with_timeout(values.receive(stop_token{}), 100);
        values.close();
        const auto third = co_await with_timeout(values.send(3, stop_token{}), 100);
        const std::optional<std::optional<int>> closed = co_await with_timeout(values.receive(stop_token{}), 100);
        co_return !none && first == send_result::done && !second && one == std::optional{1} &&
            third == send_result::closed && closed.has_value() && !closed->has_value();
    };
    BOOST_TEST(sync_wait(work()));
}

// The permit is handed over in the very round in which the deadline comes: before it, after it, and with it.
BOOST_AUTO_TEST_CASE(a_hand_over_around_the_deadline_is_never_lost) {
    int in_time = 0;
    int late = 0;
    for (arch::ticks when = 900; when < 1100; when += 3) {
        hart h;
        semaphore permits{0};
        std::optional<std::optional<wait_result>> outcome;
        const auto give = [](semaphore& to, arch::ticks deadline) -> task<void> {
            co_await sleep_until(deadline);
            to.release();
        };
        const auto take = [](semaphore& from, auto& answer) -> task<void> {
            answer.emplace(co_await with_timeout(from.acquire(stop_token{}), 1000));
        };
        counting_scope scope;
        BOOST_REQUIRE(scope.spawn(take(permits, outcome)));
        BOOST_REQUIRE(scope.spawn(give(permits, h.simulated.time() + when)));
        while (scope.size() != 0) {
            if (!h.runtime.tick() && scope.size() != 0) {
                h.runtime.idle();
            }
        }
        BOOST_REQUIRE(outcome.has_value());
        BOOST_REQUIRE((!outcome->has_value() || **outcome == wait_result::done));
        BOOST_REQUIRE(permits.available() == (outcome->has_value() ? 0u : 1u)); // taken, or there
        ++(outcome->has_value() ? in_time : late);
        BOOST_REQUIRE(h.live() == 0u);
    }
    BOOST_TEST(in_time > 0);
    BOOST_TEST(late > 0);
}

BOOST_AUTO_TEST_CASE(of_several_and_of_a_race) {
    hart h;
    const auto work = []() -> task<bool> {
        const auto both = co_await with_timeout(when_all(nap(100), nap(for_ever)), 10'000);
        const auto race = co_await with_timeout(when_any(nap(for_ever), nap(for_ever)), 10'000);
        co_return !both.has_value() && std::get<0>(*both.late) == wait_result::done &&
            std::get<1>(*both.late) == wait_result::stopped && !race.has_value() &&
            std::get<0>(race.late->results) == wait_result::stopped;
    };
    BOOST_TEST(sync_wait(work()));
}

task<void> nothing_after(arch::ticks span) {
    co_await sleep_for(span);
}

// A task that computes, without a suspension.
task<int> compute(hart& on, arch::ticks span) {
    on.simulated.run_until(on.simulated.time() + span);
    co_return 7;
}

// Gives up at a stop, which its result does not tell; or is deaf.
task<bool> success_after(arch::ticks span, bool deaf) {
    const stop_token token = deaf ? stop_token{} : co_await get_stop_token();
    static_cast<void>(co_await sleep_for(span, token));
    co_return true;
}

struct ending {
    template <typename T>
    explicit ending(const timed_result<T>& answer) noexcept
        : in_time{answer.has_value()}, is_late{answer.late.has_value()} {}
    bool in_time;
    bool is_late;
};

// Whatever is awaited, and whatever its result is: it is in time before the deadline and not after it. Each takes 5000 ticks.
template <typename Limited>
void expect_late_and_in_time(const char* what, Limited limited) {
    for (const bool late : {true, false}) {
        hart h;
        const ending answer = sync_wait(limited(h, late ? 100 : 1'000'000));
        BOOST_TEST(answer.in_time == !late, what);
        BOOST_TEST(answer.is_late == late, what);
        BOOST_TEST(h.live() == 0u);
    }
}

BOOST_AUTO_TEST_CASE(never_in_time_after_the_deadline) {
    expect_late_and_in_time("task<int>", [](hart&, arch::ticks span) -> task<ending> {
        const auto answer = co_await with_timeout(value_after(1, 5000), span);
        co_return ending{answer};
    });
    expect_late_and_in_time("task<void>", [](hart&, arch::ticks span) -> task<ending> {
        const auto answer = co_await with_timeout(nothing_after(5000), span);
        co_return ending{answer};
    });
    expect_late_and_in_time("task<bool> that hears of it", [](hart&, arch::ticks span) -> task<ending> {
        const auto answer = co_await with_timeout(success_after(5000, false), span);
        co_return ending{answer};
    });
    expect_late_and_in_time("task<bool> that does not", [](hart&, arch::ticks span) -> task<ending> {
        const auto answer = co_await with_timeout(success_after(5000, true), span);
        co_return ending{answer};
    });
    expect_late_and_in_time("task<wait_result>", [](hart&, arch::ticks span) -> task<ending> {
        const auto answer = co_await with_timeout(nap(5000), span);
        co_return ending{answer};
    });
    expect_late_and_in_time("a task that computes", [](hart& on, arch::ticks span) -> task<ending> {
        const auto answer = co_await with_timeout(compute(on, 5000), span);
        co_return ending{answer};
    });
    expect_late_and_in_time("a sleep", [](hart&, arch::ticks span) -> task<ending> {
        const auto answer = co_await with_timeout(sleep_for(5000, stop_token{}), span);
        co_return ending{answer};
    });
    expect_late_and_in_time("when_all", [](hart&, arch::ticks span) -> task<ending> {
        const auto answer = co_await with_timeout(when_all(nap(5000), nap(10)), span);
        co_return ending{answer};
    });
    expect_late_and_in_time("when_any", [](hart&, arch::ticks span) -> task<ending> {
        const auto answer = co_await with_timeout(when_any(nap(5000), nap(6000)), span);
        co_return ending{answer};
    });
    expect_late_and_in_time("with_timeout", [](hart&, arch::ticks span) -> task<ending> {
        const auto answer = co_await with_timeout(with_timeout(nap(5000), 1'000'000), span);
        co_return ending{answer};
    });
    expect_late_and_in_time("with_timeout of a task<void>", [](hart&, arch::ticks span) -> task<ending> {
        const auto answer = co_await with_timeout(with_timeout(nothing_after(5000), 1'000'000), span);
        co_return ending{answer};
    });
    expect_late_and_in_time("when_any of when_all", [](hart&, arch::ticks span) -> task<ending> {
        const auto answer = co_await with_timeout(when_any(when_all(nap(5000), nap(5000)), nap(6000)), span);
        co_return ending{answer};
    });
}

// The inner deadline is a result for the outer one.
BOOST_AUTO_TEST_CASE(time_limits_nest) {
    hart h;
    const auto work = []() -> task<bool> {
        const std::optional<std::optional<wait_result>> inner =
            co_await with_timeout(with_timeout(nap(for_ever), 100), 100'000);
        const std::optional<std::optional<wait_result>> outer =
            co_await with_timeout(with_timeout(nap(for_ever), 100'000), 100);
        const std::optional<std::optional<wait_result>> neither =
            co_await with_timeout(with_timeout(nap(10), 100'000), 100'000);
        co_return inner.has_value() && !inner->has_value() && !outer.has_value() && neither.has_value() &&
            neither->has_value();
    };
    BOOST_TEST(sync_wait(work()));
}

// Both are due in the same round, since the hart was busy: what ends only then is late, in whichever order they are served.
BOOST_AUTO_TEST_CASE(what_ends_in_the_round_of_the_deadline_is_late) {
    for (const arch::ticks span : {arch::ticks{400}, arch::ticks{600}}) {
        hart h;
        std::optional<wait_result> answer = wait_result::done;
        bool over = false;
        const auto limited = [](arch::ticks sleeps, auto& into, bool& flag) -> task<void> {
            into = co_await with_timeout(sleep_for(sleeps, stop_token{}), 500);
            flag = true;
        };
        counting_scope scope;
        BOOST_REQUIRE(scope.spawn(limited(span, answer, over)));
        h.run_ready();
        h.simulated.run_until(h.simulated.time() + 1000);
        h.run_ready();
        BOOST_TEST(over);
        BOOST_TEST(!answer.has_value());
    }
}

// A permit, a lock or a set() that is handed over after the deadline, and before the hart has noticed that.
template <typename Make, typename Give, typename Free>
void expect_given_back(Make make, Give give, Free is_free) {
    for (const bool nested : {false, true}) {
        hart h;
        auto what = make();
        std::optional<bool> in_time;
        const auto take = [](auto& from, bool twice, auto& answer) -> task<void> {
            if (twice) {
                const auto outer = co_await with_timeout(with_timeout(from->wait(stop_token{}), 1'000'000), 500);
                answer = outer.has_value();
            } else {
                const auto one = co_await with_timeout(from->wait(stop_token{}), 500);
                answer = one.has_value();
            }
        };
        const auto give_late = [](hart& on, auto& to, Give hand_over) -> task<void> {
            on.simulated.run_until(on.simulated.time() + 1000);
            hand_over(*to);
            co_return;
        };
        counting_scope scope;
        BOOST_REQUIRE(scope.spawn(take(what, nested, in_time)));
        h.run_ready();
        BOOST_REQUIRE(scope.spawn(give_late(h, what, give)));
        h.run_ready();
        BOOST_REQUIRE(in_time.has_value());
        BOOST_TEST(!*in_time);
        BOOST_TEST(is_free(*what));
        BOOST_TEST(scope.size() == 0u);
    }
}

BOOST_AUTO_TEST_CASE(what_comes_too_late_is_given_back) {
    struct permits {
        auto wait(stop_token token) { return it.acquire(token); }
        semaphore it{0};
    };
    struct lock {
        auto wait(stop_token token) { return it.lock(token); }
        mutex it;
    };
    struct bell {
        auto wait(stop_token token) { return it.wait(token); }
        auto_reset_event it;
    };
    expect_given_back([] { return std::make_unique<permits>(); }, [](permits& to) { to.it.release(); },
                      [](permits& of) { return of.it.available() == 1; });
    expect_given_back(
        [] {
            auto held = std::make_unique<lock>();
            BOOST_REQUIRE(held->it.try_lock());
            return held;
        },
        [](lock& of) { of.it.unlock(); }, [](lock& of) { return !of.it.is_locked(); });
    expect_given_back([] { return std::make_unique<bell>(); }, [](bell& to) { to.it.set(); },
                      [](bell& of) { return of.it.is_set(); });
}

// A value cannot be given back to its sender: it is in the answer.
BOOST_AUTO_TEST_CASE(a_value_that_comes_too_late_is_in_the_answer) {
    hart h;
    channel<int, 1> values;
    std::optional<std::optional<int>> late;
    const auto take = [](channel<int, 1>& from, auto& into) -> task<void> {
        const auto answer = co_await with_timeout(from.receive(stop_token{}), 500);
        if (!answer.has_value()) {
            into = answer.late;
        }
    };
    const auto give_late = [](hart& on, channel<int, 1>& to) -> task<void> {
        on.simulated.run_until(on.simulated.time() + 1000);
        static_cast<void>(co_await to.send(42));
    };
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(take(values, late)));
    h.run_ready();
    BOOST_REQUIRE(scope.spawn(give_late(h, values)));
    h.run_ready();
    BOOST_REQUIRE(late.has_value());
    BOOST_TEST((*late == 42));
}

BOOST_AUTO_TEST_SUITE_END()
