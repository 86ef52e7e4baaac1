// Which block comes next: the order in which a job touches its part of the disk, the sizes of its requests, and what
// each does. Everything repeats with the seed.
//
// As in fio: a sequential job goes through the range from its beginning, each direction at a place of its own. A random
// job touches every block once, in random order; or, with norandommap, any block at any time. So it does with a
// blockalign other than the smallest block size, and with zipf and pareto, where the blocks that are touched often lie
// anywhere in the range. blockalign= means nothing to sequential jobs. With several block sizes, those are rounded down
// to multiples of the smallest.
//
// What differs from fio:
// - A random map is kept without memory, so with several block sizes it decides where requests begin: each multiple of
//   the smallest size at most once. If the job verifies what it writes, a place has room for the largest size, so that
//   no two requests of a pass overlap; there, only a blockalign= that is given counts.
// - If the directions of a random job have different smallest sizes, each has a map of its own.
// - trimwrite writes what was trimmed, with the same size: the trims' one.
// - zipf and pareto spread the often touched blocks by a permutation: two ranks never fall on one block.
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

// The part of the disk that is a job's, in bytes; begin and end are multiples of the logical block size.
struct access_range {
    std::uint64_t begin;
    std::uint64_t end;
};

// The requests of one pass over the range, in their order.
class access_sequence {
  public:
    // `seed` decides everything that is random. The first pass begins. Nothing of the job is looked at later.
    access_sequence(const job& of, access_range range, std::uint64_t seed) noexcept;

    // The next request, wholly inside the range; false if the pass is over: as many bytes as the range has were given
    // (all directions together, but of trimwrite only the writes), every block of the map was, or no block size has
    // room any more: an end of the range that is shorter than the smallest block is left out. A block size that has no
    // room where there is for a smaller one is replaced by the largest that has.
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

    // True if all requests have one direction and one length, so that only the offset differs.
    [[nodiscard]] bool is_uniform() const noexcept { return short_way_ != short_way::none && !mixed_; }

    // Of such a sequence, the same as next().
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

    // Another pass: from the beginning of the range, or in another random order.
    void begin_pass() noexcept;

    // The same pass once more, to verify what it wrote: the same requests in the same order.
    void repeat_pass() noexcept;

  private:
    enum class order : std::uint8_t { sequential, shuffled, independent, skewed, trim_and_write };

    // The orders again, where next() needs to know one block size only, and one place: it need not call anything then.
    enum class short_way : std::uint8_t { none, shuffled, independent, sequential };

    // What one direction needs to choose a block.
    struct lane {
        support::permutation blocks{}; // random orders: their number, and their order or where their ranks lie
        std::uint64_t unit = 0;        // random orders: bytes from one to the next
        std::uint32_t smallest = 0;    // bytes
        std::uint8_t sizes = 0;        // 1: only that; 0: the direction is not in the job
        std::uint8_t place = 0;        // which of places_ is this direction's
    };

    // A size is taken by numbers below `below`, of 2^32.
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

    // What next() needs.
    short_way short_way_ = short_way::none;
    bool mixed_ = false;
    direction only_ = direction::read;
    std::uint64_t begin_;
    std::uint64_t size_;      // bytes
    std::uint64_t place_ = 0; // blocks given if shuffled, else bytes
    lane plain_{};
    support::random chance_{0};     // of this pass
    std::uint64_t reads_below_ = 0; // of 2^32

    // The long way.
    order order_ = order::sequential;
    std::uint64_t given_ = 0;                        // bytes
    std::array<std::uint64_t, directions> places_{}; // bytes from the beginning if sequential, else blocks given
    std::array<lane, directions> lanes_{};
    std::array<std::array<size_entry, block_sizes::most>, directions> size_tables_{};
    std::array<skewed_ranks, directions> ranks_{};
    std::uint32_t to_write_ = 0; // trimwrite: bytes that were trimmed just now
    std::uint64_t seed_;
    std::uint64_t pass_ = 0;
};

} // namespace inflight::bench
