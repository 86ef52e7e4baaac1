// The advanced platform-level interrupt controller (RISC-V Advanced Interrupt Architecture 1.0, chapter 4): one interrupt
// domain of supervisor mode.
//
// Its sources are wires. In direct mode it interrupts a hart itself, which claims the source at its IDC (interrupt
// delivery control). In MSI mode it sends a message to the interrupt file of a hart (imsic.hpp). All sources are
// configured as level-sensitive, high.
#pragma once

#include <cstdint>

namespace inflight::arch {

// A target hart is a hart by the index that the APLIC knows.
class aplic {
  public:
    enum class delivery : std::uint8_t { direct, messages };

    aplic() noexcept = default;
    explicit aplic(std::uintptr_t registers) noexcept : registers_{registers} {}

    // Disables the sources up to `last_source`, which the firmware may have enabled, and turns on the domain. Returns
    // false if it does not deliver in that way.
    [[nodiscard]] bool open(delivery mode, std::uint32_t last_source) noexcept;

    // Direct mode: lets sources of any priority interrupt that hart.
    void open_hart(std::uint32_t target_hart) noexcept;

    // Direct mode: sends `source` to that hart.
    void enable(std::uint32_t source, std::uint32_t target_hart) noexcept;

    // MSI mode: sends the message `id` to that hart when `source` becomes pending.
    void enable(std::uint32_t source, std::uint32_t target_hart, std::uint32_t id) noexcept;

    // Any hart.
    void mask(std::uint32_t source) noexcept;

    // MSI mode, after the device was served: a source sends a message only when its wire rises, so this makes it pending
    // again if its wire is still high. It looks first, because QEMU before 9.0 would send a message for a low wire, too.
    // Any hart.
    void end_of_service(std::uint32_t source) noexcept;

    // Direct mode. Returns the address of the hart's register topi: a read returns the pending source of the highest
    // priority in bits 16 and up, 0 if there is none. A read of the register claimi, which follows it, claims that
    // source, and returns the same.
    //
    // A source is to be claimed after its device was served, because a claim keeps a source pending while its wire is
    // high, and in QEMU the end of that keeps it pending, too. If the claim takes a source that has become pending
    // meanwhile, that one stays pending as well.
    [[nodiscard]] std::uintptr_t top_register(std::uint32_t target_hart) const noexcept;
    static constexpr std::uintptr_t claim_after_top = 4;

  private:
    void enable_with_target(std::uint32_t source, std::uint32_t target) noexcept;

    std::uintptr_t registers_ = 0;
};

} // namespace inflight::arch
