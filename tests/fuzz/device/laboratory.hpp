// The machine and its memory, which live as long as the process: to make them takes longer than a run.
#pragma once

#include "arch/arch.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace inflight::fuzz {

inline constexpr unsigned harts = 2, max_requests = 12, max_queues = 3, largest_queue = 16;
inline constexpr std::size_t arena_bytes = std::size_t{128} << 10, private_bytes = std::size_t{64} << 10,
                             buffer_bytes = 2048, red_zone = 64;
inline constexpr arch::ticks time_limit = 50'000'000, cost_of_access = 500'000;
inline constexpr arch::ticks first_time = 1'000'000'000;
inline constexpr std::uintptr_t base = 0x1000'1000;
inline constexpr unsigned line = 1;

struct laboratory {
    arch::host::machine host{arch::host::machine_options{.harts = harts,
                                                         .memory_bytes = std::size_t{512} << 10,
                                                         .cost_of_access = cost_of_access,
                                                         .interrupt_storm = 16}};
    std::byte* arena = host.allocate(arena_bytes, 4096);
    alignas(4096) std::array<std::byte, private_bytes> of_driver; // out of the device's reach
    std::byte* buffers = host.allocate(max_requests * (buffer_bytes + red_zone) + red_zone, 512);
    alignas(64) std::array<std::array<std::byte, 16384>, harts> frames{};
};

// The machine as each run finds it.
class fresh_machine {
  public:
    explicit fresh_machine(arch::host::machine& host) : host_{host} {
        host_.step_clock(static_cast<std::int64_t>(first_time - host_.clock()));
    }
    ~fresh_machine() {
        host_.lower_line(line);
        host_.clear_violations();
        host_.clear_stall();
        for (unsigned hart = 0; hart < harts; ++hart) {
            host_.select_hart(hart);
            host_.set_deadline(arch::no_deadline);
        }
        host_.select_hart(0);
    }
    fresh_machine(const fresh_machine&) = delete;
    fresh_machine& operator=(const fresh_machine&) = delete;

  private:
    arch::host::machine& host_;
};

} // namespace inflight::fuzz
