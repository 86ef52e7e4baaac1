// The platform-level interrupt controller (RISC-V PLIC specification 1.0).
//
// It has one set of enables, one threshold and one claim register per context, and a context is a privilege mode of a
// hart. Which context is S-mode of a hart is not arithmetic: the device tree's `interrupts-extended` lists, context by
// context, whose interrupt it drives, and harts may lack one (see device_tree.hpp).
#pragma once

#include <cstdint>

namespace inflight::arch {

class plic {
  public:
    plic() noexcept = default;
    explicit plic(std::uintptr_t registers) noexcept : registers_{registers} {}

    // Lets this context see interrupts of every priority above 0.
    void open(std::uint32_t context) noexcept;

    // Routes `source` to the context.
    void enable(std::uint32_t source, std::uint32_t context) noexcept;

    // The register of a context that claims and completes. Reading it answers the source to serve now, which then is the
    // reader's until it writes that number back; 0 if there is none (any more).
    [[nodiscard]] std::uintptr_t claim_register(std::uint32_t context) const noexcept;

  private:
    std::uintptr_t registers_ = 0;
};

} // namespace inflight::arch
