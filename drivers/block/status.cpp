#include "inflight/drivers/block/status.hpp"

namespace inflight::block {

const char* to_string(status outcome) noexcept {
    switch (outcome) {
    case status::ok: return "ok";
    case status::io_error: return "io_error";
    case status::unsupported: return "unsupported";
    case status::zone_invalid_command: return "zone_invalid_command";
    case status::zone_unaligned_write_pointer: return "zone_unaligned_write_pointer";
    case status::zone_open_resource: return "zone_open_resource";
    case status::zone_active_resource: return "zone_active_resource";
    case status::out_of_range: return "out_of_range";
    case status::invalid_argument: return "invalid_argument";
    case status::read_only: return "read_only";
    case status::cancelled: return "cancelled";
    case status::out_of_memory: return "out_of_memory";
    case status::device_error: return "device_error";
    case status::timed_out: return "timed_out";
    case status::device_reset: return "device_reset";
    case status::device_lost: return "device_lost";
    }
    return "unknown";
}

} // namespace inflight::block
