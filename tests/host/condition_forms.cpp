// Runs one coroutine of condition_forms.inc, by its name; status 0 if all of its body has run, else 1. Without a name: lists
// them, "NAME keeps|loses LINE". INFLIGHT_FORMS=0: a coroutine of the standard library's means alone, which shows what the
// compiler does; INFLIGHT_FORMS=1: ours.

#if INFLIGHT_FORMS
#include "async/coroutine.hpp"
#include "async/generator.hpp"
#include "async/semaphore.hpp"
#include "async/sync_wait.hpp"
#include "async/task.hpp"
#include "async/with_timeout.hpp"
#endif

#include <coroutine>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <optional>
#include <string_view>

namespace {

#if INFLIGHT_FORMS

using namespace inflight;
using namespace inflight::async;

using coroutine = task<void>;

task<int> one() {
    co_return 1;
}
task<bool> yes() {
    co_return true;
}

struct at_once { // coroutine.hpp has it as its example
    struct promise_type : promise_base {
        using promise_base::promise_base;
        at_once get_return_object() noexcept { return {}; }
        static at_once get_return_object_on_allocation_failure() noexcept { return {}; }
        starts_running initial_suspend() noexcept { return starts_running{*this}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() noexcept {}
    };
};

bool was_stopped(wait_result result) noexcept {
    return result == wait_result::stopped;
}

#define WAIT permit.acquire(stop_token{})
#define TAKE permit.acquire()
#define ONE one()
#define YES yes()
#define IN_TIME with_timeout(permit.acquire(stop_token{}), 10)

#else

struct coroutine {
    struct promise_type {
        coroutine get_return_object() noexcept { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
        std::suspend_always initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        std::suspend_never yield_value(int) noexcept { return {}; }
        void return_void() noexcept {}
        void unhandled_exception() noexcept {}
    };
    std::coroutine_handle<promise_type> frame;
};

enum class wait_result { done, stopped };

bool was_stopped(wait_result result) noexcept {
    return result == wait_result::stopped;
}

template <typename T>
class ready {
  public:
    explicit ready(T value) noexcept : value_{value} {}
    [[nodiscard]] bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    [[nodiscard]] T await_resume() const noexcept { return value_; }

  private:
    T value_;
};

struct semaphore {};

#define WAIT ready<wait_result>(wait_result::done)
#define TAKE std::suspend_never()
#define ONE ready<int>(1)
#define YES ready<bool>(true)
#define IN_TIME ready<std::optional<wait_result>>(wait_result::done)

#endif

#define FORM(name, of_gcc_12, ...)                                                                                     \
    coroutine name([[maybe_unused]] semaphore& permit, bool& reached) {                                                \
        __VA_ARGS__                                                                                                    \
    }
#if INFLIGHT_FORMS
#define FORM_OF_GENERATOR(name, of_gcc_12, ...)                                                                        \
    generator<int> name##_values(bool& reached){__VA_ARGS__} coroutine name(semaphore&, bool& reached) {               \
        for ([[maybe_unused]] const int each : name##_values(reached)) {                                               \
        }                                                                                                              \
        co_return;                                                                                                     \
    }
#define FORM_AT_ONCE(name, of_gcc_12, ...)                                                                             \
    at_once name##_now(bool& reached){__VA_ARGS__} coroutine name(semaphore&, bool& reached) {                         \
        name##_now(reached);                                                                                           \
        co_return;                                                                                                     \
    }
#else
#define FORM_OF_GENERATOR FORM
#define FORM_AT_ONCE FORM
#endif
#include "condition_forms.inc"
#undef FORM
#undef FORM_OF_GENERATOR
#undef FORM_AT_ONCE

struct form {
    std::string_view name;
    const char* of_gcc_12;
    int line;
    coroutine (*call)(semaphore&, bool&);
};

#define FORM_OF_GENERATOR FORM
#define FORM_AT_ONCE FORM
constexpr form forms[] = {
#define FORM(name, of_gcc_12, ...) {#name, #of_gcc_12, __LINE__, name},
#include "condition_forms.inc"
#undef FORM
};

#if INFLIGHT_FORMS

bool runs(const form& which) {
    arch::host::machine machine{{.memory_bytes = 4096}};
    alignas(frame_slab::granule) static std::byte memory[1 << 16];
    executor runtime{memory};
    semaphore permit{1};
    bool reached = false;
    sync_wait(which.call(permit, reached));
    return reached;
}

#else

bool runs(const form& which) {
    semaphore permit;
    bool reached = false;
    const coroutine called = which.call(permit, reached);
    called.frame.resume();
    return reached && called.frame.done();
}

#endif

} // namespace

int main(int arguments, char** words) {
    for (const form& each : forms) {
        if (arguments < 2) {
            std::printf("%s %s %d\n", each.name.data(), each.of_gcc_12, each.line);
        } else if (each.name == words[1]) {
            std::_Exit(runs(each) ? 0 : 1);
        }
    }
    return arguments < 2 ? 0 : 2;
}
