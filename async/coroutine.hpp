// What every coroutine of ours has in common: where its frame comes from, and what keeps GCC 12's defects out.
//
// GCC 12 destroys some objects twice in an expression that awaits (PR 99576 and its family): temporaries that are
// aggregates with a non-trivial member. So awaiters have constructors (they are operations, which have), and what is passed
// to a coroutine has one or is trivially destructible, which the promise checks. There is no await_transform: with one,
// GCC 12 copies what is awaited.
#pragma once

#include "arch/arch.hpp"
#include "async/executor.hpp"

#include <coroutine>
#include <cstddef>
#include <type_traits>

namespace inflight::async {

template <typename T>
concept safe_in_a_frame = !std::is_aggregate_v<T> || std::is_trivially_destructible_v<T>;

// The frame comes from the hart's slab, and an empty slab is an answer, not an exception.
struct promise_base {
    static void* operator new(std::size_t bytes) noexcept { return executor::current().frames().allocate(bytes); }
    static void operator delete(void* frame, std::size_t bytes) noexcept {
        executor::current().frames().deallocate(frame, bytes);
    }

    [[noreturn]] void unhandled_exception() noexcept { arch::panic("an exception left a coroutine"); }
};

} // namespace inflight::async
