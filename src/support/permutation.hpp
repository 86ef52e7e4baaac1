// A random order of many numbers, kept in no memory.
#pragma once

#include "src/support/random.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace inflight::support {

// A permutation of the numbers below `count`, by computation. An odd factor and a folding of the upper half onto the
// lower permute the numbers below a power of two; four times, for fewer leave strides that are seen from one number to
// the next. A number that falls on one not below `count` goes on from there, until it is: less than twice on average.
class permutation {
  public:
    constexpr permutation() noexcept = default;
    constexpr permutation(std::uint64_t count, std::uint64_t seed) noexcept
        : count_{count}, addend_{mix(seed + golden_gamma)} {
        unsigned bits = 1;
        while (bits < 64 && (count - 1) >> bits != 0) {
            ++bits;
        }
        mask_ = ~std::uint64_t{0} >> (64 - bits);
        fold_ = bits == 1 ? 1 : bits / 2;
        for (std::size_t i = 0; i < factors_.size(); ++i) {
            // Random; but of many bits, the first five are not: near 0, or near a simple fraction of the power of two,
            // a factor would mix badly.
            std::uint64_t chosen = mix(seed + (i + 2) * golden_gamma);
            if (bits > 10) {
                chosen = (i % 2 == 0 ? 0x98ULL : 0xd0ULL) << 56 | chosen >> 5;
            }
            factors_[i] = chosen >> (64 - bits) | 1;
        }
    }

    [[nodiscard]] constexpr std::uint64_t count() const noexcept { return count_; }

    // Where `number`, which is below count(), falls.
    [[nodiscard]] constexpr std::uint64_t operator()(std::uint64_t number) const noexcept {
        do {
            number = fold(number * factors_[0] + addend_);
            number = fold(number * factors_[1]);
            number = fold(number * factors_[2]);
            number = fold(number * factors_[3]);
        } while (number >= count_);
        return number;
    }

  private:
    [[nodiscard]] constexpr std::uint64_t fold(std::uint64_t number) const noexcept {
        number &= mask_;
        return number ^ number >> fold_;
    }

    std::uint64_t count_ = 0;
    std::uint64_t mask_ = 0;
    std::array<std::uint64_t, 4> factors_{};
    std::uint64_t addend_ = 0;
    unsigned fold_ = 1;
};

} // namespace inflight::support
