// What trap.S calls for an interrupt.

#include "inflight/arch/arch.hpp"

extern "C" void handle_interrupt_trap(std::uint64_t cause) noexcept {
    using namespace inflight::arch;
    if (cause == riscv64::cause_external) [[likely]] {
        riscv64::call_handler(interrupt::external);
        return;
    }
    switch (cause) {
    case riscv64::cause_timer: riscv64::call_handler(interrupt::timer); break;
    case riscv64::cause_software:
        INFLIGHT_CSR_CLEAR(sip, riscv64::software_interrupt);
        riscv64::call_handler(interrupt::software);
        break;
    default: panic("an interrupt that nobody enabled");
    }
}
