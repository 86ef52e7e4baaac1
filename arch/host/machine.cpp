#undef _FORTIFY_SOURCE // its longjmp() refuses to change stacks

#include "inflight/arch/arch.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#define INFLIGHT_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define INFLIGHT_ADDRESS_SANITIZER 1
#endif
#endif
#ifdef INFLIGHT_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace inflight::arch::host {

namespace {

thread_local machine* current_machine = nullptr;

constexpr std::size_t page = 4096;
constexpr std::size_t violations_kept = 1000;
constexpr unsigned stalls_tolerated = 10'000;

std::string hexadecimal(std::uint64_t value) {
    char text[24];
    std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
    return text;
}

[[noreturn]] void die(const char* message) noexcept {
    std::fprintf(stderr, "%s\n", message);
    if (current_machine != nullptr) {
        std::fprintf(stderr, "%s\n", current_machine->describe().c_str());
    }
    std::abort();
}

std::uint64_t rotate_left(std::uint64_t value, unsigned bits) {
    return value << bits | value >> (64 - bits);
}

// A stack of a hart, with a guard page below it.
class hart_stack {
  public:
    static constexpr std::size_t bytes = std::size_t{512} << 10;

    hart_stack()
        : mapping_{
              mmap(nullptr, page + bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)} {
        if (mapping_ == MAP_FAILED || mprotect(mapping_, page, PROT_NONE) != 0) {
            die("no memory for the stack of a hart");
        }
    }
    ~hart_stack() { munmap(mapping_, page + bytes); }
    hart_stack(const hart_stack&) = delete;
    hart_stack& operator=(const hart_stack&) = delete;

    std::byte* start() const { return static_cast<std::byte*>(mapping_) + page; }

  private:
    void* mapping_;
};

// Stacks are kept for the next run: a new one costs a page fault for each of its pages.
thread_local std::vector<std::unique_ptr<hart_stack>> spare_stacks;

} // namespace

// The execution context of a hart, or of the caller of run(). It is entered for the first time with setcontext(), and
// left and entered again with jumps, because swapcontext() makes a system call each time. The address sanitizer takes a
// jump for the end of frames, so swapcontext() is used with it.
struct machine::context {
    context() = default;
    ~context() {
        if (stack) {
            spare_stacks.push_back(std::move(stack));
        }
    }
    context(const context&) = delete;
    context& operator=(const context&) = delete;

    void prepare(void (*entry)()) {
        if (spare_stacks.empty()) {
            stack = std::make_unique<hart_stack>();
        } else {
            stack = std::move(spare_stacks.back());
            spare_stacks.pop_back();
        }
        bottom = stack->start();
        bytes = hart_stack::bytes;
        if (getcontext(&registers) != 0) {
            die("no context for a hart");
        }
        registers.uc_stack.ss_sp = stack->start();
        registers.uc_stack.ss_size = bytes;
        registers.uc_link = nullptr;
        makecontext(&registers, entry, 0);
#ifdef INFLIGHT_ADDRESS_SANITIZER
        __asan_unpoison_memory_region(bottom, bytes); // frames that were left behind
#endif
    }

    // Resumes `to`. Returns when this one is resumed, which never happens after the end of its hart.
    void leave_for(context& to, [[maybe_unused]] bool for_ever) {
#ifdef INFLIGHT_ADDRESS_SANITIZER
        __sanitizer_start_switch_fiber(for_ever ? nullptr : &fake_stack, to.bottom, to.bytes);
        swapcontext(&registers, &to.registers);
        __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#else
        left = true;
        if (_setjmp(jump) == 0) {
            if (to.left) {
                _longjmp(to.jump, 1);
            }
            setcontext(&to.registers);
        }
#endif
    }

    std::unique_ptr<hart_stack> stack; // none: the caller's
    const void* bottom = nullptr;
    std::size_t bytes = 0;
    ucontext_t registers{};
#ifdef INFLIGHT_ADDRESS_SANITIZER
    void* fake_stack = nullptr;
#else
    std::jmp_buf jump{};
    bool left = false; // and can be entered again through `jump`
#endif
};

// While one exists, devices run and interrupts are held back; the destructor of the outermost one takes them.
class machine::device_turn {
  public:
    explicit device_turn(machine& owner) : owner_{owner} { ++owner_.device_depth_; }
    ~device_turn() {
        --owner_.device_depth_;
        owner_.take_interrupts();
    }
    device_turn(const device_turn&) = delete;
    device_turn& operator=(const device_turn&) = delete;

  private:
    machine& owner_;
};

machine::machine(machine_options options) : options_{options} {
    if (current_machine != nullptr) {
        die("a second machine on one thread");
    }
    if (options_.harts == 0 || options_.harts > max_harts) {
        die("a machine has at least one hart, and not more than arch::max_harts");
    }
    if (!std::has_single_bit(options_.trace_length)) {
        die("the length of the trace is not a power of two");
    }
    options_.memory_bytes = (options_.memory_bytes + page - 1) / page * page;
    memory_ = static_cast<std::byte*>(std::aligned_alloc(page, options_.memory_bytes));
    if (memory_ == nullptr) {
        die("no memory for the machine");
    }
    std::memset(memory_, 0xA5, options_.memory_bytes);
    harts_.resize(options_.harts);
    for (auto& hart : harts_) {
        hart.masked = options_.start_masked;
    }
    // splitmix64 spreads the seed over the state of xoshiro256**
    std::uint64_t mixed = options_.seed;
    for (auto& word : random_state_) {
        mixed += 0x9e3779b97f4a7c15;
        std::uint64_t value = mixed;
        value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
        value = (value ^ value >> 27) * 0x94d049bb133111eb;
        word = value ^ value >> 31;
    }
    current_machine = this;
}

machine::~machine() {
    observed_ = nullptr;
    current_machine = nullptr;
    std::free(memory_);
}

machine& machine::current() noexcept {
    if (current_machine == nullptr) {
        die("no machine on this thread");
    }
    return *current_machine;
}

void machine::options(const machine_options& changed) noexcept {
    const machine_options kept = options_;
    options_ = changed;
    options_.harts = kept.harts;
    options_.memory_bytes = kept.memory_bytes;
    options_.seed = kept.seed;
    options_.trace_length = kept.trace_length;
}

// ---- harts and interrupts

void machine::select_hart(hart_index hart) noexcept {
    if (hart >= harts_.size()) {
        die("no such hart");
    }
    if (stepping_ == this) {
        die("a hart is selected within run()");
    }
    hart_ = hart;
    take_interrupts();
}

void machine::on_external_interrupt(hart_index hart, callback handler) {
    harts_.at(hart).external = std::move(handler);
}

void machine::on_timer_interrupt(hart_index hart, callback handler) {
    harts_.at(hart).timer = std::move(handler);
}

void machine::on_software_interrupt(hart_index hart, callback handler) {
    harts_.at(hart).software = std::move(handler);
}

machine::line_state& machine::line(unsigned number) {
    const auto place = std::lower_bound(lines_.begin(), lines_.end(), number,
                                        [](const line_state& each, unsigned wanted) { return each.number < wanted; });
    if (place != lines_.end() && place->number == number) {
        return *place;
    }
    line_state& added = *lines_.insert(place, line_state{});
    added.number = number;
    return added;
}

bool machine::line_pending(const line_state& line) const noexcept {
    return line.enabled && !line.in_service && (line.spurious || (line.high && line.visible_at <= time_));
}

void machine::refresh_lines() noexcept {
    external_ = 0;
    for (const line_state& each : lines_) {
        if (line_pending(each)) {
            external_ |= each.harts;
        }
    }
}

void machine::line_handler(unsigned number, callback handler) {
    line(number).handler = std::move(handler);
    enable_line(number, true);
}

void machine::route_line(unsigned number, hart_index hart) {
    share_line(number, {hart});
}

void machine::make_message(unsigned number) {
    line(number).is_message = true;
}

void machine::share_line(unsigned number, const std::vector<hart_index>& harts) {
    line_state& shared = line(number);
    shared.harts = 0;
    for (const hart_index hart : harts) {
        if (hart >= harts_.size()) {
            die("no such hart");
        }
        shared.harts |= std::uint64_t{1} << hart;
    }
    refresh_lines();
    take_interrupts();
}

void machine::enable_line(unsigned number, bool enabled) {
    line(number).enabled = enabled;
    refresh_lines();
    take_interrupts();
}

void machine::raise_line(unsigned number) {
    line_state& raised = line(number);
    if (!raised.high) {
        raised.high = true;
        raised.visible_at = time_;
        if (options_.longest_line_delay != 0) {
            raised.visible_at += random_below(options_.longest_line_delay + 1);
            at(raised.visible_at, [this] { refresh_lines(); });
        }
    }
    refresh_lines();
    take_interrupts();
}

void machine::lower_line(unsigned number) {
    line_state& lowered = line(number);
    lowered.high = false;
    lowered.streak = 0;
    refresh_lines();
}

bool machine::line_high(unsigned number) const {
    return std::any_of(lines_.begin(), lines_.end(),
                       [number](const line_state& each) { return each.number == number && each.high; });
}

unsigned machine::claim() {
    step(step_kind::claim);
    for (line_state& each : lines_) {
        if (line_pending(each) && (each.harts >> hart_ & 1) != 0) {
            each.in_service = true;
            each.spurious = false;
            refresh_lines();
            note(each.number);
            return each.number;
        }
    }
    note(no_line);
    return no_line;
}

void machine::complete(unsigned number) {
    step(step_kind::complete, number);
    line_state& served = line(number);
    served.in_service = false;
    if (!served.high) {
        served.streak = 0;
    } else if (++served.streak > options_.interrupt_storm) {
        report("STORM", "interrupt storm: line " + std::to_string(number) + " stays high after its handler");
        served.enabled = false;
        served.streak = 0;
    }
    refresh_lines();
}

void machine::service_lines() {
    for (unsigned number = claim(); number != no_line; number = claim()) {
        const callback handler = line(number).handler;
        if (handler) {
            handler();
        }
        complete(number);
    }
}

void machine::take_interrupts() {
    if (device_depth_ != 0) {
        return;
    }
    const hart_index hart = hart_;
    auto& state = harts_[hart];
    while (!state.masked && pending(hart)) {
        state.masked = true; // as a trap does
        ++interrupts_taken_;
        take_one(hart, state);
        if (hart_ != hart) {
            die("an interrupt handler changed the hart");
        }
        state.masked = false;
    }
}

void machine::take_one(hart_index hart, hart_state& state) {
    if (timer_pending(hart)) {
        step(step_kind::timer_trap);
        if (state.timer) {
            state.timer();
        } else {
            state.deadline = no_deadline;
        }
        if (state.deadline > clock()) {
            state.timer_streak = 0;
        } else if (++state.timer_streak > options_.interrupt_storm) {
            report("STORM", "interrupt storm: the deadline stays in the past after the timer handler");
            state.deadline = no_deadline;
            state.timer_streak = 0;
        }
    } else if (external_pending(hart)) {
        step(step_kind::external_trap);
        if (state.external) {
            const callback handler = state.external;
            handler();
        } else {
            service_lines();
        }
    } else {
        step(step_kind::software_trap);
        state.software_pending = false;
        ++state.software_taken;
        if (state.software) {
            state.software();
        }
    }
}

void machine::interrupt_hart(hart_index hart) noexcept {
    ++instructions_;
    step(step_kind::interrupt_hart, hart);
    if (hart >= harts_.size()) {
        die("no such hart");
    }
    const ticks delay = options_.longest_software_delay == 0 ? 0 : random_below(options_.longest_software_delay + 1);
    if (delay == 0) {
        harts_[hart].software_pending = true;
    } else {
        ++harts_[hart].software_on_the_way;
        after(delay, [this, hart] {
            --harts_[hart].software_on_the_way;
            harts_[hart].software_pending = true;
        });
    }
    take_interrupts(); // it may be this hart
}

bool machine::wake_due(hart_index hart) const {
    return pending(hart) || harts_.at(hart).software_on_the_way != 0;
}

bool machine::mask_interrupts() noexcept {
    ++instructions_;
    step(step_kind::mask);
    return !std::exchange(harts_[hart_].masked, true);
}

void machine::restore_interrupts(bool unmask) noexcept {
    ++instructions_;
    step(step_kind::restore);
    if (!unmask) {
        return;
    }
    harts_[hart_].masked = false;
    take_interrupts();
}

void machine::set_interrupt_handler(interrupt kind, interrupt_handler handler) {
    const auto call = [handler] {
        handler.call(handler.context);
    };
    switch (kind) {
    case interrupt::software: on_software_interrupt(hart_, call); break;
    case interrupt::timer: on_timer_interrupt(hart_, call); break;
    case interrupt::external: on_external_interrupt(hart_, call); break;
    }
}

void machine::wait_for_interrupt() noexcept {
    ++instructions_;
    step(step_kind::wait);
    {
        const device_turn turn{*this};
        for (auto* each : observers_) {
            each->on_wait_for_interrupt();
        }
        run_due_events();
        if (options_.spurious_wake_ups != 0 && chance(options_.spurious_wake_ups)) {
            return;
        }
        while (stepping_ != this && !pending(hart_)) {
            const ticks deadline = time_of_deadline(harts_[hart_]);
            const ticks event = next_event();
            if (deadline == no_deadline && events_.empty()) {
                stalled_ = true;
                stall_reason_ = "hart " + std::to_string(hart_) + " waits at " + std::to_string(time_) +
                                " with no interrupt pending, no deadline and no event left";
                if (++stalls_in_a_row_ > stalls_tolerated) {
                    die("the code under test keeps waiting although nothing can happen any more");
                }
                if (on_stall_) {
                    on_stall_();
                }
                return;
            }
            time_ = std::max(time_, std::min(deadline, event));
            run_due_events();
        }
        stalls_in_a_row_ = 0;
    }
    if (stepping_ == this) {
        wait_in_run();
        take_interrupts();
    }
}

void machine::clear_stall() noexcept {
    stalled_ = false;
    stalls_in_a_row_ = 0;
    stall_reason_.clear();
}

void machine::on_stall(callback work) {
    on_stall_ = std::move(work);
}

// ---- several harts at once

run_end machine::run(std::vector<callback> bodies, run_limits limits) {
    if (stepping_ != nullptr || device_depth_ != 0) {
        die("run() within run(), or by a device");
    }
    if (bodies.size() > harts_.size()) {
        die("more bodies than harts");
    }
    const hart_index before = hart_;
    limits_ = limits;
    outcome_ = run_end::finished;
    violations_before_ = violations_.size();
    turn_began_ = steps_;
    trace_.resize(options_.trace_length);
    for (std::size_t i = 0; i < bodies.size(); ++i) {
        hart_state& hart = harts_[i];
        hart.running = static_cast<bool>(bodies[i]);
        hart.waiting = false;
        hart.paused_until = 0;
        hart.priority = static_cast<std::int64_t>(random() >> 1);
        hart.body = std::move(bodies[i]);
        hart.here = std::make_unique<context>();
        hart.here->prepare(&machine::enter);
    }
    caller_ = std::make_unique<context>();
    stepping_ = this;
    hart_ = nobody;
    if (const hart_index first = elect(nobody); first != nobody) {
        give_turn(first);
    }
    stepping_ = nullptr;
    device_depth_ = 0; // the run may have ended within a device
    hart_ = before;
    caller_.reset();
    for (hart_state& hart : harts_) {
        hart.running = hart.waiting = false;
        hart.body = nullptr;
        hart.here.reset();
    }
    if (thrown_) {
        std::rethrow_exception(std::exchange(thrown_, nullptr));
    }
    return outcome_;
}

void machine::on_step(callback work) {
    on_step_ = std::move(work);
}

void machine::enter() noexcept {
    stepping_->hart_main();
}

// The outermost function on the stack of a hart.
void machine::hart_main() noexcept {
    const hart_index hart = hart_;
#ifdef INFLIGHT_ADDRESS_SANITIZER
    {
        const void* left = nullptr;
        std::size_t bytes = 0;
        __sanitizer_finish_switch_fiber(nullptr, &left, &bytes);
        if (caller_->bottom == nullptr) { // the first hart comes from there
            caller_->bottom = left;
            caller_->bytes = bytes;
        }
    }
#endif
    try {
        harts_[hart].body();
    } catch (...) {
        thrown_ = std::current_exception();
    }
    if (thrown_) {
        end_run(run_end::violation);
    }
    step(step_kind::end);
    harts_[hart].running = false;
    const hart_index next = elect(nobody);
    if (next == nobody) {
        end_run(run_end::finished);
    }
    give_turn(next);
    die("a hart goes on after its end");
}

bool machine::runnable(hart_index hart) const noexcept {
    const hart_state& state = harts_[hart];
    return state.running && state.paused_until <= time_ && (!state.waiting || pending(hart));
}

// Returns the hart to run next: one that can run, and is not `except`. If none can, time advances until one can.
// Returns nobody if there is no other hart that can run, or if all have ended. A stall ends the run.
hart_index machine::elect(hart_index except) noexcept {
    for (;;) {
        hart_index chosen = nobody;
        std::uint64_t candidates = 0;
        bool any_running = false;
        for (hart_index hart = 0; hart < harts_.size(); ++hart) {
            any_running |= harts_[hart].running;
            if (hart == except || !runnable(hart)) {
                continue;
            }
            ++candidates;
            // Each hart is equally likely, without a list of them.
            const bool better = options_.priorities
                                    ? chosen == nobody || harts_[hart].priority > harts_[chosen].priority
                                    : candidates == 1 || random_below(candidates) == 0;
            if (better) {
                chosen = hart;
            }
        }
        if (chosen != nobody || except != nobody || !any_running) {
            return chosen;
        }
        ticks next = next_event();
        for (const hart_state& each : harts_) {
            if (each.running && each.paused_until > time_) {
                next = std::min(next, each.paused_until);
            } else if (each.running && each.waiting) {
                next = std::min(next, time_of_deadline(each));
            }
        }
        if (next == no_deadline) {
            end_run(run_end::stalled);
        }
        if (next > limits_.time) {
            end_run(run_end::time);
        }
        time_ = std::max(time_, next);
        ++device_depth_; // the hart that runs next takes the interrupts
        run_due_events();
        --device_depth_;
    }
}

// Switches from the current hart, or the caller of run(), to another hart. Returns when the current one is resumed.
void machine::give_turn(hart_index next) noexcept {
    if (next == hart_) {
        return;
    }
    const hart_index self = hart_;
    context& here = self == nobody ? *caller_ : *harts_[self].here;
    const bool for_ever = self != nobody && !harts_[self].running;
    ++switches_;
    turn_began_ = steps_;
    hart_ = next;
    here.leave_for(*harts_[next].here, for_ever);
}

// Ends run(). Does not return.
void machine::end_run(run_end outcome) noexcept {
    outcome_ = outcome;
    if (outcome == run_end::stalled && !limits_.stall_permitted) {
        std::string waits;
        for (hart_index hart = 0; hart < harts_.size(); ++hart) {
            if (harts_[hart].running) {
                waits.append(waits.empty() ? "hart " : ", hart ").append(std::to_string(hart));
                waits.append(harts_[hart].masked ? "" : " (unmasked)");
            }
        }
        report("STALL", "every hart waits, and nothing can ever wake one: " + waits);
    } else if (outcome == run_end::steps) {
        report("LIMIT", "no end after " + std::to_string(steps_) + " steps");
    } else if (outcome == run_end::time) {
        report("LIMIT", "no end at time " + std::to_string(time_));
    }
    harts_[hart_].here->leave_for(*caller_, true);
    die("a run goes on after its end");
}

// The boundary between two steps: what a hart does between two boundaries is atomic for the others.
void machine::step(step_kind kind, std::uint64_t where) noexcept {
    if (stepping_ != this || device_depth_ != 0) {
        return;
    }
    if (on_step_) {
        ++device_depth_;
        on_step_();
        --device_depth_;
    }
    if (violations_.size() != violations_before_ && !limits_.go_on_after_violation) {
        end_run(run_end::violation);
    }
    if (++steps_ > limits_.steps) {
        end_run(run_end::steps);
    }
    time_ += options_.cost_of_step;
    if (time_ > limits_.time) {
        end_run(run_end::time);
    }
    if (next_event() <= time_) {
        ++device_depth_;
        run_due_events();
        --device_depth_;
    }
    maybe_switch();
    take_interrupts();
    trace_[steps_made_++ & (options_.trace_length - 1)] = {time_, where, 0, hart_, kind};
    for (const std::uint64_t part : {static_cast<std::uint64_t>(hart_), static_cast<std::uint64_t>(kind), time_}) {
        trace_digest_ = (trace_digest_ ^ part) * 0x100000001b3;
    }
}

void machine::maybe_switch() noexcept {
    if (options_.spurious_lines != 0 && !lines_.empty() && chance(options_.spurious_lines)) {
        line_state& any = lines_[random_below(lines_.size())];
        any.spurious = any.enabled && !any.in_service && !any.is_message;
        refresh_lines();
    }
    hart_state& self = harts_[hart_];
    if (options_.pauses != 0 && chance(options_.pauses)) {
        self.paused_until = time_ + 1 + random_below(options_.longest_pause);
        give_turn(elect(nobody));
        return;
    }
    const bool moves = steps_ - turn_began_ >= options_.longest_turn || chance(options_.switches);
    if (options_.priorities) {
        if (moves) {
            self.priority = --lowest_priority_;
            turn_began_ = steps_;
        }
        give_turn(elect(nobody));
    } else if (moves) {
        if (const hart_index other = elect(hart_); other != nobody) {
            give_turn(other);
        }
    }
}

void machine::wait_in_run() noexcept {
    const hart_index self = hart_;
    while (!pending(self)) {
        harts_[self].waiting = true;
        give_turn(elect(nobody));
    }
    harts_[self].waiting = false;
}

void machine::note(std::uint64_t value) noexcept {
    if (stepping_ == this && device_depth_ == 0) {
        last_step().value = value;
    }
}

std::vector<step_record> machine::trace() const {
    std::vector<step_record> steps;
    const std::uint64_t kept = std::min<std::uint64_t>(steps_made_, trace_.size());
    for (std::uint64_t i = steps_made_ - kept; i < steps_made_; ++i) {
        steps.push_back(trace_[i & (options_.trace_length - 1)]);
    }
    return steps;
}

void machine::name(const volatile void* word, std::string name) {
    names_[reinterpret_cast<std::uintptr_t>(word)] = std::move(name);
}

std::string machine::describe_step(const step_record& step) const {
    static constexpr const char* kinds[] = {
        "load",     "store",     "exchange", "compare_exchange", "fetch_add",    "fetch_sub",
        "fetch_or", "fetch_and", "fence",    "mmio_read",        "mmio_write",   "now",
        "mask",     "restore",   "wait",     "interrupt",        "set_deadline", "claim",
        "complete", "external",  "timer",    "software",         "end"};
    static constexpr const char* fences[] = {"publish", "consume", "full", "doorbell", "acknowledge"};
    std::string text = "[";
    text += std::to_string(step.time);
    text += "] hart ";
    text += std::to_string(step.hart);
    text += ' ';
    text += kinds[static_cast<int>(step.kind)];
    switch (step.kind) {
    case step_kind::fence: return text + " " + fences[step.where];
    case step_kind::interrupt_hart: return text + " hart " + std::to_string(step.where);
    case step_kind::complete: return text + " " + std::to_string(step.where);
    case step_kind::set_deadline: return text + " " + (step.where == no_deadline ? "none" : std::to_string(step.where));
    case step_kind::claim: return text + " -> " + (step.value == no_line ? "none" : std::to_string(step.value));
    case step_kind::now: return text + " -> " + std::to_string(step.value);
    default: break;
    }
    if (step.kind <= step_kind::mmio_write) {
        const auto named = names_.find(step.where);
        text +=
            " " + (named != names_.end() ? named->second : hexadecimal(step.where)) + ": " + hexadecimal(step.value);
    }
    return text;
}

// ---- time

namespace {

// The order of a heap, whose first element is the largest: the next event.
constexpr auto later = [](const auto& a, const auto& b) {
    return a.time != b.time ? a.time > b.time : a.number > b.number;
};

} // namespace

void machine::at(ticks time, callback work) {
    events_.push_back({std::max(time, time_), sequence_++, std::move(work)});
    std::push_heap(events_.begin(), events_.end(), later);
}

void machine::run_as_device(const callback& work) {
    const device_turn turn{*this};
    work();
}

// Runs the events that are due. An event may call into the machine; events that it adds for now run too, in order.
void machine::run_due_events() {
    while (next_event() <= time_) {
        std::pop_heap(events_.begin(), events_.end(), later);
        const callback work = std::move(events_.back().work);
        events_.pop_back();
        const device_turn turn{*this};
        work();
    }
}

// Advances time, and runs the events that are due unless a device runs.
void machine::pass(ticks span) {
    time_ += span;
    if (device_depth_ == 0) {
        run_due_events();
    }
    take_interrupts();
}

void machine::run_until(ticks time) {
    if (stepping_ == this) {
        die("run_until() within run()");
    }
    do {
        ticks next = std::min(std::max(time, time_), next_event());
        if (!timer_pending(hart_)) {
            next = std::min(next, time_of_deadline(harts_[hart_]));
        }
        time_ = std::max(time_, next);
        run_due_events();
        take_interrupts();
    } while (time_ < time);
}

ticks machine::time_of_deadline(const hart_state& hart) const noexcept {
    if (hart.deadline == no_deadline) {
        return no_deadline;
    }
    const ticks left = hart.deadline > clock() ? hart.deadline - clock() : 0;
    return left < no_deadline - time_ ? time_ + left : no_deadline;
}

ticks machine::now() noexcept {
    ++instructions_;
    step(step_kind::now);
    time_ += options_.cost_of_now;
    const ticks value = clock();
    note(value);
    pass(0);
    return value;
}

void machine::set_deadline(ticks time) noexcept {
    ++instructions_;
    step(step_kind::set_deadline, time);
    harts_[hart_].deadline = time;
    take_interrupts();
}

// ---- registers

void machine::attach(std::uintptr_t base, std::size_t size, mmio_device& device) {
    for (const auto& other : bus_) {
        if (base < other.base + other.size && other.base < base + size) {
            die("two devices at one address");
        }
    }
    bus_.push_back({base, size, &device});
}

void machine::detach(mmio_device& device) {
    std::erase_if(bus_, [&](const attachment& each) { return each.device == &device; });
}

void machine::observe(observer& added) {
    observers_.push_back(&added);
    observed_ = this;
}

void machine::stop_observing(observer& removed) {
    std::erase(observers_, &removed);
    if (observers_.empty()) {
        observed_ = nullptr;
    }
}

void machine::tell_of_read(const void* device_word) noexcept {
    for (auto* each : observers_) {
        each->on_device_word_read(device_word);
    }
}

const machine::attachment* machine::find(std::uintptr_t address, unsigned width, const char* direction) {
    if (address % width != 0) {
        report("BUS", std::string{"misaligned "} + direction + " of " + std::to_string(width) + " bytes at " +
                          hexadecimal(address));
        return nullptr;
    }
    for (const auto& each : bus_) {
        if (address >= each.base && address - each.base < each.size) {
            return &each;
        }
    }
    report("BUS", std::string{direction} + " of " + std::to_string(width) + " bytes at " + hexadecimal(address) +
                      ", where no device is");
    return nullptr;
}

std::uint32_t machine::mmio_read(std::uintptr_t address, unsigned width) noexcept {
    ++instructions_;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    step(step_kind::mmio_read, address);
    std::uint32_t value = width == 4 ? ~0U : (1U << 8 * width) - 1;
    {
        const device_turn turn{*this};
        for (auto* each : observers_) {
            each->on_mmio_read(address, width);
        }
        if (const auto* found = find(address, width, "read")) {
            value &= found->device->read(address - found->base, width);
        }
        if (stepping_ == this) {
            last_step().value = value;
        }
    }
    pass(options_.cost_of_access);
    return value;
}

void machine::mmio_write(std::uintptr_t address, unsigned width, std::uint32_t value) noexcept {
    ++instructions_;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    step(step_kind::mmio_write, address);
    note(value);
    {
        const device_turn turn{*this};
        for (auto* each : observers_) {
            each->on_mmio_write(address, width, value);
        }
        if (const auto* found = find(address, width, "write")) {
            found->device->write(address - found->base, width, value);
        }
    }
    pass(options_.cost_of_access);
}

void machine::fence(fence_kind kind) noexcept {
    ++instructions_;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    step(step_kind::fence, static_cast<std::uint64_t>(kind));
    const device_turn turn{*this};
    for (auto* each : observers_) {
        each->on_fence(kind);
    }
}

// ---- memory

std::byte* machine::allocate(std::size_t bytes, std::size_t alignment) {
    if (alignment == 0 || (alignment & (alignment - 1)) != 0) {
        die("alignment is not a power of two");
    }
    const auto start = reinterpret_cast<std::uintptr_t>(memory_) + allocated_;
    const std::size_t padding = static_cast<std::size_t>(-start & (alignment - 1));
    const std::size_t left = options_.memory_bytes - allocated_;
    if (padding > left || bytes > left - padding) {
        report("MEMORY", "the machine has no " + std::to_string(bytes) + " bytes left");
        return nullptr;
    }
    allocated_ += padding + bytes;
    return memory_ + (allocated_ - bytes);
}

bool machine::reachable(const void* pointer) const noexcept {
    const auto address = reinterpret_cast<std::uintptr_t>(pointer);
    const auto start = reinterpret_cast<std::uintptr_t>(memory_);
    return address >= start && address - start < options_.memory_bytes;
}

std::byte* machine::translate(std::uint64_t address, std::uint64_t length) noexcept {
    if (address < memory_base) {
        return nullptr;
    }
    const std::uint64_t offset = address - memory_base;
    if (offset >= options_.memory_bytes || length > options_.memory_bytes - offset) {
        return nullptr;
    }
    return memory_ + offset;
}

std::uint64_t machine::device_address(const void* pointer) noexcept {
    ++instructions_;
    if (!reachable(pointer)) {
        report("RSVD-05", "device_address() of memory that no device can reach");
        return unreachable;
    }
    return memory_base + static_cast<std::uint64_t>(static_cast<const std::byte*>(pointer) - memory_);
}

// ---- chance

std::uint64_t machine::random() noexcept {
    auto& s = random_state_;
    const std::uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    const std::uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

std::uint64_t machine::random_below(std::uint64_t bound) noexcept {
    return bound == 0 ? 0 : random() % bound;
}

bool machine::chance(unsigned per_thousand) noexcept {
    return random_below(1000) < per_thousand;
}

// ---- violations

void machine::report(std::string_view id, std::string message) {
    if (violations_.size() < violations_kept) {
        violations_.push_back({std::string{id}, std::move(message), time_});
    }
}

std::size_t machine::count(std::string_view id) const {
    return static_cast<std::size_t>(
        std::count_if(violations_.begin(), violations_.end(), [&](const violation& each) { return each.id == id; }));
}

std::string machine::describe() const {
    std::string text = "seed " + std::to_string(options_.seed) + ", time " + std::to_string(time_);
    if (stalled_) {
        text += "\n  stalled: " + stall_reason_;
    }
    for (const auto& each : violations_) {
        text += "\n  [" + std::to_string(each.time) + "] " + each.id + ": " + each.message;
    }
    if (steps_ != 0) {
        text += "\n  steps " + std::to_string(steps_) + ", the last of them:";
        for (const step_record& each : trace()) {
            text += "\n    " + describe_step(each);
        }
    }
    return text;
}

} // namespace inflight::arch::host

namespace inflight::arch {

void panic(const char* message) noexcept {
    std::fprintf(stderr, "panic: ");
    host::die(message);
}

} // namespace inflight::arch
