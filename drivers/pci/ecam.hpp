// Enhanced Configuration Access Mechanism (PCI Express Base 4.0, 7.2.2): a page of registers for each function.
#pragma once

#include "inflight/drivers/pci/configuration_space.hpp"

#include <cstdint>

namespace inflight::pci {

class ecam final : public configuration_space {
  public:
    // `registers` is the address of the first page of bus `buses.first`, and `size` the bytes that are mapped there. A
    // function beyond either does not exist.
    ecam(std::uintptr_t registers, std::uint64_t size, bus_range buses) noexcept
        : registers_{registers}, size_{size}, buses_{buses} {}

    [[nodiscard]] std::uint8_t read8(function_address where, std::uint16_t offset) noexcept override;
    [[nodiscard]] std::uint16_t read16(function_address where, std::uint16_t offset) noexcept override;
    [[nodiscard]] std::uint32_t read32(function_address where, std::uint16_t offset) noexcept override;
    void write8(function_address where, std::uint16_t offset, std::uint8_t value) noexcept override;
    void write16(function_address where, std::uint16_t offset, std::uint16_t value) noexcept override;
    void write32(function_address where, std::uint16_t offset, std::uint32_t value) noexcept override;

  private:
    // The address of a register, 0 if there is none.
    [[nodiscard]] std::uintptr_t address_of(function_address where, std::uint16_t offset,
                                            unsigned width) const noexcept;

    std::uintptr_t registers_;
    std::uint64_t size_;
    bus_range buses_;
};

} // namespace inflight::pci
