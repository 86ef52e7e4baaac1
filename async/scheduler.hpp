// Awaiters of the hart's executor itself: yield, sleep_for, sleep_until.
//
//     task<bool> example() {
//         const arch::ticks start = executor::current().round_time();
//         co_await yield{}; // everything else that is ready runs first
//         co_await sleep_until(start + 100);
//         stop_source source;
//         source.request_stop();
//         const wait_result outcome = co_await sleep_for(arch::no_deadline, source.get_token());
//         co_return outcome == wait_result::stopped && executor::current().round_time() >= start + 100;
//     }
#pragma once

#include "inflight/async/executor.hpp"
#include "inflight/async/wait_operation.hpp"

namespace inflight::async {

// co_await yield(): everything else that is ready runs first.
class [[nodiscard]] yield : operation {
  public:
    yield() noexcept {}

    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> frame) noexcept {
        continuation = frame;
        executor::current().make_ready(*this);
    }
    void await_resume() const noexcept {}
};

// Waits for a deadline, in the hart's heap of timers.
struct sleeper : timer {
    static constexpr const char* awaited = "a time";

    explicit sleeper(arch::ticks when) noexcept { deadline = when; }

    struct timers {
        void push_back(timer& last) const noexcept { executor::current().make_ready_at(last); }
        bool remove(timer& which) const noexcept { return executor::current().cancel(which); }
    };

    [[nodiscard]] bool ready() const noexcept { return deadline <= executor::current().round_time(); }
    void take() const noexcept {}
    [[nodiscard]] timers line() const noexcept { return {}; }
    void result() const noexcept {}
};

// co_await sleep_until(deadline): resumes in the first round at or after that time of executor::now(); at once if it
// has passed.
[[nodiscard]] inline wait_operation<sleeper> sleep_until(arch::ticks deadline) noexcept {
    return wait_operation<sleeper>{deadline};
}

// The same, or until a stop is requested.
[[nodiscard]] inline stoppable_wait<sleeper> sleep_until(arch::ticks deadline, stop_token token) noexcept {
    return stoppable_wait<sleeper>{token, deadline};
}

// The deadline that is `span` from executor::now(). A span beyond the end of time has no end.
[[nodiscard]] inline arch::ticks deadline_after(arch::ticks span) noexcept {
    const arch::ticks now = executor::current().now();
    return span < arch::no_deadline - now ? now + span : arch::no_deadline;
}

// co_await sleep_for(span): as sleep_until, counted from now.
[[nodiscard]] inline wait_operation<sleeper> sleep_for(arch::ticks span) noexcept {
    return sleep_until(deadline_after(span));
}

// The same, or until a stop is requested.
[[nodiscard]] inline stoppable_wait<sleeper> sleep_for(arch::ticks span, stop_token token) noexcept {
    return sleep_until(deadline_after(span), token);
}

} // namespace inflight::async
