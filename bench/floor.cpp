#include "bench/floor.hpp"

#include "src/random.hpp"

#include <algorithm>

namespace inflight::bench {

floor_result run_floor(block::disk& disk, std::uint32_t depth, std::uint32_t block_size, std::span<std::byte> buffers,
                       arch::ticks span, std::uint64_t ios) noexcept {
    const block::disk_properties& properties = disk.properties();
    const std::uint64_t blocks = properties.capacity * block::sector_size / block_size;
    const auto queues = static_cast<std::uint16_t>(std::min<std::uint32_t>(properties.queues, depth));
    floor_result result{};
    kernel::random sectors{1};

    std::uint32_t left = depth;
    for (std::uint16_t q = 0; q < queues; ++q) {
        block::request_queue& queue = disk.queue(q);
        queue.disarm();
        const std::uint32_t share = std::min(left / (queues - q), queue.slots());
        for (std::uint32_t i = 0; i < share; ++i) {
            const std::uint64_t sector = sectors.below(blocks) * (block_size >> block::sector_shift);
            queue.ring().offer(queue.build_unowned_read(
                i, sector, buffers.subspan(std::size_t{depth - left + i} * block_size, block_size)));
        }
        left -= std::min(left, share);
    }
    const std::uint64_t in_flight = depth - left;

    const arch::ticks start = arch::now();
    const std::uint64_t instructions = arch::instructions();
    std::uint64_t offered = in_flight;
    bool more = true;
    while (result.ios < offered) {
        for (std::uint16_t q = 0; q < queues; ++q) {
            virtio::split_virtqueue& ring = disk.queue(q).ring();
            if (ring.has_unpublished() && ring.publish()) {
                disk.device().notify(q);
                ++result.notifications;
            }
            const std::uint32_t used = ring.used_count();
            if (used == 0) {
                continue;
            }
            arch::fence_consume(); // the used index before the elements
            result.ios += used;
            if (more) {
                virtio::split_virtqueue::used_chains chains = ring.used_chains_now();
                for (std::uint32_t i = 0; i < used; ++i) {
                    ring.offer(static_cast<std::uint16_t>(chains.next().id));
                }
                offered += used;
                more = ios != 0 ? offered < ios : arch::now() - start < span;
            }
            ring.advance_used(used);
        }
    }
    result.instructions = arch::instructions() - instructions;
    result.elapsed = std::max<arch::ticks>(arch::now() - start, 1);
    return result;
}

} // namespace inflight::bench
