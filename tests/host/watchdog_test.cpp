// A disk with a time limit resets a device that is late, and only for that. The time is the machine's.
#include "async/scheduler.hpp"
#include "async/with_timeout.hpp"
#include "drivers/block/watchdog.hpp"
#include "tests/host/disk_setups.hpp"
#include "tests/host/readers.hpp"
#include "tests/host/requests_of_all_kinds.hpp"

#include <utility>

namespace {

using namespace inflight;
using namespace inflight::test;
using async::sleep_for;
using async::with_timeout;
namespace bits = model::feature;

using guests = requests_of_all_kinds;

void check_time(ticks took) {
    BOOST_TEST(took >= limit);
    BOOST_TEST(took <= limit + limit / 4 + slack);
}

// Lets the hart run until it sleeps with nothing to wait for, for ever. False if it does not.
bool sleeps_for_ever(world& w) {
    w.host.clear_stall();
    const bool asleep = !w.run_until([] { return false; }) && w.host.stalled();
    w.host.clear_stall();
    return asleep;
}

} // namespace

BOOST_AUTO_TEST_SUITE(watchdog_tests)

// The victim is swallowed; of the others some are with the device then, and some in line.
BOOST_AUTO_TEST_CASE(one_that_is_swallowed_times_out_and_all_others_are_done) {
    unsigned cells = 0;
    for_each_variant([&](const variant& of) {
        for (unsigned what = 0; what < kinds; ++what) {
            BOOST_TEST_CONTEXT("victim: " << kind_names[what]) {
                world w{setup_of(of, limit, of.ring == 8 ? 1 + what % 2 : 1)};
                w.start_all();
                guests all{w};
                virtio_blk_model& device = w.model();
                bool hungry = true;
                device.behave.never_complete = [&](const model::request_view&) {
                    return std::exchange(hungry, false);
                };
                const std::uint64_t resets = device.resets();
                device.behave.latency_for = [&](const model::request_view&) {
                    return std::optional<ticks>{device.resets() == resets ? 4 * limit : 50};
                };
                const guests::guest& victim = all.start(kind{what});
                std::size_t in_line = 0;
                auto later = [&]() -> task<void> {
                    co_await sleep_for(limit / 2);
                    BOOST_TEST(!hungry);
                    for (unsigned i = 0; i < kinds; ++i)
                        all.start(kind{i});
                    for (unsigned i = 0; i < w.disk().properties().queues * slots(w) + 20; ++i)
                        all.start(kind{i % 4});
                    co_await sleep_for(100);
                    in_line = w.disk().count().waited;
                };
                w.spawn(later());
                w.finish();
                BOOST_TEST(in_line != 0U);
                BOOST_TEST(victim.ends == 1U);
                BOOST_TEST((victim.outcome == status::timed_out));
                check_time(victim.ended - victim.began);
                for (std::size_t i = 1; i < all.all.size(); ++i)
                    guests::check_ok(*all.all[i]);
                BOOST_TEST(w.disk().count().resets == 1U);
                BOOST_TEST(w.disk().count().lost_interrupts == 0U);
                BOOST_TEST(w.disk().count().protocol_violations == 0U);
                device.behave.never_complete = {};
                device.behave.latency_for = {};
                exercise(w);
                ++cells;
            }
        }
    });
    std::printf("swallowed requests: %u cells\n", cells);
}

// Whenever it comes, and whatever else the device is doing well.
BOOST_AUTO_TEST_CASE(the_time_counts_from_the_submission) {
    for (ticks offset = 0; offset <= limit / 2; offset += limit / 32 + 1)
        for (const poll_mode poll : {poll_mode::off, poll_mode::adaptive}) {
            setup s = setup_of(plain, limit);
            s.poll = poll;
            world w{s};
            w.start_all();
            bool over = false;
            unsigned others = 0;
            w.model().behave.never_complete = [](const model::request_view& view) {
                return view.sector == 77;
            };
            auto busy = [&]() -> task<void> {
                auto memory = w.buffer(512);
                while (!over) {
                    BOOST_TEST(co_await w.disk().read(5, memory) == status::ok);
                    co_await sleep_for(300);
                    ++others;
                }
            };
            auto victim = [&]() -> task<void> {
                auto memory = w.buffer(512);
                co_await sleep_for(offset);
                const ticks began = w.host.time();
                BOOST_TEST(co_await w.disk().read(77, memory) == status::timed_out);
                check_time(w.host.time() - began);
                over = true;
            };
            w.spawn(busy());
            w.spawn(victim());
            w.finish();
            BOOST_TEST(others > 50U);
            BOOST_TEST(w.disk().count().resets == 1U);
        }
}

// A round that takes long: what is submitted late in it has had no time yet when it is looked after.
BOOST_AUTO_TEST_CASE(time_that_the_hart_takes_is_not_the_devices) {
    for (ticks start = 0; start < limit; start += limit / 11)
        for (const ticks span : {limit / 5, limit / 2, 2 * limit}) {
            world w{setup_of(plain, limit)};
            w.start_all();
            ticks taken = 0, ended = 0;
            w.model().behave.never_complete = [&](const model::request_view& view) {
                if (view.sector == 77 && taken == 0)
                    taken = w.host.time();
                return view.sector == 77;
            };
            auto compute = [&](ticks when) -> task<void> {
                co_await sleep_for(when);
                w.host.run_until(w.host.time() + span);
            };
            auto victim = [&]() -> task<void> {
                auto memory = w.buffer(512);
                co_await sleep_for(start + 100);
                BOOST_TEST(co_await w.disk().read(77, memory) == status::timed_out);
                ended = w.host.time();
            };
            auto busy = [&]() -> task<void> { // so that the disk is watched from the beginning
                auto memory = w.buffer(512);
                while (ended == 0) {
                    BOOST_TEST(co_await w.disk().read(5, memory) == status::ok);
                    co_await sleep_for(300);
                }
            };
            w.spawn(busy());
            w.spawn(compute(start));
            w.spawn(compute(start + 50)); // in the next round, as the others, and perhaps a look
            w.spawn(victim());
            w.finish();
            BOOST_TEST(ended - taken >= limit - 10);
            BOOST_TEST(ended - taken <= limit + limit / 4 + slack);
            BOOST_TEST(w.disk().count().resets == 1U);
        }
}

BOOST_AUTO_TEST_CASE(a_device_that_swallows_everything_times_out_every_request) {
    for_each_variant(
        [](const variant& of) {
            world w{setup_of(of, limit, 2)};
            w.start_all();
            guests all{w};
            std::map<std::uint64_t, ticks> taken; // by sector, the first time
            w.model().behave.never_complete = [&](const model::request_view& view) {
                taken.try_emplace(view.sector, w.host.time());
                return true;
            };
            for (unsigned i = 0; i < kinds; ++i)
                all.start(kind{i});
            for (unsigned i = 0; i < 30; ++i)
                all.start(kind::read);
            w.finish();
            for (const auto& each : all.all) {
                BOOST_TEST(each->ends == 1U);
                BOOST_TEST((each->outcome == status::timed_out));
                if (each->what != kind::read)
                    continue;
                BOOST_TEST(each->ended - taken.at(each->sector) >= limit - 10);
                BOOST_TEST(each->ended - taken.at(each->sector) <= limit + limit / 4 + slack);
            }
            BOOST_TEST(w.disk().count().resets > 1U);
            w.model().behave.never_complete = {};
            exercise(w);
        },
        {8, 16});
}

// It goes on with what it has, and must find it as it was.
BOOST_AUTO_TEST_CASE(a_device_that_does_not_even_reset_is_lost) {
    for_each_variant([](const variant& of) {
        constexpr ticks long_limit = 1'000'000;
        setup s = setup_of(of, long_limit);
        s.machine.cost_of_access = 5000; // the driver waits a second of virtual time: not too many accesses
        world w{s};
        w.start_all();
        guests all{w};
        bool hungry = true;
        w.model().behave.never_complete = [&](const model::request_view&) {
            return std::exchange(hungry, false);
        };
        w.model().behave.latency_for = [&](const model::request_view&) {
            return std::optional<ticks>{30 * arch::ticks_per_second()};
        };
        w.model().inject(fault::reset_never);
        for (unsigned i = 0; i < slots(w) + 20; ++i)
            all.start(kind{i % kinds});
        w.finish();
        for (const auto& each : all.all) {
            BOOST_TEST(each->ends == 1U);
            BOOST_TEST((each->outcome == status::device_lost));
        }
        BOOST_TEST(w.disk().lost());
        BOOST_TEST(w.disk().count().resets == 1U);
        const ticks before = w.host.time();
        auto memory = w.buffer(512);
        BOOST_TEST(w.read(0, memory) == status::device_lost);
        BOOST_TEST(w.host.time() - before < 100U);
        BOOST_TEST(sleeps_for_ever(w)); // and no timer looks after it
        w.host.run_until(w.host.time() + 40 * arch::ticks_per_second());
        BOOST_TEST(w.model().total().completed > 0U); // whose chains the model has compared then
    });
}

BOOST_AUTO_TEST_CASE(an_interrupt_that_is_lost_is_found_at_the_next_look) {
    for_each_variant(
        [](const variant& of) {
            world w{setup_of(of, limit)};
            w.start_all();
            guests all{w};
            constexpr kind whole[] = {kind::read, kind::write, kind::flush, kind::discard,
                                      kind::get_id}; // one piece each
            for (std::uint64_t i = 1; i <= 5; ++i) {
                w.model().inject(fault::no_interrupt);
                const guests::guest& each = all.start(whole[i % std::size(whole)]);
                w.finish();
                guests::check_ok(each);
                BOOST_TEST(each.ended - each.began > 50U);
                BOOST_TEST(each.ended - each.began <= limit / 4 + slack);
                BOOST_TEST(w.disk().count().lost_interrupts == i);
                w.settle();
            }
            BOOST_TEST(w.disk().count().resets == 0U);
            BOOST_TEST(w.model().fired(fault::no_interrupt) == 5U);
        },
        {8});
}

// So is a notification that the device has not seen: with EVENT_IDX, or a packed ring, it still asks for it.
BOOST_AUTO_TEST_CASE(a_notification_that_is_lost_is_sent_again_at_the_next_look) {
    for_each_variant(
        [](const variant& of) {
            for (unsigned choice = 0; choice < (of.version == 1 ? 2U : 4U); ++choice) {
                setup s = setup_of(of, limit, (choice & 1) != 0 ? 3 : 1);
                if ((choice & 2) != 0)
                    offer(s.disks[0], bits::ring_packed);
                world w{s};
                w.start_all();
                guests all{w};
                constexpr kind whole[] = {kind::read, kind::write, kind::flush, kind::discard,
                                          kind::get_id};  // one piece each
                for (std::uint64_t i = 1; i <= 20; ++i) { // laps of the ring
                    w.model().inject(fault::notification_lost);
                    const guests::guest& each = all.start(whole[i % std::size(whole)]);
                    w.finish();
                    guests::check_ok(each);
                    BOOST_TEST(each.ended - each.began > limit / 5);
                    BOOST_TEST(each.ended - each.began <= limit / 4 + slack);
                    BOOST_TEST(w.disk().count().repeated_notifications == i);
                    w.settle();
                }
                BOOST_TEST(w.disk().count().resets == 0U);
                BOOST_TEST(w.model().fired(fault::notification_lost) == 20U);
            }
        },
        {8});
}

// Other queues go on, and do not hide it.
BOOST_AUTO_TEST_CASE(a_notification_is_lost_in_one_queue_of_two) {
    world w{setup_of(plain, limit, 2)};
    w.start_all();
    bool over = false;
    auto memory = w.buffer(2 * 512);
    auto busy = [&](std::span<std::byte> part) -> task<void> {
        while (!over) {
            BOOST_TEST(co_await w.disk().read(5, part) == status::ok);
            co_await sleep_for(300);
        }
    };
    auto victim = [&](std::span<std::byte> part) -> task<void> {
        co_await sleep_for(limit / 2);
        w.model().inject(fault::notification_lost);
        const ticks began = w.host.time();
        BOOST_TEST(co_await w.disk().read(77, part) == status::ok);
        BOOST_TEST(w.host.time() - began <= limit / 2 + slack); // a period may have begun with a completion
        over = true;
    };
    w.spawn(busy(memory.first(512)));
    w.spawn(victim(memory.last(512)));
    w.finish();
    BOOST_TEST(w.disk().count().repeated_notifications >= 1U);
    BOOST_TEST(w.disk().count().resets == 0U);
}

// A device that lies about a packed ring in which there is nothing does not keep the hart awake.
BOOST_AUTO_TEST_CASE(an_empty_ring_has_nothing_used) {
    for (const bool event_idx : {true, false}) {
        setup s = setup_of({.version = 2, .event_idx = event_idx, .indirect = true, .ring = 8}, limit);
        offer(s.disks[0], bits::ring_packed);
        world w{s};
        w.start_all();
        for (unsigned i = 0; i < 3; ++i) {
            w.model().push_used(0, 0, 513);
            BOOST_TEST(sleeps_for_ever(w));
        }
        BOOST_TEST(w.disk().count().protocol_violations == 0U);
        w.checked_at_end = false; // the model cannot tell what it has used from what it has said
    }
}

// A device that is slow, and has all that it was told of, is not told again.
BOOST_AUTO_TEST_CASE(a_slow_device_is_not_notified_again) {
    for_each_variant(
        [](const variant& of) {
            if (!of.event_idx)
                return; // it does not say what it has seen
            setup s = setup_of(of, limit);
            s.disks[0].superfluous_permitted = 0;
            if (of.indirect && of.version != 1)
                offer(s.disks[0], bits::ring_packed);
            world w{s};
            w.start_all();
            w.model().behave.latency_min = w.model().behave.latency_max = 4 * limit / 5;
            guests all{w};
            for (unsigned i = 0; i < kinds; ++i)
                all.start(kind{i});
            w.finish();
            BOOST_TEST(w.disk().count().repeated_notifications == 0U);
            BOOST_TEST(w.disk().count().resets == 0U);
        },
        {8});
}

// Done in time, and not told of until the look at which it would be late.
BOOST_AUTO_TEST_CASE(a_device_that_is_done_is_not_late_though_its_interrupt_is_lost) {
    for_each_variant(
        [](const variant& of) {
            for (ticks latency = limit * 8 / 10; latency < limit * 12 / 10; latency += limit / 20)
                for (const ticks offset : {ticks{0}, limit / 4 - 100, limit / 8}) {
                    world w{setup_of(of, limit)};
                    w.start_all();
                    w.model().behave.latency_for = [&](const model::request_view& view) {
                        return std::optional<ticks>{view.sector == 77 ? latency : 3 * limit / 10};
                    };
                    auto memory = w.buffer(512);
                    auto other = w.buffer(512);
                    auto first = [&]() -> task<void> {
                        BOOST_TEST(co_await w.disk().read(5, other) == status::ok);
                        w.model().inject(fault::no_interrupt);
                    };
                    ticks took = 0;
                    auto slow = [&]() -> task<void> {
                        co_await sleep_for(offset);
                        const ticks began = w.host.time();
                        const status outcome = co_await w.disk().read(77, memory);
                        took = w.host.time() - began;
                        if (latency < limit || outcome != status::timed_out)
                            BOOST_TEST(outcome == status::ok);
                    };
                    w.spawn(first());
                    w.spawn(slow());
                    w.finish();
                    if (latency < limit) {
                        BOOST_TEST(w.disk().count().resets == 0U);
                        BOOST_TEST(took >= latency);
                        BOOST_TEST(took <= latency + limit / 4 + slack);
                        BOOST_TEST(w.disk().count().lost_interrupts == 1U);
                    }
                }
        },
        {8});
}

BOOST_AUTO_TEST_CASE(while_nothing_is_in_flight_no_timer_runs) {
    for_each_variant([](const variant& of) {
        world w{setup_of(of, limit)};
        w.start_all();
        const ticks started = w.host.time();
        BOOST_TEST(sleeps_for_ever(w));
        BOOST_TEST(w.host.time() - started < 100U); // not even once
        for (unsigned i = 0; i < 3; ++i) {
            exercise(w);
            const ticks over = w.host.time();
            BOOST_TEST(sleeps_for_ever(w));
            BOOST_TEST(w.host.time() - over <= limit / 4 + slack); // one look, which finds nothing
        }
        // Neither after the device was looked at, nor after it was reset.
        for (const bool reset : {false, true}) {
            if (reset)
                w.model().raise_needs_reset();
            else
                w.model().raise_config_interrupt();
            const ticks over = w.host.time();
            BOOST_TEST(sleeps_for_ever(w));
            BOOST_TEST(w.host.time() - over < limit / 4);
        }
    });
}

// A change of the configuration stops the channel just when a look is due: the watch goes on afterwards.
BOOST_AUTO_TEST_CASE(a_change_of_the_device_does_not_end_the_watch) {
    for_each_variant(
        [](const variant& of) {
            world w{setup_of(of, limit)};
            w.start_all();
            w.model().behave.never_complete = [](const model::request_view& view) {
                return view.sector == 77;
            };
            for (ticks at = limit / 16; at < limit; at += limit / 16)
                w.host.after(at, [&] { w.model().raise_config_interrupt(); });
            auto memory = w.buffer(512);
            const ticks began = w.host.time();
            BOOST_TEST(w.read(77, memory) == status::timed_out);
            BOOST_TEST(w.host.time() - began >= limit);
            BOOST_TEST(w.host.time() - began <= 2 * limit);
        },
        {8});
}

BOOST_AUTO_TEST_CASE(without_a_limit_a_request_waits_for_ever) {
    for_each_variant([](const variant& of) {
        world w{setup_of(of)};
        w.start_all();
        guests all{w};
        w.model().inject(fault::never_complete);
        const guests::guest& each = all.start(kind::read);
        BOOST_TEST(sleeps_for_ever(w));
        w.settle();
        BOOST_TEST(each.ends == 0U);
        w.model().raise_needs_reset(); // then it goes in again
        w.finish();
        guests::check_ok(each);
    });
}

// The pieces that the device has swallowed are late, whoever was stopped.
BOOST_AUTO_TEST_CASE(a_stop_does_not_lift_the_limit) {
    world w{setup_of({2, true, false, 8}, limit)};
    w.start_all();
    w.model().inject(fault::never_complete, 0, model::forever);
    auto memory = w.buffer(100 * 512);
    const auto into = cut(memory, 512);
    std::optional<status> answer = status::ok;
    const ticks began = w.host.time();
    auto read = [&]() -> task<void> {
        answer = co_await with_timeout(w.disk().read(0, into), 1000);
    };
    w.run(read());
    BOOST_TEST(!answer.has_value());
    check_time(w.host.time() - began);
}

// ---- the watchdog by itself ----

// What is watched, as the test wants it to be.
struct watched final : block::watchdog::subject {
    void look_for_lost_interrupts() noexcept override {
        ++periods;
        done += found_by_looking;
        if (found_by_looking != 0)
            busy = false;
    }
    void look_for_lost_notifications() noexcept override {}
    bool is_busy() noexcept override { return busy; }
    std::uint64_t completed() noexcept override { return done; }
    bool grow_older(std::uint32_t old) noexcept override {
        BOOST_TEST(old == block::watchdog::periods_until_late);
        ++ages;
        return starves;
    }
    void is_late(bool whole_device) noexcept override {
        (whole_device ? late : starved).push_back(arch::host::machine::current().time());
    }

    bool busy = true;
    bool starves = false;
    std::uint64_t done = 0;
    std::uint64_t found_by_looking = 0;
    unsigned periods = 0;
    unsigned ages = 0;
    std::vector<ticks> late, starved;
};

// Runs until that much time has passed.
void pass(world& w, ticks span) {
    const ticks end = w.host.time() + span;
    w.host.at(end, [] {});
    w.run_until([&] { return w.host.time() >= end; });
    while (w.hart.tick()) {
    }
}

BOOST_AUTO_TEST_CASE(who_makes_no_progress_for_the_limit_is_late) {
    world w;
    block::watchdog::progress progress{0};
    watched it;
    block::watchdog dog{w.hart, it, progress, limit};
    pass(w, 3 * limit);
    BOOST_TEST(it.periods == 0U); // before begin(), nobody looks
    const ticks began = w.host.time();
    dog.begin();
    dog.begin(); // does nothing: it watches
    pass(w, limit - 10);
    BOOST_TEST(it.late.empty());
    pass(w, limit / 2);
    BOOST_REQUIRE(!it.late.empty());
    check_time(it.late[0] - began);
    BOOST_TEST(it.ages == it.periods);
    // It goes on, and says so each period until it is forgiven.
    dog.forgive();
    const std::size_t times = it.late.size();
    pass(w, limit);
    BOOST_TEST(it.late.size() == times);
    it.busy = false;
    pass(w, limit);
    const unsigned periods = it.periods;
    BOOST_TEST(sleeps_for_ever(w)); // it has ended by itself
    BOOST_TEST(it.periods == periods);
    it.busy = true;
    dog.begin();
    pass(w, limit + limit / 2);
    BOOST_TEST(it.late.size() > times);
    it.busy = false;
    pass(w, limit);
}

// On this hart, or on another one that shares the device.
BOOST_AUTO_TEST_CASE(progress_anywhere_is_progress) {
    for (const bool here : {true, false}) {
        world w;
        block::watchdog::progress progress{0};
        watched it;
        block::watchdog dog{w.hart, it, progress, limit};
        dog.begin();
        for (int i = 0; i < 20; ++i) {
            pass(w, limit - limit / 8);
            if (here)
                ++it.done;
            else
                progress.fetch_add(1);
        }
        BOOST_TEST(it.late.empty());
        BOOST_TEST(progress.load() == (here ? 19U : 20U)); // the last one was not looked at
        pass(w, 2 * limit);
        BOOST_TEST(!it.late.empty());
        it.busy = false;
        pass(w, limit);
    }
}

BOOST_AUTO_TEST_CASE(one_that_starves_is_told_beside_the_device) {
    world w;
    block::watchdog::progress progress{0};
    watched it;
    block::watchdog dog{w.hart, it, progress, limit};
    it.starves = true;
    dog.begin();
    for (int i = 0; i < 8; ++i) {
        pass(w, limit / 4 + 10);
        ++it.done;
    }
    BOOST_TEST(it.late.empty());
    BOOST_TEST(it.starved.size() == it.periods);
    it.busy = false;
    pass(w, limit);
}

// What is found before the device is judged may be all that it had.
BOOST_AUTO_TEST_CASE(what_was_done_without_an_interrupt_is_found_first) {
    world w;
    block::watchdog::progress progress{0};
    watched it;
    block::watchdog dog{w.hart, it, progress, limit};
    dog.begin();
    it.found_by_looking = 3;
    pass(w, 3 * limit);
    BOOST_TEST(it.late.empty());
    BOOST_TEST(it.periods == 1U);
    BOOST_TEST(it.ages == 0U);
}

BOOST_AUTO_TEST_CASE(without_a_limit_nothing_is_watched) {
    world w;
    block::watchdog::progress progress{0};
    watched it;
    block::watchdog dog{w.hart, it, progress, 0};
    dog.begin();
    BOOST_TEST(sleeps_for_ever(w));
    BOOST_TEST(it.periods == 0U);
}

BOOST_AUTO_TEST_SUITE_END()
