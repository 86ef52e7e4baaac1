// The cache mode of a disk: read at the start and when it changes, switched while nothing is in flight, and kept over a reset. And
// changes of the capacity, which coroutines of all harts wait for.
#include "async/scheduler.hpp"
#include "async/stop_token.hpp"
#include "async/with_timeout.hpp"
#include "tests/host/disk_setups.hpp"
#include "tests/host/neighbour.hpp"
#include "tests/host/requests_of_all_kinds.hpp"

#include <optional>

namespace {

using namespace inflight;
using namespace inflight::test;
namespace blk = block::virtio_blk;

status set_write_cache(world& w, bool enabled) {
    std::optional<status> outcome;
    auto work = [&]() -> task<void> {
        outcome = co_await w.disk().set_write_cache(enabled);
    };
    w.run(work());
    return outcome.value();
}

bool durable(world& w, std::uint64_t sector, std::span<const std::byte> data) {
    return same(std::span{w.model().durable()}.subspan(sector * 512, data.size()), data);
}

} // namespace

BOOST_AUTO_TEST_SUITE(write_cache_tests)

BOOST_AUTO_TEST_CASE(the_mode_is_what_the_device_says_and_what_it_can) {
    for (const std::uint32_t version : versions)
        for (const bool flush : {false, true})
            for (const bool config_wce : {false, true})
                for (const std::uint8_t writeback : {std::uint8_t{0}, std::uint8_t{1}}) {
                    world w{of_version(version, [&](auto& c) {
                        c.writeback = writeback;
                        if (!flush)
                            withdraw(c, bits::flush);
                        if (!config_wce)
                            withdraw(c, bits::config_wce);
                    })};
                    w.start_all();
                    const block::disk_properties& known = w.disk().properties();
                    BOOST_TEST(known.can_flush == flush);
                    BOOST_TEST(known.can_switch_write_cache == (flush && config_wce));
                    BOOST_TEST(known.write_cache == (flush && (!config_wce || writeback == 1)));
                    auto data = w.buffer(512);
                    fill_pattern(data, 1);
                    BOOST_TEST(w.write(3, data) == status::ok);
                    BOOST_TEST(durable(w, 3, data) == !known.write_cache);
                    BOOST_TEST(w.flush() == status::ok);
                    BOOST_TEST(durable(w, 3, data));
                    BOOST_TEST(w.model().total().requests == (flush ? 2U : 1U)); // no cache, nothing to flush
                    if (!flush || !config_wce) {
                        BOOST_TEST(set_write_cache(w, true) == status::unsupported);
                        BOOST_TEST(set_write_cache(w, false) == status::unsupported);
                    }
                }
}

BOOST_AUTO_TEST_CASE(the_mode_is_switched) {
    for (const std::uint32_t version : versions) {
        world w{of_version(version)};
        w.start_all();
        auto data = w.buffer(512);
        BOOST_TEST(w.disk().properties().write_cache);
        fill_pattern(data, 1);
        BOOST_TEST(w.write(1, data) == status::ok);
        BOOST_TEST(set_write_cache(w, false) == status::ok);
        BOOST_TEST(!w.disk().properties().write_cache);
        BOOST_TEST(!durable(w, 1, data)); // what was written before is not durable by that
        BOOST_TEST(w.flush() == status::ok);
        BOOST_TEST(durable(w, 1, data));
        fill_pattern(data, 2);
        BOOST_TEST(w.write(2, data) == status::ok);
        BOOST_TEST(durable(w, 2, data));
        BOOST_TEST(set_write_cache(w, false) == status::ok); // again
        BOOST_TEST(set_write_cache(w, true) == status::ok);
        BOOST_TEST(w.disk().properties().write_cache);
        BOOST_TEST(w.write(4, data) == status::ok);
        BOOST_TEST(!durable(w, 4, data));
        BOOST_TEST(w.disk().count().resets == 0U);
    }
}

// The strict model reports a switch with anything in flight.
BOOST_AUTO_TEST_CASE(what_is_in_flight_is_awaited_and_what_comes_meanwhile_waits) {
    for (const std::uint32_t version : versions)
        for (const unsigned queues : {1U, 3U})
            for (const bool packed : {false, true}) {
                if (packed && version == 1)
                    continue;
                world w{of_version(version, [&](auto& c) {
                    c.queues = queues;
                    c.queue_size_max = 16;
                    if (packed)
                        offer(c, bits::ring_packed);
                })};
                w.start_all();
                w.model().behave.hold = true;
                requests_of_all_kinds before{w};
                for (unsigned lap = 0; lap < 6; ++lap) // more than the queues hold
                    before.start_all();
                w.settle();
                std::optional<status> outcome;
                auto work = [&]() -> task<void> {
                    outcome = co_await w.disk().set_write_cache(false);
                };
                w.spawn(work());
                w.settle();
                requests_of_all_kinds after{w};
                after.start_all();
                w.settle();
                BOOST_TEST(!outcome.has_value());
                const std::uint64_t taken = w.model().total().requests;
                w.model().release(3); // and the rest of them are still there
                w.settle();
                BOOST_TEST(w.model().total().requests == taken); // nothing new is submitted
                BOOST_TEST(!outcome.has_value());
                BOOST_TEST(w.disk().properties().write_cache);
                w.model().behave.hold = false;
                w.model().release();
                w.finish();
                BOOST_TEST((outcome == status::ok));
                BOOST_TEST(!w.disk().properties().write_cache);
                before.check(status::ok);
                after.check(status::ok);
            }
}

BOOST_AUTO_TEST_CASE(the_last_of_many_switches_counts) {
    world w;
    w.start_all();
    unsigned ended = 0;
    auto work = [&](bool enabled) -> task<void> {
        BOOST_TEST((co_await w.disk().set_write_cache(enabled)) == status::ok);
        ++ended;
    };
    auto reader = [&](std::span<std::byte> into) -> task<void> {
        for (unsigned i = 0; i < 50; ++i)
            BOOST_TEST((co_await w.disk().read(i, into)) == status::ok);
    };
    for (unsigned i = 0; i < 20; ++i)
        w.spawn(reader(w.buffer(512)));
    for (unsigned i = 0; i < 31; ++i)
        w.spawn(work(i % 2 == 1));
    w.finish();
    BOOST_TEST(ended == 31U);
    BOOST_TEST(!w.disk().properties().write_cache);
}

BOOST_AUTO_TEST_CASE(a_device_that_keeps_its_mode_is_found_out) {
    for (const std::uint32_t version : versions) {
        world w{of_version(version)};
        w.start_all();
        w.model().set_configuration(32, 1); // stays, whatever is written
        w.settle();
        BOOST_TEST(set_write_cache(w, false) == status::device_error);
        BOOST_TEST(w.disk().properties().write_cache);
        BOOST_TEST(w.read(0, w.buffer(512)) == status::ok);
    }
}

BOOST_AUTO_TEST_CASE(a_mode_that_the_device_changes_is_noticed) {
    for (const std::uint32_t version : versions) {
        world w{of_version(version)};
        w.start_all();
        w.model().set_configuration(32, 0);
        w.settle();
        BOOST_TEST(!w.disk().properties().write_cache);
        BOOST_TEST(w.disk().properties().capacity_changes == 0U);
    }
}

// The device goes back to its own mode when it is reset, and the driver back to the one that was asked for.
BOOST_AUTO_TEST_CASE(a_reset_does_not_change_the_mode) {
    for (const std::uint32_t version : versions)
        for (const bool switched : {false, true}) {
            world w{of_version(version)};
            w.start_all();
            if (switched)
                BOOST_TEST(set_write_cache(w, false) == status::ok);
            w.model().raise_needs_reset();
            w.settle();
            BOOST_TEST(w.disk().count().resets == 1U);
            BOOST_TEST(w.disk().properties().write_cache == !switched);
            auto data = w.buffer(512);
            fill_pattern(data, 2);
            BOOST_TEST(w.write(2, data) == status::ok);
            BOOST_TEST(durable(w, 2, data) == switched);
        }
}

BOOST_AUTO_TEST_CASE(a_switch_ends_with_the_device) {
    for (const bool lost : {false, true}) {
        setup s = one_disk();
        s.disk.request_timeout = arch::ticks_per_second() / 100;
        s.machine.cost_of_access = 500; // or a second of waiting for the reset is long
        world w{s};
        w.start_all();
        w.model().behave.never_complete = [](const auto&) {
            return true;
        };
        std::optional<status> read;
        auto reading = [&]() -> task<void> {
            read = co_await w.disk().read(0, w.buffer(512));
        };
        w.spawn(reading());
        w.settle();
        if (lost)
            w.model().inject(fault::reset_never);
        const status outcome = set_write_cache(w, false);
        BOOST_TEST(outcome == (lost ? status::device_lost : status::ok));
        BOOST_TEST(w.disk().lost() == lost);
        BOOST_TEST(w.disk().properties().write_cache == lost);
        w.model().behave.never_complete = {};
        w.finish();
        BOOST_TEST((read == (lost ? status::device_lost : status::timed_out)));
        BOOST_TEST(set_write_cache(w, true) == outcome);
    }
}

// While it holds, the device may ask for a reset, break the rules, or lose an interrupt.
BOOST_AUTO_TEST_CASE(whatever_happens_meanwhile_is_seen_to) {
    for (const std::uint32_t version : versions)
        for (unsigned what = 0; what < 4; ++what) {
            setup s = of_version(version);
            s.disk.request_timeout = arch::ticks_per_second() / 10;
            world w{s};
            w.start_all();
            w.model().behave.hold = true;
            std::array<std::optional<status>, 3> outcomes;
            auto reading = [&](unsigned i, std::span<std::byte> into) -> task<void> {
                outcomes[i] = co_await w.disk().read(i, into);
            };
            for (unsigned i = 0; i < 3; ++i)
                w.spawn(reading(i, w.buffer(512)));
            w.settle();
            std::optional<status> outcome;
            auto work = [&]() -> task<void> {
                outcome = co_await w.disk().set_write_cache(false);
            };
            w.spawn(work());
            w.settle();
            BOOST_TEST(!outcome.has_value());
            switch (what) {
            case 0: w.model().raise_needs_reset(); break;
            case 1: w.model().inject(fault::used_id_out_of_range); break;
            case 2: w.model().inject(fault::no_interrupt, 0, 3); break;
            default: w.model().set_capacity(4096); break;
            }
            w.model().behave.hold = false;
            w.model().release();
            w.finish();
            BOOST_TEST((outcome == status::ok));
            BOOST_TEST(!w.disk().properties().write_cache);
            BOOST_TEST(w.disk().count().resets == (what < 2 ? 1U : 0U));
            for (const auto& each : outcomes)
                BOOST_TEST((each == status::ok || (what == 1 && each == status::device_reset)));
        }
}

BOOST_AUTO_TEST_CASE(every_hart_has_the_new_mode) {
    world w{setup_of_two_harts()};
    neighbour other{w};
    readers all{w};
    other.hold(all, slots(w) + 3); // of the other hart; some wait in line
    std::optional<status> outcome;
    bool seen_there = true;
    auto work = [&]() -> task<void> {
        outcome = co_await w.disk().set_write_cache(false);
        seen_there = w.disk().properties().write_cache;
    };
    other.spawn(work());
    other.rounds();
    BOOST_TEST(!outcome.has_value());
    BOOST_TEST(w.disk().properties().write_cache);
    other.release();
    BOOST_TEST((outcome == status::ok));
    BOOST_TEST(!seen_there);
    BOOST_TEST(!w.disk().properties().write_cache);
    for (const auto& each : all.all)
        all.check_ok(*each);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(capacity_tests)

BOOST_AUTO_TEST_CASE(who_waits_is_told_of_growing_and_of_shrinking) {
    for (const std::uint32_t version : versions) {
        world w{of_version(version)};
        w.start_all();
        std::vector<std::uint64_t> seen;
        auto watch = [&]() -> task<void> {
            std::uint64_t changes = w.disk().properties().capacity_changes;
            while (seen.size() != 3) {
                co_await w.disk().capacity_changed(changes);
                changes = w.disk().properties().capacity_changes;
                seen.push_back(w.disk().properties().capacity);
            }
        };
        w.spawn(watch());
        w.settle();
        BOOST_TEST(seen.empty());
        for (const std::uint64_t sectors : {9000U, 100U, 8192U}) {
            w.model().set_capacity(sectors);
            w.settle();
            BOOST_TEST(seen.back() == sectors);
            w.model().raise_config_interrupt(); // nothing changed
            w.settle();
        }
        w.finish();
        BOOST_TEST(seen.size() == 3U);
    }
}

BOOST_AUTO_TEST_CASE(a_change_that_came_before_is_not_missed) {
    world w;
    w.start_all();
    const std::uint64_t before = w.disk().properties().capacity_changes;
    w.model().set_capacity(5000);
    w.settle();
    w.model().set_capacity(8192); // and back
    w.settle();
    BOOST_TEST(w.disk().properties().capacity == 8192U);
    bool told = false;
    auto late = [&]() -> task<void> {
        co_await w.disk().capacity_changed(before);
        told = true;
    };
    w.run(late());
    BOOST_TEST(told);
    BOOST_TEST(w.disk().properties().capacity_changes == before + 2);
}

BOOST_AUTO_TEST_CASE(a_wait_for_a_change_can_be_stopped) {
    world w;
    w.start_all();
    async::stop_source source;
    std::optional<async::wait_result> stopped, changed;
    bool in_time = true;
    auto wait = [&]() -> task<void> {
        stopped = co_await w.disk().capacity_changed(0, source.get_token());
    };
    auto with_limit = [&]() -> task<void> {
        const auto outcome = co_await async::with_timeout(w.disk().capacity_changed(0, async::stop_token{}), 1000);
        in_time = outcome.has_value();
    };
    auto unstopped = [&]() -> task<void> {
        changed = co_await w.disk().capacity_changed(0, source.get_token());
    };
    w.spawn(wait());
    w.spawn(with_limit());
    w.settle();
    source.request_stop();
    w.finish();
    BOOST_TEST((stopped == async::wait_result::stopped));
    BOOST_TEST(!in_time);
    w.model().set_capacity(5000);
    w.settle();
    w.run(unstopped()); // what is there is taken, stop or not
    BOOST_TEST((changed == async::wait_result::done));
}

BOOST_AUTO_TEST_CASE(who_waits_for_a_change_is_told_that_the_disk_is_lost) {
    setup s = one_disk();
    s.machine.cost_of_access = 500; // as above
    world w{s};
    w.start_all();
    bool told = false;
    auto wait = [&]() -> task<void> {
        co_await w.disk().capacity_changed(0);
        told = true;
        co_await w.disk().capacity_changed(0); // and again, at once
    };
    w.spawn(wait());
    w.settle();
    w.model().inject(fault::reset_never);
    w.model().raise_needs_reset();
    w.settle();
    BOOST_TEST(told);
    w.finish();
    BOOST_TEST(w.disk().lost());
}

BOOST_AUTO_TEST_CASE(a_capacity_that_changes_with_a_reset_is_a_change) {
    world w;
    w.start_all();
    bool told = false;
    auto wait = [&]() -> task<void> {
        co_await w.disk().capacity_changed(0);
        told = true;
    };
    w.spawn(wait());
    w.settle();
    w.model().set_capacity(4096, false);
    w.model().raise_needs_reset();
    w.settle();
    BOOST_TEST(told);
    BOOST_TEST(w.disk().properties().capacity == 4096U);
    BOOST_TEST(w.disk().properties().capacity_changes == 1U);
}

BOOST_AUTO_TEST_CASE(all_who_wait_on_all_harts_are_told) {
    world w{setup_of_two_harts()};
    neighbour other{w};
    unsigned here = 0, there = 0;
    auto wait = [&](unsigned& count) -> task<void> {
        co_await w.disk().capacity_changed(0);
        count += w.disk().properties().capacity == 5000 ? 1 : 0;
    };
    for (unsigned i = 0; i < 5; ++i)
        other.spawn(wait(there));
    w.host.select_hart(0);
    for (unsigned i = 0; i < 5; ++i)
        w.spawn(wait(here));
    w.host.select_hart(1);
    other.rounds();
    BOOST_TEST(here + there == 0U);
    w.model().set_capacity(5000);
    other.rounds();
    BOOST_TEST(here == 5U);
    BOOST_TEST(there == 5U);
}

BOOST_AUTO_TEST_SUITE_END()
