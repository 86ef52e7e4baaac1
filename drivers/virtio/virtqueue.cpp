#include "inflight/drivers/virtio/virtqueue.hpp"

namespace inflight::virtio {

void virtqueue::lay_out(std::byte* memory, std::uint16_t size, const queue_format& format) noexcept {
    is_packed_ = format.packed;
    is_in_order_ = format.in_order;
    if (is_packed_) {
        split_.lay_out_nothing(memory);
        packed_.lay_out(memory, size, format.chain_length, format.event_idx);
        awaited_.store(packed_.used_position(), std::memory_order_relaxed);
    } else {
        split_.lay_out(memory, size, format.legacy, format.event_idx);
        awaited_.store(armed_from(0), std::memory_order_relaxed);
    }
}

bool virtqueue::arm() noexcept {
    const std::uint64_t awaited = awaited_.load(std::memory_order_relaxed);
    if (awaited == not_armed) {
        // Before the look: pairs with the handler, which looks first and then asks whether interrupts are on.
        awaited_.store(is_packed_ ? packed_.used_position() : armed_from(split_.used_position()),
                       std::memory_order_relaxed);
        if (is_packed_ ? packed_.enable_interrupts() : split_.enable_interrupts()) {
            disarm();
            return true;
        }
        return false; // a handler that marks the queue after this wakes its hart
    }
    return awaited == marked;
}

std::size_t virtqueue::used_to_drain_packed() const noexcept {
    const std::size_t used = packed_.used_count();
    // The flags before ids, data and status: pairs with the device, which writes the flags last.
    arch::fence_consume();
    return used;
}

} // namespace inflight::virtio
