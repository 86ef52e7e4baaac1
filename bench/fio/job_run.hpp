// One clone of a job: it runs on its hart, with up to iodepth requests in flight, and holds the results.
//
// A request in flight is a `unit`, not a task. A plain function resumes it, records the figures and begins the next
// request in the same unit. The coroutine does what only some requests need: it begins and ends the run, waits for
// pauses and batches, flushes and verifies.
#pragma once

#include "arch/arch.hpp"
#include "async/auto_reset_event.hpp"
#include "async/callback.hpp"
#include "async/task.hpp"
#include "bench/fio/access.hpp"
#include "bench/fio/figures.hpp"
#include "bench/fio/job.hpp"
#include "bench/fio/request_source.hpp"
#include "bench/fio/times.hpp"
#include "bench/fio/verification.hpp"
#include "drivers/block/disk.hpp"
#include "src/kernel/memory.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::bench {

class job_run {
  public:
    // The job and the parameters of the clone.
    struct origin {
        const job* of;
        std::uint32_t clone; // which of numjobs
        std::uint32_t group; // jobs that run at the same time; the next stonewall begins another
        arch::hart_index hart;
        std::uint64_t seed;
        std::uint64_t io_size;             // bytes to transfer in all places together; 0: one pass
        std::span<const job_place> places; // must outlive the run
    };

    // Figures that another hart may read while the job runs. They are updated every half second.
    struct told {
        std::array<arch::atomic<std::uint64_t>, directions> ios{};
        std::array<arch::atomic<std::uint64_t>, directions> bytes{};
        arch::atomic<std::uint64_t> done{0}; // in thousandths
        arch::atomic<bool> has_ended{false};
    };

    // Allocates all memory of the run from `from`. Ends the machine with one sentence if that is too little.
    job_run(const origin& begin, kernel::memory& from) noexcept;

    job_run(const job_run&) = delete;
    job_run& operator=(const job_run&) = delete;

    // The first error, with fio's number for it; 0 and an empty text if there is none.
    struct error {
        unsigned number = 0;
        const char* text = "";
    };

    // Runs the clone. Must be awaited on its hart.
    async::task<void> run();

    [[nodiscard]] const job& description() const noexcept { return *origin_.of; }
    [[nodiscard]] const origin& came_from() const noexcept { return origin_; }
    [[nodiscard]] const job_place& place() const noexcept { return origin_.places.front(); }
    [[nodiscard]] const told& progress() const noexcept { return told_; }
    [[nodiscard]] bool failed() const noexcept { return error_.number != 0; }
    [[nodiscard]] bool has_ended() const noexcept { return told_.has_ended.load(std::memory_order_relaxed); }
    [[nodiscard]] std::span<std::byte> buffers() const noexcept { return buffers_; }

    // Valid after the end of the run.
    [[nodiscard]] const job_figures& figures() const noexcept { return figures_; }
    [[nodiscard]] const error& first_error() const noexcept { return error_; }
    [[nodiscard]] arch::ticks started() const noexcept { return started_; }
    [[nodiscard]] arch::ticks elapsed() const noexcept { return elapsed_; } // 0: not measured
    [[nodiscard]] bool clock_has_stepped() const noexcept { return clock_.has_stepped(); }

  private:
    using visit = request_source::visit;

    // A request in flight, or room for one.
    struct unit {
        explicit unit(job_run& run, std::byte* memory) noexcept
            : ended{job_run::ended, this}, of{&run}, buffer{memory} {}

        async::callback ended;
        job_run* of;
        unit* next_free = nullptr;
        arch::ticks start = 0;
        std::byte* buffer;
        std::span<std::byte> data; // the part of `buffer` that the request uses
        access doing{};
        direction_figures* figures = nullptr; // of the direction
        visit* where = nullptr;
        block::disk* disk = nullptr; // of `where`
        alignas(block::request) std::byte request[sizeof(block::request)];
    };

    static void ended(void* self) noexcept;
    inline void complete(unit& ended, arch::ticks now) noexcept;
    void complete_long(unit& ended, arch::ticks now) noexcept;
    inline void complete_plainly(unit& ended, arch::ticks now,
                                 void (direction_figures::*record)(arch::ticks) noexcept) noexcept;
    void complete_rarely(unit& ended, arch::ticks now) noexcept;
    void grant() noexcept;
    void settle() noexcept;
    void free(unit& unused) noexcept;
    [[nodiscard]] bool begin_next(unit& free, arch::ticks now) noexcept;
    static inline void start(unit& free, arch::ticks now) noexcept;
    static void start_trim(unit& free) noexcept;
    [[nodiscard]] bool must_flush() const noexcept;
    [[nodiscard]] bool waits_for_trim() const noexcept;
    void prepare_write(unit& free) noexcept;
    [[nodiscard]] arch::ticks fill() noexcept;
    [[nodiscard]] arch::ticks fill_units() noexcept;
    void look_at_clock(arch::ticks since, arch::ticks now) noexcept;
    void mark(arch::ticks now) noexcept;
    void sample(arch::ticks now) noexcept;
    void tell_how_far(arch::ticks now) noexcept;
    void begin_figures(arch::ticks now) noexcept;
    inline void end_batch() noexcept;
    void check(const unit& read) noexcept;
    void fail(const unit& at, block::status outcome) noexcept;
    void fail(const visit& where, const char* what, std::uint64_t offset, block::status outcome) noexcept;

    async::task<void> transfer();
    async::task<void> flush();

    origin origin_;
    async::executor* hart_ = nullptr;

    // Read by every request.
    std::uint64_t plain_left_ = 0; // granted requests that have not begun
    arch::ticks mark_ = 0;         // the next time at which mark() is due
    arch::ticks batch_round_ = 0;

    std::uint64_t granted_ = 0; // requests that may take the plain path
    static constexpr std::uint64_t max_granted = 1u << 20;
    bool is_plain_ = false; // one disk, one direction, one block size, and nothing to do between two requests
    bool slow_ = true;      // something happens between two requests, so the coroutine begins the next
    direction only_direction_ = direction::read;
    std::uint32_t plain_bytes_ = 0; // of each request, if all are alike
    std::uint32_t in_flight_ = 0;
    std::uint32_t trims_in_flight_ = 0;
    std::uint32_t ended_ = 0;              // in this round: requests that ended, without restarted_
    std::uint32_t begun_ = 0;              // in this round: requests that began, without restarted_
    std::uint64_t restarted_ = 0;          // in this round: requests that ended and whose unit began the next at once
    std::uint64_t plain_left_counted_ = 0; // plain_left_ when restarted_ was last updated

    unit* free_units_ = nullptr;
    std::uint32_t free_count_ = 0;
    std::uint32_t batch_ = 1; // the number of free units that wakes the coroutine
    std::span<std::byte> buffers_;
    async::auto_reset_event wake_;

    bool done_ = false; // no more requests begin in this phase
    bool ramping_ = false;
    bool flush_due_ = false;
    std::uint64_t writes_begun_ = 0;

    arch::ticks started_ = 0;
    arch::ticks ramp_end_ = 0;
    arch::ticks deadline_ = arch::no_deadline;
    arch::ticks elapsed_ = 0;

    error error_{};
    request_source source_;
    pacing pacing_;
    verification verification_;
    clock_watch clock_{}; // not checked on the plain path
    rate_sampler sampler_{};
    job_figures figures_{};
    told told_{};
};

// Prints an ended run as a JSON object.
void print_json(const job_run& of) noexcept;

} // namespace inflight::bench
