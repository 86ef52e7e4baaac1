// A histogram of latencies: exact for small values, then logarithmic, each power of two cut into 64 equal parts, so that a
// percentile is at most 1.6 % too high; fixed memory.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace inflight::bench {

class histogram {
  public:
    // `value` in any unit; from 2^32 on it counts as the largest.
    void record(std::uint64_t value) noexcept {
        if (value < exact_values) [[likely]] {
            ++exact_[value]; // finding the power of two would cost more than all else here
        } else {
            ++buckets_[index_of(value)];
        }
        ++count_;
    }

    [[nodiscard]] std::uint64_t count() const noexcept { return count_; }

    // The value below or at which `per_mille` of a thousand of all values lie; the upper edge of its bucket. 0 if empty.
    [[nodiscard]] std::uint64_t percentile(std::uint64_t per_mille) const noexcept {
        if (count_ == 0) {
            return 0;
        }
        const std::uint64_t rank = (count_ * per_mille + 999) / 1000;
        std::uint64_t seen = 0;
        for (std::size_t i = 0; i < exact_.size(); ++i) {
            seen += exact_[i];
            if (seen >= rank && seen != 0) {
                return i;
            }
        }
        for (std::size_t i = 0; i < buckets_.size(); ++i) {
            seen += buckets_[i];
            if (seen >= rank && seen != 0) {
                return upper_edge(i);
            }
        }
        return upper_edge(buckets_.size() - 1);
    }

    // Adds all that another one has recorded.
    void add(const histogram& other) noexcept {
        for (std::size_t i = 0; i < exact_.size(); ++i) {
            exact_[i] += other.exact_[i];
        }
        for (std::size_t i = 0; i < buckets_.size(); ++i) {
            buckets_[i] += other.buckets_[i];
        }
        count_ += other.count_;
    }

    void clear() noexcept {
        exact_.fill(0);
        buckets_.fill(0);
        count_ = 0;
    }

  private:
    static constexpr unsigned part_bits = 6; // 64 parts
    static constexpr std::size_t parts = std::size_t{1} << part_bits;
    static constexpr unsigned value_bits = 32;

    static constexpr std::size_t exact_values = 2048;

    // Values below 2 * parts have a bucket each; above, the top part_bits + 1 bits decide.
    static std::size_t index_of(std::uint64_t value) noexcept {
        if (value >> value_bits != 0) {
            value = (std::uint64_t{1} << value_bits) - 1;
        }
        if (value < 2 * parts) {
            return value;
        }
        const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - part_bits - 1;
        return (std::size_t{shift} << part_bits) + (value >> shift);
    }

    static std::uint64_t upper_edge(std::size_t index) noexcept {
        if (index < 2 * parts) {
            return index;
        }
        const std::size_t shift = (index >> part_bits) - 1;
        const std::uint64_t top = index - (shift << part_bits);
        return ((top + 1) << shift) - 1;
    }

    std::array<std::uint64_t, exact_values> exact_{};
    std::array<std::uint64_t, (std::size_t{value_bits - part_bits} << part_bits) + parts> buckets_{};
    std::uint64_t count_ = 0;
};

} // namespace inflight::bench
