// schedule_on, on, spawn_on: work on other harts.
//
//     task<arch::hart_index> where() {
//         co_return arch::this_hart();
//     }
//
//     task<bool> example() {
//         const arch::hart_index home = arch::this_hart();
//         const arch::hart_index last = arch::harts() - 1;
//         const arch::hart_index found = co_await on(last, where());
//         bool there = arch::this_hart() == home && found == last;
//         co_await schedule_on{last}; // by hand
//         there = there && arch::this_hart() == last;
//         co_await schedule_on{home}; // a task ends where it began
//         co_return there;
//     }
//
// Everything that a coroutine awaits belongs to the hart on which it does: only its own frame, its arguments and what
// they refer to come along. What it wrote before is visible to it there.
#pragma once

#include "inflight/async/counting_scope.hpp"
#include "inflight/async/message.hpp"
#include "inflight/async/stop_token.hpp"
#include "inflight/async/task.hpp"

#include <coroutine>
#include <type_traits>
#include <utility>

namespace inflight::async {

// co_await schedule_on{hart}: goes on in the next round of that hart; panics if it has no executor. A task must be back
// on its own before it ends: the scope that it, or who awaits it, is in checks that, and panics.
class [[nodiscard]] schedule_on : operation {
  public:
    explicit schedule_on(arch::hart_index hart) noexcept : hart_{hart} {}

    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <typename Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        note_.begin(frame, "another hart");
        continuation = frame;
        executor* const there = executor::find(hart_);
        if (there == nullptr) [[unlikely]] {
            arch::panic("a coroutine was sent to a hart that has no executor");
        }
        there->post(*this); // and from here on it may have gone on there
    }
    void await_resume() noexcept { note_.end(); }

  private:
    arch::hart_index hart_;
    wait_note note_;
};

// A stop source on another hart, for a token here.
class distant_stop {
  public:
    explicit distant_stop(arch::hart_index hart) noexcept : hart_{hart} {}

    // There.
    [[nodiscard]] stop_token get_token() noexcept { return source_.get_token(); }

    // Here. After the first, `asked` is true, and a message is on its way.
    static void ask(void* self) noexcept {
        auto& stop = *static_cast<distant_stop*>(self);
        stop.asked_ = true;
        stop.message_.post(executor::of(stop.hart_));
    }
    [[nodiscard]] bool asked() const noexcept { return asked_; }

  private:
    arch::hart_index hart_;
    bool asked_ = false;
    stop_source source_;
    message message_{[](void* self) noexcept { static_cast<distant_stop*>(self)->source_.request_stop(); }, this};
};

// co_await on(hart, work): runs a task on a hart, and goes on here with its result. A stop that is requested of the
// awaiting task reaches the other hart by a message. `work` gets a token of that hart, whichever it had. Panics if that
// hart has no executor.
template <typename T>
task<T> on(arch::hart_index hart, task<T> work) {
    const arch::hart_index home = arch::this_hart();
    distant_stop stop{hart};
    work.set_stop_token(stop.get_token());
    const stop_token asked = co_await get_stop_token();
    {
        const stop_callback ask{asked, distant_stop::ask, &stop}; // made and destroyed here
        co_await schedule_on{hart};
        co_await work.ended();
        co_await schedule_on{home};
    }
    if (stop.asked()) {
        // The message may not have arrived yet. What is posted after it arrives after it.
        co_await schedule_on{hart};
        co_await schedule_on{home};
    }
    co_return work.take_result();
}

// Spawns a task into a scope of this hart, to run on another. False, and nothing happens, if there is no frame for it.
[[nodiscard]] inline bool spawn_on(counting_scope& scope, arch::hart_index hart, task<void> work) noexcept {
    return !work.is_refused() && scope.spawn(on(hart, std::move(work)));
}

} // namespace inflight::async
