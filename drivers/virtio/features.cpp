#include "drivers/virtio/features.hpp"

namespace inflight::virtio {

const char* to_string(device_id id) noexcept {
    switch (id) {
    case device_id::none: return "none";
    case device_id::network: return "network";
    case device_id::block: return "block";
    case device_id::console: return "console";
    case device_id::entropy: return "entropy";
    case device_id::balloon: return "balloon";
    case device_id::scsi_host: return "SCSI host";
    case device_id::file_system_9p: return "9P transport";
    case device_id::gpu: return "GPU";
    case device_id::input: return "input";
    case device_id::socket: return "socket";
    case device_id::crypto: return "crypto";
    case device_id::file_system: return "file system";
    }
    return "unknown device";
}

const char* block_feature_name(unsigned bit) noexcept {
    switch (bit) {
    case 0: return "BARRIER";
    case 1: return "SIZE_MAX";
    case 2: return "SEG_MAX";
    case 4: return "GEOMETRY";
    case 5: return "RO";
    case 6: return "BLK_SIZE";
    case 7: return "SCSI";
    case 9: return "FLUSH";
    case 10: return "TOPOLOGY";
    case 11: return "CONFIG_WCE";
    case 12: return "MQ";
    case 13: return "DISCARD";
    case 14: return "WRITE_ZEROES";
    case 15: return "LIFETIME";
    case 16: return "SECURE_ERASE";
    case 17: return "ZONED";
    case 24: return "NOTIFY_ON_EMPTY";
    case 27: return "ANY_LAYOUT";
    case 28: return "INDIRECT_DESC";
    case 29: return "EVENT_IDX";
    case 32: return "VERSION_1";
    case 33: return "ACCESS_PLATFORM";
    case 34: return "RING_PACKED";
    case 35: return "IN_ORDER";
    case 36: return "ORDER_PLATFORM";
    case 37: return "SR_IOV";
    case 38: return "NOTIFICATION_DATA";
    case 39: return "NOTIF_CONFIG_DATA";
    case 40: return "RING_RESET";
    case 41: return "ADMIN_VQ";
    case 43: return "SUSPEND";
    default: return nullptr;
    }
}

} // namespace inflight::virtio
