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
#include "bench/access.hpp"
#include "bench/histogram.hpp"
#include "bench/job.hpp"
#include "drivers/block/disk.hpp"
#include "src/memory.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::bench {

// Means over half a second each, as fio takes them (bwavgtime, iopsavgtime).
struct rate_samples {
    std::uint64_t count = 0;
    std::uint64_t least = 0;
    std::uint64_t most = 0;
    std::uint64_t sum = 0;
    std::uint64_t sum_of_squares = 0; // of KiB, where the samples are bytes

    void record(std::uint64_t value, std::uint64_t square_of) noexcept {
        least = count == 0 || value < least ? value : least;
        most = value > most ? value : most;
        sum += value;
        sum_of_squares += square_of * square_of;
        ++count;
    }
};

// What one direction of a job has done. Latencies in ticks, from the submission to the resumption.
struct direction_figures {
    std::uint64_t ios = 0;
    std::uint64_t bytes = 0;
    arch::ticks runtime = 0; // of the phases in which it did something
    arch::ticks least = arch::no_deadline;
    arch::ticks most = 0;
    arch::ticks usual_span = 0;
    arch::ticks sum = 0;
    histogram latencies{};
    rate_samples bytes_per_second{};
    rate_samples ios_per_second{};

    // True for a latency that changes neither `least` nor `most`, and has a bucket of its own: nearly all are so.
    [[nodiscard]] bool is_usual(arch::ticks latency) const noexcept { return latency - least < usual_span; }

    // Of such a one; `ios` and `bytes` are the caller's.
    void record_usual(arch::ticks latency) noexcept {
        sum += latency;
        latencies.record_exact(latency);
    }
    void record(arch::ticks latency, std::uint32_t length) noexcept {
        ++ios;
        bytes += length;
        sum += latency;
        least = latency < least ? latency : least;
        most = latency > most ? latency : most;
        usual_span =
            std::min<arch::ticks>(most + 1, histogram::exact_values) - std::min(least, histogram::exact_values);
        latencies.record(latency);
    }
};

// How many requests were put in, or came back, at once: 0, up to 4, 8, 16, 32, 64, and more, as fio groups them.
using batch_counts = std::array<std::uint64_t, 7>;

// A disk of a job, and the part of it that is the job's.
struct job_place {
    block::disk* disk;
    const char* name;
    access_range range;
    std::uint64_t io_size; // bytes to transfer; one_pass: what the range has
};
inline constexpr std::uint64_t one_pass = ~std::uint64_t{0} >> 1;
inline constexpr std::uint64_t no_end = one_pass - 1; // as long as the job runs

class job_run {
  public:
    // How the clone came about.
    struct origin {
        const job* of;
        std::uint32_t clone; // which of numjobs
        std::uint32_t group; // jobs that run at the same time; the next stonewall begins another
        arch::hart_index hart;
        std::uint64_t seed;
        std::span<const job_place> places; // must outlive the run
    };

    // Figures that another hart may read while the job runs, now and then brought up to date.
    struct told {
        std::array<arch::atomic<std::uint64_t>, directions> ios{};
        std::array<arch::atomic<std::uint64_t>, directions> bytes{};
        arch::atomic<std::uint64_t> done{0}; // in thousandths
    };

    // Memory for everything that it will need comes from `from`. Ends the machine with one sentence if that is too little.
    job_run(const origin& begin, kernel::memory& from) noexcept;

    job_run(const job_run&) = delete;
    job_run& operator=(const job_run&) = delete;

    // The whole of it, on its hart.
    async::task<void> run();

    [[nodiscard]] const job& description() const noexcept { return *origin_.of; }
    [[nodiscard]] const origin& came_from() const noexcept { return origin_; }
    [[nodiscard]] const job_place& place() const noexcept { return origin_.places.front(); }
    [[nodiscard]] const told& progress() const noexcept { return told_; }
    [[nodiscard]] bool failed() const noexcept { return failed_; }
    [[nodiscard]] bool has_ended() const noexcept { return has_ended_.load(std::memory_order_relaxed); }
    [[nodiscard]] std::span<std::byte> buffers() const noexcept { return buffers_; }

    // When it has ended: requests of all directions; and all of it as an object of JSON.
    [[nodiscard]] std::uint64_t ios() const noexcept;
    [[nodiscard]] arch::ticks elapsed() const noexcept { return elapsed_; }
    void print_json() const noexcept;

  private:
    struct visit;

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

    // A place, and how far the job has come in it.
    struct visit {
        const job_place* place;
        access_sequence sequence;
        std::int64_t bytes_left = 0; // to begin, of all passes
        std::uint64_t pass = 0;
        std::uint64_t pass_ios = 0; // of this one
        std::uint64_t verified = 0; // of these
    };

    enum class phase : std::uint8_t { transfer, verify };

    static void ended(void* self) noexcept;
    inline void complete(unit& ended, arch::ticks now) noexcept;
    void complete_rarely(unit& ended, arch::ticks now) noexcept;
    void grant() noexcept;
    void settle() noexcept;
    void free(unit& unused) noexcept;
    [[nodiscard]] bool begin_next(unit& free, arch::ticks now) noexcept;
    static inline void start(unit& free, arch::ticks now) noexcept;
    static void start_trim(unit& free) noexcept;
    [[nodiscard]] bool next_access(access& next, visit*& where) noexcept;
    [[nodiscard]] bool next_access_of(visit& where, access& next) noexcept;
    [[nodiscard]] bool next_to_verify(visit& where, access& next) noexcept;
    void prepare_write(unit& free) noexcept;
    void begin_pass(visit& where) noexcept;
    [[nodiscard]] arch::ticks fill() noexcept;
    [[nodiscard]] arch::ticks fill_units() noexcept;
    [[nodiscard]] arch::ticks not_before(direction what, arch::ticks now) const noexcept;
    void mark(arch::ticks now) noexcept;
    void sample(arch::ticks now) noexcept;
    void tell_how_far(arch::ticks now) noexcept;
    [[nodiscard]] static arch::ticks sample_span() noexcept;
    void begin_figures(arch::ticks now) noexcept;
    inline void end_batch() noexcept;
    template <typename Visitor>
    void for_each_block(const unit& of, Visitor&& look) const noexcept;
    void write_headers(const unit& into) noexcept;
    void check(const unit& read) noexcept;
    void fail(const unit& at, block::status outcome) noexcept;
    void fail(const visit& where, const char* what, std::uint64_t offset, block::status outcome) noexcept;
    void stop() noexcept;
    [[nodiscard]] std::uint64_t verify_seed(const visit& where, std::uint64_t offset) const noexcept;

    async::task<void> transfer();
    async::task<void> flush();

    static constexpr std::uint64_t no_limit = ~std::uint64_t{0} >> 1;

    origin origin_;
    async::executor* hart_ = nullptr;

    // What every request looks at.
    std::uint64_t plain_left_ = 0; // of those granted
    arch::ticks mark_ = 0;         // the next time at which something is due
    arch::ticks batch_round_ = 0;

    std::uint64_t granted_ = 0;  // requests that may take the plain way
    std::uint64_t ios_left_ = 0; // to begin; 0: stopped
    static constexpr std::uint64_t most_granted = 1u << 20;
    bool is_plain_ = false; // one disk, one direction, one block size, and nothing to do between two requests
    bool slow_ = true;      // something is to be done between two requests, so the coroutine begins the next
    direction only_direction_ = direction::read;
    visit* current_ = nullptr; // whose turn it is
    std::uint32_t in_flight_ = 0;
    std::uint32_t ended_ = 0;              // in this round, units that have no other request yet
    std::uint32_t begun_ = 0;              // in this round, requests in units that were free
    std::uint64_t restarted_ = 0;          // in this round: units whose request ended, and which have the next
    std::uint64_t plain_left_counted_ = 0; // what was left of the grant when those were counted last
    std::span<std::uint64_t> depths_;      // by depth: requests that made it so

    unit* free_units_ = nullptr;
    std::uint32_t free_count_ = 0;
    std::uint32_t batch_ = 1; // so many free units before the coroutine is woken
    std::span<visit> visits_;
    std::span<std::byte> buffers_;
    std::uint32_t unit_bytes_ = 0;
    async::auto_reset_event wake_;

    phase phase_ = phase::transfer;
    bool done_ = false; // nothing more is begun in this phase
    bool failed_ = false;
    bool checks_reads_ = false;
    bool writes_headers_ = false;
    std::uint32_t verify_interval_ = 0; // bytes to one header
    bool passes_differ_ = false;        // of what is written: each pass leaves no block of the one before
    bool ramping_ = false;
    bool flush_due_ = false;
    bool holds_ = false; // held_ is the next request, which has to wait
    access held_{};
    visit* held_at_ = nullptr;
    std::array<std::uint64_t, directions> paced_ios_{}; // begun, since pacing_since_
    arch::ticks pacing_since_ = 0;
    arch::ticks think_time_ = 0;
    arch::ticks thinking_until_ = 0;
    std::uint32_t writes_since_flush_ = 0;
    std::uint16_t written_ = 0; // numbers what is written, in the headers

    struct sampled {
        std::uint64_t ios;
        std::uint64_t bytes;
    };
    std::array<sampled, directions> sampled_{};
    arch::ticks sampled_at_ = 0;
    arch::ticks started_ = 0;
    arch::ticks ramp_end_ = 0;
    arch::ticks measured_since_ = 0;
    arch::ticks deadline_ = arch::no_deadline;
    arch::ticks elapsed_ = 0;
    const char* error_ = "";
    unsigned error_number_ = 0;
    batch_counts batches_submitted_{};
    batch_counts batches_completed_{};
    std::array<direction_figures, directions> figures_{};
    direction_figures flushes_{};
    told told_{};
    arch::atomic<bool> has_ended_{false};
};

} // namespace inflight::bench
