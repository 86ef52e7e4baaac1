// Devices that set odd limits, and change them.
#include "drivers/block/limits.hpp"
#include "tests/host/mute_world.hpp"
#include "tests/host/requests_of_all_kinds.hpp"

#include <map>
#include <optional>
#include <utility>

namespace {

using namespace inflight;
using namespace inflight::test;
namespace bits = model::feature;
namespace blk = block::virtio_blk;

} // namespace

BOOST_AUTO_TEST_SUITE(limits_tests)

BOOST_AUTO_TEST_CASE(a_zero_in_an_optional_limit_says_nothing) {
    block::disk_properties known{};
    known.accepted = blk::known_features & ~blk::feature::zoned;
    block::raw_configuration raw{.capacity = 1000, .size_max = 0, .seg_max = 0};
    raw.num_queues = 1;
    BOOST_REQUIRE_EQUAL(block::apply_configuration(raw, known), error::none);
    BOOST_TEST(known.size_max == block::max_bytes);
    BOOST_TEST(known.seg_max == 1U);
    BOOST_TEST(known.max_discard_sectors == ~0U);
    BOOST_TEST(known.max_write_zeroes_sectors == ~0U);
    BOOST_TEST(known.max_secure_erase_sectors == ~0U);
    for (const std::uint32_t segments : {known.max_discard_seg, known.max_write_zeroes_seg, known.max_secure_erase_seg})
        BOOST_TEST(segments == 1U);
    raw.blk_size = 4096;
    BOOST_REQUIRE_EQUAL(block::apply_configuration(raw, known), error::none);
    BOOST_TEST(known.max_discard_sectors == ~0U - 7);
    BOOST_TEST(known.max_secure_erase_sectors == ~0U - 7);
    BOOST_TEST(!known.write_zeroes_may_unmap);
    BOOST_TEST(known.can_report_lifetime);
    raw.geometry = {.cylinders = 8, .heads = 16, .sectors = 63};
    raw.write_zeroes_may_unmap = 1;
    raw.max_discard_seg = 3;
    raw.max_write_zeroes_seg = ~0U;
    raw.max_secure_erase_seg = 5;
    BOOST_REQUIRE_EQUAL(block::apply_configuration(raw, known), error::none);
    BOOST_TEST((known.geometry == raw.geometry));
    BOOST_TEST(known.write_zeroes_may_unmap);
    BOOST_TEST(known.max_discard_seg == 3U);
    BOOST_TEST(known.max_write_zeroes_seg == block::max_range_segments);
    BOOST_TEST(known.max_secure_erase_seg == 5U);
    raw.size_max = 64; // has room for 4 segments of 16 bytes
    BOOST_REQUIRE_EQUAL(block::apply_configuration(raw, known), error::none);
    BOOST_TEST(known.max_write_zeroes_seg == 4U);
    BOOST_TEST(known.max_secure_erase_seg == 4U);
    known.accepted &= ~(blk::feature::discard | blk::feature::write_zeroes | blk::feature::secure_erase |
                        blk::feature::lifetime | blk::feature::geometry);
    BOOST_REQUIRE_EQUAL(block::apply_configuration(raw, known), error::none);
    BOOST_TEST(known.max_discard_sectors == 0U);
    BOOST_TEST(known.max_write_zeroes_sectors == 0U);
    BOOST_TEST(known.max_secure_erase_sectors == 0U);
    BOOST_TEST(!known.write_zeroes_may_unmap);
    BOOST_TEST(!known.can_report_lifetime);
    BOOST_TEST((known.geometry == block::disk_geometry{}));
}

// Whatever the fields hold: an error, or properties that a request can be cut by.
BOOST_AUTO_TEST_CASE(properties_are_sound_or_there_are_none) {
    std::mt19937_64 random{1};
    constexpr std::uint64_t odd[] = {
        0,          1,        7,        8,          511,        512,        513,        4096,
        1 << 16,    1U << 30, 1U << 31, 0x7fffffff, 0xffffffff, 1ULL << 54, 1ULL << 55, (1ULL << 55) - 1,
        1ULL << 63, ~0ULL};
    const auto draw = [&]() -> std::uint64_t {
        return random() % 4 == 0 ? random() >> random() % 64 : odd[random() % std::size(odd)];
    };
    unsigned usable = 0, zoned = 0;
    for (unsigned i = 0; i < 300'000; ++i) {
        block::raw_configuration raw;
        raw.capacity = draw();
        raw.size_max = static_cast<std::uint32_t>(draw());
        raw.seg_max = static_cast<std::uint32_t>(draw());
        raw.blk_size = random() % 2 == 0 ? 512U << random() % 23 : static_cast<std::uint32_t>(draw());
        raw.opt_io_size = static_cast<std::uint32_t>(draw());
        raw.max_discard_sectors = static_cast<std::uint32_t>(draw());
        raw.max_write_zeroes_sectors = static_cast<std::uint32_t>(draw());
        raw.discard_sector_alignment = static_cast<std::uint32_t>(draw());
        raw.max_discard_seg = static_cast<std::uint32_t>(draw());
        raw.max_write_zeroes_seg = static_cast<std::uint32_t>(draw());
        raw.max_secure_erase_sectors = static_cast<std::uint32_t>(draw());
        raw.max_secure_erase_seg = static_cast<std::uint32_t>(draw());
        raw.min_io_size = static_cast<std::uint16_t>(draw());
        raw.num_queues = static_cast<std::uint16_t>(draw());
        raw.physical_block_exp = static_cast<std::uint8_t>(draw());
        raw.alignment_offset = static_cast<std::uint8_t>(draw());
        raw.zone_sectors = static_cast<std::uint32_t>(draw());
        raw.max_append_sectors = static_cast<std::uint32_t>(draw());
        raw.write_granularity = static_cast<std::uint32_t>(draw());
        raw.zoned_model = static_cast<blk::zoned_model>(random() % 4 == 0 ? 2 : 1);
        raw.secure_erase_sector_alignment = static_cast<std::uint32_t>(draw());
        block::disk_properties known{};
        known.accepted = random();
        if (block::apply_configuration(raw, known) != error::none)
            continue;
        ++usable;
        const std::uint64_t block_sectors = known.logical_block_size / 512;
        BOOST_REQUIRE(known.logical_block_size >= 512 && std::has_single_bit(known.logical_block_size));
        BOOST_REQUIRE(known.capacity <= raw.capacity && known.capacity % block_sectors == 0);
        BOOST_REQUIRE(known.capacity <= ~0ULL / 512);
        BOOST_REQUIRE(known.size_max != 0);
        BOOST_REQUIRE(raw.size_max == 0 || known.size_max <= raw.size_max);
        BOOST_REQUIRE(known.size_max < known.logical_block_size || known.size_max % known.logical_block_size == 0);
        BOOST_REQUIRE(known.seg_max >= 1 && known.seg_max <= block::max_segments);
        BOOST_REQUIRE(known.max_discard_sectors % block_sectors == 0);
        BOOST_REQUIRE(known.max_write_zeroes_sectors % block_sectors == 0);
        BOOST_REQUIRE(known.max_secure_erase_sectors % block_sectors == 0);
        for (const std::uint32_t segments :
             {known.max_discard_seg, known.max_write_zeroes_seg, known.max_secure_erase_seg}) {
            BOOST_REQUIRE(segments >= 1 && segments <= block::max_range_segments);
            BOOST_REQUIRE(segments == 1 || segments * 16 <= known.size_max);
        }
        BOOST_REQUIRE(known.physical_block_size >= known.logical_block_size);
        BOOST_REQUIRE(known.optimal_io_size / known.logical_block_size == raw.opt_io_size);
        if ((known.accepted & blk::feature::zoned) == 0) {
            BOOST_REQUIRE(known.zone_sectors == 0);
            continue;
        }
        ++zoned;
        const std::uint64_t unit = known.write_granularity / 512;
        BOOST_REQUIRE(raw.zoned_model == blk::zoned_model::host_managed);
        BOOST_REQUIRE(known.zone_sectors == raw.zone_sectors);
        BOOST_REQUIRE(unit != 0 && known.write_granularity % 512 == 0 && unit % block_sectors == 0);
        BOOST_REQUIRE(known.write_granularity % raw.write_granularity == 0);
        BOOST_REQUIRE(known.zone_sectors != 0 && known.zone_sectors % unit == 0);
        BOOST_REQUIRE(known.max_append_sectors <= raw.max_append_sectors);
        BOOST_REQUIRE(known.max_secure_erase_sectors % known.zone_sectors == 0);
        BOOST_REQUIRE(known.secure_erase_sector_alignment % known.zone_sectors == 0);
        if (segments_per_block(known) > known.seg_max || !block::limit_zone_writes(known))
            continue;
        BOOST_REQUIRE(known.max_zone_write_sectors >= unit && known.max_zone_write_sectors % unit == 0);
        BOOST_REQUIRE(known.max_zone_write_sectors <= known.zone_sectors);
        BOOST_REQUIRE(known.max_append_sectors % unit == 0);
        BOOST_REQUIRE(known.max_append_sectors <= known.max_zone_write_sectors);
    }
    BOOST_TEST(usable > 1000U);
    BOOST_TEST(zoned > 1000U);
}

// A descriptor that holds less than a block: every request is whole blocks all the same.
BOOST_AUTO_TEST_CASE(a_block_may_take_several_segments) {
    for (const std::uint32_t block : {512U, 4096U})
        for (const std::uint32_t segment : {block - 1, block / 2, block / 7, block / 20})
            BOOST_TEST_CONTEXT("block " << block << ", size_max " << segment) {
                setup s = setup_of(2, true, 64);
                s.disks[0].blk_size = block;
                s.disks[0].size_max = segment;
                s.disks[0].features = model::usual_features(2) | bits::bit(bits::size_max) | bits::bit(bits::seg_max);
                world w{s};
                w.start_all();
                BOOST_TEST(w.disk().properties().size_max == segment);
                exercise(w);
            }
}

// A block of 2 GiB takes two descriptors, and its used length has its top bit set.
BOOST_AUTO_TEST_CASE(a_block_of_two_gibibytes_is_read_whole) {
    mute_world w;
    w.device.features |= blk::feature::size_max | blk::feature::seg_max | blk::feature::blk_size;
    w.device.blk_size = 1U << 31;
    w.device.size_max = ~0U;
    w.device.capacity = 1 << 24;
    w.start();
    BOOST_TEST(w.disk.properties().size_max == block::max_bytes);
    std::byte* const memory = w.host.allocate(512, 512); // nobody touches what is behind it
    status outcome = status::device_lost;
    auto work = [&]() -> task<void> {
        outcome = co_await w.disk.read(0, std::span{memory, std::size_t{1} << 32});
    };
    BOOST_REQUIRE(w.scope.spawn(work()));
    w.rounds();
    BOOST_REQUIRE_EQUAL(w.available(), 2);
    for (unsigned i = 0; i < 2; ++i)
        BOOST_TEST(w.writable(w.head(i)) == (1U << 31) + 1);
    w.finish();
    BOOST_TEST((outcome == status::ok));
    BOOST_TEST(w.disk.count(0).short_lengths == 0U);
}

BOOST_AUTO_TEST_CASE(lists_that_add_up_beyond_all_bounds_are_refused) {
    mute_world w;
    w.device.capacity = ~0ULL;
    w.start();
    std::byte* const p = w.host.allocate(512, 512);
    const auto outcome_of = [&](std::span<const std::span<std::byte>> list) {
        std::optional<status> outcome;
        auto work = [&]() -> task<void> {
            outcome = co_await w.disk.read(0, list);
        };
        BOOST_REQUIRE(w.scope.spawn(work()));
        w.rounds();
        BOOST_REQUIRE(outcome.has_value());
        BOOST_TEST(w.available() == 0);
        return *outcome;
    };
    const std::array<std::span<std::byte>, 3> wraps{
        std::span{p, std::size_t{1} << 63}, {p, std::size_t{1} << 63}, {p, std::size_t{512}}};
    BOOST_TEST(outcome_of(wraps) == status::out_of_range);
    const std::vector<std::span<std::byte>> many(200, std::span{p, ~std::size_t{511}});
    BOOST_TEST(outcome_of(many) == status::out_of_range);
    // More entries than a request counts: refused before the first is looked at.
    BOOST_TEST(outcome_of({wraps.data(), (std::size_t{1} << 32) + 1}) == status::invalid_argument);
    BOOST_TEST(outcome_of({wraps.data(), std::size_t{1} << 32}) == status::invalid_argument);
}

BOOST_AUTO_TEST_CASE(pieces_of_a_discard_are_whole_blocks) {
    for (const std::uint32_t alignment : {0U, 1U, 3U, 5U, 8U, 12U, 16U, 24U, 64U, 1000U})
        for (const std::uint32_t most : {8U, 60U, 64U, 100U})
            BOOST_TEST_CONTEXT("alignment " << alignment << ", at most " << most) {
                mute_world w;
                w.device.features |= blk::feature::discard | blk::feature::blk_size;
                w.device.blk_size = 4096;
                w.device.max_discard_sectors = most;
                w.device.discard_sector_alignment = alignment;
                w.start();
                auto work = [&]() -> task<void> {
                    BOOST_TEST(co_await w.disk.discard(16, 256) == status::ok);
                };
                BOOST_REQUIRE(w.scope.spawn(work()));
                std::uint64_t next = 16;
                unsigned done = 0;
                for (unsigned i = 0; i < 200 && w.scope.size() != 0; ++i) {
                    w.rounds(4);
                    for (; done != w.available(); ++done) {
                        const auto parts = w.chain(w.head(done));
                        const auto range = w.load<blk::range_segment>(parts[1].address);
                        BOOST_TEST(range.sector == next);
                        BOOST_TEST(range.num_sectors % 8 == 0U);
                        BOOST_TEST(range.num_sectors <= most);
                        next += range.num_sectors;
                        w.use(w.head(done), 1);
                    }
                    w.interrupt();
                }
                BOOST_TEST(next == 272U);
                BOOST_TEST(w.scope.size() == 0U);
            }
}

BOOST_AUTO_TEST_CASE(a_capacity_is_rounded_down_wherever_it_is_read) {
    mute_world w;
    w.device.features |= blk::feature::blk_size;
    w.device.blk_size = 4096;
    w.device.capacity = 23;
    w.start();
    BOOST_TEST(w.disk.properties().capacity == 16U);
    for (const std::uint64_t said : {std::uint64_t{31}, std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{1} << 63}) {
        w.device.capacity = said;
        w.interrupt(virtio::interrupt_cause::configuration_change);
        w.rounds();
        const std::uint64_t known = w.disk.properties().capacity;
        BOOST_TEST(known <= said);
        BOOST_TEST(known % 8 == 0U);
        BOOST_TEST(known <= ~0ULL / 512);
        BOOST_TEST(said - known < (said < 1ULL << 55 ? 8U : ~0ULL));
    }
}

// What is inside when limits change over a reset is cut anew, or ends with a status that tells.
BOOST_AUTO_TEST_CASE(what_is_inside_follows_limits_that_change_over_a_reset) {
    mute_world w;
    w.device.features |= blk::feature::size_max | blk::feature::blk_size;
    w.device.size_max = 8192;
    w.start();
    std::byte* const memory = w.host.allocate(4096, 512);
    const auto reset_with = [&](std::uint64_t sector, std::size_t bytes, const std::function<void()>& change) {
        std::optional<status> outcome;
        auto work = [&]() -> task<void> {
            outcome = co_await w.disk.read(sector, std::span{memory, bytes});
        };
        BOOST_REQUIRE(w.scope.spawn(work()));
        w.rounds();
        change();
        w.device.status_byte |= virtio::status_bit::device_needs_reset;
        w.begin_again();
        w.interrupt(virtio::interrupt_cause::configuration_change);
        w.rounds(20);
        for (unsigned i = 0; i < w.available(); ++i) {
            const auto parts = w.chain(w.head(i));
            for (std::size_t part = 1; part + 1 < parts.size(); ++part)
                BOOST_TEST(parts[part].length <= w.disk.properties().size_max);
        }
        w.finish();
        BOOST_REQUIRE(outcome.has_value());
        return *outcome;
    };
    BOOST_TEST(reset_with(0, 4096, [&] { w.device.size_max = 1024; }) == status::ok);
    BOOST_TEST(reset_with(0, 512, [&] { w.device.blk_size = 1024; }) == status::invalid_argument);
    BOOST_TEST(reset_with(0, 1024, [&] { w.device.capacity = 1; }) == status::out_of_range);
    w.device.capacity = 1 << 20;
    BOOST_TEST(reset_with(0, 1024, [&] { w.device.features |= blk::feature::ro; }) == status::out_of_range);
}

// Any field, at any time, to anything.
BOOST_AUTO_TEST_CASE(any_field_may_change_to_anything) {
    constexpr unsigned fields[] = {0, 8, 12, 16, 20, 24, 26, 28, 32, 34, 36, 40, 44, 48, 52, 56, 60, 64, 68};
    for (const std::uint32_t version : {2U, 1U})
        for (const unsigned field : fields)
            for (const std::uint64_t value : {std::uint64_t{0}, ~std::uint64_t{0}})
                for (const bool with_reset : {false, true})
                    BOOST_TEST_CONTEXT("version " << version << ", field " << field << ", value " << value << ", reset "
                                                  << with_reset) {
                        setup s = setup_of(version, true, 8);
                        s.disks[0].features =
                            model::usual_features(version) | bits::bit(bits::secure_erase) | bits::bit(bits::lifetime);
                        s.disks[0].max_write_zeroes_seg = 4;
                        world w{s};
                        w.permitted = {"IDLE"};
                        w.start_all();
                        w.model().behave.hold = true;
                        requests_of_all_kinds requests{w};
                        requests.start_all();
                        w.settle();
                        w.model().set_configuration(field, value);
                        if (with_reset)
                            w.model().raise_needs_reset();
                        w.settle();
                        w.model().behave.hold = false;
                        w.model().release();
                        w.finish();
                        for (const auto& each : requests.all) {
                            BOOST_TEST(each->ends == 1U);
                            if (each->outcome == status::ok && each->what != kind::get_id)
                                BOOST_TEST(each->right);
                        }
                    }
}

BOOST_AUTO_TEST_SUITE_END()
