#include "src/kernel/tasks.hpp"

#include "async/counting_scope.hpp"
#include "async/scheduler.hpp"
#include "async/task_table.hpp"
#include "src/kernel/console.hpp"
#include "src/kernel/disk_interrupts.hpp"
#include "src/kernel/end.hpp"

#include <cstddef>
#include <cstdio>
#include <new>

extern "C" {
extern const std::byte kernel_begin;
extern const std::byte kernel_end;
}

namespace inflight::kernel {

namespace {

using async::task_record;
using async::task_table;
using console::print;

constexpr std::size_t max_awaiters = 16;
constexpr std::size_t max_rows = 40;

// Texts are constants of the kernel. A pointer elsewhere is damaged.
const char* checked(const char* text, const char* none) noexcept {
    if (text == nullptr) {
        return none;
    }
    const auto* const place = reinterpret_cast<const std::byte*>(text);
    return place >= &kernel_begin && place < &kernel_end ? text : "(damaged)";
}

const char* name_of(const task_record& task) noexcept {
    return checked(task.name, "(unnamed)");
}

// The launcher adds the name of the function to the address.
void print_code(const task_record& task) noexcept {
    print(", in 0x%lx\n", task_table::code_of(task));
}

void print_stack(const async::executor& hart) noexcept {
    char place[16] = "";
    if (hart.hart() != arch::this_hart()) {
        std::snprintf(place, sizeof place, " on hart %u", hart.hart());
    }
    const task_record* task = task_table{hart}.running();
    if (task == nullptr) {
        print("no task is running%s\n", place);
        return;
    }
    print("the running task%s, and who awaits it:\n", place);
    for (std::size_t depth = 0; task != nullptr && depth < max_awaiters; ++depth) {
        print("  #%lu %s", depth, name_of(*task));
        print_code(*task);
        task = task_table::parent_of(*task);
    }
    if (task != nullptr) {
        print("  and more\n");
    }
}

void print_row(const task_table& table, const task_record& task) noexcept {
    print("  %p %s: ", task.frame(), name_of(task));
    const task_record* const called = table.called_by(task);
    switch (table.state_of(task)) {
    case task_table::state::created: print("not started"); break;
    case task_table::state::ready: print("ready"); break;
    case task_table::state::running: print("running"); break;
    case task_table::state::awaiting: print("awaits %s", called != nullptr ? name_of(*called) : "another"); break;
    case task_table::state::suspended: print("waits for %s", checked(task.waits_for, "a block request")); break;
    case task_table::state::ended: print("ended"); break;
    }
    if (const task_record* const parent = task_table::parent_of(task)) {
        print(", for %s", name_of(*parent));
    }
#if INFLIGHT_TRACE
    print(", %lu resumptions, %lu instructions", task.resumptions, task.instructions);
#else
    print(", - resumptions, - instructions");
#endif
    print_code(task);
}

void print_table(const async::executor& hart, bool stands_still, std::uint64_t stopped) noexcept {
    const task_table table{hart, stopped};
    print("tasks of hart %u%s:\n", hart.hart(), stands_still ? "" : ", which is running meanwhile: a snapshot");
    std::size_t rows = 0;
    table.for_each([&](const task_record& task) {
        if (rows++ < max_rows) {
            print_row(table, task);
        }
        return true;
    });
    if (rows > max_rows) {
        print("  and %lu more\n", rows - max_rows);
    }
    if (rows == 0) {
        print("  none\n");
    }
}

} // namespace

void print_tasks(std::uint64_t stopped) noexcept {
    const arch::hart_index harts = arch::harts();
    for (arch::hart_index i = 0; i < harts; ++i) {
        const async::executor* const hart = async::executor::find((arch::this_hart() + i) % harts);
        if (hart == nullptr) {
            continue; // it has not come up yet
        }
        const bool stands_still = i == 0 || (stopped >> hart->hart() & 1) != 0;
        if (stands_still) {
            print_stack(*hart);
        }
        print_table(*hart, stands_still, stopped);
    }
}

namespace {

async::task<void> watch() {
    std::uint64_t before = 0;
    int seconds = 0;
    for (;;) {
        co_await async::sleep_for(arch::ticks_per_second());
        std::uint64_t resumptions = 0;
        for (arch::hart_index hart = 0; hart < arch::harts(); ++hart) {
            resumptions += async::executor::of(hart).count().resumptions;
        }
        resumptions -= disk_interrupts::looks();               // which continue during a standstill
        seconds = resumptions - before <= 1 ? seconds + 1 : 0; // one is this task's own
        before = resumptions;
        if (seconds == 2) {
            print("no task has been resumed for two seconds\n");
            print_tasks();
        }
    }
}

} // namespace

void watch_for_standstill() noexcept {
    // Never joined or destroyed: the machine ends first.
    alignas(async::counting_scope) static std::byte storage[sizeof(async::counting_scope)];
    if (!(::new (storage) async::counting_scope)->spawn(watch().named("watch"))) {
        fail("no memory is left for a task that watches");
    }
}

} // namespace inflight::kernel
