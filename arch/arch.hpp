// The contract between inflight and the machine under it.
//
// Everything above `arch/` (the runtime, the drivers, the kernel) reaches the machine through the functions named here
// and through nothing else. A port is one header that defines them in the namespace `inflight::arch`, inline where they
// are on the path of a request. Two ports exist: `arch/riscv64/machine.hpp`, the real one, and `arch/host/machine.hpp`,
// the simulated machine under the host tests. A build picks one by putting the header's name into INFLIGHT_ARCH_HEADER;
// another kernel names a header of its own there, as tests/consumer does.
//
//   this hart
//     hart_index  this_hart()                 0 .. harts()-1, dense, independent of the hardware's ids
//     hart_index  harts()                     the number of harts; 1 until the others have been started, at most max_harts
//     void*&      hart_local()                a word of this hart, for the executor
//
//   interrupts, of this hart
//     bool        mask_interrupts()           masks; returns whether they were unmasked before
//     void        restore_interrupts(bool)    with interrupts masked: unmasks if the argument is true; a pending interrupt is
//                                             taken here
//     void        set_interrupt_handler(interrupt, interrupt_handler)
//                                             registers what the port calls for such an interrupt of this hart, and enables it.
//                                             Once per kind and hart, with interrupts masked. The port calls the handler with
//                                             interrupts masked, and nothing else of the kernel. An external interrupt stays
//                                             pending until the handler has claimed it, and a timer interrupt until the
//                                             handler has set another deadline. For the kernel: the runtime and the drivers
//                                             do not call it, so a port without interrupts lacks it
//     void        wait_for_interrupt()        with interrupts masked: returns when an enabled interrupt is pending (one
//                                             that became pending before the call counts), and may return for no reason
//
//   waiting without interrupts
//     void        spin_hint()                 called by a loop that polls memory, so that a hart that shares the core makes
//                                             progress; takes little or no time
//
//   other harts
//     void        interrupt_hart(hart_index)  makes a software interrupt pending there, which ends its wait. Earlier writes to
//                                             memory are visible to that hart then
//                 (atomic<T>, a word that harts share, is in arch/atomic.hpp. Only a simulated machine, which must see each
//                 access, defines its own, and the macro INFLIGHT_ARCH_DEFINES_ATOMIC)
//
//   time
//     ticks       now()                       the same on every hart. May step when a virtual machine loads a snapshot or
//                                             moves; below 0 it continues near 2^64. time_limit.hpp and executor::now()
//                                             allow for that
//     ticks       ticks_per_second()
//     void        set_deadline(ticks)         sets the time of the timer interrupt, replacing the previous; no_deadline: none
//     ticks       trace_time()                now() for a trace (async/trace.hpp), which must not change the run: a simulated
//                                             machine does not count the call
//     std::uint64_t instructions()            instructions retired by this hart; exact only where the machine counts
//     std::uint64_t mmio_accesses()           accesses of this hart to registers of 32 bits, for a benchmark; a port may
//                                             return 0
//
//   registers of devices: one access of exactly this width, never merged, split or repeated; accesses keep their order
//   among themselves. A read is complete before any later access to memory. A write is NOT ordered after earlier writes
//   to memory: call fence_doorbell() where it must be.
//     std::uint8_t/16/32  mmio_read8/16/32(std::uintptr_t address)
//     void        mmio_write8/16/32(std::uintptr_t address, value)
//
//   order of memory that a device shares, each fence named for its purpose; the column is RISC-V's. docs/memory-order.md
//   lists every use with its partner. The order is the one that devices observe, hardware too, and not only other harts:
//   the drivers accept ORDER_PLATFORM because of that. Where a machine has weaker fences for harts alone (Arm: those of
//   the inner shareable domain), a port must not take these
//     void        fence_publish()             rw,w   earlier accesses before the write of the index that publishes them
//     void        fence_consume()             r,rw   the read of an index before the accesses to what it publishes
//     void        fence_full()                rw,rw  the write of our index or request before the read of the other side's
//     void        fence_doorbell()            w,o    memory writes before the register write that notifies the device
//     void        fence_acknowledge()         o,r    the acknowledgement of an interrupt before the read of the ring: in the
//                                             other order a completion between the two is lost
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

// The maximum number of harts. Arrays by hart have this size.
inline constexpr hart_index max_harts = 64;

// A time or a duration, in units of 1 / ticks_per_second().
using ticks = std::uint64_t;

inline constexpr ticks no_deadline = ~ticks{0};

// What interrupts a hart.
enum class interrupt : std::uint8_t {
    software, // interrupt_hart() of another hart
    timer,    // the deadline has come
    external, // a device, by the interrupt controller
};

struct interrupt_handler {
    void (*call)(void* context) noexcept = nullptr;
    void* context = nullptr;
};

} // namespace inflight::arch

#ifndef INFLIGHT_ARCH_HEADER
#error "INFLIGHT_ARCH_HEADER must name the port's header, for instance \"arch/riscv64/machine.hpp\""
#endif
#include INFLIGHT_ARCH_HEADER

#ifndef INFLIGHT_ARCH_DEFINES_ATOMIC
#include "inflight/arch/atomic.hpp"
#endif

namespace inflight::arch {

// Masks interrupts for a scope and restores them.
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
