// A transport: how a driver reaches the registers of one VIRTIO device, whatever bus it is on.
//
// What is called once per device or per batch is here; nothing of it is on the path of a single request.
#pragma once

#include "drivers/virtio/features.hpp"

#include <cstddef>
#include <cstdint>

namespace inflight::virtio {

// Why a device cannot be used. to_string() tells the cause and what to do about it.
enum class error : std::uint8_t {
    none,
    not_virtio,             // MagicValue is not "virt"
    unknown_version,        // neither 1 nor 2
    no_device,              // an empty slot; nothing is wrong
    reset_timeout,          // Status does not read 0 after a reset
    version_1_missing,      // a modern device that does not offer VERSION_1
    features_refused,       // FEATURES_OK did not stay set
    configuration_unstable, // ConfigGeneration never settles
    queue_missing,          // QueueSizeMax is 0 where a queue must be, or num_queues is 0
    queue_in_use,           // QueueReady or QueuePFN is not 0 after a reset
    queue_too_small,        // fewer descriptors than one request needs
    limits_unusable,        // a limit in the configuration space leaves no room for any request
    out_of_memory,
};

const char* to_string(error why) noexcept;

// Why a device interrupted (VIRTIO 1.2, 4.2.2, InterruptStatus).
struct interrupt_cause {
    std::uint32_t bits; // as the register has them

    static constexpr std::uint32_t used_buffer = 1;
    static constexpr std::uint32_t configuration_change = 2;

    [[nodiscard]] bool none() const noexcept { return bits == 0; }
    [[nodiscard]] bool has(std::uint32_t cause) const noexcept { return (bits & cause) != 0; }
};

// Where a split virtqueue lies, as addresses for the device.
struct queue_addresses {
    std::uint64_t descriptors; // descriptor table
    std::uint64_t driver_area; // available ring
    std::uint64_t device_area; // used ring
};

class transport {
  public:
    transport() noexcept = default;
    transport(const transport&) = delete;
    transport& operator=(const transport&) = delete;

    // True for the interface from before VIRTIO 1.0: no FEATURES_OK, no generation, its own ring layout, fixed framing.
    [[nodiscard]] virtual bool is_legacy() const noexcept = 0;

    // The features of ring and transport that this transport can carry (a list per transport: FEAT-10).
    [[nodiscard]] virtual feature_set supported_features() const noexcept = 0;

    // Resets the device and waits for Status to read 0. False if it has not within `patience`, a tenth of a second or so
    // to a second: then the device may still write to memory that it was given.
    [[nodiscard]] virtual bool reset() noexcept = 0;

    [[nodiscard]] virtual std::uint8_t status() noexcept = 0;

    // Writes the whole status byte; it must contain every bit set before (STAT-02). To reset, call reset().
    virtual void set_status(std::uint8_t bits) noexcept = 0;

    [[nodiscard]] virtual feature_set offered_features() noexcept = 0;
    virtual void accept_features(feature_set accepted) noexcept = 0;

    // The device-specific configuration, each field read at its own width (MMIO-05). 64-bit fields: two 32-bit reads,
    // see read_configuration() in device.hpp.
    [[nodiscard]] virtual std::uint8_t configuration8(std::size_t offset) noexcept = 0;
    [[nodiscard]] virtual std::uint16_t configuration16(std::size_t offset) noexcept = 0;
    [[nodiscard]] virtual std::uint32_t configuration32(std::size_t offset) noexcept = 0;

    // Changes whenever the configuration may have; always 0 on legacy transports, which have none.
    [[nodiscard]] virtual std::uint32_t configuration_generation() noexcept = 0;

    // The largest size the device allows for queue `index`, 0 if there is no such queue. Fails with queue_in_use.
    [[nodiscard]] virtual error queue_size_max(std::uint16_t index, std::uint32_t& size) noexcept = 0;

    // Gives the device a queue of `size` descriptors. Its memory is zeroed and laid out by ring_layout::of().
    virtual void enable_queue(std::uint16_t index, std::uint16_t size, const queue_addresses& where) noexcept = 0;

    // Tells the device that queue `index` has new buffers; orders all earlier writes to memory before that.
    virtual void notify(std::uint16_t index) noexcept = 0;

    // Reads why the device interrupts and acknowledges it. The caller looks at the rings after that, never before: what
    // completes in between is then seen or interrupts again. Interrupt context.
    virtual interrupt_cause acknowledge_interrupt() noexcept = 0;

  protected:
    ~transport() = default;
};

} // namespace inflight::virtio
