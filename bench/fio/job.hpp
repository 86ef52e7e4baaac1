// A job as a section of a fio job file describes it, with fio's meanings, defaults and units (fio's HOWTO, "Job file
// parameters"). A job does not depend on a disk: percentages of a disk are resolved when the job begins.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace inflight::bench {

// The direction of a request, in fio's order: figures and block sizes are indexed by it.
enum class direction : std::uint8_t { read, write, trim };
inline constexpr std::size_t directions = 3;

[[nodiscard]] constexpr const char* to_string(direction what) noexcept {
    return what == direction::read ? "read" : what == direction::write ? "write" : "trim";
}

// rw=
enum class job_pattern : std::uint8_t {
    read,
    write,
    randread,
    randwrite,
    rw,
    randrw,
    trim,
    randtrim,
    trimwrite, // each block is trimmed, then written
};

[[nodiscard]] constexpr bool is_random(job_pattern rw) noexcept {
    return rw == job_pattern::randread || rw == job_pattern::randwrite || rw == job_pattern::randrw ||
           rw == job_pattern::randtrim;
}
[[nodiscard]] constexpr bool reads(job_pattern rw) noexcept {
    return rw == job_pattern::read || rw == job_pattern::randread || rw == job_pattern::rw || rw == job_pattern::randrw;
}
[[nodiscard]] constexpr bool writes(job_pattern rw) noexcept {
    return rw == job_pattern::write || rw == job_pattern::randwrite || rw == job_pattern::rw ||
           rw == job_pattern::randrw || rw == job_pattern::trimwrite;
}
[[nodiscard]] constexpr bool trims(job_pattern rw) noexcept {
    return rw == job_pattern::trim || rw == job_pattern::randtrim || rw == job_pattern::trimwrite;
}

// The name of the pattern in a job file.
[[nodiscard]] const char* to_string(job_pattern rw) noexcept;

// A number of bytes, or a percentage of the disk.
struct job_size {
    std::uint64_t bytes = 0;
    std::uint32_t percent = 0; // of the disk; if it is not 0, `bytes` is not used

    [[nodiscard]] bool given() const noexcept { return bytes != 0 || percent != 0; }
};

// One entry of bssplit=: this percentage of all requests has this size. A size with 0 percent counts as the smallest or
// largest one, but no request has it.
struct block_size_share {
    std::uint32_t bytes = 0;
    std::uint32_t percent = 0;
};

// The sizes of one direction's requests. The shares add up to 100. bs=4k is one share.
struct block_sizes {
    static constexpr std::size_t most = 16;
    std::array<block_size_share, most> shares{block_size_share{.bytes = 4096, .percent = 100}};
    std::size_t count = 1;

    [[nodiscard]] std::uint32_t smallest() const noexcept;
    [[nodiscard]] std::uint32_t largest() const noexcept;
};

// random_distribution=
struct random_distribution {
    enum class shape : std::uint8_t { random, zipf, pareto };
    shape kind = shape::random;
    std::uint32_t parameter = 0; // zipf's theta or pareto's h, in millionths
};

// An option as the file gives it, by fio's first name for it. The value is empty if none is given: `stonewall`.
struct given_option {
    std::string_view name;
    std::string_view value;
};

// The effective values: where fio changes an option because of another one, the parser has done the same.
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): grouped by topic, not by size
struct job {
    static constexpr std::size_t max_percentiles = 20; // as in fio
    static constexpr std::size_t max_files = 8;
    static constexpr std::size_t max_options = 48;
    static constexpr std::uint32_t largest_block = 64u << 20; // bytes
    static constexpr std::uint32_t max_clones = 4096;         // as in fio

    std::string_view name;  // of the section, or name=
    std::uint32_t line = 0; // where the section begins, from 1
    bool stonewall = false; // waits for all jobs before it

    // The access pattern.
    job_pattern rw = job_pattern::read;
    std::uint32_t rwmixread = 50; // percent
    std::array<block_sizes, directions> bs{};
    std::array<std::uint32_t, directions> blockalign{}; // bytes; 0: the smallest block size; always 0 if not random
    random_distribution distribution{};
    std::uint64_t randseed = 0;
    bool randseed_given = false;
    bool norandommap = false; // also set by `distribution` and `blockalign`

    // The disks, and the job's part of them.
    // Disks are vda, vdb, ...; none means the first disk. As in fio, a section adds to the disks of [global], and the
    // same disk can be given twice.
    std::array<std::string_view, max_files> filenames{};
    std::size_t filename_count = 0;
    job_size offset{};
    job_size size{};    // not given: to the end of the disk
    job_size io_size{}; // to transfer, in all passes on all disks; not given: one pass

    // The end of the job.
    std::uint64_t number_ios = 0; // in each loop; for trimwrite, pairs; 0: no limit
    std::uint64_t runtime = 0;    // microseconds; 0: no limit
    std::uint64_t ramp_time = 0;  // microseconds before the figures begin
    bool time_based = false;      // with `runtime` only
    std::uint32_t loops = 1;

    // Requests in flight, clones and harts.
    std::uint32_t iodepth = 1;
    std::uint32_t iodepth_batch_submit = 1;       // from 1 to iodepth
    std::uint32_t iodepth_batch_complete_min = 1; // at most iodepth; 0: does not wait
    std::uint32_t numjobs = 1;
    std::uint64_t cpus_allowed = 0; // a bit for each hart; 0: all
    bool hipri = false;             // completions are polled

    // Rate limits.
    std::array<std::uint64_t, directions> rate_iops{}; // a second; 0: no limit
    std::uint64_t thinktime = 0;                       // microseconds, after each request

    // Verification and flushes.
    bool verify = false; // verify=crc32c
    bool do_verify = true;
    // Flushes every disk of the job after this many writes, if another request follows; 0: never. Both options apply.
    std::uint32_t fsync = 0;
    std::uint32_t fdatasync = 0; // the same as fsync for a disk

    // Reports.
    std::array<std::uint32_t, max_percentiles> percentile_list{}; // ascending; millionths: 99.9 is 99'900'000
    std::size_t percentile_count = 0;                             // 0: fio's own list
    bool group_reporting = false;

    // All options given in the section and in [global], in the order of their first mention.
    std::array<given_option, max_options> options{};
    std::size_t option_count = 0;
};

// The jobs of a file. Their names, disk names and option values point into the text of the file.
struct job_list {
    static constexpr std::size_t most = 64;
    std::array<job, most> jobs{};
    std::size_t count = 0;

    [[nodiscard]] std::span<const job> all() const noexcept { return {jobs.data(), count}; }
};

// Reads a job file. Returns true if it is valid. Otherwise `message` holds one sentence that names the line and the
// option and says what is valid, and `parsed` is unspecified. Options that have no effect here (`ioengine`, `direct=1`,
// `thread`, ...) are accepted and listed in `notes`, one sentence a line, as far as there is room. Every other unknown
// option is refused. Both texts end with 0.
[[nodiscard]] bool parse_job_file(std::string_view text, job_list& parsed, std::span<char> message,
                                  std::span<char> notes) noexcept;

} // namespace inflight::bench
