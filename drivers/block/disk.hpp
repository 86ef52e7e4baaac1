// A disk: a virtio-blk device with an awaitable interface.
//
//     task<void> first_sector(block::disk& disk) {
//         alignas(512) static std::array<std::byte, 512> buffer;
//         block::status outcome = co_await disk.read(0, buffer);
//         ...
//     }
//
// Every hart may use it, from coroutines, once it has been started; each has a channel of its own to it (io_channel.hpp), and
// a request resumes on the hart that awaited it. handle_interrupt() alone is called from an interrupt. Any number of requests
// may be awaited at once; what does not fit into the queues waits in line, first come, first served on each hart. Requests in
// flight are not ordered among each other.
//
// The hart that started the disk is its home: what concerns the whole device happens there, with all channels stopped.
#pragma once

#include "arch/arch.hpp"
#include "async/executor.hpp"
#include "async/message.hpp"
#include "async/trace.hpp"
#include "drivers/block/io_channel.hpp"
#include "drivers/block/request.hpp"
#include "drivers/block/request_queue.hpp"
#include "drivers/block/status.hpp"
#include "drivers/block/virtio_blk.hpp"
#include "drivers/virtio/transport.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::block {

struct disk_options {
    std::uint16_t queues = 64;            // use no more than so many of the device's queues
    std::uint16_t queue_size = 1024;      // use no more than so many descriptors of each
    virtio::feature_set features_off = 0; // accept none of these
    arch::ticks request_timeout = 0;      // how long the device may take for a request before it is reset; 0: for ever
};

// What a device says about itself, checked. Sizes in the unit that is named.
struct disk_properties {
    std::uint64_t capacity;                 // sectors of 512 bytes
    std::uint32_t logical_block_size;       // bytes; sector numbers and lengths are multiples of it
    std::uint32_t physical_block_size;      // bytes
    std::uint32_t alignment_offset;         // bytes to the first aligned physical block
    std::uint32_t minimum_io_size;          // bytes; 0: not said
    std::uint32_t optimal_io_size;          // bytes; 0: not said
    std::uint32_t size_max;                 // bytes in one segment
    std::uint32_t seg_max;                  // segments in one request of the device, as far as this driver uses them
    std::uint32_t max_discard_sectors;      // in one request of the device; 0: the device cannot
    std::uint32_t discard_sector_alignment; // sectors
    std::uint32_t max_write_zeroes_sectors; // in one request of the device; 0: the device cannot
    bool read_only;
    bool write_cache; // what is written is lost with the power unless flush() has ended after it
    bool can_flush;
    bool legacy;
    std::uint16_t queues;
    std::uint16_t queue_size;
    std::uint32_t slots_per_queue; // requests of the device that one queue holds
    virtio::feature_set offered;
    virtio::feature_set accepted;
};

class disk final {
  public:
    static constexpr std::size_t most_queues = 64;

    struct counters {
        std::uint64_t interrupts;      // of the device, whatever they were for
        std::uint64_t spurious;        // of these, with no cause
        std::uint64_t waited;          // requests that found all slots taken
        std::uint64_t sent;            // requests that went through another hart, for want of a queue
        std::uint64_t device_lies;     // times the device broke the rules of the ring
        std::uint64_t resets;          // times the device was reset while in use
        std::uint64_t lost_interrupts; // times something was found that an interrupt should have told of
    };

    // The device stays untouched until start(). `device` must outlive the disk.
    explicit disk(virtio::transport& device) noexcept : device_{device} {}

    disk(const disk&) = delete;
    disk& operator=(const disk&) = delete;

    // Initialises the device, takes its queues into use, and opens a channel on every hart. Once; every hart has its executor
    // by then. `memory` is kept for ever. On failure the device has been given up, and the cause is answered.
    [[nodiscard]] virtio::error start(device_memory& memory, const disk_options& options) noexcept;

    // The home hart rewrites them when the device is reset or says that it has another capacity: so the others should read
    // them before there is anything in flight, or be told.
    [[nodiscard]] const disk_properties& properties() const noexcept { return properties_; }

    // Reads whole logical blocks, from `sector` (512 bytes each) on. (The span by reference: what an await expression gets by
    // value is copied into the coroutine's frame.)
    request read(std::uint64_t sector, const std::span<std::byte>& buffer) noexcept {
        return {channel(), virtio_blk::request_type::in, sector, buffer.data(), buffer.size()};
    }
    // The same into several pieces of memory, each of whole logical blocks. The list must stay until the request ends.
    request read(std::uint64_t sector, std::span<const std::span<std::byte>> buffers) noexcept;

    // The same, or until a stop is requested while it waits in line.
    request read(std::uint64_t sector, const std::span<std::byte>& buffer, async::stop_token token) noexcept {
        return {channel(), virtio_blk::request_type::in, sector, buffer.data(), buffer.size(), token};
    }

    // Writes whole logical blocks. After it ends the data is in the device; in a write cache, where there is one.
    request write(std::uint64_t sector, const std::span<const std::byte>& buffer) noexcept {
        return {channel(), virtio_blk::request_type::out, sector, buffer.data(), buffer.size()};
    }
    request write(std::uint64_t sector, std::span<const std::span<const std::byte>> buffers) noexcept;
    request write(std::uint64_t sector, const std::span<const std::byte>& buffer, async::stop_token token) noexcept {
        return {channel(), virtio_blk::request_type::out, sector, buffer.data(), buffer.size(), token};
    }

    // Makes all writes durable that ended before this began; those still in flight are not covered (VIRTIO 1.2, 5.2.6.2).
    // Where the device has no write cache that could be flushed, there is nothing to do, and it ends at once.
    request flush() noexcept;

    // Tells the device that these sectors are not needed. What they hold afterwards is undefined.
    request discard(std::uint64_t sector, std::uint64_t sectors) noexcept;

    // Makes these sectors read as zeroes.
    request write_zeroes(std::uint64_t sector, std::uint64_t sectors) noexcept;

    // The device's serial number: up to 20 characters, padded with NUL.
    request get_id(virtio_blk::id_string& id) noexcept;

    // For the interrupt of this device. Interrupt context, of any hart, but of one at a time.
    void handle_interrupt() noexcept;

    // Figures of all harts; exact while the others rest.
    [[nodiscard]] counters count() const noexcept;
    [[nodiscard]] request_queue::counters count(std::uint16_t queue) const noexcept { return queues_[queue].count(); }

    // True once the device is beyond repair: every request ends with device_lost.
    [[nodiscard]] bool lost() const noexcept { return lost_.load(std::memory_order_relaxed); }

    // The queues themselves, for a benchmark that drives their rings without requests. Nothing may be in flight, and the
    // executor must not run meanwhile.
    [[nodiscard]] request_queue& queue(std::uint16_t index) noexcept { return queues_[index]; }
    [[nodiscard]] virtio::transport& device() noexcept { return device_; }

  private:
    friend class io_channel;

    // What keeps the channels busy together: nothing; coming to a stop, or going on, of which some have not reported yet.
    enum class phase : std::uint8_t { running, stopping, going_on };

    [[nodiscard]] io_channel& channel() noexcept { return channels_[arch::this_hart()]; }
    [[nodiscard]] std::span<io_channel> channels() noexcept { return {channels_, harts_}; }
    [[nodiscard]] std::span<request_queue> queues() noexcept { return {queues_.data(), properties_.queues}; }

    // For the channels.
    [[nodiscard]] status check(const request& candidate) const noexcept;
    [[nodiscard]] status check_range(std::uint64_t sector, std::uint64_t sectors) const noexcept;
    void needs_reset(bool resubmit) noexcept;
    void configuration_changed() noexcept;
    void channel_reports() noexcept;

    [[nodiscard]] virtio::error set_up(device_memory* memory) noexcept;
    [[nodiscard]] virtio::error negotiate() noexcept;
    [[nodiscard]] virtio::error negotiate_again() noexcept;
    [[nodiscard]] virtio::error read_properties() noexcept;
    [[nodiscard]] virtio::error set_up_queues(device_memory* memory) noexcept;
    [[nodiscard]] bool open_channels(device_memory& memory) noexcept;
    [[nodiscard]] bool accepted(virtio::feature_set bits) const noexcept { return (properties_.accepted & bits) != 0; }
    void stop_channels() noexcept;
    void change_device() noexcept;
    void reset() noexcept;
    void all_channels(phase during, io_channel::step next) noexcept;

    virtio::transport& device_;
    io_channel* channels_ = nullptr;
    arch::hart_index harts_ = 0;

    // Of the home hart. The channels read them when they are told to go on.
    async::executor* executor_ = nullptr;
    io_channel* home_ = nullptr;
    disk_options options_;
    disk_properties properties_{};
    arch::atomic<bool> lost_{false};
    bool was_reset_ = false;
    bool resubmits_ = false;    // after that reset: what was inside and is not late goes in again, or else ends
    bool wants_change_ = false; // a look at the configuration, or a reset
    bool wants_reset_ = false;
    bool wants_end_ = false; // of what is inside, with the reset
    phase phase_ = phase::running;
    std::size_t not_reported_ = 0;
    std::uint64_t resets_ = 0;

    // Asked by a channel: 0, or what of these.
    static constexpr std::uint32_t asks_reset = 1;
    static constexpr std::uint32_t asks_end = 2;
    arch::atomic<std::uint32_t> reset_asked_{0};
    async::message reset_message_{[](void* self) noexcept { static_cast<disk*>(self)->reset(); }, this};
    arch::atomic<std::uint64_t> interrupts_{0};
    arch::atomic<std::uint64_t> spurious_{0};
    [[no_unique_address]] trace::track track_;
    std::array<request_queue, most_queues> queues_;
};

} // namespace inflight::block
