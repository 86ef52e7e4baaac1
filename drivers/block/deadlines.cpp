#include "inflight/drivers/block/deadlines.hpp"

#include "inflight/async/scheduler.hpp"

namespace inflight::block {

void deadlines::set(operation& started) noexcept {
    if (started.has(operation::has_timeout) && !started.has(operation::has_deadline)) {
        started.timing.deadline = async::deadline_after(started.timing.timeout);
        started.flags |= operation::has_deadline;
    }
}

void deadlines::watch(operation& started) noexcept {
    if (!started.has(operation::has_timeout)) {
        return;
    }
    set(started); // unless another hart has, which forwarded the operation
    operation_timing& timing = started.timing;
    started.flags |= operation::in_deadlines;
    timing.next = first_;
    timing.link = &first_;
    if (first_ != nullptr) {
        first_->timing.link = &timing.next;
    }
    first_ = &started;
    await(timing.deadline);
}

void deadlines::await(arch::ticks deadline) noexcept {
    if (alarm_is_set_ && (deadline >= alarm_.deadline || !executor_->cancel(alarm_))) {
        return; // the alarm comes before that, or has come and is ready
    }
    alarm_is_set_ = true;
    alarm_.deadline = deadline;
    executor_->make_ready_at(alarm_);
}

} // namespace inflight::block
