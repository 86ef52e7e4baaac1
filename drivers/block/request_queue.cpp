#include "drivers/block/request_queue.hpp"

#include "arch/arch.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace inflight::block {

using virtio_blk::request_type;

namespace {

// A ring of this many descriptors holds enough requests at three descriptors each. A smaller one, if the device knows
// indirect descriptors, takes one each, so that it holds as many requests as it has descriptors; the price is that the
// device reads a table for every request.
constexpr std::uint16_t roomy_size = 512;

// What the device answered, if not ok.
status to_status(std::uint8_t byte) noexcept {
    switch (byte) {
    case virtio_blk::status_byte::io_error: return status::io_error;
    case virtio_blk::status_byte::unsupported: return status::unsupported;
    default: return status::device_error; // poison: never written; or a value that the specification does not know
    }
}

} // namespace

constinit request_queue::slot request_queue::no_slot{.memory = {},
                                                     .owner = nullptr,
                                                     .next_free = nullptr,
                                                     .data = nullptr,
                                                     .expected = 0,
                                                     .shape = no_shape,
                                                     .head = 0,
                                                     .kept = {}};

bool request_queue::allocate(device_memory& memory, std::uint16_t size, bool legacy, bool indirect,
                             std::uint32_t segments) noexcept {
    size_ = size;
    stride_ = indirect && size < roomy_size ? 1 : 3;
    slot_count_ = size / stride_;
    table_entries_ = indirect ? segments + 2 : 0;

    const virtio::ring_layout layout = virtio::ring_layout::of(size, legacy);
    ring_memory_ = memory.allocate(layout.bytes, layout.alignment);
    auto* const slots = memory.allocate(sizeof(slot) * size, alignof(slot));
    std::byte* tables = nullptr;
    if (indirect) {
        tables = memory.allocate(sizeof(virtio::descriptor) * table_entries_ * slot_count_, 64);
    }
    if (ring_memory_ == nullptr || slots == nullptr || (indirect && tables == nullptr)) {
        return false;
    }

    slots_ = reinterpret_cast<slot*>(slots);
    tables_ = reinterpret_cast<virtio::descriptor*>(tables);
    for (std::uint32_t i = 0; i < size; ++i) {
        ::new (slots_ + i) slot{};
        slots_[i].head = static_cast<std::uint16_t>(i);
    }
    return true;
}

void request_queue::reset(bool legacy, bool event_idx) noexcept {
    for (std::uint32_t i = 0; i < slot_count_; ++i) {
        slot& inside = slots_[std::size_t{i} * stride_];
        if (inside.owner != nullptr && inside.shape_segments() == 1) {
            inside.kept = *inside.data; // where it is in the descriptor table, it goes with that
        }
    }
    ring_.lay_out(ring_memory_, size_, legacy, event_idx);
    trusts_length_ = !legacy; // legacy devices report what they like (LEG-11, BLKL-04)
    free_ = &no_slot;
    armed_at_.store(armed_from(0), std::memory_order_relaxed); // a zeroed ring asks for interrupts
    pending_.store(false, std::memory_order_relaxed);
}

void request_queue::rebuild() noexcept {
    for (std::uint32_t i = slot_count_; i-- > 0;) { // the lowest is taken first
        slot& built = slots_[std::size_t{i} * stride_];
        if (built.owner != nullptr) {
            reshape(built, built.owner->type_, built.shape_segments());
            if (built.shape_segments() == 1) {
                built.data->address = built.kept.address;
                built.data->length = built.kept.length;
            }
            built.memory.status.store(virtio_blk::status_byte::poison);
            ring_.offer(built.head);
            continue;
        }
        reshape(built, request_type::in, 1);
        built.next_free = free_;
        free_ = &built;
    }
}

// Lays out the chain and the header of a free slot for requests of this type with so many data descriptors, all but what
// differs from request to request.
void request_queue::reshape(slot& free_slot, request_type type, std::uint32_t segments) noexcept {
    slot_memory& memory = free_slot.memory;
    const bool in_table = stride_ == 1 || segments > 1;
    virtio::descriptor* const first = in_table ? tables_ + std::size_t{table_entries_} * (free_slot.head / stride_)
                                               : &ring_.descriptor_at(free_slot.head);
    const std::uint32_t base = in_table ? 0 : free_slot.head;
    const bool device_writes = type == request_type::in || type == request_type::get_id;

    memory.header.type = static_cast<std::uint32_t>(type);
    first[0] = {.address = arch::device_address(&memory.header),
                .length = sizeof(virtio_blk::request_header),
                .flags = virtio::descriptor_flag::next,
                .next = static_cast<std::uint16_t>(base + (segments == 0 && !in_table ? 2 : 1))};
    for (std::uint32_t i = 1; i <= segments; ++i) {
        first[i].flags = device_writes ? virtio::descriptor_flag::next | virtio::descriptor_flag::write
                                       : virtio::descriptor_flag::next;
        first[i].next = static_cast<std::uint16_t>(base + i + 1);
    }
    first[in_table ? segments + 1 : 2] = {.address = arch::device_address(&memory.status),
                                          .length = 1,
                                          .flags = virtio::descriptor_flag::write,
                                          .next = 0};
    if (in_table) {
        ring_.descriptor_at(free_slot.head) = {
            .address = arch::device_address(first),
            .length = static_cast<std::uint32_t>(sizeof(virtio::descriptor) * (segments + 2)),
            .flags = virtio::descriptor_flag::indirect,
            .next = 0};
    }
    free_slot.data = first + 1;
    free_slot.shape = shape_of(type, segments);
}

request_queue::slot& request_queue::take_slot(const request& owner, std::uint32_t segments) noexcept {
    slot& taken = *free_;
    free_ = taken.next_free;
    if (taken.shape != shape_of(owner.type_, segments)) {
        reshape(taken, owner.type_, segments);
    }
    return taken;
}

void request_queue::submit_data(request& owner, std::uint64_t sector, std::span<const data_segment> segments) noexcept {
    slot& taken = take_slot(owner, static_cast<std::uint32_t>(segments.size()));
    virtio::descriptor* next = taken.data;
    std::uint32_t length = 0;
    for (const data_segment& segment : segments) {
        next->address = arch::device_address(segment.data);
        next->length = segment.length;
        length += segment.length;
        ++next;
    }
    offer(taken, owner, sector, a_piece | (owner.type_ == request_type::in ? length + 1 : 1));
}

void request_queue::submit_range(request& owner, const virtio_blk::range_segment& range) noexcept {
    slot& taken = take_slot(owner, 1);
    taken.memory.range = range;
    taken.data->address = arch::device_address(&taken.memory.range);
    taken.data->length = sizeof range;
    offer(taken, owner, 0, a_piece | 1);
}

void request_queue::submit_flush(request& owner) noexcept {
    offer(take_slot(owner, 0), owner, 0, a_piece | 1);
}

void request_queue::submit_get_id(request& owner) noexcept {
    slot& taken = take_slot(owner, 1);
    taken.memory.id.fill('\0'); // QEMU writes no padding
    taken.data->address = arch::device_address(&taken.memory.id);
    taken.data->length = virtio_blk::id_length;
    offer(taken, owner, 0, a_piece | (virtio_blk::id_length + 1));
}

std::uint16_t request_queue::build_unowned_read(std::uint32_t slot_number, std::uint64_t sector,
                                                std::span<std::byte> buffer) noexcept {
    slot& built = slots_[std::size_t{slot_number} * stride_];
    reshape(built, request_type::in, 1);
    built.memory.header.sector = sector;
    built.data->address = arch::device_address(buffer.data());
    built.data->length = static_cast<std::uint32_t>(buffer.size());
    return built.head;
}

// One piece of a request that may have several has ended. True if the request is complete with it: it was the last, and no
// part of the request waits for a slot. Then its result is in place.
bool request_queue::finish_piece(request& owner, const slot_memory& memory, status outcome) noexcept {
    if (owner.type_ == request_type::get_id) {
        std::memcpy(const_cast<std::byte*>(owner.data_), memory.id.data(), virtio_blk::id_length);
    }
    if (owner.pieces_.failure == status::ok) {
        owner.pieces_.failure = outcome;
    }
    if (--owner.pieces_.inside != 0 || owner.has_more()) {
        return false;
    }
    owner.result_ = owner.pieces_.failure;
    return true;
}

// What is not a whole request that was done: judges it, and keeps the verdict, unless the device lies.
request_queue::ended request_queue::look_closely(const slot& done, std::uint64_t length) noexcept {
    const std::uint8_t status_byte = done.memory.status.load(); // once more, and this is the one that counts
    status outcome = status_byte == virtio_blk::status_byte::ok ? status::ok : to_status(status_byte);
    if (length != writable(done) && trusts_length_) {
        if (length > writable(done)) {
            return ended::device_lies;
        }
        // The status byte comes last; a shorter length does not vouch for it (2.7.8.3).
        outcome = status::device_error;
        ++counters_.short_lengths;
    }
    if ((done.expected & a_piece) != 0) {
        return finish_piece(*done.owner, done.memory, outcome) ? ended::request : ended::piece;
    }
    done.owner->result_ = outcome;
    return ended::request;
}

request_queue::drained request_queue::drain(async::executor& hart) noexcept {
    if (pending_.load(std::memory_order_relaxed)) {
        pending_.store(false, std::memory_order_relaxed); // before the look: what comes after it marks the queue again
    }
    disarm();
    const std::size_t used = ring_.used_count();
    if (used == 0) {
        return drained::nothing;
    }
    if (used > in_flight()) [[unlikely]] {
        return drained::device_lies;
    }
    arch::fence_consume(); // the used index before elements, data and status: pairs with the device's writing it last
    virtio::split_virtqueue::used_chains chains = ring_.first_used(used);
    {
        // In locals, for the compiler cannot know that nothing written here changes them.
        const std::uint64_t size = size_;
        slot* const slots = slots_;
        slot* free_slots = free_;
        async::executor::many_ready ready{hart};
        for (; !chains.empty(); chains.pop_front()) {
            const virtio::split_virtqueue::used element = chains.front();
            if (element.id >= size) [[unlikely]] {
                break;
            }
            slot& done = slots[element.id];
            request* const owner = done.owner;
            if (owner == nullptr) [[unlikely]] {
                break;
            }
            // This way round, GCC 12 needs no instruction to widen the length.
            if (done.memory.status.load() == virtio_blk::status_byte::ok && element.length == done.expected)
                [[likely]] {
                owner->result_ = status::ok;
            } else {
                break;
            }
            trace::record(trace::event::used, track, static_cast<std::uint32_t>(element.id));
            done.owner = nullptr;
            done.next_free = free_slots;
            free_slots = &done;
            ready.make_ready(*owner);
        }
        free_ = free_slots;
    }
    const std::size_t left = chains.size();
    took(chains, used - left);
    if (left != 0) [[unlikely]] {
        return drain_closely(hart, left); // nothing follows the call, so nothing above has to save registers for it
    }
    return drained::something;
}

// The rest of what was used, of which the first is not simply a whole request that was done.
request_queue::drained request_queue::drain_closely(async::executor& hart, std::size_t used) noexcept {
    virtio::split_virtqueue::used_chains chains = ring_.first_used(used);
    drained outcome = drained::something;
    for (; !chains.empty(); chains.pop_front()) {
        const virtio::split_virtqueue::used element = chains.front();
        if (element.id >= size_) {
            outcome = drained::device_lies; // no descriptor
            break;
        }
        slot& done = slots_[element.id];
        if (done.owner == nullptr) {
            outcome = drained::device_lies; // never a head, or not in flight, or used twice
            break;
        }
        trace::record(trace::event::used, track, static_cast<std::uint32_t>(element.id));
        request& owner = *done.owner;
        const ended what = look_closely(done, element.length);
        if (what == ended::device_lies) {
            outcome = drained::device_lies;
            break;
        }
        done.owner = nullptr;
        done.next_free = free_;
        free_ = &done;
        if (what == ended::request) {
            hart.make_ready(owner);
        }
    }
    took(chains, used - chains.size());
    return outcome;
}

void request_queue::abandon(async::executor& hart, status outcome, std::uint32_t age) noexcept {
    for (std::uint32_t i = 0; i < slot_count_; ++i) {
        slot& inside = slots_[std::size_t{i} * stride_];
        request* const owner = inside.owner;
        if (owner == nullptr || inside.expected / one_look_old < age) {
            continue;
        }
        inside.owner = nullptr;
        if (owner->result_ == request::whole_in_flight) {
            owner->result_ = outcome;
            hart.make_ready(*owner);
        } else if (finish_piece(*owner, inside.memory, outcome)) {
            hart.make_ready(*owner);
        }
    }
}

std::uint32_t request_queue::grow_older() noexcept {
    std::uint64_t oldest = 0;
    for (std::uint32_t i = 0; i < slot_count_; ++i) {
        slot& inside = slots_[std::size_t{i} * stride_];
        if (inside.owner != nullptr) {
            inside.expected += one_look_old;
            oldest = std::max(oldest, inside.expected / one_look_old);
        }
    }
    return static_cast<std::uint32_t>(oldest);
}

bool request_queue::mark_if_untold() noexcept {
    if (!armed() || pending() || ring_.used_count() == 0) {
        return false;
    }
    pending_.store(true, std::memory_order_relaxed);
    return true;
}

} // namespace inflight::block
