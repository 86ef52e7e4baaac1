// Tests of tasks: their frames, owners, results and stop tokens.
#include "async/counting_scope.hpp"
#include "async/event.hpp"
#include "async/executor.hpp"
#include "async/frame_slab.hpp"
#include "async/schedule_on.hpp"
#include "async/scheduler.hpp"
#include "async/semaphore.hpp"
#include "async/stop_token.hpp"
#include "async/sync_wait.hpp"
#include "async/task.hpp"
#include "async/when_all.hpp"
#include "tests/host/async/small_tasks.hpp"
#include "tests/host/hart_fixture.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::async;
using tests::expect_panic;
using tests::hart;
using tests::nothing;
using tests::value_later;
using tests::value_of;
using tests::wait_for;

// How much stack the coroutines that call note() have been spread over.
class stack_gauge {
  public:
    [[gnu::noinline]] void note() {
        const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
        lowest_ = std::min(lowest_, here);
        highest_ = std::max(highest_, here);
    }
    [[nodiscard]] std::uintptr_t spread() const { return highest_ - lowest_; }

  private:
    std::uintptr_t lowest_ = ~std::uintptr_t{0};
    std::uintptr_t highest_ = 0;
};

constexpr std::uintptr_t constant_stack = 8192;

} // namespace

BOOST_AUTO_TEST_SUITE(task_tests)

// Counts how many of it live, through copies and moves.
class counted {
  public:
    explicit counted(int& live) noexcept : live_{&live} { ++*live_; }
    counted(const counted& other) noexcept : live_{other.live_} { ++*live_; }
    counted(counted&& other) noexcept : live_{other.live_} { ++*live_; }
    counted& operator=(const counted&) = delete;
    ~counted() { --*live_; }

  private:
    int* live_;
};

static_assert(!std::is_copy_constructible_v<task<int>> && !std::is_copy_assignable_v<task<int>>);

static_assert(std::is_nothrow_move_constructible_v<task<int>> && std::is_nothrow_move_assignable_v<task<int>>);

static_assert(!std::is_copy_constructible_v<yield> && !std::is_move_constructible_v<yield>);

BOOST_AUTO_TEST_CASE(a_task_is_lazy) {
    hart h;
    int live = 0;
    bool ran = false;
    const auto work = [](counted, bool& flag) -> task<void> {
        flag = true;
        co_return;
    };
    {
        const task<void> never = work(counted{live}, ran);
        BOOST_TEST(never.has_frame());
        BOOST_TEST(h.live() == 1u);
        BOOST_TEST(live == 1); // the frame's copy of the parameter
        h.run_ready();
        BOOST_TEST(!ran);
    }
    BOOST_TEST(h.live() == 0u); // a task that never ran may be dropped
    BOOST_TEST(live == 0);
    sync_wait(work(counted{live}, ran));
    BOOST_TEST(ran);
    BOOST_TEST(live == 0);
    BOOST_TEST(h.live() == 0u);
}

BOOST_AUTO_TEST_CASE(results_are_moved_out) {
    hart h;
    const auto make = [](int value) -> task<std::unique_ptr<int>> {
        co_return std::make_unique<int>(value);
    };
    const auto twice = [&make](int value) -> task<std::unique_ptr<int>> {
        auto first = co_await make(value);
        auto second = co_await make(*first);
        co_return second;
    };
    BOOST_TEST(*sync_wait(twice(17)) == 17);

    struct without_default {
        explicit without_default(int& count) : live{count} {}
        counted live;
    };
    int live = 0;
    const auto wrap = [](int& count) -> task<without_default> {
        co_return without_default{count};
    };
    {
        const without_default kept = sync_wait(wrap(live));
        BOOST_TEST(live == 1);
    }
    BOOST_TEST(live == 0);
}

BOOST_AUTO_TEST_CASE(a_task_has_one_owner) {
    hart h;
    task<int> empty;
    BOOST_TEST(!empty.has_frame());
    task<int> one = value_of(1);
    task<int> two = std::move(one);
    BOOST_TEST(!one.has_frame()); // NOLINT: moved from, and that is the point
    BOOST_TEST(two.has_frame());
    BOOST_TEST(h.live() == 1u);
    {
        task<int> other = value_of(2);
        BOOST_TEST(h.live() == 2u);
        two = std::move(other);
    }
    BOOST_TEST(h.live() == 1u); // the frame of `one` went with `other`
    BOOST_TEST(sync_wait(std::move(two)) == 2);
    BOOST_TEST(h.live() == 0u);
}

BOOST_AUTO_TEST_CASE(a_hundred_thousand_awaits_that_end_at_once_need_constant_stack) {
    hart h;
    stack_gauge gauge;
    const auto leaf = [](stack_gauge& stack, int value) -> task<int> {
        stack.note();
        co_return value;
    };
    const auto loop = [&leaf](stack_gauge& stack) -> task<std::int64_t> {
        std::int64_t sum = 0;
        for (int i = 0; i < 100'000; ++i) {
            stack.note();
            sum += co_await leaf(stack, i);
        }
        co_return sum;
    };
    BOOST_TEST(sync_wait(loop(gauge)) == std::int64_t{100'000} * 99'999 / 2);
    BOOST_TEST(gauge.spread() < constant_stack);
    BOOST_TEST(h.live() == 0u);
    BOOST_TEST(h.runtime.count().resumptions == 1u); // the rest are transfers
}

[[gnu::noinline]] task<int> deep(stack_gauge& stack, int depth) {
    stack.note();
    if (depth == 0) {
        co_await yield{}; // so that the way back is walked from the executor
        stack.note();
        co_return 0;
    }
    const int below = co_await deep(stack, depth - 1);
    stack.note();
    co_return below + 1;
}

BOOST_AUTO_TEST_CASE(nesting_costs_frames_and_no_stack) {
    hart h{std::size_t{32} << 20};
    stack_gauge gauge;
    BOOST_TEST(sync_wait(deep(gauge, 20'000)) == 20'000);
    BOOST_TEST(gauge.spread() < constant_stack);
    BOOST_TEST(h.live() == 0u);
    BOOST_TEST(h.runtime.frames().count().allocations == 20'001u);
}

// What a run with too little memory saw.
struct shortage {
    int refused = 0;  // tasks without a frame
    int finished = 0; // workers that got to their end
    int live = 0;     // objects in frames
};

[[gnu::noinline]] task<void> child_with_baggage(shortage&, counted) {
    co_await yield{};
}

[[gnu::noinline]] task<void> worker_with_child(shortage& seen, counted baggage) {
    for (int i = 0; i < 3; ++i) {
        task<void> child = child_with_baggage(seen, baggage);
        if (child.has_frame()) {
            co_await std::move(child);
        } else {
            ++seen.refused;
        }
        co_await yield{};
    }
    ++seen.finished;
}

// The slab is made one granule larger each time, so that every allocation of the scenario is the first to fail once.
BOOST_AUTO_TEST_CASE(every_allocation_may_fail) {
    constexpr int workers = 6;
    int best = 0;
    std::uint64_t least_failures = ~std::uint64_t{0};
    for (std::size_t granules = 0; granules < 120; ++granules) {
        hart h{granules * frame_slab::granule};
        shortage seen;
        int spawned = 0;
        {
            counting_scope scope;
            for (int i = 0; i < workers; ++i) {
                const std::uint64_t failures = h.runtime.frames().count().failures;
                task<void> worker = worker_with_child(seen, counted{seen.live});
                const bool has_frame = worker.has_frame();
                BOOST_REQUIRE(has_frame == (h.runtime.frames().count().failures == failures));
                BOOST_REQUIRE(scope.spawn(std::move(worker)) == has_frame);
                BOOST_REQUIRE(!worker.has_frame()); // NOLINT: taken, or empty before
                spawned += has_frame;
                seen.refused += !has_frame;
                BOOST_REQUIRE(scope.size() == static_cast<std::size_t>(spawned));
            }
            h.run_ready();
            BOOST_REQUIRE(scope.size() == 0);
        }
        BOOST_REQUIRE(seen.finished == spawned);
        BOOST_REQUIRE(seen.live == 0);
        BOOST_REQUIRE(h.live() == 0);
        BOOST_REQUIRE(h.runtime.frames().count().live_bytes == 0);
        BOOST_REQUIRE(h.runtime.frames().count().failures == static_cast<std::uint64_t>(seen.refused));
        BOOST_REQUIRE(spawned >= best); // more memory is never worse
        best = spawned;
        least_failures = std::min(least_failures, h.runtime.frames().count().failures);
        if (granules == 0) {
            BOOST_TEST(spawned == 0);
            BOOST_TEST(seen.refused == workers);
        }
    }
    BOOST_TEST(best == workers);
    BOOST_TEST(least_failures == 0u); // the last ones have enough
}

BOOST_AUTO_TEST_CASE(a_steady_loop_takes_no_new_memory) {
    hart h;
    std::vector<std::size_t> most;
    const auto loop = [](hart& at, std::vector<std::size_t>& seen) -> task<void> {
        for (int i = 0; i < 1000; ++i) {
            const int value = co_await value_later(i, 1);
            if (value != i) {
                std::abort();
            }
            if (i % 100 == 99) {
                seen.push_back(at.runtime.frames().count().cut_bytes);
            }
        }
    };
    sync_wait(loop(h, most));
    BOOST_REQUIRE(most.size() == 10u);
    BOOST_TEST(most.front() == most.back());
    BOOST_TEST(h.live() == 0u);
}

BOOST_AUTO_TEST_CASE(misuse_panics) {
    // Frames of either hart, so that the other's slab is neither empty nor without a block of that size.
    for (const arch::hart_index home : {0u, 1u}) {
        expect_panic("a task ended on another hart than it began on: co_await schedule_on{home} first", [home] {
            hart h{1 << 16, {.harts = 2}};
            std::vector<std::byte> memory(1 << 16);
            h.simulated.select_hart(1);
            executor second{memory};
            const auto leave = [](arch::hart_index to) -> task<void> {
                co_await schedule_on{to};
            };
            counting_scope scope;
            for (const arch::hart_index hart : {1 - home, home}) {
                h.simulated.select_hart(hart);
                static_cast<void>(scope.spawn(leave(1 - home)));
            }
            while (executor::current().tick()) {
            }
            h.simulated.select_hart(1 - home);
            while (executor::current().tick()) {
            }
        });
    }
    expect_panic("a task was destroyed before it ended", [] {
        hart h;
        event never;
        std::vector<int> log;
        task<void> work = wait_for(never, log, 0);
        work.start().resume();
        { const task<void> dropped = std::move(work); }
    });
    expect_panic("a task without a frame was awaited", [] {
        hart h;
        const auto wait_for_nothing = []() -> task<void> {
            co_await task<void>{};
        };
        sync_wait(wait_for_nothing());
    });
    expect_panic("sync_wait was given a task without a frame", [] {
        hart h;
        sync_wait(task<void>{});
    });
    expect_panic("sync_wait was given a task without a frame", [] {
        hart h{0};
        sync_wait(nothing());
    });
    expect_panic("a task without a frame was awaited", [] {
        hart h;
        const auto too_many = []() -> task<void> {
            static_cast<void>(co_await when_all(value_of(1), value_of(2), value_of(3)));
        };
        task<void> work = too_many();
        while (executor::current().frames().allocate(64) != nullptr) {
        }
        sync_wait(std::move(work));
    });
    expect_panic("a scope ends while its tasks run", [] {
        hart h;
        counting_scope scope;
        static_cast<void>(scope.spawn(nothing()));
    });
    expect_panic("a semaphore ends while coroutines wait for it", [] {
        hart h;
        counting_scope scope;
        semaphore none{0};
        const auto take = [](semaphore& from) -> task<void> {
            co_await from.acquire();
        };
        static_cast<void>(scope.spawn(take(none)));
        h.runtime.tick();
    });
    expect_panic("an event ends while coroutines wait for it", [] {
        hart h;
        counting_scope scope;
        std::vector<int> log;
        event never;
        static_cast<void>(scope.spawn(wait_for(never, log, 0)));
        h.runtime.tick();
    });
    expect_panic("an executor ends while coroutines live", [] {
        hart h;
        auto* const leaked = new task<void>{nothing()};
        static_cast<void>(leaked);
        h.runtime.~executor();
    });
    expect_panic("an exception left a coroutine", [] {
        hart h;
        const auto thrower = []() -> task<void> {
            throw 1;
            co_return;
        };
        sync_wait(thrower());
    });
}

task<bool> token_is_possible() {
    const stop_token token = co_await get_stop_token();
    co_return token.stop_possible();
}

task<bool> stop_is_requested() {
    const stop_token token = co_await get_stop_token();
    co_return token.stop_requested();
}

BOOST_AUTO_TEST_CASE(a_task_has_the_token_of_who_awaits_it_unless_it_has_its_own) {
    hart h;
    BOOST_TEST(!sync_wait(token_is_possible()));
    stop_source outer;
    outer.request_stop();
    stop_source inner;
    const auto nested = [](stop_token own) -> task<int> {
        const bool inherited = co_await stop_is_requested();
        task<bool> independent = stop_is_requested();
        independent.set_stop_token(own);
        const bool other = co_await std::move(independent);
        co_return inherited * 10 + other;
    };
    task<int> work = nested(inner.get_token());
    work.set_stop_token(outer.get_token());
    BOOST_TEST(sync_wait(std::move(work)) == 10);
}

BOOST_AUTO_TEST_SUITE_END()
