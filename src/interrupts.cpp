#include "src/interrupts.hpp"

#include "arch/arch.hpp"
#include "arch/riscv64/plic.hpp"

#include <array>

namespace inflight::kernel::interrupts {

namespace {

struct route_entry {
    handler serve = nullptr;
    void* argument = nullptr;
};

constexpr std::size_t most_sources = 128; // QEMU's virt has 96

arch::plic controller;
std::uint32_t source_count = 0;
std::array<route_entry, most_sources> routes;

void external_interrupt() noexcept {
    const std::uintptr_t claim = arch::riscv64::current_hart().claim_register;
    const std::uint32_t source = arch::mmio_read32(claim);
    if (source == 0) {
        return; // somebody else's, or gone
    }
    if (source < routes.size() && routes[source].serve != nullptr) {
        routes[source].serve(routes[source].argument);
    }
    arch::mmio_write32(claim, source);
}

} // namespace

void describe(const plic_description& plic) noexcept {
    controller = arch::plic{plic.registers.base};
    source_count = plic.source_count;
}

void open(std::uint32_t context) noexcept {
    arch::riscv64::current_hart().claim_register = controller.claim_register(context);
    arch::riscv64::current_hart().plic_context = context;
    controller.open(context);
    INFLIGHT_CSR_SET(sie, arch::riscv64::software_interrupt | arch::riscv64::timer_interrupt |
                              arch::riscv64::external_interrupt);
}

bool route(std::uint32_t source, handler serve, void* argument) noexcept {
    if (source == 0 || source > source_count || source >= routes.size()) {
        return false;
    }
    routes[source] = {.serve = serve, .argument = argument};
    controller.enable(source, arch::riscv64::current_hart().plic_context);
    return true;
}

void route_to_all(std::uint32_t source) noexcept {
    for (arch::hart_index i = 0; i < arch::harts(); ++i) {
        if (const arch::riscv64::hart& hart = *arch::riscv64::all_harts[i]; hart.claim_register != 0) {
            controller.enable(source, hart.plic_context);
        }
    }
}

} // namespace inflight::kernel::interrupts

void inflight::arch::riscv64::interrupt_entry(std::uint64_t cause) noexcept {
    if (cause == arch::riscv64::cause_external) [[likely]] {
        kernel::interrupts::external_interrupt();
        return;
    }
    switch (cause) {
    case arch::riscv64::cause_timer:
        arch::set_deadline(arch::no_deadline);
        break; // the executor looks at the clock itself
    case arch::riscv64::cause_software: INFLIGHT_CSR_CLEAR(sip, arch::riscv64::software_interrupt); break;
    default: arch::panic("an interrupt that nobody enabled");
    }
}
