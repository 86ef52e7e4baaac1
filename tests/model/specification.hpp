// Numbers of the VIRTIO specification that the device model needs, written down here a second time on purpose: were
// they shared with the driver, a wrong one would agree with itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace inflight::model {

namespace status_bit {
inline constexpr std::uint32_t acknowledge = 1, driver = 2, driver_ok = 4, features_ok = 8, needs_reset = 64,
                               failed = 128;
} // namespace status_bit

namespace feature {
inline constexpr unsigned barrier = 0, size_max = 1, seg_max = 2, geometry = 4, read_only = 5, blk_size = 6, scsi = 7,
                          flush = 9, topology = 10, config_wce = 11, mq = 12, discard = 13, write_zeroes = 14,
                          lifetime = 15, secure_erase = 16, zoned = 17, notify_on_empty = 24, any_layout = 27,
                          indirect_desc = 28, event_idx = 29, unused = 30, version_1 = 32, access_platform = 33,
                          ring_packed = 34, in_order = 35, order_platform = 36, sr_iov = 37, notification_data = 38,
                          notif_config_data = 39, ring_reset = 40, admin_vq = 41, suspend = 43;
constexpr std::uint64_t bit(unsigned number) {
    return std::uint64_t{1} << number;
}
} // namespace feature

namespace reg {
inline constexpr std::uint64_t magic_value = 0x000, version = 0x004, device_id = 0x008, vendor_id = 0x00c,
                               device_features = 0x010, device_features_sel = 0x014, driver_features = 0x020,
                               driver_features_sel = 0x024, guest_page_size = 0x028, queue_sel = 0x030,
                               queue_size_max = 0x034, queue_size = 0x038, queue_align = 0x03c, queue_pfn = 0x040,
                               queue_ready = 0x044, queue_notify = 0x050, interrupt_status = 0x060,
                               interrupt_ack = 0x064, status = 0x070, queue_desc_low = 0x080, queue_desc_high = 0x084,
                               queue_driver_low = 0x090, queue_driver_high = 0x094, queue_device_low = 0x0a0,
                               queue_device_high = 0x0a4, shm_sel = 0x0ac, shm_base_high = 0x0bc, queue_reset = 0x0c0,
                               config_generation = 0x0fc, config = 0x100;

constexpr bool of_interrupts(std::uint64_t offset) {
    return offset == interrupt_status || offset == interrupt_ack;
}
} // namespace reg

namespace request_type {
inline constexpr std::uint32_t in = 0, out = 1, scsi_cmd = 2, scsi_cmd_out = 3, flush = 4, flush_out = 5, get_id = 8,
                               get_lifetime = 10, discard = 11, write_zeroes = 13, secure_erase = 14, zone_append = 15,
                               zone_report = 16, zone_open = 18, zone_close = 20, zone_finish = 22, zone_reset = 24,
                               zone_reset_all = 26;
} // namespace request_type

namespace request_status {
inline constexpr std::uint8_t ok = 0, io_error = 1, unsupported = 2, zone_invalid_cmd = 3, zone_unaligned_wp = 4,
                              zone_open_resource = 5, zone_active_resource = 6;
} // namespace request_status

namespace descriptor_flag {
inline constexpr std::uint16_t next = 1, write = 2, indirect = 4;
inline constexpr std::uint16_t available = 1 << 7, used = 1 << 15; // packed rings only
} // namespace descriptor_flag

namespace event_flag {
inline constexpr std::uint16_t enable = 0, disable = 1, at_descriptor = 2;
} // namespace event_flag

inline constexpr std::uint32_t magic = 0x74726976;
inline constexpr std::uint64_t sector_bytes = 512;
inline constexpr std::uint64_t descriptor_bytes = 16;
inline constexpr std::uint64_t header_bytes = 16;
inline constexpr std::uint64_t segment_bytes = 16;
inline constexpr std::uint64_t identifier_bytes = 20;
inline constexpr std::uint64_t append_sector_bytes = 8;

namespace zoned_model {
inline constexpr std::uint8_t none = 0, host_managed = 1, host_aware = 2;
} // namespace zoned_model

inline constexpr std::uint32_t interrupt_used = 1, interrupt_config = 2;

// Whether an index that went from `before` to `after` passed the place where the other side asked to be told.
constexpr bool event_passed(std::uint16_t event, std::uint16_t after, std::uint16_t before) {
    return static_cast<std::uint16_t>(after - event - 1) < static_cast<std::uint16_t>(after - before);
}

template <class T>
T load(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

template <class T>
void store(std::byte* to, T value) {
    std::memcpy(to, &value, sizeof value);
}

struct descriptor {
    std::uint64_t address;
    std::uint32_t length;
    std::uint16_t flags;
    std::uint16_t next;
};
static_assert(sizeof(descriptor) == descriptor_bytes);

// Of a packed ring, and of the indirect tables that go with it.
struct packed_descriptor {
    std::uint64_t address;
    std::uint32_t length;
    std::uint16_t id;
    std::uint16_t flags;
};
static_assert(sizeof(packed_descriptor) == descriptor_bytes);

} // namespace inflight::model
