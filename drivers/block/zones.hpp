// What a zoned device says in its answers, checked (VIRTIO 1.3, 5.2.6). Pure: nothing here touches a device.
#pragma once

#include "inflight/drivers/block/limits.hpp"
#include "inflight/drivers/block/status.hpp"
#include "inflight/drivers/block/virtio_blk.hpp"

#include <cstdint>
#include <span>
#include <type_traits>

namespace inflight::block {

// How an append ended, and if well, the sector where its data begins.
struct [[nodiscard]] append_result {
    status outcome;
    std::uint64_t sector;
};

// How a zone report ended, and the zones that it tells of: consecutive ones, at least one if it ended well.
struct [[nodiscard]] zone_report {
    status outcome;
    std::span<const virtio_blk::zone_descriptor> zones;
};

// For async: what a task of these without a frame returns.
constexpr append_result out_of_memory_value(std::type_identity<append_result>) noexcept {
    return {.outcome = status::out_of_memory, .sector = 0};
}
constexpr zone_report out_of_memory_value(std::type_identity<zone_report>) noexcept {
    return {.outcome = status::out_of_memory, .zones = {}};
}

// Of an append of `sectors` to the zone that begins at `zone`, for which the device has returned `sector`. device_error
// if that is not in this zone.
append_result check_append(std::uint64_t zone, std::uint64_t sectors, std::uint64_t sector,
                           const disk_properties& limits) noexcept;

// Of a report from the zone on that `sector` lies in. The first element of `buffer`, which is not empty, holds the header of
// the report, as the device has written it. device_error if the report contradicts itself or the limits.
zone_report check_report(std::uint64_t sector, std::span<const virtio_blk::zone_descriptor> buffer,
                         const disk_properties& limits) noexcept;

} // namespace inflight::block
