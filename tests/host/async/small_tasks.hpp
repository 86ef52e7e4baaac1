// Coroutines that many tests use.
#pragma once

#include "async/event.hpp"
#include "async/scheduler.hpp"
#include "async/stop_token.hpp"
#include "async/task.hpp"

#include <vector>

namespace inflight::tests {

using namespace async;

inline task<void> log_steps(std::vector<int>& log, int id, int steps) {
    for (int i = 0; i < steps; ++i) {
        log.push_back(id);
        co_await yield{};
    }
}

inline task<void> nothing() {
    co_return;
}

inline task<void> nothing_later() {
    co_await yield{};
}

inline task<int> value_of(int value) {
    co_return value;
}

inline task<int> value_later(int value, int rounds = 1) {
    for (int i = 0; i < rounds; ++i) {
        co_await yield{};
    }
    co_return value;
}

inline task<int> value_after(int value, arch::ticks span) {
    co_await sleep_for(span);
    co_return value;
}

inline task<wait_result> nap(arch::ticks span) {
    const stop_token token = co_await get_stop_token();
    const wait_result result = co_await sleep_for(span, token);
    co_return result;
}

inline constexpr arch::ticks for_ever = arch::no_deadline;

inline task<void> wait_for(event& what) {
    co_await what.wait();
}

inline task<void> wait_for(event& what, std::vector<int>& log, int id) {
    co_await what.wait();
    log.push_back(id);
}

} // namespace inflight::tests
