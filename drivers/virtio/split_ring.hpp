// The split virtqueue in memory (VIRTIO 1.2, 2.7), as driver and device share it.
#pragma once

#include "inflight/drivers/virtio/device_memory.hpp"

#include <cstddef>
#include <cstdint>

namespace inflight::virtio {

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

    // In an indirect table of a packed ring there is an id where the flags are here, which is reserved, and the flags
    // are where the link is. No other flag than `write` is permitted there (2.8.13, 2.8.19).
    void store_in_packed_table(std::uint64_t to_address, std::uint32_t to_length, std::uint16_t to_flags) noexcept {
        store(to_address, to_length, 0, to_flags);
    }
};
static_assert(sizeof(descriptor) == 16);

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
