// A VIRTIO device of any type: its life cycle over a transport. A driver of one device type owns a device, says which
// features it accepts, and reads the configuration and sets up the queues when the device calls for that.
//
// Initialisation (VIRTIO 1.2, 3.1.1), in order:
//
// | step | what                                      | where               | sections              |
// |------|-------------------------------------------|---------------------|-----------------------|
// | 1    | reset; wait until Status reads 0          | begin               | 2.4, 4.2.3.1          |
// | 2, 3 | ACKNOWLEDGE, DRIVER                       | begin               | 2.1                   |
// | 4    | read the offered features, accept a part  | negotiate           | 2.2, 6                |
// | 5, 6 | FEATURES_OK, read back                    | negotiate           | 2.2.2, 3.1.2 (legacy) |
// | 7    | read the configuration, set up the queues | driver's configure  | 2.5, 4.2.3.2          |
// | 8    | DRIVER_OK: the device is live             | end_attempt         | 2.1                   |
//
// After a reset restore() takes the same steps with the same features, because the memory of the queues is laid out for
// them.
#pragma once

#include "inflight/drivers/virtio/transport.hpp"

#include <cstddef>
#include <cstdint>

namespace inflight::virtio {

class device {
  public:
    // How many times initialisation is attempted while the device keeps setting DEVICE_NEEDS_RESET.
    static constexpr int set_up_attempts = 4;

    // The device stays untouched until start(). `over` must outlive this object.
    explicit device(transport& over) noexcept : transport_{over} {}

    device(const device&) = delete;
    device& operator=(const device&) = delete;

    // Steps 1 to 8, once.
    //
    // `choose(offered)` returns the features of the device type that the driver accepts: its allow-list, of which what
    // is not offered is dropped. The features of ring and transport come from the transport; of these, the driver also
    // chooses IN_ORDER and RING_RESET. Of all of them, `features_off` are not accepted. `configure()` is step 7: it
    // returns an error, and calls read_configuration(), queue_size() and enable_queue(). Both may be called several
    // times, because a device may set DEVICE_NEEDS_RESET at any time (2.1.2).
    //
    // After an error the device has been given up: FAILED is set, unless the device did not even finish its reset.
    template <typename Choose, typename Configure>
    [[nodiscard]] error start(Choose choose, Configure configure, feature_set features_off = 0) noexcept {
        features_off_ = features_off;
        return initialise(choose, configure);
    }

    // The same after a start() that has succeeded: resets the device, and has it take the same features and queues
    // again.
    template <typename Configure>
    [[nodiscard]] error restore(Configure configure) noexcept {
        return initialise([this](feature_set) noexcept { return accepted_; }, configure);
    }

    // Resets the device for good. needs_reset, or reset_timeout: then it may still write to memory that it was given.
    [[nodiscard]] error give_up() noexcept { return transport_.reset() ? error::needs_reset : error::reset_timeout; }

    // What the device offered at its start, and what of that the driver accepted; from configure() on.
    [[nodiscard]] feature_set offered() const noexcept { return offered_; }
    [[nodiscard]] feature_set accepted() const noexcept { return accepted_; }
    [[nodiscard]] bool has(feature_set bits) const noexcept { return (accepted_ & bits) == bits; }
    [[nodiscard]] bool is_legacy() const noexcept { return transport_.is_legacy(); }

    // Whether the device asks for a reset (DEVICE_NEEDS_RESET). To be asked after each configuration change.
    [[nodiscard]] bool needs_reset() noexcept { return (transport_.status() & status_bit::device_needs_reset) != 0; }

    // A field of the configuration, in the width that the specification gives it. Fields that belong together, and
    // those of 64 bits, which are read by halves, are read within read_configuration().
    [[nodiscard]] std::uint8_t read_config8(std::size_t offset) noexcept { return transport_.read_config8(offset); }
    [[nodiscard]] std::uint16_t read_config16(std::size_t offset) noexcept { return transport_.read_config16(offset); }
    [[nodiscard]] std::uint32_t read_config32(std::size_t offset) noexcept { return transport_.read_config32(offset); }
    [[nodiscard]] std::uint64_t read_config64(std::size_t offset) noexcept;

    void write_config8(std::size_t offset, std::uint8_t value) noexcept { transport_.write_config8(offset, value); }

    // Calls `read(*this)`, which returns a value that can be compared, until no configuration change came in between
    // (2.5.1): the value is then of one version. The legacy interface has no generation, so there two values in a row
    // must be equal (2.5.4). False if the configuration changed a hundred times in a row.
    template <typename Value, typename Read>
    [[nodiscard]] bool read_configuration(Value& value, Read read) noexcept {
        for (int attempt = 0; attempt < 100; ++attempt) {
            const std::uint32_t generation = transport_.configuration_generation();
            value = read(*this);
            if (is_legacy() ? read(*this) == value : transport_.configuration_generation() == generation) {
                return true;
            }
        }
        return false;
    }

    // The format that was negotiated, for queues whose chains take `chain_length` descriptors of a packed ring.
    [[nodiscard]] queue_format format_of_queues(std::uint16_t chain_length) const noexcept {
        return {.legacy = is_legacy(),
                .event_idx = has(feature::event_idx),
                .packed = has(feature::ring_packed),
                .in_order = has(feature::in_order),
                .chain_length = chain_length};
    }

    // How many descriptors queue `index` can have: as many as the device allows, but `at_most`, and a power of two, or
    // for a packed queue a multiple of the chain length. Fails with queue_missing, with queue_too_small if these are
    // fewer than `at_least`, with queue_size_fixed if the device decides the size and it is not such a one, or with
    // queue_in_use.
    [[nodiscard]] error queue_size(std::uint16_t index, const queue_format& format, std::uint32_t at_least,
                                   std::uint32_t at_most, std::uint16_t& size) noexcept;

    // Gives the device a queue of `size` descriptors, which queue_size() has allowed, and whose memory
    // virtqueue::lay_out() has zeroed. The features are settled from here on. Fails as the transport's.
    [[nodiscard]] error enable_queue(std::uint16_t index, std::uint16_t size, const queue_addresses& where) noexcept {
        has_queues_ = true;
        return transport_.enable_queue(index, size, where);
    }

    // Resets queue `index` of a live device, as the transport does; enable_queue() gives it to the device again.
    [[nodiscard]] bool reset_queue(std::uint16_t index) noexcept { return transport_.reset_queue(index); }

    // For notifications, which a queue sends once per round.
    [[nodiscard]] transport& underlying_transport() noexcept { return transport_; }

    // As the transport's.
    interrupt_cause acknowledge_interrupt() noexcept { return transport_.acknowledge_interrupt(); }
    [[nodiscard]] fast_path_registers registers_of_fast_path(std::uint16_t index) const noexcept {
        return transport_.registers_of_fast_path(index);
    }

  private:
    template <typename Choose, typename Configure>
    [[nodiscard]] error initialise(Choose choose, Configure configure) noexcept {
        for (int attempt = 0; attempt < set_up_attempts; ++attempt) {
            feature_set offered = 0;
            error outcome = begin(offered);
            if (outcome == error::none) {
                outcome = negotiate(offered, has_queues_ ? accepted_ : choose(offered));
            }
            if (outcome == error::none) {
                outcome = configure();
            }
            if (end_attempt(outcome)) {
                return outcome;
            }
        }
        set_failed();
        return error::needs_reset;
    }

    [[nodiscard]] error begin(feature_set& offered) noexcept;
    [[nodiscard]] error negotiate(feature_set offered, feature_set chosen) noexcept;
    [[nodiscard]] bool end_attempt(error outcome) noexcept;
    void add_status(std::uint8_t bit) noexcept;
    void set_failed() noexcept { add_status(status_bit::failed); }

    transport& transport_;
    feature_set features_off_ = 0;
    feature_set offered_ = 0;
    feature_set accepted_ = 0;
    bool has_queues_ = false;
};

} // namespace inflight::virtio
