// The seed of a test's random choices: INFLIGHT_SEED, else 1. Printed, so that a failure can be had again.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace inflight::tests {

inline std::uint64_t seed() {
    static const std::uint64_t value = [] {
        const char* const given = std::getenv("INFLIGHT_SEED");
        const std::uint64_t chosen = given == nullptr ? 1 : std::strtoull(given, nullptr, 0);
        std::printf("INFLIGHT_SEED=%llu\n", static_cast<unsigned long long>(chosen));
        std::fflush(stdout);
        return chosen;
    }();
    return value;
}

// A generator for one test; `salt` makes tests differ.
inline std::mt19937_64 chance(std::uint64_t salt) {
    std::seed_seq mixed{seed(), salt};
    return std::mt19937_64{mixed};
}

// A number from `least` to `most`.
template <typename Number>
Number pick(std::mt19937_64& random, Number least, Number most) {
    return std::uniform_int_distribution<Number>{least, most}(random);
}

} // namespace inflight::tests
