// event: something that happens once and stays happened until it is reset. All who wait are resumed.
//
//     event mounted;
//     co_await mounted.wait(); // elsewhere: mounted.set();
#pragma once

#include "async/executor.hpp"

namespace inflight::async {

class event {
  public:
    event() noexcept = default;
    event(const event&) = delete;
    event& operator=(const event&) = delete;
    ~event() {
        if (!waiting_.empty()) {
            arch::panic("an event ends while coroutines wait for it");
        }
    }

    class [[nodiscard]] wait_operation : operation {
      public:
        explicit wait_operation(event& of) noexcept : event_{of} {}

        [[nodiscard]] bool await_ready() const noexcept { return event_.set_; }
        void await_suspend(std::coroutine_handle<> frame) noexcept {
            continuation = frame;
            event_.waiting_.push_back(*this);
        }
        void await_resume() const noexcept {}

      private:
        event& event_;
    };

    // co_await wait(): continues once the event is set.
    wait_operation wait() noexcept { return wait_operation{*this}; }

    void set() noexcept {
        set_ = true;
        while (operation* const waiter = waiting_.pop_front()) {
            executor::current().make_ready(*waiter);
        }
    }

    void reset() noexcept { set_ = false; }

    [[nodiscard]] bool is_set() const noexcept { return set_; }

  private:
    bool set_ = false;
    operation_list waiting_;
};

} // namespace inflight::async
