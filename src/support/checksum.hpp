// Checksums: the one of POSIX cksum, by pieces in any order, CRC-32 as zlib has it, and CRC-32C.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::support {

// The CRC that `cksum` prints, of data that arrives in pieces and in any order. The polynomial of a whole is the sum of
// the pieces' polynomials, each times x to the power of the bits behind it; so a piece needs to know only what is
// behind.
class posix_cksum {
  public:
    // `total` is the length of the whole in bytes.
    explicit posix_cksum(std::uint64_t total) noexcept : total_{total} {}

    // Adds the piece that begins at byte `offset`. Every byte of the whole is to be added once.
    void add(std::uint64_t offset, std::span<const std::byte> piece) noexcept;

    // Adds all pieces that another one of the same whole was given.
    void add(const posix_cksum& other) noexcept { sum_ ^= other.sum_; }

    // The checksum, when all pieces are added.
    [[nodiscard]] std::uint32_t value() const noexcept;

  private:
    std::uint64_t total_;
    std::uint32_t sum_ = 0;
};

// CRC-32 of IEEE 802.3, as zlib's crc32().
std::uint32_t crc32(std::span<const std::byte> data) noexcept;

// CRC-32C, with Castagnoli's polynomial, as iSCSI has it (RFC 3720, appendix B.4). `before` is that of the data before
// these.
std::uint32_t crc32c(std::span<const std::byte> data, std::uint32_t before = 0) noexcept;

} // namespace inflight::support
