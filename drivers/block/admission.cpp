#include "inflight/drivers/block/admission.hpp"

#include <algorithm>
#include <bit>

namespace inflight::block {

using virtio_blk::request_type;

namespace {

constexpr std::size_t max_list_entries = ~std::uint32_t{0}; // of scattered data

// The rules of VIRTIO 1.3, 5.2.6.1, as far as they do not depend on the state of the zone. The driver does not know which
// zones are conventional, so the rules are those of all zones.
status check_zone_write(const operation& candidate, std::uint64_t sectors, const disk_properties& limits) noexcept {
    const bool appends = candidate.type == request_type::zone_append;
    const std::uint64_t granularity = limits.write_granularity >> sector_shift;
    const std::uint64_t from_start = candidate.sector % limits.zone_sectors;
    const std::uint64_t room = std::min<std::uint64_t>(
        appends ? limits.max_append_sectors : limits.max_zone_write_sectors, limits.zone_sectors - from_start);
    const bool is_aligned = appends ? from_start == 0 : candidate.sector % granularity == 0;
    return is_aligned && sectors % granularity == 0 && sectors <= room ? status::ok : status::invalid_argument;
}

// What acts on one zone names its first sector.
status check_zone(const operation& candidate, const disk_properties& limits) noexcept {
    if (candidate.sector % limits.zone_sectors != 0) {
        return status::invalid_argument;
    }
    return candidate.sector < limits.capacity ? status::ok : status::out_of_range;
}

// QEMU breaks on a buffer smaller than the smallest report.
status check_report(const operation& candidate, const disk_properties& limits) noexcept {
    if (candidate.length < virtio_blk::smallest_zone_report) {
        return status::invalid_argument;
    }
    return candidate.sector < limits.capacity ? status::ok : status::out_of_range;
}

status check_range(std::uint64_t sector, std::uint64_t sectors, const disk_properties& limits) noexcept {
    const std::uint64_t unaligned = (limits.logical_block_size >> sector_shift) - 1;
    if (sectors == 0 || ((sector | sectors) & unaligned) != 0) {
        return status::invalid_argument;
    }
    if (sectors > limits.capacity || sector > limits.capacity - sectors) {
        return status::out_of_range;
    }
    return status::ok;
}

status check_data(const operation& candidate, const disk_properties& limits) noexcept {
    if ((candidate.length & (sector_size - 1)) != 0) {
        return status::invalid_argument;
    }
    std::uint64_t sectors = candidate.length >> sector_shift;
    const bool in_segments = candidate.has(operation::is_scattered) || candidate.state == operation_state::in_pieces;
    const std::size_t segments = in_segments ? candidate.pieces.segments_left : 0;
    if (segments > max_list_entries) {
        return status::invalid_argument;
    }
    for (std::size_t i = 0; i < segments; ++i) {
        const std::uint64_t length = candidate.segment_length(i);
        if (length == 0 || length % limits.logical_block_size != 0) {
            return status::invalid_argument;
        }
        sectors += length >> sector_shift;
        if (sectors > limits.capacity) { // before many of them add up to more than a word holds
            return status::out_of_range;
        }
    }
    const status outcome = check_range(candidate.sector, sectors, limits);
    if (limits.zone_sectors != 0 && candidate.type != request_type::in && outcome == status::ok) {
        return check_zone_write(candidate, sectors, limits);
    }
    return outcome;
}

// A range of a discard, write-zeroes or secure erase. A secure erase resets whole zones where there are zones.
status check_range_of(request_type type, std::uint64_t sector, std::uint64_t sectors,
                      const disk_properties& limits) noexcept {
    if (limits.zone_sectors != 0 && type == request_type::secure_erase &&
        (sector % limits.zone_sectors != 0 || sectors % limits.zone_sectors != 0)) {
        return status::invalid_argument;
    }
    return check_range(sector, sectors, limits);
}

// Each range by itself. They may overlap: the device does one after another.
status check_ranges(const operation& candidate, const disk_properties& limits) noexcept {
    const bool in_list = candidate.has(operation::is_scattered);
    const std::size_t listed = in_list ? candidate.pieces.segments_left : 0;
    if (listed > max_list_entries) {
        return status::invalid_argument;
    }
    if (!in_list || listed == 0 || candidate.length != 0) { // what is left of the first one
        const status outcome = check_range_of(candidate.type, candidate.sector, candidate.length, limits);
        if (outcome != status::ok) {
            return outcome;
        }
    }
    for (std::size_t i = 0; i < listed; ++i) {
        const sector_range& each = candidate.pieces.next.ranges[i];
        const status outcome = check_range_of(candidate.type, each.sector, each.sectors, limits);
        if (outcome != status::ok) {
            return outcome;
        }
    }
    return status::ok;
}

status check_zoned(const operation& candidate, const disk_properties& limits) noexcept {
    const bool appends = candidate.type == request_type::zone_append;
    if (limits.zone_sectors == 0 || (appends && limits.max_append_sectors == 0)) {
        return status::unsupported;
    }
    if (candidate.type == request_type::zone_report) {
        return check_report(candidate, limits);
    }
    if (limits.read_only) {
        return status::read_only;
    }
    return appends ? check_data(candidate, limits) : check_zone(candidate, limits);
}

} // namespace

status check(const operation& candidate, const disk_properties& limits) noexcept {
    switch (candidate.type) {
    case request_type::out:
        if (limits.read_only) {
            return status::read_only;
        }
        [[fallthrough]];
    case request_type::in: return check_data(candidate, limits);
    case request_type::discard:
    case request_type::write_zeroes:
    case request_type::secure_erase:
        if (limits.read_only) {
            return status::read_only;
        }
        return limits_of(candidate.type, limits).max_sectors != 0 ? check_ranges(candidate, limits)
                                                                  : status::unsupported;
    case request_type::get_lifetime: return limits.can_report_lifetime ? status::ok : status::unsupported;
    case request_type::flush:
    case request_type::get_id: return status::ok;
    case request_type::zone_append:
    case request_type::zone_report:
    case request_type::zone_open:
    case request_type::zone_close:
    case request_type::zone_finish:
    case request_type::zone_reset:
    case request_type::zone_reset_all: return check_zoned(candidate, limits);
    }
    return status::invalid_argument;
}

bool may_be_repeated(const operation& candidate, const disk_properties& limits) noexcept {
    if (limits.zone_sectors == 0) {
        return true;
    }
    switch (candidate.type) {
    case request_type::in:
    case request_type::flush:
    case request_type::get_id:
    case request_type::get_lifetime:
    case request_type::zone_report: return true;
    default: return false;
    }
}

void admission::open(const disk_properties& limits) noexcept {
    close();
    const std::uint64_t block = limits.logical_block_size;
    capacity_ = limits.capacity;
    odd_sector_ = (block >> sector_shift) - 1;
    // A plain operation is shorter than the largest power of two that fits into a segment and the disk.
    std::uint64_t limit = std::bit_floor(std::min<std::uint64_t>(limits.size_max, capacity_ << sector_shift));
    const bool has_zones = limits.zone_sectors != 0;
    if (has_zones) { // one block does not cross from zone to zone, and a longer read might
        limit = std::min(limit, 2 * block);
    }
    if (limit > block) {
        odd_read_length_ = ~(limit - 1) | (block - 1);
        if (!limits.read_only && !has_zones) {
            odd_write_length_ = odd_read_length_;
        }
    }
}

} // namespace inflight::block
