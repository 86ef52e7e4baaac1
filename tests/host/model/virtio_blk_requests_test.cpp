// What the model reports of a driver with wrong requests, and what becomes of right ones.
#include "tests/host/model/raw_driver.hpp"

#include <algorithm>
#include <array>
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::model;
using namespace inflight::tests;

} // namespace

BOOST_AUTO_TEST_SUITE(virtio_blk_requests_tests)

BOOST_AUTO_TEST_CASE(header_and_status_may_be_cut_anywhere) {
    world w;
    w.device.fill(3);
    w.driver.start();
    std::byte* const header = w.driver.header(0, 5);
    std::byte* const data = w.driver.buffer(513, 0xff);
    w.driver.add(w.driver.rings[0],
                 {{header, 3, false}, {header + 3, 13, false}, {data, 100, true}, {data + 100, 413, true}});
    w.driver.publish(0);
    BOOST_TEST(w.driver.reap() != raw_driver::no_slot);
    BOOST_TEST(std::memcmp(data, w.device.disk().data() + 5 * 512, 512) == 0);
    BOOST_TEST(std::to_integer<int>(data[512]) == 0);
    silent(w);
}

BOOST_AUTO_TEST_CASE(other_requests_work) {
    blk_configuration c;
    c.features = usual_and(feature::lifetime) | feature::bit(feature::secure_erase);
    world w{c};
    w.device.fill(2);
    w.driver.start();
    std::byte* const identifier = w.driver.buffer(20);
    BOOST_TEST(w.driver.request(request_type::get_id, 0, {{identifier, 20, true}}) == 0);
    BOOST_TEST(std::string(reinterpret_cast<const char*>(identifier)) == "inflight-model");
    BOOST_TEST(w.driver.last_length == 21U);
    BOOST_TEST(w.driver.request(request_type::get_lifetime, 0, {{identifier, 6, true}}) == 0);
    const auto old = w.device.disk();
    BOOST_TEST(w.driver.segments(request_type::write_zeroes, {{8, 4, 1}}) == 0);
    BOOST_TEST(std::all_of(w.device.disk().begin() + 8 * 512, w.device.disk().begin() + 12 * 512,
                           [](std::byte b) { return b == std::byte{0}; }));
    BOOST_TEST(w.driver.segments(request_type::discard, {{16, 4, 0}}) == 0);
    BOOST_TEST(w.driver.segments(request_type::secure_erase, {{24, 4, 0}}) == 0);
    BOOST_TEST(std::memcmp(old.data() + 16 * 512, w.device.disk().data() + 16 * 512, 2048) != 0);
    silent(w);
}

BOOST_AUTO_TEST_CASE(wrong_requests_are_reported) {
    const auto rw = [](std::uint32_t type, std::uint64_t sector, std::uint32_t bytes) {
        return [=](world& w) {
            w.driver.start();
            w.driver.request(type, sector, {{w.driver.buffer(bytes), bytes, type == request_type::in}});
        };
    };
    const auto segments = [](std::uint32_t type, std::vector<std::array<std::uint64_t, 3>> list,
                             std::uint32_t bytes = 0) {
        return [=](world& w) {
            w.driver.start();
            w.driver.segments(type, list, bytes);
        };
    };
    const auto erase = [](blk_configuration& c) {
        c.features = usual_and(feature::secure_erase);
    };
    const auto read_only = [](blk_configuration& c) {
        c.features = usual_and(feature::read_only);
    };
    const auto raw = [](const std::function<std::vector<element>(world&)>& make) {
        return [=](world& w) {
            w.driver.start();
            w.driver.add(w.driver.rings[0], make(w));
            w.driver.publish(0);
            w.driver.reap();
        };
    };
    check({
        {"BLK-06", "beyond the end", {}, rw(request_type::in, 8192, 512)},
        {"BLK-06", "across the end", {}, rw(request_type::out, 8191, 1024)},
        {"BLK-06", "a sector whose sum overflows", {}, rw(request_type::in, ~std::uint64_t{0}, 512)},
        {"BLK-08",
         "a flush of a sector",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.request(request_type::flush, 1, {});
         }},
        {"BLK-09",
         "a flush with data",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.request(request_type::flush, 0, {{w.driver.buffer(512), 512, true}});
         }},
        {"BLK-10", "a part of a sector", {}, rw(request_type::in, 0, 513)},
        {"BLK-11", "a part of a segment", {}, segments(request_type::discard, {{0, 1, 0}}, 15)},
        {"BLK-11",
         "no segment",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.request(request_type::write_zeroes, 0, {});
         }},
        {"BLK-12", "a part of a segment to erase", erase, segments(request_type::secure_erase, {{0, 1, 0}}, 15)},
        {"BLK-13",
         "19 bytes for the id",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.request(request_type::get_id, 0, {{w.driver.buffer(19), 19, true}});
         }},
        {"BLK-14", "two segments to discard", {}, segments(request_type::discard, {{0, 1, 0}, {2, 1, 0}})},
        {"BLK-15", "two segments to erase", erase, segments(request_type::secure_erase, {{0, 1, 0}, {2, 1, 0}})},
        {"BLK-16", "two segments to zero", {}, segments(request_type::write_zeroes, {{0, 1, 0}, {2, 1, 0}})},
        {"BLK-19", "unmap in a discard", {}, segments(request_type::discard, {{0, 1, 1}})},
        {"BLK-24", "a segment above size_max",
         [](auto& c) {
             c.features = usual_and(feature::size_max);
             c.size_max = 512;
         },
         rw(request_type::in, 0, 1024)},
        {"BLK-25", "more segments than seg_max", [](auto& c) { c.seg_max = 1; },
         [](world& w) {
             w.driver.start();
             std::byte* const data = w.driver.buffer(1024);
             w.driver.request(request_type::in, 0, {{data, 512, true}, {data + 512, 512, true}});
         }},
        {"BLK-26", "a write to a read-only device", read_only, rw(request_type::out, 0, 512)},
        {"BLK-26", "a discard on a read-only device", read_only, segments(request_type::discard, {{0, 1, 0}})},
        {"BLK-27", "less than a block", [](auto& c) { c.blk_size = 4096; }, rw(request_type::in, 8, 512)},
        {"BLK-27", "a segment of less than a block", [](auto& c) { c.blk_size = 4096; },
         segments(request_type::write_zeroes, {{8, 4, 0}})},
        {"BLK-28",
         "a flush without FLUSH",
         {},
         [](world& w) {
             w.driver.start(w.driver.sensible() & ~(feature::bit(feature::flush) | feature::bit(feature::config_wce)));
             w.driver.request(request_type::flush, 0, {});
         }},
        {"BLK-28", "a discard without DISCARD", [](auto& c) { c.features = usual_without(feature::discard); },
         segments(request_type::discard, {{0, 1, 0}})},
        {"BLK-28",
         "an unknown type",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.request(99, 0, {});
         }},
        {"BLK-29", "no room for the status", {}, raw([](world& w) {
             return std::vector<element>{{w.driver.header(4, 0), 16, false}};
         })},
        {"BLK-29", "a short header", {}, raw([](world& w) {
             return std::vector<element>{{w.driver.header(4, 0), 15, false}, {w.driver.status_byte(), 1, true}};
         })},
        {"BLK-29",
         "data to read in a write",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.request(request_type::out, 0, {{w.driver.buffer(512), 512, true}});
         }},
        {"BLK-30",
         "a sector in a get-id request",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.request(request_type::get_id, 1, {{w.driver.buffer(20), 20, true}});
         }},
        {"BLK-31", "the reserved field is used", {}, raw([](world& w) {
             return std::vector<element>{{w.driver.header(4, 0, 1), 16, false}, {w.driver.status_byte(), 1, true}};
         })},
        {"BLK-32", "an unknown flag of a segment", {}, segments(request_type::write_zeroes, {{0, 1, 2}})},
        {"BLK-33", "a segment above its limit", [](auto& c) { c.max_discard_sectors = 8; },
         segments(request_type::discard, {{0, 9, 0}})},
        {"BLK-33", "a segment to erase above its limit",
         [](auto& c) {
             c.features = usual_and(feature::secure_erase);
             c.max_secure_erase_seg = 2;
             c.max_secure_erase_sectors = 8;
         },
         segments(request_type::secure_erase, {{0, 4, 0}, {8, 9, 0}})},
        {"BLK-33", "a segment across the end", {}, segments(request_type::write_zeroes, {{8190, 3, 0}})},
        {"BLKL-05", "type 5", as_legacy,
         [](world& w) {
             w.driver.start();
             w.driver.request(request_type::flush_out, 0, {});
         }},
        {"BLKL-10", "legacy framing", as_legacy, raw([](world& w) {
             std::byte* const header = w.driver.header(4, 0);
             return std::vector<element>{{header, 8, false}, {header + 8, 8, false}, {w.driver.status_byte(), 1, true}};
         })},
        {"POISON", "the status byte is 0 beforehand", {}, raw([](world& w) {
             return std::vector<element>{{w.driver.header(4, 0), 16, false}, {w.driver.status_byte(0), 1, true}};
         })},
    });
}

BOOST_AUTO_TEST_CASE(lengths_are_claimed_as_asked) {
    const struct {
        used_lengths what;
        std::uint32_t length;
    } cases[] = {{used_lengths::full, 513},
                 {used_lengths::zero, 0},
                 {used_lengths::one, 1},
                 {used_lengths::data, 512},
                 {used_lengths::more, 514}};
    for (const auto& each : cases) {
        world w;
        w.device.fill(4);
        w.driver.start();
        w.device.behave.lengths = each.what;
        std::byte* const data = w.driver.buffer(512);
        BOOST_TEST(w.driver.request(request_type::in, 3, {{data, 512, true}}) == 0);
        BOOST_TEST(w.driver.last_length == each.length);
        BOOST_TEST(std::memcmp(data, w.device.disk().data() + 3 * 512, 512) == 0);
        silent(w);
    }
}

BOOST_AUTO_TEST_CASE(an_identifier_is_not_padded_where_the_device_does_not) {
    world w;
    w.driver.start();
    w.device.behave.pads_identifier = false;
    std::byte* const id = w.driver.buffer(20, 'x');
    BOOST_TEST(w.driver.request(request_type::get_id, 0, {{id, 20, true}}) == 0);
    const std::string text = w.device.configuration().identifier;
    BOOST_TEST(std::memcmp(id, text.c_str(), text.size() + 1) == 0);
    for (std::size_t at = text.size() + 1; at < 20; ++at)
        BOOST_TEST((id[at] == std::byte{'x'}));
    silent(w);
}

BOOST_AUTO_TEST_CASE(only_what_was_flushed_survives_a_power_cut) {
    world w;
    w.driver.start();
    std::byte* const ones = w.driver.buffer(512, 1);
    std::byte* const twos = w.driver.buffer(512, 2);
    const auto durable = [&](std::size_t sector) {
        return std::to_integer<int>(w.device.durable()[512 * sector]);
    };
    BOOST_TEST(w.driver.request(request_type::out, 0, {{ones, 512, false}}) == 0);
    BOOST_TEST(durable(0) == 0);
    BOOST_TEST(w.driver.request(request_type::flush, 0, {}) == 0);
    BOOST_TEST(durable(0) == 1);
    BOOST_TEST(w.driver.request(request_type::out, 0, {{twos, 512, false}}) == 0);
    arch::mmio_write8(w.driver.at(reg::config + 32), 0); // commits nothing by itself
    BOOST_TEST(durable(0) == 1);
    BOOST_TEST(w.driver.request(request_type::out, 1, {{twos, 512, false}}) == 0);
    BOOST_TEST(durable(1) == 2);
    w.device.power_cut();
    BOOST_TEST(std::to_integer<int>(w.device.disk()[0]) == 1);
    BOOST_TEST(std::to_integer<int>(w.device.disk()[512]) == 2);
    BOOST_TEST(w.device.status() == 0U);
    silent(w);
}

BOOST_AUTO_TEST_CASE(a_flush_does_not_cover_writes_that_completed_after_its_submission) {
    world w;
    w.driver.start();
    w.device.behave.latency_for = [](const request_view& r) {
        return r.type == request_type::flush ? 1000 : 10;
    };
    w.device.behave.random_order = true;
    auto& r = w.driver.rings[0];
    w.driver.add(r, {{w.driver.header(4, 0), 16, false}, {w.driver.status_byte(), 1, true}}, 0);
    w.driver.add(
        r,
        {{w.driver.header(1, 0), 16, false}, {w.driver.buffer(512, 9), 512, false}, {w.driver.status_byte(), 1, true}},
        1);
    w.driver.publish(0, 2);
    w.driver.reap();
    w.driver.reap();
    BOOST_TEST(std::to_integer<int>(w.device.disk()[0]) == 9);
    BOOST_TEST(std::to_integer<int>(w.device.durable()[0]) == 0);
    silent(w);
}

BOOST_AUTO_TEST_SUITE_END()
