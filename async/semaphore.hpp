// semaphore: a number of permits, handed out first come, first served.
//
//     semaphore slots{8};
//     co_await slots.acquire();
//     ...
//     slots.release();
//
// A release hands its permit to whoever waits longest, before that coroutine runs: nobody who comes later can take it.
#pragma once

#include "async/executor.hpp"

#include <cstddef>

namespace inflight::async {

class semaphore {
  public:
    explicit semaphore(std::size_t permits) noexcept : permits_{permits} {}
    semaphore(const semaphore&) = delete;
    semaphore& operator=(const semaphore&) = delete;
    ~semaphore() {
        if (!waiting_.empty()) {
            arch::panic("a semaphore ends while coroutines wait for it");
        }
    }

    class [[nodiscard]] acquire_operation : operation {
      public:
        explicit acquire_operation(semaphore& from) noexcept : semaphore_{from} {}

        [[nodiscard]] bool await_ready() noexcept { return semaphore_.try_acquire(); }
        void await_suspend(std::coroutine_handle<> frame) noexcept {
            continuation = frame;
            semaphore_.waiting_.push_back(*this);
        }
        void await_resume() const noexcept {}

      private:
        semaphore& semaphore_;
    };

    // co_await acquire(): takes one permit, waiting in line for it.
    acquire_operation acquire() noexcept { return acquire_operation{*this}; }

    // Takes a permit if one is free; then nobody waits.
    [[nodiscard]] bool try_acquire() noexcept {
        if (permits_ == 0) {
            return false;
        }
        --permits_;
        return true;
    }

    // Gives a permit back, or on.
    void release() noexcept {
        if (operation* const first = waiting_.pop_front()) {
            executor::current().make_ready(*first);
        } else {
            ++permits_;
        }
    }

    [[nodiscard]] std::size_t available() const noexcept { return permits_; }

  private:
    std::size_t permits_;
    operation_list waiting_;
};

} // namespace inflight::async
