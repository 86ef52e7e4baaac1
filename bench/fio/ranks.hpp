// Ranks that are drawn with unequal probabilities, as fio's random_distribution=zipf:theta and pareto:h, in integers:
// the kernel has no floating point.
#pragma once

#include "bench/fio/job.hpp"
#include "src/support/random.hpp"

#include <cstdint>

namespace inflight::bench {

// Numbers with their binary point after `fraction_bits` bits.
namespace fixed {

// Of logarithms: 56.
inline constexpr unsigned fraction_bits = 56;

// log2(value / 2^64); value is not 0. Error: a few units of the last place.
[[nodiscard]] std::int64_t log2_of_fraction(std::uint64_t value) noexcept;

// 2^exponent as `significand` * 2^(power - 63), with the significand's top bit set. Relative error: about 2^-55.
struct scaled {
    std::uint64_t significand;
    int power;
};
[[nodiscard]] scaled exp2(std::int64_t exponent) noexcept;

} // namespace fixed

// Draws ranks from 0, the most frequent, to count - 1.
//   zipf: rank k with a probability proportional to (k + 1)^-theta: by rejection-inversion (Hoermann, Derflinger,
//     "Rejection-inversion to generate variates from monotone discrete distributions", 1996), which needs no sum over
//     all ranks; few are rejected. theta = 1, which fio refuses, is taken for 0.999999.
//   pareto: (count - 1) * u^(log h / log(1 - h)), rounded down, of u between 0 and 1: of all requests, 1 - h go to a
//     share h of the blocks.
class skewed_ranks {
  public:
    skewed_ranks() noexcept = default;

    // At least one rank, at most 2^60. `of` is zipf with a theta above 0, or pareto with an h above 0 and below 1.
    skewed_ranks(const random_distribution& of, std::uint64_t count) noexcept;

    [[nodiscard]] std::uint64_t draw(support::random& chance) const noexcept {
        return pareto_ ? draw_pareto(chance.next()) : draw_zipf(chance);
    }

  private:
    void prepare_zipf(std::uint32_t theta) noexcept;
    [[nodiscard]] std::uint64_t draw_zipf(support::random& chance) const noexcept;
    [[nodiscard]] std::uint64_t draw_pareto(std::uint64_t uniform) const noexcept;
    [[nodiscard]] fixed::scaled quantile(std::uint64_t level) const noexcept;
    [[nodiscard]] std::uint64_t limit_of(std::uint64_t number) const noexcept;

    std::uint64_t count_ = 1;
    bool pareto_ = false;
    std::int64_t power_ = 0; // pareto: the power of u; 36 bits of fraction

    // zipf. With e = 1 - theta, x^e is spread evenly; its share of the largest one is the level.
    bool decreasing_ = false;    // the level falls with x: theta is above 1
    std::int64_t e_ = 0;         // 48 bits of fraction
    std::int64_t inverse_e_ = 0; // 40 bits of fraction
    std::int64_t log_magnitude_of_e_ = 0;
    std::int64_t log_of_top_ = 0; // log2 of the x where the level is 1
    std::uint64_t lowest_ = 0;    // level
    std::uint64_t at_once_ = 0;   // a rank is taken at once if it is at most this above x; 63 bits of fraction
};

} // namespace inflight::bench
