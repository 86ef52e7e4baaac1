// when_all: several things at once, all awaited. Needs no frames, so it cannot run out of memory.
//
//     task<int> later(int value) {
//         co_await yield{};
//         co_return value;
//     }
//
//     task<bool> example() {
//         semaphore slots{1};
//         const auto results = co_await when_all(later(1), slots.acquire(), later(3));
//         wait_operation<sleeper> naps[] = {sleep_for(10), sleep_for(20)};
//         co_await when_all(std::span{naps});
//         co_return std::get<0>(results) + std::get<2>(results) == 4;
//     }
//
// Its arguments are tasks, awaiters, or whatever else can be awaited. They must live until all has ended, as the
// temporaries of the await expression do. It is awaited once: a second time it panics, as it does if it is given the
// same object twice. Results come in the order of the arguments; void becomes std::monostate. Tasks among the arguments
// inherit the stop token of the awaiting task.
#pragma once

#include "inflight/async/branch.hpp"
#include "inflight/async/task_record.hpp"

#include <cstddef>
#include <span>
#include <tuple>
#include <type_traits>

namespace inflight::async {

template <typename... Awaitables>
class [[nodiscard]] when_all {
  public:
    using results = std::tuple<value_or_monostate<await_result_t<Awaitables>>...>;

    explicit when_all(Awaitables&&... awaitables) noexcept : branches_{awaitables...} { check_distinct(awaitables...); }

    when_all(const when_all&) = delete;
    when_all& operator=(const when_all&) = delete;

    // To all, in place of what they had.
    void set_stop_token(stop_token token) noexcept requires(stoppable<Awaitables>&&...) {
        for_each([token](auto& each) { each.set_stop_token(token); });
    }
    void inherit_stop_token(stop_token token) noexcept {
        for_each([token](auto& each) { each.inherit_stop_token(token); });
    }

    [[nodiscard]] bool await_ready() const noexcept { return sizeof...(Awaitables) == 0; }

    template <typename Promise>
    [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        join_.begin("a when_all was awaited twice: make another one");
        note_.begin(frame, "what it began");
        inherit_stop_token(stop_token_of(frame));
        for_each([this](auto& each) {
            if (each.start(join_.one_ended())) {
                join_.ended();
            }
        });
        return join_.suspend(frame);
    }

    results await_resume() noexcept {
        note_.end();
        return std::apply([](auto&... each) { return results{each.result()...}; }, branches_);
    }

  private:
    template <typename Function>
    void for_each(Function function) noexcept {
        std::apply([&function](auto&... each) { (function(each), ...); }, branches_);
    }

    std::tuple<branch<Awaitables>...> branches_;
    join_point join_{sizeof...(Awaitables)};
    wait_note note_;
};

// The same for all of a row of awaiters, without any memory of its own for each of them. Answers the row: each one's
// result is to be had from its await_resume(), once.
template <typename Awaiter>
class [[nodiscard]] when_all<std::span<Awaiter>> {
    static_assert(
        requires(Awaiter & awaiter) { awaiter.await_ready(); },
        "when_all over a span takes awaiters: tasks need the form with one argument for each");

  public:
    explicit when_all(std::span<Awaiter> awaiters) noexcept : awaiters_{awaiters}, join_{awaiters.size()} {}

    when_all(const when_all&) = delete;
    when_all& operator=(const when_all&) = delete;

    void set_stop_token(stop_token token) noexcept requires stoppable<Awaiter> {
        for (Awaiter& each : awaiters_) {
            each.set_stop_token(token);
        }
    }

    [[nodiscard]] bool await_ready() const noexcept { return awaiters_.empty(); }

    template <typename Promise>
    [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        join_.begin("a when_all was awaited twice: make another one");
        note_.begin(frame, "what it began");
        for (Awaiter& each : awaiters_) {
            if (each.await_ready() || !suspends(each)) {
                join_.ended();
            }
        }
        return join_.suspend(frame);
    }

    std::span<Awaiter> await_resume() noexcept {
        note_.end();
        return awaiters_;
    }

  private:
    bool suspends(Awaiter& awaiter) noexcept {
        using answer = decltype(awaiter.await_suspend(join_.one_ended()));
        if constexpr (std::is_void_v<answer>) {
            awaiter.await_suspend(join_.one_ended());
            return true;
        } else {
            static_assert(std::is_same_v<answer, bool>, "what resumes a coroutine to begin has no place in a span");
            return awaiter.await_suspend(join_.one_ended());
        }
    }

    std::span<Awaiter> awaiters_;
    join_point join_;
    wait_note note_;
};

template <typename... Awaitables>
when_all(Awaitables&&...) -> when_all<Awaitables...>;

template <typename Awaiter, std::size_t Extent>
when_all(std::span<Awaiter, Extent>) -> when_all<std::span<Awaiter>>;

} // namespace inflight::async
