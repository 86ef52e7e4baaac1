#include "async/frame_slab.hpp"

#include <algorithm>

namespace inflight::async {

frame_slab::frame_slab(std::span<std::byte> memory) noexcept {
    const auto address = reinterpret_cast<std::uintptr_t>(memory.data());
    const std::size_t skip = std::min<std::size_t>((granule - address % granule) % granule, memory.size());
    const std::size_t granules = (memory.size() - skip) / (granule + 1); // one byte more for each
    begin_ = memory.data() + skip;
    unused_ = begin_;
    region_ = granules * granule;
    end_ = begin_ + region_;
    classes_ = reinterpret_cast<std::uint8_t*>(end_);
    std::fill_n(classes_, granules, std::uint8_t{0});
}

frame_slab::counters frame_slab::count() const noexcept {
    counters now{};
    now.allocations = allocations();
    now.failures = failures_;
    now.cut_bytes = static_cast<std::size_t>(unused_ - begin_);
    now.live_bytes = now.cut_bytes;
    now.live = blocks_;
    for (std::size_t size_class = 0; size_class < free_.size(); ++size_class) {
        for (const free_block* block = free_[size_class]; block != nullptr; block = block->next) {
            --now.live;
            now.live_bytes -= (size_class + 1) * granule;
        }
    }
    return now;
}

} // namespace inflight::async
