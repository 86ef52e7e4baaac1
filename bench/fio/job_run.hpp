// One clone of a job at work: on its hart, with as many requests in flight as the job's iodepth, and what was found.
//
// A request in flight is a `unit`, not a task: what resumes it is a function, which takes the figures and begins the next
// request in the same unit. The coroutine does what is not for every request: it begins, waits out pauses and batches, flushes,
// verifies, and ends.
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
    // How the clone came about.
    struct origin {
        const job* of;
        std::uint32_t clone; // which of numjobs
        std::uint32_t group; // jobs that run at the same time; the next stonewall begins another
        arch::hart_index hart;
        std::uint64_t seed;
        std::uint64_t io_size;             // bytes to transfer in all places together; 0: one pass
        std::span<const job_place> places; // must outlive the run
    };

    // Figures that another hart may read while the job runs, now and then brought up to date.
    struct told {
        std::array<arch::atomic<std::uint64_t>, directions> ios{};
        std::array<arch::atomic<std::uint64_t>, directions> bytes{};
        arch::atomic<std::uint64_t> done{0}; // in thousandths
        arch::atomic<bool> has_ended{false};
    };

    // Memory for everything that it will need comes from `from`. Ends the machine with one sentence if that is too little.
    job_run(const origin& begin, kernel::memory& from) noexcept;

    job_run(const job_run&) = delete;
    job_run& operator=(const job_run&) = delete;

    // What went wrong first, with the number that fio would give; 0 and an empty text if nothing did.
    struct error {
        unsigned number = 0;
        const char* text = "";
    };

    // The whole of it, on its hart.
    async::task<void> run();

    [[nodiscard]] const job& description() const noexcept { return *origin_.of; }
    [[nodiscard]] const origin& came_from() const noexcept { return origin_; }
    [[nodiscard]] const job_place& place() const noexcept { return origin_.places.front(); }
    [[nodiscard]] const told& progress() const noexcept { return told_; }
    [[nodiscard]] bool failed() const noexcept { return error_.number != 0; }
    [[nodiscard]] bool has_ended() const noexcept { return told_.has_ended.load(std::memory_order_relaxed); }
    [[nodiscard]] std::span<std::byte> buffers() const noexcept { return buffers_; }

    // When it has ended.
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
        std::span<std::byte> data; // of it, what the request has
        access doing{};
        direction_figures* figures = nullptr; // of that direction
        visit* where = nullptr;
        block::disk* disk = nullptr; // there
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

    // What every request looks at.
    std::uint64_t plain_left_ = 0; // of those granted
    arch::ticks mark_ = 0;         // the next time at which something is due
    arch::ticks batch_round_ = 0;

    std::uint64_t granted_ = 0; // requests that may take the plain way
    static constexpr std::uint64_t max_granted = 1u << 20;
    bool is_plain_ = false; // one disk, one direction, one block size, and nothing to do between two requests
    bool slow_ = true;      // something is to be done between two requests, so the coroutine begins the next
    direction only_direction_ = direction::read;
    std::uint32_t plain_bytes_ = 0; // of each request, if all are alike
    std::uint32_t in_flight_ = 0;
    std::uint32_t trims_in_flight_ = 0;
    std::uint32_t ended_ = 0;              // in this round, units that have no other request yet
    std::uint32_t begun_ = 0;              // in this round, requests in units that were free
    std::uint64_t restarted_ = 0;          // in this round: units whose request ended, and which have the next
    std::uint64_t plain_left_counted_ = 0; // what was left of the grant when those were counted last

    unit* free_units_ = nullptr;
    std::uint32_t free_count_ = 0;
    std::uint32_t batch_ = 1; // so many free units before the coroutine is woken
    std::span<std::byte> buffers_;
    async::auto_reset_event wake_;

    bool done_ = false; // nothing more is begun in this phase
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
    clock_watch clock_{}; // looked at for all but single requests
    rate_sampler sampler_{};
    job_figures figures_{};
    told told_{};
};

// A run that has ended, as an object of JSON.
void print_json(const job_run& of) noexcept;

} // namespace inflight::bench
