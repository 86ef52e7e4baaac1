// Tests of the heap of timers, against a multimap.
#include "async/timer.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <map>
#include <memory>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::async;
using tests::chance;
using tests::pick;

} // namespace

BOOST_AUTO_TEST_SUITE(timer_tests)

// The heap alone, against a multimap.
BOOST_AUTO_TEST_CASE(the_heap_agrees_with_a_multimap) {
    auto random = chance(2);
    for (int run = 0; run < 20; ++run) {
        const arch::ticks range = run % 2 == 0 ? 50 : 1'000'000'000; // many equal deadlines, or few
        timer_queue queue;
        std::multimap<arch::ticks, timer*> oracle;
        std::vector<std::unique_ptr<timer>> nodes;
        std::vector<timer*> unused;
        for (int step = 0; step < 10'000; ++step) {
            BOOST_REQUIRE(queue.earliest() == (oracle.empty() ? arch::no_deadline : oracle.begin()->first));
            if (oracle.empty() || pick(random, 0, 99) < (step < 5000 ? 60 : 40)) {
                if (unused.empty()) {
                    nodes.push_back(std::make_unique<timer>());
                    unused.push_back(nodes.back().get());
                }
                timer* const node = unused.back();
                unused.pop_back();
                node->deadline = pick<arch::ticks>(random, 0, range);
                queue.insert(*node);
                oracle.emplace(node->deadline, node);
            } else {
                const arch::ticks now = pick<arch::ticks>(random, 0, range);
                timer* const due = queue.pop_due(now);
                if (oracle.begin()->first > now) {
                    BOOST_REQUIRE(due == nullptr);
                } else {
                    BOOST_REQUIRE(due != nullptr);
                    BOOST_REQUIRE(due == oracle.begin()->second); // of equal deadlines, the first that was inserted
                    oracle.erase(oracle.begin());
                    unused.push_back(due);
                }
            }
        }
        while (timer* const due = queue.pop_due(arch::no_deadline)) {
            BOOST_REQUIRE(!oracle.empty());
            BOOST_REQUIRE(due == oracle.begin()->second);
            oracle.erase(oracle.begin());
        }
        BOOST_REQUIRE(oracle.empty());
    }
}

BOOST_AUTO_TEST_CASE(removal_from_the_heap_agrees_with_a_multimap) {
    auto random = chance(22);
    for (const arch::ticks range : {arch::ticks{20}, arch::ticks{1'000'000}}) {
        std::vector<timer> nodes(64);
        std::vector<bool> in(nodes.size());
        timer_queue queue;
        std::multimap<arch::ticks, std::size_t> oracle;
        const auto forget = [&](std::size_t which) {
            const auto [first, last] = oracle.equal_range(nodes[which].deadline);
            const auto found = std::find_if(first, last, [&](const auto& each) { return each.second == which; });
            BOOST_REQUIRE(found != last);
            oracle.erase(found);
            in[which] = false;
        };
        for (int step = 0; step < 40'000; ++step) {
            const auto which = pick<std::size_t>(random, 0, nodes.size() - 1);
            switch (pick(random, 0, 4)) {
            case 0:
                BOOST_REQUIRE(queue.remove(nodes[which]) == in[which]);
                if (in[which]) {
                    forget(which);
                }
                break;
            case 1:
                if (timer* const due = queue.pop_due(pick<arch::ticks>(random, 0, range))) {
                    BOOST_REQUIRE(due->deadline == oracle.begin()->first);
                    forget(static_cast<std::size_t>(due - nodes.data()));
                }
                break;
            default:
                if (!in[which]) {
                    nodes[which].deadline = pick<arch::ticks>(random, 0, range);
                    queue.insert(nodes[which]);
                    oracle.emplace(nodes[which].deadline, which);
                    in[which] = true;
                }
            }
            BOOST_REQUIRE(queue.earliest() == (oracle.empty() ? arch::no_deadline : oracle.begin()->first));
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
