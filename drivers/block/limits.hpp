// What a block device says about itself, checked: from the fields of its configuration space (VIRTIO 1.2, 5.2.4) to
// what the driver works by. Pure: nothing here touches a device.
#pragma once

#include "inflight/drivers/block/virtio_blk.hpp"
#include "inflight/drivers/virtio/features.hpp"
#include "inflight/drivers/virtio/transport.hpp"

#include <cstdint>

namespace inflight::block {

// Nothing depends on it: of legacy use only, and made up by most devices.
struct disk_geometry {
    std::uint16_t cylinders;
    std::uint8_t heads;
    std::uint8_t sectors; // of a track

    bool operator==(const disk_geometry&) const noexcept = default;
};

// What a device says about itself, checked. Sizes in the unit that is named.
struct disk_properties {
    std::uint64_t capacity_changes;         // how often the capacity has changed since the start
    std::uint64_t capacity;                 // sectors of 512 bytes: whole logical blocks, and fewer than 2^55
    std::uint32_t logical_block_size;       // bytes; sector numbers and lengths are multiples of it
    std::uint64_t physical_block_size;      // bytes
    std::uint64_t alignment_offset;         // bytes to the first aligned physical block
    std::uint64_t minimum_io_size;          // bytes; 0: not said
    std::uint64_t optimal_io_size;          // bytes; 0: not said
    std::uint32_t size_max;                 // bytes in one segment: whole logical blocks, or less than one
    std::uint32_t seg_max;                  // segments in one request of the device, as far as this driver uses them
    std::uint32_t max_discard_sectors;      // in one segment of a request of the device; 0: the device cannot
    std::uint32_t max_discard_seg;          // segments in one request, as far as this driver uses them
    std::uint32_t discard_sector_alignment; // sectors
    std::uint32_t max_write_zeroes_sectors; // the same for write-zeroes
    std::uint32_t max_write_zeroes_seg;
    std::uint32_t max_secure_erase_sectors; // the same for secure erase
    std::uint32_t max_secure_erase_seg;
    std::uint32_t secure_erase_sector_alignment;
    // Of a host-managed zoned device; all 0 of every other disk. A zone begins at each multiple of zone_sectors; the last
    // one may be smaller.
    std::uint32_t zone_sectors;
    std::uint32_t max_open_zones;         // zones that are open at once; 0: no limit
    std::uint32_t max_active_zones;       // zones that are open or closed; 0: no limit
    std::uint32_t max_append_sectors;     // in one append(); 0: the device cannot
    std::uint32_t max_zone_write_sectors; // in one write() from contiguous memory, as far as this driver can
    std::uint32_t write_granularity;      // bytes: whole logical blocks
    disk_geometry geometry;               // as the device says it; all 0 without GEOMETRY
    bool write_zeroes_may_unmap;          // a write-zeroes that permits it may deallocate sectors
    bool can_report_lifetime;             // get_lifetime() works
    bool read_only;
    bool write_cache; // what is written is lost with the power unless flush() has ended after it
    bool can_flush;   // else every write is durable when it ends, and flush() has nothing to do
    bool can_switch_write_cache;
    bool can_reset_queues; // one by one (RING_RESET), as far as is known
    bool legacy;
    std::uint16_t queues;
    std::uint16_t queue_size;
    std::uint32_t slots_per_queue; // requests of the device that one queue holds
    virtio::feature_set offered;
    virtio::feature_set accepted;
};

// The configuration space as it is, as far as the accepted features let the driver look. A field that does not exist
// says what its absence means.
struct raw_configuration {
    std::uint64_t capacity = 0;
    std::uint32_t size_max = 0;
    std::uint32_t seg_max = 0;
    std::uint32_t blk_size = sector_size;
    std::uint32_t opt_io_size = 0;
    std::uint32_t max_discard_sectors = 0;
    std::uint32_t max_discard_seg = 0;
    std::uint32_t discard_sector_alignment = 0;
    std::uint32_t max_write_zeroes_sectors = 0;
    std::uint32_t max_write_zeroes_seg = 0;
    std::uint32_t max_secure_erase_sectors = 0;
    std::uint32_t max_secure_erase_seg = 0;
    std::uint32_t secure_erase_sector_alignment = 0;
    std::uint32_t zone_sectors = 0;
    std::uint32_t max_open_zones = 0;
    std::uint32_t max_active_zones = 0;
    std::uint32_t max_append_sectors = 0;
    std::uint32_t write_granularity = 0;
    virtio_blk::zoned_model zoned_model = virtio_blk::zoned_model::none;
    disk_geometry geometry{};
    std::uint16_t min_io_size = 0;
    std::uint16_t num_queues = 1;
    std::uint8_t physical_block_exp = 0;
    std::uint8_t alignment_offset = 0;
    std::uint8_t writeback = 0;
    std::uint8_t write_zeroes_may_unmap = 0;

    bool operator==(const raw_configuration&) const noexcept = default;
};

// Bytes in one request of the device where it sets no limit of its own: large enough to be rare, small enough for the
// 32-bit lengths of descriptors and used elements, with the status byte. One logical block may be larger.
inline constexpr std::uint32_t max_bytes = 1u << 30;

// The largest number of data segments in one request of the device.
inline constexpr std::uint32_t max_segments = 30;

// The largest number of segments in one discard, write-zeroes or secure-erase request of the device.
inline constexpr std::uint32_t max_range_segments = 16;

// Fills in what follows from the configuration. A 0 in an optional limit means that the device says nothing, as Linux
// reads it. `known.accepted` holds the features; queues and seg_max are upper bounds, which the set-up of the queues
// lowers. On an error `known` is unchanged.
[[nodiscard]] virtio::error apply_configuration(const raw_configuration& raw, disk_properties& known) noexcept;

// What a device says about the requests of one of these types: discard, write_zeroes, secure_erase.
struct range_limits {
    std::uint32_t max_sectors; // in one segment; 0: the device cannot
    std::uint32_t max_segments;
    std::uint32_t alignment; // sectors; 0 or 1: none. A hint: a range that is not aligned is permitted
};
[[nodiscard]] range_limits limits_of(virtio_blk::request_type type, const disk_properties& of) noexcept;

// Lowers what goes into one write or append of a zoned disk to what fits into one request of the device. False if not
// even write_granularity bytes do.
[[nodiscard]] bool limit_zone_writes(disk_properties& of) noexcept;

// Lowers the number of such segments in a request to `most`.
void limit_range_segments(disk_properties& of, std::uint32_t most) noexcept;

// The cause of an error, and what to do about it: virtio::to_string(), but with the terms of a block device.
const char* describe(virtio::error why) noexcept;

// Sectors of a disk that says it has `sectors`, as far as they can be used: whole logical blocks, and few enough to be
// counted in bytes.
[[nodiscard]] std::uint64_t usable_capacity(std::uint64_t sectors, std::uint32_t logical_block_size) noexcept;

// How many segments one logical block takes.
[[nodiscard]] constexpr std::uint32_t segments_per_block(const disk_properties& of) noexcept {
    return of.logical_block_size / of.size_max + (of.logical_block_size % of.size_max != 0 ? 1 : 0);
}

} // namespace inflight::block
