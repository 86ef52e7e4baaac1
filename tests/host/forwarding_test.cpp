// Requests of a hart without a queue, which go through another hart: how they end, stop, and wait, and that they can be awaited
// again.
#include "async/scheduler.hpp"
#include "tests/host/neighbour.hpp"

#include <optional>

namespace {

using namespace inflight;
using namespace inflight::test;

} // namespace

BOOST_AUTO_TEST_SUITE(forwarding_tests)

BOOST_AUTO_TEST_CASE(one_in_line_there_is_stopped_and_the_others_keep_their_order) {
    for (const std::size_t which : {0U, 2U, 4U}) {
        world w{setup_of_two_harts()};
        neighbour other{w};
        readers all{w};
        other.hold(all, slots(w) + 5);
        BOOST_TEST(w.model().in_flight() == slots(w));
        BOOST_TEST(w.disk().count().waited == 5U);
        BOOST_TEST(w.disk().count().forwarded == slots(w) + 5);

        reader& stopped = *all.all[slots(w) + which];
        stopped.source.request_stop();
        BOOST_TEST(stopped.ends == 0U);
        other.rounds(4);
        all.check_cancelled(stopped);
        BOOST_TEST(w.model().in_flight() == slots(w)); // and nothing else has happened

        reader& with_the_device = *all.all.front(); // it is awaited
        with_the_device.source.request_stop();
        other.rounds();
        BOOST_TEST(with_the_device.ends == 0U);

        other.release();
        for (const auto& each : all.all)
            if (each.get() != &stopped)
                all.check_ok(*each);
        BOOST_TEST(std::is_sorted(all.taken.begin(), all.taken.end()));
    }
}

// A deadline of one request's own goes with it: to what the device has, and to what is in line there.
BOOST_AUTO_TEST_CASE(a_limit_of_its_own_holds_there) {
    world w{setup_of_two_harts()};
    neighbour other{w};
    readers all{w};
    other.hold(all, slots(w) - 1);
    std::array<std::optional<status>, 2> outcomes;
    auto memory = w.buffer(2 * 512);
    auto hurried = [&](unsigned i) -> task<void> {
        outcomes[i] = co_await w.disk().read(i, memory.subspan(i * std::size_t{512}, 512), {.timeout = limit});
    };
    other.spawn(hurried(0)); // with the device
    other.spawn(hurried(1)); // in line
    other.rounds();
    BOOST_TEST(w.model().in_flight() == slots(w));
    BOOST_TEST(w.disk().count().waited == 1U);
    BOOST_TEST(!outcomes[0].has_value());
    BOOST_TEST(!outcomes[1].has_value());
    other.rounds(limit / 200); // each takes 200 ticks
    BOOST_TEST((outcomes[0] == status::timed_out));
    BOOST_TEST((outcomes[1] == status::timed_out));
    BOOST_TEST(w.disk().count().resets == 1U);
    other.release();
    for (const auto& each : all.all)
        all.check_ok(*each);
}

// The clock has stepped back, and the harts noticed at different times: their executors' clocks differ from then on.
BOOST_AUTO_TEST_CASE(a_limit_of_its_own_is_as_long_there_after_a_step_of_the_clock) {
    for (const arch::hart_index awake : {0U, 1U})
        BOOST_TEST_CONTEXT("hart " << awake << " was awake before the step") {
            world w{setup_of_two_harts()};
            neighbour other{w};
            readers all{w};
            other.on(awake, 3 * limit / 100); // each round takes 100 ticks
            w.host.step_clock(-6 * static_cast<std::int64_t>(limit));
            other.rounds();
            other.hold(all, slots(w) - 1);
            std::optional<status> outcome;
            auto memory = w.buffer(512);
            auto hurried = [&]() -> task<void> {
                outcome = co_await w.disk().read(0, memory, {.timeout = limit});
            };
            other.spawn(hurried());
            other.rounds(limit / 200 - 20); // each takes 200 ticks
            BOOST_TEST(!outcome.has_value());
            other.rounds(40);
            BOOST_TEST((outcome == status::timed_out));
            other.release();
        }
}

BOOST_AUTO_TEST_CASE(what_is_stopped_before_it_is_sent_is_stopped_there) {
    world w{setup_of_two_harts()};
    neighbour other{w};
    readers all{w};
    other.hold(all, slots(w));
    reader& late = all.add(7);
    late.source.request_stop();
    other.spawn(all.read(late));
    other.rounds(4);
    all.check_cancelled(late);
    other.release();
    for (const auto& each : all.all)
        if (each.get() != &late)
            all.check_ok(*each);
}

// While the device is being changed, nothing is asked of it: what comes then waits here, is judged by what the device can do
// afterwards, goes on its way, and can be stopped on both sides of that.
BOOST_AUTO_TEST_CASE(what_comes_while_the_device_changes_waits_for_that) {
    world w{setup_of_two_harts()};
    neighbour other{w};
    readers all{w};
    other.hold(all, slots(w));
    w.model().set_capacity(4000);
    other.on(0, 2);
    other.on(1, 1); // this hart has been told to stop, and the first waits for its answer
    reader& beyond = all.add(4000);
    reader& stopped_here = all.add(2000);
    reader& stopped_there = all.add(2001);
    reader& last = all.add(2002);
    const std::uint64_t waited = w.disk().count().waited;
    for (reader* each : {&beyond, &stopped_here, &stopped_there, &last})
        other.spawn(all.read(*each));
    other.on(1, 2);
    BOOST_TEST(w.disk().count().waited == waited + 4);
    stopped_here.source.request_stop();
    other.on(1, 2);
    all.check_cancelled(stopped_here);
    BOOST_TEST(beyond.ends == 0U);

    other.rounds();
    BOOST_TEST(w.disk().properties().capacity == 4000U);
    BOOST_TEST((beyond.outcome == status::out_of_range));
    BOOST_TEST(w.disk().count().forwarded == slots(w) + 2);
    stopped_there.source.request_stop();
    other.rounds(4);
    all.check_cancelled(stopped_there);
    other.release();
    all.check_ok(last);
}

// The stop meets the request everywhere on its way: it has just been sent, is in line, with the device, done, on its way back,
// and back. Either hart may be the quicker one.
BOOST_AUTO_TEST_CASE(a_stop_that_crosses_the_end_of_its_request_ends_it_once) {
    unsigned cancelled = 0;
    unsigned ok = 0;
    for (unsigned before = 0; before < 8; ++before)
        for (unsigned there = 0; there < 8; ++there)
            for (unsigned here = 0; here < 4; ++here)
                for (const bool full : {false, true}) {
                    world w{setup_of_two_harts()};
                    neighbour other{w};
                    readers all{w};
                    for (std::size_t i = 0; full && i < slots(w); ++i)
                        other.spawn(all.read(all.add(1000 + i)));
                    reader& each = all.add(7);
                    other.spawn(all.read(each));
                    for (unsigned i = 0; i < before; ++i) {
                        other.on(1, 1);
                        other.on(0, i % 2);
                    }
                    other.on(0, there);
                    each.source.request_stop();
                    other.on(1, here);
                    other.on(0, there);
                    other.rounds(200);
                    if (each.outcome == status::cancelled) {
                        all.check_cancelled(each);
                        ++cancelled;
                    } else {
                        all.check_ok(each);
                        ++ok;
                    }
                }
    BOOST_TEST(cancelled > 10U);
    BOOST_TEST(ok > 10U);
}

// A request object that has ended goes the same way again: with its token, its limit, and back to the hart that awaits it.
BOOST_AUTO_TEST_CASE(a_request_can_be_awaited_again) {
    for (const bool with_token : {false, true})
        for (const ticks timeout : {ticks{0}, 10 * limit})
            BOOST_TEST_CONTEXT("token " << with_token << ", timeout " << timeout) {
                world w{setup_of_two_harts()};
                neighbour other{w};
                auto memory = w.buffer(512);
                stop_source source;
                unsigned ended = 0;
                const block::request_options options{.token = with_token ? source.get_token() : stop_token{},
                                                     .timeout = timeout};
                auto work = [&]() -> task<void> {
                    auto flush = w.disk().flush();
                    auto read = w.disk().read(7, memory, options);
                    for (unsigned i = 0; i < 5; ++i) {
                        std::memset(memory.data(), 0x11, memory.size());
                        BOOST_TEST((co_await read) == (timeout != 0 && i != 0 ? status::invalid_argument : status::ok));
                        BOOST_TEST(arch::this_hart() == 1U);
                        BOOST_TEST((timeout != 0 && i != 0 ? untouched(memory) : same(memory, w.on_disk(7, 1))));
                        BOOST_TEST((co_await flush) == status::ok);
                        BOOST_TEST(arch::this_hart() == 1U);
                        ++ended;
                    }
                };
                other.spawn(work());
                other.rounds(200);
                BOOST_TEST(ended == 5U);
                // (One with a limit is cut into pieces, and has used up its buffer, as on any hart.)
                BOOST_TEST(w.disk().count().forwarded == (timeout != 0 ? 6U : 10U));
            }
}

// Its second way ends where a stop finds it: in line there, with its message on the way, or with the device.
BOOST_AUTO_TEST_CASE(one_that_is_awaited_again_can_be_stopped) {
    unsigned cancelled = 0, ok = 0;
    for (unsigned before = 0; before < 6; ++before)
        for (unsigned there = 0; there < 4; ++there)
            for (const bool full : {false, true}) {
                world w{setup_of_two_harts()};
                neighbour other{w};
                readers all{w};
                auto memory = w.buffer(512);
                stop_source source;
                std::optional<status> first, second;
                bool again = false;
                auto work = [&]() -> task<void> {
                    auto read = w.disk().read(7, memory, source.get_token());
                    first = co_await read;
                    while (!again)
                        co_await async::yield();
                    std::memset(memory.data(), 0x11, memory.size());
                    second = co_await read;
                    BOOST_TEST(arch::this_hart() == 1U);
                };
                other.spawn(work());
                other.rounds(60);
                BOOST_TEST((first == status::ok));
                if (full)
                    other.hold(all, slots(w));
                again = true;
                for (unsigned i = 0; i < before; ++i) {
                    other.on(1, 1);
                    other.on(0, i % 2);
                }
                other.on(0, there);
                source.request_stop();
                other.rounds(20);
                if (full)
                    BOOST_TEST((second == status::cancelled));
                other.release();
                BOOST_REQUIRE(second.has_value());
                if (second == status::cancelled) {
                    BOOST_TEST(untouched(memory));
                    ++cancelled;
                } else {
                    BOOST_TEST((second == status::ok));
                    BOOST_TEST(same(memory, w.on_disk(7, 1)));
                    ++ok;
                }
            }
    BOOST_TEST(cancelled > 10U);
    BOOST_TEST(ok > 5U);
}

BOOST_AUTO_TEST_SUITE_END()
