// iops: how many requests a second, how long each takes, and what they cost, at one queue depth after the other.
//
// Three loops take turns, slice by slice, so that their ratios hold on a machine whose speed drifts: the workload, which
// chooses sectors and records latencies; the bare coroutine path, which only awaits reads; and the floor (floor.hpp), which
// is the bare path without coroutines. The last two differ by the runtime alone: their ratio is its price. A latency counts
// from the executor's round in which the request was awaited to the round in which it resumed, by the clock that each round
// reads once.
//
// Each hart does its part of all three, with memory of its own (hart_part); parts are put together when all have ended.

#include "bench/iops.hpp"

#include "async/counting_scope.hpp"
#include "bench/counters.hpp"
#include "bench/floor.hpp"
#include "bench/histogram.hpp"
#include "src/boot_time.hpp"
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
constexpr std::size_t slices =
    25; // odd: their medians are taken; many, for the speed of a shared host changes from slice to slice
constexpr std::uint64_t cost_ios_per_reader = 500;
constexpr std::uint32_t cost_depth = 32;
constexpr std::uint32_t scaling_depth = 64;

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

// What was measured at one depth.
struct figures {
    std::uint32_t depth = 0;
    std::uint64_t ios = 0;
    arch::ticks elapsed = 0;
    std::uint32_t harts = 1;
    device_counters device;
    hart_counters guest; // of all harts
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

// What one hart does of the measurements, and what it has found.
struct hart_part {
    const workload& load;
    kernel::part share{};
    kernel::random randomness;
    histogram latencies{};

    // Of a slice.
    arch::ticks deadline = 0;
    std::uint64_t limit = 0; // requests to begin
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
        deadline = span == 0 ? arch::no_deadline : arch::now() + span;
        limit = ios_of_all == 0 ? ~std::uint64_t{0} : share.last(ios_of_all) - share.first(ios_of_all);
        begun = 0;
        ended = 0;
        next_block = share.first(load.blocks());
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
    async::counting_scope workers;
    for (std::uint32_t i = 0; i < shared.share.depth; ++i) {
        kernel::spawn(workers, worker(shared, shared.load.buffer(shared.share.first_request + i)),
                      shared.share.whole_depth);
    }
    const hart_counters before = hart_counters::now();
    co_await workers.join();
    shared.cost = hart_counters::now() - before;
}

// What the readers of the bare path share, on one hart.
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

// The same of the bare path. Each reader has its sector, chosen at random like the floor's: a device would merge neighbours
// into one request.
async::task<void> work_bare(hart_part& shared) {
    const workload& load = shared.load;
    bare_path path{
        .disk = load.disk, .hart = async::executor::current(), .deadline = shared.deadline, .left = shared.limit};
    kernel::random sectors{shared.share.number + 1};
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

// And of the floor: a hart drives the queues that are its own, if it has any.
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
                               load.buffer(shared.share.first_request).data(), shared.deadline, shared.limit,
                               shared.floor_timing);
    }
    co_return;
}

// Does a slice of something on all harts, and answers how long that took.
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
    co_return std::max<arch::ticks>(arch::now() - start, 1);
}

std::uint64_t ended(std::span<const hart_part> parts) noexcept {
    std::uint64_t sum = 0;
    for (const hart_part& each : parts) {
        sum += each.ended;
    }
    return sum;
}

// Divides `depth` among the first harts of `parts`, as many as have a request of it.
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

async::task<void> measure(std::span<hart_part> all, std::uint32_t depth, figures& result) {
    const workload& load = all.front().load;
    const std::span<hart_part> parts = divide(all, depth);
    const arch::ticks span = load.slice_ios != 0 ? 0 : load.slice_span;
    result = figures{};
    result.depth = depth;
    result.harts = static_cast<std::uint32_t>(parts.size());
    for (std::size_t i = 0; i < slices; ++i) {
        const device_counters before = device_counters::of(load.disk);
        result.elapsed += co_await on_all_harts(parts, span, load.slice_ios, work);
        result.device += device_counters::of(load.disk) - before;
        result.ios += ended(parts);
        for (hart_part& each : parts) {
            each.ios += each.ended;
            each.guest += each.cost;
            result.guest += each.cost;
        }

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
        const std::uint64_t floor_iops = figures::per_second(floor_ios, floor_elapsed);
        result.ratios[i] = floor_iops == 0 ? 0 : figures::per_second(bare_ios, bare_elapsed) * 1000 / floor_iops;
        print("@progress iops: depth %u, slice %lu of %lu\n", depth, i + 1, slices);
    }
    for (const hart_part& each : parts.subspan(1)) {
        parts.front().latencies.add(each.latencies);
    }
}

// Guest instructions of one read, from the await to the resumption: submission, its share of publication, notification,
// interrupt, completion and the executor's rounds, and the loop around the await. In hundredths; the median of several
// runs, because how many completions one interrupt finds is up to a thread of the host.
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

// What all harts reach together, and what the first one does alone, each with so many requests in flight on a hart.
struct scaling {
    std::uint64_t alone = 0; // IOPS, medians of the slices
    std::uint64_t together = 0;
    std::uint64_t ratio = 0;  // in thousandths, the median
    std::uint64_t asleep = 0; // of the time of all harts together, in thousandths
};

// In turns, slice by slice, as above.
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
        alone[i] = figures::per_second(ended(one), one_elapsed);
        const std::span<hart_part> parts = divide(all, scaling_depth * static_cast<std::uint32_t>(all.size()));
        const arch::ticks all_elapsed = co_await on_all_harts(parts, load.slice_span, 0, work_bare);
        together[i] = figures::per_second(ended(parts), all_elapsed);
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
    const decimal notifications = quotient(row.device.notifications * 100, row.ios);
    const decimal interrupts = quotient(row.device.interrupts * 100, row.ios);
    print("%5u %8lu %5lu.%lu %6lu.%lu %6lu.%lu  %11lu.%02lu%02lu  %8lu.%02lu%02lu  ", row.depth, row.iops(),
          megabytes.whole, megabytes.hundredths / 10, p50.whole, p50.hundredths / 10, p99.whole, p99.hundredths / 10,
          notifications.whole / 100, notifications.whole % 100, notifications.hundredths, interrupts.whole / 100,
          interrupts.whole % 100, interrupts.hundredths);
    if (icount) {
        const decimal instructions = quotient(row.guest.instructions, row.ios);
        print("%12lu.%02lu", instructions.whole, instructions.hundredths);
    } else {
        print("%4lu %%", row.elapsed == 0 ? 0 : row.guest.asleep * 100 / (row.elapsed * row.harts));
    }
    print("  %10lu  %10lu        %lu.%02lu\n", row.bare_iops(), row.floor_iops(), row.ratio() / 1000,
          row.ratio() / 10 % 100);
}

// What each hart and each queue did of a row.
void print_harts(std::span<const hart_part> parts, const figures& row, const block::disk& disk) noexcept {
    if (row.harts > 1) {
        for (const hart_part& each : parts.first(row.harts)) {
            print("  hart %u: %8lu IOPS, %lu %% asleep\n", each.share.number,
                  figures::per_second(each.ios, row.elapsed), each.guest.asleep * 100 / row.elapsed);
        }
    }
    for (std::uint16_t i = 0; disk.properties().queues > 1 && i < disk.properties().queues; ++i) {
        const block::request_queue::counters& queue = disk.count(i);
        print("  queue %u, since the start: %lu requests, %lu notifications, %lu interrupts\n", i, queue.requests,
              queue.notifications, queue.interrupts);
    }
}

void print_harts_json(std::span<const hart_part> parts, const figures& row) noexcept {
    print("\"harts\":[");
    for (const hart_part& each : parts.first(row.harts)) {
        print("%s{\"iops\":%lu,\"asleep_thousandths\":%lu}", each.share.number == 0 ? "" : ",",
              figures::per_second(each.ios, row.elapsed), each.guest.asleep * 1000 / row.elapsed);
    }
    print("]");
}

void print_row_json(const figures& row, const latency_figures& latency, bool icount) noexcept {
    print(
        "{\"depth\":%u,\"ios\":%lu,\"iops\":%lu,\"p50_ns\":%lu,\"p99_ns\":%lu,\"notifications\":%lu,\"interrupts\":%lu,"
        "\"allocations\":%lu,\"bare_iops\":%lu,\"floor_iops\":%lu,\"floor_ratio_thousandths\":%lu",
        row.depth, row.ios, row.iops(), latency.p50, latency.p99, row.device.notifications, row.device.interrupts,
        row.guest.allocations, row.bare_iops(), row.floor_iops(), row.ratio());
    if (icount) {
        print(",\"instructions\":%lu,\"floor_ios\":%lu,\"floor_instructions\":%lu", row.guest.instructions,
              row.floor_ios, row.floor_instructions);
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
    const std::uint32_t deepest =
        std::max({*std::max_element(depths.begin(), depths.end()), cost_depth, scaling_depth * arch::harts()});
    const kernel::memory::mark given_back{here.free_memory};
    const std::uint32_t seconds = wanted.seconds != 0 ? wanted.seconds : default_seconds;
    const workload load{.disk = *device.disk,
                        .rw = wanted.rw,
                        .block_size = block_size,
                        .slice_span = seconds * arch::ticks_per_second() / (3 * slices),
                        .slice_ios = (wanted.ios + slices - 1) / slices,
                        .buffers = kernel::allocate_buffers(here.free_memory, deepest, block_size)};

    print("iops: %s, %s, %u bytes, %u hart%s, %u queue%s of %u, poll %s\n", device.name, kernel::to_string(wanted.rw),
          block_size, arch::harts(), arch::harts() == 1 ? "" : "s", device.disk->properties().queues,
          device.disk->properties().queues == 1 ? "" : "s", device.disk->properties().queue_size,
          wanted.poll == async::poll_mode::off      ? "off"
          : wanted.poll == async::poll_mode::always ? "always"
                                                    : "adaptive");
    if (const block::status outcome = co_await device.disk->read(0, load.buffer(0)); outcome != block::status::ok) {
        kernel::fail("iops: a request failed: %s", block::to_string(outcome));
    }
    const std::uint64_t to_first_read =
        (arch::now() - kernel::boot_time()) * (1'000'000'000 / arch::ticks_per_second());
    print("from the kernel's first instruction to the end of its first read: %lu us\n", to_first_read / 1000);
    print_header(wanted.icount);

    // The deepest has requests for every hart: each has a part, of which divide() says what falls to it.
    const std::span<hart_part> parts =
        kernel::create_parts<hart_part>(here.free_memory, deepest, [&](const kernel::part& share) {
            return hart_part{.load = load, .share = share, .randomness = kernel::random{wanted.seed + share.number}};
        });
    static std::array<figures, default_depths.size()> rows;
    static std::array<latency_figures, default_depths.size()> row_latencies;
    std::uint64_t allocations = 0;
    for (std::size_t i = 0; i < depths.size(); ++i) {
        co_await measure(parts, depths[i], rows[i]);
        row_latencies[i] = percentiles(parts.front().latencies);
        allocations += rows[i].guest.allocations;
        print_row(rows[i], row_latencies[i], block_size, wanted.icount);
    }
    print_harts(parts, rows[depths.size() - 1], *device.disk); // the parts are those of the last row
    print("frames allocated per I/O after warm-up: %lu\n", allocations);

    scaling scaled;
    if (arch::harts() > 1 && wanted.ios == 0) {
        co_await measure_scaling(parts, scaled);
        print("%u harts with %u requests in flight each: %lu IOPS, %lu.%02lu times the %lu of one hart; asleep %lu %% "
              "of the time\n",
              arch::harts(), scaling_depth, scaled.together, scaled.ratio / 1000, scaled.ratio / 10 % 100, scaled.alone,
              scaled.asleep / 10);
    }
    std::uint64_t cost = 0;
    std::uint64_t cost_alone = 0;
    if (wanted.icount) {
        cost = co_await measure_cost(parts, cost_depth);
        cost_alone = co_await measure_cost(parts, 1);
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
    print("],\"allocations\":%lu,\"to_first_read_ns\":%lu", allocations, to_first_read);
    if (wanted.icount) {
        print(",\"read_cost_hundredths\":%lu,\"read_cost_alone_hundredths\":%lu", cost, cost_alone);
    }
    if (scaled.alone != 0) {
        print(",\"scaling\":{\"depth\":%u,\"alone\":%lu,\"together\":%lu,\"ratio_thousandths\":%lu,"
              "\"asleep_thousandths\":%lu}",
              scaling_depth, scaled.alone, scaled.together, scaled.ratio, scaled.asleep);
    }
    print(",");
    print_harts_json(parts, rows[depths.size() - 1]);
    print(",");
    kernel::print_queues_json(*device.disk);
    print("}\n");
    co_return true;
}

} // namespace inflight::bench
