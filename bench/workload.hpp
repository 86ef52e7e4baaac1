// bench: runs a fio job file, which the machine was given as its initrd.
#pragma once

#include "src/program.hpp"

namespace inflight::bench {

async::task<bool> run_bench(const kernel::environment& here);

} // namespace inflight::bench
