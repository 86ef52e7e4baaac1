// What a panic needs from the rest of the kernel.
#pragma once

namespace inflight::kernel {

// Registers what the port calls for a panic and for an exception. On the first hart, before anything may fail.
void handle_panics() noexcept;

// If another hart has panicked, the calling hart stops here and the call does not return. Called on a software
// interrupt, which the panicking hart sends, and by a hart that waits for the end of the machine.
void stop_if_panicking() noexcept;

// Waits until another hart ends the machine.
[[noreturn]] void wait_for_the_end() noexcept;

} // namespace inflight::kernel
