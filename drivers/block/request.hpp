// A block request, which is also its awaiter: it lives in the frame of the coroutine that awaits it, and nothing is
// allocated for it.
//
//     block::status outcome = co_await disk.read(sector, buffer);
//
// Requests come from block::disk. Until the awaiting coroutine is resumed, the buffer belongs to the device.
#pragma once

#include "async/operation.hpp"
#include "drivers/block/status.hpp"
#include "drivers/block/virtio_blk.hpp"

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::block {

class disk;

class [[nodiscard]] request : private async::operation {
  public:
    request(const request&) = delete;
    request& operator=(const request&) = delete;
    ~request() {
        if (state_ == state::submitted) {
            destroyed_in_flight();
        }
    }

    // True if the request is refused: then await_resume() tells why, and the device has seen nothing of it.
    [[nodiscard]] bool await_ready() noexcept; // both are in disk.hpp
    void await_suspend(std::coroutine_handle<> frame) noexcept;
    status await_resume() const noexcept { return result_; }

  private:
    friend class disk;
    friend class request_queue;

    enum class state : std::uint8_t { idle, submitted, completed };

    request(disk& owner, virtio_blk::request_type type, std::uint64_t sector, const std::byte* data,
            std::size_t length) noexcept
        : disk_{&owner}, sector_{sector}, data_{data}, length_{length}, type_{type} {}

    // Scattered data: the list must stay until the request has ended.
    request(disk& owner, std::uint64_t sector, std::span<const std::span<std::byte>> into) noexcept
        : request{owner, virtio_blk::request_type::in, sector, nullptr, 0} {
        into_ = into.data();
        segments_left_ = static_cast<std::uint32_t>(into.size());
    }
    request(disk& owner, std::uint64_t sector, std::span<const std::span<const std::byte>> from) noexcept
        : request{owner, virtio_blk::request_type::out, sector, nullptr, 0} {
        from_ = from.data();
        segments_left_ = static_cast<std::uint32_t>(from.size());
    }

    [[noreturn]] static void destroyed_in_flight() noexcept;

    // True while a part of the request has not been given to the device.
    [[nodiscard]] bool has_more() const noexcept { return length_ != 0 || segments_left_ != 0; }

    // Scattered data: how long the i-th of the segments that are left is; and stepping to the first of them.
    [[nodiscard]] std::size_t segment_length(std::uint32_t i) const noexcept {
        return type_ == virtio_blk::request_type::in ? into_[i].size() : from_[i].size();
    }
    void next_segment() noexcept;

    disk* disk_;
    std::uint64_t sector_;  // where the part that is not yet submitted begins
    const std::byte* data_; // that part's data, or of its first segment
    std::size_t length_;    // and its length in bytes; in sectors for a discard or write-zeroes
    union {
        const std::span<std::byte>* into_;       // further segments of a read
        const std::span<const std::byte>* from_; // or of a write
    };
    std::uint32_t segments_left_ = 0;
    std::uint32_t pieces_ = 0; // how many requests of the device it is divided into just now
    virtio_blk::request_type type_;
    status result_ = status::ok;
    bool plain_ = false; // one request of the device with one data segment, as nearly all are
    state state_ = state::idle;
};

} // namespace inflight::block
