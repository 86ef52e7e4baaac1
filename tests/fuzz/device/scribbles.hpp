// What the device has written over words of the driver since its last reset: it does not take that for the driver's.
#pragma once

#include "tests/fuzz/device/driver_memory.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace inflight::fuzz {

class scribbles {
  public:
    // False if there is no room for it.
    bool add(const std::byte* at, std::uint16_t value) {
        if (count_ == halves_.size())
            return false;
        halves_[count_++] = {at, value};
        return true;
    }
    void add_everything() { everything_ = true; }
    void clear() {
        count_ = 0;
        everything_ = false;
    }

    bool everything() const { return everything_; }
    // Compares halves of words, which are the smallest unit that a driver writes.
    bool contain(const std::byte* start, std::size_t bytes) const {
        return std::any_of(halves_.begin(), halves_.begin() + count_, [=](const half& each) {
            return each.at + 2 > start && each.at < start + bytes && get<std::uint16_t>(each.at) == each.value;
        });
    }

  private:
    struct half {
        const std::byte* at;
        std::uint16_t value;
    };
    std::array<half, 256> halves_;
    unsigned count_ = 0;
    bool everything_ = false;
};

} // namespace inflight::fuzz
