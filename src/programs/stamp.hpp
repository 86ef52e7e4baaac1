// Stamped sectors: each contains its number and how often it has been written (its generation). So a reader detects a
// sector of another place, an older or newer one, and a mix of two. tests/guest/stamps.py defines the format again in
// its own code.
//
// A sector has 64 words of 64 bits, little-endian: "inflight", number of the sector, generation, seed; word k of the
// rest is base ^ k * support::golden_gamma, where base is support::mix(seed ^ support::mix(number ^ generation << 40)).
// Generation 0 is a sector of zeroes.
#pragma once

#include "drivers/block/virtio_blk.hpp"
#include "src/support/random.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace inflight::kernel::stamp {

using generation = std::uint32_t;

inline constexpr generation zeroes = 0;
inline constexpr generation not_ours = ~generation{0}; // neither a stamp of this sector nor zeroes

namespace detail {

inline constexpr std::uint64_t magic = 0x746867696c666e69; // "inflight"
inline constexpr std::size_t words = block::sector_size / 8;
inline constexpr std::size_t header_words = 4;

constexpr std::uint64_t base_of(std::uint64_t seed, std::uint64_t sector, generation age) noexcept {
    return support::mix(seed ^ support::mix(sector ^ std::uint64_t{age} << 40));
}

inline std::uint64_t load(std::span<const std::byte> sector, std::size_t word) noexcept {
    std::uint64_t value;
    std::memcpy(&value, sector.data() + word * sizeof value, sizeof value);
    return value;
}

} // namespace detail

// Stamps `buffer`, which is whole sectors; `first` is the number of the first.
inline void write(std::span<std::byte> buffer, std::uint64_t seed, std::uint64_t first, generation age) noexcept {
    for (std::size_t at = 0; at < buffer.size(); at += block::sector_size, ++first) {
        const std::uint64_t header[detail::header_words] = {detail::magic, first, age, seed};
        std::memcpy(buffer.data() + at, header, sizeof header);
        const std::uint64_t base = detail::base_of(seed, first, age);
        std::uint64_t step = detail::header_words * support::golden_gamma;
        for (std::size_t word = detail::header_words; word < detail::words; ++word, step += support::golden_gamma) {
            const std::uint64_t value = base ^ step;
            std::memcpy(buffer.data() + at + word * sizeof value, &value, sizeof value);
        }
    }
}

// Returns the generation of sector `number` by all its 512 bytes; not_ours if they are not a stamp of this sector.
inline generation read(std::span<const std::byte> sector, std::uint64_t seed, std::uint64_t number) noexcept {
    using detail::load;
    if (load(sector, 0) == 0) {
        std::uint64_t any = 0;
        for (std::size_t word = 0; word < detail::words; ++word) {
            any |= load(sector, word);
        }
        return any == 0 ? zeroes : not_ours;
    }
    const std::uint64_t age = load(sector, 2);
    if (load(sector, 0) != detail::magic || load(sector, 1) != number || load(sector, 3) != seed || age >= not_ours) {
        return not_ours;
    }
    const std::uint64_t base = detail::base_of(seed, number, static_cast<generation>(age));
    std::uint64_t step = detail::header_words * support::golden_gamma;
    std::uint64_t different = 0;
    for (std::size_t word = detail::header_words; word < detail::words; ++word, step += support::golden_gamma) {
        different |= load(sector, word) ^ base ^ step;
    }
    return different == 0 ? static_cast<generation>(age) : not_ours;
}

} // namespace inflight::kernel::stamp
