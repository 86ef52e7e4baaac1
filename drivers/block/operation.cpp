#include "inflight/drivers/block/operation.hpp"

namespace inflight::block {

void operation::begin_pieces() noexcept {
    flags &= static_cast<std::uint8_t>(~is_late); // of an earlier await, if the device was quicker than the reset
    begin(operation_state::in_pieces);
    pieces.in_flight = 0;
    pieces.failure = status::ok;
    pieces.in_line = false;
    if (!has(is_scattered)) {
        pieces.segments_left = 0;
    }
    pieces.whole = position();
}

void operation::go_to(const operation_position& where) noexcept {
    sector = where.sector;
    data = where.data;
    length = where.length;
    pieces.next = where.next;
    pieces.segments_left = where.segments_left;
}

void operation::next_segment() noexcept {
    --pieces.segments_left;
    if (device_writes()) {
        const std::span<std::byte>& segment = *pieces.next.into++;
        data = segment.data();
        length = segment.size();
    } else if (is_of_ranges()) {
        const sector_range& range = *pieces.next.ranges++;
        sector = range.sector;
        length = range.sectors;
    } else {
        const std::span<const std::byte>& segment = *pieces.next.from++;
        data = segment.data();
        length = segment.size();
    }
}

bool operation::end_piece(status outcome) noexcept {
    if (pieces.failure == status::ok) {
        pieces.failure = outcome;
    }
    if (--pieces.in_flight != 0 || pieces.in_line) {
        return false;
    }
    end();
    return true;
}

void operation::end() noexcept {
    leave_deadlines();
    refuse(pieces.failure);
}

void operation::leave_deadlines() noexcept {
    if (has(in_deadlines)) {
        flags &= static_cast<std::uint8_t>(~in_deadlines);
        *timing.link = timing.next;
        if (timing.next != nullptr) {
            timing.next->timing.link = timing.link;
        }
    }
}

} // namespace inflight::block
