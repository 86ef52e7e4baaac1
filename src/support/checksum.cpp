#include "src/support/checksum.hpp"

#include <array>
#include <bit>
#include <cstring>
#include <memory>

namespace inflight::support {

namespace {

// cksum and zlib use one polynomial: cksum with the highest power in the top bit, zlib with the highest in the lowest.
constexpr std::uint32_t polynomial = 0x04c11db7;
constexpr std::uint32_t reflected_polynomial = 0xedb88320;
constexpr std::uint32_t reflected_castagnoli = 0x82f63b78;

// tables[k][b]: byte b, followed by k bytes of zero. Eight bytes are then eight look-ups.
using crc_tables = std::array<std::array<std::uint32_t, 256>, 8>;

constexpr crc_tables make_forward_tables() noexcept {
    crc_tables tables{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t crc = byte << 24;
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc << 1) ^ ((crc >> 31) != 0 ? polynomial : 0);
        }
        tables[0][byte] = crc;
    }
    for (std::size_t k = 1; k < tables.size(); ++k) {
        for (std::size_t byte = 0; byte < 256; ++byte) {
            const std::uint32_t before = tables[k - 1][byte];
            tables[k][byte] = (before << 8) ^ tables[0][before >> 24];
        }
    }
    return tables;
}

constexpr crc_tables make_reflected_tables(std::uint32_t by) noexcept {
    crc_tables tables{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t crc = byte;
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? by : 0);
        }
        tables[0][byte] = crc;
    }
    for (std::size_t k = 1; k < tables.size(); ++k) {
        for (std::size_t byte = 0; byte < 256; ++byte) {
            const std::uint32_t before = tables[k - 1][byte];
            tables[k][byte] = (before >> 8) ^ tables[0][before & 0xff];
        }
    }
    return tables;
}

constexpr crc_tables forward = make_forward_tables();
constexpr crc_tables reflected = make_reflected_tables(reflected_polynomial);
constexpr crc_tables castagnoli = make_reflected_tables(reflected_castagnoli);

inline std::uint64_t load64(const std::byte* from) noexcept {
    std::uint64_t value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

std::uint32_t forward_step(std::uint32_t crc, std::byte next) noexcept {
    return (crc << 8) ^ forward[0][(crc >> 24) ^ std::to_integer<std::uint32_t>(next)];
}

// Whether the next byte is where a word may be. Elsewhere the load of a word may be eight loads.
bool aligned(const std::byte* next) noexcept {
    return reinterpret_cast<std::uintptr_t>(next) % 8 == 0;
}

// The remainder of `data`. Zeroes in front change nothing, and a sparse disk is full of them.
std::uint32_t forward_crc(std::span<const std::byte> data) noexcept {
    const std::byte* next = data.data();
    std::size_t left = data.size();
    std::uint32_t crc = 0;
    for (; left != 0 && !aligned(next); --left, ++next) {
        crc = forward_step(crc, *next);
    }
    if (crc == 0) {
        for (; left >= 8 && load64(std::assume_aligned<8>(next)) == 0; left -= 8, next += 8) {
        }
    }
    for (; left >= 8; left -= 8, next += 8) {
        const std::uint64_t word = load64(std::assume_aligned<8>(next)); // the first byte is the lowest
        const std::uint32_t head = crc ^ std::uint32_t{__builtin_bswap32(static_cast<std::uint32_t>(word))};
        crc = forward[7][head >> 24] ^ forward[6][(head >> 16) & 0xff] ^ forward[5][(head >> 8) & 0xff] ^
              forward[4][head & 0xff] ^ forward[3][(word >> 32) & 0xff] ^ forward[2][(word >> 40) & 0xff] ^
              forward[1][(word >> 48) & 0xff] ^ forward[0][word >> 56];
    }
    for (; left != 0; --left, ++next) {
        crc = forward_step(crc, *next);
    }
    return crc;
}

std::uint32_t reflected_step(const crc_tables& by, std::uint32_t crc, std::byte next) noexcept {
    return (crc >> 8) ^ by[0][(crc ^ std::to_integer<std::uint32_t>(next)) & 0xff];
}

// The remainder of `crc` followed by `data`.
std::uint32_t reflected_crc(const crc_tables& by, std::uint32_t crc, std::span<const std::byte> data) noexcept {
    const std::byte* next = data.data();
    std::size_t left = data.size();
    for (; left != 0 && !aligned(next); --left, ++next) {
        crc = reflected_step(by, crc, *next);
    }
    for (; left >= 8; left -= 8, next += 8) {
        const std::uint64_t word = load64(std::assume_aligned<8>(next)) ^ crc;
        crc = by[7][word & 0xff] ^ by[6][(word >> 8) & 0xff] ^ by[5][(word >> 16) & 0xff] ^ by[4][(word >> 24) & 0xff] ^
              by[3][(word >> 32) & 0xff] ^ by[2][(word >> 40) & 0xff] ^ by[1][(word >> 48) & 0xff] ^ by[0][word >> 56];
    }
    for (; left != 0; --left, ++next) {
        crc = reflected_step(by, crc, *next);
    }
    return crc;
}

// Product of two polynomials, modulo the polynomial.
std::uint32_t multiply(std::uint32_t one, std::uint32_t other) noexcept {
    std::uint32_t product = 0;
    for (int bit = 31; bit >= 0; --bit) {
        product = (product << 1) ^ ((product >> 31) != 0 ? polynomial : 0);
        if ((other >> bit & 1) != 0) {
            product ^= one;
        }
    }
    return product;
}

// x to the power of 8 * bytes, modulo the polynomial.
std::uint32_t shift_by(std::uint64_t bytes) noexcept {
    std::uint32_t power = 1;
    std::uint32_t square = 0x100; // x to the 8th
    for (; bytes != 0; bytes >>= 1) {
        if ((bytes & 1) != 0) {
            power = multiply(power, square);
        }
        square = multiply(square, square);
    }
    return power;
}

} // namespace

void posix_cksum::add(std::uint64_t offset, std::span<const std::byte> piece) noexcept {
    const std::uint64_t behind = total_ - offset - piece.size();
    sum_ ^= multiply(forward_crc(piece), shift_by(behind));
}

// POSIX appends the length, lowest byte first and without leading zeroes, and complements.
std::uint32_t posix_cksum::value() const noexcept {
    std::uint32_t crc = sum_;
    for (std::uint64_t length = total_; length != 0; length >>= 8) {
        crc = (crc << 8) ^ forward[0][(crc >> 24) ^ (length & 0xff)];
    }
    return ~crc;
}

std::uint32_t crc32(std::span<const std::byte> data) noexcept {
    return ~reflected_crc(reflected, ~std::uint32_t{0}, data);
}

std::uint32_t crc32c(std::span<const std::byte> data, std::uint32_t before) noexcept {
    return ~reflected_crc(castagnoli, ~before, data);
}

} // namespace inflight::support
