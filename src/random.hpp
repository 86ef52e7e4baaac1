// Random numbers that a seed repeats: splitmix64 (Steele, Lea, Flood 2014).
#pragma once

#include <cstdint>

namespace inflight::kernel {

inline constexpr std::uint64_t golden_gamma = 0x9e3779b97f4a7c15;

// The output function: spreads a 64-bit value over all bits.
constexpr std::uint64_t mix(std::uint64_t value) noexcept {
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
    value = (value ^ value >> 27) * 0x94d049bb133111eb;
    return value ^ value >> 31;
}

class random {
  public:
    explicit constexpr random(std::uint64_t seed) noexcept : state_{seed} {}

    constexpr std::uint64_t next() noexcept { return mix(state_ += golden_gamma); }

    // Below `bound`, which is not 0; by multiplication, so without a division (Lemire 2019, without the correction: the bias
    // is below 2^-32 for bounds below 2^32).
    constexpr std::uint64_t below(std::uint64_t bound) noexcept {
        __extension__ using wide = unsigned __int128;
        return static_cast<std::uint64_t>((static_cast<wide>(next()) * bound) >> 64);
    }

  private:
    std::uint64_t state_;
};

// The numbers from 0 to `count` - 1, each once, in an order that the seed decides. No memory but this.
class permutation {
  public:
    constexpr permutation(std::uint64_t count, std::uint64_t seed) noexcept
        : count_{count}, multiplier_{mix(seed + golden_gamma) | 1}, offset_{mix(seed)} { // mix(0) is 0: no factor
        while (mask_ < count - 1) {
            mask_ = mask_ << 1 | 1;
        }
    }

    // True while there is another number.
    [[nodiscard]] constexpr bool has_next() const noexcept { return given_ < count_; }

    // The next number. An odd multiplier permutes the numbers below a power of two; those not below `count` are passed over.
    constexpr std::uint64_t next() noexcept {
        for (;;) {
            std::uint64_t number = (step_++ * multiplier_ + offset_) & mask_;
            number ^= number >> (std::uint64_t{1} + (static_cast<unsigned>(__builtin_popcountll(mask_)) / 2));
            if (number < count_) {
                ++given_;
                return number;
            }
        }
    }

  private:
    std::uint64_t count_;
    std::uint64_t multiplier_;
    std::uint64_t offset_;
    std::uint64_t mask_ = 0;
    std::uint64_t step_ = 0;
    std::uint64_t given_ = 0;
};

} // namespace inflight::kernel
