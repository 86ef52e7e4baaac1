// when_any: several things at once; the first that ends asks the others to stop. Needs no frames.
//
//     task<bool> example() {
//         event never;
//         const auto first = co_await when_any(never.wait(stop_token{}), sleep_for(20, stop_token{}));
//         co_return first.index == 1                                 //
//             && std::get<0>(first.results) == wait_result::stopped  // who lost was stopped
//             && std::get<1>(first.results) == wait_result::done;
//     }
//
// All are awaited to their end before it ends itself: what cannot be stopped (it has no set_stop_token(), or a device
// has it) holds it up. So there is a result of each, and none is lost: a wait that ended too late to be the first, yet
// was not stopped, has what it waited for, and says so.
//
// It is awaited once: a second time it panics, as it does if it is given the same object twice.
//
// What can be stopped gets a token from here in place of its own. A stop that is requested by the token it had, or by
// that of the awaiting task, goes to all.
#pragma once

#include "inflight/async/callback.hpp"
#include "inflight/async/stoppable_branch.hpp"

#include <cstddef>
#include <tuple>
#include <utility>

namespace inflight::async {

// Which argument of when_any ended first, and how each of them ended; void becomes std::monostate.
template <typename... Results>
struct when_any_result {
    when_any_result(std::size_t first, Results&&... all) noexcept : index{first}, results{std::move(all)...} {}

    std::size_t index;
    std::tuple<Results...> results;
};

template <typename... Awaitables>
class [[nodiscard]] when_any : public stop_relay {
    static_assert(sizeof...(Awaitables) > 0, "of nothing, nothing is the first");

  public:
    using result = when_any_result<value_or_monostate<await_result_t<Awaitables>>...>;

    explicit when_any(Awaitables&&... awaitables) noexcept : racers_{awaitables...} { check_distinct(awaitables...); }

    when_any(const when_any&) = delete;
    when_any& operator=(const when_any&) = delete;

    [[nodiscard]] bool await_ready() const noexcept { return false; }

    template <typename Promise>
    [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        join_.begin("a when_any was awaited twice: make another one");
        begin(frame);
        std::apply(
            [this](auto&... each) {
                std::size_t index = 0;
                (each.start(*this, index++), ...);
            },
            racers_);
        return join_.suspend(frame);
    }

    result await_resume() noexcept {
        end();
        return std::apply([this](auto&... each) { return result{first_, each.result()...}; }, racers_);
    }

  private:
    static constexpr std::size_t none = sizeof...(Awaitables);

    template <typename Awaitable>
    class racer {
      public:
        explicit racer(std::remove_reference_t<Awaitable>& awaitable) noexcept
            : branch_{awaitable}, ended_{[](void* self) noexcept { static_cast<racer*>(self)->ended(); }, this} {}

        void start(when_any& race, std::size_t index) noexcept {
            race_ = &race;
            index_ = index;
            if (branch_.start(race, ended_.handle())) {
                ended();
            }
        }
        auto result() noexcept { return branch_.result(); }

      private:
        void ended() noexcept { race_->ended(index_); }

        stoppable_branch<Awaitable> branch_;
        when_any* race_ = nullptr;
        std::size_t index_ = 0;
        callback ended_;
    };

    void ended(std::size_t index) noexcept {
        if (first_ == none) {
            first_ = index;
            source().request_stop();
        }
        join_.ended();
    }

    std::tuple<racer<Awaitables>...> racers_;
    std::size_t first_ = none;
    join_point join_{sizeof...(Awaitables)};
};

template <typename... Awaitables>
when_any(Awaitables&&...) -> when_any<Awaitables...>;

} // namespace inflight::async
