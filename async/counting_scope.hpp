// counting_scope: owns tasks that run beside their spawner, and can be waited for.
//
//     counting_scope readers;
//     for (int i = 0; i < 32; ++i) {
//         if (!readers.spawn(read_some(disk))) { ... no memory for another frame ... }
//     }
//     co_await readers.join();
//
// There is no other way to leave a task running: whoever spawns must join. The destructor checks that, and panics.
#pragma once

#include "async/task.hpp"

#include <cstddef>

namespace inflight::async {

class counting_scope final : task_group {
  public:
    counting_scope() noexcept = default;
    counting_scope(const counting_scope&) = delete;
    counting_scope& operator=(const counting_scope&) = delete;
    ~counting_scope() {
        if (count_ != 0) {
            arch::panic("a scope ends while its tasks run: await its join() first");
        }
    }

    // Takes the task and starts it in the executor's next round. False, and nothing happens, if the task has no frame.
    [[nodiscard]] bool spawn(task<void>&& work) noexcept {
        if (!work.has_frame()) {
            return false;
        }
        const task<void>::handle frame = work.release();
        frame.promise().group = this;
        frame.promise().start.continuation = frame;
        executor::current().make_ready(frame.promise().start);
        ++count_;
        return true;
    }

    // How many of its tasks have not ended.
    [[nodiscard]] std::size_t size() const noexcept { return count_; }

    class [[nodiscard]] join_operation : operation {
      public:
        explicit join_operation(counting_scope& scope) noexcept : scope_{scope} {}

        [[nodiscard]] bool await_ready() const noexcept { return scope_.count_ == 0; }
        void await_suspend(std::coroutine_handle<> frame) noexcept {
            continuation = frame;
            scope_.joining_.push_back(*this);
        }
        void await_resume() const noexcept {}

      private:
        counting_scope& scope_;
    };

    // co_await join(): waits until no task is left.
    join_operation join() noexcept { return join_operation{*this}; }

  private:
    // The count goes down last: whoever waits for it may free what the frame was made of.
    std::coroutine_handle<> ended(std::coroutine_handle<> frame) noexcept override {
        frame.destroy();
        if (--count_ == 0) {
            while (operation* const joiner = joining_.pop_front()) {
                executor::current().make_ready(*joiner);
            }
        }
        return std::noop_coroutine();
    }

    std::size_t count_ = 0;
    operation_list joining_;
};

} // namespace inflight::async
