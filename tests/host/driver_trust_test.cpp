// What the driver believes of a device, and for how long.
//
// Devices that write over what they share, use what they were never given, ask for a reset at any moment, count
// used lengths wrongly, and are slow; and a clock that steps. The model is the oracle of what reaches the device; where a test
// needs a device that says exactly one thing, `mute_device` is a transport without a model.
#include "async/stop_token.hpp"
#include "drivers/block/limits.hpp"
#include "tests/host/mute_world.hpp"
#include "tests/host/requests_of_all_kinds.hpp"

#include <map>
#include <optional>
#include <type_traits>
#include <utility>

namespace {

using namespace inflight;
using namespace inflight::test;
namespace bits = model::feature;
namespace blk = block::virtio_blk;
using block::disk_event;
using virtio::error;
template <typename T>
concept readable_back = requires(const T& field) {
    field.load();
};

} // namespace

BOOST_AUTO_TEST_SUITE(driver_trust)

// ---- the driver's half of memory ----

BOOST_AUTO_TEST_SUITE(halves)

// What is given to the device has no way back, by its type; descriptors consist of nothing else.
static_assert(!readable_back<virtio::driver_written<std::uint64_t>>);
static_assert(readable_back<virtio::device_written<std::uint32_t>>);
static_assert(std::is_same_v<decltype(virtio::descriptor::address), virtio::driver_written<std::uint64_t>>);
static_assert(std::is_same_v<decltype(virtio::descriptor::length), virtio::driver_written<std::uint32_t>>);
static_assert(std::is_same_v<decltype(virtio::descriptor::flags), virtio::driver_written<std::uint16_t>>);
static_assert(std::is_same_v<decltype(virtio::descriptor::next), virtio::driver_written<std::uint16_t>>);

BOOST_AUTO_TEST_CASE(they_share_no_page) {
    struct recorder final : dma_memory {
        explicit recorder(machine& of) : host{of} {}
        std::byte* allocate(std::size_t bytes, std::size_t alignment) noexcept override {
            std::byte* const given = host.allocate(bytes, alignment);
            note(inside_private ? ours : devices, given, bytes);
            return given;
        }
        std::byte* allocate_private(std::size_t bytes, std::size_t alignment) noexcept override {
            inside_private = true;
            std::byte* const given = dma_memory::allocate_private(bytes, alignment);
            inside_private = false;
            return given;
        }
        void note(std::set<std::uintptr_t>& pages, const std::byte* from, std::size_t bytes) const {
            const std::uint64_t first = arch::device_address(from);
            for (std::uint64_t page = first / 4096; page <= (first + bytes - 1) / 4096; ++page)
                pages.insert(page);
        }
        machine& host;
        std::set<std::uintptr_t> ours;
        std::set<std::uintptr_t> devices;
        bool inside_private = false;
    };
    for (const std::uint32_t ring : {8U, 256U, 1024U}) {
        std::optional<modern_transport> transport; // these outlive the executor, which asks them for completions
        std::optional<block::disk> disk;
        world w{setup_of(2, true, ring)};
        recorder memory{w.host};
        const std::uintptr_t registers = w.model().configuration().base;
        BOOST_REQUIRE_EQUAL(virtio::identify_mmio(registers).outcome, error::none);
        transport.emplace(registers);
        disk.emplace(*transport);
        BOOST_REQUIRE_EQUAL(disk->start(memory, {}), error::none);
        BOOST_TEST(!memory.ours.empty());
        for (const std::uintptr_t page : memory.ours)
            BOOST_TEST(!memory.devices.contains(page));
    }
}

// The device writes over everything that it shares, and asks for its reset. What comes back is what was asked for, and no
// memory but the buffers of these requests is ever named to the device: the model reads and writes where the chains say, so a
// foreign address shows as wrong data, or in the guards around each buffer.
BOOST_AUTO_TEST_CASE(what_the_device_has_written_over_comes_back_from_ours) {
    for (const std::uint32_t version : {2U, 1U})
        for (const bool indirect : {true, false})
            for (const std::uint32_t ring : {8U, 64U, 512U})
                for (const unsigned times : {1U, 3U})
                    BOOST_TEST_CONTEXT("version " << version << ", INDIRECT_DESC " << indirect << ", ring of " << ring
                                                  << ", " << times << " times") {
                        world w{setup_of(version, indirect, ring)};
                        w.start_all();
                        auto guard = w.buffer(4096);
                        fill_pattern(guard, 99);
                        requests_of_all_kinds requests{w};
                        w.model().behave.hold = true;
                        requests.start_all();
                        requests.start_all(); // with a small ring, some are in line
                        auto guard_behind = w.buffer(4096);
                        fill_pattern(guard_behind, 98);
                        for (unsigned i = 0; i < times; ++i) {
                            w.settle();
                            w.model().scribble_over_everything();
                            w.model().raise_needs_reset();
                            w.run_until([&] { return w.disk().count().resets == i + 1; });
                        }
                        w.model().behave.hold = false;
                        w.model().release();
                        w.finish();
                        requests.check(status::ok);
                        BOOST_TEST(w.disk().count().resets == times);
                        std::vector<std::byte> expected(4096);
                        fill_pattern(expected, 99);
                        BOOST_TEST(same(guard, expected));
                        fill_pattern(expected, 98);
                        BOOST_TEST(same(guard_behind, expected));
                        exercise(w);
                    }
}

BOOST_AUTO_TEST_SUITE_END()

// ---- only what was published ----

BOOST_AUTO_TEST_SUITE(published)

task<void> read_into(block::disk& disk, std::uint64_t sector, std::span<std::byte> buffer, status& outcome) {
    outcome = co_await disk.read(sector, buffer);
}

// Three reads are published, and two more are offered in the round in which the device is looked at again.
struct edges {
    explicit edges(const std::function<void(mute_world&)>& then) : w{poll_mode::always} {
        w.start();
        std::byte* const memory = w.host.allocate(std::size_t{5} * 512, 512);
        for (unsigned i = 0; i < 3; ++i)
            BOOST_REQUIRE(w.scope.spawn(read_into(w.disk, i, {memory + i * std::size_t{512}, 512}, outcomes[i])));
        w.rounds(1);
        BOOST_REQUIRE_EQUAL(w.available(), 3);
        for (unsigned i = 3; i < 5; ++i)
            BOOST_REQUIRE(w.scope.spawn(read_into(w.disk, i, {memory + i * std::size_t{512}, 512}, outcomes[i])));
        auto meanwhile = [](mute_world& in, const std::function<void(mute_world&)>& what) -> task<void> {
            BOOST_REQUIRE_EQUAL(in.available(), 3); // offered, and not published
            what(in);
            in.interrupt();
            co_return;
        };
        BOOST_REQUIRE(w.scope.spawn(meanwhile(w, then)));
        w.hart.tick();
    }
    mute_world w;
    std::array<status, 5> outcomes{status::device_lost, status::device_lost, status::device_lost, status::device_lost,
                                   status::device_lost};
};

BOOST_AUTO_TEST_CASE(all_that_was_published_is_believed) {
    edges all{[](mute_world& w) {
        for (unsigned i = 0; i < 3; ++i)
            w.use(w.head(i), 513);
    }};
    BOOST_TEST(all.w.disk.count().protocol_violations == 0U);
    BOOST_TEST(all.w.disk.count(0).requests == 3U);
    all.w.finish();
}

BOOST_AUTO_TEST_CASE(more_than_was_published_is_a_lie) {
    for (const unsigned used : {4U, 5U}) { // one more, and as many as were offered: all lie in the ring already
        edges all{[used](mute_world& w) {
            for (unsigned i = 0; i < used; ++i)
                w.use(w.head(i), 513);
        }};
        BOOST_TEST(all.w.disk.count().protocol_violations == 1U);
        BOOST_TEST(all.w.disk.count(0).requests == 0U);
        all.w.begin_again();
        all.w.finish();
    }
}

BOOST_AUTO_TEST_CASE(one_that_was_offered_in_place_of_a_published_one_is_a_lie) {
    for (const unsigned guessed : {3U, 4U})
        for (const std::uint32_t length : {513U, 1U}) { // the short one takes the closer look
            edges all{[guessed, length](mute_world& w) {
                w.use(w.head(0), 513);
                w.use(w.head(guessed), length);
            }};
            BOOST_TEST(all.w.disk.count().protocol_violations == 1U);
            BOOST_TEST(all.w.disk.count(0).requests == 1U);
            BOOST_TEST((all.outcomes[guessed] != status::ok));
            all.w.begin_again();
            all.w.finish();
            BOOST_TEST((all.outcomes[0] == status::ok));
        }
}

// A slot that is used, taken again and offered between two looks, both before the next publish.
BOOST_AUTO_TEST_CASE(a_slot_that_comes_round_within_a_round_is_not_believed_early) {
    mute_world w{poll_mode::always};
    w.start();
    std::byte* const memory = w.host.allocate(1024, 512);
    unsigned reads = 0;
    auto work = [&]() -> task<void> {
        static_cast<void>(co_await w.disk.read(0, std::span{memory, 512}));
        ++reads;
        static_cast<void>(co_await w.disk.read(1, std::span{memory, 512}));
        ++reads;
    };
    BOOST_REQUIRE(w.scope.spawn(work()));
    w.rounds(1);
    BOOST_REQUIRE_EQUAL(w.available(), 1);
    const std::uint16_t first = w.head(0);
    // Ends the first: the same slot is taken again in this round, before anything is published.
    w.use(first, 513);
    w.interrupt();
    w.hart.tick();
    BOOST_TEST(reads == 1U);
    BOOST_TEST(w.disk.count().protocol_violations == 0U);
    w.begin_again();
    w.device.used = 1;
    w.finish();
}

BOOST_AUTO_TEST_SUITE_END()

// ---- DEVICE_NEEDS_RESET at any moment ----

BOOST_AUTO_TEST_SUITE(resets)

// At each access of the initialisation, once: it begins again, and the disk works.
BOOST_AUTO_TEST_CASE(one_that_is_needed_during_the_initialisation_is_done) {
    for (const std::uint32_t version : {2U, 1U}) {
        std::uint64_t accesses = 0;
        {
            world w{setup_of(version, true, 8)};
            w.start_all();
            accesses = w.model().access_count();
        }
        BOOST_REQUIRE(accesses > 20U);
        for (std::uint64_t at = 0; at < accesses; ++at)
            BOOST_TEST_CONTEXT("version " << version << ", access " << at << " of " << accesses) {
                world w{setup_of(version, true, 8)};
                w.model().behave.before_access = [&](std::uint64_t number, std::uint64_t, bool) {
                    if (number == at)
                        w.model().raise_needs_reset();
                };
                BOOST_REQUIRE_EQUAL(w.start(), error::none);
                requests_of_all_kinds requests{w};
                requests.start_all();
                w.finish();
                requests.check(status::ok);
            }
    }
}

// The same during a reset, with requests inside.
BOOST_AUTO_TEST_CASE(one_that_is_needed_during_a_reset_is_done) {
    for (const std::uint32_t version : {2U, 1U}) {
        std::uint64_t accesses = 40;
        for (std::uint64_t at = 0; at < accesses; ++at)
            BOOST_TEST_CONTEXT("version " << version << ", access " << at << " after the first") {
                world w{setup_of(version, true, 8)};
                w.start_all();
                w.model().behave.hold = true;
                requests_of_all_kinds requests{w};
                requests.start_all();
                w.settle();
                std::uint64_t seen = 0;
                w.model().behave.before_access = [&](std::uint64_t, std::uint64_t, bool) {
                    if (seen++ == at)
                        w.model().raise_needs_reset();
                };
                w.model().raise_needs_reset();
                w.run_until([&] { return w.disk().count().resets != 0; });
                w.model().behave.hold = false;
                w.model().release();
                w.finish();
                requests.check(status::ok);
                BOOST_TEST(!w.disk().lost());
                w.model().behave.before_access = {};
            }
    }
}

BOOST_AUTO_TEST_CASE(a_device_that_always_needs_one_is_given_up_with_the_cause) {
    for (const std::uint32_t version : {2U, 1U}) {
        world w{setup_of(version, true, 8)};
        w.model().behave.before_access = [&](std::uint64_t, std::uint64_t, bool) {
            if ((w.model().status() & virtio::status_bit::driver) != 0)
                w.model().raise_needs_reset();
        };
        BOOST_TEST(w.start() == error::needs_reset);
        BOOST_TEST(w.model().resets() <= 8U);
    }
}

BOOST_AUTO_TEST_CASE(a_device_that_asks_for_resets_only_is_lost) {
    events told;
    setup s = setup_of(2, true, 8);
    told.attach(s);
    world w{s};
    w.start_all();
    w.model().behave.hold = true;
    requests_of_all_kinds requests{w};
    requests.start_all();
    for (unsigned i = 0; i < 40 && w.scope.size() != 0; ++i) {
        w.settle();
        w.model().raise_needs_reset();
        w.settle();
    }
    w.finish();
    requests.check(status::device_lost);
    BOOST_TEST(w.disk().lost());
    BOOST_TEST(w.disk().failure() == error::needs_reset);
    BOOST_TEST(w.disk().count().resets == block::disk::max_fruitless_resets + 1);
    BOOST_TEST(told.count(disk_event::reset_begins) == static_cast<std::ptrdiff_t>(w.disk().count().resets));
    BOOST_TEST(told.count(disk_event::lost) == 1);
}

// Resets for requests whose own time is over are not asked for by the device, however many there are.
BOOST_AUTO_TEST_CASE(a_device_that_swallows_everything_has_not_asked_for_resets) {
    world w{setup_of(2, true, 8)};
    w.start_all();
    w.model().behave.never_complete = [](const model::request_view&) {
        return true;
    };
    auto memory = w.buffer(512);
    for (unsigned i = 0; i < 2 * block::disk::max_fruitless_resets; ++i)
        BOOST_TEST(w.await([&] { return w.disk().read(i, memory, {.timeout = 1000}); }) == status::timed_out);
    BOOST_TEST(!w.disk().lost());
    w.model().behave.never_complete = {};
    exercise(w);
}

// Between two resets that the device asks for, it does something: then it may ask as often as it likes.
BOOST_AUTO_TEST_CASE(a_device_that_works_in_between_is_not_lost) {
    world w{setup_of(2, true, 8)};
    w.start_all();
    auto memory = w.buffer(512);
    for (unsigned i = 0; i < 3 * block::disk::max_fruitless_resets; ++i) {
        BOOST_TEST(w.read(i, memory) == status::ok);
        w.model().raise_needs_reset();
        w.settle();
    }
    BOOST_TEST(!w.disk().lost());
    BOOST_TEST(w.disk().count().resets == 3 * block::disk::max_fruitless_resets);
}

// An interrupt that comes before start() has returned finds no channel to tell, and is not forgotten.
BOOST_AUTO_TEST_CASE(an_interrupt_before_the_end_of_start_is_harmless) {
    for (const std::uint32_t cause : {0U, 1U, 2U, 3U, ~0U}) {
        mute_world w;
        w.device.cause = cause;
        w.disk.handle_line(); // before start()
        w.device.on_driver_ok = [&] {
            w.device.cause = cause;
            w.device.capacity = 4096;
            w.disk.handle_line();
        };
        w.start();
        w.rounds();
        BOOST_TEST(w.disk.properties().capacity == 4096U);
    }
}

BOOST_AUTO_TEST_SUITE_END()

// ---- used lengths ----

BOOST_AUTO_TEST_SUITE(lengths)

BOOST_AUTO_TEST_CASE(a_short_length_with_a_written_status_is_accepted_and_counted) {
    for (const model::used_lengths said :
         {model::used_lengths::zero, model::used_lengths::one, model::used_lengths::data})
        for (const bool strict : {false, true})
            BOOST_TEST_CONTEXT("lengths " << static_cast<int>(said) << ", strict " << strict) {
                events told;
                setup s = setup_of(2, true, 16);
                s.disk.strict_lengths = strict;
                told.attach(s);
                world w{s};
                w.start_all();
                w.model().behave.lengths = said;
                auto memory = w.buffer(512);
                BOOST_TEST(w.read(1, memory) == (strict ? status::device_error : status::ok));
                BOOST_TEST(w.disk().count(0).short_lengths == 1U);
                if (!strict) {
                    exercise(w);
                    BOOST_TEST(w.disk().count(0).short_lengths > 4U);
                }
                BOOST_TEST(w.disk().count().protocol_violations == 0U);
                BOOST_TEST(told.count(disk_event::short_lengths) == 1);
            }
}

BOOST_AUTO_TEST_CASE(a_short_length_without_a_status_fails_the_request) {
    world w{setup_of(2, true, 16)};
    w.start_all();
    w.model().behave.lengths = model::used_lengths::zero;
    w.model().inject(fault::status_not_written);
    auto memory = w.buffer(512);
    BOOST_TEST(w.read(1, memory) == status::device_error);
    BOOST_TEST(w.read(1, memory) == status::ok);
}

BOOST_AUTO_TEST_CASE(a_length_beyond_what_is_writable_is_a_lie) {
    world w{setup_of(2, true, 16)};
    w.start_all();
    w.model().behave.lengths = model::used_lengths::more;
    auto memory = w.buffer(512);
    BOOST_TEST(w.read(1, memory) == status::device_reset);
    BOOST_TEST(w.disk().count().protocol_violations == 1U);
}

BOOST_AUTO_TEST_SUITE_END()

// ---- time ----

BOOST_AUTO_TEST_SUITE(time)

constexpr ticks limit = 40'000;

// Two requests each half of the limit, and a queue that takes many times the limit: slow is not late.
BOOST_AUTO_TEST_CASE(a_slow_device_is_not_late) {
    for (const poll_mode poll : {poll_mode::off, poll_mode::adaptive}) {
        setup s = setup_of(2, true, 128);
        s.disk.request_timeout = limit;
        s.poll = poll;
        world w{s};
        w.start_all();
        w.model().behave.service_interval = limit / 2;
        auto memory = w.buffer(128 * 512);
        unsigned ok = 0;
        auto work = [&](unsigned i) -> task<void> {
            const status outcome = co_await w.disk().read(i, memory.subspan(i * std::size_t{512}, 512));
            ok += outcome == status::ok ? 1 : 0;
        };
        for (unsigned i = 0; i < 128; ++i)
            w.spawn(work(i));
        const ticks began = w.host.time();
        w.finish();
        BOOST_TEST(ok == 128U);
        BOOST_TEST(w.host.time() - began > 50 * limit);
        BOOST_TEST(w.disk().count().resets == 0U);
    }
}

// Some requests take three times the limit, while others are done: the device makes progress.
BOOST_AUTO_TEST_CASE(progress_with_others_is_progress) {
    setup s = setup_of(2, true, 64);
    s.disks[0].queues = 2;
    s.disk.request_timeout = limit;
    world w{s};
    w.start_all();
    auto memory = w.buffer(16 * 512);
    w.model().behave.random_order = true; // else those behind a slow one wait for it
    w.model().behave.latency_for = [](const model::request_view& view) -> std::optional<ticks> {
        return view.sector < 8 ? 3 * limit : limit / 8;
    };
    unsigned slow = 0, quick = 0;
    auto work = [&](unsigned i) -> task<void> {
        const auto into = memory.subspan(i * std::size_t{512}, 512);
        if (i < 8) {
            const status outcome = co_await w.disk().read(i, into);
            slow += outcome == status::ok ? 1 : 0;
            co_return;
        }
        while (slow != 8 && quick < 10'000) {
            const status outcome = co_await w.disk().read(i, into);
            quick += outcome == status::ok ? 1 : 0;
        }
    };
    for (unsigned i = 0; i < 16; ++i)
        w.spawn(work(i));
    w.finish();
    BOOST_TEST(slow == 8U);
    BOOST_TEST(w.disk().count().resets == 0U);
}

// One request is forgotten while the device does everything else: it is overtaken until that can be no accident.
BOOST_AUTO_TEST_CASE(a_request_that_is_overtaken_again_and_again_ends) {
    setup s = setup_of(2, true, 8);
    s.disk.request_timeout = limit;
    world w{s};
    w.start_all();
    bool forgets = true;
    w.model().behave.never_complete = [&](const model::request_view& view) {
        return view.sector == 77 && forgets;
    };
    auto memory = w.buffer(2 * 512);
    std::optional<status> outcome;
    unsigned others = 0;
    auto victim = [&]() -> task<void> {
        outcome = co_await w.disk().read(77, memory.first(512));
        forgets = false;
    };
    auto busy = [&]() -> task<void> {
        while (!outcome.has_value()) {
            BOOST_TEST(co_await w.disk().read(5, memory.subspan(512)) == status::ok);
            ++others;
        }
    };
    w.spawn(victim());
    w.spawn(busy());
    w.finish();
    BOOST_TEST((outcome == status::timed_out));
    BOOST_TEST(others > 32U);
    BOOST_TEST(w.disk().count().resets == 1U);
}

// The clock goes back, below 0 too, or far ahead, with requests inside and in line: no healthy device is reset for it, and the
// watch goes on.
BOOST_AUTO_TEST_CASE(a_clock_that_steps_makes_no_device_late) {
    const auto hour = static_cast<std::int64_t>(3600 * arch::ticks_per_second());
    for (const std::int64_t step :
         {-hour, std::int64_t{-100}, -static_cast<std::int64_t>(limit), hour, static_cast<std::int64_t>(2 * limit)})
        for (unsigned times = 1; times <= 6; ++times)
            BOOST_TEST_CONTEXT("step " << step << ", " << times << " times") {
                setup s = setup_of(2, true, 8);
                s.disk.request_timeout = limit;
                world w{s};
                w.start_all();
                w.model().behave.latency_min = w.model().behave.latency_max = limit / 3;
                auto memory = w.buffer(32 * 512);
                unsigned ok = 0;
                auto work = [&](unsigned i) -> task<void> {
                    for (unsigned n = 0; n < 8; ++n) {
                        const status outcome = co_await w.disk().read(i, memory.subspan(i * std::size_t{512}, 512));
                        ok += outcome == status::ok ? 1 : 0;
                    }
                };
                for (unsigned i = 0; i < 32; ++i)
                    w.spawn(work(i));
                for (unsigned i = 0; i < times; ++i)
                    w.host.after((i + 1) * limit / 5, [&w, step] { w.host.step_clock(step); });
                w.finish();
                BOOST_TEST(ok == 32U * 8);
                BOOST_TEST(w.disk().count().resets == 0U);
            }
}

// A deadline of one request's own: the device is reset for it, and the others are submitted again.
BOOST_AUTO_TEST_CASE(a_request_may_have_a_limit_of_its_own) {
    for (const ticks of_the_disk : {ticks{0}, ticks{100 * limit}})
        for (const bool indirect : {true, false}) {
            setup s = setup_of(2, indirect, 8);
            s.disk.request_timeout = of_the_disk;
            world w{s};
            w.start_all();
            w.model().behave.hold = true;
            auto memory = w.buffer(40 * 512);
            std::vector<std::optional<status>> outcomes(40);
            ticks ended = 0;
            auto work = [&](unsigned i, bool hurries) -> task<void> {
                const auto into = memory.subspan(i * std::size_t{512}, 512);
                if (hurries) {
                    outcomes[i] = co_await w.disk().read(i, into, {.timeout = limit});
                    ended = w.host.time();
                } else {
                    outcomes[i] = co_await w.disk().read(i, into);
                }
            };
            const ticks began = w.host.time();
            for (unsigned i = 0; i < 40; ++i) // the first is with the device, the last in line
                w.spawn(work(i, i == 0 || i == 39));
            w.run_until([&] { return outcomes[0].has_value() && outcomes[39].has_value(); });
            BOOST_TEST((outcomes[0] == status::timed_out));
            BOOST_TEST((outcomes[39] == status::timed_out));
            BOOST_TEST(ended - began >= limit);
            BOOST_TEST(ended - began < limit + 2000);
            BOOST_TEST(w.disk().count().resets == 1U);
            w.model().behave.hold = false;
            w.model().release();
            w.finish();
            for (unsigned i = 1; i < 39; ++i)
                BOOST_TEST((outcomes[i] == status::ok));
            BOOST_TEST(same(memory.subspan(512, 38 * 512), w.on_disk(1, 38)));
            exercise(w); // and nothing is left of it
        }
}

// One that only waits in line ends without a reset.
BOOST_AUTO_TEST_CASE(a_limit_that_ends_in_line_costs_no_reset) {
    world w{setup_of(2, true, 4)};
    w.start_all();
    w.model().behave.hold = true;
    auto memory = w.buffer(8 * 512);
    unsigned ok = 0;
    auto work = [&](unsigned i) -> task<void> {
        const status outcome = co_await w.disk().read(i, memory.subspan(i * std::size_t{512}, 512));
        ok += outcome == status::ok ? 1 : 0;
    };
    for (unsigned i = 0; i < 6; ++i)
        w.spawn(work(i));
    w.settle();
    std::optional<status> read, flush, discard;
    async::stop_source stop;
    auto hurried = [&]() -> task<void> {
        read = co_await w.disk().read(7, memory.last(512), {.token = stop.get_token(), .timeout = limit});
    };
    auto hurried_flush = [&]() -> task<void> {
        block::request each = w.disk().flush();
        each.set_timeout(limit + 1);
        flush = co_await each;
    };
    auto hurried_discard = [&]() -> task<void> {
        block::request each = w.disk().discard(100, 8);
        each.set_timeout(limit - 1);
        discard = co_await each;
    };
    w.spawn(hurried());
    w.spawn(hurried_flush());
    w.spawn(hurried_discard());
    w.run_until([&] { return read.has_value() && flush.has_value() && discard.has_value(); });
    BOOST_TEST((read == status::timed_out));
    BOOST_TEST((flush == status::timed_out));
    BOOST_TEST((discard == status::timed_out));
    w.model().behave.hold = false;
    w.model().release();
    w.finish();
    BOOST_TEST(ok == 6U);
    BOOST_TEST(w.disk().count().resets == 0U);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE_END()
