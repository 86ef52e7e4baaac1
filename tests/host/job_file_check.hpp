// What holds of every job that the reader of job files lets through, for tests that give it anything.
#pragma once

#include "bench/fio/job.hpp"

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace inflight::bench::job_file_check {

struct broken : std::logic_error {
    using std::logic_error::logic_error;
};

inline void hold(bool condition, const char* what) {
    if (!condition) {
        throw broken{what};
    }
}

inline void check_sizes(const block_sizes& sizes) {
    hold(sizes.count >= 1 && sizes.count <= block_sizes::most, "the number of shares");
    std::uint32_t together = 0;
    for (std::size_t i = 0; i < sizes.count; ++i) {
        const std::uint32_t bytes = sizes.shares[i].bytes;
        hold(bytes >= 512 && bytes <= job::largest_block && bytes % 512 == 0, "the size of a block");
        hold(bytes >= sizes.smallest() && bytes <= sizes.largest(), "smallest and largest");
        together += sizes.shares[i].percent;
    }
    hold(together == 100, "the sum of shares");
}

inline void check_job(const job& each, std::string_view text) {
    const auto inside = [&](std::string_view part) {
        return part.empty() || (part.data() >= text.data() && part.data() + part.size() <= text.data() + text.size());
    };
    hold(!each.name.empty() && inside(each.name), "a job's name");
    hold(each.line >= 1 && each.line <= 1 + std::count(text.begin(), text.end(), '\n'), "a job's line");
    std::for_each(each.bs.begin(), each.bs.end(), check_sizes);
    for (const std::uint32_t align : each.blockalign) {
        hold(align % 512 == 0 && align <= job::largest_block && (align == 0 || is_random(each.rw)), "blockalign");
    }
    hold(each.rwmixread <= 100, "rwmixread");
    using shape = random_distribution::shape;
    const std::uint32_t parameter = each.distribution.parameter;
    hold(each.distribution.kind != shape::random || parameter == 0, "random has no parameter");
    hold(each.distribution.kind == shape::random || (parameter != 0 && parameter != 1'000'000 && each.norandommap),
         "zipf and pareto");
    hold(each.distribution.kind != shape::pareto || parameter < 1'000'000, "pareto");
    hold(each.filename_count <= job::max_files, "the number of disks");
    for (std::size_t i = 0; i < each.filename_count; ++i) {
        hold(each.filenames[i].size() == 3 && inside(each.filenames[i]), "a disk");
    }
    for (const job_size& size : {each.offset, each.size, each.io_size}) {
        hold(size.percent <= 100 && (size.bytes == 0 || size.percent == 0), "bytes or percent");
    }
    hold(!each.time_based || each.runtime != 0, "time_based");
    hold(each.loops >= 1 && each.numjobs >= 1 && each.numjobs <= job::max_clones, "loops and numjobs");
    hold(each.iodepth >= 1 && each.iodepth <= 65536, "iodepth");
    hold(each.iodepth_batch_submit >= 1 && each.iodepth_batch_submit <= each.iodepth, "iodepth_batch_submit");
    hold(each.iodepth_batch_complete_min <= each.iodepth, "iodepth_batch_complete_min");
    const auto percentiles = std::span{each.percentile_list}.first(each.percentile_count);
    hold(std::is_sorted(percentiles.begin(), percentiles.end()), "the order of percentiles");
    for (const std::uint32_t percentile : percentiles) {
        hold(percentile >= 1 && percentile <= 100'000'000, "a percentile");
    }
    hold(each.option_count <= job::max_options, "the number of options");
    for (std::size_t i = 0; i < each.option_count; ++i) {
        hold(!each.options[i].name.empty() && inside(each.options[i].value), "an option");
    }
}

// Reads `text` with that much room for message and notes. Throws `broken` if anything is; else whether the text was right.
inline bool check(std::string_view text, std::size_t message_room, std::size_t notes_room) {
    const std::vector<char> kept{text.begin(), text.end()}; // as long as it is, so that a sanitizer sees a step too far
    const std::string_view given{kept.data(), kept.size()};
    std::vector<char> message(message_room, '#');
    std::vector<char> notes(notes_room, '#');
    const auto jobs = std::make_unique<job_list>();
    const bool right = parse_job_file(given, *jobs, message, notes);
    hold(notes.empty() || std::find(notes.begin(), notes.end(), '\0') != notes.end(), "the end of the notes");
    const std::string_view said{notes.empty() ? "" : notes.data()};
    hold(said.empty() || said.ends_with('\n'), "whole notes");
    if (!right) {
        hold(message.empty() || std::find(message.begin(), message.end(), '\0') != message.end(), "a message's end");
        const std::string_view sentence{message.empty() ? "" : message.data()};
        hold(message_room <= std::string_view{"there is"}.size() || sentence.starts_with("line ") ||
                 sentence.starts_with("there is"),
             "a message");
        hold(std::all_of(sentence.begin(), sentence.end(),
                         [](char letter) { return static_cast<unsigned char>(letter) >= ' ' && letter != 0x7f; }),
             "a printable message");
        return false;
    }
    hold(jobs->count >= 1 && jobs->count <= job_list::most, "the number of jobs");
    for (const job& each : jobs->all()) {
        check_job(each, given);
    }
    return true;
}

} // namespace inflight::bench::job_file_check
