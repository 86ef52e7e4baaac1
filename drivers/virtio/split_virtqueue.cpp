#include "inflight/drivers/virtio/split_virtqueue.hpp"

#include <algorithm>
#include <cstring>

namespace inflight::virtio {

void split_virtqueue::lay_out(std::byte* memory, std::uint16_t size, bool legacy, bool event_idx) noexcept {
    const ring_layout layout = ring_layout::of(size, legacy);
    std::memset(memory, 0, layout.bytes);
    driver_area_ = memory + layout.driver_area;
    device_area_ = memory + layout.device_area;
    descriptors_ = reinterpret_cast<descriptor*>(memory);
    available_ = reinterpret_cast<driver_written<std::uint16_t>*>(driver_area_ + ring_entries);
    used_ = reinterpret_cast<const used_element*>(device_area_ + ring_entries);
    used_end_ = used_ + size;
    next_used_ = used_;
    size_ = size;
    next_available_ = available_;
    run_end_ = available_;
    before_this_lap_ = 0;
    published_ = 0;
    taken_ = 0;
    used_event_ = event_idx ? available_ + size : nullptr;
}

void split_virtqueue::begin_run(std::size_t entries) noexcept {
    driver_written<std::uint16_t>* const ring_end = available_ + size_;
    if (next_available_ == ring_end) {
        next_available_ = available_;
        before_this_lap_ += size_;
    }
    run_end_ = next_available_ + std::min(entries, static_cast<std::size_t>(ring_end - next_available_));
}

queue_addresses split_virtqueue::addresses() const noexcept {
    return {.descriptors = arch::device_address(descriptors_),
            .driver_area = arch::device_address(driver_area_),
            .device_area = arch::device_address(device_area_)};
}

} // namespace inflight::virtio
