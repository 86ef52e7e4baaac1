// branch, join_point: awaiting several things at once without coroutines for them, hence without frames. What when_all,
// when_any and with_timeout are made of.
//
//     task<bool> example() {
//         semaphore permits{1};
//         auto acquire = permits.acquire();
//         branch<decltype(acquire)> one{acquire};
//         join_point all{1};
//         if (one.start(all.one_ended())) {
//             all.ended();
//         }
//         co_return !all.suspend(std::noop_coroutine()) && permits.available() == 0; // all have ended already
//     }
#pragma once

#include "inflight/async/callback.hpp"
#include "inflight/async/executor.hpp"
#include "inflight/async/stop_token.hpp"

#include <array>
#include <coroutine>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>
#include <variant>

namespace inflight::async {

// The awaiter of `awaitable` in an await expression ([expr.await]).
template <typename Awaitable>
decltype(auto) get_awaiter(Awaitable& awaitable) noexcept {
    if constexpr (requires { std::move(awaitable).operator co_await(); }) {
        return std::move(awaitable).operator co_await();
    } else if constexpr (requires { operator co_await(std::move(awaitable)); }) {
        return operator co_await(std::move(awaitable));
    } else {
        return (awaitable);
    }
}

template <typename Awaitable>
using awaiter_of = decltype(get_awaiter(std::declval<std::remove_reference_t<Awaitable>&>()));

template <typename Awaitable>
using await_result_t = decltype(std::declval<std::remove_reference_t<awaiter_of<Awaitable>>&>().await_resume());

template <typename T>
using value_or_monostate = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

// What can be given a stop token before it is awaited.
template <typename Awaitable>
concept stoppable = requires(std::remove_reference_t<awaiter_of<Awaitable>>& awaiter, stop_token token) {
    awaiter.set_stop_token(token);
};

// What can give back what it was given (see stoppable_wait).
template <typename Awaitable>
concept returnable = requires(std::remove_reference_t<awaiter_of<Awaitable>>& awaiter) {
    awaiter.give_back();
};

// One of several things that are awaited at once. `awaitable` must outlive it: in an await expression, its temporaries
// do.
template <typename Awaitable>
class branch : operation {
  public:
    explicit branch(std::remove_reference_t<Awaitable>& awaitable) noexcept : awaiter_(get_awaiter(awaitable)) {}

    // Begins it; `ended` is resumed when it ends. True if it has ended already: then `ended` is not resumed. What a
    // task does until its first suspension, it does in its turn of the executor, not on the stack of the function that
    // starts it.
    [[nodiscard]] bool start(std::coroutine_handle<> ended) noexcept {
        if (awaiter_.await_ready()) {
            return true;
        }
        using answer = decltype(awaiter_.await_suspend(ended));
        if constexpr (std::is_void_v<answer>) {
            awaiter_.await_suspend(ended);
            return false;
        } else if constexpr (std::is_same_v<answer, bool>) {
            return !awaiter_.await_suspend(ended);
        } else {
            continuation = awaiter_.await_suspend(ended);
            executor::current().make_ready(*this);
            return false;
        }
    }

    // Its result, once it has ended. To be taken once.
    value_or_monostate<await_result_t<Awaitable>> result() noexcept {
        if constexpr (std::is_void_v<await_result_t<Awaitable>>) {
            awaiter_.await_resume();
            return {};
        } else {
            return awaiter_.await_resume();
        }
    }

    void set_stop_token(stop_token token) noexcept requires stoppable<Awaitable> { awaiter_.set_stop_token(token); }

    // The token of the awaiting coroutine, for what inherits it. Waits do not: they have theirs explicitly.
    void inherit_stop_token(stop_token token) noexcept {
        if constexpr (requires { awaiter_.inherit_stop_token(token); }) {
            awaiter_.inherit_stop_token(token);
        }
    }

    void give_back() noexcept requires returnable<Awaitable> { awaiter_.give_back(); }

    [[nodiscard]] stop_token get_stop_token() const noexcept {
        if constexpr (requires { awaiter_.get_stop_token(); }) {
            return awaiter_.get_stop_token();
        } else {
            return {};
        }
    }

  private:
    awaiter_of<Awaitable> awaiter_;
};

// Panics if one of them is there twice: they are to be awaited at once, and each can be awaited by one only.
template <typename... Awaitables>
void check_distinct(const Awaitables&... awaitables) noexcept {
    const std::array<const void*, sizeof...(Awaitables)> all{static_cast<const void*>(std::addressof(awaitables))...};
    for (std::size_t i = 1; i < all.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            if (all[i] == all[j]) [[unlikely]] {
                arch::panic("the same object was given twice to one when_all or when_any");
            }
        }
    }
}

// Makes a coroutine ready when the last of a number of things has ended.
class join_point : operation {
  public:
    explicit join_point(std::size_t count) noexcept
        : left_{count + 1}, ended_{[](void* self) noexcept { static_cast<join_point*>(self)->ended(); }, this} {}

    // Before they are started. Panics with `twice` if that was done before: what waits here is awaited once.
    void begin(const char* twice) noexcept {
        if (std::exchange(begun_, true)) [[unlikely]] {
            arch::panic(twice);
        }
    }

    // To be resumed when one of them has ended: the same as calling ended().
    [[nodiscard]] std::coroutine_handle<> one_ended() noexcept { return ended_.handle(); }

    void ended() noexcept {
        if (--left_ == 0) {
            executor::current().make_ready(*this);
        }
    }

    // All have been started. True if some have not ended: then `frame` is made ready by the last.
    [[nodiscard]] bool suspend(std::coroutine_handle<> frame) noexcept {
        continuation = frame;
        return --left_ != 0;
    }

  private:
    std::size_t left_; // and one for the starter, so that none is the last before suspend()
    bool begun_ = false;
    callback ended_;
};

} // namespace inflight::async
