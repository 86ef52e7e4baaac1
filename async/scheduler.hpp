// Awaiters of the hart's executor itself: yield, sleep_for, sleep_until.
#pragma once

#include "async/executor.hpp"

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

// co_await sleep_until(deadline): resumes in the first round at or after that time; at once if it has passed.
class [[nodiscard]] sleep_until : timer {
  public:
    explicit sleep_until(arch::ticks when) noexcept { deadline = when; }

    [[nodiscard]] bool await_ready() const noexcept { return deadline <= executor::current().round_time(); }
    void await_suspend(std::coroutine_handle<> frame) noexcept {
        continuation = frame;
        executor::current().make_ready_at(*this);
    }
    void await_resume() const noexcept {}
};

// co_await sleep_for(span): the same, counted from now. A span beyond the end of time has no end.
[[nodiscard]] inline sleep_until sleep_for(arch::ticks span) noexcept {
    const arch::ticks now = arch::now();
    return sleep_until{span < arch::no_deadline - now ? now + span : arch::no_deadline};
}

} // namespace inflight::async
