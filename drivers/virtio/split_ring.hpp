// The split virtqueue in memory (VIRTIO 1.2, 2.7), as driver and device share it.
//
// All fields are little-endian, which is also the byte order of every machine this is built for.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace inflight::virtio {

static_assert(std::endian::native == std::endian::little, "the rings are little-endian and read without conversion");

// A field that the other side reads or writes at any time. Each load and store happens once, whole, and in no order of its
// own: order comes from the fences of arch.hpp, which is why there is no way to spell one here.
template <typename T>
class shared {
  public:
    [[nodiscard]] T load() const noexcept { return value_.load(std::memory_order_relaxed); }
    void store(T value) noexcept { value_.store(value, std::memory_order_relaxed); }

  private:
    std::atomic<T> value_;
    static_assert(sizeof(std::atomic<T>) == sizeof(T));
};

// 2.7.5. Plain memory: the device reads it only after the available index has handed it over, and never writes it.
struct descriptor {
    std::uint64_t address;
    std::uint32_t length;
    std::uint16_t flags;
    std::uint16_t next;
};
static_assert(sizeof(descriptor) == 16);

namespace descriptor_flag {
inline constexpr std::uint16_t next = 1;
inline constexpr std::uint16_t write = 2; // the device writes the buffer
inline constexpr std::uint16_t indirect = 4;
} // namespace descriptor_flag

// 2.7.8.
struct used_element {
    shared<std::uint32_t> id; // head of the chain
    shared<std::uint32_t> length;
};
static_assert(sizeof(used_element) == 8);

inline constexpr std::uint16_t avail_no_interrupt = 1; // flags of the available ring, without EVENT_IDX
inline constexpr std::uint16_t used_no_notify = 1;     // flags of the used ring, without EVENT_IDX

// Offsets within either ring; both begin with flags and idx, 16 bits each.
inline constexpr std::size_t ring_flags = 0;
inline constexpr std::size_t ring_index = 2;
inline constexpr std::size_t ring_entries = 4;

inline constexpr std::uint32_t legacy_page_size = 4096; // GuestPageSize and QueueAlign, both of our choosing
inline constexpr std::uint32_t largest_queue = 32768;

// Where the three parts of a queue of `size` descriptors lie in one block of memory, and how much that takes.
struct ring_layout {
    std::size_t driver_area;
    std::size_t device_area;
    std::size_t bytes;
    std::size_t alignment;

    // The legacy interface fixes the layout (2.7.2); the modern one leaves it to us, and ours keeps what the driver writes
    // and what the device writes on cache lines of their own.
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
