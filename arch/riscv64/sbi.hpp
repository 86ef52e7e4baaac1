// Calls into the firmware (RISC-V Supervisor Binary Interface 1.0).
#pragma once

#include <cstdint>

namespace inflight::arch::sbi {

// Sets the time of the next timer interrupt; no_deadline: none.
void set_timer(std::uint64_t deadline) noexcept;

// Makes a software interrupt pending at a hart, by its hardware id.
void send_interrupt(std::uint64_t hardware_id) noexcept;

// Starts a stopped hart at the physical address `entry`, in S-mode with its hardware id in a0 and `argument` in a1. It
// sees all writes before the call. Returns 0, or the firmware's error, a negative number.
[[nodiscard]] long start_hart(std::uint64_t hardware_id, std::uint64_t entry, std::uint64_t argument) noexcept;
inline constexpr long already_available = -6; // the hart runs

// Returns the state of a hart by the firmware, in a word: "started", "stopped", ...
[[nodiscard]] const char* hart_status(std::uint64_t hardware_id) noexcept;

// Powers the machine off. Returns if the firmware cannot.
void shut_down() noexcept;

// Writes a character to the firmware's console, by the legacy call, which every firmware has.
void put_character(char character) noexcept;

} // namespace inflight::arch::sbi
