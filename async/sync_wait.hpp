// sync_wait: runs the hart's executor until a task has ended, and answers its result. For boot and for tests: it is the
// one place where something waits without being a coroutine.
//
//     task<int> answer() {
//         co_await yield{};
//         co_return 42;
//     }
//
//     bool example() {
//         return sync_wait(answer()) == 42;
//     }
#pragma once

#include "async/branch.hpp"
#include "async/callback.hpp"
#include "async/task.hpp"

namespace inflight::async {

template <typename T>
T sync_wait(task<T> work) noexcept {
    if (!work.has_frame()) {
        return out_of_memory<T>("sync_wait was given a task without a frame: the memory for coroutines is used up");
    }
    executor& hart = executor::current();
    bool done = false;
    callback ended{[](void* flag) noexcept { *static_cast<bool*>(flag) = true; }, &done};
    branch<task<T>> one{work};
    static_cast<void>(one.start(ended.handle()));
    hart.run_until(done);
    return work.take_result();
}

} // namespace inflight::async
