// The bytes of the fuzzer, as choices and numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>

namespace inflight::fuzz {

class input {
  public:
    input(const std::uint8_t* data, std::size_t size) : next_{data}, end_{data + size} {}
    bool empty() const { return next_ == end_; }
    std::uint8_t byte() { return empty() ? std::uint8_t{0} : *next_++; }
    unsigned below(unsigned bound) { return byte() % bound; }
    template <typename T>
    T number() {
        T value = 0;
        for (unsigned i = 0; i < sizeof(T); ++i)
            value = static_cast<T>(value << 8 * (sizeof(T) > 1) | byte());
        return value;
    }
    // Numbers that are likely to be an edge of something.
    std::uint64_t interesting() {
        static constexpr std::uint64_t edges[] = {0,       1,           2,           3,          7,          8,
                                                  15,      16,          17,          64,         511,        512,
                                                  513,     4096,        65535,       65536,      0x7fffffff, 0x80000000,
                                                  1 << 20, 0xffff'fe00, 0xffff'ffff, 1ULL << 32, ~0ULL >> 9, ~0ULL};
        const unsigned which = below(std::size(edges) + 8);
        return which < std::size(edges) ? edges[which] : number<std::uint32_t>();
    }

  private:
    const std::uint8_t* next_;
    const std::uint8_t* end_;
};

} // namespace inflight::fuzz
