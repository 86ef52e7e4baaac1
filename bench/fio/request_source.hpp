// The sequence of a job's requests, over its disks and passes.
#pragma once

#include "bench/fio/access.hpp"
#include "bench/fio/job.hpp"
#include "drivers/block/disk.hpp"
#include "src/kernel/memory.hpp"

#include <cstdint>
#include <span>

namespace inflight::bench {

// A disk of a job, and the job's range on it.
struct job_place {
    block::disk* disk;
    const char* name;
    access_range range;
};

class request_source {
  public:
    // A place, and the job's progress in it.
    struct visit {
        const job_place* place;
        access_sequence sequence;
        std::uint64_t pass = 0;
        std::uint64_t pass_ios = 0; // requests of this pass
        std::uint64_t verified = 0; // of pass_ios
    };

    // Allocates from `from`; is_complete() is false if that fails. `places` must outlive the source. `io_size` is in
    // bytes, for all places together; 0: one pass.
    request_source(const job& of, std::span<const job_place> places, std::uint64_t seed, std::uint64_t io_size,
                   kernel::memory& from) noexcept;
    [[nodiscard]] bool is_complete() const noexcept { return !visits_.empty(); }

    // Begins to count requests against the job's limits.
    void begin() noexcept;
    // Ends the sequence: there are no more requests.
    void stop() noexcept { ios_left_ = 0; }

    // ---- passes

    // Returns whether the job makes another pass over its range, after `begun` passes. As in fio, loops= comes first.
    // After that, there are more passes while less than io_size was moved, including trims and verification, and the
    // rest has room for a block. Returns false if the last pass moved nothing.
    [[nodiscard]] bool wants_pass(std::uint32_t begun) const noexcept;
    void begin_pass(std::uint32_t begun) noexcept; // after `begun` passes

    // begin_verification() makes the source read what the pass has written, in the same order and without limits.
    // end_verification() resumes transfers.
    void begin_verification() noexcept;
    void end_verification() noexcept;
    [[nodiscard]] bool verifies() const noexcept { return verifies_; }

    // ---- requests

    // Holds the next request until take() or drop(). Returns false if there is none.
    [[nodiscard]] bool hold_next() noexcept;
    [[nodiscard]] bool has_stopped() const noexcept { return ios_left_ == 0; }
    [[nodiscard]] const access& held() const noexcept { return held_; }
    [[nodiscard]] bool holds() const noexcept { return holds_; }
    // Begins the held request. Returns its place.
    visit& take() noexcept;
    // Drops the held request, which no longer counts as begun.
    void drop() noexcept;

    // max_plain() returns how many requests of `length` bytes may begin using only the first place's sequence.
    // take_plain() counts `count` such requests.
    [[nodiscard]] std::uint64_t max_plain(std::uint32_t length) const noexcept;
    void take_plain(std::uint64_t count, std::uint32_t length) noexcept;

    // Returns the job's progress, in thousandths of the whole transfer.
    [[nodiscard]] std::uint64_t thousandths() const noexcept;

    [[nodiscard]] std::span<visit> visits() noexcept { return visits_; }

  private:
    static constexpr std::uint64_t no_limit = ~std::uint64_t{0} >> 1; // bytes or requests

    [[nodiscard]] bool next_access(access& next, visit*& where) noexcept;
    [[nodiscard]] bool next_access_of(visit& where, access& next) noexcept;
    [[nodiscard]] bool next_to_verify(visit& where, access& next) noexcept;
    [[nodiscard]] std::int64_t budgeted(const access& of) const noexcept;
    [[nodiscard]] std::uint64_t all_ios() const noexcept;
    [[nodiscard]] std::uint64_t all_bytes() const noexcept;
    static void begin_pass_of(visit& where) noexcept;

    const job& job_;
    std::uint64_t io_size_;
    std::span<visit> visits_;
    visit* current_;                   // the next place in turn
    std::uint64_t ios_left_ = 0;       // to begin; 0: stopped
    std::int64_t bytes_left_ = 0;      // to begin, in all passes; for trimwrite, to write
    std::uint64_t bytes_moved_ = 0;    // of all requests that began, including trims and verification
    std::uint64_t moved_before_ = 0;   // bytes_moved_ before this pass
    std::uint64_t ios_left_after_ = 0; // ios_left_ after the verification
    bool verifies_ = false;
    bool holds_ = false; // held_ is the next request, at held_at_
    access held_{};
    visit* held_at_ = nullptr;
};

// Returns the largest block size of a job, in bytes.
[[nodiscard]] std::uint32_t largest_block(const job& of) noexcept;

} // namespace inflight::bench
