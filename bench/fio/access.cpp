#include "bench/fio/access.hpp"

#include <algorithm>
#include <numeric>

namespace inflight::bench {

namespace {

constexpr std::uint64_t whole = std::uint64_t{1} << 32; // the range of the upper half of a random number

constexpr std::size_t read_index = static_cast<std::size_t>(direction::read);
constexpr std::size_t write_index = static_cast<std::size_t>(direction::write);
constexpr std::size_t trim_index = static_cast<std::size_t>(direction::trim);

// Converts a percentage to a share of `whole`.
constexpr std::uint64_t part_of_whole(std::uint64_t percent) noexcept {
    return whole * std::min<std::uint64_t>(percent, 100) / 100;
}

} // namespace

access_sequence::access_sequence(const job& of, access_range range, std::uint64_t seed) noexcept
    : mixed_{of.rw == job_pattern::rw || of.rw == job_pattern::randrw},
      begin_{range.begin},
      size_{range.end - range.begin},
      reads_below_{part_of_whole(of.rwmixread)},
      seed_{seed} {
    if (reads(of.rw)) {
        take_sizes(of.bs[read_index], read_index);
        only_ = direction::read;
    }
    if (trims(of.rw)) {
        take_sizes(of.bs[trim_index], trim_index);
        only_ = direction::trim;
    }
    if (writes(of.rw) && of.rw != job_pattern::trimwrite) { // trimwrite writes what it trims
        take_sizes(of.bs[write_index], write_index);
        only_ = direction::write;
    }

    for (std::size_t i = 0; i < directions; ++i) {
        lanes_[i].place = static_cast<std::uint8_t>(i);
        if (size_ < lanes_[i].smallest) {
            size_ = 0; // a direction has no room, so there are no requests
        }
    }
    if (of.rw == job_pattern::trimwrite) {
        order_ = order::trim_and_write;
    } else if (is_random(of.rw)) {
        prepare_random(of);
    }
    find_short_way();
    repeat_pass();
}

// Chooses the short way if there is one block size and one position: with one direction, or with two that share a map
// or have none.
void access_sequence::find_short_way() noexcept {
    plain_ = lanes_[static_cast<std::size_t>(only_)];
    const lane& other = mixed_ ? lanes_[read_index] : plain_;
    const bool alike = plain_.smallest == other.smallest && plain_.unit == other.unit;
    if (size_ == 0 || plain_.sizes != 1 || other.sizes != 1 || !alike) {
        return;
    }
    switch (order_) {
    case order::shuffled: short_way_ = short_way::shuffled; break;
    case order::independent: short_way_ = short_way::independent; break;
    case order::sequential: short_way_ = mixed_ ? short_way::none : short_way::sequential; break;
    case order::skewed:
    case order::trim_and_write: break;
    }
}

// Determines the places of the blocks.
void access_sequence::prepare_random(const job& of) noexcept {
    bool any_place = of.norandommap;
    std::uint64_t largest = 0;
    std::uint64_t common_alignment = 1;
    for (std::size_t i = 0; i < directions; ++i) {
        lane& each = lanes_[i];
        if (each.sizes == 0) {
            continue;
        }
        each.unit = of.blockalign[i] == 0 ? each.smallest : of.blockalign[i];
        any_place = any_place || each.unit != each.smallest;
        common_alignment = std::lcm(common_alignment, std::max<std::uint64_t>(of.blockalign[i], 1));
        for (std::size_t entry = 0; entry < each.sizes; ++entry) {
            largest = std::max<std::uint64_t>(largest, size_tables_[i][entry].bytes);
        }
    }
    const bool skewed = of.distribution.kind != random_distribution::shape::random;
    order_ = skewed ? order::skewed : any_place ? order::independent : order::shuffled;

    const bool apart = of.verify && writes(of.rw);
    const std::uint64_t apart_unit = (largest + common_alignment - 1) / common_alignment * common_alignment;
    for (std::size_t i = 0; i < directions && size_ != 0; ++i) {
        lane& each = lanes_[i];
        if (each.sizes == 0) {
            continue;
        }
        if (apart) {
            each.unit = apart_unit;
        }
        // As in fio, only whole units hold a block. If a unit is smaller than a block, a block may begin wherever it
        // fits.
        const std::uint64_t blocks =
            each.unit < each.smallest ? (size_ - each.smallest) / each.unit + 1 : size_ / each.unit;
        if (blocks == 0) {
            size_ = 0;
            return;
        }
        each.blocks = support::permutation{blocks, seed_};
        if (skewed) {
            ranks_[i] = skewed_ranks{of.distribution, blocks};
        }
    }
    // Both directions share a map if their units are equal, so a block that was written is not read in the same pass.
    if (mixed_ && lanes_[read_index].unit == lanes_[write_index].unit) {
        lanes_[write_index].place = lanes_[read_index].place;
    }
}

void access_sequence::take_sizes(const block_sizes& of, std::size_t at) noexcept {
    lane& into = lanes_[at];
    std::uint32_t smallest = 0;
    for (std::size_t i = 0; i < of.count; ++i) {
        if (of.shares[i].percent != 0 && (smallest == 0 || of.shares[i].bytes < smallest)) {
            smallest = of.shares[i].bytes;
        }
    }
    std::uint64_t percent = 0;
    for (std::size_t i = 0; i < of.count; ++i) {
        if (of.shares[i].percent != 0) {
            percent += of.shares[i].percent;
            const std::uint32_t bytes = of.shares[i].bytes;
            size_tables_[at][into.sizes++] = {.below = part_of_whole(percent), .bytes = bytes - bytes % smallest};
        }
    }
    into.smallest = smallest;
}

void access_sequence::begin_pass() noexcept {
    ++pass_;
    repeat_pass();
}

void access_sequence::repeat_pass() noexcept {
    const std::uint64_t seed = support::mix(seed_ + pass_ * support::golden_gamma);
    chance_ = support::random{seed};
    place_ = 0;
    given_ = 0;
    to_write_ = 0;
    places_.fill(0);
    if (order_ == order::shuffled) {
        for (lane& each : lanes_) {
            if (each.sizes != 0) {
                each.blocks = support::permutation{each.blocks.count(), seed};
            }
        }
        plain_.blocks = lanes_[static_cast<std::size_t>(only_)].blocks;
    }
}

bool access_sequence::next_of_any(access& out) noexcept {
    if (given_ >= size_) {
        return false;
    }
    if (order_ == order::trim_and_write) {
        return next_trim_or_write(out);
    }
    const direction what = mixed_ ? draw_direction() : only_;
    const lane& of = lanes_[static_cast<std::size_t>(what)];
    std::uint64_t& place = places_[of.place];
    std::uint64_t offset = 0;
    if (order_ == order::sequential) {
        offset = place;
        if (size_ - offset < of.smallest) {
            given_ = size_; // the pass is over, even if the other direction still had room
            return false;
        }
    } else if (order_ == order::shuffled) {
        if (place == of.blocks.count()) {
            given_ = size_;
            return false;
        }
        offset = of.blocks(place++) * of.unit;
    } else if (order_ == order::skewed) {
        offset = draw_skewed(what) * of.unit;
    } else {
        offset = chance_.below(of.blocks.count()) * of.unit;
    }
    const std::uint32_t length = of.sizes == 1 ? of.smallest : draw_length(what, size_ - offset);
    if (order_ == order::sequential) {
        place += length;
    }
    given_ += length;
    out = {.what = what, .offset = begin_ + offset, .length = length};
    return true;
}

// The frequent blocks are the same in every pass.
std::uint64_t access_sequence::draw_skewed(direction what) noexcept {
    const auto at = static_cast<std::size_t>(what);
    return lanes_[at].blocks(ranks_[at].draw(chance_));
}

std::uint32_t access_sequence::draw_length(direction what, std::uint64_t room) noexcept {
    const auto& table = size_tables_[static_cast<std::size_t>(what)];
    const lane& of = lanes_[static_cast<std::size_t>(what)];
    const std::uint64_t drawn = chance_.next() >> 32;
    std::size_t entry = 0;
    while (entry + 1U < of.sizes && drawn >= table[entry].below) {
        ++entry;
    }
    if (table[entry].bytes <= room) {
        return table[entry].bytes;
    }
    std::uint32_t largest = of.smallest; // fits
    for (std::size_t i = 0; i < of.sizes; ++i) {
        if (table[i].bytes <= room) {
            largest = std::max(largest, table[i].bytes);
        }
    }
    return largest;
}

bool access_sequence::next_trim_or_write(access& out) noexcept {
    std::uint64_t& place = places_[lanes_[trim_index].place];
    if (to_write_ != 0) {
        out = {.what = direction::write, .offset = begin_ + place, .length = to_write_};
        place += to_write_;
        given_ += to_write_;
        to_write_ = 0;
        return true;
    }
    const lane& of = lanes_[trim_index];
    if (size_ - place < of.smallest) {
        return false;
    }
    to_write_ = of.sizes == 1 ? of.smallest : draw_length(direction::trim, size_ - place);
    out = {.what = direction::trim, .offset = begin_ + place, .length = to_write_};
    return true;
}

} // namespace inflight::bench
