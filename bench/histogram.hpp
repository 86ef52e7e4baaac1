// A histogram of latencies in fixed memory. Small values are exact. Above them, each power of two is divided into 128
// equal parts, so a reported value is off by less than 1 %.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace inflight::bench {

class histogram {
  public:
    // Each value below this has a bucket of its own, because finding the power of two would cost more than everything
    // else.
    static constexpr std::uint64_t exact_values = 2048;

    // Records `value`, in any unit. Values of 2^32 or more count as the largest.
    void record(std::uint64_t value) noexcept { ++counts_[value < exact_values ? value : index_of(value)]; }

    // The same for a value below exact_values.
    void record_exact(std::uint64_t value) noexcept { ++counts_[value]; }

    [[nodiscard]] std::uint64_t count() const noexcept {
        std::uint64_t sum = 0;
        for (const std::uint64_t each : counts_) {
            sum += each;
        }
        return sum;
    }

    // Returns the value that `per_mille` thousandths of all values do not exceed: the upper edge of its bucket. Returns
    // 0 if the histogram is empty.
    [[nodiscard]] std::uint64_t percentile(std::uint64_t per_mille) const noexcept {
        const std::uint64_t recorded = count();
        if (recorded == 0) {
            return 0;
        }
        const std::uint64_t rank = (recorded * per_mille + 999) / 1000;
        std::uint64_t seen = 0;
        std::size_t i = 0;
        while (seen += counts_[i], seen < rank || seen == 0) {
            ++i;
        }
        return upper_edge(i);
    }

    // Calls `visit(middle, count)` for every bucket that is not empty, from the lowest on.
    template <typename Visitor>
    void for_each_bucket(Visitor&& visit) const noexcept {
        for (std::size_t i = 0; i < counts_.size(); ++i) {
            if (counts_[i] != 0) {
                visit(lower_edge(i) + (upper_edge(i) - lower_edge(i)) / 2, counts_[i]);
            }
        }
    }

    // Adds the values of another histogram.
    void add(const histogram& other) noexcept {
        for (std::size_t i = 0; i < counts_.size(); ++i) {
            counts_[i] += other.counts_[i];
        }
    }

    void clear() noexcept { counts_.fill(0); }

  private:
    static constexpr unsigned part_bits = 7; // 128 parts
    static constexpr unsigned exact_bits = 11;
    static constexpr unsigned value_bits = 32;
    static_assert(exact_values == std::uint64_t{1} << exact_bits);

    // From exact_values on, the bucket depends on the position of the highest bit and on the part_bits bits after it.
    static std::size_t index_of(std::uint64_t value) noexcept {
        if (value >> value_bits != 0) {
            value = (std::uint64_t{1} << value_bits) - 1;
        }
        // A loop, because the hart has no instruction for std::bit_width(): the library call costs more than the few
        // iterations for usual latencies.
        constexpr unsigned first_shift = exact_bits - part_bits;
        unsigned shift = first_shift;
        while (value >> (part_bits + 1) >> shift != 0) {
            ++shift;
        }
        const std::size_t part = (value >> shift) - (std::size_t{1} << part_bits);
        return exact_values + (std::size_t{shift - first_shift} << part_bits) + part;
    }

    static std::uint64_t lower_edge(std::size_t index) noexcept {
        if (index < exact_values) {
            return index;
        }
        index -= exact_values;
        const std::size_t shift = (index >> part_bits) + exact_bits - part_bits;
        const std::size_t part = index & ((std::size_t{1} << part_bits) - 1);
        return ((std::uint64_t{1} << part_bits) + part) << shift;
    }
    static std::uint64_t upper_edge(std::size_t index) noexcept {
        return index + 1 == buckets ? (std::uint64_t{1} << value_bits) - 1 : lower_edge(index + 1) - 1;
    }

    static constexpr std::size_t buckets = exact_values + (std::size_t{value_bits - exact_bits} << part_bits);
    std::array<std::uint64_t, buckets> counts_{};
};

} // namespace inflight::bench
