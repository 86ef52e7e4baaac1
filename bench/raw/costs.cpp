// costs: what the steps of the runtime cost, in guest instructions.
//
// Each step is repeated in a loop, in batches. A control loop is the same code without the step: the difference is the
// cost of the step. A figure that the loop does not touch itself proves that the step was done: the budget spent by an
// await of something ready, the frames allocated from the slab, the resumptions by the executor.
//
// A batch of awaits that do not suspend stays within one round, and spends exactly its budget. A step that needs rounds
// is measured with `at_once` tasks, which share the fixed costs of a round.

#include "async/counting_scope.hpp"
#include "async/event.hpp"
#include "async/inbox.hpp"
#include "async/mutex.hpp"
#include "async/scheduler.hpp"
#include "async/semaphore.hpp"
#include "async/when_all.hpp"
#include "src/kernel/console.hpp"
#include "src/kernel/end.hpp"
#include "src/kernel/program.hpp"

#include <array>

namespace inflight::bench {

namespace {

using kernel::console::print;

constexpr std::uint64_t batches = 64;
constexpr std::uint64_t batch = async::executor::round_budget; // repetitions in one
constexpr std::uint32_t at_once = 64;                          // tasks

// The compiler keeps no value in a register across it, moves no access over it, and removes none before it.
inline void barrier() noexcept {
    asm volatile("" : : : "memory");
}

// The instructions of a number of repetitions.
struct spent {
    std::uint64_t instructions;
    std::uint64_t repetitions;
};

void check(bool done, const char* step) noexcept {
    if (!done) {
        kernel::fail("costs: what was measured as '%s' was not done", step);
    }
}

// True if the awaits of something ready have spent the round's budget: the next one would suspend.
bool budget_is_spent() noexcept {
    return !async::executor::current().may_go_on();
}

std::uint64_t frames_allocated() noexcept {
    return async::executor::current().frames().allocations();
}

// A coroutine that only counts how often it is resumed.
class counter {
  public:
    struct promise_type : async::promise_base {
        using promise_base::promise_base;
        counter get_return_object() noexcept {
            return counter{std::coroutine_handle<promise_type>::from_promise(*this)};
        }
        static counter get_return_object_on_allocation_failure() noexcept { return counter{nullptr}; }
        [[nodiscard]] async::starts_suspended initial_suspend() noexcept { return async::starts_suspended{*this}; }
        [[nodiscard]] std::suspend_always final_suspend() const noexcept { return {}; }
        void return_void() const noexcept {}
    };

    explicit counter(std::coroutine_handle<> frame) noexcept : frame_{frame} {}
    counter(counter&& other) noexcept : frame_{std::exchange(other.frame_, nullptr)} {} // Clang 14 asks for it
    counter& operator=(counter&&) = delete;
    ~counter() {
        if (frame_) {
            frame_.destroy();
        }
    }

    [[nodiscard]] std::coroutine_handle<> frame() const noexcept { return frame_; }

  private:
    std::coroutine_handle<> frame_;
};

[[gnu::noinline]] counter count_resumptions(std::uint64_t& resumptions) {
    for (;;) {
        ++resumptions;
        co_await std::suspend_always{};
    }
}

template <bool measured>
[[gnu::noinline]] std::uint64_t resume(std::coroutine_handle<> frame) noexcept {
    const std::uint64_t before = arch::instructions();
    for (std::uint64_t i = 0; i != batch; ++i) {
        if constexpr (measured) {
            frame.resume();
        }
        barrier();
    }
    return arch::instructions() - before;
}

template <bool measured>
async::task<spent> suspend_and_resume() {
    std::uint64_t resumptions = 0;
    const counter counting = count_resumptions(resumptions);
    check(static_cast<bool>(counting.frame()), "suspend and resume");
    std::uint64_t instructions = 0;
    for (std::uint64_t i = 0; i != batches; ++i) {
        instructions += resume<measured>(counting.frame());
    }
    check(resumptions == (measured ? batches * batch : 0), "suspend and resume");
    co_return spent{instructions, batches * batch};
}

template <bool measured>
async::task<void> yield_often() {
    for (std::uint64_t i = 0; i != batch; ++i) {
        if constexpr (measured) {
            co_await async::yield{};
        }
        barrier();
    }
}

template <bool measured>
async::task<spent> yield() {
    std::uint64_t instructions = 0;
    for (std::uint64_t b = 0; b != batches; ++b) {
        async::counting_scope scope;
        for (std::uint32_t i = 0; i != at_once; ++i) {
            check(scope.spawn(yield_often<measured>()), "yield");
        }
        const std::uint64_t resumed = async::executor::current().count().resumptions;
        const std::uint64_t before = arch::instructions();
        co_await scope.join();
        instructions += arch::instructions() - before;
        const std::uint64_t expected = measured ? at_once * batch : 0;
        check(async::executor::current().count().resumptions - resumed >= expected, "yield");
    }
    co_return spent{instructions, batches * at_once * batch};
}

[[gnu::noinline]] async::task<int> same(int number) {
    co_return number;
}

template <bool measured>
async::task<void> call_often(std::int64_t& sum) {
    for (int i = 0; i != batch; ++i) {
        if constexpr (measured) {
            sum += co_await same(i);
        } else {
            sum += i;
        }
        barrier();
    }
}

template <bool measured>
async::task<spent> call() {
    std::uint64_t instructions = 0;
    for (std::uint64_t b = 0; b != batches; ++b) {
        const std::uint64_t frames = frames_allocated();
        std::int64_t sum = 0;
        const std::uint64_t before = arch::instructions();
        co_await call_often<measured>(sum);
        instructions += arch::instructions() - before;
        check(sum == batch * (batch - 1) / 2 && frames_allocated() - frames == (measured ? batch + 1 : 1),
              "call of a task");
    }
    co_return spent{instructions, batches * batch};
}

template <bool measured>
[[gnu::noinline]] std::uint64_t post_and_take(async::inbox& own, async::operation& message) noexcept {
    bool found = true;
    const std::uint64_t before = arch::instructions();
    for (std::uint64_t i = 0; i != batch; ++i) {
        async::operation* taken = &message;
        if constexpr (measured) {
            static_cast<void>(own.post(message)); // nobody sleeps
            taken = own.take_all();
        }
        found &= taken == &message;
        barrier();
    }
    const std::uint64_t instructions = arch::instructions() - before;
    check(found && !own.has_messages(), "inbox post and take");
    return instructions;
}

template <bool measured>
async::task<spent> inbox() {
    async::inbox own;
    async::operation message;
    std::uint64_t instructions = 0;
    for (std::uint64_t b = 0; b != batches; ++b) {
        instructions += post_and_take<measured>(own, message);
    }
    co_return spent{instructions, batches * batch};
}

// A semaphore with one permit and a mutex, with the same interface.
struct permit {
    static constexpr const char* step = "semaphore acquire and release";
    auto take() noexcept { return one.acquire(); }
    void give_back() noexcept { one.release(); }
    [[nodiscard]] bool is_free() const noexcept { return one.available() == 1; }

    async::semaphore one{1};
};

struct lock {
    static constexpr const char* step = "mutex lock and unlock";
    auto take() noexcept { return one.lock(); }
    void give_back() noexcept { one.unlock(); } // panics if it is not locked
    [[nodiscard]] bool is_free() const noexcept { return !one.is_locked(); }

    async::mutex one;
};

// Without contention.
template <bool measured, typename Resource>
async::task<spent> take_and_give_back() {
    Resource resource;
    std::uint64_t instructions = 0;
    for (std::uint64_t b = 0; b != batches; ++b) {
        co_await async::yield{}; // to a round with its whole budget
        const std::uint64_t before = arch::instructions();
        for (std::uint64_t i = 0; i != batch; ++i) {
            if constexpr (measured) {
                co_await resource.take();
                barrier();
                resource.give_back();
            }
            barrier();
        }
        instructions += arch::instructions() - before;
        check(resource.is_free() && budget_is_spent() == measured, Resource::step);
    }
    co_return spent{instructions, batches * batch};
}

[[gnu::noinline]] async::task<void> increment(std::uint64_t& count) {
    ++count;
    co_return;
}

// Spawns this many tasks and joins them. Neither spawning nor joining is possible without a task, so the control is the
// empty loop.
template <bool measured, std::uint32_t tasks>
async::task<spent> spawn_and_join() {
    constexpr std::uint64_t joins = batch / tasks;
    std::uint64_t count = 0;
    std::uint64_t instructions = 0;
    async::counting_scope scope;
    for (std::uint64_t b = 0; b != batches; ++b) {
        bool spawned = true;
        const std::uint64_t before = arch::instructions();
        for (std::uint64_t i = 0; i != joins; ++i) {
            for (std::uint32_t j = 0; j != tasks; ++j) {
                if constexpr (measured) {
                    spawned &= scope.spawn(increment(count));
                }
                barrier();
            }
            if constexpr (measured) {
                co_await scope.join();
            }
            barrier();
        }
        instructions += arch::instructions() - before;
        check(spawned, "spawn and join");
    }
    check(count == (measured ? batches * joins * tasks : 0), "spawn and join");
    co_return spent{instructions, batches * joins * tasks};
}

template <bool measured>
async::task<spent> when_all() {
    async::event happened;
    happened.set();
    std::uint64_t instructions = 0;
    for (std::uint64_t b = 0; b != batches; ++b) {
        co_await async::yield{}; // to a round with its whole budget
        const std::uint64_t before = arch::instructions();
        for (std::uint64_t i = 0; i != batch / 2; ++i) {
            if constexpr (measured) {
                co_await async::when_all(happened.wait(), happened.wait());
            }
            barrier();
        }
        instructions += arch::instructions() - before;
        check(budget_is_spent() == measured, "when_all of two that are ready");
    }
    co_return spent{instructions, batches * batch / 2};
}

template <bool measured>
async::task<spent> sleep() {
    std::uint64_t instructions = 0;
    for (std::uint64_t b = 0; b != batches; ++b) {
        co_await async::yield{}; // to a round with its whole budget
        const std::uint64_t before = arch::instructions();
        for (std::uint64_t i = 0; i != batch; ++i) {
            if constexpr (measured) {
                co_await async::sleep_until(0);
            }
            barrier();
        }
        instructions += arch::instructions() - before;
        check(budget_is_spent() == measured, "sleep_until in the past");
    }
    co_return spent{instructions, batches * batch};
}

struct step {
    const char* name; // in the result
    const char* what;
    async::task<spent> (*measured)();
    async::task<spent> (*control)();
};

constexpr step steps[] = {
    {"suspend_resume", "suspend and resume: a handle, a coroutine that counts", suspend_and_resume<true>,
     suspend_and_resume<false>},
    {"yield", "yield, and its share of a round of 64 tasks", yield<true>, yield<false>},
    {"call", "call of a task that returns at once: frame, start, result, end", call<true>, call<false>},
    {"inbox", "inbox: post and take_all of one message, awake", inbox<true>, inbox<false>},
    {"semaphore", "semaphore: acquire and release, a permit is free", take_and_give_back<true, permit>,
     take_and_give_back<false, permit>},
    {"mutex", "mutex: lock and unlock, nobody has it", take_and_give_back<true, lock>, take_and_give_back<false, lock>},
    {"spawn_join", "spawn and join, a task of 64, with its share of the rounds", spawn_and_join<true, at_once>,
     spawn_and_join<false, at_once>},
    {"spawn_join_alone", "spawn and join of one task, with two rounds of its own", spawn_and_join<true, 1>,
     spawn_and_join<false, 1>},
    {"when_all", "when_all of two that are ready", when_all<true>, when_all<false>},
    {"sleep", "sleep_until in the past", sleep<true>, sleep<false>},
};

async::task<bool> run_costs(const kernel::environment& here) {
    if (!here.wanted.icount) {
        kernel::fail("costs needs a machine that counts instructions: ./run costs --icount");
    }
    std::array<std::uint64_t, std::size(steps)> hundredths{};
    const std::uint64_t sleeps = async::executor::current().count().sleeps;
    print("guest instructions  of\n");
    for (std::size_t i = 0; i < std::size(steps); ++i) {
        const spent nothing = co_await steps[i].control();
        const spent all = co_await steps[i].measured();
        check(all.instructions > nothing.instructions && all.repetitions == nothing.repetitions, steps[i].what);
        hundredths[i] = ((all.instructions - nothing.instructions) * 100 + all.repetitions / 2) / all.repetitions;
        print("%15lu.%02lu  %s\n", hundredths[i] / 100, hundredths[i] % 100, steps[i].what);
    }
    // The counter advances in a sleep, too: those are no instructions of the hart.
    check(async::executor::current().count().sleeps == sleeps, "work without a sleep");

    print("@result {\"program\":\"costs\"");
    for (std::size_t i = 0; i < std::size(steps); ++i) {
        print(",\"%s_hundredths\":%lu", steps[i].name, hundredths[i]);
    }
    print("}\n");
    co_return true;
}

const kernel::program registered{
    "costs", "counts the guest instructions of the runtime's steps, from a yield to a spawn and join", run_costs};

} // namespace

} // namespace inflight::bench
