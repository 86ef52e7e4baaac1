// Finds the functions behind a host bridge.
#pragma once

#include "inflight/drivers/pci/configuration_space.hpp"
#include "inflight/drivers/pci/function.hpp"

namespace inflight::pci {

// Bridges within bridges, at most.
inline constexpr unsigned max_depth = 8;

// Appends all functions to the list, and numbers the buses behind bridges anew, depth first. Turns decoding, bus master
// and INTx of each function off, whatever the firmware has left; host bridges keep theirs. A function that cannot be
// used has an `outcome`.
void enumerate(configuration_space& space, bus_range buses, function_list& functions) noexcept;

} // namespace inflight::pci
