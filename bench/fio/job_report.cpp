#include "bench/fio/job_run.hpp"
#include "src/kernel/boot_time.hpp"
#include "src/kernel/console.hpp"
#include "src/kernel/elapsed.hpp"

#include <array>
#include <span>
#include <string_view>

namespace inflight::bench {

namespace {

using kernel::console::print;

// Prints text inside a JSON string.
void print_escaped(std::string_view text) noexcept {
    for (const char each : text) {
        if (each == '"' || each == '\\' || static_cast<unsigned char>(each) < ' ' || each == 0x7f) {
            print("\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(each)));
        } else {
            print("%c", each);
        }
    }
}

void print_latencies(const direction_figures& of) noexcept {
    const std::uint64_t all = of.latencies.count();
    print("\"clat\":{\"count\":%lu,\"min\":%lu,\"max\":%lu,\"sum\":%lu,\"bins\":[", all, all == 0 ? 0 : of.least,
          of.most, of.sum);
    bool first = true;
    of.latencies.for_each_bucket([&first](std::uint64_t middle, std::uint64_t count) {
        print("%s[%lu,%lu]", first ? "" : ",", middle, count);
        first = false;
    });
    print("]}");
}

void print_samples(const char* name, const char* squares, const rate_samples& of) noexcept {
    print(",\"%s\":{\"count\":%lu,\"min\":%lu,\"max\":%lu,\"sum\":%lu,\"%s\":%lu}", name, of.count, of.least, of.most,
          of.sum, squares, of.sum_of_squares);
}

template <typename Counts>
void print_list(const char* name, const Counts& counts) noexcept {
    print("\"%s\":[", name);
    const char* separator = "";
    for (const std::uint64_t each : counts) {
        print("%s%lu", separator, each);
        separator = ",";
    }
    print("]");
}

} // namespace

void print_json(const job_run& of) noexcept {
    const job& what = of.description();
    const job_run::origin& from = of.came_from();
    const job_figures& figures = of.figures();
    print("{\"name\":\"");
    print_escaped(what.name);
    print("\",\"clone\":%u,\"group\":%u,\"line\":%u,\"hart\":%u,\"rw\":\"%s\",\"iodepth\":%u,"
          "\"group_reporting\":%s,\"error\":%u,\"error_text\":\"%s\",\"started\":%lu,\"elapsed\":%lu,\"disks\":[",
          from.clone, from.group, what.line, from.hart, to_string(what.rw), what.iodepth,
          what.group_reporting ? "true" : "false", of.first_error().number, of.first_error().text,
          kernel::elapsed(kernel::boot_time(), of.started()).value_or(0), of.elapsed());
    const char* separator = "";
    for (const job_place& each : from.places) {
        print("%s\"%s\"", separator, each.name);
        separator = ",";
    }
    print("],\"options\":{");
    separator = "";
    for (const given_option& each : std::span{what.options}.first(what.option_count)) {
        print("%s\"%.*s\":\"", separator, static_cast<int>(each.name.size()), each.name.data());
        print_escaped(each.value);
        print("\"");
        separator = ",";
    }
    print("},");
    print_list("bs",
               std::array<std::uint64_t, directions>{what.bs[0].largest(), what.bs[1].largest(), what.bs[2].largest()});
    print(",");
    print_list("percentile_list", std::span{what.percentile_list}.first(what.percentile_count));
    for (std::size_t i = 0; i < directions; ++i) {
        const direction_figures& each = figures.of[i];
        print(",\"%s\":{\"ios\":%lu,\"bytes\":%lu,\"runtime\":%lu,", to_string(static_cast<direction>(i)), each.ios,
              each.bytes, each.runtime);
        print_latencies(each);
        print_samples("bw_samples", "sum_squares_kib", each.bytes_per_second);
        print_samples("iops_samples", "sum_squares", each.ios_per_second);
        print("}");
    }
    print(",\"sync\":{\"ios\":%lu,", figures.flushes.ios);
    print_latencies(figures.flushes);
    print("},");

    // fio's groups: 1, 2 to 3, 4 to 7, and so on; the last one is 64 and more.
    std::array<std::uint64_t, 7> depths{};
    for (std::size_t depth = 1; depth < figures.depths.size(); ++depth) {
        std::size_t which = 0;
        while (which + 1 < depths.size() && depth >> (which + 1) != 0) {
            ++which;
        }
        depths[which] += figures.depths[depth];
    }
    print_list("depth_at_submission", depths);
    print(",");
    print_list("batch_submitted", figures.submitted);
    print(",");
    print_list("batch_completed", figures.completed);
    print("}");
}

} // namespace inflight::bench
