// The table that authenticates what a device says, with a ring in memory and a device that says whatever the test wants. What is
// in flight, published and used is kept here a second time, by hand.
#include "drivers/virtio/slot_table.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <map>
#include <vector>

namespace {

using namespace inflight;
using tests::chance;
using tests::pick;

struct buffer_slot : virtio::slot_base<buffer_slot> {
    int shape = -1; // no slot
    unsigned mark = 0;
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

enum class outcome { nothing, honest, violation };

// A table and its ring as a driver uses them, and the device's side of the ring.
struct table_on_a_ring {
    explicit table_on_a_ring(std::uint16_t descriptors, std::uint32_t stride) : size{descriptors} {
        const auto needed = virtio::queue_memory::of(size, false);
        ring_memory = memory.allocate(needed.bytes, needed.alignment);
        BOOST_REQUIRE(table.allocate(memory, size, stride));
        begin();
    }
    void begin() {
        ring.lay_out(ring_memory, size, {});
        table.clear_free();
        table.free_all([](buffer_slot& each) { each.shape = 1; });
        used = 0;
    }

    buffer_slot& give(std::uint64_t expected) {
        buffer_slot& given = table.take();
        ring.split().make_available(given.id);
        given.expected = expected;
        return given;
    }
    void publish() {
        table.published();
        static_cast<void>(ring.publish());
    }
    void use(std::uint32_t id, std::uint32_t length) {
        std::byte* const area = host.translate(ring.addresses().device_area, 1);
        const std::uint32_t element[2] = {id, length};
        std::memcpy(area + 4 + std::size_t{8} * (used % size), element, sizeof element);
        ++used;
        std::memcpy(area + 2, &used, sizeof used);
    }
    // As a driver does it: the expected first, the rest one by one.
    outcome drain() {
        const std::size_t count = ring.begin_drain();
        if (count == 0)
            return outcome::nothing;
        if (count == virtio::virtqueue::protocol_violation)
            return outcome::violation;
        const std::size_t taken = table.for_each_expected(ring, count, [this](buffer_slot& each) {
            if (each.id == awkward)
                return false;
            taken_as_expected.push_back(each.id);
            return true;
        });
        if (taken == count)
            return outcome::honest;
        const bool honest =
            table.for_each_checked(ring, count - taken, [this](buffer_slot& each, std::uint32_t length, bool) {
                checked.emplace_back(each.id, length);
                return length <= each.expected_length();
            });
        return honest ? outcome::honest : outcome::violation;
    }

    static constexpr std::uint16_t nobody = 0xffff;

    arch::host::machine host{arch::host::machine_options{.memory_bytes = std::size_t{1} << 19}};
    machine_memory memory{host, std::size_t{1} << 19};
    virtio::virtqueue ring;
    virtio::slot_table<buffer_slot> table;
    std::uint16_t size;
    std::byte* ring_memory = nullptr;
    std::uint16_t used = 0;
    std::uint16_t awkward = nobody; // is left to the checks
    std::vector<std::uint16_t> taken_as_expected;
    std::vector<std::pair<std::uint16_t, std::uint32_t>> checked;
};

} // namespace

BOOST_AUTO_TEST_SUITE(slot_table_tests)

BOOST_AUTO_TEST_CASE(there_is_one_slot_for_each_stride) {
    for (const std::uint32_t stride : {1U, 3U}) {
        table_on_a_ring t{16, stride};
        BOOST_TEST(t.table.size() == 16 / stride);
        std::vector<std::uint16_t> ids;
        while (!t.table.full()) {
            BOOST_TEST(t.table.front().shape == 1);
            ids.push_back(t.give(1).id);
        }
        BOOST_TEST(ids.size() == 16 / stride);
        for (std::size_t i = 0; i < ids.size(); ++i)
            BOOST_TEST(ids[i] == i * stride); // the lowest first
        BOOST_TEST(t.table.front().shape == -1);
        BOOST_TEST(!t.table.front().in_flight());
    }
}

BOOST_AUTO_TEST_CASE(without_memory_there_is_no_table) {
    arch::host::machine host;
    machine_memory none{host, 100};
    virtio::slot_table<buffer_slot> table;
    BOOST_TEST(!table.allocate(none, 16, 1));
    BOOST_TEST(!table.is_allocated());
    BOOST_TEST(table.size() == 0U);
    BOOST_TEST(table.full());
}

BOOST_AUTO_TEST_CASE(what_is_expected_is_taken_in_order) {
    table_on_a_ring t{8, 1};
    for (std::uint32_t i = 0; i < 8; ++i)
        t.give(100 + i);
    t.publish();
    for (const std::uint32_t id : {5U, 0U, 7U})
        t.use(id, 100 + id);
    BOOST_TEST((t.drain() == outcome::honest));
    BOOST_TEST((t.taken_as_expected == std::vector<std::uint16_t>{5, 0, 7}));
    BOOST_TEST(t.checked.empty());
    BOOST_TEST(t.table.take().id == 7U); // the last one that became free
    BOOST_TEST((t.drain() == outcome::nothing));
}

// One that is not expected, and all behind it, is checked; it counts if the driver believes the length.
BOOST_AUTO_TEST_CASE(what_is_not_expected_is_checked) {
    table_on_a_ring t{8, 1};
    for (std::uint32_t i = 0; i < 8; ++i)
        t.give(i == 2 ? 513 | buffer_slot::irregular : 513);
    t.publish();
    t.awkward = 3;
    for (const std::uint32_t id : {0U, 3U, 2U, 1U})
        t.use(id, 513);
    BOOST_TEST((t.drain() == outcome::honest));
    BOOST_TEST((t.taken_as_expected == std::vector<std::uint16_t>{0}));
    BOOST_TEST((t.checked == std::vector<std::pair<std::uint16_t, std::uint32_t>>{{3, 513}, {2, 513}, {1, 513}}));
    t.use(4, 500); // shorter
    t.use(5, 514); // longer
    t.use(6, 513);
    BOOST_TEST((t.drain() == outcome::violation));
    BOOST_TEST(t.checked.size() == 5U); // and 6 was not looked at
    BOOST_TEST(t.table.slot(6).in_flight());
}

BOOST_AUTO_TEST_CASE(what_is_not_authentic_is_a_violation) {
    struct {
        const char* what;
        std::uint32_t id;
        std::uint32_t length;
    } const lies[] = {{"an id beyond the ring", 24, 1},
                      {"an id far beyond the ring", 0x8000'0003, 1},
                      {"the largest id", ~0U, 1},
                      {"an id within a chain", 4, 1},
                      {"a slot that is free", 21, 1},
                      {"a slot that was used before", 0, 1},
                      {"a slot that was not published", 12, 1},
                      {"a length that no free slot expects", 21, ~0U}};
    for (const auto& lie : lies)
        BOOST_TEST_CONTEXT(lie.what) {
            table_on_a_ring t{24, 3};
            for (unsigned i = 0; i < 4; ++i)
                t.give(1);
            t.publish();
            t.give(1); // 12 is available, and not published
            t.use(0, 1);
            if (lie.id == 0) { // used, and then used again
                BOOST_TEST((t.drain() == outcome::honest));
            }
            t.use(lie.id, lie.length);
            t.use(3, 1);
            BOOST_TEST((t.drain() == outcome::violation));
            BOOST_TEST((t.taken_as_expected == std::vector<std::uint16_t>{0}));
            BOOST_TEST(t.checked.empty());
            BOOST_TEST(t.table.slot(1).in_flight());
        }
}

BOOST_AUTO_TEST_CASE(an_unpublished_slot_is_found_wherever_it_hides) {
    for (const bool after_a_drain : {false, true})
        for (const bool honest_first : {false, true}) {
            table_on_a_ring t{8, 1};
            for (unsigned i = 0; i < 4; ++i)
                t.give(1);
            t.publish();
            if (after_a_drain) {
                t.use(0, 1);
                BOOST_TEST((t.drain() == outcome::honest));
                t.taken_as_expected.clear();
            }
            const std::uint16_t id = t.give(1).id;
            BOOST_TEST(id == (after_a_drain ? 0 : 4));
            if (honest_first)
                t.use(1, 1);
            t.use(id, 1);
            BOOST_TEST((t.drain() == outcome::violation));
            BOOST_TEST(t.taken_as_expected.size() == (honest_first ? 1U : 0U));
        }
    // Once it was published, it counts.
    table_on_a_ring t{8, 1};
    t.give(1);
    t.publish();
    t.give(1);
    t.use(0, 1);
    BOOST_TEST((t.drain() == outcome::honest));
    t.publish();
    t.use(1, 1);
    BOOST_TEST((t.drain() == outcome::honest));
}

BOOST_AUTO_TEST_CASE(what_is_taken_back_was_in_flight) {
    table_on_a_ring t{8, 1};
    for (unsigned i = 0; i < 5; ++i)
        t.give(10);
    t.publish();
    t.table.grow_older(100, 0, [](buffer_slot&) {});
    t.give(10); // not even published
    t.table.grow_older(100, 0, [](buffer_slot&) {});
    t.use(3, 10); // and it is two periods old, which no length is
    BOOST_TEST((t.drain() == outcome::honest));
    BOOST_TEST(t.checked.size() == 1U);
    t.table.clear_free();
    BOOST_TEST(t.table.full());
    std::map<unsigned, std::uint32_t> ages;
    t.table.take_back([&](buffer_slot& each, std::uint32_t age) { ages[each.id] = age; });
    BOOST_TEST((ages == std::map<unsigned, std::uint32_t>{{0, 2}, {1, 2}, {2, 2}, {4, 2}, {5, 1}}));
    BOOST_TEST(t.table.full()); // they do not become free
    t.table.take_back([](buffer_slot&, std::uint32_t) { BOOST_ERROR("taken back twice"); });
    t.begin();
    for (unsigned i = 0; i < 8; ++i)
        BOOST_TEST(t.give(1).id == i);
}

// It has seen its periods, and since the first of them four times as many others as there are slots have ended.
BOOST_AUTO_TEST_CASE(who_is_overtaken_for_long_starves) {
    table_on_a_ring t{4, 1};
    buffer_slot& slow = t.give(1);
    std::vector<std::uint16_t> starved;
    const auto period = [&](std::uint64_t completed) {
        starved.clear();
        t.table.grow_older(3, completed, [&](buffer_slot& each) { starved.push_back(each.id); });
        return starved.size();
    };
    BOOST_TEST(period(100) == 0U); // the first
    BOOST_TEST(slow.age() == 1U);
    BOOST_TEST(period(200) == 0U); // others have ended, but it is not old
    BOOST_TEST(period(200) == 1U);
    BOOST_TEST(period(100 + 16) == 0U); // no more than four times
    BOOST_TEST(period(100 + 17) == 1U);
    BOOST_TEST((starved == std::vector<std::uint16_t>{slow.id}));
    BOOST_TEST(slow.expected_length() == 1U); // age and length do not mix
    BOOST_TEST(slow.age() == 5U);
}

BOOST_AUTO_TEST_CASE(random_traffic_is_believed_and_lies_are_not) {
    std::mt19937_64 random = chance(301);
    unsigned lies = 0, honest = 0;
    for (unsigned run = 0; run < 300; ++run)
        BOOST_TEST_CONTEXT("run " << run) {
            const std::uint32_t stride = random() % 2 ? 1 : 3;
            table_on_a_ring t{static_cast<std::uint16_t>(1U << pick(random, 3, 8)), stride};
            std::map<std::uint16_t, std::uint32_t> published, unpublished; // what they have to be
            bool lied = false;
            for (unsigned step = 0; step < 200 && !lied; ++step) {
                switch (pick(random, 0, 3)) {
                case 0:
                    for (unsigned i = pick(random, 1U, 20U); i != 0 && !t.table.full(); --i) {
                        const auto length = static_cast<std::uint32_t>(pick(random, 1, 5));
                        const buffer_slot& given = t.give(random() % 4 == 0 ? length | buffer_slot::irregular : length);
                        BOOST_TEST((!published.contains(given.id) && !unpublished.contains(given.id)));
                        unpublished[given.id] = length;
                    }
                    break;
                case 1:
                    t.publish();
                    published.merge(unpublished);
                    unpublished.clear();
                    break;
                default: {
                    std::vector<std::uint16_t> used;
                    for (std::uint64_t i = random() % 8; i != 0 && !published.empty(); --i) {
                        const auto which =
                            std::next(published.begin(), static_cast<std::ptrdiff_t>(random() % published.size()));
                        used.push_back(which->first);
                        t.use(which->first, which->second);
                        published.erase(which);
                    }
                    lied = random() % 60 == 0;
                    if (lied) {
                        const auto id = static_cast<std::uint16_t>(random() % (t.size + 2));
                        if (published.contains(id))
                            t.use(id, published[id] + 1);
                        else
                            t.use(id, static_cast<std::uint32_t>(pick(random, 1, 5)));
                    }
                    t.taken_as_expected.clear();
                    t.checked.clear();
                    const outcome got = t.drain();
                    std::vector<std::uint16_t> taken = t.taken_as_expected;
                    for (const auto& [id, length] : t.checked)
                        taken.push_back(id);
                    if (lied && taken.size() == used.size() + 1)
                        taken.pop_back(); // it was asked, and did not believe the length
                    if (!lied || used.size() + 1 <= t.size) {
                        // (More than are in flight is a violation before any of them is looked at.)
                        const bool all_at_once = lied && taken.empty();
                        BOOST_TEST((all_at_once || taken == used));
                    }
                    BOOST_TEST((got == (lied           ? outcome::violation
                                        : used.empty() ? outcome::nothing
                                                       : outcome::honest)));
                    honest += static_cast<unsigned>(used.size());
                    lies += lied ? 1 : 0;
                }
                }
            }
        }
    BOOST_TEST(honest > 1000U);
    BOOST_TEST(lies > 100U);
}

BOOST_AUTO_TEST_SUITE_END()
