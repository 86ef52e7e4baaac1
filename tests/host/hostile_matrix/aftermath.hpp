// The checks after a fault.
#pragma once

#include "tests/host/hostile_matrix/axes.hpp"

namespace inflight::test::hostile {

// Ends all faults, but leaves what the device has claimed. All slots are there then and every operation works, or the disk
// is lost for good.
void check_aftermath(const run& it, world& w);

} // namespace inflight::test::hostile
