// Tests of scopes: joining, stopping, closing.
#include "async/counting_scope.hpp"
#include "async/event.hpp"
#include "async/executor.hpp"
#include "async/scheduler.hpp"
#include "async/stop_token.hpp"
#include "async/sync_wait.hpp"
#include "async/task.hpp"
#include "tests/host/async/endings.hpp"
#include "tests/host/async/small_tasks.hpp"
#include "tests/host/hart_fixture.hpp"

#include <boost/test/unit_test.hpp>
#include <utility>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::async;
using boost::test_tools::per_element;
using tests::done;
using tests::endings;
using tests::hart;
using tests::stopped;
using tests::wait_for;

} // namespace

BOOST_AUTO_TEST_SUITE(counting_scope_tests)

BOOST_AUTO_TEST_CASE(several_join_and_all_go_on) {
    hart h;
    std::vector<int> log;
    event finish;
    counting_scope work;
    counting_scope joiners;
    const auto join = [](counting_scope& scope, std::vector<int>& into, int id) -> task<void> {
        co_await scope.join();
        into.push_back(id);
    };
    for (int id = 10; id < 13; ++id) {
        BOOST_REQUIRE(work.spawn(wait_for(finish, log, id)));
    }
    for (int id = 0; id < 3; ++id) {
        BOOST_REQUIRE(joiners.spawn(join(work, log, id)));
    }
    h.run_ready();
    BOOST_TEST(work.size() == 3u);
    BOOST_TEST(log.empty());
    finish.set();
    h.run_ready();
    BOOST_TEST(log == (std::vector{10, 11, 12, 0, 1, 2}), boost::test_tools::per_element());
    BOOST_TEST(work.size() == 0u);
    BOOST_TEST(joiners.size() == 0u);
}

BOOST_AUTO_TEST_CASE(joining_an_empty_scope_does_not_suspend) {
    hart h;
    const auto work = []() -> task<void> {
        counting_scope empty;
        co_await empty.join();
        co_await empty.join();
    };
    sync_wait(work());
    BOOST_TEST(h.runtime.count().resumptions == 1u);
}

BOOST_AUTO_TEST_CASE(tasks_may_spawn_into_the_scope_that_owns_them) {
    hart h;
    int ran = 0;
    struct tree {
        static task<void> grow(counting_scope& scope, int& count, int depth) {
            ++count;
            if (depth != 0) {
                for (int i = 0; i < 2; ++i) {
                    if (!scope.spawn(grow(scope, count, depth - 1))) {
                        std::abort();
                    }
                }
            }
            co_return;
        }
    };
    const auto root = [](int& count) -> task<void> {
        counting_scope scope;
        if (!scope.spawn(tree::grow(scope, count, 9))) {
            std::abort();
        }
        co_await scope.join();
        if (scope.size() != 0) {
            std::abort();
        }
    };
    sync_wait(root(ran));
    BOOST_TEST(ran == 1023);
    BOOST_TEST(h.live() == 0u);
}

// Whoever sees the count at zero may free everything that a task used: so when it goes down the frame, with all that it
// owned, is gone already.
BOOST_AUTO_TEST_CASE(the_frame_is_destroyed_before_the_count_goes_down) {
    hart h;
    class witness {
      public:
        witness(counting_scope& scope, std::vector<std::size_t>& into) noexcept : scope_{&scope}, into_{&into} {}
        witness(witness&& other) noexcept : scope_{std::exchange(other.scope_, nullptr)}, into_{other.into_} {}
        ~witness() {
            if (scope_ != nullptr) {
                into_->push_back(scope_->size());
            }
        }

      private:
        counting_scope* scope_;
        std::vector<std::size_t>* into_;
    };
    std::vector<std::size_t> sizes;
    counting_scope scope;
    const auto work = [](witness, counting_scope& of, std::vector<std::size_t>& into) -> task<void> {
        const witness local{of, into};
        co_await yield{};
    };
    BOOST_REQUIRE(scope.spawn(work(witness{scope, sizes}, scope, sizes)));
    BOOST_TEST(h.live() == 1u);
    h.run_ready();
    BOOST_TEST(sizes == (std::vector<std::size_t>{1, 1}), boost::test_tools::per_element()); // local, then parameter
    BOOST_TEST(scope.size() == 0u);
    BOOST_TEST(h.live() == 0u);
}

BOOST_AUTO_TEST_CASE(a_scope_can_be_used_again) {
    hart h;
    const auto rounds = []() -> task<int> {
        counting_scope scope;
        int runs = 0;
        const auto count = [](int& into) -> task<void> {
            co_await yield{};
            ++into;
        };
        for (int i = 0; i < 10; ++i) {
            for (int k = 0; k < i; ++k) {
                if (!scope.spawn(count(runs))) {
                    std::abort();
                }
            }
            co_await scope.join();
        }
        co_return runs;
    };
    BOOST_TEST(sync_wait(rounds()) == 45);
}

task<void> until_stopped(endings& log, int id) {
    const stop_token token = co_await get_stop_token();
    const wait_result result = co_await sleep_for(arch::no_deadline, token);
    log.push_back({id, result});
}

BOOST_AUTO_TEST_CASE(a_stop_of_the_scope_reaches_its_tasks) {
    hart h;
    endings log;
    stop_source own;
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(until_stopped(log, 0)));
    task<void> independent = until_stopped(log, 1);
    independent.set_stop_token(own.get_token());
    BOOST_REQUIRE(scope.spawn(std::move(independent)));
    BOOST_REQUIRE(scope.spawn(until_stopped(log, 2)));
    h.run_ready();
    BOOST_TEST(scope.request_stop());
    BOOST_TEST(!scope.request_stop());
    h.run_ready();
    BOOST_TEST(log == (endings{stopped(0), stopped(2)}), per_element());
    BOOST_REQUIRE(scope.spawn(until_stopped(log, 3))); // stopped before it began
    h.run_ready();
    BOOST_TEST(log.back() == stopped(3));
    own.request_stop();
    h.run_ready();
    BOOST_TEST(log.back() == stopped(1));
    BOOST_TEST(scope.size() == 0u);
}

BOOST_AUTO_TEST_CASE(a_closed_scope_refuses) {
    hart h;
    endings log;
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(until_stopped(log, 0)));
    scope.close();
    BOOST_TEST(!scope.spawn(until_stopped(log, 1)));
    BOOST_TEST(scope.size() == 1u);
    h.run_ready();
    scope.request_stop();
    h.run_ready();
    BOOST_TEST(scope.size() == 0u);
    BOOST_TEST(log == (endings{stopped(0)}), per_element());
    BOOST_TEST(h.live() == 0u);
}

BOOST_AUTO_TEST_CASE(a_join_can_be_stopped_and_is_told_the_truth) {
    hart h;
    endings log;
    stop_source source;
    counting_scope scope;
    counting_scope joiners;
    const auto join = [](counting_scope& what, stop_token token, endings& into, int id) -> task<void> {
        const wait_result result = co_await what.join(token);
        into.push_back({id, result});
    };
    BOOST_REQUIRE(scope.spawn(until_stopped(log, 0)));
    BOOST_REQUIRE(joiners.spawn(join(scope, source.get_token(), log, 1)));
    h.run_ready();
    source.request_stop();
    h.run_ready();
    BOOST_TEST(log == (endings{stopped(1)}), per_element());
    BOOST_TEST(scope.size() == 1u); // the wait was stopped, not the tasks
    stop_source late;
    BOOST_REQUIRE(joiners.spawn(join(scope, late.get_token(), log, 2)));
    h.run_ready();
    scope.request_stop();
    h.runtime.tick(); // the task ends
    late.request_stop();
    h.run_ready();
    BOOST_TEST(log == (endings{stopped(1), stopped(0), done(2)}), per_element());
}

// What the header of the scope says of one that is not closed.
BOOST_AUTO_TEST_CASE(a_scope_may_be_filled_before_the_joiner_has_its_turn) {
    hart h;
    std::size_t found = 99;
    event go;
    counting_scope scope;
    counting_scope others;
    const auto wait_for = [](event& what) -> task<void> {
        co_await what.wait();
    };
    const auto join = [](counting_scope& what, std::size_t& size) -> task<void> {
        co_await what.join();
        size = what.size();
    };
    BOOST_REQUIRE(scope.spawn(wait_for(go)));
    BOOST_REQUIRE(others.spawn(join(scope, found)));
    h.run_ready();
    go.set();
    h.runtime.set_poll_mode(poll_mode::off);
    h.runtime.tick(); // the last task ends, the joiner is ready
    go.reset();
    BOOST_REQUIRE(scope.size() == 0u);
    BOOST_REQUIRE(scope.spawn(wait_for(go)));
    h.run_ready();
    BOOST_TEST(found == 1u);
    go.set();
    h.run_ready();
}

BOOST_AUTO_TEST_SUITE_END()
