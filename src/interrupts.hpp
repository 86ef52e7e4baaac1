// Interrupt routing: from a PLIC source to a handler.
#pragma once

#include "src/device_tree.hpp"

#include <cstdint>

namespace inflight::kernel::interrupts {

// Called on the hart that claimed the interrupt, with interrupts masked.
using handler = void (*)(void* argument) noexcept;

// Describes the PLIC. Once, before the first hart opens its context.
void describe(const plic_description& plic) noexcept;

// Opens the calling hart's context of the PLIC, and lets software, timer and external interrupts through.
void open(std::uint32_t context) noexcept;

// Sends `source` to the calling hart and to `serve`. False if there is no such source.
[[nodiscard]] bool route(std::uint32_t source, handler serve, void* argument) noexcept;

// Sends `source` to all harts that have opened their context: whoever claims it first serves it.
void route_to_all(std::uint32_t source) noexcept;

} // namespace inflight::kernel::interrupts
