// The checks after a fault.
#pragma once

#include "tests/host/hostile_matrix/axes.hpp"

namespace inflight::test::hostile {

// Ends all faults, but leaves what the device has claimed. Checks that all slots are there and every operation works,
// or that the disk is lost for good.
void check_aftermath(const run& it, world& w);

} // namespace inflight::test::hostile
