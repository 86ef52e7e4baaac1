// Tests of the blocks of verify=crc32c: the checksum, the header's bytes, and that everything that is wrong is found
// and said. That fio agrees, fio_interop.py tests.
#include "bench/fio/verify_block.hpp"
#include "src/support/checksum.hpp"
#include "tests/host/seed.hpp"

#include <boost/test/unit_test.hpp>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::bench;
using tests::chance;
using tests::pick;

// Whole words, so that it begins at a multiple of eight.
class block {
  public:
    explicit block(std::size_t size) : words_((size + 7) / 8), size_{size} {}
    [[nodiscard]] std::span<std::byte> bytes() { return std::as_writable_bytes(std::span{words_}).first(size_); }
    void flip(std::size_t bit) { bytes()[bit / 8] ^= static_cast<std::byte>(1 << bit % 8); }
    [[nodiscard]] std::uint64_t number(std::size_t at, std::size_t length) {
        std::uint64_t value = 0;
        std::memcpy(&value, bytes().data() + at, length);
        return value;
    }

  private:
    std::vector<std::uint64_t> words_;
    std::size_t size_;
};

std::uint32_t bitwise_crc32c(std::span<const std::byte> data) {
    std::uint32_t crc = ~0U;
    for (const std::byte each : data) {
        crc ^= std::to_integer<std::uint32_t>(each);
        for (int bit = 0; bit < 8; ++bit) {
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78 : 0);
        }
    }
    return ~crc;
}

std::string description(block& of, std::uint64_t offset, std::optional<std::uint64_t> seed, std::size_t room = 1500) {
    std::vector<char> text(room, '#');
    const verify_result result = check_verify_block(of.bytes(), offset, seed);
    const std::size_t length = describe_verify_fault(text, "vdb", of.bytes(), offset, seed, result);
    BOOST_REQUIRE(length < room);
    BOOST_REQUIRE(text[length] == '\0');
    return {text.data(), length};
}

bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

} // namespace

BOOST_AUTO_TEST_SUITE(verify_blocks)

// RFC 3720, appendix B.4; and the check value that everybody prints.
BOOST_AUTO_TEST_CASE(crc32c_of_known_vectors) {
    std::vector<std::byte> data(32);
    BOOST_TEST(support::crc32c(data) == 0x8a9136aaU);
    std::fill(data.begin(), data.end(), std::byte{0xff});
    BOOST_TEST(support::crc32c(data) == 0x62a8ab43U);
    for (std::size_t i = 0; i < 32; ++i) {
        data[i] = static_cast<std::byte>(i);
    }
    BOOST_TEST(support::crc32c(data) == 0x46dd794eU);
    for (std::size_t i = 0; i < 32; ++i) {
        data[i] = static_cast<std::byte>(31 - i);
    }
    BOOST_TEST(support::crc32c(data) == 0x113fdb5cU);
    BOOST_TEST(support::crc32c(std::as_bytes(std::span{std::string_view{"123456789"}})) == 0xe3069283U);
    BOOST_TEST(support::crc32c({}) == 0U);
}

BOOST_AUTO_TEST_CASE(crc32c_is_the_remainder_bit_by_bit_and_goes_on) {
    auto chances = chance(1);
    std::vector<std::byte> data(5000);
    for (std::byte& each : data) {
        each = static_cast<std::byte>(chances());
    }
    for (int run = 0; run < 1000; ++run) {
        const auto from = pick<std::size_t>(chances, 0, 40);
        const auto some = std::span{data}.subspan(from, pick<std::size_t>(chances, 0, run % 10 == 0 ? 4900 : 100));
        const auto cut = pick<std::size_t>(chances, 0, some.size());
        BOOST_REQUIRE(support::crc32c(some) == bitwise_crc32c(some));
        BOOST_REQUIRE(support::crc32c(some.subspan(cut), support::crc32c(some.first(cut))) == bitwise_crc32c(some));
    }
}

BOOST_AUTO_TEST_CASE(a_block_says_what_its_stamp_says) {
    auto chances = chance(2);
    for (const std::size_t size : {512U, 1024U, 4096U, 4608U, 65'536U, 45U, 46U, 63U, 100U}) {
        const verify_stamp stamp{.seed = chances() | 1,
                                 .offset = chances(),
                                 .seconds = static_cast<std::uint32_t>(chances()),
                                 .nanoseconds = static_cast<std::uint32_t>(chances()),
                                 .job = static_cast<std::uint16_t>(chances()),
                                 .number = static_cast<std::uint16_t>(chances())};
        block made{size};
        fill_verify_block(made.bytes(), stamp);
        BOOST_TEST(made.number(0, 2) == 0xaccaU);
        BOOST_TEST(made.number(2, 2) == 5U);
        BOOST_TEST(made.number(4, 4) == size);
        BOOST_TEST(made.number(8, 8) == stamp.seed);
        BOOST_TEST(made.number(16, 8) == stamp.offset);
        BOOST_TEST(made.number(24, 4) == stamp.seconds);
        BOOST_TEST(made.number(28, 4) == stamp.nanoseconds);
        BOOST_TEST(made.number(32, 2) == stamp.job);
        BOOST_TEST(made.number(34, 2) == stamp.number);
        BOOST_TEST(made.number(36, 4) == (~bitwise_crc32c(made.bytes().first(36)) & 0xffff'ffff));
        BOOST_TEST(made.number(40, 4) == (~bitwise_crc32c(made.bytes().subspan(44)) & 0xffff'ffff));
        BOOST_TEST(bool(check_verify_block(made.bytes(), stamp.offset, stamp.seed)));
        BOOST_TEST(bool(check_verify_block(made.bytes(), stamp.offset, std::nullopt)));
        block again{size};
        fill_verify_block(again.bytes(), stamp);
        BOOST_TEST((std::memcmp(made.bytes().data(), again.bytes().data(), size) == 0));
        if (size >= 512) { // other seeds make other data
            verify_stamp other = stamp;
            other.seed += 2;
            fill_verify_block(again.bytes(), other);
            BOOST_TEST((std::memcmp(made.bytes().data() + 48, again.bytes().data() + 48, 32) != 0));
        }
    }
}

BOOST_AUTO_TEST_CASE(every_flipped_bit_is_found) {
    constexpr std::uint64_t offset = 123 * 512;
    constexpr std::uint64_t seed = 0x1234'5678'9abc'def1;
    for (const std::size_t size : {512U, 600U}) {
        block some{size};
        fill_verify_block(some.bytes(), {.seed = seed, .offset = offset});
        for (std::size_t bit = 0; bit < size * 8; ++bit) {
            some.flip(bit);
            const verify_result result = check_verify_block(some.bytes(), offset, std::nullopt);
            const verify_fault expected = bit < 16       ? verify_fault::magic
                                          : bit < 40 * 8 ? verify_fault::header_crc
                                                         : verify_fault::data_crc;
            BOOST_REQUIRE(result.fault == expected);
            BOOST_REQUIRE(result.expected != result.found);
            some.flip(bit);
        }
        BOOST_TEST(bool(check_verify_block(some.bytes(), offset, seed)));
    }
}

BOOST_AUTO_TEST_CASE(right_blocks_in_wrong_places_are_found) {
    block some{4096};
    fill_verify_block(some.bytes(), {.seed = 77, .offset = 40'960});
    const auto check = [&](verify_result found, verify_fault fault, std::uint64_t expected, std::uint64_t is) {
        BOOST_TEST((found.fault == fault));
        BOOST_TEST(found.expected == expected);
        BOOST_TEST(found.found == is);
    };
    check(check_verify_block(some.bytes(), 45'056, 77), verify_fault::offset, 45'056, 40'960);
    check(check_verify_block(some.bytes(), 40'960, 78), verify_fault::seed, 78, 77);
    check(check_verify_block(some.bytes().first(2048), 40'960, 77), verify_fault::length, 2048, 4096);
    block nothing{4096};
    check(check_verify_block(nothing.bytes(), 0, std::nullopt), verify_fault::magic, 0xacca, 0);
    for (const std::size_t small :
         {0U, 1U, 43U, 44U}) { // too small for any data: never right, and nothing is read behind it
        const std::vector<std::byte> cut{some.bytes().begin(),
                                         some.bytes().begin() + static_cast<std::ptrdiff_t>(small)};
        BOOST_TEST(!check_verify_block(cut, 40'960, 77));
    }
    // other kinds: with a header that is whole
    const std::uint16_t kind = 6;
    const auto set_kind = [&](std::uint16_t to) {
        std::memcpy(some.bytes().data() + 2, &to, sizeof to);
        const std::uint32_t crc = ~bitwise_crc32c(some.bytes().first(36));
        std::memcpy(some.bytes().data() + 36, &crc, sizeof crc);
    };
    set_kind(kind); // crc32c-intel is the same
    BOOST_TEST(bool(check_verify_block(some.bytes(), 40'960, 77)));
    set_kind(2);
    check(check_verify_block(some.bytes(), 40'960, 77), verify_fault::kind, 5, 2);
}

BOOST_AUTO_TEST_CASE(a_fault_is_said_and_shown) {
    constexpr std::uint64_t offset = 40'960;
    block some{4096};
    fill_verify_block(some.bytes(),
                      {.seed = 0xabcd'ef01, .offset = offset, .seconds = 3, .nanoseconds = 7, .number = 9});
    const std::byte was = some.bytes()[1000];
    some.bytes()[1000] ^= std::byte{0x10};
    char bytes[16];
    std::string text = description(some, offset, std::nullopt);
    BOOST_TEST_MESSAGE(text);
    BOOST_TEST(text.starts_with("verify: bad data on vdb, sector 80: checksum of the data: expected 0x"));
    BOOST_TEST(contains(text, "seed 0xabcdef01"));
    BOOST_TEST(contains(text, "length 4096"));
    BOOST_TEST(contains(text, "time 3.000000007"));
    BOOST_TEST(contains(text, "number 9"));
    BOOST_TEST(contains(text, "from byte 1000 of the block"));
    std::snprintf(bytes, sizeof bytes, "expected %02x ", std::to_integer<unsigned>(was));
    BOOST_TEST(contains(text, bytes));
    std::snprintf(bytes, sizeof bytes, "found    %02x ", std::to_integer<unsigned>(some.bytes()[1000]));
    BOOST_TEST(contains(text, bytes));
    BOOST_TEST(std::count(text.begin(), text.end(), '\n') == 2 + 1 + 8);
    some.bytes()[1000] = was;

    // near the end there are fewer bytes to show; one row, here
    some.flip(4090 * 8);
    text = description(some, offset, std::nullopt);
    BOOST_TEST(contains(text, "from byte 4090 of the block"));
    BOOST_TEST(std::count(text.begin(), text.end(), '\n') == 2 + 1 + 2);
    some.flip(4090 * 8);

    // with the seed of another write, that one's data are expected
    block other{4096};
    fill_verify_block(other.bytes(), {.seed = 5, .offset = offset});
    text = description(some, offset, 5);
    BOOST_TEST(contains(text, "seed in the header: expected 0x5, found 0xabcdef01"));
    BOOST_TEST(contains(text, "from byte 44 of the block"));
    std::snprintf(bytes, sizeof bytes, "expected %02x ", std::to_integer<unsigned>(other.bytes()[44]));
    BOOST_TEST(contains(text, bytes));

    // a block of another place has the right data, but they are not those of the place
    text = description(some, 0, std::nullopt);
    BOOST_TEST(contains(text, "sector 0: offset in the header: expected 0, found 40960"));
    BOOST_TEST(contains(text, "data: as the seed makes them"));

    // without a header, and where data were not made from the seed, nothing can be made again
    block nothing{4096};
    text = description(nothing, offset, std::nullopt);
    BOOST_TEST(contains(text, "magic number of the header: expected 0xacca, found 0x0"));
    BOOST_TEST(std::count(text.begin(), text.end(), '\n') == 2);
    some.flip(45 * 8);
    const std::uint32_t crc = ~bitwise_crc32c(some.bytes().subspan(44));
    std::memcpy(some.bytes().data() + 40, &crc, sizeof crc); // as if fio had filled it differently
    some.flip(2000 * 8);
    text = description(some, offset, std::nullopt);
    BOOST_TEST(std::count(text.begin(), text.end(), '\n') == 2);

    // a text that has no room is cut
    for (const std::size_t room : {1U, 2U, 50U, 200U}) {
        std::vector<char> cut(room + 1, '#');
        const verify_result result = check_verify_block(some.bytes(), offset, std::nullopt);
        BOOST_TEST(describe_verify_fault(std::span{cut}.first(room), "vdb", some.bytes(), offset, 5, result) ==
                   room - 1);
        BOOST_TEST(cut[room - 1] == '\0');
        BOOST_TEST(cut[room] == '#');
    }
}

BOOST_AUTO_TEST_CASE(headers_of_several_sizes) {
    const auto interval = [](std::initializer_list<std::uint32_t> bytes) {
        block_sizes made;
        made.count = 0;
        for (const std::uint32_t each : bytes) {
            made.shares[made.count++] = {.bytes = each, .percent = 1};
        }
        return verify_interval(made);
    };
    BOOST_TEST(interval({4096}) == 4096U);
    BOOST_TEST(interval({65'536, 4096, 8192}) == 4096U);
    BOOST_TEST(interval({4096, 6144}) == 2048U);
}

BOOST_AUTO_TEST_SUITE_END()
