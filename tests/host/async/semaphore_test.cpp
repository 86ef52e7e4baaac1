// Tests of the semaphore, also against models.
#include "async/counting_scope.hpp"
#include "async/scheduler.hpp"
#include "async/semaphore.hpp"
#include "async/stop_token.hpp"
#include "async/task.hpp"
#include "tests/host/async/wait_models.hpp"
#include "tests/host/hart_fixture.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <deque>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::async;
using tests::chance;
using tests::compare_at_random;
using tests::hart;
using tests::pick;

} // namespace

BOOST_AUTO_TEST_SUITE(semaphore_tests)

BOOST_AUTO_TEST_CASE(a_semaphore_hands_its_permits_on_in_turn) {
    hart h;
    semaphore permits{1};
    std::vector<int> log;
    counting_scope scope;
    const auto take = [](semaphore& from, std::vector<int>& into, int id) -> task<void> {
        co_await from.acquire();
        into.push_back(id);
    };
    for (int id = 0; id < 4; ++id) {
        BOOST_REQUIRE(scope.spawn(take(permits, log, id)));
    }
    h.run_ready();
    BOOST_TEST(log == (std::vector{0}), boost::test_tools::per_element());
    BOOST_TEST(permits.available() == 0u);
    permits.release();
    // The permit is on its way to 1, though 1 has not run: nobody else can have it.
    BOOST_TEST(permits.available() == 0u);
    BOOST_TEST(!permits.try_acquire());
    BOOST_REQUIRE(scope.spawn(take(permits, log, 9)));
    h.run_ready();
    BOOST_TEST(log == (std::vector{0, 1}), boost::test_tools::per_element());
    for (int i = 0; i < 3; ++i) {
        permits.release();
    }
    h.run_ready();
    BOOST_TEST(log == (std::vector{0, 1, 2, 3, 9}), boost::test_tools::per_element());
    BOOST_TEST(permits.available() == 0u);
    permits.release();
    BOOST_TEST(permits.available() == 1u);
    BOOST_TEST(permits.try_acquire());
    BOOST_TEST(!permits.try_acquire());
}

// The reference: permits, and who waits. It says who gets which permit, in which order.
struct semaphore_model {
    std::size_t permits;
    std::deque<int> line;
    std::vector<int> granted;
    std::size_t held = 0;

    void acquire(int id) {
        if (permits != 0) {
            --permits;
            grant(id);
        } else {
            line.push_back(id);
        }
    }
    bool try_acquire(int id) {
        const bool can = permits != 0;
        if (can) {
            acquire(id);
        }
        return can;
    }
    void release() {
        --held;
        if (line.empty()) {
            ++permits;
        } else {
            grant(line.front());
            line.pop_front();
        }
    }
    void grant(int id) {
        granted.push_back(id);
        ++held;
    }
};

BOOST_AUTO_TEST_CASE(a_semaphore_behaves_like_its_model) {
    auto random = chance(4);
    for (int run = 0; run < 30; ++run) {
        hart h;
        const auto permits = pick<std::size_t>(random, 0, 5);
        struct shared {
            semaphore& real;
            semaphore_model& model;
            std::mt19937_64& chances;
            std::size_t total;
            int differences = 0;
            int holders = 0;
            bool done = false;
        };
        semaphore real{permits};
        semaphore_model model{permits, {}, {}};
        model.granted.reserve(4096);
        std::vector<int> granted;
        shared all{real, model, random, permits};
        const auto check = [](shared& with) {
            with.differences += with.real.available() != with.model.permits;
            with.differences += with.real.available() + with.model.held != with.total;
        };
        const auto worker = [&check](shared& with, std::vector<int>& into, int id) -> task<void> {
            for (int i = 0; i < 30; ++i) {
                bool have = false;
                if (pick(with.chances, 0, 2) == 0) {
                    have = with.real.try_acquire();
                    with.differences += have != with.model.try_acquire(id);
                } else {
                    with.model.acquire(id);
                    co_await with.real.acquire();
                    have = true;
                }
                if (have) {
                    into.push_back(id);
                    ++with.holders;
                    with.differences += static_cast<std::size_t>(with.holders) > with.total;
                    check(with);
                    for (int k = pick(with.chances, 0, 3); k != 0; --k) {
                        co_await yield{};
                    }
                    --with.holders;
                    with.model.release();
                    with.real.release();
                    check(with);
                }
                if (pick(with.chances, 0, 1) == 0) {
                    co_await yield{};
                }
            }
        };
        if (permits == 0) { // one more, so that they end
            ++all.total;
            ++model.permits;
            real.release();
        }
        counting_scope scope;
        for (int id = 0; id < 12; ++id) {
            BOOST_REQUIRE(scope.spawn(worker(all, granted, id)));
        }
        h.run_ready();
        BOOST_REQUIRE(scope.size() == 0);
        BOOST_REQUIRE(all.differences == 0);
        BOOST_REQUIRE(real.available() == all.total);
        // Who gets a free permit runs at once, who waits runs when his turn comes; so the multisets agree, and for those
        // who had to wait so does the order.
        std::vector<int> expected = model.granted;
        std::sort(expected.begin(), expected.end());
        std::sort(granted.begin(), granted.end());
        BOOST_REQUIRE(granted == expected);
    }
}

// With acquire() alone and everybody in line, the order is the model's exactly.
BOOST_AUTO_TEST_CASE(the_order_of_those_in_line_is_exact) {
    auto random = chance(5);
    hart h;
    semaphore real{0};
    std::vector<int> order;
    std::vector<int> granted;
    counting_scope scope;
    const auto worker = [](semaphore& from, std::vector<int>& came, std::vector<int>& got, std::mt19937_64& chances,
                           int id) -> task<void> {
        for (int i = 0; i < 50; ++i) {
            for (int k = pick(chances, 0, 4); k != 0; --k) {
                co_await yield{};
            }
            came.push_back(id);
            co_await from.acquire();
            got.push_back(id);
        }
    };
    for (int id = 0; id < 20; ++id) {
        BOOST_REQUIRE(scope.spawn(worker(real, order, granted, random, id)));
    }
    while (scope.size() != 0) {
        h.runtime.tick();
        if (granted.size() < order.size()) {
            real.release(); // there is somebody in line, or on the way
        }
        BOOST_REQUIRE(granted.size() <= order.size());
    }
    BOOST_REQUIRE(granted.size() == 1000);
    BOOST_TEST(granted == order, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_semaphore_with_stops) {
    for (const std::size_t permits : {0u, 1u, 2u, 7u}) {
        semaphore real{permits};
        if (permits == 0) {
            real.release(); // one comes later
        }
        compare_at_random(
            100 + permits, std::max<std::size_t>(permits, 1), [&](stop_token token) { return real.acquire(token); },
            [&] { real.release(); }, [&] { return real.available(); });
    }
}

BOOST_AUTO_TEST_SUITE_END()
