// Calls into the firmware (RISC-V Supervisor Binary Interface 1.0).
#pragma once

#include <cstdint>

namespace inflight::arch::sbi {

// An interrupt at this time; no_deadline: none.
void set_timer(std::uint64_t deadline) noexcept;

// Powers the machine off. Returns if the firmware cannot.
void shut_down() noexcept;

// Writes a character to the firmware's console (the legacy call, which every firmware has).
void put_character(char character) noexcept;

} // namespace inflight::arch::sbi
