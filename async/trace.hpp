// The trace: what each hart did and when, in a ring of its own, for a picture of it afterwards.
//
// Compiled in with INFLIGHT_TRACE=1 (the CMake option of that name). Without, every function here is empty, every class
// has no members, and nothing is left of a call.
//
//     bool example() {
//         const trace::track queue = trace::new_disk().queue(0);
//         trace::record(trace::event::notify, queue);
//     #if INFLIGHT_TRACE
//         return trace::rings[arch::this_hart()].main.count() != 0;
//     #else
//         return std::is_empty_v<trace::track>;
//     #endif
//     }
//
// A record is 16 bytes, written with plain stores by the hart that it is about. The oldest are overwritten, and counted
// as lost. What an interrupt handler records has a ring beside the hart's, since a handler may come in the middle of
// record(). write() gives all rings out as text; src/launcher/trace_json.py makes of it what ui.perfetto.dev opens.
#pragma once

#include "inflight/arch/arch.hpp"

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#ifndef INFLIGHT_TRACE
#define INFLIGHT_TRACE 0
#endif

namespace inflight::trace {

// What happened, as the letter that stands for it in the text: none that is a hexadecimal digit. Behind each its
// argument.
enum class event : char {
    submit = 's',          // a request of the device was put into a queue: track and slot
    notify = 'n',          // a doorbell was rung: track
    used = 'u',            // a request of the device has come back: track and slot
    interrupt_begin = 'i', // a disk's handler: track, of which the queue means nothing
    interrupt_end = 'j',
    ready = 'g',          // a coroutine was put in line: address of its frame
    resume = 'r',         // the executor resumed a coroutine: address of its frame. What it is called follows:
    code = 'x',           //   the address of its code
    name = 'l',           //   or of the name that it was given
    suspend = 't',        // it came back
    round_begin = 'p',    // a round of the executor
    round_end = 'q',      //
    idle_begin = 'v',     // the executor has nothing to do: it looks for completions, or sleeps
    idle_end = 'w',       //
    sleep_begin = 'y',    // the hart waits for an interrupt
    sleep_end = 'z',      //
    hart_interrupt = 'h', // another hart was interrupted: its index
    message = 'm',        // a message was taken from the inbox: address of what it resumes
    counted = 'k',        // a program has read the counters of a disk for its result: once a disk, in their order
};

#if INFLIGHT_TRACE

// Harts beyond these are not traced.
inline constexpr arch::hart_index max_harts = 8;

struct entry {
    arch::ticks time;
    std::uint64_t event_and_argument; // the event's letter in the low byte

    [[nodiscard]] event what() const noexcept { return static_cast<event>(event_and_argument & 0xff); }
    [[nodiscard]] std::uint64_t argument() const noexcept { return event_and_argument >> 8; }
};
static_assert(sizeof(entry) == 16);

template <std::size_t size>
class ring {
    static_assert((size & (size - 1)) == 0);

  public:
    void push(event what, std::uint64_t argument) noexcept {
        entries_[count_ % size] = {.time = arch::trace_time(),
                                   .event_and_argument = argument << 8 | static_cast<unsigned char>(what)};
        ++count_;
    }
    void clear() noexcept { count_ = 0; }

    // Records that were overwritten, and those that are there, the oldest first.
    [[nodiscard]] std::uint64_t lost() const noexcept { return count_ < size ? 0 : count_ - size; }
    [[nodiscard]] std::uint64_t count() const noexcept { return count_ < size ? count_ : size; }
    [[nodiscard]] const entry& operator[](std::uint64_t i) const noexcept { return entries_[(lost() + i) % size]; }

  private:
    std::uint64_t count_ = 0;
    entry entries_[size];
};

struct hart_rings {
    ring<std::size_t{1} << 15> main;
    ring<std::size_t{1} << 12> interrupts;
    bool in_handler;
};

extern hart_rings rings[max_harts];

// No arch::atomic: a simulated machine takes notice of those.
extern std::atomic<bool> recording;

// A queue of a disk, in the order in which the disks were started.
class track {
  public:
    constexpr track() noexcept = default;
    constexpr track(std::uint32_t disk, std::uint32_t queue) noexcept : value_{disk << 16 | queue} {}
    [[nodiscard]] constexpr track queue(std::uint32_t number) const noexcept { return {value_ >> 16, number}; }
    [[nodiscard]] constexpr std::uint64_t value() const noexcept { return value_; }

  private:
    std::uint32_t value_ = 0;
};

// The track of one disk more.
[[nodiscard]] track new_disk() noexcept;

// Records of the calling hart. Arguments have 56 bits.
inline void record(event what, std::uint64_t argument = 0) noexcept {
    if (recording.load(std::memory_order_relaxed) && arch::this_hart() < max_harts) {
        hart_rings& own = rings[arch::this_hart()];
        if (own.in_handler) {
            own.interrupts.push(what, argument);
        } else {
            own.main.push(what, argument);
        }
    }
}
inline void record(event what, track queue, std::uint32_t slot = 0) noexcept {
    record(what, queue.value() | std::uint64_t{slot} << 24);
}
inline void record(event what, std::coroutine_handle<> frame) noexcept {
    record(what, reinterpret_cast<std::uintptr_t>(frame.address()));
}

// Interrupt context: records the beginning of a handler, and its end when it ends.
class handler {
  public:
    explicit handler(track disk) noexcept : disk_{disk} {
        set(true);
        record(event::interrupt_begin, disk);
    }
    ~handler() {
        record(event::interrupt_end, disk_);
        set(false);
    }
    handler(const handler&) = delete;
    handler& operator=(const handler&) = delete;

  private:
    static void set(bool in_handler) noexcept {
        if (arch::this_hart() < max_harts) {
            rings[arch::this_hart()].in_handler = in_handler;
        }
    }
    track disk_;
};

// Records something that lasts: its beginning, and its end when the scope ends.
class lasting {
  public:
    lasting(event begin, event end) noexcept : end_{end} { record(begin); }
    ~lasting() { record(end_); }
    lasting(const lasting&) = delete;
    lasting& operator=(const lasting&) = delete;

  private:
    event end_;
};

// Takes one line of text, its end included.
using line_writer = void (*)(void* to, std::string_view line) noexcept;

// Writes the records of all harts, as lines that begin with "@trace ". Nothing is recorded meanwhile and afterwards.
// Other harts may still be in the middle of a record: the newest one of theirs may be wrong.
//
//     @trace hart H TICKS_PER_SECOND LOST LOST_OF_INTERRUPTS
//     @trace main H RECORD...         records, in order; of the interrupt handlers:
//     @trace interrupts H RECORD...
//     @trace name ADDRESS TEXT        a name that a record of event::name speaks of
//     @trace end
//
// A RECORD is the ticks since the one before it on the line (since 0, for the first), the event's letter, and the
// argument; all numbers but those of the first line in hexadecimal. A track and slot: disk << 16 | queue | slot << 24.
void write(line_writer writer, void* to) noexcept;

// Forgets all, and records from here on: for tests that trace one machine after the other.
void restart() noexcept;

#else

struct track {
    [[nodiscard]] constexpr track queue(std::uint32_t) const noexcept { return {}; }
};

constexpr track new_disk() noexcept {
    return {};
}

constexpr void record(event, std::uint64_t = 0) noexcept {}
constexpr void record(event, track, std::uint32_t = 0) noexcept {}
constexpr void record(event, std::coroutine_handle<>) noexcept {}

struct [[maybe_unused]] handler {
    constexpr explicit handler(track) noexcept {}
};

struct [[maybe_unused]] lasting {
    constexpr lasting(event, event) noexcept {}
};

#endif

} // namespace inflight::trace
