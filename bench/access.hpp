// Which block comes next: the order in which a job touches its part of the disk, the sizes of its requests, and what each
// does. Everything repeats with the seed.
#pragma once

#include "bench/job.hpp"
#include "src/random.hpp"

#include <cstdint>

namespace inflight::bench {

// One request of a job.
struct access {
    direction what;
    std::uint64_t offset; // bytes, from the beginning of the disk
    std::uint32_t length; // bytes
};

// The part of the disk that is a job's, in bytes; begin and end are multiples of the logical block size.
struct access_range {
    std::uint64_t begin;
    std::uint64_t end;
};

// The requests of one pass over the range, in their order.
class access_sequence {
  public:
    // The job must outlive it. `seed` decides everything that is random.
    access_sequence(const job& of, access_range range, std::uint64_t seed) noexcept;

    // The next request; false if the pass is over: as many bytes as the range has, or, with a random map, every block once.
    bool next(access& out) noexcept;

    // Another pass: from the beginning of the range, or in another random order.
    void begin_pass() noexcept;

    // The same pass once more, to verify what it wrote: the same requests in the same order.
    void repeat_pass() noexcept;
};

} // namespace inflight::bench
