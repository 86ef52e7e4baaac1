// Self-describing blocks in fio's format of verify=crc32c (fio 3.33), so that fio can verify what was written here, and
// vice versa. A block is a header, followed by data that the seed in the header determines.
//
//   byte  0  magic, 2 bytes: 0xacca         24  seconds, 4          36  CRC of bytes 0 to 35
//         2  kind of checksum, 2: 5         28  nanoseconds, 4      40  CRC of bytes 44 to the end
//         4  length of the block, 4         32  number of the job, 2; from 1
//         8  seed, 8                        34  number of the write, 2
//        16  offset on the disk, 8          (lowest byte first; both CRCs are CRC-32C without the last complement)
#pragma once

#include "bench/fio/job.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace inflight::bench {

inline constexpr std::size_t verify_header_bytes = 44;

// Returns the bytes for one header in a job whose writes have these sizes. With several sizes, a request is several
// blocks, each with its header: one for each piece of the smallest size, or of a common divisor of smallest and
// largest.
[[nodiscard]] std::uint32_t verify_interval(const block_sizes& of) noexcept;

// The fields of a header, without the checksums.
struct verify_stamp {
    std::uint64_t seed;   // determines the data; not 0, because fio's generator makes only zeroes of it
    std::uint64_t offset; // bytes, from the beginning of the disk
    std::uint32_t seconds = 0;
    std::uint32_t nanoseconds = 0;
    std::uint16_t job = 1;
    std::uint16_t number = 0;
};

// Fills `block` according to `stamp`. The block must be longer than a header, and aligned to eight bytes.
void fill_verify_block(std::span<std::byte> block, const verify_stamp& stamp) noexcept;

enum class verify_fault : std::uint8_t {
    none,
    magic,      // no header at all
    header_crc, // a header that was changed
    kind,       // a header for another checksum than CRC-32C
    offset,     // a block that belongs elsewhere
    length,     // a block of another size
    seed,       // a block from another time
    data_crc,   // changed data
};

// The first fault of a block.
struct verify_result {
    verify_fault fault = verify_fault::none;
    std::uint64_t expected = 0; // the value that the fault names
    std::uint64_t found = 0;

    [[nodiscard]] explicit operator bool() const noexcept { return fault == verify_fault::none; }
};

// Checks `block`, which was read at `offset`. `seed` is the seed that it must have, if that is known.
[[nodiscard]] verify_result check_verify_block(std::span<const std::byte> block, std::uint64_t offset,
                                               std::optional<std::uint64_t> seed) noexcept;

// Describes a fault: one sentence with disk, sector, expected and found value; then the fields of the header; then, if
// the data can be reproduced, 64 bytes from the first difference on, expected and found. Data can be reproduced if the
// seed is given, or if the header is intact and its seed reproduces its checksum (not if fio wrote several blocks with
// one seed). Lines end in '\n'. Writes as much as fits into `text`, and a 0. Returns the length without the 0. 1500
// bytes are enough.
std::size_t describe_verify_fault(std::span<char> text, const char* disk, std::span<const std::byte> block,
                                  std::uint64_t offset, std::optional<std::uint64_t> seed,
                                  const verify_result& result) noexcept;

} // namespace inflight::bench
