// The boot arguments: what each word sets, and what is said of words that are wrong.
#include "src/kernel/escaped_text.hpp"
#include "src/kernel/options.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <iterator>
#include <string>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::kernel;
using tests::chance;
using tests::pick;

} // namespace

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

BOOST_AUTO_TEST_CASE(serial_numbers_are_named_whole_and_byte_by_byte) {
    const struct {
        std::string_view list;
        std::string_view serial;
        bool named;
    } table[] = {
        {"abc", "abc", true},
        {"abc", "ab", false},
        {"abc", "abcd", false},
        {"abc", "ABC", false},
        {"x,abc,y", "abc", true},
        {"x,abc,y", "y", true},
        {"x,abc,y", "x,abc", false},
        {"x%2Cabc,y", "x,abc", true},
        {"x%2cabc,y", "x,abc", true},
        {"a%20b", "a b", true},
        {"a%20b", "a%20b", false},
        {"a%25b", "a%b", true},
        {"%ff%0A", "\xff\n", true},
        {"01234567890123456789", "01234567890123456789", true},
        {"0123456789012345678%39", "01234567890123456789", true},
        {"", "", false},
        {"abc", "", false},
        {"abc,", "", false},
    };
    for (const auto& row : table) {
        BOOST_TEST_CONTEXT(row.list) {
            BOOST_TEST(names_serial(row.list, row.serial) == row.named);
        }
    }
    BOOST_TEST(parse("overwrite=x,a%20b").right);
    BOOST_TEST((parse("overwrite=x,a%20b").values.overwrite == "x,a%20b"));
    for (const char* const wrong :
         {"overwrite=", "overwrite=,", "overwrite=a,", "overwrite=,a", "overwrite=a,,b", "overwrite=%", "overwrite=%2",
          "overwrite=%2g", "overwrite=a%00", "overwrite=012345678901234567890", "overwrite=a%%20"}) {
        BOOST_TEST(!parse(wrong).right, wrong);
    }
}

BOOST_AUTO_TEST_CASE(foreign_text_stays_in_its_line_and_in_its_string) {
    const auto escaped = [](std::string_view text) {
        return std::string{escaped_text<20>{text}.c_str()};
    };
    BOOST_TEST(escaped("") == "");
    BOOST_TEST(escaped("inflight0 ~") == "inflight0 ~");
    BOOST_TEST(escaped("\n@result \"\\") == "\\u000a@result \\u0022\\u005c");
    BOOST_TEST(escaped({"\0\x1b\x7f\x9b\xff", 5}) == "\\u0000\\u001b\\u007f\\u009b\\u00ff");
    BOOST_TEST(escaped(std::string(20, '\n')).size() == 120u);
    BOOST_TEST(escaped(std::string(21, 'x')) == std::string(20, 'x'));
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
        {"features_off=geometry,lifetime,secure_erase,zoned",
         [](const options& o) {
             return o.features_off == (1u << 4 | 1u << 15 | 1u << 16 | 1u << 17);
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
    for (const char* const word : {"dept=3", "Depth=3", "=", "=3", "x", "depths=3", "dep=3", "silent"}) {
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

// Loaders take any kernel for Linux.
BOOST_AUTO_TEST_CASE(words_for_linux_change_nothing) {
    const auto words = [](const parsed_line& got) {
        std::string all;
        for (const std::string_view word : got.values.for_linux) {
            all += std::string{word} + "|";
        }
        return all;
    };
    // What kvmtool, Firecracker, GRUB, U-Boot and users write.
    for (const std::string line :
         {"console=ttyS0 rw rootflags=trans=virtio,version=9p2000.L,cache=loose rootfstype=9p init=/virt/init ip=dhcp",
          "reboot=k panic=1 pci=off nomodule 8250.nr_uarts=0 i8042.noaux root=/dev/vda ro virtio_mmio.device=4K@0x1:5",
          "BOOT_IMAGE=/boot/vmlinuz root=UUID=12-34 ro quiet splash",
          "earlycon=sbi console=hvc0 loglevel=8 earlyprintk",
          "root=/dev/vda1 rootwait rootdelay=5 debug ignore_loglevel initcall_debug nokaslr mitigations=off",
          "systemd.unit=rescue.target net.ifnames=0 rd.break printk.devkmsg=on"}) {
        const parsed_line got = parse("program=digest " + line + " depth=8");
        BOOST_TEST(got.right, got.message);
        BOOST_TEST(got.values.program == "digest");
        BOOST_TEST(got.values.depth == 8u);
        BOOST_TEST((got.values.rw == access_pattern::random_read));
        std::string expected = line + " ";
        std::replace(expected.begin(), expected.end(), ' ', '|');
        BOOST_TEST(words(got) == expected);
    }
    BOOST_TEST(words(parse("quiet dyndbg.x=\"file drivers/usb/* +p\" seed=5")) ==
               "quiet|dyndbg.x=\"file drivers/usb/* +p\"|");
    BOOST_TEST(parse("quiet dyndbg.x=\"file drivers/usb/* +p\" seed=5").values.seed == 5u);
    const parsed_line rest = parse("root=/dev/vda -- depth=0 colour=red");
    BOOST_TEST(rest.right);
    BOOST_TEST(words(rest) == "root=/dev/vda|--|");

    // "rw=" with a value is ours, and a quotation that is never closed is none.
    BOOST_TEST((parse("rw rw=randwrite").values.rw == access_pattern::random_write));
    BOOST_TEST(!parse("rw=9p").right);
    BOOST_TEST(!parse("a.b=\"x depth=0").right);
    std::string many;
    for (int i = 0; i < 40; ++i) {
        many += "quiet ";
    }
    BOOST_TEST(parse(many).values.for_linux.size() == 16u);
    BOOST_TEST(parse(many).values.for_linux.dropped() == 24u);
}

BOOST_AUTO_TEST_CASE(words_that_are_nobodys_or_look_like_ours_are_refused) {
    for (const char* const word : {"colour=red",
                                   "dept=5",
                                   "depth",
                                   "dpeth=5",
                                   "queue.size=4",
                                   "queue-size=4",
                                   "request.timeout=1",
                                   "sed=1",
                                   "icuont=1",
                                   "features.off=mq",
                                   "i.count=1",
                                   "quiet=1",
                                   "Console=ttyS0",
                                   "rootfs=9p",
                                   "program.=x",
                                   ".program=x",
                                   "x=",
                                   "=",
                                   "==",
                                   "a.b\"c",
                                   "\xff.x=1",
                                   "p\x1b.x",
                                   "-",
                                   "---",
                                   "ro=1"}) {
        const parsed_line got = parse(word);
        BOOST_TEST(!got.right, word);
        BOOST_TEST(got.message.starts_with("boot argument '"));
    }
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
