// The interrupt controller of machines with a PLIC. A source is a line of the PLIC.
#pragma once

#include "arch/riscv64/plic.hpp"
#include "src/kernel/interrupt_controller.hpp"

#include <array>
#include <cstdint>

namespace inflight::kernel {

class plic_controller final : public interrupt_controller {
  public:
    explicit plic_controller(const wired_controller_description& plic) noexcept;

    [[nodiscard]] bool open(const hart_description& self) noexcept override;

  private:
    // The context of a hart's handler.
    struct hart_part {
        std::uintptr_t claim_register; // 0: not opened, or the hart has no context
        plic_controller* controller;
        std::uint32_t context;
    };

    static void handle_interrupt(void* hart_part) noexcept;

    [[nodiscard]] bool can_connect(std::uint32_t source, arch::hart_index hart) const noexcept override;
    void enable(std::uint32_t source, arch::hart_index hart) noexcept override;
    void mask(std::uint32_t source) noexcept override;

    arch::plic registers_;
    std::uint32_t source_count_;
    std::array<hart_part, arch::max_harts> harts_{};
};

} // namespace inflight::kernel
