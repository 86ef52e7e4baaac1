// Tests of what all kinds of waits have in common: each is stopped in each state that it can be in.
#include "async/auto_reset_event.hpp"
#include "async/channel.hpp"
#include "async/counting_scope.hpp"
#include "async/event.hpp"
#include "async/executor.hpp"
#include "async/latch.hpp"
#include "async/mutex.hpp"
#include "async/scheduler.hpp"
#include "async/semaphore.hpp"
#include "async/stop_token.hpp"
#include "async/sync_wait.hpp"
#include "async/task.hpp"
#include "async/wait_operation.hpp"
#include "async/when_all.hpp"
#include "tests/host/async/endings.hpp"
#include "tests/host/hart_fixture.hpp"

#include <array>
#include <boost/mpl/list.hpp>
#include <boost/test/unit_test.hpp>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::async;
using boost::test_tools::per_element;
using tests::done;
using tests::endings;
using tests::expect_panic;
using tests::hart;
using tests::stopped;

template <typename Kind>
task<void> wait_with(Kind& what, stop_token token, endings& into, int id) {
    const wait_result result = co_await what.wait(token);
    into.push_back({id, result});
}

template <typename Kind>
task<void> wait_without(Kind& what, endings& into, int id) {
    co_await what.wait();
    into.push_back(done(id));
}

// One of each kind, from which nothing is to be had at first. give() gives it to one, or to all if `to_all`. With
// constructors, as what coroutines are given has.
struct of_semaphore {
    of_semaphore() noexcept {}
    static constexpr bool to_all = false;
    auto wait() { return permits.acquire(); }
    auto wait(stop_token token) { return permits.acquire(token); }
    void give() { permits.release(); }
    [[nodiscard]] bool available() const { return permits.available() == 1; }
    semaphore permits{0};
};

struct of_mutex {
    static constexpr bool to_all = false;
    of_mutex() { BOOST_REQUIRE(lock.try_lock()); }
    ~of_mutex() {
        if (lock.is_locked()) {
            lock.unlock();
        }
    }
    auto wait() { return lock.lock(); }
    auto wait(stop_token token) { return lock.lock(token); }
    void give() { lock.unlock(); }
    [[nodiscard]] bool available() const { return !lock.is_locked(); }
    mutex lock;
};

struct of_event {
    of_event() noexcept {}
    static constexpr bool to_all = true;
    auto wait() { return happened.wait(); }
    auto wait(stop_token token) { return happened.wait(token); }
    void give() { happened.set(); }
    [[nodiscard]] bool available() const { return happened.is_set(); }
    event happened;
};

struct of_auto_reset_event {
    of_auto_reset_event() noexcept {}
    static constexpr bool to_all = false;
    auto wait() { return bell.wait(); }
    auto wait(stop_token token) { return bell.wait(token); }
    void give() { bell.set(); }
    [[nodiscard]] bool available() const { return bell.is_set(); }
    auto_reset_event bell;
};

struct of_latch {
    of_latch() noexcept {}
    static constexpr bool to_all = true;
    auto wait() { return count.wait(); }
    auto wait(stop_token token) { return count.wait(token); }
    void give() {
        if (!count.try_wait()) {
            count.count_down();
        }
    }
    [[nodiscard]] bool available() const { return count.try_wait(); }
    latch count{1};
};

using kinds = boost::mpl::list<of_semaphore, of_mutex, of_event, of_auto_reset_event, of_latch>;

} // namespace

BOOST_AUTO_TEST_SUITE(wait_operation_tests)

BOOST_AUTO_TEST_CASE_TEMPLATE(first_come_first_served, Kind, kinds) {
    hart h;
    Kind what;
    endings log;
    stop_source source;
    counting_scope scope;
    for (int id = 0; id < 6; id += 2) { // both forms stand in the same line
        BOOST_REQUIRE(scope.spawn(wait_with(what, source.get_token(), log, id)));
        BOOST_REQUIRE(scope.spawn(wait_without(what, log, id + 1)));
    }
    h.run_ready();
    BOOST_TEST(log.empty());
    for (int gifts = 1; gifts <= 6; ++gifts) {
        what.give();
        BOOST_TEST(what.available() == Kind::to_all); // it has an owner already
        h.run_ready();
        BOOST_TEST(log.size() == (Kind::to_all ? 6u : static_cast<unsigned>(gifts)));
    }
    BOOST_TEST(log == (endings{done(0), done(1), done(2), done(3), done(4), done(5)}), per_element());
    BOOST_TEST(h.live() == 0u);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_stop_before_the_wait_takes_what_is_there_or_nothing, Kind, kinds) {
    hart h;
    Kind what;
    endings log;
    stop_source source;
    source.request_stop();
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(wait_with(what, source.get_token(), log, 0)));
    h.run_ready();
    BOOST_TEST(log == (endings{stopped(0)}), per_element());
    what.give();
    BOOST_TEST(what.available()); // the one who was stopped is not in line
    BOOST_REQUIRE(scope.spawn(wait_with(what, source.get_token(), log, 1)));
    h.run_ready();
    BOOST_TEST(log == (endings{stopped(0), done(1)}), per_element());
    BOOST_TEST(what.available() == Kind::to_all);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_stop_takes_the_wait_out_of_the_line_wherever_it_is, Kind, kinds) {
    for (int which = 0; which < 3; ++which) {
        hart h;
        Kind what;
        endings log;
        stop_source sources[3];
        counting_scope scope;
        for (int id = 0; id < 3; ++id) {
            BOOST_REQUIRE(scope.spawn(wait_with(what, sources[id].get_token(), log, id)));
        }
        h.run_ready();
        sources[which].request_stop();
        BOOST_TEST(log.empty()); // a request does not run anybody
        h.run_ready();
        endings expected{stopped(which)};
        BOOST_TEST(log == expected, per_element());
        for (int id = 0; id < 3; ++id) {
            if (id != which) {
                what.give();
                expected.push_back(done(id));
            }
        }
        h.run_ready();
        BOOST_TEST(log == expected, per_element());
        what.give();
        BOOST_TEST(what.available()); // nothing was lost to the one who was stopped, and nothing is left over
        BOOST_REQUIRE(scope.spawn(wait_without(what, log, 7)));
        h.run_ready();
        BOOST_TEST(scope.size() == 0u);
    }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_stop_after_the_hand_over_comes_too_late, Kind, kinds) {
    hart h;
    Kind what;
    endings log;
    stop_source source;
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(wait_with(what, source.get_token(), log, 0)));
    BOOST_REQUIRE(scope.spawn(wait_with(what, source.get_token(), log, 1)));
    h.run_ready();
    what.give();
    source.request_stop();
    BOOST_TEST(log.empty());
    h.run_ready();
    BOOST_TEST(log == (endings{done(0), Kind::to_all ? done(1) : stopped(1)}), per_element());
    BOOST_TEST(what.available() == Kind::to_all);
}

// The awaiter of a wait may be awaited again, whatever came of it before: what it takes then, it says.
BOOST_AUTO_TEST_CASE_TEMPLATE(a_wait_that_was_stopped_may_be_awaited_again, Kind, kinds) {
    hart h;
    Kind what;
    stop_source source;
    std::vector<wait_result> results;
    const auto wait_three_times = [](Kind& of, stop_token token, std::vector<wait_result>& into) -> task<void> {
        auto wait = of.wait(token);
        for (int i = 0; i < 3; ++i) {
            into.push_back(co_await wait);
        }
    };
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(wait_three_times(what, source.get_token(), results)));
    h.run_ready();
    BOOST_TEST(results.empty());
    source.request_stop(); // the first in line, the second at once
    h.run_ready();
    BOOST_TEST(results.size() == 3u);
    BOOST_TEST((results == std::vector{wait_result::stopped, wait_result::stopped, wait_result::stopped}));

    // Stopped in line first, then given what it waits for: at once, and in line.
    for (const bool in_line : {false, true}) {
        Kind other;
        stop_source once;
        std::vector<wait_result> two;
        const auto wait_twice = [](Kind& of, stop_source& first, bool gives,
                                   std::vector<wait_result>& into) -> task<void> {
            auto wait = of.wait(first.get_token());
            into.push_back(co_await wait);
            if (gives) {
                of.give();
            }
            wait.set_stop_token(stop_token{});
            into.push_back(co_await wait);
        };
        BOOST_REQUIRE(scope.spawn(wait_twice(other, once, !in_line, two)));
        h.run_ready();
        once.request_stop();
        h.run_ready();
        if (in_line) {
            other.give();
            h.run_ready();
        }
        BOOST_TEST((two == std::vector{wait_result::stopped, wait_result::done}));
        BOOST_TEST(other.available() == Kind::to_all); // else it has it
    }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_stop_of_many_ends_them_in_their_order, Kind, kinds) {
    hart h;
    Kind what;
    endings log;
    endings expected;
    stop_source source;
    counting_scope scope;
    for (int id = 0; id < 100; ++id) {
        BOOST_REQUIRE(scope.spawn(wait_with(what, source.get_token(), log, id)));
        expected.push_back(stopped(id));
    }
    h.run_ready();
    source.request_stop();
    h.run_ready();
    BOOST_TEST(log == expected, per_element());
    what.give();
    BOOST_TEST(what.available());
}

// Ready or not, what a loop of awaits takes is spent from the round; others get their turns.
template <typename Step>
void expect_fairness(Step step, std::uint64_t least_steps = 100) {
    hart h;
    struct shared {
        shared() noexcept {}
        int turns = 0;
        std::uint64_t steps = 0;
        bool enough = false;
    } seen;
    const auto greedy = [](shared& with, Step& once) -> task<void> {
        while (!with.enough && with.steps < 100'000) {
            static_cast<void>(co_await once());
            ++with.steps;
        }
    };
    const auto modest = [](shared& with) -> task<void> {
        for (; with.turns < 10; ++with.turns) {
            co_await yield{};
        }
        with.enough = true;
    };
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(greedy(seen, step)));
    BOOST_REQUIRE(scope.spawn(modest(seen)));
    h.run_ready();
    BOOST_TEST(seen.turns == 10);
    BOOST_TEST(seen.steps <= 12 * executor::round_budget);
    BOOST_TEST(seen.steps >= least_steps); // it is not held up either
    BOOST_TEST(scope.size() == 0u);
}

BOOST_AUTO_TEST_CASE(a_loop_of_ready_awaits_starves_nobody) {
    semaphore permits{1};
    expect_fairness([&] {
        if (permits.available() == 0) {
            permits.release();
        }
        return permits.acquire();
    });
    permits.release();
    expect_fairness([&] {
        if (permits.available() == 0) {
            permits.release();
        }
        return permits.acquire(stop_token{});
    });
    mutex lock;
    expect_fairness([&] {
        if (lock.is_locked()) {
            lock.unlock();
        }
        return lock.lock();
    });
    lock.unlock();
    expect_fairness([&] { return lock.scoped_lock(); });
    event happened;
    happened.set();
    expect_fairness([&] { return happened.wait(); });
    auto_reset_event bell;
    expect_fairness([&] {
        bell.set();
        return bell.wait();
    });
    latch open{0};
    expect_fairness([&] { return open.wait(); });
    expect_fairness([&] { return sleep_until(0); });
    expect_fairness([&] { return sleep_until(0, stop_token{}); });
    channel<int, 2> values;
    expect_fairness([&] {
        static_cast<void>(values.try_receive());
        return values.send(1);
    });
    values.close();
    expect_fairness([&] { return values.receive(); });
    expect_fairness([&] { return values.send(1); });
    counting_scope empty;
    expect_fairness([&] { return empty.join(); });
    // One that would wait, but is stopped at once, has one turn a round.
    stop_source source;
    source.request_stop();
    event never;
    expect_fairness([&] { return never.wait(source.get_token()); }, 10);
}

// What is in it may be used again, in another one.
BOOST_AUTO_TEST_CASE(waits_may_be_awaited_again) {
    hart h;
    const auto work = []() -> task<std::size_t> {
        semaphore permits{6};
        auto one = permits.acquire();
        auto other = permits.acquire();
        std::array row{permits.acquire(), permits.acquire()};
        static_cast<void>(co_await when_all(one, other));
        static_cast<void>(co_await when_all(one, other));
        static_cast<void>(co_await when_all(std::span{row}));
        co_return permits.available();
    };
    BOOST_TEST(sync_wait(work()) == 0u);
}

template <typename Wait>
task<void> wait_on(Wait make) {
    static_cast<void>(co_await make());
}

BOOST_AUTO_TEST_CASE(nothing_ends_while_somebody_waits_for_it) {
    // Runs a task that waits, then ends what it waits for.
    const auto ends_early = [](const char* message, auto make, auto wait) {
        expect_panic(message, [make, wait] {
            hart h;
            counting_scope scope;
            auto what = make();
            auto* const it = what.get();
            static_cast<void>(scope.spawn(wait_on([it, wait] { return wait(*it); })));
            h.runtime.tick();
            what.reset();
        });
    };
    ends_early(
        "an auto-reset event ends while coroutines wait for it", [] { return std::make_unique<auto_reset_event>(); },
        [](auto_reset_event& what) { return what.wait(stop_token{}); });
    ends_early(
        "a latch ends while coroutines wait for it", [] { return std::make_unique<latch>(1); },
        [](latch& what) { return what.wait(stop_token{}); });
    ends_early(
        "a channel ends while coroutines wait for it", [] { return std::make_unique<channel<int, 1>>(); },
        [](channel<int, 1>& what) { return what.receive(); });
    ends_early(
        "a semaphore ends while coroutines wait for it", [] { return std::make_unique<semaphore>(0); },
        [](semaphore& what) { return what.acquire(stop_token{}); });
    expect_panic("a channel ends while coroutines wait for it", [] {
        hart h;
        counting_scope scope;
        std::optional<channel<int, 1>> full{std::in_place};
        for (int i = 0; i < 2; ++i) {
            static_cast<void>(scope.spawn(wait_on([&full] { return full->send(1); })));
        }
        h.runtime.tick();
        full.reset();
    });
    expect_panic("a mutex ends while it is locked", [] {
        mutex held;
        static_cast<void>(held.try_lock());
    });
}

BOOST_AUTO_TEST_CASE(what_is_not_held_is_not_given_back) {
    expect_panic("a mutex was unlocked that is not locked", [] {
        mutex free;
        free.unlock();
    });
    expect_panic("a semaphore was released more often than it can count", [] {
        semaphore full{std::numeric_limits<std::size_t>::max()};
        full.release();
    });
    expect_panic("a latch was counted down below zero", [] {
        latch two{2};
        two.count_down();
        two.count_down(2);
    });
}

BOOST_AUTO_TEST_SUITE_END()
