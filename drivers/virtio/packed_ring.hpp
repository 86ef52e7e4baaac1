// The packed virtqueue in memory (VIRTIO 1.2, 2.8), as driver and device share it.
#pragma once

#include "inflight/drivers/virtio/device_memory.hpp"

#include <cstddef>
#include <cstdint>

namespace inflight::virtio {

// 2.8.13. Length, id and flags are one word, so that one store makes a descriptor available, and one load tells whether
// it was used, with which id and length.
struct packed_descriptor {
    handed_over<std::uint64_t> address;
    handed_over<std::uint64_t> word;
};
static_assert(sizeof(packed_descriptor) == 16);

// The word of a packed_descriptor.
namespace packed_word {
inline constexpr unsigned id_shift = 32;
inline constexpr unsigned flags_shift = 48;
inline constexpr std::uint64_t available = std::uint64_t{descriptor_flag::available} << flags_shift;
inline constexpr std::uint64_t used = std::uint64_t{descriptor_flag::used} << flags_shift;
inline constexpr std::uint64_t write = std::uint64_t{descriptor_flag::write} << flags_shift;

// What of a used descriptor's word tells which chain was used, and how much of it was written. The other flags mean
// nothing there (2.8.4), but `write`, which only says whether the length means something.
inline constexpr std::uint64_t told = available | used | ((std::uint64_t{1} << flags_shift) - 1);

constexpr std::uint64_t of(std::uint32_t length, std::uint16_t id, std::uint16_t flags) noexcept {
    return length | std::uint64_t{id} << id_shift | std::uint64_t{flags} << flags_shift;
}
constexpr std::uint16_t id(std::uint64_t word) noexcept {
    return static_cast<std::uint16_t>(word >> id_shift);
}
// Sign-extended from 32 bits, as the length of a split ring.
constexpr std::uint64_t length(std::uint64_t word) noexcept {
    return static_cast<std::uint64_t>(static_cast<std::int32_t>(word));
}
// `flags` are those of descriptors that are used in the lap in question: both, or none.
constexpr bool is_used(std::uint64_t word, std::uint64_t flags) noexcept {
    return (word & (available | used)) == flags;
}
} // namespace packed_word

// Event suppression (2.8.14): what one side wants to be told of, in a word of 32 bits. The low 16 bits are a slot of the
// ring and, in bit 15, the wrap counter with which it is meant.
namespace event_suppression {
inline constexpr std::uint32_t enable = 0;
inline constexpr std::uint32_t disable = std::uint32_t{1} << 16;
inline constexpr std::uint32_t descriptor = std::uint32_t{2} << 16; // at that slot; with EVENT_IDX only
inline constexpr std::uint32_t flags = std::uint32_t{3} << 16;
inline constexpr std::uint32_t wrap = 0x8000;
inline constexpr std::uint32_t slot = 0x7fff;
} // namespace event_suppression

// Where the three parts of a queue of `size` descriptors lie in one block of memory. What the driver writes and what the
// device writes are on cache lines of their own.
struct packed_layout {
    std::size_t driver_event;
    std::size_t device_event;
    std::size_t bytes;
    static constexpr std::size_t alignment = 64;

    static constexpr packed_layout of(std::uint32_t size) noexcept {
        const std::size_t ring = (std::size_t{16} * size + alignment - 1) & ~(alignment - 1);
        return {.driver_event = ring, .device_event = ring + alignment, .bytes = ring + 2 * alignment};
    }
};

} // namespace inflight::virtio
