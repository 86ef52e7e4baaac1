#include "bench/raw/iops_output.hpp"

#include "src/kernel/console.hpp"
#include "src/kernel/elapsed.hpp"

namespace inflight::bench {

using kernel::console::print;

namespace {

// A quotient with two decimals.
struct decimal {
    std::uint64_t whole;
    std::uint64_t hundredths;
};

decimal quotient(std::uint64_t dividend, std::uint64_t divisor) noexcept {
    divisor = std::max<std::uint64_t>(divisor, 1);
    const std::uint64_t rounded = (dividend * 100 + divisor / 2) / divisor;
    return {.whole = rounded / 100, .hundredths = rounded % 100};
}

} // namespace

latency_figures percentiles(const histogram& latencies) noexcept {
    return {.p50 = kernel::to_nanoseconds(latencies.percentile(500)),
            .p99 = kernel::to_nanoseconds(latencies.percentile(990))};
}

void print_header(bool icount) noexcept {
    print("depth     IOPS    MB/s   p50 us   p99 us  notifications/io  interrupts/io  ");
    print("%s   bare IOPS  floor IOPS  bare/floor\n", icount ? "instructions/io" : "asleep");
}

void print_row(const depth_figures& row, const latency_figures& latency, std::uint32_t block_size,
               bool icount) noexcept {
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
        const decimal instructions = quotient(row.instructions, row.ios);
        print("%12lu.%02lu", instructions.whole, instructions.hundredths);
    } else {
        print("%4lu %%", row.elapsed == 0 ? 0 : row.guest.asleep * 100 / (row.elapsed * row.harts));
    }
    print("  %10lu  %10lu        %lu.%02lu\n", row.bare_iops(), row.floor_iops(), row.ratio() / 1000,
          row.ratio() / 10 % 100);
}

void print_harts(std::span<const hart_part> parts, const depth_figures& row, const block::disk& disk) noexcept {
    if (row.harts > 1) {
        for (const hart_part& each : parts.first(row.harts)) {
            print("  hart %u: %8lu IOPS, %lu %% asleep\n", each.share.number,
                  depth_figures::per_second(each.ios, row.elapsed), each.guest.asleep * 100 / row.elapsed);
        }
    }
    for (std::uint16_t i = 0; disk.properties().queues > 1 && i < disk.properties().queues; ++i) {
        const block::queue::counters& queue = disk.count(i);
        print("  queue %u, since the start: %lu requests, %lu notifications, %lu interrupts\n", i, queue.requests,
              queue.notifications, queue.interrupts);
    }
}

void print_harts_json(std::span<const hart_part> parts, const depth_figures& row) noexcept {
    print("\"harts\":[");
    for (const hart_part& each : parts.first(row.harts)) {
        print("%s{\"iops\":%lu,\"asleep_thousandths\":%lu}", each.share.number == 0 ? "" : ",",
              depth_figures::per_second(each.ios, row.elapsed), each.guest.asleep * 1000 / row.elapsed);
    }
    print("]");
}

void print_row_json(const depth_figures& row, const latency_figures& latency, bool icount) noexcept {
    print(
        "{\"depth\":%u,\"ios\":%lu,\"iops\":%lu,\"p50_ns\":%lu,\"p99_ns\":%lu,\"notifications\":%lu,\"interrupts\":%lu,"
        "\"allocations\":%lu,\"bare_iops\":%lu,\"floor_iops\":%lu,\"floor_ratio_thousandths\":%lu",
        row.depth, row.ios, row.iops(), latency.p50, latency.p99, row.device.notifications, row.device.interrupts,
        row.guest.allocations, row.bare_iops(), row.floor_iops(), row.ratio());
    if (icount) {
        print(",\"instructions\":%lu", row.instructions);
        if (arch::harts() == 1) {
            print(",\"floor_ios\":%lu,\"floor_instructions\":%lu", row.floor_ios, row.floor_instructions);
        }
    }
    print("}");
}

} // namespace inflight::bench
