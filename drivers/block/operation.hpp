// A block operation: everything that the driver knows of one request until it ends. Plain data with the few rules that
// keep it consistent; queue, line, watchdog, recovery and forwarding work on it. block::request is what a coroutine
// awaits.
//
// After a reset of the device, an operation is submitted again from here, never from memory that the device can write.
#pragma once

#include "inflight/arch/arch.hpp"
#include "inflight/async/callback.hpp"
#include "inflight/async/message.hpp"
#include "inflight/async/operation.hpp"
#include "inflight/async/stop_token.hpp"
#include "inflight/drivers/block/status.hpp"
#include "inflight/drivers/block/virtio_blk.hpp"

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::block {

class forwarding;
class wait_line;
struct operation;

// Where an operation is while it is pending. A device request is what one chain of descriptors asks for. Nearly all
// operations are one device request with one data segment, and stay whole; the others are cut into pieces, each of
// which is a device request.
enum class operation_state : std::uint8_t {
    none,          // not awaited yet, or ended
    whole_in_line, // it waits for a free slot, and is submitted whole
    in_pieces, // pieces.in_flight of its pieces are with the device; the rest waits in line, unless has_more() is false
    forwarded, // on its way between two harts
    whole_in_flight =
        0xff, // the device has it. (All bits, as those of `pending` and of a poisoned status, so that one register
              // holds these constants.)
};

// Sectors of a disk.
struct sector_range {
    std::uint64_t sector;
    std::uint64_t sectors;
};

// The list that scattered data, or several ranges, come from.
union segment_list {
    const std::span<std::byte>* into;       // of a read
    const std::span<const std::byte>* from; // of a write
    const sector_range* ranges;             // of a discard, write-zeroes or secure erase
};

// Where the part of an operation begins that was not given to the device yet.
struct operation_position {
    std::uint64_t sector;
    const std::byte* data;
    std::size_t length;
    segment_list next;
    std::size_t segments_left;
};

// Of an operation in pieces.
struct operation_pieces {
    segment_list next; // further segments
    std::size_t segments_left;
    std::uint32_t in_flight;  // device requests
    status failure;           // the first of a piece
    bool in_line;             // in its channel's line
    operation_position whole; // the operation as it was made, for restart()
};

// Of an operation with a timeout: its deadline, and its place in a channel's list of such operations.
struct operation_timing {
    arch::ticks timeout;
    arch::ticks deadline;
    operation* next;
    operation** link; // the pointer that points to this operation
};

// Of an operation that a stop may end in line; `registration` lives while it waits there.
struct operation_stopping {
    async::stop_token token;
    wait_line* line;
    alignas(async::stop_callback) std::byte registration[sizeof(async::stop_callback)];
};

// What is called where a forwarded operation would resume its coroutine.
struct forwarding_step : async::resumable {
    forwarding_step(function call, operation& sent) noexcept : async::resumable{call}, of{&sent} {}
    operation* of;
};

// Of an operation that was forwarded to a hart with a queue, see forwarding.hpp.
struct operation_forwarding {
    forwarding* by;
    std::coroutine_handle<> frame; // which awaits it
    alignas(forwarding_step) std::byte step[sizeof(forwarding_step)];
    alignas(async::message) std::byte stop[sizeof(async::message)];
    status result;       // of one that is on its way back
    bool may_stop;       // the token is the origin's
    bool stop_is_away;   // of the origin: the stop message has not come back
    bool waits_for_stop; // of the origin: the operation is back, and the stop message is not
};

struct operation : async::operation {
    operation(virtio_blk::request_type of, std::uint64_t at, const std::byte* first, std::size_t bytes) noexcept
        : sector{at}, data{first}, length{bytes}, type{of} {}

    // The result of an operation that has begun and not ended: below all others.
    static constexpr status pending{-1};
    [[nodiscard]] bool is_pending() const noexcept { return result < status::ok; }

    // It is pending, in this state; or it has ended with this result.
    void begin(operation_state in) noexcept {
        state = in;
        result = pending;
    }
    void end(status with) noexcept {
        state = operation_state::none;
        result = with;
    }
    [[nodiscard]] bool has(std::uint8_t flag) const noexcept { return (flags & flag) != 0; }
    [[nodiscard]] bool device_writes() const noexcept { return type == virtio_blk::request_type::in; }
    [[nodiscard]] bool is_of_ranges() const noexcept {
        return type == virtio_blk::request_type::discard || type == virtio_blk::request_type::write_zeroes ||
               type == virtio_blk::request_type::secure_erase;
    }

    // From now on the operation is in pieces, none of which the device has.
    void begin_pieces() noexcept;

    // In pieces: how far it has got; and going back to there.
    [[nodiscard]] operation_position position() const noexcept {
        return {.sector = sector,
                .data = data,
                .length = length,
                .next = pieces.next,
                .segments_left = pieces.segments_left};
    }
    void go_to(const operation_position& where) noexcept;

    // Starts an operation in pieces over. The device has none of its pieces.
    void restart() noexcept { go_to(pieces.whole); }

    // In pieces: true while a part of the operation has not been given to the device.
    [[nodiscard]] bool has_more() const noexcept { return length != 0 || pieces.segments_left != 0; }

    // Scattered data: how many bytes the i-th of the segments that are left has; and stepping to the first of them.
    [[nodiscard]] std::size_t segment_length(std::size_t i) const noexcept {
        return device_writes() ? pieces.next.into[i].size() : pieces.next.from[i].size();
    }
    void next_segment() noexcept;

    // One piece has ended with `outcome`. Returns true if the operation has ended with it: the piece was the last one,
    // and no part of the operation waits in line. The result is in place then.
    [[nodiscard]] bool end_piece(status outcome) noexcept;

    // Ends an operation of which the device has no piece. The result is the first failure.
    void end() noexcept;

    // Ends an operation that the device has never seen.
    void refuse(status outcome) noexcept {
        flags &= is_scattered | has_timeout | unmaps;
        end(outcome);
    }

    // Takes the operation out of its channel's list of deadlines, if it is there.
    void leave_deadlines() noexcept;

    // Where the part begins that was not submitted yet. Of an append that has ended: where the data is.
    std::uint64_t sector;
    const std::byte* data; // of that part, or of its first segment
    std::size_t length;    // of it, in bytes; in sectors where is_of_ranges()
    virtio_blk::request_type type;
    std::uint8_t flags = 0;                        // see below; 0 for most operations
    operation_state state = operation_state::none; // beside the result, so that one store writes both
    status result = status::ok;
    bool may_stop = false;       // it has a stop token
    std::uint8_t unused[3] = {}; // so that one store initialises all of these

    static constexpr std::uint8_t is_scattered = 1;
    static constexpr std::uint8_t has_timeout = 2;
    static constexpr std::uint8_t has_deadline = 4; // since it was awaited
    static constexpr std::uint8_t in_deadlines = 8; // of a channel
    static constexpr std::uint8_t is_late = 16;     // it ends with the next reset of the device
    static constexpr std::uint8_t unmaps = 32;      // a write-zeroes: the device may deallocate the sectors

    // Each in a union, so that nothing of them is written before they are needed: most operations need none.
    union {
        operation_pieces pieces;
    };
    union {
        operation_stopping stopping;
    };
    union {
        operation_timing timing;
    };
    union {
        operation_forwarding forwarding;
    };
};

} // namespace inflight::block
