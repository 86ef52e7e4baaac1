// The platform-level interrupt controller (RISC-V PLIC specification 1.0).
//
// A context is a privilege mode of a hart, and has its own enables, threshold and claim register. The device tree's
// `interrupts-extended` says which context is which; a hart may have none (machine_description.hpp).
#pragma once

#include <cstdint>

namespace inflight::arch {

class plic {
  public:
    plic() noexcept = default;
    explicit plic(std::uintptr_t registers) noexcept : registers_{registers} {}

    // Sets the threshold of the context to 0 and disables its sources up to `last_source`, which the firmware may have
    // enabled.
    void open(std::uint32_t context, std::uint32_t last_source) noexcept;

    // Enables `source` in the context. Not concurrently.
    void enable(std::uint32_t source, std::uint32_t context) noexcept;

    // Masks `source` in all contexts. Any hart.
    void mask(std::uint32_t source) noexcept;

    // Returns the address of the context's claim register. A read claims a pending source and returns it, 0 if there is
    // none; a write of that number completes it.
    [[nodiscard]] std::uintptr_t claim_register(std::uint32_t context) const noexcept;

  private:
    std::uintptr_t registers_ = 0;
};

} // namespace inflight::arch
