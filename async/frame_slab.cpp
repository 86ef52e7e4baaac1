#include "async/frame_slab.hpp"

#include <new>

namespace inflight::async {

namespace {

constexpr std::size_t round_up(std::size_t bytes) noexcept {
    return (bytes + frame_slab::granule - 1) & ~(frame_slab::granule - 1);
}

} // namespace

frame_slab::frame_slab(std::span<std::byte> memory) noexcept
    : unused_{memory.data()}, end_{memory.data() + memory.size()} {
    const auto misaligned = reinterpret_cast<std::uintptr_t>(unused_) % granule;
    if (misaligned != 0) {
        const std::size_t skip = granule - misaligned;
        unused_ = skip < memory.size() ? unused_ + skip : end_;
    }
}

// Off the path of ordinary allocations, so that what only tests use costs them nothing.
bool frame_slab::may_be_allocated(std::size_t size) noexcept {
    if (size == 0 || size > largest_frame) {
        return false;
    }
    if (--until_refusal_ != 0) {
        return true;
    }
    largest_ = largest_frame;
    return false;
}

void* frame_slab::allocate(std::size_t bytes) noexcept {
    const std::size_t size = round_up(bytes);
    if ((size == 0 || size > largest_) && !may_be_allocated(size)) {
        ++counters_.failures;
        return nullptr;
    }
    free_block*& first_free = free_[size / granule - 1];
    void* block = first_free;
    if (block != nullptr) {
        first_free = first_free->next;
    } else if (size <= static_cast<std::size_t>(end_ - unused_)) {
        block = unused_;
        unused_ += size;
    } else {
        ++counters_.failures;
        return nullptr;
    }
    ++counters_.allocations;
    ++counters_.live;
    counters_.live_bytes += size;
    if (counters_.live_bytes > counters_.most_live_bytes) {
        counters_.most_live_bytes = counters_.live_bytes;
    }
    return block;
}

void frame_slab::deallocate(void* block, std::size_t bytes) noexcept {
    const std::size_t size = round_up(bytes);
    free_block*& first_free = free_[size / granule - 1];
    first_free = ::new (block) free_block{first_free};
    --counters_.live;
    counters_.live_bytes -= size;
}

} // namespace inflight::async
