#include "bench/fio/ranks.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <limits>

namespace inflight::bench {

namespace {

__extension__ using wide = unsigned __int128;
__extension__ using signed_wide = __int128;

constexpr std::uint64_t ln_2 = 0xb17217f7d1cf79ac;   // 64 bits of fraction
constexpr std::uint64_t log2_e = 0xb8aa3b295c17f0bc; // 63 bits of fraction

constexpr std::uint64_t high_product(std::uint64_t one, std::uint64_t other) noexcept {
    return static_cast<std::uint64_t>((wide{one} * other) >> 64);
}

// log2 and exp2 look up the first bits in a table, and use a power series for the rest.
constexpr unsigned table_bits = 7;
constexpr std::size_t table_size = std::size_t{1} << table_bits;

// The middle of a part of [1, 2): its reciprocal (64 bits of fraction) and logarithm (62 bits).
struct part {
    std::uint64_t reciprocal;
    std::int64_t log2;
};

constexpr std::array<part, table_size> make_parts() noexcept {
    constexpr std::uint64_t twice = 2 * table_size;
    std::array<part, table_size> parts{};
    for (std::size_t i = 0; i < table_size; ++i) {
        const std::uint64_t above_one = 2 * i + 1; // of the middle, in units of half a part
        const auto reciprocal = static_cast<std::uint64_t>((wide{twice} << 64) / (twice + above_one));
        // ln c = 2 artanh y, y = (c - 1) / (c + 1)
        const auto y = static_cast<std::uint64_t>((wide{above_one} << 64) / (2 * twice + above_one));
        const std::uint64_t square = high_product(y, y);
        std::uint64_t sum = 0;
        std::uint64_t power = y;
        for (std::uint64_t n = 1; power != 0; n += 2) {
            sum += power / n;
            power = high_product(power, square);
        }
        // twice the sum, times log2 e: 64 + 63 - 1 bits of fraction
        parts[i] = {.reciprocal = reciprocal, .log2 = static_cast<std::int64_t>((wide{sum} * log2_e) >> (126 - 62))};
    }
    return parts;
}

// 2^(i / table_size), 63 bits of fraction.
constexpr std::array<std::uint64_t, table_size> make_powers() noexcept {
    std::array<std::uint64_t, table_size> powers{};
    for (std::size_t i = 0; i < table_size; ++i) {
        const auto exponent = static_cast<std::uint64_t>((wide{ln_2} * i) >> table_bits);
        std::uint64_t term = std::uint64_t{1} << 63;
        for (std::uint64_t n = 1; term != 0; ++n) {
            powers[i] += term;
            term = high_product(term, exponent) / n;
        }
    }
    return powers;
}

constexpr std::array<part, table_size> parts = make_parts();
constexpr std::array<std::uint64_t, table_size> powers_of_two = make_powers();

// Numbers with 62 bits of fraction.
constexpr std::int64_t one_62 = std::int64_t{1} << 62;
constexpr std::int64_t times_62(std::int64_t one, std::int64_t other) noexcept {
    return static_cast<std::int64_t>((signed_wide{one} * other) >> 62);
}

constexpr std::int64_t one = std::int64_t{1} << fixed::fraction_bits;
constexpr unsigned e_bits = 48;
constexpr unsigned inverse_e_bits = 40;
constexpr unsigned power_bits = 36;
// From this rank on none is rejected: the interval weighs too much by less than theta^2 * 2^-28, and limit_of() would
// be less exact than that if theta is almost 1.
constexpr std::uint64_t never_rejected = 4096;
constexpr std::uint64_t million = 1'000'000;

// Returns log2 of an integer that is not 0.
std::int64_t log2(std::uint64_t number) noexcept {
    return fixed::log2_of_fraction(number) + 64 * one;
}

// Returns 2^exponent, which is at most 1, with 64 bits of fraction. 1 becomes the largest number below 1.
std::uint64_t exp2_fraction(std::int64_t exponent) noexcept {
    if (exponent >= 0) {
        return std::numeric_limits<std::uint64_t>::max();
    }
    const fixed::scaled value = fixed::exp2(exponent);
    return value.power < -64 ? 0 : value.significand >> (-1 - value.power);
}

// Returns a logarithm times 1 - theta, clamped: a result whose power of two is too small to represent stays so.
std::int64_t times_e(std::int64_t e, std::int64_t logarithm) noexcept {
    const signed_wide product = (signed_wide{logarithm} * e) >> e_bits;
    return static_cast<std::int64_t>(std::clamp<signed_wide>(product, -70 * signed_wide{one}, 70 * signed_wide{one}));
}

} // namespace

namespace fixed {

std::int64_t log2_of_fraction(std::uint64_t value) noexcept {
    const int zeroes = std::countl_zero(value);
    const std::uint64_t significand = value << zeroes; // 63 bits of fraction, in [1, 2)
    const part& near = parts[(significand >> (63 - table_bits)) & (table_size - 1)];
    // 1 + r = significand / middle, |r| < 2^-8; ln(1 + r) = r - r^2/2 + r^3/3 - ...
    const auto r =
        static_cast<std::int64_t>(high_product(significand, near.reciprocal) - (std::uint64_t{1} << 63)) >> 1;
    std::int64_t series = one_62 / 7;
    series = times_62(series, r) - one_62 / 6;
    series = times_62(series, r) + one_62 / 5;
    series = times_62(series, r) - one_62 / 4;
    series = times_62(series, r) + one_62 / 3;
    series = times_62(series, r) - one_62 / 2;
    series = times_62(series, r) + one_62;
    const std::int64_t logarithm = near.log2 + times_62(times_62(series, r), log2_e >> 1);
    return (logarithm >> (62 - fraction_bits)) - (zeroes + 1) * one;
}

scaled exp2(std::int64_t exponent) noexcept {
    const std::int64_t fraction = exponent & (one - 1);
    constexpr unsigned rest_bits = fraction_bits - table_bits;
    const std::int64_t rest = fraction & ((std::int64_t{1} << rest_bits) - 1);
    // e^z = 1 + z + z^2/2! + ..., z = rest * ln 2 < 2^-7
    const std::int64_t z = times_62(rest << (62 - fraction_bits), ln_2 >> 2);
    std::int64_t series = one_62 / 720;
    series = times_62(series, z) + one_62 / 120;
    series = times_62(series, z) + one_62 / 24;
    series = times_62(series, z) + one_62 / 6;
    series = times_62(series, z) + one_62 / 2;
    series = times_62(series, z) + one_62;
    series = times_62(series, z) + one_62;
    const wide product =
        wide{powers_of_two[static_cast<std::size_t>(fraction >> rest_bits)]} * static_cast<std::uint64_t>(series);
    return {.significand = static_cast<std::uint64_t>(product >> 62),
            .power = static_cast<int>(exponent >> fraction_bits)};
}

} // namespace fixed

skewed_ranks::skewed_ranks(const random_distribution& of, std::uint64_t count) noexcept
    : count_{count}, pareto_{of.kind == random_distribution::shape::pareto} {
    if (pareto_) {
        const auto minus_log_h = static_cast<std::uint64_t>(log2(million) - log2(of.parameter));
        const auto minus_log_rest = static_cast<std::uint64_t>(log2(million) - log2(million - of.parameter));
        power_ = static_cast<std::int64_t>((wide{minus_log_h} << power_bits) / minus_log_rest);
    } else {
        prepare_zipf(of.parameter == million ? of.parameter - 1 : of.parameter);
    }
}

// The distribution of x is continuous, with a density of x^-theta. It ends at n + 1/2, and begins where the part below
// 3/2 has the weight of rank 1, which is 1. x is rounded to a rank. From rank 2 on, the interval of a rank weighs
// slightly too much, so x is rejected in a part of it, and the rest weighs k^-theta.
void skewed_ranks::prepare_zipf(std::uint32_t theta) noexcept {
    decreasing_ = theta > million;
    const std::uint64_t magnitude = decreasing_ ? theta - million : million - theta; // of e, in millionths
    e_ = static_cast<std::int64_t>((wide{magnitude} << e_bits) / million);
    inverse_e_ = static_cast<std::int64_t>((million << inverse_e_bits) / magnitude);
    log_magnitude_of_e_ = log2(magnitude) - log2(million);
    const std::int64_t log_of_three_halves = log2(3) - one;
    const std::int64_t log_of_end = log2(2 * count_ + 1) - one;
    if (decreasing_) {
        // The largest x^e is (3/2)^e - e, as a number with 50 bits of fraction.
        const std::uint64_t top =
            (exp2_fraction(-times_e(e_, log_of_three_halves)) >> 14) + (static_cast<std::uint64_t>(e_) << 2);
        e_ = -e_;
        inverse_e_ = -inverse_e_;
        const std::int64_t log_of_top_power = fixed::log2_of_fraction(top) + 14 * one;
        log_of_top_ = static_cast<std::int64_t>((signed_wide{log_of_top_power} * inverse_e_) >> inverse_e_bits);
        lowest_ = exp2_fraction(times_e(e_, log_of_end - log_of_top_));
    } else {
        log_of_top_ = log_of_end;
        lowest_ = exp2_fraction(times_e(e_, log_of_three_halves - log_of_end)) -
                  exp2_fraction(log_magnitude_of_e_ - times_e(e_, log_of_end));
    }
    lowest_ = std::max<std::uint64_t>(lowest_, 1);
    // From rank 2 on, the accepted part of an interval below its rank is shortest for rank 2, so an x within that
    // distance of its rank is accepted at once. The margin is for rounding; draw_zipf() checks every other x exactly.
    constexpr std::uint64_t two = 0; // 2^64
    constexpr std::uint64_t margin = std::uint64_t{1} << 43;
    const fixed::scaled accepted_from = quantile(std::max<std::uint64_t>(limit_of(2), 1));
    if (accepted_from.power == 0 && two - accepted_from.significand > margin) {
        at_once_ = two - accepted_from.significand - margin;
    }
}

// Returns the x with this level.
fixed::scaled skewed_ranks::quantile(std::uint64_t level) const noexcept {
    const signed_wide product = signed_wide{fixed::log2_of_fraction(level)} * inverse_e_;
    return fixed::exp2(log_of_top_ + static_cast<std::int64_t>(product >> inverse_e_bits));
}

// Returns the level at which the accepted part of the interval of `number` begins.
std::uint64_t skewed_ranks::limit_of(std::uint64_t number) const noexcept {
    const std::int64_t log_of_number = log2(number);
    const std::int64_t log_of_end = log2(2 * number + 1) - one;
    const std::uint64_t end = exp2_fraction(times_e(e_, log_of_end - log_of_top_));
    const std::uint64_t weight =
        exp2_fraction(log_magnitude_of_e_ + times_e(e_, log_of_number - log_of_top_) - log_of_number); // |e| k^-theta
    if (decreasing_) {
        return end + std::min(weight, ~end);
    }
    return end - std::min(weight, end);
}

std::uint64_t skewed_ranks::draw_zipf(support::random& chance) const noexcept {
    for (;;) {
        const std::uint64_t level = lowest_ + chance.below(0 - lowest_); // to 2^64
        const fixed::scaled x = quantile(level);
        if (x.power < 0) {
            return 0; // below 1
        }
        const std::uint64_t halves = x.significand >> (62 - x.power);
        if (halves < 3) {
            return 0; // rank 1 is never rejected
        }
        const std::uint64_t number = std::min((halves + 1) >> 1, count_);
        if (number >= never_rejected) {
            return number - 1;
        }
        const auto above = static_cast<std::int64_t>((number << (63 - x.power)) - x.significand); // 63 - power bits
        if (above <= static_cast<std::int64_t>(at_once_ >> x.power)) {
            return number - 1;
        }
        const std::uint64_t limit = limit_of(number);
        if (decreasing_ ? level <= limit : level >= limit) {
            return number - 1;
        }
    }
}

std::uint64_t skewed_ranks::draw_pareto(std::uint64_t uniform) const noexcept {
    const std::int64_t logarithm = fixed::log2_of_fraction(std::max<std::uint64_t>(uniform, 1));
    const signed_wide exponent = (signed_wide{logarithm} * power_) >> power_bits;
    if (exponent < -64 * signed_wide{one}) {
        return 0;
    }
    return high_product(count_ - 1, exp2_fraction(static_cast<std::int64_t>(exponent)));
}

} // namespace inflight::bench
