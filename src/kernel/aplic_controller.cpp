#include "src/kernel/aplic_controller.hpp"

namespace inflight::kernel {

aplic_controller::aplic_controller(const wired_controller_description& wired) noexcept
    : registers_{wired.registers.base}, source_count_{wired.source_count} {}

bool aplic_controller::open(const hart_description& self) noexcept {
    if (!self.wired_target || !registers_.open(arch::aplic::delivery::direct, source_count_)) {
        return false;
    }
    const std::uint32_t index = *self.wired_target;
    hart_part& here = harts_[arch::this_hart()];
    here = {.top_register = registers_.top_register(index), .controller = this, .index = index};
    registers_.open_hart(index);
    arch::set_interrupt_handler(arch::interrupt::external, {handle_interrupt, &here});
    return true;
}

bool aplic_controller::can_connect(std::uint32_t source, arch::hart_index hart) const noexcept {
    return source <= source_count_ && harts_[hart].top_register != 0 &&
           (served_by_[source] == 0 || served_by_[source] == hart + 1);
}

void aplic_controller::enable(std::uint32_t source, arch::hart_index hart) noexcept {
    served_by_[source] = static_cast<std::uint8_t>(hart + 1);
    registers_.enable(source, harts_[hart].index);
}

void aplic_controller::mask(std::uint32_t source) noexcept {
    registers_.mask(source);
}

void aplic_controller::handle_interrupt(void* of) noexcept {
    const hart_part& here = *static_cast<const hart_part*>(of);
    const std::uintptr_t top_register = here.top_register; // a local: the accesses below clobber memory
    aplic_controller& self = *here.controller;
    const std::uint32_t source = arch::mmio_read32(top_register) >> 16;
    if (source == 0 || source >= max_sources) [[unlikely]] {
        self.count_spurious(); // the device has withdrawn it
    } else {
        self.serve(source);
    }
    static_cast<void>(arch::mmio_read32(top_register + arch::aplic::claim_after_top));
}

} // namespace inflight::kernel
