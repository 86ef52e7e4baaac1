// What the device does wrong, or at a time of its own choice, as the fuzzer decides.
#pragma once

#include "tests/fuzz/device/fuzzed_device.hpp"

#include <cstddef>

namespace inflight::fuzz {

class misbehaviour {
  public:
    misbehaviour(arch::host::machine& host, input& in, const driver_memory& memory, fuzzed_device& device)
        : host_{host}, in_{in}, memory_{memory}, device_{device} {}

    void perhaps_act();
    void act();

  private:
    void write_over(std::byte* at, std::uint16_t half);
    void scribble(std::byte* start, std::size_t bytes);
    void use_what_was_not_done(device_queue&);
    void use_elsewhere(device_queue&);

    arch::host::machine& host_;
    input& in_;
    const driver_memory& memory_;
    fuzzed_device& device_;
    bool acting_ = false;
};

} // namespace inflight::fuzz
