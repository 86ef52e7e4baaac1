// A transport: how a driver reaches the registers of one VIRTIO device, whatever bus it is on.
//
// What is called once per device is virtual. What is called once per round is inline below (notify,
// acknowledge_interrupt); nothing is called once per request.
#pragma once

#include "inflight/arch/arch.hpp"
#include "inflight/drivers/virtio/features.hpp"

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace inflight::virtio {

// Why a device cannot be used, or does not do what it is asked for. to_string() tells the cause and what to do about
// it.
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
    queue_too_small,        // fewer descriptors than the driver needs, or than the queue had before the reset
    queue_size_fixed,       // the device decides the size (legacy PCI), and the driver cannot use it
    notify_out_of_range,    // a queue's notify address lies outside of the notification structure (PCI)
    vector_refused,         // the device does not accept an MSI-X vector, or there is none for the queue (PCI)
    limits_unusable,        // a limit in the configuration space leaves no room for any request
    zoned_not_accepted,     // a host-managed zoned block device without ZONED, which is no ordinary disk
    zones_unusable,         // what a block device says of its zones contradicts itself
    out_of_memory,
    needs_reset,        // it asks for a reset again and again (DEVICE_NEEDS_RESET)
    protocol_violation, // it broke the rules of a queue
    timed_out,          // it kept a buffer for too long
};

const char* to_string(error why) noexcept;

// For async: what a task<error> without a frame returns.
constexpr error out_of_memory_value(std::type_identity<error>) noexcept {
    return error::out_of_memory;
}

// How a transport delivers the interrupts of its device.
enum class interrupt_delivery : std::uint8_t {
    shared_line, // one line for everything; acknowledge_interrupt() tells why (MMIO, PCI with INTx)
    per_queue,   // one for each queue and one for configuration changes; nothing to acknowledge (PCI with MSI-X)
    polled,      // none: the driver has to look
};

// Why a device interrupted (VIRTIO 1.2, 4.2.2, InterruptStatus).
struct interrupt_cause {
    std::uint32_t bits; // as the register has them

    static constexpr std::uint32_t used_buffer = 1;
    static constexpr std::uint32_t configuration_change = 2;

    [[nodiscard]] bool none() const noexcept { return bits == 0; }
    [[nodiscard]] bool has(std::uint32_t cause) const noexcept { return (bits & cause) != 0; }
};

// The largest number of descriptors in a queue (2.7).
inline constexpr std::uint32_t max_queue_size = 32768;

// Where a virtqueue lies, as addresses for the device (2.6, 2.8.11).
struct queue_addresses {
    std::uint64_t descriptors; // descriptor table; or the descriptor ring of a packed virtqueue
    std::uint64_t driver_area; // available ring; or driver event suppression
    std::uint64_t device_area; // used ring; or device event suppression
};

// How a queue is laid out: what was negotiated, and what the driver makes available.
struct queue_format {
    bool legacy = false;
    bool event_idx = false;
    bool packed = false;
    bool in_order = false;          // buffers are used in the order in which they were made available
    std::uint16_t chain_length = 1; // of a packed queue: how many descriptors of the ring each chain takes
};

// A piece of memory as a device sees it.
struct buffer {
    std::uint64_t address;
    std::uint32_t length;
    std::uint16_t flags; // of descriptor_flag: write, indirect
};

// The registers that a batch of requests takes, for inline code. 0: the transport has none of that kind.
struct fast_path_registers {
    std::uintptr_t queue_notify = 0;           // 32 bits (MMIO)
    std::uintptr_t queue_notify_16 = 0;        // 16 bits (PCI), if queue_notify is 0
    std::uintptr_t queue_notify_with_data = 0; // 32 bits, with NOTIFICATION_DATA, if both are 0
    std::uintptr_t interrupt_status = 0;
    std::uintptr_t interrupt_ack = 0;
    // What a notification names: the index of the queue, or with NOTIF_CONFIG_DATA the number that the device gives it.
    std::uint16_t queue = 0;

    [[nodiscard]] bool can_notify() const noexcept {
        return (queue_notify | queue_notify_16 | queue_notify_with_data) != 0;
    }
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

    // Resets the device and waits for Status to read 0, for a second at the most (an eighth of one if the clock steps).
    // False if it does not: then the device may still write to memory that it was given.
    [[nodiscard]] virtual bool reset() noexcept = 0;

    [[nodiscard]] virtual std::uint8_t status() noexcept = 0;

    // Writes the whole status byte; it must contain every bit set before (STAT-02). To reset, call reset().
    virtual void set_status(std::uint8_t bits) noexcept = 0;

    [[nodiscard]] virtual feature_set offered_features() noexcept = 0;
    virtual void accept_features(feature_set accepted) noexcept = 0;

    // The device-specific configuration, each field read at its own width (MMIO-05). 64-bit fields: two 32-bit reads,
    // see device::read_config64().
    [[nodiscard]] virtual std::uint8_t read_config8(std::size_t offset) noexcept = 0;
    [[nodiscard]] virtual std::uint16_t read_config16(std::size_t offset) noexcept = 0;
    [[nodiscard]] virtual std::uint32_t read_config32(std::size_t offset) noexcept = 0;

    // Writes a field of 8 bits that the device type lets the driver write.
    virtual void write_config8(std::size_t offset, std::uint8_t value) noexcept = 0;

    // Changes whenever the configuration may have; always 0 on legacy transports, which have none.
    [[nodiscard]] virtual std::uint32_t configuration_generation() noexcept = 0;

    // The largest size the device allows for queue `index`, 0 if there is no such queue. Fails with queue_in_use.
    [[nodiscard]] virtual error queue_size_max(std::uint16_t index, std::uint32_t& size) noexcept = 0;

    // True if the driver has to use each queue with exactly the size that queue_size_max() returns (legacy PCI).
    [[nodiscard]] virtual bool queue_size_is_fixed() const noexcept { return false; }

    // Gives the device a queue of `size` descriptors, whose memory virtqueue::lay_out() has zeroed. Fails with
    // notify_out_of_range or vector_refused; the queue is then not enabled.
    [[nodiscard]] virtual error enable_queue(std::uint16_t index, std::uint16_t size,
                                             const queue_addresses& where) noexcept = 0;

    // Resets queue `index` of a live device, with RING_RESET (VIRTIO 1.2, 2.6.1), and waits for that as reset() does. The
    // device has given back all that the queue had, because not every device forgets it (docs/limits.md). True if it was
    // reset, which is looked for: the queue is as before enable_queue(). False if the device has ignored it, or has not
    // ended it in time.
    [[nodiscard]] virtual bool reset_queue(std::uint16_t) noexcept { return false; }

    // Tells the device that queue `index` has new buffers; orders all earlier writes to memory before that. `next` is
    // the queue's virtqueue::next_available(), which NOTIFICATION_DATA passes on.
    virtual void notify(std::uint16_t index, std::uint16_t next) noexcept = 0;

    [[nodiscard]] virtual interrupt_delivery interrupts() const noexcept = 0;

    // Reads why the device interrupts and acknowledges it. The caller looks at the rings after that, never before: what
    // completes in between is then seen or interrupts again. Interrupt context. No cause where interrupts come per
    // queue.
    virtual interrupt_cause acknowledge_interrupt() noexcept = 0;

    // Where the registers are that notify() and acknowledge_interrupt() use, for queue `index` after enable_queue(). The
    // functions of the same names below do the same inline, and drivers call those instead where the addresses are not 0.
    // So a transport that overrides one of the two must return 0 there.
    [[nodiscard]] virtual fast_path_registers registers_of_fast_path(std::uint16_t) const noexcept { return {}; }

  protected:
    ~transport() = default;
};

// `next()` is called only if the device wants to know virtqueue::next_available() (VIRTIO 1.2, 2.9).
template <typename Next>
[[gnu::always_inline]] inline void notify(const fast_path_registers& registers, Next&& next) noexcept {
    // The published index before the doorbell: pairs with the device's read of the index after it.
    arch::fence_doorbell();
    if (registers.queue_notify != 0) [[likely]] {
        arch::mmio_write32(registers.queue_notify, registers.queue);
    } else if (registers.queue_notify_16 != 0) [[likely]] {
        arch::mmio_write16(registers.queue_notify_16, registers.queue);
    } else {
        const std::uint32_t position = next();
        arch::mmio_write32(registers.queue_notify_with_data, registers.queue | position << 16);
    }
}

[[gnu::always_inline]] inline interrupt_cause acknowledge_interrupt(const fast_path_registers& registers) noexcept {
    const std::uint32_t bits = arch::mmio_read32(registers.interrupt_status) &
                               (interrupt_cause::used_buffer | interrupt_cause::configuration_change);
    if (bits != 0) [[likely]] {
        arch::mmio_write32(registers.interrupt_ack, bits);
        // The acknowledgement before the read of the used index: pairs with the device, which writes the index before
        // it sets InterruptStatus.
        arch::fence_acknowledge();
    }
    return {.bits = bits};
}

} // namespace inflight::virtio
