// A disk: a virtio-blk device with an awaitable interface.
//
//     task<void> first_sector(block::disk& disk) {
//         alignas(512) static std::array<std::byte, 512> buffer;
//         block::status outcome = co_await disk.read(0, buffer);
//         ...
//     }
//
// A disk belongs to the hart that started it: its functions are called there, from coroutines, and its requests resume
// there. handle_interrupt() alone is called from an interrupt. Any number of requests may be awaited at once; what does
// not fit into the queues waits in line, first come, first served. Requests in flight are not ordered among each other.
#pragma once

#include "async/executor.hpp"
#include "drivers/block/request.hpp"
#include "drivers/block/request_queue.hpp"
#include "drivers/block/status.hpp"
#include "drivers/block/virtio_blk.hpp"
#include "drivers/virtio/transport.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::block {

struct disk_options {
    std::uint16_t queues = 64;            // use no more than so many of the device's queues
    std::uint16_t queue_size = 1024;      // use no more than so many descriptors of each
    virtio::feature_set features_off = 0; // accept none of these
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

class disk final : private async::completion_source {
  public:
    static constexpr std::size_t most_queues = 64;

    struct counters {
        std::uint64_t interrupts;  // of the device, whatever they were for
        std::uint64_t spurious;    // of these, with no cause
        std::uint64_t waited;      // requests that found all slots taken
        std::uint64_t device_lies; // times the device broke the rules of the ring
        std::uint64_t resets;      // times the device was reset while in use
    };

    // The device stays untouched until start(). `device` must outlive the disk.
    explicit disk(virtio::transport& device) noexcept : device_{device} {}

    disk(const disk&) = delete;
    disk& operator=(const disk&) = delete;

    // Initialises the device, takes its queues into use, and adds the disk to this hart's executor. Once. Needs an executor
    // on this hart; `memory` is kept for ever. On failure the device has been given up, and the cause is answered.
    [[nodiscard]] virtio::error start(device_memory& memory, const disk_options& options) noexcept;

    [[nodiscard]] const disk_properties& properties() const noexcept { return properties_; }

    // Reads whole logical blocks, from `sector` (512 bytes each) on.
    request read(std::uint64_t sector, std::span<std::byte> buffer) noexcept {
        return {*this, virtio_blk::request_type::in, sector, buffer.data(), buffer.size()};
    }
    // The same into several pieces of memory, each of whole logical blocks. The list must stay until the request ends.
    request read(std::uint64_t sector, std::span<const std::span<std::byte>> buffers) noexcept;

    // Writes whole logical blocks. After it ends the data is in the device; in a write cache, where there is one.
    request write(std::uint64_t sector, std::span<const std::byte> buffer) noexcept {
        return {*this, virtio_blk::request_type::out, sector, buffer.data(), buffer.size()};
    }
    request write(std::uint64_t sector, std::span<const std::span<const std::byte>> buffers) noexcept;

    // Makes all writes durable that ended before this began; those still in flight are not covered (VIRTIO 1.2, 5.2.6.2).
    // Where the device has no write cache that could be flushed, there is nothing to do, and it ends at once.
    request flush() noexcept;

    // Tells the device that these sectors are not needed. What they hold afterwards is undefined.
    request discard(std::uint64_t sector, std::uint64_t sectors) noexcept;

    // Makes these sectors read as zeroes.
    request write_zeroes(std::uint64_t sector, std::uint64_t sectors) noexcept;

    // The device's serial number: up to 20 characters, padded with NUL.
    request get_id(virtio_blk::id_string& id) noexcept;

    // For the interrupt of this device. Interrupt context of the hart that owns the disk.
    void handle_interrupt() noexcept;

    [[nodiscard]] const counters& count() const noexcept { return counters_; }
    [[nodiscard]] const request_queue::counters& count(std::uint16_t queue) const noexcept {
        return queues_[queue].count;
    }

    // True once the device is beyond repair: every request ends with device_lost.
    [[nodiscard]] bool lost() const noexcept { return lost_; }

    // The queues themselves, for a benchmark that drives their rings without requests. Nothing may be in flight, and the
    // executor must not run meanwhile.
    [[nodiscard]] request_queue& queue(std::uint16_t index) noexcept { return queues_[index]; }
    [[nodiscard]] virtio::transport& device() noexcept { return device_; }

  private:
    friend class request;

    bool poll() noexcept override;
    void publish() noexcept override;
    bool arm() noexcept override;
    void disarm() noexcept override;

    [[nodiscard]] bool refuse(request& candidate) const noexcept;
    [[nodiscard]] bool is_plain(const request& candidate) const noexcept;
    [[nodiscard]] status check(const request& candidate) const noexcept;
    [[nodiscard]] status check_range(std::uint64_t sector, std::uint64_t sectors) const noexcept;
    [[nodiscard]] std::span<request_queue> queues() noexcept { return {queues_.data(), properties_.queues}; }
    void submit(request& started) noexcept;
    [[gnu::noinline]] void submit_slowly(request& started) noexcept;
    [[nodiscard]] bool push(request& started) noexcept;
    void push_piece(request& started, request_queue& queue) noexcept;
    void push_range(request& started, request_queue& queue) noexcept;
    void push_data(request& started, request_queue& queue) noexcept;
    [[nodiscard]] request_queue* queue_with_room() noexcept;
    void push_waiting() noexcept;
    void check_waiting() noexcept;
    void next_turn() noexcept;
    void complete(request& ended, status outcome) noexcept;

    [[nodiscard]] virtio::error set_up(device_memory* memory) noexcept;
    [[nodiscard]] virtio::error negotiate() noexcept;
    [[nodiscard]] virtio::error negotiate_again() noexcept;
    [[nodiscard]] virtio::error read_properties() noexcept;
    [[nodiscard]] virtio::error set_up_queues(device_memory* memory) noexcept;
    [[nodiscard]] bool accepted(virtio::feature_set bits) const noexcept { return (properties_.accepted & bits) != 0; }
    void admit() noexcept;
    void configuration_changed() noexcept;
    void recover() noexcept;

    virtio::transport& device_;
    async::executor* executor_ = nullptr;
    // How many requests a queue takes before the next one's turn comes, within a round.
    static constexpr std::uint32_t requests_per_turn = 16;

    request_queue* current_ = nullptr; // the queue whose turn it is to take requests
    std::uint32_t turn_ = 0;           // how many it still takes before the next one's turn comes
    std::uint32_t most_bytes_ = 0;     // in one request of the device

    // What the check of a plain read or write needs: how many sectors there are, 0 if nothing may be read or written; and
    // the low bits of sectors and bytes that must be 0.
    std::uint64_t readable_sectors_ = 0;
    std::uint64_t writable_sectors_ = 0;
    std::uint64_t plain_sectors_ = 0; // in one segment
    std::uint32_t unaligned_sectors_ = 0;
    std::uint32_t unaligned_bytes_ = 0;

    bool lost_ = false;
    std::atomic<bool> configuration_change_{false};
    async::operation_list waiting_;
    disk_options options_;
    disk_properties properties_{};
    counters counters_{};
    std::array<request_queue, most_queues> queues_;
};

// Settles the common case in a few instructions; at the rest, refuse() looks closely.
inline bool disk::is_plain(const request& candidate) const noexcept {
    const std::uint64_t sectors = candidate.length_ >> sector_shift;
    std::uint64_t limit = 0;
    if (candidate.type_ == virtio_blk::request_type::in) {
        limit = readable_sectors_;
    } else if (candidate.type_ == virtio_blk::request_type::out) {
        limit = writable_sectors_;
    }
    return candidate.segments_left_ == 0 && sectors != 0 && sectors <= plain_sectors_ &&
           (candidate.length_ & unaligned_bytes_) == 0 && (candidate.sector_ & unaligned_sectors_) == 0 &&
           sectors <= limit && candidate.sector_ <= limit - sectors;
}

inline bool request::await_ready() noexcept {
    plain_ = disk_->is_plain(*this);
    return !plain_ && disk_->refuse(*this);
}

// Inline, with what it calls: where the request is made, most of what it looks at is known to the compiler. While requests
// wait in line there is no free slot, for whoever frees one hands it to them at once; so this cannot overtake them.
inline void disk::submit(request& started) noexcept {
    if (!started.plain_ || !current_->has_plain_slot()) [[unlikely]] {
        submit_slowly(started);
        return;
    }
    const auto length = static_cast<std::uint32_t>(started.length_);
    started.length_ = 0;
    current_->submit_plain_data(started, started.sector_, started.data_, length);
    if (--turn_ == 0) [[unlikely]] {
        next_turn();
    }
}

inline void request::await_suspend(std::coroutine_handle<> frame) noexcept {
    continuation = frame;
    state_ = state::submitted;
    disk_->submit(*this);
}

} // namespace inflight::block
