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
        std::uint64_t pass_ios = 0; // of this one
        std::uint64_t verified = 0; // of these
    };

    // Memory comes from `from`; is_complete() is false if that is too little. `places` must outlive the source.
    // `io_size` is in bytes, of all places together; 0: one pass.
    request_source(const job& of, std::span<const job_place> places, std::uint64_t seed, std::uint64_t io_size,
                   kernel::memory& from) noexcept;
    [[nodiscard]] bool is_complete() const noexcept { return !visits_.empty(); }

    // From here on requests are counted against the job's limits.
    void begin() noexcept;
    // There are no more requests.
    void stop() noexcept { ios_left_ = 0; }

    // ---- passes

    // True if the job goes once more over its range, after so many times. As in fio, loops= comes first; then there are
    // more passes while less than io_size was moved, trims and verification included, and a block has room in the rest.
    // False if the last pass has moved nothing.
    [[nodiscard]] bool wants_pass(std::uint32_t begun) const noexcept;
    void begin_pass(std::uint32_t begun) noexcept; // after so many

    // Reads what the pass has written, in the same order, without limits; then transfers again as before.
    void begin_verification() noexcept;
    void end_verification() noexcept;
    [[nodiscard]] bool verifies() const noexcept { return verifies_; }

    // ---- requests

    // The next request, which is held until it is taken or dropped. False if there is none.
    [[nodiscard]] bool hold_next() noexcept;
    [[nodiscard]] bool has_stopped() const noexcept { return ios_left_ == 0; }
    [[nodiscard]] const access& held() const noexcept { return held_; }
    [[nodiscard]] bool holds() const noexcept { return holds_; }
    // Begins the held request. Returns its place.
    visit& take() noexcept;
    // Drops the held request, which no longer counts as begun.
    void drop() noexcept;

    // How many requests of `length` bytes may be begun with nothing but the first place's sequence;
    // and counts `count` such ones.
    [[nodiscard]] std::uint64_t max_plain(std::uint32_t length) const noexcept;
    void take_plain(std::uint64_t count, std::uint32_t length) noexcept;

    // The job's progress, in thousandths of what there is to transfer.
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
    visit* current_;                   // whose turn it is
    std::uint64_t ios_left_ = 0;       // to begin; 0: stopped
    std::int64_t bytes_left_ = 0;      // to begin, of all passes; of trimwrite, to write
    std::uint64_t bytes_moved_ = 0;    // all that was begun, trims and verification included
    std::uint64_t moved_before_ = 0;   // this pass
    std::uint64_t ios_left_after_ = 0; // the verification
    bool verifies_ = false;
    bool holds_ = false; // held_ is the next request, at held_at_
    access held_{};
    visit* held_at_ = nullptr;
};

// The largest block size of a job, in bytes.
[[nodiscard]] std::uint32_t largest_block(const job& of) noexcept;

} // namespace inflight::bench
