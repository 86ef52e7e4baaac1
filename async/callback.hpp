// callback: a function that is called where a coroutine would be resumed.
//
//     struct alarm : timer {
//         alarm() noexcept : bell_{ring, this} { continuation = bell_.handle(); }
//         static void ring(void* self) noexcept { static_cast<alarm*>(self)->rings = true; }
//         bool rings = false;
//         callback bell_;
//     };
//
//     task<bool> example() {
//         alarm clock;
//         clock.deadline = executor::current().now() + 100;
//         executor::current().make_ready_at(clock);
//         co_await sleep_for(200);
//         co_return clock.rings;
//     }
//
// So an operation, a timer or a message to another hart can do something small without a coroutine, hence without a
// frame, and code that resumes operations does not see the difference.
//
// It is laid out like the head of a coroutine frame: what to call for resume(), then what to call for destroy(). The
// standard leaves that layout open; GCC, Clang and MSVC share it (their debuggers rely on it), and
// tests/host/compiler_contract_test.cpp holds each compiler to it.
#pragma once

#include "inflight/arch/arch.hpp"

#include <coroutine>

namespace inflight::async {

class callback {
  public:
    using function = void (*)(void* argument) noexcept;

    // `call` runs with `argument` every time the handle is resumed, on the hart that resumes it. The callback must stay
    // where it is for as long as the handle is in use.
    callback(function call, void* argument) noexcept : call_{call}, argument_{argument} {}
    callback(const callback&) = delete;
    callback& operator=(const callback&) = delete;

    [[nodiscard]] std::coroutine_handle<> handle() noexcept { return std::coroutine_handle<>::from_address(this); }

  private:
    static void resumed(void* self) noexcept {
        const callback& called = *static_cast<callback*>(self);
        called.call_(called.argument_);
    }
    static void destroyed(void*) noexcept { arch::panic("a callback was destroyed as if it were a coroutine"); }

    // What a handle calls.
    [[maybe_unused]] void (*resume_)(void*) noexcept = resumed;
    [[maybe_unused]] void (*destroy_)(void*) noexcept = destroyed;
    function call_;
    void* argument_;
};

} // namespace inflight::async
