// The kernel's console: the UART that the device tree names, and the firmware's console before the UART is known.
#pragma once

#include "src/kernel/machine_description.hpp"

#include <optional>
#include <string_view>

namespace inflight::kernel::console {

// Switches to the UART.
void open(const uart_description& uart) noexcept;

// Only the calling hart writes from here on, even if another hart was writing. For a panic, which has stopped the
// others.
void seize() noexcept;

// A control character other than a line feed or a tab is written as \xXX. A line feed starts a new line even if it
// comes from untrusted text: print such text as escaped_text.
void write(std::string_view text) noexcept;

// As printf, without floating point. A text longer than a kilobyte is cut.
[[gnu::format(printf, 1, 2)]] void print(const char* format, ...) noexcept;

// Returns the next character that was typed, if there is one; nothing before open(). One hart only.
std::optional<char> read() noexcept;

} // namespace inflight::kernel::console
