// A call at a given point of what the driver does.
#pragma once

#include "tests/host/driver_fixture.hpp"

#include <functional>
#include <utility>

namespace inflight::test::hostile {

using arch::host::fence_kind;

// Makes one call: at the fence of a kind that has the given number, or when the driver is about to sleep.
class trigger final : public arch::host::observer {
  public:
    explicit trigger(machine& host) : host_{host} { host_.observe(*this); }
    ~trigger() override { host_.stop_observing(*this); }
    void at_fence(fence_kind what, unsigned number, std::function<void()> call) {
        kind_ = what;
        left_ = number;
        call_ = std::move(call);
    }
    void at_sleep(std::function<void()> call) { sleep_call_ = std::move(call); }

  private:
    void on_fence(fence_kind what) override {
        if (call_ && what == kind_ && left_-- == 0)
            std::exchange(call_, {})();
    }
    void on_wait_for_interrupt() override {
        if (sleep_call_)
            std::exchange(sleep_call_, {})();
    }
    machine& host_;
    fence_kind kind_{};
    unsigned left_ = 0;
    std::function<void()> call_;
    std::function<void()> sleep_call_;
};

} // namespace inflight::test::hostile
