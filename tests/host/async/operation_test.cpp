// Tests of the list of operations, against a deque.
#include "async/operation.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <deque>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::async;
using tests::chance;
using tests::pick;

} // namespace

BOOST_AUTO_TEST_SUITE(operation_tests)

BOOST_AUTO_TEST_CASE(removal_from_a_list_agrees_with_a_deque) {
    auto random = chance(21);
    std::vector<operation> nodes(8);
    operation_list list;
    std::deque<operation*> oracle;
    for (int step = 0; step < 20'000; ++step) {
        operation& node = nodes[pick<std::size_t>(random, 0, nodes.size() - 1)];
        const auto at = std::find(oracle.begin(), oracle.end(), &node);
        if (pick(random, 0, 3) == 0) {
            operation* const first = oracle.empty() ? nullptr : oracle.front();
            BOOST_REQUIRE(list.pop_front() == first);
            if (first != nullptr) {
                oracle.pop_front();
            }
        } else if (at == oracle.end() && pick(random, 0, 2) != 0) {
            list.push_back(node);
            oracle.push_back(&node);
        } else {
            BOOST_REQUIRE(list.remove(node) == (at != oracle.end()));
            if (at != oracle.end()) {
                oracle.erase(at);
            }
        }
        BOOST_REQUIRE(list.empty() == oracle.empty());
        BOOST_REQUIRE(list.front() == (oracle.empty() ? nullptr : oracle.front()));
    }
}

BOOST_AUTO_TEST_SUITE_END()
