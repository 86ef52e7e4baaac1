#include "inflight/drivers/block/pieces.hpp"

#include <algorithm>

namespace inflight::block {

namespace {

// Adds one logical block, or more of them if they lie in one segment: as many as `room` bytes allow. False if there are
// not enough segments left; then a part of it may have been added.
bool add_blocks(operation& of, const disk_properties& limits, const dma_memory& memory, std::uint32_t room,
                data_piece& piece) noexcept {
    const std::uint32_t block = limits.logical_block_size;
    if (of.length == 0) {
        of.next_segment();
    }
    std::uint32_t wanted = block;
    const std::size_t together =
        std::min<std::size_t>({memory.contiguous(of.data, of.length), of.length, limits.size_max, room});
    if (together > block) {
        wanted = static_cast<std::uint32_t>(together - together % block);
    }
    of.length -= wanted;
    of.sector += wanted >> sector_shift;
    while (wanted != 0) {
        if (piece.count == limits.seg_max) {
            return false;
        }
        const auto part = static_cast<std::uint32_t>(
            std::min<std::size_t>({memory.contiguous(of.data, wanted), wanted, limits.size_max}));
        piece.segments[piece.count++] = {.data = of.data, .length = part};
        of.data += part;
        wanted -= part;
    }
    return true;
}

} // namespace

void next_piece(operation& of, const disk_properties& limits, const dma_memory& memory, data_piece& piece) noexcept {
    piece.sector = of.sector;
    piece.count = 0;
    const std::uint64_t max_sectors = std::max(max_bytes, limits.logical_block_size) >> sector_shift;
    while (of.has_more()) {
        const std::uint64_t room = max_sectors - (of.sector - piece.sector);
        if (room < limits.logical_block_size >> sector_shift || piece.count == limits.seg_max) {
            return;
        }
        const operation_position before = of.position();
        const std::uint32_t count = piece.count;
        if (!add_blocks(of, limits, memory, static_cast<std::uint32_t>(room << sector_shift), piece)) {
            of.go_to(before); // whole blocks only
            piece.count = count;
            return;
        }
    }
}

virtio_blk::range_segment next_range(operation& of, const disk_properties& limits) noexcept {
    const bool discards = of.type == virtio_blk::request_type::discard;
    const std::uint32_t most = discards ? limits.max_discard_sectors : limits.max_write_zeroes_sectors;
    std::uint64_t part = of.length;
    if (part > most) {
        part = most;
        const std::uint64_t unit = std::max<std::uint32_t>(limits.discard_sector_alignment, 1);
        if (discards && unit % (limits.logical_block_size >> sector_shift) == 0) {
            // Cut where the device says that its pieces end, if there is such a place within reach, and blocks end
            // there.
            const std::uint64_t over = (of.sector + part) % unit;
            part = over < part ? part - over : part;
        }
    }
    const virtio_blk::range_segment range{
        .sector = of.sector, .num_sectors = static_cast<std::uint32_t>(part), .flags = 0};
    of.sector += part;
    of.length -= part;
    return range;
}

} // namespace inflight::block
