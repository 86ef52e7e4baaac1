#include "inflight/drivers/virtio/features.hpp"

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

const char* feature_name(unsigned bit) noexcept {
    switch (bit) {
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
