// with_timeout: something that is asked to stop when its time is over. Needs no frames.
//
//     task<bool> example() {
//         event never;
//         const std::optional<wait_result> late = co_await with_timeout(never.wait(stop_token{}), 20);
//         semaphore slots{1};
//         const std::optional<wait_result> in_time = co_await with_timeout(slots.acquire(stop_token{}), 20);
//         co_return !late.has_value() && in_time == wait_result::done;
//     }
//
// Its end is awaited in any case. So the time bounds what can be stopped: a wait in line, not what a device has been given. The
// answer is its result, however late it is; std::nullopt only if the deadline has come and the result tells, by an overload of
// was_stopped(), that it came to nothing by that. (An optional without a value tells so, too.)
//
// It gets a token from here in place of its own. A stop that is requested by the token it had, or by that of the awaiting task,
// is passed on, and then its result is the answer.
#pragma once

#include "async/callback.hpp"
#include "async/executor.hpp"
#include "async/scheduler.hpp"
#include "async/stoppable_branch.hpp"

#include <optional>

namespace inflight::async {

template <typename T>
[[nodiscard]] constexpr bool was_stopped(const std::optional<T>& result) noexcept {
    return !result.has_value();
}

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
        begin(frame);
        if (branch_.start(*this, ended_.handle())) {
            return false;
        }
        timer_.continuation = expired_.handle();
        timer_.deadline = deadline_after(span_);
        executor::current().make_ready_at(timer_);
        return join_.suspend(frame);
    }

    std::optional<value> await_resume() noexcept {
        end();
        value result = branch_.result();
        if constexpr (requires { was_stopped(result); }) {
            if (late_ && was_stopped(result)) {
                return std::nullopt;
            }
        }
        return result;
    }

  private:
    static void ended(void* self) noexcept {
        with_timeout& waiting = *static_cast<with_timeout*>(self);
        if (executor::current().cancel(waiting.timer_)) {
            waiting.join_.ended();
        } // else the timer is ready and has its turn yet, or has had it
        waiting.join_.ended();
    }

    static void expired(void* self) noexcept {
        with_timeout& waiting = *static_cast<with_timeout*>(self);
        waiting.late_ = true;
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
