// What the model reports of a driver that is wrong at a packed ring.
#include "tests/host/model/raw_packed_driver.hpp"

#include <boost/test/unit_test.hpp>
#include <functional>
#include <utility>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::model;
using namespace inflight::tests;
using elements = std::vector<element>;
using action = std::function<void(packed_world&)>;

elements read_request(packed_world& w) {
    return {{w.driver.header(0, 0), 16, false}, {w.driver.buffer(512), 512, true}, {w.driver.status_byte(), 1, true}};
}

// One read, completed and not looked at yet. Returns its status byte.
const std::byte* complete_read(packed_world& w) {
    w.driver.start_packed();
    auto request = read_request(w);
    w.driver.add_list(0, request);
    w.driver.publish_packed();
    w.host.run_until(w.host.time() + 1'000);
    return static_cast<const std::byte*>(request[2].memory);
}

std::uint16_t flags(packed_world& w, std::size_t slot) {
    return load<std::uint16_t>(w.driver.flags_of(0, slot));
}

void add_flags(packed_world& w, std::size_t slot, unsigned more) {
    store(w.driver.flags_of(0, slot), static_cast<std::uint16_t>(flags(w, slot) | more));
}

void run(packed_world& w, arch::ticks span = 2'000) {
    w.host.run_until(w.host.time() + span);
}

// Publishes a read in slots 0 to 2 that was changed in one way or another.
action twisted(const std::function<void(packed_world&)>& twist, std::uint16_t size = 8, std::uint64_t refused = 0) {
    return [=](packed_world& w) {
        w.driver.start_packed(refused, size);
        w.driver.add_list(0, read_request(w));
        twist(w);
        w.driver.publish_packed();
        run(w);
    };
}

action twisted_table(const std::function<void(packed_world&, std::byte*)>& twist, std::uint64_t refused = 0) {
    return [=](packed_world& w) {
        w.driver.start_packed(refused);
        w.driver.add_table(0, read_request(w));
        twist(w, w.driver.table);
        w.driver.publish_packed();
        run(w);
    };
}

// Three reads in this order of memory.
action with_order(order o) {
    return [=](packed_world& w) {
        w.driver.start_packed();
        for (int i = 0; i < 3; ++i) {
            w.driver.add_list(0, read_request(w));
            w.driver.publish_packed(0, o);
            if (w.driver.reap_packed() == raw_driver::no_slot)
                break;
        }
    };
}

// A write that the device has; then something happens to it.
action held(const std::function<void(packed_world&, elements&)>& meddle, bool table = false) {
    return [=](packed_world& w) {
        w.driver.start_packed();
        w.device.behave.latency_min = w.device.behave.latency_max = 1000;
        elements e{
            {w.driver.header(1, 0), 16, false}, {w.driver.buffer(512), 512, false}, {w.driver.status_byte(), 1, true}};
        table ? w.driver.add_table(0, e) : w.driver.add_list(0, e);
        w.driver.publish_packed();
        run(w, 100);
        meddle(w, e);
        run(w);
    };
}

// A read that the device has been shown, and has not looked at yet.
action untaken(const std::function<void(packed_world&)>& meddle, bool table = false) {
    return [=](packed_world& w) {
        w.driver.start_packed();
        w.device.behave.notification_latency_min = w.device.behave.notification_latency_max = 500;
        table ? w.driver.add_table(0, read_request(w)) : w.driver.add_list(0, read_request(w));
        w.driver.publish_packed();
        meddle(w);
        run(w);
    };
}

// A queue of 8 whose parts were changed before it is enabled.
action laid_out(const std::function<void(packed_world&, raw_packed_driver::packed_queue&)>& change) {
    return [=](packed_world& w) {
        w.driver.begin();
        w.driver.negotiate();
        change(w, w.driver.prepare_packed(0, 8));
        w.driver.enable_packed();
    };
}

// With the queue ready and nothing in it.
action started(const std::function<void(packed_world&)>& act, std::uint64_t refused = 0) {
    return [=](packed_world& w) {
        w.driver.start_packed(refused);
        act(w);
    };
}

void with_notification_data(blk_configuration& c) {
    c.features = *c.features | feature::bit(feature::notification_data);
}

constexpr std::uint64_t event_idx = feature::bit(feature::event_idx);

} // namespace

BOOST_AUTO_TEST_SUITE(virtio_blk_packed_ring_tests)

BOOST_AUTO_TEST_CASE(what_is_handed_over_is_read_after_a_fence) {
    for (const bool full : {false, true})
        for (const bool at_once : {false, true}) {
            packed_world w{packed_configuration()};
            const std::byte* const status = complete_read(w);
            const std::byte* const used = w.driver.queues[0].descriptors;
            if (at_once)
                static_cast<void>(look<std::uint64_t>(used + 8));
            else
                BOOST_TEST(look<std::uint16_t>(used + 14) == 0x8082U);
            full ? arch::fence_full() : arch::fence_consume();
            if (!at_once)
                BOOST_TEST(look<std::uint32_t>(used + 8) == 513U);
            static_cast<void>(look<std::uint16_t>(used + 12));
            static_cast<void>(look<std::uint8_t>(status));
            silent(w);
        }
}

BOOST_AUTO_TEST_CASE(wrong_set_up_is_reported) {
    check_packed({
        {"PACK-01", "the ring is not aligned", {}, laid_out([](auto& w, auto&) {
             w.driver.put_address(reg::queue_desc_low, w.driver.zeroed(136, 16) + 8);
         })},
        {"PACK-01", "the driver area is not aligned", {}, laid_out([](auto& w, auto&) {
             w.driver.put_address(reg::queue_driver_low, w.driver.zeroed(8, 4) + 2);
         })},
        {"PACK-01", "the device area is not aligned", {}, laid_out([](auto& w, auto&) {
             w.driver.put_address(reg::queue_device_low, w.driver.zeroed(8, 4) + 1);
         })},
        {"PACK-27", "the ring is not zero", {}, laid_out([](auto&, auto& q) { q.descriptors[127] = std::byte{1}; })},
        {"PACK-27", "the driver area is not zero", {}, laid_out([](auto&, auto& q) {
             q.driver_area[2] = std::byte{1};
         })},
        {"PACK-27", "the device area is not zero", {}, laid_out([](auto&, auto& q) {
             q.device_area[3] = std::byte{1};
         })},
        {"MMIO-36", "two parts overlap", {}, laid_out([](auto& w, auto& q) {
             w.driver.put_address(reg::queue_device_low, q.descriptors + 16);
         })},
        {"RSVD-05", "a part is not in memory", {}, laid_out([](auto& w, auto&) {
             w.driver.put(reg::queue_driver_low, 64);
             w.driver.put(reg::queue_driver_low + 4, 0);
         })},
        {"PACK-28", "a queue that is too large", [](auto& c) { c.queue_size_max = 65'535; },
         laid_out([](auto& w, auto&) { w.driver.put(reg::queue_size, 32'769); })},
        {"PACK-28", "a queue without slots", {}, laid_out([](auto& w, auto&) { w.driver.put(reg::queue_size, 0); })},
        {"MMIO-14", "a queue larger than the device's", {}, laid_out([](auto& w, auto&) {
             w.driver.put(reg::queue_size, 257);
             w.driver.put_address(reg::queue_desc_low, w.driver.zeroed(std::size_t{257} * 16, 16));
         })},
        {"RSVD-06", "packed rings are offered and not accepted", [](auto& c) { c.tolerated.clear(); },
         [](packed_world& w) {
             w.driver.begin();
             w.driver.negotiate(w.driver.sensible() & ~feature::bit(feature::ring_packed));
         }},
    });
}

BOOST_AUTO_TEST_CASE(wrong_lists_are_reported) {
    check_packed({
        {"PACK-06", "more descriptors than the test permits", [](auto& c) { c.max_descriptors = 2; },
         twisted([](auto&) {})},
        {"PACK-07",
         "a list that does not end",
         {},
         twisted([](auto& w) { add_flags(w, 2, descriptor_flag::next); }, 3)},
        {"PACK-08", "readable after writable", {}, started([](auto& w) {
             auto e = read_request(w);
             std::swap(e[0], e[1]);
             w.driver.add_list(0, e);
             w.driver.publish_packed();
             run(w);
         })},
        {"PACK-10", "a list that reaches into slots of the device", {}, started([](auto& w) {
             w.device.behave.hold = true;
             for (int i = 0; i < 3; ++i) {
                 w.driver.add_list(0, read_request(w));
                 w.driver.publish_packed();
                 run(w);
             }
         })},
        {"PACK-02", "a list in slots of the device", {}, started([](auto& w) {
             w.device.behave.hold = true;
             for (int i = 0; i < 5; ++i) {
                 w.driver.add_list(
                     0, {{w.driver.header(request_type::flush, 0), 16, false}, {w.driver.status_byte(), 1, true}});
                 w.driver.publish_packed();
                 run(w);
             }
         })},
        {"PACK-02",
         "slots that are used again before that was seen",
         {},
         [](packed_world& w) {
             complete_read(w);
             static_cast<void>(look<std::uint16_t>(w.driver.flags_of(0, 0)));
             for (int i = 0; i < 2; ++i) {
                 w.driver.add_list(0, read_request(w)); // slots 3 to 5; 6, 7 and 0
                 w.driver.publish_packed();
                 run(w);
             }
             w.driver.add_list(0, read_request(w)); // slots 1 to 3
             w.driver.publish_packed();
             run(w);
         }},
        {"PACK-12",
         "INDIRECT without its feature",
         {},
         twisted_table([](auto&, auto*) {}, feature::bit(feature::indirect_desc))},
        {"PACK-13", "NEXT in a table", {}, twisted_table([](auto&, auto* table) {
             store(table + 14, descriptor_flag::next);
         })},
        {"PACK-13", "AVAIL in a table", {}, twisted_table([](auto&, auto* table) {
             store(table + 16 + 14, static_cast<std::uint16_t>(descriptor_flag::available | descriptor_flag::write));
         })},
        {"PACK-13", "a table of an odd length", {}, twisted_table([](auto& w, auto*) {
             store(w.driver.slot(0, 0) + 8, std::uint32_t{47});
         })},
        {"PACK-14", "a table longer than the device allows", [](auto& c) { c.queue_size_max = 8; },
         started([](auto& w) {
             elements e{{w.driver.header(0, 0), 16, false}};
             for (int i = 0; i < 7; ++i)
                 e.push_back({w.driver.buffer(512), 512, true});
             e.push_back({w.driver.status_byte(), 1, true});
             w.driver.add_table(0, e);
             w.driver.publish_packed();
             run(w);
         })},
        {"PACK-14", "a table longer than the test permits", [](auto& c) { c.max_descriptors = 2; },
         twisted_table([](auto&, auto*) {})},
        {"PACK-15", "INDIRECT and NEXT", {}, started([](auto& w) {
             auto e = read_request(w);
             std::byte* const table = w.driver.zeroed(16, 16);
             store(table, packed_descriptor{w.host.device_address(e[0].memory), 16, 0, 0});
             w.driver.place(0, {{w.host.device_address(table), 16, 0, descriptor_flag::indirect},
                                {w.host.device_address(e[2].memory), 1, 0, descriptor_flag::write}});
             store(static_cast<std::byte*>(e[0].memory), request_type::flush);
             w.driver.publish_packed();
             run(w);
         })},
        {"PACK-15", "a table at the end of a list", {}, started([](auto& w) {
             auto e = read_request(w);
             std::byte* const table = w.driver.zeroed(16, 16);
             store(table, packed_descriptor{w.host.device_address(e[2].memory), 1, 0, descriptor_flag::write});
             w.driver.place(0, {{w.host.device_address(e[0].memory), 16, 0, 0},
                                {w.host.device_address(table), 16, 0, descriptor_flag::indirect}});
             store(static_cast<std::byte*>(e[0].memory), request_type::flush);
             w.driver.publish_packed();
             run(w);
         })},
        {"PACK-22", "a buffer id twice", {}, started([](auto& w) {
             w.device.behave.hold = true;
             const auto id = w.driver.add_list(0, read_request(w));
             w.driver.publish_packed();
             run(w);
             w.driver.add_list(0, read_request(w));
             store(w.driver.slot(0, 5) + 12, id);
             w.driver.publish_packed();
             run(w);
         })},
        {"PACK-22", "a buffer id twice in one batch", {}, started([](auto& w) {
             const auto id = w.driver.add_list(0, read_request(w));
             w.driver.add_list(0, read_request(w));
             store(w.driver.slot(0, 5) + 12, id);
             w.driver.publish_packed();
             run(w);
         })},
        {"RSVD-05", "a buffer outside of memory", {}, twisted([](auto& w) {
             store(w.driver.slot(0, 1), std::uint64_t{0x1234});
         })},
        {"RSVD-05", "a table outside of memory", {}, twisted_table([](auto& w, auto*) {
             store(w.driver.slot(0, 0), std::uint64_t{0x1230});
         })},
    });
}

BOOST_AUTO_TEST_CASE(wrong_flags_are_reported) {
    const auto flushes = [](packed_world& w, int count) {
        for (int i = 0; i < count; ++i)
            BOOST_TEST(w.driver.packed_request(request_type::flush, 0, {}) == 0);
    };
    check_packed({
        {"PACK-20", "the wrap counter begins with 0", {}, started([](auto& w) {
             w.driver.queues[0].wrap = false;
             w.driver.add_list(0, read_request(w));
             w.driver.publish_packed();
             BOOST_TEST(w.driver.reap_packed() == raw_driver::no_slot);
         })},
        {"PACK-20", "the wrap counter stays after a lap", {}, started([=](auto& w) {
             flushes(w, 4);
             w.driver.queues[0].wrap = true;
             w.driver.add_list(0, read_request(w));
             w.driver.publish_packed();
             w.driver.notify_packed();
             run(w);
         })},
        {"PACK-20", "the wrap counter stays within a list", {}, started([=](auto& w) {
             flushes(w, 3);
             w.driver.add_list(0, read_request(w)); // slots 6, 7, 0
             store(w.driver.flags_of(0, 0),
                   static_cast<std::uint16_t>(descriptor_flag::write | descriptor_flag::available));
             w.driver.publish_packed();
             run(w);
         })},
        {"PACK-21", "USED is not the inverse of the wrap counter", {}, twisted([](auto& w) {
             w.driver.queues[0].held_flags |= descriptor_flag::used;
         })},
        {"PACK-23", "AVAIL and USED in the middle of a list", {}, twisted([](auto& w) {
             add_flags(w, 1, descriptor_flag::used);
         })},
        {"PACK-23", "neither of them at the end of a list", {}, twisted([](auto& w) {
             store(w.driver.flags_of(0, 2), descriptor_flag::write);
         })},
        {"PACK-23", "an unknown flag", {}, twisted([](auto& w) { w.driver.queues[0].held_flags |= 0x10; })},
    });
}

BOOST_AUTO_TEST_CASE(wrong_order_is_reported) {
    check_packed({
        {"PACK-16", "no fence before the flags", {}, with_order({.publish = false})},
        {"PACK-17", "no full fence before the device area is read", {}, with_order({.full = false})},
        {"PACK-17", "no full fence before the notification", {}, started([](auto& w) {
             auto& q = w.driver.queues[0];
             w.driver.add_list(0, read_request(w));
             arch::fence_publish();
             store(std::exchange(q.held, nullptr), q.held_flags);
             arch::fence_doorbell();
             w.driver.notify_packed();
             run(w);
         })},
        {"DOORBELL", "no fence before the notification", {}, with_order({.doorbell = false})},
        {"PACK-17", "no notification", {}, with_order({.notify = false})},
        {"PACK-17",
         "no notification, without EVENT_IDX",
         {},
         started(
             [](auto& w) {
                 w.driver.add_list(0, read_request(w));
                 w.driver.publish_packed(0, {.notify = false});
                 BOOST_TEST(w.driver.reap_packed() == raw_driver::no_slot);
             },
             event_idx)},
        {"PACK-11", "the first descriptor is made available before the last", {}, started([](auto& w) {
             auto& q = w.driver.queues[0];
             w.driver.add_list(0, read_request(w));
             const auto last = flags(w, 2);
             store(w.driver.flags_of(0, 2), std::uint16_t{0});
             arch::fence_publish();
             store(q.held, q.held_flags);
             arch::fence_publish();
             store(w.driver.flags_of(0, 2), last);
             w.driver.publish_packed();
         })},
        {"PACK-16", "the list is written after the fence", {}, started([](auto& w) {
             for (int i = 0; i < 2; ++i) {
                 const auto e = read_request(w);
                 arch::fence_publish();
                 w.driver.add_list(0, e);
                 w.driver.publish_packed(0, {.publish = false});
                 w.driver.reap_packed();
             }
         })},
        {"PACK-16", "the last flags are written after the fence", {}, started([](auto& w) {
             w.driver.add_list(0, read_request(w));
             const auto last = flags(w, 2);
             store(w.driver.flags_of(0, 2), std::uint16_t{0});
             arch::fence_publish();
             store(w.driver.flags_of(0, 2), last);
             w.driver.publish_packed(0, {.publish = false});
             w.driver.reap_packed();
         })},
        {"PACK-16", "the header is written after the fence", {}, started([](auto& w) {
             auto e = read_request(w);
             w.driver.add_list(0, e);
             arch::fence_publish();
             store(static_cast<std::byte*>(e[0].memory) + 8, std::uint64_t{7});
             w.driver.publish_packed(0, {.publish = false});
             w.driver.reap_packed();
         })},
        {"PACK-16", "the table is written after the fence", {}, started([](auto& w) {
             w.driver.add_table(0, read_request(w));
             arch::fence_publish();
             store(w.driver.table + 16, w.host.device_address(w.driver.buffer(512)));
             w.driver.publish_packed(0, {.publish = false});
             w.driver.reap_packed();
         })},
        {"PACK-16", "a header behind a table is written after the fence", {}, started([](auto& w) {
             auto e = read_request(w);
             w.driver.add_table(0, e);
             arch::fence_publish();
             store(static_cast<std::byte*>(e[0].memory) + 8, std::uint64_t{7});
             w.driver.publish_packed(0, {.publish = false});
             w.driver.reap_packed();
         })},
        {"PACK-16", "the second list of a batch is written after the fence", {}, started([](auto& w) {
             w.driver.add_list(0, read_request(w));
             arch::fence_publish();
             w.driver.add_list(0, read_request(w));
             w.driver.publish_packed(0, {.publish = false});
             w.driver.reap_packed();
         })},
        {"CONSUME",
         "an id without a fence",
         {},
         [](packed_world& w) {
             complete_read(w);
             static_cast<void>(look<std::uint16_t>(w.driver.flags_of(0, 0)));
             static_cast<void>(look<std::uint16_t>(w.driver.slot(0, 0) + 12));
         }},
        {"CONSUME",
         "a fence before the look instead of after it",
         {},
         [](packed_world& w) {
             complete_read(w);
             arch::fence_consume();
             static_cast<void>(look<std::uint16_t>(w.driver.flags_of(0, 0)));
             static_cast<void>(look<std::uint16_t>(w.driver.slot(0, 0) + 12));
         }},
        {"CONSUME",
         "a fence of the wrong kind",
         {},
         [](packed_world& w) {
             complete_read(w);
             static_cast<void>(look<std::uint16_t>(w.driver.flags_of(0, 0)));
             arch::fence_publish();
             static_cast<void>(look<std::uint16_t>(w.driver.slot(0, 0) + 12));
         }},
        {"CONSUME",
         "a status byte without a fence",
         {},
         [](packed_world& w) {
             const std::byte* const status = complete_read(w);
             static_cast<void>(look<std::uint64_t>(w.driver.slot(0, 0) + 8));
             static_cast<void>(look<std::uint8_t>(status));
         }},
        {"CONSUME",
         "the look at another slot",
         {},
         [](packed_world& w) {
             const std::byte* const status = complete_read(w);
             static_cast<void>(look<std::uint16_t>(w.driver.flags_of(0, 1)));
             arch::fence_consume();
             static_cast<void>(look<std::uint8_t>(status));
         }},
    });
}

BOOST_AUTO_TEST_CASE(changes_while_the_device_owns_a_request_are_reported) {
    check_packed({
        {"PACK-02", "an address in flight", {}, held([](auto& w, auto&) {
             store(w.driver.slot(0, 1), std::uint64_t{0});
         })},
        {"PACK-02", "flags in flight", {}, held([](auto& w, auto&) { add_flags(w, 0, descriptor_flag::write); })},
        {"PACK-03", "a length before it is taken", {}, untaken([](auto& w) {
             store(w.driver.slot(0, 1) + 8, std::uint32_t{1024});
         })},
        {"PACK-03", "a descriptor that is taken back", {}, untaken([](auto& w) {
             store(w.driver.flags_of(0, 0), std::uint16_t{0});
         })},
        {"CLEAN-01",
         "a table before it is taken",
         {},
         untaken([](auto& w) { store(w.driver.table + 16, w.host.device_address(w.driver.buffer(512))); }, true)},
        {"CLEAN-01",
         "a table in flight",
         {},
         held([](auto& w, auto&) { store(w.driver.table + 16, std::uint64_t{0}); }, true)},
        {"BUFFER", "the header in flight", {}, held([](auto&, auto& e) {
             store(static_cast<std::byte*>(e[0].memory) + 8, std::uint64_t{1});
         })},
        {"BUFFER", "data in flight", {}, held([](auto&, auto& e) {
             static_cast<std::byte*>(e[1].memory)[511] = std::byte{1};
         })},
        {"OWNER", "the device area", {}, started([](auto& w) {
             w.driver.add_list(0, read_request(w));
             w.driver.publish_packed();
             w.driver.queues[0].device_area[0] = std::byte{5};
             run(w);
         })},
        {"IDLE", "a request is left in flight", {}, started([](auto& w) {
             w.device.inject(fault::never_complete);
             w.driver.add_list(0, read_request(w));
             w.driver.publish_packed();
             BOOST_TEST(w.driver.reap_packed() == raw_driver::no_slot);
             BOOST_TEST(!w.device.idle());
         })},
    });
}

BOOST_AUTO_TEST_CASE(wrong_notifications_are_reported) {
    const auto area = [](std::uint16_t off_wrap, std::uint16_t kind) {
        return [=](packed_world& w) {
            store(w.driver.queues[0].driver_area, off_wrap);
            store(w.driver.queues[0].driver_area + 2, kind);
            w.driver.packed_request(request_type::flush, 0, {});
        };
    };
    const auto after_a_flush = [](const std::function<std::uint32_t(raw_packed_driver::packed_queue&)>& data) {
        return started([=](packed_world& w) {
            BOOST_TEST(w.driver.packed_request(request_type::flush, 0, {}) == 0);
            w.driver.put(reg::queue_notify, data(w.driver.queues[0]) << 16);
        });
    };
    check_packed({
        {"PACK-29", "event flags 3", {}, started(area(0, 3))},
        {"PACK-29", "an event at a descriptor without EVENT_IDX", {}, started(area(0, 2), event_idx)},
        {"PACK-29", "an event at a slot that does not exist", {}, started(area(8 | 1 << 15, 2))},
        {"PACK-30", "a reserved event flag", {}, started(area(0, 4))},
        {"PACK-04", "notification data of another slot", with_notification_data,
         after_a_flush([](auto& q) { return (q.next + 1U) | 1U << 15; })},
        {"NOTE-03", "notification data of another lap", with_notification_data,
         after_a_flush([](auto& q) { return std::uint32_t{q.next}; })},
        {"NOTE-03", "notification data of a slot that does not exist", with_notification_data,
         after_a_flush([](auto&) { return 8U | 1U << 15; })},
        {"NOTIFY", "notifies of nothing", [](auto& c) { c.superfluous_permitted = 0; },
         started([](auto& w) { w.driver.notify_packed(); })},
        {"NOTIFY", "notifies although it is not asked to", [](auto& c) { c.superfluous_permitted = 0; },
         started([](auto& w) {
             w.device.behave.suppress_for = 100'000;
             w.driver.packed_request(request_type::flush, 0, {});
             w.driver.add_list(0, read_request(w));
             w.driver.publish_packed();
             BOOST_TEST(w.device.counters(0).superfluous == 0U);
             arch::fence_doorbell();
             w.driver.notify_packed();
             w.driver.reap_packed();
         })},
    });
}

BOOST_AUTO_TEST_SUITE_END()
