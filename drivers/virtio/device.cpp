#include "drivers/virtio/device.hpp"

namespace inflight::virtio {

const char* to_string(error why) noexcept {
    switch (why) {
    case error::none: return "no error";
    case error::not_virtio: return "there is no VIRTIO device at this address: its magic value is wrong";
    case error::unknown_version: return "the device's register layout is neither version 1 nor version 2";
    case error::no_device: return "the slot is empty";
    case error::reset_timeout:
        return "the device does not finish its reset within a second: it is broken, or hangs in I/O";
    case error::version_1_missing: return "the device has the modern register layout but does not offer VERSION_1";
    case error::features_refused:
        return "the device refused the features (FEATURES_OK did not stay set): accept fewer of the optional ones";
    case error::configuration_unstable: return "the device's configuration changes all the time";
    case error::queue_missing: return "the device says that it has no queues, or its first has size 0";
    case error::queue_in_use: return "a queue of the device is in use right after its reset";
    case error::queue_too_small:
        return "a queue has fewer than 4 descriptors, and a request takes 3: give it larger queues";
    case error::limits_unusable: return "the device's limits (size_max, blk_size) allow no request at all";
    case error::out_of_memory:
        return "no memory is left for the queues: use fewer or smaller ones, or give more memory";
    }
    return "unknown error";
}

error begin_initialisation(transport& device) noexcept {
    if (!device.reset()) {
        return error::reset_timeout;
    }
    device.set_status(status_bit::acknowledge);
    device.set_status(status_bit::acknowledge | status_bit::driver);
    return error::none;
}

error agree_on_features(transport& device, feature_set accepted) noexcept {
    if (!device.is_legacy() && (accepted & feature::version_1) == 0) {
        set_failed(device);
        return error::version_1_missing;
    }
    device.accept_features(accepted);
    if (!device.is_legacy()) {
        device.set_status(status_bit::acknowledge | status_bit::driver | status_bit::features_ok);
        if ((device.status() & status_bit::features_ok) == 0) {
            set_failed(device);
            return error::features_refused;
        }
    }
    return error::none;
}

namespace {

// Adds a bit to those that the driver has set; DEVICE_NEEDS_RESET is the device's to write.
void add_status(transport& device, std::uint8_t bit) noexcept {
    constexpr std::uint8_t mine = status_bit::acknowledge | status_bit::driver | status_bit::driver_ok |
                                  status_bit::features_ok | status_bit::failed;
    device.set_status(static_cast<std::uint8_t>((device.status() & mine) | bit));
}

} // namespace

void set_driver_ok(transport& device) noexcept {
    add_status(device, status_bit::driver_ok);
}

void set_failed(transport& device) noexcept {
    add_status(device, status_bit::failed);
}

std::uint64_t configuration64(transport& device, std::size_t offset) noexcept {
    const std::uint64_t low = device.configuration32(offset);
    const std::uint64_t high = device.configuration32(offset + 4);
    return low | high << 32;
}

} // namespace inflight::virtio
