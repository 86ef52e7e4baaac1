// task<T>: a coroutine that starts when it is awaited, and has one owner.
//
//     task<int> half(int number) {
//         co_await yield{};
//         co_return number / 2;
//     }
//
//     task<bool> example() {
//         int number = co_await half(84);
//         const stop_token token = co_await get_stop_token(); // for the waits of this task that can be stopped
//         if (co_await sleep_for(10, token) == wait_result::done) {
//             number = co_await half(number);
//         }
//         co_return number == 21;
//     }
//
// A task that has started is never destroyed before it ends: what it awaits may be known to a device. The destructor
// checks that, and panics.
//
// A task without a frame (the slab was used up) is empty: has_frame() is false, and a scope refuses it. Awaiting it answers
// what `out_of_memory_value(std::type_identity<T>)` answers, a function that is looked for beside T; std::optional has one, it
// answers std::nullopt. If there is none, awaiting it panics.
//
// A task has a stop token: its own, or that of the task that awaits it. It is for what the task awaits, see stop_token.hpp.
#pragma once

#include "async/callback.hpp"
#include "async/coroutine.hpp"
#include "async/stop_token.hpp"
#include "async/task_record.hpp"

#include <coroutine>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace inflight::async {

template <typename T>
class task;

// Somebody who is told, instead of an awaiting coroutine, that a task has ended.
class task_group {
  public:
    task_group() noexcept = default;
    task_group(const task_group&) = delete;
    task_group& operator=(const task_group&) = delete;

    // The task's frame is suspended for good. Answers who runs next.
    virtual std::coroutine_handle<> ended(std::coroutine_handle<> frame) noexcept = 0;

    // What is to be resumed in place of who awaits the task: calls ended() with its frame. So the end of a task is a jump, be
    // it awaited or in a group; with a call in it, each task would have to save its return address, wherever it is resumed.
    [[nodiscard]] std::coroutine_handle<> in_place_of_awaiting(std::coroutine_handle<> frame) noexcept {
        ended_ = frame;
        return told_.handle();
    }

  protected:
    ~task_group() = default;

  private:
    static void told(void* self) noexcept {
        auto& group = *static_cast<task_group*>(self);
        group.ended(group.ended_).resume();
    }

    std::coroutine_handle<> ended_;
    callback told_{told, this};
};

struct task_promise_base : promise_base, has_stop_token {
    using promise_base::promise_base;

    struct final_awaiter {
        [[nodiscard]] bool await_ready() const noexcept { return false; }

        template <typename Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> frame) noexcept {
            task_promise_base& promise = frame.promise();
            if (promise.group == nullptr) [[likely]] {
                executor::current().runs(promise.link.continuation);
                return promise.link.continuation;
            }
            return promise.group->in_place_of_awaiting(frame);
        }

        void await_resume() const noexcept {}
    };

    [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
    [[nodiscard]] final_awaiter final_suspend() const noexcept { return {}; }
};

// Where a result will be. It is there when the task has ended; only a type with a destructor has to know that.
template <typename T>
class task_result {
  public:
    template <typename Value>
    void emplace(Value&& value) noexcept {
        value_.emplace(std::forward<Value>(value));
    }
    T take() noexcept { return std::move(*value_); }

  private:
    std::optional<T> value_;
};

template <typename T>
requires std::is_trivially_destructible_v<T>
class task_result<T> {
  public:
    task_result() noexcept : nothing_{} {}

    template <typename Value>
    void emplace(Value&& value) noexcept {
        std::construct_at(&value_, std::forward<Value>(value));
    }
    T take() noexcept { return std::move(value_); }

  private:
    struct nothing {};
    union {
        nothing nothing_;
        T value_;
    };
};

template <typename T>
struct task_promise : task_promise_base {
    using task_promise_base::task_promise_base;

    task<T> get_return_object() noexcept;
    static task<T> get_return_object_on_allocation_failure() noexcept;

    template <typename Value>
    void return_value(Value&& value) noexcept {
        result.emplace(std::forward<Value>(value));
    }

    T take_result() noexcept { return result.take(); }

    task_result<T> result;
};

template <>
struct task_promise<void> : task_promise_base {
    using task_promise_base::task_promise_base;

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
    task(task&& other) noexcept : frame_{std::exchange(other.frame_, nullptr)} {}
    task& operator=(task&& other) noexcept {
        std::swap(frame_, other.frame_);
        return *this;
    }
    ~task() {
        if (frame_) {
            if (!frame_.done() && frame_.promise().link.continuation != nullptr) [[unlikely]] {
                arch::panic("a task was destroyed before it ended: a device may still write into its frame");
            }
            frame_.destroy();
        }
    }

    [[nodiscard]] bool has_frame() const noexcept { return static_cast<bool>(frame_); }

    // Names the task in tables and traces: copy(...).named("copy"). The text must stay for ever. Without, a task goes by the
    // name of its function.
    [[nodiscard]] task named(const char* name) && noexcept {
        if (frame_) {
            frame_.promise().name = name;
        }
        return std::move(*this);
    }

    // Its own token, in place of that of the task that awaits it. To be given before it starts.
    void set_stop_token(stop_token token) noexcept {
        if (frame_) {
            frame_.promise().set_stop_token(token);
        }
    }

    // Starts the task and waits for its result. The awaiting coroutine is resumed by the task's end itself.
    auto operator co_await() && noexcept { return awaiter{frame_}; }

    // Starts the task and waits for its end: the result stays in it, for take_result().
    auto ended() noexcept { return end_awaiter{frame_}; }

    // For groups: marks the task as started, which its link does, and answers its frame.
    handle start() noexcept {
        frame_.promise().link.continuation = frame_;
        return frame_;
    }

    // For groups: gives the frame away; the group destroys it.
    handle release() noexcept { return std::exchange(frame_, nullptr); }

    // The result of a task that has ended, or has no frame.
    T take_result() noexcept { return result_of(frame_); }

  private:
    static T result_of(handle frame) noexcept {
        if (!frame) [[unlikely]] {
            return out_of_memory<T>("a task without a frame was awaited: the memory for coroutines is used up");
        }
        return frame.promise().take_result();
    }

    class end_awaiter {
      public:
        explicit end_awaiter(handle frame) noexcept : frame_{frame} {}

        void set_stop_token(stop_token token) noexcept {
            if (frame_) {
                frame_.promise().set_stop_token(token);
            }
        }
        void inherit_stop_token(stop_token token) noexcept {
            if (frame_) {
                frame_.promise().inherit_stop_token(token);
            }
        }
        [[nodiscard]] stop_token get_stop_token() const noexcept {
            return frame_ ? frame_.promise().get_stop_token() : stop_token{};
        }

        [[nodiscard]] bool await_ready() const noexcept { return !frame_; }

        template <typename Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
            promise_type& promise = frame_.promise();
            promise.inherit_stop_token(stop_token_of(awaiting));
            promise.link.continuation = awaiting;
            return frame_;
        }
        void await_resume() const noexcept {}

      protected:
        handle frame_;
    };

    struct awaiter : end_awaiter {
        using end_awaiter::end_awaiter;

        T await_resume() noexcept { return result_of(this->frame_); }
    };

    handle frame_;
};

template <typename T>
task<T> task_promise<T>::get_return_object() noexcept {
    static_assert(alignof(task_promise) <= 2 * sizeof(void*),
                  "task_record.hpp would not find the record of such a task");
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

// co_await get_stop_token(): the token of the task that asks. Never suspends.
class [[nodiscard]] get_stop_token {
  public:
    get_stop_token() noexcept {}

    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <typename Promise>
    [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> asking) noexcept {
        token_ = asking.promise().get_stop_token();
        return false;
    }
    [[nodiscard]] stop_token await_resume() const noexcept { return token_; }

  private:
    stop_token token_;
};

} // namespace inflight::async
