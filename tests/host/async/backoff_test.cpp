// Tests of backoff, on a port that counts the hints of which its waits are made.
#include "async/backoff.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstddef>

namespace {

using inflight::async::backoff;

template <typename Wait>
std::size_t hints_of(Wait wait) {
    const std::size_t before = inflight::arch::spin_hints;
    wait();
    return inflight::arch::spin_hints - before;
}

} // namespace

BOOST_AUTO_TEST_SUITE(backoff_tests)

BOOST_AUTO_TEST_CASE(waits_grow_by_the_first_up_to_a_bound) {
    const std::size_t longest = hints_of([] { backoff::wait_longest(); });
    backoff between_looks;
    const std::size_t first = hints_of([&] { between_looks.wait(); });
    BOOST_TEST(first > 0u);
    BOOST_TEST(first < longest);
    for (std::size_t before = first; before != longest;) {
        const std::size_t now = hints_of([&] { between_looks.wait(); });
        BOOST_REQUIRE_EQUAL(now, std::min(before + first, longest));
        before = now;
    }
    for (int i = 0; i < 3; ++i) {
        BOOST_TEST(hints_of([&] { between_looks.wait(); }) == longest);
    }
}

// Each begins with short waits, whatever others have come to.
BOOST_AUTO_TEST_CASE(each_begins_with_the_shortest) {
    backoff old;
    const std::size_t first = hints_of([&] { old.wait(); });
    for (int i = 0; i < 100; ++i) {
        old.wait();
    }
    backoff fresh;
    BOOST_TEST(hints_of([&] { fresh.wait(); }) == first);
}

// Whenever the change comes: it is seen late by no more than the longest wait, and while waits still grow by no more than half
// of what has been waited, beside the first two waits.
BOOST_AUTO_TEST_CASE(a_change_is_seen_late_by_a_part_of_what_was_waited) {
    const std::size_t longest = hints_of([] { backoff::wait_longest(); });
    backoff shortest;
    const std::size_t first = hints_of([&] { shortest.wait(); });
    for (std::size_t change = 1; change < 20 * longest; ++change) {
        backoff between_looks;
        const std::size_t seen = hints_of([&] {
            const std::size_t begin = inflight::arch::spin_hints;
            while (inflight::arch::spin_hints - begin < change) {
                between_looks.wait();
            }
        });
        BOOST_REQUIRE_LT(seen - change, longest);
        BOOST_REQUIRE_LE(seen - change, change / 2 + 2 * first);
    }
}

BOOST_AUTO_TEST_SUITE_END()
