// Memory protection: code is executable, constants are read-only, data and devices are readable and writable.
// Everything else is not mapped, including the guards below the stacks.
//
// On a machine without translation, the guard below each stack holds a pattern, which each round of the executor
// checks.
#pragma once

#include "async/executor.hpp"
#include "src/kernel/machine_description.hpp"
#include "src/kernel/memory.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::kernel {

// Makes the page tables and turns on translation on the calling hart. Once, when every hart has its stacks and before
// the others start. Allocates the tables from `memory`, which stays writable; the device tree and the initrd stay
// readable. Ends the machine with one sentence if there is no memory for the tables.
void protect_memory(const machine_description& machine, memory& memory,
                    std::span<const std::byte> device_tree) noexcept;

// Turns on translation on another hart, with the same tables, before it does anything else.
void protect_memory_here() noexcept;

// Describes an access that trapped on the calling hart, in a few words; `cause` and `address` are scause and stval.
// Returns false, and leaves `words` unchanged, if it knows nothing about it.
[[nodiscard]] bool explain_fault(std::uint64_t cause, std::uint64_t address, std::span<char> words) noexcept;

// Returns whether the pattern below a hart's stack is damaged; false if the calling hart translates.
[[nodiscard]] bool stack_has_overflowed(const arch::riscv64::hart& hart) noexcept;

// Checks the pattern below its hart's stack in every round, and panics if it is damaged.
class stack_watch final : public async::completion_source {
  public:
    // Adds itself to the executor of the calling hart, if the hart does not translate. It must outlive the executor.
    void begin(async::executor& here) noexcept;

    bool poll() noexcept override;
    void publish() noexcept override {}
    bool arm_and_publish() noexcept override { return poll(); }
    void disarm() noexcept override {}
    [[nodiscard]] bool has_unpublished() noexcept override { return false; }
};

} // namespace inflight::kernel
