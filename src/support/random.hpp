// Random numbers that a seed repeats: splitmix64 (Steele, Lea, Flood 2014).
#pragma once

#include <cstdint>

namespace inflight::support {

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

    // Below `bound`, which is not 0; by multiplication, so without a division (Lemire 2019, without the correction: the
    // bias is below 2^-32 for bounds below 2^32).
    constexpr std::uint64_t below(std::uint64_t bound) noexcept {
        __extension__ using wide = unsigned __int128;
        return static_cast<std::uint64_t>((static_cast<wide>(next()) * bound) >> 64);
    }

  private:
    std::uint64_t state_;
};

} // namespace inflight::support
