// The configuration space of the functions on a PCI bus (PCI Local Bus 3.0, chapter 6).
#pragma once

#include <compare>
#include <cstdint>

namespace inflight::pci {

struct function_address {
    std::uint8_t bus = 0;
    std::uint8_t device = 0;   // 0 .. 31
    std::uint8_t function = 0; // 0 .. 7

    friend auto operator<=>(const function_address&, const function_address&) noexcept = default;
};

inline constexpr std::uint8_t devices_per_bus = 32;
inline constexpr std::uint8_t functions_per_device = 8;

// The buses of a host bridge, both included. The first one is the root bus.
struct bus_range {
    std::uint8_t first = 0;
    std::uint8_t last = 0;
};

// How the registers of the functions are reached. `offset` is a multiple of the access's width, below 4096. A function
// that does not exist reads as all ones and ignores writes, as on the bus.
class configuration_space {
  public:
    configuration_space() noexcept = default;
    configuration_space(const configuration_space&) = delete;
    configuration_space& operator=(const configuration_space&) = delete;

    [[nodiscard]] virtual std::uint8_t read8(function_address where, std::uint16_t offset) noexcept = 0;
    [[nodiscard]] virtual std::uint16_t read16(function_address where, std::uint16_t offset) noexcept = 0;
    [[nodiscard]] virtual std::uint32_t read32(function_address where, std::uint16_t offset) noexcept = 0;
    virtual void write8(function_address where, std::uint16_t offset, std::uint8_t value) noexcept = 0;
    virtual void write16(function_address where, std::uint16_t offset, std::uint16_t value) noexcept = 0;
    virtual void write32(function_address where, std::uint16_t offset, std::uint32_t value) noexcept = 0;

  protected:
    ~configuration_space() = default;
};

} // namespace inflight::pci
