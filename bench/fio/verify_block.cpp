#include "bench/fio/verify_block.hpp"

#include "src/support/checksum.hpp"

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <numeric>

namespace inflight::bench {

namespace {

constexpr std::uint16_t right_magic = 0xacca;
constexpr std::uint16_t kind_crc32c = 5;
constexpr std::uint16_t kind_crc32c_intel = 6; // the same checksum, which fio computes with special instructions
constexpr std::uint32_t sector_bytes = 512;

// The layout on the disk, except for the padding at its end.
struct header {
    std::uint16_t magic;
    std::uint16_t kind;
    std::uint32_t length;
    std::uint64_t seed;
    std::uint64_t offset;
    std::uint32_t seconds;
    std::uint32_t nanoseconds;
    std::uint16_t job;
    std::uint16_t number;
    std::uint32_t header_crc;
    std::uint32_t data_crc;
};
constexpr std::size_t crc_of_header_ends = offsetof(header, header_crc);
static_assert(crc_of_header_ends == 36 && offsetof(header, data_crc) + 4 == verify_header_bytes);

header header_of(std::span<const std::byte> block) noexcept {
    header found{};
    if (!block.empty()) {
        std::memcpy(&found, block.data(), std::min(block.size(), verify_header_bytes));
    }
    return found;
}

std::uint32_t crc_of(std::span<const std::byte> data) noexcept {
    return ~support::crc32c(data);
}

// fio's data: four sequences of 64-bit numbers take turns. Each number is its predecessor times a constant, and the
// sequences begin with the seed times 1, 2, 3 and 5. The rest at the end of the block, less than a turn, comes from the
// first sequence alone.
class payload {
  public:
    static constexpr std::size_t turn_bytes = 32;
    using turn = std::array<std::uint64_t, turn_bytes / sizeof(std::uint64_t)>;

    explicit payload(std::uint64_t seed) noexcept : next_{seed, 2 * seed, 3 * seed, 5 * seed} {}

    // Returns the next turn, which is the last one if fewer bytes than a turn are left.
    turn take(std::size_t left) noexcept {
        turn taken = next_;
        if (left < turn_bytes) {
            for (std::size_t i = 1; i < taken.size(); ++i) {
                taken[i] = taken[i - 1] * factor;
            }
        }
        for (std::uint64_t& each : next_) {
            each *= factor;
        }
        return taken;
    }

  private:
    static constexpr std::uint64_t factor = 0x61c8864680b583eb;
    turn next_;
};

// Makes the data of a block of `size` bytes from `seed`. Passes it to `take` from byte `from` on: the position, and at
// most 32 bytes at a time.
template <typename Take>
void for_each_piece(std::uint64_t seed, std::size_t size, std::size_t from, Take&& take) noexcept {
    payload data{seed};
    for (std::size_t done = 0; done < size; done += payload::turn_bytes) {
        const payload::turn turn = data.take(size - done);
        const std::size_t part = std::min(size - done, payload::turn_bytes);
        if (done + part > from) {
            const std::size_t skipped = from > done ? from - done : 0;
            take(done + skipped, std::as_bytes(std::span{turn}).subspan(skipped, part - skipped));
        }
    }
}

// Returns the CRC of the data that `seed` makes.
std::uint32_t crc_of_seed(std::uint64_t seed, std::size_t size) noexcept {
    std::uint32_t crc = 0;
    for_each_piece(seed, size, verify_header_bytes,
                   [&crc](std::size_t, std::span<const std::byte> piece) { crc = support::crc32c(piece, crc); });
    return ~crc;
}

// Returns the first byte of `block`'s data that differs from what `seed` makes; the block's size if there is none.
std::size_t first_difference(std::span<const std::byte> block, std::uint64_t seed) noexcept {
    std::size_t first = block.size();
    for_each_piece(seed, block.size(), verify_header_bytes, [&](std::size_t at, std::span<const std::byte> piece) {
        for (std::size_t i = 0; i < piece.size() && first == block.size(); ++i) {
            if (piece[i] != block[at + i]) {
                first = at + i;
            }
        }
    });
    return first;
}

class text_writer {
  public:
    explicit text_writer(std::span<char> into) noexcept : into_{into} {
        if (!into_.empty()) {
            into_[0] = '\0';
        }
    }

    [[gnu::format(printf, 2, 3)]] void print(const char* format, ...) noexcept {
        std::va_list arguments;
        va_start(arguments, format);
        const int length = std::vsnprintf(into_.data() + used_, into_.size() - used_, format, arguments);
        va_end(arguments);
        if (length > 0 && !into_.empty()) {
            used_ = std::min(used_ + static_cast<std::size_t>(length), into_.size() - 1);
        }
    }

    [[nodiscard]] std::size_t length() const noexcept { return used_; }

  private:
    std::span<char> into_;
    std::size_t used_ = 0;
};

const char* name_of(verify_fault fault) noexcept {
    switch (fault) {
    case verify_fault::none: return "nothing";
    case verify_fault::magic: return "magic number of the header";
    case verify_fault::header_crc: return "checksum of the header";
    case verify_fault::kind: return "kind of checksum";
    case verify_fault::offset: return "offset in the header";
    case verify_fault::length: return "length in the header";
    case verify_fault::seed: return "seed in the header";
    case verify_fault::data_crc: return "checksum of the data";
    }
    return "";
}

constexpr bool in_decimal(verify_fault fault) noexcept {
    return fault == verify_fault::offset || fault == verify_fault::length || fault == verify_fault::kind;
}

void print_bytes(text_writer& text, const char* label, std::span<const std::byte> bytes) noexcept {
    text.print("%s", label);
    for (const std::byte each : bytes) {
        text.print(" %02x", std::to_integer<unsigned>(each));
    }
    text.print("\n");
}

// Prints 64 bytes from the first difference on, expected and found.
void print_difference(text_writer& text, std::span<const std::byte> block, std::uint64_t seed) noexcept {
    const std::size_t from = first_difference(block, seed);
    if (from == block.size()) {
        text.print("  data: as the seed makes them\n");
        return;
    }
    std::array<std::byte, 64> expected;
    const std::size_t length = std::min(block.size() - from, expected.size());
    for_each_piece(seed, block.size(), from, [&](std::size_t at, std::span<const std::byte> piece) {
        const std::size_t done = at - from;
        if (done < length) {
            std::memcpy(expected.data() + done, piece.data(), std::min(piece.size(), length - done));
        }
    });
    text.print("  data differ from byte %u of the block on:\n", static_cast<unsigned>(from));
    constexpr std::size_t row = 16;
    for (std::size_t done = 0; done < length; done += row) {
        const std::size_t part = std::min(row, length - done);
        print_bytes(text, "    expected", std::span{expected}.subspan(done, part));
        print_bytes(text, "    found   ", block.subspan(from + done, part));
    }
}

} // namespace

std::uint32_t verify_interval(const block_sizes& of) noexcept {
    std::uint32_t smallest = 0;
    std::uint32_t largest = 0;
    for (std::size_t i = 0; i < of.count; ++i) {
        if (of.shares[i].percent != 0) {
            smallest = smallest == 0 ? of.shares[i].bytes : std::min(smallest, of.shares[i].bytes);
            largest = std::max(largest, of.shares[i].bytes);
        }
    }
    return std::gcd(smallest, largest);
}

void fill_verify_block(std::span<std::byte> block, const verify_stamp& stamp) noexcept {
    std::byte* const data = std::assume_aligned<alignof(std::uint64_t)>(block.data());
    payload made{stamp.seed};
    std::size_t done = 0;
    for (; block.size() - done >= payload::turn_bytes; done += payload::turn_bytes) {
        const payload::turn turn = made.take(payload::turn_bytes);
        std::memcpy(std::assume_aligned<alignof(std::uint64_t)>(data + done), turn.data(), payload::turn_bytes);
    }
    const payload::turn turn = made.take(block.size() - done);
    std::memcpy(data + done, turn.data(), block.size() - done);

    header made_header{.magic = right_magic,
                       .kind = kind_crc32c,
                       .length = static_cast<std::uint32_t>(block.size()),
                       .seed = stamp.seed,
                       .offset = stamp.offset,
                       .seconds = stamp.seconds,
                       .nanoseconds = stamp.nanoseconds,
                       .job = stamp.job,
                       .number = stamp.number,
                       .header_crc = 0,
                       .data_crc = crc_of(block.subspan(verify_header_bytes))};
    made_header.header_crc = crc_of(std::as_bytes(std::span{&made_header, 1}).first(crc_of_header_ends));
    std::memcpy(data, &made_header, verify_header_bytes);
}

verify_result check_verify_block(std::span<const std::byte> block, std::uint64_t offset,
                                 std::optional<std::uint64_t> seed) noexcept {
    const header found = header_of(block);
    if (found.magic != right_magic) {
        return {.fault = verify_fault::magic, .expected = right_magic, .found = found.magic};
    }
    const std::uint32_t header_crc = crc_of(std::as_bytes(std::span{&found, 1}).first(crc_of_header_ends));
    if (header_crc != found.header_crc) {
        return {.fault = verify_fault::header_crc, .expected = found.header_crc, .found = header_crc};
    }
    if (found.kind != kind_crc32c && found.kind != kind_crc32c_intel) {
        return {.fault = verify_fault::kind, .expected = kind_crc32c, .found = found.kind};
    }
    if (found.offset != offset) {
        return {.fault = verify_fault::offset, .expected = offset, .found = found.offset};
    }
    if (found.length != block.size()) {
        return {.fault = verify_fault::length, .expected = block.size(), .found = found.length};
    }
    if (seed.has_value() && found.seed != *seed) {
        return {.fault = verify_fault::seed, .expected = *seed, .found = found.seed};
    }
    const std::uint32_t data_crc = crc_of(block.subspan(verify_header_bytes));
    if (data_crc != found.data_crc) {
        return {.fault = verify_fault::data_crc, .expected = found.data_crc, .found = data_crc};
    }
    return {};
}

std::size_t describe_verify_fault(std::span<char> into, const char* disk, std::span<const std::byte> block,
                                  std::uint64_t offset, std::optional<std::uint64_t> seed,
                                  const verify_result& result) noexcept {
    text_writer text{into};
    const header found = header_of(block);
    text.print(in_decimal(result.fault) ? "verify: bad data on %s, sector %llu: %s: expected %llu, found %llu\n"
                                        : "verify: bad data on %s, sector %llu: %s: expected 0x%llx, found 0x%llx\n",
               disk, static_cast<unsigned long long>(offset / sector_bytes), name_of(result.fault),
               static_cast<unsigned long long>(result.expected), static_cast<unsigned long long>(result.found));
    text.print(
        "  header: magic 0x%x, kind %u, length %u, seed 0x%llx, offset %llu, time %u.%09u, job %u, number %u, header's "
        "checksum 0x%08x, data's 0x%08x\n",
        found.magic, found.kind, found.length, static_cast<unsigned long long>(found.seed),
        static_cast<unsigned long long>(found.offset), found.seconds, found.nanoseconds, found.job, found.number,
        found.header_crc, found.data_crc);
    if (!seed.has_value()) {
        const bool header_is_whole = result.fault != verify_fault::magic && result.fault != verify_fault::header_crc;
        if (header_is_whole && crc_of_seed(found.seed, block.size()) == found.data_crc) {
            seed = found.seed;
        }
    }
    if (seed.has_value() && block.size() > verify_header_bytes) {
        print_difference(text, block, *seed);
    }
    return text.length();
}

} // namespace inflight::bench
