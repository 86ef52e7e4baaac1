// An exhaustive checker of what a few harts do with shared words: every interleaving within a bound of preemptions, and
// for every load every value that it may see.
//
// A scenario is run again and again, each time with other choices, until there are none left: which hart goes on
// (before every operation on an atomic or on the machine), which store a load reads, whether a wait ends for no reason.
// What a load may read is what C++ lets it read by release and acquire: a hart knows of some stores, and may read the
// last one it knows of in each atomic or any later one; a store with release passes on what its hart knows, a load with
// acquire takes it over, a read-modify-write reads the last store and passes on what that passed on. Fields that are
// not atomic are cells; two accesses of which neither knows of the other, one of them a write, are a race. seq_cst
// counts as acq_rel, and there are no fences.
//
// An execution ends early where it comes to a state that another one has been in: the same history of every hart and of
// every atomic, the same machine, as many preemptions. So what harts share must be atomics, cells and the machine; all
// else belongs to one hart. A state is a hash of 64 bits, and two are taken for one with a chance of one in a million
// at most.
//
// Not covered: a load never reads a store that is made later, and stores to one atomic are ordered as they were made.
#pragma once

#include "arch/arch.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

namespace inflight::interleavings {

inline constexpr unsigned most_harts = 4;
inline constexpr unsigned most_atomics = 12;

// Where in the source an operation stands.
struct place {
    const char* file;
    int line;
    bool operator==(const place& other) const { return line == other.line && std::strcmp(file, other.file) == 0; }
};

enum class operation_kind : std::uint8_t { load, store, exchange, compare_exchange };

// An order of memory in the source that is stronger than relaxed.
struct order_site {
    place at;
    operation_kind kind;
    std::memory_order order;
    bool operator==(const order_site&) const = default;
};

// An order of memory made weaker.
struct weakening {
    order_site site;
    std::memory_order instead;
};

struct limits {
    unsigned preemptions = 2;              // how often a hart that could go on is stopped, in one execution
    unsigned spurious_wake_ups = 1;        // how many waits end for no reason, in one execution
    unsigned steps = 400;                  // more in one execution are taken for a loop without an end
    std::uint64_t executions = 20'000'000; // more are a failure: the scenario is too large
    bool revisits = false;                 // go on where another execution has been
    const weakening* weakened = nullptr;
};

struct result {
    std::uint64_t executions = 0;
    std::uint64_t states = 0; // in which another hart could have gone on
    std::uint64_t steps = 0;
    std::string failure;           // empty: there was none
    std::string schedule;          // of the execution that failed, a line for each step
    std::vector<order_site> sites; // of all operations executed
};

enum class cause : std::uint8_t { software, external };

// Constructed anew for every execution; its members are what the harts share.
class scenario {
  public:
    virtual ~scenario() = default;
    virtual unsigned harts() const = 0;
    virtual void run(unsigned hart) = 0;
    // An interrupt handler, on this hart with interrupts masked. What raised it is still pending.
    virtual void interrupted(unsigned hart, cause reason);
    // After all harts have ended.
    virtual void at_end() {}
};

result explore(const limits&, const std::function<std::unique_ptr<scenario>()>& make);

// ---- for scenarios

// Ends the execution, and the exploration, with a failure.
[[noreturn]] void fail(const std::string& why);
inline void require(bool condition, const char* why) {
    if (!condition) {
        fail(why);
    }
}

// What a pointer is called in schedules.
void name(const void* pointer, const char* text);

unsigned this_hart();

// The machine under the harts. Interrupts are taken before any operation of an unmasked hart.
bool mask_interrupts(const char* file = __builtin_FILE(), int line = __builtin_LINE());
void restore_interrupts(bool unmask, const char* file = __builtin_FILE(), int line = __builtin_LINE());
void wait_for_interrupt(const char* file = __builtin_FILE(), int line = __builtin_LINE());
// Makes an interrupt pending. What this hart knows goes to whoever acknowledges an external one, as after the read of a
// device's register; a software interrupt passes on nothing.
void raise(unsigned hart, cause reason, const char* file = __builtin_FILE(), int line = __builtin_LINE());
void acknowledge(cause reason, const char* file = __builtin_FILE(), int line = __builtin_LINE());

namespace detail {

// What a hart knows, or a store passes on.
struct knowledge {
    std::array<std::uint16_t, most_harts> clock{};  // of each hart, up to which point of it
    std::array<std::uint16_t, most_atomics> seen{}; // of each atomic, the last store
    void join(const knowledge& other) {
        for (unsigned i = 0; i < most_harts; ++i) {
            clock[i] = clock[i] < other.clock[i] ? other.clock[i] : clock[i];
        }
        for (unsigned i = 0; i < most_atomics; ++i) {
            seen[i] = seen[i] < other.seen[i] ? other.seen[i] : seen[i];
        }
    }
};

unsigned new_atomic(std::uint64_t initial);
std::uint64_t load(unsigned atomic, std::memory_order, place);
void store(unsigned atomic, std::uint64_t value, std::memory_order, place);
std::uint64_t exchange(unsigned atomic, std::uint64_t value, std::memory_order, place);
bool compare_exchange(unsigned atomic, std::uint64_t& expected, std::uint64_t value, bool weak,
                      std::memory_order success, std::memory_order failure, place);
std::uint64_t fetch_add(unsigned atomic, std::uint64_t value, std::memory_order, place);

// Who has accessed a cell last, and when.
struct accesses {
    const void* self;
    unsigned writer = 0;
    std::uint16_t written = 0;
    std::array<std::uint16_t, most_harts> read{};
};
void cell_read(accesses&, const void* self, place);
void cell_write(accesses&, const void* self, std::uint64_t value, place);

template <typename T>
std::uint64_t to_word(T value) {
    static_assert(sizeof(T) <= sizeof(std::uint64_t) && std::is_trivially_copyable_v<T>);
    std::uint64_t word = 0;
    std::memcpy(&word, &value, sizeof value);
    return word;
}

template <typename T>
T from_word(std::uint64_t word) {
    T value;
    std::memcpy(&value, &word, sizeof value);
    return value;
}

} // namespace detail

// Stands in for std::atomic.
template <typename T>
class atomic {
  public:
    atomic(T initial) : index_{detail::new_atomic(detail::to_word(initial))} {}
    atomic(const atomic&) = delete;
    atomic& operator=(const atomic&) = delete;

    T load(std::memory_order order, const char* file = __builtin_FILE(), int line = __builtin_LINE()) const {
        return detail::from_word<T>(detail::load(index_, order, {file, line}));
    }
    void store(T value, std::memory_order order, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
        detail::store(index_, detail::to_word(value), order, {file, line});
    }
    T exchange(T value, std::memory_order order, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
        return detail::from_word<T>(detail::exchange(index_, detail::to_word(value), order, {file, line}));
    }
    T fetch_add(T value, std::memory_order order, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
        return detail::from_word<T>(detail::fetch_add(index_, detail::to_word(value), order, {file, line}));
    }
    bool compare_exchange_weak(T& expected, T value, std::memory_order success, std::memory_order failure,
                               const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
        return compare_exchange(expected, value, true, success, failure, {file, line});
    }
    bool compare_exchange_strong(T& expected, T value, std::memory_order success, std::memory_order failure,
                                 const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
        return compare_exchange(expected, value, false, success, failure, {file, line});
    }

  private:
    bool compare_exchange(T& expected, T value, bool weak, std::memory_order success, std::memory_order failure,
                          place at) {
        std::uint64_t word = detail::to_word(expected);
        const bool done = detail::compare_exchange(index_, word, detail::to_word(value), weak, success, failure, at);
        expected = detail::from_word<T>(word);
        return done;
    }

    unsigned index_;
};

// A field that is not atomic. It knows its own address, so that what is no cell is not taken for one.
template <typename T>
class cell {
  public:
    cell(T initial = T{}) : value_{initial} { accesses_.self = this; }
    cell(const cell&) = delete;

    T get(const char* file = __builtin_FILE(), int line = __builtin_LINE()) const {
        detail::cell_read(accesses_, this, {file, line});
        return value_;
    }
    void set(T value, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
        detail::cell_write(accesses_, this, detail::to_word(value), {file, line});
        value_ = value;
    }
    operator T() const { return get("", 0); }
    cell& operator=(T value) {
        set(value, "", 0);
        return *this;
    }

  private:
    mutable detail::accesses accesses_{};
    T value_;
};

} // namespace inflight::interleavings
