// The exact edges of what the driver believes, and of what it gives to a device.
#include "tests/host/mute_world.hpp"

namespace {

using namespace inflight;
using namespace inflight::test;
namespace bits = model::feature;

struct ring_kind {
    std::uint32_t version;
    bool packed;
};
constexpr ring_kind ring_kinds[] = {{2, false}, {2, true}, {1, false}};

setup small_queue(ring_kind ring, bool indirect) {
    return one_disk([=](blk_configuration& c) {
        c.version = ring.version;
        c.queue_size_max = 8;
        const std::uint64_t features = model::usual_features(ring.version);
        c.features = (features & ~(indirect ? 0 : bits::bit(bits::indirect_desc))) |
                     (ring.packed ? bits::bit(bits::ring_packed) : 0);
    });
}

struct attempts {
    attempts() = default; // not an aggregate: see coroutine.hpp
    std::vector<status> outcomes;
};

task<void> read_one(world& w, std::uint64_t sector, std::span<std::byte> into, attempts& seen) {
    seen.outcomes.push_back(co_await w.disk().read(sector, into));
}

std::size_t count(const attempts& seen, status outcome) {
    return static_cast<std::size_t>(std::count(seen.outcomes.begin(), seen.outcomes.end(), outcome));
}

// Checks that no data segment of a read is empty. Returns their bytes together. The first part of the chain is the
// header, and the last one is the status.
std::uint64_t check_data_segments(const std::vector<raw_descriptor>& chain) {
    std::uint64_t bytes = 0;
    for (std::size_t i = 1; i + 1 < chain.size(); ++i) {
        BOOST_TEST(chain[i].length != 0U);
        bytes += chain[i].length;
    }
    return bytes;
}

} // namespace

BOOST_AUTO_TEST_SUITE(hostile_edges)

// used.idx may tell of all that is published, and of nothing more. One that tells of one more is no index at all: then
// nothing that it hands over has ended, though the entries say so. A packed ring has no index, and nobody looks at one more.
BOOST_AUTO_TEST_CASE(all_that_is_published_and_not_one_more) {
    for (const ring_kind ring : ring_kinds)
        for (const bool indirect : {true, false})
            for (const auto beyond : {std::uint16_t{0}, std::uint16_t{1}, std::uint16_t{2}}) {
                setup s = small_queue(ring, indirect);
                s.disk.request_timeout = 400'000;
                world w{s};
                w.start_all();
                attempts seen;
                const std::size_t slots = w.disk().properties().slots_per_queue;
                auto memory = w.buffer(slots * 512);
                w.model().behave.burst = static_cast<unsigned>(slots);
                if (beyond != 0) {
                    w.model().inject(fault::used_index_jump);
                    w.model().behave.index_jump = beyond;
                }
                for (std::size_t i = 0; i < slots; ++i)
                    w.spawn(read_one(w, i, memory.subspan(i * 512, 512), seen));
                w.finish();
                const bool noticed = beyond != 0 && !ring.packed;
                BOOST_TEST(count(seen, noticed ? status::device_reset : status::ok) == slots);
                BOOST_TEST(w.disk().count().protocol_violations == (noticed ? 1U : 0U));
                if (beyond != 0 && ring.packed) // the device has lost its way
                    BOOST_TEST(w.read(3, memory.subspan(0, 512)) == status::timed_out);
                BOOST_TEST(w.read(3, memory.subspan(0, 512)) == status::ok);
            }
}

// What lies in the ring and has not been published is none of the device's, even if it guesses right. In a packed ring, nobody
// looks at what it says then, and the time limit ends what it does not serve; but with another request in flight, its place
// is looked at.
BOOST_AUTO_TEST_CASE(what_is_offered_is_not_published) {
    for (const ring_kind ring : ring_kinds)
        for (const bool indirect : {true, false})
            for (const bool beside_another : {false, true}) {
                setup s = small_queue(ring, indirect);
                s.disk.request_timeout = 400'000;
                world w{s};
                w.start_all();
                auto memory = w.buffer(1024);
                BOOST_TEST(w.read(1, memory.subspan(0, 512)) == status::ok);
                attempts other, seen;
                const auto guess = [&]() -> task<void> {
                    BOOST_TEST(w.model().complete_unpublished(0));
                    w.model().behave.hold = false;
                    co_return;
                };
                if (beside_another) {
                    w.model().behave.hold = true;
                    w.spawn(read_one(w, 9, memory.subspan(512, 512), other));
                    w.settle();
                    BOOST_TEST(w.model().in_flight() == 1U);
                }
                // In one round, a request is made available, the device says that it is done, and the driver looks before
                // it publishes.
                w.hart.set_poll_mode(poll_mode::always);
                w.spawn(read_one(w, 5, memory.subspan(0, 512), seen));
                w.spawn(guess());
                w.finish();
                const bool noticed = beside_another || !ring.packed;
                BOOST_TEST(seen.outcomes.size() == 1U);
                BOOST_TEST(other.outcomes.size() == (beside_another ? 1U : 0U));
                BOOST_TEST(count(other, status::ok) == 0U);
                BOOST_TEST(w.disk().count().protocol_violations == (noticed ? 1U : 0U));
                if (!noticed)
                    BOOST_TEST(seen.outcomes[0] == status::timed_out);
                if (seen.outcomes[0] == status::ok) // then it was asked for, later
                    BOOST_TEST(same(memory.subspan(0, 512), w.on_disk(5, 1)));
                BOOST_TEST(w.read(3, memory.subspan(0, 512)) == status::ok);
                BOOST_TEST(same(memory.subspan(0, 512), w.on_disk(3, 1)));
            }
}

// 2.8.4: the length of a used descriptor means nothing unless it has WRITE, and its other flags and its address never do. The
// status byte tells what has become of the request.
BOOST_AUTO_TEST_CASE(a_length_without_write_means_nothing) {
    for (const bool indirect : {true, false})
        for (const bool strict : {true, false})
            for (const bool tells : {true, false})
                for (const fault what : {fault::length_too_long, fault::length_too_short, fault::status_not_written}) {
                    setup s = small_queue({2, true}, indirect);
                    s.disk.strict_lengths = strict;
                    world w{s};
                    w.start_all();
                    w.model().behave.used_without_write = !tells;
                    w.model().behave.used_descriptor_noise = true;
                    auto memory = w.buffer(512);
                    BOOST_TEST(w.read(1, memory) == status::ok);
                    BOOST_TEST(same(memory, w.on_disk(1, 1)));
                    w.model().inject(what);
                    const status outcome = w.read(2, memory);
                    const bool counts = tells && what == fault::length_too_short;
                    if (tells && what == fault::length_too_long)
                        BOOST_TEST(outcome == status::device_reset);
                    else if (what == fault::status_not_written || (counts && strict))
                        BOOST_TEST(outcome == status::device_error);
                    else
                        BOOST_TEST((outcome == status::ok && same(memory, w.on_disk(2, 1))));
                    BOOST_TEST(w.disk().count().protocol_violations ==
                               (tells && what == fault::length_too_long ? 1U : 0U));
                    BOOST_TEST(w.disk().count(0).short_lengths == (counts ? 1U : 0U));
                    exercise(w);
                }
}

BOOST_AUTO_TEST_CASE(an_identifier_is_padded_whatever_the_device_does) {
    for (const std::string& text : {std::string{}, std::string{"abc"}, std::string{"nineteen-characters"}}) {
        world w{one_disk([&](blk_configuration& c) { c.identifier = text; })};
        w.start_all();
        block::virtio_blk::id_string id;
        w.model().inject(fault::wrong_data); // leaves all twenty bytes full
        BOOST_TEST(w.await([&] { return w.disk().get_id(id); }) == status::ok);
        w.model().behave.pads_identifier = false;
        std::string expected = text;
        expected.resize(20, '\0');
        for (const char before : {'x', '\0'}) {
            id.fill(before);
            BOOST_TEST(w.await([&] { return w.disk().get_id(id); }) == status::ok);
            BOOST_TEST(std::string(id.data(), id.size()) == expected);
        }
    }
}

BOOST_AUTO_TEST_CASE(the_physical_block_follows_from_its_exponent) {
    for (const unsigned exponent : {0U, 1U, 3U, 15U, 16U, 22U, 23U, 31U, 32U, 255U})
        for (const std::uint32_t block : {512U, 4096U}) {
            world w{one_disk([=](blk_configuration& c) { c.blk_size = block; })};
            w.model().set_configuration(24, exponent);
            BOOST_REQUIRE_EQUAL(w.start(), virtio::error::none);
            const std::uint32_t believed = exponent < 16 ? block << exponent : block;
            BOOST_TEST(w.disk().properties().physical_block_size == believed);
            BOOST_TEST(w.disk().properties().logical_block_size == block);
        }
}

// The length of a used element has 32 bits and counts the status byte; and no descriptor is empty.
BOOST_AUTO_TEST_CASE(no_request_is_larger_than_a_length_can_tell) {
    constexpr std::size_t gibibyte = std::size_t{1} << 30;
    for (const std::uint32_t size_max : {0U, 0xffff'ffffU, 1U << 31, 1U << 20}) {
        mute_world w;
        w.device.features |= block::virtio_blk::feature::seg_max;
        if (size_max != 0)
            w.device.features |= block::virtio_blk::feature::size_max;
        w.device.capacity = std::uint64_t{1} << 32; // sectors
        w.device.size_max = size_max;
        w.device.seg_max = 254;
        w.start();
        BOOST_TEST(w.disk.properties().size_max <= block::max_bytes);
        std::byte* const start = w.host.allocate(512, 512);
        std::uint16_t served = 0;
        const std::vector<std::span<std::byte>> whole{{start, 5 * gibibyte}};
        const std::vector<std::span<std::byte>> parts{{start, gibibyte - 512}, {start, 512},
                                                      {start, gibibyte},       {start, 512},
                                                      {start, 2 * gibibyte},   {start, 512}};
        for (const auto* const list : {&whole, &parts}) {
            std::uint64_t left = 0;
            for (const auto& each : *list)
                left += each.size();
            unsigned ends = 0;
            const auto work = [&]() -> task<void> {
                const status outcome = co_await w.disk.read(0, *list);
                BOOST_TEST(outcome == status::ok);
                ++ends;
            };
            BOOST_REQUIRE(w.scope.spawn(work()));
            for (unsigned idle = 0; ends == 0 && idle < 10; ++idle) {
                w.hart.tick();
                if (w.available() != served) {
                    idle = 0;
                    const std::uint16_t first = w.head(served++);
                    const std::uint64_t bytes = check_data_segments(w.chain(first));
                    BOOST_TEST(bytes <= block::max_bytes);
                    BOOST_TEST(bytes <= left);
                    left -= bytes;
                    w.use(first, w.writable(first));
                }
                w.interrupt();
            }
            BOOST_REQUIRE(ends == 1U);
            BOOST_TEST(left == 0U);
            w.hart.tick();
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
