// task<T>: a coroutine that starts when it is awaited, and has one owner.
//
//     task<block::status> copy(block::disk& disk, std::uint64_t from, std::uint64_t to, std::span<std::byte> buffer) {
//         block::status outcome = co_await disk.read(from, buffer);
//         if (outcome == block::status::ok) {
//             outcome = co_await disk.write(to, buffer);
//         }
//         co_return outcome;
//     }
//
// A task that has started is never destroyed before it ends: what it awaits may be known to a device. The destructor
// checks that, and panics. A task without a frame (the slab was used up) is empty: has_frame() is false, a scope refuses
// it, and awaiting it panics.
#pragma once

#include "async/coroutine.hpp"

#include <coroutine>
#include <optional>
#include <utility>

namespace inflight::async {

template <typename T>
class task;

// Somebody who is told, instead of an awaiting coroutine, that a task has ended.
class task_group {
  public:
    // The task's frame is suspended for good. Answers who runs next.
    virtual std::coroutine_handle<> ended(std::coroutine_handle<> frame) noexcept = 0;

  protected:
    ~task_group() = default;
};

struct task_promise_base : promise_base {
    struct final_awaiter {
        [[nodiscard]] bool await_ready() const noexcept { return false; }

        template <typename Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> frame) noexcept {
            task_promise_base& promise = frame.promise();
            return promise.group == nullptr ? promise.continuation : promise.group->ended(frame);
        }

        void await_resume() const noexcept {}
    };

    [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
    [[nodiscard]] final_awaiter final_suspend() const noexcept { return {}; }

    std::coroutine_handle<> continuation; // who awaits the task
    task_group* group = nullptr;          // or who owns it
    operation start;                      // links the task into the ready list once, when a group starts it
};

template <typename T>
struct task_promise : task_promise_base {
    template <typename... Arguments>
    explicit task_promise(const Arguments&...) noexcept {
        static_assert((safe_in_a_frame<Arguments> && ...), "an argument of a coroutine needs a constructor: GCC 12 may "
                                                           "destroy aggregates twice (see coroutine.hpp)");
    }

    task<T> get_return_object() noexcept;
    static task<T> get_return_object_on_allocation_failure() noexcept;

    template <typename Value>
    void return_value(Value&& value) noexcept {
        result.emplace(std::forward<Value>(value));
    }

    T take_result() noexcept { return std::move(*result); }

    std::optional<T> result;
};

template <>
struct task_promise<void> : task_promise_base {
    template <typename... Arguments>
    explicit task_promise(const Arguments&...) noexcept {
        static_assert((safe_in_a_frame<Arguments> && ...), "an argument of a coroutine needs a constructor: GCC 12 may "
                                                           "destroy aggregates twice (see coroutine.hpp)");
    }

    task<void> get_return_object() noexcept;
    static task<void> get_return_object_on_allocation_failure() noexcept;

    void return_void() const noexcept {}
    void take_result() const noexcept {}
};

template <typename T = void>
class [[nodiscard]] task {
  public:
    using promise_type = task_promise<T>;
    using handle = std::coroutine_handle<promise_type>;

    task() noexcept = default;
    explicit task(handle frame) noexcept : frame_{frame} {}
    task(task&& other) noexcept : frame_{std::exchange(other.frame_, nullptr)}, started_{other.started_} {}
    task& operator=(task&& other) noexcept {
        std::swap(frame_, other.frame_);
        std::swap(started_, other.started_);
        return *this;
    }
    ~task() {
        if (frame_) {
            if (started_ && !frame_.done()) {
                arch::panic("a task was destroyed before it ended: a device may still write into its frame");
            }
            frame_.destroy();
        }
    }

    [[nodiscard]] bool has_frame() const noexcept { return static_cast<bool>(frame_); }

    // Starts the task and waits for its result. The awaiting coroutine is resumed by the task's end itself.
    auto operator co_await() && noexcept {
        struct awaiter {
            explicit awaiter(task& owner) noexcept : owner_{owner} {}

            [[nodiscard]] bool await_ready() const noexcept { return false; }
            std::coroutine_handle<> await_suspend(std::coroutine_handle<> continuation) noexcept {
                owner_.frame_.promise().continuation = continuation;
                return owner_.start();
            }
            T await_resume() noexcept { return owner_.frame_.promise().take_result(); }

          private:
            task& owner_;
        };
        if (!frame_) {
            arch::panic("a task without a frame was awaited: the memory for coroutines is used up");
        }
        return awaiter{*this};
    }

    // For groups: marks the task as started and answers its frame.
    handle start() noexcept {
        started_ = true;
        return frame_;
    }

    // For groups: gives the frame away; the group destroys it.
    handle release() noexcept { return std::exchange(frame_, nullptr); }

    // The result of a task that has ended.
    T take_result() noexcept { return frame_.promise().take_result(); }

  private:
    handle frame_;
    bool started_ = false;
};

template <typename T>
task<T> task_promise<T>::get_return_object() noexcept {
    return task<T>{task<T>::handle::from_promise(*this)};
}

template <typename T>
task<T> task_promise<T>::get_return_object_on_allocation_failure() noexcept {
    return task<T>{};
}

inline task<void> task_promise<void>::get_return_object() noexcept {
    return task<void>{task<void>::handle::from_promise(*this)};
}

inline task<void> task_promise<void>::get_return_object_on_allocation_failure() noexcept {
    return task<void>{};
}

} // namespace inflight::async
