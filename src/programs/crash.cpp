// crash: ends in a panic on purpose, to show what a panic looks like and that nobody takes it for success.

#include "src/programs/programs.hpp"

namespace inflight::kernel {

async::task<bool> run_crash(const environment&) {
    // Nothing on `virt` answers to a store to address 0. In assembly: to the compiler such a store would be undefined.
    asm volatile("sd zero, 0(zero)" ::: "memory");
    co_return false; // a machine that lets it pass has not panicked, and that is a failure
}

} // namespace inflight::kernel
