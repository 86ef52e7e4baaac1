// The floor: the rate that the device and the bare ring reach without the runtime and the driver above them.
#pragma once

#include "arch/arch.hpp"
#include "async/publish_timing.hpp"
#include "drivers/block/disk.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::bench {

struct floor_result {
    std::uint64_t ios;
    arch::ticks elapsed; // 0: the clock has stepped back
    std::uint64_t notifications;
    std::uint64_t instructions;
};

// The queues that a hart drives: the first and every `stride`-th after it.
struct queue_row {
    std::uint32_t first;
    std::uint32_t stride;
};

// Reads `block_size` bytes at sectors chosen beforehand, `depth` reads in flight on these queues, in a raw loop over
// the driver's own virtqueues: chains are built once and made available again and again, the used ring is polled; there
// is no coroutine, no request, no authentication and no interrupt. It polls as often as the runtime does, and publishes
// when `timing` says, because neither is a cost of the runtime. `timing` adapts, and is kept from one run to the next.
// Runs until `deadline`, or for `ios` reads if those end before. Nothing else may use the queues. `buffers` has a
// block for each read in flight. The depth is limited to what the queues hold. With IN_ORDER, whose order it does not
// keep, it does nothing.
floor_result run_floor(block::disk& disk, queue_row which, std::uint32_t depth, std::uint32_t block_size,
                       std::byte* buffers, arch::ticks deadline, std::uint64_t ios,
                       async::publish_timing& timing) noexcept;

} // namespace inflight::bench
