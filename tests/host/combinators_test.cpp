// Tests of what awaits several things, or one for a limited time: when_all, when_any, with_timeout; of tasks' stop tokens; and
// of a whole workload that runs out of memory at every allocation in turn.
#include "async/callback.hpp"
#include "async/channel.hpp"
#include "async/counting_scope.hpp"
#include "async/event.hpp"
#include "async/generator.hpp"
#include "async/scheduler.hpp"
#include "async/semaphore.hpp"
#include "async/sync_wait.hpp"
#include "async/when_all.hpp"
#include "async/when_any.hpp"
#include "async/with_timeout.hpp"
#include "tests/host/hart_fixture.hpp"

#include <array>
#include <boost/test/unit_test.hpp>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::async;
using boost::test_tools::per_element;
using tests::expect_panic;
using tests::hart;

task<int> value_after(int value, arch::ticks span) {
    co_await sleep_for(span);
    co_return value;
}

task<wait_result> nap(arch::ticks span) {
    const stop_token token = co_await get_stop_token();
    const wait_result result = co_await sleep_for(span, token);
    co_return result;
}

constexpr arch::ticks for_ever = arch::no_deadline;

// An awaiter whose await_suspend() answers a bool; false if it is ready after all.
class by_bool : operation {
  public:
    explicit by_bool(int value, bool suspends) noexcept : value_{value}, suspends_{suspends} {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    [[nodiscard]] bool await_suspend(std::coroutine_handle<> frame) noexcept {
        continuation = frame;
        if (suspends_) {
            executor::current().make_ready(*this);
        }
        return suspends_;
    }
    [[nodiscard]] int await_resume() const noexcept { return value_; }

  private:
    int value_;
    bool suspends_;
};

// One whose await_suspend() resumes the coroutine before it returns, and one that answers whom to resume: the same.
class in_place {
  public:
    in_place() noexcept {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> frame) noexcept { frame.resume(); }
    void await_resume() const noexcept {}
};
class by_handle {
  public:
    by_handle() noexcept {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    [[nodiscard]] std::coroutine_handle<> await_suspend(std::coroutine_handle<> frame) const noexcept { return frame; }
    [[nodiscard]] int await_resume() const noexcept { return 5; }
};

// Something with an operator co_await beside it.
class wrapped {
  public:
    wrapped() noexcept {}
};
[[maybe_unused]] by_bool operator co_await(wrapped) noexcept {
    return by_bool{6, true};
}

} // namespace

BOOST_AUTO_TEST_SUITE(all)

BOOST_AUTO_TEST_CASE(every_kind_of_awaiter_is_taken_and_none_costs_a_frame) {
    hart h;
    const auto work = [](hart& on) -> task<int> {
        const auto before = on.runtime.frames().count().allocations;
        by_bool named{1, true};
        auto results = co_await when_all(named, by_bool{2, false}, in_place{}, by_handle{}, wrapped{}, yield{});
        static_assert(
            std::is_same_v<decltype(results), std::tuple<int, int, std::monostate, int, int, std::monostate>>);
        BOOST_TEST(on.runtime.frames().count().allocations == before);
        co_return std::get<0>(results) * 1000 + std::get<1>(results) * 100 + std::get<3>(results) * 10 +
            std::get<4>(results);
    };
    BOOST_TEST(sync_wait(work(h)) == 1256);
}

BOOST_AUTO_TEST_CASE(all_at_once_do_not_suspend_if_all_are_ready) {
    hart h;
    const auto work = [](hart& on) -> task<bool> {
        const auto before = on.runtime.count().rounds;
        semaphore permits{2};
        static_cast<void>(co_await when_all(permits.acquire(), permits.acquire(), by_bool{1, false}));
        co_return on.runtime.count().rounds == before&& permits.available() == 0;
    };
    BOOST_TEST(sync_wait(work(h)));
}

BOOST_AUTO_TEST_CASE(a_row_of_awaiters_needs_no_memory) {
    hart h;
    const auto work = [](hart& on) -> task<int> {
        const auto before = on.runtime.frames().count().allocations;
        by_bool row[] = {by_bool{1, true}, by_bool{2, false}, by_bool{3, true}};
        int sum = 0;
        for (by_bool& each : co_await when_all(std::span{row})) {
            sum = sum * 10 + each.await_resume();
        }
        const std::span<by_bool> none;
        sum += static_cast<int>((co_await when_all(none)).size());
        semaphore permits{1};
        const auto give = [](semaphore& to) -> task<void> {
            for (int i = 0; i < 3; ++i) {
                co_await yield{};
                to.release();
            }
        };
        std::array acquires{permits.acquire(), permits.acquire(), permits.acquire(), permits.acquire()};
        static_cast<void>(co_await when_all(give(permits), when_all(std::span{acquires})));
        BOOST_TEST(permits.available() == 0u);
        BOOST_TEST(on.runtime.frames().count().allocations == before + 1); // give
        co_return sum;
    };
    BOOST_TEST(sync_wait(work(h)) == 123);
}

task<int> tree(int depth) {
    if (depth == 0) {
        co_await yield{};
        co_return 1;
    }
    const auto both = co_await when_all(tree(depth - 1), tree(depth - 1));
    co_return std::get<0>(both) + std::get<1>(both);
}

BOOST_AUTO_TEST_CASE(a_tree_of_tasks_and_long_loops) {
    hart h{std::size_t{16} << 20};
    BOOST_TEST(sync_wait(tree(10)) == 1024);
    const auto loop = []() -> task<int> {
        int sum = 0;
        for (int i = 0; i < 20'000; ++i) {
            const auto one = co_await when_all(tree(0), by_bool{0, false});
            sum += std::get<0>(one);
        }
        co_return sum;
    };
    BOOST_TEST(sync_wait(loop()) == 20'000);
    BOOST_TEST(h.live() == 0u);
}

BOOST_AUTO_TEST_CASE(tasks_among_the_arguments_inherit_and_waits_do_not) {
    hart h;
    stop_source source;
    int ended = 0;
    const auto work = [](int& count) -> task<void> {
        const auto results = co_await when_all(nap(for_ever), nap(for_ever), sleep_for(500, stop_token{}));
        BOOST_TEST((std::get<0>(results) == wait_result::stopped));
        BOOST_TEST((std::get<1>(results) == wait_result::stopped));
        BOOST_TEST((std::get<2>(results) == wait_result::done));
        ++count;
    };
    counting_scope scope;
    task<void> both = work(ended);
    both.set_stop_token(source.get_token());
    BOOST_REQUIRE(scope.spawn(std::move(both)));
    h.run_ready();
    BOOST_TEST(ended == 0);
    source.request_stop();
    while (scope.size() != 0) {
        if (!h.runtime.tick()) {
            h.runtime.idle();
        }
    }
    BOOST_TEST(ended == 1);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(any)

BOOST_AUTO_TEST_CASE(the_first_wins_and_the_others_are_stopped) {
    hart h;
    const auto work = []() -> task<bool> {
        event never;
        semaphore none{0};
        const auto first = co_await when_any(never.wait(stop_token{}), nap(for_ever), value_after(7, 100),
                                             none.acquire(stop_token{}), sleep_for(for_ever, stop_token{}));
        co_return first.index == 2 &&
            std::get<0>(first.results) == wait_result::stopped&& std::get<1>(first.results) ==
                wait_result::stopped&& std::get<2>(first.results) == 7 &&
            std::get<3>(first.results) == wait_result::stopped&& std::get<4>(first.results) ==
                wait_result::stopped&& none.available() == 0;
    };
    BOOST_TEST(sync_wait(work()));
    BOOST_TEST(h.live() == 0u);
    BOOST_TEST(h.simulated.time() < 1'000'000u);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_stopped_is_awaited) {
    hart h;
    const auto work = [](hart& on) -> task<bool> {
        const arch::ticks start = on.simulated.time();
        const auto first = co_await when_any(value_after(1, 50'000), value_after(2, 100));
        co_return first.index == 1 && std::get<0>(first.results) == 1 && std::get<1>(first.results) == 2 &&
            on.simulated.time() >= start + 50'000;
    };
    BOOST_TEST(sync_wait(work(h)));
}

BOOST_AUTO_TEST_CASE(one_that_is_ready_wins_at_once) {
    hart h;
    const auto work = []() -> task<bool> {
        semaphore permits{1};
        const auto first = co_await when_any(permits.acquire(stop_token{}), sleep_for(for_ever, stop_token{}));
        co_return first.index == 0 && std::get<0>(first.results) == wait_result::done&& std::get<1>(first.results) ==
                                          wait_result::stopped&& permits.available() == 0;
    };
    BOOST_TEST(sync_wait(work()));
}

// Two are given what they wait for before either is resumed: the second is not the first, and is not robbed.
BOOST_AUTO_TEST_CASE(who_comes_second_keeps_what_was_handed_over) {
    hart h;
    std::optional<int> value;
    bool permit = false;
    std::size_t index = 9;
    semaphore permits{0};
    channel<int, 1> values;
    const auto race = [](semaphore& from, channel<int, 1>& numbers, std::size_t& first_of, bool& have,
                         std::optional<int>& number) -> task<void> {
        auto first = co_await when_any(from.acquire(stop_token{}), numbers.receive(stop_token{}));
        first_of = first.index;
        have = std::get<0>(first.results) == wait_result::done;
        number = std::get<1>(first.results);
    };
    const auto give = [](semaphore& to, channel<int, 1>& numbers) -> task<void> {
        to.release();
        static_cast<void>(co_await numbers.send(42));
    };
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(race(permits, values, index, permit, value)));
    h.run_ready();
    BOOST_REQUIRE(scope.spawn(give(permits, values)));
    h.run_ready();
    BOOST_TEST(scope.size() == 0u);
    BOOST_TEST(index == 0u);
    BOOST_TEST(permit);
    BOOST_TEST((value == 42));
}

BOOST_AUTO_TEST_CASE(a_stop_from_outside_reaches_all) {
    for (const bool by_own_token : {false, true}) {
        hart h;
        stop_source source;
        int stopped = 0;
        const auto race = [](stop_token own, int& count) -> task<void> {
            event never;
            const auto first = co_await when_any(sleep_for(for_ever, stop_token{}), never.wait(own), nap(for_ever));
            count += std::get<0>(first.results) == wait_result::stopped;
            count += std::get<1>(first.results) == wait_result::stopped;
            count += std::get<2>(first.results) == wait_result::stopped;
        };
        counting_scope scope;
        task<void> work = race(by_own_token ? source.get_token() : stop_token{}, stopped);
        if (!by_own_token) {
            work.set_stop_token(source.get_token());
        }
        BOOST_REQUIRE(scope.spawn(std::move(work)));
        h.run_ready();
        BOOST_TEST(scope.size() == 1u);
        source.request_stop();
        h.run_ready();
        BOOST_TEST(scope.size() == 0u);
        BOOST_TEST(stopped == 3);
    }
}

BOOST_AUTO_TEST_CASE(races_nest) {
    hart h;
    const auto work = []() -> task<bool> {
        auto first = co_await when_any(when_any(nap(for_ever), nap(for_ever)), when_all(nap(100), nap(200)));
        co_return first.index == 1 && std::get<0>(std::get<0>(first.results).results) ==
                                          wait_result::stopped&& std::get<1>(std::get<1>(first.results)) ==
                                          wait_result::done;
    };
    BOOST_TEST(sync_wait(work()));
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(timeouts)

static_assert(stoppable<task<int>> && stoppable<stoppable_wait<sleeper>>);
static_assert(!stoppable<wait_operation<sleeper>> && !stoppable<yield>);
static_assert(stoppable<when_all<task<int>, task<void>>> && !stoppable<when_all<task<int>, yield>>);

BOOST_AUTO_TEST_CASE(what_ends_in_time_answers_and_takes_its_timer_along) {
    hart h;
    const auto nothing = []() -> task<void> {
        co_return;
    };
    const auto work = [](auto& ends_at_once) -> task<bool> {
        const std::optional<int> value = co_await with_timeout(value_after(3, 100), 1'000'000'000);
        const std::optional<std::monostate> ended = co_await with_timeout(ends_at_once(), 1'000'000'000);
        co_return value == 3 && ended.has_value();
    };
    BOOST_TEST(sync_wait(work(nothing)));
    BOOST_TEST(h.simulated.time() < 1'000'000u);
    h.simulated.run_until(2'000'000'000);
    const auto resumptions = h.runtime.count().resumptions;
    h.run_ready();
    BOOST_TEST(h.runtime.count().resumptions == resumptions); // no timer is left
}

BOOST_AUTO_TEST_CASE(a_wait_in_line_is_stopped_by_the_deadline) {
    hart h;
    const auto work = [](hart& on) -> task<bool> {
        semaphore none{0};
        const arch::ticks start = on.simulated.time();
        const std::optional<wait_result> outcome = co_await with_timeout(none.acquire(stop_token{}), 10'000);
        const bool late = on.simulated.time() >= start + 10'000;
        none.release();
        co_return !outcome.has_value() && late && none.available() == 1;
    };
    BOOST_TEST(sync_wait(work(h)));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_stopped_answers_late) {
    hart h;
    const auto work = []() -> task<bool> {
        const std::optional<int> value = co_await with_timeout(value_after(3, 100'000), 100);
        co_return value == 3;
    };
    BOOST_TEST(sync_wait(work()));
}

BOOST_AUTO_TEST_CASE(a_stop_that_is_not_the_deadline_is_a_result) {
    hart h;
    stop_source source;
    std::optional<std::optional<wait_result>> outcome;
    const auto work = [](auto& answer) -> task<void> {
        answer.emplace(co_await with_timeout(nap(for_ever), 1'000'000'000));
    };
    counting_scope scope;
    task<void> stopped = work(outcome);
    stopped.set_stop_token(source.get_token());
    BOOST_REQUIRE(scope.spawn(std::move(stopped)));
    h.run_ready();
    BOOST_TEST(!outcome.has_value());
    source.request_stop();
    h.run_ready();
    BOOST_REQUIRE(outcome.has_value());
    BOOST_TEST((*outcome == wait_result::stopped));
    BOOST_TEST(scope.size() == 0u);
}

BOOST_AUTO_TEST_CASE(optionals_and_sends_tell_of_a_stop_too) {
    hart h;
    const auto work = []() -> task<bool> {
        channel<int, 1> values;
        const std::optional<std::optional<int>> none = co_await with_timeout(values.receive(stop_token{}), 100);
        const auto first = co_await with_timeout(values.send(1, stop_token{}), 100);
        const auto second = co_await with_timeout(values.send(2, stop_token{}), 100);
        const std::optional<std::optional<int>> one = co_await with_timeout(values.receive(stop_token{}), 100);
        values.close();
        const auto third = co_await with_timeout(values.send(3, stop_token{}), 100);
        const std::optional<std::optional<int>> closed = co_await with_timeout(values.receive(stop_token{}), 100);
        co_return !none && first == send_result::done && !second && one == std::optional{1} &&
            third == send_result::closed && closed.has_value() && !closed->has_value();
    };
    BOOST_TEST(sync_wait(work()));
}

// The permit is handed over in the very round in which the deadline comes: before it, after it, and with it.
BOOST_AUTO_TEST_CASE(a_hand_over_around_the_deadline_is_never_lost) {
    int in_time = 0;
    int late = 0;
    for (arch::ticks when = 900; when < 1100; when += 3) {
        hart h;
        semaphore permits{0};
        std::optional<std::optional<wait_result>> outcome;
        const auto give = [](semaphore& to, arch::ticks deadline) -> task<void> {
            co_await sleep_until(deadline);
            to.release();
        };
        const auto take = [](semaphore& from, auto& answer) -> task<void> {
            answer.emplace(co_await with_timeout(from.acquire(stop_token{}), 1000));
        };
        counting_scope scope;
        BOOST_REQUIRE(scope.spawn(take(permits, outcome)));
        BOOST_REQUIRE(scope.spawn(give(permits, h.simulated.time() + when)));
        while (scope.size() != 0) {
            if (!h.runtime.tick() && scope.size() != 0) {
                h.runtime.idle();
            }
        }
        BOOST_REQUIRE(outcome.has_value());
        BOOST_REQUIRE((!outcome->has_value() || **outcome == wait_result::done));
        BOOST_REQUIRE(permits.available() == (outcome->has_value() ? 0u : 1u)); // taken, or there
        ++(outcome->has_value() ? in_time : late);
        BOOST_REQUIRE(h.live() == 0u);
    }
    BOOST_TEST(in_time > 0);
    BOOST_TEST(late > 0);
}

BOOST_AUTO_TEST_CASE(of_several_and_of_a_race) {
    hart h;
    const auto work = []() -> task<bool> {
        const auto both = co_await with_timeout(when_all(nap(100), nap(for_ever)), 10'000);
        const auto race = co_await with_timeout(when_any(nap(for_ever), nap(for_ever)), 10'000);
        co_return both.has_value() &&
            std::get<0>(*both) == wait_result::done&& std::get<1>(*both) == wait_result::stopped&& race.has_value() &&
            std::get<0>(race->results) == wait_result::stopped;
    };
    BOOST_TEST(sync_wait(work()));
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(tokens_of_tasks)

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

BOOST_AUTO_TEST_SUITE(out_of_memory_tests)

namespace device {

enum class status { ok, stopped, out_of_memory };

[[maybe_unused]] status out_of_memory_value(std::type_identity<status>) noexcept {
    return status::out_of_memory;
}
[[maybe_unused]] bool was_stopped(status outcome) noexcept {
    return outcome == status::stopped;
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
