// Chooses the requests of a job: the order in which it accesses its part of the disk, and the size and direction of
// each request. The same seed gives the same requests.
//
// As in fio: A sequential job goes through the range from its beginning, with a separate position for each direction. A
// random job accesses every block once, in random order. With norandommap, it accesses any block at any time; the same
// holds for a blockalign other than the smallest block size, and for zipf and pareto, whose frequent blocks are spread
// over the range. blockalign= has no effect on sequential jobs. With several block sizes, the sizes are rounded down to
// multiples of the smallest.
//
// Differences from fio:
// - The random map takes no memory. With several block sizes, it therefore decides where requests begin: at each
//   multiple of the smallest size at most once. If the job verifies what it writes, each place has room for the largest
//   size, so that no two requests of a pass overlap; only an explicit blockalign= counts in that case.
// - If the directions of a random job have different smallest sizes, each direction has a map of its own.
// - trimwrite writes blocks of the sizes that were trimmed.
// - zipf and pareto spread the frequent blocks by a permutation, so two ranks never share a block.
#pragma once

#include "bench/fio/job.hpp"
#include "bench/fio/ranks.hpp"
#include "src/support/permutation.hpp"
#include "src/support/random.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace inflight::bench {

// One request of a job.
struct access {
    direction what;
    std::uint64_t offset; // bytes, from the beginning of the disk
    std::uint32_t length; // bytes
};

// The job's part of the disk, in bytes. Both ends are multiples of the logical block size.
struct access_range {
    std::uint64_t begin;
    std::uint64_t end;
};

// The requests of one pass over the range, in order.
class access_sequence {
  public:
    // `seed` determines all random choices. The object does not refer to the job later. The first pass begins.
    access_sequence(const job& of, access_range range, std::uint64_t seed) noexcept;

    // Produces the next request, which lies inside the range. Returns false at the end of the pass: when the requests
    // add up to the size of the range (all directions together; for trimwrite only the writes), when every block of the
    // map was accessed, or when no block size fits any more. The end of a range that is shorter than the smallest block
    // is left out. If the chosen size does not fit, the largest one that fits replaces it.
    bool next(access& out) noexcept {
        if (short_way_ == short_way::none) {
            return next_of_any(out);
        }
        if (!next_offset(out.offset)) [[unlikely]] {
            return false;
        }
        out.length = plain_.smallest;
        out.what = mixed_ ? draw_direction() : only_;
        return true;
    }

    // Returns whether all requests have one direction and one length, so that only the offset differs.
    [[nodiscard]] bool is_uniform() const noexcept { return short_way_ != short_way::none && !mixed_; }

    // The same as next() for a uniform sequence.
    [[gnu::always_inline]] bool next_offset(std::uint64_t& offset) noexcept {
        switch (short_way_) {
        case short_way::shuffled:
            if (place_ == plain_.blocks.count()) [[unlikely]] {
                return false;
            }
            offset = begin_ + plain_.blocks(place_++) * plain_.unit;
            return true;
        case short_way::independent:
            if (place_ >= size_) [[unlikely]] {
                return false;
            }
            place_ += plain_.smallest;
            offset = begin_ + chance_.below(plain_.blocks.count()) * plain_.unit;
            return true;
        case short_way::sequential:
            if (size_ - place_ < plain_.smallest) [[unlikely]] {
                return false;
            }
            offset = begin_ + place_;
            place_ += plain_.smallest;
            return true;
        case short_way::none: break;
        }
        return false;
    }

    // Begins another pass: from the beginning of the range, or in another random order.
    void begin_pass() noexcept;

    // Begins the same pass again, with the same requests in the same order, to verify what it wrote.
    void repeat_pass() noexcept;

  private:
    enum class order : std::uint8_t { sequential, shuffled, independent, skewed, trim_and_write };

    // The orders in which next() needs only one block size and one position, and calls no other function.
    enum class short_way : std::uint8_t { none, shuffled, independent, sequential };

    // The state from which one direction chooses a block.
    struct lane {
        support::permutation blocks{}; // random orders: the blocks, in their order or by their ranks
        std::uint64_t unit = 0;        // random orders: bytes from one block to the next
        std::uint32_t smallest = 0;    // bytes
        std::uint8_t sizes = 0;        // their number; 1: only `smallest`; 0: the job has no such direction
        std::uint8_t place = 0;        // the index in places_
    };

    // The size for random numbers less than `below`, of 2^32.
    struct size_entry {
        std::uint64_t below;
        std::uint32_t bytes;
    };

    [[nodiscard]] direction draw_direction() noexcept {
        return chance_.next() >> 32 < reads_below_ ? direction::read : direction::write;
    }
    [[nodiscard]] std::uint64_t draw_skewed(direction what) noexcept;
    [[nodiscard]] std::uint32_t draw_length(direction what, std::uint64_t room) noexcept;
    bool next_of_any(access& out) noexcept;
    bool next_trim_or_write(access& out) noexcept;
    void find_short_way() noexcept;
    void take_sizes(const block_sizes& of, std::size_t at) noexcept;
    void prepare_random(const job& of) noexcept;

    // State of next().
    short_way short_way_ = short_way::none;
    bool mixed_ = false;
    direction only_ = direction::read;
    std::uint64_t begin_;
    std::uint64_t size_;      // bytes
    std::uint64_t place_ = 0; // blocks given if shuffled, else bytes
    lane plain_{};
    support::random chance_{0};     // of this pass
    std::uint64_t reads_below_ = 0; // of 2^32

    // State of next_of_any().
    order order_ = order::sequential;
    std::uint64_t given_ = 0;                        // bytes
    std::array<std::uint64_t, directions> places_{}; // bytes from the beginning if sequential, else blocks given
    std::array<lane, directions> lanes_{};
    std::array<std::array<size_entry, block_sizes::most>, directions> size_tables_{};
    std::array<skewed_ranks, directions> ranks_{};
    std::uint32_t to_write_ = 0; // trimwrite: the bytes just trimmed
    std::uint64_t seed_;
    std::uint64_t pass_ = 0;
};

} // namespace inflight::bench
