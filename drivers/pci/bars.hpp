// The sizes of base address registers, and their addresses (PCI Local Bus 3.0, 6.2.5.1).
#pragma once

#include "inflight/drivers/pci/configuration_space.hpp"
#include "inflight/drivers/pci/function.hpp"

#include <cstddef>
#include <cstdint>

namespace inflight::pci {

// Fills `bars` with kinds and sizes. The function's decoding is off. A BAR whose bits are no size is not absent and has
// size 0. Registers keep their values.
void size_bars(configuration_space& space, function& of) noexcept;

// Writes the bus address of a BAR. Returns false if the register does not keep it.
[[nodiscard]] bool write_bar(configuration_space& space, const function& of, std::size_t index,
                             std::uint64_t bus_address) noexcept;

} // namespace inflight::pci
