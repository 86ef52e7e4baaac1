#include "inflight/drivers/virtio/packed_virtqueue.hpp"

#include <cstring>

namespace inflight::virtio {

void packed_virtqueue::lay_out(std::byte* memory, std::uint16_t size, std::uint16_t chain_length,
                               bool event_idx) noexcept {
    const packed_layout layout = packed_layout::of(size);
    std::memset(memory, 0, layout.bytes);
    ring_ = reinterpret_cast<packed_descriptor*>(memory);
    ring_end_ = ring_ + size;
    driver_event_ = reinterpret_cast<driver_written<std::uint32_t>*>(memory + layout.driver_event);
    device_event_ = reinterpret_cast<const device_written<std::uint32_t>*>(memory + layout.device_event);
    next_ = ring_;
    available_flags_ = packed_word::available; // both wrap counters begin at 1 (2.8.1)
    held_back_ = nullptr;
    next_used_ = ring_;
    used_flags_ = packed_word::available | packed_word::used;
    available_from_ = std::size_t{0} - reinterpret_cast<std::uintptr_t>(ring_);
    published_ = 0;
    taken_ = 0;
    size_ = size;
    chain_length_ = chain_length;
    chain_bytes_ = std::size_t{chain_length} * sizeof(packed_descriptor);
    used_lap_ = lowest_position | 1;
    available_event_ = event_at(ring_, true);
    used_event_ = event_at(ring_, true);
    event_idx_ = event_idx;
}

queue_addresses packed_virtqueue::addresses() const noexcept {
    return {.descriptors = arch::device_address(ring_),
            .driver_area = arch::device_address(driver_event_),
            .device_area = arch::device_address(device_event_)};
}

void packed_virtqueue::make_available(std::uint16_t id, const buffer* chain) noexcept {
    if (next_ == ring_end_) {
        begin_lap();
    }
    store_chain(next_, id, chain);
    next_ += chain_length_;
}

void packed_virtqueue::store_chain(packed_descriptor* first, std::uint16_t id, const buffer* chain) noexcept {
    for (std::uint16_t i = chain_length_; i-- > 0;) {
        const bool is_last = i + 1 == chain_length_;
        const auto flags = static_cast<std::uint16_t>(chain[i].flags | (is_last ? 0 : descriptor_flag::next));
        const std::uint64_t word = packed_word::of(chain[i].length, id, flags) | available_flags_;
        if (i == 0) {
            store_single(*first, chain[i].address, word);
        } else {
            first[i].address.store(chain[i].address);
            first[i].word.store(word);
        }
    }
}

bool packed_virtqueue::publish() noexcept {
    if (held_back_ == nullptr) {
        return false;
    }
    published_ = available(next_);
    const packed_descriptor* const first = held_back_;
    // The chains, and the rest of their descriptors, before the first descriptor becomes available: pairs with the
    // device's read of its flags.
    arch::fence_publish();
    held_back_->word.store(held_back_word_);
    held_back_ = nullptr;
    // The flags before the read of the device's event suppression: pairs with the device, which writes that before it
    // reads the flags.
    arch::fence_full();
    return wants_notification(first);
}

bool packed_virtqueue::publish_would_notify() const noexcept {
    return has_unpublished() && wants_notification(held_back_);
}

bool packed_virtqueue::still_wants_notification() const noexcept {
    const std::uint32_t event = device_event_->load();
    const std::uint32_t flags = event & event_suppression::flags;
    if (flags != event_suppression::descriptor || !event_idx_) {
        return flags != event_suppression::disable;
    }
    // Slot and wrap counter come again after two laps.
    const std::size_t period = std::size_t{2} * size_;
    const std::size_t of_lap = (event & event_suppression::wrap) != 0 ? 0 : size_;
    const std::size_t asked = (event & event_suppression::slot) + of_lap;
    const std::size_t first = taken() * chain_length_;
    return (asked + period - first % period) % period < in_flight_published() * chain_length_;
}

std::size_t packed_virtqueue::used_count() const noexcept {
    const std::size_t most = in_flight_published();
    const packed_descriptor* next = next_used_;
    std::uint64_t flags = used_flags_;
    std::size_t count = 0;
    while (count != most && packed_word::is_used(next->word.load(), flags)) {
        ++count;
        next += chain_length_;
        if (next == ring_end_) {
            next = ring_;
            flags ^= packed_word::available | packed_word::used;
        }
    }
    return count;
}

bool packed_virtqueue::enable_interrupts() noexcept {
    request_interrupt(next_used_);
    // The interrupt request before the read of the flags: pairs with the device, which writes the flags before it reads
    // the request; and with the handler, see virtqueue::mark_if_completed_packed().
    arch::fence_full();
    return some_used();
}

} // namespace inflight::virtio
