// Decides which operations a disk takes: the quick test for plain ones, and the full check against the limits.
#pragma once

#include "inflight/drivers/block/limits.hpp"
#include "inflight/drivers/block/operation.hpp"
#include "inflight/drivers/block/status.hpp"

#include <cstdint>

namespace inflight::block {

// How an operation ends that is not given to the device; ok if it may be. Pure. What is left of an operation in pieces
// is checked like a whole one.
[[nodiscard]] status check(const operation& candidate, const disk_properties& limits) noexcept;

// True if the operation has nothing to do: a flush of a device that has no write cache to flush.
[[nodiscard]] inline bool is_noop(const operation& candidate, const disk_properties& limits) noexcept {
    return candidate.type == virtio_blk::request_type::flush && !limits.can_flush;
}

// True if the device takes the operation as one device request, or not at all: what changes a zone is done as a whole, in
// the order in which the caller awaits it.
[[nodiscard]] inline bool is_indivisible(const operation& candidate, const disk_properties& limits) noexcept {
    return limits.zone_sectors != 0 && !candidate.device_writes();
}

// Whether an operation that was in flight when the device was reset may be submitted again, though the device may have
// done it. On a zoned disk, not what changes a zone: an append would be there twice, and a write would be refused.
[[nodiscard]] bool may_be_repeated(const operation& candidate, const disk_properties& limits) noexcept;

// The quick test. It lets reads and writes through that fit into one data descriptor and need no check.
class admission {
  public:
    // Lets nothing through.
    void close() noexcept { odd_read_length_ = odd_write_length_ = ~std::uint64_t{0}; }

    // Lets through what is plain by these limits.
    void open(const disk_properties& limits) noexcept;

    // A length that passes the first test is no longer than the disk, so the subtraction does not wrap.
    [[nodiscard, gnu::always_inline]] bool is_plain(const operation& candidate) const noexcept {
        std::uint64_t odd_length = ~std::uint64_t{0};
        if (candidate.type == virtio_blk::request_type::in) {
            odd_length = odd_read_length_;
        } else if (candidate.type == virtio_blk::request_type::out) {
            odd_length = odd_write_length_;
        }
        return candidate.flags == 0 && ((candidate.length & odd_length) | (candidate.sector & odd_sector_)) == 0 &&
               candidate.length != 0 && candidate.sector <= capacity_ - (candidate.length >> sector_shift);
    }

  private:
    // Bits that must be 0 in the length of a plain read or write: those below the logical block, and those that would
    // make it longer than one segment or than the disk. All bits are set if no operation is plain. Then the bits that
    // must be 0 in its sector, and the end of the disk.
    std::uint64_t odd_read_length_ = ~std::uint64_t{0};
    std::uint64_t odd_write_length_ = ~std::uint64_t{0};
    std::uint64_t odd_sector_ = 0;
    std::uint64_t capacity_ = 0;
};

} // namespace inflight::block
