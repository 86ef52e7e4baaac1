// How a block request ended.
#pragma once

#include <cstdint>
#include <type_traits>

namespace inflight::block {

enum class [[nodiscard]] status : std::int8_t{
    ok,

    // What the device returned (VIRTIO 1.2, 5.2.6). After io_error nothing is known about the sectors: a part of a
    // write may be on the disk.
    io_error,
    unsupported, // also: the device never offered this kind of request, and was not asked

    // What a zoned device returned (VIRTIO 1.3, 5.2.6). It has done nothing.
    zone_invalid_command,         // the zone's type, state or capacity does not allow it
    zone_unaligned_write_pointer, // a write that does not begin at the write pointer
    zone_open_resource,           // more zones would be open than max_open_zones
    zone_active_resource,         // more zones would be active than max_active_zones

    // Refused before the device saw anything.
    out_of_range,     // beyond the disk's capacity
    invalid_argument, // length zero, or sector or length not a multiple of the logical block size; or against a rule for
                      // zones (disk.hpp)
    read_only,        // a write, discard or write-zeroes on a read-only disk

    // Given up before the device had all of it. After a write, a part may be on the disk.
    cancelled, // a stop was requested while it waited in line
    out_of_memory, // there was no frame for the coroutine that would have made it; or dma_memory::share() had no room for its
                   // data, and this hart had nothing in flight on the disk whose end would have made room

    // The device broke the protocol, or had to be reset. Nothing is known about the sectors.
    device_error, // it ended this request without a credible status
    timed_out,    // it did not end this request within the time limit of the disk or of the request, and was reset for
                  // that; or the request's own limit passed while it waited in line, and the device never saw it
    device_reset, // it was reset with the request inside, which may be repeated. What changes the zones of a zoned device may
                  // have been done: see disk::append()
    device_lost, // it does not even reset, or cannot be set up again. If the request was inside, the device may still
                 // write into its buffer: never use that memory for anything else
};

// The name of a status, as above.
const char* to_string(status outcome) noexcept;

// For async: what a task<status> without a frame returns.
constexpr status out_of_memory_value(std::type_identity<status>) noexcept {
    return status::out_of_memory;
}

} // namespace inflight::block
