// The measurements of iops, at one queue depth after the other.
//
// Three loops take turns, slice by slice, so that their ratios hold on a machine whose speed drifts: the workload,
// which chooses sectors and records latencies; the bare coroutine path, which only awaits reads; and the floor
// (floor.hpp), which is the bare path without coroutines. The last two differ by the runtime alone: their ratio is its
// price. A latency counts from the executor's round in which the request was awaited to the round in which it resumed,
// by the clock that each round reads once.
//
// Each hart does its part of all three, with memory of its own (hart_part); parts are put together when all have ended.
#pragma once

#include "async/publish_timing.hpp"
#include "async/scheduler.hpp"
#include "async/task.hpp"
#include "bench/counters.hpp"
#include "bench/histogram.hpp"
#include "bench/raw/floor.hpp"
#include "drivers/block/disk.hpp"
#include "src/kernel/options.hpp"
#include "src/kernel/program.hpp"
#include "src/support/random.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::bench {

using kernel::access_pattern;

// Odd, because medians are taken; many, because the speed of a shared host changes from slice to slice.
inline constexpr std::size_t slices = 25;
inline constexpr std::uint32_t scaling_depth = 64;

// The figures of one depth.
struct depth_figures {
    std::uint32_t depth = 0;
    std::uint64_t ios = 0;
    arch::ticks elapsed = 0;
    std::uint32_t harts = 1;
    device_counters device;
    hart_counters guest;            // of all harts
    std::uint64_t instructions = 0; // of all harts together
    std::uint64_t bare_ios = 0;
    arch::ticks bare_elapsed = 0;
    std::uint64_t floor_ios = 0;
    arch::ticks floor_elapsed = 0;
    std::uint64_t floor_instructions = 0;
    std::array<std::uint64_t, slices> ratios{}; // bare to floor, of the slices, in thousandths

    [[nodiscard]] std::uint64_t iops() const noexcept { return per_second(ios, elapsed); }
    [[nodiscard]] std::uint64_t bare_iops() const noexcept { return per_second(bare_ios, bare_elapsed); }
    [[nodiscard]] std::uint64_t floor_iops() const noexcept { return per_second(floor_ios, floor_elapsed); }
    [[nodiscard]] std::uint64_t ratio() const noexcept {
        std::array<std::uint64_t, slices> sorted = ratios;
        std::sort(sorted.begin(), sorted.end());
        return sorted[slices / 2];
    }

    static std::uint64_t per_second(std::uint64_t count, arch::ticks time) noexcept {
        return time == 0 ? 0 : count * arch::ticks_per_second() / time;
    }
};

struct workload {
    block::disk& disk;
    access_pattern rw;
    std::uint32_t block_size;
    arch::ticks slice_span;
    std::uint64_t slice_ios; // 0: by time
    std::span<std::byte> buffers;

    [[nodiscard]] std::uint64_t blocks() const noexcept {
        return disk.properties().capacity * block::sector_size / block_size;
    }
    [[nodiscard]] std::span<std::byte> buffer(std::uint32_t request) const noexcept {
        return buffers.subspan(std::size_t{request} * block_size, block_size);
    }
};

// One hart's part in the measurements, and its figures.
struct hart_part {
    const workload& load;
    kernel::part share{};
    support::random randomness;
    histogram latencies{};

    // Of a slice.
    arch::ticks slice_span = 0; // 0: for ever
    arch::ticks deadline = 0;   // by the clock of the hart's executor
    std::uint64_t limit = 0;    // requests to begin
    std::uint64_t begun = 0;
    std::uint64_t ended = 0;
    std::uint64_t next_block = 0; // of a sequential pattern
    hart_counters cost{};
    floor_result raw{};
    async::publish_timing floor_timing{};
    block::status outcome = block::status::ok;

    // Of all slices at this depth.
    std::uint64_t ios = 0;
    hart_counters guest{};

    void begin_slice(arch::ticks span, std::uint64_t ios_of_all) noexcept {
        slice_span = span;
        limit = ios_of_all == 0 ? ~std::uint64_t{0} : share.last(ios_of_all) - share.first(ios_of_all);
        begun = 0;
        ended = 0;
        next_block = share.first(load.blocks());
    }

    // On its hart: the executors' clocks differ once arch::now() has stepped back.
    void begin_deadline() noexcept {
        deadline = slice_span == 0 ? arch::no_deadline : async::deadline_after(slice_span);
    }

    bool begin() noexcept {
        if (begun == limit || async::executor::current().round_time() >= deadline || outcome != block::status::ok) {
            return false;
        }
        ++begun;
        return true;
    }

    std::uint64_t next_sector() noexcept {
        const std::uint64_t block_sectors = load.block_size >> block::sector_shift;
        if (load.rw == access_pattern::sequential_read || load.rw == access_pattern::sequential_write) {
            const std::uint64_t block = next_block;
            next_block = block + 1 == share.last(load.blocks()) ? share.first(load.blocks()) : block + 1;
            return block * block_sectors;
        }
        return randomness.below(load.blocks()) * block_sectors;
    }

    bool next_is_write() noexcept {
        switch (load.rw) {
        case access_pattern::random_write:
        case access_pattern::sequential_write: return true;
        case access_pattern::random_mixed: return (randomness.next() & 1) != 0;
        default: return false;
        }
    }

    void end(block::status result, arch::ticks latency) noexcept {
        if (result != block::status::ok) {
            outcome = result;
        }
        latencies.record(latency);
        ++ended;
    }
};

// The rate of all harts together, and of the first one alone, with the same number of requests in flight on each hart.
struct scaling {
    std::uint64_t alone = 0; // IOPS, medians of the slices
    std::uint64_t together = 0;
    std::uint64_t ratio = 0;  // in thousandths, the median
    std::uint64_t asleep = 0; // of the time of all harts together, in thousandths
};

// Measures all three loops at this depth. Like the functions below, it ends the machine with a message if a request
// fails or the clock steps back.
async::task<void> measure(std::span<hart_part> all, std::uint32_t depth, depth_figures& result);

// Returns the guest instructions of one read, from the await to the resumption, in hundredths.
async::task<std::uint64_t> measure_cost(std::span<hart_part> all, std::uint32_t depth);

// Measures the first hart alone and all harts together, in alternate slices.
async::task<void> measure_scaling(std::span<hart_part> all, scaling& result);

} // namespace inflight::bench
