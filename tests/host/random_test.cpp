// Random numbers and permutations.
#include "src/support/permutation.hpp"
#include "src/support/random.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <set>
#include <vector>

namespace {

using namespace inflight;
using support::permutation;
using tests::chance;
using tests::pick;

} // namespace

BOOST_AUTO_TEST_SUITE(random_numbers)

std::vector<std::uint64_t> all_of(std::uint64_t count, std::uint64_t seed) {
    const permutation order{count, seed};
    std::vector<std::uint64_t> numbers;
    for (std::uint64_t place = 0; place < order.count(); ++place) {
        numbers.push_back(order(place));
    }
    return numbers;
}

bool is_permutation_of(const std::vector<std::uint64_t>& numbers, std::uint64_t count) {
    std::vector<bool> seen(count);
    for (const std::uint64_t each : numbers) {
        if (each >= count || seen[each]) {
            return false;
        }
        seen[each] = true;
    }
    return numbers.size() == count;
}

BOOST_AUTO_TEST_CASE(a_permutation_has_each_number_once) {
    auto chances = chance(15);
    for (std::uint64_t count = 0; count <= 2000; ++count) {
        BOOST_REQUIRE_MESSAGE(is_permutation_of(all_of(count, chances()), count), "count " << count);
    }
    for (const std::uint64_t count : {65'535u, 65'536u, 65'537u, 1'000'003u}) {
        BOOST_REQUIRE_MESSAGE(is_permutation_of(all_of(count, chances()), count), "count " << count);
    }
    for (std::uint64_t seed = 0; seed < 200; ++seed) { // seeds of few bits, and none
        BOOST_REQUIRE(is_permutation_of(all_of(1000, seed), 1000));
        BOOST_REQUIRE(is_permutation_of(all_of(1000, ~seed), 1000));
    }
}

// Of a huge one, the beginning: below the bound, and all different.
BOOST_AUTO_TEST_CASE(a_huge_permutation_begins_right) {
    for (const std::uint64_t count : {(std::uint64_t{1} << 32) + 1, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
        const permutation order{count, 5};
        std::set<std::uint64_t> seen;
        for (std::uint64_t place = 0; place < 20'000; ++place) {
            const std::uint64_t number = order(place);
            BOOST_REQUIRE(number < count);
            BOOST_REQUIRE(seen.insert(number).second);
        }
    }
}

BOOST_AUTO_TEST_CASE(a_seed_decides_the_order) {
    // As tests/guest/stamps.py computes them, which shares nothing with this.
    BOOST_TEST(all_of(10, 1) == (std::vector<std::uint64_t>{3, 8, 7, 4, 9, 6, 0, 2, 1, 5}));
    std::uint64_t place = 0;
    const permutation known{100'000, 7};
    for (const std::uint64_t expected : {62951u, 76676u, 30151u, 88852u, 99477u, 1454u, 14789u, 66735u}) {
        BOOST_TEST(known(place++) == expected);
    }
    BOOST_TEST(all_of(1000, 1) == all_of(1000, 1));
    std::set<std::vector<std::uint64_t>> orders;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        orders.insert(all_of(1000, seed));
    }
    BOOST_TEST(orders.size() == 100u);
    // Not the order of the numbers, whatever the seed: of all neighbours hardly any follow each other. (Of few numbers they
    // may: one in 512 factors is 1 for a thousand of them.)
    for (const std::uint64_t seed : {0u, 1u, 2u, 3u, 4u, 5u, 6u, 7u, 1000u, ~0u}) {
        const auto numbers = all_of(300'000, seed);
        int following = 0;
        for (std::size_t i = 1; i < numbers.size(); ++i) {
            following += numbers[i] == numbers[i - 1] + 1;
        }
        BOOST_TEST(following < 300, "seed " << seed << ": " << following);
    }
}

BOOST_AUTO_TEST_CASE(random_numbers_stay_below_their_bound_and_reach_all_of_it) {
    auto chances = chance(16);
    for (const std::uint64_t bound : {std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{3}, std::uint64_t{10}}) {
        support::random numbers{chances()};
        std::vector<int> seen(bound);
        for (int i = 0; i < 30'000; ++i) {
            const std::uint64_t number = numbers.below(bound);
            BOOST_REQUIRE(number < bound);
            ++seen[number];
        }
        for (const int each : seen) { // about ten standard deviations
            BOOST_TEST(std::abs(each - 30'000 / static_cast<int>(bound)) < 900);
        }
    }
    for (int i = 0; i < 100'000; ++i) {
        const std::uint64_t bound = std::max<std::uint64_t>(chances() >> pick(chances, 0, 63), 1);
        BOOST_REQUIRE(support::random{chances()}.below(bound) < bound);
    }
    support::random one{42};
    support::random other{42};
    for (int i = 0; i < 100; ++i) {
        BOOST_TEST(one.next() == other.next());
    }
    // The first numbers of seed 1234567, as other implementations of splitmix64 have them.
    support::random known{1234567};
    for (const std::uint64_t expected : {6457827717110365317u, 3203168211198807973u, 9817491932198370423u}) {
        BOOST_TEST(known.next() == expected);
    }
}

BOOST_AUTO_TEST_SUITE_END()
