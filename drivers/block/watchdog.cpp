#include "inflight/drivers/block/watchdog.hpp"

#include "inflight/async/scheduler.hpp"

namespace inflight::block {

void watchdog::begin_watch() noexcept {
    if (time_limit_ == 0) {
        return;
    }
    without_progress_ = 0;
    progress_seen_ = progress_->load(std::memory_order_relaxed);
    completed_then_ = subject_->completed();
    subject_->look_for_lost_notifications();
    begin_period();
}

void watchdog::begin_period() noexcept {
    watching_ = true;
    alarm_.deadline = async::deadline_after(time_limit_ / (periods_until_late - 1) + 1); // rounded up
    executor_->make_ready_at(alarm_);
}

void watchdog::period_ends() noexcept {
    subject_->look_for_lost_interrupts();
    watching_ = false;
    if (!subject_->is_busy()) {
        return;
    }
    subject_->look_for_lost_notifications();
    begin_period();
    const bool starves = subject_->grow_older(periods_until_late);
    const bool late = device_is_late();
    if (late || starves) {
        subject_->is_late(late);
    }
}

bool watchdog::device_is_late() noexcept {
    const std::uint64_t completed_now = subject_->completed();
    if (completed_now != completed_then_) {
        completed_then_ = completed_now;
        progress_->fetch_add(1, std::memory_order_relaxed);
    }
    const std::uint32_t progress_now = progress_->load(std::memory_order_relaxed);
    if (progress_now != progress_seen_) {
        progress_seen_ = progress_now;
        without_progress_ = 0;
    }
    return ++without_progress_ >= periods_until_late;
}

} // namespace inflight::block
