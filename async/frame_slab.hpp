// Memory for coroutine frames: blocks of 64-byte size classes, cut from one region that is given once.
//
// Bounded: when the region is used up, allocate() answers nullptr, and the coroutine that wanted a frame becomes an empty
// task (see task.hpp). Freed blocks are kept for frames of the same class. One slab belongs to one hart.
//
//     bool example() {
//         alignas(frame_slab::granule) std::byte memory[128];
//         frame_slab slab{memory};
//         void* const one = slab.allocate(100);
//         const bool full = slab.allocate(1) == nullptr;
//         slab.deallocate(one, 100);
//         return full && slab.allocate(80) == one && slab.count().live_bytes == 128; // 80 bytes are of the same class
//     }
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::async {

class frame_slab {
  public:
    static constexpr std::size_t granule = 64;
    static constexpr std::size_t largest_frame = 4096;

    struct counters {
        std::uint64_t allocations; // frames handed out since the start
        std::uint64_t failures;    // frames refused
        std::size_t live;          // frames in use now
        std::size_t live_bytes;
        std::size_t most_live_bytes; // the most that was ever in use at once
    };

    // The slab cuts frames from `memory`, which must outlive it.
    explicit frame_slab(std::span<std::byte> memory) noexcept;

    frame_slab(const frame_slab&) = delete;
    frame_slab& operator=(const frame_slab&) = delete;

    // `bytes` of memory aligned to 64; nullptr when there is none left or the frame is larger than largest_frame.
    [[nodiscard]] void* allocate(std::size_t bytes) noexcept;

    // Takes a block back; `bytes` is what allocate() was called with.
    void deallocate(void* block, std::size_t bytes) noexcept;

    // For tests: the n-th allocation from here, counted from 1, is refused.
    void refuse(std::uint64_t nth) noexcept {
        until_refusal_ = nth;
        largest_ = 0;
    }

    [[nodiscard]] const counters& count() const noexcept { return counters_; }

  private:
    struct free_block {
        free_block* next;
    };

    [[nodiscard]] bool may_be_allocated(std::size_t size) noexcept;

    std::size_t largest_ =
        largest_frame; // that is allocated without a further look; 0 while an allocation is to be refused
    std::uint64_t until_refusal_ = 0;
    std::byte* unused_;
    std::byte* end_;
    std::array<free_block*, largest_frame / granule> free_{}; // by size class: class c holds blocks of (c + 1) granules
    counters counters_{};
};

} // namespace inflight::async
