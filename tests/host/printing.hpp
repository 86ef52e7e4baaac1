// How Boost.Test prints the outcomes of the driver.
#pragma once

#include "drivers/block/status.hpp"
#include "drivers/virtio/transport.hpp"

#include <ostream>

namespace inflight::block {
inline std::ostream& operator<<(std::ostream& out, status outcome) {
    return out << to_string(outcome);
}
} // namespace inflight::block

namespace inflight::virtio {
inline std::ostream& operator<<(std::ostream& out, error why) {
    return out << to_string(why);
}
} // namespace inflight::virtio
