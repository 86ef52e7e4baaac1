// The contract between inflight and the machine under it.
//
// Everything above `arch/` (the runtime, the drivers, the kernel) reaches the machine through the functions named here
// and through nothing else. A port is one header that defines them in the namespace `inflight::arch`, inline where they
// are on the path of a request. Two ports exist: `arch/riscv64/machine.hpp`, the real one, and `arch/host/machine.hpp`,
// the simulated machine under the host tests. A build picks one by putting the header's name into INFLIGHT_ARCH_HEADER;
// another kernel names a header of its own there.
//
//   this hart
//     hart_index  this_hart()                 0 .. harts()-1, dense, whatever the ids of the hardware are
//     hart_index  harts()                     how many run this program; 1 until the others have been started, and never
//                                             more than most_harts
//     void*&      hart_local()                one word that belongs to this hart; the executor keeps itself there
//
//   interrupts, of this hart
//     bool        mask_interrupts()           masks; says whether they were unmasked before
//     void        restore_interrupts(bool)    with interrupts masked: unmasks if the argument is true; a pending interrupt is
//                                             taken here
//     void        wait_for_interrupt()        with interrupts masked: returns when an enabled interrupt is pending (one
//                                             that became pending before the call counts), and may return for no reason
//
//   waiting without interrupts
//     void        spin_hint()                 said by a loop that looks at memory until it changes: whoever shares the core may
//                                             go on meanwhile; it takes a moment, or none
//
//   other harts
//     void        interrupt_hart(hart_index)  makes a software interrupt pending there, which ends its wait. What was
//                                             written to memory before is visible to whom it wakes
//     atomic<T>   a word that harts share: std::atomic<T>, or what a simulated machine puts in its place
//
//   time
//     ticks       now()                       monotonic, the same on every hart
//     ticks       ticks_per_second()
//     void        set_deadline(ticks)         an interrupt at that time, replacing the one before; no_deadline: none
//     ticks       trace_time()                the same clock for a trace (async/trace.hpp), which has to change nothing: a
//                                             simulated machine takes no notice of the call
//     std::uint64_t instructions()            instructions retired by this hart; exact only where the machine counts
//     std::uint64_t mmio_accesses()           accesses of this hart to registers of 32 bits, for a benchmark; a port may
//                                             answer 0
//
//   registers of devices: one access of exactly this width, never merged, split or repeated; accesses keep their order
//   among themselves. A read is complete before any later access to memory. A write is NOT ordered after earlier writes
//   to memory: say fence_doorbell() where it must be.
//     std::uint8_t/16/32  mmio_read8/16/32(std::uintptr_t address)
//     void        mmio_write8/16/32(std::uintptr_t address, value)
//
//   order of memory that a device shares, each fence named for what it is for; the column is RISC-V's
//     void        fence_publish()             rw,w   all that was read and written, before the index that hands it over
//     void        fence_consume()             r,rw   the index that hands over, before anything that it hands over
//     void        fence_full()                rw,rw  own index written, before the other side's wish or index is read
//     void        fence_doorbell()            w,o    memory written, before the register write that makes a device look
//     void        fence_acknowledge()         o,r    interrupt acknowledged, before the ring is looked at: without it the
//                                             look may come first, and a completion between the two is lost
//
//   addresses
//     std::uint64_t device_address(const void*)   where a device finds this memory
//
//   the end
//     [[noreturn]] void panic(const char* message)
//
// All are noexcept, and may be called with interrupts masked or not.
#pragma once

#include <cstdint>

namespace inflight::arch {

using hart_index = std::uint32_t;

// No machine has more. What is kept for each hart has room for so many.
inline constexpr hart_index most_harts = 64;

// A point in time or a span of it, in units of 1 / ticks_per_second().
using ticks = std::uint64_t;

inline constexpr ticks no_deadline = ~ticks{0};

} // namespace inflight::arch

#ifndef INFLIGHT_ARCH_HEADER
#error "INFLIGHT_ARCH_HEADER must name the port's header, for instance \"arch/riscv64/machine.hpp\""
#endif
#include INFLIGHT_ARCH_HEADER

namespace inflight::arch {

// Masks interrupts for a scope and puts them back as they were.
class interrupts_masked {
  public:
    interrupts_masked() noexcept : were_unmasked_{mask_interrupts()} {}
    ~interrupts_masked() { restore_interrupts(were_unmasked_); }
    interrupts_masked(const interrupts_masked&) = delete;
    interrupts_masked& operator=(const interrupts_masked&) = delete;

  private:
    bool were_unmasked_;
};

} // namespace inflight::arch
