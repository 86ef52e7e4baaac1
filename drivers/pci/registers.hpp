// Registers of the configuration space (PCI Local Bus 3.0, 6.1; PCI-to-PCI Bridge Architecture 1.2, 3.2).
#pragma once

#include <cstdint>

namespace inflight::pci::registers {

inline constexpr std::uint16_t id = 0x00; // vendor, device
inline constexpr std::uint16_t command = 0x04;
inline constexpr std::uint16_t status = 0x06;
inline constexpr std::uint16_t class_revision = 0x08;
inline constexpr std::uint16_t header_type = 0x0e;
inline constexpr std::uint16_t bars = 0x10;
inline constexpr std::uint16_t subsystem = 0x2c;
inline constexpr std::uint16_t expansion_rom = 0x30;
inline constexpr std::uint16_t capabilities = 0x34;
inline constexpr std::uint16_t interrupt_pin = 0x3d;

// Of a bridge.
inline constexpr std::uint16_t bus_numbers = 0x18; // primary, secondary, subordinate; the latency timer is above
inline constexpr std::uint16_t io_window = 0x1c;
inline constexpr std::uint16_t memory_window = 0x20;
inline constexpr std::uint16_t prefetchable_window = 0x24;
inline constexpr std::uint16_t prefetchable_base_upper = 0x28;
inline constexpr std::uint16_t prefetchable_limit_upper = 0x2c;
inline constexpr std::uint16_t io_window_upper = 0x30;
inline constexpr std::uint16_t bridge_expansion_rom = 0x38;

inline constexpr std::uint16_t end_of_capabilities = 0x100;

} // namespace inflight::pci::registers
