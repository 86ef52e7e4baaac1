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

// How many sectors of the range the next segment takes. It ends where the device says that its pieces end, if there is
// such a place within reach, and blocks end there.
std::uint32_t next_part(const operation& of, const range_limits& allowed, std::uint32_t block_sectors) noexcept {
    if (of.length <= allowed.max_sectors) {
        return static_cast<std::uint32_t>(of.length);
    }
    const std::uint32_t unit = std::max<std::uint32_t>(allowed.alignment, 1);
    if (unit % block_sectors != 0) {
        return allowed.max_sectors;
    }
    const auto over = static_cast<std::uint32_t>((of.sector + allowed.max_sectors) % unit);
    return over < allowed.max_sectors ? allowed.max_sectors - over : allowed.max_sectors;
}

} // namespace

void next_piece(operation& of, const disk_properties& limits, const dma_memory& memory, data_piece& piece) noexcept {
    piece.sector = of.sector;
    piece.count = 0;
    std::uint64_t max_sectors = std::max(max_bytes, limits.logical_block_size) >> sector_shift;
    if (limits.zone_sectors != 0) { // not across the end of a zone (VIRTIO 1.3, 5.2.6.2)
        max_sectors = std::min(max_sectors, limits.zone_sectors - of.sector % limits.zone_sectors);
    }
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

void whole_report(operation& of, const disk_properties& limits, const dma_memory& memory, data_piece& piece) noexcept {
    piece.sector = of.sector;
    piece.count = 0;
    std::uint32_t room = max_bytes;
    while (of.length != 0 && room != 0 && piece.count != limits.seg_max) {
        const auto part = static_cast<std::uint32_t>(
            std::min<std::size_t>({memory.contiguous(of.data, of.length), of.length, limits.size_max, room}));
        piece.segments[piece.count++] = {.data = of.data, .length = part};
        of.data += part;
        of.length -= part;
        room -= part;
    }
    of.length = 0;
    if (max_bytes - room < virtio_blk::smallest_zone_report) {
        piece.count = 0;
    }
}

void next_piece(operation& of, const disk_properties& limits, range_piece& piece) noexcept {
    const range_limits allowed = limits_of(of.type, limits);
    const std::uint32_t flags = of.has(operation::unmaps) ? virtio_blk::unmap_flag : 0;
    piece.count = 0;
    while (piece.count != allowed.max_segments && of.has_more()) {
        if (of.length == 0) {
            of.next_segment();
        }
        const std::uint32_t part = next_part(of, allowed, limits.logical_block_size >> sector_shift);
        piece.segments[piece.count++] = {.sector = of.sector, .num_sectors = part, .flags = flags};
        of.sector += part;
        of.length -= part;
    }
}

} // namespace inflight::block
