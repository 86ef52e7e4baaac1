// Panics: the kernel has detected a defect of its own. Stops the other harts and the disks, prints the message, the
// registers and the backtrace, and ends the machine.

#include "src/kernel/panic.hpp"

#include "arch/arch.hpp"
#include "arch/riscv64/sbi.hpp"
#include "arch/time_limit.hpp"
#include "async/executor.hpp"
#include "src/kernel/console.hpp"
#include "src/kernel/devices.hpp"
#include "src/kernel/end.hpp"
#include "src/kernel/protection.hpp"
#include "src/kernel/tasks.hpp"

#include <cstdint>
#include <cstdio>

extern "C" {
extern const std::byte kernel_begin;
extern const std::byte text_end;
}

namespace inflight {

namespace {

using kernel::console::print;

constexpr const char* register_names[32] = {"zero", "ra", "sp", "gp", "tp",  "t0",  "t1", "t2", "s0", "s1", "a0",
                                            "a1",   "a2", "a3", "a4", "a5",  "a6",  "a7", "s2", "s3", "s4", "s5",
                                            "s6",   "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6"};

const char* exception_name(std::uint64_t cause) noexcept {
    switch (cause) {
    case 0: return "instruction address misaligned";
    case 1: return "instruction access fault";
    case 2: return "illegal instruction";
    case 3: return "breakpoint (a coroutine that has ended? one that GCC 12.2 lost? docs/compilers.md)";
    case 4: return "load address misaligned";
    case 5: return "load access fault";
    case 6: return "store address misaligned";
    case 7: return "store access fault";
    case 8: return "environment call from U-mode";
    case 9: return "environment call from S-mode";
    case 12: return "instruction page fault";
    case 13: return "load page fault";
    case 15: return "store page fault";
    default: return "unknown exception";
    }
}

bool within(std::uint64_t address, const std::byte* begin, const std::byte* end) noexcept {
    return address >= reinterpret_cast<std::uint64_t>(begin) && address < reinterpret_cast<std::uint64_t>(end);
}

bool on_a_stack(std::uint64_t frame) noexcept {
    const arch::riscv64::hart& self = arch::riscv64::current_hart();
    return frame % 8 == 0 && frame >= 16 &&
           (within(frame - 16, self.stack_begin, self.stack_end) ||
            within(frame - 16, self.trap_stack_begin, self.trap_stack_end));
}

bool in_text(std::uint64_t address) noexcept {
    return within(address, &kernel_begin, &text_end);
}

// Follows the frame pointers: below each are the return address and the caller's frame pointer. A coroutine's frames
// end where the executor resumed it. Stops at an address outside the hart's stacks. `link` is the register ra at the
// exception: a leaf function saves only its caller's frame pointer, and returns to `link`.
void print_backtrace(std::uint64_t frame, std::uint64_t link) noexcept {
    if (on_a_stack(frame)) {
        const std::uint64_t saved = reinterpret_cast<const std::uint64_t*>(frame)[-1];
        if (!in_text(saved) && saved > frame && on_a_stack(saved) && in_text(link)) {
            print("  at 0x%lx\n", link);
            frame = saved;
        }
    }
    for (int depth = 0; depth < 64 && on_a_stack(frame); ++depth) {
        const auto* const saved = reinterpret_cast<const std::uint64_t*>(frame);
        const std::uint64_t return_address = saved[-1];
        if (!in_text(return_address)) {
            break;
        }
        print("  at 0x%lx\n", return_address);
        frame = saved[-2];
    }
}

// Only the first hart that panics reports it: the others stop.
constexpr std::uint32_t nobody = ~0u;
arch::atomic<std::uint32_t> who_panics{nobody};
arch::atomic<std::uint64_t> stopped{0}; // bit i: hart i
static_assert(arch::max_harts <= 64);

constexpr std::uint64_t bit_of(arch::hart_index hart) noexcept {
    return std::uint64_t{1} << hart;
}

[[noreturn]] void stop_here() noexcept {
    arch::mask_interrupts();
    INFLIGHT_CSR_WRITE(sie, 0); // so that nothing ends the wait
    // Register writes before this hart's bit; memory writes by the release, which pairs with the load in stop_others().
    asm volatile("fence iorw, iorw" : : : "memory");
    stopped.fetch_or(bit_of(arch::this_hart()), std::memory_order_release);
    for (;;) {
        arch::wait_for_interrupt();
    }
}

// Interrupts all others repeatedly for a second, because a hart that is just clearing a software interrupt loses one.
// Returns the harts that have not stopped. A hart without an executor has not started anything, so it is not waited
// for.
std::uint64_t stop_others() noexcept {
    std::uint64_t missing = 0;
    for (arch::hart_index hart = 0; hart < arch::harts(); ++hart) {
        missing |= hart != arch::this_hart() && async::executor::find(hart) != nullptr ? bit_of(hart) : 0;
    }
    arch::time_limit patience{arch::ticks_per_second()};
    while ((missing &= ~stopped.load(std::memory_order_acquire)) != 0 && !patience.is_over()) {
        for (arch::hart_index hart = 0; hart < arch::harts(); ++hart) {
            if ((missing & bit_of(hart)) != 0) {
                arch::interrupt_hart(hart);
            }
        }
        // Sleeps, because the others may share this one's core of the host. The deadline only ends the wait.
        arch::set_deadline(arch::now() + arch::ticks_per_second() / 10'000);
        arch::wait_for_interrupt();
    }
    return missing;
}

// A panic within the panic ends the machine. A third one ends it without a message.
[[noreturn]] void end_second_panic() noexcept {
    static bool told = false;
    if (!told) {
        told = true;
        print("\npanic: a second one, of the panic itself, at 0x%lx\n", INFLIGHT_CSR_READ(sepc));
        kernel::end(kernel::exit_panic);
    }
    arch::sbi::shut_down();
    kernel::wait_for_the_end();
}

// When it returns, the other harts have stopped, except those in the returned bits.
std::uint64_t begin_panic() noexcept {
    arch::mask_interrupts();
    std::uint32_t who = nobody;
    if (!who_panics.compare_exchange_strong(who, arch::this_hart(), std::memory_order_relaxed,
                                            std::memory_order_relaxed)) {
        who == arch::this_hart() ? end_second_panic() : stop_here();
    }
    const std::uint64_t missing = stop_others();
    kernel::console::seize();
    return missing;
}

// Resets the disks, and prints the message and what has not stopped.
void print_headline(const char* what, std::uint64_t missing) noexcept {
    // A disk without its storage may block the reset for long: then this is the last line.
    print("\n@progress hart %u has panicked (%s), and resets the disks\n", arch::this_hart(), what);
    kernel::reset_devices([](const char* name) noexcept { print("%s does not reset: it may still write\n", name); });
    print("\npanic: %s (hart %u)\n", what, arch::this_hart());
    for (arch::hart_index hart = 0; hart < arch::harts(); ++hart) {
        if ((missing & bit_of(hart)) != 0) {
            print("hart %u does not stop: it takes no interrupts\n", hart);
        }
        const arch::riscv64::hart* const known = arch::riscv64::all_harts[hart];
        if (known != nullptr && kernel::stack_has_overflowed(*known)) {
            print("the guard below the stack of hart %u is damaged: its stack has overflowed\n", hart);
        }
    }
}

[[noreturn]] void end_in_panic(std::uint64_t missing) noexcept {
    kernel::print_tasks(stopped.load(std::memory_order_acquire) & ~missing);
    kernel::end(kernel::exit_panic);
}

[[noreturn]] void handle_panic(const char* message, std::uint64_t frame) noexcept {
    const std::uint64_t missing = begin_panic();
    print_headline(message, missing);
    print_backtrace(frame, 0);
    end_in_panic(missing);
}

[[noreturn]] void handle_exception(const std::uint64_t* registers) noexcept {
    const std::uint64_t cause = INFLIGHT_CSR_READ(scause);
    const std::uint64_t where = INFLIGHT_CSR_READ(sepc);
    const std::uint64_t value = INFLIGHT_CSR_READ(stval);
    const std::uint64_t missing = begin_panic();
    char words[64];
    const bool known = kernel::explain_fault(cause, value, words);
    char what[128];
    std::snprintf(what, sizeof what, "%s%s%s, value 0x%lx", known ? words : "", known ? ": " : "",
                  exception_name(cause), value);
    print_headline(what, missing);
    print("  pc 0x%lx\n", where); // the instruction itself, not a return address
    if (known && value != where) {
        print("  to 0x%lx\n", value); // the launcher adds the symbol
    }
    if (!in_text(where)) {
        print("  at 0x%lx\n", registers[1]); // the caller that jumped to nowhere
    }
    print_backtrace(registers[8], registers[1]);
    for (int i = 1; i < 32; ++i) {
        print("%5s 0x%016lx%s", register_names[i], registers[i], i % 4 == 0 || i == 31 ? "\n" : " ");
    }
    end_in_panic(missing);
}

} // namespace

void kernel::handle_panics() noexcept {
    arch::riscv64::set_fatal_handlers({.panic = handle_panic, .exception = handle_exception});
}

void kernel::stop_if_panicking() noexcept {
    // relaxed: a hart that stops reads nothing that the panicking hart wrote.
    const std::uint32_t who = who_panics.load(std::memory_order_relaxed);
    if (who != nobody && who != arch::this_hart()) {
        stop_here();
    }
}

void kernel::wait_for_the_end() noexcept {
    arch::mask_interrupts();
    for (;;) {
        stop_if_panicking();
        arch::wait_for_interrupt();
    }
}

} // namespace inflight
