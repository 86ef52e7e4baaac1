#include "drivers/block/request_queue.hpp"

#include "arch/arch.hpp"

#include <cstring>
#include <new>

namespace inflight::block {

namespace {

// A ring of this many descriptors holds enough requests at three descriptors each. A smaller one, if the device knows
// indirect descriptors, takes one each, so that it holds as many requests as it has descriptors; the price is that the
// device reads a table for every request.
constexpr std::uint16_t roomy_size = 512;

inline status to_status(std::uint8_t byte) noexcept {
    if (byte == virtio_blk::status_byte::ok) [[likely]] {
        return status::ok;
    }
    switch (byte) {
    case virtio_blk::status_byte::io_error: return status::io_error;
    case virtio_blk::status_byte::unsupported: return status::unsupported;
    default: return status::device_error; // poison: never written; or a value that the specification does not know
    }
}

} // namespace

bool request_queue::allocate(device_memory& memory, std::uint16_t size, bool legacy, bool indirect,
                             std::uint32_t segments) noexcept {
    size_ = size;
    stride_ = indirect && size < roomy_size ? 1 : 3;
    slot_count_ = size / stride_;
    table_entries_ = indirect ? segments + 2 : 0;

    const virtio::ring_layout layout = virtio::ring_layout::of(size, legacy);
    ring_memory_ = memory.allocate(layout.bytes, layout.alignment);
    auto* const slots = memory.allocate(sizeof(slot) * size, alignof(slot));
    auto* const free_heads = memory.allocate(sizeof(std::uint16_t) * slot_count_, alignof(std::uint16_t));
    auto* const slot_memories = memory.allocate(sizeof(slot_memory) * slot_count_, alignof(slot_memory));
    std::byte* tables = nullptr;
    if (indirect) {
        tables = memory.allocate(sizeof(virtio::descriptor) * table_entries_ * slot_count_, 64);
    }
    if (ring_memory_ == nullptr || slots == nullptr || free_heads == nullptr || slot_memories == nullptr ||
        (indirect && tables == nullptr)) {
        return false;
    }

    slots_ = reinterpret_cast<slot*>(slots);
    free_ = reinterpret_cast<std::uint16_t*>(free_heads);
    tables_ = reinterpret_cast<virtio::descriptor*>(tables);
    for (std::uint32_t i = 0; i < size; ++i) {
        ::new (slots_ + i) slot{};
    }
    for (std::uint32_t i = 0; i < slot_count_; ++i) {
        slots_[std::size_t{i} * stride_].memory = ::new (slot_memories + sizeof(slot_memory) * i) slot_memory{};
    }
    return true;
}

void request_queue::reset(bool legacy, bool event_idx) noexcept {
    ring_.lay_out(ring_memory_, size_, legacy, event_idx);
    trusts_length_ = !legacy; // legacy devices report what they like (LEG-11, BLKL-04)
    free_count_ = 0;
    armed_ = true; // a zeroed ring asks for interrupts
    pending_.store(false, std::memory_order_relaxed);
}

void request_queue::build_chains() noexcept {
    for (std::uint32_t i = slot_count_; i-- > 0;) { // the lowest is taken first
        const auto head = static_cast<std::uint16_t>(i * stride_);
        slots_[head].owner = nullptr;
        chain(head, 1);
        free_[free_count_++] = head;
    }
}

// Builds the chain of a free slot with so many data descriptors between header and status, all but their contents.
void request_queue::chain(std::uint16_t head, std::uint32_t segments) noexcept {
    slot& of = slots_[head];
    const virtio::descriptor header{.address = arch::device_address(&of.memory->header),
                                    .length = sizeof(virtio_blk::request_header),
                                    .flags = virtio::descriptor_flag::next,
                                    .next = 0};
    const virtio::descriptor status{.address = arch::device_address(&of.memory->status),
                                    .length = 1,
                                    .flags = virtio::descriptor_flag::write,
                                    .next = 0};
    const bool in_table = stride_ == 1 || segments > 1;
    virtio::descriptor* const first =
        in_table ? tables_ + std::size_t{table_entries_} * (head / stride_) : &ring_.descriptor_at(head);
    const std::uint32_t base = in_table ? 0 : head;

    first[0] = header;
    first[0].next = static_cast<std::uint16_t>(base + (segments == 0 && !in_table ? 2 : 1));
    for (std::uint32_t i = 1; i <= segments; ++i) {
        first[i].next = static_cast<std::uint16_t>(base + i + 1);
    }
    first[in_table ? segments + 1 : 2] = status;
    if (in_table) {
        ring_.descriptor_at(head) = {.address = arch::device_address(first),
                                     .length = static_cast<std::uint32_t>(sizeof(virtio::descriptor) * (segments + 2)),
                                     .flags = virtio::descriptor_flag::indirect,
                                     .next = 0};
    }
    of.data = first + 1;
    of.segments = segments;
}

void request_queue::submit_data(request& owner, std::uint64_t sector, std::span<const data_segment> segments) noexcept {
    const bool reads = owner.type_ == virtio_blk::request_type::in;
    const std::uint16_t head = take_slot(static_cast<std::uint32_t>(segments.size()));
    virtio::descriptor* next = slots_[head].data;
    std::uint32_t length = 0;
    for (const data_segment& segment : segments) {
        next->address = arch::device_address(segment.data);
        next->length = segment.length;
        next->flags = reads ? device_writes : device_reads;
        length += segment.length;
        ++next;
    }
    offer(head, owner, sector, reads ? length + 1 : 1);
}

void request_queue::submit_range(request& owner, const virtio_blk::range_segment& range) noexcept {
    const std::uint16_t head = take_slot(1);
    slot& taken = slots_[head];
    taken.memory->range = range;
    taken.data->address = arch::device_address(&taken.memory->range);
    taken.data->length = sizeof range;
    taken.data->flags = device_reads;
    offer(head, owner, 0, 1);
}

void request_queue::submit_flush(request& owner) noexcept {
    offer(take_slot(0), owner, 0, 1);
}

void request_queue::submit_get_id(request& owner) noexcept {
    const std::uint16_t head = take_slot(1);
    slot& taken = slots_[head];
    taken.memory->id.fill('\0'); // QEMU writes no padding
    taken.data->address = arch::device_address(&taken.memory->id);
    taken.data->length = virtio_blk::id_length;
    taken.data->flags = device_writes;
    offer(head, owner, 0, virtio_blk::id_length + 1);
}

std::uint16_t request_queue::build_unowned_read(std::uint32_t slot_number, std::uint64_t sector,
                                                std::span<std::byte> buffer) noexcept {
    const auto head = static_cast<std::uint16_t>(slot_number * stride_);
    slot& built = slots_[head];
    chain(head, 1);
    built.memory->header.type = static_cast<std::uint32_t>(virtio_blk::request_type::in);
    built.memory->header.sector = sector;
    built.data->address = arch::device_address(buffer.data());
    built.data->length = static_cast<std::uint32_t>(buffer.size());
    built.data->flags = device_writes;
    return head;
}

// One piece of a request that may have several has ended. True if the request is complete with it: it was the last, and no
// part of the request waits for a slot.
bool request_queue::finish_piece(request& owner, const slot_memory& memory) noexcept {
    if (owner.type_ == virtio_blk::request_type::get_id) {
        std::memcpy(const_cast<std::byte*>(owner.data_), memory.id.data(), virtio_blk::id_length);
    }
    return --owner.pieces_ == 0 && !owner.has_more();
}

request_queue::drained request_queue::drain(async::executor& hart) noexcept {
    if (pending_.load(std::memory_order_relaxed)) {
        pending_.store(false, std::memory_order_relaxed); // before the look: what comes after it marks the queue again
    }
    disarm();
    const std::uint32_t used = ring_.used_count();
    if (used == 0) {
        return drained::nothing;
    }
    if (used > in_flight()) {
        return drained::device_lies;
    }
    arch::fence_consume(); // the used index before elements, data and status: pairs with the device's writing it last
    // In locals, for the compiler cannot know that nothing written here changes them.
    const virtio::split_virtqueue::used_chains chains = ring_.used_chains_now();
    const std::uint32_t size = size_;
    slot* const slots = slots_;
    std::uint16_t* const free = free_;
    std::size_t free_count = free_count_;
    drained outcome = drained::something;
    for (std::uint32_t i = 0; i < used; ++i) {
        const virtio::split_virtqueue::used element = chains[i];
        if (element.id >= size || slots[element.id].owner == nullptr) [[unlikely]] {
            outcome = drained::device_lies; // no descriptor; or never a head, or not in flight, or used twice
            break;
        }
        slot& done = slots[element.id];
        request& owner = *done.owner;
        status result = to_status(done.memory->status.load());
        if (element.length != done.writable && trusts_length_) [[unlikely]] {
            if (element.length > done.writable) {
                outcome = drained::device_lies;
                break;
            }
            // The status byte comes last; a shorter length does not vouch for it (2.7.8.3).
            result = status::device_error;
            ++count.short_lengths;
        }
        done.owner = nullptr;
        free[free_count++] = static_cast<std::uint16_t>(element.id);
        if (result != status::ok && owner.result_ == status::ok) [[unlikely]] {
            owner.result_ = result;
        }
        if (owner.plain_ || finish_piece(owner, *done.memory)) [[likely]] {
            owner.state_ = request::state::completed;
            hart.make_ready(owner);
        }
    }
    ring_.advance_used(free_count - free_count_);
    count.requests += free_count - free_count_;
    free_count_ = free_count;
    return outcome;
}

void request_queue::abandon(async::executor& hart, status outcome) noexcept {
    for (std::uint32_t i = 0; i < slot_count_; ++i) {
        slot& inside = slots_[std::size_t{i} * stride_];
        if (inside.owner != nullptr) {
            request& owner = *inside.owner;
            inside.owner = nullptr;
            if (owner.result_ == status::ok) {
                owner.result_ = outcome;
            }
            if (owner.plain_ || finish_piece(owner, *inside.memory)) {
                owner.state_ = request::state::completed;
                hart.make_ready(owner);
            }
        }
    }
}

bool request_queue::arm() noexcept {
    if (!armed_) {
        armed_ = true;
        if (ring_.enable_interrupts()) {
            disarm();
            return true;
        }
    }
    return pending();
}

void request_queue::disarm() noexcept {
    if (armed_) {
        armed_ = false;
        ring_.disable_interrupts();
    }
}

void request_queue::interrupted() noexcept {
    if (ring_.used_count() != 0) {
        pending_.store(true, std::memory_order_relaxed);
        ++count.interrupts;
    }
}

} // namespace inflight::block
