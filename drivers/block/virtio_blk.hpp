// The block device as the VIRTIO specification describes it (1.2, 5.2): features, configuration space, request.
#pragma once

#include "inflight/drivers/virtio/features.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace inflight::block::virtio_blk {

// 5.2.3.
namespace feature {
inline constexpr virtio::feature_set size_max = 1u << 1;
inline constexpr virtio::feature_set seg_max = 1u << 2;
inline constexpr virtio::feature_set geometry = 1u << 4;
inline constexpr virtio::feature_set ro = 1u << 5;
inline constexpr virtio::feature_set blk_size = 1u << 6;
inline constexpr virtio::feature_set flush = 1u << 9;
inline constexpr virtio::feature_set topology = 1u << 10;
inline constexpr virtio::feature_set config_wce = 1u << 11;
inline constexpr virtio::feature_set mq = 1u << 12;
inline constexpr virtio::feature_set discard = 1u << 13;
inline constexpr virtio::feature_set write_zeroes = 1u << 14;
inline constexpr virtio::feature_set lifetime = 1u << 15;
inline constexpr virtio::feature_set secure_erase = 1u << 16;
inline constexpr virtio::feature_set zoned = 1u << 17; // VIRTIO 1.3
} // namespace feature

// All that this driver knows what to do with. The allow-list: no other bit of the device type is ever accepted.
inline constexpr virtio::feature_set known_features =
    feature::size_max | feature::seg_max | feature::geometry | feature::ro | feature::blk_size | feature::flush |
    feature::topology | feature::config_wce | feature::mq | feature::discard | feature::write_zeroes |
    feature::lifetime | feature::secure_erase | feature::zoned;

// How the zones of a device that offers ZONED are to be written (VIRTIO 1.3, 5.2.4).
enum class zoned_model : std::uint8_t {
    none = 0,         // the device manages them itself, if it has any
    host_managed = 1, // in sequence only, at the write pointer of each zone
    host_aware = 2,   // anywhere; in sequence if they are to be fast
};

// Whether a device of this model works like a disk without zones.
[[nodiscard]] constexpr bool is_ordinary(zoned_model model) noexcept {
    return model == zoned_model::none || model == zoned_model::host_aware;
}

// What of the features of a block device that offers `offered` the driver accepts; none of `off`. ZONED is accepted
// from a device that is not ordinary, and from no other.
[[nodiscard]] virtio::feature_set wanted_features(virtio::feature_set offered, virtio::feature_set off,
                                                  zoned_model model) noexcept;

// The name of feature bit `bit` (0 to 63) as the specification spells it, without its prefix. nullptr if the bit has no
// name.
const char* feature_name(unsigned bit) noexcept;

// 5.2.4: offsets into the configuration space. Each field but capacity exists only with its feature.
namespace configuration {
inline constexpr std::size_t capacity = 0;                       // 64 bits, sectors
inline constexpr std::size_t size_max = 8;                       // 32 bits, bytes
inline constexpr std::size_t seg_max = 12;                       // 32 bits
inline constexpr std::size_t cylinders = 16;                     // 16 bits
inline constexpr std::size_t heads = 18;                         // 8 bits
inline constexpr std::size_t sectors = 19;                       // 8 bits, of a track
inline constexpr std::size_t blk_size = 20;                      // 32 bits, bytes
inline constexpr std::size_t physical_block_exp = 24;            // 8 bits, log2 of logical blocks
inline constexpr std::size_t alignment_offset = 25;              // 8 bits, logical blocks
inline constexpr std::size_t min_io_size = 26;                   // 16 bits, logical blocks
inline constexpr std::size_t opt_io_size = 28;                   // 32 bits, logical blocks
inline constexpr std::size_t writeback = 32;                     // 8 bits, only after FEATURES_OK
inline constexpr std::size_t num_queues = 34;                    // 16 bits
inline constexpr std::size_t max_discard_sectors = 36;           // 32 bits
inline constexpr std::size_t max_discard_seg = 40;               // 32 bits
inline constexpr std::size_t discard_sector_alignment = 44;      // 32 bits
inline constexpr std::size_t max_write_zeroes_sectors = 48;      // 32 bits
inline constexpr std::size_t max_write_zeroes_seg = 52;          // 32 bits
inline constexpr std::size_t write_zeroes_may_unmap = 56;        // 8 bits
inline constexpr std::size_t max_secure_erase_sectors = 60;      // 32 bits
inline constexpr std::size_t max_secure_erase_seg = 64;          // 32 bits
inline constexpr std::size_t secure_erase_sector_alignment = 68; // 32 bits
inline constexpr std::size_t zone_sectors = 72;                  // 32 bits
inline constexpr std::size_t max_open_zones = 76;                // 32 bits
inline constexpr std::size_t max_active_zones = 80;              // 32 bits
inline constexpr std::size_t max_append_sectors = 84;            // 32 bits
inline constexpr std::size_t write_granularity = 88;             // 32 bits, bytes
inline constexpr std::size_t zoned_model = 92;                   // 8 bits
} // namespace configuration

// 5.2.6.
enum class request_type : std::uint8_t {
    in = 0,
    out = 1,
    flush = 4,
    get_id = 8,
    get_lifetime = 10,
    discard = 11,
    write_zeroes = 13,
    secure_erase = 14,
    zone_append = 15,
    zone_report = 16,
    zone_open = 18,
    zone_close = 20,
    zone_finish = 22,
    zone_reset = 24,
    zone_reset_all = 26,
};

// The device-readable beginning of a request.
struct request_header {
    std::uint32_t type;
    std::uint32_t reserved;
    std::uint64_t sector;
};
static_assert(sizeof(request_header) == 16);

// What the data of a discard, write-zeroes or secure-erase request consists of.
struct range_segment {
    std::uint64_t sector;
    std::uint32_t num_sectors;
    std::uint32_t flags;
};
static_assert(sizeof(range_segment) == 16);

// Of `flags`: the device may deallocate the sectors that it is to write zeroes to. No other bit is ever set.
inline constexpr std::uint32_t unmap_flag = 1;

// The data of a get-lifetime request.
struct lifetime {
    std::uint16_t pre_eol_info; // reserved blocks that are used: see lifetime_limits; 0: not defined
    std::uint16_t
        device_lifetime_est_typ_a; // tenths of the life that SLC cells have had, rounded up; 11: more than all
    std::uint16_t device_lifetime_est_typ_b; // the same of MLC cells; 0: not defined
};
static_assert(sizeof(lifetime) == 6);

// The largest values that are not reserved. Of pre_eol_info, 1 is normal, 2 a warning (80 % used), 3 urgent (90 %).
namespace lifetime_limits {
inline constexpr std::uint16_t pre_eol_info = 3;
inline constexpr std::uint16_t estimate = 11;
} // namespace lifetime_limits

// What a zone report consists of (VIRTIO 1.3, 5.2.6): a header, and a descriptor for each zone.
struct zone_report_header {
    std::uint64_t nr_zones; // descriptors that follow
    std::array<std::uint8_t, 56> reserved;
};
static_assert(sizeof(zone_report_header) == 64);

enum class zone_type : std::uint8_t {
    conventional = 1,               // written anywhere
    sequential_write_required = 2,  // written at the write pointer only
    sequential_write_preferred = 3, // written anywhere
};

enum class zone_state : std::uint8_t {
    not_write_pointer = 0, // of every conventional zone
    empty = 1,
    implicitly_open = 2,
    explicitly_open = 3,
    closed = 4,
    read_only = 13,
    full = 14,
    offline = 15,
};

struct zone_descriptor {
    std::uint64_t z_cap;   // sectors that can be written, from the first one on
    std::uint64_t z_start; // the first sector
    std::uint64_t z_wp;    // the write pointer; undefined in a zone without one, or one that cannot be written
    zone_type z_type;
    zone_state z_state;
    std::array<std::uint8_t, 38> reserved;
};
static_assert(sizeof(zone_descriptor) == sizeof(zone_report_header));

inline constexpr std::size_t smallest_zone_report = sizeof(zone_report_header) + sizeof(zone_descriptor); // of one zone

inline constexpr std::size_t append_sector_length = 8; // the answer of a zone append, right before the status

inline constexpr std::size_t id_length = 20; // padded with NUL, without one if it is this long
using id_string = std::array<char, id_length>;

// The device-writable end of a request.
namespace status_byte {
inline constexpr std::uint8_t ok = 0;
inline constexpr std::uint8_t io_error = 1;
inline constexpr std::uint8_t unsupported = 2;
inline constexpr std::uint8_t zone_invalid_command = 3; // this and the next three: with ZONED only
inline constexpr std::uint8_t zone_unaligned_write_pointer = 4;
inline constexpr std::uint8_t zone_open_resource = 5;
inline constexpr std::uint8_t zone_active_resource = 6;
inline constexpr std::uint8_t poison = 0xff; // none of the device's; still there afterwards: the device wrote nothing
} // namespace status_byte

} // namespace inflight::block::virtio_blk

namespace inflight::block {

// The protocol's unit, whatever the disk's logical block size is.
inline constexpr std::size_t sector_size = 512;
inline constexpr unsigned sector_shift = 9;

} // namespace inflight::block
