#include "bench/floor.hpp"

#include "async/backoff.hpp"
#include "src/random.hpp"

#include <algorithm>

namespace inflight::bench {

floor_result run_floor(block::disk& disk, queue_row which, std::uint32_t depth, std::uint32_t block_size,
                       std::byte* buffers, arch::ticks deadline, std::uint64_t ios,
                       async::publish_timing& timing) noexcept {
    const block::disk_properties& properties = disk.properties();
    const std::uint64_t blocks = properties.capacity * block::sector_size / block_size;
    const std::uint32_t own = (properties.queues - which.first + which.stride - 1) / which.stride;
    const std::uint32_t end = which.first + std::min(own, depth) * which.stride;
    const auto ring_of = [&disk](std::uint32_t q) -> virtio::split_virtqueue& {
        return disk.queue(static_cast<std::uint16_t>(q)).ring();
    };
    floor_result result{};
    kernel::random sectors{which.first + 1};

    std::uint32_t queues_left = std::min(own, depth);
    std::uint32_t left = depth;
    std::uint64_t in_flight = 0;
    for (std::uint32_t q = which.first; q < end; q += which.stride, --queues_left) {
        block::request_queue& queue = disk.queue(static_cast<std::uint16_t>(q));
        queue.disarm();
        const std::uint32_t share = left / queues_left;
        for (std::uint32_t i = 0; i < std::min(share, queue.slots()); ++i) {
            const std::uint64_t sector = sectors.below(blocks) * (block_size >> block::sector_shift);
            queue.ring().offer(queue.build_unowned_read(i, sector, {buffers + in_flight * block_size, block_size}));
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
            if (virtio::split_virtqueue& ring = ring_of(q); ring.has_unpublished() && ring.publish()) {
                disk.device().notify(static_cast<std::uint16_t>(q));
                ++result.notifications;
            }
        }
    };
    const auto drain_all = [&] {
        std::size_t all = 0;
        for (std::uint32_t q = which.first; q < end; q += which.stride) {
            virtio::split_virtqueue& ring = ring_of(q);
            const std::size_t used = ring.used_count();
            if (used == 0) {
                continue;
            }
            arch::fence_consume(); // the used index before the elements
            auto chains = ring.first_used(used);
            for (; !chains.empty(); chains.pop_front()) {
                if (more) {
                    ring.offer(static_cast<std::uint16_t>(chains.front().id));
                }
            }
            ring.advance_used(chains, used);
            all += used;
            if (more) {
                offered += used;
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
    result.elapsed = std::max<arch::ticks>(arch::now() - start, 1);
    return result;
}

} // namespace inflight::bench
