#include "inflight/drivers/block/queue.hpp"

#include "inflight/arch/arch.hpp"

#include <algorithm>
#include <new>

namespace inflight::block {

using virtio_blk::request_type;

namespace {

// A ring of this many descriptors holds enough requests at three descriptors each. A smaller one, if the device knows
// indirect descriptors, takes one each, so that it holds as many requests as it has descriptors; the price is that the
// device reads a table for every request, which is 2 to 3 % of the IOPS of QEMU (docs/performance-notebook.md).
constexpr std::uint16_t roomy_size = 512;

// What a status byte means that is not ok.
status to_status(std::uint8_t byte) noexcept {
    switch (byte) {
    case virtio_blk::status_byte::io_error: return status::io_error;
    case virtio_blk::status_byte::unsupported: return status::unsupported;
    default: return status::device_error; // poison: never written; or a value that the specification does not know
    }
}

} // namespace

bool queue::allocate(dma_memory& memory, std::uint16_t size, bool legacy, bool indirect,
                     std::uint32_t segments) noexcept {
    size_ = size;
    stride_ = indirect && size < roomy_size ? 1 : 3;
    table_entries_ = indirect ? segments + 2 : 0;
    const std::uint32_t slots = size / stride_;

    const virtio::ring_layout layout = virtio::ring_layout::of(size, legacy);
    ring_memory_ = memory.allocate(layout.bytes, layout.alignment);
    std::byte* const memories = memory.allocate(sizeof(slot_memory) * slots, alignof(slot_memory));
    std::byte* tables = nullptr;
    if (indirect) {
        tables = memory.allocate(sizeof(virtio::descriptor) * table_entries_ * slots, 64);
    }
    if (ring_memory_ == nullptr || memories == nullptr || (indirect && tables == nullptr) ||
        !slots_.allocate(memory, size, stride_)) {
        return false;
    }
    tables_ = reinterpret_cast<virtio::descriptor*>(tables);
    slot_memories_ = reinterpret_cast<slot_memory*>(memories);
    for (std::uint32_t i = 0; i < slots; ++i) {
        slots_.slot(i).memory = ::new (slot_memories_ + i) slot_memory{};
    }
    if (!memory.is_direct()) {
        sharing_ = &memory;
        std::byte* const shared = memory.allocate_private(sizeof(shared_segment) * this->segments() * slots, 64);
        shared_ = reinterpret_cast<shared_segment*>(shared);
        return shared != nullptr;
    }
    return true;
}

void queue::reset(bool legacy, bool event_idx, bool strict_lengths) noexcept {
    completed_before_reset_ += ring_.taken();
    ring_.lay_out(ring_memory_, size_, legacy, event_idx);
    trusts_length_ = !legacy; // legacy devices report what they like (LEG-11, BLKL-04)
    strict_lengths_ = strict_lengths;
    slots_.clear_free();
}

void queue::build() noexcept {
    slots_.free_all([](slot& each) { each.shape = no_shape; });
}

// Lays out the chain and the header of a free slot for requests of this type with `segments` data descriptors, all but
// what differs from request to request.
void queue::reshape(slot& free_slot, request_type type, std::uint32_t segments) noexcept {
    using virtio::descriptor_flag::indirect;
    using virtio::descriptor_flag::next;
    using virtio::descriptor_flag::write;
    slot_memory& memory = *free_slot.memory;
    const bool in_table = stride_ == 1 || segments > 1;
    virtio::descriptor* const first = in_table ? tables_ + std::size_t{table_entries_} * (free_slot.id / stride_)
                                               : &ring_.descriptor_at(free_slot.id);
    const std::uint32_t base = in_table ? 0 : free_slot.id;
    const bool device_writes = type == request_type::in || type == request_type::get_id;

    memory.header.type.store(static_cast<std::uint32_t>(type));
    memory.header.reserved.store(0);
    first[0].store(arch::device_address(&memory.header), sizeof memory.header, next,
                   static_cast<std::uint16_t>(base + (segments == 0 && !in_table ? 2 : 1)));
    for (std::uint32_t i = 1; i <= segments; ++i) {
        first[i].flags.store(static_cast<std::uint16_t>(device_writes ? next | write : next));
        first[i].next.store(static_cast<std::uint16_t>(base + i + 1));
    }
    first[in_table ? segments + 1 : 2].store(arch::device_address(&memory.status), 1, write, 0);
    if (in_table) {
        ring_.descriptor_at(free_slot.id)
            .store(arch::device_address(first), static_cast<std::uint32_t>(sizeof(virtio::descriptor) * (segments + 2)),
                   indirect, 0);
    }
    free_slot.data = first + 1;
    free_slot.shape = shape_of(type, segments);
}

// Shares the data of a piece with the device, and stores the addresses in the chain. False if there is no room for all
// of it.
bool queue::share(slot& taken, const operation& owner, const data_piece& piece) noexcept {
    const dma_direction direction = owner.device_writes() ? dma_direction::from_device : dma_direction::to_device;
    shared_segment* next = shared_segments(taken);
    for (const data_segment& segment : piece.list()) {
        std::uint64_t address = 0;
        if (!sharing_->share(segment.data, segment.length, direction, address)) {
            unshare(taken);
            return false;
        }
        *next++ = {.data = const_cast<std::byte*>(segment.data),
                   .length = segment.length,
                   .direction = direction,
                   .address = address};
        taken.data[taken.shared++].address.store(address);
    }
    return true;
}

void queue::unshare(slot& used) noexcept {
    for (; used.shared != 0; --used.shared) {
        const shared_segment& each = shared_segments(used)[used.shared - 1];
        sharing_->unshare(each.data, each.length, each.direction, each.address);
    }
}

bool queue::submit_data(operation& owner, const data_piece& piece) noexcept {
    slot& taken = slots_.front();
    if (taken.shape != shape_of(owner.type, piece.count)) {
        reshape(taken, owner.type, piece.count);
    }
    if (sharing_ != nullptr && !share(taken, owner, piece)) {
        return false;
    }
    slots_.take();
    std::uint32_t length = 0;
    for (std::uint32_t i = 0; i < piece.count; ++i) {
        if (sharing_ == nullptr) {
            taken.data[i].address.store(arch::device_address(piece.segments[i].data));
        }
        taken.data[i].length.store(piece.segments[i].length);
        length += piece.segments[i].length;
    }
    make_available(taken, owner, piece.sector, slot::irregular | (owner.device_writes() ? length + 1 : 1));
    return true;
}

void queue::submit_range(operation& owner, const virtio_blk::range_segment& range) noexcept {
    slot& taken = take_slot(owner, 1);
    slot_memory& memory = *taken.memory;
    memory.range.sector.store(range.sector);
    memory.range.num_sectors.store(range.num_sectors);
    memory.range.flags.store(range.flags);
    taken.data->address.store(arch::device_address(&memory.range));
    taken.data->length.store(sizeof memory.range);
    make_available(taken, owner, 0, slot::irregular | 1);
}

void queue::submit_flush(operation& owner) noexcept {
    make_available(take_slot(owner, 0), owner, 0, slot::irregular | 1);
}

void queue::submit_get_id(operation& owner) noexcept {
    slot& taken = take_slot(owner, 1);
    for (virtio::device_written<char>& each : taken.memory->id) {
        each.preset('\0'); // QEMU writes no padding
    }
    taken.data->address.store(arch::device_address(&taken.memory->id));
    taken.data->length.store(virtio_blk::id_length);
    make_available(taken, owner, 0, slot::irregular | (virtio_blk::id_length + 1));
}

std::uint16_t queue::build_unowned_read(std::uint32_t slot_number, std::uint64_t sector,
                                        std::span<std::byte> buffer) noexcept {
    slot& built = slots_.slot(slot_number);
    reshape(built, request_type::in, 1);
    built.memory->header.sector.store(sector);
    built.data->address.store(arch::device_address(buffer.data()));
    built.data->length.store(static_cast<std::uint32_t>(buffer.size()));
    return built.id;
}

queue::drained queue::drain(async::executor& hart) noexcept {
    const std::size_t used = ring_.begin_drain();
    if (used == 0) {
        return drained::nothing;
    }
    if (used == virtio::virtqueue::protocol_violation) [[unlikely]] {
        return drained::protocol_violation;
    }
    return drain_rest(hart, used);
}

// A look at the most plain case first. The rest begins with a piece, or with what is late, of a length that was not
// expected, an error, or not authentic; or the ring begins again.
queue::drained queue::drain_rest(async::executor& hart, std::size_t used) noexcept {
    while (used != 0) {
        std::size_t taken = 0;
        {
            async::executor::many_ready ready{hart};
            taken = slots_.for_each_expected(
                ring_,
                used, [&](slot & done) __attribute__((always_inline)) { return complete_expected(done, ready); });
        }
        used -= taken;
        if (taken == 0) {
            const bool honest =
                slots_.for_each_checked(ring_, used, [this, &hart](slot& done, std::uint32_t length) noexcept {
                    return complete_checked(done, length, hart);
                });
            return honest ? drained::something : drained::protocol_violation;
        }
    }
    return drained::something;
}

// Returns false if the length is not credible.
bool queue::complete_checked(slot& done, std::uint32_t length, async::executor& hart) noexcept {
    trace::record(trace::event::used, track, done.id);
    operation& owner = *done.owner;
    const std::uint8_t status_byte = done.memory->status.load(); // loaded again, and this is the one that counts
    status outcome = status_byte == virtio_blk::status_byte::ok ? status::ok : to_status(status_byte);
    if (length != done.expected_length() && trusts_length_) {
        if (length > done.expected_length()) {
            return false;
        }
        // Some devices report wrong lengths. The status byte is written last (2.7.8.3) and was poisoned, so it tells by
        // itself whether the device has written it.
        if (short_lengths_++ == 0 && short_length_call_ != nullptr) {
            short_length_call_(short_length_context_);
        }
        if (strict_lengths_) {
            outcome = status::device_error;
        }
    }
    unshare(done);
    if ((done.expected & slot::irregular) == 0) {
        owner.end(outcome);
        hart.make_ready(owner);
        return true;
    }
    if (owner.type == request_type::get_id && outcome == status::ok) {
        auto* const into = const_cast<std::byte*>(owner.data);
        for (std::size_t i = 0; i < virtio_blk::id_length; ++i) {
            into[i] = static_cast<std::byte>(done.memory->id[i].load());
        }
    }
    if (owner.end_piece(outcome)) {
        hart.make_ready(owner);
    }
    return true;
}

bool queue::grow_older(std::uint32_t old) noexcept {
    bool starves = false;
    slots_.grow_older(old, completed(), [&starves](slot& each) {
        each.owner->flags |= operation::is_late;
        starves = true;
    });
    return starves;
}

} // namespace inflight::block
