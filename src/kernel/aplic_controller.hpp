// The interrupt controller of machines with an APLIC in direct mode. A source is a wire of the APLIC, which interrupts
// one hart.
#pragma once

#include "arch/riscv64/aplic.hpp"
#include "src/kernel/interrupt_controller.hpp"

#include <array>
#include <cstdint>

namespace inflight::kernel {

class aplic_controller final : public interrupt_controller {
  public:
    explicit aplic_controller(const wired_controller_description& wired) noexcept;

    [[nodiscard]] bool open(const hart_description& self) noexcept override;

  private:
    // The context of a hart's handler.
    struct hart_part {
        std::uintptr_t top_register; // 0: not opened, or the APLIC does not reach the hart
        aplic_controller* controller;
        std::uint32_t index; // of the APLIC
    };

    static void handle_interrupt(void* hart_part) noexcept;

    [[nodiscard]] bool can_connect(std::uint32_t source, arch::hart_index hart) const noexcept override;
    void enable(std::uint32_t source, arch::hart_index hart) noexcept override;
    void mask(std::uint32_t source) noexcept override;

    arch::aplic registers_;
    std::uint32_t source_count_;
    std::array<hart_part, arch::max_harts> harts_{};
    std::array<std::uint8_t, max_sources> served_by_{}; // 1 + the hart that a source is sent to; 0: none yet
    static_assert(arch::max_harts < 256);
};

} // namespace inflight::kernel
