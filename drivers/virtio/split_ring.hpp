// The split virtqueue in memory (VIRTIO 1.2, 2.7), as driver and device share it.
//
// All fields are little-endian, which is also the byte order of every machine this is built for.
#pragma once

#include "inflight/arch/arch.hpp"

#include <atomic>
#include <bit>
#include <cstddef>
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

// Memory that driver and device share is of two kinds, and a field's type says of which. Each load and store happens
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

// 2.7.5. The device reads it after the available index has handed it over.
struct descriptor {
    driver_written<std::uint64_t> address;
    driver_written<std::uint32_t> length;
    driver_written<std::uint16_t> flags;
    driver_written<std::uint16_t> next;

    void store(std::uint64_t to_address, std::uint32_t to_length, std::uint16_t to_flags,
               std::uint16_t to_next) noexcept {
        address.store(to_address);
        length.store(to_length);
        flags.store(to_flags);
        next.store(to_next);
    }
};
static_assert(sizeof(descriptor) == 16);

namespace descriptor_flag {
inline constexpr std::uint16_t next = 1;
inline constexpr std::uint16_t write = 2; // the device writes the buffer
inline constexpr std::uint16_t indirect = 4;
} // namespace descriptor_flag

// 2.7.8.
struct used_element {
    device_written<std::uint32_t> id; // head of the chain
    device_written<std::uint32_t> length;
};
static_assert(sizeof(used_element) == 8);

inline constexpr std::uint16_t avail_no_interrupt = 1; // flags of the available ring, without EVENT_IDX
inline constexpr std::uint16_t used_no_notify = 1;     // flags of the used ring, without EVENT_IDX

// Offsets within either ring; both begin with flags and idx, 16 bits each.
inline constexpr std::size_t ring_flags = 0;
inline constexpr std::size_t ring_index = 2;
inline constexpr std::size_t ring_entries = 4;

inline constexpr std::uint32_t legacy_page_size = 4096; // GuestPageSize and QueueAlign, both of our choosing

// Where the three parts of a queue of `size` descriptors lie in one block of memory, and how much that takes.
struct ring_layout {
    std::size_t driver_area;
    std::size_t device_area;
    std::size_t bytes;
    std::size_t alignment;

    // The legacy interface fixes the layout (2.7.2); the modern one leaves it to us, and ours keeps what the driver
    // writes and what the device writes on cache lines of their own.
    static constexpr ring_layout of(std::uint32_t size, bool legacy) noexcept {
        const std::size_t table = std::size_t{16} * size;
        const std::size_t available = 6 + std::size_t{2} * size;
        const std::size_t used = 6 + std::size_t{8} * size;
        const std::size_t unit = legacy ? legacy_page_size : 64;
        const std::size_t device_area = round_up(table + available, unit);
        return {.driver_area = table,
                .device_area = device_area,
                .bytes = device_area + round_up(used, unit),
                .alignment = unit};
    }

  private:
    static constexpr std::size_t round_up(std::size_t bytes, std::size_t unit) noexcept {
        return (bytes + unit - 1) & ~(unit - 1);
    }
};

static_assert(ring_layout::of(256, true).device_area == 8192 && ring_layout::of(256, true).bytes == 12288);
static_assert(ring_layout::of(1024, true).device_area == 20480 && ring_layout::of(1024, true).bytes == 32768);

} // namespace inflight::virtio
