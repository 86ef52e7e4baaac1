// Disks of both versions, with features offered or withdrawn, and many reads of one.
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

// `depth` tasks at a time, `each` reads of one sector by every one of them, each checked against the device's disk.
inline void read_a_lot(world& w, unsigned depth, unsigned each) {
    auto memory = w.buffer(depth * std::size_t{512});
    auto work = [&](unsigned number) -> task<void> {
        const auto buffer = memory.subspan(number * std::size_t{512}, 512);
        for (unsigned i = 0; i < each; ++i) {
            const std::uint64_t sector = (number * 131 + i * 17) % 8192;
            const status outcome = co_await w.disk().read(sector, buffer);
            if (outcome != status::ok || !same(buffer, w.on_disk(sector, 1)))
                BOOST_ERROR("sector " << sector << ": " << outcome);
        }
    };
    for (unsigned number = 0; number < depth; ++number)
        w.spawn(work(number));
    w.finish();
}

} // namespace inflight::test
