// What every coroutine of ours has in common: where its frame comes from, and what keeps GCC 12's defects out.
//
// GCC 12 destroys some objects twice in an expression that awaits (PR 99576 and its family): temporaries that are
// aggregates with a non-trivial member. So awaiters have constructors (they are operations, which have), and what is
// passed to a coroutine has one or is trivially destructible, which the promise checks. There is no await_transform:
// with one, GCC 12 copies what is awaited.
//
// GCC 12.2 loses the body of a coroutine that awaits in the condition of an if, switch, while, do or for, and has no
// declaration in its body around that condition. checked_start finds each such coroutine: docs/compilers.md.
//
//     struct fire_and_forget { // a kind of coroutine that nobody waits for
//         struct promise_type : promise_base {
//             using promise_base::promise_base;
//             fire_and_forget get_return_object() noexcept { return {true}; }
//             static fire_and_forget get_return_object_on_allocation_failure() noexcept { return {false}; }
//             starts_running initial_suspend() noexcept { return starts_running{*this}; }
//             std::suspend_never final_suspend() noexcept { return {}; }
//             void return_void() noexcept {}
//         };
//         bool has_run;
//     };
//
//     fire_and_forget increment(int& number) {
//         ++number;
//         co_return;
//     }
//
//     bool example() {
//         int number = 0;
//         return increment(number).has_run && number == 1;
//     }
#pragma once

#include "inflight/arch/arch.hpp"
#include "inflight/async/executor.hpp"
#include "inflight/async/task_record.hpp"

#include <coroutine>
#include <cstddef>
#include <memory>
#include <optional>
#include <type_traits>

namespace inflight::async {

#if defined(__GNUC__) && !defined(__clang__)

#define INFLIGHT_WRONG_FRAME                                                                                           \
    "GCC 12.2 would lose the body of this coroutine: it awaits in a condition, and no declaration of its body stands " \
    "around that; await into a variable first (docs/compilers.md)"

#ifdef __OPTIMIZE__
// Defined nowhere: a call that is left after optimisation is an error of the compiler, which names the coroutine.
[[gnu::error(INFLIGHT_WRONG_FRAME)]] void refuse_wrong_frame() noexcept;
#endif

// What initial_suspend() returns, in place of std::suspend_always (suspends) or std::suspend_never. GCC 12.2 puts its
// variable for the condition before the head of the frame, so a handle made from the promise is not that of the frame.
// Such a coroutine does not compile in an optimised build, and panics when it is called in another.
template <bool suspends>
class checked_start {
  public:
    explicit checked_start(task_record& promise) noexcept : kept_{&promise} {}
    checked_start(const checked_start&) = delete;
    checked_start& operator=(const checked_start&) = delete;
    ~checked_start() {}

    [[nodiscard]] bool await_ready() const noexcept { return false; }

    template <typename Promise>
    [[gnu::always_inline]] bool await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        const bool is_wrong = frame.address() != kept_.promise->frame();
        std::destroy_at(&kept_);
#ifdef __OPTIMIZE__
        if (__builtin_constant_p(is_wrong) && is_wrong) {
            refuse_wrong_frame();
        }
#endif
        if (is_wrong) [[unlikely]] {
            arch::panic(INFLIGHT_WRONG_FRAME);
        }
        return suspends;
    }
    void await_resume() const noexcept {}

  private:
    // Its destructor is not trivial, so what it holds is dead afterwards: an optimised build never writes it into the
    // frame.
    struct kept_promise {
        explicit kept_promise(task_record* kept) noexcept : promise{kept} {}
        ~kept_promise() {}
        task_record* promise;
    };
    union {
        kept_promise kept_;
    };
};

#else

// What initial_suspend() returns, in place of std::suspend_always (suspends) or std::suspend_never. Only GCC is to be
// checked.
template <bool suspends>
class checked_start {
  public:
    explicit checked_start(task_record&) noexcept {}
    [[nodiscard]] bool await_ready() const noexcept { return !suspends; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    void await_resume() const noexcept {}
};

#endif

using starts_suspended = checked_start<true>;
using starts_running = checked_start<false>;

template <typename T>
concept safe_in_a_frame = !std::is_aggregate_v<T> || std::is_trivially_destructible_v<T>;

// The frame comes from the hart's slab, and an empty slab is a result, not an exception. A frame that no slab could
// hold is a mistake in the program. A promise inherits the constructor, which sees the coroutine's arguments.
struct promise_base : task_record {
    template <typename... Arguments>
    explicit promise_base(const Arguments&...) noexcept {
        static_assert((safe_in_a_frame<Arguments> && ...), "an argument of a coroutine needs a constructor: GCC 12 may "
                                                           "destroy aggregates twice (see coroutine.hpp)");
    }

    // clang-tidy 14 does not take the sized operator delete below for the match.
    // NOLINTNEXTLINE(misc-new-delete-overloads)
    static void* operator new(std::size_t bytes) noexcept {
        if (bytes > frame_slab::largest_frame) [[unlikely]] {
            frame_slab::panic_too_large(bytes);
        }
        return executor::current().frames().allocate(bytes);
    }
    static void operator delete(void* frame, std::size_t bytes) noexcept {
        executor::current().frames().deallocate(frame, bytes);
    }

    [[noreturn]] void unhandled_exception() noexcept { arch::panic("an exception left a coroutine"); }
};

// What a coroutine for a T returns if there was no memory for its frame. A type that can say so has an overload beside
// it.
template <typename T>
std::optional<T> out_of_memory_value(std::type_identity<std::optional<T>>) noexcept {
    return std::nullopt;
}

template <typename T>
concept tells_of_no_memory = requires {
    out_of_memory_value(std::type_identity<T>{});
};

// Panics: a result is needed of a coroutine that was refused a frame, and its type cannot express that. `message` says
// what happened; how much memory there is, and how much was wanted last, is added.
[[noreturn, gnu::cold]] inline void panic_no_memory(const char* message) noexcept {
    executor::current().frames().panic_used_up(message);
}

} // namespace inflight::async
