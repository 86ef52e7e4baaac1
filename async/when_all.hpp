// when_all: several things at once, all awaited.
//
//     auto both = co_await when_all(disk.read(0, one), disk.read(8, other));
//     if (std::get<0>(both) == block::status::ok && std::get<1>(both) == block::status::ok) ...
//
// Results come in the order of the arguments; void becomes std::monostate. Each argument costs a frame.
#pragma once

#include "async/task.hpp"

#include <array>
#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace inflight::async {

// What answers for `awaitable` in an await expression: its awaiter, or itself.
template <typename Awaitable>
decltype(auto) get_awaiter(Awaitable& awaitable) noexcept {
    if constexpr (requires { std::move(awaitable).operator co_await(); }) {
        return std::move(awaitable).operator co_await();
    } else {
        return (awaitable);
    }
}

template <typename Awaitable>
using await_result_t = decltype(get_awaiter(std::declval<Awaitable&>()).await_resume());

template <typename T>
using value_or_monostate = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

// A task that awaits `awaitable`, which must outlive it.
template <typename Awaitable>
task<value_or_monostate<await_result_t<Awaitable>>> as_task(Awaitable& awaitable) noexcept {
    auto&& awaiter = get_awaiter(awaitable); // GCC 12 would copy what has no name, and operations cannot be copied
    if constexpr (std::is_void_v<await_result_t<Awaitable>>) {
        co_await awaiter;
        co_return std::monostate{};
    } else {
        co_return co_await awaiter;
    }
}

template <typename... Awaitables>
class [[nodiscard]] when_all final : task_group {
  public:
    using results = std::tuple<value_or_monostate<await_result_t<Awaitables>>...>;

    explicit when_all(Awaitables&&... awaitables) noexcept : children_{as_task(awaitables)...} {}

    when_all(const when_all&) = delete;
    when_all& operator=(const when_all&) = delete;

    [[nodiscard]] bool await_ready() const noexcept { return sizeof...(Awaitables) == 0; }

    void await_suspend(std::coroutine_handle<> frame) noexcept {
        finish_.continuation = frame;
        std::apply([this](auto&... child) { (this->start(child), ...); }, children_);
    }

    auto await_resume() noexcept {
        return std::apply([](auto&... child) { return results{child.take_result()...}; }, children_);
    }

  private:
    template <typename T>
    void start(task<T>& child) noexcept {
        if (!child.has_frame()) {
            arch::panic("when_all has no frame for an argument: the memory for coroutines is used up");
        }
        const auto frame = child.start();
        frame.promise().group = this;
        frame.promise().start.continuation = frame;
        executor::current().make_ready(frame.promise().start);
    }

    std::coroutine_handle<> ended(std::coroutine_handle<>) noexcept override {
        if (--running_ == 0) {
            executor::current().make_ready(finish_);
        }
        return std::noop_coroutine();
    }

    struct finish_operation : operation {};

    std::tuple<task<value_or_monostate<await_result_t<Awaitables>>>...> children_;
    finish_operation finish_;
    std::size_t running_ = sizeof...(Awaitables);
};

template <typename... Awaitables>
when_all(Awaitables&&...) -> when_all<Awaitables...>;

} // namespace inflight::async
