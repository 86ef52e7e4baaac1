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

// The next piece of a read or write, and the next range of a discard or write-zeroes, within the limits. Steps over it
// in `of`, which is in pieces and has more. A segment is contiguous for devices, by `memory`.
void next_piece(operation& of, const disk_properties& limits, const dma_memory& memory, data_piece& piece) noexcept;
[[nodiscard]] virtio_blk::range_segment next_range(operation& of, const disk_properties& limits) noexcept;

} // namespace inflight::block
