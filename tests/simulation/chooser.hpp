// The choices of a run, all of them by its seed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace inflight::simulation {

class chooser {
  public:
    explicit chooser(std::uint64_t seed) : state_{seed * 0x9e3779b97f4a7c15 + 0x7f4a7c15} {}

    std::uint64_t next() { // splitmix64
        std::uint64_t value = state_ += 0x9e3779b97f4a7c15;
        value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
        value = (value ^ value >> 27) * 0x94d049bb133111eb;
        return value ^ value >> 31;
    }
    std::uint64_t below(std::uint64_t bound) { return next() % bound; }
    std::uint64_t between(std::uint64_t least, std::uint64_t most) { return least + below(most - least + 1); }
    bool percent(unsigned chance) { return below(100) < chance; }
    template <typename T, std::size_t count>
    T one_of(const T (&choices)[count]) {
        return choices[below(count)];
    }

  private:
    std::uint64_t state_;
};

} // namespace inflight::simulation
