// event: stays set until it is reset. set() resumes all waiters.
//
//     task<void> mount(event& mounted) {
//         co_await yield{};
//         mounted.set();
//     }
//
//     task<bool> example() {
//         event mounted;
//         counting_scope scope;
//         if (!scope.spawn(mount(mounted))) {
//             co_return false; // no memory for another frame
//         }
//         co_await mounted.wait();
//         co_await scope.join();
//         co_return mounted.is_set();
//     }
#pragma once

#include "inflight/async/wait_operation.hpp"

namespace inflight::async {

class event {
    struct waiter : operation {
        static constexpr const char* awaited = "an event";

        explicit waiter(event& of) noexcept : event_{of} {}

        [[nodiscard]] bool ready() const noexcept { return event_.set_; }
        void take() const noexcept {}
        [[nodiscard]] operation_list& line() noexcept { return event_.waiting_; }
        void result() const noexcept {}

      private:
        event& event_;
    };

  public:
    event() noexcept = default;
    event(const event&) = delete;
    event& operator=(const event&) = delete;
    ~event() {
        if (!waiting_.empty()) {
            arch::panic("an event ends while coroutines wait for it");
        }
    }

    // co_await wait(): continues once the event is set.
    wait_operation<waiter> wait() noexcept { return wait_operation<waiter>{*this}; }

    // The same, or until a stop is requested.
    stoppable_wait<waiter> wait(stop_token token) noexcept { return stoppable_wait<waiter>{token, *this}; }

    void set() noexcept {
        set_ = true;
        while (operation* const first = waiting_.pop_front()) {
            executor::current().make_ready(*first);
        }
    }

    void reset() noexcept { set_ = false; }

    [[nodiscard]] bool is_set() const noexcept { return set_; }

  private:
    bool set_ = false;
    operation_list waiting_;
};

} // namespace inflight::async
