// The zones of the model by themselves, what it reports of a driver with wrong requests to a zoned device, and what becomes of
// right ones.
#include "tests/host/model/raw_driver.hpp"
#include "tests/model/zones.hpp"

#include <boost/test/unit_test.hpp>
#include <functional>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::model;
using namespace inflight::tests;
namespace done_with = request_status;
using condition = zone_condition;

constexpr zone_configuration small{.zone_sectors = 64,
                                   .max_open_zones = 2,
                                   .max_active_zones = 3,
                                   .max_append_sectors = 16,
                                   .write_granularity = 4096,
                                   .conventional = 1,
                                   .unwritable = 16};

void with_zones(blk_configuration& c) {
    c.features = usual_without(feature::discard) | feature::bit(feature::zoned) | feature::bit(feature::secure_erase);
    c.zoned_model = zoned_model::host_managed;
    c.capacity = 512;
    c.zoned = small;
}

std::uint8_t append(world& w, std::uint64_t sector, std::uint32_t bytes, std::byte* answer) {
    return w.driver.request(request_type::zone_append, sector,
                            {{w.driver.buffer(bytes), bytes, false}, {answer, 8, true}});
}

} // namespace

BOOST_AUTO_TEST_SUITE(zones_tests)

BOOST_AUTO_TEST_CASE(a_zone_goes_through_its_states) {
    zones z{small, 500};
    BOOST_TEST(z.all().size() == 8U);
    BOOST_TEST(z.all().back().end == 500U);
    const auto is = [&](std::uint64_t sector) {
        return z.at(sector).condition;
    };
    BOOST_TEST((is(0) == condition::not_wp));
    BOOST_TEST(z.write(64, 8) == done_with::ok);
    BOOST_TEST((is(64) == condition::implicitly_open));
    BOOST_TEST(z.write(64, 8) == done_with::zone_unaligned_wp);
    BOOST_TEST(z.write(72, 4) == done_with::zone_unaligned_wp); // ends off the granularity
    BOOST_TEST(z.write(72, 48) == done_with::zone_invalid_cmd); // beyond the capacity
    BOOST_TEST(z.write(72, 64) == done_with::zone_invalid_cmd); // beyond the zone
    std::uint64_t where = 0;
    BOOST_TEST(z.append(64, 16, where) == done_with::ok);
    BOOST_TEST(where == 72U);
    BOOST_TEST(z.append(64, 24, where) == done_with::zone_invalid_cmd); // above max_append_sectors
    BOOST_TEST(z.append(72, 8, where) == done_with::zone_invalid_cmd);
    BOOST_TEST(z.append(0, 8, where) == done_with::zone_invalid_cmd);
    BOOST_TEST(z.append(64, 4, where) == done_with::zone_unaligned_wp);
    BOOST_TEST(z.close(64) == done_with::ok);
    BOOST_TEST((is(64) == condition::closed));
    BOOST_TEST(z.finish(64) == done_with::zone_invalid_cmd); // no such transition in the specification
    BOOST_TEST(z.open(64) == done_with::ok);
    BOOST_TEST((is(64) == condition::explicitly_open));
    BOOST_TEST(z.append(64, 16, where) == done_with::ok);
    BOOST_TEST(z.append(64, 8, where) == done_with::ok);
    BOOST_TEST((is(64) == condition::full));
    BOOST_TEST(z.append(64, 8, where) == done_with::zone_invalid_cmd);
    BOOST_TEST(z.open(64) == done_with::zone_invalid_cmd);
    BOOST_TEST(z.close(64) == done_with::zone_invalid_cmd);
    BOOST_TEST(z.finish(64) == done_with::ok);
    BOOST_TEST(z.reset(64) == done_with::ok);
    BOOST_TEST((is(64) == condition::empty));
    BOOST_TEST(z.reset(64) == done_with::ok);
    BOOST_TEST(z.close(64) == done_with::zone_invalid_cmd);
    BOOST_TEST(z.open(64) == done_with::ok);
    BOOST_TEST(z.close(64) == done_with::ok);
    BOOST_TEST((is(64) == condition::empty));
    BOOST_TEST(z.reset(0) == done_with::zone_invalid_cmd);
    BOOST_TEST(z.reset(65) == done_with::zone_invalid_cmd);
    BOOST_TEST(z.reset(512) == done_with::zone_invalid_cmd);
    BOOST_TEST(z.read(60, 4) == done_with::ok);
    BOOST_TEST(z.read(60, 5) == done_with::zone_invalid_cmd);
    z.at(128).condition = condition::offline;
    BOOST_TEST(z.read(128, 1) == done_with::zone_invalid_cmd);
    BOOST_TEST(z.reset(128) == done_with::zone_invalid_cmd);
}

BOOST_AUTO_TEST_CASE(resources_are_counted) {
    zones z{small, 512};
    std::uint64_t where = 0;
    BOOST_TEST(z.write(64, 8) == done_with::ok);
    BOOST_TEST(z.open(128) == done_with::ok);
    BOOST_TEST(z.open(192) == done_with::ok); // the first is closed for it
    BOOST_TEST((z.at(64).condition == condition::closed));
    BOOST_TEST(z.open_zones() == 2U);
    BOOST_TEST(z.active_zones() == 3U);
    BOOST_TEST(z.open(256) == done_with::zone_active_resource); // both would be exceeded
    BOOST_TEST(z.write(72, 8) == done_with::zone_open_resource);
    BOOST_TEST(z.append(64, 8, where) == done_with::zone_open_resource);
    BOOST_TEST(z.reset(64) == done_with::ok);
    BOOST_TEST(z.open(256) == done_with::zone_open_resource);
    BOOST_TEST(z.reset_all().size() == 2U);
    BOOST_TEST(z.active_zones() == 0U);
}

BOOST_AUTO_TEST_CASE(requests_to_zones_work) {
    world w{with(with_zones)};
    w.driver.start();
    std::byte* const answer = w.driver.buffer(8);
    BOOST_TEST(append(w, 64, 4096, answer) == 0);
    BOOST_TEST(load<std::uint64_t>(answer) == 64U);
    BOOST_TEST(w.driver.last_length == 9U);
    BOOST_TEST(append(w, 64, 8192, answer) == 0);
    BOOST_TEST(load<std::uint64_t>(answer) == 72U);
    BOOST_TEST(w.driver.request(request_type::zone_finish, 64, {}) == 0);
    BOOST_TEST(w.driver.request(request_type::zone_open, 128, {}) == 0);
    std::byte* const told = w.driver.buffer(64 * 4);
    BOOST_TEST(w.driver.request(request_type::zone_report, 10, {{told, 64 * 4, true}}) == 0);
    BOOST_TEST(load<std::uint64_t>(told) == 3U);
    BOOST_TEST(load<std::uint64_t>(told + 64 + 8) == 0U);
    BOOST_TEST(load<std::uint64_t>(told + 128) == 48U);
    BOOST_TEST(load<std::uint64_t>(told + 128 + 8) == 64U);
    BOOST_TEST(std::to_integer<int>(told[128 + 24]) == 2);
    BOOST_TEST(std::to_integer<int>(told[128 + 25]) == 14);
    BOOST_TEST(std::to_integer<int>(told[192 + 25]) == 3);
    BOOST_TEST(w.driver.request(request_type::zone_close, 128, {}) == 0);
    BOOST_TEST(w.driver.request(request_type::zone_reset, 64, {}) == 0);
    BOOST_TEST(w.driver.segments(request_type::secure_erase, {{64, 64, 0}}) == 0);
    BOOST_TEST(w.driver.request(request_type::zone_reset_all, 0, {}) == 0);
    BOOST_TEST(w.driver.request(request_type::zone_reset, 0, {}) == done_with::zone_invalid_cmd);
    silent(w);
}

BOOST_AUTO_TEST_CASE(wrong_requests_to_zones_are_reported) {
    const auto request = [](std::uint32_t type, std::uint64_t sector) {
        return [=](world& w) {
            w.driver.start();
            w.driver.request(type, sector, {});
        };
    };
    const auto write = [](std::uint64_t sector, std::uint32_t bytes) {
        return [=](world& w) {
            w.driver.start();
            w.driver.request(request_type::out, sector, {{w.driver.buffer(bytes), bytes, false}});
        };
    };
    const auto appends = [](std::uint64_t sector, std::uint32_t bytes) {
        return [=](world& w) {
            w.driver.start();
            append(w, sector, bytes, w.driver.buffer(8));
        };
    };
    const auto not_zoned = [](blk_configuration& c) {
        c.features = usual_features(2);
    };
    check({
        {"BLKZ-02", "DISCARD with zones",
         [](auto& c) {
             with_zones(c);
             c.features = *c.features | feature::bit(feature::discard);
         },
         [](world& w) {
             w.driver.start();
         }},
        {"BLKZ-09", "a report from behind the last zone", with_zones,
         [](world& w) {
             w.driver.start();
             w.driver.request(request_type::zone_report, 512, {{w.driver.buffer(128), 128, true}});
         }},
        {"MODEL", "a report without room for a zone", with_zones,
         [](world& w) {
             w.driver.start();
             w.driver.request(request_type::zone_report, 0, {{w.driver.buffer(64), 64, true}});
         }},
        {"BLKZ-11", "open in the midst of a zone", with_zones, request(request_type::zone_open, 65)},
        {"BLKZ-11", "close in the midst of a zone", with_zones, request(request_type::zone_close, 65)},
        {"BLKZ-11", "finish in the midst of a zone", with_zones, request(request_type::zone_finish, 65)},
        {"BLKZ-11", "reset of no zone", with_zones, request(request_type::zone_reset, 512)},
        {"BLKZ-12", "reset-all of a sector", with_zones, request(request_type::zone_reset_all, 64)},
        {"BLKZ-13", "an append to the midst of a zone", with_zones, appends(72, 4096)},
        {"BLKZ-14", "an append of half a unit", with_zones, appends(64, 2048)},
        {"BLKZ-15", "an append that is too long", with_zones, appends(64, 12288)},
        {"BLKZ-17", "a write of half a unit", with_zones, write(64, 2048)},
        {"BLKZ-18", "a write at half a unit", with_zones, write(68, 4096)},
        {"BLKZ-19", "a write longer than the capacity of a zone", with_zones, write(64, 28672)},
        {"ZONES", "a read from zone to zone", with_zones,
         [](world& w) {
             w.driver.start();
             w.driver.request(request_type::in, 127, {{w.driver.buffer(1024), 1024, true}});
         }},
        {"BLKZ-20", "an erase of half a zone", with_zones,
         [](world& w) {
             w.driver.start();
             w.driver.segments(request_type::secure_erase, {{64, 32, 0}});
         }},
        {"BLK-28", "an append without ZONED", not_zoned, appends(64, 4096)},
        {"BLK-28", "a reset without ZONED", not_zoned, request(request_type::zone_reset, 64)},
        {"BLK-29", "an append without room for its answer", with_zones,
         [](world& w) {
             w.driver.start();
             w.driver.request(request_type::zone_append, 64, {{w.driver.buffer(4096), 4096, false}});
         }},
        {"BLK-26", "a reset of a zone of a read-only device",
         [](auto& c) {
             with_zones(c);
             c.features = *c.features | feature::bit(feature::read_only);
         },
         request(request_type::zone_reset, 64)},
    });
}

BOOST_AUTO_TEST_CASE(without_zoned_a_host_managed_device_refuses) {
    for (const bool forgets : {false, true}) {
        world w{with(with_zones)};
        w.device.behave.forgets_to_refuse_zones = forgets;
        w.driver.begin();
        w.driver.negotiate(w.driver.sensible() & ~feature::bit(feature::zoned));
        BOOST_TEST(((w.device.status() & status_bit::features_ok) != 0) == forgets);
        silent(w);
    }
}

BOOST_AUTO_TEST_SUITE_END()
