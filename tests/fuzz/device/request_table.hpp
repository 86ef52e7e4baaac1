// The requests of a run, which the workload makes and the device has to keep to.
#pragma once

#include "async/stop_token.hpp"
#include "drivers/block/disk.hpp"
#include "tests/fuzz/device/laboratory.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace inflight::fuzz {

// One request at a time: its buffer, and what the device has been shown of it.
struct request_record {
    request_record() = default; // not an aggregate: see coroutine.hpp
    bool active = false;
    bool has_data = false;
    bool writes = false;
    unsigned started = 0, ended = 0;
    block::status outcome = block::status::ok;
    std::byte* buffer = nullptr;
    std::size_t bytes = 0;
    std::uint64_t shown = 0;                  // bytes of it that the device has found in published chains
    std::array<std::byte, buffer_bytes> then; // the first `bytes` of it are in use
    bool check_then = false;
    bool unseen = false; // some of the time, the device could not tell what it was shown
    std::array<std::span<std::byte>, 4> into{};
    std::array<std::span<const std::byte>, 4> from{};
    std::optional<async::stop_source> source;
    block::virtio_blk::id_string id{};
    block::virtio_blk::lifetime life{};
    std::array<block::sector_range, 3> ranges{};
};

struct request_table {
    // Nullptr if no request in flight has this memory in that direction.
    request_record* owner_of(const std::byte* start, std::uint64_t bytes, bool device_writes) {
        for (request_record& each : records)
            if (each.active && each.has_data && each.writes != device_writes && start >= each.buffer &&
                bytes <= each.bytes && start + bytes <= each.buffer + each.bytes)
                return &each;
        return nullptr;
    }
    void set_unseen() {
        for (request_record& each : records)
            each.unseen = true;
    }
    bool all_ended() const {
        return std::none_of(records.begin(), records.end(), [](const request_record& each) { return each.active; });
    }

    std::array<request_record, max_requests> records;
};

} // namespace inflight::fuzz
