// semaphore: a number of permits, handed out first come, first served.
//
//     task<bool> example() {
//         semaphore slots{8};
//         co_await slots.acquire();
//         const bool one_is_taken = slots.available() == 7;
//         slots.release();
//         stop_source source; // co_await slots.acquire(token) ends early when a stop is requested
//         if (co_await slots.acquire(source.get_token()) == wait_result::done) {
//             slots.release();
//         }
//         co_return one_is_taken && slots.available() == 8;
//     }
//
// A release hands its permit to the longest waiter before that coroutine runs, so a later caller cannot take it.
#pragma once

#include "inflight/async/wait_operation.hpp"

#include <cstddef>

namespace inflight::async {

class semaphore {
    struct acquirer : operation {
        static constexpr const char* awaited = "a semaphore";

        explicit acquirer(semaphore& from) noexcept : semaphore_{from} {}

        [[nodiscard]] bool ready() const noexcept { return semaphore_.permits_ != 0; }
        void take() noexcept { --semaphore_.permits_; }
        void give_back() noexcept { semaphore_.release(); }
        [[nodiscard]] operation_list& line() noexcept { return semaphore_.waiting_; }
        void result() const noexcept {}

      private:
        semaphore& semaphore_;
    };

  public:
    explicit semaphore(std::size_t permits) noexcept : permits_{permits} {}
    semaphore(const semaphore&) = delete;
    semaphore& operator=(const semaphore&) = delete;
    ~semaphore() {
        if (!waiting_.empty()) {
            arch::panic("a semaphore ends while coroutines wait for it");
        }
    }

    // co_await acquire(): takes one permit, waiting in line for it.
    wait_operation<acquirer> acquire() noexcept { return wait_operation<acquirer>{*this}; }

    // The same, or nothing: no permit is taken if it returns wait_result::stopped.
    stoppable_wait<acquirer> acquire(stop_token token) noexcept { return stoppable_wait<acquirer>{token, *this}; }

    // Takes a permit if one is free; then nobody waits.
    [[nodiscard]] bool try_acquire() noexcept {
        if (permits_ == 0) {
            return false;
        }
        --permits_;
        return true;
    }

    // Gives a permit back, or on. Panics if there are more than can be counted.
    void release() noexcept {
        if (operation* const first = waiting_.pop_front()) {
            executor::current().make_ready(*first);
        } else if (++permits_ == 0) {
            arch::panic("a semaphore was released more often than it can count");
        }
    }

    [[nodiscard]] std::size_t available() const noexcept { return permits_; }

  private:
    std::size_t permits_;
    operation_list waiting_;
};

} // namespace inflight::async
