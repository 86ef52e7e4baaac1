// Which operations a disk takes. The oracle knows the rules as disk.hpp and the specification have them, and counts with 128 bits.
//
// INFLIGHT_SEED=S repeats what the seed S has found.
#include "drivers/block/admission.hpp"
#include "tests/host/printing.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <bit>
#include <boost/test/unit_test.hpp>
#include <map>
#include <set>
#include <span>
#include <vector>

namespace {

using namespace inflight;
using block::disk_properties;
using block::operation;
using block::status;
using block::virtio_blk::request_type;
using tests::chance;
using tests::pick;
__extension__ using wide = unsigned __int128;

constexpr request_type types[] = {request_type::in,           request_type::out,          request_type::flush,
                                  request_type::discard,      request_type::write_zeroes, request_type::get_id,
                                  request_type::get_lifetime, request_type::secure_erase};
constexpr request_type types_of_zones[] = {
    request_type::zone_append, request_type::zone_report, request_type::zone_open,     request_type::zone_close,
    request_type::zone_finish, request_type::zone_reset,  request_type::zone_reset_all};
constexpr request_type types_of_ranges[] = {request_type::discard, request_type::write_zeroes,
                                            request_type::secure_erase};

bool is_of_ranges(request_type type) {
    return std::find(std::begin(types_of_ranges), std::end(types_of_ranges), type) != std::end(types_of_ranges);
}

std::byte some_memory[1]; // nobody looks at it

// Limits as a device's configuration makes them.
disk_properties random_limits(std::mt19937_64& random) {
    namespace feature = block::virtio_blk::feature;
    disk_properties limits{};
    limits.accepted = random() & block::virtio_blk::known_features & ~feature::zoned;
    block::raw_configuration raw;
    raw.capacity = random() >> pick(random, 0, 63);
    raw.blk_size = 512U << (pick(random, 0, 1) != 0 ? pick(random, 0, 3) : pick(random, 0, 22));
    raw.size_max = static_cast<std::uint32_t>(random() >> pick(random, 32, 63));
    raw.seg_max = static_cast<std::uint32_t>(random() % 40);
    raw.max_discard_sectors = static_cast<std::uint32_t>(random() >> pick(random, 32, 63));
    raw.max_write_zeroes_sectors = static_cast<std::uint32_t>(random() >> pick(random, 32, 63));
    raw.max_secure_erase_sectors = static_cast<std::uint32_t>(random() >> pick(random, 32, 63));
    BOOST_REQUIRE(block::apply_configuration(raw, limits) == virtio::error::none);
    return limits;
}

// A number near one of those at which something changes.
std::uint64_t interesting(std::mt19937_64& random, const disk_properties& limits) {
    const std::uint64_t block = limits.logical_block_size;
    const std::uint64_t bases[] = {0,
                                   block,
                                   block / 512,
                                   limits.capacity,
                                   limits.capacity * 512,
                                   limits.size_max,
                                   std::bit_floor(std::uint64_t{limits.size_max}),
                                   std::uint64_t{1} << 63,
                                   ~std::uint64_t{0} - block + 1,
                                   std::uint64_t{1} << 55,
                                   random() >> pick(random, 0, 63)};
    std::uint64_t value = bases[random() % std::size(bases)];
    switch (pick(random, 0, 5)) {
    case 0: value += random() % 3 - 1; break;
    case 1: value += block * (random() % 5 - 2); break;
    case 2: value -= value % block; break;
    case 3: value += block / 512 * (random() % 5 - 2); break;
    case 4: value /= 1 + random() % 4; break;
    default: break;
    }
    return value;
}

// What is wrong with an operation; check() may name any of it.
std::set<status> faults(request_type type, std::uint64_t sector, const std::vector<std::uint64_t>& lengths,
                        const disk_properties& limits) {
    std::set<status> found;
    namespace feature = block::virtio_blk::feature;
    const bool ranges = is_of_ranges(type);
    if (type == request_type::flush || type == request_type::get_id)
        return found;
    if (type == request_type::get_lifetime) {
        if ((limits.accepted & feature::lifetime) == 0)
            found.insert(status::unsupported);
        return found;
    }
    if (type != request_type::in && limits.read_only)
        found.insert(status::read_only);
    if ((type == request_type::discard && limits.max_discard_sectors == 0) ||
        (type == request_type::write_zeroes && limits.max_write_zeroes_sectors == 0) ||
        (type == request_type::secure_erase && limits.max_secure_erase_sectors == 0))
        found.insert(status::unsupported);
    const wide block = limits.logical_block_size;
    wide bytes = 0;
    for (const std::uint64_t each : lengths) {
        const wide part = ranges ? wide{each} * 512 : wide{each};
        bytes += part;
        if (part == 0 || part % block != 0)
            found.insert(status::invalid_argument);
    }
    if (lengths.empty() || wide{sector} * 512 % block != 0)
        found.insert(status::invalid_argument);
    if (wide{sector} * 512 + bytes > wide{limits.capacity} * 512)
        found.insert(status::out_of_range);
    return found;
}

} // namespace

BOOST_AUTO_TEST_SUITE(admission_tests)

BOOST_AUTO_TEST_CASE(whole_operations_are_judged_by_the_rules) {
    std::mt19937_64 random = chance(201);
    std::map<status, unsigned> seen;
    for (unsigned run = 0; run < 60'000; ++run) {
        const disk_properties limits = random_limits(random);
        const request_type type = types[random() % std::size(types)];
        const std::uint64_t sector = interesting(random, limits);
        const std::uint64_t length = interesting(random, limits);
        const operation candidate{type, sector, some_memory, length};
        const status verdict = check(candidate, limits);
        const std::set<status> wrong = faults(type, sector, {length}, limits);
        ++seen[verdict];
        if (verdict == status::ok ? !wrong.empty() : !wrong.contains(verdict))
            BOOST_ERROR("run " << run << ": type " << static_cast<int>(type) << ", sector " << sector << ", length "
                               << length << ", block " << limits.logical_block_size << ", capacity " << limits.capacity
                               << ": " << verdict);
    }
    for (const status each :
         {status::ok, status::read_only, status::unsupported, status::invalid_argument, status::out_of_range})
        BOOST_TEST(seen[each] > 1000U, each);
}

// The spans of a list have lengths and nothing behind them.
BOOST_AUTO_TEST_CASE(lists_are_judged_by_the_rules) {
    std::mt19937_64 random = chance(202);
    std::map<status, unsigned> seen;
    for (unsigned run = 0; run < 20'000; ++run) {
        const disk_properties limits = random_limits(random);
        const bool reads = random() % 2 == 0;
        const std::uint64_t sector = interesting(random, limits);
        std::vector<std::uint64_t> lengths(random() % 5);
        for (std::uint64_t& each : lengths)
            each = random() % 3 == 0 ? interesting(random, limits) : limits.logical_block_size * (1 + random() % 4);
        std::vector<std::span<std::byte>> into;
        std::vector<std::span<const std::byte>> from;
        for (const std::uint64_t each : lengths) {
            into.emplace_back(some_memory, each);
            from.emplace_back(some_memory, each);
        }
        operation candidate{reads ? request_type::in : request_type::out, sector, nullptr, 0};
        candidate.flags = operation::is_scattered;
        candidate.pieces.segments_left = lengths.size();
        if (reads)
            candidate.pieces.next.into = into.data();
        else
            candidate.pieces.next.from = from.data();
        const status verdict = check(candidate, limits);
        const std::set<status> wrong = faults(candidate.type, sector, lengths, limits);
        ++seen[verdict];
        if (verdict == status::ok ? !wrong.empty() : !wrong.contains(verdict))
            BOOST_ERROR("run " << run << ": " << lengths.size() << " parts at sector " << sector << ": " << verdict);
        block::admission plain;
        plain.open(limits);
        if (plain.is_plain(candidate))
            BOOST_ERROR("run " << run << ": a list is plain");
    }
    for (const status each : {status::ok, status::read_only, status::invalid_argument, status::out_of_range})
        BOOST_TEST(seen[each] > 100U, each);
}

// Each range of a list is judged as if it were alone; an operation in pieces, by what is left of it.
BOOST_AUTO_TEST_CASE(lists_of_ranges_are_judged_by_the_rules) {
    std::mt19937_64 random = chance(204);
    std::map<status, unsigned> seen;
    for (unsigned run = 0; run < 20'000; ++run) {
        const disk_properties limits = random_limits(random);
        const request_type type = types_of_ranges[random() % std::size(types_of_ranges)];
        const std::uint64_t unit = limits.logical_block_size / 512;
        std::vector<block::sector_range> ranges(random() % 5);
        for (block::sector_range& each : ranges) {
            const bool odd = random() % 6 == 0;
            each.sector = odd ? interesting(random, limits) : unit * (random() % 8);
            each.sectors = random() % 6 == 0 ? interesting(random, limits) : unit * (1 + random() % 8);
        }
        operation candidate{type, 0, nullptr, 0};
        candidate.flags = operation::is_scattered;
        candidate.pieces.segments_left = ranges.size();
        candidate.pieces.next.ranges = ranges.data();
        const bool begun = !ranges.empty() && ranges[0].sectors != 0 && random() % 2 == 0;
        if (begun) { // the first range is taken out of the list already
            candidate.begin_pieces();
            candidate.next_segment();
        }
        const status verdict = check(candidate, limits);
        std::set<status> wrong;
        for (const block::sector_range& each : ranges)
            wrong.merge(faults(type, each.sector, {each.sectors}, limits));
        if (ranges.empty()) {
            wrong = faults(type, 0, {}, limits);
            BOOST_TEST(wrong.contains(status::invalid_argument));
        }
        ++seen[verdict];
        if (verdict == status::ok ? !wrong.empty() : !wrong.contains(verdict))
            BOOST_ERROR("run " << run << ": " << ranges.size() << " ranges: " << verdict);
        candidate.end(status::ok);
    }
    for (const status each :
         {status::ok, status::read_only, status::unsupported, status::invalid_argument, status::out_of_range})
        BOOST_TEST(seen[each] > 100U, each);
}

BOOST_AUTO_TEST_CASE(a_type_that_does_not_exist_is_refused) {
    disk_properties limits{};
    limits.logical_block_size = 512;
    limits.capacity = 100;
    for (unsigned type = 0; type < 256; ++type) {
        const auto asked = static_cast<request_type>(type);
        const bool of_zones =
            std::find(std::begin(types_of_zones), std::end(types_of_zones), asked) != std::end(types_of_zones);
        if (of_zones || std::find(std::begin(types), std::end(types), asked) == std::end(types))
            BOOST_TEST(check(operation{asked, 0, some_memory, 512}, limits) ==
                       (of_zones ? status::unsupported : status::invalid_argument));
    }
}

BOOST_AUTO_TEST_CASE(a_flush_without_a_cache_has_nothing_to_do) {
    disk_properties limits{};
    for (const request_type type : types)
        for (const bool can_flush : {false, true}) {
            limits.can_flush = can_flush;
            BOOST_TEST(is_noop(operation{type, 0, nullptr, 0}, limits) == (type == request_type::flush && !can_flush));
        }
}

// Of a zoned disk: what is wrong with an operation, rule by rule (VIRTIO 1.3, 5.2.6.1).
BOOST_AUTO_TEST_CASE(operations_on_zones_are_judged_by_the_rules) {
    std::mt19937_64 random = chance(205);
    std::map<status, unsigned> seen;
    unsigned plain = 0;
    for (unsigned run = 0; run < 60'000; ++run) {
        disk_properties limits = random_limits(random);
        const std::uint64_t block = limits.logical_block_size / 512;
        if (block > 1 << 16)
            continue; // write_granularity has 32 bits
        const auto unit = static_cast<std::uint32_t>(block << random() % 4);
        limits.write_granularity = unit * 512;
        limits.zone_sectors = static_cast<std::uint32_t>(unit * (1 + random() % 20));
        limits.max_zone_write_sectors = static_cast<std::uint32_t>(unit * (1 + random() % 20));
        limits.max_append_sectors = static_cast<std::uint32_t>(unit * (random() % 20));
        const std::uint64_t zone = limits.zone_sectors;
        constexpr request_type asked[] = {request_type::in, request_type::out, request_type::secure_erase};
        const request_type type =
            random() % 2 == 0 ? asked[random() % 3] : types_of_zones[random() % std::size(types_of_zones)];
        const std::uint64_t near[] = {zone * (random() % 4),
                                      unit * (random() % 64),
                                      block * (random() % 64),
                                      random() % 256,
                                      limits.capacity - limits.capacity % zone,
                                      interesting(random, limits)};
        const std::uint64_t sector = type == request_type::zone_reset_all ? 0 : near[random() % std::size(near)];
        const std::uint64_t sizes[] = {unit * (1 + random() % 24), block * (1 + random() % 24), zone, random() % 4};
        const std::uint64_t sectors = sizes[random() % std::size(sizes)];
        const bool has_bytes = type == request_type::in || type == request_type::out ||
                               type == request_type::zone_append || type == request_type::zone_report;
        const operation candidate{type, sector, some_memory, has_bytes ? sectors * 512 : sectors};

        std::set<status> wrong;
        const auto is = [&wrong](bool broken, status how) {
            if (broken)
                wrong.insert(how);
        };
        const wide end = wide{sector} + sectors;
        const bool has_range = type == request_type::in || type == request_type::out ||
                               type == request_type::zone_append || type == request_type::secure_erase;
        if (has_range) {
            is(sectors == 0 || sector % block != 0 || sectors % block != 0, status::invalid_argument);
            is(end > limits.capacity, status::out_of_range);
        } else { // there is such a zone; for a reset of all, any
            is(sector >= limits.capacity, status::out_of_range);
        }
        is(limits.read_only && type != request_type::in && type != request_type::zone_report, status::read_only);
        switch (type) {
        case request_type::out:
            is(sector % unit != 0 || sectors % unit != 0, status::invalid_argument);
            is(sector / zone != (sector + sectors - 1) / zone, status::invalid_argument);
            is(sectors > limits.max_zone_write_sectors, status::invalid_argument);
            break;
        case request_type::zone_append:
            is(limits.max_append_sectors == 0, status::unsupported);
            is(sector % zone != 0 || sectors % unit != 0, status::invalid_argument);
            is(sectors > limits.max_append_sectors || sectors > zone, status::invalid_argument);
            break;
        case request_type::secure_erase:
            is(limits.max_secure_erase_sectors == 0, status::unsupported);
            is(sector % zone != 0 || sectors % zone != 0, status::invalid_argument);
            break;
        case request_type::zone_report: is(sectors == 0, status::invalid_argument); break;
        case request_type::zone_open:
        case request_type::zone_close:
        case request_type::zone_finish:
        case request_type::zone_reset: is(sector % zone != 0, status::invalid_argument); break;
        default: break;
        }
        const status verdict = check(candidate, limits);
        ++seen[verdict];
        if (verdict == status::ok ? !wrong.empty() : !wrong.contains(verdict))
            BOOST_ERROR("run " << run << ": type " << static_cast<int>(type) << ", sector " << sector << ", sectors "
                               << sectors << ", unit " << unit << ", zone " << zone << ": " << verdict);
        block::admission quick;
        quick.open(limits);
        if (quick.is_plain(candidate)) {
            ++plain;
            BOOST_TEST((type == request_type::in && sectors == block));
            BOOST_TEST((verdict == status::ok));
        }
        const bool changes = type != request_type::in && type != request_type::zone_report;
        BOOST_TEST(may_be_repeated(candidate, limits) == !changes);
        limits.zone_sectors = 0;
        BOOST_TEST(may_be_repeated(candidate, limits));
    }
    BOOST_TEST(plain > 100U);
    for (const status each :
         {status::ok, status::read_only, status::unsupported, status::invalid_argument, status::out_of_range})
        BOOST_TEST(seen[each] > 1000U, each);
}

// The quick test lets nothing through that the full one refuses, or that has not one segment; and what is plainly plain.
BOOST_AUTO_TEST_CASE(what_is_plain_needs_no_check) {
    std::mt19937_64 random = chance(203);
    unsigned plain = 0, plainly = 0;
    for (unsigned run = 0; run < 100'000; ++run) {
        const disk_properties limits = random_limits(random);
        block::admission quick;
        quick.open(limits);
        const request_type type = random() % 4 != 0 ? types[random() % 2] : static_cast<request_type>(random() % 256);
        operation candidate{type, interesting(random, limits), some_memory, interesting(random, limits)};
        if (random() % 8 == 0)
            candidate.flags = static_cast<std::uint8_t>(random());
        const bool is_plain = quick.is_plain(candidate);
        const bool one_of_two = type == request_type::in || type == request_type::out;
        // A scattered operation has a list, and this one has none: check() is not to look for it.
        const bool well = one_of_two && candidate.flags == 0 && check(candidate, limits) == status::ok;
        plain += is_plain ? 1 : 0;
        if (is_plain && (!well || candidate.length > limits.size_max))
            BOOST_ERROR("run " << run << ": not plain: type " << static_cast<int>(type) << ", sector "
                               << candidate.sector << ", length " << candidate.length);
        // At most half of a segment, and of the disk.
        if (well && candidate.length <= limits.size_max / 2 && candidate.length / 512 <= limits.capacity / 2) {
            ++plainly;
            if (!is_plain)
                BOOST_ERROR("run " << run << ": plain: sector " << candidate.sector << ", length " << candidate.length);
        }
        quick.close();
        if (quick.is_plain(candidate))
            BOOST_ERROR("run " << run << ": plain though the test is closed");
    }
    BOOST_TEST(plain > 300U);
    BOOST_TEST(plainly > 300U);
}

BOOST_AUTO_TEST_SUITE_END()
