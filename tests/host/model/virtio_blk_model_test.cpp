// Tests of the model as a whole: it stays silent when the driver is right, and misbehaves as it is told.
#include "tests/host/model/raw_driver.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <functional>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::model;
using namespace inflight::tests;

} // namespace

BOOST_AUTO_TEST_SUITE(virtio_blk_model_tests)

BOOST_AUTO_TEST_CASE(a_correct_driver_reads_and_writes_without_a_word) {
    for (const bool legacy : {false, true})
        for (const bool event_idx : {false, true})
            BOOST_TEST_CONTEXT("legacy " << legacy << ", event_idx " << event_idx) {
                world w{legacy ? legacy_configuration() : blk_configuration{}};
                w.device.fill(1);
                const auto mask = w.driver.sensible();
                w.driver.start(event_idx ? mask : mask & ~feature::bit(feature::event_idx));
                std::byte* const data = w.driver.buffer(1024);
                for (std::uint64_t i = 0; i < 50; ++i) {
                    BOOST_TEST(w.driver.request(request_type::in, i, {{data, 512, true}, {data + 512, 512, true}}) ==
                               0);
                    BOOST_TEST(std::memcmp(data, w.device.disk().data() + i * 512, 1024) == 0);
                    std::memset(data, static_cast<int>(i), 1024);
                    BOOST_TEST(w.driver.request(request_type::out, i * 2, {{data, 1024, false}}) == 0);
                    BOOST_TEST(std::memcmp(data, w.device.disk().data() + i * 1024, 1024) == 0);
                }
                BOOST_TEST(w.driver.request(request_type::flush, 0, {}) == 0);
                BOOST_TEST((w.device.disk() == w.device.durable()));
                BOOST_TEST(w.device.idle());
                BOOST_TEST(w.device.counters(0).completed == 101U);
                BOOST_TEST(w.device.counters(0).superfluous == 0U);
                silent(w);
            }
}

BOOST_AUTO_TEST_CASE(batches_indirect_tables_and_several_queues_are_fine) {
    blk_configuration c;
    c.queues = 3;
    world w{c};
    w.device.behave.random_order = true;
    w.device.behave.latency_max = 500;
    w.device.behave.burst = 2;
    w.driver.start(w.driver.sensible(), 64, 3);
    std::byte* const data = w.driver.buffer(512);
    for (unsigned queue = 0; queue < 3; ++queue) {
        auto& r = w.driver.rings[queue];
        for (std::uint16_t i = 0; i < 10; ++i)
            w.driver.add(r,
                         {{w.driver.header(0, i), 16, false},
                          {w.driver.buffer(512), 512, true},
                          {w.driver.status_byte(), 1, true}},
                         i);
        w.driver.publish(queue, 10);
        w.driver.add_indirect(
            r, {{w.driver.header(1, 0), 16, false}, {data, 512, false}, {w.driver.status_byte(), 1, true}});
        w.driver.publish(queue);
    }
    for (unsigned queue = 0; queue < 3; ++queue)
        for (int i = 0; i < 11; ++i)
            BOOST_TEST(w.driver.reap(queue) != raw_driver::no_slot);
    BOOST_TEST(w.device.idle());
    silent(w);
}

BOOST_AUTO_TEST_CASE(indices_wrap) {
    machine_options o;
    o.memory_bytes = std::size_t{64} << 20;
    world w{{}, o};
    w.driver.start();
    std::byte* const header = w.driver.header(request_type::flush, 0);
    std::byte* const status = w.driver.status_byte();
    for (unsigned i = 0; i < 70'000; ++i) {
        *status = std::byte{0xff};
        w.driver.add(w.driver.rings[0], {{header, 16, false}, {status, 1, true}});
        w.driver.publish(0);
        BOOST_REQUIRE(w.driver.reap() != raw_driver::no_slot);
    }
    BOOST_TEST(w.device.idle());
    silent(w);
}

BOOST_AUTO_TEST_CASE(whatever_a_device_may_do_a_correct_driver_stays_without_a_word) {
    for (std::uint64_t seed = 1; seed <= 40; ++seed)
        BOOST_TEST_CONTEXT("seed " << seed) {
            machine_options o;
            o.seed = seed;
            o.spurious_wake_ups = seed % 3 == 0 ? 100 : 0;
            blk_configuration c;
            c.version = seed % 4 == 0 ? 1 : 2;
            if (c.version == 2 && seed % 5 == 0)
                c.features = usual_and(feature::notification_data);
            world w{c, o};
            w.device.fill(seed);
            auto& b = w.device.behave;
            const auto often = [&] {
                return w.host.chance(500);
            };
            b.random_order = often();
            b.latency_min = 1;
            b.latency_max = 1 + w.host.random_below(500);
            b.notification_latency_max = w.host.random_below(300);
            b.burst = 1 + static_cast<unsigned>(w.host.random_below(4));
            b.spurious_chance = often() ? 100 : 0;
            b.interrupt_suppressed_chance = often() ? 200 : 0;
            b.complete_in_rearm_window = often();
            b.complete_at_acknowledge = often();
            b.undefined_interrupt_bits = often();
            b.suppress_for = often() ? w.host.random_below(400) : 0;
            b.avail_event_ahead = often() ? 4 : 0;
            b.used_flags_noise = often();
            b.avail_event_noise = often();
            b.odd_lengths = often();
            b.reset_reads = static_cast<unsigned>(w.host.random_below(3));
            if (often())
                w.device.inject(fault::scribble, 0, forever);
            const auto mask = w.driver.sensible();
            w.driver.start(often() ? mask : mask & ~feature::bit(feature::event_idx), 16);
            auto& r = w.driver.rings[0];
            unsigned outstanding = 0;
            for (unsigned done = 0; done < 500;) {
                const auto batch = static_cast<std::uint16_t>(w.host.random_below(r.free.size() / 3 + 1));
                for (std::uint16_t i = 0; i < batch; ++i)
                    w.driver.add(r,
                                 {{w.driver.header(0, w.host.random_below(8192)), 16, false},
                                  {w.driver.buffer(512), 512, true},
                                  {w.driver.status_byte(), 1, true}},
                                 i);
                if (batch != 0)
                    w.driver.publish(0, batch);
                outstanding += batch;
                for (; outstanding != 0 && (often() || r.free.size() < 3); --outstanding, ++done)
                    BOOST_REQUIRE_MESSAGE(w.driver.reap() != raw_driver::no_slot, w.host.describe());
            }
            for (; outstanding != 0; --outstanding)
                BOOST_REQUIRE_MESSAGE(w.driver.reap() != raw_driver::no_slot, w.host.describe());
            w.host.run_until(w.host.time() + 10'000);
            BOOST_TEST(w.device.idle());
            BOOST_TEST(w.device.counters(0).superfluous == 0U);
            silent(w);
        }
}

BOOST_AUTO_TEST_CASE(faults_show_in_the_used_ring) {
    const struct {
        fault what;
        std::function<bool(raw_driver::ring&, std::uint16_t head, std::uint8_t status, std::uint32_t length)> shows;
    } faults[] = {
        {fault::used_index_jump,
         [](auto& r, auto, auto, auto) {
             return load<std::uint16_t>(r.used + 2) > 1;
         }},
        {fault::used_index_backwards,
         [](auto& r, auto, auto, auto) {
             return load<std::uint16_t>(r.used + 2) > 0x8000;
         }},
        {fault::used_id_out_of_range,
         [](auto& r, auto, auto, auto) {
             return load<std::uint32_t>(r.used + 4) >= 8;
         }},
        {fault::used_id_free,
         [](auto& r, auto, auto, auto) {
             return load<std::uint32_t>(r.used + 4) > 2;
         }},
        {fault::used_id_mid_chain,
         [](auto& r, auto, auto, auto) {
             return load<std::uint32_t>(r.used + 4) == 1;
         }},
        {fault::used_duplicate,
         [](auto& r, auto, auto, auto) {
             return load<std::uint16_t>(r.used + 2) == 2;
         }},
        {fault::length_too_long,
         [](auto&, auto, auto, auto length) {
             return length > 513;
         }},
        {fault::length_too_short,
         [](auto&, auto, auto, auto length) {
             return length < 513;
         }},
        {fault::status_not_written,
         [](auto&, auto, auto status, auto) {
             return status == 0xff;
         }},
        {fault::status_unknown,
         [](auto&, auto, auto status, auto) {
             return status > 2;
         }},
        {fault::io_error,
         [](auto&, auto, auto status, auto) {
             return status == 1;
         }},
        {fault::unsupported,
         [](auto&, auto, auto status, auto) {
             return status == 2;
         }},
    };
    for (const auto& each : faults)
        BOOST_TEST_CONTEXT("fault " << static_cast<int>(each.what)) {
            world w;
            w.driver.start();
            w.device.inject(each.what);
            auto& r = w.driver.rings[0];
            std::byte* const status = w.driver.status_byte();
            const auto head = w.driver.add(
                r, {{w.driver.header(0, 0), 16, false}, {w.driver.buffer(512), 512, true}, {status, 1, true}});
            w.driver.publish(0);
            w.driver.reap();
            BOOST_TEST(w.device.fired(each.what) == 1U);
            BOOST_TEST(each.shows(r, head, std::to_integer<std::uint8_t>(*status), w.driver.last_length));
            BOOST_TEST(w.driver.interrupts == 1U);
            silent(w);
        }
}

BOOST_AUTO_TEST_CASE(a_completion_without_interrupt_stalls_the_one_who_waits) {
    world w;
    w.driver.start();
    w.device.inject(fault::no_interrupt);
    BOOST_TEST(w.driver.request(request_type::flush, 0, {}) == 0xee);
    BOOST_TEST(w.host.stalled());
}

BOOST_AUTO_TEST_CASE(scribbling_spares_the_request_under_way) {
    world w;
    w.device.fill(4);
    w.driver.start();
    w.device.inject(fault::scribble, 0, forever);
    std::byte* const data = w.driver.buffer(512);
    for (std::uint64_t i = 0; i < 20; ++i) {
        BOOST_TEST(w.driver.request(request_type::in, i, {{data, 512, true}}) == 0);
        BOOST_TEST(std::memcmp(data, w.device.disk().data() + 512 * i, 512) == 0);
    }
    BOOST_TEST(w.device.idle());
    silent(w);
}

// A driver that leaves there what the device has written is not to blame, and not served.
BOOST_AUTO_TEST_CASE(a_device_does_not_go_on_with_what_it_has_scribbled) {
    world w;
    w.driver.start();
    w.device.inject(fault::scribble);
    auto& r = w.driver.rings[0];
    const auto head = w.driver.add(
        r, {{w.driver.header(0, 0), 16, false}, {w.driver.buffer(512), 512, true}, {w.driver.status_byte(), 1, true}});
    w.driver.publish(0);
    BOOST_TEST(w.driver.reap() == head);
    w.driver.enter(r, head, 0);
    w.driver.publish(0);
    BOOST_TEST(w.driver.reap() == raw_driver::no_slot);
    silent(w);
}

BOOST_AUTO_TEST_CASE(a_slow_device_does_one_request_after_the_other) {
    world w;
    w.driver.start();
    w.device.behave.service_interval = 5'000'000;
    const auto begin = w.host.time();
    for (int i = 0; i < 2; ++i)
        w.driver.add(
            w.driver.rings[0],
            {{w.driver.header(0, 0), 16, false}, {w.driver.buffer(512), 512, true}, {w.driver.status_byte(), 1, true}},
            static_cast<std::uint16_t>(i));
    w.driver.publish(0, 2);
    BOOST_TEST(w.driver.reap() != raw_driver::no_slot);
    const auto first = w.host.time() - begin;
    BOOST_TEST(first > 4'999'000U);
    BOOST_TEST(w.driver.reap() != raw_driver::no_slot);
    BOOST_TEST(w.host.time() - begin > first + 4'999'000U);
    silent(w);
}

BOOST_AUTO_TEST_CASE(the_configuration_is_what_it_is_set_to) {
    world w;
    w.driver.start();
    for (const std::uint64_t capacity : {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{4096}}) {
        w.device.set_configuration(0, capacity);
        BOOST_TEST(w.driver.read_capacity() == capacity);
    }
    w.device.set_configuration(20, 1U << 31);
    BOOST_TEST(w.driver.get(reg::config + 20) == 1U << 31);
    w.device.set_configuration(12, 7, false); // SEG_MAX: what the driver has read is what counts
    BOOST_TEST(w.driver.request(request_type::in, 0,
                                {{w.driver.buffer(512), 512, true}, {w.driver.buffer(512), 512, true}}) == 0);
    silent(w);
}

BOOST_AUTO_TEST_CASE(something_happens_at_an_access) {
    for (const std::uint64_t when : {0U, 1U, 2U, 3U, 5U, 10U, 20U, 25U}) { // at 4, the driver here would wait for ever
        world w;
        w.device.behave.before_access = [&](std::uint64_t number, std::uint64_t, bool) {
            if (number == when)
                w.device.raise_needs_reset();
        };
        w.driver.start();
        BOOST_TEST(w.device.access_count() > 25U);
        const bool reset_since = when <= 3; // Status was written with 0
        BOOST_TEST(((w.device.status() & status_bit::needs_reset) != 0) == !reset_since);
        silent(w);
    }
}

BOOST_AUTO_TEST_CASE(everything_shared_is_scribbled_over) {
    world w;
    w.device.fill(4);
    w.driver.start();
    auto& r = w.driver.rings[0];
    std::byte* const header = w.driver.header(0, 1);
    std::byte* const data = w.driver.buffer(512);
    std::byte* const status = w.driver.status_byte();
    w.driver.add_indirect(r, {{header, 16, false}, {data, 512, true}, {status, 1, true}});
    w.driver.publish(0);
    w.driver.reap();
    const std::vector<std::byte> read(data, data + 512);
    const std::vector<std::byte> parts[] = {{r.descriptors, r.descriptors + 128},
                                            {r.available, r.available + 22},
                                            {r.used, r.used + 70},
                                            {header, header + 16},
                                            {w.driver.table_, w.driver.table_ + 48}};
    const std::byte* const starts[] = {r.descriptors, r.available, r.used, header, w.driver.table_};
    w.device.scribble_over_everything();
    for (std::size_t i = 0; i < std::size(parts); ++i)
        BOOST_TEST(!std::equal(parts[i].begin(), parts[i].end(), starts[i]));
    BOOST_TEST(std::equal(read.begin(), read.end(), data));
    w.driver.reset();
    silent(w);
}

BOOST_AUTO_TEST_CASE(what_was_published_last_can_be_changed) {
    world w;
    w.driver.start();
    auto& r = w.driver.rings[0];
    std::byte* const status = w.driver.status_byte();
    const auto head =
        w.driver.add(r, {{w.driver.header(0, 0), 16, false}, {w.driver.buffer(512), 512, true}, {status, 1, true}});
    w.driver.publish(0);
    BOOST_TEST(w.driver.reap() == head);
    BOOST_TEST(w.device.last_used_id(0) == head);
    BOOST_TEST(w.device.last_used_writable(0) == 513U);
    w.device.rewrite_used(0, 77, 5);
    BOOST_TEST(load<std::uint32_t>(r.used + 4) == 77U);
    w.device.rewrite_status(0, 9);
    BOOST_TEST((*status == std::byte{9}));
    w.device.move_used_index(0, -3);
    BOOST_TEST(load<std::uint16_t>(r.used + 2) == 0xfffeU);
    silent(w);
}

BOOST_AUTO_TEST_CASE(what_is_not_published_can_be_guessed) {
    world w;
    w.driver.start();
    auto& r = w.driver.rings[0];
    std::byte* const status = w.driver.status_byte();
    const auto head =
        w.driver.add(r, {{w.driver.header(0, 0), 16, false}, {w.driver.buffer(512), 512, true}, {status, 1, true}});
    BOOST_TEST(w.device.complete_unpublished(0));
    BOOST_TEST((*status == std::byte{0}));
    BOOST_TEST(load<std::uint16_t>(r.used + 2) == 1U);
    BOOST_TEST(load<std::uint32_t>(r.used + 4) == head);
    BOOST_TEST(load<std::uint32_t>(r.used + 8) == 513U);
    silent(w);
}

BOOST_AUTO_TEST_CASE(a_reset_ends_all_access_to_memory) {
    world w;
    w.driver.start();
    w.device.behave.latency_min = w.device.behave.latency_max = 10'000;
    w.device.behave.reset_reads = 2;
    w.device.inject(fault::complete_during_reset);
    std::byte* const data = w.driver.buffer(512);
    for (int i = 0; i < 2; ++i)
        w.driver.add(w.driver.rings[0],
                     {{w.driver.header(0, 0), 16, false}, {data, 512, true}, {w.driver.status_byte(), 1, true}},
                     static_cast<std::uint16_t>(i));
    w.driver.publish(0, 2);
    w.host.run_until(w.host.time() + 100);
    BOOST_TEST(w.device.in_flight() == 2U);
    w.driver.reset();
    BOOST_TEST(load<std::uint16_t>(w.driver.rings[0].used + 2) == 1);
    BOOST_TEST(w.device.in_flight() == 0U);
    std::memset(data, 0x77, 512);
    w.host.run_until(w.host.time() + 100'000);
    BOOST_TEST(std::all_of(data, data + 512, [](std::byte b) { return b == std::byte{0x77}; }));
    w.device.inject(fault::reset_never);
    w.driver.put(reg::status, 0);
    for (int i = 0; i < 100; ++i)
        BOOST_TEST(w.driver.get(reg::status) != 0U);
    silent(w);
}

BOOST_AUTO_TEST_CASE(the_rearm_window_and_the_acknowledgement_window_lose_nothing_for_a_correct_driver) {
    for (const bool rearm : {true, false})
        for (const bool event_idx : {true, false})
            BOOST_TEST_CONTEXT("rearm " << rearm << " event_idx " << event_idx) {
                world w;
                const auto mask = w.driver.sensible();
                w.driver.start(event_idx ? mask : mask & ~feature::bit(feature::event_idx), 64);
                (rearm ? w.device.behave.complete_in_rearm_window : w.device.behave.complete_at_acknowledge) = true;
                for (int round = 0; round < 20; ++round) {
                    for (std::uint16_t i = 0; i < 5; ++i)
                        w.driver.add(w.driver.rings[0],
                                     {{w.driver.header(4, 0), 16, false}, {w.driver.status_byte(), 1, true}}, i);
                    w.driver.publish(0, 5);
                    for (int i = 0; i < 5; ++i)
                        BOOST_REQUIRE(w.driver.reap() != raw_driver::no_slot);
                }
                BOOST_TEST(w.device.idle());
                if (rearm && event_idx)
                    BOOST_TEST(w.device.counters(0).interrupts < w.device.counters(0).completed);
                silent(w);
            }
}

BOOST_AUTO_TEST_CASE(a_driver_that_does_not_look_again_after_rearming_stalls) {
    world w;
    w.driver.start(w.driver.sensible(), 64);
    w.device.behave.complete_in_rearm_window = true;
    w.device.behave.hold = true;
    auto& r = w.driver.rings[0];
    for (std::uint16_t i = 0; i < 2; ++i)
        w.driver.add(r, {{w.driver.header(4, 0), 16, false}, {w.driver.status_byte(), 1, true}}, i);
    w.driver.publish(0, 2);
    w.host.run_until(w.host.time() + 1000);
    w.device.release(1);
    BOOST_TEST(w.driver.reap() != raw_driver::no_slot);
    store(r.available + 4 + 2 * r.size, r.last_used);
    arch::fence_full(); // the second one completes here
    BOOST_TEST(load<std::uint16_t>(r.used + 2) != r.last_used);
    arch::wait_for_interrupt();
    BOOST_TEST(w.host.stalled());
}

BOOST_AUTO_TEST_CASE(config_faults_are_seen_by_a_driver_that_loops) {
    world w;
    w.driver.start();
    w.device.inject(fault::config_tear);
    const auto capacity = w.driver.read_capacity();
    BOOST_TEST(w.device.fired(fault::config_tear) == 1U);
    BOOST_TEST(capacity == w.device.capacity());
    w.device.inject(fault::config_change, 0, 3);
    const auto changed = w.driver.read_capacity();
    BOOST_TEST(changed == w.device.capacity());
    BOOST_TEST(w.device.fired(fault::config_change) == 3U);
    w.device.inject(fault::generation_unstable, 0, forever);
    BOOST_TEST(w.driver.get(reg::config_generation) != w.driver.get(reg::config_generation));
    w.device.clear_faults();
    silent(w);
}

BOOST_AUTO_TEST_CASE(odd_interrupts_reach_the_handler) {
    world w;
    w.driver.start();
    w.device.raise_used_interrupt();
    w.device.raise_config_interrupt();
    w.device.set_capacity(10'000);
    w.device.behave.undefined_interrupt_bits = true;
    w.device.behave.spurious_chance = 1000;
    BOOST_TEST(w.driver.request(request_type::flush, 0, {}) == 0);
    BOOST_TEST(w.driver.interrupts >= 5U);
    BOOST_TEST(w.device.idle());
    silent(w);
    w.device.inject(fault::interrupt_stuck, 0, forever);
    w.device.raise_used_interrupt();
    BOOST_TEST(w.host.count("STORM") == 1U);
}

BOOST_AUTO_TEST_CASE(a_removed_device_reads_all_ones) {
    world w;
    w.driver.start();
    w.device.inject(fault::removed, 1);
    BOOST_TEST(w.driver.get(reg::status) == 15U);
    BOOST_TEST(w.driver.get(reg::status) == ~0U);
    BOOST_TEST(w.driver.get(reg::magic_value) == ~0U);
    w.driver.put(reg::status, 0);
    silent(w);
}

BOOST_AUTO_TEST_CASE(needs_reset_stops_the_device) {
    world w;
    w.driver.start();
    w.device.inject(fault::needs_reset);
    BOOST_TEST(w.driver.request(request_type::flush, 0, {}) == 0xee);
    BOOST_TEST((w.device.status() & status_bit::needs_reset) != 0U);
    BOOST_TEST(w.driver.interrupts == 1U);
    w.driver.reset();
    BOOST_TEST(w.device.status() == 0U);
    silent(w);
}

BOOST_AUTO_TEST_SUITE_END()
