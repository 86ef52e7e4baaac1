#include "src/kernel/end.hpp"

#include "arch/arch.hpp"
#include "arch/riscv64/sbi.hpp"
#include "async/trace.hpp"
#include "src/kernel/console.hpp"
#include "src/kernel/panic.hpp"

#include <cstdarg>
#include <cstdio>

namespace inflight::kernel {

namespace {

// QEMU's sifive_test: the low half of the word says how the machine ends, the high half is the exit status of a
// failure.
constexpr std::uint32_t finisher_pass = 0x5555;
constexpr std::uint32_t finisher_fail = 0x3333;

std::uintptr_t finisher = 0;

} // namespace

void set_test_finisher(unsigned long registers) noexcept {
    finisher = registers;
}

void end(int exit_status) noexcept {
#if INFLIGHT_TRACE
    // One hart writes the trace, and the others wait for the end of the machine. If the writer panics, it comes here
    // again; if another hart panics, the writer has been stopped.
    constexpr std::uint32_t nobody = ~0u;
    static arch::atomic<std::uint32_t> writer{nobody};
    std::uint32_t who = nobody;
    if (writer.compare_exchange_strong(who, arch::this_hart(), std::memory_order_relaxed, std::memory_order_relaxed)) {
        trace::write([](void*, std::string_view line) noexcept { console::write(line); }, nullptr);
    } else if (who != arch::this_hart() && exit_status != exit_panic) {
        wait_for_the_end();
    }
#endif
    if (exit_status != exit_panic) {
        console::end_log();
    }
    if (finisher != 0) {
        const auto status = static_cast<std::uint32_t>(exit_status);
        arch::mmio_write32(finisher, exit_status == 0 ? finisher_pass : status << 16 | finisher_fail);
    }
    arch::sbi::shut_down();
    arch::mask_interrupts();
    for (;;) {
        arch::wait_for_interrupt();
    }
}

void fail(const char* format, ...) noexcept {
    // Only one message: harts that fail later wait for the end.
    static arch::atomic<std::uint32_t> somebody_fails{0};
    if (somebody_fails.exchange(1, std::memory_order_relaxed) != 0) {
        wait_for_the_end();
    }
    char buffer[512];
    std::va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(buffer, sizeof buffer, format, arguments);
    va_end(arguments);
    console::print("error: %s\n", buffer);
    end(exit_failure);
}

} // namespace inflight::kernel
