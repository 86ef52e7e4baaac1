// The programs, each in a file of its name.
#pragma once

#include "src/program.hpp"

namespace inflight::kernel {

async::task<bool> run_info(const environment& here);
async::task<bool> run_digest(const environment& here);
async::task<bool> run_verify(const environment& here);
async::task<bool> run_demo(const environment& here);
async::task<bool> run_crash(const environment& here);

// What every program but info, costs and crash wants: at least one disk. Otherwise ends the machine with one sentence.
void require_disks(const environment& here) noexcept;

} // namespace inflight::kernel
