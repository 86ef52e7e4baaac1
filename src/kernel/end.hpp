// Ends the machine with an exit status, which becomes QEMU's.
#pragma once

namespace inflight::kernel {

// The address of QEMU's test finisher. Without this call, the firmware powers the machine off.
void set_test_finisher(unsigned long registers) noexcept;

// Ends the machine. 0 is success; anything else, up to 255, is the exit status.
[[noreturn]] void end(int exit_status) noexcept;

inline constexpr int exit_failure = 1;
inline constexpr int exit_panic = 101;

// Prints "error: " and the message, and ends the machine with exit_failure.
[[noreturn, gnu::format(printf, 1, 2)]] void fail(const char* format, ...) noexcept;

} // namespace inflight::kernel
