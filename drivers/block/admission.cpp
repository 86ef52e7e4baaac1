#include "inflight/drivers/block/admission.hpp"

#include <algorithm>
#include <bit>

namespace inflight::block {

using virtio_blk::request_type;

namespace {

constexpr std::size_t max_list_entries = ~std::uint32_t{0}; // of scattered data

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
    return check_range(candidate.sector, sectors, limits);
}

// Each range by itself. They may overlap: the device does one after another.
status check_ranges(const operation& candidate, const disk_properties& limits) noexcept {
    const bool in_list = candidate.has(operation::is_scattered);
    const std::size_t listed = in_list ? candidate.pieces.segments_left : 0;
    if (listed > max_list_entries) {
        return status::invalid_argument;
    }
    if (!in_list || listed == 0 || candidate.length != 0) { // what is left of the first one
        const status outcome = check_range(candidate.sector, candidate.length, limits);
        if (outcome != status::ok) {
            return outcome;
        }
    }
    for (std::size_t i = 0; i < listed; ++i) {
        const sector_range& each = candidate.pieces.next.ranges[i];
        const status outcome = check_range(each.sector, each.sectors, limits);
        if (outcome != status::ok) {
            return outcome;
        }
    }
    return status::ok;
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
    }
    return status::invalid_argument;
}

void admission::open(const disk_properties& limits) noexcept {
    close();
    const std::uint64_t block = limits.logical_block_size;
    capacity_ = limits.capacity;
    odd_sector_ = (block >> sector_shift) - 1;
    // A plain operation is shorter than the largest power of two that fits into a segment and the disk.
    const std::uint64_t limit = std::bit_floor(std::min<std::uint64_t>(limits.size_max, capacity_ << sector_shift));
    if (limit > block) {
        odd_read_length_ = ~(limit - 1) | (block - 1);
        if (!limits.read_only) {
            odd_write_length_ = odd_read_length_;
        }
    }
}

} // namespace inflight::block
