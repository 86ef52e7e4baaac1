// counting_scope: owns tasks that run beside their spawner, and can be waited for.
//
//     task<void> nap(int& woken) {
//         static_cast<void>(co_await sleep_for(arch::no_deadline, co_await get_stop_token()));
//         ++woken;
//     }
//
//     task<bool> example() {
//         int woken = 0;
//         counting_scope naps;
//         bool spawned = naps.spawn(nap(woken)) && naps.spawn(nap(woken)); // false: no memory for another frame
//         naps.request_stop(); // its tasks have its token
//         co_await naps.join();
//         co_return spawned && woken == 2;
//     }
//
// There is no other way to leave a task running. A scope that has spawned must be joined: the destructor panics if it
// was not.
//
// Joining ends when no task is left. Between that and the joiner's turn others may fill the scope again, unless it has
// been closed: to end a scope that others know, close() it, then join().
#pragma once

#include "inflight/async/stop_token.hpp"
#include "inflight/async/task.hpp"
#include "inflight/async/wait_operation.hpp"

#include <cstddef>

namespace inflight::async {

class counting_scope final : task_group {
    struct joiner : operation {
        static constexpr const char* awaited = "its tasks";

        explicit joiner(counting_scope& scope) noexcept : scope_{scope} {}

        [[nodiscard]] bool ready() const noexcept { return scope_.count_ == 0; }
        void take() const noexcept {}
        [[nodiscard]] operation_list& line() noexcept { return scope_.joining_; }
        void result() const noexcept {}

      private:
        counting_scope& scope_;
    };

  public:
    counting_scope() noexcept = default;
    counting_scope(const counting_scope&) = delete;
    counting_scope& operator=(const counting_scope&) = delete;
    ~counting_scope() {
        if (count_ != 0) {
            arch::panic("a scope ends while its tasks run: await its join() first");
        }
    }

    // Takes the task and starts it in the executor's next round, with the scope's stop token if it has none of its own.
    // False, and nothing happens, if there was no memory for the task's frame or the scope is closed. Panics if the
    // task has begun before, or has been moved from.
    [[nodiscard]] bool spawn(task<void>&& work) noexcept {
        if (work.is_refused() || closed_) {
            return false;
        }
        task_promise<void>& promise = work.start().promise();
        static_cast<void>(work.release()); // to itself: ended() destroys it
        promise.inherit_stop_token(stop_.get_token());
        promise.group = this;
        executor::current().make_ready(promise.link);
        ++count_;
        return true;
    }

    // How many of its tasks have not ended.
    [[nodiscard]] std::size_t size() const noexcept { return count_; }

    // From now on spawn() refuses. What runs goes on.
    void close() noexcept { closed_ = true; }

    // Asks its tasks to stop, also those that will be spawned. False if that has been asked before.
    bool request_stop() noexcept { return stop_.request_stop(); }

    [[nodiscard]] stop_token get_token() noexcept { return stop_.get_token(); }

    // co_await join(): waits until no task is left.
    wait_operation<joiner> join() noexcept { return wait_operation<joiner>{*this}; }

    // The same, or until a stop is requested: of the wait, not of the tasks.
    stoppable_wait<joiner> join(stop_token token) noexcept { return stoppable_wait<joiner>{token, *this}; }

  private:
    // The count goes down last, because a coroutine that waits for it may free the frame's memory.
    std::coroutine_handle<> ended(std::coroutine_handle<> frame) noexcept override {
        // Here, where every task ends that is not awaited by another: a task that has gone to another hart and not come
        // home takes along who awaits it, up to one that a scope has.
        if (!executor::current().frames().holds(frame.address())) [[unlikely]] {
            arch::panic("a task ended on another hart than it began on: co_await schedule_on{home} first");
        }
        frame.destroy();
        if (--count_ == 0) {
            while (operation* const first = joining_.pop_front()) {
                executor::current().make_ready(*first);
            }
        }
        return std::noop_coroutine();
    }

    std::size_t count_ = 0;
    bool closed_ = false;
    stop_source stop_;
    operation_list joining_;
};

} // namespace inflight::async
