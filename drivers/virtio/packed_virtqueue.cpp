#include "inflight/drivers/virtio/packed_virtqueue.hpp"

#include <algorithm>
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
    run_end_ = ring_;
    available_flags_ = packed_word::available; // both wrap counters begin at 1 (2.8.1)
    held_back_ = nullptr;
    next_used_ = ring_;
    used_flags_ = packed_word::available | packed_word::used;
    before_this_lap_ = 0;
    published_ = 0;
    taken_ = 0;
    size_ = size;
    chain_length_ = chain_length;
    event_idx_ = event_idx;
}

queue_addresses packed_virtqueue::addresses() const noexcept {
    return {.descriptors = arch::device_address(ring_),
            .driver_area = arch::device_address(driver_event_),
            .device_area = arch::device_address(device_event_)};
}

void packed_virtqueue::begin_run(std::size_t chains) noexcept {
    if (next_ == ring_end_) {
        next_ = ring_;
        before_this_lap_ += size_;
        available_flags_ ^= packed_word::available | packed_word::used;
    }
    run_end_ = next_ + std::min(chains * chain_length_, static_cast<std::size_t>(ring_end_ - next_));
}

void packed_virtqueue::make_available(std::uint16_t id, const buffer* chain) noexcept {
    if (run_has_ended()) {
        begin_run(size_);
    }
    packed_descriptor* const first = next_;
    for (std::uint16_t i = chain_length_; i-- > 0;) {
        const bool is_last = i + 1 == chain_length_;
        const auto flags = static_cast<std::uint16_t>(chain[i].flags | (is_last ? 0 : descriptor_flag::next));
        const std::uint64_t word = packed_word::of(chain[i].length, id, flags);
        first[i].address.store(chain[i].address);
        if (i == 0 && held_back_ == nullptr) {
            hold_back(*first, word);
        } else {
            first[i].word.store(word | available_flags_);
        }
    }
    next_ = first + chain_length_;
}

// The descriptor looks as a used one of the lap before: the device does not take it.
void packed_virtqueue::hold_back(packed_descriptor& first, std::uint64_t word) noexcept {
    held_back_ = &first;
    held_back_word_ = word | available_flags_;
    const bool wrap = available_flags_ == packed_word::available;
    first.word.store(word | (wrap ? 0 : packed_word::available | packed_word::used));
}

bool packed_virtqueue::publish() noexcept {
    if (held_back_ == nullptr) {
        return false;
    }
    const std::size_t before = published_;
    published_ = available();
    // The chains, and the rest of their descriptors, before the first descriptor becomes available: pairs with the
    // device's read of its flags.
    arch::fence_publish();
    held_back_->word.store(held_back_word_);
    held_back_ = nullptr;
    // The flags before the read of the device's event suppression: pairs with the device, which writes that before it
    // reads the flags.
    arch::fence_full();
    return wants_notification(published_ - before);
}

bool packed_virtqueue::publish_would_notify() const noexcept {
    return wants_notification(available() - published_);
}

// 2.8.10, for the last `chains` that were made available. With EVENT_IDX the device may name a slot: then it wants a
// notification if that is one of those that were written.
bool packed_virtqueue::wants_notification(std::size_t chains) const noexcept {
    const std::uint32_t event = device_event_->load();
    const std::uint32_t flags = event & event_suppression::flags;
    if (flags != event_suppression::descriptor || !event_idx_) {
        return flags != event_suppression::disable;
    }
    // Slots are counted from the lap in which `next_` is, or which it has just ended.
    const bool wrap = available_flags_ == packed_word::available;
    const bool of_this_lap = ((event & event_suppression::wrap) != 0) == wrap;
    const auto end = static_cast<std::int64_t>(next_ - ring_);
    const auto begin = end - static_cast<std::int64_t>(chains * chain_length_);
    const auto slot = static_cast<std::int64_t>(event & event_suppression::slot);
    // A slot of the other lap is one of the lap before, if the chains reach back to there, or of the lap after.
    return of_this_lap ? begin <= slot && slot < end : begin <= slot - size_;
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
    while (count != most && is_used(next->word.load(), flags)) {
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
    driver_event_->store(event_idx_ ? event_suppression::descriptor | used_position() : event_suppression::enable);
    // The interrupt request before the read of the flags: pairs with the device, which writes the flags before it reads
    // the request; and with the handler, see virtqueue::mark_if_completed_packed().
    arch::fence_full();
    return used_since(used_position());
}

} // namespace inflight::virtio
