#include "inflight/drivers/pci/function.hpp"

namespace inflight::pci {

bool function::decodes(bool memory) const noexcept {
    bool any = false;
    for (const base_address& bar : bars) {
        if (bar.kind == bar_kind::absent || bar.is_memory() != memory) {
            continue;
        }
        if (!bar.is_placed()) {
            return false;
        }
        any = true;
    }
    return any;
}

const char* to_string(function_error why) noexcept {
    switch (why) {
    case function_error::none: return "no error";
    case function_error::unknown_header:
        return "the PCI function has an unknown header type: only functions and bridges to PCI can be used";
    case function_error::no_bus_number:
        return "no bus number is left for what is behind this bridge: use fewer bridges, or a larger bus-range";
    case function_error::too_deep:
        return "this bridge is behind too many others: plug the device in nearer to the root bus";
    case function_error::bridge_damaged: return "the bridge does not keep its bus numbers: it is broken";
    case function_error::bar_damaged:
        return "a BAR of the PCI function has no valid type or size: the device is broken";
    case function_error::bar_does_not_fit:
        return "no address window of the host bridge has room for a BAR of the PCI function: use fewer devices, or "
               "devices with smaller BARs";
    case function_error::bar_does_not_hold:
        return "a BAR of the PCI function does not keep its address: the device is broken";
    case function_error::bridge_unusable:
        return "the PCI function is behind a bridge that cannot be used: plug it in elsewhere";
    }
    return "unknown error";
}

} // namespace inflight::pci
