// Random work on random devices, see random_work.hpp.
//
// INFLIGHT_SEEDS=N runs N seeds instead of 300; INFLIGHT_SEED=S runs that one and prints what it does.
#include "tests/host/random_work.hpp"

#include <cstdio>
#include <cstdlib>

namespace {

using namespace inflight;
using namespace inflight::test;

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* const text = std::getenv(variable);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

} // namespace

BOOST_AUTO_TEST_SUITE(driver_seeds)

BOOST_AUTO_TEST_CASE(random_work_comes_out_right) {
    const std::uint64_t one = number_from("INFLIGHT_SEED", 0);
    const std::uint64_t first = one != 0 ? one : 1;
    const std::uint64_t last = one != 0 ? one : number_from("INFLIGHT_SEEDS", 300);
    std::uint64_t requests = 0, failed = 0;
    for (std::uint64_t seed = first; seed <= last; ++seed)
        BOOST_TEST_CONTEXT("INFLIGHT_SEED=" << seed) {
            random_work work{seed, one != 0};
            work.run();
            requests += work.requests;
            failed += work.failed;
        }
    std::printf("seeds %llu to %llu: %llu requests, %llu of them failed as they had to\n",
                static_cast<unsigned long long>(first), static_cast<unsigned long long>(last),
                static_cast<unsigned long long>(requests), static_cast<unsigned long long>(failed));
    BOOST_TEST(requests >= 4 * (last - first + 1));
}

BOOST_AUTO_TEST_SUITE_END()
