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

// What a status byte of a zoned device means that an ordinary one does not have.
status to_zone_status(std::uint8_t byte) noexcept {
    switch (byte) {
    case virtio_blk::status_byte::zone_invalid_command: return status::zone_invalid_command;
    case virtio_blk::status_byte::zone_unaligned_write_pointer: return status::zone_unaligned_write_pointer;
    case virtio_blk::status_byte::zone_open_resource: return status::zone_open_resource;
    case virtio_blk::status_byte::zone_active_resource: return status::zone_active_resource;
    default: return status::device_error; // poison: never written; or a value that the specification does not know
    }
}

// What a status byte means that is not ok.
status to_status(std::uint8_t byte, bool has_zones) noexcept {
    switch (byte) {
    case virtio_blk::status_byte::io_error: return status::io_error;
    case virtio_blk::status_byte::unsupported: return status::unsupported;
    default: return has_zones ? to_zone_status(byte) : status::device_error;
    }
}

// Where the data goes.
bool is_written_by_device(request_type type) noexcept {
    return type == request_type::in || type == request_type::get_id || type == request_type::get_lifetime ||
           type == request_type::zone_report;
}

// The used length of a device that has written all that it was to write.
std::uint32_t expected_length(request_type type, std::uint32_t data) noexcept {
    if (type == request_type::zone_append) {
        return virtio_blk::append_sector_length + 1;
    }
    return is_written_by_device(type) ? data + 1 : 1;
}

} // namespace

// A packed ring has no descriptors that stay where they are, so a table is the shorter way there for any size. With
// IN_ORDER the descriptors of a ring are used one after another, whose number three does not divide.
std::uint16_t queue::chain_length(std::uint32_t size, bool packed, bool in_order, bool indirect) noexcept {
    return indirect && (packed || in_order || size < roomy_size) ? 1 : 3;
}

bool queue::allocate(dma_memory& memory, std::uint16_t size, const virtio::queue_format& format, bool indirect,
                     std::uint32_t segments, std::uint32_t ranges) noexcept {
    size_ = size;
    stride_ = chain_length(size, format.packed, format.in_order, indirect);
    table_entries_ = indirect ? segments + 2 : 0;
    const std::uint32_t slots = size / stride_;

    const virtio::queue_memory needed = virtio::queue_memory::of(size, format.legacy);
    ring_memory_ = memory.allocate(needed.bytes, needed.alignment);
    // Each slot's memory, with its table behind it.
    const std::size_t bytes = sizeof(slot_memory) + sizeof(virtio::descriptor) * table_entries_;
    const std::size_t bytes_of_slot = (bytes + alignof(slot_memory) - 1) & ~(alignof(slot_memory) - 1);
    std::byte* const memories = memory.allocate(bytes_of_slot * slots, alignof(slot_memory));
    if (ring_memory_ == nullptr || memories == nullptr || !allocate_slots(memory, format.packed)) {
        return false;
    }
    if (format.packed && !indirect) {
        std::byte* const chains = memory.allocate_private(sizeof(virtio::buffer) * stride_ * slots, 64);
        if (chains == nullptr) {
            return false;
        }
        chains_ = ::new (chains) virtio::buffer[std::size_t{stride_} * slots];
    }
    if (ranges > 1) {
        std::byte* const place = memory.allocate(sizeof(range_memory) * ranges * slots, alignof(range_memory));
        if (place == nullptr) {
            return false;
        }
        ranges_ = ::new (place) range_memory[std::size_t{ranges} * slots];
        ranges_per_slot_ = ranges;
    }
    for (std::uint32_t i = 0; i < slots; ++i) {
        slot& each = format.packed ? packed_slots_.slot(i) : slots_.slot(i);
        each.memory = ::new (memories + bytes_of_slot * i) slot_memory{};
    }
    if (!memory.is_direct()) {
        sharing_ = &memory;
        std::byte* const shared = memory.allocate_private(sizeof(shared_segment) * this->segments() * slots, 64);
        shared_ = reinterpret_cast<shared_segment*>(shared);
        return shared != nullptr;
    }
    return true;
}

// A plain request is the usual one. Its device writes the status at the least.
bool queue::allocate_slots(dma_memory& memory, bool packed) noexcept {
    if (!packed) {
        return slots_.allocate(memory, size_, stride_);
    }
    constexpr std::uint64_t table_of_three =
        virtio::packed_word::of(3 * sizeof(virtio::descriptor), 0, virtio::descriptor_flag::indirect);
    return packed_slots_.allocate(memory, size_ / stride_, table_of_three, 1);
}

void queue::reset(const virtio::queue_format& format, bool strict_lengths) noexcept {
    completed_before_reset_ += ring_.taken();
    ring_.lay_out(ring_memory_, size_, format);
    trusts_length_ = !format.legacy; // legacy devices report what they like (LEG-11, BLKL-04)
    strict_lengths_ = strict_lengths;
    if (format.packed) {
        packed_slots_.clear_free(ring_.packed());
    } else {
        slots_.clear_free();
    }
    is_built_ = false;
    reset_requested_ = false;
    lost_in_a_row_ = 0;
    taken_then_ = 0;
    published_then_ = 0;
}

void queue::build() noexcept {
    const auto forget_shape = [](slot& each) {
        each.shape = no_shape;
    };
    if (ring_.is_packed()) {
        packed_slots_.free_all(ring_.packed(), forget_shape);
    } else {
        slots_.free_all(forget_shape);
    }
    is_built_ = true;
}

bool queue::interrupt_was_lost() noexcept {
    const std::uint64_t have_come = ring_.interrupts();
    lost_in_a_row_ = have_come == interrupts_then_ ? lost_in_a_row_ + 1 : 1;
    interrupts_then_ = have_come;
    return lost_in_a_row_ >= lost_until_reset;
}

bool queue::seems_unnoticed() noexcept {
    const bool has_waited = ring_.taken() == taken_then_ && published_then_ != taken_then_;
    taken_then_ = ring_.taken();
    published_then_ = ring_.published();
    return has_waited && ring_.still_wants_notification();
}

// Lays out the chain and the header of a free slot for requests of this type with `segments` data descriptors, all but
// what differs from request to request.
void queue::reshape(slot& free_slot, request_type type, std::uint32_t segments) noexcept {
    free_slot.memory->header.type.store(static_cast<std::uint32_t>(type));
    free_slot.memory->header.reserved.store(0);
    free_slot.shape = shape_here(type, segments);
    const bool device_writes = is_written_by_device(type);
    const virtio::buffer end = end_of(*free_slot.memory, type);
    if (!ring_.is_packed()) {
        build_split(free_slot, segments, device_writes, end);
    } else if (chains_ != nullptr) {
        build_packed_chain(free_slot, segments, device_writes, end);
    } else {
        build_packed_table(free_slot, segments, device_writes, end);
    }
}

virtio::buffer queue::end_of(slot_memory& memory, request_type type) noexcept {
    const std::uint32_t before = type == request_type::zone_append ? virtio_blk::append_sector_length : 0;
    return {.address = arch::device_address(&memory.status) - before,
            .length = before + 1,
            .flags = virtio::descriptor_flag::write};
}

// The chain in the ring; or in a table, and in the ring the descriptor that points to it.
void queue::build_split(slot& free_slot, std::uint32_t segments, bool device_writes,
                        const virtio::buffer& end) noexcept {
    using virtio::descriptor_flag::indirect;
    using virtio::descriptor_flag::next;
    using virtio::descriptor_flag::write;
    slot_memory& memory = *free_slot.memory;
    const bool in_table = stride_ == 1 || segments > 1;
    virtio::descriptor& in_ring = ring_.split().descriptor_at(free_slot.id);
    virtio::descriptor* const first = in_table ? table_of(free_slot) : &in_ring;
    const std::uint32_t base = in_table ? 0 : free_slot.id;

    first[0].store(arch::device_address(&memory.header), sizeof memory.header, next,
                   static_cast<std::uint16_t>(base + (segments == 0 && !in_table ? 2 : 1)));
    for (std::uint32_t i = 1; i <= segments; ++i) {
        first[i].flags.store(static_cast<std::uint16_t>(device_writes ? next | write : next));
        first[i].next.store(static_cast<std::uint16_t>(base + i + 1));
    }
    first[in_table ? segments + 1 : 2].store(end.address, end.length, end.flags, 0);
    if (in_table) {
        in_ring.store(arch::device_address(first), static_cast<std::uint32_t>(sizeof *first * (segments + 2)), indirect,
                      0);
    }
    free_slot.chain = first;
}

void queue::build_packed_table(slot& free_slot, std::uint32_t segments, bool device_writes,
                               const virtio::buffer& end) noexcept {
    using virtio::descriptor_flag::write;
    slot_memory& memory = *free_slot.memory;
    virtio::descriptor* const first = table_of(free_slot);
    first[0].store_in_packed_table(arch::device_address(&memory.header), sizeof memory.header, 0);
    for (std::uint32_t i = 1; i <= segments; ++i) {
        first[i].store_in_packed_table(0, 0, device_writes ? write : std::uint16_t{0});
    }
    first[segments + 1].store_in_packed_table(end.address, end.length, end.flags);
    free_slot.chain = first;
}

// All chains have three descriptors, so the header of a request without data has two of them, which any device with
// packed rings permits (2.8.4).
void queue::build_packed_chain(slot& free_slot, std::uint32_t segments, bool device_writes,
                               const virtio::buffer& end) noexcept {
    using virtio::descriptor_flag::write;
    slot_memory& memory = *free_slot.memory;
    virtio::buffer* const chain = chain_of(free_slot);
    const std::uint64_t header = arch::device_address(&memory.header);
    if (segments == 0) {
        constexpr std::uint32_t half = sizeof memory.header / 2;
        chain[0] = {.address = header, .length = half, .flags = 0};
        chain[1] = {.address = header + half, .length = half, .flags = 0};
    } else {
        chain[0] = {.address = header, .length = sizeof memory.header, .flags = 0};
        chain[1] = {.address = 0, .length = 0, .flags = device_writes ? write : std::uint16_t{0}};
    }
    chain[2] = end;
}

// Where the data of a slot lies, or one segment of it.
void queue::set_data(slot& taken, std::uint32_t segment, std::uint64_t address, std::uint32_t length) noexcept {
    if (chains_ != nullptr) {
        virtio::buffer& data = chain_of(taken)[1 + segment];
        data.address = address;
        data.length = length;
    } else {
        taken.chain[1 + segment].address.store(address);
        taken.chain[1 + segment].length.store(length);
    }
}

// A packed ring, or a slot that is laid out for another kind of request.
void queue::submit_whole_slow_path(operation& owner) noexcept {
    slot& taken = take_slot(owner, 1);
    const auto length = static_cast<std::uint32_t>(owner.length);
    set_data(taken, 0, arch::device_address(owner.data), length);
    make_available(taken, owner, owner.sector, owner.device_writes() ? std::uint64_t{length} + 1 : 1);
}

void queue::make_available(slot& taken, operation& owner, std::uint64_t sector, std::uint64_t expected) noexcept {
    if (ring_.is_packed()) {
        make_available_packed(taken);
        expected += taken.word() - taken.least_written; // the id
    } else {
        ring_.split().make_available(taken.id);
    }
    begin(taken, *taken.memory, owner, sector, expected);
}

void queue::make_available_packed(const slot& taken) noexcept {
    virtio::packed_virtqueue& ring = ring_.packed();
    if (chains_ != nullptr) {
        ring.store_chain(taken.place, taken.id, chain_of(taken));
        return;
    }
    const virtio::buffer table = table_buffer(taken);
    ring.store_chain(taken.place, taken.id, &table);
}

void queue::resubmit_unowned_packed(const slot& built) noexcept {
    const virtio::buffer table = table_buffer(built);
    ring_.packed().make_available(built.id, chains_ != nullptr ? chain_of(built) : &table);
}

virtio::buffer queue::table_buffer(const slot& of) noexcept {
    const std::uint32_t segments = (of.shape + 1u) & 0xffu; // see shape_of()
    return {.address = arch::device_address(of.chain),
            .length = static_cast<std::uint32_t>(sizeof(virtio::descriptor) * (segments + 2)),
            .flags = virtio::descriptor_flag::indirect};
}

// Shares the data of a piece with the device, and stores the addresses in the chain. False if there is no room for all
// of it.
bool queue::share(slot& taken, const operation& owner, const data_piece& piece) noexcept {
    const dma_direction direction =
        is_written_by_device(owner.type) ? dma_direction::from_device : dma_direction::to_device;
    shared_segment* next = shared_segments(taken);
    for (const data_segment& segment : piece.list()) {
        std::uint64_t address = 0;
        if (!sharing_->share(segment.data, segment.length, direction, address)) {
            unshare(taken);
            return false;
        }
        set_data(taken, taken.shared, address, segment.length);
        ++taken.shared;
        *next++ = {.data = const_cast<std::byte*>(segment.data),
                   .length = segment.length,
                   .direction = direction,
                   .address = address};
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
    slot& taken = ring_.is_packed() ? packed_slots_.next(ring_.packed()) : slots_.front();
    if (taken.shape != shape_here(owner.type, piece.count)) {
        reshape(taken, owner.type, piece.count);
    }
    if (sharing_ != nullptr && !share(taken, owner, piece)) {
        return false;
    }
    static_cast<void>(ring_.is_packed() ? packed_slots_.take_any(ring_.packed()) : slots_.take());
    std::uint32_t length = 0;
    for (std::uint32_t i = 0; i < piece.count; ++i) {
        if (sharing_ == nullptr) { // else share() has done it
            set_data(taken, i, arch::device_address(piece.segments[i].data), piece.segments[i].length);
        }
        length += piece.segments[i].length;
    }
    if (owner.type == request_type::zone_append) {
        for (virtio::device_written<char>& each : append_sector_of(*taken.memory)) {
            each.preset('\xff'); // no sector
        }
    }
    make_available(taken, owner, piece.sector, slot::irregular | expected_length(owner.type, length));
    return true;
}

void queue::submit_ranges(operation& owner, const range_piece& piece) noexcept {
    slot& taken = take_slot(owner, 1);
    range_memory* const first = piece.count == 1 ? &taken.memory->range : ranges_ + ranges_per_slot_ * number_of(taken);
    range_memory* next = first;
    for (const virtio_blk::range_segment& range : piece.list()) {
        next->sector.store(range.sector);
        next->num_sectors.store(range.num_sectors);
        next->flags.store(range.flags);
        ++next;
    }
    set_data(taken, 0, arch::device_address(first), static_cast<std::uint32_t>(sizeof *first * piece.count));
    make_available(taken, owner, 0, slot::irregular | 1);
}

void queue::submit_without_data(operation& owner) noexcept {
    make_available(take_slot(owner, 0), owner, owner.sector, slot::irregular | 1);
}

void queue::submit_get_id(operation& owner) noexcept {
    slot& taken = take_slot(owner, 1);
    for (virtio::device_written<char>& each : taken.memory->id) {
        each.preset('\0'); // QEMU writes no padding
    }
    set_data(taken, 0, arch::device_address(&taken.memory->id), virtio_blk::id_length);
    make_available(taken, owner, 0, slot::irregular | (virtio_blk::id_length + 1));
}

void queue::submit_get_lifetime(operation& owner) noexcept {
    slot& taken = take_slot(owner, 1);
    auto& lifetime = taken.memory->lifetime;
    lifetime.pre_eol_info.preset(0);
    lifetime.device_lifetime_est_typ_a.preset(0);
    lifetime.device_lifetime_est_typ_b.preset(0);
    set_data(taken, 0, arch::device_address(&lifetime), sizeof lifetime);
    make_available(taken, owner, 0, slot::irregular | (sizeof lifetime + 1));
}

void queue::submit_unowned_read(std::uint32_t slot_number, std::uint64_t sector, std::span<std::byte> buffer) noexcept {
    slot& built = ring_.is_packed() ? packed_slots_.slot(slot_number) : slots_.slot(slot_number);
    reshape(built, request_type::in, 1);
    built.memory->header.sector.store(sector);
    set_data(built, 0, arch::device_address(buffer.data()), static_cast<std::uint32_t>(buffer.size()));
    resubmit_unowned(built.id);
}

queue::drained queue::drain(async::executor& hart) noexcept {
    if (ring_.is_packed()) {
        ring_.disarm(); // as in virtqueue::begin_drain()
        return drain_rest_packed(hart);
    }
    const std::size_t used = ring_.begin_drain();
    if (used == 0) {
        return drained::nothing;
    }
    if (used == virtio::virtqueue::protocol_violation) [[unlikely]] {
        return drained::protocol_violation;
    }
    return ring_.is_in_order() ? drain_in_order(hart, used) : drain_rest(hart, used);
}

// As drain_rest(). Of a batch only the last request has a used length; each has its status byte, which was poisoned.
queue::drained queue::drain_in_order(async::executor& hart, std::size_t used) noexcept {
    virtio::split_virtqueue::batch batch{.chains = 0, .length = 0};
    while (used != 0) {
        {
            async::executor::many_ready ready{hart};
            used -= slots_.expect_in_order(
                ring_.split(), batch,
                used, [&](slot & done) __attribute__((always_inline)) { return complete_expected(done, ready); });
        }
        if (used == 0) {
            break;
        }
        const bool honest = slots_.check_in_order(
            ring_.split(), batch, used, [this, &hart](slot& done, std::uint32_t length, bool reserved) noexcept {
                return complete_checked(done, length, reserved, hart);
            });
        if (!honest) {
            return drained::protocol_violation;
        }
        --used;
    }
    return drained::something;
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
            const bool honest = slots_.for_each_checked(
                ring_, used, [this, &hart](slot& done, std::uint32_t length, bool reserved) noexcept {
                    return complete_checked(done, length, reserved, hart);
                });
            return honest ? drained::something : drained::protocol_violation;
        }
    }
    return drained::something;
}

bool queue::drain_expected_packed(async::executor& hart) noexcept {
    async::executor::many_ready ready{hart};
    return packed_slots_.take_expected(
        ring_.packed(), [&](slot & done) __attribute__((always_inline)) { return complete_expected(done, ready); });
}

queue::drained queue::drain_rest_packed(async::executor& hart) noexcept {
    using checked = virtio::packed_slot_table<slot>::checked;
    const auto complete = [this, &hart](slot& done, std::uint32_t length, bool reserved) noexcept {
        return complete_checked(done, length, reserved, hart);
    };
    virtio::packed_virtqueue& ring = ring_.packed();
    drained outcome = drained::nothing;
    for (;;) {
        if (!ring_.is_in_order() && drain_expected_packed(hart)) {
            outcome = drained::something;
        }
        switch (ring_.is_in_order() ? packed_slots_.take_batch(ring, complete)
                                    : packed_slots_.take_checked(ring, complete)) {
        case checked::nothing: return outcome;
        case checked::violation: return drained::protocol_violation;
        case checked::authentic: outcome = drained::something; break;
        }
    }
}

// What is not the data of a user is copied to where the operation wants it.
void queue::take_result(const slot& done) noexcept {
    operation& owner = *done.owner;
    auto* const into = const_cast<std::byte*>(owner.data);
    if (owner.type == request_type::zone_append) {
        owner.sector = 0;
        unsigned shift = 0;
        for (const virtio::device_written<char>& each : append_sector_of(*done.memory)) { // little-endian
            owner.sector |= std::uint64_t{static_cast<std::uint8_t>(each.load())} << shift;
            shift += 8;
        }
    } else if (owner.type == request_type::get_id) {
        for (std::size_t i = 0; i < virtio_blk::id_length; ++i) {
            into[i] = static_cast<std::byte>(done.memory->id[i].load());
        }
    } else if (owner.type == request_type::get_lifetime) {
        const auto& said = done.memory->lifetime;
        const auto defined = [](std::uint16_t value, std::uint16_t largest) {
            return value <= largest ? value : std::uint16_t{0}; // what is reserved says nothing
        };
        namespace limits = virtio_blk::lifetime_limits;
        *reinterpret_cast<virtio_blk::lifetime*>(into) = {
            .pre_eol_info = defined(said.pre_eol_info.load(), limits::pre_eol_info),
            .device_lifetime_est_typ_a = defined(said.device_lifetime_est_typ_a.load(), limits::estimate),
            .device_lifetime_est_typ_b = defined(said.device_lifetime_est_typ_b.load(), limits::estimate)};
    }
}

// Returns false if the length is not credible.
bool queue::complete_checked(slot& done, std::uint32_t length, bool reserved, async::executor& hart) noexcept {
    trace::record(trace::event::used, track, done.id);
    operation& owner = *done.owner;
    const std::uint8_t status_byte = done.memory->status.load(); // loaded again, and this is the one that counts
    status outcome = status_byte == virtio_blk::status_byte::ok ? status::ok : to_status(status_byte, has_zones);
    if (length != done.expected_length() && trusts_length_ && !reserved) {
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
    if (outcome == status::ok) {
        take_result(done);
    }
    if (owner.end_piece(outcome)) {
        hart.make_ready(owner);
    }
    return true;
}

bool queue::grow_older(std::uint32_t old) noexcept {
    bool starves = false;
    const auto starved = [&starves](slot& each) {
        each.owner->flags |= operation::is_late;
        starves = true;
    };
    if (ring_.is_packed()) {
        packed_slots_.grow_older(old, completed(), starved);
    } else {
        slots_.grow_older(old, completed(), starved);
    }
    return starves;
}

} // namespace inflight::block
