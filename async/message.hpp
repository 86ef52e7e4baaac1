// message: a function that is called on another hart, in its next round.
//
//     message greeting{[](void* name) noexcept { greet(static_cast<const char*>(name)); }, name};
//     greeting.post(executor::of(1));
//
// What was written before the post is visible to the function. Messages from one hart to another arrive in the order in
// which they were posted. A message that was posted must stay until its function is called, and may be posted again from
// then on: by the function itself, too.
#pragma once

#include "async/callback.hpp"
#include "async/executor.hpp"

namespace inflight::async {

class message : operation {
  public:
    message(callback::function call, void* argument) noexcept : call_{call, argument} { continuation = call_.handle(); }

    void post(executor& to) noexcept { to.post(*this); }

  private:
    callback call_;
};

} // namespace inflight::async
