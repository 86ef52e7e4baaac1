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
// A task begins once: awaiting it, or spawning it, a second time panics, as it does if the task has been moved from.
//
// A task that was refused a frame (the slab was used up) is empty: has_frame() is false, is_refused() is true, and a
// scope refuses it. Awaiting it returns what `out_of_memory_value(std::type_identity<T>)` returns, a function that is
// looked for beside T; std::optional has one, it returns std::nullopt. If there is none, awaiting it panics.
//
// A task has a stop token: its own, or that of the task that awaits it. It is for what the task awaits, see
// stop_token.hpp.
#pragma once

#include "inflight/async/callback.hpp"
#include "inflight/async/coroutine.hpp"
#include "inflight/async/stop_token.hpp"
#include "inflight/async/task_record.hpp"

#include <coroutine>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace inflight::async {

template <typename T>
class task;

// The owner of a task that is not awaited: notified in place of a continuation when the task has ended.
class task_group {
  public:
    task_group() noexcept = default;
    task_group(const task_group&) = delete;
    task_group& operator=(const task_group&) = delete;

    // The task's frame is suspended for good. Returns the handle to resume next.
    virtual std::coroutine_handle<> ended(std::coroutine_handle<> frame) noexcept = 0;

    // The handle to resume at the end of the task: calls ended() with its frame. So the end of a task is a
    // jump, be it awaited or in a group; with a call in it, each task would have to save its return address, wherever
    // it is resumed.
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

    [[nodiscard]] starts_suspended initial_suspend() noexcept { return starts_suspended{*this}; }
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

// What a task refers to if it has no frame. It is laid out like one (see callback.hpp) of a task that has begun, so
// that the one check at the start of a task finds this, too, and has ended, so that it may be destroyed, which does
// nothing.
class no_frame {
  public:
    constexpr no_frame() noexcept : record_{std::coroutine_handle<>::from_address(&anybody)} {}
    no_frame(const no_frame&) = delete;
    no_frame& operator=(const no_frame&) = delete;

    // For const_cast: a task that has begun is not written to.
    [[nodiscard]] void* address() const noexcept { return const_cast<no_frame*>(this); }

    static const no_frame none;    // moved from, or made without a coroutine
    static const no_frame refused; // there was no memory

  private:
    static inline char anybody = 0;
    static void destroyed(void*) noexcept {}

    [[maybe_unused]] void (*resume_)(void*) noexcept = nullptr;
    [[maybe_unused]] void (*destroy_)(void*) noexcept = destroyed;
    [[maybe_unused]] task_record record_;
};

inline constexpr no_frame no_frame::none;
inline constexpr no_frame no_frame::refused;

// Panics: the task has begun before, or is empty.
[[noreturn, gnu::cold]] inline void panic_cannot_begin(std::coroutine_handle<> frame) noexcept {
    if (frame.address() == no_frame::none.address()) {
        arch::panic(
            "a task without a frame was awaited or spawned: it has been moved from, or was made without a coroutine");
    }
    arch::panic(frame.done() ? "a task was awaited or spawned again after its end: a task runs once"
                             : "a task was awaited or spawned again before its end: a task runs once");
}

template <typename T = void>
class [[nodiscard]] task {
    static_assert(!std::is_reference_v<T>, "a task answers a value: let it answer a pointer in place of a reference");

  public:
    using promise_type = task_promise<T>;
    using handle = std::coroutine_handle<promise_type>;

    task() noexcept = default;
    explicit task(handle frame) noexcept : frame_{frame} {}
    task(task&& other) noexcept : frame_{std::exchange(other.frame_, none())} {}
    task& operator=(task&& other) noexcept {
        std::swap(frame_, other.frame_);
        return *this;
    }
    ~task() {
        if (!frame_.done() && frame_.promise().link.continuation != nullptr) [[unlikely]] {
            arch::panic("a task was destroyed before it ended: a device may still write into its frame");
        }
        frame_.destroy();
    }

    // The task of a coroutine for which there was no memory.
    [[nodiscard]] static task refused() noexcept { return task{handle::from_address(no_frame::refused.address())}; }

    // False if it was refused one, has been moved from, or was made without a coroutine.
    [[nodiscard]] bool has_frame() const noexcept { return is_frame(frame_); }
    [[nodiscard]] bool is_refused() const noexcept { return frame_.address() == no_frame::refused.address(); }

    // Names the task in tables and traces: copy(...).named("copy"). The text must have static storage duration.
    // Without, a task goes by the name of its function.
    [[nodiscard]] task named(const char* name) && noexcept {
        if (has_frame()) {
            frame_.promise().name = name;
        }
        return std::move(*this);
    }

    // Its own token, in place of that of the task that awaits it. To be given before it starts.
    void set_stop_token(stop_token token) noexcept {
        if (has_frame()) {
            frame_.promise().set_stop_token(token);
        }
    }

    // Starts the task and waits for its result. The awaiting coroutine is resumed by the task's end itself.
    auto operator co_await() && noexcept { return awaiter{frame_}; }

    // Starts the task and waits for its end: the result stays in it, for take_result().
    auto ended() noexcept { return end_awaiter{frame_}; }

    // For groups, of a task that was not refused a frame: marks it as started, which its link does, and returns its
    // frame.
    handle start() noexcept {
        if (has_begun(frame_)) [[unlikely]] {
            panic_cannot_begin(frame_);
        }
        frame_.promise().link.continuation = frame_;
        return frame_;
    }

    // For groups: gives the frame away; the group destroys it.
    handle release() noexcept { return std::exchange(frame_, none()); }

    // The result of a task that has ended, or was refused a frame.
    T take_result() noexcept {
        if (frame_ == none()) {
            panic_cannot_begin(frame_);
        }
        return result_of(is_refused() ? nullptr : frame_);
    }

  private:
    static handle none() noexcept { return handle::from_address(no_frame::none.address()); }

    static bool is_frame(handle frame) noexcept {
        return frame && frame != none() && frame.address() != no_frame::refused.address();
    }

    // Whatever begins a task gives it a continuation, which it keeps.
    static bool has_begun(handle frame) noexcept { return frame.promise().link.continuation != nullptr; }

    // Of a task that has ended; nullptr: of one that was refused a frame.
    static T result_of(handle frame) noexcept {
        if (!frame) [[unlikely]] {
            if constexpr (tells_of_no_memory<T>) {
                return out_of_memory_value(std::type_identity<T>{});
            } else {
                panic_no_memory("a task without a frame was awaited");
            }
        }
        return frame.promise().take_result();
    }

    class end_awaiter {
      public:
        explicit end_awaiter(handle frame) noexcept : frame_{frame} {}

        void set_stop_token(stop_token token) noexcept {
            if (is_frame(frame_)) {
                frame_.promise().set_stop_token(token);
            }
        }
        void inherit_stop_token(stop_token token) noexcept {
            if (is_frame(frame_)) {
                frame_.promise().inherit_stop_token(token);
            }
        }
        [[nodiscard]] stop_token get_stop_token() const noexcept {
            return is_frame(frame_) ? frame_.promise().get_stop_token() : stop_token{};
        }

        [[nodiscard]] bool await_ready() const noexcept { return false; }

        template <typename Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
            if (has_begun(frame_)) [[unlikely]] {
                return refused(awaiting);
            }
            promise_type& promise = frame_.promise();
            promise.inherit_stop_token(stop_token_of(awaiting));
            promise.link.continuation = awaiting;
            return frame_;
        }
        void await_resume() const noexcept {}

      protected:
        handle frame_; // nullptr: it turned out that there was no memory for it

      private:
        [[gnu::cold, gnu::noinline]] std::coroutine_handle<> refused(std::coroutine_handle<> awaiting) noexcept {
            if (frame_.address() != no_frame::refused.address()) {
                panic_cannot_begin(frame_);
            }
            frame_ = nullptr;
            return awaiting;
        }
    };

    struct awaiter : end_awaiter {
        using end_awaiter::end_awaiter;

        T await_resume() noexcept { return result_of(this->frame_); }
    };

    handle frame_ = none();
};

template <typename T>
task<T> task_promise<T>::get_return_object() noexcept {
    static_assert(alignof(task_promise) <= 2 * sizeof(void*),
                  "task_record.hpp would not find the record of such a task");
    static_assert(std::is_move_constructible_v<T>,
                  "the result of a task is moved out of it: let it answer a pointer to what cannot be moved");
    return task<T>{task<T>::handle::from_promise(*this)};
}

template <typename T>
task<T> task_promise<T>::get_return_object_on_allocation_failure() noexcept {
    return task<T>::refused();
}

inline task<void> task_promise<void>::get_return_object() noexcept {
    return task<void>{task<void>::handle::from_promise(*this)};
}

inline task<void> task_promise<void>::get_return_object_on_allocation_failure() noexcept {
    return task<void>::refused();
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
