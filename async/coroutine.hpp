// What every coroutine of ours has in common: where its frame comes from, and what keeps GCC 12's defects out.
//
// GCC 12 destroys some objects twice in an expression that awaits (PR 99576 and its family): temporaries that are
// aggregates with a non-trivial member. So awaiters have constructors (they are operations, which have), and what is passed
// to a coroutine has one or is trivially destructible, which the promise checks. There is no await_transform: with one,
// GCC 12 copies what is awaited.
//
//     struct fire_and_forget { // a kind of coroutine that nobody waits for
//         struct promise_type : promise_base {
//             using promise_base::promise_base;
//             fire_and_forget get_return_object() noexcept { return {true}; }
//             static fire_and_forget get_return_object_on_allocation_failure() noexcept { return {false}; }
//             std::suspend_never initial_suspend() noexcept { return {}; }
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

#include "arch/arch.hpp"
#include "async/executor.hpp"
#include "async/task_record.hpp"

#include <coroutine>
#include <cstddef>
#include <optional>
#include <type_traits>

namespace inflight::async {

template <typename T>
concept safe_in_a_frame = !std::is_aggregate_v<T> || std::is_trivially_destructible_v<T>;

// The frame comes from the hart's slab, and an empty slab is an answer, not an exception. A promise inherits the constructor,
// which sees the coroutine's arguments.
struct promise_base : task_record {
    template <typename... Arguments>
    explicit promise_base(const Arguments&...) noexcept {
        static_assert((safe_in_a_frame<Arguments> && ...), "an argument of a coroutine needs a constructor: GCC 12 may "
                                                           "destroy aggregates twice (see coroutine.hpp)");
    }

    static void* operator new(std::size_t bytes) noexcept { return executor::current().frames().allocate(bytes); }
    static void operator delete(void* frame, std::size_t bytes) noexcept {
        executor::current().frames().deallocate(frame, bytes);
    }

    [[noreturn]] void unhandled_exception() noexcept { arch::panic("an exception left a coroutine"); }
};

// What a coroutine for a T answers if there was no memory for its frame. A type that can say so has an overload beside it.
template <typename T>
std::optional<T> out_of_memory_value(std::type_identity<std::optional<T>>) noexcept {
    return std::nullopt;
}

// That answer; the end, with `message`, if T cannot say it.
template <typename T>
T out_of_memory(const char* message) noexcept {
    if constexpr (requires { out_of_memory_value(std::type_identity<T>{}); }) {
        return out_of_memory_value(std::type_identity<T>{});
    } else {
        arch::panic(message);
    }
}

} // namespace inflight::async
