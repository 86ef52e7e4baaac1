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
std::uint32_t this_context = 0;
std::uint32_t source_count = 0;
std::array<route_entry, most_sources> routes;

void external_interrupt() noexcept {
    const std::uint32_t source = controller.claim(this_context);
    if (source == 0) {
        return; // somebody else's, or gone
    }
    if (source < routes.size() && routes[source].serve != nullptr) {
        routes[source].serve(routes[source].argument);
    }
    controller.complete(source, this_context);
}

} // namespace

void open(const plic_description& plic, std::uint32_t context) noexcept {
    controller = arch::plic{plic.registers.base};
    this_context = context;
    source_count = plic.source_count;
    controller.open(context);
    INFLIGHT_CSR_SET(sie, arch::riscv64::software_interrupt | arch::riscv64::timer_interrupt |
                              arch::riscv64::external_interrupt);
}

bool route(std::uint32_t source, handler serve, void* argument) noexcept {
    if (source == 0 || source > source_count || source >= routes.size()) {
        return false;
    }
    routes[source] = {.serve = serve, .argument = argument};
    controller.enable(source, this_context);
    return true;
}

} // namespace inflight::kernel::interrupts

// Called by trap.S for every interrupt, with interrupts masked.
extern "C" void interrupt_entry(std::uint64_t cause) noexcept {
    using namespace inflight;
    switch (cause) {
    case arch::riscv64::cause_external: kernel::interrupts::external_interrupt(); break;
    case arch::riscv64::cause_timer:
        arch::set_deadline(arch::no_deadline);
        break; // the executor looks at the clock itself
    case arch::riscv64::cause_software: INFLIGHT_CSR_CLEAR(sip, arch::riscv64::software_interrupt); break;
    default: arch::panic("an interrupt that nobody enabled");
    }
}
