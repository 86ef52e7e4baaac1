// The memory that the driver is given: the arena, which the device reaches, and its own.
#pragma once

#include "drivers/memory/dma_memory.hpp"
#include "tests/fuzz/device/laboratory.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace inflight::fuzz {

template <typename T>
T get(const std::byte* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}
template <typename T>
void put(std::byte* at, T value) {
    std::memcpy(at, &value, sizeof value);
}

class driver_memory final : public dma_memory {
  public:
    explicit driver_memory(laboratory& lab) : lab_{lab} {}

    std::byte* allocate(std::size_t bytes, std::size_t alignment) noexcept override {
        const std::size_t start = (allocated_ + alignment - 1) & ~(alignment - 1);
        if (start + bytes > arena_bytes)
            return nullptr;
        allocated_ = start + bytes;
        return lab_.arena + start;
    }

    std::byte* allocate_private(std::size_t bytes, std::size_t alignment) noexcept override {
        const std::size_t start = (allocated_private_ + alignment - 1) & ~(alignment - 1);
        if (start + bytes > private_bytes)
            return nullptr;
        allocated_private_ = start + bytes;
        return lab_.of_driver.data() + start;
    }

    bool in_arena(const std::byte* start, std::uint64_t bytes) const {
        return start >= lab_.arena && start < lab_.arena + arena_bytes &&
               bytes <= static_cast<std::uint64_t>(lab_.arena + arena_bytes - start);
    }
    std::byte* arena() const { return lab_.arena; }
    std::size_t allocated() const { return allocated_; } // of the arena

  private:
    laboratory& lab_;
    std::size_t allocated_ = 0, allocated_private_ = 0;
};

} // namespace inflight::fuzz
