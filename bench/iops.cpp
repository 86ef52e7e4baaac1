// iops: how many requests a second, how long each takes, and what they cost, at one queue depth after the other.
//
// Three loops take turns, slice by slice, so that their ratios hold on a machine whose speed drifts: the workload, which
// chooses sectors and records latencies; the bare coroutine path, which only awaits reads; and the floor (floor.hpp), which
// is the bare path without coroutines. The last two differ by the runtime alone: their ratio is its price. A latency counts from the executor's round in which the request was awaited to the
// round in which it resumed, by the clock that each round reads once.

#include "bench/iops.hpp"

#include "async/counting_scope.hpp"
#include "bench/floor.hpp"
#include "bench/histogram.hpp"
#include "src/console.hpp"
#include "src/end.hpp"
#include "src/programs/programs.hpp"
#include "src/random.hpp"

#include <algorithm>
#include <array>

namespace inflight::bench {

namespace {

using kernel::access_pattern;
using kernel::console::print;

constexpr std::array<std::uint32_t, 4> default_depths{1, 8, 32, 128};
constexpr std::uint32_t default_block_size = 4096;
constexpr std::uint32_t default_seconds = 1;
constexpr std::size_t slices = 5; // odd: their medians are taken
constexpr std::uint64_t cost_ios_per_reader = 1'000;
constexpr std::uint32_t cost_depth = 32;

// A number with two decimals, of a quotient.
struct decimal {
    std::uint64_t whole;
    std::uint64_t hundredths;
};

decimal quotient(std::uint64_t dividend, std::uint64_t divisor) noexcept {
    divisor = std::max<std::uint64_t>(divisor, 1);
    const std::uint64_t rounded = (dividend * 100 + divisor / 2) / divisor;
    return {.whole = rounded / 100, .hundredths = rounded % 100};
}

// Counters of a disk and of its executor at one moment.
struct snapshot {
    std::uint64_t notifications = 0;
    std::uint64_t interrupts = 0;
    std::uint64_t instructions = 0;
    std::uint64_t allocations = 0;
    arch::ticks asleep = 0;
};

// Instructions of this hart but those of its sleeps: QEMU's -icount lets the counter run on with the clock meanwhile.
std::uint64_t instructions_awake() noexcept {
    return arch::instructions() - async::executor::current().count().instructions_asleep;
}

snapshot take_snapshot(const block::disk& disk) noexcept {
    snapshot now;
    for (std::uint16_t i = 0; i < disk.properties().queues; ++i) {
        now.notifications += disk.count(i).notifications;
    }
    now.interrupts = disk.count().interrupts;
    now.instructions = instructions_awake();
    now.allocations = async::executor::current().frames().count().allocations;
    now.asleep = async::executor::current().count().asleep;
    return now;
}

// What was measured at one depth.
struct figures {
    std::uint32_t depth = 0;
    std::uint64_t ios = 0;
    arch::ticks elapsed = 0;
    std::uint64_t notifications = 0;
    std::uint64_t interrupts = 0;
    std::uint64_t instructions = 0;
    std::uint64_t allocations = 0;
    arch::ticks asleep = 0;
    std::uint64_t bare_ios = 0;
    arch::ticks bare_elapsed = 0;
    std::uint64_t floor_ios = 0;
    arch::ticks floor_elapsed = 0;
    std::uint64_t floor_instructions = 0;
    std::array<std::uint64_t, slices> ratios{}; // bare to floor, of the slices, in thousandths
    block::status outcome = block::status::ok;

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

// What the workers of a slice share.
struct slice {
    block::disk& disk;
    async::executor& hart;
    histogram& latencies;
    kernel::random& randomness;
    access_pattern rw;
    std::uint64_t blocks;
    std::uint64_t block_sectors;
    arch::ticks deadline;
    std::uint64_t limit; // requests to begin
    std::uint64_t begun = 0;
    std::uint64_t ended = 0;
    std::uint64_t next_block = 0; // of a sequential pattern
    block::status outcome = block::status::ok;

    bool begin() noexcept {
        if (begun == limit || hart.round_time() >= deadline || outcome != block::status::ok) {
            return false;
        }
        ++begun;
        return true;
    }

    std::uint64_t next_sector() noexcept {
        if (rw == access_pattern::sequential_read || rw == access_pattern::sequential_write) {
            const std::uint64_t block = next_block;
            next_block = block + 1 == blocks ? 0 : block + 1;
            return block * block_sectors;
        }
        return randomness.below(blocks) * block_sectors;
    }

    bool next_is_write() noexcept {
        switch (rw) {
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

async::task<void> worker(slice& shared, std::span<std::byte> buffer) {
    while (shared.begin()) {
        const arch::ticks start = shared.hart.round_time();
        const std::uint64_t sector = shared.next_sector();
        if (shared.next_is_write()) {
            const block::status outcome = co_await shared.disk.write(sector, buffer);
            shared.end(outcome, shared.hart.round_time() - start);
        } else {
            const block::status outcome = co_await shared.disk.read(sector, buffer);
            shared.end(outcome, shared.hart.round_time() - start);
        }
    }
}

// What the readers of the bare path share.
struct bare_path {
    block::disk& disk;
    async::executor& hart;
    arch::ticks deadline;
    std::uint64_t left; // reads to begin
    block::status outcome = block::status::ok;
};

// Nothing but the await itself.
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

struct workload {
    block::disk& disk;
    access_pattern rw;
    std::uint32_t block_size;
    arch::ticks slice_span;
    std::uint64_t slice_ios; // 0: by time
    std::span<std::byte> buffers;
};

// Awaits reads, `depth` at once, until the deadline or until so many have begun. Answers how many that were.
async::task<std::uint64_t> run_bare_path(const workload& load, std::uint32_t depth, arch::ticks deadline,
                                         std::uint64_t limit) {
    bare_path shared{.disk = load.disk, .hart = async::executor::current(), .deadline = deadline, .left = limit};
    async::counting_scope readers;
    // Sectors like the floor's, chosen beforehand at random: a device would merge neighbours into one.
    const std::uint64_t blocks = load.disk.properties().capacity * block::sector_size / load.block_size;
    kernel::random sectors{1};
    for (std::uint32_t i = 0; i < depth; ++i) {
        const std::uint64_t sector = sectors.below(blocks) * (load.block_size >> block::sector_shift);
        kernel::spawn(
            readers,
            bare_reader(shared, sector, load.buffers.subspan(std::size_t{i} * load.block_size, load.block_size)),
            depth);
    }
    co_await readers.join();
    if (shared.outcome != block::status::ok) {
        kernel::fail("iops: a request failed: %s", block::to_string(shared.outcome));
    }
    co_return limit - shared.left;
}

async::task<void> measure(const workload& load, std::uint32_t depth, kernel::random& randomness, histogram& latencies,
                          figures& result) {
    latencies.clear();
    result = figures{};
    result.depth = depth;
    for (std::size_t i = 0; i < slices; ++i) {
        slice shared{.disk = load.disk,
                     .hart = async::executor::current(),
                     .latencies = latencies,
                     .randomness = randomness,
                     .rw = load.rw,
                     .blocks = load.disk.properties().capacity * block::sector_size / load.block_size,
                     .block_sectors = load.block_size >> block::sector_shift,
                     .deadline = load.slice_ios != 0 ? arch::no_deadline : arch::now() + load.slice_span,
                     .limit = load.slice_ios != 0 ? load.slice_ios : ~std::uint64_t{0}};
        async::counting_scope workers;
        for (std::uint32_t w = 0; w < depth; ++w) {
            kernel::spawn(workers,
                          worker(shared, load.buffers.subspan(std::size_t{w} * load.block_size, load.block_size)),
                          depth);
        }
        const snapshot before = take_snapshot(load.disk);
        const arch::ticks start = arch::now();
        co_await workers.join();
        const arch::ticks elapsed = std::max<arch::ticks>(arch::now() - start, 1);
        const snapshot after = take_snapshot(load.disk);

        result.outcome = shared.outcome;
        if (result.outcome != block::status::ok) {
            break; // the caller tells
        }
        result.ios += shared.ended;
        result.elapsed += elapsed;
        result.notifications += after.notifications - before.notifications;
        result.interrupts += after.interrupts - before.interrupts;
        result.instructions += after.instructions - before.instructions;
        result.allocations += after.allocations - before.allocations;
        result.asleep += after.asleep - before.asleep;

        const arch::ticks bare_start = arch::now();
        const std::uint64_t bare_ios = co_await run_bare_path(
            load, depth, load.slice_ios != 0 ? arch::no_deadline : bare_start + load.slice_span, shared.limit);
        const arch::ticks bare_elapsed = std::max<arch::ticks>(arch::now() - bare_start, 1);
        result.bare_ios += bare_ios;
        result.bare_elapsed += bare_elapsed;

        const floor_result raw =
            run_floor(load.disk, depth, load.block_size, load.buffers, load.slice_span, load.slice_ios);
        result.floor_ios += raw.ios;
        result.floor_elapsed += raw.elapsed;
        result.floor_instructions += raw.instructions;
        const std::uint64_t floor_iops = figures::per_second(raw.ios, raw.elapsed);
        result.ratios[i] = floor_iops == 0 ? 0 : figures::per_second(bare_ios, bare_elapsed) * 1000 / floor_iops;
        print("@progress iops: depth %u, slice %lu of %lu\n", depth, i + 1, slices);
    }
}

// Guest instructions of one read, from the await to the resumption: submission, its share of publication, notification,
// interrupt, completion and the executor's rounds, and the loop around the await. In hundredths; the median of several
// runs, because how many completions one interrupt finds is up to a thread of the host.
async::task<std::uint64_t> measure_cost(const workload& load, std::uint32_t depth) {
    std::array<std::uint64_t, slices> costs{};
    for (std::uint64_t& cost : costs) {
        const std::uint64_t before = instructions_awake();
        const std::uint64_t ios = co_await run_bare_path(load, depth, arch::no_deadline, cost_ios_per_reader * depth);
        cost = (instructions_awake() - before) * 100 / ios;
    }
    std::sort(costs.begin(), costs.end());
    co_return costs[slices / 2];
}

struct latency_figures {
    std::uint64_t p50; // nanoseconds
    std::uint64_t p99;
};

latency_figures percentiles(const histogram& latencies) noexcept {
    const std::uint64_t tick = 1'000'000'000 / arch::ticks_per_second();
    return {.p50 = latencies.percentile(500) * tick, .p99 = latencies.percentile(990) * tick};
}

void print_header(bool icount) noexcept {
    print("depth     IOPS    MB/s   p50 us   p99 us  notifications/io  interrupts/io  ");
    print("%s   bare IOPS  floor IOPS  bare/floor\n", icount ? "instructions/io" : "asleep");
}

void print_row(const figures& row, const latency_figures& latency, std::uint32_t block_size, bool icount) noexcept {
    const decimal megabytes = quotient(row.iops() * block_size, 1'000'000);
    const decimal p50 = quotient(latency.p50, 1000);
    const decimal p99 = quotient(latency.p99, 1000);
    const decimal notifications = quotient(row.notifications * 100, row.ios);
    const decimal interrupts = quotient(row.interrupts * 100, row.ios);
    print("%5u %8lu %5lu.%lu %6lu.%lu %6lu.%lu  %11lu.%02lu%02lu  %8lu.%02lu%02lu  ", row.depth, row.iops(),
          megabytes.whole, megabytes.hundredths / 10, p50.whole, p50.hundredths / 10, p99.whole, p99.hundredths / 10,
          notifications.whole / 100, notifications.whole % 100, notifications.hundredths, interrupts.whole / 100,
          interrupts.whole % 100, interrupts.hundredths);
    if (icount) {
        const decimal instructions = quotient(row.instructions, row.ios);
        print("%12lu.%02lu", instructions.whole, instructions.hundredths);
    } else {
        print("%4lu %%", row.elapsed == 0 ? 0 : row.asleep * 100 / row.elapsed);
    }
    print("  %10lu  %10lu        %lu.%02lu\n", row.bare_iops(), row.floor_iops(), row.ratio() / 1000,
          row.ratio() / 10 % 100);
}

void print_row_json(const figures& row, const latency_figures& latency, bool icount) noexcept {
    print(
        "{\"depth\":%u,\"ios\":%lu,\"iops\":%lu,\"p50_ns\":%lu,\"p99_ns\":%lu,\"notifications\":%lu,\"interrupts\":%lu,"
        "\"allocations\":%lu,\"bare_iops\":%lu,\"floor_iops\":%lu,\"floor_ratio_thousandths\":%lu",
        row.depth, row.ios, row.iops(), latency.p50, latency.p99, row.notifications, row.interrupts, row.allocations,
        row.bare_iops(), row.floor_iops(), row.ratio());
    if (icount) {
        print(",\"instructions\":%lu,\"floor_ios\":%lu,\"floor_instructions\":%lu", row.instructions, row.floor_ios,
              row.floor_instructions);
    }
    print("}");
}

bool writes(access_pattern rw) noexcept {
    return rw != access_pattern::random_read && rw != access_pattern::sequential_read;
}

void check_workload(const kernel::virtio_device& device, access_pattern rw, std::uint32_t block_size) noexcept {
    const block::disk_properties& properties = device.disk->properties();
    if (block_size % properties.logical_block_size != 0) {
        kernel::fail("bs=%u is not a multiple of %s's logical block size, %u", block_size, device.name,
                     properties.logical_block_size);
    }
    if (properties.capacity * block::sector_size < block_size) {
        kernel::fail("%s is smaller than one block of bs=%u bytes", device.name, block_size);
    }
    if (block_size > properties.size_max) {
        kernel::fail("bs=%u is more than %s takes in one segment, %u", block_size, device.name, properties.size_max);
    }
    if (writes(rw) && properties.read_only) {
        kernel::fail("%s is read-only: rw=%s cannot be measured on it", device.name, kernel::to_string(rw));
    }
}

} // namespace

async::task<bool> run_iops(const kernel::environment& here) {
    kernel::require_disks(here);
    const kernel::virtio_device& device =
        *std::find_if(here.devices.begin(), here.devices.end(),
                      [](const kernel::virtio_device& candidate) noexcept { return candidate.disk != nullptr; });
    const kernel::options& wanted = here.wanted;
    const std::uint32_t block_size = wanted.block_size != 0 ? wanted.block_size : default_block_size;
    check_workload(device, wanted.rw, block_size);

    std::span<const std::uint32_t> depths = default_depths;
    if (wanted.depth != 0) {
        depths = {&wanted.depth, 1};
    }
    const std::uint32_t deepest = std::max(*std::max_element(depths.begin(), depths.end()), cost_depth);
    const kernel::memory::mark given_back{here.free_memory};
    const std::uint32_t seconds = wanted.seconds != 0 ? wanted.seconds : default_seconds;
    const workload load{.disk = *device.disk,
                        .rw = wanted.rw,
                        .block_size = block_size,
                        .slice_span = seconds * arch::ticks_per_second() / (3 * slices),
                        .slice_ios = (wanted.ios + slices - 1) / slices,
                        .buffers = kernel::allocate_buffers(here.free_memory, deepest, block_size)};

    print("iops: %s, %s, %u bytes, %u queue%s of %u, poll %s\n", device.name, kernel::to_string(wanted.rw), block_size,
          device.disk->properties().queues, device.disk->properties().queues == 1 ? "" : "s",
          device.disk->properties().queue_size,
          wanted.poll == async::poll_mode::off      ? "off"
          : wanted.poll == async::poll_mode::always ? "always"
                                                    : "adaptive");
    print_header(wanted.icount);

    static histogram latencies;
    static std::array<figures, default_depths.size()> rows;
    static std::array<latency_figures, default_depths.size()> row_latencies;
    kernel::random randomness{wanted.seed};
    std::uint64_t allocations = 0;
    for (std::size_t i = 0; i < depths.size(); ++i) {
        co_await measure(load, depths[i], randomness, latencies, rows[i]);
        if (rows[i].outcome != block::status::ok) {
            print("error: iops: a request failed: %s\n", block::to_string(rows[i].outcome));
            co_return false;
        }
        row_latencies[i] = percentiles(latencies);
        allocations += rows[i].allocations;
        print_row(rows[i], row_latencies[i], block_size, wanted.icount);
    }
    print("frames allocated per I/O after warm-up: %lu\n", allocations);

    std::uint64_t cost = 0;
    std::uint64_t cost_alone = 0;
    if (wanted.icount) {
        cost = co_await measure_cost(load, cost_depth);
        cost_alone = co_await measure_cost(load, 1);
        print(
            "one read costs %lu.%02lu guest instructions from await to resumption at depth %u, %lu.%02lu at depth 1\n",
            cost / 100, cost % 100, cost_depth, cost_alone / 100, cost_alone % 100);
    }

    print("@result {\"program\":\"iops\",\"disk\":\"%s\",\"rw\":\"%s\",\"bs\":%u,\"rows\":[", device.name,
          kernel::to_string(wanted.rw), block_size);
    for (std::size_t i = 0; i < depths.size(); ++i) {
        print("%s", i == 0 ? "" : ",");
        print_row_json(rows[i], row_latencies[i], wanted.icount);
    }
    print("],\"allocations\":%lu", allocations);
    if (wanted.icount) {
        print(",\"read_cost_hundredths\":%lu,\"read_cost_alone_hundredths\":%lu", cost, cost_alone);
    }
    print(",");
    kernel::print_queues_json(*device.disk);
    print("}\n");
    co_return true;
}

} // namespace inflight::bench
