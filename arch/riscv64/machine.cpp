#include "inflight/arch/arch.hpp"
#include "inflight/arch/riscv64/sbi.hpp"

namespace inflight::arch {

namespace riscv64 {

hart boot_hart;

// Not in .bss, which is cleared at the start: a hart that starts too early reads the table (boot.S).
[[gnu::section(".data")]] std::array<hart*, max_harts + 1> all_harts{};

namespace {

[[noreturn]] void shut_down() noexcept {
    sbi::shut_down();
    for (;;) {
        wait_for_interrupt();
    }
}

} // namespace

extern "C" {
constinit fatal_handlers registered_fatal_handlers{.panic = [](const char*, std::uint64_t) noexcept { shut_down(); },
                                                   .exception =
                                                       [](const std::uint64_t*) noexcept {
                                                           shut_down();
                                                       }};

// trap.S
[[noreturn]] void panic_on_trap_stack(const char* message, std::uint64_t frame) noexcept;
}

void set_fatal_handlers(const fatal_handlers& handlers) noexcept {
    registered_fatal_handlers = handlers;
}

} // namespace riscv64

void panic(const char* message) noexcept {
    mask_interrupts();
    // That stack has room even if this one has overflowed.
    riscv64::panic_on_trap_stack(message, reinterpret_cast<std::uint64_t>(__builtin_frame_address(0)));
}

} // namespace inflight::arch
