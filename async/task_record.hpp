// What is known of every task that lives: the head of each promise.
//
//     task<bool> example() {
//         struct sight { // what the record says of who awaits this
//             explicit sight() noexcept {}
//             bool await_ready() const noexcept { return false; }
//             bool await_suspend(task<bool>::handle awaiting) noexcept {
//                 task_record& record = awaiting.promise();
//                 note.begin(awaiting, "an example");
//                 noted = std::string_view{record.waits_for} == "an example" && record.frame() == awaiting.address();
//                 note.end();
//                 noted = noted && record.waits_for == nullptr;
//                 return false;
//             }
//             bool await_resume() const noexcept { return noted; }
//             wait_note note;
//             bool noted = false;
//         };
//         co_return co_await sight{};
//     }
//
// Kept for whoever looks into a kernel that is stuck or broken (task_table.hpp); nothing that runs depends on it. All
// that can be found out later is not written down here: whether a task waits is derived from the lists that hold it.
#pragma once

#include "inflight/async/operation.hpp"
#include "inflight/async/trace.hpp"

#include <coroutine>
#include <cstdint>
#include <type_traits>

namespace inflight::async {

class task_group;

// The first base of every promise, which places it right behind the two pointers of the frame's head (see
// callback.hpp): from the handle of a frame to the record and back is an addition. Which frames live, their slab knows.
struct task_record {
    task_record() noexcept = default;
    constexpr explicit task_record(std::coroutine_handle<> continuation) noexcept : link{continuation} {}
    task_record(const task_record&) = delete;
    task_record& operator=(const task_record&) = delete;

    [[nodiscard]] const void* frame() const noexcept {
        return std::coroutine_handle<task_record>::from_promise(const_cast<task_record&>(*this)).address();
    }

    // A constant; nullptr: the task is called as its function is.
    const char* name = nullptr;
    // If it is suspended: what it waits for, a constant. nullptr: for what writes nothing down, and that is a block
    // request.
    const char* waits_for = nullptr;
    // Its continuation is who awaits the task or, if a group owns it, the task itself: the link starts it then.
    operation link;
    task_group* group = nullptr;
#if INFLIGHT_TRACE
    // By the executor of its own hart; and the instructions from these to the next suspension, with what the task
    // called and what interrupted it, as exact as arch::instructions().
    std::uint64_t resumptions = 0;
    std::uint64_t instructions = 0;
#endif
};

// Part of an awaiter: notes in the record of the task that awaits what it waits for, and takes it back.
class wait_note {
  public:
    wait_note() noexcept {}

    // For await_suspend(). `what` has static storage duration. Who awaits may also be no task.
    template <typename Promise>
    void begin([[maybe_unused]] std::coroutine_handle<Promise> frame, [[maybe_unused]] const char* what) noexcept {
        if constexpr (std::is_base_of_v<task_record, Promise>) {
            noted_ = &frame.promise();
            noted_->waits_for = what;
        }
    }

    // For await_resume(), whether it was suspended or not.
    void end() noexcept {
        if (noted_ != nullptr) {
            noted_->waits_for = nullptr;
        }
    }

  private:
    task_record* noted_ = nullptr;
};

} // namespace inflight::async
