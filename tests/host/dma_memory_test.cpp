// The driver on a kernel whose devices reach none of its callers' buffers (bouncing_memory.hpp): buffers are cut where their pages
// end, each piece is shared with the device as long as the device has it and no longer, and requests wait for room.
//
// The model follows the addresses of the chains, so an address that was not shared is reported as not in memory.
#include "async/counting_scope.hpp"
#include "async/stop_token.hpp"
#include "tests/host/neighbour.hpp"
#include "tests/host/random_work.hpp"
#include "tests/host/requests_of_all_kinds.hpp"

#include <cstdio>
#include <optional>

namespace {

using namespace inflight;
using namespace inflight::test;

constexpr std::size_t page = dma_memory::page_size;

setup bounced(std::size_t pool, const std::function<void(blk_configuration&)>& change = {}) {
    setup s = one_disk(change);
    s.bounce_pool = pool;
    s.machine.memory_bytes = std::size_t{2} << 20;
    s.frame_memory = std::size_t{1} << 20;
    return s;
}

void without(blk_configuration& c, unsigned feature) {
    c.features = c.features.value_or(model::usual_features(c.version)) & ~bits::bit(feature);
}

// A buffer that begins so far behind the beginning of a page.
std::span<std::byte> buffer_at(world& w, std::size_t offset, std::size_t bytes) {
    return {w.bouncing->unreachable(offset + bytes, page) + offset, bytes};
}

bool all_poison(std::span<const std::byte> bytes) {
    return std::all_of(bytes.begin(), bytes.end(),
                       [](std::byte each) { return each == std::byte{bouncing_memory::poison}; });
}

void check_balance(world& w) {
    BOOST_TEST(w.bouncing->now_shared() == 0U);
    BOOST_TEST(w.bouncing->shares == w.bouncing->unshares);
}

// The device has asked for its reset: it is done.
void reset(world& w) {
    const std::uint64_t before = w.disk().count().resets;
    w.model().raise_needs_reset();
    w.run_until([&] { return w.disk().count().resets == before + 1; });
}

} // namespace

BOOST_AUTO_TEST_SUITE(dma_memory_tests)

BOOST_AUTO_TEST_CASE(every_kind_of_request_goes_through_the_pool) {
    for (const std::uint32_t version : {2U, 1U})
        for (const std::uint32_t ring : {8U, 512U})
            for (const unsigned queues : {1U, 3U})
                for (const bool indirect : {true, false})
                    BOOST_TEST_CONTEXT("version " << version << ", ring of " << ring << ", " << queues
                                                  << " queues, INDIRECT_DESC " << indirect) {
                        world w{bounced(std::size_t{256} << 10, [&](auto& c) {
                            c.version = version;
                            c.queue_size_max = ring;
                            c.queues = queues;
                            if (!indirect)
                                without(c, bits::indirect_desc);
                        })};
                        w.start_all();
                        exercise(w);
                        BOOST_TEST(w.bouncing->shares > 0U);
                        requests_of_all_kinds requests{w};
                        for (int i = 0; i < 4; ++i)
                            requests.start_all();
                        w.finish();
                        requests.check(status::ok);
                        check_balance(w);
                    }
}

BOOST_AUTO_TEST_CASE(access_platform_is_accepted_and_kept) {
    world w{bounced(std::size_t{64} << 10,
                    [](auto& c) { c.features = model::usual_features(2) | bits::bit(bits::access_platform); })};
    w.start_all();
    BOOST_TEST(w.model().accepted(bits::access_platform));
    exercise(w);
    check_balance(w);
}

// Each page is a segment of its own, and so are both parts of a block that lies across two pages.
BOOST_AUTO_TEST_CASE(a_buffer_is_cut_where_its_pages_end) {
    struct {
        std::size_t offset;
        std::size_t bytes;
        std::uint64_t pieces;
    } const cases[] = {{0, page, 1},     {512, page, 2},     {page - 512, 1024, 2},
                       {8, 2 * page, 6}, {page - 8, 512, 2}, {0, 5 * page, 5},
                       {100, 512, 1},    {page - 1, 512, 2}, {2048, 10 * page, 11}};
    for (const auto& each : cases)
        BOOST_TEST_CONTEXT(each.bytes << " bytes at offset " << each.offset) {
            world w{bounced(std::size_t{64} << 10)};
            w.start_all();
            auto memory = buffer_at(w, each.offset, each.bytes);
            BOOST_TEST(w.read(5, memory) == status::ok);
            BOOST_TEST(same(memory, w.on_disk(5, each.bytes / 512)));
            BOOST_TEST(w.bouncing->shares == each.pieces);
            BOOST_TEST(w.model().total().requests == 1U);
            fill_pattern(memory, 3);
            BOOST_TEST(w.write(100, memory) == status::ok);
            BOOST_TEST(same(memory, w.on_disk(100, each.bytes / 512)));
            BOOST_TEST(w.bouncing->shares == 2 * each.pieces);
            check_balance(w);
        }
}

BOOST_AUTO_TEST_CASE(random_work_comes_out_right_through_a_small_pool) {
    std::uint64_t refused = 0;
    for (std::uint64_t seed = 1; seed <= 25; ++seed)
        BOOST_TEST_CONTEXT("seed " << seed) {
            random_work work{seed, false, true};
            work.run();
            refused += work.refused;
        }
    std::printf("the pool had no room %llu times\n", static_cast<unsigned long long>(refused));
    BOOST_TEST(refused > 500U);
}

// Without indirect descriptors a request has one segment, so a block across two pages has no place.
BOOST_AUTO_TEST_CASE(a_block_across_pages_needs_two_segments) {
    for (const bool indirect : {true, false}) {
        world w{bounced(std::size_t{64} << 10, [&](auto& c) {
            if (!indirect)
                without(c, bits::indirect_desc);
        })};
        w.start_all();
        auto across = buffer_at(w, page - 256, 512);
        auto later = buffer_at(w, page - 1024 - 256, 2048); // two blocks before the one that does
        const status expected = indirect ? status::ok : status::invalid_argument;
        BOOST_TEST(w.read(0, across) == expected);
        BOOST_TEST(w.write(0, across) == expected);
        BOOST_TEST(w.read(8, later) == expected);
        BOOST_TEST(w.read(16, buffer_at(w, 512, 512)) == status::ok);
        check_balance(w);
    }
}

// What is in flight is shared anew after the reset; what the device was given before is taken back once it has confirmed it.
BOOST_AUTO_TEST_CASE(a_reset_shares_anew) {
    for (const std::uint32_t version : {2U, 1U})
        for (const std::size_t pool : {std::size_t{24} << 10, std::size_t{256} << 10})
            for (const bool scribbles : {false, true})
                BOOST_TEST_CONTEXT("version " << version << ", pool of " << pool << ", scribbles " << scribbles) {
                    world w{bounced(pool, [&](auto& c) {
                        c.version = version;
                        c.queue_size_max = 16;
                    })};
                    w.start_all();
                    requests_of_all_kinds requests{w};
                    w.model().behave.hold = true;
                    for (int i = 0; i < 3; ++i)
                        requests.start_all();
                    for (int i = 0; i < 3; ++i) {
                        w.settle();
                        if (scribbles)
                            w.model().scribble_over_everything();
                        const std::size_t shared = w.bouncing->now_shared();
                        const std::uint64_t shares = w.bouncing->shares;
                        BOOST_TEST(shared > 0U);
                        reset(w);
                        w.settle();
                        BOOST_TEST(w.bouncing->now_shared() == shared);
                        BOOST_TEST(w.bouncing->shares >=
                                   shares + shared); // more, if not all of a request has found room
                    }
                    w.model().behave.hold = false;
                    w.model().release();
                    w.finish();
                    requests.check(status::ok);
                    check_balance(w);
                    exercise(w);
                }
}

// A device that breaks the rules keeps nothing either.
BOOST_AUTO_TEST_CASE(a_protocol_violation_leaks_nothing) {
    for (const fault what : {fault::used_id_out_of_range, fault::used_duplicate, fault::length_too_long,
                             fault::used_index_jump, fault::status_not_written, fault::length_too_short}) {
        world w{bounced(std::size_t{64} << 10)};
        w.start_all();
        w.model().inject(what, 3);
        requests_of_all_kinds requests{w};
        requests.start_all();
        requests.start_all();
        w.finish();
        for (const auto& each : requests.all)
            BOOST_TEST(each->ends == 1U);
        check_balance(w);
        exercise(w);
    }
}

// One request that does not fit ends; one that fits, but not now, waits.
BOOST_AUTO_TEST_CASE(what_never_fits_ends_with_out_of_memory) {
    world w{bounced(2 * page)};
    w.start_all();
    auto large = buffer_at(w, 0, 4 * page);
    auto small = buffer_at(w, 0, page);
    fill_pattern(large, 1);
    for (int i = 0; i < 3; ++i) {
        BOOST_TEST(w.write(0, large) == status::out_of_memory);
        BOOST_TEST(w.bouncing->now_shared() == 0U);
        BOOST_TEST(w.read(8, small) == status::ok);
        BOOST_TEST(same(small, w.on_disk(8, 8)));
    }
    BOOST_TEST(w.model().total().requests == 3U);
    // The same with others around it: those that fit are not disturbed.
    std::vector<status> outcomes(9, status::device_lost);
    auto work = [&](unsigned i, std::span<std::byte> memory) -> task<void> {
        outcomes[i] = co_await w.disk().read(64 * i, memory);
    };
    for (unsigned i = 0; i < 9; ++i)
        w.spawn(work(i, i % 3 == 1 ? large : buffer_at(w, 0, page)));
    w.finish();
    for (unsigned i = 0; i < 9; ++i)
        BOOST_TEST(outcomes[i] == (i % 3 == 1 ? status::out_of_memory : status::ok));
    check_balance(w);
}

BOOST_AUTO_TEST_CASE(what_does_not_fit_now_waits_in_line) {
    for (const bool indirect : {true, false}) {
        world w{bounced(3 * page, [&](auto& c) {
            if (!indirect)
                without(c, bits::indirect_desc);
        })};
        w.start_all();
        std::vector<std::uint64_t> taken; // in the order in which the device was given them
        w.model().behave.latency_for = [&](const model::request_view& view) {
            taken.push_back(view.sector);
            return std::optional<ticks>{};
        };
        unsigned right = 0;
        auto work = [&](unsigned i) -> task<void> {
            auto memory = buffer_at(w, 0, page);
            BOOST_TEST((co_await w.disk().read(8 * i, memory)) == status::ok);
            right += same(memory, w.on_disk(8 * i, 8)) ? 1 : 0;
        };
        for (unsigned i = 0; i < 50; ++i)
            w.spawn(work(i));
        w.finish();
        BOOST_TEST(right == 50U);
        BOOST_TEST(std::is_sorted(taken.begin(), taken.end()));
        BOOST_TEST(w.disk().count().waited > 40U);
        BOOST_TEST(w.bouncing->max_shared == 2U);
        check_balance(w);
    }
}

// A request of several pieces is larger than the pool, and each of its pieces is not.
BOOST_AUTO_TEST_CASE(pieces_of_one_request_wait_for_each_other) {
    world w{bounced(3 * page, [](auto& c) { c.seg_max = 2; })};
    w.start_all();
    auto memory = buffer_at(w, 0, 16 * page);
    BOOST_TEST(w.read(0, memory) == status::ok);
    BOOST_TEST(same(memory, w.on_disk(0, 128)));
    fill_pattern(memory, 9);
    BOOST_TEST(w.write(256, memory) == status::ok);
    BOOST_TEST(same(memory, w.on_disk(256, 128)));
    const auto pieces = cut(memory, 1024);
    BOOST_TEST(w.await([&] { return w.disk().read(64, pieces); }) == status::ok);
    BOOST_TEST(same(memory, w.on_disk(64, 128)));
    check_balance(w);
}

// While one waits for room the device is reset, changes, or one in line is stopped or has its time over.
BOOST_AUTO_TEST_CASE(what_waits_for_room_can_be_stopped_and_times_out) {
    world w{bounced(3 * page)};
    w.start_all();
    w.model().behave.hold = true;
    std::array<std::optional<status>, 6> outcomes;
    std::array<std::span<std::byte>, 6> memory;
    async::stop_source stop;
    auto work = [&](unsigned i, ticks timeout, bool may_stop) -> task<void> {
        memory[i] = buffer_at(w, 0, page);
        outcomes[i] = co_await w.disk().read(
            8 * i, memory[i], {.token = may_stop ? stop.get_token() : async::stop_token{}, .timeout = timeout});
    };
    w.spawn(work(0, 0, true));  // with the device, and not stopped before that is reset
    w.spawn(work(1, 0, false)); // with the device
    w.spawn(work(2, 0, true));
    w.spawn(work(3, 40'000, false));
    w.spawn(work(4, 0, false));
    w.spawn(work(5, 0, true));
    w.settle();
    BOOST_TEST(w.model().in_flight() == 2U);
    stop.request_stop();
    w.settle();
    BOOST_TEST((outcomes[2] == status::cancelled));
    BOOST_TEST((outcomes[5] == status::cancelled));
    BOOST_TEST(all_poison(memory[2]));
    w.run_until([&] { return outcomes[3].has_value(); });
    BOOST_TEST((outcomes[3] == status::timed_out));
    BOOST_TEST(w.disk().count().resets == 0U);
    BOOST_TEST(!outcomes[4].has_value());
    w.model().set_capacity(4000);
    w.settle();
    reset(w);
    w.settle();
    BOOST_TEST(w.bouncing->now_shared() == 2U); // the two that are left
    w.model().behave.hold = false;
    w.model().release();
    w.finish();
    BOOST_TEST((outcomes[0] == status::cancelled));
    for (const unsigned i : {1U, 4U}) {
        BOOST_TEST((outcomes[i] == status::ok));
        BOOST_TEST(same(memory[i], w.on_disk(8 * i, 8)));
    }
    check_balance(w);
}

// The device has one whose time is over: the reset for it takes all back, and the others are shared anew.
BOOST_AUTO_TEST_CASE(what_times_out_with_the_device_is_taken_back) {
    world w{bounced(std::size_t{64} << 10)};
    w.start_all();
    w.model().behave.hold = true;
    requests_of_all_kinds requests{w};
    requests.start_all();
    auto memory = buffer_at(w, page - 512, 1024);
    std::optional<status> outcome;
    auto hurried = [&]() -> task<void> {
        outcome = co_await w.disk().read(1000, memory, {.timeout = 40'000});
    };
    w.spawn(hurried());
    w.run_until([&] { return outcome.has_value(); });
    BOOST_TEST((outcome == status::timed_out));
    BOOST_TEST(w.disk().count().resets == 1U);
    w.model().behave.hold = false;
    w.model().release();
    w.finish();
    requests.check(status::ok);
    check_balance(w);
}

// It has not confirmed its reset, so it may still use what it has: that is never taken back, and no buffer is written.
BOOST_AUTO_TEST_CASE(what_a_lost_device_has_stays_shared) {
    setup s = bounced(std::size_t{64} << 10, [](auto& c) { c.queue_size_max = 16; });
    s.machine.cost_of_access = 5000;
    world w{s};
    w.start_all();
    w.model().behave.hold = true;
    std::vector<std::span<std::byte>> memory;
    std::vector<status> outcomes(20, status::ok);
    auto work = [&](unsigned i) -> task<void> {
        outcomes[i] = co_await w.disk().read(8 * i, memory[i]);
    };
    for (unsigned i = 0; i < 20; ++i) {
        memory.push_back(buffer_at(w, page - 512, 1024));
        w.spawn(work(i));
    }
    w.settle();
    const std::size_t in_flight = w.model().in_flight();
    BOOST_TEST(in_flight == 16U);
    BOOST_TEST(w.bouncing->now_shared() == 2 * in_flight);
    w.model().inject(fault::reset_never);
    w.model().raise_needs_reset();
    w.finish();
    BOOST_TEST(w.disk().lost());
    for (unsigned i = 0; i < 20; ++i) {
        BOOST_TEST(outcomes[i] == status::device_lost);
        BOOST_TEST(all_poison(memory[i]));
    }
    BOOST_TEST(w.bouncing->unshares == 0U);
    BOOST_TEST(w.bouncing->now_shared() == 2 * in_flight);
    BOOST_TEST(w.read(0, memory[0]) == status::device_lost);
    w.bouncing->kept_by_lost_devices = 2 * in_flight;
}

// A request that fails leaves nothing shared, and a part of a read that was done is in the buffer.
BOOST_AUTO_TEST_CASE(what_fails_is_taken_back) {
    world w{bounced(3 * page, [](auto& c) { c.seg_max = 1; })};
    w.start_all();
    w.model().behave.bad_sectors = {8, 20};
    auto memory = buffer_at(w, 0, 6 * page);
    BOOST_TEST(w.read(0, memory) == status::io_error);
    BOOST_TEST(same(memory.first(page), w.on_disk(0, 8)));
    BOOST_TEST(w.write(0, memory) == status::io_error);
    check_balance(w);
}

// Two disks share a pool. One that finds no room, and has nothing with its own device that could make some, says so.
BOOST_AUTO_TEST_CASE(who_holds_nothing_does_not_wait_for_others) {
    setup s = bounced(3 * page);
    s.disks.resize(2);
    world w{s};
    w.start_all();
    w.model(0).behave.hold = true;
    std::array<std::optional<status>, 3> outcomes;
    auto work = [&](unsigned i, std::size_t disk) -> task<void> {
        outcomes[i] = co_await w.disk(disk).read(0, buffer_at(w, 0, page));
    };
    w.spawn(work(0, 0));
    w.spawn(work(1, 0));
    w.settle();
    w.spawn(work(2, 1));
    w.settle();
    BOOST_TEST((outcomes[2] == status::out_of_memory));
    w.model(0).behave.hold = false;
    w.model(0).release();
    w.finish();
    BOOST_TEST((outcomes[0] == status::ok && outcomes[1] == status::ok));
    BOOST_TEST(w.read(0, buffer_at(w, 0, page), 1) == status::ok);
    check_balance(w);
}

// A hart without a queue: its requests are shared where they are submitted.
BOOST_AUTO_TEST_CASE(requests_of_another_hart_are_shared_too) {
    setup s = bounced(5 * page, [](auto& c) { c.queue_size_max = 8; });
    s.machine.harts = 2;
    world w{s};
    neighbour other{w};
    unsigned right = 0;
    auto work = [&](unsigned i) -> task<void> {
        auto memory = buffer_at(w, 512 * (i % 8), page);
        const status outcome = co_await w.disk().read(8 * i, memory);
        right += outcome == status::ok && same(memory, w.on_disk(8 * i, 8)) ? 1 : 0;
        fill_pattern(memory, i);
        const status written = co_await w.disk().write(8 * i, memory);
        right += written == status::ok && same(memory, w.on_disk(8 * i, 8)) ? 1 : 0;
        BOOST_TEST(arch::this_hart() == 1U);
    };
    for (unsigned i = 0; i < 20; ++i)
        other.spawn(work(i));
    other.rounds(2000);
    BOOST_TEST(right == 40U);
    BOOST_TEST(w.disk().count().forwarded == 40U);
    check_balance(w);
}

BOOST_AUTO_TEST_SUITE_END()
