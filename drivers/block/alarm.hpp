// A timer that calls a function.
#pragma once

#include "inflight/async/callback.hpp"
#include "inflight/async/timer.hpp"

namespace inflight::block {

struct alarm : async::timer {
    alarm(async::callback::function call, void* argument) noexcept : rings{call, argument} {
        continuation = rings.handle();
    }
    async::callback rings;
};

} // namespace inflight::block
