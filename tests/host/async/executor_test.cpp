// Tests of the executor: the order of rounds, publishing, polling and sleeping, with a device that is none.
#include "async/counting_scope.hpp"
#include "async/event.hpp"
#include "async/executor.hpp"
#include "async/scheduler.hpp"
#include "async/sync_wait.hpp"
#include "async/task.hpp"
#include "tests/host/async/fake_source.hpp"
#include "tests/host/async/small_tasks.hpp"
#include "tests/host/hart_fixture.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::async;
using arch::host::machine;
using arch::host::machine_options;
using tests::all_modes;
using tests::chance;
using tests::do_io;
using tests::fake_source;
using tests::hart;
using tests::log_steps;
using tests::pick;
using tests::wait_for;

} // namespace

BOOST_AUTO_TEST_SUITE(executor_tests)

BOOST_AUTO_TEST_CASE(coroutines_resume_in_the_order_in_which_they_became_ready) {
    hart h;
    std::vector<int> log;
    counting_scope scope;
    for (int id = 0; id < 3; ++id) {
        BOOST_REQUIRE(scope.spawn(log_steps(log, id, id + 1)));
    }
    BOOST_TEST(log.empty()); // spawning does not run
    BOOST_TEST(h.runtime.tick());
    BOOST_TEST(log == (std::vector{0, 1, 2}), boost::test_tools::per_element());
    BOOST_TEST(h.runtime.tick());
    BOOST_TEST(log == (std::vector{0, 1, 2, 1, 2}), boost::test_tools::per_element());
    BOOST_TEST(scope.size() == 2u);
    BOOST_TEST(h.runtime.tick());
    BOOST_TEST(log == (std::vector{0, 1, 2, 1, 2, 2}), boost::test_tools::per_element());
    BOOST_TEST(!h.runtime.tick()); // 2 ends
    BOOST_TEST(scope.size() == 0u);
    BOOST_TEST(h.runtime.count().rounds == 4u);
    BOOST_TEST(h.runtime.count().resumptions == 3u + 3u + 2u + 1u);
    BOOST_TEST(!h.runtime.tick());
}

BOOST_AUTO_TEST_CASE(what_becomes_ready_in_a_round_runs_in_the_next) {
    hart h;
    std::vector<int> log;
    event go;
    counting_scope scope;
    const auto set_then_log = [](event& what, std::vector<int>& into) -> task<void> {
        what.set();
        into.push_back(2);
        co_await yield{};
        into.push_back(3);
    };
    BOOST_REQUIRE(scope.spawn(wait_for(go, log, 0)));
    BOOST_REQUIRE(scope.spawn(wait_for(go, log, 1)));
    BOOST_REQUIRE(scope.spawn(set_then_log(go, log)));
    BOOST_TEST(h.runtime.tick());
    BOOST_TEST(log == (std::vector{2}), boost::test_tools::per_element());
    BOOST_TEST(!h.runtime.tick());
    BOOST_TEST(log == (std::vector{2, 0, 1, 3}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_round_resumes_no_more_than_the_budget_and_nothing_starves) {
    hart h;
    fake_source device{h};
    constexpr int tasks = 1000;
    constexpr int steps = 4;
    std::vector<int> log;
    counting_scope scope;
    for (int id = 0; id < tasks; ++id) {
        BOOST_REQUIRE(scope.spawn(log_steps(log, id, steps)));
    }
    std::vector<std::uint64_t> per_round;
    bool more = true;
    while (more) {
        const std::uint64_t before = h.runtime.count().resumptions;
        static_cast<void>(device.take_log());
        more = h.runtime.tick();
        per_round.push_back(h.runtime.count().resumptions - before);
        // One publish, also in rounds that the budget ends; another look before it in those that come to an end themselves.
        BOOST_TEST(device.take_log() == (per_round.back() == 256 ? "pP" : "ppP"));
    }
    // 1000 at a time, in rounds of 256, 256, 256 and what is left.
    BOOST_REQUIRE(per_round.size() == std::size_t{steps + 1} * 4);
    for (std::size_t i = 0; i < per_round.size(); ++i) {
        BOOST_TEST(per_round[i] == (i % 4 == 3 ? tasks - 3 * executor::round_budget : executor::round_budget));
    }
    BOOST_REQUIRE(log.size() == std::size_t{tasks * steps});
    for (std::size_t i = 0; i < log.size(); ++i) {
        BOOST_REQUIRE(log[i] == static_cast<int>(i % tasks));
    }
}

BOOST_AUTO_TEST_CASE(one_that_yields_for_ever_holds_nobody_up) {
    hart h;
    fake_source device{h};
    bool stop = false;
    int done = 0;
    counting_scope scope;
    const auto spin = [](const bool& until) -> task<void> {
        while (!until) {
            co_await yield{};
        }
    };
    const auto sleep = [](int& count) -> task<void> {
        co_await sleep_for(50);
        ++count;
    };
    BOOST_REQUIRE(scope.spawn(spin(stop)));
    BOOST_REQUIRE(scope.spawn(do_io(device, 20, 3, done)));
    BOOST_REQUIRE(scope.spawn(sleep(done)));
    for (int i = 0; i < 200 && done < 4; ++i) {
        BOOST_REQUIRE(h.runtime.tick());
    }
    BOOST_TEST(done == 4);
    BOOST_TEST(h.waits == 0u);
    stop = true;
    h.run_ready();
    BOOST_TEST(scope.size() == 0u);
}

// What a hart calls at the ends of its rounds, and within them: N publish early and notify, e publish early, P publish, a
// arm and publish.
struct early_source final : completion_source {
    bool poll() noexcept override { return false; }
    void publish() noexcept override { calls += 'P'; }
    bool arm_and_publish() noexcept override {
        calls += 'a';
        return false;
    }
    void disarm() noexcept override {}
    [[nodiscard]] bool has_unpublished() noexcept override { return false; }
    bool publish_early(bool may_notify) noexcept override {
        calls += may_notify ? 'N' : 'e';
        return may_notify;
    }
    std::string calls;
};

// A hart that polls shows the device the first requests of a long round while it makes the others, and notifies it for
// that once per round.
BOOST_AUTO_TEST_CASE(a_hart_that_polls_publishes_within_a_long_round) {
    for (const poll_mode mode : all_modes) {
        hart h;
        early_source device;
        h.runtime.add(device);
        h.runtime.set_poll_mode(mode);
        std::vector<int> log;
        counting_scope scope;
        for (int i = 0; i < 40; ++i) {
            BOOST_REQUIRE(scope.spawn(log_steps(log, i, 1)));
        }
        while (h.runtime.tick()) {
        }
        BOOST_TEST(log.size() == 40u);
        const std::string expected = mode == poll_mode::off ? "P" : "NeP";
        BOOST_TEST(device.calls.starts_with(expected), device.calls);
        h.run_ready();
    }
}

// What is to be published at the end of a round is not published before it.
BOOST_AUTO_TEST_CASE(a_round_of_one_piece_publishes_once) {
    hart h;
    early_source device;
    h.runtime.add(device);
    h.runtime.set_poll_mode(poll_mode::always);
    std::vector<int> log;
    counting_scope scope;
    for (unsigned i = 0; i < executor::publish_interval; ++i) {
        BOOST_REQUIRE(scope.spawn(log_steps(log, 1, 1)));
    }
    while (h.runtime.tick()) {
    }
    BOOST_TEST(log.size() == executor::publish_interval);
    BOOST_TEST(device.calls.find_first_not_of('P') == std::string::npos, device.calls);
}

BOOST_AUTO_TEST_CASE(a_hart_that_stops_to_poll_within_a_round_publishes_early_no_more) {
    hart h;
    early_source device;
    h.runtime.add(device);
    h.runtime.set_poll_mode(poll_mode::always);
    std::vector<int> log;
    counting_scope scope;
    const auto stop_polling = [](executor& runtime) -> task<void> {
        runtime.set_poll_mode(poll_mode::off);
        co_return;
    };
    const auto forty = [&] {
        for (int i = 0; i < 40; ++i) {
            BOOST_REQUIRE(scope.spawn(log_steps(log, i, 1)));
        }
        while (h.runtime.tick()) {
        }
    };
    BOOST_REQUIRE(scope.spawn(stop_polling(h.runtime)));
    forty();
    device.calls.clear();
    forty();
    BOOST_TEST(log.size() == 80u);
    BOOST_TEST(device.calls.find_first_not_of('P') == std::string::npos, device.calls);
}

BOOST_AUTO_TEST_CASE(idle_does_not_wait_while_something_is_ready) {
    for (const poll_mode mode : all_modes) {
        hart h;
        fake_source device{h};
        h.runtime.set_poll_mode(mode);
        std::vector<int> log;
        counting_scope scope;
        BOOST_TEST(!h.runtime.tick());
        BOOST_REQUIRE(scope.spawn(log_steps(log, 1, 1)));
        unsigned polls = 0;
        device.on_poll = [&polls] {
            if (++polls > 100'000) {
                std::fprintf(stderr, "idle() polls for ever although a task is ready\n");
                std::abort();
            }
        };
        h.runtime.idle();
        BOOST_TEST(h.waits == 0u);
        h.run_ready();
        BOOST_TEST(log.size() == 1u);
    }
}

BOOST_AUTO_TEST_CASE(publish_is_called_once_in_every_round) {
    hart h;
    fake_source device{h};
    h.runtime.set_poll_mode(poll_mode::adaptive);
    int done = 0;
    counting_scope scope;
    for (int i = 0; i < 5; ++i) {
        BOOST_REQUIRE(scope.spawn(do_io(device, 1000, 1, done)));
    }
    h.runtime.tick();
    BOOST_TEST(device.take_log() == "ppP"); // five submissions, another look, one publish
    h.runtime.tick();
    BOOST_TEST(device.take_log() == "pP"); // nothing resumed: a poll may have submitted
    while (done < 5) {
        h.runtime.tick();
    }
    BOOST_TEST(!h.runtime.tick());
}

// A round takes as long as the device says. Answers how many of `rounds` rounds waited.
unsigned rounds_that_wait(publish_timing& timing, arch::ticks& now, unsigned rounds, arch::ticks at_once,
                          arch::ticks waiting) {
    unsigned waited = 0;
    for (unsigned i = 0; i < rounds; ++i) {
        waited += timing.waits() ? 1U : 0U;
        now += timing.waits() ? waiting : at_once;
        timing.round_ended(3, now);
    }
    return waited;
}

BOOST_AUTO_TEST_CASE(a_round_waits_before_it_publishes_if_that_has_been_quicker) {
    constexpr unsigned a_try = 32;
    constexpr unsigned kept = 64 * a_try;
    struct {
        arch::ticks at_once;
        arch::ticks waiting;
        bool pays;
    } const devices[] = {{100, 50, true}, {100, 93, true}, {100, 95, false}, {100, 100, false}, {100, 300, false}};
    for (const auto& device : devices) {
        BOOST_TEST_CONTEXT("a round takes " << device.at_once << " at once, " << device.waiting << " with a wait") {
            publish_timing timing;
            arch::ticks now = 1'000'000'000; // the machine has run for long
            BOOST_TEST(rounds_that_wait(timing, now, a_try, device.at_once, device.waiting) == 0U);
            for (int i = 0; i < 3; ++i) { // tried, kept, and tried again
                BOOST_TEST(rounds_that_wait(timing, now, 4 * a_try, device.at_once, device.waiting) == 2 * a_try);
                BOOST_TEST(rounds_that_wait(timing, now, kept, device.at_once, device.waiting) ==
                           (device.pays ? kept : 0U));
            }
            // A device that becomes another one is found out.
            BOOST_TEST(rounds_that_wait(timing, now, 4 * a_try, device.waiting, device.at_once) == 2 * a_try);
            BOOST_TEST(timing.waits() == (device.waiting > device.at_once * 17 / 16));
        }
    }
}

// A round that waits looks once more before it publishes.
BOOST_AUTO_TEST_CASE(a_hart_that_polls_tries_to_wait_before_it_publishes) {
    hart h;
    fake_source device{h};
    h.runtime.set_poll_mode(poll_mode::always);
    int done = 0;
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(do_io(device, 1000, 400, done)));
    const auto looks = [&] { // of the next round that resumes something
        device.log.clear();
        const int before = done;
        while (done == before) {
            static_cast<void>(device.take_log());
            if (!h.runtime.tick() && done == before) {
                h.runtime.idle();
            }
        }
        return std::count(device.log.begin(), device.log.end(), 'p');
    };
    BOOST_TEST(looks() == 2);      // when it begins, and once more
    for (int i = 0; i < 30; ++i) { // and the first of all has nothing to wait for
        static_cast<void>(looks());
    }
    for (int i = 0; i < 2; ++i) { // at once, and waiting, in turns
        for (int round = 0; round < 32; ++round) {
            BOOST_TEST(looks() == 2);
        }
        for (int round = 0; round < 32; ++round) {
            BOOST_TEST(looks() == 3);
        }
    }
    BOOST_TEST(looks() == 2); // here it pays nothing
    while (scope.size() != 0) {
        if (!h.runtime.tick() && scope.size() != 0) {
            h.runtime.idle();
        }
    }
    BOOST_TEST(done == 400);
}

BOOST_AUTO_TEST_CASE(without_polling_interrupts_are_asked_for_before_the_device_is_told) {
    hart h;
    fake_source device{h};
    h.runtime.set_poll_mode(poll_mode::off);
    int done = 0;

    // A hart that goes on by itself asks once: from there to the sleep, what comes stays pending.
    sync_wait(do_io(device, 1000, 2, done));
    BOOST_TEST(done == 2);
    BOOST_TEST(device.take_log() == "papapa");
    BOOST_TEST(device.interrupts == 2u); // one for each
    BOOST_TEST(h.runtime.count().sleeps == 2u);
    BOOST_TEST(h.runtime.count().polls_paid == 0u);
    BOOST_TEST(h.runtime.count().polls_in_vain == 0u);
    sync_wait(do_io(device, 0, 1, done)); // which is pending before the sleep
    BOOST_TEST(done == 3);
    BOOST_TEST(device.take_log() == "papa");
    BOOST_TEST(device.interrupts == 3u);
    BOOST_TEST(arch::mask_interrupts()); // they are not masked
    arch::restore_interrupts(true);

    // While something is ready nobody asks for interrupts.
    std::vector<int> log;
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(log_steps(log, 0, 2)));
    BOOST_TEST(h.runtime.tick());
    BOOST_TEST(device.take_log() == "pP");
    h.run_ready();
}

// Who runs a hart step by step does not know whether a sleep follows: so idle() asks for interrupts, and tick() does not.
BOOST_AUTO_TEST_CASE(step_by_step_interrupts_are_asked_for_once_in_a_sleep) {
    hart h;
    fake_source device{h};
    h.runtime.set_poll_mode(poll_mode::off);
    int done = 0;
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(do_io(device, 1000, 2, done)));
    BOOST_TEST(!h.runtime.tick());
    BOOST_TEST(device.take_log() == "pP");
    h.runtime.idle();
    BOOST_TEST(device.take_log() == "a");
    BOOST_TEST(h.waits == 1u);
    BOOST_TEST(device.interrupts == 1u);
    BOOST_TEST(!h.runtime.tick());
    BOOST_TEST(done == 1);
    BOOST_TEST(device.take_log() == "pP");
    h.runtime.idle();
    h.runtime.tick();
    BOOST_TEST(done == 2);
    BOOST_TEST(device.interrupts == 2u);
    BOOST_TEST(h.runtime.count().sleeps == 2u);

    // What completes between a round and the sleep is found, or told, and not slept through.
    BOOST_REQUIRE(scope.spawn(do_io(device, 0, 1, done)));
    BOOST_TEST(!h.runtime.tick());
    static_cast<void>(device.take_log());
    h.runtime.idle();
    BOOST_TEST(device.take_log() == "a");
    BOOST_TEST(h.waits == 2u); // those before
    h.runtime.tick();
    BOOST_TEST(done == 3);

    // As often as by a hart that goes on by itself.
    const auto calls_of = [&](auto run) {
        int more = 0;
        BOOST_REQUIRE(scope.spawn(do_io(device, 1000, 20, more)));
        static_cast<void>(device.take_log());
        const std::uint64_t sleeps = h.runtime.count().sleeps;
        run(more);
        BOOST_TEST(h.runtime.count().sleeps == sleeps + 20);
        return device.take_log();
    };
    const std::string by_steps = calls_of([&](const int& more) {
        while (more < 20) {
            if (!h.runtime.tick() && more < 20) {
                h.runtime.idle();
            }
        }
    });
    const std::string by_itself = calls_of([&](const int&) {
        const auto join = [](counting_scope& of) -> task<void> {
            co_await of.join();
        };
        sync_wait(join(scope));
    });
    const auto count = [](const std::string& calls, char call) -> std::ptrdiff_t {
        return std::count(calls.begin(), calls.end(), call);
    };
    BOOST_TEST(count(by_steps, 'a') == 20);
    BOOST_TEST(count(by_itself, 'a') == 21); // the last one is for a sleep that does not follow
    BOOST_TEST(count(by_itself, 'P') == 1);  // where the task that joins is ready
    BOOST_TEST(count(by_steps, 'p') <= count(by_itself, 'p'));
}

BOOST_AUTO_TEST_CASE(always_polling_never_sleeps) {
    hart h;
    fake_source device{h};
    h.runtime.set_poll_mode(poll_mode::always);
    int done = 0;
    sync_wait(do_io(device, 100'000, 3, done));
    BOOST_TEST(done == 3);
    BOOST_TEST(h.waits == 0u);
    BOOST_TEST(device.interrupts == 0u);
    BOOST_TEST(h.runtime.count().sleeps == 0u);
    BOOST_TEST(h.runtime.count().polls_paid == 3u);

    const auto sleep = []() -> task<void> {
        co_await sleep_for(100'000);
    };
    const arch::ticks before = h.simulated.time();
    sync_wait(sleep());
    BOOST_TEST(h.simulated.time() - before >= 100'000u);
    BOOST_TEST(h.waits == 0u);
}

// The span is what lies between the wish for no interrupts and the wish for them, when nothing was found.
BOOST_AUTO_TEST_CASE(the_adaptive_span_grows_with_short_sleeps_and_shrinks_with_long_ones) {
    hart h;
    fake_source device{h};
    h.runtime.set_poll_mode(poll_mode::adaptive);
    const arch::ticks shortest = arch::ticks_per_second() / 50'000;
    const arch::ticks longest = arch::ticks_per_second() / 2'500;

    // Sleeps for `span` ticks after having looked in vain; answers how long it looked.
    const auto look_and_sleep = [&](arch::ticks span) -> arch::ticks {
        static_cast<void>(h.runtime.tick());
        device.log.clear();
        device.times.clear();
        const unsigned waits = h.waits;
        // The timer interrupt of the machine is not used: the device's line wakes the hart, with nothing completed.
        bool armed = false;
        device.on_poll = {};
        struct waker : arch::host::observer {
            machine* simulated = nullptr;
            arch::ticks after = 0;
            void on_wait_for_interrupt() override {
                simulated->after(after, [this] { simulated->raise_line(fake_source::line); });
            }
        } wake;
        wake.simulated = &h.simulated;
        wake.after = span;
        h.simulated.observe(wake);
        h.runtime.idle();
        h.simulated.stop_observing(wake);
        BOOST_TEST(h.waits == waits + 1);
        armed = device.armed();
        BOOST_TEST(armed);
        BOOST_REQUIRE(!device.log.empty());
        BOOST_TEST(device.log.back() == 'a');
        if (device.log.front() != 'd') {
            BOOST_TEST(device.log == "a"); // did not look at all
            return 0;
        }
        return device.times.back() - device.times.front();
    };

    constexpr arch::ticks slack = 16; // clock readings on the way
    BOOST_TEST(look_and_sleep(10) == 0u);
    arch::ticks expected = shortest;
    for (int i = 0; i < 5; ++i) {
        const arch::ticks looked = look_and_sleep(10);
        BOOST_TEST(looked >= expected);
        BOOST_TEST(looked <= expected + slack);
        expected = std::min(expected * 2, longest);
    }
    BOOST_TEST(expected == longest);
    // The longest look was in vain: however short the sleep after it, no look saves it.
    BOOST_TEST(look_and_sleep(10) >= longest);
    expected = longest / 2;
    for (int i = 0; i < 8; ++i) {
        const arch::ticks looked = look_and_sleep(longest + 100);
        BOOST_TEST(looked >= expected);
        BOOST_TEST(looked <= expected + slack);
        expected = expected <= shortest ? 0 : expected / 2;
        if (expected == 0) {
            break;
        }
    }
    BOOST_TEST(look_and_sleep(longest + 100) == 0u);
    BOOST_TEST(look_and_sleep(longest + 100) == 0u);

    // Counted: every look but those of span 0 was in vain, none paid.
    BOOST_TEST(h.runtime.count().polls_paid == 0u);
    BOOST_TEST(h.runtime.count().polls_in_vain >= 11u);
    BOOST_TEST(h.runtime.count().asleep >= 6 * longest);
}

BOOST_AUTO_TEST_CASE(a_look_that_pays_saves_the_sleep) {
    hart h;
    fake_source device{h};
    h.runtime.set_poll_mode(poll_mode::adaptive);
    int done = 0;
    sync_wait(do_io(device, 150, 100, done)); // a bit shorter than the shortest span
    BOOST_TEST(done == 100);
    BOOST_TEST(h.runtime.count().sleeps == 1u); // the first one, that made it look
    BOOST_TEST(h.runtime.count().polls_paid == 99u);
    BOOST_TEST(device.interrupts == 1u);
}

// An interrupt may come at any moment between the last look and the wait. The device completes after every latency there
// is, so at each of the moments at which the executor or the source looks at the clock; the wait must see all of them.
BOOST_AUTO_TEST_CASE(no_completion_is_slept_through) {
    for (const poll_mode mode : all_modes) {
        for (arch::ticks latency = 0; latency < 60; ++latency) {
            hart h;
            fake_source device{h};
            h.runtime.set_poll_mode(mode);
            unsigned stalls = 0;
            h.simulated.on_stall([&] {
                ++stalls;
                device.rescue();
            });
            int done = 0;
            sync_wait(do_io(device, latency, 5, done));
            BOOST_REQUIRE(done == 5);
            BOOST_REQUIRE_MESSAGE(stalls == 0, "slept through a completion: mode " << static_cast<int>(mode)
                                                                                   << ", latency " << latency);
            BOOST_REQUIRE_MESSAGE(h.simulated.violations().empty(), h.simulated.describe());
        }
    }
}

// The same for many at once with random latencies and waits that end for no reason.
BOOST_AUTO_TEST_CASE(spurious_wake_ups_and_random_latencies) {
    auto random = chance(1);
    for (int run = 0; run < 60; ++run) {
        machine_options options;
        options.spurious_wake_ups = run % 3 == 0 ? 0 : 500;
        options.seed = random();
        hart h{std::size_t{1} << 20, options};
        fake_source device{h};
        h.runtime.set_poll_mode(all_modes[run % 3]);
        unsigned stalls = 0;
        h.simulated.on_stall([&] {
            ++stalls;
            device.rescue();
        });
        const auto several = [](fake_source& on, std::mt19937_64& chances, int& count) -> task<void> {
            for (int i = 0; i < 20; ++i) {
                if (pick(chances, 0, 3) == 0) {
                    co_await sleep_for(pick<arch::ticks>(chances, 0, 6000));
                } else {
                    co_await on.io(pick<arch::ticks>(chances, 0, 300));
                }
                ++count;
            }
        };
        int done = 0;
        const auto all = [&several](fake_source& on, std::mt19937_64& chances, int& count) -> task<void> {
            counting_scope scope;
            for (int i = 0; i < 10; ++i) {
                if (!scope.spawn(several(on, chances, count))) {
                    std::abort();
                }
            }
            co_await scope.join();
        };
        sync_wait(all(device, random, done));
        BOOST_REQUIRE(done == 200);
        BOOST_REQUIRE_MESSAGE(stalls == 0, "run " << run << ": " << h.simulated.describe());
    }
}

BOOST_AUTO_TEST_SUITE_END()
