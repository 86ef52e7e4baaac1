// The fields of memory that driver and device share: rings, requests and event suppression.
//
// All of them are little-endian, which is also the byte order of every machine this is built for.
#pragma once

#include "inflight/arch/arch.hpp"

#include <atomic>
#include <bit>
#include <cstdint>

namespace inflight::virtio {

static_assert(std::endian::native == std::endian::little, "the rings are little-endian and read without conversion");

// What a field that driver and device share is made of. A port for tests may put something in its place that takes
// notice of each access.
#ifdef INFLIGHT_ARCH_DEVICE_WORD
template <typename T>
using device_word = INFLIGHT_ARCH_DEVICE_WORD<T>;
#else
template <typename T>
using device_word = std::atomic<T>;
#endif

// Memory that driver and device share is of three kinds, and a field's type says of which. Each load and store happens
// once, whole, and in no order of its own: order comes from the fences of arch.hpp, which is why there is no way to
// spell one here.

// A field that the driver writes and the device reads. It has no load(): a device that breaks the rules may write
// there, so the driver never reads it back. What the driver has to remember lies in memory of its own.
template <typename T>
class driver_written {
  public:
    void store(T value) noexcept {
#ifdef INFLIGHT_ARCH_DEVICE_WORD
        value_.store(value, std::memory_order_relaxed);
#else
        if constexpr (sizeof(T) > 2) {
            value_ = value; // GCC 12 makes an exchange of an atomic store of this size, and fence_publish() follows
        } else {
            std::atomic_ref{value_}.store(value, std::memory_order_relaxed);
        }
#endif
    }

  private:
#ifdef INFLIGHT_ARCH_DEVICE_WORD
    device_word<T> value_;
#else
    T value_;
#endif
};

// A field that the device writes. The driver loads it once, checks the value, and never takes it for state.
template <typename T>
class device_written {
  public:
    [[nodiscard]] T load() const noexcept { return value_.load(std::memory_order_relaxed); }

    // What the field holds until the device writes it.
    void preset(T value) noexcept { value_.store(value, std::memory_order_relaxed); }

  private:
    device_word<T> value_;
    static_assert(sizeof(device_word<T>) == sizeof(T));
};

// A field that changes hands: the driver writes it before it gives a buffer to the device, and the device writes it
// before it gives the buffer back. What is loaded is checked, and never taken for state.
template <typename T>
class handed_over {
  public:
#ifdef INFLIGHT_ARCH_DEVICE_WORD
    void store(T value) noexcept {
        value_.store(value, std::memory_order_relaxed);
    }
    [[nodiscard]] T load() const noexcept {
        return value_.load(std::memory_order_relaxed);
    }

  private:
    device_word<T> value_;
#else
    // Volatile, for the reason that driver_written has.
    void store(T value) noexcept {
        *static_cast<volatile T*>(&value_) = value;
    }
    [[nodiscard]] T load() const noexcept {
        return *static_cast<const volatile T*>(&value_);
    }

  private:
    T value_;
#endif
    static_assert(sizeof(device_word<T>) == sizeof(T));
};

namespace descriptor_flag {
inline constexpr std::uint16_t next = 1;
inline constexpr std::uint16_t write = 2; // the device writes the buffer
inline constexpr std::uint16_t indirect = 4;
inline constexpr std::uint16_t available = 0x80; // packed rings only
inline constexpr std::uint16_t used = 0x8000;    // packed rings only
} // namespace descriptor_flag

} // namespace inflight::virtio
