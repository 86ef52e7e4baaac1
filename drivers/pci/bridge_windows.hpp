// The address windows of a bridge: what it forwards to the bus behind it (PCI-to-PCI Bridge Architecture 1.2, 3.2.5).
#pragma once

#include "inflight/drivers/pci/address_pool.hpp"
#include "inflight/drivers/pci/configuration_space.hpp"

namespace inflight::pci {

class bridge_windows {
  public:
    // Closes all windows, and finds out which the bridge has. The bridge's decoding is off.
    bridge_windows(configuration_space& space, function_address where) noexcept;

    // What the bus behind the bridge can reach of what the bus before it can.
    [[nodiscard]] address_pools reachable(const address_pools& before) const noexcept;

    // Opens the windows for what was taken: `below` was `untouched` at first, which reachable(before) has returned.
    void open(const address_pools& untouched, const address_pools& below, address_pools& before) const noexcept;

  private:
    configuration_space& space_;
    function_address where_;
    bool has_io_ = false;
    bool has_prefetchable64_ = false; // a prefetchable window of 32 bits is not used
};

} // namespace inflight::pci
