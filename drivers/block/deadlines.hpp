// The operations of one hart that have a timeout of their own, and the alarm for the earliest of them.
#pragma once

#include "inflight/arch/arch.hpp"
#include "inflight/async/executor.hpp"
#include "inflight/drivers/block/alarm.hpp"
#include "inflight/drivers/block/operation.hpp"

namespace inflight::block {

class deadlines {
  public:
    // `rings(argument)` is called when a deadline has passed; expire() is to follow.
    deadlines(async::executor& hart, async::callback::function rings, void* argument) noexcept
        : executor_{&hart}, alarm_{rings, argument} {}
    deadlines(const deadlines&) = delete;
    deadlines& operator=(const deadlines&) = delete;

    // Sets the deadline of an operation with a timeout, unless it has one.
    static void set(operation& started) noexcept;

    // Sets the deadline of an operation with a timeout, and watches it until operation::leave_deadlines().
    void watch(operation& started) noexcept;

    // Calls expired(operation) for each whose deadline has passed, which is not watched any more; sets the alarm for
    // the rest.
    template <typename Expired>
    void expire(Expired&& expired) noexcept {
        alarm_is_set_ = false;
        const arch::ticks now = executor_->now();
        for (operation* next = first_; next != nullptr;) {
            operation& each = *next;
            next = each.timing.next;
            if (each.timing.deadline > now) {
                await(each.timing.deadline);
            } else {
                each.leave_deadlines();
                expired(each);
            }
        }
    }

  private:
    void await(arch::ticks deadline) noexcept;

    async::executor* executor_;
    alarm alarm_;
    bool alarm_is_set_ = false;
    operation* first_ = nullptr;
};

} // namespace inflight::block
