#include "bench/raw/floor.hpp"

#include "async/backoff.hpp"
#include "src/kernel/elapsed.hpp"
#include "src/support/random.hpp"

#include <algorithm>

namespace inflight::bench {

floor_result run_floor(block::disk& disk, queue_row which, std::uint32_t depth, std::uint32_t block_size,
                       std::byte* buffers, arch::ticks deadline, std::uint64_t ios,
                       async::publish_timing& timing) noexcept {
    const block::disk_properties& properties = disk.properties();
    if ((properties.accepted & virtio::feature::in_order) != 0) {
        return {};
    }
    const std::uint64_t blocks = properties.capacity * block::sector_size / block_size;
    const std::uint32_t own = (properties.queues - which.first + which.stride - 1) / which.stride;
    const std::uint32_t end = which.first + std::min(own, depth) * which.stride;
    const auto ring_of = [&disk](std::uint32_t q) -> virtio::virtqueue& {
        return disk.unsafe_queue(static_cast<std::uint16_t>(q)).ring();
    };
    floor_result result{};
    support::random sectors{which.first + 1};

    std::uint32_t queues_left = std::min(own, depth);
    std::uint32_t left = depth;
    std::uint64_t in_flight = 0;
    for (std::uint32_t q = which.first; q < end; q += which.stride, --queues_left) {
        block::queue& queue = disk.unsafe_queue(static_cast<std::uint16_t>(q));
        queue.begin_raw();
        const std::uint32_t share = left / queues_left;
        for (std::uint32_t i = 0; i < std::min(share, queue.slots()); ++i) {
            const std::uint64_t sector = sectors.below(blocks) * (block_size >> block::sector_shift);
            queue.submit_unowned_read(i, sector, {buffers + in_flight * block_size, block_size});
            ++in_flight;
        }
        left -= share;
    }

    const arch::ticks start = arch::now();
    const std::uint64_t instructions = arch::instructions();
    std::uint64_t offered = in_flight;
    bool more = true;
    const auto publish_all = [&] {
        for (std::uint32_t q = which.first; q < end; q += which.stride) {
            if (virtio::virtqueue& ring = ring_of(q); ring.has_unpublished() && ring.publish()) {
                disk.unsafe_transport().notify(static_cast<std::uint16_t>(q), ring.next_available());
                ++result.notifications;
            }
        }
    };
    const auto drain_all = [&] {
        std::size_t all = 0;
        for (std::uint32_t q = which.first; q < end; q += which.stride) {
            block::queue& queue = disk.unsafe_queue(static_cast<std::uint16_t>(q));
            virtio::virtqueue& ring = queue.ring();
            const std::size_t used = ring.begin_drain();
            if (used == 0 || used == virtio::virtqueue::protocol_violation) {
                continue;
            }
            // Fewer at the end of the ring, where it wraps; the next poll takes the rest.
            const std::size_t taken = ring.for_each_used(
                used, [&](std::uint64_t id, std::uint64_t, bool) __attribute__((always_inline)) {
                    if (more) {
                        queue.resubmit_unowned(id);
                    }
                    return true;
                });
            all += taken;
            if (more) {
                offered += taken;
                more = offered < ios && arch::now() < deadline;
            }
        }
        result.ios += all;
        return all;
    };
    publish_all();
    async::backoff between_looks;
    while (result.ios < offered) {
        std::size_t used = drain_all();
        if (used == 0) {
            between_looks.wait();
            continue;
        }
        for (std::size_t since = used; since != 0; used += since) { // until there is nothing more
            since = drain_all();
            if (since == 0 && timing.waits()) {
                async::backoff::wait_longest();
                since = drain_all();
            }
        }
        publish_all();
        timing.round_ended(static_cast<std::uint32_t>(used), arch::now());
        between_looks = {};
    }
    result.instructions = arch::instructions() - instructions;
    result.elapsed = kernel::elapsed(start, arch::now()).value_or(0);
    for (std::uint32_t q = which.first; q < end; q += which.stride) {
        disk.unsafe_queue(static_cast<std::uint16_t>(q)).end_raw();
    }
    return result;
}

} // namespace inflight::bench
