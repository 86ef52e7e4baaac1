// Tests of the ranks that zipf and pareto draw: against their probabilities in floating point.
#include "bench/fio/ranks.hpp"
#include "tests/host/chi_square.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::bench;
using tests::chance;
using tests::chi_square;
using tests::pick;

// More draws for somebody who has the time: INFLIGHT_DRAWS=20000000.
std::uint64_t draws() {
    const char* const given = std::getenv("INFLIGHT_DRAWS");
    return given == nullptr ? 200'000 : std::strtoull(given, nullptr, 0);
}

// The sum of k^-theta for k from `from` to `to`: Euler and Maclaurin's where there are many.
double power_sum(double theta, std::uint64_t from, std::uint64_t to) {
    long double sum = 0;
    for (; from <= to && from < 2000; ++from) {
        sum += std::pow(static_cast<long double>(from), -static_cast<long double>(theta));
    }
    if (from > to) {
        return static_cast<double>(sum);
    }
    const auto a = static_cast<long double>(from);
    const auto b = static_cast<long double>(to);
    const long double t = theta;
    const auto f = [t](long double x) {
        return std::pow(x, -t);
    };
    const auto slope = [t](long double x) {
        return -t * std::pow(x, -t - 1);
    };
    const long double e = 1 - t;
    const long double area = std::pow(a, e) * std::expm1(e * std::log(b / a)) / e;
    return static_cast<double>(sum + area + (f(a) + f(b)) / 2 + (slope(b) - slope(a)) / 12);
}

// Draws ranks, counts them in bins (each of the first ranks, then about eight for a power of two), and compares with
// `probability(first, last)` of a range of ranks from 0.
double deviation(const skewed_ranks& ranks, std::uint64_t count, std::uint64_t seed,
                 const std::function<double(std::uint64_t, std::uint64_t)>& probability) {
    std::vector<std::uint64_t> first_of_bin;
    for (std::uint64_t first = 0; first < count; first += std::max<std::uint64_t>(1, first / 8)) {
        first_of_bin.push_back(first);
    }
    std::vector<std::uint64_t> found(first_of_bin.size());
    support::random chances{seed};
    const std::uint64_t all = draws();
    for (std::uint64_t i = 0; i < all; ++i) {
        const std::uint64_t rank = ranks.draw(chances);
        if (rank >= count) {
            BOOST_FAIL("rank " << rank << " of " << count);
        }
        const auto bin = std::upper_bound(first_of_bin.begin(), first_of_bin.end(), rank) - first_of_bin.begin() - 1;
        ++found[static_cast<std::size_t>(bin)];
    }
    chi_square sum;
    double whole = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
        const std::uint64_t last = (i + 1 < found.size() ? first_of_bin[i + 1] : count) - 1;
        const double share = probability(first_of_bin[i], last);
        whole += share;
        sum.add(share * static_cast<double>(all), static_cast<double>(found[i]));
    }
    BOOST_REQUIRE(std::abs(whole - 1) < 1e-9);
    return sum.deviation();
}

double zipf_deviation(double theta_drawn, double theta_expected, std::uint64_t count, std::uint64_t seed) {
    const auto parameter = static_cast<std::uint32_t>(std::lround(theta_drawn * 1e6));
    const skewed_ranks ranks{{.kind = random_distribution::shape::zipf, .parameter = parameter}, count};
    const double all = power_sum(theta_expected, 1, count);
    return deviation(ranks, count, seed, [&](std::uint64_t first, std::uint64_t last) {
        return power_sum(theta_expected, first + 1, last + 1) / all;
    });
}

double pareto_deviation(double h_drawn, double h_expected, std::uint64_t count, std::uint64_t seed) {
    const auto parameter = static_cast<std::uint32_t>(std::lround(h_drawn * 1e6));
    const skewed_ranks ranks{{.kind = random_distribution::shape::pareto, .parameter = parameter}, count};
    const double power = std::log(1 - h_expected) / std::log(h_expected); // of the distribution function
    const auto below = [&](std::uint64_t rank) {
        return std::min(1.0, std::pow(static_cast<double>(rank) / static_cast<double>(count - 1), power));
    };
    return deviation(ranks, count, seed,
                     [&](std::uint64_t first, std::uint64_t last) { return below(last + 1) - below(first); });
}

} // namespace

BOOST_AUTO_TEST_SUITE(ranks)

BOOST_AUTO_TEST_CASE(logarithms_and_powers) {
    auto chances = chance(1);
    const long double unit = std::ldexp(1.0L, -static_cast<int>(fixed::fraction_bits));
    const auto check_log2 = [&](std::uint64_t value) {
        const long double expected = std::log2(static_cast<long double>(value)) - 64;
        const long double found = static_cast<long double>(fixed::log2_of_fraction(value)) * unit;
        BOOST_TEST_REQUIRE(static_cast<double>(std::abs(found - expected)) <= static_cast<double>(8 * unit), value);
    };
    for (int bit = 0; bit < 64; ++bit) {
        for (const std::uint64_t near : {~std::uint64_t{0}, std::uint64_t{0}, std::uint64_t{1}}) {
            const std::uint64_t value = (std::uint64_t{1} << bit) + near;
            if (value != 0) {
                check_log2(value);
            }
        }
    }
    const auto check_exp2 = [&](std::int64_t exponent) {
        const fixed::scaled found = fixed::exp2(exponent);
        BOOST_REQUIRE(found.significand >> 63 == 1);
        const long double expected = std::exp2(static_cast<long double>(exponent) * unit);
        const long double ratio = std::ldexp(static_cast<long double>(found.significand), found.power - 63) / expected;
        BOOST_TEST_REQUIRE(static_cast<double>(std::abs(ratio - 1)) <= std::ldexp(1.0, -54), exponent);
    };
    const std::int64_t one = std::int64_t{1} << fixed::fraction_bits;
    for (std::int64_t whole = -70; whole <= 62; ++whole) {
        for (const std::int64_t near : {-1, 0, 1}) {
            check_exp2(whole * one + near);
        }
    }
    for (int i = 0; i < 100'000; ++i) {
        const std::uint64_t random = chances();
        check_log2(std::max<std::uint64_t>(random >> pick(chances, 0, 63), 1));
        check_exp2(static_cast<std::int64_t>(random) / 2);
    }
}

BOOST_AUTO_TEST_CASE(zipf_is_as_in_theory) {
    std::uint64_t seed = tests::seed();
    for (const double theta : {0.01, 0.5, 0.9, 0.999999, 1.000001, 1.2, 2.0, 5.0}) {
        for (const std::uint64_t count : {std::uint64_t{3}, std::uint64_t{100}, std::uint64_t{1} << 20,
                                          (std::uint64_t{1} << 28) - 1, std::uint64_t{1} << 40}) {
            const double far = zipf_deviation(theta, theta, count, ++seed);
            BOOST_TEST(far < 5, "theta " << theta << ", " << count << " ranks, seed " << seed << ": " << far);
        }
    }
}

// That the comparison sees a difference: two hundredths in theta.
BOOST_AUTO_TEST_CASE(zipf_of_another_theta_is_seen) {
    const double far = zipf_deviation(1.2, 1.22, 1 << 20, tests::seed());
    BOOST_TEST(far > 6);
    BOOST_TEST(zipf_deviation(0.9, 0.92, 1 << 20, tests::seed()) > 6);
}

BOOST_AUTO_TEST_CASE(zipf_of_one_rank_and_of_extreme_thetas) {
    support::random chances{tests::seed()};
    for (const std::uint32_t theta : {1U, 500'000U, 1'000'000U, 1'200'000U, 90'000'000U, ~0U}) {
        const skewed_ranks one{{.kind = random_distribution::shape::zipf, .parameter = theta}, 1};
        const skewed_ranks many{{.kind = random_distribution::shape::zipf, .parameter = theta}, std::uint64_t{1} << 60};
        for (int i = 0; i < 1000; ++i) {
            BOOST_REQUIRE(one.draw(chances) == 0);
            const std::uint64_t rank = many.draw(chances);
            BOOST_REQUIRE(rank < std::uint64_t{1} << 60);
            BOOST_REQUIRE((theta <= 1'200'000 || rank == 0));
        }
    }
    BOOST_TEST(zipf_deviation(1, 0.999999, 1 << 20, tests::seed()) < 5); // taken for it
}

BOOST_AUTO_TEST_CASE(pareto_is_as_in_theory) {
    std::uint64_t seed = tests::seed() + 1000;
    for (const double h : {0.01, 0.1, 0.2, 0.5, 0.7, 0.95}) {
        for (const std::uint64_t count :
             {std::uint64_t{3}, std::uint64_t{100}, std::uint64_t{1} << 20, (std::uint64_t{1} << 28) - 1}) {
            const double far = pareto_deviation(h, h, count, ++seed);
            BOOST_TEST(far < 5, "h " << h << ", " << count << " ranks, seed " << seed << ": " << far);
        }
    }
    BOOST_TEST(pareto_deviation(0.2, 0.21, 1 << 20, seed) > 6);
    support::random chances{seed};
    for (const std::uint32_t h : {1U, 200'000U, 999'999U}) {
        const skewed_ranks one{{.kind = random_distribution::shape::pareto, .parameter = h}, 1};
        BOOST_REQUIRE(one.draw(chances) == 0);
        const skewed_ranks many{{.kind = random_distribution::shape::pareto, .parameter = h}, std::uint64_t{1} << 60};
        for (int i = 0; i < 1000; ++i) {
            BOOST_REQUIRE(many.draw(chances) < std::uint64_t{1} << 60);
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
