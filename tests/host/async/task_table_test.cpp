// Tests of the table of tasks: what it says of tasks in every state, whom it finds behind them, and that a damaged list
// neither hides what is whole nor leads it astray.
#include "async/callback.hpp"
#include "async/counting_scope.hpp"
#include "async/event.hpp"
#include "async/schedule_on.hpp"
#include "async/scheduler.hpp"
#include "async/semaphore.hpp"
#include "async/sync_wait.hpp"
#include "async/task_table.hpp"
#include "async/when_all.hpp"
#include "async/when_any.hpp"
#include "async/with_timeout.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <map>
#include <ostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace inflight::async {
inline std::ostream& operator<<(std::ostream& out, task_table::state now) {
    constexpr const char* names[] = {"created", "ready", "running", "awaiting", "suspended", "ended"};
    return out << names[static_cast<int>(now)];
}
} // namespace inflight::async

namespace {

using namespace inflight;
using namespace inflight::async;
using state = task_table::state;
using tests::chance;
using tests::pick;

struct hart {
    hart() : memory(std::size_t{1} << 18), runtime{memory} {}

    void settle() {
        while (runtime.tick()) {
        }
    }

    [[nodiscard]] std::vector<const task_record*> tasks() const {
        std::vector<const task_record*> found;
        table.for_each([&](const task_record& task) {
            found.push_back(&task);
            return true;
        });
        return found;
    }

    [[nodiscard]] std::vector<std::string> names() const {
        std::vector<std::string> found;
        for (const task_record* task : tasks()) {
            found.emplace_back(task->name == nullptr ? "-" : task->name);
        }
        return found;
    }

    [[nodiscard]] const task_record& named(const std::string& name) const {
        for (const task_record* task : tasks()) {
            if (task->name != nullptr && task->name == name) {
                return *task;
            }
        }
        throw std::runtime_error("there is no task " + name);
    }

    [[nodiscard]] std::string parent(const std::string& name) const {
        const task_record* const found = table.parent_of(named(name));
        return found == nullptr ? "nobody" : found->name == nullptr ? "-" : found->name;
    }

    arch::host::machine simulated{{.memory_bytes = 4096}};
    std::vector<std::byte> memory;
    executor runtime;
    task_table table{runtime};
};

// Two harts, the first of which is selected.
struct two_harts {
    two_harts() : memory(std::size_t{1} << 17), first{half_for(0)}, second{half_for(1)} { simulated.select_hart(0); }

    // Selects the hart, and runs it until nothing is ready there.
    void settle(arch::hart_index hart) {
        simulated.select_hart(hart);
        while (executor::current().tick()) {
        }
    }

    arch::host::machine simulated{{.harts = 2, .memory_bytes = 4096}};
    std::vector<std::byte> memory;
    executor first;
    executor second;
    const task_table of_first{first};
    const task_table of_second{second};

  private:
    // Memory for the frames of a hart, which is selected: its executor is made there.
    std::span<std::byte> half_for(arch::hart_index hart) {
        simulated.select_hart(hart);
        const std::size_t bytes = memory.size() / 2;
        return std::span{memory}.subspan(hart * bytes, bytes);
    }
};

task<void> wait_for(event& until) {
    co_await until.wait();
}

task<void> acquire(semaphore& from) {
    co_await from.acquire();
}

task<void> sleep_some(arch::ticks span) {
    co_await sleep_for(span);
}

task<void> turn() {
    co_await yield{};
}

using lines = std::vector<std::string>;

} // namespace

BOOST_AUTO_TEST_SUITE(task_table_tests)

BOOST_AUTO_TEST_CASE(states_and_what_is_awaited) {
    hart h;
    event until;
    semaphore none{0};
    counting_scope scope;
    BOOST_TEST(h.tasks().empty());

    const task<void> created = wait_for(until).named("created");
    BOOST_TEST(h.table.state_of(h.named("created")) == state::created);

    BOOST_REQUIRE(scope.spawn(wait_for(until).named("waiter")));
    BOOST_REQUIRE(scope.spawn(acquire(none).named("queuer")));
    BOOST_REQUIRE(scope.spawn(sleep_some(1000).named("sleeper")));
    BOOST_REQUIRE(scope.spawn(turn().named("patient")));
    for (const char* name : {"waiter", "queuer", "sleeper", "patient"}) {
        BOOST_TEST(h.table.state_of(h.named(name)) == state::ready);
    }
    BOOST_TEST(h.runtime.tick());
    BOOST_TEST(h.table.state_of(h.named("patient")) == state::ready);
    const std::map<std::string, std::string> waiting{
        {"waiter", "an event"}, {"queuer", "a semaphore"}, {"sleeper", "a time"}};
    for (const auto& [name, what] : waiting) {
        BOOST_TEST(h.table.state_of(h.named(name)) == state::suspended);
        BOOST_REQUIRE((h.named(name).waits_for != nullptr));
        BOOST_TEST(h.named(name).waits_for == what);
        BOOST_TEST(h.parent(name) == "nobody");
    }
    BOOST_TEST(h.names() == (lines{"created", "waiter", "queuer", "sleeper", "patient"}));
    BOOST_TEST((h.table.running() == nullptr));

    until.set();
    none.release();
    BOOST_TEST(h.table.state_of(h.named("queuer")) == state::ready);
    h.settle();
    BOOST_TEST(h.names() == (lines{"created", "sleeper"}));
    h.simulated.run_until(h.simulated.time() + 2000);
    h.settle();
    BOOST_TEST(h.names() == lines{"created"});
    BOOST_TEST(scope.size() == 0u);
}

// What the table says while tasks run: asked by the tasks themselves.
BOOST_AUTO_TEST_CASE(the_running_task_and_who_awaits_it) {
    hart h;
    event until;
    lines seen;
    const auto look = [&] {
        std::string stack;
        for (const task_record* task = h.table.running(); task != nullptr; task = h.table.parent_of(*task)) {
            stack += std::string{" "} + (task->name == nullptr ? "-" : task->name);
        }
        seen.push_back(stack);
    };
    const auto inner = [&]() -> task<int> {
        look();
        co_await yield{};
        look();
        co_return 1;
    };
    const auto at_once = [&]() -> task<int> {
        look();
        co_return 1;
    };
    const auto outer = [&]() -> task<int> {
        int sum = co_await at_once().named("at_once");
        look();
        sum += co_await inner().named("inner");
        look();
        BOOST_TEST(sum == 2);
        co_return sum;
    };
    const auto beside = [&]() -> task<void> {
        BOOST_TEST(h.table.state_of(h.named("outer")) == state::awaiting);
        BOOST_TEST((h.table.called_by(h.named("outer")) == &h.named("inner")));
        BOOST_TEST(h.table.state_of(h.named("inner")) == state::ready);
        BOOST_TEST(h.table.state_of(h.named("beside")) == state::running);
        look();
        co_return;
    };
    const auto root = [&]() -> task<int> {
        counting_scope scope;
        BOOST_TEST(scope.spawn(beside().named("beside")));
        const int sum = co_await outer().named("outer");
        co_await scope.join();
        look();
        auto [one, two] = co_await when_all(at_once().named("one"), at_once().named("two"));
        BOOST_TEST(one + two == 2);
        co_return sum;
    };
    BOOST_TEST(sync_wait(root().named("root")) == 2);
    // Arguments of when_all have no frame between them and who awaits them all.
    BOOST_TEST(seen == (lines{" at_once outer root", " outer root", " inner outer root", " beside root",
                              " inner outer root", " outer root", " root", " one root", " two root"}));
    BOOST_TEST((h.table.running() == nullptr));
    BOOST_TEST(h.tasks().empty());
}

BOOST_AUTO_TEST_CASE(groups_in_frames_are_found) {
    hart h;
    event until;
    const auto parent = [&]() -> task<void> {
        counting_scope first;
        counting_scope second;
        BOOST_TEST(first.spawn(wait_for(until).named("in first")));
        BOOST_TEST(second.spawn(wait_for(until).named("in second")));
        co_await when_all(wait_for(until).named("argument"), wait_for(until));
        co_await first.join();
        co_await second.join();
    };
    counting_scope outside;
    BOOST_REQUIRE(outside.spawn(parent().named("parent")));
    BOOST_REQUIRE(outside.spawn(parent().named("other parent")));
    h.settle();
    BOOST_TEST(h.parent("parent") == "nobody");
    BOOST_TEST(std::string{h.named("parent").waits_for} == "what it began");
    std::map<std::string, int> parents;
    for (const task_record* task : h.tasks()) {
        const task_record* const found = h.table.parent_of(*task);
        const std::string name = task->name == nullptr ? "-" : task->name;
        ++parents[name + " of " + (found == nullptr ? "nobody" : found->name == nullptr ? "-" : found->name)];
    }
    const std::map<std::string, int> expected{
        {"parent of nobody", 1},    {"other parent of nobody", 1},   {"in first of parent", 1},
        {"in second of parent", 1}, {"in first of other parent", 1}, {"in second of other parent", 1},
        {"argument of parent", 1},  {"argument of other parent", 1}, {"- of parent", 1},
        {"- of other parent", 1},
    };
    BOOST_TEST((parents == expected));
    until.set();
    h.settle();
    BOOST_TEST(outside.size() == 0u);
}

// What was noted for one wait is not said of the next, which notes nothing: as a request does.
BOOST_AUTO_TEST_CASE(notes_end_with_their_waits) {
    hart h;
    event until;
    operation request;
    struct silent {
        explicit silent(operation& in_flight) noexcept : in_flight_{in_flight} {}
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> frame) noexcept { in_flight_.continuation = frame; }
        void await_resume() const noexcept {}

      private:
        operation& in_flight_;
    };
    const auto work = [&]() -> task<void> {
        co_await until.wait();
        co_await silent{request};
        co_await until.wait(); // does not suspend
        co_await silent{request};
        static_cast<void>(co_await until.wait(stop_token{}));
        co_await when_all(turn(), turn());
        static_cast<void>(co_await when_any(until.wait(stop_token{}), until.wait(stop_token{})));
        static_cast<void>(co_await with_timeout(until.wait(stop_token{}), 100));
        co_await sleep_for(10);
        co_await schedule_on{0};
        co_await silent{request};
    };
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(work().named("work")));
    h.settle();
    BOOST_REQUIRE((h.named("work").waits_for != nullptr));
    BOOST_TEST(h.named("work").waits_for == std::string{"an event"});
    until.set();
    for (int i = 0; i < 3; ++i) {
        for (int round = 0; round < 10; ++round) {
            h.settle();
            h.simulated.run_until(h.simulated.time() + 200);
        }
        BOOST_TEST(h.table.state_of(h.named("work")) == state::suspended);
        BOOST_TEST((h.named("work").waits_for == nullptr));
        h.runtime.make_ready(request);
        BOOST_TEST(h.table.state_of(h.named("work")) == state::ready);
    }
    h.settle();
    BOOST_TEST(scope.size() == 0u);
}

// A task that is away is on the list of its own hart; that hart's table says that it runs, and of whom it is.
BOOST_AUTO_TEST_CASE(guests_on_another_hart) {
    two_harts h;
    const task_table& here = h.of_first;
    const task_table& there = h.of_second;
    const auto count = [](const task_table& table) {
        int tasks = 0;
        table.for_each([&](const task_record&) { return ++tasks != 0; });
        return tasks;
    };
    bool seen = false;
    const auto made_there = [&]() -> task<void> {
        BOOST_TEST(count(there) == 1);
        const task_record* const running = there.running();
        BOOST_REQUIRE((running != nullptr && running->name != nullptr));
        BOOST_TEST(running->name == std::string{"made there"});
        BOOST_TEST(there.state_of(*running) == state::running);
        const task_record* const parent = task_table::parent_of(*running); // of the other hart
        BOOST_REQUIRE((parent != nullptr));
        BOOST_TEST(parent->name == std::string{"guest"});
        seen = true;
        co_return;
    };
    const auto guest = [&]() -> task<void> {
        BOOST_TEST(here.state_of(*here.running()) == state::running);
        co_await schedule_on{1};
        BOOST_TEST((there.running() != nullptr && here.running() == nullptr));
        BOOST_TEST(here.state_of(*there.running()) == state::running);
        BOOST_TEST(count(here) == 1);
        BOOST_TEST(count(there) == 0);
        co_await made_there().named("made there");
        co_await schedule_on{0};
    };
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(guest().named("guest")));
    h.settle(0);
    here.for_each([&](const task_record& task) {
        BOOST_TEST(here.state_of(task) == state::suspended);
        BOOST_REQUIRE((task.waits_for != nullptr));
        BOOST_TEST(task.waits_for == std::string{"another hart"});
        return true;
    });
    h.settle(1);
    h.settle(0);
    BOOST_TEST(seen);
    BOOST_TEST(scope.size() == 0u);
}

// What a guest calls there has its frame there. The table of either hart says the same of both, whoever looks.
BOOST_AUTO_TEST_CASE(a_guest_waits_for_what_it_called_there) {
    two_harts h;
    event never;
    const auto guest = [&]() -> task<void> {
        co_await schedule_on{1};
        co_await wait_for(never).named("called");
        co_await schedule_on{0};
    };
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(guest().named("guest")));
    h.settle(0);
    h.settle(1);
    const auto only = [](const task_table& table) {
        const task_record* found = nullptr;
        table.for_each([&](const task_record& task) {
            BOOST_REQUIRE(found == nullptr);
            return (found = &task) != nullptr;
        });
        BOOST_REQUIRE(found != nullptr);
        return found;
    };
    const task_record* const waits = only(h.of_first);
    const task_record* const called = only(h.of_second);
    for (const arch::hart_index looks : {0u, 1u}) {
        h.simulated.select_hart(looks);
        for (const task_table* const table : {&h.of_first, &h.of_second}) {
            BOOST_TEST(table->called_by(*waits) == called);
            BOOST_TEST(table->state_of(*waits) == state::awaiting);
            BOOST_TEST(table->state_of(*called) == state::suspended);
        }
    }
    h.simulated.select_hart(1);
    never.set();
    BOOST_TEST(h.of_second.state_of(*called) == state::ready);
    h.simulated.select_hart(0);
    BOOST_TEST(h.of_first.state_of(*called) == state::ready); // in the line of the other hart
    h.settle(1);
    h.settle(0);
    BOOST_TEST(scope.size() == 0u);
}

// A hart that has stopped is followed wherever its operations lie; but not behind those that it was just putting in line.
BOOST_AUTO_TEST_CASE(the_line_of_a_hart_that_has_stopped) {
    two_harts h;
    const task_table running{h.first};
    const task_table stopped{h.first, 1};
    int calls = 0;
    callback counting{[](void* count) noexcept { ++*static_cast<int*>(count); }, &calls};
    operation outside; // of every frame
    outside.continuation = counting.handle();
    operation coming;
    coming.continuation = counting.handle();
    h.first.make_ready(outside);
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(turn()));
    BOOST_REQUIRE(scope.spawn(turn()));
    std::vector<task_record*> tasks;
    running.for_each([&](const task_record& task) {
        tasks.push_back(const_cast<task_record*>(&task));
        return true;
    });
    BOOST_REQUIRE(tasks.size() == 2u);
    h.simulated.select_hart(1); // who looks
    for (const task_record* const each : tasks) {
        BOOST_TEST(running.state_of(*each) == state::suspended);
        BOOST_TEST(stopped.state_of(*each) == state::ready);
    }
    h.simulated.select_hart(0);
    {
        executor::many_ready line{h.first};
        coming.next = reinterpret_cast<operation*>(std::uintptr_t{8});
        line.make_ready(coming);
        h.simulated.select_hart(1);
        {
            const task<void> other = turn();
            task_table{h.second}.for_each([&](const task_record& task) {
                const_cast<task_record&>(task).link.continuation = std::noop_coroutine(); // it has been started
                BOOST_TEST(stopped.state_of(task) == state::suspended);
                const_cast<task_record&>(task).link.continuation = nullptr;
                return true;
            });
        }
        h.simulated.select_hart(0);
    }
    h.settle(0);
    BOOST_TEST(calls == 2);
    BOOST_TEST(scope.size() == 0u);
}

// The ready line of another hart may change while it is followed: no operation is looked at that lies in no frame.
BOOST_AUTO_TEST_CASE(the_line_of_another_hart_is_followed_with_care) {
    two_harts h;
    const task_table& table = h.of_first;
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(turn()));
    BOOST_REQUIRE(scope.spawn(turn()));
    std::vector<task_record*> tasks;
    table.for_each([&](const task_record& task) {
        tasks.push_back(const_cast<task_record*>(&task));
        return true;
    });
    BOOST_REQUIRE(tasks.size() == 2u);
    h.simulated.select_hart(1); // who looks
    BOOST_TEST(table.state_of(*tasks[1]) == state::ready);
    operation* const right = tasks[0]->link.next;
    for (const std::uintptr_t wrong :
         {std::uintptr_t{8}, ~std::uintptr_t{7}, std::uintptr_t{0x5a5a5a5a5a5a5a58},
          reinterpret_cast<std::uintptr_t>(right) + 1, reinterpret_cast<std::uintptr_t>(&tasks[0]->link)}) { // a ring
        tasks[0]->link.next = reinterpret_cast<operation*>(wrong);
        BOOST_TEST(table.state_of(*tasks[0]) == state::ready);
        BOOST_TEST(table.state_of(*tasks[1]) == state::suspended);
    }
    tasks[0]->link.next = right;
    h.settle(0);
    BOOST_TEST(scope.size() == 0u);
}

BOOST_AUTO_TEST_CASE(ended_but_not_taken) {
    hart h;
    const auto at_once = []() -> task<int> {
        co_return 1;
    };
    struct last final : task_group {
        std::coroutine_handle<> ended(std::coroutine_handle<>) noexcept override { return std::noop_coroutine(); }
    } group;
    task<int> work = at_once().named("work");
    const auto frame = work.start();
    frame.promise().group = &group;
    frame.resume();
    BOOST_TEST(h.table.state_of(h.named("work")) == state::ended);
    BOOST_TEST(work.take_result() == 1);
    BOOST_TEST(!task<int>{}.named("nothing").has_frame()); // a task without a frame has no name
}

// A callback is no task, and passes for none.
BOOST_AUTO_TEST_CASE(a_callback_is_no_task) {
    hart h;
    bool called = false;
    struct caller : operation {
        explicit caller(const task_table& table, bool& called) noexcept : table_{table}, called_{called} {
            continuation = bell_.handle();
        }
        static void ring(void* self) noexcept {
            auto& of = *static_cast<caller*>(self);
            of.called_ = of.table_.running() == nullptr;
        }
        const task_table& table_;
        bool& called_;
        callback bell_{ring, this};
    } ringing{h.table, called};
    const task<void> other = turn();
    h.runtime.make_ready(ringing);
    h.settle();
    BOOST_TEST(called);
}

// Against a list of what was made and not destroyed.
BOOST_AUTO_TEST_CASE(every_live_task_once) {
    std::mt19937_64 random = chance(70);
    hart h;
    std::vector<std::pair<const void*, task<void>>> alive;
    for (int step = 0; step < 3000; ++step) {
        if (pick(random, 0, 99) < (alive.size() < 50 ? 60 : 40)) {
            const auto before = h.tasks();
            task<void> made = turn();
            BOOST_REQUIRE(made.has_frame());
            const auto after = h.tasks();
            BOOST_REQUIRE(after.size() == before.size() + 1);
            const auto added = std::find_if(after.begin(), after.end(), [&](const task_record* task) {
                return std::find(before.begin(), before.end(), task) == before.end();
            });
            BOOST_REQUIRE((added != after.end()));
            alive.emplace_back((*added)->frame(), std::move(made));
        } else if (!alive.empty()) {
            alive.erase(alive.begin() + static_cast<std::ptrdiff_t>(pick(random, std::size_t{0}, alive.size() - 1)));
        }
        const auto found = h.tasks();
        BOOST_REQUIRE(found.size() == alive.size());
        for (const task_record* task : found) {
            BOOST_REQUIRE(std::count_if(alive.begin(), alive.end(),
                                        [&](const auto& made) { return task->frame() == made.first; }) == 1);
        }
    }
}

// Continuations and groups that lead nowhere.
BOOST_AUTO_TEST_CASE(damaged_parents) {
    hart h;
    task<void> work = turn().named("work");
    auto& record = const_cast<task_record&>(h.named("work"));
    for (const std::uintptr_t address : {std::uintptr_t{8}, ~std::uintptr_t{0}, std::uintptr_t{0x5a5a5a5a5a5a5a5a},
                                         reinterpret_cast<std::uintptr_t>(h.memory.data() + 64 * 100)}) {
        record.link.continuation = std::coroutine_handle<>::from_address(reinterpret_cast<void*>(address));
        BOOST_TEST((h.table.parent_of(record) == nullptr));
        record.link.continuation = nullptr;
        record.group = reinterpret_cast<task_group*>(address);
        const task_record* const parent = h.table.parent_of(record);
        BOOST_TEST((parent == nullptr || parent == &record));
        record.group = nullptr;
    }
}

BOOST_AUTO_TEST_SUITE_END()
