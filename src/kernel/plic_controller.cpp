#include "src/kernel/plic_controller.hpp"

namespace inflight::kernel {

plic_controller::plic_controller(const wired_controller_description& plic) noexcept
    : registers_{plic.registers.base}, source_count_{plic.source_count} {}

bool plic_controller::open(const hart_description& self) noexcept {
    if (!self.wired_target) {
        return false;
    }
    const std::uint32_t context = *self.wired_target;
    hart_part& here = harts_[arch::this_hart()];
    here = {.claim_register = registers_.claim_register(context), .controller = this, .context = context};
    registers_.open(context, source_count_);
    arch::set_interrupt_handler(arch::interrupt::external, {handle_interrupt, &here});
    return true;
}

bool plic_controller::can_connect(std::uint32_t source, arch::hart_index hart) const noexcept {
    return source <= source_count_ && harts_[hart].claim_register != 0;
}

void plic_controller::enable(std::uint32_t source, arch::hart_index hart) noexcept {
    registers_.enable(source, harts_[hart].context);
}

void plic_controller::mask(std::uint32_t source) noexcept {
    registers_.mask(source);
}

void plic_controller::handle_interrupt(void* of) noexcept {
    const hart_part& here = *static_cast<const hart_part*>(of);
    const std::uintptr_t claim_register = here.claim_register; // a local: the accesses below clobber memory
    plic_controller& self = *here.controller;
    const std::uint32_t source = arch::mmio_read32(claim_register);
    if (source == 0 || source >= max_sources) [[unlikely]] {
        self.count_spurious(); // another hart has claimed it, or the device has withdrawn it
        return;
    }
    self.serve(source);
    arch::mmio_write32(claim_register, source);
}

} // namespace inflight::kernel
