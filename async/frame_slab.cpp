#include "inflight/async/frame_slab.hpp"

#include <algorithm>

namespace inflight::async {

namespace {

// A sentence for a panic, cut off where it is too long.
class sentence {
  public:
    sentence& operator<<(const char* text) noexcept {
        for (; *text != 0; ++text) {
            put(*text);
        }
        return *this;
    }
    sentence& operator<<(std::size_t number) noexcept {
        char digits[20];
        int count = 0;
        do {
            digits[count++] = static_cast<char>('0' + number % 10);
            number /= 10;
        } while (number != 0);
        while (count != 0) {
            put(digits[--count]);
        }
        return *this;
    }
    [[noreturn]] void panic() const noexcept { arch::panic(text_); }

  private:
    void put(char each) noexcept {
        if (length_ < sizeof text_ - 1) {
            text_[length_++] = each;
        }
    }

    char text_[256]{};
    std::size_t length_ = 0;
};

} // namespace

void frame_slab::panic_too_large(std::size_t bytes) noexcept {
    sentence said;
    said << "a coroutine has a frame of " << bytes << " bytes, and " << largest_frame
         << " are the most: let it do less itself, and await tasks for the rest";
    said.panic();
}

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

void frame_slab::panic_used_up(const char* message) const noexcept {
    sentence said;
    said << message << ": the memory for coroutines is used up (the last frame that was refused has " << refused_bytes_
         << " bytes; " << count().live_bytes << " of this hart's " << region_ << " are in use)";
    said.panic();
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
            now.live_bytes -= size_of(size_class);
        }
    }
    return now;
}

} // namespace inflight::async
