// The simulated machine: the port of `arch/arch.hpp` that the host tests run on.
//
// Include "arch/arch.hpp", never this file on its own. One machine is alive at a time on a thread; its constructor
// makes it the current one and its destructor ends that. Everything happens on that thread: the code under test runs as
// the selected hart, and whenever it calls into the machine (a fence, a register access, now(),
// restore_interrupts(true), wait_for_interrupt()) the devices get their turn and a pending interrupt is taken if this
// hart has not masked it.
//
// Virtual time stands still except for the configured cost of now() and of a register access, for wait_for_interrupt(),
// which jumps to the next event or deadline, and for run_until().
//
// Several harts at once: run() gives each hart a program and a stack, and runs one of them at a time. Every call into
// the machine and every operation of arch::atomic is a step. Before each step the seed decides whether to switch to
// another hart. So one seed is one interleaving, on one thread, and is reproducible. Each step is atomic and seen by
// all harts at once: weaker memory orders are not simulated.
#pragma once

#define INFLIGHT_ARCH_DEFINES_ATOMIC 1

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace inflight::arch::host {

enum class fence_kind : std::uint8_t { publish, consume, full, doorbell, acknowledge };

// A device on the register bus. Offsets count from the base it was attached at; width is 1, 2 or 4 bytes.
class mmio_device {
  public:
    virtual ~mmio_device() = default;
    virtual std::uint32_t read(std::uint64_t offset, unsigned width) = 0;
    virtual void write(std::uint64_t offset, unsigned width, std::uint32_t value) = 0;
};

// Called at every fence, device access and wait of the code under test, before it happens and in program order.
class observer {
  public:
    virtual ~observer() = default;
    virtual void on_fence(fence_kind) {}
    virtual void on_mmio_read(std::uintptr_t /*address*/, unsigned /*width*/) {}
    virtual void on_mmio_write(std::uintptr_t /*address*/, unsigned /*width*/, std::uint32_t /*value*/) {}
    virtual void on_wait_for_interrupt() {}
    // Of a field shared with a device.
    virtual void on_device_word_read(const void* /*word*/) {}
};

// A rule that the code under test has broken.
struct violation {
    std::string id; // a row of the requirement table, or a word in capitals for a rule of ours
    std::string message;
    ticks time;
};

// The kinds of steps of run().
enum class step_kind : std::uint8_t {
    load,
    store,
    exchange,
    compare_exchange,
    fetch_add,
    fetch_sub,
    fetch_or,
    fetch_and,
    fence,
    mmio_read,
    mmio_write,
    now,
    mask,
    restore,
    wait,
    interrupt_hart,
    set_deadline,
    claim,
    complete,
    external_trap,
    timer_trap,
    software_trap,
    end, // the program of the hart has returned
};

struct step_record {
    ticks time;
    std::uint64_t where; // address, fence_kind, line or hart, by kind
    std::uint64_t value; // what was read, written or found
    hart_index hart;
    step_kind kind;
};

enum class run_end : std::uint8_t {
    finished, // every program has returned
    stalled,  // every hart waits, and no event is left that could wake one
    steps,    // the limits of run()
    time,
    violation, // a violation was reported
};

struct run_limits {
    std::uint64_t steps = 10'000'000;
    ticks time = no_deadline; // virtual, counted from 0
    bool go_on_after_violation = false;
    bool stall_permitted = false; // a stall is not reported: the caller judges it
};

struct machine_options {
    hart_index harts = 1; // at most max_harts
    std::size_t memory_bytes = std::size_t{8} << 20;
    std::uint64_t seed = 1;
    ticks cost_of_now = 1;           // ticks that pass with each now()
    ticks cost_of_access = 1;        // ticks that pass with each register access
    bool start_masked = false;       // whether harts begin with interrupts masked, as a real one does
    unsigned spurious_wake_ups = 0;  // of 1000 calls of wait_for_interrupt(), how many return for no reason
    unsigned interrupt_storm = 1000; // a line still high after this many handler calls in a row is reported

    // Delays of interrupts, in ticks: each is random, up to this bound.
    ticks longest_line_delay = 0;     // from the rise of a line to the pending interrupt
    ticks longest_software_delay = 0; // from interrupt_hart() to the pending interrupt

    // For run(). Chances are out of 1000 steps.
    unsigned switches = 200;           // at how many the machine switches to another hart
    bool priorities = false;           // the hart with the highest priority runs; a switch gives it the lowest instead
    std::uint64_t longest_turn = 1000; // steps, after which it switches in any case
    ticks cost_of_step = 1;            // ticks that pass with each step
    unsigned pauses = 0;               // at how many the hart is paused, as a virtual CPU may be
    ticks longest_pause = 1000;        // in ticks
    unsigned spurious_lines = 0;       // at how many an enabled line interrupts for no reason
    unsigned weak_failures = 0;        // of 1000 compare_exchange_weak(), how many fail for no reason
    std::size_t trace_length = 64;     // how many steps describe() lists; a power of two
};

class machine {
  public:
    using callback = std::function<void()>;

    static constexpr std::uint64_t memory_base = 0x8000'0000; // device address of the first byte of memory
    static constexpr std::uint64_t unreachable = ~std::uint64_t{0} << 12;
    static constexpr unsigned no_line = ~0U;

    explicit machine(machine_options = {});
    ~machine();
    machine(const machine&) = delete;
    machine& operator=(const machine&) = delete;

    // The machine of this thread; aborts if there is none.
    static machine& current() noexcept;

    // harts
    hart_index harts() const noexcept { return static_cast<hart_index>(harts_.size()); }
    void select_hart(hart_index) noexcept;
    hart_index selected_hart() const noexcept { return hart_; }
    bool masked(hart_index hart) const { return harts_.at(hart).masked; }

    // Interrupts. By default an external interrupt claims each pending line in turn, calls its handler and completes
    // it; a kernel that brings its own code for this replaces the handler and uses claim() and complete().
    void on_external_interrupt(hart_index, callback);
    void on_timer_interrupt(hart_index, callback);                  // default: clears the deadline
    void line_handler(unsigned line, callback);                     // also enables the line
    void route_line(unsigned line, hart_index);                     // default: hart 0
    void share_line(unsigned line, const std::vector<hart_index>&); // interrupts all of these; one of them claims it
    void on_software_interrupt(hart_index, callback);               // in addition to clearing it
    void make_message(unsigned line); // the line stands for a message: it is never spurious
    void enable_line(unsigned line, bool);
    void raise_line(unsigned line);
    void lower_line(unsigned line);
    bool line_high(unsigned line) const;
    unsigned claim(); // no_line if nothing is pending for the selected hart
    void complete(unsigned line);
    std::uint64_t interrupts_taken() const noexcept { return interrupts_taken_; }
    std::uint64_t software_interrupts_taken(hart_index hart) const { return harts_.at(hart).software_taken; }

    // Several harts at once: hart i runs bodies[i]; without one, or with an empty one, it takes no part. Returns when
    // all bodies have returned, or at a stall or a limit, which are reported as STALL and LIMIT; the objects on the
    // stacks of the bodies are never destroyed then. An exception out of a body ends the run in the same way, and is
    // rethrown here. A body must not call run_until() and select_hart().
    run_end run(std::vector<callback> bodies, run_limits = {});
    void on_step(callback); // called before each step of run(), to check the state after the last one
    std::uint64_t steps() const noexcept { return steps_; }
    std::uint64_t switches() const noexcept { return switches_; }
    bool waiting(hart_index hart) const { return harts_.at(hart).waiting; }
    bool ended(hart_index hart) const { return !harts_.at(hart).running; }
    // Whether an interrupt is pending at the hart, or has been sent to it by another hart.
    bool wake_due(hart_index) const;
    std::vector<step_record> trace() const; // the last steps, oldest first
    // A hash of hart, kind and time of all steps. Two runs with equal digests were the same interleaving.
    std::uint64_t trace_digest() const noexcept { return trace_digest_; }
    void name(const volatile void* word, std::string name); // of an atomic, in the trace

    // Time and events. An event runs as a device: interrupts that it raises are taken after it has returned.
    ticks time() const noexcept { return time_; }
    void at(ticks time, callback); // events at the same time run in the order of their addition
    // Steps the clock that now() reads, and with which deadlines are compared, forward or back. Below 0 it wraps, as
    // the register does. The time of events, and time(), is not affected.
    ticks clock() const noexcept { return time_ + clock_step_; } // what now() would return, without its cost
    void step_clock(std::int64_t span) noexcept { clock_step_ += static_cast<ticks>(span); }
    void after(ticks span, callback work) { at(time_ + span, std::move(work)); }
    std::size_t events() const noexcept { return events_.size(); }
    void run_as_device(const callback& work); // at once; its interrupts are taken after it
    void run_until(ticks time);               // advances time, running events and taking interrupts on the way
    bool stalled() const noexcept { return stalled_; }
    const std::string& stall_reason() const noexcept { return stall_reason_; }
    void clear_stall() noexcept;
    void on_stall(callback); // called when no event is left that could end wait_for_interrupt()

    // registers of devices
    void attach(std::uintptr_t base, std::size_t size, mmio_device&);
    void detach(mmio_device&);
    void observe(observer&);
    static machine* observed() noexcept { return observed_; } // the machine of this thread, if it has observers
    void tell_of_read(const void* device_word) noexcept;
    void stop_observing(observer&);

    // memory that devices reach; filled with 0xA5 at first, handed out in order and never taken back
    std::byte* allocate(std::size_t bytes, std::size_t alignment);
    std::byte* translate(std::uint64_t device_address, std::uint64_t length) noexcept; // nullptr if not all in memory
    bool reachable(const void*) const noexcept;

    // Random numbers, a function of the seed alone.
    std::uint64_t seed() const noexcept { return options_.seed; }
    std::uint64_t random() noexcept;
    std::uint64_t random_below(std::uint64_t bound) noexcept; // 0 if the bound is 0
    bool chance(unsigned per_thousand) noexcept;

    // violations
    void report(std::string_view id, std::string message);
    const std::vector<violation>& violations() const noexcept { return violations_; }
    std::size_t count(std::string_view id) const;
    void clear_violations() { violations_.clear(); }
    std::string describe() const; // seed, time and all violations, for the message of a failed check

    const machine_options& options() const noexcept { return options_; }
    void options(const machine_options& changed) noexcept; // but not harts, memory and seed

    // The functions of the port; see arch.hpp.
    void*& hart_local() noexcept { return harts_[hart_].local; }
    bool mask_interrupts() noexcept;
    void restore_interrupts(bool unmask) noexcept;
    void set_interrupt_handler(interrupt kind, interrupt_handler handler);
    void wait_for_interrupt() noexcept;
    ticks now() noexcept;
    void set_deadline(ticks) noexcept;
    void interrupt_hart(hart_index) noexcept;
    std::uint64_t instructions() const noexcept { return instructions_; }
    std::uint32_t mmio_read(std::uintptr_t address, unsigned width) noexcept;
    void mmio_write(std::uintptr_t address, unsigned width, std::uint32_t value) noexcept;
    void fence(fence_kind) noexcept;
    std::uint64_t device_address(const void*) noexcept;

    // The machine whose run() is under way on this thread, nullptr if there is none: for arch::atomic.
    static machine* stepping() noexcept { return stepping_; }
    void step(step_kind, std::uint64_t where = 0) noexcept;
    void note(std::uint64_t value) noexcept; // the value that the last step has read, written or found
    bool weak_failure() noexcept { return options_.weak_failures != 0 && chance(options_.weak_failures); }

  private:
    struct context; // where a hart resumes
    struct hart_state {
        void* local = nullptr;
        bool masked = false;
        ticks deadline = no_deadline;
        callback external;
        callback timer;
        callback software;
        unsigned timer_streak = 0;
        bool software_pending = false;
        unsigned software_on_the_way = 0;
        std::uint64_t software_taken = 0;
        // of run()
        bool running = false;
        bool waiting = false; // for an interrupt
        ticks paused_until = 0;
        std::int64_t priority = 0;
        callback body;
        std::unique_ptr<context> here;
    };
    struct line_state {
        unsigned number = 0;
        bool high = false;
        bool enabled = false;
        bool in_service = false;
        bool spurious = false;
        bool is_message = false;
        std::uint64_t harts = 1; // one bit each
        ticks visible_at = 0;
        unsigned streak = 0;
        callback handler;
    };
    struct device_event {
        ticks time;
        std::uint64_t number;
        callback work;
    };
    struct attachment {
        std::uintptr_t base;
        std::size_t size;
        mmio_device* device;
    };
    class device_turn;

    const attachment* find(std::uintptr_t address, unsigned width, const char* direction);
    void pass(ticks span);
    void run_due_events();
    ticks next_event() const noexcept { return events_.empty() ? no_deadline : events_.front().time; }
    line_state& line(unsigned number);
    bool line_pending(const line_state&) const noexcept;
    void refresh_lines() noexcept;
    bool external_pending(hart_index hart) const noexcept { return (external_ >> hart & 1) != 0; }
    bool timer_pending(hart_index hart) const noexcept {
        return harts_[hart].deadline != no_deadline && harts_[hart].deadline <= clock();
    }
    ticks time_of_deadline(const hart_state&) const noexcept; // if the clock is not stepped; no_deadline: never
    bool pending(hart_index hart) const noexcept {
        return external_pending(hart) || timer_pending(hart) || harts_[hart].software_pending;
    }
    void take_interrupts();
    void take_one(hart_index, hart_state&);
    void service_lines();

    static void enter() noexcept;
    void hart_main() noexcept;
    bool runnable(hart_index) const noexcept;
    hart_index elect(hart_index except) noexcept;
    void give_turn(hart_index) noexcept;
    void end_run(run_end) noexcept;
    step_record& last_step() noexcept { return trace_[(steps_made_ - 1) & (options_.trace_length - 1)]; }
    void wait_in_run() noexcept;
    void maybe_switch() noexcept;
    std::string describe_step(const step_record&) const;

    machine_options options_;
    std::vector<hart_state> harts_;
    hart_index hart_ = 0;
    std::vector<line_state> lines_; // by number
    std::uint64_t external_ = 0;    // the harts at which a line is pending, one bit each
    std::vector<attachment> bus_;
    std::vector<observer*> observers_;

    std::byte* memory_ = nullptr;
    std::size_t allocated_ = 0;

    ticks time_ = 0;
    ticks clock_step_ = 0; // the clock of now(), less time_
    std::uint64_t sequence_ = 0;
    std::vector<device_event> events_; // a heap, the next one first
    unsigned device_depth_ = 0;        // not 0: a device runs, and interrupts are held back
    std::uint64_t instructions_ = 0;
    std::uint64_t interrupts_taken_ = 0;

    bool stalled_ = false;
    unsigned stalls_in_a_row_ = 0;
    std::string stall_reason_;
    callback on_stall_;

    std::uint64_t random_state_[4]{};
    std::vector<violation> violations_;

    // of run()
    static constexpr hart_index nobody = ~hart_index{0};
    static inline constinit thread_local machine* stepping_ = nullptr;
    static inline constinit thread_local machine* observed_ = nullptr;
    run_limits limits_;
    run_end outcome_ = run_end::finished;
    std::unique_ptr<context> caller_;
    std::exception_ptr thrown_;
    std::size_t violations_before_ = 0;
    callback on_step_;
    std::int64_t lowest_priority_ = 0;
    std::uint64_t turn_began_ = 0; // step
    std::uint64_t steps_ = 0;
    std::uint64_t switches_ = 0;
    std::uint64_t steps_made_ = 0;
    std::vector<step_record> trace_; // step i at i modulo its length
    std::uint64_t trace_digest_ = 0xcbf29ce484222325;
    std::map<std::uint64_t, std::string> names_;
};

// A word shared by harts. Within run() each operation is a step.
template <typename T>
class atomic {
    // NOLINTBEGIN(bugprone-sizeof-expression): T may well be a pointer
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);

  public:
    using value_type = T;
    static constexpr bool is_always_lock_free = true;

    constexpr atomic() noexcept : value_{} {}
    constexpr atomic(T value) noexcept : value_{value} {} // NOLINT(google-explicit-constructor): as std::atomic
    atomic(const atomic&) = delete;
    atomic& operator=(const atomic&) = delete;

    [[nodiscard]] T load(std::memory_order = std::memory_order_seq_cst) const noexcept {
        step(step_kind::load);
        return noted(value_);
    }
    void store(T value, std::memory_order = std::memory_order_seq_cst) noexcept {
        step(step_kind::store);
        value_ = noted(value);
    }
    T exchange(T value, std::memory_order = std::memory_order_seq_cst) noexcept {
        step(step_kind::exchange);
        return noted(std::exchange(value_, value));
    }
    bool compare_exchange_strong(T& expected, T desired, std::memory_order = std::memory_order_seq_cst,
                                 std::memory_order = std::memory_order_seq_cst) noexcept {
        step(step_kind::compare_exchange);
        return compare_and_set(expected, desired);
    }
    bool compare_exchange_weak(T& expected, T desired, std::memory_order = std::memory_order_seq_cst,
                               std::memory_order = std::memory_order_seq_cst) noexcept {
        step(step_kind::compare_exchange);
        if (machine* const under_way = machine::stepping(); under_way != nullptr && under_way->weak_failure()) {
            expected = noted(value_);
            return false;
        }
        return compare_and_set(expected, desired);
    }
    T fetch_add(T value, std::memory_order = std::memory_order_seq_cst) noexcept requires std::is_integral_v<T> {
        step(step_kind::fetch_add);
        return noted(std::exchange(value_, static_cast<T>(value_ + value)));
    }
    T fetch_sub(T value, std::memory_order = std::memory_order_seq_cst) noexcept requires std::is_integral_v<T> {
        step(step_kind::fetch_sub);
        return noted(std::exchange(value_, static_cast<T>(value_ - value)));
    }
    T fetch_or(T value, std::memory_order = std::memory_order_seq_cst) noexcept requires std::is_integral_v<T> {
        step(step_kind::fetch_or);
        return noted(std::exchange(value_, static_cast<T>(value_ | value)));
    }
    T fetch_and(T value, std::memory_order = std::memory_order_seq_cst) noexcept requires std::is_integral_v<T> {
        step(step_kind::fetch_and);
        return noted(std::exchange(value_, static_cast<T>(value_ & value)));
    }

  private:
    void step(step_kind kind) const noexcept {
        if (machine* const under_way = machine::stepping()) {
            under_way->step(kind, reinterpret_cast<std::uintptr_t>(this));
        }
    }
    static T noted(T value) noexcept {
        if (machine* const under_way = machine::stepping()) {
            std::uint64_t bits = 0;
            std::memcpy(&bits, &value, sizeof value);
            under_way->note(bits);
        }
        return value;
    }
    bool compare_and_set(T& expected, T desired) noexcept {
        if (noted(value_) != expected) {
            expected = value_;
            return false;
        }
        value_ = desired;
        return true;
    }

    alignas(sizeof(T)) T value_;
    // NOLINTEND(bugprone-sizeof-expression)
};

// A field shared with a device (drivers/virtio/device_memory.hpp): as std::atomic, but reads are reported to observers.
template <typename T>
class device_word {
  public:
    [[nodiscard]] T load(std::memory_order order) const noexcept {
        if (machine* const its = machine::observed()) {
            its->tell_of_read(this);
        }
        return value_.load(order);
    }
    void store(T value, std::memory_order order) noexcept { value_.store(value, order); }

  private:
    std::atomic<T> value_;
};

} // namespace inflight::arch::host

#define INFLIGHT_ARCH_DEVICE_WORD inflight::arch::host::device_word

namespace inflight::arch {

template <typename T>
using atomic = host::atomic<T>;

inline hart_index this_hart() noexcept {
    return host::machine::current().selected_hart();
}
inline hart_index harts() noexcept {
    return host::machine::current().harts();
}
inline void interrupt_hart(hart_index hart) noexcept {
    host::machine::current().interrupt_hart(hart);
}
inline void*& hart_local() noexcept {
    return host::machine::current().hart_local();
}

inline bool mask_interrupts() noexcept {
    return host::machine::current().mask_interrupts();
}
inline void restore_interrupts(bool unmask) noexcept {
    host::machine::current().restore_interrupts(unmask);
}
inline void set_interrupt_handler(interrupt kind, interrupt_handler handler) {
    host::machine::current().set_interrupt_handler(kind, handler);
}
inline void wait_for_interrupt() noexcept {
    host::machine::current().wait_for_interrupt();
}

constexpr void spin_hint() noexcept {}

inline ticks now() noexcept {
    return host::machine::current().now();
}
inline ticks trace_time() noexcept {
    return host::machine::current().time();
}
constexpr ticks ticks_per_second() noexcept {
    return 10'000'000;
}
inline void set_deadline(ticks time) noexcept {
    host::machine::current().set_deadline(time);
}
inline std::uint64_t mmio_accesses() noexcept {
    return 0;
}
inline std::uint64_t instructions() noexcept {
    return host::machine::current().instructions();
}

inline std::uint8_t mmio_read8(std::uintptr_t address) noexcept {
    return static_cast<std::uint8_t>(host::machine::current().mmio_read(address, 1));
}
inline std::uint16_t mmio_read16(std::uintptr_t address) noexcept {
    return static_cast<std::uint16_t>(host::machine::current().mmio_read(address, 2));
}
inline std::uint32_t mmio_read32(std::uintptr_t address) noexcept {
    return host::machine::current().mmio_read(address, 4);
}
inline void mmio_write8(std::uintptr_t address, std::uint8_t value) noexcept {
    host::machine::current().mmio_write(address, 1, value);
}
inline void mmio_write16(std::uintptr_t address, std::uint16_t value) noexcept {
    host::machine::current().mmio_write(address, 2, value);
}
inline void mmio_write32(std::uintptr_t address, std::uint32_t value) noexcept {
    host::machine::current().mmio_write(address, 4, value);
}

inline void fence_publish() noexcept {
    host::machine::current().fence(host::fence_kind::publish);
}
inline void fence_consume() noexcept {
    host::machine::current().fence(host::fence_kind::consume);
}
inline void fence_full() noexcept {
    host::machine::current().fence(host::fence_kind::full);
}
inline void fence_doorbell() noexcept {
    host::machine::current().fence(host::fence_kind::doorbell);
}
inline void fence_acknowledge() noexcept {
    host::machine::current().fence(host::fence_kind::acknowledge);
}

inline std::uint64_t device_address(const void* memory) noexcept {
    return host::machine::current().device_address(memory);
}

[[noreturn]] void panic(const char* message) noexcept;

} // namespace inflight::arch
