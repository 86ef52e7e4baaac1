// time_limit: a bound on a loop that waits, by a clock that may step.
#pragma once

#include "inflight/arch/arch.hpp"

#include <algorithm>
#include <cstdint>

namespace inflight::arch {

class time_limit {
  public:
    // The limit ends `span` ticks from now.
    explicit time_limit(ticks span) noexcept : left_{span}, max_at_once_{span / 8 + 1}, seen_{now()} {}

    // Called in each iteration. Counts the time since the last call: nothing if the clock has stepped back, and at most
    // an eighth of the limit, in case it has stepped forward.
    [[nodiscard]] bool is_over() noexcept {
        const ticks time = now();
        const auto passed = static_cast<std::int64_t>(time - seen_);
        seen_ = time;
        if (passed > 0) {
            left_ -= std::min({static_cast<ticks>(passed), max_at_once_, left_});
        }
        return left_ == 0;
    }

  private:
    ticks left_;
    ticks max_at_once_;
    ticks seen_;
};

} // namespace inflight::arch
