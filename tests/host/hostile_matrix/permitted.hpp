// What each fault may lead to, and no more than that.
#pragma once

#include "tests/host/hostile_matrix/axes.hpp"

namespace inflight::test::hostile {

bool may_end_with(const run& it, status outcome);
bool may_fail_to_start(const run& it, error outcome);

} // namespace inflight::test::hostile
