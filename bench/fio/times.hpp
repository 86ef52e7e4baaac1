// Times of a job, in ticks of a clock that may step back: when a snapshot is loaded, or the machine is migrated.
#pragma once

#include "arch/arch.hpp"
#include "bench/fio/job.hpp"
#include "src/kernel/elapsed.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace inflight::bench {

// Returns whether `time` has come; never true for arch::no_deadline. The difference is signed, because a clock that has
// stepped back below 0 continues near 2^64.
[[nodiscard]] inline bool has_come(arch::ticks time, arch::ticks now) noexcept {
    return time != arch::no_deadline && !kernel::has_stepped_back(time, now);
}

[[nodiscard]] inline arch::ticks to_ticks(std::uint64_t microseconds) noexcept {
    return microseconds * arch::ticks_per_second() / 1'000'000;
}

// Detects that the clock has stepped back. From then on neither a span of time that includes the step nor the job's end
// time is valid.
class clock_watch {
  public:
    void begin(arch::ticks now) noexcept { seen_ = now; }

    // Checks the clock, which shows `now`. Returns by how many ticks, at least, it has stepped back since the last look
    // or since `since`, whichever is later. Returns a value only the first time.
    [[nodiscard]] std::optional<arch::ticks> look(arch::ticks since, arch::ticks now) noexcept {
        since = kernel::has_stepped_back(seen_, since) ? seen_ : since; // the later one
        seen_ = now;
        if (has_stepped_ || !kernel::has_stepped_back(since, now)) {
            return std::nullopt;
        }
        has_stepped_ = true;
        return since - now;
    }

    [[nodiscard]] arch::ticks seen() const noexcept { return seen_; } // the last look
    [[nodiscard]] bool has_stepped() const noexcept { return has_stepped_; }

  private:
    arch::ticks seen_ = 0;
    bool has_stepped_ = false;
};

// When the next request of a job may begin: rate_iops= and thinktime=.
class pacing {
  public:
    explicit pacing(const job& of) noexcept
        : rates_{of.rate_iops}, thinks_{of.thinktime != 0}, think_time_{to_ticks(of.thinktime)} {}

    void begin(arch::ticks now) noexcept { since_ = thinking_until_ = now; }
    void request_begins(direction what) noexcept { ++begun_[static_cast<std::size_t>(what)]; }
    void request_ends(arch::ticks now) noexcept { thinking_until_ = now + think_time_; }

    // Returns the earliest time at which the next request of this direction may begin (rate_iops).
    [[nodiscard]] arch::ticks not_before(direction what, arch::ticks now) const noexcept {
        const auto which = static_cast<std::size_t>(what);
        return rates_[which] == 0 ? now : since_ + begun_[which] * arch::ticks_per_second() / rates_[which];
    }

    // Whether the job pauses after each request, and until when (thinktime).
    [[nodiscard]] bool thinks() const noexcept { return thinks_; }
    [[nodiscard]] arch::ticks thinking_until() const noexcept { return thinking_until_; }

    // Whether the job waits for anything between two requests.
    [[nodiscard]] bool pauses() const noexcept { return thinks_ || rates_ != decltype(rates_){}; }

  private:
    std::array<std::uint64_t, directions> rates_;   // requests a second; 0: no limit
    std::array<std::uint64_t, directions> begun_{}; // since since_
    arch::ticks since_ = 0;
    bool thinks_;
    arch::ticks think_time_;
    arch::ticks thinking_until_ = 0;
};

} // namespace inflight::bench
