// The kernel's memory: that of the device tree without what is in use. It is allocated once and never freed.
#pragma once

#include "drivers/memory/dma_memory.hpp"
#include "src/kernel/machine_description.hpp"

#include <cstddef>
#include <new>
#include <span>

namespace inflight::kernel {

class memory final : public dma_memory {
  public:
    // Takes the largest contiguous range of whole pages of `machine`'s memory without the kernel, the firmware, the
    // device tree, a reservation or address 0.
    memory(const machine_description& machine, std::span<const std::byte> device_tree) noexcept;

    // Returns uninitialised memory; nullptr if not enough is left.
    [[nodiscard]] std::byte* allocate(std::size_t bytes, std::size_t alignment) noexcept override;

    [[nodiscard]] std::size_t available() const noexcept { return static_cast<std::size_t>(end_ - next_); }

    // The whole range, allocated or not.
    [[nodiscard]] std::span<std::byte> whole() const noexcept { return {begin_, end_}; }

    // The maximum that was allocated at any one time, in bytes.
    [[nodiscard]] std::size_t max_used() const noexcept { return static_cast<std::size_t>(highest_ - begin_); }

    // Allocates `count` objects, each made of what `make` returns for its index. Empty if not enough memory is left.
    // They are never destroyed.
    template <typename T, typename Make>
    [[nodiscard]] std::span<T> create(std::size_t count, Make&& make) noexcept {
        std::byte* const place = allocate(sizeof(T) * count, alignof(T));
        if (place == nullptr) {
            return {};
        }
        T* const first = reinterpret_cast<T*>(place);
        for (std::size_t i = 0; i < count; ++i) {
            ::new (first + i) T(make(i));
        }
        return {first, count};
    }

    // Creates an object that is never destroyed. Returns nullptr if not enough memory is left.
    template <typename T, typename... Arguments>
    [[nodiscard]] T* emplace(Arguments&&... arguments) noexcept {
        std::byte* const place = allocate(sizeof(T), alignof(T));
        return place == nullptr ? nullptr : ::new (place) T{static_cast<Arguments&&>(arguments)...};
    }

    // Its destructor frees everything that was allocated since its constructor. Not for memory that a device may still
    // access.
    class mark {
      public:
        explicit mark(memory& of) noexcept : memory_{of}, next_{of.next_} {}
        ~mark() { memory_.next_ = next_; }
        mark(const mark&) = delete;
        mark& operator=(const mark&) = delete;

      private:
        memory& memory_;
        std::byte* next_;
    };

  private:
    std::byte* begin_ = nullptr;
    std::byte* next_ = nullptr;
    std::byte* highest_ = nullptr; // that next_ has been at
    std::byte* end_ = nullptr;
};

// The size of the kernel's image in memory, in bytes, including .bss.
[[nodiscard]] std::size_t kernel_bytes() noexcept;

} // namespace inflight::kernel
