// Tests of when_all.
#include "async/counting_scope.hpp"
#include "async/event.hpp"
#include "async/executor.hpp"
#include "async/operation.hpp"
#include "async/scheduler.hpp"
#include "async/semaphore.hpp"
#include "async/stop_token.hpp"
#include "async/sync_wait.hpp"
#include "async/task.hpp"
#include "async/when_all.hpp"
#include "tests/host/async/fake_source.hpp"
#include "tests/host/async/small_tasks.hpp"
#include "tests/host/hart_fixture.hpp"

#include <array>
#include <boost/test/unit_test.hpp>
#include <memory>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>

namespace {

using namespace inflight;
using namespace inflight::async;
using tests::do_io;
using tests::fake_source;
using tests::for_ever;
using tests::hart;
using tests::nap;
using tests::value_later;
using tests::value_of;

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

BOOST_AUTO_TEST_SUITE(when_all_tests)

BOOST_AUTO_TEST_CASE(when_all_answers_in_the_order_of_the_arguments) {
    hart h;
    const auto work = []() -> task<bool> {
        auto all = co_await when_all(value_later(1, 5), value_later(2, 0), value_later(3, 2));
        static_assert(std::is_same_v<decltype(all), std::tuple<int, int, int>>);
        co_return all == std::tuple{1, 2, 3};
    };
    BOOST_TEST(sync_wait(work()));
    BOOST_TEST(h.live() == 0u);
}

BOOST_AUTO_TEST_CASE(when_all_takes_any_awaitable) {
    hart h;
    fake_source device{h};
    event set;
    semaphore permits{1};
    int done = 0;
    const auto setter = [](event& what) -> task<void> {
        co_await yield{};
        what.set();
    };
    const auto work = [&setter](fake_source& on, event& what, semaphore& from, int& count) -> task<bool> {
        counting_scope scope;
        auto all = co_await when_all(do_io(on, 300, 2, count), on.io(100), what.wait(), from.acquire(), yield{},
                                     sleep_for(500), setter(what), value_of(8), scope.join());
        static_assert(std::is_same_v<decltype(all),
                                     std::tuple<std::monostate, std::monostate, std::monostate, std::monostate,
                                                std::monostate, std::monostate, std::monostate, int, std::monostate>>);
        from.release();
        co_return std::get<7>(all) == 8;
    };
    BOOST_TEST(sync_wait(work(device, set, permits, done)));
    BOOST_TEST(done == 2);
    BOOST_TEST(permits.available() == 1u);
    BOOST_TEST(h.live() == 0u);
}

BOOST_AUTO_TEST_CASE(when_all_of_nothing_does_not_suspend) {
    hart h;
    const auto work = []() -> task<bool> {
        auto all = co_await when_all();
        static_assert(std::is_same_v<decltype(all), std::tuple<>>);
        co_return true;
    };
    BOOST_TEST(sync_wait(work()));
    BOOST_TEST(h.runtime.count().resumptions == 1u);
}

// The result is a tuple of the results, also if there is one and it is a tuple or a pair itself.
BOOST_AUTO_TEST_CASE(when_all_of_one_keeps_the_type_of_its_result) {
    hart h;
    const auto pair = []() -> task<std::pair<int, char>> {
        co_return std::pair{1, 'x'};
    };
    const auto tuple = []() -> task<std::tuple<int>> {
        co_return std::tuple{7};
    };
    const auto pointer = []() -> task<std::unique_ptr<int>> {
        co_return std::make_unique<int>(3);
    };
    const auto work = [&]() -> task<int> {
        auto one = co_await when_all(pair());
        static_assert(std::is_same_v<decltype(one), std::tuple<std::pair<int, char>>>);
        auto two = co_await when_all(tuple());
        static_assert(std::is_same_v<decltype(two), std::tuple<std::tuple<int>>>);
        auto three = co_await when_all(pointer());
        co_return std::get<0>(one).first + std::get<0>(std::get<0>(two)) + *std::get<0>(three);
    };
    BOOST_TEST(sync_wait(work()) == 11);
}

BOOST_AUTO_TEST_CASE(when_all_of_named_tasks_and_nested) {
    hart h;
    const auto work = []() -> task<int> {
        task<int> one = value_later(1, 3);
        task<int> two = value_later(2, 1);
        const auto inner = []() -> task<int> {
            auto both = co_await when_all(value_later(10, 2), value_later(20, 4));
            co_return std::get<0>(both) + std::get<1>(both);
        };
        auto all = co_await when_all(std::move(one), std::move(two), inner());
        co_return std::get<0>(all) + std::get<1>(all) + std::get<2>(all);
    };
    BOOST_TEST(sync_wait(work()) == 33);
    BOOST_TEST(h.live() == 0u);
}

template <std::size_t... index>
task<std::size_t> many(std::index_sequence<index...>) {
    auto all = co_await when_all(value_later(int{index}, static_cast<int>(sizeof...(index) - index))...);
    co_return ((std::get<index>(all) == int{index} ? 1u : 0u) + ...);
}

BOOST_AUTO_TEST_CASE(when_all_of_many) {
    hart h;
    BOOST_TEST(sync_wait(many(std::make_index_sequence<64>{})) == 64u);
    BOOST_TEST(h.live() == 0u);
}

// when_all never starts what was never awaited.
BOOST_AUTO_TEST_CASE(when_all_is_lazy) {
    hart h;
    int ran = 0;
    const auto count = [](int& into) -> task<void> {
        ++into;
        co_return;
    };
    {
        [[maybe_unused]] const auto both = when_all(count(ran), count(ran));
        h.run_ready();
    }
    BOOST_TEST(ran == 0);
    BOOST_TEST(h.live() == 0u);
}

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
