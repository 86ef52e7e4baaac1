// A job, as a section of a fio job file describes it, with fio's meanings, defaults and units (fio's HOWTO, "Job file
// parameters"). Nothing here knows of a disk: what depends on its size is settled when the job begins.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace inflight::bench {

// What a request does with its data, and the order in which fio counts: figures and block sizes stand in it.
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

// Its name in fio's language.
[[nodiscard]] const char* to_string(job_pattern rw) noexcept;

// A number of bytes, or a part of the disk.
struct job_size {
    std::uint64_t bytes = 0;
    std::uint32_t percent = 0; // of the disk, if not 0; then `bytes` means nothing

    [[nodiscard]] bool given() const noexcept { return bytes != 0 || percent != 0; }
};

// One entry of bssplit=: so many percent of all requests have this size. 0 is possible: the size is the smallest or largest,
// but no request has it.
struct block_size_share {
    std::uint32_t bytes = 0;
    std::uint32_t percent = 0;
};

// The sizes of one direction's requests: the shares add up to 100. bs=4k is one share.
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

// An option as the file gives it, by the first of fio's names for it. The value is empty where none is given: `stonewall`.
struct given_option {
    std::string_view name;
    std::string_view value;
};

// What the parser leaves is what holds, not what was written: where fio changes an option because of another, that is done.
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): by what they are about, not by their sizes
struct job {
    static constexpr std::size_t max_percentiles = 20; // as in fio
    static constexpr std::size_t max_files = 8;
    static constexpr std::size_t max_options = 48;
    static constexpr std::uint32_t largest_block = 64u << 20; // bytes
    static constexpr std::uint32_t max_clones = 4096;         // as in fio

    std::string_view name;  // of the section, or name=
    std::uint32_t line = 0; // where the section begins, from 1
    bool stonewall = false; // waits for all jobs before it

    // What is done.
    job_pattern rw = job_pattern::read;
    std::uint32_t rwmixread = 50; // percent
    std::array<block_sizes, directions> bs{};
    std::array<std::uint32_t, directions> blockalign{}; // bytes; 0: the smallest block size, as always if not random
    random_distribution distribution{};
    std::uint64_t randseed = 0;
    bool randseed_given = false;
    bool norandommap = false; // also because of `distribution` or `blockalign`

    // Where.
    // Disks: vda, vdb, ...; none: the first disk. As in fio, a section adds to those of [global], and a disk can be in it
    // twice.
    std::array<std::string_view, max_files> filenames{};
    std::size_t filename_count = 0;
    job_size offset{};
    job_size size{};    // not given: to the end of the disk
    job_size io_size{}; // how much is transferred, in all passes and on all disks; not given: one pass

    // How long.
    std::uint64_t number_ios = 0; // of each loop, and of trimwrite pairs; 0: no limit
    std::uint64_t runtime = 0;    // microseconds; 0: no limit
    std::uint64_t ramp_time = 0;  // microseconds, before anything counts
    bool time_based = false;      // with `runtime` only
    std::uint32_t loops = 1;

    // How many at once.
    std::uint32_t iodepth = 1;
    std::uint32_t iodepth_batch_submit = 1;       // from 1 to iodepth
    std::uint32_t iodepth_batch_complete_min = 1; // up to iodepth; 0: whatever is there
    std::uint32_t numjobs = 1;
    std::uint64_t cpus_allowed = 0; // a bit for each hart; 0: all
    bool hipri = false;             // completions are polled

    // How fast.
    std::array<std::uint64_t, directions> rate_iops{}; // a second; 0: no limit
    std::uint64_t thinktime = 0;                       // microseconds, after each request

    // How safely.
    bool verify = false; // verify=crc32c
    bool do_verify = true;
    // A flush of every disk of the job after so many writes, if another request follows; 0: never. Both are heeded.
    std::uint32_t fsync = 0;
    std::uint32_t fdatasync = 0; // the same to a disk

    // What is said.
    std::array<std::uint32_t, max_percentiles> percentile_list{}; // ascending; millionths: 99.9 is 99'900'000
    std::size_t percentile_count = 0;                             // 0: fio's own list
    bool group_reporting = false;

    // All that was given, that of [global] included, in the order of its first mention.
    std::array<given_option, max_options> options{};
    std::size_t option_count = 0;
};

// The jobs of a file. Their names, those of their disks and the values of `options` lie in the text of the file.
struct job_list {
    static constexpr std::size_t most = 64;
    std::array<job, most> jobs{};
    std::size_t count = 0;

    [[nodiscard]] std::span<const job> all() const noexcept { return {jobs.data(), count}; }
};

// Reads a job file. True if all is well; else `message` holds one sentence that names line and option and says what is right,
// and `parsed` means nothing. Options that cannot change anything here (`ioengine`, `direct=1`, `thread`, ...) are taken and
// called in `notes`, one sentence a line, as far as it has room; every other unknown one is refused. Both texts end with 0.
[[nodiscard]] bool parse_job_file(std::string_view text, job_list& parsed, std::span<char> message,
                                  std::span<char> notes) noexcept;

} // namespace inflight::bench
