// The interrupt controller of machines with an IMSIC, and an APLIC that turns wired sources into messages.
//
// Sources 1 .. N are the wires of the APLIC, and sources above N are messages of devices (PCI with MSI-X). Each source
// that is in use has an identity in the interrupt file of one hart. Identity 1 is the software interrupt that other harts
// send.
#pragma once

#include "arch/riscv64/aplic.hpp"
#include "arch/riscv64/imsic.hpp"
#include "src/kernel/interrupt_controller.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace inflight::kernel {

class imsic_controller final : public interrupt_controller {
  public:
    // Identities of a hart that are used, if its file has as many; those above are never enabled.
    static constexpr std::uint32_t max_ids = 255;
    static constexpr std::uint32_t software_id = 1; // what arch::interrupt_hart() stores

    imsic_controller(const wired_controller_description& wired, const imsic_description& imsic) noexcept;

    [[nodiscard]] bool open(const hart_description& self) noexcept override;
    [[nodiscard]] std::optional<interrupt_message> allocate_message(arch::hart_index hart) noexcept override;

  private:
    // The context of a hart's handler.
    struct hart_part {
        imsic_controller* controller;
        std::uintptr_t file; // physical address
        std::uint32_t wired_target;
        bool has_wires;                          // the APLIC sends messages, and reaches this hart
        std::uint32_t next_id = software_id + 1; // that is free, with all above it
        // Set when too many messages without a source have arrived: only what has a source is enabled then, and nothing
        // is added.
        arch::atomic<bool> closed{false};
        // The source of each identity, negative if it is a wire; 0: none. The hart reads while another one adds.
        std::array<arch::atomic<std::int32_t>, max_ids + 1> sources{};
    };

    // The hart and the identity of a source that is in use; identity 0: it is not.
    struct place {
        std::uint8_t hart = 0;
        std::uint8_t id = 0;
    };
    static_assert(arch::max_harts <= 256 && max_ids <= 255);

    static void handle_interrupt(void* hart_part) noexcept;
    [[gnu::noinline]] void handle_without_source(std::uint32_t id) noexcept;

    [[nodiscard]] bool can_connect(std::uint32_t source, arch::hart_index hart) const noexcept override;
    void enable(std::uint32_t source, arch::hart_index hart) noexcept override;
    void mask(std::uint32_t source) noexcept override;

    [[nodiscard]] bool has_free_id(arch::hart_index hart) const noexcept;
    void reserve(std::uint32_t source, arch::hart_index hart) noexcept;
    [[nodiscard]] bool assign(std::uint32_t source) noexcept;
    void close() noexcept;

    arch::aplic wires_;
    std::uint32_t wire_count_;
    std::uint32_t id_count_; // that are used
    std::uint32_t next_message_;
    std::array<place, max_sources> places_{};
    std::array<hart_part*, arch::max_harts> harts_{}; // nullptr: not opened, or the hart has no interrupt file
    // Not initialised: a machine has few harts.
    alignas(hart_part) std::array<std::byte, sizeof(hart_part) * arch::max_harts> hart_parts_;
};

} // namespace inflight::kernel
