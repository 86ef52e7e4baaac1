// The requests of a zoned disk that return more than a status. They are made by block::disk, and are awaited, stopped and
// limited like any other (request.hpp).
#pragma once

#include "inflight/drivers/block/channel.hpp"
#include "inflight/drivers/block/request.hpp"
#include "inflight/drivers/block/virtio_blk.hpp"
#include "inflight/drivers/block/zones.hpp"

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::block {

class [[nodiscard]] append_request : public request {
  public:
    // For block::disk: a request of `by`'s hart.
    append_request(block::channel& by, std::uint64_t zone, std::span<const std::byte> from) noexcept
        : request{by, virtio_blk::request_type::zone_append, zone, from.data(), from.size()},
          zone_{zone},
          sectors_{from.size() >> sector_shift} {}

    append_result await_resume() const noexcept {
        return result == status::ok ? check_append(zone_, sectors_, operation::sector, channel_->properties())
                                    : append_result{.outcome = result, .sector = 0};
    }

  private:
    std::uint64_t zone_;
    std::uint64_t sectors_;
};

class [[nodiscard]] report_request : public request {
  public:
    // As append_request.
    report_request(block::channel& by, std::uint64_t at, std::span<virtio_blk::zone_descriptor> into) noexcept
        : request{by, virtio_blk::request_type::zone_report, at, reinterpret_cast<const std::byte*>(into.data()),
                  into.size_bytes()},
          at_{at},
          into_{into} {}

    void await_suspend(std::coroutine_handle<> frame) noexcept {
        if (!into_.empty()) {
            into_.front() = {}; // a device that writes nothing reports no zones
        }
        request::await_suspend(frame);
    }
    zone_report await_resume() const noexcept {
        return result == status::ok ? check_report(at_, into_, channel_->properties())
                                    : zone_report{.outcome = result, .zones = {}};
    }

  private:
    std::uint64_t at_;
    std::span<virtio_blk::zone_descriptor> into_;
};

} // namespace inflight::block
