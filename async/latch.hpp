// latch: counts down to zero, once. Then all waiters are resumed, and later waits do not suspend.
//
//     task<void> prepare(latch& ready) {
//         co_await yield{};
//         ready.count_down();
//     }
//
//     task<bool> example() {
//         latch ready{3};
//         static_cast<void>(co_await when_all(prepare(ready), prepare(ready), ready.arrive_and_wait()));
//         co_return ready.try_wait();
//     }
#pragma once

#include "inflight/async/wait_operation.hpp"

#include <cstddef>

namespace inflight::async {

class latch {
    struct waiter : operation {
        static constexpr const char* awaited = "a latch";

        explicit waiter(latch& of) noexcept : latch_{of} {}

        [[nodiscard]] bool ready() const noexcept { return latch_.try_wait(); }
        void take() const noexcept {}
        [[nodiscard]] operation_list& line() noexcept { return latch_.waiting_; }
        void result() const noexcept {}

      private:
        latch& latch_;
    };

  public:
    explicit latch(std::size_t count) noexcept : count_{count} {}
    latch(const latch&) = delete;
    latch& operator=(const latch&) = delete;
    ~latch() {
        if (!waiting_.empty()) {
            arch::panic("a latch ends while coroutines wait for it");
        }
    }

    // Panics if the count is less than `by`.
    void count_down(std::size_t by = 1) noexcept {
        if (by > count_) {
            arch::panic("a latch was counted down below zero");
        }
        count_ -= by;
        if (count_ == 0) {
            while (operation* const first = waiting_.pop_front()) {
                executor::current().make_ready(*first);
            }
        }
    }

    // True if the count is zero.
    [[nodiscard]] bool try_wait() const noexcept { return count_ == 0; }

    // co_await wait(): continues once the count is zero.
    wait_operation<waiter> wait() noexcept { return wait_operation<waiter>{*this}; }

    // The same, or until a stop is requested.
    stoppable_wait<waiter> wait(stop_token token) noexcept { return stoppable_wait<waiter>{token, *this}; }

    // co_await arrive_and_wait(): counts down by one, at the call, then waits.
    wait_operation<waiter> arrive_and_wait() noexcept {
        count_down();
        return wait();
    }

  private:
    std::size_t count_;
    operation_list waiting_;
};

} // namespace inflight::async
