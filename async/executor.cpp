#include "async/executor.hpp"

#include "async/backoff.hpp"
#include "async/task_table.hpp"

namespace inflight::async {

namespace {

// Bounds of the adaptive span, in parts of a second. The lower one is about what a sleep and a wake-up cost when nothing
// else runs on the host, the upper one what is worth burning to save one.
constexpr arch::ticks shortest_span_per_second = 50'000; // 20 us
constexpr arch::ticks longest_span_per_second = 2'500;   // 400 us

} // namespace

executor::executor(std::span<std::byte> frame_memory) noexcept : hart_{arch::this_hart()}, frames_{frame_memory} {
    if (hart_ >= most_harts) {
        arch::panic("there are more harts than executors may be");
    }
    arch::hart_local() = this;
    executors_[hart_] = this;
    round_time_ = arch::now();
}

executor::~executor() {
    if (frames_.count().live != 0) {
        arch::panic("an executor ends while coroutines live: join their scope first");
    }
    executors_[hart_] = nullptr;
    arch::hart_local() = nullptr;
}

void executor::add(completion_source& source) noexcept {
    source.next_source_ = sources_;
    sources_ = &source;
}

inline bool executor::poll_sources() noexcept {
    bool found = false;
    for (completion_source* source = sources_; source != nullptr; source = source->next_source_) {
        found |= source->poll();
    }
    return found;
}

inline void executor::take_messages() noexcept {
    for (operation* next = inbox_.take_all(); next != nullptr;) {
        operation& message = *next;
        next = message.next;
        trace::record(trace::event::message, message.continuation);
        make_ready(message);
    }
}

inline void executor::resume(std::coroutine_handle<> frame) noexcept {
    runs(frame);
#if INFLIGHT_TRACE
    trace::record(trace::event::resume, frame);
    const task_record* const task = task_table::at_frame(frame.address());
    if (task != nullptr && task->name != nullptr) {
        trace::record(trace::event::name, reinterpret_cast<std::uintptr_t>(task->name));
    } else {
        trace::record(trace::event::code, reinterpret_cast<std::uintptr_t>(static_cast<void**>(frame.address())[1]));
    }
    const std::uint64_t before = arch::instructions();
    frame.resume();
    // It may have ended meanwhile, or gone home to another hart.
    if (task != nullptr && frames_.holds(task) && task_table::at_frame(frame.address()) == task) {
        ++const_cast<task_record*>(task)->resumptions;
        const_cast<task_record*>(task)->instructions += arch::instructions() - before;
    }
    trace::record(trace::event::suspend);
#else
    frame.resume();
#endif
}

// Takes back what a round has done for a sleep that does not follow.
void executor::unmask() noexcept {
    if (masked_to_sleep_) {
        masked_to_sleep_ = false;
        arch::restore_interrupts(true);
    }
}

// Inline, as what follows it is, so that the loop of a hart keeps its registers from one round to the next.
[[gnu::always_inline]] inline bool executor::round() noexcept {
    const trace::lasting traced{trace::event::round_begin, trace::event::round_end};
    round_time_ = arch::now();
    take_messages();
    static_cast<void>(poll_sources());
    while (timer* const due = timers_.pop_due(round_time_)) {
        make_ready(*due);
    }

    // What becomes ready meanwhile waits for the next round, so that nothing runs twice before everything ran once. What
    // the budget leaves over is first in line then.
    operation* next = left_over_ != nullptr ? left_over_ : ready_.take_all();
    std::uint32_t resumed = 0;
    ready_awaits_left_ = round_budget;
    for (;;) {
        while (next != nullptr && resumed != round_budget) {
            operation& running = *next;
            next = running.next;
            left_over_ = next; // for who looks at the tasks meanwhile
            ++resumed;
            resume(running.continuation);
        }
        current_frame_ = nullptr;
        // A hart that polls takes what has completed meanwhile into this round: a device that is still completing is not
        // interrupted by a doorbell for every few requests.
        if (poll_mode_ == poll_mode::off || next != nullptr || resumed == 0 || !look_before_publishing(resumed)) {
            break;
        }
        next = left_over_ = ready_.take_all();
    }

    // Without polling, interrupts alone tell of completions. A hart that is about to sleep asks for them before it notifies
    // the device, so that the first completion of what it has just submitted is told, not found. From there to the wait they
    // are masked: one that comes ends the wait, and needs no trap. What was submitted is published also when nothing was
    // resumed: a poll may have submitted what was waiting in line.
    const bool sleeps = poll_mode_ == poll_mode::off && next == nullptr && ready_.empty();
    masked_to_sleep_ = sleeps;
    if (sleeps) {
        static_cast<void>(arch::mask_interrupts());
    }
    bool work = false;
    for (completion_source* source = sources_; source != nullptr; source = source->next_source_) {
        if (sleeps) {
            work |= source->arm();
        }
        source->publish();
    }
    counters_.resumptions += resumed;
    ++counters_.rounds;
    const bool more = next != nullptr || !ready_.empty();
    if (work || more) {
        unmask();
    }
    return more;
}

// The last look of a round that has resumed so many. True if there is more to resume.
bool executor::look_before_publishing(std::uint32_t resumed) noexcept {
    if (poll_sources()) {
        return true;
    }
    bool publishes = false;
    for (completion_source* source = sources_; source != nullptr; source = source->next_source_) {
        publishes |= source->has_unpublished();
    }
    if (!publishes) {
        return false;
    }
    if (publish_timing_.waits()) {
        backoff::wait_longest();
        if (poll_sources()) {
            return true;
        }
    }
    publish_timing_.round_ended(resumed, round_time_);
    return false;
}

// Looks for completions for as long as the poll mode allows. True if there is work.
bool executor::look_for_work() noexcept {
    const bool always = poll_mode_ == poll_mode::always;
    if (!always && poll_span_ == 0) {
        return false;
    }
    unmask(); // if the mode has changed since the round
    for (completion_source* source = sources_; source != nullptr; source = source->next_source_) {
        source->disarm();
    }
    const arch::ticks start = arch::now();
    const arch::ticks wake_up = timers_.earliest();
    for (backoff between_looks;; between_looks.wait()) {
        if (inbox_.has_messages() || poll_sources()) {
            ++counters_.polls_paid;
            return true;
        }
        const arch::ticks now = arch::now();
        if (now >= wake_up) {
            return true;
        }
        if (!always && now - start >= poll_span_) {
            ++counters_.polls_in_vain;
            looked_in_vain_ = now - start;
            return false;
        }
    }
}

// Sleeps until an interrupt. Masked from before the last look until after the wait: an interrupt that comes in between
// stays pending, and a wait with a pending interrupt returns at once, so none can be slept through.
[[gnu::always_inline]] inline void executor::sleep() noexcept {
    bool work = false;
    if (!masked_to_sleep_) {
        static_cast<void>(arch::mask_interrupts());
        for (completion_source* source = sources_; source != nullptr; source = source->next_source_) {
            work |= source->arm();
        }
    }
    arch::ticks slept = 0;
    arch::ticks awake = 0;
    const arch::ticks wake_up = timers_.earliest();
    const arch::ticks start = arch::now();
    // A deadline that has passed may have had its interrupt already, while the hart was awake: there is no other. From
    // fall_asleep() on, whoever posts a message interrupts this hart.
    if (!work && start < wake_up && inbox_.fall_asleep()) {
        if (wake_up != armed_deadline_) {
            arch::set_deadline(wake_up);
            armed_deadline_ = wake_up;
        }
        const std::uint64_t instructions = arch::instructions();
        trace::record(trace::event::sleep_begin);
        arch::wait_for_interrupt();
        trace::record(trace::event::sleep_end);
        inbox_.wake_up();
        counters_.instructions_asleep += arch::instructions() - instructions;
        awake = arch::now();
        slept = awake - start;
        ++counters_.sleeps;
        counters_.asleep += slept;
    }
    masked_to_sleep_ = false;
    arch::restore_interrupts(true); // what became pending is taken here
    if (armed_deadline_ <= awake) {
        armed_deadline_ = arch::no_deadline; // it has fired, and the interrupt has taken it down
    }
    if (poll_mode_ == poll_mode::adaptive) {
        adapt(looked_in_vain_ + slept);
        looked_in_vain_ = 0;
    }
}

// `waited`: from the beginning of a look in vain, if there was one, to the end of the sleep. What a longer look would have
// saved makes the span longer; what no look could have saved makes it shorter.
void executor::adapt(arch::ticks waited) noexcept {
    const arch::ticks shortest = arch::ticks_per_second() / shortest_span_per_second;
    const arch::ticks longest = arch::ticks_per_second() / longest_span_per_second;
    if (waited <= longest) {
        poll_span_ = poll_span_ == 0 ? shortest : poll_span_ * 2;
        if (poll_span_ > longest) {
            poll_span_ = longest;
        }
    } else {
        poll_span_ = poll_span_ <= shortest ? 0 : poll_span_ / 2;
    }
}

[[gnu::always_inline]] inline void executor::rest() noexcept {
    if (left_over_ != nullptr || !ready_.empty()) {
        return; // since the last round
    }
    const trace::lasting traced{trace::event::idle_begin, trace::event::idle_end};
    if (poll_mode_ == poll_mode::off || !look_for_work()) {
        sleep();
    }
}

bool executor::tick() noexcept {
    const bool more = round();
    unmask();
    return more;
}

void executor::idle() noexcept {
    rest();
}

void executor::run_until(const bool& done) noexcept {
    while (!done) {
        if (!round() && !done) {
            rest();
        }
    }
    unmask();
}

} // namespace inflight::async
