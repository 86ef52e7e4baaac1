// The executor of one hart: what is ready runs, in rounds; when nothing is, the hart sleeps until an interrupt.
//
// Everything here belongs to one hart and is touched by that hart only, never by an interrupt handler; the one
// exception is post(), by which other harts hand something over. A handler tells a completion_source that something
// happened; the source says so when the executor asks it, in the next round.
//
//     task<void> count(int& turns) {
//         ++turns;
//         co_await yield{};
//         ++turns;
//     }
//
//     bool example() {
//         int turns = 0;
//         counting_scope scope;
//         const bool spawned = scope.spawn(count(turns)); // it is ready
//         executor& hart = executor::current();
//         while (hart.tick()) { // a round; true if something is ready for the next
//         }
//         return spawned && turns == 2 && scope.size() == 0;
//     }
#pragma once

#include "inflight/arch/arch.hpp"
#include "inflight/async/common_sleep.hpp"
#include "inflight/async/early_publish.hpp"
#include "inflight/async/frame_slab.hpp"
#include "inflight/async/inbox.hpp"
#include "inflight/async/operation.hpp"
#include "inflight/async/publish_timing.hpp"
#include "inflight/async/task_record.hpp"
#include "inflight/async/timer.hpp"
#include "inflight/async/trace.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::async {

// Where completions come from: a device, seen from the hart that owns it. All functions are called by the executor, on
// its hart, never from an interrupt.
class completion_source {
  public:
    completion_source() noexcept = default;
    completion_source(const completion_source&) = delete;
    completion_source& operator=(const completion_source&) = delete;

    // Makes ready what has completed. While armed, only what an interrupt has announced. True if there was anything.
    virtual bool poll() noexcept = 0;

    // Hands the device, at once, all that was submitted during a round.
    virtual void publish() noexcept = 0;

    // In the midst of a round: does what publish() does, where the device needs no notification for it, because it is
    // at work or polls, or if `may_notify`. True if the device was notified.
    virtual bool publish_early(bool may_notify) noexcept {
        static_cast<void>(may_notify);
        return false;
    }

    // Asks for an interrupt at the next completion, looks once more (VIRTIO 1.2, 2.7.7.1 and 2.7.14), and does what
    // publish() does: the first completion of what is handed over interrupts. True if there is something to poll, or an
    // interrupt has come already: then the hart must not sleep. Interrupts are masked.
    virtual bool arm_and_publish() noexcept = 0;

    // Withdraws the request for interrupts. From here on poll() looks for completions itself.
    virtual void disarm() noexcept = 0;

    // Whether publish() would hand anything over.
    [[nodiscard]] virtual bool has_unpublished() noexcept = 0;

  protected:
    ~completion_source() = default;

  private:
    friend class executor;
    completion_source* next_source_ = nullptr;
};

// Whether a hart without work looks for completions itself for a while before it sleeps. Waking up from a sleep costs a
// virtual machine the wake-up of a host thread, so looking pays while completions are quick.
enum class poll_mode : std::uint8_t {
    off,      // sleep at once
    adaptive, // look for a while if that has been paying: the span grows and shrinks with the sleeps it would have saved
    always,   // never sleep
};

class executor {
  public:
    struct counters {
        std::uint64_t rounds;
        std::uint64_t resumptions;
        std::uint64_t sleeps;              // times the hart waited for an interrupt
        arch::ticks asleep;                // time spent so
        std::uint64_t instructions_asleep; // what the machine's counter of instructions made of that time
        std::uint64_t polls_paid;          // times looking before sleeping found something
        std::uint64_t polls_in_vain;       // times it did not
    };

    // Harts with an executor, at the most.
    static constexpr arch::hart_index max_harts = arch::max_harts;

    // How many coroutines one round resumes at the most, before the sources are asked again; and
    // how many awaits that find what they want ready go on at once in it.
    static constexpr std::uint32_t round_budget = 256;

    // A hart that polls publishes early after every so many resumptions of a round, if that pays (early_publish.hpp).
    static constexpr std::uint32_t publish_interval = 16;

    // Takes this hart. Frames of coroutines come from `frame_memory`, which must outlive the executor.
    explicit executor(std::span<std::byte> frame_memory) noexcept;
    ~executor();

    executor(const executor&) = delete;
    executor& operator=(const executor&) = delete;

    // The executor of the calling hart.
    [[nodiscard]] static executor& current() noexcept { return *static_cast<executor*>(arch::hart_local()); }

    // The executor of a hart, which has one. To post to, above all: the rest is for its own hart.
    [[nodiscard]] static executor& of(arch::hart_index hart) noexcept { return *executors_[hart]; }

    // The same for any number; nullptr if there is no such hart, or it has none yet.
    [[nodiscard]] static executor* find(arch::hart_index hart) noexcept {
        return hart < max_harts ? executors_[hart] : nullptr;
    }
    [[nodiscard]] arch::hart_index hart() const noexcept { return hart_; }

    // The calling hart takes part in a count of what all harts sleep through. `of` must outlive the executor.
    void join(common_sleep& of) noexcept {
        if (common_sleep_ == nullptr) {
            common_sleep_ = &of;
            of.join();
        }
    }

    // Puts an operation at the end of the line of those to resume. Its continuation runs in this round or the next.
    void make_ready(operation& ready) noexcept {
        trace::record(trace::event::ready, ready.continuation);
        ready_.push_back(ready);
    }

    // The same for many, one after the other, while nothing else is made ready.
    class many_ready {
      public:
        explicit many_ready(executor& hart) noexcept : line_{hart.ready_} {}
        void make_ready(operation& ready) noexcept {
            trace::record(trace::event::ready, ready.continuation);
            line_.push_back(ready);
        }

      private:
        operation_list::appender line_;
    };

    // Any hart, interrupt handlers included: hands an operation over, which becomes ready in this hart's next round.
    // All that the caller wrote before is visible to it.
    void post(operation& message) noexcept {
        if (inbox_.post(message)) {
            trace::record(trace::event::hart_interrupt, hart_);
            arch::interrupt_hart(hart_);
        }
    }

    // Makes `sleeper` ready when its deadline has come.
    void make_ready_at(timer& sleeper) noexcept { timers_.insert(sleeper); }

    // Takes a sleeper back. False if its deadline has come: then it is ready already.
    bool cancel(timer& sleeper) noexcept { return timers_.remove(sleeper); }

    // For an await that need not wait: false once round_budget of them have gone on in this round. Then it should
    // suspend and make itself ready, so that a loop of such awaits does not keep everything else from running.
    [[nodiscard]] bool may_go_on() noexcept {
        if (ready_awaits_left_ == 0) {
            return false;
        }
        --ready_awaits_left_;
        return true;
    }

    // From now on the source is asked in every round. It must outlive the executor.
    void add(completion_source& source) noexcept;

    void set_poll_mode(poll_mode mode) noexcept {
        poll_mode_ = mode;
        choose_piece();
    }
    [[nodiscard]] poll_mode polling() const noexcept { return poll_mode_; }

    // One round: collect what has completed and what is due, resume what is ready (at most round_budget), publish what
    // was submitted. A hart that polls collects again before it publishes, until there is nothing more, if it pays
    // after having waited a moment for it (publish_timing.hpp). True if something is ready for the next round already;
    // else idle() is what comes next. Interrupts are unmasked, here and below. Panics if the executor runs already:
    // what it resumes cannot run it.
    bool tick() noexcept;

    // Waits until there may be something to do. Panics as tick() does.
    void idle() noexcept;

    // Rounds and rests, until `done` is true: by something that a round does, on this hart. Panics as tick() does.
    void run_until(const bool& done) noexcept;

    // Time in ticks, for the deadlines of this hart. It begins as arch::now() (at 0 if that is below 0) and goes on as
    // that does, except where that clock steps back, because a snapshot is loaded or the virtual machine moves: then
    // this one goes on from round_time(). On this hart only, and another time than that of other harts.
    [[nodiscard]] arch::ticks now() noexcept {
        const arch::ticks time = arch::now() + ahead_;
        return is_before_round(time) ? clock_stepped_back(time) : time;
    }

    // now(), as it was when this round began, which never decreases: costs a load, where reading the clock may cost a
    // trap.
    [[nodiscard]] arch::ticks round_time() const noexcept { return round_time_; }

    // For the interrupt of this hart's timer, which has taken the deadline down. Without this, a deadline whose
    // interrupt comes while the hart is awake is slept through if the clock then steps back to before it, but not to
    // before the round.
    void alarm_has_rung() noexcept { armed_deadline_ = arch::no_deadline; }

    // For a task that ends: the hart goes on in that coroutine. (What a coroutine begins is found by its continuation.)
    void runs(std::coroutine_handle<> frame) noexcept { current_frame_ = frame.address(); }

    [[nodiscard]] frame_slab& frames() noexcept { return frames_; }
    [[nodiscard]] const counters& count() const noexcept { return counters_; }

  private:
    friend class task_table;

    static inline std::array<executor*, max_harts> executors_{};

    void check_not_running() const noexcept;
    enum class round_end : std::uint8_t {
        more,    // something is ready for the next round, or to be polled
        nothing, // to do
        masked,  // nothing to do; interrupts are masked and asked for, so that the hart may sleep
    };
    template <bool goes_on>
    [[nodiscard]] inline round_end round() noexcept;
    void rest() noexcept;
    inline void take_messages() noexcept;
    [[nodiscard]] inline bool poll_sources() noexcept;
    [[gnu::noinline]] std::uint64_t end_piece(std::uint64_t resumed) noexcept;
    void count_early_publish(bool notified) noexcept;
    void choose_piece() noexcept {
        piece_ = poll_mode_ != poll_mode::off && early_publish_.pays() ? publish_interval : round_budget;
    }
    [[nodiscard]] bool look_before_publishing(std::uint64_t resumed) noexcept;
    [[nodiscard]] bool look_for_work() noexcept;
    inline void resume(std::coroutine_handle<> frame) noexcept;
    inline arch::ticks sleep() noexcept;
    arch::ticks arm_and_sleep() noexcept;
    void adapt(arch::ticks waited) noexcept;
    [[nodiscard]] bool is_before_round(arch::ticks time) const noexcept {
        return static_cast<std::int64_t>(time - round_time_) < 0;
    }
    [[gnu::cold, gnu::noinline]] arch::ticks clock_stepped_back(arch::ticks time) noexcept;
    // Sets round_time(): what now() returns where arch::now() has returned `clock`.
    void set_round_time(arch::ticks clock) noexcept {
        const arch::ticks time = clock + ahead_;
        if (is_before_round(time)) [[unlikely]] {
            static_cast<void>(clock_stepped_back(time));
        } else {
            round_time_ = time;
        }
    }
    void set_alarm(arch::ticks deadline) noexcept;

    operation_list ready_; // to resume in the next round
    // To resume in this round, linked; what its budget does not suffice for, in the next.
    operation* left_over_ = nullptr;
    void* current_frame_ = nullptr;          // of the coroutine that runs
    std::uint64_t piece_ = publish_interval; // of a round, in resumptions: see end_piece()
    std::uint32_t ready_awaits_left_ = 0;
    inbox inbox_;
    completion_source* sources_ = nullptr;
    bool running_ = false; // in tick() or run_until()
    arch::ticks round_time_ = 0;
    arch::ticks ahead_ = 0; // by how much now() is ahead of arch::now(), modulo 2^64
    timer_queue timers_;
    arch::hart_index hart_;
    poll_mode poll_mode_ = poll_mode::adaptive;
    arch::ticks poll_span_ = 0;
    arch::ticks looked_in_vain_ = 0; // before the sleep that follows
    publish_timing publish_timing_;
    early_publish early_publish_;
    arch::ticks armed_deadline_ =
        arch::no_deadline; // by now(): when the timer of the hart interrupts, or has interrupted
    common_sleep* common_sleep_ = nullptr;
    counters counters_{};
    frame_slab frames_;
};

} // namespace inflight::async
