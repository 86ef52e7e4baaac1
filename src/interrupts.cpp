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

// By hart.
struct opened_context {
    std::uint32_t number = 0;
    std::uintptr_t claim_register = 0; // 0: not opened
};
std::array<opened_context, arch::most_harts> contexts;

void external_interrupt() noexcept {
    const std::uintptr_t claim = contexts[arch::this_hart()].claim_register;
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
    contexts[arch::this_hart()] = {.number = context, .claim_register = controller.claim_register(context)};
    controller.open(context);
    INFLIGHT_CSR_SET(sie, arch::riscv64::software_interrupt | arch::riscv64::timer_interrupt |
                              arch::riscv64::external_interrupt);
}

bool route(std::uint32_t source, handler serve, void* argument) noexcept {
    if (source == 0 || source > source_count || source >= routes.size()) {
        return false;
    }
    routes[source] = {.serve = serve, .argument = argument};
    controller.enable(source, contexts[arch::this_hart()].number);
    return true;
}

void route_to_all(std::uint32_t source) noexcept {
    for (const opened_context& context : contexts) {
        if (context.claim_register != 0) {
            controller.enable(source, context.number);
        }
    }
}

} // namespace inflight::kernel::interrupts

// Called by trap.S for every interrupt, with interrupts masked.
extern "C" void interrupt_entry(std::uint64_t cause) noexcept {
    using namespace inflight;
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
