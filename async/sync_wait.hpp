// sync_wait: runs the hart's executor until a task has ended, and answers its result. For boot and for tests: it is the
// one place where something waits without being a coroutine.
#pragma once

#include "async/task.hpp"

namespace inflight::async {

template <typename T>
T sync_wait(task<T> work) noexcept {
    struct flag final : task_group {
        bool done = false;
        std::coroutine_handle<> ended(std::coroutine_handle<>) noexcept override {
            done = true;
            return std::noop_coroutine();
        }
    };

    if (!work.has_frame()) {
        arch::panic("sync_wait was given a task without a frame: the memory for coroutines is used up");
    }
    executor& hart = executor::current();
    flag finished;
    const auto frame = work.start();
    frame.promise().group = &finished;
    frame.promise().start.continuation = frame;
    hart.make_ready(frame.promise().start);
    hart.run_until(finished.done);
    return work.take_result();
}

} // namespace inflight::async
