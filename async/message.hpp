// message: a function that is called on another hart, in its next round.
//
//     task<bool> example() {
//         bool greeted = false;
//         message greeting{[](void* flag) noexcept { *static_cast<bool*>(flag) = true; }, &greeted};
//         greeting.post(executor::of(arch::harts() - 1));
//         co_await sleep_for(arch::ticks_per_second() / 100);
//         co_return greeted;
//     }
//
// What was written before the post is visible to the function. Messages from one hart to another arrive in the order in
// which they were posted. A message that was posted must stay until its function is called, and may be posted again
// from then on: by the function itself, too.
#pragma once

#include "inflight/async/callback.hpp"
#include "inflight/async/executor.hpp"

namespace inflight::async {

class message : operation {
  public:
    message(callback::function call, void* argument) noexcept : call_{call, argument} { continuation = call_.handle(); }

    void post(executor& to) noexcept { to.post(*this); }

  private:
    callback call_;
};

} // namespace inflight::async
