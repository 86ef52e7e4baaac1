// What a job has done, and how fast: counts, latencies and rates.
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
    // The same without a bucket of its own.
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

// How many requests were put in, or came back, at once: 0, up to 4, 8, 16, 32, 64, and more, as fio groups them.
using batch_counts = std::array<std::uint64_t, 7>;

// All figures of a job. Too large for a stack.
struct job_figures {
    std::array<direction_figures, directions> of{};
    direction_figures flushes{};
    std::span<std::uint64_t> depths; // by depth, from 0 to iodepth: requests that made it so
    batch_counts submitted{};
    batch_counts completed{};
    arch::ticks since = 0; // from when on is counted

    [[nodiscard]] direction_figures& operator[](direction what) noexcept { return of[static_cast<std::size_t>(what)]; }
    [[nodiscard]] std::uint64_t ios() const noexcept; // of all directions

    // From here on it counts.
    void begin(arch::ticks now) noexcept;

    // Of what a clock that stepped has measured nothing is told. How much was done is known all the same.
    void forget_times() noexcept;

    // Counts a round, in which so many requests were submitted, and so many completed.
    void count_batch(std::uint64_t submitted_now, std::uint64_t completed_now) noexcept {
        if (completed_now != 0) {
            ++completed[batch_class(completed_now)];
        }
        if (submitted_now != 0) {
            ++submitted[batch_class(submitted_now)];
        }
    }

  private:
    // Of a batch that is not empty.
    [[nodiscard]] static std::size_t batch_class(std::uint64_t count) noexcept {
        std::size_t which = 1;
        for (std::uint64_t most = 4; count > most && which + 1 < std::tuple_size_v<batch_counts>; most *= 2) {
            ++which;
        }
        return which;
    }
};

// Takes the rates of a job every half a second.
class rate_sampler {
  public:
    void begin(arch::ticks now) noexcept;
    [[nodiscard]] arch::ticks next() const noexcept { return sampled_at_ + span(); } // the time of the next sample

    // Records the rates since the last sample.
    void sample(job_figures& figures, arch::ticks now) noexcept;
    // The same at the end of the job, unless too little time has passed for a rate.
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
