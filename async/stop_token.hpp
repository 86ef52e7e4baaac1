// stop_source, stop_token, stop_callback: asking for something to end early.
//
//     bool example() {
//         stop_source source;
//         int calls = 0;
//         const stop_callback counting{source.get_token(), [](void* count) noexcept { ++*static_cast<int*>(count); }, &calls};
//         source.request_stop();
//         source.request_stop(); // has no effect: it has been requested
//         return calls == 1 && source.get_token().stop_requested() && !stop_token{}.stop_possible();
//     }
//
// Stopping is a request, and the rule is explicit: a wait ends early only if it was given a token.
//
//   a wait that                   when a stop is requested                      returns
//   was given no token            goes on                                       what it always returns
//   has not begun                 takes what is there; else ends at once        done, or stopped
//   is in line                    leaves the line at once, with nothing         stopped
//   was handed what it waits for  keeps it, also if it was not resumed yet      done
//
// So what is handed over is never lost, and a wait that returns `stopped` has nothing to give back. A task has a token,
// which it hands to the tasks that it awaits (see task.hpp) and to nothing else: what it waits for, it passes the token
// itself.
//
// As std::inplace_stop_source and its family in C++26, for one hart: the source holds everything, nothing is allocated,
// and request_stop() runs the callbacks.
#pragma once

#include "inflight/arch/arch.hpp"

#include <coroutine>
#include <cstdint>

namespace inflight::async {

class stop_source;

// How a wait ended that could be stopped.
enum class [[nodiscard]] wait_result : std::uint8_t{done, stopped};

// Tells whether its source wants a stop. Must not outlive it. One that was not made by a source never stops.
class stop_token {
  public:
    stop_token() noexcept = default;

    [[nodiscard]] bool stop_possible() const noexcept { return source_ != nullptr; }
    [[nodiscard]] bool stop_requested() const noexcept;

  private:
    friend class stop_source;
    friend class stop_callback;

    explicit stop_token(stop_source& source) noexcept : source_{&source} {}

    stop_source* source_ = nullptr;
};

// One of a ring of callbacks; alone at first.
struct stop_link {
    stop_link() noexcept = default;
    stop_link(const stop_link&) = delete;
    stop_link& operator=(const stop_link&) = delete;

    void unlink() noexcept {
        next->previous = previous;
        previous->next = next;
        next = previous = this;
    }

    stop_link* next = this;
    stop_link* previous = this;
};

// Calls `call` with `argument` once when a stop is requested: at once if it has been. Registered while it lives: once
// the destructor has run, the call does not come. The call may destroy any callback, this one too, but not the source.
class stop_callback : stop_link {
  public:
    using function = void (*)(void* argument) noexcept;

    stop_callback(stop_token token, function call, void* argument) noexcept;
    ~stop_callback() { unlink(); }

  private:
    friend class stop_source;

    function call_;
    void* argument_;
};

class stop_source {
  public:
    stop_source() noexcept = default;
    ~stop_source() {
        if (callbacks_.next != &callbacks_) {
            arch::panic("a stop source ends while callbacks are registered: what has its token must end before");
        }
    }

    [[nodiscard]] stop_token get_token() noexcept { return stop_token{*this}; }
    [[nodiscard]] bool stop_requested() const noexcept { return requested_; }

    // Calls every callback, in the order in which they were registered. False, and nothing happens, if a stop has been
    // requested before.
    bool request_stop() noexcept {
        if (requested_) {
            return false;
        }
        requested_ = true;
        while (callbacks_.next != &callbacks_) {
            stop_callback& first = *static_cast<stop_callback*>(callbacks_.next);
            first.unlink(); // before the call, which may destroy it
            first.call_(first.argument_);
        }
        return true;
    }

  private:
    friend class stop_callback;

    stop_link callbacks_;
    bool requested_ = false;
};

inline bool stop_token::stop_requested() const noexcept {
    return source_ != nullptr && source_->stop_requested();
}

inline stop_callback::stop_callback(stop_token token, function call, void* argument) noexcept
    : call_{call}, argument_{argument} {
    if (token.stop_requested()) {
        call(argument);
    } else if (token.stop_possible()) {
        stop_link& end = token.source_->callbacks_;
        next = &end;
        previous = end.previous;
        previous->next = this;
        end.previous = this;
    }
}

// What has a token: one that it was given or, else, that of the awaiting coroutine.
class has_stop_token {
  public:
    // Its own token, to be given before it starts.
    void set_stop_token(stop_token token) noexcept { token_ = token; }

    // For the code that starts it: the token of the awaiting coroutine.
    void inherit_stop_token(stop_token token) noexcept {
        if (!token_.stop_possible()) [[likely]] {
            token_ = token;
        }
    }

    [[nodiscard]] stop_token get_stop_token() const noexcept { return token_; }

  private:
    stop_token token_;
};

// The token of a coroutine; one that never stops if it has none.
template <typename Promise>
stop_token stop_token_of(std::coroutine_handle<Promise> frame) noexcept {
    if constexpr (requires { frame.promise().get_stop_token(); }) {
        return frame.promise().get_stop_token();
    } else {
        return {};
    }
}

} // namespace inflight::async
