// The driver's side of a packed ring by itself. The device's side is bytes in memory, written and read here by the
// specification (VIRTIO 1.2, 2.8) and by nothing of the driver's.
#include "drivers/virtio/packed_virtqueue.hpp"

#include <array>
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <vector>

namespace {

using namespace inflight;

// 2.8.13, 2.8.14: what lies in the ring and in the event suppression structures.
constexpr std::uint16_t flag_next = 1, flag_write = 2, flag_avail = 0x80, flag_used = 0x8000;
constexpr std::uint16_t event_enable = 0, event_disable = 1, event_at_descriptor = 2, event_reserved = 3;

struct raw_descriptor {
    std::uint64_t address = 0;
    std::uint32_t length = 0;
    std::uint16_t id = 0;
    std::uint16_t flags = 0;
};
static_assert(sizeof(raw_descriptor) == 16);

struct raw_event {
    std::uint16_t slot_and_wrap = 0;
    std::uint16_t flags = 0;
};

struct shape {
    std::uint16_t size;
    std::uint16_t chain_length;
};
constexpr shape shapes[] = {{1, 1}, {2, 1}, {3, 1}, {3, 3}, {4, 1}, {6, 3}, {7, 1}, {9, 3}, {100, 1}};

// A ring, and a device that sees no more of it than its memory. Positions count descriptors since the ring was laid out:
// slot and wrap counter follow from them (2.8.1).
struct ring_in_memory {
    explicit ring_in_memory(shape of, bool event_idx = true) : size{of.size}, chain_length{of.chain_length} {
        const auto layout = virtio::packed_layout::of(size);
        memory = host.allocate(layout.bytes, virtio::packed_layout::alignment);
        std::memset(memory, 0xa5, layout.bytes);
        lay_out(event_idx);
    }
    void lay_out(bool event_idx) {
        ring.lay_out(memory, size, chain_length, event_idx);
        position = used = 0;
    }

    std::size_t chains() const { return size / chain_length; }
    std::size_t slot_of(std::size_t at) const { return at % size; }
    bool wrap_of(std::size_t at) const { return at / size % 2 == 0; } // begins with 1

    template <typename T>
    T load(std::uint64_t address) {
        T value{};
        std::memcpy(&value, host.translate(address, sizeof value), sizeof value);
        return value;
    }
    template <typename T>
    void store(std::uint64_t address, const T& value) {
        std::memcpy(host.translate(address, sizeof value), &value, sizeof value);
    }
    std::uint64_t place_of(std::size_t at) const {
        return ring.addresses().descriptors + sizeof(raw_descriptor) * slot_of(at);
    }
    raw_descriptor descriptor_at(std::size_t at) { return load<raw_descriptor>(place_of(at)); }
    raw_event driver_event() { return load<raw_event>(ring.addresses().driver_area); }
    void ask_for(std::uint16_t slot, bool wrap, std::uint16_t flags = event_at_descriptor) {
        const raw_event its{static_cast<std::uint16_t>(slot | (wrap ? 0x8000U : 0U)), flags};
        store(ring.addresses().device_area, its);
    }

    // 2.8.1: AVAIL is the wrap counter, and USED is not.
    bool looks_available(std::size_t at) {
        const std::uint16_t flags = descriptor_at(at).flags;
        return ((flags & flag_avail) != 0) == wrap_of(at) && ((flags & flag_used) != 0) != wrap_of(at);
    }
    // AVAIL and USED both are the wrap counter.
    bool looks_used(std::size_t at) {
        const std::uint16_t flags = descriptor_at(at).flags;
        return ((flags & flag_avail) != 0) == wrap_of(at) && ((flags & flag_used) != 0) == wrap_of(at);
    }

    void give(std::uint16_t id) {
        std::vector<virtio::buffer> chain(chain_length);
        for (std::uint16_t i = 0; i < chain_length; ++i)
            chain[i] = {.address = address_of(id, i),
                        .length = length_of(id, i),
                        .flags = i + 1 == chain_length ? flag_write : std::uint16_t{0}};
        ring.make_available(id, chain.data());
        position += chain_length;
    }
    static std::uint64_t address_of(std::uint16_t id, std::uint16_t part) { return 0x1'0000'0000U + 256U * id + part; }
    static std::uint32_t length_of(std::uint16_t id, std::uint16_t part) { return 0x8000'0000U + 16U * id + part; }

    void mark_used(std::size_t at, std::uint16_t id, std::uint32_t length, std::uint16_t other_flags = flag_write) {
        raw_descriptor entry = descriptor_at(at);
        entry.id = id;
        entry.length = length;
        entry.flags = static_cast<std::uint16_t>(other_flags | (wrap_of(at) ? flag_avail | flag_used : 0));
        store(place_of(at), entry);
    }
    // The device uses the next chain.
    void use(std::uint16_t id, std::uint32_t length, std::uint16_t other_flags = flag_write) {
        mark_used(used, id, length, other_flags);
        used += chain_length;
    }
    std::size_t take(std::size_t count) {
        return ring.for_each_used(count, [](std::uint64_t, std::uint64_t, bool) { return true; });
    }
    // Gives so many chains, and takes them back.
    void pass(std::size_t count) {
        for (std::size_t i = 0; i < count; ++i)
            give(static_cast<std::uint16_t>(i));
        static_cast<void>(ring.publish());
        for (std::size_t i = 0; i < count; ++i)
            use(static_cast<std::uint16_t>(i), 1);
        for (std::size_t left = ring.used_count(); left != 0;) // more than once where the ring begins again
            left -= take(left);
    }

    arch::host::machine host;
    std::uint16_t size;
    std::uint16_t chain_length;
    std::byte* memory = nullptr;
    virtio::packed_virtqueue ring;
    std::size_t position = 0; // where the next chain goes
    std::size_t used = 0;     // where the next used descriptor goes
};

} // namespace

BOOST_AUTO_TEST_SUITE(packed_virtqueue)

BOOST_AUTO_TEST_CASE(an_empty_ring_is_all_zero) {
    for (const shape each : shapes) {
        ring_in_memory r{each};
        for (std::size_t at = 0; at < r.size; ++at) {
            const raw_descriptor entry = r.descriptor_at(at);
            BOOST_TEST((entry.address == 0 && entry.length == 0 && entry.id == 0 && entry.flags == 0));
        }
        BOOST_TEST(r.load<std::uint32_t>(r.ring.addresses().driver_area) == 0U);
        BOOST_TEST(r.load<std::uint32_t>(r.ring.addresses().device_area) == 0U);
        BOOST_TEST(r.ring.addresses().descriptors % 16 == 0U);
        BOOST_TEST(r.ring.addresses().driver_area % 4 == 0U);
        BOOST_TEST(r.ring.addresses().device_area % 4 == 0U);
        BOOST_TEST(r.ring.used_count() == 0U);
        BOOST_TEST(!r.ring.has_unpublished());
        BOOST_TEST(!r.ring.publish());
    }
}

// 2.8.1, 2.8.13: in the first lap 0x80 is available and 0x8080 used, in the second one 0x8000 and 0, and so on.
BOOST_AUTO_TEST_CASE(flags_of_three_laps) {
    constexpr std::uint16_t available[] = {0x0080, 0x8000, 0x0080}, used[] = {0x8080, 0x0000, 0x8080};
    for (const shape each : shapes) {
        ring_in_memory r{each};
        for (unsigned lap = 0; lap < 3; ++lap)
            for (std::size_t chain = 0; chain < r.chains(); ++chain)
                BOOST_TEST_CONTEXT("size " << each.size << ", lap " << lap << ", chain " << chain) {
                    const std::size_t first = r.position;
                    const auto id = static_cast<std::uint16_t>(7 * chain + lap);
                    r.give(id);
                    static_cast<void>(r.ring.publish());
                    for (std::uint16_t i = 0; i < r.chain_length; ++i) {
                        const raw_descriptor entry = r.descriptor_at(first + i);
                        const bool last = i + 1 == r.chain_length;
                        BOOST_TEST(entry.address == ring_in_memory::address_of(id, i));
                        BOOST_TEST(entry.length == ring_in_memory::length_of(id, i));
                        BOOST_TEST(entry.flags == (available[lap] | (last ? flag_write : flag_next)));
                        if (last)
                            BOOST_TEST(entry.id == id);
                    }
                    BOOST_TEST(r.ring.used_count() == 0U);
                    const std::uint32_t length = 0xffff'fff0U + lap;
                    raw_descriptor entry = r.descriptor_at(first);
                    entry.id = static_cast<std::uint16_t>(id + 1000); // whatever the device says
                    entry.length = length;
                    entry.flags = used[lap] | flag_write;
                    r.store(r.place_of(first), entry);
                    r.used += r.chain_length;
                    BOOST_TEST(r.ring.used_count() == 1U);
                    unsigned visits = 0;
                    BOOST_TEST(
                        r.ring.for_each_used(1, [&](std::uint64_t said, std::uint64_t its_length, bool reserved) {
                            ++visits;
                            BOOST_TEST(said == id + 1000U);
                            BOOST_TEST(its_length == static_cast<std::uint64_t>(static_cast<std::int32_t>(length)));
                            BOOST_TEST(!reserved);
                            return true;
                        }) == 1U);
                    BOOST_TEST(visits == 1U);
                    BOOST_TEST(r.ring.used_count() == 0U);
                    BOOST_TEST(r.ring.in_flight() == 0U);
                }
        BOOST_TEST(r.ring.taken() == 3 * r.chains());
    }
}

// 2.8.21: a device that looks whenever it likes finds nothing of a batch before it is published, and then all of it.
BOOST_AUTO_TEST_CASE(a_batch_becomes_available_at_once) {
    for (const shape each : shapes) {
        ring_in_memory r{each};
        for (std::size_t batch = 1; batch <= r.chains(); ++batch)
            for (std::size_t start = 0; start < 2 * r.chains(); ++start) {
                r.lay_out(true);
                for (std::size_t i = 0; i < start; ++i)
                    r.pass(1);
                const std::size_t first = r.position;
                std::size_t early = 0, as_used = 0, missing = 0;
                for (std::size_t i = 0; i < batch; ++i) {
                    r.give(static_cast<std::uint16_t>(i));
                    early += r.looks_available(first) ? 1 : 0;
                    as_used += r.looks_used(first) ? 1 : 0;
                }
                const bool waited = r.ring.has_unpublished() && r.ring.in_flight_published() == 0;
                static_cast<void>(r.ring.publish());
                for (std::size_t at = first; at < r.position; ++at)
                    missing += r.looks_available(at) ? 0 : 1;
                // One more would be a descriptor of the lap before, or none that was ever written.
                const bool more = batch < r.chains() && r.looks_available(r.position);
                BOOST_TEST_CONTEXT("size " << each.size << ", chains of " << each.chain_length << ", from " << first
                                           << " on, a batch of " << batch) {
                    BOOST_TEST(waited);
                    BOOST_TEST(early == 0U);
                    BOOST_TEST(as_used == 0U);
                    BOOST_TEST(missing == 0U);
                    BOOST_TEST(!more);
                    BOOST_TEST(r.ring.in_flight_published() == batch);
                    BOOST_TEST(!r.ring.has_unpublished());
                    BOOST_TEST(!r.ring.publish());
                }
            }
    }
}

// 2.8.10. The oracle is what the words say: one of the descriptors that became available is at that slot, in a lap of that
// wrap counter.
BOOST_AUTO_TEST_CASE(a_notification_is_due_if_the_event_is_among_what_was_published) {
    unsigned due = 0, not_due = 0;
    for (std::uint16_t size = 3; size <= 9; ++size)
        for (const std::uint16_t chain_length : {std::uint16_t{1}, std::uint16_t{3}}) {
            if (size % chain_length != 0)
                continue;
            ring_in_memory r{{size, chain_length}};
            for (std::size_t batch = 1; batch <= r.chains(); ++batch)
                for (std::uint16_t slot = 0; slot < size; ++slot)
                    for (const bool wrap : {true, false})
                        for (std::size_t start = 0; start < batch; ++start) {
                            r.lay_out(true);
                            if (start != 0)
                                r.pass(start);
                            r.ask_for(slot, wrap);
                            while (r.position < std::size_t{4} * size) {
                                const std::size_t begin = r.position;
                                for (std::size_t i = 0; i < batch; ++i)
                                    r.give(static_cast<std::uint16_t>(i));
                                bool expected = false;
                                for (std::size_t at = begin; at < r.position; ++at)
                                    expected = expected || (r.slot_of(at) == slot && r.wrap_of(at) == wrap);
                                const bool would = r.ring.publish_would_notify();
                                const bool does = r.ring.publish();
                                if (would != expected || does != expected)
                                    BOOST_ERROR("size " << size << ", chains of " << chain_length << ", a batch of "
                                                        << batch << " from " << begin << " on, event at " << slot
                                                        << " with wrap counter " << wrap << ": " << would << " and "
                                                        << does << ", expected " << expected);
                                ++(expected ? due : not_due);
                                for (std::size_t i = 0; i < batch; ++i)
                                    r.use(static_cast<std::uint16_t>(i), 1);
                                for (std::size_t left = r.ring.used_count(); left != 0;)
                                    left -= r.take(left);
                            }
                        }
        }
    BOOST_TEST(due > 1000U);
    BOOST_TEST(not_due > 1000U);
}

// 2.8.14: without EVENT_IDX there are only "always" and "never"; what else a device says is taken for "always".
BOOST_AUTO_TEST_CASE(flags_decide_about_notifications_where_there_is_no_event) {
    for (const bool event_idx : {true, false})
        for (const std::uint16_t flags : {event_enable, event_disable, event_at_descriptor, event_reserved})
            for (std::uint16_t slot = 0; slot < 4; ++slot)
                for (const bool wrap : {true, false}) {
                    if (event_idx && flags == event_at_descriptor)
                        continue;
                    ring_in_memory r{{4, 1}, event_idx};
                    r.ask_for(slot, wrap, flags);
                    for (std::uint16_t i = 0; i < 8; ++i) {
                        r.give(i);
                        BOOST_TEST(r.ring.publish_would_notify() == (flags != event_disable));
                        BOOST_TEST(r.ring.publish() == (flags != event_disable));
                        r.use(i, 1);
                        BOOST_TEST(r.take(1) == 1U);
                    }
                }
}

// However much a device claims to have used.
BOOST_AUTO_TEST_CASE(no_more_is_used_than_was_published) {
    for (const shape each : shapes) {
        ring_in_memory r{each};
        for (std::size_t start = 0; start < 2 * r.chains(); ++start)
            for (std::size_t published = 0; published <= r.chains(); ++published)
                BOOST_TEST_CONTEXT("size " << each.size << ", after " << start << " chains, published " << published) {
                    const auto claim_all = [&] {
                        for (std::size_t i = 0; i < r.size; ++i)
                            r.mark_used(r.used + i, 0, 1);
                    };
                    r.lay_out(true);
                    for (std::size_t i = 0; i < start; ++i)
                        r.pass(1);
                    claim_all();
                    BOOST_TEST(r.ring.used_count() == 0U);
                    for (std::size_t i = 0; i < published; ++i)
                        r.give(static_cast<std::uint16_t>(i));
                    claim_all();
                    BOOST_TEST(r.ring.used_count() == 0U); // not published yet
                    static_cast<void>(r.ring.publish());
                    BOOST_TEST(r.ring.used_count() ==
                               0U); // available, so not used; where nothing was given, nothing is
                    claim_all();
                    BOOST_TEST(r.ring.used_count() == published);
                    if (published < r.chains()) {
                        r.give(0);
                        claim_all();
                        BOOST_TEST(r.ring.used_count() == published);
                    }
                    std::size_t left = published;
                    while (left != 0) {
                        BOOST_REQUIRE(r.take(1) == 1U);
                        BOOST_TEST(r.ring.used_count() == --left);
                    }
                }
    }
}

// The place of the next used descriptor is what counts, and not those behind it.
BOOST_AUTO_TEST_CASE(used_descriptors_are_taken_in_the_order_of_the_ring) {
    ring_in_memory r{{5, 1}};
    r.pass(3);
    for (std::uint16_t i = 0; i < 5; ++i)
        r.give(i);
    static_cast<void>(r.ring.publish());
    for (const std::size_t ahead : {1U, 2U, 4U}) // the ring begins again between the two
        r.mark_used(r.used + ahead, 4, 1);
    BOOST_TEST(r.ring.used_count() == 0U);
    r.mark_used(r.used, 4, 1);
    BOOST_TEST(r.ring.used_count() == 3U);
    r.mark_used(r.used + 3, 4, 1);
    BOOST_TEST(r.ring.used_count() == 5U);
}

// A visitor that says no leaves the descriptor where it is, and what it is told is what lies there then.
BOOST_AUTO_TEST_CASE(a_visitor_may_leave_a_used_descriptor) {
    ring_in_memory r{{6, 3}};
    for (std::uint16_t i = 0; i < 2; ++i)
        r.give(i);
    static_cast<void>(r.ring.publish());
    r.use(1, 17);
    r.use(0, 18, 0); // without WRITE, the length is reserved
    BOOST_TEST(r.ring.used_count() == 2U);
    std::vector<std::uint64_t> ids;
    std::vector<bool> reserved;
    const auto visit = [&](bool answer) {
        return r.ring.for_each_used(2, [&, answer](std::uint64_t id, std::uint64_t, bool is_reserved) {
            ids.push_back(id);
            reserved.push_back(is_reserved);
            return answer;
        });
    };
    BOOST_TEST(visit(false) == 0U);
    BOOST_TEST(r.ring.used_count() == 2U);
    BOOST_TEST(r.ring.in_flight() == 2U);
    BOOST_TEST(visit(true) == 2U);
    BOOST_TEST((ids == std::vector<std::uint64_t>{1, 1, 0}));
    BOOST_TEST((reserved == std::vector<bool>{false, false, true}));
    BOOST_TEST(r.ring.in_flight() == 0U);
}

// A position is a descriptor and a wrap counter, by which the driver asks for an interrupt (2.8.14); in a ring of zeroes
// nothing is used, nor is what was used or available in the lap before.
BOOST_AUTO_TEST_CASE(used_since_a_position) {
    for (const shape each : shapes)
        for (const bool event_idx : {true, false}) {
            ring_in_memory r{each, event_idx};
            for (std::size_t chain = 0; chain < 3 * r.chains(); ++chain)
                BOOST_TEST_CONTEXT("size " << each.size << ", chain " << chain) {
                    const std::uint64_t position = r.ring.used_position();
                    const std::uint64_t address = r.ring.addresses().descriptors + 16 * r.slot_of(r.used);
                    const auto at = reinterpret_cast<std::uintptr_t>(r.host.translate(address, 16));
                    const std::uint64_t in_memory = position << 1, highest = position >> 63;
                    BOOST_TEST(in_memory == (at | (r.wrap_of(r.used) ? 2U : 0U)));
                    BOOST_TEST(highest == 1U);
                    BOOST_TEST(!r.ring.used_since(position));
                    BOOST_TEST(!r.ring.enable_interrupts());
                    const raw_event asked = r.driver_event();
                    BOOST_TEST(asked.flags == (event_idx ? event_at_descriptor : event_enable));
                    if (event_idx)
                        BOOST_TEST(asked.slot_and_wrap == (r.slot_of(r.used) | (r.wrap_of(r.used) ? 0x8000U : 0U)));
                    r.give(0);
                    BOOST_TEST(!r.ring.used_since(position));
                    static_cast<void>(r.ring.publish());
                    BOOST_TEST(!r.ring.used_since(position));
                    BOOST_TEST(!r.ring.enable_interrupts());
                    r.use(0, 1);
                    BOOST_TEST(r.ring.used_since(position));
                    BOOST_TEST(r.ring.enable_interrupts());
                    BOOST_TEST(r.ring.used_position() == position); // not taken yet
                    BOOST_TEST(r.take(1) == 1U);
                    BOOST_TEST(r.ring.used_since(position)); // for a handler that is late
                    r.ring.disable_interrupts();
                    BOOST_TEST(r.driver_event().flags == event_disable);
                }
        }
}

BOOST_AUTO_TEST_SUITE_END()
