// Tests of the memory of coroutines: frames of all sizes, and a whole workload that runs out of memory at every allocation in turn.
#include "async/counting_scope.hpp"
#include "async/executor.hpp"
#include "async/frame_slab.hpp"
#include "async/generator.hpp"
#include "async/scheduler.hpp"
#include "async/stop_token.hpp"
#include "async/sync_wait.hpp"
#include "async/task.hpp"
#include "async/when_all.hpp"
#include "async/when_any.hpp"
#include "async/with_timeout.hpp"
#include "tests/host/async/small_tasks.hpp"
#include "tests/host/hart_fixture.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <array>
#include <boost/test/unit_test.hpp>
#include <map>
#include <optional>
#include <span>
#include <tuple>
#include <type_traits>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::async;
using tests::chance;
using tests::expect_panic;
using tests::expect_panic_of;
using tests::for_ever;
using tests::hart;
using tests::pick;
using tests::value_after;

template <std::size_t bytes>
[[gnu::noinline]] task<void> with_buffer(std::size_t& sum) {
    std::array<unsigned char, bytes> buffer;
    for (unsigned char& each : buffer) {
        each = static_cast<unsigned char>(&each - buffer.data());
    }
    co_await yield{};
    for (const unsigned char each : buffer) {
        sum += each;
    }
}

} // namespace

BOOST_AUTO_TEST_SUITE(frame_slab_tests)

BOOST_AUTO_TEST_CASE(frames_are_aligned_apart_counted_and_reused) {
    auto random = chance(6);
    for (int run = 0; run < 20; ++run) {
        const auto region_bytes = pick<std::size_t>(random, 0, 60'000);
        const auto misalignment = pick<std::size_t>(random, 0, 127);
        std::vector<std::byte> region(region_bytes + misalignment);
        const std::span<std::byte> memory{region.data() + misalignment, region_bytes};
        frame_slab real{memory};

        struct block {
            std::byte* start;
            std::size_t bytes;
            std::byte fill;
        };
        // The model: each class may reuse what it has freed; the rest comes from the region once.
        const auto start = reinterpret_cast<std::uintptr_t>(memory.data());
        const std::size_t skip = (64 - start % 64) % 64;
        std::size_t unused =
            region_bytes > skip ? (region_bytes - skip) / 65 * 64 : 0; // a byte of 65 is the slab's own
        std::map<std::size_t, std::vector<std::byte*>> free_of;
        std::map<std::byte*, block> live;
        frame_slab::counters expected{};
        // Above 4 KiB: four sizes between one power of two and the next.
        std::vector<std::size_t> large;
        for (std::size_t power = 4096; power < frame_slab::largest_frame; power *= 2) {
            for (std::size_t quarter = 1; quarter <= 4; ++quarter) {
                large.push_back(power + power / 4 * quarter);
            }
        }
        const auto rounded = [&large](std::size_t bytes) {
            return bytes <= 4096 ? (bytes + 63) / 64 * 64 : *std::lower_bound(large.begin(), large.end(), bytes);
        };

        for (int step = 0; step < 4000; ++step) {
            if (live.empty() || pick(random, 0, 99) < 55) {
                std::size_t bytes = pick<std::size_t>(random, 1, 500);
                switch (pick(random, 0, 19)) {
                case 0: bytes = pick<std::size_t>(random, 1, 2) * 64; break;
                case 1: bytes = 4096; break;
                case 2: bytes = pick<std::size_t>(random, 4097, 10'000); break;
                case 3:
                    bytes = pick(random, 0, 1) == 0 ? frame_slab::largest_frame + 1 : frame_slab::largest_frame;
                    break;
                case 4: bytes = ~std::size_t{0} - pick<std::size_t>(random, 0, 100); break;
                default: break;
                }
                const bool too_large = bytes > frame_slab::largest_frame;
                const std::size_t size = too_large ? 0 : rounded(bytes);
                const bool reuse = !too_large && !free_of[size].empty();
                const bool fits = !too_large && (reuse || size <= unused);
                auto* const got = static_cast<std::byte*>(real.allocate(bytes));
                BOOST_REQUIRE((got != nullptr) == fits);
                if (got == nullptr) {
                    ++expected.failures;
                } else {
                    BOOST_REQUIRE(reinterpret_cast<std::uintptr_t>(got) % 64 == 0);
                    BOOST_REQUIRE(got >= memory.data());
                    BOOST_REQUIRE(got + size <= memory.data() + memory.size());
                    const auto after = live.lower_bound(got);
                    BOOST_REQUIRE(after == live.end() || got + size <= after->first);
                    if (after != live.begin()) {
                        const block& before = std::prev(after)->second;
                        BOOST_REQUIRE(before.start + rounded(before.bytes) <= got);
                    }
                    if (reuse) {
                        auto& candidates = free_of[size];
                        const auto found = std::find(candidates.begin(), candidates.end(), got);
                        BOOST_REQUIRE(found != candidates.end());
                        candidates.erase(found);
                    } else {
                        unused -= size;
                        expected.cut_bytes += size;
                    }
                    const block taken{got, bytes, static_cast<std::byte>(pick(random, 0, 255))};
                    std::fill_n(got, bytes, taken.fill);
                    live.emplace(got, taken);
                    ++expected.allocations;
                    ++expected.live;
                    expected.live_bytes += size;
                }
            } else {
                const auto victim = std::next(
                    live.begin(), pick<std::ptrdiff_t>(random, 0, static_cast<std::ptrdiff_t>(live.size()) - 1));
                const block freed = victim->second;
                live.erase(victim);
                BOOST_REQUIRE(std::all_of(freed.start, freed.start + freed.bytes,
                                          [&](std::byte each) { return each == freed.fill; }));
                real.deallocate(freed.start, freed.bytes);
                free_of[rounded(freed.bytes)].push_back(freed.start);
                --expected.live;
                expected.live_bytes -= rounded(freed.bytes);
            }
            const frame_slab::counters counters = real.count();
            BOOST_REQUIRE(counters.allocations == expected.allocations);
            BOOST_REQUIRE(counters.failures == expected.failures);
            BOOST_REQUIRE(counters.live == expected.live);
            BOOST_REQUIRE(counters.live_bytes == expected.live_bytes);
            BOOST_REQUIRE(counters.cut_bytes == expected.cut_bytes);
        }
    }
}

BOOST_AUTO_TEST_CASE(edges) {
    frame_slab none{{}};
    BOOST_TEST(none.allocate(1) == nullptr);
    constexpr std::size_t largest = frame_slab::largest_frame;
    std::vector<std::byte> two_frames(2 * largest * 65 / 64 + 64 + 64);
    const std::size_t skip = -reinterpret_cast<std::uintptr_t>(two_frames.data()) & 63;
    frame_slab slab{std::span{two_frames}.subspan(skip, 2 * largest * 65 / 64)};
    BOOST_TEST(slab.allocate(0) == nullptr);
    BOOST_TEST(slab.allocate(largest + 1) == nullptr);
    void* const one = slab.allocate(largest);
    BOOST_TEST(one == static_cast<void*>(two_frames.data() + skip));
    void* const other = slab.allocate(largest);
    BOOST_TEST(other == static_cast<void*>(two_frames.data() + skip + largest));
    BOOST_TEST(slab.allocate(1) == nullptr);
    for (void* const frame : {one, other}) {
        static_cast<void**>(frame)[1] = frame; // what destroys it
    }
    std::size_t seen = 0;
    slab.for_each_live([&seen](const void*) { return ++seen != 0; });
    BOOST_TEST(seen == 2u);
    slab.deallocate(other, largest);
    BOOST_TEST(!slab.is_live(other));
    BOOST_TEST(slab.allocate(64) == nullptr); // classes do not lend to each other
    BOOST_TEST(slab.allocate(largest / 8 * 7) == nullptr);
    BOOST_TEST(slab.allocate(largest / 8 * 7 + 1) == other);
    BOOST_TEST(slab.count().failures == 5u);
    alignas(64) std::byte memory[192];

    // Too small to hold anything once aligned.
    frame_slab tiny{std::span{memory + 1, 127}};
    BOOST_TEST(tiny.allocate(1) == nullptr);
    frame_slab exact{std::span{memory + 1, 128}};
    BOOST_TEST(exact.allocate(64) == static_cast<void*>(memory + 64));
    BOOST_TEST(exact.allocate(1) == nullptr);
}

BOOST_AUTO_TEST_CASE(a_frame_may_be_as_large_as_the_slab_has_classes) {
    hart h{std::size_t{4} << 20};
    std::size_t sum = 0;
    const auto work = [](std::size_t& into) -> task<void> {
        co_await with_buffer<4096>(into);
        co_await with_buffer<65536>(into);
        co_await with_buffer<1'000'000>(into);
    };
    for (int i = 0; i < 4; ++i) { // the second time from what was freed
        sync_wait(work(sum));
    }
    BOOST_TEST(sum == 4u * (4096 / 256 * 32640 + 65536 / 256 * 32640 + 1'000'000 / 256 * 32640 + 63 * 64 / 2));
    BOOST_TEST(h.live() == 0u);
    BOOST_TEST(h.runtime.frames().count().cut_bytes < std::size_t{1'300'000});
}

BOOST_AUTO_TEST_CASE(a_frame_that_is_too_large_says_so) {
    const auto work = []() -> task<void> {
        std::size_t sum = 0;
        co_await with_buffer<1'100'000>(sum);
    };
    expect_panic_of("panic: a coroutine has a frame of 1100", work, std::size_t{8} << 20);
    expect_panic_of(" bytes, and 1048576 are the most", work, std::size_t{8} << 20);
    const auto smaller = []() -> task<void> { // than the limit, but not than the memory that there is
        std::size_t sum = 0;
        co_await with_buffer<20'000>(sum);
    };
    expect_panic_of("(the last frame that was refused has 2", smaller, 16384);
    expect_panic_of(" of this hart's 16128 are in use)", smaller, 16384);
}

namespace device {

enum class status { ok, stopped, out_of_memory };

[[maybe_unused]] status out_of_memory_value(std::type_identity<status>) noexcept {
    return status::out_of_memory;
}

} // namespace device

using device::status;

[[gnu::noinline]] task<status> leaf(arch::ticks span) {
    const stop_token token = co_await get_stop_token();
    const wait_result result = co_await sleep_for(span, token);
    co_return result == wait_result::done ? status::ok : status::stopped;
}

[[gnu::noinline]] task<status> nested(int depth) {
    if (depth == 0) {
        co_return co_await leaf(10);
    }
    co_return co_await nested(depth - 1);
}

[[gnu::noinline]] task<std::optional<int>> perhaps(int value) {
    co_await yield{};
    co_return value;
}

[[gnu::noinline]] generator<int> three() {
    co_yield 1;
    co_yield 2;
    co_yield 3;
}

[[gnu::noinline]] task<void> keep(status& into) {
    into = co_await nested(1);
}

[[gnu::noinline]] task<status> whole_workload() {
    status outcome = co_await nested(3);
    if (outcome != status::ok) {
        co_return outcome;
    }
    if (const std::optional<int> value = co_await perhaps(5); value != 5) {
        co_return status::out_of_memory;
    }
    status kept[3] = {};
    counting_scope scope;
    bool spawned = true;
    for (status& each : kept) {
        spawned &= scope.spawn(keep(each));
    }
    co_await scope.join();
    for (const status each : kept) {
        if (!spawned || each != status::ok) {
            co_return status::out_of_memory;
        }
    }
    const auto all = co_await when_all(nested(0), leaf(20), nested(2));
    if (std::get<0>(all) != status::ok || std::get<1>(all) != status::ok || std::get<2>(all) != status::ok) {
        co_return status::out_of_memory;
    }
    const auto first = co_await when_any(leaf(for_ever), nested(1));
    if (std::get<0>(first.results) == status::out_of_memory || std::get<1>(first.results) == status::out_of_memory) {
        co_return status::out_of_memory;
    }
    const std::optional<status> late = co_await with_timeout(leaf(for_ever), 100);
    if (late.has_value()) {
        co_return *late;
    }
    generator<int> numbers = three();
    if (!numbers.has_frame()) {
        co_return status::out_of_memory;
    }
    int sum = 0;
    for (const int number : numbers) {
        sum += number;
    }
    co_return sum == 6 ? status::ok : status::stopped;
}

BOOST_AUTO_TEST_CASE(a_workload_ends_whichever_allocation_is_refused) {
    std::uint64_t frames = 0;
    {
        hart h;
        BOOST_REQUIRE((sync_wait(whole_workload()) == status::ok));
        frames = h.runtime.frames().count().allocations;
        BOOST_TEST(h.live() == 0u);
    }
    BOOST_TEST(frames > 20u);
    for (std::uint64_t nth = 1; nth <= frames + 1; ++nth) {
        hart h;
        h.runtime.frames().refuse(nth);
        const status outcome = sync_wait(whole_workload());
        BOOST_TEST((outcome == (nth <= frames ? status::out_of_memory : status::ok)), "refused: " << nth);
        BOOST_TEST(h.runtime.frames().count().failures == (nth <= frames ? 1u : 0u));
        BOOST_TEST(h.live() == 0u);
        BOOST_TEST(h.runtime.frames().count().live_bytes == 0u);
        BOOST_TEST((sync_wait(nested(5)) == status::ok) == (nth <= frames)); // only once
    }
}

BOOST_AUTO_TEST_CASE(a_result_that_cannot_tell_panics) {
    expect_panic("a task without a frame was awaited", [] {
        hart h;
        const auto work = []() -> task<int> {
            executor::current().frames().refuse(1);
            co_return co_await value_after(1, 0);
        };
        static_cast<void>(sync_wait(work()));
    });
}

BOOST_AUTO_TEST_CASE(the_nth_allocation_is_refused_once) {
    alignas(64) std::byte memory[64 * 8];
    frame_slab slab{memory};
    slab.refuse(3);
    void* const one = slab.allocate(64);
    void* const two = slab.allocate(64);
    BOOST_TEST(one != nullptr);
    slab.deallocate(two, 64);
    BOOST_TEST(slab.allocate(64) == nullptr);
    BOOST_TEST(slab.allocate(64) == two);
    BOOST_TEST(slab.allocate(frame_slab::largest_frame + 1) == nullptr);
    BOOST_TEST(slab.allocate(0) == nullptr);
    BOOST_TEST(slab.count().failures == 3u);
    BOOST_TEST(slab.count().allocations == 3u);
}

BOOST_AUTO_TEST_SUITE_END()
