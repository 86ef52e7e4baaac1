#include "inflight/drivers/block/limits.hpp"

#include <algorithm>
#include <bit>

namespace inflight::block {

namespace {

constexpr std::uint32_t round_down(std::uint32_t value, std::uint32_t unit) noexcept {
    return value - value % unit;
}

// A limit of which 0 says nothing.
constexpr std::uint32_t said_or(std::uint32_t limit, std::uint32_t unsaid) noexcept {
    return limit != 0 ? limit : unsaid;
}

} // namespace

std::uint64_t usable_capacity(std::uint64_t sectors, std::uint32_t logical_block_size) noexcept {
    constexpr std::uint64_t countable = ~std::uint64_t{0} >> sector_shift;
    const std::uint64_t usable = std::min(sectors, countable);
    return usable - usable % (logical_block_size >> sector_shift);
}

range_limits limits_of(virtio_blk::request_type type, const disk_properties& of) noexcept {
    switch (type) {
    case virtio_blk::request_type::discard:
        return {.max_sectors = of.max_discard_sectors,
                .max_segments = of.max_discard_seg,
                .alignment = of.discard_sector_alignment};
    case virtio_blk::request_type::write_zeroes:
        return {.max_sectors = of.max_write_zeroes_sectors, .max_segments = of.max_write_zeroes_seg, .alignment = 0};
    default:
        return {.max_sectors = of.max_secure_erase_sectors,
                .max_segments = of.max_secure_erase_seg,
                .alignment = of.secure_erase_sector_alignment};
    }
}

bool limit_zone_writes(disk_properties& of) noexcept {
    const std::uint64_t bytes = of.size_max >= of.logical_block_size
                                    ? std::uint64_t{of.seg_max} * of.size_max
                                    : std::uint64_t{of.seg_max / segments_per_block(of)} * of.logical_block_size;
    const auto fits = [&of, sectors = bytes >> sector_shift](std::uint32_t limit) {
        return round_down(static_cast<std::uint32_t>(std::min<std::uint64_t>(limit, sectors)),
                          of.write_granularity >> sector_shift);
    };
    of.max_append_sectors = fits(of.max_append_sectors);
    of.max_zone_write_sectors = fits(of.max_zone_write_sectors);
    return of.max_zone_write_sectors != 0;
}

void limit_range_segments(disk_properties& of, std::uint32_t most) noexcept {
    of.max_discard_seg = std::min(of.max_discard_seg, most);
    of.max_write_zeroes_seg = std::min(of.max_write_zeroes_seg, most);
    of.max_secure_erase_seg = std::min(of.max_secure_erase_seg, most);
}

const char* describe(virtio::error why) noexcept {
    switch (why) {
    case virtio::error::queue_too_small:
        return "a queue has fewer than 4 descriptors, and a request takes 3: give it larger queues";
    case virtio::error::limits_unusable:
        return "the device's limits (size_max, seg_max, blk_size, write_granularity) allow no request of a whole block";
    default: return virtio::to_string(why);
    }
}

namespace {

// The unit of writes: of two sizes in bytes the larger one. 0 if that is not a multiple of the other.
std::uint32_t common_unit(std::uint32_t granularity, std::uint32_t block) noexcept {
    const std::uint32_t unit = std::max(granularity, block);
    return granularity != 0 && unit % granularity == 0 && unit % block == 0 ? unit : 0;
}

// What a device says of its zones. False if it contradicts itself; `known` is unchanged then.
bool apply_zones(const raw_configuration& raw, disk_properties& known) noexcept {
    const std::uint32_t unit = common_unit(raw.write_granularity, raw.blk_size);
    const std::uint32_t unit_sectors = unit >> sector_shift;
    if (raw.zoned_model != virtio_blk::zoned_model::host_managed || unit == 0 || raw.zone_sectors == 0 ||
        raw.zone_sectors % unit_sectors != 0 ||
        (raw.max_append_sectors != 0 && raw.max_append_sectors < unit_sectors)) {
        return false;
    }
    known.zone_sectors = raw.zone_sectors;
    known.max_open_zones = raw.max_open_zones;
    known.max_active_zones = raw.max_active_zones;
    known.write_granularity = unit;
    known.max_zone_write_sectors = std::min(raw.zone_sectors, std::max(max_bytes, unit) >> sector_shift);
    known.max_append_sectors = std::min(raw.max_append_sectors, known.max_zone_write_sectors);
    return true;
}

} // namespace

virtio::error apply_configuration(const raw_configuration& raw, disk_properties& known) noexcept {
    namespace feature = virtio_blk::feature;
    const std::uint32_t block = raw.blk_size;
    if (!std::has_single_bit(block) || block < sector_size) {
        return virtio::error::limits_unusable;
    }
    if (raw.num_queues == 0) {
        return virtio::error::queue_missing;
    }
    const std::uint32_t block_sectors = block >> sector_shift;
    const auto has = [&known](virtio::feature_set bits) {
        return (known.accepted & bits) != 0;
    };

    if (has(feature::zoned) && !apply_zones(raw, known)) {
        return virtio::error::zones_unusable;
    }
    known.capacity = usable_capacity(raw.capacity, block);
    known.logical_block_size = block;
    known.physical_block_size = raw.physical_block_exp < 16 ? std::uint64_t{block} << raw.physical_block_exp : block;
    known.alignment_offset = std::uint64_t{raw.alignment_offset} * block;
    known.minimum_io_size = std::uint64_t{raw.min_io_size} * block;
    known.optimal_io_size = std::uint64_t{raw.opt_io_size} * block;
    const std::uint32_t segment = std::min(said_or(raw.size_max, max_bytes), max_bytes);
    known.size_max = segment >= block ? round_down(segment, block) : segment;
    known.seg_max = std::min(said_or(raw.seg_max, 1), max_segments);
    constexpr std::uint32_t unlimited = ~std::uint32_t{0};
    known.max_discard_sectors =
        has(feature::discard) ? round_down(said_or(raw.max_discard_sectors, unlimited), block_sectors) : 0;
    known.max_discard_seg = said_or(raw.max_discard_seg, 1);
    known.discard_sector_alignment = raw.discard_sector_alignment;
    known.max_write_zeroes_sectors =
        has(feature::write_zeroes) ? round_down(said_or(raw.max_write_zeroes_sectors, unlimited), block_sectors) : 0;
    known.max_write_zeroes_seg = said_or(raw.max_write_zeroes_seg, 1);
    known.write_zeroes_may_unmap = has(feature::write_zeroes) && raw.write_zeroes_may_unmap != 0;
    known.max_secure_erase_sectors =
        has(feature::secure_erase) ? round_down(said_or(raw.max_secure_erase_sectors, unlimited), block_sectors) : 0;
    known.max_secure_erase_seg = said_or(raw.max_secure_erase_seg, 1);
    known.secure_erase_sector_alignment = raw.secure_erase_sector_alignment;
    if (known.zone_sectors != 0) { // it resets whole zones
        known.max_secure_erase_sectors = round_down(known.max_secure_erase_sectors, known.zone_sectors);
        if (known.secure_erase_sector_alignment % known.zone_sectors != 0) {
            known.secure_erase_sector_alignment = known.zone_sectors;
        }
    }
    // The segments lie in one data segment.
    const std::uint32_t in_a_segment = known.size_max / static_cast<std::uint32_t>(sizeof(virtio_blk::range_segment));
    limit_range_segments(known, std::clamp(in_a_segment, 1u, max_range_segments));
    known.geometry = has(feature::geometry) ? raw.geometry : disk_geometry{};
    known.can_report_lifetime = has(feature::lifetime);
    known.read_only = has(feature::ro);
    known.can_flush = has(feature::flush);
    known.write_cache = has(feature::config_wce) ? raw.writeback != 0 : known.can_flush;
    known.can_switch_write_cache = has(feature::config_wce);
    known.queues = raw.num_queues;
    return virtio::error::none;
}

} // namespace inflight::block
