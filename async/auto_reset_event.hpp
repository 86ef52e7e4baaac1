// auto_reset_event: each set() resumes one waiter. If there is none, the next waiter does not suspend.
//
//     task<bool> example() {
//         auto_reset_event bell;
//         bell.set();
//         bell.set(); // it is set already
//         co_await bell.wait();
//         stop_source source;
//         source.request_stop();
//         co_return co_await bell.wait(source.get_token()) == wait_result::stopped;
//     }
#pragma once

#include "inflight/async/wait_operation.hpp"

namespace inflight::async {

class auto_reset_event {
    struct waiter : operation {
        static constexpr const char* awaited = "an event";

        explicit waiter(auto_reset_event& of) noexcept : event_{of} {}

        [[nodiscard]] bool ready() const noexcept { return event_.set_; }
        void take() noexcept { event_.set_ = false; }
        void give_back() noexcept { event_.set(); }
        [[nodiscard]] operation_list& line() noexcept { return event_.waiting_; }
        void result() const noexcept {}

      private:
        auto_reset_event& event_;
    };

  public:
    auto_reset_event() noexcept = default;
    auto_reset_event(const auto_reset_event&) = delete;
    auto_reset_event& operator=(const auto_reset_event&) = delete;
    ~auto_reset_event() {
        if (!waiting_.empty()) {
            arch::panic("an auto-reset event ends while coroutines wait for it");
        }
    }

    // co_await wait(): waits in line for a set(), and takes it.
    wait_operation<waiter> wait() noexcept { return wait_operation<waiter>{*this}; }

    // The same, or nothing: no set() is taken if it returns wait_result::stopped.
    stoppable_wait<waiter> wait(stop_token token) noexcept { return stoppable_wait<waiter>{token, *this}; }

    // Resumes the longest waiter. If there is none, one set() is remembered.
    void set() noexcept {
        if (operation* const first = waiting_.pop_front()) {
            executor::current().make_ready(*first);
        } else {
            set_ = true;
        }
    }

    void reset() noexcept { set_ = false; }

    [[nodiscard]] bool is_set() const noexcept { return set_; }

  private:
    bool set_ = false;
    operation_list waiting_;
};

} // namespace inflight::async
