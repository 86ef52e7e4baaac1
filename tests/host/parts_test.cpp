// Tests of the small parts that depend on no machine: checksums against the host's programs, boot arguments, histogram,
// random numbers.
#include "bench/histogram.hpp"
#include "src/checksum.hpp"
#include "src/options.hpp"
#include "src/random.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
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
using namespace inflight::kernel;
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
std::uint32_t cksum_in_pieces(std::mt19937_64& chances, std::span<const std::byte> data, std::size_t most_pieces) {
    std::set<std::size_t> cuts{0, data.size()};
    while (cuts.size() < most_pieces && cuts.size() <= data.size()) {
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

BOOST_AUTO_TEST_SUITE(boot_arguments)

struct parsed_line {
    bool right;
    options values;
    std::string message;
};

parsed_line parse(std::string_view line) {
    // On the heap and exactly as long, so that a sanitizer sees a step too far.
    static std::vector<char> kept; // `program` points into it
    kept.assign(line.begin(), line.end());
    char message[512] = "untouched";
    parsed_line answer{};
    answer.right = parse_options({kept.data(), kept.size()}, answer.values, message);
    answer.message = message;
    return answer;
}

BOOST_AUTO_TEST_CASE(nothing_is_the_defaults) {
    for (const char* const line : {"", " ", "\t\n  \t"}) {
        const parsed_line got = parse(line);
        BOOST_TEST(got.right);
        BOOST_TEST(got.message == "untouched");
        BOOST_TEST(got.values.program == "info");
        BOOST_TEST(got.values.depth == 0u);
        BOOST_TEST(got.values.block_size == 0u);
        BOOST_TEST((got.values.rw == access_pattern::random_read));
        BOOST_TEST(got.values.seed == 1u);
        BOOST_TEST((got.values.poll == async::poll_mode::adaptive));
        BOOST_TEST(got.values.queues == 64u);
        BOOST_TEST(got.values.queue_size == 1024u);
        BOOST_TEST(got.values.features_off == 0u);
        BOOST_TEST((got.values.interrupts == interrupt_routing::first_hart));
        BOOST_TEST(!got.values.icount);
    }
}

BOOST_AUTO_TEST_CASE(every_key_sets_its_value) {
    const parsed_line got =
        parse("program=iops depth=32 bs=4k rw=randrw seconds=7 ios=3m seed=18446744073709551615 "
              "poll=off queues=4\tqueue_size=256\nfeatures_off=event_idx,mq interrupts=off icount=1 ");
    BOOST_TEST(got.right, got.message);
    BOOST_TEST(got.values.program == "iops");
    BOOST_TEST(got.values.depth == 32u);
    BOOST_TEST(got.values.block_size == 4096u);
    BOOST_TEST((got.values.rw == access_pattern::random_mixed));
    BOOST_TEST(got.values.seconds == 7u);
    BOOST_TEST(got.values.ios == 3u << 20);
    BOOST_TEST(got.values.seed == ~std::uint64_t{0});
    BOOST_TEST((got.values.poll == async::poll_mode::off));
    BOOST_TEST(got.values.queues == 4u);
    BOOST_TEST(got.values.queue_size == 256u);
    BOOST_TEST(got.values.features_off ==
               ((std::uint64_t{1} << 29) | (std::uint64_t{1} << 12))); // VIRTIO 1.2, 6 and 5.2.3
    BOOST_TEST((got.values.interrupts == interrupt_routing::nobody));
    BOOST_TEST(got.values.icount);
}

BOOST_AUTO_TEST_CASE(right_words) {
    const struct {
        const char* line;
        bool (*holds)(const options&);
    } table[] = {
        {"depth=1",
         [](const options& o) {
             return o.depth == 1;
         }},
        {"depth=65536",
         [](const options& o) {
             return o.depth == 65536;
         }},
        {"depth=007",
         [](const options& o) {
             return o.depth == 7;
         }},
        {"bs=512",
         [](const options& o) {
             return o.block_size == 512;
         }},
        {"bs=64m",
         [](const options& o) {
             return o.block_size == 64u << 20;
         }},
        {"bs=64M",
         [](const options& o) {
             return o.block_size == 64u << 20;
         }},
        {"bs=67108864",
         [](const options& o) {
             return o.block_size == 64u << 20;
         }},
        {"bs=1K",
         [](const options& o) {
             return o.block_size == 1024;
         }},
        {"seconds=1",
         [](const options& o) {
             return o.seconds == 1;
         }},
        {"seconds=3600",
         [](const options& o) {
             return o.seconds == 3600;
         }},
        {"ios=1",
         [](const options& o) {
             return o.ios == 1;
         }},
        {"ios=2g",
         [](const options& o) {
             return o.ios == std::uint64_t{2} << 30;
         }},
        {"ios=2G",
         [](const options& o) {
             return o.ios == std::uint64_t{2} << 30;
         }},
        {"ios=1000000000000",
         [](const options& o) {
             return o.ios == 1'000'000'000'000;
         }},
        {"seed=0",
         [](const options& o) {
             return o.seed == 0;
         }},
        {"queues=1",
         [](const options& o) {
             return o.queues == 1;
         }},
        {"queues=64",
         [](const options& o) {
             return o.queues == 64;
         }},
        {"queue_size=4",
         [](const options& o) {
             return o.queue_size == 4;
         }},
        {"queue_size=32768",
         [](const options& o) {
             return o.queue_size == 32768;
         }},
        {"rw=randread",
         [](const options& o) {
             return o.rw == access_pattern::random_read;
         }},
        {"rw=randwrite",
         [](const options& o) {
             return o.rw == access_pattern::random_write;
         }},
        {"rw=read",
         [](const options& o) {
             return o.rw == access_pattern::sequential_read;
         }},
        {"rw=write",
         [](const options& o) {
             return o.rw == access_pattern::sequential_write;
         }},
        {"poll=adaptive",
         [](const options& o) {
             return o.poll == async::poll_mode::adaptive;
         }},
        {"poll=always",
         [](const options& o) {
             return o.poll == async::poll_mode::always;
         }},
        {"features_off=",
         [](const options& o) {
             return o.features_off == 0;
         }},
        {"features_off=indirect_desc",
         [](const options& o) {
             return o.features_off == 1ull << 28;
         }},
        {"features_off=seg_max,flush,topology,config_wce,discard,write_zeroes",
         [](const options& o) {
             return o.features_off == (1u << 2 | 1u << 9 | 1u << 10 | 1u << 11 | 1u << 13 | 1u << 14);
         }},
        {"interrupts=on",
         [](const options& o) {
             return o.interrupts == interrupt_routing::first_hart;
         }},
        {"icount=0",
         [](const options& o) {
             return !o.icount;
         }},
        {"depth=3 depth=5",
         [](const options& o) {
             return o.depth == 5;
         }}, // the last one counts
        {"features_off=mq features_off=flush",
         [](const options& o) {
             return o.features_off == 1u << 9;
         }},
        {"program=a=b",
         [](const options& o) {
             return o.program == "a=b";
         }},
    };
    for (const auto& each : table) {
        const parsed_line got = parse(each.line);
        BOOST_TEST(got.right, each.line << ": " << got.message);
        BOOST_TEST(each.holds(got.values), each.line);
    }
}

BOOST_AUTO_TEST_CASE(wrong_words_are_named_with_the_remedy) {
    const struct {
        const char* line;
        const char* word;
        const char* remedy;
    } table[] = {
        {"depth=0", "depth=0", "from 1 to 65536"},
        {"depth=65537", "depth=65537", "from 1 to 65536"},
        {"depth=4294967297", "depth=4294967297", "from 1 to 65536"}, // 1 in 32 bits
        {"depth=18446744073709551617", "depth=18446744073709551617", "from 1 to 65536"},
        {"depth=", "depth=", "from 1 to 65536"},
        {"depth", "depth", "from 1 to 65536"},
        {"depth=-1", "depth=-1", "from 1 to 65536"},
        {"depth=+1", "depth=+1", "from 1 to 65536"},
        {"depth=1k", "depth=1k", "from 1 to 65536"},
        {"depth=0x10", "depth=0x10", "from 1 to 65536"},
        {"depth=8 depth=x", "depth=x", "from 1 to 65536"},
        {"bs=511", "bs=511", "from 512 to 64m that is a multiple of 512"},
        {"bs=513", "bs=513", "multiple of 512"},
        {"bs=65m", "bs=65m", "from 512 to 64m"},
        {"bs=k", "bs=k", "from 512 to 64m"},
        {"bs=4kk", "bs=4kk", "from 512 to 64m"},
        {"bs=17179869185g", "bs=17179869185g", "from 512 to 64m"}, // 1g after 64 bits
        {"bs=18446744073709551615k", "bs=18446744073709551615k", "from 512 to 64m"},
        {"rw=random", "rw=random", "randread, randwrite, read, write, randrw"},
        {"rw=", "rw=", "randread, randwrite, read, write, randrw"},
        {"rw=READ", "rw=READ", "randread, randwrite, read, write, randrw"},
        {"seconds=0", "seconds=0", "from 1 to 3600"},
        {"seconds=3601", "seconds=3601", "from 1 to 3600"},
        {"ios=0", "ios=0", "from 1 to 1000000000000"},
        {"ios=1000000000001", "ios=1000000000001", "from 1 to 1000000000000"},
        {"ios=17179869185g", "ios=17179869185g", "from 1 to 1000000000000"},
        {"seed=18446744073709551616", "seed=18446744073709551616", "below 2^64"},
        {"seed=-1", "seed=-1", "below 2^64"},
        {"poll=on", "poll=on", "off, adaptive, always"},
        {"queues=0", "queues=0", "from 1 to 64"},
        {"queues=65", "queues=65", "from 1 to 64"},
        {"queues=65537", "queues=65537", "from 1 to 64"}, // 1 in 16 bits
        {"queue_size=2", "queue_size=2", "power of two from 4 to 32768"},
        {"queue_size=48", "queue_size=48", "power of two from 4 to 32768"},
        {"queue_size=65536", "queue_size=65536", "power of two from 4 to 32768"},
        {"features_off=nothing", "features_off=nothing", "event_idx, indirect_desc"},
        {"features_off=mq,,flush", "features_off=mq,,flush", "event_idx, indirect_desc"},
        {"features_off=,mq", "features_off=,mq", "event_idx, indirect_desc"},
        {"features_off=mq,", "features_off=mq,", "event_idx, indirect_desc"},
        {"interrupts=maybe", "interrupts=maybe", "one of on (hart 0 takes them), any"},
        {"icount=2", "icount=2", "0 or 1"},
        {"program=", "program=", "the name of a program"},
        {"program", "program", "the name of a program"},
    };
    for (const auto& each : table) {
        const parsed_line got = parse(each.line);
        BOOST_TEST(!got.right, each.line);
        const std::string cause = std::string{"boot argument '"} + each.word + "' is wrong";
        BOOST_TEST(got.message.starts_with(cause), each.line << ": " << got.message);
        BOOST_TEST(got.message.find(each.remedy) != std::string::npos, each.line << ": " << got.message);
        BOOST_TEST(got.message.find('\n') == std::string::npos);
    }
}

BOOST_AUTO_TEST_CASE(unknown_words_are_named_with_all_that_is_known) {
    for (const char* const word : {"dept=3", "Depth=3", "=", "=3", "x", "depths=3", "dep=3", "quiet"}) {
        const parsed_line got = parse(std::string{"seed=3 "} + word + " depth=4");
        BOOST_TEST(!got.right, word);
        BOOST_TEST(got.message.starts_with(std::string{"boot argument '"} + word + "' is unknown"), got.message);
        for (const char* const key : {"program", "depth", "bs", "rw", "seconds", "ios", "seed", "poll", "queues",
                                      "queue_size", "features_off", "interrupts", "icount"}) {
            BOOST_TEST(got.message.find(std::string{" "} + key) != std::string::npos, key << " in: " << got.message);
        }
    }
}

// The message is cut, never overrun, and always ended.
BOOST_AUTO_TEST_CASE(long_words_and_short_messages) {
    const std::string long_word(100'000, 'x');
    for (const std::string& line : {long_word, "depth=" + long_word, long_word + "=1",
                                    "depth=" + std::string(5000, '9'), "features_off=" + long_word}) {
        for (const std::size_t size : {0u, 1u, 2u, 10u, 40u, 80u, 100u, 200u, 512u}) {
            std::vector<char> message(size + 8, '#');
            options values;
            BOOST_TEST(!parse_options(line, values, std::span{message}.first(size)));
            BOOST_TEST(std::count(message.begin() + static_cast<std::ptrdiff_t>(size), message.end(), '#') == 8);
            if (size != 0) {
                const std::size_t length = strnlen(message.data(), size);
                BOOST_TEST(length < size);
                BOOST_TEST(std::string_view(message.data(), length)
                               .starts_with(std::string_view{"boot arg"}.substr(0, length)));
            }
        }
    }
    const std::string long_program = "program=" + long_word;
    const parsed_line got = parse(long_program);
    BOOST_TEST(got.right); // the program's own list of names refuses it
    BOOST_TEST(got.values.program.size() == long_word.size());
}

BOOST_AUTO_TEST_CASE(random_lines_are_parsed_or_refused) {
    auto chances = chance(13);
    constexpr std::string_view letters = "depthbsrwk=,09 \t\nmgqueues_off\x01\xff";
    int right = 0;
    for (int i = 0; i < 50'000; ++i) {
        std::string line;
        for (int k = pick(chances, 0, 24); k != 0; --k) {
            line.push_back(letters[pick<std::size_t>(chances, 0, letters.size() - 1)]);
        }
        const parsed_line got = parse(line);
        right += got.right;
        BOOST_REQUIRE(got.right == (got.message == "untouched"));
    }
    BOOST_TEST(right > 0);
    BOOST_TEST(right < 50'000);
}

BOOST_AUTO_TEST_CASE(patterns_have_names) {
    for (const char* const name : {"randread", "randwrite", "read", "write", "randrw"}) {
        BOOST_TEST(to_string(parse(std::string{"rw="} + name).values.rw) == std::string{name});
    }
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(histograms)

// The value at or below which `per_mille` of a thousand of all lie: the smallest with that many at or below it.
std::uint64_t exact_percentile(const std::vector<std::uint64_t>& sorted, std::uint64_t per_mille) {
    std::size_t enough = 0;
    while (enough * 1000 < sorted.size() * per_mille) {
        ++enough;
    }
    return sorted[enough == 0 ? 0 : enough - 1];
}

void compare(const std::vector<std::uint64_t>& values, const char* what) {
    static bench::histogram measured;
    measured.clear();
    for (const std::uint64_t each : values) {
        measured.record(each);
    }
    std::vector<std::uint64_t> sorted = values;
    for (std::uint64_t& each : sorted) {
        each = std::min(each, (std::uint64_t{1} << 32) - 1);
    }
    std::sort(sorted.begin(), sorted.end());
    BOOST_REQUIRE(measured.count() == values.size());
    std::uint64_t before = 0;
    for (const std::uint64_t per_mille : {0u, 1u, 10u, 250u, 500u, 501u, 900u, 990u, 999u, 1000u}) {
        const std::uint64_t exact = exact_percentile(sorted, per_mille);
        const std::uint64_t got = measured.percentile(per_mille);
        const auto limit = static_cast<double>(exact) * 1.016;
        BOOST_TEST(got >= exact, what << ", " << per_mille << ": " << got << " < " << exact);
        BOOST_TEST(static_cast<double>(got) <= limit, what << ", " << per_mille << ": " << got << " of " << exact);
        BOOST_TEST(got >= before, what);
        before = got;
    }
}

BOOST_AUTO_TEST_CASE(percentiles_are_at_most_one_point_six_percent_too_high) {
    auto chances = chance(14);
    for (int run = 0; run < 200; ++run) {
        const int bits = pick(chances, 1, 40);
        std::vector<std::uint64_t> values(pick<std::size_t>(chances, 1, 3000));
        for (std::uint64_t& each : values) {
            each = chances() >> (64 - pick(chances, 1, bits));
        }
        compare(values, "random");
    }
}

BOOST_AUTO_TEST_CASE(edges_of_buckets) {
    for (unsigned bit = 0; bit < 64; ++bit) {
        const std::uint64_t power = std::uint64_t{1} << bit;
        for (const std::uint64_t value : {power - 1, power, power + 1, power + power / 64, power + power / 2}) {
            compare({value}, "one value");
        }
    }
    for (std::uint64_t value = 0; value < 5000; ++value) {
        compare({value}, "small value");
    }
    compare({~std::uint64_t{0}, 0, std::uint64_t{1} << 32, (std::uint64_t{1} << 32) - 1}, "the largest");
}

BOOST_AUTO_TEST_CASE(an_empty_histogram_answers_zero) {
    static bench::histogram measured;
    BOOST_TEST(measured.count() == 0u);
    BOOST_TEST(measured.percentile(500) == 0u);
    measured.record(77);
    BOOST_TEST(measured.percentile(0) == 77u);
    BOOST_TEST(measured.percentile(1000) == 77u);
    measured.clear();
    BOOST_TEST(measured.count() == 0u);
    BOOST_TEST(measured.percentile(1000) == 0u);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(random_numbers)

std::vector<std::uint64_t> all_of(std::uint64_t count, std::uint64_t seed) {
    permutation order{count, seed};
    std::vector<std::uint64_t> numbers;
    while (order.has_next()) {
        numbers.push_back(order.next());
    }
    return numbers;
}

bool is_permutation_of(const std::vector<std::uint64_t>& numbers, std::uint64_t count) {
    std::vector<bool> seen(count);
    for (const std::uint64_t each : numbers) {
        if (each >= count || seen[each]) {
            return false;
        }
        seen[each] = true;
    }
    return numbers.size() == count;
}

BOOST_AUTO_TEST_CASE(a_permutation_has_each_number_once) {
    auto chances = chance(15);
    for (std::uint64_t count = 0; count <= 2000; ++count) {
        BOOST_REQUIRE_MESSAGE(is_permutation_of(all_of(count, chances()), count), "count " << count);
    }
    for (const std::uint64_t count : {65'535u, 65'536u, 65'537u, 1'000'003u}) {
        BOOST_REQUIRE_MESSAGE(is_permutation_of(all_of(count, chances()), count), "count " << count);
    }
    for (std::uint64_t seed = 0; seed < 200; ++seed) { // seeds of few bits, and none
        BOOST_REQUIRE(is_permutation_of(all_of(1000, seed), 1000));
        BOOST_REQUIRE(is_permutation_of(all_of(1000, ~seed), 1000));
    }
}

// Of a huge one, the beginning: below the bound, and all different.
BOOST_AUTO_TEST_CASE(a_huge_permutation_begins_right) {
    for (const std::uint64_t count : {(std::uint64_t{1} << 32) + 1, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
        permutation order{count, 5};
        std::set<std::uint64_t> seen;
        for (int i = 0; i < 20'000; ++i) {
            BOOST_REQUIRE(order.has_next());
            const std::uint64_t number = order.next();
            BOOST_REQUIRE(number < count);
            BOOST_REQUIRE(seen.insert(number).second);
        }
    }
}

BOOST_AUTO_TEST_CASE(a_seed_decides_the_order) {
    BOOST_TEST(all_of(1000, 1) == all_of(1000, 1));
    std::set<std::vector<std::uint64_t>> orders;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        orders.insert(all_of(1000, seed));
    }
    BOOST_TEST(orders.size() == 100u);
    // Not the order of the numbers, whatever the seed: of all neighbours hardly any follow each other. (Of few numbers they
    // may: one in 512 factors is 1 for a thousand of them.)
    for (const std::uint64_t seed : {0u, 1u, 2u, 3u, 4u, 5u, 6u, 7u, 1000u, ~0u}) {
        const auto numbers = all_of(300'000, seed);
        int following = 0;
        for (std::size_t i = 1; i < numbers.size(); ++i) {
            following += numbers[i] == numbers[i - 1] + 1;
        }
        BOOST_TEST(following < 300, "seed " << seed << ": " << following);
    }
}

BOOST_AUTO_TEST_CASE(random_numbers_stay_below_their_bound_and_reach_all_of_it) {
    auto chances = chance(16);
    for (const std::uint64_t bound : {std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{3}, std::uint64_t{10}}) {
        kernel::random numbers{chances()};
        std::vector<int> seen(bound);
        for (int i = 0; i < 30'000; ++i) {
            const std::uint64_t number = numbers.below(bound);
            BOOST_REQUIRE(number < bound);
            ++seen[number];
        }
        for (const int each : seen) { // about ten standard deviations
            BOOST_TEST(std::abs(each - 30'000 / static_cast<int>(bound)) < 900);
        }
    }
    for (int i = 0; i < 100'000; ++i) {
        const std::uint64_t bound = std::max<std::uint64_t>(chances() >> pick(chances, 0, 63), 1);
        BOOST_REQUIRE(kernel::random{chances()}.below(bound) < bound);
    }
    kernel::random one{42};
    kernel::random other{42};
    for (int i = 0; i < 100; ++i) {
        BOOST_TEST(one.next() == other.next());
    }
    // The first numbers of seed 1234567, as other implementations of splitmix64 have them.
    kernel::random known{1234567};
    for (const std::uint64_t expected : {6457827717110365317u, 3203168211198807973u, 9817491932198370423u}) {
        BOOST_TEST(known.next() == expected);
    }
}

BOOST_AUTO_TEST_SUITE_END()
