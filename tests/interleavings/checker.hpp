// An exhaustive checker of what a few harts do with shared words: every interleaving within a bound of preemptions, and
// for every load every value that it may see.
//
// A scenario is run again and again, each time with other choices, until there are none left: which hart goes on
// (before every operation on an atomic or on the machine), which store a load reads, whether a wait ends for no reason.
// What a load may read is what C++ lets it read by release and acquire: a hart knows of some stores, and may read the
// last one it knows of in each atomic or any later one; a store with release passes on what its hart knows, a load with
// acquire takes it over, a read-modify-write reads the last store and passes on what that passed on. Fields that are
// not atomic are cells; two accesses of which neither knows of the other, one of them a write, are a race. seq_cst
// counts as acq_rel.
//
// Fences are those of arch.hpp, and what they do is what they do on a machine whose stores reach all others at once (RISC-V):
// a publishing one passes on what is known with every later store; a consuming one takes over what the stores passed on that
// were read before it; a full one does both, and everything that is known there is known to whoever reads, with a fence, any
// store made later, and to every later full fence. (More is allowed than there: a hart may still read an old value after its
// full fence though another has read a newer one.) The words of a ring are shared with a device, which is a hart here: those
// that are told to share() are atomics, the others cells.
//
// An execution ends early where it comes to a state that another one has been in: the same history of every hart and of
// every atomic, the same machine, as many preemptions. So what harts share must be atomics, cells and the machine; all
// else belongs to one hart. A state is a hash of 64 bits, and two are taken for one with a chance of one in a million
// at most.
//
// Not covered: a load never reads a store that is made later, and stores to one atomic are ordered as they were made.
#pragma once

#include "arch/arch.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

namespace inflight::interleavings {

// An order of memory in the source that is stronger than relaxed.
struct order_site {
    place at;
    operation_kind kind;
    std::memory_order order;
    bool operator==(const order_site&) const = default;
};

// An order of memory made weaker.
struct weakening {
    order_site site;
    std::memory_order instead;
};

struct limits {
    unsigned preemptions = 2;              // how often a hart that could go on is stopped, in one execution
    unsigned spurious_wake_ups = 1;        // how many waits end for no reason, in one execution
    unsigned steps = 400;                  // more in one execution are taken for a loop without an end
    std::uint64_t executions = 20'000'000; // more are a failure: the scenario is too large
    bool revisits = false;                 // go on where another execution has been
    const weakening* weakened = nullptr;
};

struct result {
    std::uint64_t executions = 0;
    std::uint64_t states = 0; // in which another hart could have gone on
    std::uint64_t steps = 0;
    std::string failure;           // empty: there was none
    std::string schedule;          // of the execution that failed, a line for each step
    std::vector<order_site> sites; // of all operations executed
};

enum class cause : std::uint8_t { software, external };

// Constructed anew for every execution; its members are what the harts share.
class scenario {
  public:
    virtual ~scenario() = default;
    virtual unsigned harts() const = 0;
    virtual void run(unsigned hart) = 0;
    // An interrupt handler, on this hart with interrupts masked. What raised it is still pending.
    virtual void interrupted(unsigned hart, cause reason);
    // After all harts have ended.
    virtual void at_end() {}
};

result explore(const limits&, const std::function<std::unique_ptr<scenario>()>& make);

// ---- for scenarios

// Ends the execution, and the exploration, with a failure.
[[noreturn]] void fail(const std::string& why);
inline void require(bool condition, const char* why) {
    if (!condition) {
        fail(why);
    }
}

// What a pointer is called in schedules.
void name(const void* pointer, const char* text);

unsigned this_hart();

// The word at this address, which harts and devices share, is an atomic from now on; what is there is what it begins with.
void share(void* word, std::size_t bytes);

// The machine under the harts. Interrupts are taken before any operation of an unmasked hart.
bool mask_interrupts(const char* file = __builtin_FILE(), int line = __builtin_LINE());
void restore_interrupts(bool unmask, const char* file = __builtin_FILE(), int line = __builtin_LINE());
void wait_for_interrupt(const char* file = __builtin_FILE(), int line = __builtin_LINE());
// Makes an interrupt pending. What this hart knows goes to whoever acknowledges an external one, as after the read of a
// device's register; a software interrupt passes on nothing.
void raise(unsigned hart, cause reason, const char* file = __builtin_FILE(), int line = __builtin_LINE());
void acknowledge(cause reason, const char* file = __builtin_FILE(), int line = __builtin_LINE());
// The same by a register of a device: what is known of it is ordered by arch::fence_acknowledge() only.
void acknowledge_by_register(cause reason, const char* file = __builtin_FILE(), int line = __builtin_LINE());
// Writes a device's register, which interrupts it: what was fenced by arch::fence_doorbell() goes with it.
void ring_doorbell(unsigned device, const char* file = __builtin_FILE(), int line = __builtin_LINE());

} // namespace inflight::interleavings
