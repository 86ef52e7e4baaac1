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

// What a callback is made of: resume() calls a function with the resumable itself, which what derives from it can do
// without an argument.
class resumable {
  public:
    using function = void (*)(void* self) noexcept;

    // The resumable must stay where it is for as long as the handle is in use. It runs on the hart that resumes it.
    explicit resumable(function call) noexcept : resume_{call} {}
    resumable(const resumable&) = delete;
    resumable& operator=(const resumable&) = delete;

    // Calls another function from the next time on.
    void set(function call) noexcept { resume_ = call; }

    [[nodiscard]] std::coroutine_handle<> handle() noexcept { return std::coroutine_handle<>::from_address(this); }

  private:
    static void destroyed(void*) noexcept { arch::panic("a callback was destroyed as if it were a coroutine"); }

    // What a handle calls.
    function resume_;
    [[maybe_unused]] void (*destroy_)(void*) noexcept = destroyed;
};

class callback : public resumable {
  public:
    using function = void (*)(void* argument) noexcept;

    // `call` runs with `argument` every time the handle is resumed.
    callback(function call, void* argument) noexcept : resumable{resumed}, call_{call}, argument_{argument} {}

  private:
    static void resumed(void* self) noexcept {
        const callback& called = *static_cast<callback*>(static_cast<resumable*>(self));
        called.call_(called.argument_);
    }

    function call_;
    void* argument_;
};

} // namespace inflight::async
