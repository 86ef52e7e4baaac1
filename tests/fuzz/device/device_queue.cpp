#include "tests/fuzz/device/device_queue.hpp"

#include "tests/fuzz/device/require.hpp"

#include <algorithm>

namespace inflight::fuzz {

namespace flag = model::descriptor_flag;

void device_queue::enable() {
    if (size == 0 || size > largest_queue || (size & (size - 1)) != 0)
        wrong("the driver enables a queue of a size that it was not offered, or that is none");
    bytes[0] = 16 * size;
    bytes[1] = 6 + 2 * size;
    bytes[2] = 6 + 8 * size;
    for (unsigned i = 0; i < 3; ++i) {
        part[i] = host.translate(address[i], bytes[i]);
        require(part[i] != nullptr && memory.in_arena(part[i], bytes[i]), "a queue lies outside of the memory for it");
    }
    live = true;
    broken = false;
    if (own.everything())
        lose_sight();
    seen = used = 0;
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
bool device_queue::take_descriptor(device_chain& taken, const model::descriptor& found, bool is_first) {
    const bool writable = (found.flags & flag::write) != 0;
    std::byte* const start = host.translate(found.address, found.length);
    require(start != nullptr, "a descriptor names what is not in memory");
    require(found.length != 0, "a descriptor is empty");
    if (is_first) {
        require(!writable && found.length == 16 && memory.in_arena(start, 16), "a chain does not begin with a header");
        return !own.contain(start, 16);
    }
    if (writable) {
        taken.writable += found.length;
        taken.status = start + found.length - 1;
    }
    if (memory.in_arena(start, found.length)) {
        constexpr std::uint32_t status = 1, lifetime = 6, identifier = 20, range = 16, max_ranges = 16;
        require(writable ? found.length == status || found.length == lifetime || found.length == identifier
                         : found.length != 0 && found.length % range == 0 && found.length <= max_ranges * range,
                "a descriptor names memory of the driver that is no status, lifetime, identifier or list of ranges");
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
        if (!take_descriptor(taken, found, count == 0))
            return false;
        if ((found.flags & flag::next) == 0)
            break;
        at = found.next;
        require(at < entries, "a chain goes on beyond its table");
    }
    require(taken.status != nullptr && memory.in_arena(taken.status, 1), "a chain has no status byte");
    require(!chains[head].owned || made_up, "a chain is published that the device has");
    device_chain& kept = chains[head];
    kept.head = taken.head;
    kept.owned = true;
    kept.status = taken.status;
    kept.writable = taken.writable;
    kept.data_count = taken.data_count;
    std::copy_n(taken.data.begin(), taken.data_count, kept.data.begin());
    return true;
}

void device_queue::look() {
    if (!live || broken || own.contain(part[1] + 2, 2))
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
    if (made_up)
        give_back_named_chains();
}

void device_queue::give_up_used() {
    look();
    made_up = true;
    give_back_named_chains();
}

void device_queue::give_back_named_chains() {
    for (std::size_t i = 0; i < size; ++i) {
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
    put(part[2] + 4 + 8 * (used % size), std::uint32_t{head});
    put(part[2] + 8 + 8 * (used % size), done.writable);
    put(part[2] + 2, ++used);
    return true;
}

} // namespace inflight::fuzz
