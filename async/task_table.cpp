#include "inflight/async/task_table.hpp"

namespace inflight::async {

namespace {

constexpr std::size_t record_offset = 2 * sizeof(void*); // in the frame: behind what resumes and what destroys it

// What a frame begins with, in every compiler that we know (callback.hpp).
struct frame_head {
    const void* resume; // nullptr: it has ended
    const void* destroy;
};

const frame_head& head_of(const task_record& task) noexcept {
    return *static_cast<const frame_head*>(task.frame());
}

// Calls visit(executor) for that of each hart, until it returns false. True if it never did.
template <typename Visit>
bool for_each_executor(Visit visit) noexcept {
    for (arch::hart_index i = 0; i < executor::max_harts; ++i) {
        executor* const hart = executor::find(i);
        if (hart != nullptr && !visit(*hart)) {
            return false;
        }
    }
    return true;
}

// As many tasks as there can be: the bound of a walk from one to the next.
std::size_t max_tasks() noexcept {
    std::size_t blocks = 0;
    for_each_executor([&blocks](executor& hart) {
        blocks += hart.frames().blocks();
        return true;
    });
    return blocks;
}

// The hart whose frames lie there; nullptr: no frame does.
const executor* hart_with(const void* address) noexcept {
    for (arch::hart_index i = 0; i < executor::max_harts; ++i) {
        executor* const hart = executor::find(i);
        if (hart != nullptr && hart->frames().holds(address)) {
            return hart;
        }
    }
    return nullptr;
}

} // namespace

const task_record* task_table::record_in(const void* frame) noexcept {
    return reinterpret_cast<const task_record*>(static_cast<const std::byte*>(frame) + record_offset);
}

const task_record* task_table::at_frame(const void* frame) noexcept {
    const executor* const hart = hart_with(frame);
    return hart != nullptr && hart->frames_.is_live(frame) ? record_in(frame) : nullptr;
}

// The hart has noted whom it resumed last, or to whom a task that ended has handed over. Whom that has called since
// runs.
const task_record* task_table::running() const noexcept {
    const task_record* innermost = at_frame(hart_.current_frame_);
    std::size_t left = max_tasks();
    while (innermost != nullptr && left-- != 0) {
        const task_record* const called = called_by(*innermost);
        if (called == nullptr) {
            break;
        }
        innermost = called;
    }
    return innermost;
}

bool task_table::stands_still(const executor& hart) const noexcept {
    return &hart == &executor::current() || (stopped_ >> hart.hart() & 1) != 0;
}

// Whether the coroutine of that frame is to be resumed by one of these operations. Those of a hart that runs are
// followed only as far as they lie in frames: they may be gone, and what lies elsewhere may be anything. A hart that
// has stopped may have done so while it put many in line: those are not there yet.
bool task_table::in_line(const executor& hart, const operation* first, const void* frame) const noexcept {
    const bool standing = stands_still(hart);
    std::size_t left = max_tasks() + 4096; // one operation of a task at the most; and those that are no task's
    for (const operation* each = first; each != nullptr && left-- != 0; each = each->next) {
        const bool aligned = reinterpret_cast<std::uintptr_t>(each) % alignof(operation) == 0;
        if (!standing && (!aligned || hart_with(each) == nullptr || hart_with(each + 1) == nullptr)) {
            return false;
        }
        if (each->continuation.address() == frame) {
            return true;
        }
        if (hart.ready_.is_last(*each)) {
            return false;
        }
    }
    return false;
}

// Whether a hart runs its coroutine, whichever: a task may be a guest elsewhere. `task` has called no other.
bool task_table::is_running(const task_record& task) const noexcept {
    const task_record* caller = &task;
    for (std::size_t left = max_tasks(); caller != nullptr && left-- != 0;) {
        const bool found =
            !for_each_executor([caller](const executor& hart) { return at_frame(hart.current_frame_) != caller; });
        if (found) {
            return true;
        }
        caller = caller->group == nullptr ? at_frame(caller->link.continuation.address()) : nullptr;
    }
    return false;
}

task_table::state task_table::state_of(const task_record& task) const noexcept {
    const void* const frame = task.frame();
    const task_record* const called = called_by(task);
    if (called == nullptr && is_running(task)) {
        return state::running;
    }
    if (head_of(task).resume == nullptr) {
        return state::ended;
    }
    if (task.group == nullptr && !task.link.continuation) {
        return state::created;
    }
    const bool ready = !for_each_executor([&](const executor& hart) {
        return !in_line(hart, hart.left_over_, frame) && !in_line(hart, hart.ready_.front(), frame);
    });
    if (ready) {
        return state::ready;
    }
    return called != nullptr ? state::awaiting : state::suspended;
}

const task_record* task_table::parent_of(const task_record& task) noexcept {
    const void* const told = task.group != nullptr ? task.group : task.link.continuation.address();
    if (const task_record* const awaiting = at_frame(told)) {
        return awaiting;
    }
    // A local object of a coroutine, or of something else. It lies in the frame that begins last before it.
    const executor* const hart = hart_with(told);
    if (hart == nullptr) {
        return nullptr;
    }
    const auto address = reinterpret_cast<std::uintptr_t>(told);
    const task_record* owner = nullptr;
    task_table{*hart}.for_each([&](const task_record& candidate) {
        const auto frame = reinterpret_cast<std::uintptr_t>(candidate.frame());
        if (frame <= address && address - frame < hart->frames_.size_of_block(candidate.frame()) &&
            (owner == nullptr || frame > reinterpret_cast<std::uintptr_t>(owner->frame()))) {
            owner = &candidate;
        }
        return true;
    });
    return owner;
}

const task_record* task_table::called_by(const task_record& task) const noexcept {
    const void* const frame = task.frame();
    const task_record* called = nullptr;
    const auto look = [&](const executor& hart) {
        task_table{hart}.for_each([&](const task_record& candidate) {
            if (candidate.group == nullptr && candidate.link.continuation.address() == frame) {
                called = &candidate;
            }
            return called == nullptr;
        });
        return called == nullptr;
    };
    // On another hart only if not on this one, where most are.
    if (look(hart_)) {
        for_each_executor([&](const executor& hart) { return &hart == &hart_ || look(hart); });
    }
    return called;
}

std::uintptr_t task_table::code_of(const task_record& task) noexcept {
    return reinterpret_cast<std::uintptr_t>(head_of(task).destroy);
}

} // namespace inflight::async
