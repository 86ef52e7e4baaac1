// Interrupt routing: from a PLIC source to a handler.
#pragma once

#include "src/device_tree.hpp"

#include <cstdint>

namespace inflight::kernel::interrupts {

// Called on the hart that claimed the interrupt, with interrupts masked.
using handler = void (*)(void* argument) noexcept;

// Opens this hart's context of the PLIC, and lets software, timer and external interrupts through.
void open(const plic_description& plic, std::uint32_t context) noexcept;

// Sends `source` to this hart and to `serve`. False if there is no such source.
[[nodiscard]] bool route(std::uint32_t source, handler serve, void* argument) noexcept;

} // namespace inflight::kernel::interrupts
