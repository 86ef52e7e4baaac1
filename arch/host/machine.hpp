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
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
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

// Is told of every point at which the code under test shows its order of memory. The calls come before the access
// itself and in the program order of the code under test.
class observer {
  public:
    virtual ~observer() = default;
    virtual void on_fence(fence_kind) {}
    virtual void on_mmio_read(std::uintptr_t /*address*/, unsigned /*width*/) {}
    virtual void on_mmio_write(std::uintptr_t /*address*/, unsigned /*width*/, std::uint32_t /*value*/) {}
    virtual void on_wait_for_interrupt() {}
};

// Something that the code under test did and must not do.
struct violation {
    std::string id; // a row of the requirement table, or a word in capitals for a rule of ours
    std::string message;
    ticks time;
};

struct machine_options {
    hart_index harts = 1;
    std::size_t memory_bytes = std::size_t{8} << 20;
    std::uint64_t seed = 1;
    ticks cost_of_now = 1;           // ticks that pass with each now()
    ticks cost_of_access = 1;        // ticks that pass with each register access
    bool start_masked = false;       // whether harts begin with interrupts masked, as a real one does
    unsigned spurious_wake_ups = 0;  // of 1000 calls of wait_for_interrupt(), how many return for no reason
    unsigned interrupt_storm = 1000; // a line still high after this many handler calls in a row is reported
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
    void on_timer_interrupt(hart_index, callback); // default: takes the deadline away
    void line_handler(unsigned line, callback);    // also enables the line
    void route_line(unsigned line, hart_index);    // default: hart 0
    void enable_line(unsigned line, bool);
    void raise_line(unsigned line);
    void lower_line(unsigned line);
    bool line_high(unsigned line) const;
    unsigned claim(); // no_line if nothing is pending for the selected hart
    void complete(unsigned line);
    std::uint64_t interrupts_taken() const noexcept { return interrupts_taken_; }

    // time and events; an event runs as a device, interrupts that it raises are taken when it has returned
    ticks time() const noexcept { return time_; }
    void at(ticks time, callback); // events of the same time run in the order in which they were added
    void after(ticks span, callback work) { at(time_ + span, std::move(work)); }
    std::size_t events() const noexcept { return events_.size(); }
    void run_as_device(const callback& work); // now; interrupts that it raises are taken when it has returned
    void run_until(ticks time);               // advances time, running events and taking interrupts on the way
    bool stalled() const noexcept { return stalled_; }
    const std::string& stall_reason() const noexcept { return stall_reason_; }
    void clear_stall() noexcept;
    void on_stall(callback); // called whenever wait_for_interrupt() has nothing left to wait for

    // registers of devices
    void attach(std::uintptr_t base, std::size_t size, mmio_device&);
    void detach(mmio_device&);
    void observe(observer&);
    void stop_observing(observer&);

    // memory that devices reach; filled with 0xA5 at first, handed out in order and never taken back
    std::byte* allocate(std::size_t bytes, std::size_t alignment);
    std::byte* translate(std::uint64_t device_address, std::uint64_t length) noexcept; // nullptr if not all in memory
    bool reachable(const void*) const noexcept;

    // chance, by the seed alone
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
    void options(const machine_options& changed) noexcept; // harts, memory and seed stay as they were

    // What the functions of the contract do; see arch.hpp.
    void*& hart_local() noexcept { return harts_[hart_].local; }
    bool mask_interrupts() noexcept;
    void restore_interrupts(bool unmask) noexcept;
    void wait_for_interrupt() noexcept;
    ticks now() noexcept;
    void set_deadline(ticks) noexcept;
    std::uint64_t instructions() const noexcept { return instructions_; }
    std::uint32_t mmio_read(std::uintptr_t address, unsigned width) noexcept;
    void mmio_write(std::uintptr_t address, unsigned width, std::uint32_t value) noexcept;
    void fence(fence_kind) noexcept;
    std::uint64_t device_address(const void*) noexcept;

  private:
    struct hart_state {
        void* local = nullptr;
        bool masked = false;
        ticks deadline = no_deadline;
        callback external;
        callback timer;
        unsigned timer_streak = 0;
    };
    struct line_state {
        bool high = false;
        bool enabled = false;
        bool in_service = false;
        hart_index hart = 0;
        unsigned streak = 0;
        callback handler;
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
    bool external_pending() const;
    bool timer_pending() const { return harts_[hart_].deadline <= time_; }
    void take_interrupts();
    void service_lines();

    machine_options options_;
    std::vector<hart_state> harts_;
    hart_index hart_ = 0;
    std::map<unsigned, line_state> lines_;
    std::vector<attachment> bus_;
    std::vector<observer*> observers_;

    std::byte* memory_ = nullptr;
    std::size_t allocated_ = 0;

    ticks time_ = 0;
    std::uint64_t sequence_ = 0;
    std::map<std::pair<ticks, std::uint64_t>, callback> events_;
    unsigned device_depth_ = 0; // devices are running: interrupts wait
    std::uint64_t instructions_ = 0;
    std::uint64_t interrupts_taken_ = 0;

    bool stalled_ = false;
    unsigned stalls_in_a_row_ = 0;
    std::string stall_reason_;
    callback on_stall_;

    std::uint64_t random_state_[4]{};
    std::vector<violation> violations_;
};

} // namespace inflight::arch::host

namespace inflight::arch {

inline hart_index this_hart() noexcept {
    return host::machine::current().selected_hart();
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
inline void wait_for_interrupt() noexcept {
    host::machine::current().wait_for_interrupt();
}

inline ticks now() noexcept {
    return host::machine::current().now();
}
constexpr ticks ticks_per_second() noexcept {
    return 10'000'000;
}
inline void set_deadline(ticks time) noexcept {
    host::machine::current().set_deadline(time);
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
