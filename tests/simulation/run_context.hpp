// What all parts of a run share: its machine, its choices, and where findings and figures go.
#pragma once

#include "arch/arch.hpp"
#include "drivers/memory/dma_memory.hpp"
#include "tests/simulation/chooser.hpp"
#include "tests/simulation/totals.hpp"

#include <cstddef>
#include <cstdint>
#include <string>

namespace inflight::simulation {

using arch::hart_index;
using arch::ticks;
using arch::host::machine;

inline constexpr hart_index max_harts = 4;

class machine_memory final : public dma_memory {
  public:
    explicit machine_memory(machine& host) : host_{host} {}
    std::byte* allocate(std::size_t bytes, std::size_t alignment) noexcept override {
        return host_.allocate(bytes, alignment);
    }

  private:
    machine& host_;
};

struct run_context {
    run_context(std::uint64_t seed, bool prints);

    void expect(bool holds, const std::string& otherwise);
    void expect(bool holds, const char* otherwise);
    void say(const std::string& what) const;

    chooser choose;
    bool verbose;
    machine host;
    machine_memory memory;
    totals counted;
};

} // namespace inflight::simulation
