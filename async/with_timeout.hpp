// with_timeout: something that is asked to stop when its time is over. Needs no frames.
//
//     task<bool> example() {
//         event never;
//         const std::optional<wait_result> late = co_await with_timeout(never.wait(stop_token{}), 20);
//         semaphore slots{1};
//         const auto in_time = co_await with_timeout(slots.acquire(stop_token{}), 20);
//         co_return !late.has_value() && in_time == wait_result::done;
//     }
//
// Its end is awaited in any case. So the time bounds what can be stopped: a wait in line, not what a device has been
// given.
//
// The answer is a std::optional: the result of what ended before the deadline, whatever that is; std::nullopt of what
// ended later. What ends without suspending is in time. A permit, a lock or a set() that comes too late is given back.
// Any other late result is in `late` of the answer, for who has to know whether a write has reached the disk, or what a
// task has taken.
//
// It gets a token from here in place of its own. A stop that is requested by the token it had, or by that of the
// awaiting task, is passed on, and then its result is the answer.
//
// It is awaited once: a second time it panics.
#pragma once

#include "inflight/async/callback.hpp"
#include "inflight/async/executor.hpp"
#include "inflight/async/scheduler.hpp"
#include "inflight/async/stoppable_branch.hpp"

#include <optional>
#include <utility>

namespace inflight::async {

// What with_timeout returns: the result of what ended in time. If there is none, `late` has the result that came after
// the deadline.
template <typename T>
class [[nodiscard]] timed_result : public std::optional<T> {
  public:
    timed_result(T&& result, bool in_time) noexcept {
        if (in_time) {
            this->emplace(std::move(result));
        } else {
            late.emplace(std::move(result));
        }
    }

    std::optional<T> late;
};

template <typename Awaitable>
class [[nodiscard]] with_timeout : public stop_relay {
    static_assert(stoppable<Awaitable>,
                  "with_timeout takes what has set_stop_token(): a task, or a wait that was made with a "
                  "token, as in slots.acquire(stop_token{})");

  public:
    using value = value_or_monostate<await_result_t<Awaitable>>;

    // `span`, in ticks, counts from when it is awaited.
    with_timeout(Awaitable&& awaitable, arch::ticks span) noexcept : branch_{awaitable}, span_{span} {}

    with_timeout(const with_timeout&) = delete;
    with_timeout& operator=(const with_timeout&) = delete;

    [[nodiscard]] bool await_ready() const noexcept { return false; }

    template <typename Promise>
    [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        join_.begin("a with_timeout was awaited twice: make another one");
        begin(frame);
        if (branch_.start(*this, ended_.handle())) {
            return false;
        }
        timer_.continuation = expired_.handle();
        timer_.deadline = deadline_after(span_);
        executor::current().make_ready_at(timer_);
        return join_.suspend(frame);
    }

    timed_result<value> await_resume() noexcept {
        end();
        if constexpr (returnable<Awaitable>) {
            if (late_) {
                branch_.give_back();
            }
        }
        return timed_result<value>{branch_.result(), !late_};
    }

    void give_back() noexcept requires returnable<Awaitable> { branch_.give_back(); }

  private:
    static void ended(void* self) noexcept {
        with_timeout& waiting = *static_cast<with_timeout*>(self);
        if (executor::current().cancel(waiting.timer_)) {
            waiting.late_ =
                waiting.timer_.deadline <= executor::current().now(); // it may have come in the midst of the round
            waiting.join_.ended();
        } else { // the timer is ready and has its turn yet, or has had it
            waiting.late_ = true;
        }
        waiting.join_.ended();
    }

    static void expired(void* self) noexcept {
        with_timeout& waiting = *static_cast<with_timeout*>(self);
        waiting.source().request_stop();
        waiting.join_.ended();
    }

    stoppable_branch<Awaitable> branch_;
    arch::ticks span_;
    timer timer_;
    bool late_ = false;
    callback ended_{ended, this};
    callback expired_{expired, this};
    join_point join_{2}; // what is awaited, and the timer
};

template <typename Awaitable>
with_timeout(Awaitable&&, arch::ticks) -> with_timeout<Awaitable>;

} // namespace inflight::async
