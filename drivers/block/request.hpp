// A block request, which is also its awaiter: it lives in the frame of the coroutine that awaits it, and nothing is
// allocated for it.
//
//     block::status outcome = co_await disk.read(sector, buffer);
//
// Requests come from block::disk. Until the awaiting coroutine is resumed, the buffer belongs to the device.
#pragma once

#include "async/callback.hpp"
#include "async/executor.hpp"
#include "async/message.hpp"
#include "async/operation.hpp"
#include "async/stop_token.hpp"
#include "drivers/block/status.hpp"
#include "drivers/block/virtio_blk.hpp"

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>

namespace inflight::block {

class io_channel;

class [[nodiscard]] request : private async::operation {
  public:
    request(const request&) = delete;
    request& operator=(const request&) = delete;
    ~request() {
        if (is_in_flight()) {
            destroyed_in_flight();
        }
    }

    // Lets a stop end the request while it waits in line, with status::cancelled: what the device has of it is awaited. One that
    // goes through another hart waits there, where a message has to tell it. To be given before the request is awaited.
    void set_stop_token(async::stop_token token) noexcept {
        stopping_.token = token;
        may_stop_ = true;
    }
    [[nodiscard]] async::stop_token get_stop_token() const noexcept {
        return may_stop_ ? stopping_.token : async::stop_token{};
    }

    // A request that is refused suspends, too, for the rest of the round: await_resume() tells why, and the device has seen
    // nothing of it.
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> frame) noexcept; // in io_channel.hpp
    status await_resume() const noexcept { return result_; }

  private:
    friend class disk;
    friend class io_channel;
    friend class request_queue;

    // Until a request has its result, `result_` says how it is in flight: as one request of the device with one data segment,
    // as nearly all are, or in pieces, each of which is a request of the device.
    static constexpr status whole_in_flight{-1};
    static constexpr status pieces_in_flight{-2};
    [[nodiscard]] bool is_in_flight() const noexcept { return result_ < status::ok; }

    request(io_channel& channel, virtio_blk::request_type type, std::uint64_t sector, const std::byte* data,
            std::size_t length) noexcept
        : channel_{&channel}, sector_{sector}, data_{data}, length_{length}, type_{type} {}
    request(io_channel& channel, virtio_blk::request_type type, std::uint64_t sector, const std::byte* data,
            std::size_t length, async::stop_token token) noexcept
        : request{channel, type, sector, data, length} {
        set_stop_token(token);
    }

    // Scattered data: the list must stay until the request has ended.
    request(io_channel& channel, std::uint64_t sector, std::span<const std::span<std::byte>> into) noexcept
        : request{channel, virtio_blk::request_type::in, sector, nullptr, 0} {
        scattered_ = true;
        pieces_.into = into.data();
        pieces_.segments_left = static_cast<std::uint32_t>(into.size());
    }
    request(io_channel& channel, std::uint64_t sector, std::span<const std::span<const std::byte>> from) noexcept
        : request{channel, virtio_blk::request_type::out, sector, nullptr, 0} {
        scattered_ = true;
        pieces_.from = from.data();
        pieces_.segments_left = static_cast<std::uint32_t>(from.size());
    }

    [[noreturn]] static void destroyed_in_flight() noexcept;

    // From now on in pieces, none of which is with the device yet.
    void begin_pieces() noexcept {
        result_ = pieces_in_flight;
        pieces_.inside = 0;
        pieces_.failure = status::ok;
        if (!scattered_) {
            pieces_.segments_left = 0;
        }
    }

    // In pieces: true while a part of the request has not been given to the device.
    [[nodiscard]] bool has_more() const noexcept { return length_ != 0 || pieces_.segments_left != 0; }

    // Scattered data: how long the i-th of the segments that are left is; and stepping to the first of them.
    [[nodiscard]] std::size_t segment_length(std::uint32_t i) const noexcept {
        return type_ == virtio_blk::request_type::in ? pieces_.into[i].size() : pieces_.from[i].size();
    }
    void next_segment() noexcept;

    // What only a request in pieces has. Nothing of it is written for others.
    struct piecewise {
        union {
            const std::span<std::byte>* into;       // further segments of a read
            const std::span<const std::byte>* from; // or of a write
        };
        std::uint32_t segments_left;
        std::uint32_t inside; // how many of its pieces the device has just now
        status failure;       // the first of a piece
    };

    // What only a request has that may be stopped, and, while it waits in line, its registration.
    struct stopping {
        async::stop_token token;
        alignas(async::stop_callback) std::byte registration[sizeof(async::stop_callback)];
    };

    // What only a request has that goes through another hart: who waits for it, and where; and what is done with it when it
    // arrives there, and when it is back. If it may be stopped, home tells the other hart, and has no end of it before that is
    // done, for what tells is in here.
    struct journey {
        async::executor* home;
        async::executor* away;
        std::coroutine_handle<> frame;
        alignas(async::callback) std::byte arrival[sizeof(async::callback)];
        alignas(async::message) std::byte stop[sizeof(async::message)];
        bool may_stop;     // the registration is home's
        bool stop_is_away; // home's: the other hart has been told, and has not answered
        bool waits_for_it; // home's: the request is back, but that answer is not
    };

    io_channel* channel_;
    std::uint64_t sector_;  // where the part that is not yet submitted begins
    const std::byte* data_; // that part's data, or of its first segment
    std::size_t length_;    // and its length in bytes; in sectors for a discard or write-zeroes
    virtio_blk::request_type type_;
    status result_ = status::ok;
    bool scattered_ = false;
    bool may_stop_ = false; // it has a stop token
    union {
        piecewise pieces_;
    };
    union {
        stopping stopping_;
    };
    union {
        journey journey_;
    };
};

} // namespace inflight::block
