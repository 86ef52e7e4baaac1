// Memory for coroutine frames: blocks of size classes, cut from one region that is given once.
//
// The classes are 64 bytes apart up to 4 KiB; from there to 1 MiB there are four for each doubling, so that at most a
// fifth of a block is not used. One byte of 65 is for the slab itself. Bounded: when the region is used up, allocate()
// returns nullptr, and the coroutine that wanted a frame becomes an empty task (see task.hpp). Freed blocks are kept
// for frames of the same class. One slab belongs to one hart.
//
// A compiler that knows a frame's size makes few instructions of both functions, and neither calls another, so that
// whoever calls them has no registers to save. Only requests are counted as they come: whatever else there is to know,
// count() finds out.
//
//     bool example() {
//         alignas(frame_slab::granule) std::byte memory[130];
//         frame_slab slab{memory};
//         void* const one = slab.allocate(100);
//         const bool full = slab.allocate(1) == nullptr;
//         slab.deallocate(one, 100);
//         return full && slab.allocate(80) == one && slab.count().live_bytes == 128; // 80 bytes are of the same class
//     }
#pragma once

#include "inflight/arch/arch.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <utility>

namespace inflight::async {

class frame_slab {
  public:
    static constexpr std::size_t granule = 64;
    static constexpr std::size_t largest_frame = std::size_t{1} << 20;

    struct counters {
        std::uint64_t allocations; // frames handed out since the start
        std::uint64_t failures;    // frames refused
        std::size_t live;          // frames in use now
        std::size_t live_bytes;
        std::size_t cut_bytes; // of the region, so far: what is in use, and freed blocks
    };

    // The slab cuts frames from `memory`, which must outlive it.
    explicit frame_slab(std::span<std::byte> memory) noexcept;

    frame_slab(const frame_slab&) = delete;
    frame_slab& operator=(const frame_slab&) = delete;

    // `bytes` of memory aligned to 64; nullptr when there is none left or the frame is larger than largest_frame.
    [[nodiscard]] void* allocate(std::size_t bytes) noexcept {
        if (--until_refusal_ == 0 || bytes - 1 >= largest_frame) [[unlikely]] {
            ++failures_;
            refused_bytes_ = bytes;
            return nullptr;
        }
        free_block*& first = free_[class_of(bytes)];
        if (first != nullptr) [[likely]] {
            return std::exchange(first, first->next);
        }
        const std::size_t size = size_of(class_of(bytes));
        if (size > static_cast<std::size_t>(end_ - unused_)) {
            ++failures_;
            refused_bytes_ = bytes;
            return nullptr;
        }
        ++blocks_;
        classes_[static_cast<std::size_t>(unused_ - begin_) / granule] = static_cast<std::uint8_t>(class_of(bytes) + 1);
        return std::exchange(unused_, unused_ + size);
    }

    // Takes a block back; `bytes` is what allocate() was called with. That it is a block of this slab is checked
    // without NDEBUG: with it, where tasks end that are not awaited (counting_scope.hpp).
    void deallocate(void* block, std::size_t bytes) noexcept {
#ifndef NDEBUG
        if (!holds(block)) {
            arch::panic("a task ended on another hart than it began on: co_await schedule_on{home} first");
        }
#endif
        free_block*& first = free_[class_of(bytes)];
        first = ::new (block) free_block{first, nullptr};
    }

    // True if the address lies in the region.
    [[nodiscard]] bool holds(const void* address) const noexcept {
        return static_cast<std::size_t>(static_cast<const std::byte*>(address) - begin_) < region_;
    }

    // For the report of a kernel that is stuck or broken. True if a block begins there that is in use: by what holds
    // frames of coroutines, whose second word is never nullptr.
    [[nodiscard]] bool is_live(const void* block) const noexcept {
        const auto offset = static_cast<std::size_t>(static_cast<const std::byte*>(block) - begin_);
        return offset < static_cast<std::size_t>(unused_ - begin_) && offset % granule == 0 &&
               classes_[offset / granule] != 0 && static_cast<const free_block*>(block)->free_mark != nullptr;
    }

    // How large a block in use is.
    [[nodiscard]] std::size_t size_of_block(const void* block) const noexcept {
        return size_of(classes_[static_cast<std::size_t>(static_cast<const std::byte*>(block) - begin_) / granule] -
                       1u);
    }

    // Calls visit(block) for each block in use, until it returns false.
    template <typename Visit>
    void for_each_live(Visit visit) const noexcept {
        const std::byte* const end = unused_;
        for (const std::byte* block = begin_; block < end;) {
            const std::size_t number = classes_[static_cast<std::size_t>(block - begin_) / granule];
            if (number == 0 || (is_live(block) && !visit(static_cast<const void*>(block)))) {
                return;
            }
            block += size_of(number - 1);
        }
    }

    // No more blocks than this were ever in use at once.
    [[nodiscard]] std::size_t blocks() const noexcept {
        return blocks_;
    }

    // For tests: the n-th allocation from here, counted from 1, is refused.
    void refuse(std::uint64_t nth) noexcept {
        requested_before_ += refusal_ - until_refusal_;
        refusal_ = until_refusal_ = nth;
    }

    // Frames handed out since the start.
    [[nodiscard]] std::uint64_t allocations() const noexcept {
        return requested_before_ + (refusal_ - until_refusal_) - failures_;
    }

    // Takes its time: it looks at every free block.
    [[nodiscard]] counters count() const noexcept;

    // Panics about a frame that is larger than largest_frame.
    [[noreturn]] static void panic_too_large(std::size_t bytes) noexcept;

    // Panics with `message`, and with what was refused last.
    [[noreturn]] void panic_used_up(const char* message) const noexcept;

  private:
    struct free_block {
        free_block* next;
        const void* free_mark; // nullptr; where a frame in use has the function that destroys it
    };

    static constexpr std::uint64_t never = ~std::uint64_t{0};

    // Class c holds blocks of (c + 1) granules, up to the largest of them; those that follow hold blocks of 5, 6, 7 and
    // 8 parts of a quarter of it, then of twice as many, and so on.
    static constexpr std::size_t small_classes = 64;
    static constexpr std::size_t classes = small_classes + 32;
    static constexpr std::size_t part = small_classes * granule / 4;

    static constexpr std::size_t class_of(std::size_t bytes) noexcept {
        if (bytes <= small_classes * granule) [[likely]] {
            return (bytes - 1) / granule;
        }
        std::size_t size_class = small_classes;
        std::size_t parts = (bytes - 1) / part + 1;
        for (; parts > 8; parts = (parts + 1) / 2) {
            size_class += 4;
        }
        return size_class + parts - 5;
    }
    static constexpr std::size_t size_of(std::size_t size_class) noexcept {
        if (size_class < small_classes) [[likely]] {
            return (size_class + 1) * granule;
        }
        const std::size_t large = size_class - small_classes;
        return (large % 4 + 5) * part << large / 4;
    }

    std::uint64_t until_refusal_ = never;     // counts requests, down from refusal_
    std::array<free_block*, classes> free_{}; // by size class
    std::byte* unused_ = nullptr;
    std::byte* begin_ = nullptr;
    std::size_t region_ = 0; // bytes from begin_ to end_
    std::byte* end_ = nullptr;
    std::uint8_t* classes_ = nullptr; // by granule: 1 + the class of the block that begins there; 0: none; behind end_
    std::size_t blocks_ = 0;          // cut from the region
    std::uint64_t refusal_ = never;
    std::uint64_t requested_before_ = 0;
    std::uint64_t failures_ = 0;
    std::size_t refused_bytes_ = 0; // of the last frame that was refused
};

} // namespace inflight::async
