#include "tests/host/hostile_matrix/aftermath.hpp"

#include "tests/host/request_group.hpp"

namespace inflight::test::hostile {

namespace {

// A lost disk fails every request at once, for good, and without another access.
void check_lost(world& w) {
    auto memory = w.buffer(512);
    const std::uint64_t accesses = w.model().access_count();
    const ticks time = w.host.time();
    for (unsigned i = 0; i < 3; ++i)
        BOOST_TEST(w.read(0, memory) == status::device_lost);
    BOOST_TEST(w.flush() == status::device_lost);
    BOOST_TEST(w.discard(0, 8) == status::device_lost);
    BOOST_TEST(w.model().access_count() == accesses);
    BOOST_TEST(w.host.time() - time < 10'000U);
}

} // namespace

void check_aftermath(const run& it, world& w) {
    w.model().clear_faults();
    w.model().behave = {};
    w.settle();
    if (w.disk().lost())
        return check_lost(w);
    if (it.fault.what == removed) { // nobody has noticed yet
        auto memory = w.buffer(512);
        const status outcome = w.read(0, memory);
        BOOST_TEST((outcome == status::device_lost || outcome == status::timed_out));
        BOOST_TEST(w.disk().lost());
        return check_lost(w);
    }
    if (it.device.packed && w.model().queue_broken(0)) { // nobody has noticed yet
        auto memory = w.buffer(512);
        BOOST_TEST(w.read(0, memory) == status::timed_out);
        BOOST_TEST(!w.model().queue_broken(0));
    }
    if (w.model().capacity() == 0) {
        auto memory = w.buffer(512);
        const status outcome = w.read(0, memory);
        const bool was_told = it.when.what != state::probing; // before DRIVER_OK, nobody is
        BOOST_TEST((outcome == status::out_of_range || (outcome == status::io_error && !was_told)));
        w.model().set_capacity(512);
        w.settle();
    }
    BOOST_REQUIRE(w.disk().properties().logical_block_size == 512U);
    // All slots are there.
    const block::disk_properties& properties = w.disk().properties();
    const std::size_t slots = std::size_t{properties.slots_per_queue} * properties.queues;
    request_group fill{w, request_group::stopping::possible};
    w.model().behave.hold = true;
    for (std::size_t i = 0; i < slots; ++i)
        fill.start(i % 48, 512, 512, false);
    w.settle();
    BOOST_TEST(w.model().in_flight() == slots);
    w.model().behave.hold = false;
    w.model().release();
    w.finish();
    fill.check(0, [](status outcome) { return outcome == status::ok; });
    // And every kind of request works.
    auto memory = w.buffer(4096);
    fill_pattern(memory, 9);
    BOOST_TEST(w.write(16, memory) == status::ok);
    const auto pieces = cut(memory, 512);
    BOOST_TEST(w.await([&] { return w.disk().read(16, pieces); }) == status::ok);
    BOOST_TEST(same(memory, w.on_disk(16, 8)));
    BOOST_TEST(w.flush() == status::ok);
    BOOST_TEST(w.discard(32, 8) == status::ok);
}

} // namespace inflight::test::hostile
