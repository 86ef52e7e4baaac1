// What is common to all device types: the steps of initialisation (VIRTIO 1.2, 3.1) and consistent configuration reads.
#pragma once

#include "drivers/virtio/transport.hpp"

#include <cstddef>
#include <cstdint>

namespace inflight::virtio {

// Steps 1 to 3: reset, ACKNOWLEDGE, DRIVER. After that, offered_features() may be asked and the configuration be read.
[[nodiscard]] error begin_initialisation(transport& device) noexcept;

// Steps 4 to 6: accepts the features, and on a modern device has it agree (FEATURES_OK, read back). `accepted` is a part of
// what is offered. On failure the device has been given up: FAILED is set.
[[nodiscard]] error agree_on_features(transport& device, feature_set accepted) noexcept;

// Step 8, after the queues are set up: the device is live.
void set_driver_ok(transport& device) noexcept;

// Gives the device up.
void set_failed(transport& device) noexcept;

// Runs `read` until no configuration change came in between (2.5.1): a field of 64 bits, or fields that belong together,
// are then of one version. On the legacy interface, which has no generation, until two runs agree (2.5.4). False if the
// configuration changed a hundred times in a row.
//
// `read` is called as read(transport&) and answers a value that can be compared.
template <typename Value, typename Read>
[[nodiscard]] bool read_configuration(transport& device, Value& value, Read read) noexcept {
    for (int attempt = 0; attempt < 100; ++attempt) {
        const std::uint32_t generation = device.configuration_generation();
        value = read(device);
        if (device.is_legacy() ? read(device) == value : device.configuration_generation() == generation) {
            return true;
        }
    }
    return false;
}

// A 64-bit field, by halves; use it within read_configuration().
std::uint64_t configuration64(transport& device, std::size_t offset) noexcept;

} // namespace inflight::virtio
