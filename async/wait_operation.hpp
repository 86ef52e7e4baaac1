// wait_operation, stoppable_wait: what the awaits of all primitives have in common.
//
//     class door {
//       public:
//         struct visitor : operation {
//             static constexpr const char* awaited = "a door"; // for the table of tasks
//             explicit visitor(door& at) noexcept : door_{at} {}
//             bool ready() const noexcept { return door_.open; } // is there what it waits for?
//             void take() noexcept {}                            // takes it
//             operation_list& line() noexcept { return door_.visitors; }
//             void result() const noexcept {} // what the await answers
//             door& door_;
//         };
//         wait_operation<visitor> wait() noexcept { return wait_operation<visitor>{*this}; }
//         stoppable_wait<visitor> wait(stop_token token) noexcept { return stoppable_wait<visitor>{token, *this}; }
//         bool open = false;
//         operation_list visitors;
//     };
//
//     task<bool> example() {
//         door front;
//         front.open = true;
//         co_await front.wait();
//         co_return co_await front.wait(stop_token{}) == wait_result::done;
//     }
//
// Code that takes a waiter out of its line has given it what it waits for before, and makes it ready.
#pragma once

#include "inflight/async/executor.hpp"
#include "inflight/async/stop_token.hpp"
#include "inflight/async/task_record.hpp"

#include <coroutine>
#include <optional>
#include <type_traits>
#include <utility>

namespace inflight::async {

// Waits in line if what it waits for is not there. If it is there, the await does not suspend, as long as the round's
// budget lasts; after that it takes what is there and continues at the end of the line of those that are ready.
template <typename Waiter>
class [[nodiscard]] wait_operation : protected Waiter {
  public:
    template <typename... Arguments>
    explicit wait_operation(Arguments&&... arguments) noexcept : Waiter{std::forward<Arguments>(arguments)...} {}

    [[nodiscard]] bool await_ready() noexcept {
        if (!this->ready() || !executor::current().may_go_on()) {
            return false;
        }
        this->take();
        return true;
    }
    template <typename Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        note_.begin(frame, Waiter::awaited);
        this->continuation = frame;
        if (this->ready()) {
            this->take();
            executor::current().make_ready(*this);
        } else {
            this->line().push_back(*this);
        }
    }
    auto await_resume() noexcept {
        note_.end();
        return this->result();
    }

  protected:
    wait_note note_;
};

// The same with a token. Returns a wait_result where the other returns nothing.
template <typename Waiter>
class [[nodiscard]] stoppable_wait : public wait_operation<Waiter> {
  public:
    template <typename... Arguments>
    explicit stoppable_wait(stop_token token, Arguments&&... arguments) noexcept
        : wait_operation<Waiter>{std::forward<Arguments>(arguments)...}, token_{token} {}

    // Before it is awaited: another token in place of the one it has.
    void set_stop_token(stop_token token) noexcept { token_ = token; }
    [[nodiscard]] stop_token get_stop_token() const noexcept { return token_; }

    // Once it has ended, for who cannot use what it was given: that goes on to the next, and the wait answers
    // `stopped`.
    void give_back() noexcept requires requires(Waiter& waiter) { waiter.give_back(); }
    {
        if (!std::exchange(stopped_, true)) {
            Waiter::give_back();
        }
    }

    [[nodiscard]] bool await_ready() noexcept {
        stopped_ = false; // it may be awaited again
        return wait_operation<Waiter>::await_ready();
    }
    template <typename Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        wait_operation<Waiter>::await_suspend(frame);
        registration_.emplace(token_, stop, this);
    }
    auto await_resume() noexcept {
        registration_.reset();
        this->note_.end();
        if constexpr (std::is_void_v<decltype(this->result())>) {
            return stopped_ ? wait_result::stopped : wait_result::done;
        } else {
            return this->result();
        }
    }

  private:
    // A waiter that is not in line was already given what it waits for.
    static void stop(void* self) noexcept {
        stoppable_wait& waiter = *static_cast<stoppable_wait*>(self);
        if (waiter.line().remove(waiter)) {
            waiter.stopped_ = true;
            executor::current().make_ready(waiter);
        }
    }

    stop_token token_;
    std::optional<stop_callback> registration_;
    bool stopped_ = false;
};

} // namespace inflight::async
