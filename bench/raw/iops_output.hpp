// The output of iops: a table, or JSON.
#pragma once

#include "bench/raw/measurement.hpp"

namespace inflight::bench {

struct latency_figures {
    std::uint64_t p50; // nanoseconds
    std::uint64_t p99;
};

latency_figures percentiles(const histogram& latencies) noexcept;

void print_header(bool icount) noexcept;
void print_row(const depth_figures& row, const latency_figures& latency, std::uint32_t block_size,
               bool icount) noexcept;
// The share of each hart and each queue in a row.
void print_harts(std::span<const hart_part> parts, const depth_figures& row, const block::disk& disk) noexcept;

// Members of a JSON object, or one.
void print_harts_json(std::span<const hart_part> parts, const depth_figures& row) noexcept;
void print_row_json(const depth_figures& row, const latency_figures& latency, bool icount) noexcept;

} // namespace inflight::bench
