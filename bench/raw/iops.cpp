// iops: how many requests a second, how long each takes, and what they cost, at one queue depth after the other.

#include "bench/counters.hpp"
#include "bench/raw/iops_output.hpp"
#include "bench/raw/measurement.hpp"
#include "src/kernel/boot_time.hpp"
#include "src/kernel/console.hpp"
#include "src/kernel/elapsed.hpp"
#include "src/kernel/end.hpp"
#include "src/kernel/program.hpp"

#include <algorithm>
#include <array>

namespace inflight::bench {

namespace {

using kernel::console::print;

constexpr std::array<std::uint32_t, 4> default_depths{1, 8, 32, 128};
constexpr std::uint32_t default_block_size = 4096;
constexpr std::uint32_t default_seconds = 1;
constexpr std::uint32_t cost_depth = 32;

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

async::task<bool> run_iops(const kernel::environment& here) {
    kernel::require_disks(here);
    const kernel::virtio_device& device =
        *std::find_if(here.devices.begin(), here.devices.end(),
                      [](const kernel::virtio_device& candidate) noexcept { return candidate.is_disk(); });
    if (kernel::is_unusable(device, "iops")) {
        co_return false;
    }
    const kernel::options& wanted = here.wanted;
    const std::uint32_t block_size = wanted.block_size != 0 ? wanted.block_size : default_block_size;
    check_workload(device, wanted.rw, block_size);
    if (writes(wanted.rw)) {
        co_await kernel::identify_disks(here.devices, wanted);
        kernel::require_overwritable(device);
    }

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
    const std::optional<arch::ticks> span_to_first_read = kernel::elapsed(kernel::boot_time(), arch::now());
    if (!span_to_first_read) {
        kernel::fail(
            "iops: the clock stepped back (was a snapshot loaded, or the machine moved?): nothing is measured");
    }
    const std::uint64_t to_first_read = kernel::to_nanoseconds(*span_to_first_read);
    print("from the kernel's first instruction to the end of its first read: %lu us\n", to_first_read / 1000);
    print_header(wanted.icount);
    if (wanted.icount) {
        co_await count_instructions_of_all();
    }

    // The largest depth has requests for every hart, so each hart has a part; divide() sets its share of a depth.
    const std::span<hart_part> parts =
        kernel::create_parts<hart_part>(here.free_memory, deepest, [&](const kernel::part& share) {
            return hart_part{.load = load, .share = share, .randomness = support::random{wanted.seed + share.number}};
        });
    static std::array<depth_figures, default_depths.size()> rows;
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
    const bool counts_reads = wanted.icount && arch::harts() == 1; // harts share one counter, so none can count its own
    if (counts_reads) {
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
    print("],\"queue_size\":%u,\"allocations\":%lu,\"to_first_read_ns\":%lu", device.disk->properties().queue_size,
          allocations, to_first_read);
    if (counts_reads) {
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
    kernel::print_queues_json(device);
    print("}\n");
    co_return true;
}

const kernel::program registered{"iops", "measures IOPS, latency, notifications and interrupts per I/O", run_iops};

} // namespace

} // namespace inflight::bench
