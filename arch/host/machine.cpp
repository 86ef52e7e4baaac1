#include "arch/arch.hpp"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

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

} // namespace

// While one exists devices run and interrupts wait; the destructor of the outermost takes them.
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
    if (options_.harts == 0) {
        die("a machine without harts");
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
}

// ---- harts and interrupts

void machine::select_hart(hart_index hart) noexcept {
    if (hart >= harts_.size()) {
        die("no such hart");
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

void machine::line_handler(unsigned line, callback handler) {
    lines_[line].handler = std::move(handler);
    enable_line(line, true);
}

void machine::route_line(unsigned line, hart_index hart) {
    if (hart >= harts_.size()) {
        die("no such hart");
    }
    lines_[line].hart = hart;
    take_interrupts();
}

void machine::enable_line(unsigned line, bool enabled) {
    lines_[line].enabled = enabled;
    take_interrupts();
}

void machine::raise_line(unsigned line) {
    lines_[line].high = true;
    take_interrupts();
}

void machine::lower_line(unsigned line) {
    lines_[line].high = false;
    lines_[line].streak = 0;
}

bool machine::line_high(unsigned line) const {
    const auto found = lines_.find(line);
    return found != lines_.end() && found->second.high;
}

unsigned machine::claim() {
    for (auto& [number, line] : lines_) {
        if (line.high && line.enabled && !line.in_service && line.hart == hart_) {
            line.in_service = true;
            return number;
        }
    }
    return no_line;
}

void machine::complete(unsigned number) {
    auto& line = lines_[number];
    line.in_service = false;
    if (!line.high) {
        line.streak = 0;
    } else if (++line.streak > options_.interrupt_storm) {
        report("STORM", "interrupt storm: line " + std::to_string(number) + " stays high after its handler");
        line.enabled = false;
        line.streak = 0;
    }
}

bool machine::external_pending() const {
    for (const auto& [number, line] : lines_) {
        if (line.high && line.enabled && !line.in_service && line.hart == hart_) {
            return true;
        }
    }
    return false;
}

void machine::service_lines() {
    for (unsigned number = claim(); number != no_line; number = claim()) {
        const callback handler = lines_[number].handler;
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
    while (!state.masked && (timer_pending() || external_pending())) {
        state.masked = true; // as a trap does
        ++interrupts_taken_;
        if (timer_pending()) {
            if (state.timer) {
                state.timer();
            } else {
                state.deadline = no_deadline;
            }
            if (state.deadline > time_) {
                state.timer_streak = 0;
            } else if (++state.timer_streak > options_.interrupt_storm) {
                report("STORM", "interrupt storm: the deadline stays in the past after the timer handler");
                state.deadline = no_deadline;
                state.timer_streak = 0;
            }
        } else if (state.external) {
            const callback handler = state.external;
            handler();
        } else {
            service_lines();
        }
        if (hart_ != hart) {
            die("an interrupt handler changed the hart");
        }
        state.masked = false;
    }
}

bool machine::mask_interrupts() noexcept {
    ++instructions_;
    return !std::exchange(harts_[hart_].masked, true);
}

void machine::restore_interrupts(bool unmask) noexcept {
    ++instructions_;
    if (!unmask) {
        return;
    }
    harts_[hart_].masked = false;
    take_interrupts();
}

void machine::wait_for_interrupt() noexcept {
    ++instructions_;
    {
        const device_turn turn{*this};
        for (auto* each : observers_) {
            each->on_wait_for_interrupt();
        }
        run_due_events();
        if (options_.spurious_wake_ups != 0 && chance(options_.spurious_wake_ups)) {
            return;
        }
        while (!timer_pending() && !external_pending()) {
            const ticks deadline = harts_[hart_].deadline;
            const ticks event = events_.empty() ? no_deadline : events_.begin()->first.first;
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
}

void machine::clear_stall() noexcept {
    stalled_ = false;
    stalls_in_a_row_ = 0;
    stall_reason_.clear();
}

void machine::on_stall(callback work) {
    on_stall_ = std::move(work);
}

// ---- time

void machine::at(ticks time, callback work) {
    events_.emplace(std::pair{std::max(time, time_), sequence_++}, std::move(work));
}

void machine::run_as_device(const callback& work) {
    const device_turn turn{*this};
    work();
}

// Runs what is due. An event may call back into the machine; events it adds for now run too, in order.
void machine::run_due_events() {
    while (!events_.empty() && events_.begin()->first.first <= time_) {
        auto event = events_.extract(events_.begin());
        const device_turn turn{*this};
        event.mapped()();
    }
}

// Lets time go by outside of a device's turn.
void machine::pass(ticks span) {
    time_ += span;
    if (device_depth_ == 0) {
        run_due_events();
    }
    take_interrupts();
}

void machine::run_until(ticks time) {
    do {
        ticks next = std::max(time, time_);
        if (!events_.empty()) {
            next = std::min(next, events_.begin()->first.first);
        }
        if (harts_[hart_].deadline > time_) {
            next = std::min(next, harts_[hart_].deadline);
        }
        time_ = std::max(time_, next);
        run_due_events();
        take_interrupts();
    } while (time_ < time);
}

ticks machine::now() noexcept {
    ++instructions_;
    const ticks value = time_ += options_.cost_of_now;
    pass(0);
    return value;
}

void machine::set_deadline(ticks time) noexcept {
    ++instructions_;
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
}

void machine::stop_observing(observer& removed) {
    std::erase(observers_, &removed);
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
    std::uint32_t value = width == 4 ? ~0U : (1U << 8 * width) - 1;
    {
        const device_turn turn{*this};
        for (auto* each : observers_) {
            each->on_mmio_read(address, width);
        }
        if (const auto* found = find(address, width, "read")) {
            value &= found->device->read(address - found->base, width);
        }
    }
    pass(options_.cost_of_access);
    return value;
}

void machine::mmio_write(std::uintptr_t address, unsigned width, std::uint32_t value) noexcept {
    ++instructions_;
    std::atomic_signal_fence(std::memory_order_seq_cst);
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
    return text;
}

} // namespace inflight::arch::host

namespace inflight::arch {

void panic(const char* message) noexcept {
    std::fprintf(stderr, "panic: ");
    host::die(message);
}

} // namespace inflight::arch
