// mutex: one at a time, first come, first served, also across awaits.
//
//     task<bool> example() {
//         mutex one_at_a_time;
//         {
//             const mutex::guard held = co_await one_at_a_time.scoped_lock();
//             if (one_at_a_time.try_lock()) {
//                 co_return false;
//             }
//         } // unlocks
//         co_await one_at_a_time.lock();
//         one_at_a_time.unlock();
//         co_return !one_at_a_time.is_locked();
//     }
//
// An unlock hands the mutex to the longest waiter before that coroutine runs: it is never free in between. Coroutines
// of one hart need no mutex for what they do between two awaits.
#pragma once

#include "inflight/async/wait_operation.hpp"

#include <utility>

namespace inflight::async {

class mutex {
    struct locker : operation {
        static constexpr const char* awaited = "a mutex";

        explicit locker(mutex& of) noexcept : mutex_{of} {}

        [[nodiscard]] bool ready() const noexcept { return !mutex_.locked_; }
        void take() noexcept { mutex_.locked_ = true; }
        void give_back() noexcept { mutex_.unlock(); }
        [[nodiscard]] operation_list& line() noexcept { return mutex_.waiting_; }
        void result() const noexcept {}

      protected:
        mutex& mutex_;
    };

  public:
    mutex() noexcept = default;
    mutex(const mutex&) = delete;
    mutex& operator=(const mutex&) = delete;
    ~mutex() {
        if (locked_) {
            arch::panic("a mutex ends while it is locked");
        }
    }

    // Unlocks when it ends.
    class [[nodiscard]] guard {
      public:
        // Takes over a mutex that its maker has locked.
        explicit guard(mutex& locked) noexcept : mutex_{&locked} {}
        guard(guard&& other) noexcept : mutex_{std::exchange(other.mutex_, nullptr)} {}
        guard& operator=(guard&& other) noexcept {
            std::swap(mutex_, other.mutex_);
            return *this;
        }
        ~guard() {
            if (mutex_ != nullptr) {
                mutex_->unlock();
            }
        }

      private:
        mutex* mutex_;
    };

    // co_await lock(): waits in line for the mutex. Its holder calls unlock().
    wait_operation<locker> lock() noexcept { return wait_operation<locker>{*this}; }

    // The same, or nothing: it is not locked if it returns wait_result::stopped.
    stoppable_wait<locker> lock(stop_token token) noexcept { return stoppable_wait<locker>{token, *this}; }

  private:
    struct scoped_locker : locker {
        using locker::locker;
        [[nodiscard]] guard result() noexcept { return guard{this->mutex_}; }
    };

  public:
    // co_await scoped_lock(): the same as lock(), and returns a guard that unlocks.
    wait_operation<scoped_locker> scoped_lock() noexcept { return wait_operation<scoped_locker>{*this}; }

    // Locks it if it is free; then nobody waits.
    [[nodiscard]] bool try_lock() noexcept { return !std::exchange(locked_, true); }

    // Frees it, or hands it on.
    void unlock() noexcept {
        if (operation* const first = waiting_.pop_front()) {
            executor::current().make_ready(*first);
        } else if (!std::exchange(locked_, false)) {
            arch::panic("a mutex was unlocked that is not locked");
        }
    }

    [[nodiscard]] bool is_locked() const noexcept { return locked_; }

  private:
    bool locked_ = false;
    operation_list waiting_;
};

} // namespace inflight::async
