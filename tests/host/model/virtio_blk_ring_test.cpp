// What the model reports of a driver that is wrong at the rings.
#include "tests/host/model/raw_driver.hpp"

#include <boost/test/unit_test.hpp>
#include <functional>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::model;
using namespace inflight::tests;

} // namespace

BOOST_AUTO_TEST_SUITE(virtio_blk_ring_tests)

BOOST_AUTO_TEST_CASE(what_is_handed_over_is_read_after_a_fence) {
    for (const bool full : {false, true}) {
        world w;
        const std::byte* const status = complete_one(w);
        const std::byte* const used = w.driver.rings[0].used;
        BOOST_TEST(look<std::uint16_t>(used + 2) == 1U);
        full ? arch::fence_full() : arch::fence_consume();
        static_cast<void>(look<std::uint32_t>(used + 4));
        static_cast<void>(look<std::uint32_t>(used + 8));
        static_cast<void>(look<std::uint8_t>(status));
        silent(w);
    }
}

BOOST_AUTO_TEST_CASE(wrong_rings_are_reported) {
    using elements = std::vector<element>;
    const auto read_request = [](world& w) {
        return elements{
            {w.driver.header(0, 0), 16, false}, {w.driver.buffer(512), 512, true}, {w.driver.status_byte(), 1, true}};
    };
    // Submits a read whose descriptors were changed in one way or another.
    const auto twisted = [&](const std::function<void(raw_driver::ring&, std::uint16_t)>& twist,
                             std::uint64_t refused = 0) {
        return [=](world& w) {
            w.driver.start(w.driver.sensible() & ~refused);
            auto& r = w.driver.rings[0];
            twist(r, w.driver.add(r, read_request(w)));
            w.driver.publish(0);
            w.host.run_until(w.host.time() + 1000);
        };
    };
    const auto twisted_table = [&](const std::function<void(std::byte*)>& twist) {
        return [=](world& w) {
            w.driver.start();
            auto& r = w.driver.rings[0];
            w.driver.add_indirect(r, read_request(w));
            twist(w.driver.table_);
            w.driver.publish(0);
            w.host.run_until(w.host.time() + 1000);
        };
    };
    const auto with_order = [&](order o) {
        return [=](world& w) {
            w.driver.start();
            for (int i = 0; i < 3; ++i) {
                w.driver.add(w.driver.rings[0], read_request(w));
                w.driver.publish(0, 1, o);
                if (w.driver.reap() == raw_driver::no_slot)
                    break;
            }
        };
    };
    const auto without_event_idx = [](world& w) {
        w.driver.start(w.driver.sensible() & ~feature::bit(feature::event_idx));
    };
    const auto flags_at = [](std::byte* table, std::size_t slot) {
        return table + 16 * slot + 12;
    };
    const auto next_at = [](std::byte* table, std::size_t slot) {
        return table + 16 * slot + 14;
    };
    const auto in_order = [](blk_configuration& c) {
        c.features = usual_and(feature::in_order);
    };
    const auto held = [&](const std::function<void(world&, std::vector<element>&)>& meddle) {
        return [=](world& w) {
            w.driver.start();
            w.device.behave.latency_min = w.device.behave.latency_max = 1000;
            elements e{{w.driver.header(1, 0), 16, false},
                       {w.driver.buffer(512), 512, false},
                       {w.driver.status_byte(), 1, true}};
            w.driver.add(w.driver.rings[0], e);
            w.driver.publish(0);
            w.host.run_until(w.host.time() + 100);
            meddle(w, e);
            w.host.run_until(w.host.time() + 2000);
        };
    };
    check({
        {"SPLIT-26", "no fence before avail.idx", {}, with_order({.publish = false})},
        {"SPLIT-27", "no full fence after avail.idx", {}, with_order({.full = false})},
        {"DOORBELL", "no fence before the notification", {}, with_order({.doorbell = false})},
        {"DOORBELL",
         "no fence before QueueReady",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.negotiate();
             w.driver.enable_queue(w.driver.prepare_queue(0), false);
         }},
        {"DOORBELL", "no fence before QueuePFN", as_legacy,
         [](world& w) {
             w.driver.begin();
             w.driver.negotiate();
             w.driver.page_size();
             w.driver.enable_queue(w.driver.prepare_queue(0), false);
         }},
        {"CONSUME",
         "an element without a fence",
         {},
         [](world& w) {
             complete_one(w);
             static_cast<void>(look<std::uint16_t>(w.driver.rings[0].used + 2));
             static_cast<void>(look<std::uint32_t>(w.driver.rings[0].used + 4));
         }},
        {"CONSUME",
         "a fence before the look instead of after it",
         {},
         [](world& w) {
             complete_one(w);
             arch::fence_consume();
             static_cast<void>(look<std::uint16_t>(w.driver.rings[0].used + 2));
             static_cast<void>(look<std::uint32_t>(w.driver.rings[0].used + 4));
         }},
        {"CONSUME",
         "a fence of the wrong kind",
         {},
         [](world& w) {
             complete_one(w);
             static_cast<void>(look<std::uint16_t>(w.driver.rings[0].used + 2));
             arch::fence_publish();
             static_cast<void>(look<std::uint32_t>(w.driver.rings[0].used + 4));
         }},
        {"CONSUME",
         "a status byte without a fence",
         {},
         [](world& w) {
             const std::byte* const status = complete_one(w);
             static_cast<void>(look<std::uint16_t>(w.driver.rings[0].used + 2));
             static_cast<void>(look<std::uint8_t>(status));
         }},
        {"SPLIT-24", "no notification", {}, with_order({.notify = false})},
        {"SPLIT-22",
         "no notification, without EVENT_IDX",
         {},
         [=](world& w) {
             without_event_idx(w);
             w.driver.add(w.driver.rings[0], read_request(w));
             w.driver.publish(0, 1, {.notify = false});
             BOOST_TEST(w.driver.reap() == raw_driver::no_slot);
         }},
        {"SPLIT-26",
         "the entry is written after the fence",
         {},
         [=](world& w) {
             w.driver.start();
             auto& r = w.driver.rings[0];
             for (int i = 0; i < 2; ++i) {
                 const auto elements_now = read_request(w);
                 arch::fence_publish();
                 w.driver.add(r, elements_now);
                 w.driver.publish(0, 1, {.publish = false});
                 w.driver.reap();
             }
         }},
        {"SPLIT-26",
         "the header is written after the fence",
         {},
         [=](world& w) {
             w.driver.start();
             auto& r = w.driver.rings[0];
             auto e = read_request(w);
             w.driver.add(r, e);
             arch::fence_publish();
             store(static_cast<std::byte*>(e[0].memory) + 8, std::uint64_t{7});
             w.driver.publish(0, 1, {.publish = false});
             w.driver.reap();
         }},
        {"SPLIT-11",
         "avail.idx goes back",
         {},
         [=](world& w) {
             w.driver.start();
             w.driver.add(w.driver.rings[0], read_request(w));
             w.driver.publish(0);
             store(w.driver.rings[0].available + 2, std::uint16_t{0});
             arch::fence_full();
         }},
        {"SPLIT-33",
         "an available entry that is no slot",
         {},
         [=](world& w) {
             w.driver.start();
             auto& r = w.driver.rings[0];
             w.driver.add(r, read_request(w));
             w.driver.enter(r, 8, 0);
             w.driver.publish(0);
         }},
        {"SPLIT-38",
         "a slot that is in flight",
         {},
         [=](world& w) {
             w.driver.start();
             auto& r = w.driver.rings[0];
             w.driver.enter(r, w.driver.add(r, read_request(w)), 1);
             w.driver.publish(0, 2);
         }},
        {"SPLIT-38",
         "two chains share a slot",
         {},
         [=](world& w) {
             w.driver.start();
             auto& r = w.driver.rings[0];
             const auto first = w.driver.add(r, read_request(w));
             const auto second = w.driver.add(r, read_request(w), 1);
             store(next_at(r.descriptors, second), r.slots[first][1]);
             w.driver.publish(0, 2);
             w.host.run_until(w.host.time() + 1000);
         }},
        {"SPLIT-02",
         "readable after writable",
         {},
         [=](world& w) {
             w.driver.start();
             auto e = read_request(w);
             std::swap(e[0], e[1]);
             w.driver.add(w.driver.rings[0], e);
             w.driver.publish(0);
             w.driver.reap();
         }},
        {"SPLIT-04", "a loop", {}, twisted([=](auto& r, auto head) {
             store(flags_at(r.descriptors, r.slots[head][2]), std::uint16_t{3});
             store(next_at(r.descriptors, r.slots[head][2]), r.slots[head][1]);
         })},
        {"SPLIT-04", "a loop in a table", {}, twisted_table([=](auto* table) {
             store(flags_at(table, 2), std::uint16_t{3});
             store(next_at(table, 2), std::uint16_t{1});
         })},
        {"SPLIT-35", "an unknown flag", {}, twisted([=](auto& r, auto head) {
             store(flags_at(r.descriptors, head), std::uint16_t{1 | 16});
         })},
        {"SPLIT-35", "next is no slot", {}, twisted([=](auto& r, auto head) {
             store(next_at(r.descriptors, head), std::uint16_t{8});
         })},
        {"SPLIT-35",
         "a table of an odd length",
         {},
         [=](world& w) {
             w.driver.start();
             auto& r = w.driver.rings[0];
             const auto head = w.driver.add_indirect(r, read_request(w));
             store(r.descriptors + 16 * head + 8, std::uint32_t{47});
             w.driver.publish(0);
             w.host.run_until(w.host.time() + 1000);
         }},
        {"SPLIT-06",
         "an indirect table without the feature",
         {},
         [=](world& w) {
             w.driver.start(w.driver.sensible() & ~feature::bit(feature::indirect_desc));
             w.driver.add_indirect(w.driver.rings[0], read_request(w));
             w.driver.publish(0);
             w.driver.reap();
         }},
        {"SPLIT-07", "a table in a table", {}, twisted_table([=](auto* table) {
             store(flags_at(table, 0), std::uint16_t{4});
         })},
        {"SPLIT-08",
         "a table longer than the queue",
         {},
         [=](world& w) {
             w.driver.start();
             elements e{{w.driver.header(0, 0), 16, false}};
             for (int i = 0; i < 8; ++i)
                 e.push_back({w.driver.buffer(512), 512, true});
             e.push_back({w.driver.status_byte(), 1, true});
             w.driver.add_indirect(w.driver.rings[0], e);
             w.driver.publish(0);
             w.driver.reap();
         }},
        {"SPLIT-09",
         "INDIRECT and NEXT",
         {},
         [=](world& w) {
             w.driver.start();
             auto& r = w.driver.rings[0];
             auto e = read_request(w);
             const auto tail = w.driver.add(r, {{e[2].memory, 1, true}});
             e.pop_back();
             const auto head = w.driver.add_indirect(r, e);
             store(flags_at(r.descriptors, head), std::uint16_t{5});
             store(next_at(r.descriptors, head), tail);
             w.driver.publish(0);
             w.driver.reap();
         }},
        {"SPLIT-03", "more descriptors than the test permits", [](auto& c) { c.max_descriptors = 2; },
         [=](world& w) {
             w.driver.start();
             w.driver.add(w.driver.rings[0], read_request(w));
             w.driver.publish(0);
             w.driver.reap();
         }},
        {"SPLIT-05", "a chain out of order with IN_ORDER", in_order,
         [=](world& w) {
             w.driver.start();
             auto& r = w.driver.rings[0];
             r.free = {1, 2, 0};
             w.driver.add(r, read_request(w));
             w.driver.publish(0);
             w.driver.reap();
         }},
        {"SPLIT-39", "heads out of order with IN_ORDER", in_order,
         [=](world& w) {
             w.driver.start();
             auto& r = w.driver.rings[0];
             r.free = {5, 4, 3};
             w.driver.add(r, read_request(w));
             w.driver.publish(0);
             w.driver.reap();
         }},
        {"SPLIT-10", "a table out of order with IN_ORDER", in_order,
         [=](world& w) {
             w.driver.start();
             auto& r = w.driver.rings[0];
             auto e = read_request(w);
             std::swap(e[1], e[2]); // places 1 and 2 are exchanged, the links put them right
             w.driver.add_indirect(r, e);
             store(next_at(w.driver.table_, 0), std::uint16_t{2});
             store(flags_at(w.driver.table_, 2), std::uint16_t{3});
             store(next_at(w.driver.table_, 2), std::uint16_t{1});
             store(flags_at(w.driver.table_, 1), std::uint16_t{2});
             w.driver.publish(0);
             w.driver.reap();
         }},
        {"SPLIT-14",
         "avail.flags with EVENT_IDX",
         {},
         [=](world& w) {
             w.driver.start();
             store(w.driver.rings[0].available, std::uint16_t{1});
             w.driver.request(request_type::flush, 0, {});
         }},
        {"SPLIT-12",
         "avail.flags 2",
         {},
         [=](world& w) {
             without_event_idx(w);
             store(w.driver.rings[0].available, std::uint16_t{2});
             w.driver.request(request_type::flush, 0, {});
         }},
        {"SPLIT-34",
         "the driver writes to the used ring",
         {},
         [=](world& w) {
             w.driver.start();
             w.driver.request(request_type::flush, 0, {});
             w.driver.rings[0].used[5] = std::byte{9};
             w.driver.request(request_type::flush, 0, {});
         }},
        {"SPLIT-25", "notifies although it is not asked to", [](auto& c) { c.superfluous_permitted = 0; },
         [=](world& w) {
             w.driver.start();
             w.device.behave.suppress_for = 100'000;
             w.driver.request(request_type::flush, 0, {});
             w.driver.add(w.driver.rings[0], read_request(w));
             w.driver.publish(0);
             BOOST_TEST(w.device.counters(0).superfluous == 0U);
             arch::fence_doorbell();
             w.driver.put(reg::queue_notify, 0);
             w.driver.reap();
         }},
        {"SPLIT-21", "notifies in spite of NO_NOTIFY", [](auto& c) { c.superfluous_permitted = 0; },
         [=](world& w) {
             without_event_idx(w);
             w.device.behave.suppress_for = 100'000;
             w.driver.request(request_type::flush, 0, {});
             w.driver.add(w.driver.rings[0], read_request(w));
             w.driver.publish(0);
             BOOST_TEST(w.device.counters(0).superfluous == 0U);
             arch::fence_doorbell();
             w.driver.put(reg::queue_notify, 0);
             w.driver.reap();
         }},
        {"NOTIFY", "notifies of nothing", [](auto& c) { c.superfluous_permitted = 0; },
         [=](world& w) {
             w.driver.start();
             w.driver.put(reg::queue_notify, 0);
         }},
        {"MMIO-38", "notifies of a queue that is not enabled", [](auto& c) { c.queues = 2; },
         [](world& w) {
             w.driver.start();
             w.driver.put(reg::queue_notify, 1);
         }},
        {"NOTE-01",
         "notifies with more than the index",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.put(reg::queue_notify, 1 << 16);
         }},
        {"NOTE-02", "notification data of another index",
         [](auto& c) { c.features = usual_and(feature::notification_data); },
         [=](world& w) {
             w.driver.start();
             BOOST_TEST(w.driver.request(request_type::flush, 0, {}) == 0);
             w.driver.put(reg::queue_notify, 0 | 5 << 16);
         }},
        {"STAT-04",
         "notifies after NEEDS_RESET",
         {},
         [=](world& w) {
             w.driver.start();
             w.device.raise_needs_reset();
             w.driver.put(reg::queue_notify, 0);
         }},
        {"RSVD-05", "a buffer outside of memory", {}, twisted([](auto& r, auto head) {
             store(r.descriptors + 16 * r.slots[head][1], std::uint64_t{0x1234});
         })},
        {"CLEAN-01", "a descriptor in flight is changed", {}, held([=](world& w, auto&) {
             store(flags_at(w.driver.rings[0].descriptors, 0), std::uint16_t{0});
         })},
        {"CLEAN-01",
         "an entry is changed before it is taken",
         {},
         [=](world& w) {
             w.driver.start();
             w.device.behave.notification_latency_min = w.device.behave.notification_latency_max = 500;
             auto& r = w.driver.rings[0];
             w.driver.add(r, read_request(w));
             w.driver.publish(0);
             store(r.available + 4, std::uint16_t{5});
             w.driver.reap();
         }},
        {"BUFFER", "the header in flight is changed", {}, held([](world&, auto& e) {
             store(static_cast<std::byte*>(e[0].memory) + 8, std::uint64_t{1});
         })},
        {"BUFFER", "data in flight is changed", {}, held([](world&, auto& e) {
             static_cast<std::byte*>(e[1].memory)[511] = std::byte{1};
         })},
        {"IDLE",
         "a request is left in flight",
         {},
         [=](world& w) {
             w.driver.start();
             w.device.inject(fault::never_complete);
             w.driver.add(w.driver.rings[0], read_request(w));
             w.driver.publish(0);
             BOOST_TEST(w.driver.reap() == raw_driver::no_slot);
             BOOST_TEST(!w.device.idle());
         }},
    });
}

BOOST_AUTO_TEST_SUITE_END()
