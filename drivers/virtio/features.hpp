// Feature bits of ring and transport (VIRTIO 1.2, chapter 6), device status bits (2.1) and device types (chapter 5).
#pragma once

#include <cstdint>

namespace inflight::virtio {

using feature_set = std::uint64_t;

namespace feature {
// The bits that mean something else for each device type (2.2). Those between are of the ring and the transport.
inline constexpr feature_set of_device_types = ~(((feature_set{1} << 26) - 1) << 24);

// Of the ring and the transport.
inline constexpr feature_set notify_on_empty = feature_set{1} << 24; // legacy
inline constexpr feature_set any_layout = feature_set{1} << 27;      // legacy
inline constexpr feature_set indirect_desc = feature_set{1} << 28;
inline constexpr feature_set event_idx = feature_set{1} << 29;
inline constexpr feature_set version_1 = feature_set{1} << 32;
inline constexpr feature_set access_platform = feature_set{1} << 33;
inline constexpr feature_set ring_packed = feature_set{1} << 34;
inline constexpr feature_set in_order = feature_set{1} << 35; // which a driver of a device type has to ask for
inline constexpr feature_set order_platform = feature_set{1} << 36;
inline constexpr feature_set notification_data = feature_set{1} << 38;
inline constexpr feature_set notif_config_data = feature_set{1} << 39; // PCI only
inline constexpr feature_set ring_reset = feature_set{1} << 40;
} // namespace feature

namespace status_bit {
inline constexpr std::uint8_t acknowledge = 1;
inline constexpr std::uint8_t driver = 2;
inline constexpr std::uint8_t driver_ok = 4;
inline constexpr std::uint8_t features_ok = 8;
inline constexpr std::uint8_t device_needs_reset = 64;
inline constexpr std::uint8_t failed = 128;
} // namespace status_bit

enum class device_id : std::uint32_t {
    none = 0, // an empty slot
    network = 1,
    block = 2,
    console = 3,
    entropy = 4,
    balloon = 5,
    scsi_host = 8,
    file_system_9p = 9,
    gpu = 16,
    input = 18,
    socket = 19,
    crypto = 20,
    file_system = 26,
};

// The type's name, or "unknown device".
const char* to_string(device_id id) noexcept;

// The name of feature bit `bit` (0 to 63) of ring or transport as the specification spells it, without its prefix.
// nullptr if the bit has no name, or belongs to device types.
const char* feature_name(unsigned bit) noexcept;

} // namespace inflight::virtio
