// Cuts an operation into device requests, by the limits of the device. Pure: nothing here touches a device or a queue.
#pragma once

#include "inflight/drivers/block/limits.hpp"
#include "inflight/drivers/block/operation.hpp"
#include "inflight/drivers/block/virtio_blk.hpp"
#include "inflight/drivers/memory/dma_memory.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::block {

// A part of a buffer that one data descriptor points to.
struct data_segment {
    const std::byte* data;
    std::uint32_t length; // bytes
};

// The data of one device request: whole logical blocks.
struct data_piece {
    std::uint64_t sector;
    std::array<data_segment, max_segments> segments;
    std::uint32_t count; // 0: a block lies in more pieces of memory than the device takes segments

    [[nodiscard]] std::span<const data_segment> list() const noexcept { return {segments.data(), count}; }
};

// The ranges of one device request.
struct range_piece {
    std::array<virtio_blk::range_segment, max_range_segments> segments;
    std::uint32_t count;

    [[nodiscard]] std::span<const virtio_blk::range_segment> list() const noexcept { return {segments.data(), count}; }
};

// The next piece of a read or write, or of a discard, write-zeroes or secure erase, within the limits. Steps over it
// in `of`, which is in pieces and has more. A segment is contiguous for devices, by `memory`.
void next_piece(operation& of, const disk_properties& limits, const dma_memory& memory, data_piece& piece) noexcept;
void next_piece(operation& of, const disk_properties& limits, range_piece& piece) noexcept;

// The buffer of a zone report, or as much of its beginning as fits into the limits: a shorter report. The operation has no
// more afterwards. A count of 0: not even one zone fits.
void whole_report(operation& of, const disk_properties& limits, const dma_memory& memory, data_piece& piece) noexcept;

} // namespace inflight::block
