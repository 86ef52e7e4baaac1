#include "inflight/drivers/block/zones.hpp"

#include <cstring>

namespace inflight::block {

using virtio_blk::zone_descriptor;
using virtio_blk::zone_state;
using virtio_blk::zone_type;

namespace {

// Whether a zone can be in this state, and its write pointer be there.
bool is_credible(const zone_descriptor& zone) noexcept {
    const bool has_no_pointer = zone.z_type == zone_type::conventional;
    if (has_no_pointer || zone.z_state == zone_state::not_write_pointer) {
        return has_no_pointer && zone.z_state == zone_state::not_write_pointer;
    }
    if (zone.z_type != zone_type::sequential_write_required && zone.z_type != zone_type::sequential_write_preferred) {
        return false;
    }
    switch (zone.z_state) {
    case zone_state::empty: return zone.z_wp == zone.z_start;
    case zone_state::implicitly_open:
    case zone_state::explicitly_open:
    case zone_state::closed: return zone.z_wp >= zone.z_start && zone.z_wp - zone.z_start <= zone.z_cap;
    case zone_state::read_only:
    case zone_state::full:
    case zone_state::offline: return true;
    default: return false;
    }
}

} // namespace

append_result check_append(std::uint64_t zone, std::uint64_t sectors, std::uint64_t sector,
                           const disk_properties& limits) noexcept {
    const bool is_credible =
        sector >= zone && sectors <= limits.zone_sectors && sector - zone <= limits.zone_sectors - sectors;
    return is_credible ? append_result{.outcome = status::ok, .sector = sector}
                       : append_result{.outcome = status::device_error, .sector = 0};
}

zone_report check_report(std::uint64_t sector, std::span<const zone_descriptor> buffer,
                         const disk_properties& limits) noexcept {
    constexpr zone_report not_credible{.outcome = status::device_error, .zones = {}};
    virtio_blk::zone_report_header header{};
    std::memcpy(&header, buffer.data(), sizeof header);
    const std::span<const zone_descriptor> room = buffer.subspan(1);
    if (limits.zone_sectors == 0 || header.nr_zones == 0 || header.nr_zones > room.size()) {
        return not_credible;
    }
    const auto zones = room.first(static_cast<std::size_t>(header.nr_zones));
    std::uint64_t start = sector - sector % limits.zone_sectors;
    for (const zone_descriptor& zone : zones) {
        if (zone.z_start != start || start >= limits.capacity || zone.z_cap > limits.zone_sectors ||
            !is_credible(zone)) {
            return not_credible;
        }
        start += limits.zone_sectors;
    }
    return {.outcome = status::ok, .zones = zones};
}

} // namespace inflight::block
