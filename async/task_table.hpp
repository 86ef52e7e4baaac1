// The tasks of a hart as seen from outside: which there are, what they do, which awaits which.
//
//     task<void> nap() {
//         co_await sleep_for(100);
//     }
//
//     task<bool> example() {
//         counting_scope scope;
//         const bool spawned = scope.spawn(nap().named("nap"));
//         co_await yield{};
//         const task_table table{executor::current()};
//         bool seen = false;
//         table.for_each([&](const task_record& each) {
//             seen = seen || (each.name != nullptr && table.state_of(each) == task_table::state::suspended &&
//                             table.parent_of(each) == table.running());
//             return true;
//         });
//         co_await scope.join();
//         co_return spawned && seen;
//     }
//
// For a kernel that is stuck or broken, so it trusts little: a record is looked at only if the slab knows that a frame
// in use begins before it, and every walk is bounded. Of the calling hart, and of one that has stopped for ever, what
// it says is so. Another hart may be running meanwhile: what is said of it was so a moment ago, or has been changing
// meanwhile.
#pragma once

#include "inflight/async/executor.hpp"

#include <cstddef>
#include <cstdint>

namespace inflight::async {

class task_table {
  public:
    enum class state : std::uint8_t {
        created,   // not started
        ready,     // in line to be resumed
        running,   // its coroutine runs
        awaiting,  // another task, which it has called
        suspended, // for what its record says
        ended,     // its result has not been taken, or its frame not been destroyed
    };

    // Bit i of `stopped` says that hart i has stopped for good.
    explicit task_table(const executor& hart, std::uint64_t stopped = 0) noexcept : hart_{hart}, stopped_{stopped} {}

    // Calls visit(task) for each, until it returns false.
    template <typename Visit>
    void for_each(Visit visit) const noexcept {
        hart_.frames_.for_each_live([&visit](const void* frame) { return visit(*record_in(frame)); });
    }

    // The task whose coroutine the hart runs; nullptr if it is none: the hart is between two, or runs something else.
    [[nodiscard]] const task_record* running() const noexcept;

    [[nodiscard]] state state_of(const task_record& task) const noexcept;

    // Who is told when the task ends: the task that awaits it, or the one in whose frame that lies which is told, a
    // group or what awaits several. nullptr: no task.
    [[nodiscard]] static const task_record* parent_of(const task_record& task) noexcept;

    // The task, of any hart, that it has called and waits for; nullptr if there is none.
    [[nodiscard]] const task_record* called_by(const task_record& task) const noexcept;

    // Where the code of the task is: a debugger knows the name of its function.
    [[nodiscard]] static std::uintptr_t code_of(const task_record& task) noexcept;

    // The task of any hart that has this frame; nullptr if none has.
    [[nodiscard]] static const task_record* at_frame(const void* frame) noexcept;

  private:
    [[nodiscard]] static const task_record* record_in(const void* frame) noexcept;
    [[nodiscard]] bool stands_still(const executor& hart) const noexcept;
    [[nodiscard]] bool in_line(const executor& hart, const operation* first, const void* frame) const noexcept;
    [[nodiscard]] bool is_running(const task_record& task) const noexcept;

    const executor& hart_;
    std::uint64_t stopped_;
    static_assert(executor::max_harts <= 64);
};

} // namespace inflight::async
