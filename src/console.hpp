// The kernel's console: the UART that the device tree names, the firmware's before that is known.
#pragma once

#include "src/device_tree.hpp"

#include <string_view>

namespace inflight::kernel::console {

// From now on the UART is used.
void open(const uart_description& uart) noexcept;

void write(std::string_view text) noexcept;

// As printf, without floating point; texts longer than a kilobyte are cut.
[[gnu::format(printf, 1, 2)]] void print(const char* format, ...) noexcept;

} // namespace inflight::kernel::console
