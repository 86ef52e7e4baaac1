// The floor: what the device and the bare ring can do, with nothing of ours above them.
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

// Reads of `block_size` bytes at sectors that were chosen beforehand, `depth` in flight on these queues, in a raw loop over
// the driver's own virtqueues: chains built once and offered again and again, the used ring polled, no coroutine, no request,
// nothing authenticated, no interrupt. It looks as the runtime does, and publishes when `timing` says, for that is no price of
// the runtime's; kept from one run to the next, `timing` has been learnt. Runs until `deadline`, or for `ios` reads if those end before. Nothing else may use
// the queues; `buffers` has depth * block_size bytes. The depth is cut to what the queues hold.
floor_result run_floor(block::disk& disk, queue_row which, std::uint32_t depth, std::uint32_t block_size,
                       std::byte* buffers, arch::ticks deadline, std::uint64_t ios,
                       async::publish_timing& timing) noexcept;

} // namespace inflight::bench
