// The kernel's memory: what the device tree says there is, less what is taken, handed out once and for ever.
#pragma once

#include "drivers/block/request_queue.hpp"
#include "src/device_tree.hpp"

#include <cstddef>
#include <new>
#include <span>

namespace inflight::kernel {

class memory final : public block::device_memory {
  public:
    // Takes the largest stretch of `machine`'s memory that is free of the kernel, the firmware, the device tree itself and
    // every reservation.
    memory(const machine_description& machine, std::span<const std::byte> device_tree) noexcept;

    // Uninitialised memory; nullptr if there is not so much left.
    [[nodiscard]] std::byte* allocate(std::size_t bytes, std::size_t alignment) noexcept override;

    [[nodiscard]] std::size_t available() const noexcept { return static_cast<std::size_t>(end_ - next_); }

    // The most that was taken at any one time, in bytes.
    [[nodiscard]] std::size_t most_used() const noexcept { return static_cast<std::size_t>(highest_ - begin_); }

    // A row of `count` objects, each made of what `make` answers for its number. Empty if there is not so much memory left.
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

    // Everything allocated while a mark lives is given back with it. Not for memory that a device may still know.
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
    std::byte* highest_ = nullptr; // that next_ has been
    std::byte* end_ = nullptr;
};

// The bytes of memory that the kernel's image takes, what it sets to zero included.
[[nodiscard]] std::size_t kernel_bytes() noexcept;

} // namespace inflight::kernel
