// Requests of ranges against the strict device model: discard, write-zeroes and secure erase, of one range and of several; and
// what a device says of its life.
#include "tests/host/disk_setups.hpp"
#include "tests/host/requests_of_all_kinds.hpp"

#include <array>
#include <string>

namespace {

using namespace inflight;
using namespace inflight::test;
using block::sector_range;
using block::unmap;
using model::fault;
namespace blk = block::virtio_blk;

void can_erase(blk_configuration& c) {
    offer(c, bits::secure_erase);
    offer(c, bits::lifetime);
}

bool is_zero(std::span<const std::byte> bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](std::byte each) { return each == std::byte{0}; });
}

} // namespace

BOOST_AUTO_TEST_SUITE(ranges_tests)

BOOST_AUTO_TEST_CASE(every_kind_of_request_works_on_every_ring) {
    for (const std::uint32_t version : versions)
        for (const bool packed : {false, true})
            for (const bool indirect : {false, true})
                for (const std::uint32_t segments : {1U, 2U, 16U, 40U}) {
                    if (packed && version == 1)
                        continue;
                    world w{of_version(version, [&](auto& c) {
                        can_erase(c);
                        if (packed)
                            offer(c, bits::ring_packed);
                        if (!indirect)
                            withdraw(c, bits::indirect_desc);
                        c.max_write_zeroes_seg = c.max_secure_erase_seg = c.max_discard_seg = segments;
                    })};
                    w.model().fill(9);
                    w.start_all();
                    requests_of_all_kinds requests{w};
                    for (unsigned lap = 0; lap < 40; ++lap) // slots change their shapes
                        for (unsigned i = 0; i < all_kinds; ++i)
                            requests.start(kind{(i * 7 + lap) % all_kinds});
                    w.finish();
                    requests.check(status::ok);
                    BOOST_TEST(w.disk().properties().max_write_zeroes_seg == std::min(segments, 16U));
                }
}

BOOST_AUTO_TEST_CASE(several_ranges_go_into_one_request) {
    for (const std::uint32_t version : versions) {
        world w{of_version(version, [](auto& c) {
            can_erase(c);
            c.max_discard_seg = 4;
            c.max_write_zeroes_seg = 2;
            c.max_secure_erase_seg = 3;
            c.max_discard_sectors = c.max_write_zeroes_sectors = c.max_secure_erase_sectors = 10;
        })};
        w.model().fill(4);
        w.start_all();
        // 10 + 10 + 5, 1, 7: five segments.
        const std::array<sector_range, 3> ranges{{{100, 25}, {50, 1}, {200, 7}}};
        auto counted = [&, before = w.model().total()]() mutable {
            const auto now = w.model().total();
            const std::pair<std::uint64_t, std::uint64_t> since{now.requests - before.requests,
                                                                now.segments - before.segments};
            before = now;
            return since;
        };
        BOOST_TEST(w.await([&] { return w.disk().discard(ranges); }) == status::ok);
        BOOST_TEST((counted() == std::pair<std::uint64_t, std::uint64_t>{2, 5}));
        BOOST_TEST(w.await([&] { return w.disk().secure_erase(ranges); }) == status::ok);
        BOOST_TEST((counted() == std::pair<std::uint64_t, std::uint64_t>{2, 5}));
        const std::vector<std::byte> before{w.model().disk()};
        BOOST_TEST(w.await([&] { return w.disk().write_zeroes(ranges); }) == status::ok);
        BOOST_TEST((counted() == std::pair<std::uint64_t, std::uint64_t>{3, 5}));
        for (std::uint64_t sector = 0; sector < 300; ++sector) {
            const bool zeroed = (sector >= 100 && sector < 125) || sector == 50 || (sector >= 200 && sector < 207);
            BOOST_TEST(is_zero(w.on_disk(sector, 1)) == zeroed);
            if (!zeroed)
                BOOST_TEST(same(w.on_disk(sector, 1), std::span{before}.subspan(sector * 512, 512)));
        }
        BOOST_TEST(w.write_zeroes(300, 100) == status::ok); // one range of ten segments
        BOOST_TEST((counted() == std::pair<std::uint64_t, std::uint64_t>{5, 10}));
        BOOST_TEST(is_zero(w.on_disk(300, 100)));
        BOOST_TEST(w.model().total().unmapping_segments == 0U);
    }
}

BOOST_AUTO_TEST_CASE(unmap_is_permitted_where_it_is_asked_for) {
    world w{one_disk([](auto& c) { c.max_write_zeroes_seg = 2; })};
    w.model().fill(4);
    w.start_all();
    BOOST_TEST(w.disk().properties().write_zeroes_may_unmap);
    const std::array<sector_range, 3> ranges{{{0, 1}, {2, 1}, {4, 1}}};
    BOOST_TEST(w.write_zeroes(8, 8) == status::ok);
    BOOST_TEST(w.model().total().unmapping_segments == 0U);
    BOOST_TEST(w.await([&] { return w.disk().write_zeroes(8, 8, unmap::permitted); }) == status::ok);
    BOOST_TEST(w.model().total().unmapping_segments == 1U);
    BOOST_TEST(w.await([&] { return w.disk().write_zeroes(ranges, unmap::permitted); }) == status::ok);
    BOOST_TEST(w.model().total().unmapping_segments == 4U);
    BOOST_TEST(is_zero(w.on_disk(4, 1)));
}

BOOST_AUTO_TEST_CASE(each_range_is_checked_before_the_device_sees_any) {
    for (const std::uint32_t version : versions)
        for (const std::uint32_t block : {512U, 4096U}) {
            world w{of_version(version, [&](auto& c) {
                can_erase(c);
                c.blk_size = block;
                c.max_discard_seg = c.max_write_zeroes_seg = c.max_secure_erase_seg = 8;
            })};
            w.start_all();
            const std::uint64_t unit = block / 512;
            const auto outcome_of = [&](std::span<const sector_range> list) {
                const status discard = w.await([&] { return w.disk().discard(list); });
                const status zeroes = w.await([&] { return w.disk().write_zeroes(list); });
                const status erase = w.await([&] { return w.disk().secure_erase(list); });
                BOOST_TEST(discard == zeroes);
                BOOST_TEST(discard == erase);
                return discard;
            };
            const sector_range good{0, unit};
            const auto pair = [&](std::uint64_t sector, std::uint64_t sectors) {
                return std::array<sector_range, 3>{{good, {sector, sectors}, good}};
            };
            BOOST_TEST(outcome_of({}) == status::invalid_argument);
            BOOST_TEST(outcome_of(pair(8, 0)) == status::invalid_argument);
            BOOST_TEST(outcome_of(pair(8192, unit)) == status::out_of_range);
            BOOST_TEST(outcome_of(pair(8192 - unit, 2 * unit)) == status::out_of_range);
            BOOST_TEST(outcome_of(pair(std::uint64_t{0} - unit, unit)) == status::out_of_range);
            BOOST_TEST(outcome_of(pair(unit, std::uint64_t{0} - unit)) == status::out_of_range);
            if (unit > 1) {
                BOOST_TEST(outcome_of(pair(1, unit)) == status::invalid_argument);
                BOOST_TEST(outcome_of(pair(unit, 1)) == status::invalid_argument);
            }
            const std::array<sector_range, 1> endless{{good}};
            BOOST_TEST(outcome_of({endless.data(), (std::size_t{1} << 32) + 1}) == status::invalid_argument);
            BOOST_TEST(w.await([&] { return w.disk().secure_erase(8192, unit); }) == status::out_of_range);
            BOOST_TEST(w.await([&] { return w.disk().secure_erase(0, 0); }) == status::invalid_argument);
            BOOST_TEST(w.model().total().requests == 0U);
            BOOST_TEST(outcome_of(pair(8192 - unit, unit)) == status::ok);
        }
}

BOOST_AUTO_TEST_CASE(a_device_without_the_feature_is_not_asked) {
    for (const std::uint32_t version : versions) {
        world w{of_version(version)};
        w.start_all();
        blk::lifetime life{.pre_eol_info = 9, .device_lifetime_est_typ_a = 9, .device_lifetime_est_typ_b = 9};
        BOOST_TEST(w.await([&] { return w.disk().secure_erase(0, 8); }) == status::unsupported);
        BOOST_TEST(w.await([&] { return w.disk().get_lifetime(life); }) == status::unsupported);
        BOOST_TEST(life.pre_eol_info == 9);
        BOOST_TEST(w.model().total().requests == 0U);
        BOOST_TEST(!w.disk().properties().can_report_lifetime);
    }
    setup s = one_disk(can_erase); // offered, and switched off
    s.disk.features_off = blk::feature::secure_erase | blk::feature::lifetime | blk::feature::geometry;
    world w{s};
    w.start_all();
    BOOST_TEST((w.model().accepted() & s.disk.features_off) == 0U);
    blk::lifetime life{};
    BOOST_TEST(w.await([&] { return w.disk().secure_erase(0, 8); }) == status::unsupported);
    BOOST_TEST(w.await([&] { return w.disk().get_lifetime(life); }) == status::unsupported);
    BOOST_TEST((w.disk().properties().geometry == block::disk_geometry{}));
    BOOST_TEST(w.model().total().requests == 0U);
}

BOOST_AUTO_TEST_CASE(a_read_only_disk_is_not_erased) {
    world w{one_disk([](auto& c) {
        can_erase(c);
        offer(c, bits::read_only);
    })};
    w.start_all();
    const std::array<sector_range, 1> one{{{0, 8}}};
    BOOST_TEST(w.await([&] { return w.disk().secure_erase(0, 8); }) == status::read_only);
    BOOST_TEST(w.await([&] { return w.disk().secure_erase(one); }) == status::read_only);
    BOOST_TEST(w.await([&] { return w.disk().discard(one); }) == status::read_only);
    BOOST_TEST(w.model().total().requests == 0U);
    blk::lifetime life{};
    BOOST_TEST(w.await([&] { return w.disk().get_lifetime(life); }) == status::ok);
    BOOST_TEST(life.pre_eol_info == 1);
}

BOOST_AUTO_TEST_CASE(erases_are_cut_where_the_device_says) {
    world w{one_disk([](auto& c) {
        can_erase(c);
        c.max_secure_erase_sectors = 100;
        c.secure_erase_sector_alignment = 16;
        c.discard_sector_alignment = 7; // of another request
    })};
    w.start_all();
    BOOST_TEST(w.await([&] { return w.disk().secure_erase(16, 1600); }) == status::ok);
    BOOST_TEST(w.model().total().unaligned_segments == 0U);
    BOOST_TEST(w.model().total().requests == 17U); // 96 sectors each
}

BOOST_AUTO_TEST_CASE(what_a_device_says_of_its_life_is_given_as_it_is_or_not_at_all) {
    for (const std::uint32_t version : versions)
        for (const unsigned value : {0U, 1U, 3U, 4U, 11U, 12U, 255U, 256U, 65535U}) {
            world w{of_version(version, [&](auto& c) {
                can_erase(c);
                for (std::size_t i = 0; i < 6; i += 2) {
                    c.lifetime[i] = static_cast<std::uint8_t>(value);
                    c.lifetime[i + 1] = static_cast<std::uint8_t>(value >> 8);
                }
            })};
            w.start_all();
            blk::lifetime life{.pre_eol_info = 99, .device_lifetime_est_typ_a = 99, .device_lifetime_est_typ_b = 99};
            BOOST_TEST(w.await([&] { return w.disk().get_lifetime(life); }) == status::ok);
            BOOST_TEST(life.pre_eol_info == (value <= 3 ? value : 0));
            BOOST_TEST(life.device_lifetime_est_typ_a == (value <= 11 ? value : 0));
            BOOST_TEST(life.device_lifetime_est_typ_b == (value <= 11 ? value : 0));
        }
}

// Statuses, lengths and silence of a device that does not keep to the rules.
BOOST_AUTO_TEST_CASE(a_device_that_fails_says_so_and_no_more) {
    for (const std::uint32_t version : versions)
        for (const fault what : {fault::io_error, fault::unsupported, fault::status_unknown, fault::status_not_written,
                                 fault::partial_segments, fault::length_too_long, fault::length_too_short}) {
            world w{of_version(version, [](auto& c) {
                can_erase(c);
                c.max_discard_seg = c.max_write_zeroes_seg = c.max_secure_erase_seg = 4;
            })};
            w.start_all();
            const std::array<sector_range, 3> ranges{{{0, 8}, {16, 8}, {32, 8}}};
            blk::lifetime life{.pre_eol_info = 7, .device_lifetime_est_typ_a = 7, .device_lifetime_est_typ_b = 7};
            const auto outcome_of = [&](unsigned number) {
                w.model().inject(what);
                const status outcome = w.await([&]() -> block::request {
                    switch (number) {
                    case 0: return w.disk().discard(ranges);
                    case 1: return w.disk().write_zeroes(ranges, unmap::permitted);
                    case 2: return w.disk().secure_erase(ranges);
                    default: return w.disk().get_lifetime(life);
                    }
                });
                w.model().clear_faults();
                return outcome;
            };
            for (unsigned number = 0; number < 4; ++number)
                BOOST_TEST_CONTEXT("fault " << static_cast<int>(what) << ", request " << number << ", version "
                                            << version) {
                    const status outcome = outcome_of(number);
                    switch (what) {
                    case fault::io_error: BOOST_TEST(outcome == status::io_error); break;
                    case fault::unsupported: BOOST_TEST(outcome == status::unsupported); break;
                    case fault::partial_segments:
                        BOOST_TEST(outcome == (number == 3 ? status::ok : status::io_error));
                        break;
                    case fault::length_too_short: BOOST_TEST(outcome == status::ok); break;
                    case fault::length_too_long:
                        BOOST_TEST(outcome == (version == 2 ? status::device_reset : status::ok));
                        break;
                    default: BOOST_TEST(outcome == status::device_error); break;
                    }
                    if (outcome != status::ok)
                        BOOST_TEST(life.pre_eol_info == 7);
                }
            BOOST_TEST(w.read(0, w.buffer(512)) == status::ok);
        }
}

// The limits are others after a reset: what is in flight is cut anew, and no request has more segments than both permit.
BOOST_AUTO_TEST_CASE(segments_follow_limits_that_change_over_a_reset) {
    for (const std::uint32_t then : {1U, 2U, 7U, 100U}) {
        world w{one_disk([](auto& c) {
            c.max_write_zeroes_seg = 4;
            c.max_write_zeroes_sectors = 10;
        })};
        w.model().fill(1);
        w.start_all();
        w.model().behave.hold = true;
        std::optional<status> outcome;
        const std::array<sector_range, 2> ranges{{{0, 100}, {200, 5}}};
        auto work = [&]() -> task<void> {
            outcome = co_await w.disk().write_zeroes(ranges);
        };
        w.spawn(work());
        w.settle();
        w.model().set_configuration(52, then, false);
        w.model().raise_needs_reset();
        w.settle();
        w.model().behave.hold = false;
        w.model().release();
        w.finish();
        BOOST_TEST((outcome == status::ok));
        BOOST_TEST(is_zero(w.on_disk(0, 100)));
        BOOST_TEST(is_zero(w.on_disk(200, 5)));
        BOOST_TEST(w.disk().properties().max_write_zeroes_seg == std::min(then, 4U));
    }
}

BOOST_AUTO_TEST_SUITE_END()
