// Reads of which the test knows all, on devices of all variants: how each ended and when, and in which order the device took them.
#pragma once

#include "async/stop_token.hpp"
#include "tests/host/driver_fixture.hpp"

#include <optional>

namespace inflight::test {

using async::stop_source;
using async::stop_token;

inline constexpr ticks limit = 40'000;
inline constexpr ticks slack = 1'500; // for what a reset costs, and the round in which a request ends

struct variant {
    std::uint32_t version;
    bool event_idx;
    bool indirect;
    std::uint32_t ring;
};

inline std::ostream& operator<<(std::ostream& out, const variant& of) {
    return out << "version " << of.version << ", EVENT_IDX " << of.event_idx << ", INDIRECT_DESC " << of.indirect
               << ", ring of " << of.ring;
}

template <typename Function>
void for_each_variant(Function&& function, std::initializer_list<std::uint32_t> rings = {8, 128}) {
    for (const std::uint32_t version : {2U, 1U})
        for (const bool event_idx : {true, false})
            for (const bool indirect : {true, false})
                for (const std::uint32_t ring : rings) {
                    const variant of{version, event_idx, indirect, ring};
                    BOOST_TEST_CONTEXT(of) {
                        function(of);
                    }
                }
}

inline setup setup_of(const variant& of, ticks request_timeout = 0, unsigned queues = 1) {
    setup s;
    blk_configuration& c = s.disks[0];
    c.version = of.version;
    c.queue_size_max = of.ring;
    c.queues = queues;
    std::uint64_t features = model::usual_features(of.version);
    if (!of.event_idx)
        features &= ~model::feature::bit(model::feature::event_idx);
    if (!of.indirect)
        features &= ~model::feature::bit(model::feature::indirect_desc);
    c.features = features;
    c.capacity = 4096;
    s.disk.request_timeout = request_timeout;
    s.machine.memory_bytes = std::size_t{of.ring > 64 ? 4U : 2U} << 20; // a slot of each descriptor, and its table
    s.frame_memory = std::size_t{1} << 20;
    return s;
}

inline constexpr variant plain{2, true, true, 8};

inline std::size_t slots(world& w) {
    return w.disk().properties().slots_per_queue;
}

inline bool untouched(std::span<const std::byte> memory) {
    return std::all_of(memory.begin(), memory.end(), [](std::byte each) { return each == std::byte{0x11}; });
}

// One read, and all that there is to know about it.
struct reader {
    reader() = default; // not an aggregate: see coroutine.hpp
    std::uint64_t sector = 0;
    std::span<std::byte> memory;
    stop_source source;
    std::optional<status> outcome;
    unsigned ends = 0;
    ticks ended = 0;
    bool right = false;
};

class readers {
  public:
    explicit readers(world& w) : world_{w} {
        // In the order in which the device takes them. The answer leaves the latency to the rest.
        w.model().behave.latency_for = [this](const model::request_view& view) {
            taken.push_back(view.sector);
            return std::optional<ticks>{};
        };
    }

    reader& add(std::uint64_t sector, std::size_t bytes = 512) {
        reader& each = *all.emplace_back(std::make_unique<reader>());
        each.sector = sector;
        each.memory = world_.buffer(bytes);
        std::memset(each.memory.data(), 0x11, bytes);
        return each;
    }
    reader& start(std::uint64_t sector) {
        reader& each = add(sector);
        world_.spawn(read(each));
        return each;
    }
    void ended(reader& each, status outcome) {
        each.outcome = outcome;
        ++each.ends;
        each.ended = world_.host.time();
        each.right = same(each.memory, world_.on_disk(each.sector, each.memory.size() / 512));
    }
    // The device has all that there is room for; the others are in line.
    void fill() {
        world_.model().behave.hold = true;
        const std::uint64_t waited = world_.disk().count().waited;
        for (std::size_t i = 0; i < slots(world_); ++i)
            start(1000 + i);
        world_.settle();
        BOOST_TEST(world_.model().in_flight() == slots(world_));
        BOOST_TEST(world_.disk().count().waited == waited);
    }
    void check_ok(const reader& each) {
        BOOST_TEST(each.ends == 1U);
        BOOST_TEST((each.outcome == status::ok));
        BOOST_TEST(each.right);
    }
    void check_cancelled(const reader& each) {
        BOOST_TEST(each.ends == 1U);
        BOOST_TEST((each.outcome == status::cancelled));
        BOOST_TEST(untouched(each.memory));
        BOOST_TEST(std::count(taken.begin(), taken.end(), each.sector) == 0);
    }
    // Lets the device go on, and everything end. (It holds what waits for release(), so more than once.)
    void release() {
        world_.model().behave.hold = false;
        world_.model().release();
        world_.finish();
    }

    task<void> read(reader& each) {
        ended(each, co_await world_.disk().read(each.sector, each.memory, each.source.get_token()));
    }

    std::vector<std::uint64_t> taken;
    std::vector<std::unique_ptr<reader>> all;

  private:
    world& world_;
};

} // namespace inflight::test
