// The device model with packed rings: what it does for a driver that is right, and what it does wrong when it is told to.
#include "tests/host/model/raw_packed_driver.hpp"

#include <array>
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::model;
using namespace inflight::tests;

constexpr std::uint64_t event_idx = feature::bit(feature::event_idx);
constexpr std::uint64_t in_order = feature::bit(feature::in_order);

// Reads of all lengths that fit, in batches, over many laps of the ring.
class traffic {
  public:
    traffic(packed_world& w, bool tables) : world_{w}, tables_{tables} {
        for (std::size_t id = 0; id < w.driver.queues[0].size; ++id)
            buffers_.push_back({w.driver.header(0, 0), w.driver.buffer(sector_bytes), w.driver.status_byte(), 0});
    }

    void run(unsigned requests) {
        for (unsigned done = 0; done < requests && !failed_;) {
            add_batch();
            if (in_flight_ == 0)
                continue;
            const auto reaped = 1 + world_.host.random_below(in_flight_);
            for (std::uint64_t i = 0; i < reaped && in_flight_ != 0 && !failed_; ++i)
                done += reap();
        }
        while (in_flight_ != 0 && !failed_)
            reap();
    }
    bool filled_the_ring() const { return filled_; }
    bool spanned_the_end() const { return spanned_; }

  private:
    struct buffers {
        std::byte *header, *data, *status;
        std::uint64_t sector;
    };

    void add_batch() {
        auto& q = world_.driver.queues[0];
        auto& random = world_.host;
        const auto lists = random.random_below(5);
        unsigned added = 0;
        for (; added < lists && q.free >= (tables_ ? 1 : 3); ++added) {
            const unsigned room = tables_ ? 12U : q.free;
            const unsigned length =
                random.chance(100) ? room : 3 + static_cast<unsigned>(random.random_below(std::min(room - 2, 6U)));
            auto& its = buffers_[q.ids.back()];
            its.sector = random.random_below(4096);
            store(its.header + 8, its.sector);
            *its.status = std::byte{0xff};
            std::vector<element> list{{its.header, 16, false}};
            for (unsigned i = 0; i < length - 2; ++i)
                list.push_back({its.data, sector_bytes, true});
            list.push_back({its.status, 1, true});
            its.sector += length - 3; // the last one stays in the buffer
            spanned_ = spanned_ || (!tables_ && q.next + length > q.size);
            filled_ = filled_ || (!tables_ && length == q.size);
            tables_ ? world_.driver.add_table(0, list) : world_.driver.add_list(0, list);
        }
        if (added != 0)
            world_.driver.publish_packed();
        in_flight_ += added;
    }

    unsigned reap() {
        const std::vector<std::uint16_t> order(world_.driver.queues[0].order.begin(),
                                               world_.driver.queues[0].order.end());
        const std::uint16_t id = world_.driver.reap_packed();
        if (id == raw_driver::no_slot) {
            failed_ = true;
            BOOST_ERROR("the device has stopped: " << world_.host.describe());
            return 0;
        }
        BOOST_TEST(world_.driver.retired != 0U);
        const auto& its = buffers_[id];
        BOOST_TEST(look<std::uint8_t>(its.status) == request_status::ok);
        BOOST_TEST(std::memcmp(its.data, world_.device.disk().data() + its.sector * sector_bytes, sector_bytes) == 0);
        in_flight_ -= world_.driver.retired;
        return world_.driver.retired;
    }

    packed_world& world_;
    bool tables_;
    std::vector<buffers> buffers_;
    unsigned in_flight_ = 0;
    bool failed_ = false, filled_ = false, spanned_ = false;
};

// A flush that is published; its id.
std::uint16_t flush(packed_world& w) {
    const std::uint16_t id =
        w.driver.add_list(0, {{w.driver.header(request_type::flush, 0), 16, false}, {w.driver.status_byte(), 1, true}});
    w.driver.publish_packed();
    return id;
}

void run(packed_world& w, arch::ticks span = 2'000) {
    w.host.run_until(w.host.time() + span);
}

void want_interrupt(packed_world& w, unsigned off_wrap, std::uint16_t kind) {
    store(w.driver.queues[0].driver_area, static_cast<std::uint16_t>(off_wrap));
    store(w.driver.queues[0].driver_area + 2, kind);
}

} // namespace

BOOST_AUTO_TEST_SUITE(virtio_blk_packed_model_tests)

BOOST_AUTO_TEST_CASE(reads_over_many_laps) {
    for (const std::uint16_t size : {std::uint16_t{3}, std::uint16_t{8}, std::uint16_t{129}})
        for (const bool with_events : {false, true})
            for (const bool tables : {false, true})
                BOOST_TEST_CONTEXT("size " << size << ", EVENT_IDX " << with_events << ", INDIRECT " << tables) {
                    packed_world w{packed_configuration()};
                    w.device.fill(size);
                    w.driver.start_packed(with_events ? 0 : event_idx, size);
                    traffic t{w, tables};
                    t.run(size * 8U);
                    BOOST_TEST(t.spanned_the_end() == (!tables && size != 3));
                    BOOST_TEST((t.filled_the_ring() || tables || size == 129));
                    BOOST_TEST(w.device.idle());
                    silent(w);
                }
}

BOOST_AUTO_TEST_CASE(whatever_a_device_may_do_a_correct_driver_stays_without_a_word) {
    for (std::uint64_t seed = 1; seed <= 60; ++seed)
        BOOST_TEST_CONTEXT("seed " << seed) {
            machine_options o;
            o.seed = seed;
            o.memory_bytes = std::size_t{16} << 20;
            o.spurious_wake_ups = seed % 3 == 0 ? 100 : 0;
            packed_world w{packed_configuration((seed % 5 == 0 ? feature::bit(feature::notification_data) : 0) |
                                                (seed % 4 == 0 ? in_order : 0)),
                           o};
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
            b.in_order_batches = often();
            b.spurious_chance = often() ? 100 : 0;
            b.interrupt_suppressed_chance = often() ? 200 : 0;
            b.interrupt_each_lap = often();
            b.complete_in_rearm_window = often();
            b.complete_at_acknowledge = often();
            b.suppress_for = often() ? w.host.random_below(400) : 0;
            b.avail_event_ahead = often() ? 4 : 0;
            b.trusts_notifications = often();
            b.avail_event_noise = often();
            b.used_without_write = often();
            b.used_descriptor_noise = often();
            if (often())
                w.device.inject(fault::scribble, 0, forever);
            const std::uint16_t sizes[] = {3, 8, 13, 64, 129};
            w.driver.start_packed(often() ? event_idx : 0, sizes[w.host.random_below(std::size(sizes))]);
            traffic t{w, often()};
            t.run(300);
            BOOST_TEST(w.device.idle());
            silent(w);
        }
}

BOOST_AUTO_TEST_CASE(used_descriptors_are_as_they_are_to_be) {
    for (const bool as_qemu : {false, true}) {
        packed_world w{packed_configuration()};
        w.device.behave.used_without_write = as_qemu;
        w.driver.start_packed(0, 4);
        for (unsigned lap = 1; lap <= 3; ++lap)
            for (unsigned half = 0; half < 2; ++half) {
                BOOST_TEST(w.driver.packed_request(request_type::flush, 0, {}) == 0);
                const unsigned mark = lap % 2 != 0 ? 0x8080 : 0;
                const unsigned of_other_slot = lap % 2 != 0 ? 0x80 : 0x8000;
                BOOST_TEST(w.driver.last_flags == (as_qemu ? mark : mark | descriptor_flag::write));
                BOOST_TEST(w.driver.last_length == 1U);
                // The other slot of the list keeps what the driver has written.
                BOOST_TEST(load<std::uint16_t>(w.driver.flags_of(0, 2 * half + 1)) ==
                           (of_other_slot | descriptor_flag::write));
            }
        silent(w);
    }
}

BOOST_AUTO_TEST_CASE(a_batch_in_order_takes_one_descriptor) {
    packed_world w{packed_configuration(in_order)};
    w.driver.start_packed();
    w.device.behave.in_order_batches = true;
    w.device.behave.burst = 3;
    for (int i = 0; i < 2; ++i) {
        for (int j = 0; j < 3; ++j)
            w.driver.add_list(
                0, {{w.driver.header(request_type::flush, 0), 16, false}, {w.driver.status_byte(), 1, true}});
        w.driver.publish_packed();
        BOOST_TEST(w.driver.reap_packed() != raw_driver::no_slot);
        BOOST_TEST(w.driver.retired == 3U);
    }
    BOOST_TEST(w.device.counters(0).completed == 6U);
    BOOST_TEST(w.device.idle());
    silent(w);
}

BOOST_AUTO_TEST_CASE(interrupts_follow_the_driver_area) {
    packed_world w{packed_configuration()};
    w.driver.start_packed(0, 8);
    const auto interrupts_of = [&](unsigned off_wrap, std::uint16_t kind, unsigned flushes) {
        want_interrupt(w, off_wrap, kind);
        const auto before = w.driver.interrupts;
        for (unsigned i = 0; i < flushes; ++i) {
            flush(w);
            run(w);
            BOOST_TEST(w.driver.next_is_used(0));
            w.driver.reap_packed();
        }
        return w.driver.interrupts - before;
    };
    constexpr unsigned wrap = 1U << 15;
    BOOST_TEST(interrupts_of(0, event_flag::enable, 1) == 1U);  // slots 0, 1
    BOOST_TEST(interrupts_of(0, event_flag::disable, 1) == 0U); // 2, 3
    BOOST_TEST(interrupts_of(4 | wrap, event_flag::at_descriptor, 1) == 1U);
    BOOST_TEST(interrupts_of(7 | wrap, event_flag::at_descriptor, 1) == 1U); // 6, 7: passed, not met
    BOOST_TEST(interrupts_of(4, event_flag::at_descriptor, 2) == 0U);        // 0 to 3 of the second lap
    BOOST_TEST(interrupts_of(4, event_flag::at_descriptor, 2) == 1U);
    BOOST_TEST(interrupts_of(2, event_flag::at_descriptor, 4) == 0U); // of the second lap, and this is the third
    BOOST_TEST(interrupts_of(2, event_flag::at_descriptor, 4) == 1U);
    w.device.behave.interrupt_each_lap = true;
    BOOST_TEST(interrupts_of(2, event_flag::at_descriptor, 4) == 1U); // of the fifth, when the counter wraps
    silent(w);
}

BOOST_AUTO_TEST_CASE(notifications_are_asked_for_in_the_device_area) {
    for (const bool with_events : {false, true}) {
        packed_world w{packed_configuration()};
        w.driver.start_packed(with_events ? 0 : event_idx, 8);
        const auto area = [&] {
            return std::pair{load<std::uint16_t>(w.driver.queues[0].device_area),
                             load<std::uint16_t>(w.driver.queues[0].device_area + 2)};
        };
        BOOST_TEST((area() == std::pair<std::uint16_t, std::uint16_t>{0, 0}));
        flush(w);
        w.driver.reap_packed();
        if (with_events)
            BOOST_TEST((area() == std::pair<std::uint16_t, std::uint16_t>{2 | 1 << 15, event_flag::at_descriptor}));
        else
            BOOST_TEST(area().second == event_flag::enable);
        w.device.behave.suppress_for = 200;
        for (unsigned i = 0; i < 16; ++i) {
            flush(w);
            w.driver.reap_packed();
        }
        BOOST_TEST(w.device.counters(0).notifications < 17U);
        BOOST_TEST(w.device.counters(0).superfluous == 0U);
        BOOST_TEST(w.device.idle());
        silent(w);
    }
}

BOOST_AUTO_TEST_CASE(faults_show_in_the_ring) {
    const auto with_fault = [](fault what, const std::function<void(packed_world&, std::uint16_t)>& see) {
        packed_world w{packed_configuration()};
        w.driver.start_packed();
        w.device.inject(what);
        w.driver.add_list(
            0,
            {{w.driver.header(0, 0), 16, false}, {w.driver.buffer(512), 512, true}, {w.driver.status_byte(), 1, true}});
        w.driver.publish_packed();
        const std::uint16_t id = w.driver.reap_packed();
        BOOST_TEST(w.device.fired(what) == 1U);
        see(w, id);
        silent(w);
    };
    with_fault(fault::used_id_out_of_range, [](auto&, auto id) { BOOST_TEST(id >= 8U); });
    with_fault(fault::used_id_free, [](auto& w, auto id) {
        BOOST_TEST(id < 8U);
        BOOST_TEST(w.driver.retired == 0U);
    });
    with_fault(fault::used_duplicate, [](auto& w, auto id) {
        BOOST_TEST(w.driver.retired == 1U);
        BOOST_TEST(w.driver.next_is_used(0));
        BOOST_TEST(w.driver.reap_packed() == id);
        BOOST_TEST(w.driver.retired == 0U);
    });
    with_fault(fault::length_too_long, [](auto& w, auto) { BOOST_TEST(w.driver.last_length > 513U); });
    with_fault(fault::length_too_short, [](auto& w, auto) { BOOST_TEST(w.driver.last_length < 513U); });
    with_fault(fault::used_index_jump, [](auto& w, auto) {
        BOOST_TEST(w.driver.retired == 1U);
        BOOST_TEST(w.driver.next_is_used(0)); // and nothing is in flight
    });
    with_fault(fault::used_index_backwards, [](auto&, auto id) { BOOST_TEST(id == raw_driver::no_slot); });
    {
        packed_world w{packed_configuration()};
        w.driver.start_packed();
        w.device.inject(fault::status_not_written);
        BOOST_TEST(w.driver.packed_request(request_type::flush, 0, {}) == 0xff);
    }
    packed_world w{packed_configuration()};
    w.driver.start_packed();
    w.device.behave.hold = true;
    const auto id = w.driver.add_table(
        0, {{w.driver.header(request_type::flush, 0), 16, false}, {w.driver.status_byte(), 1, true}});
    w.driver.publish_packed();
    run(w);
    w.device.move_used_index(0, 3); // the list that is in flight, and two slots of nobody
    BOOST_TEST(w.driver.reap_packed() == id);
    BOOST_TEST(w.driver.retired == 1U);
    BOOST_TEST(w.driver.next_is_used(0));
    silent(w);
}

BOOST_AUTO_TEST_CASE(a_test_rewrites_what_was_used) {
    packed_world w{packed_configuration()};
    w.driver.start_packed();
    const auto first = flush(w);
    run(w);
    BOOST_TEST(w.device.last_used_id(0) == first);
    BOOST_TEST(w.device.last_used_writable(0) == 1U);
    w.device.rewrite_used(0, 7, 99);
    BOOST_TEST(w.driver.reap_packed() == 7);
    BOOST_TEST(w.driver.last_length == 99U);
}

BOOST_AUTO_TEST_CASE(a_test_pushes_a_used_descriptor) {
    packed_world w{packed_configuration()};
    w.driver.start_packed();
    w.device.push_used(0, 5, 17);
    BOOST_TEST(w.driver.reap_packed() == 5);
    BOOST_TEST(w.driver.last_length == 17U);
    BOOST_TEST(w.driver.retired == 0U);
}

BOOST_AUTO_TEST_CASE(a_test_completes_what_is_not_published) {
    for (const bool table : {false, true}) {
        packed_world w{packed_configuration()};
        w.driver.start_packed();
        BOOST_TEST(!w.device.complete_unpublished(0));
        std::byte* const status = w.driver.status_byte();
        const std::vector<element> request{{w.driver.header(request_type::flush, 0), 16, false}, {status, 1, true}};
        const auto id = table ? w.driver.add_table(0, request) : w.driver.add_list(0, request);
        BOOST_TEST(w.device.complete_unpublished(0));
        BOOST_TEST(w.driver.reap_packed() == id);
        BOOST_TEST(std::to_integer<unsigned>(*status) == 0U);
        silent(w);
    }
}

BOOST_AUTO_TEST_CASE(a_test_scribbles_over_everything) {
    packed_world w{packed_configuration()};
    w.driver.start_packed();
    flush(w);
    w.device.scribble_over_everything();
    run(w);
    silent(w);
}

BOOST_AUTO_TEST_CASE(a_queue_begins_again_after_a_reset) {
    packed_world w{packed_configuration()};
    for (int i = 0; i < 3; ++i) {
        w.driver.start_packed(0, 5, 1);
        for (int j = 0; j < 4; ++j)
            BOOST_TEST(w.driver.packed_request(request_type::flush, 0, {}) == 0);
        BOOST_TEST(w.device.idle());
    }
    silent(w);
}

BOOST_AUTO_TEST_SUITE_END()
