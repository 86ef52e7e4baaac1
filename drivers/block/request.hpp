// A block request, which is also its awaiter: it lives in the frame of the coroutine that awaits it, and nothing is
// allocated for it.
//
//     block::status outcome = co_await disk.read(sector, buffer);
//
// Requests come from block::disk. Until the awaiting coroutine is resumed, the buffer belongs to the device.
#pragma once

#include "inflight/arch/arch.hpp"
#include "inflight/async/stop_token.hpp"
#include "inflight/drivers/block/channel.hpp"
#include "inflight/drivers/block/operation.hpp"
#include "inflight/drivers/block/status.hpp"
#include "inflight/drivers/block/virtio_blk.hpp"

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::block {

// What a caller may ask of a single request.
struct request_options {
    async::stop_token token{}; // see request::set_stop_token()
    arch::ticks timeout = 0;   // see request::set_timeout(); 0: none
};

// Whether a write-zeroes may deallocate the sectors, where the device can (disk_properties::write_zeroes_may_unmap).
// They read as zeroes either way.
enum class unmap : std::uint8_t { forbidden, permitted };

class [[nodiscard]] request : protected operation {
  public:
    // For block::disk: a request of `by`'s hart. `bytes` is in sectors for a discard, write-zeroes or secure erase.
    request(channel& by, virtio_blk::request_type of, std::uint64_t at, const std::byte* first,
            std::size_t bytes) noexcept
        : operation{of, at, first, bytes}, channel_{&by} {}
    request(channel& by, virtio_blk::request_type of, std::uint64_t at, const std::byte* first, std::size_t bytes,
            async::stop_token token) noexcept
        : request{by, of, at, first, bytes} {
        set_stop_token(token);
    }
    request(channel& by, virtio_blk::request_type of, std::uint64_t at, const std::byte* first, std::size_t bytes,
            const request_options& options) noexcept
        : request{by, of, at, first, bytes} {
        if (options.token.stop_possible()) {
            set_stop_token(options.token);
        }
        set_timeout(options.timeout);
    }

    // The same with scattered data. The list must stay until the request has ended.
    request(channel& by, std::uint64_t at, std::span<const std::span<std::byte>> into) noexcept
        : request{by, virtio_blk::request_type::in, at, nullptr, 0} {
        flags = is_scattered;
        pieces.next.into = into.data();
        pieces.segments_left = into.size();
    }
    request(channel& by, std::uint64_t at, std::span<const std::span<const std::byte>> from) noexcept
        : request{by, virtio_blk::request_type::out, at, nullptr, 0} {
        flags = is_scattered;
        pieces.next.from = from.data();
        pieces.segments_left = from.size();
    }

    // A discard, write-zeroes or secure erase of several ranges. The list must stay until the request has ended.
    request(channel& by, virtio_blk::request_type of, std::span<const sector_range> ranges) noexcept
        : request{by, of, 0, nullptr, 0} {
        flags = is_scattered;
        pieces.next.ranges = ranges.data();
        pieces.segments_left = ranges.size();
    }

    // A write-zeroes.
    request(channel& by, std::uint64_t at, std::uint64_t sectors, unmap permission) noexcept
        : request{by, virtio_blk::request_type::write_zeroes, at, nullptr, sectors} {
        permit(permission);
    }
    request(channel& by, std::span<const sector_range> ranges, unmap permission) noexcept
        : request{by, virtio_blk::request_type::write_zeroes, ranges} {
        permit(permission);
    }

    request(const request&) = delete;
    request& operator=(const request&) = delete;
    ~request() {
        if (is_pending()) {
            destroyed_in_flight();
        }
    }

    // Lets a stop end the request while it waits in line, with status::cancelled. What the device has of it is awaited.
    // Call this before the request is awaited.
    void set_stop_token(async::stop_token token) noexcept {
        stopping.token = token;
        may_stop = true;
    }
    [[nodiscard]] async::stop_token get_stop_token() const noexcept {
        return may_stop ? stopping.token : async::stop_token{};
    }

    // Ends the request with status::timed_out once `ticks` ticks have passed since it was awaited, the time in line
    // included. VIRTIO has no way to abort a request: if the device has it by then, the device is reset for it, and the
    // other requests are submitted again. 0: no limit but the disk's own. Call this before the request is awaited.
    void set_timeout(arch::ticks ticks) noexcept {
        if (ticks != 0) {
            timing.timeout = ticks;
            flags |= has_timeout;
        }
    }

    // A request that is refused suspends, too, for the rest of the round: await_resume() returns why, and the device
    // has seen nothing of it.
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    [[gnu::always_inline]] void await_suspend(std::coroutine_handle<> frame) noexcept {
        continuation = frame;
        channel_->submit(*this);
    }
    status await_resume() const noexcept { return result; }

  private:
    [[noreturn]] static void destroyed_in_flight() noexcept;
    void permit(unmap permission) noexcept {
        if (permission == unmap::permitted) {
            flags |= unmaps;
        }
    }

  protected:
    channel* channel_;
};

} // namespace inflight::block
