// A disk: a virtio-blk device with an awaitable interface.
//
//     task<void> first_sector(block::disk& disk) {
//         alignas(512) static std::array<std::byte, 512> buffer;
//         block::status outcome = co_await disk.read(0, buffer);
//         ...
//     }
//
// Every hart may use it, from coroutines, once it was started; each has a channel of its own to it (channel.hpp), and a
// request resumes on the hart that awaited it. The three handle_…() alone are called from interrupts. Any number of
// requests may be awaited at once; what does not fit into the queues waits in line, first come, first served on each
// hart. Requests in flight are not ordered among each other.
//
// The hart that started the disk is its home: what concerns the whole device is done there, with all channels quiesced
// (recovery.hpp).
#pragma once

#include "inflight/arch/arch.hpp"
#include "inflight/async/executor.hpp"
#include "inflight/async/trace.hpp"
#include "inflight/async/wait_operation.hpp"
#include "inflight/drivers/block/channel.hpp"
#include "inflight/drivers/block/limits.hpp"
#include "inflight/drivers/block/queue.hpp"
#include "inflight/drivers/block/recovery.hpp"
#include "inflight/drivers/block/request.hpp"
#include "inflight/drivers/block/status.hpp"
#include "inflight/drivers/block/virtio_blk.hpp"
#include "inflight/drivers/block/watchdog.hpp"
#include "inflight/drivers/block/write_cache.hpp"
#include "inflight/drivers/block/zone_request.hpp"
#include "inflight/drivers/block/zones.hpp"
#include "inflight/drivers/memory/dma_memory.hpp"
#include "inflight/drivers/virtio/device.hpp"
#include "inflight/drivers/virtio/transport.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::block {

// What a disk reports. short_lengths comes on any hart, the others come on the home hart.
enum class disk_event : std::uint8_t {
    late,          // the device had requests and completed none of them for the time limit
    reset_begins,  // for any reason. The reset may block for as long as the storage behind the device does not answer
    reset_ended,   // the device works again
    lost,          // the reset failed: disk::failure() returns why
    short_lengths, // a used length was too short, for the first time. The status byte decides
    queues_reset,  // interrupts had stopped; only the queues that send them were reset, and nothing was in flight there
};

struct disk_options {
    std::uint16_t queues = 64;            // at most this many of the device's queues
    std::uint16_t queue_size = 1024;      // at most this many descriptors in each
    virtio::feature_set features_off = 0; // accept none of these

    // How long the device may have requests and complete none of them before it is reset, in ticks; 0: for ever. A slow
    // device is not late, however long its queue is. When the device is late, the requests that it has had for this
    // long end with timed_out, and the others are submitted again. The same happens to a single request if the device
    // has had it for this long and has since completed several times as many others as the queue holds.
    // request::set_timeout() sets a limit for one request.
    arch::ticks request_timeout = 0;

    // If true, a request ends with device_error when its used length is shorter than it must be. If false, the status
    // byte decides, because it was poisoned, and the short length is only counted: some devices report wrong lengths.
    bool strict_lengths = false;

    // Called with `report_context` for each event; nullptr: nobody is told. Of the disk it may call lost() and
    // failure() only.
    void (*report)(void* context, disk_event what) noexcept = nullptr;
    void* report_context = nullptr;
};

class disk final : private recovery::target {
  public:
    static constexpr std::size_t max_queues = 64;

    struct counters {
        std::uint64_t interrupts;             // of the device, whatever they were for
        std::uint64_t spurious;               // of these, with no cause
        std::uint64_t waited;                 // requests that found all slots taken, or no room to share their data
        std::uint64_t forwarded;              // requests that went through another hart, for want of a queue
        std::uint64_t protocol_violations;    // times the device broke the rules of a ring
        std::uint64_t resets;                 // times the device was reset while in use
        std::uint64_t lost_interrupts;        // times something was found that an interrupt should have told of
        std::uint64_t queue_resets;           // times a queue was reset by itself
        std::uint64_t repeated_notifications; // for what the device seemed not to have seen
    };

    // How many resets in a row a device may ask for without completing anything before it is lost.
    static constexpr std::uint32_t max_fruitless_resets = 16;

    // The device stays untouched until start(). `transport` must outlive the disk.
    explicit disk(virtio::transport& transport) noexcept : device_{transport} {}

    disk(const disk&) = delete;
    disk& operator=(const disk&) = delete;

    // Initialises the device, takes its queues into use, and opens a channel on every hart. Once; every hart has its
    // executor by then. `memory` outlives the disk, and keeps what was allocated. On failure the device was given up,
    // and the cause is returned.
    [[nodiscard]] virtio::error start(dma_memory& memory, const disk_options& options) noexcept;

    // The calling hart's copy of what is known of the device. It changes only between two coroutines of this hart, before
    // any request is checked against the new values.
    [[nodiscard]] const disk_properties& properties() const noexcept {
        return channels_ != nullptr ? channels_[arch::this_hart()].properties() : properties_;
    }

    // Reads whole logical blocks, from `sector` (512 bytes each) on. (The span by reference: what an await expression
    // gets by value is copied into the coroutine's frame.)
    request read(std::uint64_t sector, const std::span<std::byte>& buffer) noexcept {
        return {channel(), virtio_blk::request_type::in, sector, buffer.data(), buffer.size()};
    }
    // The same into several pieces of memory, each of whole logical blocks. The list must stay until the request ends.
    request read(std::uint64_t sector, std::span<const std::span<std::byte>> buffers) noexcept;

    // The same, or until a stop is requested while it waits in line.
    request read(std::uint64_t sector, const std::span<std::byte>& buffer, async::stop_token token) noexcept {
        return {channel(), virtio_blk::request_type::in, sector, buffer.data(), buffer.size(), token};
    }

    // The same with a stop token, or with a time limit for this request alone: `disk.read(0, buffer, {.timeout = …})`.
    request read(std::uint64_t sector, const std::span<std::byte>& buffer, const request_options& options) noexcept {
        return {channel(), virtio_blk::request_type::in, sector, buffer.data(), buffer.size(), options};
    }

    // Writes whole logical blocks. After it ends the data is in the device; in a write cache, where there is one.
    request write(std::uint64_t sector, const std::span<const std::byte>& buffer) noexcept {
        return {channel(), virtio_blk::request_type::out, sector, buffer.data(), buffer.size()};
    }
    request write(std::uint64_t sector, std::span<const std::span<const std::byte>> buffers) noexcept;
    request write(std::uint64_t sector, const std::span<const std::byte>& buffer, async::stop_token token) noexcept {
        return {channel(), virtio_blk::request_type::out, sector, buffer.data(), buffer.size(), token};
    }
    request write(std::uint64_t sector, const std::span<const std::byte>& buffer,
                  const request_options& options) noexcept {
        return {channel(), virtio_blk::request_type::out, sector, buffer.data(), buffer.size(), options};
    }

    // Makes all writes durable that ended before this began; those still in flight are not covered (VIRTIO 1.2,
    // 5.2.6.2). Where the device has no write cache that could be flushed (disk_properties::can_flush is false), every
    // write is durable when it ends; there is nothing to do, and it ends at once with ok.
    request flush() noexcept;

    // Switches the write cache on (write-back) or off (write-through); unsupported without CONFIG_WCE. What is in
    // flight is awaited first, on all harts, and what is awaited meanwhile waits. When this ends, properties() has the
    // new mode on every hart. What was written before is durable after a flush(), not after this. device_error: the
    // device has kept its mode. A reset of the device does not change the mode.
    write_cache::request set_write_cache(bool enabled) noexcept;

    // Waits until the capacity has changed since properties().capacity_changes was `seen`: at once if it has, so no
    // change is missed. It ends, too, when the disk is lost. Any number of coroutines of any hart may wait.
    async::wait_operation<block::channel::capacity_waiter> capacity_changed(std::uint64_t seen) noexcept {
        return async::wait_operation<block::channel::capacity_waiter>{channel(), seen};
    }
    // The same, or until a stop is requested.
    async::stoppable_wait<block::channel::capacity_waiter> capacity_changed(std::uint64_t seen,
                                                                            async::stop_token token) noexcept {
        return async::stoppable_wait<block::channel::capacity_waiter>{token, channel(), seen};
    }

    // Tells the device that these sectors are not needed. What they hold afterwards is undefined. Of several ranges, as
    // many go into one request of the device as it permits; after an error nothing is known about any of them. The list
    // must stay until the request ends.
    request discard(std::uint64_t sector, std::uint64_t sectors) noexcept;
    request discard(std::span<const sector_range> ranges) noexcept;

    // Makes these sectors read as zeroes.
    request write_zeroes(std::uint64_t sector, std::uint64_t sectors, unmap permission = unmap::forbidden) noexcept;
    request write_zeroes(std::span<const sector_range> ranges, unmap permission = unmap::forbidden) noexcept;

    // Makes what these sectors hold unrecoverable, copies of it included. What they hold afterwards is undefined.
    request secure_erase(std::uint64_t sector, std::uint64_t sectors) noexcept;
    request secure_erase(std::span<const sector_range> ranges) noexcept;

    // The device's serial number: up to 20 characters, padded with NUL.
    request get_id(virtio_blk::id_string& id) noexcept;

    // How much of its life the device has had. A value that the specification reserves is given as 0, not defined.
    request get_lifetime(virtio_blk::lifetime& into) noexcept;

    // ---- zoned disks (VIRTIO 1.3, 5.2) ----
    //
    // A host-managed zoned device is accepted with ZONED: properties().zone_sectors is not 0 then. Everything below is
    // unsupported on any other disk; a host-aware device, or one that manages its zones itself, is an ordinary disk.
    //
    // The driver keeps no account of the zones: type, write pointer and state are the device's to judge, and what it does
    // not allow ends with a status::zone_…. What can be told without them is checked before the device sees the request,
    // and ends with invalid_argument, conventional zones included:
    //
    // - A write() lies within one zone, and sector and length are multiples of write_granularity. It is one request of the
    //   device, or is refused: as the pieces of a request are not ordered, it is never cut. A contiguous buffer may have
    //   max_zone_write_sectors.
    // - A read() may be of any length; it is cut where a zone ends.
    // - discard() and write_zeroes() are unsupported. A secure_erase() is of whole zones, and resets them.
    //
    // The device may do what it has at once in any order, so a write in sequence is awaited before the next one. append()
    // needs no order. If the device is reset meanwhile, what changes zones and was in flight ends with device_reset, and
    // is never repeated, because it may have been done: report_zones() tells.

    // Reports the zones from the one on that `sector` lies in, as many as there are and as fit. The device writes the
    // header of its report, which is as long as a descriptor, to buffer[0], and the result names what follows: a buffer of
    // n + 1 has room for n zones, and n is at least 1. Its memory is one that read() might have.
    report_request report_zones(std::uint64_t sector, std::span<virtio_blk::zone_descriptor> buffer) noexcept;

    // Explicitly opens, closes, or finishes the zone that begins at sector `zone`. A finished zone is full, whatever was
    // written to it.
    request open_zone(std::uint64_t zone) noexcept;
    request close_zone(std::uint64_t zone) noexcept;
    request finish_zone(std::uint64_t zone) noexcept;

    // Makes the zone that begins at sector `zone` empty, or every sequential zone. What was in there is gone.
    request reset_zone(std::uint64_t zone) noexcept;
    request reset_all_zones() noexcept;

    // Writes to the zone that begins at sector `zone`, at its write pointer, and returns where that was. The length is a
    // multiple of write_granularity, and at most max_append_sectors. Several may be in flight at once.
    append_request append(std::uint64_t zone, std::span<const std::byte> buffer) noexcept;

    // To be called for each interrupt of this device, as its transport delivers them (virtio::interrupt_delivery): a
    // shared line calls handle_line(); the interrupt of queue `index` calls handle_queue(), and that of configuration
    // changes handle_configuration(). Interrupt context, of any hart, and of several harts at once. Before start() has
    // returned, an interrupt is acknowledged and remembered. handle_line() returns whether the device named a cause.
    bool handle_line() noexcept;
    void handle_queue(std::uint16_t index) noexcept;
    void handle_configuration() noexcept;

    // For a device whose interrupts do not arrive: looks for completions, and wakes the harts that own them. Returns
    // whether it found any. Any context and hart, after start() has returned.
    bool look_for_completions() noexcept;

    // Figures of all harts; exact while the others rest.
    [[nodiscard]] counters count() const noexcept;
    [[nodiscard]] queue::counters count(std::uint16_t index) const noexcept { return queues_[index].count(); }

    // True once the device is beyond repair: every request ends with device_lost.
    [[nodiscard]] bool lost() const noexcept { return recovery_.lost(); }

    // Why the disk is lost; error::none if it is not lost.
    [[nodiscard]] virtio::error failure() const noexcept { return failure_; }

    // For a benchmark that drives the rings without requests. Nothing may be in flight, and the executor must not run
    // meanwhile.
    [[nodiscard]] queue& unsafe_queue(std::uint16_t index) noexcept { return queues_[index]; }
    [[nodiscard]] virtio::transport& unsafe_transport() noexcept { return device_.underlying_transport(); }

  private:
    [[nodiscard]] block::channel& channel() noexcept { return channels_[arch::this_hart()]; }
    [[nodiscard]] std::span<queue> queues() noexcept { return {queues_.data(), properties_.queues}; }

    // For the recovery.
    [[nodiscard]] bool needs_reset() noexcept override;
    [[nodiscard]] bool reset(recovery::causes_t causes) noexcept override;
    void reset_ended() noexcept override;
    void read_configuration() noexcept override;
    [[nodiscard]] bool is_drained(recovery::causes_t causes) noexcept override;
    void switch_write_cache() noexcept override;
    [[nodiscard]] bool reset_queues() noexcept override;
    void resumed() noexcept override { write_cache_.resumed(); }

    [[nodiscard]] status set_writeback(bool enabled) noexcept;
    void read_changing_configuration() noexcept;
    void count_capacity_change(std::uint64_t before) noexcept;
    void short_length() noexcept;
    void report(disk_event what) const noexcept {
        if (options_.report != nullptr) {
            options_.report(options_.report_context, what);
        }
    }

    [[nodiscard]] virtio::error set_up(dma_memory* memory) noexcept;
    [[nodiscard]] virtio::feature_set choose_features(virtio::feature_set offered) noexcept;
    [[nodiscard]] bool is_zoned_without_feature() const noexcept;
    [[nodiscard]] virtio::error configure(dma_memory* memory) noexcept;
    [[nodiscard]] virtio::error set_up_queues(dma_memory* memory) noexcept;
    [[nodiscard]] virtio::queue_format format_of_queues() const noexcept;
    [[nodiscard]] virtio::error give(queue& to_device, const virtio::queue_format& format) noexcept;
    [[nodiscard]] virtio::error reset_queue(queue& drained) noexcept;
    [[nodiscard]] bool asks_for_resets_only(recovery::causes_t causes) noexcept;
    [[nodiscard]] bool open_channels(dma_memory& memory) noexcept;
    [[nodiscard]] bool interrupted_before_start(virtio::interrupt_cause cause) noexcept;
    [[gnu::noinline]] void handle_unused_queue(arch::hart_index told) noexcept;
    [[nodiscard, gnu::noinline]] bool interrupt_all(arch::hart_index told) noexcept;
    [[nodiscard, gnu::always_inline]] inline bool has_cause(virtio::interrupt_cause cause) noexcept;

    virtio::device device_;
    virtio::fast_path_registers registers_ = device_.registers_of_fast_path(0); // to acknowledge interrupts
    recovery recovery_{*this};
    write_cache write_cache_{recovery_};
    block::channel* channels_ = nullptr;
    arch::hart_index harts_ = 0;

    // Of the home hart. The channels copy the properties when they are opened or resumed.
    block::channel* home_ = nullptr;
    disk_options options_;
    disk_properties properties_{};
    virtio::error failure_ = virtio::error::none;
    virtio_blk::zoned_model zoned_model_ = virtio_blk::zoned_model::none; // before ZONED was accepted, or was not

    bool queue_resets_fail_ = false; // the device offers RING_RESET and does not do it
    std::uint64_t queue_resets_ = 0;
    std::uint32_t fruitless_resets_ = 0; // in a row, asked for by the device
    std::uint64_t completed_then_ = 0;   // when the device was last reset

    // How many channels the interrupt handler may call: 0 until start() has opened them. interrupted_early_ keeps an
    // interrupt that came before that.
    arch::atomic<arch::hart_index> told_{0};
    arch::atomic<bool> interrupted_early_{false};
    std::uint16_t queues_in_use_ = 0; // for the interrupt handler: the number of queues, which never changes again

    watchdog::progress progress_{0};
    arch::atomic<std::uint32_t> short_lengths_told_{0}; // a flag; GCC 12 exchanges words, not bytes
    arch::atomic<std::uint64_t> interrupts_{0};
    arch::atomic<std::uint64_t> spurious_{0};
    [[no_unique_address]] trace::track track_;
    std::array<queue, max_queues> queues_;
};

} // namespace inflight::block
