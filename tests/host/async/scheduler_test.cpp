// Tests of sleeps and of yield: deadlines, clocks that step, stops.
#include "async/counting_scope.hpp"
#include "async/event.hpp"
#include "async/executor.hpp"
#include "async/message.hpp"
#include "async/scheduler.hpp"
#include "async/stop_token.hpp"
#include "async/sync_wait.hpp"
#include "async/task.hpp"
#include "async/when_all.hpp"
#include "tests/host/async/endings.hpp"
#include "tests/host/async/small_tasks.hpp"
#include "tests/host/hart_fixture.hpp"
#include "tests/host/seed.hpp"

#include <boost/test/unit_test.hpp>
#include <cstddef>
#include <map>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::async;
using arch::host::machine;
using arch::host::machine_options;
using boost::test_tools::per_element;
using tests::chance;
using tests::done;
using tests::endings;
using tests::hart;
using tests::log_steps;
using tests::pick;
using tests::stopped;

} // namespace

BOOST_AUTO_TEST_SUITE(scheduler_tests)

BOOST_AUTO_TEST_CASE(thousands_of_sleepers_wake_in_the_order_of_their_deadlines) {
    auto random = chance(3);
    hart h{std::size_t{4} << 20};
    std::multimap<arch::ticks, int> oracle;
    struct shared {
        hart& at;
        std::mt19937_64& chances;
        std::multimap<arch::ticks, int>& asleep;
        int wrong_order = 0;
        int early = 0;
        int woken = 0;
    } all{h, random, oracle};
    const auto sleeper = [](shared& with, int id) -> task<void> {
        for (int i = 0; i < 5; ++i) {
            const arch::ticks now = with.at.runtime.round_time();
            const arch::ticks when = now + 1 + pick<arch::ticks>(with.chances, 0, 500) * 10; // often equal
            const auto mine = with.asleep.emplace(when, id);
            co_await sleep_until(when);
            with.early += with.at.runtime.round_time() < when;
            with.wrong_order += with.asleep.begin()->first != when;
            with.asleep.erase(mine);
            ++with.woken;
        }
    };
    const auto root = [&sleeper](shared& with) -> task<void> {
        counting_scope scope;
        for (int id = 0; id < 3000; ++id) {
            if (!scope.spawn(sleeper(with, id))) {
                std::abort();
            }
        }
        co_await scope.join();
    };
    sync_wait(root(all));
    BOOST_TEST(all.woken == 15'000);
    BOOST_TEST(all.wrong_order == 0);
    BOOST_TEST(all.early == 0);
    BOOST_TEST(oracle.empty());
    BOOST_TEST(!h.simulated.stalled());
}

BOOST_AUTO_TEST_CASE(who_sleeps_wakes_in_the_first_round_at_or_after_the_deadline) {
    machine_options options;
    options.cost_of_now = 0;
    hart h{std::size_t{1} << 20, options};
    std::vector<int> log;
    counting_scope scope;
    const auto sleeper = [](std::vector<int>& into, int id, arch::ticks when) -> task<void> {
        co_await sleep_until(when);
        into.push_back(id);
    };
    BOOST_REQUIRE(scope.spawn(sleeper(log, 1, 100)));
    BOOST_REQUIRE(scope.spawn(sleeper(log, 2, 100)));
    BOOST_REQUIRE(scope.spawn(sleeper(log, 3, 101)));
    BOOST_TEST(!h.runtime.tick());
    h.simulated.run_until(99);
    BOOST_TEST(!h.runtime.tick());
    BOOST_TEST(log.empty());
    h.simulated.run_until(100);
    BOOST_TEST(!h.runtime.tick());
    BOOST_TEST(log == (std::vector{1, 2}), boost::test_tools::per_element());
    h.runtime.idle();
    BOOST_TEST(h.simulated.time() == 101u); // not a tick longer
    BOOST_TEST(!h.runtime.tick());
    BOOST_TEST(log.size() == 3u);
}

// The clock steps back, below 0 too, while harts sleep and between rounds. An interrupt lets the hart look at its clock now and
// then, because its timer was set by the clock as it was before. The oracle is the time of the simulated machine, which does not
// step.
BOOST_AUTO_TEST_CASE(a_clock_that_steps_back_makes_no_sleep_shorter_and_none_much_longer) {
    auto random = chance(5);
    constexpr arch::ticks tick_of_line = 50;
    for (const std::int64_t step :
         {std::int64_t{-1}, std::int64_t{-40}, std::int64_t{-100}, std::int64_t{-5000}, std::int64_t{-36'000'000'000}})
        for (const unsigned steps : {1U, 2U, 7U})
            for (const poll_mode mode : {poll_mode::off, poll_mode::adaptive, poll_mode::always})
                BOOST_TEST_CONTEXT("step " << step << ", " << steps << " of them, poll mode " << int(mode)) {
                    hart h{std::size_t{1} << 20};
                    h.runtime.set_poll_mode(mode);
                    h.simulated.line_handler(4, [&] { h.simulated.lower_line(4); });
                    for (arch::ticks at = tick_of_line; at < 6000; at += tick_of_line)
                        h.simulated.at(at, [&] { h.simulated.raise_line(4); });
                    for (unsigned i = 0; i < steps; ++i)
                        h.simulated.at(pick<arch::ticks>(random, 1, 3000), [&] { h.simulated.step_clock(step); });
                    unsigned early = 0;
                    unsigned late = 0;
                    unsigned woken = 0;
                    arch::ticks last = 0;
                    bool ordered = true;
                    const auto sleeps = [&](arch::ticks span) -> task<void> {
                        for (int i = 0; i < 3; ++i) {
                            const arch::ticks begin = h.simulated.time();
                            co_await sleep_for(span);
                            const arch::ticks slept = h.simulated.time() - begin;
                            early += slept < span;
                            late += slept > span + tick_of_line * (steps + 1) + 400;
                            ordered &= h.runtime.round_time() >= last;
                            last = h.runtime.round_time();
                            ++woken;
                        }
                    };
                    const auto all = [&]() -> task<void> {
                        counting_scope scope;
                        for (int i = 0; i < 40; ++i)
                            if (!scope.spawn(sleeps(pick<arch::ticks>(random, 1, 1500))))
                                std::abort();
                        co_await scope.join();
                    };
                    sync_wait(all());
                    BOOST_TEST(woken == 120U);
                    BOOST_TEST(early == 0U);
                    BOOST_TEST(late == 0U);
                    BOOST_TEST(ordered);
                    BOOST_TEST(h.runtime.count().asleep <= h.simulated.time());
                }
}

// A deadline that lies beyond the point where the clock starts again from 0: the hart's timer, which compares without a sign,
// is set in two steps. Nothing else wakes the hart.
BOOST_AUTO_TEST_CASE(a_deadline_beyond_the_wrap_of_the_clock_comes) {
    hart h;
    h.runtime.set_poll_mode(poll_mode::off);
    h.simulated.step_clock(-1000);
    const auto sleeps = []() -> task<void> {
        co_await sleep_for(3000);
    };
    const std::uint64_t sleeps_before = h.runtime.count().sleeps;
    sync_wait(sleeps());
    BOOST_TEST(h.simulated.time() >= 3000U);
    BOOST_TEST(h.simulated.time() < 3200U);
    BOOST_TEST(h.runtime.count().sleeps - sleeps_before <= 3U); // it does not spin until then
}

// The hart sleeps while its clock steps back, and looks at it once, long before the deadline: then its timer is set anew.
BOOST_AUTO_TEST_CASE(the_timer_is_set_anew_after_a_step_back) {
    hart h;
    h.runtime.set_poll_mode(poll_mode::off);
    h.simulated.line_handler(4, [&] { h.simulated.lower_line(4); });
    h.simulated.run_until(200'000);
    const arch::ticks begin = h.simulated.time();
    h.simulated.after(500, [&] { h.simulated.step_clock(-100'000); });
    h.simulated.after(600, [&] { h.simulated.raise_line(4); });
    const auto sleeps = []() -> task<void> {
        co_await sleep_for(3000);
    };
    sync_wait(sleeps());
    BOOST_TEST(h.simulated.time() - begin >= 3000U);
    BOOST_TEST(h.simulated.time() - begin <
               3000U + 600 + 100); // what passed between the step and the look is not known
}

// The same, but the clock steps back while a coroutine runs: the hart looks at it before it sleeps.
BOOST_AUTO_TEST_CASE(the_timer_is_set_anew_after_a_step_back_within_a_round) {
    for (const bool was_set : {true, false}) // whether the hart's timer was set to that deadline before the step
        BOOST_TEST_CONTEXT("was set: " << was_set) {
            hart h;
            h.runtime.set_poll_mode(poll_mode::off);
            h.simulated.line_handler(4, [&] { h.simulated.lower_line(4); });
            h.simulated.run_until(200'000);
            const arch::ticks begin = h.simulated.time();
            const auto sleeps = []() -> task<void> {
                co_await sleep_for(3000);
            };
            const auto steps = [&]() -> task<void> {
                if (was_set)
                    co_await sleep_for(500);
                h.simulated.step_clock(-100'000);
            };
            const auto both = [&]() -> task<void> {
                co_await when_all(sleeps(), steps());
            };
            if (was_set) { // by a sleep that something else ends
                h.simulated.after(100, [&] { h.simulated.raise_line(4); });
            }
            sync_wait(both());
            BOOST_TEST(h.simulated.time() - begin >= 3000U);
            BOOST_TEST(h.simulated.time() - begin < 3000U + 700);
        }
}

// The round before a sleep begins before the clock's wrap, and the sleep after it.
BOOST_AUTO_TEST_CASE(a_clock_that_wraps_within_a_round_keeps_no_deadline_from_coming) {
    hart h;
    h.runtime.set_poll_mode(poll_mode::off);
    h.simulated.step_clock(-1000);
    const arch::ticks begin = h.simulated.time();
    const auto sleeps = [&]() -> task<void> {
        const arch::ticks deadline = deadline_after(3000);
        h.simulated.run_until(h.simulated.time() + 1500);
        co_await sleep_until(deadline);
    };
    sync_wait(sleeps());
    BOOST_TEST(!h.simulated.stalled());
    BOOST_TEST(h.simulated.time() - begin >= 3000U);
    BOOST_TEST(h.simulated.time() - begin < 3200U);
}

// The interrupt for a deadline comes and is taken while the hart is awake; then the clock steps back, before that deadline but
// not before the round. There is no other interrupt, unless the timer is set again.
BOOST_AUTO_TEST_CASE(a_deadline_whose_interrupt_came_before_a_step_back_comes) {
    hart h;
    h.runtime.set_poll_mode(poll_mode::off);
    h.simulated.line_handler(4, [&] { h.simulated.lower_line(4); });
    h.simulated.run_until(200'000);
    const arch::ticks begin = h.simulated.time();
    event now_step;
    const auto sleeps = []() -> task<void> {
        co_await sleep_for(3000);
    };
    const auto steps = [&]() -> task<void> {
        co_await now_step.wait();
        h.simulated.run_until(begin + 3500); // the deadline passes
        h.simulated.step_clock(-1000);
    };
    const auto both = [&]() -> task<void> {
        co_await when_all(sleeps(), steps());
    };
    h.simulated.on_timer_interrupt(0, [&] { // as the kernel does
        arch::set_deadline(arch::no_deadline);
        h.runtime.alarm_has_rung();
    });
    async::message wake{[](void* self) noexcept { static_cast<event*>(self)->set(); }, &now_step};
    h.simulated.after(2000, [&] {
        h.simulated.raise_line(4);
        wake.post(h.runtime);
    });
    sync_wait(both());
    BOOST_TEST(!h.simulated.stalled());
    BOOST_TEST(h.simulated.time() - begin >= 3000U);
    BOOST_TEST(h.simulated.time() - begin < 5000U);
}

// The clock is below 0 when the executor begins.
BOOST_AUTO_TEST_CASE(an_executor_that_begins_before_the_wrap_of_the_clock_has_deadlines_beyond_it) {
    machine simulated{{.memory_bytes = 4096}};
    simulated.step_clock(-1000);
    alignas(64) static std::byte slab[std::size_t{1} << 16];
    executor runtime{slab};
    runtime.set_poll_mode(poll_mode::off);
    BOOST_REQUIRE(deadline_after(3000) != arch::no_deadline);
    const auto sleeps = []() -> task<void> {
        co_await sleep_for(3000);
    };
    sync_wait(sleeps());
    BOOST_TEST(!simulated.stalled());
    BOOST_TEST(simulated.time() >= 3000U);
    BOOST_TEST(simulated.time() < 3200U);
}

BOOST_AUTO_TEST_CASE(a_deadline_in_the_past_does_not_suspend) {
    hart h;
    h.simulated.run_until(1000);
    int steps = 0;
    const auto sleeper = [](int& count) -> task<void> {
        co_await sleep_until(0);
        ++count;
        co_await sleep_until(executor::current().round_time());
        ++count;
    };
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(sleeper(steps)));
    h.runtime.tick();
    BOOST_TEST(steps == 2); // in one round
    BOOST_TEST(scope.size() == 0u);
}

BOOST_AUTO_TEST_CASE(a_span_beyond_the_end_of_time_has_no_end) {
    hart h;
    h.simulated.run_until(1000);
    h.runtime.tick();
    for (const arch::ticks span : {arch::no_deadline, arch::no_deadline - 1, arch::no_deadline - 900}) {
        wait_operation<sleeper> nap = sleep_for(span);
        BOOST_TEST(!nap.await_ready());
    }
    BOOST_TEST(sleep_for(0).await_ready() == false); // now is later than the beginning of the round
}

// Each contract call is an instruction of the simulated machine, so a deadline that is not programmed is one less.
BOOST_AUTO_TEST_CASE(the_deadline_is_programmed_only_when_it_changes) {
    hart h;
    h.runtime.set_poll_mode(poll_mode::off);
    unsigned timer_interrupts = 0;
    h.simulated.on_timer_interrupt(0, [&] {
        ++timer_interrupts;
        arch::set_deadline(arch::no_deadline);
    });
    h.simulated.line_handler(5, [&] { h.simulated.lower_line(5); });
    counting_scope scope;
    const auto sleeper = [](arch::ticks when) -> task<void> {
        co_await sleep_until(when);
    };
    BOOST_REQUIRE(scope.spawn(sleeper(100'000)));
    h.runtime.tick();
    const auto instructions_of_idle = [&] {
        h.simulated.after(100, [&] { h.simulated.raise_line(5); });
        const std::uint64_t before = h.simulated.instructions();
        h.runtime.idle();
        const std::uint64_t spent = h.simulated.instructions() - before;
        h.runtime.tick();
        return spent;
    };
    const std::uint64_t programmed = instructions_of_idle();
    const std::uint64_t unchanged = instructions_of_idle();
    BOOST_TEST(programmed == unchanged + 1);
    BOOST_TEST(instructions_of_idle() == unchanged);
    BOOST_REQUIRE(scope.spawn(sleeper(50'000)));
    h.runtime.tick();
    BOOST_TEST(instructions_of_idle() == programmed); // an earlier one
    BOOST_TEST(instructions_of_idle() == unchanged);
    BOOST_TEST(timer_interrupts == 0u);
    h.runtime.idle();
    h.runtime.tick();
    BOOST_TEST(scope.size() == 1u);
    BOOST_TEST(timer_interrupts == 1u);
    h.runtime.idle(); // programs the later one again
    h.runtime.tick();
    BOOST_TEST(scope.size() == 0u);
    BOOST_TEST(timer_interrupts == 2u);
    BOOST_TEST(instructions_of_idle() == unchanged); // nobody sleeps, nothing is programmed
}

// The timer's interrupt may be taken anywhere: while a coroutine runs, between a round and the sleep after it, or where a
// sleep ends for another reason. Whoever sleeps must wake all the same.
BOOST_AUTO_TEST_CASE(no_deadline_is_slept_through) {
    for (const poll_mode mode : {poll_mode::off, poll_mode::adaptive}) {
        for (arch::ticks woken = 100; woken <= 420; woken += 5) {
            for (unsigned burnt = 0; burnt < 40; ++burnt) {
                hart h;
                h.runtime.set_poll_mode(mode);
                unsigned stalls = 0;
                h.simulated.on_stall([&] { ++stalls; });
                constexpr arch::ticks deadline = 400;
                counting_scope scope;
                event disturbed;
                struct disturbance final : completion_source {
                    event* set = nullptr;
                    bool pending = false;
                    bool poll() noexcept override {
                        if (pending) {
                            pending = false;
                            set->set();
                            return true;
                        }
                        return false;
                    }
                    void publish() noexcept override {}
                    bool arm_and_publish() noexcept override { return pending; }
                    void disarm() noexcept override {}
                    bool has_unpublished() noexcept override { return false; }
                } source;
                source.set = &disturbed;
                h.runtime.add(source);
                h.simulated.line_handler(5, [&] {
                    h.simulated.lower_line(5);
                    source.pending = true;
                });
                const auto sleeper = [](arch::ticks when) -> task<void> {
                    co_await sleep_until(when);
                };
                const auto burner = [](event& start, unsigned readings) -> task<void> {
                    co_await start.wait();
                    for (unsigned i = 0; i < readings; ++i) {
                        static_cast<void>(arch::now()); // costs a tick, and takes interrupts
                    }
                };
                BOOST_REQUIRE(scope.spawn(sleeper(deadline)));
                BOOST_REQUIRE(scope.spawn(burner(disturbed, burnt)));
                h.simulated.at(woken, [&] { h.simulated.raise_line(5); });
                while (stalls == 0) {
                    const bool more = h.runtime.tick();
                    if (scope.size() == 0) {
                        break;
                    }
                    if (!more) {
                        h.runtime.idle();
                    }
                }
                h.runtime.tick(); // so that a failure leaves nothing behind
                BOOST_REQUIRE_MESSAGE(stalls == 0, "the deadline was slept through: woken at "
                                                       << woken << ", then " << burnt << " readings of the clock");
                BOOST_REQUIRE(scope.size() == 0);
            }
        }
    }
}

task<void> sleep_then_log(arch::ticks deadline, stop_token token, endings& log, int id) {
    const wait_result result = co_await sleep_until(deadline, token);
    log.push_back({id, result});
}

BOOST_AUTO_TEST_CASE(a_sleep_ends_at_its_deadline_or_at_a_stop) {
    hart h;
    endings log;
    stop_source sources[4];
    counting_scope scope;
    for (int id = 0; id < 4; ++id) {
        BOOST_REQUIRE(
            scope.spawn(sleep_then_log(100'000 + static_cast<arch::ticks>(id), sources[id].get_token(), log, id)));
    }
    h.run_ready();
    sources[2].request_stop();
    sources[0].request_stop();
    h.run_ready();
    BOOST_TEST(log == (endings{stopped(2), stopped(0)}), per_element());
    BOOST_TEST(h.simulated.time() < 100'000u);
    while (scope.size() != 0) {
        if (!h.runtime.tick()) {
            h.runtime.idle();
        }
    }
    BOOST_TEST(log == (endings{stopped(2), stopped(0), done(1), done(3)}), per_element());
    BOOST_TEST(h.simulated.time() >= 100'003u);
}

BOOST_AUTO_TEST_CASE(a_stop_in_the_round_of_the_deadline_comes_too_late) {
    hart h;
    endings log;
    stop_source source;
    counting_scope scope;
    const auto stop_at = [](arch::ticks when, stop_source& what) -> task<void> {
        co_await sleep_until(when);
        what.request_stop();
    };
    const arch::ticks when = h.simulated.time() + 1000;
    BOOST_REQUIRE(scope.spawn(stop_at(when, source)));
    BOOST_REQUIRE(scope.spawn(sleep_then_log(when + 1, source.get_token(), log, 0)));
    BOOST_REQUIRE(scope.spawn(sleep_then_log(when + 100'000'000, source.get_token(), log, 1)));
    h.runtime.tick();
    h.simulated.run_until(when + 1000);
    h.run_ready();
    BOOST_TEST(log == (endings{done(0), stopped(1)}), per_element());
}

BOOST_AUTO_TEST_CASE(yield_lets_everything_ready_run_first) {
    hart h;
    std::vector<int> log;
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(log_steps(log, 0, 2)));
    BOOST_REQUIRE(scope.spawn(log_steps(log, 1, 2)));
    BOOST_REQUIRE(scope.spawn(log_steps(log, 2, 2)));
    h.run_ready();
    BOOST_TEST(log == (std::vector{0, 1, 2, 0, 1, 2}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()
