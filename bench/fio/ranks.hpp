// Random ranks with unequal probabilities, like fio's random_distribution=zipf:theta and pareto:h. They are computed in
// integers, because the kernel has no floating point.
#pragma once

#include "bench/fio/job.hpp"
#include "src/support/random.hpp"

#include <cstdint>

namespace inflight::bench {

// Fixed-point arithmetic. Logarithms have `fraction_bits` bits of fraction.
namespace fixed {

inline constexpr unsigned fraction_bits = 56;

// Returns log2(value / 2^64); value is not 0. Error: a few units of the last place.
[[nodiscard]] std::int64_t log2_of_fraction(std::uint64_t value) noexcept;

// Returns 2^exponent as `significand` * 2^(power - 63), with the significand's top bit set. Relative error: about
// 2^-55.
struct scaled {
    std::uint64_t significand;
    int power;
};
[[nodiscard]] scaled exp2(std::int64_t exponent) noexcept;

} // namespace fixed

// Draws ranks from 0, the most frequent, to count - 1.
//   zipf: rank k has a probability proportional to (k + 1)^-theta. The method is rejection-inversion (Hoermann,
//     Derflinger, "Rejection-inversion to generate variates from monotone discrete distributions", 1996), which needs
//     no sum over all ranks and rejects few. theta = 1, which fio refuses, is replaced by 0.999999.
//   pareto: the rank is (count - 1) * u^(log h / log(1 - h)), rounded down, with u between 0 and 1: a share 1 - h of
//     all requests goes to a share h of the blocks.
class skewed_ranks {
  public:
    skewed_ranks() noexcept = default;

    // `count` is from 1 to 2^60. `of` is zipf with a theta above 0, or pareto with an h above 0 and below 1.
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

    // zipf. With e = 1 - theta, x^e is uniformly distributed. The level is x^e divided by its maximum.
    bool decreasing_ = false;    // the level falls with x: theta is above 1
    std::int64_t e_ = 0;         // 48 bits of fraction
    std::int64_t inverse_e_ = 0; // 40 bits of fraction
    std::int64_t log_magnitude_of_e_ = 0;
    std::int64_t log_of_top_ = 0; // log2 of the x where the level is 1
    std::uint64_t lowest_ = 0;    // level
    std::uint64_t at_once_ = 0;   // a rank is accepted at once if it exceeds x by at most this; 63 bits of fraction
};

} // namespace inflight::bench
