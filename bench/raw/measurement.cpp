#include "bench/raw/measurement.hpp"

#include "async/counting_scope.hpp"
#include "src/kernel/console.hpp"
#include "src/kernel/elapsed.hpp"
#include "src/kernel/end.hpp"

#include <optional>

namespace inflight::bench {

using kernel::console::print;

namespace {

constexpr std::uint64_t cost_ios_per_reader = 500;

async::task<void> worker(hart_part& shared, std::span<std::byte> buffer) {
    async::executor& hart = async::executor::current();
    block::disk& disk = shared.load.disk;
    while (shared.begin()) {
        const arch::ticks start = hart.round_time();
        const std::uint64_t sector = shared.next_sector();
        if (shared.next_is_write()) {
            const block::status outcome = co_await disk.write(sector, buffer);
            shared.end(outcome, hart.round_time() - start);
        } else {
            const block::status outcome = co_await disk.read(sector, buffer);
            shared.end(outcome, hart.round_time() - start);
        }
    }
}

// The workload's part of a slice, on its hart.
async::task<void> work(hart_part& shared) {
    shared.begin_deadline();
    async::counting_scope workers;
    for (std::uint32_t i = 0; i < shared.share.depth; ++i) {
        kernel::spawn(workers, worker(shared, shared.load.buffer(shared.share.first_request + i)),
                      shared.share.whole_depth);
    }
    const hart_counters before = hart_counters::now();
    co_await workers.join();
    shared.cost = hart_counters::now() - before;
}

// Shared by the readers of the bare path on one hart.
struct bare_path {
    block::disk& disk;
    async::executor& hart;
    arch::ticks deadline;
    std::uint64_t left; // reads to begin
    block::status outcome = block::status::ok;
};

// The await alone.
async::task<void> bare_reader(bare_path& shared, std::uint64_t sector, std::span<std::byte> buffer) {
    while (shared.left != 0 && shared.hart.round_time() < shared.deadline) {
        --shared.left;
        const block::status outcome = co_await shared.disk.read(sector, buffer);
        if (outcome != block::status::ok) [[unlikely]] {
            shared.outcome = outcome;
            co_return;
        }
    }
}

// The bare path's part of a slice. Each reader has a sector of its own, random like those of the floor, because a
// device would merge neighbours into one request.
async::task<void> work_bare(hart_part& shared) {
    const workload& load = shared.load;
    shared.begin_deadline();
    bare_path path{
        .disk = load.disk, .hart = async::executor::current(), .deadline = shared.deadline, .left = shared.limit};
    support::random sectors{shared.share.number + 1};
    const hart_counters before = hart_counters::now();
    async::counting_scope readers;
    for (std::uint32_t i = 0; i < shared.share.depth; ++i) {
        const std::uint64_t sector = sectors.below(load.blocks()) * (load.block_size >> block::sector_shift);
        kernel::spawn(readers, bare_reader(path, sector, load.buffer(shared.share.first_request + i)),
                      shared.share.whole_depth);
    }
    co_await readers.join();
    shared.cost = hart_counters::now() - before;
    shared.ended = shared.limit - path.left;
    shared.outcome = path.outcome;
}

// The floor's part of a slice: a hart drives its own queues, if it has any.
async::task<void> work_raw(hart_part& shared) {
    const workload& load = shared.load;
    const std::uint32_t queues = load.disk.properties().queues;
    shared.raw = floor_result{};
    if (shared.share.number < queues) {
        // Harts without a queue leave their share to those that have one.
        const std::uint32_t drivers = std::min<std::uint32_t>(shared.share.count, queues);
        const std::uint32_t all =
            shared.share.count == drivers ? shared.share.depth : shared.share.depth * shared.share.count / drivers;
        shared.raw = run_floor(load.disk, {.first = shared.share.number, .stride = arch::harts()}, all, load.block_size,
                               load.buffer(shared.share.first_request).data(),
                               shared.slice_span == 0 ? arch::no_deadline : arch::now() + shared.slice_span,
                               shared.limit, shared.floor_timing);
    }
    co_return;
}

// Runs a slice of `what` on all harts. Returns how long it took.
async::task<arch::ticks> on_all_harts(std::span<hart_part> parts, arch::ticks span, std::uint64_t ios,
                                      async::task<void> (*what)(hart_part&)) {
    const arch::ticks start = arch::now();
    async::counting_scope harts;
    for (hart_part& each : parts) {
        each.begin_slice(span, ios);
        kernel::spawn(harts, async::on(each.share.number, what(each)), each.share.whole_depth);
    }
    co_await harts.join();
    for (const hart_part& each : parts) {
        if (each.outcome != block::status::ok) {
            kernel::fail("iops: a request failed: %s", block::to_string(each.outcome));
        }
    }
    const std::optional<arch::ticks> took = kernel::elapsed(start, arch::now());
    if (!took) {
        kernel::fail(
            "iops: the clock stepped back (was a snapshot loaded, or the machine moved?): nothing is measured");
    }
    co_return *took;
}

std::uint64_t ended(std::span<const hart_part> parts) noexcept {
    std::uint64_t sum = 0;
    for (const hart_part& each : parts) {
        sum += each.ended;
    }
    return sum;
}

// Divides `depth` among the first harts of `parts`. Returns those that have at least one request.
std::span<hart_part> divide(std::span<hart_part> parts, std::uint32_t depth) noexcept {
    const auto count = static_cast<std::uint32_t>(std::min<std::size_t>(parts.size(), depth));
    for (std::uint32_t i = 0; i < count; ++i) {
        parts[i].share = kernel::make_part(i, count, depth);
        parts[i].latencies.clear();
        parts[i].floor_timing = {};
        parts[i].ios = 0;
        parts[i].guest = {};
    }
    return parts.first(count);
}

} // namespace

async::task<void> measure(std::span<hart_part> all, std::uint32_t depth, depth_figures& result) {
    const workload& load = all.front().load;
    const std::span<hart_part> parts = divide(all, depth);
    const arch::ticks span = load.slice_ios != 0 ? 0 : load.slice_span;
    result = depth_figures{};
    result.depth = depth;
    result.harts = static_cast<std::uint32_t>(parts.size());
    for (std::size_t i = 0; i < slices; ++i) {
        const device_counters before = device_counters::of(load.disk);
        const std::uint64_t instructions_before = instructions_of_all();
        result.elapsed += co_await on_all_harts(parts, span, load.slice_ios, work);
        const std::uint64_t instructions = instructions_of_all() - instructions_before;
        result.device += device_counters::of(load.disk) - before;
        result.ios += ended(parts);
        for (hart_part& each : parts) {
            each.ios += each.ended;
            each.guest += each.cost;
            result.guest += each.cost;
        }
        // A single hart counts its own instructions, without the beginning and the end of the slice.
        result.instructions += arch::harts() == 1 ? parts.front().cost.instructions : instructions;

        const arch::ticks bare_elapsed = co_await on_all_harts(parts, span, load.slice_ios, work_bare);
        const std::uint64_t bare_ios = ended(parts);
        result.bare_ios += bare_ios;
        result.bare_elapsed += bare_elapsed;

        const arch::ticks floor_elapsed = co_await on_all_harts(parts, span, load.slice_ios, work_raw);
        std::uint64_t floor_ios = 0;
        for (const hart_part& each : parts) {
            floor_ios += each.raw.ios;
            result.floor_instructions += each.raw.instructions;
        }
        result.floor_ios += floor_ios;
        result.floor_elapsed += floor_elapsed;
        const std::uint64_t floor_iops = depth_figures::per_second(floor_ios, floor_elapsed);
        result.ratios[i] = floor_iops == 0 ? 0 : depth_figures::per_second(bare_ios, bare_elapsed) * 1000 / floor_iops;
        print("@progress iops: depth %u, slice %lu of %lu\n", depth, i + 1, slices);
    }
    for (const hart_part& each : parts.subspan(1)) {
        parts.front().latencies.add(each.latencies);
    }
}

// Guest instructions of one read, from the await to the resumption: submission, its share of publication, notification,
// interrupt, completion and the executor's rounds, and the loop around the await. In hundredths; the median of several
// runs, because the number of completions for one interrupt depends on a thread of the host.
async::task<std::uint64_t> measure_cost(std::span<hart_part> all, std::uint32_t depth) {
    const std::span<hart_part> parts = divide(all, depth);
    std::array<std::uint64_t, slices> costs{};
    for (std::uint64_t& cost : costs) {
        static_cast<void>(co_await on_all_harts(parts, 0, cost_ios_per_reader * depth, work_bare));
        std::uint64_t instructions = 0;
        for (const hart_part& each : parts) {
            instructions += each.cost.instructions;
        }
        cost = instructions * 100 / ended(parts);
    }
    std::sort(costs.begin(), costs.end());
    co_return costs[slices / 2];
}

// Alternately, slice by slice, as above.
async::task<void> measure_scaling(std::span<hart_part> all, scaling& result) {
    const workload& load = all.front().load;
    std::array<std::uint64_t, slices> alone{};
    std::array<std::uint64_t, slices> together{};
    std::array<std::uint64_t, slices> ratios{};
    arch::ticks elapsed = 0;
    arch::ticks asleep = 0;
    for (std::size_t i = 0; i < slices; ++i) {
        const std::span<hart_part> one = divide(all.first(1), scaling_depth);
        const arch::ticks one_elapsed = co_await on_all_harts(one, load.slice_span, 0, work_bare);
        alone[i] = depth_figures::per_second(ended(one), one_elapsed);
        const std::span<hart_part> parts = divide(all, scaling_depth * static_cast<std::uint32_t>(all.size()));
        const arch::ticks all_elapsed = co_await on_all_harts(parts, load.slice_span, 0, work_bare);
        together[i] = depth_figures::per_second(ended(parts), all_elapsed);
        ratios[i] = together[i] * 1000 / std::max<std::uint64_t>(alone[i], 1);
        elapsed += all_elapsed * parts.size();
        for (const hart_part& each : parts) {
            asleep += each.cost.asleep;
        }
    }
    for (std::array<std::uint64_t, slices>* const each : {&alone, &together, &ratios}) {
        std::sort(each->begin(), each->end());
    }
    result = {.alone = alone[slices / 2],
              .together = together[slices / 2],
              .ratio = ratios[slices / 2],
              .asleep = asleep * 1000 / elapsed};
}

} // namespace inflight::bench
