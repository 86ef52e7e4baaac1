#include "inflight/drivers/virtio/device.hpp"

#include <algorithm>
#include <bit>

namespace inflight::virtio {

// Steps 1 to 3. After an error not even FAILED is set, because the device has not come out of its reset.
error device::begin(feature_set& offered) noexcept {
    if (!transport_.reset()) {
        return error::reset_timeout;
    }
    transport_.set_status(status_bit::acknowledge);
    transport_.set_status(status_bit::acknowledge | status_bit::driver);
    offered = transport_.offered_features();
    return error::none;
}

// Steps 4 to 6. The first time, `chosen` is of the device type; after that, it is what was accepted before: the queues
// are built for it, and the device should take it again (2.2.2).
error device::negotiate(feature_set offered, feature_set chosen) noexcept {
    if (has_queues_) {
        if ((chosen & ~offered) != 0) {
            return error::features_refused;
        }
    } else {
        // In which order buffers are made available is up to the driver of the device type, and whether queues are
        // reset.
        const feature_set for_driver = feature::of_device_types | feature::in_order;
        const feature_set unused = feature::ring_reset & ~chosen;
        const feature_set allowed = (chosen & for_driver) | (transport_.supported_features() & ~unused);
        offered_ = offered;
        accepted_ = offered & allowed & (~features_off_ | feature::version_1);
    }
    if (!is_legacy() && !has(feature::version_1)) {
        return error::version_1_missing;
    }
    transport_.accept_features(accepted_);
    if (!is_legacy()) {
        transport_.set_status(status_bit::acknowledge | status_bit::driver | status_bit::features_ok);
        if ((transport_.status() & status_bit::features_ok) == 0) {
            return error::features_refused;
        }
    }
    return error::none;
}

// Step 8, or the end of an attempt that has failed. Returns false if the device has spoiled the attempt by
// DEVICE_NEEDS_RESET, for which it need not interrupt before DRIVER_OK: the status is read after each attempt.
bool device::end_attempt(error outcome) noexcept {
    if (outcome == error::none) {
        add_status(status_bit::driver_ok);
    } else if (outcome != error::reset_timeout) {
        set_failed();
    }
    return outcome == error::reset_timeout || outcome == error::out_of_memory || !needs_reset();
}

// Adds a bit to those that the driver has set; DEVICE_NEEDS_RESET is the device's to write.
void device::add_status(std::uint8_t bit) noexcept {
    constexpr std::uint8_t mine = status_bit::acknowledge | status_bit::driver | status_bit::driver_ok |
                                  status_bit::features_ok | status_bit::failed;
    transport_.set_status(static_cast<std::uint8_t>((transport_.status() & mine) | bit));
}

std::uint64_t device::read_config64(std::size_t offset) noexcept {
    const std::uint64_t low = transport_.read_config32(offset);
    const std::uint64_t high = transport_.read_config32(offset + 4);
    return low | high << 32;
}

error device::queue_size(std::uint16_t index, const queue_format& format, std::uint32_t at_least, std::uint32_t at_most,
                         std::uint16_t& size) noexcept {
    std::uint32_t largest = 0;
    const error outcome = transport_.queue_size_max(index, largest);
    if (outcome != error::none) {
        return outcome;
    }
    if (largest == 0) {
        return error::queue_missing;
    }
    const std::uint32_t allowed = std::min({largest, at_most, max_queue_size});
    if (transport_.queue_size_is_fixed() && (allowed != largest || !std::has_single_bit(largest))) {
        return error::queue_size_fixed;
    }
    size =
        static_cast<std::uint16_t>(format.packed ? allowed - allowed % format.chain_length : std::bit_floor(allowed));
    return size < at_least ? error::queue_too_small : error::none;
}

} // namespace inflight::virtio
