#include "checker.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <ucontext.h>
#include <unordered_set>
#include <utility>

namespace inflight::interleavings {

namespace {

using detail::knowledge;

constexpr std::size_t stack_bytes = 64 * 1024;

// One store to an atomic.
struct stored {
    std::uint64_t value;
    knowledge passed_on;
};

struct hart {
    ucontext_t context;
    std::unique_ptr<std::byte[]> stack;
    knowledge known;
    knowledge acquirable;  // passed on by what was read, and to be known at the next fence
    knowledge released;    // at the last fence that publishes
    knowledge at_doorbell; // at the last one before a register
    bool finished;
    bool waiting;
    bool masked;
    bool pending[2];
    knowledge raised;        // with the external interrupt that is pending
    std::uint64_t raised_by; // hash of who raised it, when
    std::uint64_t history;   // hash of all that it has done and seen

    bool interrupt_pending() const { return pending[0] || pending[1]; }
    bool enabled() const { return !finished && (!waiting || interrupt_pending()); }
};

// A step of an execution, for the schedule of one that fails.
struct step {
    unsigned hart;
    const char* what;
    int object; // number of an atomic; -1: none
    std::uint64_t value;
    std::uint64_t second;
    std::memory_order order;
    place at;
    unsigned age; // how many stores later than the one that was read there are
};

struct choice {
    std::uint16_t taken;
    std::uint16_t count;
};

struct exploration {
    limits bounds;
    result found;
    std::vector<choice> choices; // of the execution, from its start
    std::size_t depth;           // how many have been made
    hart harts[max_harts];
    unsigned hart_count;
    unsigned current;
    unsigned preemptions;
    unsigned spurious;
    std::array<std::uint16_t, max_atomics> fenced; // the stores that every reader with a fence knows from now on
    std::uint64_t full_fences;                     // hash of who made them, when
    std::map<unsigned, unsigned> indices;          // of atomics that harts use, by ordinal
    unsigned ordinals;                             // handed out in this execution
    bool used[max_atomics];                        // in this execution
    std::map<const void*, detail::word> shared;
    std::map<const void*, detail::accesses> device_cells;
    std::vector<stored> atomics[max_atomics];
    std::uint64_t atomic_histories[max_atomics]; // hashes of who stored, when
    std::unordered_set<std::uint64_t> states;
    std::vector<step> steps;
    std::map<std::uint64_t, std::string> names;
    scenario* under_test;
    bool running; // harts are; else the constructor or at_end()
    bool ended;   // all harts have
    bool failed;
    ucontext_t explorer;
};

std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15;
    hash = (hash ^ hash >> 32) * 0xd6e8feb86659fd93;
    return hash ^ hash >> 29;
}

exploration* self = nullptr;

hart& me() {
    return self->harts[self->current];
}

bool acquires(std::memory_order order) {
    return order == std::memory_order_acquire || order == std::memory_order_acq_rel ||
           order == std::memory_order_seq_cst;
}

bool releases(std::memory_order order) {
    return order == std::memory_order_release || order == std::memory_order_acq_rel ||
           order == std::memory_order_seq_cst;
}

// The order as it is to be in this exploration. Notes the site.
std::memory_order effective(std::memory_order order, operation_kind kind, const place& at) {
    if (order == std::memory_order_relaxed || !self->running) {
        return order;
    }
    const order_site site{at, kind, order};
    bool is_new = true;
    for (const order_site& other : self->found.sites) {
        is_new = is_new && !(other == site);
    }
    if (is_new) {
        self->found.sites.push_back(site);
    }
    const weakening* const weakened = self->bounds.weakened;
    return weakened != nullptr && weakened->site == site ? weakened->instead : order;
}

unsigned choose(unsigned count) {
    if (count == 1) {
        return 0;
    }
    if (self->depth == self->choices.size()) {
        self->choices.push_back({0, static_cast<std::uint16_t>(count)});
    }
    const choice& made = self->choices[self->depth++];
    if (made.count != count) {
        std::fprintf(stderr, "interleavings: a scenario does not do the same again\n");
        std::abort();
    }
    return made.taken;
}

void note(const char* what, int object, std::uint64_t value, std::uint64_t second, std::memory_order order, place at,
          unsigned age = 0) {
    if (!self->running) {
        return;
    }
    self->steps.push_back({self->current, what, object, value, second, order, at, age});
    ++self->found.steps;
    if (self->steps.size() > self->bounds.steps) {
        fail("no end: too many steps");
    }
}

// What this hart has done or seen becomes part of its history.
void remember(std::uint64_t what, std::uint64_t detail = 0) {
    me().history = mix(mix(me().history, what), detail);
}

// True if an execution has been here before.
bool known_state(bool current_may) {
    std::uint64_t hash = mix(self->current, self->preemptions * 2 + current_may);
    hash = mix(hash, self->spurious);
    for (unsigned i = 0; i < self->hart_count; ++i) {
        const hart& each = self->harts[i];
        unsigned flags = 0;
        for (const bool flag : {each.finished, each.waiting, each.masked, each.pending[0], each.pending[1]}) {
            flags = flags * 2 + flag;
        }
        hash = mix(mix(mix(hash, each.history), each.raised_by), flags);
    }
    for (unsigned i = 0; i < self->indices.size(); ++i) {
        hash = mix(hash, self->used[i] ? self->atomic_histories[i] : 0);
    }
    hash = mix(hash, self->full_fences);
    return !self->states.insert(hash).second;
}

// Goes on with the hart chosen among those that can. `current_may`: whether the current one is among them.
void switch_hart(bool current_may) {
    unsigned candidates[max_harts];
    unsigned count = 0;
    if (current_may) {
        candidates[count++] = self->current;
    }
    if (!current_may || self->preemptions < self->bounds.preemptions) {
        for (unsigned i = 0; i < self->hart_count; ++i) {
            if (i != self->current && self->harts[i].enabled()) {
                candidates[count++] = i;
            }
        }
    }
    if (count == 0) {
        for (unsigned i = 0; i < self->hart_count; ++i) {
            if (!self->harts[i].finished) {
                fail("lost wake-up: hart " + std::to_string(i) + " waits, and nobody is left who would interrupt it");
            }
        }
        self->ended = true;
        swapcontext(&me().context, &self->explorer);
    }
    if (count > 1 && self->depth == self->choices.size() && known_state(current_may) && !self->bounds.revisits) {
        swapcontext(&me().context, &self->explorer); // for good
    }
    const unsigned chosen = candidates[choose(count)];
    if (chosen == self->current) {
        return;
    }
    if (current_may) {
        ++self->preemptions;
    }
    hart& from = me();
    self->current = chosen;
    swapcontext(&from.context, &me().context);
}

// Before every operation: other harts may go first, and interrupts are taken.
void before_operation() {
    if (!self->running) {
        return;
    }
    switch_hart(true);
    while (!me().masked && me().interrupt_pending()) {
        hart& on = me();
        const cause reason = on.pending[0] ? cause::software : cause::external;
        note(reason == cause::software ? "takes the software interrupt" : "takes the external interrupt", -1, 0, 0,
             std::memory_order_relaxed, {"", 0});
        remember(3, static_cast<unsigned>(reason));
        on.masked = true;
        self->under_test->interrupted(self->current, reason);
        on.masked = false;
        switch_hart(true);
    }
}

void run_hart() {
    self->under_test->run(self->current);
    note("ends", -1, 0, 0, std::memory_order_relaxed, {"", 0});
    me().finished = true;
    switch_hart(false);
}

std::string value_text(std::uint64_t value) {
    const auto named = self->names.find(value);
    return named != self->names.end() ? named->second : std::to_string(value);
}

const char* order_text(std::memory_order order) {
    switch (order) {
    case std::memory_order_relaxed: return "relaxed";
    case std::memory_order_acquire: return "acquire";
    case std::memory_order_release: return "release";
    case std::memory_order_acq_rel: return "acq_rel";
    default: return "seq_cst";
    }
}

std::string schedule_text() {
    std::string text;
    for (const step& each : self->steps) {
        text += "  hart " + std::to_string(each.hart) + ": " + each.what;
        if (each.object >= 0) {
            const std::string what = each.what;
            text += " word " + std::to_string(each.object) + ", " + order_text(each.order);
            if (what == "compare_exchange, done" || what == "exchange" || what == "fetch_add") {
                text += ": " + value_text(each.value) + " -> " + value_text(each.second);
            } else {
                text += ": " + value_text(each.value);
            }
            if (each.age != 0) {
                text += " (" + std::to_string(each.age) + " behind)";
            }
        } else if (each.object == -2) {
            text += " " + value_text(each.value);
        }
        if (each.at.line != 0) {
            const char* const slash = std::strrchr(each.at.file, '/');
            text += std::string{"   at "} + (slash != nullptr ? slash + 1 : each.at.file) + ":" +
                    std::to_string(each.at.line);
        }
        text += '\n';
    }
    return text;
}

// The next execution's choices: the last that has an alternative takes it. False if none has.
bool next_choices() {
    auto& choices = self->choices;
    while (!choices.empty() && choices.back().taken + 1 == choices.back().count) {
        choices.pop_back();
    }
    if (choices.empty()) {
        return false;
    }
    ++choices.back().taken;
    return true;
}

void execute(const std::function<std::unique_ptr<scenario>()>& make) {
    self->depth = 0;
    self->preemptions = 0;
    self->spurious = 0;
    self->ordinals = 0;
    self->fenced = {};
    self->full_fences = 0;
    self->shared.clear();
    self->device_cells.clear();
    for (bool& each : self->used) {
        each = false;
    }
    self->steps.clear();
    self->names.clear();
    self->names[0] = "0";
    self->current = 0;
    const std::unique_ptr<scenario> made = make();
    self->under_test = made.get();
    self->hart_count = made->harts();
    for (unsigned i = 0; i < self->hart_count; ++i) {
        hart& each = self->harts[i];
        each.known = {};
        each.acquirable = {};
        each.released = {};
        each.at_doorbell = {};
        each.known.clock[i] = 1;
        each.finished = each.waiting = each.masked = each.pending[0] = each.pending[1] = false;
        each.raised = {};
        each.raised_by = 0;
        each.history = i;
        getcontext(&each.context);
        each.context.uc_stack.ss_sp = each.stack.get();
        each.context.uc_stack.ss_size = stack_bytes;
        each.context.uc_link = nullptr;
        makecontext(&each.context, run_hart, 0);
    }
    // Which hart begins is a choice, and no preemption.
    self->running = true;
    self->ended = false;
    self->current = choose(self->hart_count);
    swapcontext(&self->explorer, &me().context);
    self->running = false;
    ++self->found.executions;
    if (self->ended) {
        made->at_end();
    }
}

std::vector<stored>& history(unsigned atomic) {
    return self->atomics[atomic];
}

void join_seen(knowledge& joined, const std::array<std::uint16_t, max_atomics>& seen) {
    for (unsigned i = 0; i < max_atomics; ++i) {
        joined.seen[i] = std::max(joined.seen[i], seen[i]);
    }
}

// Appends a store. `continued`: what the store before passed on, if this is a read-modify-write.
void append(unsigned atomic, std::uint64_t value, std::memory_order order, const knowledge* continued) {
    auto& stores = history(atomic);
    const auto index = static_cast<std::uint16_t>(stores.size());
    hart& by = me();
    remember(1, atomic);
    self->atomic_histories[atomic] = mix(mix(self->atomic_histories[atomic], by.history), self->full_fences);
    by.known.seen[atomic] = index;
    stored added{value, by.released};
    if (releases(order)) {
        added.passed_on.join(by.known);
        ++by.known.clock[self->current];
    }
    join_seen(added.passed_on, self->fenced); // it comes after them for everybody
    added.passed_on.seen[atomic] = index;
    if (continued != nullptr) {
        added.passed_on.join(*continued);
    }
    stores.push_back(added);
}

void read_from(unsigned atomic, std::size_t index, std::memory_order order) {
    hart& by = me();
    remember(2, atomic << 16 | index);
    by.known.seen[atomic] = static_cast<std::uint16_t>(index);
    by.acquirable.join(history(atomic)[index].passed_on);
    if (acquires(order)) {
        by.known.join(history(atomic)[index].passed_on);
    }
}

// Reads the last store and appends another.
std::uint64_t read_and_append(unsigned atomic, std::uint64_t (*how)(std::uint64_t, std::uint64_t),
                              std::uint64_t operand, std::memory_order order) {
    const std::size_t last = history(atomic).size() - 1;
    read_from(atomic, last, order);
    const stored before = history(atomic)[last];
    append(atomic, how(before.value, operand), order, &before.passed_on);
    return before.value;
}

std::uint64_t replaced(std::uint64_t, std::uint64_t value) {
    return value;
}

constexpr unsigned not_modelled = ~0U;

// Which of the atomics that harts use this is. The same in every execution, as the code under test makes the same ones.
unsigned index_of(const detail::word& word) {
    if (self == nullptr || word.ordinal == 0) {
        return not_modelled;
    }
    const auto known = self->indices.find(word.ordinal);
    if (known == self->indices.end() && !self->running) {
        return not_modelled;
    }
    const auto next = static_cast<unsigned>(self->indices.size());
    const unsigned index = known != self->indices.end() ? known->second : next;
    if (index == next && known == self->indices.end()) {
        if (next == max_atomics) {
            std::fprintf(stderr, "interleavings: too many atomics\n");
            std::abort();
        }
        self->indices[word.ordinal] = next;
    }
    if (!self->used[index]) {
        if (!self->running) {
            return not_modelled; // and what it begins with is in the word
        }
        self->used[index] = true;
        history(index).clear();
        history(index).push_back({word.value, {}});
        self->atomic_histories[index] = 0;
    }
    return index;
}

} // namespace

void scenario::interrupted(unsigned, cause reason) {
    acknowledge(reason, "", 0);
}

result explore(const limits& bounds, const std::function<std::unique_ptr<scenario>()>& make) {
    exploration state{};
    self = &state;
    state.bounds = bounds;
    for (hart& each : state.harts) {
        each.stack = std::make_unique<std::byte[]>(stack_bytes);
    }
    do {
        execute(make);
        if (!state.failed && state.found.executions == bounds.executions) {
            state.found.failure = "too many executions";
            break;
        }
    } while (!state.failed && next_choices());
    state.found.states = state.states.size();
    self = nullptr;
    return state.found;
}

void fail(const std::string& why) {
    self->found.failure = why;
    self->found.schedule = schedule_text();
    self->failed = true;
    if (self->running) {
        swapcontext(&me().context, &self->explorer); // for good
    }
    std::fprintf(stderr, "interleavings: failed where no hart runs: %s\n%s", why.c_str(), self->found.schedule.c_str());
    std::abort();
}

void name(const void* pointer, const char* text) {
    self->names[detail::to_word(pointer)] = text;
}

unsigned this_hart() {
    return self != nullptr && self->running ? self->current : 0;
}

void*& hart_local() {
    static void* words[max_harts];
    return words[this_hart()];
}

void interrupt_hart(unsigned hart, const char* file, int line) {
    raise(hart, cause::software, file, line);
}

void panic(const char* message) {
    fail(std::string{"panic: "} + message);
}

void share(void* at, std::size_t bytes) {
    detail::word word{0, detail::new_ordinal()};
    std::memcpy(&word.value, at, bytes);
    self->shared[at] = word;
}

// Orders of memory stand for what is left of a fence that is made weaker.
void fence(fence_kind kind, const char* file, int line) {
    if (self == nullptr || !self->running) {
        return;
    }
    static constexpr std::memory_order as_order[] = {std::memory_order_release, std::memory_order_acquire,
                                                     std::memory_order_seq_cst, std::memory_order_release,
                                                     std::memory_order_acquire};
    static constexpr const char* names[] = {"fence_publish", "fence_consume", "fence_full", "fence_doorbell",
                                            "fence_acknowledge"};
    if (kind == fence_kind::full) {
        before_operation();
    }
    const auto order = effective(as_order[static_cast<unsigned>(kind)], operation_kind::fence, {file, line});
    remember(12, static_cast<unsigned>(kind) * 8 + static_cast<unsigned>(order));
    note(names[static_cast<unsigned>(kind)], -1, 0, 0, std::memory_order_relaxed, {file, line});
    hart& by = me();
    if (order == std::memory_order_seq_cst) {
        self->full_fences = mix(self->full_fences, by.history);
        join_seen(by.known, self->fenced);
    }
    if (acquires(order)) {
        by.known.join(by.acquirable);
    }
    if (order == std::memory_order_seq_cst) {
        for (unsigned i = 0; i < max_atomics; ++i) {
            self->fenced[i] = std::max(self->fenced[i], by.known.seen[i]);
        }
    }
    if (releases(order)) {
        knowledge& released = kind == fence_kind::doorbell ? by.at_doorbell : by.released;
        released.join(by.known);
        released.join(by.acquirable); // what was read comes before what is written
        ++by.known.clock[self->current];
    }
}

bool mask_interrupts(const char* file, int line) {
    before_operation();
    remember(4);
    note("masks interrupts", -1, 0, 0, std::memory_order_relaxed, {file, line});
    return !std::exchange(me().masked, true);
}

void restore_interrupts(bool unmask, const char* file, int line) {
    if (!unmask) {
        return;
    }
    before_operation();
    remember(5);
    note("unmasks interrupts", -1, 0, 0, std::memory_order_relaxed, {file, line});
    me().masked = false;
    before_operation();
}

void wait_for_interrupt(const char* file, int line) {
    before_operation();
    remember(6);
    hart& waiter = me();
    if (!waiter.interrupt_pending()) {
        if (self->spurious < self->bounds.spurious_wake_ups && choose(2) == 1) {
            ++self->spurious;
            remember(7);
            note("waits, and stops for no reason", -1, 0, 0, std::memory_order_relaxed, {file, line});
            return;
        }
        note("waits for an interrupt", -1, 0, 0, std::memory_order_relaxed, {file, line});
        waiter.waiting = true;
        remember(8);
        switch_hart(false);
        waiter.waiting = false;
    }
    note("need not wait any more", -1, 0, 0, std::memory_order_relaxed, {file, line});
}

void raise(unsigned hart, cause reason, const char* file, int line) {
    before_operation();
    remember(9, hart);
    note(reason == cause::software ? "sends a software interrupt to hart" : "raises an external interrupt of hart", -2,
         hart, 0, std::memory_order_relaxed, {file, line});
    auto& target = self->harts[hart];
    target.pending[static_cast<unsigned>(reason)] = true;
    if (reason == cause::external) {
        target.raised.join(me().known);
        target.raised_by = mix(target.raised_by, me().history);
        ++me().known.clock[self->current];
    }
}

void ring_doorbell(unsigned device, const char* file, int line) {
    before_operation();
    remember(9, device);
    note("rings the doorbell of hart", -2, device, 0, std::memory_order_relaxed, {file, line});
    auto& target = self->harts[device];
    target.pending[static_cast<unsigned>(cause::external)] = true;
    target.raised.join(me().at_doorbell);
    target.raised_by = mix(target.raised_by, me().history);
}

void acknowledge_by_register(cause reason, const char* file, int line) {
    before_operation();
    remember(10, me().raised_by);
    note("acknowledges the interrupt", -1, 0, 0, std::memory_order_relaxed, {file, line});
    me().pending[static_cast<unsigned>(reason)] = false;
    me().acquirable.join(me().raised);
}

void acknowledge(cause reason, const char* file, int line) {
    before_operation();
    remember(10, me().raised_by);
    note("acknowledges the interrupt", -1, 0, 0, std::memory_order_relaxed, {file, line});
    me().pending[static_cast<unsigned>(reason)] = false;
    if (reason == cause::external) {
        me().known.join(me().raised);
    }
}

namespace detail {

unsigned new_ordinal() {
    if (self == nullptr) {
        return 0;
    }
    if (self->running) {
        std::fprintf(stderr, "interleavings: an atomic made while harts run\n");
        std::abort();
    }
    return ++self->ordinals;
}

std::uint64_t load(const word& from, std::memory_order order, place at) {
    if (self != nullptr && self->running) {
        before_operation();
    }
    const unsigned atomic = index_of(from);
    if (atomic == not_modelled) {
        return from.value;
    }
    if (!self->running) {
        return history(atomic).back().value;
    }
    order = effective(order, operation_kind::load, at);
    const std::size_t last = history(atomic).size() - 1;
    const unsigned age = choose(static_cast<unsigned>(last - me().known.seen[atomic]) + 1);
    read_from(atomic, last - age, order);
    const std::uint64_t value = history(atomic)[last - age].value;
    note("load", static_cast<int>(atomic), value, 0, order, at, age);
    return value;
}

void store(word& to, std::uint64_t value, std::memory_order order, place at) {
    if (self != nullptr && self->running) {
        before_operation();
    }
    const unsigned atomic = index_of(to);
    if (atomic == not_modelled) {
        to.value = value;
        return;
    }
    order = effective(order, operation_kind::store, at);
    append(atomic, value, order, nullptr);
    note("store", static_cast<int>(atomic), value, 0, order, at);
}

std::uint64_t exchange(word& of, std::uint64_t value, std::memory_order order, place at) {
    return modify(of, replaced, value, order, at);
}

std::uint64_t modify(word& of, modification how, std::uint64_t operand, std::memory_order order, place at) {
    if (self != nullptr && self->running) {
        before_operation();
    }
    const unsigned atomic = index_of(of);
    if (atomic == not_modelled) {
        const std::uint64_t before = of.value;
        of.value = how(before, operand);
        return before;
    }
    order = effective(order, operation_kind::exchange, at);
    const std::uint64_t before = read_and_append(atomic, how, operand, order);
    note(how == replaced ? "exchange" : "fetch_add", static_cast<int>(atomic), before, how(before, operand), order, at);
    return before;
}

// It succeeds on the last store only. It fails as a load does, which may read any store that is not what was expected;
// a weak one may also fail for no reason, which counts as a spurious wake-up does.
bool compare_exchange(word& of, std::uint64_t& expected, std::uint64_t value, bool weak, std::memory_order success,
                      std::memory_order failure, place at) {
    if (self != nullptr && self->running) {
        before_operation();
    }
    const unsigned atomic = index_of(of);
    if (atomic == not_modelled) {
        const std::uint64_t before = of.value;
        of.value = before == expected ? value : before;
        return std::exchange(expected, before) == before;
    }
    success = effective(success, operation_kind::compare_exchange, at);
    const auto& stores = history(atomic);
    const std::size_t last = stores.size() - 1;
    unsigned ages[64];
    unsigned count = 0;
    const bool matches = stores[last].value == expected;
    constexpr unsigned succeeds = ~0U;
    constexpr unsigned for_no_reason = ~0U - 1;
    if (matches) {
        ages[count++] = succeeds;
        if (weak && self->spurious < self->bounds.spurious_wake_ups) {
            ages[count++] = for_no_reason;
        }
    }
    for (std::size_t i = last + 1; i-- > me().known.seen[atomic] && count < 64;) {
        if (stores[i].value != expected) {
            ages[count++] = static_cast<unsigned>(last - i);
        }
    }
    unsigned chosen = ages[choose(count)];
    if (chosen == succeeds) {
        read_and_append(atomic, replaced, value, success);
        note("compare_exchange, done", static_cast<int>(atomic), expected, value, success, at);
        return true;
    }
    if (chosen == for_no_reason) {
        ++self->spurious;
        remember(11);
        chosen = 0;
    }
    read_from(atomic, last - chosen, failure);
    expected = stores[last - chosen].value;
    note("compare_exchange, failed", static_cast<int>(atomic), expected, 0, failure, at, chosen);
    return false;
}

std::uint64_t device_load(const void* at, std::size_t bytes, place where) {
    if (self != nullptr && self->running) {
        if (const auto shared = self->shared.find(at); shared != self->shared.end()) {
            return load(shared->second, std::memory_order_relaxed, where);
        }
        accesses& cell = self->device_cells[at];
        cell.self = at;
        cell_read(cell, at, where);
    }
    std::uint64_t value = 0;
    std::memcpy(&value, at, bytes);
    return value;
}

void device_store(void* at, std::size_t bytes, std::uint64_t value, place where) {
    if (self != nullptr && self->running) {
        if (const auto shared = self->shared.find(at); shared != self->shared.end()) {
            return store(shared->second, value, std::memory_order_relaxed, where);
        }
        accesses& cell = self->device_cells[at];
        cell.self = at;
        cell_write(cell, at, value, where);
    }
    std::memcpy(at, &value, bytes);
}

void cell_read(accesses& of, const void* cell, place at) {
    if (!self->running) {
        return;
    }
    if (of.self != cell) {
        note("reads what is no message", -1, 0, 0, std::memory_order_relaxed, at);
        fail("a field read through a pointer that is none");
    }
    if (me().known.clock[of.writer] < of.written) {
        note("reads a field", -1, 0, 0, std::memory_order_relaxed, at);
        fail("race: read of a field that hart " + std::to_string(of.writer) + " has written");
    }
    of.read[self->current] = me().known.clock[self->current];
}

void cell_write(accesses& of, const void* cell, std::uint64_t value, place at) {
    if (!self->running) {
        return;
    }
    if (of.self != cell) {
        note("writes what is no message", -1, 0, 0, std::memory_order_relaxed, at);
        fail("a field written through a pointer that is none");
    }
    note("writes a field:", -2, value, 0, std::memory_order_relaxed, at);
    if (me().known.clock[of.writer] < of.written) {
        fail("race: write of a field that hart " + std::to_string(of.writer) + " has written");
    }
    for (unsigned i = 0; i < max_harts; ++i) {
        if (me().known.clock[i] < of.read[i]) {
            fail("race: write of a field that hart " + std::to_string(i) + " has read");
        }
    }
    of.writer = self->current;
    of.written = me().known.clock[self->current];
}

} // namespace detail

} // namespace inflight::interleavings
