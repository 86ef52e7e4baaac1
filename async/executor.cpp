#include "inflight/async/executor.hpp"

#include "inflight/async/backoff.hpp"
#include "inflight/async/task_table.hpp"

#include <algorithm>

namespace inflight::async {

namespace {

// Bounds of the adaptive span, in parts of a second. The lower one is about what a sleep and a wake-up cost when
// nothing else runs on the host, the upper one what is worth burning to save one.
constexpr arch::ticks shortest_span_per_second = 50'000; // 20 us
constexpr arch::ticks longest_span_per_second = 2'500;   // 400 us

} // namespace

executor::executor(std::span<std::byte> frame_memory) noexcept : hart_{arch::this_hart()}, frames_{frame_memory} {
    if (hart_ >= max_harts) {
        arch::panic("there are more harts than executors may be");
    }
    arch::hart_local() = this;
    executors_[hart_] = this;
    round_time_ = arch::now();
    if (static_cast<std::int64_t>(round_time_) < 0) { // else there would be no deadlines beyond the end of the clock
        ahead_ = -round_time_;
        round_time_ = 0;
    }
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
    operation* last;
    operation* const first = inbox_.take_all(last);
    if (first == nullptr) {
        return;
    }
#if INFLIGHT_TRACE
    for (const operation* each = first; each != nullptr; each = each->next) {
        trace::record(trace::event::message, each->continuation);
        trace::record(trace::event::ready, each->continuation);
    }
#endif
    ready_.append(*first, *last);
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

// Inline, as what follows it is, so that the loop of a hart keeps its registers from one round to the next. The caller
// has set round_time(), so that the clock is read once between a sleep and the round after it. `goes_on`: a rest
// follows if nothing is ready.
template <bool goes_on>
[[gnu::always_inline]] inline executor::round_end executor::round() noexcept {
    const trace::lasting traced{trace::event::round_begin, trace::event::round_end};
    take_messages();
    static_cast<void>(poll_sources());
    while (timer* const due = timers_.pop_due(round_time_)) {
        make_ready(*due);
    }

    // What becomes ready meanwhile waits for the next round, so that nothing runs twice before everything ran once.
    // What the budget leaves over is first in line then.
    operation* next = left_over_ != nullptr ? left_over_ : ready_.take_all();
    std::uint64_t resumed = 0;
    ready_awaits_left_ = round_budget;
    bool polls = false;
    std::uint64_t stop = piece_;
    for (;;) {
        while (next != nullptr && resumed != stop) {
            const std::coroutine_handle<> frame = next->continuation;
            next = next->next;
            left_over_ = next; // so that the task table can see the rest of the round
            ++resumed;
            resume(frame);
        }
        if (next != nullptr && resumed != round_budget) [[unlikely]] {
            stop = end_piece(resumed);
            continue;
        }
        current_frame_ = nullptr;
        // A hart that polls takes what has completed meanwhile into this round: a device that is still completing is
        // not interrupted by a doorbell for every few requests.
        polls = poll_mode_ != poll_mode::off;
        if (!polls || next != nullptr || resumed == 0 || !look_before_publishing(resumed)) {
            break;
        }
        next = left_over_ = ready_.take_all();
    }

    counters_.resumptions += resumed;
    ++counters_.rounds;
    const bool more = next != nullptr || !ready_.empty();

    // Without polling, interrupts alone tell of completions. A hart that goes on by itself, and is about to sleep, asks
    // for them before it notifies the device, so that the first completion of what it has just submitted is told, not
    // found. From there to the wait they are masked: one that comes ends the wait, and needs no trap. After a round of
    // tick() nobody knows whether a sleep follows, so idle() asks: twice would cost more than what is found meanwhile.
    // What was submitted is published also when nothing was resumed: a poll may have submitted what was waiting in
    // line.
    if (goes_on && !polls && !more) {
        static_cast<void>(arch::mask_interrupts());
        std::size_t work = 0; // of a narrower type the compiler would cut each sum
        for (completion_source* source = sources_; source != nullptr; source = source->next_source_) {
            work |= static_cast<std::size_t>(source->arm_and_publish());
        }
        if (work == 0 && ready_.empty()) [[likely]] {
            return round_end::masked;
        }
        arch::restore_interrupts(true);
        return round_end::more;
    }
    for (completion_source* source = sources_; source != nullptr; source = source->next_source_) {
        source->publish();
    }
    return more || !ready_.empty() ? round_end::more : round_end::nothing;
}

// A piece of a round has ended, and more is to be resumed. Returns where the next piece ends.
std::uint64_t executor::end_piece(std::uint64_t resumed) noexcept {
    const bool is_first = resumed == publish_interval;
    bool notified = false;
    for (completion_source* source = sources_; source != nullptr; source = source->next_source_) {
        notified |= source->publish_early(is_first);
    }
    if (is_first) {
        count_early_publish(notified);
    }
    return std::min<std::uint64_t>(resumed + piece_, round_budget);
}

void executor::count_early_publish(bool notified) noexcept {
    early_publish_.round_ended(notified);
    choose_piece();
}

// The last look of a round that has resumed `resumed` coroutines. True if there is more to resume.
bool executor::look_before_publishing(std::uint64_t resumed) noexcept {
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
    if (!early_publish_.pays()) {
        count_early_publish(false);
    }
    return false;
}

// Looks for completions for as long as the poll mode allows. True if there is work.
bool executor::look_for_work() noexcept {
    const bool always = poll_mode_ == poll_mode::always;
    if (!always && poll_span_ == 0) {
        return false;
    }
    for (completion_source* source = sources_; source != nullptr; source = source->next_source_) {
        source->disarm();
    }
    set_round_time(arch::now());
    const arch::ticks start = round_time_;
    const arch::ticks wake_up = timers_.earliest();
    for (backoff between_looks;; between_looks.wait()) {
        if (inbox_.has_messages() || poll_sources()) {
            ++counters_.polls_paid;
            return true;
        }
        set_round_time(arch::now());
        if (round_time_ >= wake_up) {
            return true;
        }
        if (!always && round_time_ - start >= poll_span_) {
            ++counters_.polls_in_vain;
            looked_in_vain_ = round_time_ - start;
            return false;
        }
    }
}

arch::ticks executor::clock_stepped_back(arch::ticks time) noexcept {
    ahead_ += round_time_ - time;
    armed_deadline_ = arch::no_deadline; // what the hart's timer was set to means another time now
    return round_time_;
}

// Called when the hart's timer is set to another deadline than this one. The timer compares without a sign. A deadline
// beyond the end of its clock, where the clock starts again from 0, comes in two steps: the first ends where the clock
// does.
void executor::set_alarm(arch::ticks deadline) noexcept {
    if (deadline == arch::no_deadline && armed_deadline_ <= round_time_) {
        armed_deadline_ = deadline; // it has fired, and the interrupt has taken it down
        return;
    }
    arch::ticks alarm = arch::no_deadline;
    if (deadline != arch::no_deadline) {
        alarm = deadline - ahead_;
        if (alarm == arch::no_deadline || alarm < round_time_ - ahead_) {
            alarm = arch::no_deadline - 1;
        }
        deadline = alarm + ahead_;
    }
    arch::set_deadline(alarm);
    armed_deadline_ = deadline;
}

// Sleeps until an interrupt, unless something is to be done before that. Interrupts are masked, and all sources have
// been asked for them since: one that comes in between stays pending, and a wait with a pending interrupt returns at
// once, so none can be slept through. Unmasks, and returns how long it has slept.
[[gnu::always_inline]] inline arch::ticks executor::sleep() noexcept {
    const arch::ticks wake_up = timers_.earliest();
    const arch::ticks start = arch::now();
    arch::ticks fell_asleep = start + ahead_;
    if (is_before_round(fell_asleep)) [[unlikely]] {
        fell_asleep = clock_stepped_back(fell_asleep); // the timer is set anew
    }
    // A deadline that has passed may have had its interrupt already, while the hart was awake: there is no other. From
    // fall_asleep() on, a hart that posts a message interrupts this hart.
    if (fell_asleep >= wake_up || !inbox_.fall_asleep()) [[unlikely]] {
        round_time_ = fell_asleep;
        arch::restore_interrupts(true);
        return 0;
    }
    if (wake_up != armed_deadline_) [[unlikely]] {
        round_time_ = fell_asleep;
        set_alarm(wake_up);
    }
    const std::uint64_t instructions = arch::instructions();
    common_sleep* const common = common_sleep_;
    if (common != nullptr) [[unlikely]] {
        common->fall_asleep();
    }
    trace::record(trace::event::sleep_begin);
    arch::wait_for_interrupt();
    if (common != nullptr) [[unlikely]] {
        common->wake_up();
    }
    trace::record(trace::event::sleep_end);
    inbox_.wake_up();
    counters_.instructions_asleep += arch::instructions() - instructions;
    arch::ticks slept = arch::now() - start;
    if (static_cast<std::int64_t>(slept) < 0) [[unlikely]] {
        static_cast<void>(clock_stepped_back(fell_asleep + slept));
        slept = 0;
    } else {
        round_time_ = fell_asleep + slept;
    }
    counters_.asleep += slept;
    ++counters_.sleeps;
    arch::restore_interrupts(true); // what became pending is taken here
    return slept;
}

// The same where interrupts are not masked, and no source was asked for them.
arch::ticks executor::arm_and_sleep() noexcept {
    static_cast<void>(arch::mask_interrupts());
    bool work = false;
    for (completion_source* source = sources_; source != nullptr; source = source->next_source_) {
        work |= source->arm_and_publish();
    }
    if (!work) {
        return sleep();
    }
    set_round_time(arch::now());
    arch::restore_interrupts(true);
    return 0;
}

// `waited`: from the beginning of a look in vain, if there was one, to the end of the sleep. What a longer look would
// have saved makes the span longer; what no look could have saved makes it shorter.
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

// Nothing is ready, and interrupts are unmasked. Sets round_time() for the round that follows.
void executor::rest() noexcept {
    const trace::lasting traced{trace::event::idle_begin, trace::event::idle_end};
    if (poll_mode_ != poll_mode::off && look_for_work()) {
        return;
    }
    const arch::ticks slept = arm_and_sleep();
    if (poll_mode_ == poll_mode::adaptive) {
        adapt(looked_in_vain_ + slept);
        looked_in_vain_ = 0;
    }
}

void executor::check_not_running() const noexcept {
    if (running_) [[unlikely]] {
        arch::panic(
            "sync_wait(), run_until(), tick() or idle() was called by what the executor runs: a coroutine awaits the "
            "task instead");
    }
}

bool executor::tick() noexcept {
    check_not_running();
    running_ = true;
    set_round_time(arch::now());
    const bool more = round<false>() == round_end::more;
    running_ = false;
    return more;
}

void executor::idle() noexcept {
    check_not_running();
    if (left_over_ == nullptr && ready_.empty()) { // else something was made ready since the last round
        rest();
    }
}

void executor::run_until(const bool& done) noexcept {
    check_not_running();
    running_ = true;
    set_round_time(arch::now());
    for (bool ends = done; !ends;) { // only a round makes it true
        const round_end end = round<true>();
        ends = done;
        if (end == round_end::masked) [[likely]] {
            if (ends) {
                arch::restore_interrupts(true);
            } else {
                const trace::lasting traced{trace::event::idle_begin, trace::event::idle_end};
                static_cast<void>(sleep());
            }
        } else if (end == round_end::more || ends) {
            set_round_time(arch::now());
        } else {
            rest();
        }
    }
    running_ = false;
}

} // namespace inflight::async
