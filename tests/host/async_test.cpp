// Tests of the runtime: executor, task, scope, when_all, semaphore, event, timers, frame slab. They run on the simulated
// machine, round by round where the order matters.
#include "async/counting_scope.hpp"
#include "async/event.hpp"
#include "async/executor.hpp"
#include "async/schedule_on.hpp"
#include "async/scheduler.hpp"
#include "async/semaphore.hpp"
#include "async/sync_wait.hpp"
#include "async/task.hpp"
#include "async/when_all.hpp"
#include "tests/host/hart_fixture.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::async;
using arch::host::machine;
using arch::host::machine_options;
using tests::chance;
using tests::expect_panic;
using tests::hart;
using tests::pick;

// How much stack the coroutines that call note() have been spread over.
class stack_gauge {
  public:
    [[gnu::noinline]] void note() {
        const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
        lowest_ = std::min(lowest_, here);
        highest_ = std::max(highest_, here);
    }
    [[nodiscard]] std::uintptr_t spread() const { return highest_ - lowest_; }

  private:
    std::uintptr_t lowest_ = ~std::uintptr_t{0};
    std::uintptr_t highest_ = 0;
};
constexpr std::uintptr_t constant_stack = 8192;

// ---- coroutines that many tests use ----

task<void> log_steps(std::vector<int>& log, int id, int steps) {
    for (int i = 0; i < steps; ++i) {
        log.push_back(id);
        co_await yield{};
    }
}

task<void> nothing() {
    co_return;
}

task<int> value_of(int value) {
    co_return value;
}

task<int> value_later(int value, int rounds) {
    for (int i = 0; i < rounds; ++i) {
        co_await yield{};
    }
    co_return value;
}

task<void> wait_for(event& what, std::vector<int>& log, int id) {
    co_await what.wait();
    log.push_back(id);
}

// ---- a device ----

// A device that completes what it was given some time after it was published, and raises its line if asked to. What the
// executor asks is written down: p poll, P publish, a arm, d disarm.
class fake_source final : public completion_source {
  public:
    class operation_of : operation {
      public:
        operation_of(fake_source& on, arch::ticks latency) noexcept : source_{on}, latency_{latency} {}
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> frame) noexcept {
            continuation = frame;
            source_.submitted_.push_back({this, latency_});
        }
        void await_resume() const noexcept {}

      private:
        friend class fake_source;
        fake_source& source_;
        arch::ticks latency_;
    };

    static constexpr unsigned line = 3;

    explicit fake_source(hart& on) : hart_{on} {
        hart_.simulated.line_handler(line, [this] {
            hart_.simulated.lower_line(line);
            announced_ = !used_.empty();
            ++interrupts;
        });
        hart_.runtime.add(*this);
    }

    operation_of io(arch::ticks latency) noexcept { return operation_of{*this, latency}; }

    bool poll() noexcept override {
        note('p');
        if (on_poll) {
            on_poll();
        }
        if (armed_ && !announced_) {
            return false;
        }
        announced_ = false;
        const bool found = !used_.empty();
        while (!used_.empty()) {
            hart_.runtime.make_ready(*used_.front());
            used_.pop_front();
        }
        return found;
    }
    void publish() noexcept override {
        note('P');
        for (const auto& each : submitted_) {
            hart_.simulated.after(each.second, [this, done = each.first] { complete(*done); });
        }
        submitted_.clear();
        note(0);
    }
    bool arm() noexcept override {
        note('a');
        armed_ = true;
        pass_time(); // a device that finishes here finishes before the look
        if (!used_.empty() && !announced_) {
            armed_ = false;
            return true;
        }
        note(0);
        return announced_;
    }
    void disarm() noexcept override {
        note('d');
        armed_ = false;
        note(0);
    }

    bool has_unpublished() noexcept override { return !submitted_.empty(); }

    void complete(operation_of& done) {
        used_.push_back(&done);
        if (armed_) {
            hart_.simulated.raise_line(line);
        }
    }

    // What an interrupt would have said: ends a test that has failed.
    void rescue() { announced_ = !used_.empty(); }

    [[nodiscard]] std::string take_log() { return std::exchange(log, {}); }
    [[nodiscard]] bool armed() const { return armed_; }

    std::string log;
    std::vector<arch::ticks> times; // of the calls in `log`
    std::function<void()> on_poll;
    unsigned interrupts = 0;

  private:
    void pass_time() { static_cast<void>(arch::now()); }
    void note(char call) {
        if (call != 0) {
            log.push_back(call);
            times.push_back(hart_.simulated.time());
        }
        pass_time(); // lets events happen in the middle
    }

    hart& hart_;
    std::deque<std::pair<operation_of*, arch::ticks>> submitted_;
    std::deque<operation_of*> used_;
    bool armed_ = false;
    bool announced_ = false;
};

task<void> do_io(fake_source& device, arch::ticks latency, int times, int& done) {
    for (int i = 0; i < times; ++i) {
        co_await device.io(latency);
        ++done;
    }
}

constexpr poll_mode all_modes[] = {poll_mode::off, poll_mode::adaptive, poll_mode::always};

} // namespace

BOOST_AUTO_TEST_SUITE(executor_suite)

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
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(do_io(device, 1000, 2, done)));
    BOOST_TEST(!h.runtime.tick());
    BOOST_TEST(device.take_log() == "paP");
    h.runtime.idle();
    BOOST_TEST(device.take_log() == "a");
    BOOST_TEST(h.waits == 1u);
    BOOST_TEST(device.interrupts == 1u);
    BOOST_TEST(!h.runtime.tick());
    BOOST_TEST(done == 1);
    BOOST_TEST(device.take_log() == "paP");
    h.runtime.idle();
    h.runtime.tick();
    BOOST_TEST(done == 2);
    BOOST_TEST(device.interrupts == 2u); // one for each
    BOOST_TEST(h.runtime.count().sleeps == 2u);
    BOOST_TEST(h.runtime.count().polls_paid == 0u);
    BOOST_TEST(h.runtime.count().polls_in_vain == 0u);

    // What an interrupt tells between a round and the sleep is not slept through.
    BOOST_REQUIRE(scope.spawn(do_io(device, 0, 1, done)));
    static_cast<void>(device.take_log());
    BOOST_TEST(!h.runtime.tick());
    BOOST_TEST(device.take_log() == "paP");
    BOOST_TEST(device.interrupts == 3u);
    h.runtime.idle();
    BOOST_TEST(device.take_log() == "a");
    BOOST_TEST(h.waits == 2u); // those before
    h.runtime.tick();
    BOOST_TEST(done == 3);

    // A hart that goes on by itself asks once: from there to the sleep, what comes stays pending.
    static_cast<void>(device.take_log());
    const std::uint64_t sleeps = h.runtime.count().sleeps;
    sync_wait(do_io(device, 1000, 2, done));
    BOOST_TEST(done == 5);
    BOOST_TEST(device.take_log() == "paPpaPpaP");
    BOOST_TEST(h.runtime.count().sleeps == sleeps + 2);
    BOOST_TEST(arch::mask_interrupts()); // they are not masked
    arch::restore_interrupts(true);

    // While something is ready nobody asks for interrupts.
    std::vector<int> log;
    BOOST_REQUIRE(scope.spawn(log_steps(log, 0, 2)));
    static_cast<void>(device.take_log());
    BOOST_TEST(h.runtime.tick());
    BOOST_TEST(device.take_log() == "pP");
    h.run_ready();
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

BOOST_AUTO_TEST_SUITE(timers)

// The heap alone, against a multimap.
BOOST_AUTO_TEST_CASE(the_heap_agrees_with_a_multimap) {
    auto random = chance(2);
    for (int run = 0; run < 20; ++run) {
        const arch::ticks range = run % 2 == 0 ? 50 : 1'000'000'000; // many equal deadlines, or few
        timer_queue queue;
        std::multimap<arch::ticks, timer*> oracle;
        std::vector<std::unique_ptr<timer>> nodes;
        std::vector<timer*> unused;
        for (int step = 0; step < 10'000; ++step) {
            BOOST_REQUIRE(queue.earliest() == (oracle.empty() ? arch::no_deadline : oracle.begin()->first));
            if (oracle.empty() || pick(random, 0, 99) < (step < 5000 ? 60 : 40)) {
                if (unused.empty()) {
                    nodes.push_back(std::make_unique<timer>());
                    unused.push_back(nodes.back().get());
                }
                timer* const node = unused.back();
                unused.pop_back();
                node->deadline = pick<arch::ticks>(random, 0, range);
                queue.insert(*node);
                oracle.emplace(node->deadline, node);
            } else {
                const arch::ticks now = pick<arch::ticks>(random, 0, range);
                timer* const due = queue.pop_due(now);
                if (oracle.begin()->first > now) {
                    BOOST_REQUIRE(due == nullptr);
                } else {
                    BOOST_REQUIRE(due != nullptr);
                    BOOST_REQUIRE(due->deadline == oracle.begin()->first);
                    const auto [first, last] = oracle.equal_range(due->deadline);
                    const auto found = std::find_if(first, last, [&](const auto& each) { return each.second == due; });
                    BOOST_REQUIRE(found != last); // once, and no other
                    oracle.erase(found);
                    unused.push_back(due);
                }
            }
        }
        while (timer* const due = queue.pop_due(arch::no_deadline)) {
            BOOST_REQUIRE(!oracle.empty());
            BOOST_REQUIRE(due->deadline == oracle.begin()->first);
            oracle.erase(oracle.begin());
        }
        BOOST_REQUIRE(oracle.empty());
    }
}

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
    std::sort(log.begin(), log.end()); // nothing is promised of the order of equal deadlines
    BOOST_TEST(log == (std::vector{1, 2}), boost::test_tools::per_element());
    h.runtime.idle();
    BOOST_TEST(h.simulated.time() == 101u); // not a tick longer
    BOOST_TEST(!h.runtime.tick());
    BOOST_TEST(log.size() == 3u);
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
                    bool arm() noexcept override { return pending; }
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

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(tasks)

// Counts how many of it live, through copies and moves.
class counted {
  public:
    explicit counted(int& live) noexcept : live_{&live} { ++*live_; }
    counted(const counted& other) noexcept : live_{other.live_} { ++*live_; }
    counted(counted&& other) noexcept : live_{other.live_} { ++*live_; }
    counted& operator=(const counted&) = delete;
    ~counted() { --*live_; }

  private:
    int* live_;
};

static_assert(!std::is_copy_constructible_v<task<int>> && !std::is_copy_assignable_v<task<int>>);
static_assert(std::is_nothrow_move_constructible_v<task<int>> && std::is_nothrow_move_assignable_v<task<int>>);
static_assert(!std::is_copy_constructible_v<yield> && !std::is_move_constructible_v<yield>);

BOOST_AUTO_TEST_CASE(a_task_is_lazy) {
    hart h;
    int live = 0;
    bool ran = false;
    const auto work = [](counted, bool& flag) -> task<void> {
        flag = true;
        co_return;
    };
    {
        const task<void> never = work(counted{live}, ran);
        BOOST_TEST(never.has_frame());
        BOOST_TEST(h.live() == 1u);
        BOOST_TEST(live == 1); // the frame's copy of the parameter
        h.run_ready();
        BOOST_TEST(!ran);
    }
    BOOST_TEST(h.live() == 0u); // a task that never ran may be dropped
    BOOST_TEST(live == 0);
    sync_wait(work(counted{live}, ran));
    BOOST_TEST(ran);
    BOOST_TEST(live == 0);
    BOOST_TEST(h.live() == 0u);
}

BOOST_AUTO_TEST_CASE(results_are_moved_out) {
    hart h;
    const auto make = [](int value) -> task<std::unique_ptr<int>> {
        co_return std::make_unique<int>(value);
    };
    const auto twice = [&make](int value) -> task<std::unique_ptr<int>> {
        auto first = co_await make(value);
        auto second = co_await make(*first);
        co_return second;
    };
    BOOST_TEST(*sync_wait(twice(17)) == 17);

    struct without_default {
        explicit without_default(int& count) : live{count} {}
        counted live;
    };
    int live = 0;
    const auto wrap = [](int& count) -> task<without_default> {
        co_return without_default{count};
    };
    {
        const without_default kept = sync_wait(wrap(live));
        BOOST_TEST(live == 1);
    }
    BOOST_TEST(live == 0);
}

BOOST_AUTO_TEST_CASE(a_task_has_one_owner) {
    hart h;
    task<int> empty;
    BOOST_TEST(!empty.has_frame());
    task<int> one = value_of(1);
    task<int> two = std::move(one);
    BOOST_TEST(!one.has_frame()); // NOLINT: moved from, and that is the point
    BOOST_TEST(two.has_frame());
    BOOST_TEST(h.live() == 1u);
    {
        task<int> other = value_of(2);
        BOOST_TEST(h.live() == 2u);
        two = std::move(other);
    }
    BOOST_TEST(h.live() == 1u); // the frame of `one` went with `other`
    BOOST_TEST(sync_wait(std::move(two)) == 2);
    BOOST_TEST(h.live() == 0u);
}

BOOST_AUTO_TEST_CASE(a_hundred_thousand_awaits_that_end_at_once_need_constant_stack) {
    hart h;
    stack_gauge gauge;
    const auto leaf = [](stack_gauge& stack, int value) -> task<int> {
        stack.note();
        co_return value;
    };
    const auto loop = [&leaf](stack_gauge& stack) -> task<std::int64_t> {
        std::int64_t sum = 0;
        for (int i = 0; i < 100'000; ++i) {
            stack.note();
            sum += co_await leaf(stack, i);
        }
        co_return sum;
    };
    BOOST_TEST(sync_wait(loop(gauge)) == std::int64_t{100'000} * 99'999 / 2);
    BOOST_TEST(gauge.spread() < constant_stack);
    BOOST_TEST(h.live() == 0u);
    BOOST_TEST(h.runtime.count().resumptions == 1u); // the rest are transfers
}

[[gnu::noinline]] task<int> deep(stack_gauge& stack, int depth) {
    stack.note();
    if (depth == 0) {
        co_await yield{}; // so that the way back is walked from the executor
        stack.note();
        co_return 0;
    }
    const int below = co_await deep(stack, depth - 1);
    stack.note();
    co_return below + 1;
}

BOOST_AUTO_TEST_CASE(nesting_costs_frames_and_no_stack) {
    hart h{std::size_t{32} << 20};
    stack_gauge gauge;
    BOOST_TEST(sync_wait(deep(gauge, 20'000)) == 20'000);
    BOOST_TEST(gauge.spread() < constant_stack);
    BOOST_TEST(h.live() == 0u);
    BOOST_TEST(h.runtime.frames().count().allocations == 20'001u);
}

// What a run with too little memory saw.
struct shortage {
    int refused = 0;  // tasks without a frame
    int finished = 0; // workers that got to their end
    int live = 0;     // objects in frames
};

[[gnu::noinline]] task<void> child_with_baggage(shortage&, counted) {
    co_await yield{};
}

[[gnu::noinline]] task<void> worker_with_child(shortage& seen, counted baggage) {
    for (int i = 0; i < 3; ++i) {
        task<void> child = child_with_baggage(seen, baggage);
        if (child.has_frame()) {
            co_await std::move(child);
        } else {
            ++seen.refused;
        }
        co_await yield{};
    }
    ++seen.finished;
}

// The slab is made one granule larger each time, so that every allocation of the scenario is the first to fail once.
BOOST_AUTO_TEST_CASE(every_allocation_may_fail) {
    constexpr int workers = 6;
    int best = 0;
    std::uint64_t least_failures = ~std::uint64_t{0};
    for (std::size_t granules = 0; granules < 120; ++granules) {
        hart h{granules * frame_slab::granule};
        shortage seen;
        int spawned = 0;
        {
            counting_scope scope;
            for (int i = 0; i < workers; ++i) {
                const std::uint64_t failures = h.runtime.frames().count().failures;
                task<void> worker = worker_with_child(seen, counted{seen.live});
                const bool has_frame = worker.has_frame();
                BOOST_REQUIRE(has_frame == (h.runtime.frames().count().failures == failures));
                BOOST_REQUIRE(scope.spawn(std::move(worker)) == has_frame);
                BOOST_REQUIRE(!worker.has_frame()); // NOLINT: taken, or empty before
                spawned += has_frame;
                seen.refused += !has_frame;
                BOOST_REQUIRE(scope.size() == static_cast<std::size_t>(spawned));
            }
            h.run_ready();
            BOOST_REQUIRE(scope.size() == 0);
        }
        BOOST_REQUIRE(seen.finished == spawned);
        BOOST_REQUIRE(seen.live == 0);
        BOOST_REQUIRE(h.live() == 0);
        BOOST_REQUIRE(h.runtime.frames().count().live_bytes == 0);
        BOOST_REQUIRE(h.runtime.frames().count().failures == static_cast<std::uint64_t>(seen.refused));
        BOOST_REQUIRE(spawned >= best); // more memory is never worse
        best = spawned;
        least_failures = std::min(least_failures, h.runtime.frames().count().failures);
        if (granules == 0) {
            BOOST_TEST(spawned == 0);
            BOOST_TEST(seen.refused == workers);
        }
    }
    BOOST_TEST(best == workers);
    BOOST_TEST(least_failures == 0u); // the last ones have enough
}

BOOST_AUTO_TEST_CASE(a_steady_loop_takes_no_new_memory) {
    hart h;
    std::vector<std::size_t> most;
    const auto loop = [](hart& at, std::vector<std::size_t>& seen) -> task<void> {
        for (int i = 0; i < 1000; ++i) {
            const int value = co_await value_later(i, 1);
            if (value != i) {
                std::abort();
            }
            if (i % 100 == 99) {
                seen.push_back(at.runtime.frames().count().cut_bytes);
            }
        }
    };
    sync_wait(loop(h, most));
    BOOST_REQUIRE(most.size() == 10u);
    BOOST_TEST(most.front() == most.back());
    BOOST_TEST(h.live() == 0u);
}

BOOST_AUTO_TEST_CASE(misuse_panics) {
    // Frames of either hart, so that the other's slab is neither empty nor without a block of that size.
    for (const arch::hart_index home : {0u, 1u}) {
        expect_panic("a task ended on another hart than it began on: co_await schedule_on{home} first", [home] {
            hart h{1 << 16, {.harts = 2}};
            std::vector<std::byte> memory(1 << 16);
            h.simulated.select_hart(1);
            executor second{memory};
            const auto leave = [](arch::hart_index to) -> task<void> {
                co_await schedule_on{to};
            };
            counting_scope scope;
            for (const arch::hart_index hart : {1 - home, home}) {
                h.simulated.select_hart(hart);
                static_cast<void>(scope.spawn(leave(1 - home)));
            }
            while (executor::current().tick()) {
            }
            h.simulated.select_hart(1 - home);
            while (executor::current().tick()) {
            }
        });
    }
    expect_panic("a task was destroyed before it ended", [] {
        hart h;
        event never;
        std::vector<int> log;
        task<void> work = wait_for(never, log, 0);
        work.start().resume();
        { const task<void> dropped = std::move(work); }
    });
    expect_panic("a task without a frame was awaited", [] {
        hart h;
        const auto wait_for_nothing = []() -> task<void> {
            co_await task<void>{};
        };
        sync_wait(wait_for_nothing());
    });
    expect_panic("sync_wait was given a task without a frame", [] {
        hart h;
        sync_wait(task<void>{});
    });
    expect_panic("sync_wait was given a task without a frame", [] {
        hart h{0};
        sync_wait(nothing());
    });
    expect_panic("a task without a frame was awaited", [] {
        hart h;
        const auto too_many = []() -> task<void> {
            static_cast<void>(co_await when_all(value_of(1), value_of(2), value_of(3)));
        };
        task<void> work = too_many();
        while (executor::current().frames().allocate(64) != nullptr) {
        }
        sync_wait(std::move(work));
    });
    expect_panic("a scope ends while its tasks run", [] {
        hart h;
        counting_scope scope;
        static_cast<void>(scope.spawn(nothing()));
    });
    expect_panic("a semaphore ends while coroutines wait for it", [] {
        hart h;
        counting_scope scope;
        semaphore none{0};
        const auto take = [](semaphore& from) -> task<void> {
            co_await from.acquire();
        };
        static_cast<void>(scope.spawn(take(none)));
        h.runtime.tick();
    });
    expect_panic("an event ends while coroutines wait for it", [] {
        hart h;
        counting_scope scope;
        std::vector<int> log;
        event never;
        static_cast<void>(scope.spawn(wait_for(never, log, 0)));
        h.runtime.tick();
    });
    expect_panic("an executor ends while coroutines live", [] {
        hart h;
        auto* const leaked = new task<void>{nothing()};
        static_cast<void>(leaked);
        h.runtime.~executor();
    });
    expect_panic("an exception left a coroutine", [] {
        hart h;
        const auto thrower = []() -> task<void> {
            throw 1;
            co_return;
        };
        sync_wait(thrower());
    });
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(scopes)

BOOST_AUTO_TEST_CASE(several_join_and_all_go_on) {
    hart h;
    std::vector<int> log;
    event finish;
    counting_scope work;
    counting_scope joiners;
    const auto join = [](counting_scope& scope, std::vector<int>& into, int id) -> task<void> {
        co_await scope.join();
        into.push_back(id);
    };
    for (int id = 10; id < 13; ++id) {
        BOOST_REQUIRE(work.spawn(wait_for(finish, log, id)));
    }
    for (int id = 0; id < 3; ++id) {
        BOOST_REQUIRE(joiners.spawn(join(work, log, id)));
    }
    h.run_ready();
    BOOST_TEST(work.size() == 3u);
    BOOST_TEST(log.empty());
    finish.set();
    h.run_ready();
    BOOST_TEST(log == (std::vector{10, 11, 12, 0, 1, 2}), boost::test_tools::per_element());
    BOOST_TEST(work.size() == 0u);
    BOOST_TEST(joiners.size() == 0u);
}

BOOST_AUTO_TEST_CASE(joining_an_empty_scope_does_not_suspend) {
    hart h;
    const auto work = []() -> task<void> {
        counting_scope empty;
        co_await empty.join();
        co_await empty.join();
    };
    sync_wait(work());
    BOOST_TEST(h.runtime.count().resumptions == 1u);
}

BOOST_AUTO_TEST_CASE(tasks_may_spawn_into_the_scope_that_owns_them) {
    hart h;
    int ran = 0;
    struct tree {
        static task<void> grow(counting_scope& scope, int& count, int depth) {
            ++count;
            if (depth != 0) {
                for (int i = 0; i < 2; ++i) {
                    if (!scope.spawn(grow(scope, count, depth - 1))) {
                        std::abort();
                    }
                }
            }
            co_return;
        }
    };
    const auto root = [](int& count) -> task<void> {
        counting_scope scope;
        if (!scope.spawn(tree::grow(scope, count, 9))) {
            std::abort();
        }
        co_await scope.join();
        if (scope.size() != 0) {
            std::abort();
        }
    };
    sync_wait(root(ran));
    BOOST_TEST(ran == 1023);
    BOOST_TEST(h.live() == 0u);
}

// Whoever sees the count at zero may free everything that a task used: so when it goes down the frame, with all that it
// owned, is gone already.
BOOST_AUTO_TEST_CASE(the_frame_is_destroyed_before_the_count_goes_down) {
    hart h;
    class witness {
      public:
        witness(counting_scope& scope, std::vector<std::size_t>& into) noexcept : scope_{&scope}, into_{&into} {}
        witness(witness&& other) noexcept : scope_{std::exchange(other.scope_, nullptr)}, into_{other.into_} {}
        ~witness() {
            if (scope_ != nullptr) {
                into_->push_back(scope_->size());
            }
        }

      private:
        counting_scope* scope_;
        std::vector<std::size_t>* into_;
    };
    std::vector<std::size_t> sizes;
    counting_scope scope;
    const auto work = [](witness, counting_scope& of, std::vector<std::size_t>& into) -> task<void> {
        const witness local{of, into};
        co_await yield{};
    };
    BOOST_REQUIRE(scope.spawn(work(witness{scope, sizes}, scope, sizes)));
    BOOST_TEST(h.live() == 1u);
    h.run_ready();
    BOOST_TEST(sizes == (std::vector<std::size_t>{1, 1}), boost::test_tools::per_element()); // local, then parameter
    BOOST_TEST(scope.size() == 0u);
    BOOST_TEST(h.live() == 0u);
}

BOOST_AUTO_TEST_CASE(a_scope_can_be_used_again) {
    hart h;
    const auto rounds = []() -> task<int> {
        counting_scope scope;
        int runs = 0;
        const auto count = [](int& into) -> task<void> {
            co_await yield{};
            ++into;
        };
        for (int i = 0; i < 10; ++i) {
            for (int k = 0; k < i; ++k) {
                if (!scope.spawn(count(runs))) {
                    std::abort();
                }
            }
            co_await scope.join();
        }
        co_return runs;
    };
    BOOST_TEST(sync_wait(rounds()) == 45);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(combinations)

BOOST_AUTO_TEST_CASE(when_all_answers_in_the_order_of_the_arguments) {
    hart h;
    const auto work = []() -> task<bool> {
        auto all = co_await when_all(value_later(1, 5), value_later(2, 0), value_later(3, 2));
        static_assert(std::is_same_v<decltype(all), std::tuple<int, int, int>>);
        co_return all == std::tuple{1, 2, 3};
    };
    BOOST_TEST(sync_wait(work()));
    BOOST_TEST(h.live() == 0u);
}

BOOST_AUTO_TEST_CASE(when_all_takes_any_awaitable) {
    hart h;
    fake_source device{h};
    event set;
    semaphore permits{1};
    int done = 0;
    const auto setter = [](event& what) -> task<void> {
        co_await yield{};
        what.set();
    };
    const auto work = [&setter](fake_source& on, event& what, semaphore& from, int& count) -> task<bool> {
        counting_scope scope;
        auto all = co_await when_all(do_io(on, 300, 2, count), on.io(100), what.wait(), from.acquire(), yield{},
                                     sleep_for(500), setter(what), value_of(8), scope.join());
        static_assert(std::is_same_v<decltype(all),
                                     std::tuple<std::monostate, std::monostate, std::monostate, std::monostate,
                                                std::monostate, std::monostate, std::monostate, int, std::monostate>>);
        from.release();
        co_return std::get<7>(all) == 8;
    };
    BOOST_TEST(sync_wait(work(device, set, permits, done)));
    BOOST_TEST(done == 2);
    BOOST_TEST(permits.available() == 1u);
    BOOST_TEST(h.live() == 0u);
}

BOOST_AUTO_TEST_CASE(when_all_of_nothing_does_not_suspend) {
    hart h;
    const auto work = []() -> task<bool> {
        auto all = co_await when_all();
        static_assert(std::is_same_v<decltype(all), std::tuple<>>);
        co_return true;
    };
    BOOST_TEST(sync_wait(work()));
    BOOST_TEST(h.runtime.count().resumptions == 1u);
}

// The result is a tuple of the results, also if there is one and it is a tuple or a pair itself.
BOOST_AUTO_TEST_CASE(when_all_of_one_keeps_the_type_of_its_result) {
    hart h;
    const auto pair = []() -> task<std::pair<int, char>> {
        co_return std::pair{1, 'x'};
    };
    const auto tuple = []() -> task<std::tuple<int>> {
        co_return std::tuple{7};
    };
    const auto pointer = []() -> task<std::unique_ptr<int>> {
        co_return std::make_unique<int>(3);
    };
    const auto work = [&]() -> task<int> {
        auto one = co_await when_all(pair());
        static_assert(std::is_same_v<decltype(one), std::tuple<std::pair<int, char>>>);
        auto two = co_await when_all(tuple());
        static_assert(std::is_same_v<decltype(two), std::tuple<std::tuple<int>>>);
        auto three = co_await when_all(pointer());
        co_return std::get<0>(one).first + std::get<0>(std::get<0>(two)) + *std::get<0>(three);
    };
    BOOST_TEST(sync_wait(work()) == 11);
}

BOOST_AUTO_TEST_CASE(when_all_of_named_tasks_and_nested) {
    hart h;
    const auto work = []() -> task<int> {
        task<int> one = value_later(1, 3);
        task<int> two = value_later(2, 1);
        const auto inner = []() -> task<int> {
            auto both = co_await when_all(value_later(10, 2), value_later(20, 4));
            co_return std::get<0>(both) + std::get<1>(both);
        };
        auto all = co_await when_all(std::move(one), std::move(two), inner());
        co_return std::get<0>(all) + std::get<1>(all) + std::get<2>(all);
    };
    BOOST_TEST(sync_wait(work()) == 33);
    BOOST_TEST(h.live() == 0u);
}

template <std::size_t... index>
task<std::size_t> many(std::index_sequence<index...>) {
    auto all = co_await when_all(value_later(int{index}, static_cast<int>(sizeof...(index) - index))...);
    co_return ((std::get<index>(all) == int{index} ? 1u : 0u) + ...);
}

BOOST_AUTO_TEST_CASE(when_all_of_many) {
    hart h;
    BOOST_TEST(sync_wait(many(std::make_index_sequence<64>{})) == 64u);
    BOOST_TEST(h.live() == 0u);
}

// when_all never starts what was never awaited.
BOOST_AUTO_TEST_CASE(when_all_is_lazy) {
    hart h;
    int ran = 0;
    const auto count = [](int& into) -> task<void> {
        ++into;
        co_return;
    };
    {
        [[maybe_unused]] const auto both = when_all(count(ran), count(ran));
        h.run_ready();
    }
    BOOST_TEST(ran == 0);
    BOOST_TEST(h.live() == 0u);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(waiting)

BOOST_AUTO_TEST_CASE(a_semaphore_hands_its_permits_on_in_turn) {
    hart h;
    semaphore permits{1};
    std::vector<int> log;
    counting_scope scope;
    const auto take = [](semaphore& from, std::vector<int>& into, int id) -> task<void> {
        co_await from.acquire();
        into.push_back(id);
    };
    for (int id = 0; id < 4; ++id) {
        BOOST_REQUIRE(scope.spawn(take(permits, log, id)));
    }
    h.run_ready();
    BOOST_TEST(log == (std::vector{0}), boost::test_tools::per_element());
    BOOST_TEST(permits.available() == 0u);
    permits.release();
    // The permit is on its way to 1, though 1 has not run: nobody else can have it.
    BOOST_TEST(permits.available() == 0u);
    BOOST_TEST(!permits.try_acquire());
    BOOST_REQUIRE(scope.spawn(take(permits, log, 9)));
    h.run_ready();
    BOOST_TEST(log == (std::vector{0, 1}), boost::test_tools::per_element());
    for (int i = 0; i < 3; ++i) {
        permits.release();
    }
    h.run_ready();
    BOOST_TEST(log == (std::vector{0, 1, 2, 3, 9}), boost::test_tools::per_element());
    BOOST_TEST(permits.available() == 0u);
    permits.release();
    BOOST_TEST(permits.available() == 1u);
    BOOST_TEST(permits.try_acquire());
    BOOST_TEST(!permits.try_acquire());
}

// The reference: permits, and who waits. It says who gets which permit, in which order.
struct semaphore_model {
    std::size_t permits;
    std::deque<int> line;
    std::vector<int> granted;
    std::size_t held = 0;

    void acquire(int id) {
        if (permits != 0) {
            --permits;
            grant(id);
        } else {
            line.push_back(id);
        }
    }
    bool try_acquire(int id) {
        const bool can = permits != 0;
        if (can) {
            acquire(id);
        }
        return can;
    }
    void release() {
        --held;
        if (line.empty()) {
            ++permits;
        } else {
            grant(line.front());
            line.pop_front();
        }
    }
    void grant(int id) {
        granted.push_back(id);
        ++held;
    }
};

BOOST_AUTO_TEST_CASE(a_semaphore_behaves_like_its_model) {
    auto random = chance(4);
    for (int run = 0; run < 30; ++run) {
        hart h;
        const auto permits = pick<std::size_t>(random, 0, 5);
        struct shared {
            semaphore& real;
            semaphore_model& model;
            std::mt19937_64& chances;
            std::size_t total;
            int differences = 0;
            int holders = 0;
            bool done = false;
        };
        semaphore real{permits};
        semaphore_model model{permits, {}, {}};
        model.granted.reserve(4096);
        std::vector<int> granted;
        shared all{real, model, random, permits};
        const auto check = [](shared& with) {
            with.differences += with.real.available() != with.model.permits;
            with.differences += with.real.available() + with.model.held != with.total;
        };
        const auto worker = [&check](shared& with, std::vector<int>& into, int id) -> task<void> {
            for (int i = 0; i < 30; ++i) {
                bool have = false;
                if (pick(with.chances, 0, 2) == 0) {
                    have = with.real.try_acquire();
                    with.differences += have != with.model.try_acquire(id);
                } else {
                    with.model.acquire(id);
                    co_await with.real.acquire();
                    have = true;
                }
                if (have) {
                    into.push_back(id);
                    ++with.holders;
                    with.differences += static_cast<std::size_t>(with.holders) > with.total;
                    check(with);
                    for (int k = pick(with.chances, 0, 3); k != 0; --k) {
                        co_await yield{};
                    }
                    --with.holders;
                    with.model.release();
                    with.real.release();
                    check(with);
                }
                if (pick(with.chances, 0, 1) == 0) {
                    co_await yield{};
                }
            }
        };
        if (permits == 0) { // one more, so that they end
            ++all.total;
            ++model.permits;
            real.release();
        }
        counting_scope scope;
        for (int id = 0; id < 12; ++id) {
            BOOST_REQUIRE(scope.spawn(worker(all, granted, id)));
        }
        h.run_ready();
        BOOST_REQUIRE(scope.size() == 0);
        BOOST_REQUIRE(all.differences == 0);
        BOOST_REQUIRE(real.available() == all.total);
        // Who gets a free permit runs at once, who waits runs when his turn comes; so the multisets agree, and for those
        // who had to wait so does the order.
        std::vector<int> expected = model.granted;
        std::sort(expected.begin(), expected.end());
        std::sort(granted.begin(), granted.end());
        BOOST_REQUIRE(granted == expected);
    }
}

// With acquire() alone and everybody in line, the order is the model's exactly.
BOOST_AUTO_TEST_CASE(the_order_of_those_in_line_is_exact) {
    auto random = chance(5);
    hart h;
    semaphore real{0};
    std::vector<int> order;
    std::vector<int> granted;
    counting_scope scope;
    const auto worker = [](semaphore& from, std::vector<int>& came, std::vector<int>& got, std::mt19937_64& chances,
                           int id) -> task<void> {
        for (int i = 0; i < 50; ++i) {
            for (int k = pick(chances, 0, 4); k != 0; --k) {
                co_await yield{};
            }
            came.push_back(id);
            co_await from.acquire();
            got.push_back(id);
        }
    };
    for (int id = 0; id < 20; ++id) {
        BOOST_REQUIRE(scope.spawn(worker(real, order, granted, random, id)));
    }
    while (scope.size() != 0) {
        h.runtime.tick();
        if (granted.size() < order.size()) {
            real.release(); // there is somebody in line, or on the way
        }
        BOOST_REQUIRE(granted.size() <= order.size());
    }
    BOOST_REQUIRE(granted.size() == 1000);
    BOOST_TEST(granted == order, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(an_event_wakes_all_and_stays_set) {
    hart h;
    event what;
    std::vector<int> log;
    counting_scope scope;
    for (int id = 0; id < 300; ++id) { // more than one round's budget
        BOOST_REQUIRE(scope.spawn(wait_for(what, log, id)));
    }
    h.run_ready();
    BOOST_TEST(log.empty());
    BOOST_TEST(!what.is_set());
    what.set();
    BOOST_TEST(what.is_set());
    what.set();              // twice is once
    BOOST_TEST(log.empty()); // they run in their turn, not inside set()
    h.run_ready();
    BOOST_REQUIRE(log.size() == 300);
    BOOST_TEST(std::is_sorted(log.begin(), log.end()));

    BOOST_REQUIRE(scope.spawn(wait_for(what, log, 300)));
    h.runtime.tick();
    BOOST_TEST(log.back() == 300); // at once
    what.reset();
    BOOST_TEST(!what.is_set());
    BOOST_REQUIRE(scope.spawn(wait_for(what, log, 301)));
    h.run_ready();
    BOOST_TEST(log.back() == 300);
    what.set();
    what.reset(); // those who waited have been let go all the same
    h.run_ready();
    BOOST_TEST(log.back() == 301);
    BOOST_TEST(scope.size() == 0u);
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

BOOST_AUTO_TEST_CASE(sync_wait_runs_everything_else_too) {
    hart h;
    std::vector<int> log;
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(log_steps(log, 4, 3)));
    BOOST_TEST(sync_wait(value_later(6, 2)) == 6);
    BOOST_TEST(log.size() == 3u); // as far as three rounds go
    h.run_ready();
    BOOST_TEST(scope.size() == 0u);
    sync_wait(nothing());
    BOOST_TEST(h.live() == 0u);
    BOOST_TEST(h.waits == 0u); // nothing ever slept
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(slab)

BOOST_AUTO_TEST_CASE(frames_are_aligned_apart_counted_and_reused) {
    auto random = chance(6);
    for (int run = 0; run < 20; ++run) {
        const auto region_bytes = pick<std::size_t>(random, 0, 60'000);
        const auto misalignment = pick<std::size_t>(random, 0, 127);
        std::vector<std::byte> region(region_bytes + misalignment);
        const std::span<std::byte> memory{region.data() + misalignment, region_bytes};
        frame_slab real{memory};

        struct block {
            std::byte* start;
            std::size_t bytes;
            std::byte fill;
        };
        // The model: each class may reuse what it has freed; the rest comes from the region once.
        const auto start = reinterpret_cast<std::uintptr_t>(memory.data());
        const std::size_t skip = (64 - start % 64) % 64;
        std::size_t unused =
            region_bytes > skip ? (region_bytes - skip) / 65 * 64 : 0; // a byte of 65 is the slab's own
        std::map<std::size_t, std::vector<std::byte*>> free_of;
        std::map<std::byte*, block> live;
        frame_slab::counters expected{};
        const auto rounded = [](std::size_t bytes) {
            return (bytes + 63) / 64 * 64;
        };

        for (int step = 0; step < 4000; ++step) {
            if (live.empty() || pick(random, 0, 99) < 55) {
                std::size_t bytes = pick<std::size_t>(random, 1, 500);
                switch (pick(random, 0, 19)) {
                case 0: bytes = pick<std::size_t>(random, 1, 2) * 64; break;
                case 1: bytes = 4096; break;
                case 2: bytes = pick<std::size_t>(random, 4097, 10'000); break;
                case 3: bytes = ~std::size_t{0} - pick<std::size_t>(random, 0, 100); break;
                default: break;
                }
                const bool too_large = bytes > frame_slab::largest_frame;
                const std::size_t size = too_large ? 0 : rounded(bytes);
                const bool reuse = !too_large && !free_of[size].empty();
                const bool fits = !too_large && (reuse || size <= unused);
                auto* const got = static_cast<std::byte*>(real.allocate(bytes));
                BOOST_REQUIRE((got != nullptr) == fits);
                if (got == nullptr) {
                    ++expected.failures;
                } else {
                    BOOST_REQUIRE(reinterpret_cast<std::uintptr_t>(got) % 64 == 0);
                    BOOST_REQUIRE(got >= memory.data());
                    BOOST_REQUIRE(got + size <= memory.data() + memory.size());
                    const auto after = live.lower_bound(got);
                    BOOST_REQUIRE(after == live.end() || got + size <= after->first);
                    if (after != live.begin()) {
                        const block& before = std::prev(after)->second;
                        BOOST_REQUIRE(before.start + rounded(before.bytes) <= got);
                    }
                    if (reuse) {
                        auto& candidates = free_of[size];
                        const auto found = std::find(candidates.begin(), candidates.end(), got);
                        BOOST_REQUIRE(found != candidates.end());
                        candidates.erase(found);
                    } else {
                        unused -= size;
                        expected.cut_bytes += size;
                    }
                    const block taken{got, bytes, static_cast<std::byte>(pick(random, 0, 255))};
                    std::fill_n(got, bytes, taken.fill);
                    live.emplace(got, taken);
                    ++expected.allocations;
                    ++expected.live;
                    expected.live_bytes += size;
                }
            } else {
                const auto victim = std::next(
                    live.begin(), pick<std::ptrdiff_t>(random, 0, static_cast<std::ptrdiff_t>(live.size()) - 1));
                const block freed = victim->second;
                live.erase(victim);
                BOOST_REQUIRE(std::all_of(freed.start, freed.start + freed.bytes,
                                          [&](std::byte each) { return each == freed.fill; }));
                real.deallocate(freed.start, freed.bytes);
                free_of[rounded(freed.bytes)].push_back(freed.start);
                --expected.live;
                expected.live_bytes -= rounded(freed.bytes);
            }
            const frame_slab::counters counters = real.count();
            BOOST_REQUIRE(counters.allocations == expected.allocations);
            BOOST_REQUIRE(counters.failures == expected.failures);
            BOOST_REQUIRE(counters.live == expected.live);
            BOOST_REQUIRE(counters.live_bytes == expected.live_bytes);
            BOOST_REQUIRE(counters.cut_bytes == expected.cut_bytes);
        }
    }
}

BOOST_AUTO_TEST_CASE(edges) {
    frame_slab none{{}};
    BOOST_TEST(none.allocate(1) == nullptr);
    alignas(64) std::byte memory[2 * 4096 + 128];
    frame_slab slab{memory};
    BOOST_TEST(slab.allocate(0) == nullptr);
    BOOST_TEST(slab.allocate(frame_slab::largest_frame + 1) == nullptr);
    void* const largest = slab.allocate(frame_slab::largest_frame);
    BOOST_TEST(largest == static_cast<void*>(memory));
    void* const other = slab.allocate(frame_slab::largest_frame);
    BOOST_TEST(other != nullptr);
    BOOST_TEST(slab.allocate(1) == nullptr);
    slab.deallocate(other, frame_slab::largest_frame);
    BOOST_TEST(slab.allocate(64) == nullptr); // classes do not lend to each other
    BOOST_TEST(slab.allocate(frame_slab::largest_frame - 63) == other);
    BOOST_TEST(slab.count().failures == 4u);

    // Too small to hold anything once aligned.
    frame_slab tiny{std::span{memory + 1, 127}};
    BOOST_TEST(tiny.allocate(1) == nullptr);
    frame_slab exact{std::span{memory + 1, 128}};
    BOOST_TEST(exact.allocate(64) == static_cast<void*>(memory + 64));
    BOOST_TEST(exact.allocate(1) == nullptr);
}

BOOST_AUTO_TEST_SUITE_END()
