// When a hart that polls publishes what a round has submitted: at once, or after a moment.
//
// Which is quicker is up to the other side. A device that a hypervisor emulates may still hold a lock when it shows a
// completion, and a doorbell that comes then waits for it, asleep; a moment later it costs next to nothing, and more
// has completed meanwhile, to be shared by the same doorbell. A device with a thread of its own gains nothing by it. So
// both are tried in turns, a few dozen rounds each, and what has resumed more per time is kept for the next two
// thousand.
//
//     bool example() {
//         publish_timing timing;
//         arch::ticks now = 0;
//         for (int round = 0; round < 200; ++round) { // where a round takes half as long when it waits
//             now += timing.waits() ? 50 : 100;
//             timing.round_ended(1, now);
//         }
//         return timing.waits();
//     }
#pragma once

#include "inflight/arch/arch.hpp"

#include <array>
#include <cstdint>

namespace inflight::async {

class publish_timing {
  public:
    [[nodiscard]] bool waits() const noexcept { return waits_; }

    // After a round that has published something, which resumed `resumed` coroutines; `now` is any time within it, of
    // every round the same.
    void round_ended(std::uint64_t resumed, arch::ticks now) noexcept {
        resumed_ += resumed;
        if (++rounds_ == rounds_of_a_try) {
            end_try(now);
        }
    }

  private:
    static constexpr std::uint32_t rounds_of_a_try = 32;
    static constexpr std::uint32_t tries = 4;          // at once, waiting, at once, waiting; an even number
    static constexpr std::uint32_t tries_to_keep = 64; // as long as so many, what was better is kept
    static constexpr std::uint64_t margin = 16;        // waiting has to be better by more than a 16th

    void end_try(arch::ticks now) noexcept {
        if (try_ < tries) {
            done_[try_ % 2] += resumed_;
            spent_[try_ % 2] += now - since_;
        }
        ++try_;
        if (try_ < tries) {
            waits_ = try_ % 2 != 0;
        } else if (try_ == tries) {
            waits_ = done_[1] * spent_[0] > done_[0] * spent_[1] + done_[0] * spent_[1] / margin;
        } else if (try_ == tries + tries_to_keep) {
            try_ = 0;
            waits_ = false;
            done_ = {};
            spent_ = {};
        }
        rounds_ = 0;
        resumed_ = 0;
        since_ = now;
    }

    bool waits_ = false;
    std::uint32_t rounds_ = 0;                      // of this try
    std::uint32_t try_ = tries + tries_to_keep - 1; // the first try begins when the clock has been read
    std::uint64_t resumed_ = 0;                     // in this try
    arch::ticks since_ = 0;                         // when it began
    std::array<std::uint64_t, 2> done_{};           // by whether it waited
    std::array<arch::ticks, 2> spent_{};
};

} // namespace inflight::async
