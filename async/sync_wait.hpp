// sync_wait: runs the hart's executor until a task has ended, and returns its result. For boot and for tests: it is the
// one place where something waits without being a coroutine. In a coroutine it panics: the executor runs already.
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

#include "inflight/async/branch.hpp"
#include "inflight/async/callback.hpp"
#include "inflight/async/task.hpp"

namespace inflight::async {

template <typename T>
T sync_wait(task<T> work) noexcept {
    if (!work.has_frame()) {
        if (!work.is_refused()) {
            arch::panic(
                "sync_wait was given a task without a frame: it has been moved from, or was made without a coroutine");
        }
        if constexpr (tells_of_no_memory<T>) {
            return out_of_memory_value(std::type_identity<T>{});
        } else {
            panic_no_memory("sync_wait was given a task without a frame");
        }
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
