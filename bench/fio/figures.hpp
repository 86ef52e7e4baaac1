// The figures of a job: counts, latencies and rates.
#pragma once

#include "arch/arch.hpp"
#include "bench/fio/job.hpp"
#include "bench/fio/times.hpp"
#include "bench/histogram.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::bench {

// Statistics of mean rates over half a second each, like fio's (bwavgtime, iopsavgtime).
struct rate_samples {
    std::uint64_t count = 0;
    std::uint64_t least = 0;
    std::uint64_t most = 0;
    std::uint64_t sum = 0;
    std::uint64_t sum_of_squares = 0; // of the samples in KiB, if they are bytes

    void record(std::uint64_t value, std::uint64_t square_of) noexcept {
        least = count == 0 || value < least ? value : least;
        most = value > most ? value : most;
        sum += value;
        sum_of_squares += square_of * square_of;
        ++count;
    }
};

// The figures of one direction. Latencies are in ticks, from submission to resumption.
struct direction_figures {
    std::uint64_t ios = 0;
    std::uint64_t bytes = 0;
    arch::ticks runtime = 0; // of the phases with requests of this direction
    arch::ticks least = arch::no_deadline;
    arch::ticks most = 0;
    arch::ticks usual_span = 0;
    arch::ticks sum = 0;
    histogram latencies{};
    rate_samples bytes_per_second{};
    rate_samples ios_per_second{};

    // Returns whether the latency changes neither `least` nor `most` and has a bucket of its own, as nearly all do.
    [[nodiscard]] bool is_usual(arch::ticks latency) const noexcept { return latency - least < usual_span; }

    // Records such a latency. The caller counts `ios` and `bytes`.
    void record_usual(arch::ticks latency) noexcept {
        sum += latency;
        latencies.record_exact(latency);
    }
    // The same for latencies that share a bucket.
    [[nodiscard]] bool is_within(arch::ticks latency) const noexcept { return latency >= least && latency <= most; }
    void record_within(arch::ticks latency) noexcept {
        sum += latency;
        latencies.record(latency);
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

// Rounds by the number of requests that were submitted or completed in them: 0, up to 4, 8, 16, 32, 64, and more, as
// fio groups them.
using batch_counts = std::array<std::uint64_t, 7>;

// All figures of a job. Too large for a stack.
struct job_figures {
    std::array<direction_figures, directions> of{};
    direction_figures flushes{};
    std::span<std::uint64_t> depths; // by depth, from 0 to iodepth: requests that began at it
    batch_counts submitted{};
    batch_counts completed{};
    arch::ticks since = 0; // when counting began

    [[nodiscard]] direction_figures& operator[](direction what) noexcept { return of[static_cast<std::size_t>(what)]; }
    [[nodiscard]] std::uint64_t ios() const noexcept; // of all directions

    // Clears all figures. Counting begins at `now`.
    void begin(arch::ticks now) noexcept;

    // Clears all times, because they are invalid after a step of the clock. The counts of requests and bytes remain.
    void forget_times() noexcept;

    // Counts a round in which this many requests were submitted and completed.
    void count_batch(std::uint64_t submitted_now, std::uint64_t completed_now) noexcept {
        if (completed_now != 0) {
            ++completed[batch_class(completed_now)];
        }
        if (submitted_now != 0) {
            ++submitted[batch_class(submitted_now)];
        }
    }

  private:
    // Returns the class of a batch that is not empty.
    [[nodiscard]] static std::size_t batch_class(std::uint64_t count) noexcept {
        std::size_t which = 1;
        for (std::uint64_t most = 4; count > most && which + 1 < std::tuple_size_v<batch_counts>; most *= 2) {
            ++which;
        }
        return which;
    }
};

// Samples the rates of a job every half second.
class rate_sampler {
  public:
    void begin(arch::ticks now) noexcept;
    [[nodiscard]] arch::ticks next() const noexcept { return sampled_at_ + span(); } // the time of the next sample

    // Records the rates since the last sample.
    void sample(job_figures& figures, arch::ticks now) noexcept;
    // Returns whether, at the end of the job, enough time has passed for a last sample.
    [[nodiscard]] bool has_last(arch::ticks now) const noexcept { return now - sampled_at_ >= span() / 2; }

  private:
    struct counts {
        std::uint64_t ios;
        std::uint64_t bytes;
    };
    [[nodiscard]] static arch::ticks span() noexcept { return arch::ticks_per_second() / 2; }

    std::array<counts, directions> sampled_{};
    arch::ticks sampled_at_ = 0;
};

} // namespace inflight::bench
