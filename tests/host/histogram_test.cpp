// The histogram of the benchmark against a sorted list.
#include "bench/histogram.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <vector>

namespace {

using namespace inflight;
using tests::chance;
using tests::pick;

} // namespace

BOOST_AUTO_TEST_SUITE(histograms)

// The value at or below which `per_mille` of a thousand of all lie: the smallest with that many at or below it.
std::uint64_t exact_percentile(const std::vector<std::uint64_t>& sorted, std::uint64_t per_mille) {
    std::size_t enough = 0;
    while (enough * 1000 < sorted.size() * per_mille) {
        ++enough;
    }
    return sorted[enough == 0 ? 0 : enough - 1];
}

void compare(const std::vector<std::uint64_t>& values, const char* what) {
    static bench::histogram measured;
    measured.clear();
    for (const std::uint64_t each : values) {
        measured.record(each);
    }
    std::vector<std::uint64_t> sorted = values;
    for (std::uint64_t& each : sorted) {
        each = std::min(each, (std::uint64_t{1} << 32) - 1);
    }
    std::sort(sorted.begin(), sorted.end());
    BOOST_REQUIRE(measured.count() == values.size());
    std::uint64_t before = 0;
    for (const std::uint64_t per_mille : {0u, 1u, 10u, 250u, 500u, 501u, 900u, 990u, 999u, 1000u}) {
        const std::uint64_t exact = exact_percentile(sorted, per_mille);
        const std::uint64_t got = measured.percentile(per_mille);
        const auto limit = static_cast<double>(exact) * 1.016;
        BOOST_TEST(got >= exact, what << ", " << per_mille << ": " << got << " < " << exact);
        BOOST_TEST(static_cast<double>(got) <= limit, what << ", " << per_mille << ": " << got << " of " << exact);
        BOOST_TEST(got >= before, what);
        before = got;
    }
}

BOOST_AUTO_TEST_CASE(percentiles_are_at_most_one_point_six_percent_too_high) {
    auto chances = chance(14);
    for (int run = 0; run < 200; ++run) {
        const int bits = pick(chances, 1, 40);
        std::vector<std::uint64_t> values(pick<std::size_t>(chances, 1, 3000));
        for (std::uint64_t& each : values) {
            each = chances() >> (64 - pick(chances, 1, bits));
        }
        compare(values, "random");
    }
}

BOOST_AUTO_TEST_CASE(edges_of_buckets) {
    for (unsigned bit = 0; bit < 64; ++bit) {
        const std::uint64_t power = std::uint64_t{1} << bit;
        for (const std::uint64_t value : {power - 1, power, power + 1, power + power / 64, power + power / 2}) {
            compare({value}, "one value");
        }
    }
    for (std::uint64_t value = 0; value < 5000; ++value) {
        compare({value}, "small value");
    }
    compare({~std::uint64_t{0}, 0, std::uint64_t{1} << 32, (std::uint64_t{1} << 32) - 1}, "the largest");
}

BOOST_AUTO_TEST_CASE(an_empty_histogram_answers_zero) {
    static bench::histogram measured;
    BOOST_TEST(measured.count() == 0u);
    BOOST_TEST(measured.percentile(500) == 0u);
    measured.record(77);
    BOOST_TEST(measured.percentile(0) == 77u);
    BOOST_TEST(measured.percentile(1000) == 77u);
    measured.clear();
    BOOST_TEST(measured.count() == 0u);
    BOOST_TEST(measured.percentile(1000) == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
