// Tests of the mutex, also against a model.
#include "async/counting_scope.hpp"
#include "async/mutex.hpp"
#include "async/scheduler.hpp"
#include "async/stop_token.hpp"
#include "async/sync_wait.hpp"
#include "async/task.hpp"
#include "tests/host/async/wait_models.hpp"
#include "tests/host/hart_fixture.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::async;
using boost::test_tools::per_element;
using tests::compare_at_random;
using tests::hart;

} // namespace

BOOST_AUTO_TEST_SUITE(mutex_tests)

BOOST_AUTO_TEST_CASE(a_guard_unlocks_once_and_can_be_moved) {
    static_assert(!std::is_copy_constructible_v<mutex::guard> && std::is_nothrow_move_constructible_v<mutex::guard>);
    hart h;
    mutex lock;
    const auto work = [](mutex& one) -> task<bool> {
        std::optional<mutex::guard> outer;
        {
            mutex::guard inner = co_await one.scoped_lock();
            if (one.try_lock()) {
                co_return false;
            }
            outer.emplace(std::move(inner));
        }
        const bool held = one.is_locked();
        outer.reset();
        co_return held && !one.is_locked();
    };
    BOOST_TEST(sync_wait(work(lock)));
}

BOOST_AUTO_TEST_CASE(only_one_is_inside) {
    hart h;
    struct shared {
        shared() noexcept {}
        mutex lock;
        int inside = 0;
        int most = 0;
        std::vector<int> order;
    } all;
    const auto work = [](shared& with, int id) -> task<void> {
        for (int i = 0; i < 3; ++i) {
            const mutex::guard held = co_await with.lock.scoped_lock();
            with.most = std::max(with.most, ++with.inside);
            with.order.push_back(id);
            co_await yield{};
            --with.inside;
        }
    };
    counting_scope scope;
    for (int id = 0; id < 3; ++id) {
        BOOST_REQUIRE(scope.spawn(work(all, id)));
    }
    h.run_ready();
    BOOST_TEST(all.most == 1);
    BOOST_TEST(all.order == (std::vector{0, 1, 2, 0, 1, 2, 0, 1, 2}), per_element()); // no barging
}

BOOST_AUTO_TEST_CASE(a_mutex_with_stops) {
    for (std::uint64_t run = 0; run < 4; ++run) {
        mutex real;
        compare_at_random(
            200 + run, 1, [&](stop_token token) { return real.lock(token); }, [&] { real.unlock(); },
            [&] { return std::size_t{!real.is_locked()}; });
    }
}

BOOST_AUTO_TEST_SUITE_END()
