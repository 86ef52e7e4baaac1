// The table of a packed ring, with a ring in memory and a device that says whatever the test wants. What is in flight,
// published and used is kept here a second time, by hand.
#include "drivers/virtio/packed_slot_table.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <initializer_list>
#include <map>
#include <optional>
#include <vector>

namespace {

using namespace inflight;
using tests::chance;
using tests::pick;

// 2.8.13.
constexpr std::uint16_t flag_write = 2, flag_indirect = 4, flag_avail = 0x80, flag_used = 0x8000;

struct raw_descriptor {
    std::uint64_t address = 0;
    std::uint32_t length = 0;
    std::uint16_t id = 0;
    std::uint16_t flags = 0;
};

struct buffer_slot : virtio::slot_base<buffer_slot> {
    int shape = -1; // no slot
    std::uint64_t mark = 0;
};

class machine_memory final : public dma_memory {
  public:
    machine_memory(arch::host::machine& host, std::size_t bytes) : host_{host}, left_{bytes} {}
    std::byte* allocate(std::size_t bytes, std::size_t alignment) noexcept override {
        if (bytes > left_)
            return nullptr;
        left_ -= bytes;
        return host_.allocate(bytes, alignment);
    }

  private:
    arch::host::machine& host_;
    std::size_t left_;
};

enum class outcome { honest, violation };

// A table and its ring as a driver uses them, and the device's side of the ring.
struct table_on_a_ring {
    using table_type = virtio::packed_slot_table<buffer_slot>;
    static constexpr std::uint32_t table_bytes = 48;

    explicit table_on_a_ring(std::uint16_t chains_in_it) : chains{chains_in_it} {
        ring_memory = host.allocate(virtio::packed_layout::of(chains).bytes, virtio::packed_layout::alignment);
        BOOST_REQUIRE(table.allocate(memory, chains, virtio::packed_word::of(table_bytes, 0, flag_indirect), 1));
        begin();
    }
    void begin() {
        ring.lay_out(ring_memory, chains, 1, true);
        table.clear_free(ring);
        BOOST_TEST(table.full());
        table.free_all(ring, [](buffer_slot& each) { each.shape = 1; });
        position = used = 0;
    }

    // As a driver does it: the quick way where there is one. Returns the id.
    std::uint16_t give(std::uint32_t length, bool irregular = false) {
        const bool is_quick = table.front().shape == 1;
        quick += is_quick ? 1 : 0;
        buffer_slot& given = is_quick                     ? table.take()
                             : table.is_between_batches() ? table.take_batch_front()
                                                          : table.take_any(ring);
        const std::uint64_t word = table.word_of(given);
        if (is_quick) {
            given.place->address.store(given.id);
            given.place->word.store(word);
        } else {
            ring.store_single(*given.place, given.id, word);
        }
        given.expected = given.word() + length - 1 + (irregular ? buffer_slot::irregular : 0);
        ++position;
        return given.id;
    }
    [[nodiscard]] bool publish() {
        table.publish(ring);
        return ring.publish();
    }

    raw_descriptor descriptor_at(std::size_t at) {
        raw_descriptor entry;
        std::memcpy(&entry, host.translate(ring.addresses().descriptors + 16 * (at % chains), 16), 16);
        return entry;
    }
    bool wrap_of(std::size_t at) const { return at / chains % 2 == 0; }
    bool is_available(std::size_t at) {
        const std::uint16_t flags = descriptor_at(at).flags;
        return ((flags & flag_avail) != 0) == wrap_of(at) && ((flags & flag_used) != 0) != wrap_of(at);
    }
    // The device says that it has used this id.
    void use(std::uint16_t id, std::uint32_t length, std::uint16_t other_flags = flag_write) {
        raw_descriptor entry = descriptor_at(used);
        entry.id = id;
        entry.length = length;
        entry.flags = static_cast<std::uint16_t>(other_flags | (wrap_of(used) ? flag_avail | flag_used : 0));
        std::memcpy(host.translate(ring.addresses().descriptors + 16 * (used % chains), 16), &entry, 16);
        ++used;
    }

    // As a driver does it: the expected first, and then one that is not.
    outcome drain() {
        using checked_outcome = table_type::checked;
        for (;;) {
            if (table.take_expected(ring, [this](buffer_slot& each) {
                    if (each.id == awkward)
                        return false;
                    taken_as_expected.push_back(each.id);
                    return true;
                }))
                continue;
            const checked_outcome one =
                table.take_checked(ring, [this](buffer_slot& each, std::uint32_t length, bool reserved) {
                    if (length > each.expected_length() && !reserved)
                        return false;
                    checked.emplace_back(each.id, length);
                    return true;
                });
            if (one == checked_outcome::nothing)
                return outcome::honest;
            if (one == checked_outcome::violation)
                return outcome::violation;
        }
    }
    std::vector<std::uint16_t> all_taken() const {
        std::vector<std::uint16_t> ids = taken_as_expected;
        for (const auto& [id, length] : checked)
            ids.push_back(id);
        std::sort(ids.begin(), ids.end());
        return ids;
    }
    void forget_taken() {
        taken_as_expected.clear();
        checked.clear();
    }

    static constexpr std::uint16_t nobody = 0xffff;

    arch::host::machine host;
    machine_memory memory{host, 1 << 24};
    virtio::packed_virtqueue ring;
    table_type table;
    std::uint16_t chains;
    std::byte* ring_memory = nullptr;
    std::size_t position = 0;       // of the next chain, since the ring was laid out
    std::size_t used = 0;           // of the next used descriptor
    std::size_t quick = 0;          // how many were given the quick way
    std::uint16_t awkward = nobody; // is left to the checks
    std::vector<std::uint16_t> taken_as_expected;
    std::vector<std::pair<std::uint16_t, std::uint32_t>> checked;
};

} // namespace

BOOST_AUTO_TEST_SUITE(packed_slot_table_tests)

BOOST_AUTO_TEST_CASE(there_is_one_slot_for_each_place) {
    for (const std::uint16_t chains : std::initializer_list<std::uint16_t>{1, 2, 3, 7, 64}) {
        table_on_a_ring t{chains};
        BOOST_TEST(t.table.size() == chains);
        for (unsigned i = 0; i < chains; ++i) {
            BOOST_TEST(!t.table.full());
            BOOST_TEST(t.give(1) == i);
            BOOST_TEST(t.table.in_flight(t.ring) == i + 1);
        }
        BOOST_TEST(t.table.full());
        BOOST_TEST(t.table.front().shape == -1);
        BOOST_TEST(t.table.run_has_ended());
        BOOST_TEST(!t.table.is_between_batches());
    }
}

BOOST_AUTO_TEST_CASE(without_memory_there_is_no_table) {
    arch::host::machine host;
    machine_memory none{host, 100};
    virtio::packed_slot_table<buffer_slot> table;
    BOOST_TEST(!table.allocate(none, 16, 0, 1));
    BOOST_TEST(!table.is_allocated());
    BOOST_TEST(table.size() == 0U);
}

// What lies in the ring, whichever way a chain was taken: the usual word, the id, and the flags of the lap.
BOOST_AUTO_TEST_CASE(descriptors_of_three_laps) {
    table_on_a_ring t{5};
    for (unsigned lap = 0; lap < 3; ++lap)
        for (unsigned batch : {1U, 4U}) {
            const std::size_t first = t.position;
            for (unsigned i = 0; i < batch; ++i) {
                t.give(1);
                BOOST_TEST(!t.is_available(first)); // the first one is held back
            }
            static_cast<void>(t.publish());
            for (std::size_t at = first; at < t.position; ++at) {
                const raw_descriptor entry = t.descriptor_at(at);
                BOOST_TEST(t.is_available(at));
                BOOST_TEST(entry.id == at % 5);
                BOOST_TEST(entry.address == entry.id);
                BOOST_TEST(entry.length == t.table_bytes);
                BOOST_TEST((entry.flags & ~(flag_avail | flag_used)) == flag_indirect);
            }
            for (unsigned i = 0; i < batch; ++i)
                t.use(static_cast<std::uint16_t>(first % 5 + i), 1);
            BOOST_TEST((t.drain() == outcome::honest));
        }
    BOOST_TEST(t.quick != 0U);
    BOOST_TEST(t.checked.empty());
    BOOST_TEST(t.taken_as_expected.size() == 15U);
}

BOOST_AUTO_TEST_CASE(a_run_ends_where_it_has_to) {
    for (const std::uint16_t chains : std::initializer_list<std::uint16_t>{1, 4, 9}) {
        table_on_a_ring t{chains};
        for (std::size_t start = 0; start < 2U * chains; ++start)
            for (std::size_t in_flight = 0; in_flight <= chains; ++in_flight)
                for (std::size_t wanted = 1; wanted <= chains + 1U; ++wanted) {
                    t.begin();
                    for (std::size_t i = 0; i < start; ++i) {
                        const std::uint16_t id = t.give(1);
                        static_cast<void>(t.publish());
                        t.use(id, 1);
                        BOOST_REQUIRE((t.drain() == outcome::honest));
                    }
                    for (std::size_t i = 0; i < in_flight; ++i)
                        t.give(1);
                    t.table.begin_run(t.ring, wanted);
                    const std::size_t until_end = chains - t.position % chains;
                    const std::size_t expected = std::min({wanted, until_end, chains - in_flight});
                    std::size_t given = 0;
                    while (!t.table.run_has_ended()) {
                        BOOST_TEST(t.table.is_between_batches() == (t.position == start));
                        t.give(1);
                        ++given;
                        if (t.position == start + 1 && !t.table.run_has_ended())
                            BOOST_TEST(t.table.front().shape == 1);
                    }
                    BOOST_TEST(given == expected);
                }
    }
}

// Used in any order: each is taken once, and a place that is free again has a slot that is free.
BOOST_AUTO_TEST_CASE(any_order_is_taken) {
    std::mt19937_64 random = chance(211);
    for (const std::uint16_t chains : std::initializer_list<std::uint16_t>{2, 5, 16})
        for (const unsigned of_a_hundred : {0U, 20U, 100U}) {
            table_on_a_ring t{chains};
            std::vector<std::uint16_t> published;
            for (unsigned round = 0; round < 300; ++round) {
                for (std::uint64_t i = pick(random, std::uint64_t{0}, std::uint64_t{chains}); i != 0 && !t.table.full();
                     --i) {
                    const std::uint16_t id = t.give(17);
                    BOOST_TEST((std::find(published.begin(), published.end(), id) == published.end()));
                    published.push_back(id);
                }
                static_cast<void>(t.publish());
                std::vector<std::uint16_t> done;
                for (std::uint64_t i = pick(random, std::size_t{0}, published.size()); i != 0; --i) {
                    const std::size_t which = random() % 100 < of_a_hundred ? random() % published.size() : 0;
                    done.push_back(published[which]);
                    published.erase(published.begin() + static_cast<std::ptrdiff_t>(which));
                    t.use(done.back(), 17, random() % 2 != 0 ? flag_write : 0);
                }
                BOOST_REQUIRE((t.drain() == outcome::honest));
                std::sort(done.begin(), done.end());
                BOOST_TEST(t.all_taken() == done);
                BOOST_TEST(t.table.in_flight(t.ring) == published.size());
                BOOST_TEST(t.checked.empty());
                t.forget_taken();
            }
            BOOST_TEST(t.quick != 0U);
        }
}

BOOST_AUTO_TEST_CASE(what_is_not_expected_is_checked) {
    table_on_a_ring t{8};
    for (std::uint32_t i = 0; i < 8; ++i)
        t.give(513, i == 2);
    static_cast<void>(t.publish());
    t.awkward = 3;
    for (const std::uint16_t id : std::initializer_list<std::uint16_t>{0, 1, 2, 3})
        t.use(id, 513);
    BOOST_TEST((t.drain() == outcome::honest));
    BOOST_TEST((t.taken_as_expected == std::vector<std::uint16_t>{0, 1}));
    BOOST_TEST((t.checked == std::vector<std::pair<std::uint16_t, std::uint32_t>>{{2, 513}, {3, 513}}));
    t.use(4, 500);    // shorter
    t.use(5, 514, 0); // longer, but it means nothing
    t.use(6, 514);    // longer
    t.use(7, 513);
    BOOST_TEST((t.drain() == outcome::violation));
    BOOST_TEST(t.checked.size() == 4U); // and 7 was not looked at
    BOOST_TEST(t.table.in_flight(t.ring) == 2U);
}

BOOST_AUTO_TEST_CASE(what_is_not_authentic_is_a_violation) {
    struct {
        const char* what;
        std::uint16_t id;
    } const lies[] = {{"an id beyond the ring", 8},
                      {"the largest id", 0xffff},
                      {"a slot that is free", 7},
                      {"a slot that was used before", 0},
                      {"a slot that was not published", 4}};
    for (const auto& lie : lies)
        for (const bool later_lap : {false, true})
            BOOST_TEST_CONTEXT(lie.what << (later_lap ? ", in a later lap" : "")) {
                table_on_a_ring t{8};
                for (unsigned i = 0; later_lap && i < 8; ++i) {
                    t.give(1);
                    static_cast<void>(t.publish());
                    t.use(static_cast<std::uint16_t>(i), 1);
                    BOOST_TEST((t.drain() == outcome::honest));
                }
                t.forget_taken();
                for (unsigned i = 0; i < 4; ++i)
                    t.give(1);
                static_cast<void>(t.publish());
                t.give(1); // 4 is available, and not published
                t.use(0, 1);
                BOOST_TEST((t.drain() == outcome::honest));
                t.use(lie.id, 1);
                t.use(3, 1);
                BOOST_TEST((t.drain() == outcome::violation));
                BOOST_TEST((t.taken_as_expected == std::vector<std::uint16_t>{0}));
                BOOST_TEST(t.checked.empty());
            }
}

// However much a device claims.
BOOST_AUTO_TEST_CASE(no_more_is_taken_than_was_published) {
    table_on_a_ring t{4};
    t.give(1);
    static_cast<void>(t.publish());
    t.give(1);
    for (const std::uint16_t id : std::initializer_list<std::uint16_t>{0, 1, 2, 3})
        t.use(id, 1);
    BOOST_TEST((t.drain() == outcome::honest));
    BOOST_TEST((t.taken_as_expected == std::vector<std::uint16_t>{0}));
    BOOST_TEST(t.table.in_flight(t.ring) == 1U);
}

BOOST_AUTO_TEST_CASE(what_is_taken_back_was_in_flight) {
    for (const unsigned resets : {0U, 1U, 2U}) {
        table_on_a_ring t{8};
        for (unsigned i = 0; i < 6; ++i)
            t.give(10);
        static_cast<void>(t.publish());
        for (const std::uint16_t id : std::initializer_list<std::uint16_t>{0, 1, 2, 3})
            t.use(id, 10);
        BOOST_TEST((t.drain() == outcome::honest));
        t.table.grow_older(100, 0, [](buffer_slot&) {});
        for (unsigned i = 0; i < 4; ++i) // the ring begins again
            t.give(10);
        static_cast<void>(t.publish());
        t.give(10); // not even published
        t.table.grow_older(100, 0, [](buffer_slot&) {});
        t.forget_taken();
        t.use(6, 10); // before 4
        BOOST_TEST((t.drain() == outcome::honest));
        BOOST_TEST(t.checked.size() == 1U);
        for (unsigned i = 0; i < resets; ++i) {
            t.ring.lay_out(t.ring_memory, t.chains, 1, true);
            t.table.clear_free(t.ring);
            BOOST_TEST(t.table.full());
        }
        std::map<unsigned, std::uint32_t> ages;
        t.table.take_back([&](buffer_slot& each, std::uint32_t age) { ages[each.id] = age; });
        BOOST_TEST((ages == std::map<unsigned, std::uint32_t>{{4, 2}, {5, 2}, {7, 1}, {0, 1}, {1, 1}, {2, 1}}));
        t.table.take_back([](buffer_slot&, std::uint32_t) { BOOST_ERROR("taken back twice"); });
        if (resets != 0) {
            t.begin();
            std::vector<std::uint16_t> ids;
            while (!t.table.full())
                ids.push_back(t.give(1));
            std::sort(ids.begin(), ids.end());
            BOOST_TEST((ids == std::vector<std::uint16_t>{0, 1, 2, 3, 4, 5, 6, 7}));
        }
    }
}

// As that of slot_table.
BOOST_AUTO_TEST_CASE(who_is_overtaken_for_long_starves) {
    table_on_a_ring t{4};
    const std::uint16_t slow = t.give(1);
    std::vector<std::uint16_t> starved;
    const auto period = [&](std::uint64_t completed) {
        starved.clear();
        t.table.grow_older(3, completed, [&](buffer_slot& each) { starved.push_back(each.id); });
        return starved.size();
    };
    BOOST_TEST(period(100) == 0U); // the first
    BOOST_TEST(t.table.slot(slow).age() == 1U);
    BOOST_TEST(period(200) == 0U); // others have ended, but it is not old
    BOOST_TEST(period(200) == 1U);
    BOOST_TEST(period(100 + 16) == 0U); // no more than four times
    BOOST_TEST(period(100 + 17) == 1U);
    BOOST_TEST((starved == std::vector<std::uint16_t>{slow}));
    BOOST_TEST(t.table.slot(slow).expected_length() == 1U); // age and length do not mix
    BOOST_TEST(t.table.slot(slow).age() == 5U);
    for (unsigned i = 0; i < 1000; ++i)
        period(100);
    BOOST_TEST(t.table.slot(slow).age() == buffer_slot::oldest);
    BOOST_TEST(t.table.slot(slow).in_flight());
    static_cast<void>(t.publish());
    t.use(slow, 1);
    BOOST_TEST((t.drain() == outcome::honest));
    BOOST_TEST(t.checked.size() == 1U);
}

// After a benchmark has used the ring by itself.
BOOST_AUTO_TEST_CASE(the_ring_may_be_used_without_the_table) {
    for (unsigned by_itself = 1; by_itself < 9; ++by_itself) {
        table_on_a_ring t{4};
        for (unsigned i = 0; i < by_itself; ++i) {
            const virtio::buffer single{.address = 1, .length = 2, .flags = 0};
            t.ring.make_available(3, &single);
            ++t.position;
            BOOST_TEST(t.ring.publish());
            t.use(3, 1);
            BOOST_TEST(t.ring.used_count() == 1U);
            BOOST_TEST(t.ring.for_each_used(1, [](auto...) { return true; }) == 1U);
        }
        t.table.free_all(t.ring, [](buffer_slot&) {});
        for (unsigned i = 0; i < 9; ++i) {
            const std::size_t at = t.position;
            const std::uint16_t id = t.give(7);
            static_cast<void>(t.publish());
            BOOST_TEST(t.is_available(at));
            t.use(id, 7);
            BOOST_TEST((t.drain() == outcome::honest));
        }
        BOOST_TEST(t.taken_as_expected.size() == 9U);
    }
}

BOOST_AUTO_TEST_SUITE_END()
