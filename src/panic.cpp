// Panics: the kernel found a defect of its own. Message, registers, backtrace, and the end of the machine.

#include "arch/arch.hpp"
#include "src/console.hpp"
#include "src/end.hpp"
#include "src/tasks.hpp"

#include <cstdint>

extern "C" {
extern const std::byte kernel_begin;
extern const std::byte text_end;

[[noreturn]] void exception_entry(const std::uint64_t* registers) noexcept;
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
    case 3: return "breakpoint";
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
    return frame % 8 == 0 && frame >= 16 && within(frame - 16, self.stack_begin, self.trap_stack_end);
}

bool in_text(std::uint64_t address) noexcept {
    return within(address, &kernel_begin, &text_end);
}

// Follows the frame pointers: below each, its caller's frame pointer and where to return to. A coroutine's frames end
// where the executor resumed it. Stops at whatever is no stack of ours. `link` is the register ra of who was interrupted: a
// function that calls no other saves its caller's frame pointer alone, and returns to what is there.
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

// One panic is told; harts that come to it later wait for its end. What a panic looks at may be broken, too: a second one of
// the same hart ends the machine.
constexpr std::uint32_t nobody = ~0u;
arch::atomic<std::uint32_t> who_panics{nobody};

void begin_panic() noexcept {
    arch::mask_interrupts();
    std::uint32_t who = nobody;
    if (who_panics.compare_exchange_strong(who, arch::this_hart(), std::memory_order_relaxed,
                                           std::memory_order_relaxed)) {
        return;
    }
    if (who == arch::this_hart()) {
        kernel::console::write("\npanic: a second one, of the panic itself\n");
        kernel::end(kernel::exit_panic);
    }
    for (;;) {
        arch::wait_for_interrupt();
    }
}

[[noreturn]] void end_in_panic() noexcept {
    kernel::print_tasks();
    kernel::end(kernel::exit_panic);
}

} // namespace

void arch::panic(const char* message) noexcept {
    begin_panic();
    print("\npanic: %s (hart %u)\n", message, arch::this_hart());
    print_backtrace(reinterpret_cast<std::uint64_t>(__builtin_frame_address(0)), 0);
    end_in_panic();
}

} // namespace inflight

void exception_entry(const std::uint64_t* registers) noexcept {
    using namespace inflight;
    const std::uint64_t cause = INFLIGHT_CSR_READ(scause);
    const std::uint64_t where = INFLIGHT_CSR_READ(sepc);
    const std::uint64_t value = INFLIGHT_CSR_READ(stval);
    begin_panic();
    print("\npanic: %s, value 0x%lx (hart %u)\n", exception_name(cause), value, arch::this_hart());
    print("  pc 0x%lx\n", where); // the instruction itself, not one to return to
    if (!in_text(where)) {
        print("  at 0x%lx\n", registers[1]); // a jump to nowhere: who made it
    }
    print_backtrace(registers[8], registers[1]);
    for (int i = 1; i < 32; ++i) {
        print("%5s 0x%016lx%s", register_names[i], registers[i], i % 4 == 0 || i == 31 ? "\n" : " ");
    }
    end_in_panic();
}
