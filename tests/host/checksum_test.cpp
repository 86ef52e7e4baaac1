// Checksums against the host's programs, and against their definitions a bit at a time.
#include "src/support/checksum.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

using namespace inflight;
using support::crc32;
using support::posix_cksum;
using tests::chance;
using tests::pick;

std::vector<std::byte> random_bytes(std::mt19937_64& chances, std::size_t count) {
    std::vector<std::byte> bytes(count);
    for (std::byte& each : bytes) {
        each = static_cast<std::byte>(chances());
    }
    return bytes;
}

// What a command prints; it must succeed.
std::string output_of(const std::string& command) {
    std::FILE* const pipe = popen(command.c_str(), "r");
    BOOST_REQUIRE(pipe != nullptr);
    std::string text;
    char part[4096];
    for (std::size_t got; (got = std::fread(part, 1, sizeof part, pipe)) != 0;) {
        text.append(part, got);
    }
    BOOST_REQUIRE_MESSAGE(pclose(pipe) == 0, command << " failed: " << text);
    return text;
}

// A directory for the test, gone with it.
class scratch_directory {
  public:
    scratch_directory() {
        std::string pattern = (std::filesystem::temp_directory_path() / "inflight-parts-XXXXXX").string();
        BOOST_REQUIRE(mkdtemp(pattern.data()) != nullptr);
        path_ = pattern;
    }
    ~scratch_directory() { std::filesystem::remove_all(path_); }
    scratch_directory(const scratch_directory&) = delete;
    scratch_directory& operator=(const scratch_directory&) = delete;

    [[nodiscard]] std::string file(std::size_t number) const {
        return (path_ / ("data" + std::to_string(number))).string();
    }

  private:
    std::filesystem::path path_;
};

void write_file(const std::string& name, std::span<const std::byte> data) {
    std::ofstream file{name, std::ios::binary};
    file.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
    BOOST_REQUIRE(file.good());
}

// The remainder of the data, with 32 zero bits behind it, a bit at a time.
std::uint32_t bitwise_remainder(std::span<const std::byte> data) {
    std::uint32_t remainder = 0;
    for (const std::byte each : data) {
        for (int bit = 7; bit >= 0; --bit) {
            const bool carry = (remainder >> 31) != 0;
            const bool in = (std::to_integer<unsigned>(each) >> bit & 1) != 0;
            remainder <<= 1;
            if (carry != in) {
                remainder ^= 0x04c11db7;
            }
        }
    }
    return remainder;
}

// The checksum as POSIX defines it: of the data and then its length, complemented.
std::uint32_t bitwise_cksum(std::span<const std::byte> data) {
    std::vector<std::byte> whole{data.begin(), data.end()};
    for (std::size_t length = data.size(); length != 0; length /= 256) {
        whole.push_back(static_cast<std::byte>(length % 256));
    }
    return ~bitwise_remainder(whole);
}

// Adds all of `data`, cut at random and shuffled.
std::uint32_t cksum_in_pieces(std::mt19937_64& chances, std::span<const std::byte> data, std::size_t max_pieces) {
    std::set<std::size_t> cuts{0, data.size()};
    while (cuts.size() < max_pieces && cuts.size() <= data.size()) {
        cuts.insert(pick<std::size_t>(chances, 0, data.size()));
    }
    std::vector<std::pair<std::size_t, std::size_t>> pieces;
    for (auto from = cuts.begin(); std::next(from) != cuts.end(); ++from) {
        pieces.emplace_back(*from, *std::next(from) - *from);
    }
    pieces.emplace_back(pick<std::size_t>(chances, 0, data.size()), 0); // an empty one does no harm
    std::shuffle(pieces.begin(), pieces.end(), chances);
    posix_cksum sum{data.size()};
    for (const auto& [offset, length] : pieces) {
        sum.add(offset, data.subspan(offset, length));
    }
    return sum.value();
}

} // namespace

BOOST_AUTO_TEST_SUITE(checksums)

BOOST_AUTO_TEST_CASE(cksum_by_pieces_is_what_the_program_prints) {
    auto chances = chance(10);
    std::vector<std::size_t> lengths = {0, 1, 2, 7, 8, 9, 255, 256, 511, 512, 513, 4095, 4096, 65'535, 65'536, 100'000};
    for (int i = 0; i < 60; ++i) {
        lengths.push_back(pick<std::size_t>(chances, 0, 100'000));
    }
    const scratch_directory scratch;
    std::string command = "cksum";
    std::vector<std::uint32_t> ours;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
        const auto data = random_bytes(chances, lengths[i]);
        write_file(scratch.file(i), data);
        command += " " + scratch.file(i);
        ours.push_back(cksum_in_pieces(chances, data, pick<std::size_t>(chances, 2, 50)));
    }
    std::istringstream printed{output_of(command)};
    for (std::size_t i = 0; i < lengths.size(); ++i) {
        std::uint64_t sum = 0;
        std::size_t length = 0;
        std::string name;
        BOOST_REQUIRE(printed >> sum >> length >> name);
        BOOST_REQUIRE(length == lengths[i]);
        BOOST_TEST(ours[i] == sum, "length " << length << ": " << ours[i] << " != " << sum);
    }
}

BOOST_AUTO_TEST_CASE(cksum_by_pieces_is_the_remainder_bit_by_bit) {
    auto chances = chance(11);
    for (std::size_t length = 0; length <= 1100; ++length) {
        const auto data = random_bytes(chances, length);
        const std::uint32_t expected = bitwise_cksum(data);
        BOOST_REQUIRE(cksum_in_pieces(chances, data, 1) == expected);
        BOOST_REQUIRE(cksum_in_pieces(chances, data, 8) == expected);
    }
    for (int i = 0; i < 10; ++i) {
        const auto data = random_bytes(chances, pick<std::size_t>(chances, 1101, 200'000));
        BOOST_REQUIRE(cksum_in_pieces(chances, data, 300) == bitwise_cksum(data));
    }
    // sector by sector, backwards
    const auto data = random_bytes(chances, 512 * 40);
    posix_cksum sum{data.size()};
    for (std::size_t sector = 40; sector-- != 0;) {
        sum.add(sector * 512, std::span{data}.subspan(sector * 512, 512));
    }
    BOOST_TEST(sum.value() == bitwise_cksum(data));
}

// A disk may be longer than 4 GiB. The polynomial is primitive, so x to the power of 2^32 - 1 is 1, and a byte followed by
// k * (2^32 - 1) + n zeroes has the remainder of a byte followed by n: which the reference can say.
// As of a sparse disk: pieces that are zero, begin with zeroes, or have them in the middle, at any alignment.
BOOST_AUTO_TEST_CASE(zeroes_between_data_count_as_zeroes) {
    auto chances = chance(18);
    for (int run = 0; run < 300; ++run) {
        std::vector<std::byte> data(pick<std::size_t>(chances, 0, 3000));
        for (std::size_t at = 0; at < data.size(); at += pick<std::size_t>(chances, 1, 200)) {
            data[at] = static_cast<std::byte>(chances());
        }
        BOOST_REQUIRE(cksum_in_pieces(chances, data, 12) == bitwise_cksum(data));
    }
}

BOOST_AUTO_TEST_CASE(cksum_of_something_very_long) {
    auto chances = chance(17);
    for (int run = 0; run < 200; ++run) {
        const auto zeroes = pick<std::size_t>(chances, 0, 1000);
        const std::uint64_t total = pick<std::uint64_t>(chances, 0, 1 << 20) * 0xffff'ffff + zeroes + 1;
        std::vector<std::byte> reference(zeroes + 1);
        reference[0] = static_cast<std::byte>(chances());
        posix_cksum sum{total};
        sum.add(0, std::span{reference}.first(1)); // the zeroes weigh nothing
        for (std::uint64_t length = total; length != 0; length /= 256) {
            reference.push_back(static_cast<std::byte>(length % 256));
        }
        BOOST_REQUIRE(sum.value() == ~bitwise_remainder(reference));
    }
}

BOOST_AUTO_TEST_CASE(crc32_is_what_python_prints) {
    auto chances = chance(12);
    std::vector<std::size_t> lengths = {0, 1, 7, 8, 9, 15, 16, 17, 511, 512, 513, 4096, 100'000};
    for (int i = 0; i < 500; ++i) {
        lengths.push_back(pick<std::size_t>(chances, 0, i % 5 == 0 ? 100'000 : 300));
    }
    const scratch_directory scratch;
    const auto data = random_bytes(chances, 110'000);
    write_file(scratch.file(0), data);
    std::string pairs;
    std::vector<std::uint32_t> ours;
    for (const std::size_t length : lengths) {
        const auto offset = pick<std::size_t>(chances, 0, 9999); // also misaligned
        pairs += std::to_string(offset) + " " + std::to_string(length) + "\n";
        ours.push_back(crc32(std::span{data}.subspan(offset, length)));
    }
    write_file(scratch.file(1), std::as_bytes(std::span{pairs}));
    std::istringstream printed{output_of("python3 -c 'import sys, zlib\n"
                                         "data = open(sys.argv[1], \"rb\").read()\n"
                                         "for line in open(sys.argv[2]):\n"
                                         "    offset, length = map(int, line.split())\n"
                                         "    print(zlib.crc32(data[offset : offset + length]))' " +
                                         scratch.file(0) + " " + scratch.file(1))};
    for (std::size_t i = 0; i < lengths.size(); ++i) {
        std::uint64_t theirs = 0;
        BOOST_REQUIRE(printed >> theirs);
        BOOST_TEST(ours[i] == theirs, "length " << lengths[i]);
    }
    BOOST_TEST(crc32(std::as_bytes(std::span{"123456789", 9})) == 0xcbf43926u); // the check value of the CRC catalogues
}

BOOST_AUTO_TEST_SUITE_END()
