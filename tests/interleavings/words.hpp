// The words of the checker, as the code under test sees them: atomics, words that a device shares, and fences.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace inflight::interleavings {

inline constexpr unsigned max_harts = 4;
inline constexpr unsigned max_atomics = 16; // that harts use in one execution; there may be more

// Where in the source an operation stands.
struct place {
    const char* file;
    int line;
    bool operator==(const place& other) const { return line == other.line && std::strcmp(file, other.file) == 0; }
};

enum class operation_kind : std::uint8_t { load, store, exchange, compare_exchange, fence };
enum class fence_kind : std::uint8_t { publish, consume, full, doorbell, acknowledge };

namespace detail {

// What a hart knows, or a store passes on.
struct knowledge {
    std::array<std::uint16_t, max_harts> clock{};  // of each hart, up to which point of it
    std::array<std::uint16_t, max_atomics> seen{}; // of each atomic, the last store
    void join(const knowledge& other) {
        for (unsigned i = 0; i < max_harts; ++i) {
            clock[i] = clock[i] < other.clock[i] ? other.clock[i] : clock[i];
        }
        for (unsigned i = 0; i < max_atomics; ++i) {
            seen[i] = seen[i] < other.seen[i] ? other.seen[i] : seen[i];
        }
    }
};

// An atomic: its value as long as no hart has used it in this execution, and which one it is, of those that were made.
struct word {
    std::uint64_t value = 0;
    unsigned ordinal = 0; // 0: it was there before the checker, and is not modelled
};
unsigned new_ordinal();
std::uint64_t load(const word&, std::memory_order, place);
void store(word&, std::uint64_t value, std::memory_order, place);
std::uint64_t exchange(word&, std::uint64_t value, std::memory_order, place);
bool compare_exchange(word&, std::uint64_t& expected, std::uint64_t value, bool weak, std::memory_order success,
                      std::memory_order failure, place);
using modification = std::uint64_t (*)(std::uint64_t before, std::uint64_t operand);
std::uint64_t modify(word&, modification, std::uint64_t operand, std::memory_order, place);

// Of a word in memory that a device shares.
std::uint64_t device_load(const void* word, std::size_t bytes, place);
void device_store(void* word, std::size_t bytes, std::uint64_t value, place);

// Who has accessed a cell last, and when.
struct accesses {
    const void* self;
    unsigned writer = 0;
    std::uint16_t written = 0;
    std::array<std::uint16_t, max_harts> read{};
};
void cell_read(accesses&, const void* self, place);
void cell_write(accesses&, const void* self, std::uint64_t value, place);

template <typename T>
std::uint64_t to_word(T value) {
    // NOLINTNEXTLINE(bugprone-sizeof-expression): T may be a pointer
    static_assert(sizeof(T) <= sizeof(std::uint64_t) && std::is_trivially_copyable_v<T>);
    std::uint64_t word = 0;
    std::memcpy(&word, &value, sizeof(T)); // NOLINT(bugprone-sizeof-expression): T may be a pointer
    return word;
}

template <typename T>
T from_word(std::uint64_t word) {
    T value;
    std::memcpy(&value, &word, sizeof(T)); // NOLINT(bugprone-sizeof-expression): as above
    return value;
}

} // namespace detail

void fence(fence_kind, const char* file, int line);

// Stands in for std::atomic.
template <typename T>
class atomic {
  public:
    constexpr atomic() : atomic(T{}) {}
    constexpr atomic(T initial) { // NOLINT(google-explicit-constructor): as std::atomic
        if (!std::is_constant_evaluated()) {
            word_ = {detail::to_word(initial), detail::new_ordinal()};
        } else if (initial != T{}) {
            detail::new_ordinal(); // no constant has another value
        }
    }
    atomic(const atomic&) = delete;
    atomic& operator=(const atomic&) = delete;

    T load(std::memory_order order = std::memory_order_seq_cst, const char* file = __builtin_FILE(),
           int line = __builtin_LINE()) const {
        return detail::from_word<T>(detail::load(word_, order, {file, line}));
    }
    void store(T value, std::memory_order order = std::memory_order_seq_cst, const char* file = __builtin_FILE(),
               int line = __builtin_LINE()) {
        detail::store(word_, detail::to_word(value), order, {file, line});
    }
    T exchange(T value, std::memory_order order = std::memory_order_seq_cst, const char* file = __builtin_FILE(),
               int line = __builtin_LINE()) {
        return detail::from_word<T>(detail::exchange(word_, detail::to_word(value), order, {file, line}));
    }
    T fetch_add(T value, std::memory_order order, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
        return modify([](std::uint64_t before, std::uint64_t by) { return before + by; }, value, order, {file, line});
    }
    T fetch_sub(T value, std::memory_order order, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
        return modify([](std::uint64_t before, std::uint64_t by) { return before - by; }, value, order, {file, line});
    }
    T fetch_or(T value, std::memory_order order, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
        return modify([](std::uint64_t before, std::uint64_t by) { return before | by; }, value, order, {file, line});
    }
    T fetch_and(T value, std::memory_order order, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
        return modify([](std::uint64_t before, std::uint64_t by) { return before & by; }, value, order, {file, line});
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
    T modify(detail::modification how, T operand, std::memory_order order, place at) {
        return detail::from_word<T>(detail::modify(word_, how, detail::to_word(operand), order, at));
    }
    bool compare_exchange(T& expected, T value, bool weak, std::memory_order success, std::memory_order failure,
                          place at) {
        std::uint64_t bits = detail::to_word(expected);
        const bool done = detail::compare_exchange(word_, bits, detail::to_word(value), weak, success, failure, at);
        expected = detail::from_word<T>(bits);
        return done;
    }

    detail::word word_{};
};

// A field of a ring. It lies where the driver has put the ring, and is as large as what it holds.
template <typename T>
class device_word {
  public:
    T load(std::memory_order, const char* file = __builtin_FILE(), int line = __builtin_LINE()) const {
        return detail::from_word<T>(detail::device_load(&value_, sizeof value_, {file, line}));
    }
    void store(T value, std::memory_order, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
        detail::device_store(&value_, sizeof value_, detail::to_word(value), {file, line});
    }

  private:
    T value_;
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
