// Disks of both versions, with features offered or withdrawn.
#pragma once

#include "tests/host/driver_fixture.hpp"

namespace inflight::test {

using model::usual_features;

namespace bits = model::feature;

inline constexpr std::uint32_t versions[] = {2, 1};

inline std::uint64_t bit(unsigned number) {
    return bits::bit(number);
}

inline setup of_version(std::uint32_t version, const std::function<void(blk_configuration&)>& change = {}) {
    setup s;
    s.disks[0].version = version;
    s.machine.memory_bytes = std::size_t{4} << 20;
    if (change)
        change(s.disks[0]);
    return s;
}

inline std::uint64_t features_of(const blk_configuration& c) {
    return c.features.value_or(usual_features(c.version));
}

inline void offer(blk_configuration& c, unsigned number) {
    c.features = features_of(c) | bit(number);
}

inline void withdraw(blk_configuration& c, unsigned number) {
    c.features = features_of(c) & ~bit(number);
}

} // namespace inflight::test
