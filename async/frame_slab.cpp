#include "async/frame_slab.hpp"

namespace inflight::async {

frame_slab::frame_slab(std::span<std::byte> memory) noexcept
    : unused_{memory.data()}, end_{memory.data() + memory.size()} {
    const auto misaligned = reinterpret_cast<std::uintptr_t>(unused_) % granule;
    if (misaligned != 0) {
        const std::size_t skip = granule - misaligned;
        unused_ = skip < memory.size() ? unused_ + skip : end_;
    }
    begin_ = unused_;
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
