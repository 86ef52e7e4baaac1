#include "tests/fuzz/device/device_queue.hpp"

#include "tests/fuzz/device/require.hpp"

#include <algorithm>

namespace inflight::fuzz {

namespace flag = model::descriptor_flag;

namespace {

bool is_available(const model::packed_descriptor& entry, bool wrap) {
    return ((entry.flags & flag::available) != 0) == wrap && ((entry.flags & flag::used) != 0) != wrap;
}

} // namespace

void device_queue::enable(bool is_packed) {
    packed = is_packed;
    if (size == 0 || size > largest_queue || (!packed && (size & (size - 1)) != 0))
        wrong("the driver enables a queue of a size that it was not offered, or that is none");
    bytes[0] = 16 * size;
    bytes[1] = packed ? 4 : 6 + 2 * size;
    bytes[2] = packed ? 4 : 6 + 8 * size;
    for (unsigned i = 0; i < 3; ++i) {
        part[i] = host.translate(address[i], bytes[i]);
        require(part[i] != nullptr && memory.in_arena(part[i], bytes[i]), "a queue lies outside of the memory for it");
    }
    live = true;
    broken = false;
    if (own.everything())
        lose_sight();
    seen = used = 0;
    seen_at = used_at = {};
    held = 0;
    made_up = false;
    forget_chains();
}

void device_queue::disable() {
    size = 0;
    live = broken = false;
    forget_chains();
}

void device_queue::forget_chains() {
    for (device_chain& each : chains) {
        each.owned = false;
        each.status = nullptr;
        each.data_count = 0;
    }
}

void device_queue::lose_sight() {
    broken = true;
    requests.set_unseen();
}

// False if what it finds is the device's own.
bool device_queue::take_descriptor(device_chain& taken, const model::descriptor& found) {
    const bool writable = (found.flags & flag::write) != 0;
    std::byte* const start = host.translate(found.address, found.length);
    require(start != nullptr, "a descriptor names what is not in memory");
    require(found.length != 0, "a descriptor is empty");
    constexpr std::uint32_t header = 16, half_a_header = 8; // where all lists of a packed ring are equally long
    if (taken.header_bytes < header) {
        require(!writable && memory.in_arena(start, found.length) &&
                    (found.length == header || (packed && found.length == half_a_header)) &&
                    (taken.header_bytes == 0 || (found.length == half_a_header && start == taken.header_end)),
                "a chain does not begin with a header");
        taken.header_bytes += found.length;
        taken.header_end = start + found.length;
        return !own.contain(start, found.length);
    }
    if (writable) {
        taken.writable += found.length;
        taken.status = start + found.length - 1;
    }
    if (memory.in_arena(start, found.length)) {
        constexpr std::uint32_t status = 1, append = 9, lifetime = 6, identifier = 20, range = 16, max_ranges = 16;
        require(writable ? found.length == status || found.length == append || found.length == lifetime ||
                               found.length == identifier
                         : found.length != 0 && found.length % range == 0 && found.length <= max_ranges * range,
                "a descriptor names memory of the driver that is no status, lifetime, identifier, place of an append "
                "or list of ranges");
        return true;
    }
    request_record* const owner = requests.owner_of(start, found.length, writable);
    require(owner != nullptr,
            "a descriptor names memory of nobody who has a request in flight, or in the wrong direction");
    owner->shown += found.length;
    if (writable && taken.data_count < taken.data.size())
        taken.data[taken.data_count++] = {start, found.length};
    return true;
}

bool device_queue::take(std::uint16_t head) {
    device_chain taken;
    taken.head = head;
    const std::byte* table = part[0];
    std::size_t entries = size;
    std::size_t at = head;
    if (own.contain(table + 16 * at, 16))
        return false;
    auto found = get<model::descriptor>(table + 16 * at);
    if ((found.flags & flag::indirect) != 0) {
        std::byte* const indirect = host.translate(found.address, found.length);
        require(indirect != nullptr && memory.in_arena(indirect, found.length) && found.length % 16 == 0,
                "an indirect table lies outside of the memory for it");
        table = indirect;
        entries = found.length / 16;
        at = 0;
    }
    for (std::size_t count = 0;; ++count) {
        if (own.contain(table + 16 * at, 16))
            return false;
        found = get<model::descriptor>(table + 16 * at);
        require(count < entries && (found.flags & flag::indirect) == 0, "a chain loops");
        if (!take_descriptor(taken, found))
            return false;
        if ((found.flags & flag::next) == 0)
            break;
        at = found.next;
        require(at < entries, "a chain goes on beyond its table");
    }
    keep(taken);
    return true;
}

void device_queue::keep(const device_chain& taken) {
    require(taken.status != nullptr && memory.in_arena(taken.status, 1), "a chain has no status byte");
    require(!chains[taken.head].owned || made_up, "a chain is published that the device has");
    device_chain& kept = chains[taken.head];
    kept.head = taken.head;
    kept.descriptors = taken.descriptors;
    kept.owned = true;
    kept.status = taken.status;
    kept.writable = taken.writable;
    kept.data_count = taken.data_count;
    std::copy_n(taken.data.begin(), taken.data_count, kept.data.begin());
}

// ---- packed rings

device_queue::place device_queue::after(place from, unsigned descriptors) const {
    const unsigned slot = from.slot + descriptors;
    return slot < size ? place{static_cast<std::uint16_t>(slot), from.wrap}
                       : place{static_cast<std::uint16_t>((slot - size) % size), !from.wrap};
}

std::uint64_t device_queue::used_word(place at, std::uint32_t length, std::uint16_t id, bool written) {
    const auto flags =
        static_cast<unsigned>((at.wrap ? flag::available | flag::used : 0) | (written ? flag::write : 0));
    return length | std::uint64_t{id} << 32 | std::uint64_t{flags} << 48;
}

// The table of a list of one descriptor.
bool device_queue::take_table(device_chain& taken, const model::packed_descriptor& found) {
    std::byte* const table = host.translate(found.address, found.length);
    require(table != nullptr && memory.in_arena(table, found.length) && found.length != 0 && found.length % 16 == 0,
            "an indirect table lies outside of the memory for it");
    for (std::size_t at = 0; at < found.length; at += 16) {
        if (own.contain(table + at, 16))
            return false;
        const auto entry = get<model::packed_descriptor>(table + at);
        require((entry.flags & ~flag::write) == 0, "an entry of an indirect table has other flags than WRITE");
        if (!take_descriptor(taken, {entry.address, entry.length, entry.flags, 0}))
            return false;
    }
    return true;
}

// The list at `seen_at`, whose first descriptor is available.
bool device_queue::take_list() {
    device_chain taken;
    place at = seen_at;
    model::packed_descriptor found{};
    do {
        require(taken.descriptors < size, "a list goes on beyond the ring");
        const std::byte* const entry = part[0] + 16 * at.slot;
        if (own.contain(entry, 16))
            return false;
        found = get<model::packed_descriptor>(entry);
        require(is_available(found, at.wrap), "a list goes on in a descriptor that is not available");
        ++taken.descriptors;
        at = after(at, 1);
        if ((found.flags & flag::indirect) != 0) {
            require(taken.descriptors == 1 && (found.flags & (flag::next | flag::write)) == 0,
                    "a descriptor of a table is not alone, or writable");
            if (!take_table(taken, found))
                return false;
        } else if (!take_descriptor(taken, {found.address, found.length, found.flags, 0})) {
            return false;
        }
    } while ((found.flags & flag::next) != 0);
    require(found.id < size, "a buffer id that the ring has no place for");
    taken.head = found.id;
    keep(taken);
    held += taken.descriptors;
    require(held <= size || made_up, "more descriptors are available than the ring has");
    seen_at = at;
    return true;
}

void device_queue::look_packed() {
    for (;;) {
        const std::byte* const entry = part[0] + 16 * seen_at.slot;
        if (own.contain(entry, 16)) {
            lose_sight();
            return;
        }
        if (!is_available(get<model::packed_descriptor>(entry), seen_at.wrap))
            return;
        if (!take_list()) {
            lose_sight();
            return;
        }
    }
}

// ---- any ring

void device_queue::look() {
    if (!live || broken)
        return;
    if (packed)
        look_packed();
    else
        look_split();
    if (made_up && !broken)
        give_back_named_chains();
}

void device_queue::look_split() {
    if (own.contain(part[1] + 2, 2))
        return;
    const auto published = get<std::uint16_t>(part[1] + 2);
    const auto advance = static_cast<std::uint16_t>(published - seen);
    require(advance <= size, "avail.idx runs ahead of the queue");
    for (; seen != published; ++seen) {
        std::byte* const entry = part[1] + 4 + 2 * (seen % size);
        if (own.contain(entry, 2)) {
            lose_sight();
            return;
        }
        const auto head = get<std::uint16_t>(entry);
        require(head < size, "an available entry names no descriptor");
        if (!take(head)) {
            lose_sight();
            return;
        }
    }
}

void device_queue::give_up_used() {
    look();
    made_up = true;
    give_back_named_chains();
}

void device_queue::give_back_named_chains() {
    for (std::size_t i = 0; i < size && packed; ++i) {
        const auto entry = get<model::packed_descriptor>(part[0] + 16 * i);
        if (((entry.flags & flag::available) != 0) == ((entry.flags & flag::used) != 0) && entry.id < size)
            chains[entry.id].owned = false;
    }
    for (std::size_t i = 0; i < size && !packed; ++i) {
        const auto id = get<std::uint32_t>(part[2] + 4 + 8 * i);
        if (id < size)
            chains[id].owned = false;
    }
}

bool device_queue::complete(std::uint16_t head) {
    device_chain& done = chains[head];
    if (!live || broken || !done.owned)
        return false;
    *done.status = std::byte{0};
    done.owned = false;
    if (packed) {
        put(part[0] + 16 * used_at.slot + 8, used_word(used_at, done.writable, head, done.writable != 0));
        used_at = after(used_at, done.descriptors);
        held -= done.descriptors;
        if (made_up) // it may have written over what has not been published
            lose_sight();
        return true;
    }
    put(part[2] + 4 + 8 * (used % size), std::uint32_t{head});
    put(part[2] + 8 + 8 * (used % size), done.writable);
    put(part[2] + 2, ++used);
    return true;
}

} // namespace inflight::fuzz
