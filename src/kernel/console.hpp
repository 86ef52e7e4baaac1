// The kernel's console: the UART that the device tree names, and the firmware's console before the UART is known. If
// the machine has a virtio-console device, the same text goes into its log, with plain ends of lines.
#pragma once

#include "drivers/console/console_log.hpp"
#include "src/kernel/machine_description.hpp"

#include <optional>
#include <string_view>

namespace inflight::kernel::console {

// Switches to the UART.
void open(const uart_description& uart) noexcept;

// Writes to the log, too, from here on, and first the text so far, of which the first four kilobytes are kept. `log` has
// started.
void open_log(console_log& log) noexcept;

// Before the machine ends: waits a second at most for the device of the log. Prints a note if the log is not complete.
void end_log() noexcept;

// Only the calling hart writes from here on, even if another hart was writing, and not to the log. For a panic, which
// has stopped the others.
void seize() noexcept;

// A control character other than a line feed or a tab is written as \xXX. A line feed starts a new line even if it
// comes from untrusted text: print such text as escaped_text.
void write(std::string_view text) noexcept;

// As printf, without floating point. A text longer than a kilobyte is cut.
[[gnu::format(printf, 1, 2)]] void print(const char* format, ...) noexcept;

// Returns the next character that was typed, if there is one; nothing before open(). One hart only.
std::optional<char> read() noexcept;

} // namespace inflight::kernel::console
