// Tests of the reader of fio job files, with values by hand from fio's HOWTO and from what fio 3.33 does. What fio itself
// says of the same files is compared in job_file_oracle.py.
#include "tests/host/job_file_check.hpp"
#include "tests/host/seed.hpp"

#include <boost/test/unit_test.hpp>

namespace {

using namespace inflight::bench;
using inflight::tests::chance;
using inflight::tests::pick;
using shape = random_distribution::shape;

struct parsed_file {
    bool right;
    job_list jobs;
    std::string message;
    std::string notes;
};

std::unique_ptr<parsed_file> parse(std::string_view text) {
    static std::vector<char> kept; // names point into it
    kept.assign(text.begin(), text.end());
    auto answer = std::make_unique<parsed_file>();
    char message[512] = "untouched";
    char notes[2048] = "";
    answer->right = parse_job_file({kept.data(), kept.size()}, answer->jobs, message, notes);
    answer->message = message;
    answer->notes = notes;
    return answer;
}

// The job of a file with these lines in one section.
job job_of(const std::string& lines) {
    const auto got = parse("[job]\n" + lines + "\n");
    BOOST_REQUIRE_MESSAGE(got->right, lines << ": " << got->message);
    BOOST_REQUIRE(got->jobs.count == 1u);
    BOOST_TEST(got->message == "untouched");
    return got->jobs.jobs[0];
}

std::string refusal_of(const std::string& text) {
    const auto got = parse(text);
    BOOST_TEST(!got->right, text);
    BOOST_TEST(got->message.find('\n') == std::string::npos);
    return got->right ? "" : got->message;
}

std::string notes_of(const std::string& text) {
    const auto got = parse(text);
    BOOST_TEST(got->right, text << ": " << got->message);
    return got->notes;
}

// "4096:100" for one size, "4096:60 65536:40" for two.
std::string shares_of(const block_sizes& sizes) {
    std::string out;
    for (std::size_t i = 0; i < sizes.count; ++i) {
        out +=
            (i == 0 ? "" : " ") + std::to_string(sizes.shares[i].bytes) + ":" + std::to_string(sizes.shares[i].percent);
    }
    return out;
}

std::string shares_of(const job& each) {
    return shares_of(each.bs[0]) + " / " + shares_of(each.bs[1]) + " / " + shares_of(each.bs[2]);
}

std::string disks_of(const job& each) {
    std::string out;
    for (std::size_t i = 0; i < each.filename_count; ++i) {
        out += (i == 0 ? "" : " ") + std::string{each.filenames[i]};
    }
    return out;
}

template <typename List>
std::string text_of(const List& list, std::size_t count) {
    std::string out;
    for (std::size_t i = 0; i < count; ++i) {
        out += (i == 0 ? "" : " ") + std::to_string(list[i]);
    }
    return out;
}

std::string text_of(const job_size& size) {
    return size.percent != 0 ? std::to_string(size.percent) + "%" : std::to_string(size.bytes);
}

} // namespace

BOOST_AUTO_TEST_SUITE(job_files)

BOOST_AUTO_TEST_CASE(a_section_alone_has_the_defaults_of_fio) {
    const job got = job_of("");
    BOOST_TEST(got.name == "job");
    BOOST_TEST(got.line == 1u);
    BOOST_TEST(!got.stonewall);
    BOOST_TEST((got.rw == job_pattern::read));
    BOOST_TEST(got.rwmixread == 50u);
    BOOST_TEST(shares_of(got) == "4096:100 / 4096:100 / 4096:100");
    BOOST_TEST(text_of(got.blockalign, directions) == "0 0 0");
    BOOST_TEST((got.distribution.kind == shape::random));
    BOOST_TEST(!got.randseed_given);
    BOOST_TEST(!got.norandommap);
    BOOST_TEST(got.filename_count == 0u);
    BOOST_TEST(!got.offset.given());
    BOOST_TEST(!got.size.given());
    BOOST_TEST(!got.io_size.given());
    BOOST_TEST(got.number_ios == 0u);
    BOOST_TEST(got.runtime == 0u);
    BOOST_TEST(got.ramp_time == 0u);
    BOOST_TEST(!got.time_based);
    BOOST_TEST(got.loops == 1u);
    BOOST_TEST(got.iodepth == 1u);
    BOOST_TEST(got.iodepth_batch_submit == 1u);
    BOOST_TEST(got.iodepth_batch_complete_min == 1u);
    BOOST_TEST(got.numjobs == 1u);
    BOOST_TEST(got.cpus_allowed == 0u);
    BOOST_TEST(!got.hipri);
    BOOST_TEST(text_of(got.rate_iops, directions) == "0 0 0");
    BOOST_TEST(got.thinktime == 0u);
    BOOST_TEST(!got.verify);
    BOOST_TEST(got.do_verify);
    BOOST_TEST(got.fsync == 0u);
    BOOST_TEST(got.fdatasync == 0u);
    BOOST_TEST(got.percentile_count == 0u);
    BOOST_TEST(!got.group_reporting);
    BOOST_TEST(got.option_count == 0u);
}

BOOST_AUTO_TEST_CASE(every_option_sets_its_value) {
    const job got = job_of("name=other\nstonewall\nrw=randrw\nrwmixread=70\nbs=4k,8k,16k\nblockalign=4k,64k\n"
                           "random_distribution=zipf:1.2\nrandseed=77\nnorandommap\nfilename=vda:vdb\noffset=25%\n"
                           "size=1g\nio_size=2g\nnumber_ios=1000\nruntime=30\nramp_time=5\ntime_based\nloops=3\n"
                           "iodepth=32\niodepth_batch_submit=16\niodepth_batch_complete_min=8\nnumjobs=4\n"
                           "cpus_allowed=0,2-3\nhipri\nrate_iops=1000,500\nthinktime=20\nverify=crc32c\ndo_verify=0\n"
                           "fsync=32\nfdatasync=16\npercentile_list=99.9:1:5\ngroup_reporting");
    BOOST_TEST(got.name == "other");
    BOOST_TEST(got.stonewall);
    BOOST_TEST((got.rw == job_pattern::randrw));
    BOOST_TEST(got.rwmixread == 70u);
    BOOST_TEST(shares_of(got) == "4096:100 / 8192:100 / 16384:100");
    BOOST_TEST(text_of(got.blockalign, directions) == "4096 65536 65536");
    BOOST_TEST((got.distribution.kind == shape::zipf));
    BOOST_TEST(got.distribution.parameter == 1'200'000u);
    BOOST_TEST(got.randseed == 77u);
    BOOST_TEST(got.randseed_given);
    BOOST_TEST(got.norandommap);
    BOOST_TEST(disks_of(got) == "vda vdb");
    BOOST_TEST(text_of(got.offset) == "25%");
    BOOST_TEST(got.size.bytes == 1u << 30);
    BOOST_TEST(got.io_size.bytes == std::uint64_t{2} << 30);
    BOOST_TEST(got.number_ios == 1000u);
    BOOST_TEST(got.runtime == 30'000'000u);
    BOOST_TEST(got.ramp_time == 5'000'000u);
    BOOST_TEST(got.time_based);
    BOOST_TEST(got.loops == 3u);
    BOOST_TEST(got.iodepth == 32u);
    BOOST_TEST(got.iodepth_batch_submit == 16u);
    BOOST_TEST(got.iodepth_batch_complete_min == 8u);
    BOOST_TEST(got.numjobs == 4u);
    BOOST_TEST(got.cpus_allowed == 0b1101u);
    BOOST_TEST(got.hipri);
    BOOST_TEST(text_of(got.rate_iops, directions) == "1000 500 500");
    BOOST_TEST(got.thinktime == 20u);
    BOOST_TEST(got.verify);
    BOOST_TEST(!got.do_verify);
    BOOST_TEST(got.fsync == 32u);
    BOOST_TEST(got.fdatasync == 16u);
    BOOST_TEST(text_of(got.percentile_list, got.percentile_count) == "1000000 5000000 99900000");
    BOOST_TEST(got.group_reporting);
}

BOOST_AUTO_TEST_CASE(other_names_of_options) {
    const job got = job_of("readwrite=randwrite\nblocksize=8k\nba=16k\niodepth=8\niodepth_batch=4\n"
                           "iodepth_batch_complete=3\nio_limit=1m\nfileoffset=2m\ntimeout=4\nwait_for_previous=1");
    BOOST_TEST((got.rw == job_pattern::randwrite));
    BOOST_TEST(shares_of(got.bs[2]) == "8192:100");
    BOOST_TEST(got.blockalign[1] == 16384u);
    BOOST_TEST(got.iodepth_batch_submit == 4u);
    BOOST_TEST(got.iodepth_batch_complete_min == 3u);
    BOOST_TEST(got.io_size.bytes == 1u << 20);
    BOOST_TEST(got.offset.bytes == 2u << 20);
    BOOST_TEST(got.runtime == 4'000'000u);
    BOOST_TEST(got.stonewall);
}

// kb_base is 1024, so fio exchanges the units: k is 1024 and kib 1000; 3.33 has ki as k.
BOOST_AUTO_TEST_CASE(sizes) {
    const struct {
        const char* text;
        std::uint64_t bytes;
    } table[] = {
        {"4096", 4096},
        {"4096b", 4096},
        {"8k", 8192},
        {"8K", 8192},
        {"8kb", 8192},
        {"8kB", 8192},
        {"8ki", 8192},
        {"8kib", 8000},
        {"8KiB", 8000},
        {"3m", 3145728},
        {"3mb", 3145728},
        {"3mib", 3000000},
        {"2g", 2147483648},
        {"2gib", 2000000000},
        {"2t", 2199023255552},
        {"2tib", 2000000000000},
        {"2p", 2251799813685248},
        {"2PiB", 2000000000000000},
        {"0x2000", 8192},
        {"0X2000", 8192},
        {"007000", 7000},
        {"8191p", 9222246136947933184u},
        {"9223372036854775807", 9223372036854775807},
        {"0", 0},
    };
    for (const auto& each : table) {
        BOOST_TEST(job_of(std::string{"size="} + each.text).size.bytes == each.bytes, each.text);
    }
    BOOST_TEST(text_of(job_of("size=1%").size) == "1%");
    BOOST_TEST(text_of(job_of("size=100%").size) == "100%");
    BOOST_TEST(!job_of("size=0%").size.given());
    BOOST_TEST(text_of(job_of("size=50%\nsize=1m").size) == "1048576");
    BOOST_TEST(text_of(job_of("size=1m\nsize=50%").size) == "50%");
    for (const char* const wrong : {"",        "k",
                                    "-1",      "+1",
                                    "1.5k",    "4kk",
                                    "4x",      "4kix",
                                    "4 k",     "0x",
                                    "0x1000k", "101%",
                                    "%",       "5%%",
                                    "50k%",    "9223372036854775808",
                                    "8192p",   "18446744073709551616",
                                    "10z",     "(2*3)"}) {
        const std::string line = std::string{"size="} + wrong;
        BOOST_TEST(
            refusal_of("[a]\n" + line) ==
            "line 2: " + line +
                ": size is a number of bytes, with k, m, g, t or p if you like, or percent of the disk, as in 50%");
    }
}

BOOST_AUTO_TEST_CASE(times) {
    const struct {
        const char* text;
        std::uint64_t microseconds;
    } table[] = {
        {"0", 0},
        {"10", 10'000'000},
        {"10us", 10},
        {"10usec", 10},
        {"10ms", 10'000},
        {"10MS", 10'000},
        {"10msec", 10'000},
        {"10s", 10'000'000},
        {"10m", 600'000'000},
        {"2h", 7'200'000'000},
        {"2H", 7'200'000'000},
        {"3d", 259'200'000'000},
    };
    for (const auto& each : table) {
        BOOST_TEST(job_of(std::string{"runtime="} + each.text).runtime == each.microseconds, each.text);
        BOOST_TEST(job_of(std::string{"ramp_time="} + each.text).ramp_time == each.microseconds, each.text);
    }
    BOOST_TEST(job_of("thinktime=7").thinktime == 7u);
    BOOST_TEST(job_of("thinktime=7ms").thinktime == 7000u);
    for (const char* const wrong :
         {"", "s", "-5", "1.5", "10sec", "10x", "0x10", "10 s", "9223372036854775807", "106751992d"}) {
        const std::string line = std::string{"runtime="} + wrong;
        BOOST_TEST(refusal_of("[a]\n" + line) ==
                   "line 2: " + line + ": runtime is a time with us, ms, s, m, h or d, or else in seconds");
    }
}

BOOST_AUTO_TEST_CASE(lists_of_directions) {
    const struct {
        const char* text;
        const char* sizes;
    } table[] = {
        {"4k", "4096 4096 4096"},     {"4k,8k", "4096 8192 8192"},  {"4k,8k,16k", "4096 8192 16384"},
        {",8k", "1024 8192 8192"},    {",,8k", "1024 1024 8192"},   {"8k,", "8192 1024 1024"},
        {"4k,,8k", "4096 1024 8192"}, {"4k,8k,", "4096 8192 1024"},
    };
    for (const auto& each : table) {
        const job got = job_of(std::string{"bs=1k\nbs="} + each.text + "\nrate_iops=1024\nrate_iops=" + each.text +
                               "\nrw=randread\nba=1k\nba=" + each.text);
        std::array<std::uint32_t, directions> sizes{};
        for (std::size_t i = 0; i < directions; ++i) {
            sizes[i] = got.bs[i].smallest();
            BOOST_TEST(got.bs[i].largest() == sizes[i]);
        }
        BOOST_TEST(text_of(sizes, directions) == each.sizes, each.text);
        BOOST_TEST(text_of(got.rate_iops, directions) == each.sizes, each.text);
        BOOST_TEST(text_of(got.blockalign, directions) == each.sizes, each.text);
    }
}

BOOST_AUTO_TEST_CASE(splits) {
    const struct {
        const char* text;
        const char* reads;
    } table[] = {
        {"4k/10:64k/50:32k/40", "4096:10 65536:50 32768:40"},
        {"4k", "4096:100"},
        {"4k/", "4096:100"},
        {"4k/50:1k/:32k/", "4096:50 1024:25 32768:25"},
        {"4k:8k:16k", "4096:33 8192:33 16384:34"},      // the last of the equal ones
        {"4k/51:8k/:16k/", "4096:52 8192:24 16384:24"}, // the largest one
        {"4k/100:512/", "4096:100 512:0"},
        {"4k/0:8k/40", "4096:60 8192:40"}, // 0 is as nothing, as in fio
    };
    for (const auto& each : table) {
        const job got = job_of(std::string{"bssplit="} + each.text);
        for (const block_sizes& sizes : got.bs) {
            BOOST_TEST(shares_of(sizes) == each.reads, each.text);
        }
    }
    BOOST_TEST(shares_of(job_of("bssplit=4k/60:8k/40,512")) == "4096:60 8192:40 / 512:100 / 512:100");
    BOOST_TEST(shares_of(job_of("bssplit=4k,8k,1k/50:2k/50")) == "4096:100 / 8192:100 / 1024:50 2048:50");
    BOOST_TEST(shares_of(job_of("bs=1k\nbssplit=,8k")) == "1024:100 / 8192:100 / 8192:100");
    BOOST_TEST(shares_of(job_of("bssplit=8k,\nbs=1k")) == "8192:100 / 1024:100 / 1024:100"); // bs does not undo it
    BOOST_TEST(job_of("bssplit=4k/100:512/").bs[0].smallest() == 512u);
    BOOST_TEST(job_of("bssplit=4k/10:64k/50:32k/40").bs[1].smallest() == 4096u);
    BOOST_TEST(job_of("bssplit=4k/10:64k/50:32k/40").bs[1].largest() == 65536u);
    std::string sixteen = "bssplit=1k";
    for (int i = 2; i <= 16; ++i) {
        sixteen += ":" + std::to_string(i) + "k";
    }
    BOOST_TEST(job_of(sixteen).bs[0].count == 16u);
    for (const std::string& wrong :
         {std::string{"bssplit="}, std::string{"bssplit=,"}, std::string{"bssplit=4k/90"},
          std::string{"bssplit=4k/60:8k/60"}, std::string{"bssplit=4k/60:8k/60:16k/"},
          std::string{"bssplit=4k/50::8k/50"}, std::string{"bssplit=4k/x"}, std::string{"bssplit=4k/101"},
          std::string{"bssplit=100/100"}, std::string{"bssplit=4k,4k,4k,4k"}, sixteen + ":17k"}) {
        const std::string message = refusal_of("[a]\n" + wrong);
        BOOST_TEST(message.starts_with("line 2: " + wrong.substr(0, 60) + ": bssplit is up to 16 sizes"), message);
        BOOST_TEST(message.find("add up to 100 percent") != std::string::npos, message);
    }
}

BOOST_AUTO_TEST_CASE(patterns_have_names) {
    for (const char* const name :
         {"read", "write", "randread", "randwrite", "rw", "randrw", "trim", "randtrim", "trimwrite"}) {
        const job got = job_of(std::string{"rw="} + name);
        BOOST_TEST(to_string(got.rw) == std::string{name});
        BOOST_TEST(is_random(got.rw) == (std::string_view{name}.starts_with("rand")));
    }
    BOOST_TEST(to_string(job_of("rw=readwrite").rw) == std::string{"rw"});
}

BOOST_AUTO_TEST_CASE(distributions) {
    const struct {
        const char* text;
        shape kind;
        std::uint32_t parameter;
    } table[] = {
        {"random", shape::random, 0},
        {"zipf", shape::zipf, 1'100'000},
        {"zipf:1.2", shape::zipf, 1'200'000},
        {"zipf:0.9", shape::zipf, 900'000},
        {"zipf:.5", shape::zipf, 500'000},
        {"zipf:2", shape::zipf, 2'000'000},
        {"zipf:1.000001", shape::zipf, 1'000'001},
        {"pareto", shape::pareto, 200'000},
        {"pareto:0.35", shape::pareto, 350'000},
        {"zipf:100", shape::zipf, 100'000'000},
    };
    for (const auto& each : table) {
        const job got = job_of(std::string{"random_distribution="} + each.text);
        BOOST_TEST((got.distribution.kind == each.kind), each.text);
        BOOST_TEST(got.distribution.parameter == each.parameter, each.text);
        BOOST_TEST(got.norandommap == (each.kind != shape::random), each.text);
    }
    BOOST_TEST((job_of("random_distribution=zipf\nrandom_distribution=random").distribution.parameter == 0));
    for (const char* const wrong : {"",
                                    "zipf:",
                                    "zipf:0",
                                    "zipf:1",
                                    "zipf:1.0",
                                    "zipf:-1",
                                    "zipf:1.1:0.5",
                                    "zipf:1e1",
                                    "zipf:1.0000001",
                                    "zipf:100.1",
                                    "zipf:.",
                                    "zipf:99999999999999999999",
                                    "zipf:1.1.1",
                                    "pareto:0",
                                    "pareto:1",
                                    "pareto:1.5",
                                    "random:1",
                                    "normal:5",
                                    "zoned:50/50",
                                    "Zipf"}) {
        const std::string line = std::string{"random_distribution="} + wrong;
        const std::string message = refusal_of("[a]\n" + line);
        BOOST_TEST(message.starts_with("line 2: " + line + ": random_distribution is random, zipf"), message);
    }
}

BOOST_AUTO_TEST_CASE(harts_disks_and_percentiles) {
    BOOST_TEST(job_of("cpus_allowed=0").cpus_allowed == 1u);
    BOOST_TEST(job_of("cpus_allowed=63").cpus_allowed == std::uint64_t{1} << 63);
    BOOST_TEST(job_of("cpus_allowed=0-63").cpus_allowed == ~std::uint64_t{0});
    BOOST_TEST(job_of("cpus_allowed=1,3-4,1").cpus_allowed == 0b11010u);
    BOOST_TEST(job_of("cpus_allowed=1\ncpus_allowed=2").cpus_allowed == 0b100u);
    for (const char* const wrong :
         {"", "64", "0-64", "3-1", "1,", "x", "1-", "-1", "1-2-3", "0,,1", "18446744073709551616"}) {
        BOOST_TEST(refusal_of(std::string{"[a]\ncpus_allowed="} + wrong) ==
                   std::string{"line 2: cpus_allowed="} + wrong +
                       ": cpus_allowed is a list of harts from 0 to 63, as in 0,2-3");
    }
    BOOST_TEST(disks_of(job_of("filename=vdz")) == "vdz");
    BOOST_TEST(disks_of(job_of("filename=/dev/vda:vdb:/dev/vdc")) == "vda vdb vdc");
    BOOST_TEST(disks_of(job_of("filename=vda:vda")) == "vda vda");
    BOOST_TEST(disks_of(job_of("filename=vda:vdb:vdc:vdd:vde:vdf:vdg:vdh")) == "vda vdb vdc vdd vde vdf vdg vdh");
    for (const char* const wrong : {"", "vd", "vdA", "vda1", "vdaa", "sda", "/dev/sda", "/tmp/vda", "vda:", ":vda",
                                    "vda vdb", "vda:vdb:vdc:vdd:vde:vdf:vdg:vdh:vda"}) {
        const std::string message = refusal_of(std::string{"[a]\nfilename="} + wrong);
        BOOST_TEST(message.starts_with(std::string{"line 2: filename="} + wrong + ": filename is a disk, vda to vdz"),
                   message);
    }
    const job got = job_of("percentile_list=99.99:50:99.999999:0.000001:100");
    BOOST_TEST(text_of(got.percentile_list, got.percentile_count) == "1 50000000 99990000 99999999 100000000");
    BOOST_TEST(job_of("percentile_list=1:2:3\npercentile_list=4").percentile_count == 1u);
    BOOST_TEST(job_of("percentile_list=1:2:3:4:5:6:7:8:9:10:11:12:13:14:15:16:17:18:19:20").percentile_count == 20u);
    for (const char* const wrong : {"", "0", "0.0", "101", "100.000001", "50:", ":50", "50,60", "50x", "-1",
                                    "1.0000001", "1:2:3:4:5:6:7:8:9:10:11:12:13:14:15:16:17:18:19:20:21"}) {
        const std::string message = refusal_of(std::string{"[a]\npercentile_list="} + wrong);
        BOOST_TEST(message.find(": percentile_list is up to 20 numbers above 0 and up to 100") != std::string::npos,
                   message);
    }
}

BOOST_AUTO_TEST_CASE(a_section_inherits_what_global_was_before_it) {
    const auto got = parse("[global]\nbs=8k\niodepth=2\n"
                           "[a]\niodepth=3\n"
                           "[global]\nrw=write\n"
                           "[b]\nbs=16k\n"
                           "[globals]\niodepth=4\nstonewall\n" // as in fio: whatever begins with global
                           "[c]\n"
                           "[d]\nstonewall=0\n");
    BOOST_REQUIRE_MESSAGE(got->right, got->message);
    BOOST_TEST(got->jobs.count == 4u);
    const auto& jobs = got->jobs.jobs;
    const char* const names[] = {"a", "b", "c", "d"};
    const std::uint32_t depths[] = {3, 2, 4, 4};
    const std::uint32_t sizes[] = {8192, 16384, 8192, 8192};
    const std::uint32_t lines[] = {4, 8, 13, 14};
    for (std::size_t i = 0; i < 4; ++i) {
        BOOST_TEST(jobs[i].name == names[i]);
        BOOST_TEST(jobs[i].line == lines[i]);
        BOOST_TEST(jobs[i].iodepth == depths[i]);
        BOOST_TEST(jobs[i].bs[0].smallest() == sizes[i]);
        BOOST_TEST((jobs[i].rw == (i == 0 ? job_pattern::read : job_pattern::write)));
        BOOST_TEST(jobs[i].stonewall == (i == 2));
    }
}

// What is settled at the end of a section is not handed on.
BOOST_AUTO_TEST_CASE(inheritance_is_of_what_was_given) {
    const auto got = parse("[global]\niodepth=4\niodepth_batch_submit=16\niodepth_batch_complete_min=8\ntime_based\n"
                           "random_distribution=zipf\nba=64k\nbssplit=4k/50:8k/50\nfilename=vda\nname=nobody\n"
                           "[a]\n"
                           "[b]\niodepth=32\nruntime=1\nrandom_distribution=random\nrw=randread\nbs=64k\nfilename=vdb\n"
                           "[c]\nrw=randwrite\nrandom_distribution=random\nbssplit=64k\n");
    BOOST_REQUIRE_MESSAGE(got->right, got->message);
    const job& a = got->jobs.jobs[0];
    const job& b = got->jobs.jobs[1];
    const job& c = got->jobs.jobs[2];
    BOOST_TEST(a.name == "a");
    BOOST_TEST(a.iodepth_batch_submit == 4u);
    BOOST_TEST(a.iodepth_batch_complete_min == 4u);
    BOOST_TEST(!a.time_based);
    BOOST_TEST(a.norandommap);
    BOOST_TEST(a.blockalign[0] == 0u); // it is sequential
    BOOST_TEST(disks_of(a) == "vda");
    BOOST_TEST(b.iodepth_batch_submit == 16u);
    BOOST_TEST(b.iodepth_batch_complete_min == 8u);
    BOOST_TEST(b.time_based);
    BOOST_TEST(b.norandommap); // because of blockalign
    BOOST_TEST(b.blockalign[0] == 65536u);
    BOOST_TEST(shares_of(b.bs[0]) == "4096:50 8192:50"); // bssplit of [global] holds against bs
    BOOST_TEST(disks_of(b) == "vda vdb");
    BOOST_TEST(!c.norandommap); // blockalign is what the blocks are
    BOOST_TEST(got->notes == "line 10: name=nobody: changes nothing: a job has the name of its own section\n"
                             "line 11: a: time_based changes nothing without runtime\n"
                             "line 18: filename=vdb: is added to the disks that were named before, as in fio\n"
                             "line 19: c: time_based changes nothing without runtime\n");
}

BOOST_AUTO_TEST_CASE(depths_of_batches) {
    BOOST_TEST(job_of("iodepth=8\niodepth_batch=0").iodepth_batch_submit == 8u);
    BOOST_TEST(job_of("iodepth_batch=4\niodepth=8").iodepth_batch_submit == 4u);
    BOOST_TEST(job_of("iodepth=8\niodepth_batch=9").iodepth_batch_submit == 8u);
    BOOST_TEST(job_of("iodepth=8\niodepth_batch_complete_min=0").iodepth_batch_complete_min == 0u);
    BOOST_TEST(job_of("iodepth=8\niodepth_batch_complete_min=9").iodepth_batch_complete_min == 8u);
    BOOST_TEST(job_of("loops=0").loops == 1u);
    BOOST_TEST(job_of("iodepth=64k").iodepth == 65536u);
}

BOOST_AUTO_TEST_CASE(lines) {
    const auto got =
        parse("\r\n; a comment\r\n   # another = one\r\n\t[a] ; behind\r\n  bs = 8k  # eight\r\nrw= write;x\r\n"
              "stonewall\t\r\n\r\niodepth =4\n[b c]\nnumjobs\t=\t2");
    BOOST_REQUIRE_MESSAGE(got->right, got->message);
    BOOST_TEST(got->jobs.count == 2u);
    const job& a = got->jobs.jobs[0];
    BOOST_TEST(a.name == "a");
    BOOST_TEST(a.line == 4u);
    BOOST_TEST(a.bs[0].smallest() == 8192u);
    BOOST_TEST((a.rw == job_pattern::write));
    BOOST_TEST(a.stonewall);
    BOOST_TEST(a.iodepth == 4u);
    BOOST_TEST(got->jobs.jobs[1].name == "b c");
    BOOST_TEST(got->jobs.jobs[1].line == 10u);
    BOOST_TEST(got->jobs.jobs[1].numjobs == 2u);
    BOOST_TEST(parse("[a]\n[a]\n[a]b]")->jobs.jobs[2].name == "a]b");

    const std::string blanks(100'000, ' ');
    BOOST_TEST(job_of("iodepth" + blanks + "=" + blanks + "7" + blanks + "#" + blanks).iodepth == 7u);
}

BOOST_AUTO_TEST_CASE(options_are_reported_as_given) {
    const auto got = parse("[global]\nblocksize=8k\nioengine=libaio\n[a]\nstonewall\nbs=4k\nrw= randread # x\n");
    BOOST_REQUIRE(got->right);
    const job& a = got->jobs.jobs[0];
    std::string options;
    for (std::size_t i = 0; i < a.option_count; ++i) {
        options += std::string{a.options[i].name} + "=" + std::string{a.options[i].value} + ";";
    }
    BOOST_TEST(options == "bs=4k;ioengine=libaio;stonewall=;rw=randread;");
}

BOOST_AUTO_TEST_CASE(what_cannot_change_anything_is_noted) {
    BOOST_TEST(notes_of("[global]\nioengine=libaio\ndirect=1\n[a]\nbuffered=0\nthread\ninvalidate=0\ndescription=a b\n"
                        "randrepeat=1\nkb_base=1024\ngroup_reporting\n") ==
               "line 2: ioengine=libaio: changes nothing here: requests go straight to the driver\n"
               "line 3: direct=1: changes nothing here: there is no page cache to go through\n"
               "line 5: buffered=0: changes nothing here: there is no page cache to go through\n"
               "line 6: thread: changes nothing here: there are no processes that threads could replace\n"
               "line 7: invalidate=0: changes nothing here: there is no page cache to invalidate\n"
               "line 8: description=a b: changes nothing here: it is not reported\n"
               "line 9: randrepeat=1: changes nothing here: what is random here repeats with its seed\n"
               "line 10: kb_base=1024: changes nothing here: units are these\n");
    BOOST_TEST(notes_of("[a]\nbs=4k\n").empty());
}

BOOST_AUTO_TEST_CASE(refusals_name_the_line_the_option_and_the_remedy) {
    const struct {
        const char* text;
        const char* message;
    } table[] = {
        {"", "there is no job: a line [NAME] begins one"},
        {"\n; nothing\n", "there is no job: a line [NAME] begins one"},
        {"[global]\nbs=4k\n", "there is no job: a line [NAME] begins one"},
        {"bs=4k\n[a]\n", "line 1: bs=4k: an option stands before the first section; a line [NAME] begins one"},
        {"[a\n", "line 1: [a: a section is a name between [ and ]"},
        {"[a] b\n", "line 1: [a] b: a section is a name between [ and ]"},
        {"[]\n", "line 1: []: a section is a name between [ and ]"},
        {"[\n", "line 1: [: a section is a name between [ and ]"},
        {"[a]\n\ninclude other.fio\n",
         "line 3: include other.fio: include is not supported here; put the lines of the other file in its place"},
        {"[a]\nnumjobs=0", "line 2: numjobs=0: numjobs is a number from 1 to 4096"},
        {"[a]\nnumjobs=4097", "line 2: numjobs=4097: numjobs is a number from 1 to 4096"},
        {"[a]\niodepth=0", "line 2: iodepth=0: iodepth is a number of requests from 1 to 65536"},
        {"[a]\niodepth = 65537", "line 2: iodepth = 65537: iodepth is a number of requests from 1 to 65536"},
        {"[a]\niodepth=4294967297", "line 2: iodepth=4294967297: iodepth is a number of requests from 1 to 65536"},
        {"[a]\niodepth", "line 2: iodepth: iodepth is a number of requests from 1 to 65536"},
        {"[a]\nrwmixread=101", "line 2: rwmixread=101: rwmixread is a number of percent from 0 to 100, without a sign"},
        {"[a]\nstonewall=yes",
         "line 2: stonewall=yes: stonewall is 0 or 1, which is also what it means without a value"},
        {"[a]\nwait_for_previous=",
         "line 2: wait_for_previous=: stonewall is 0 or 1, which is also what it means without a value"},
        {"[a]\ndo_verify", "line 2: do_verify: do_verify is 0 or 1"},
        {"[a]\nverify=md5", "line 2: verify=md5: verify is crc32c or 0: no other checksum of fio's is supported here"},
        {"[a]\ndirect=0", "line 2: direct=0: direct is 1: there is no page cache to go through"},
        {"[a]\nbuffered=1", "line 2: buffered=1: buffered is 0: there is no page cache to go through"},
        {"[a]\nrandrepeat=0", "line 2: randrepeat=0: randrepeat is 1: what is random here repeats with its seed"},
        {"[a]\nkb_base=1000", "line 2: kb_base=1000: kb_base is 1024: fio's other units are not supported here"},
        {"[a]\nthinktime=2h",
         "line 2: thinktime=2h: thinktime is a time below 2^32 us with us, ms, s, m, h or d, or else in microseconds"},
        {"[a]\nrandseed=9223372036854775808", "line 2: randseed=9223372036854775808: randseed is a number below 2^63"},
        {"[a]\nname=", "line 2: name=: name is a name"},
        {"[a]\nbs=4k\nsize=1k\n[b]\n", "line 1: a: size is less than the smallest block size, 4096 bytes"},
        {"[global]\nsize=32k\n[b]\n[a]\nbs=64k\n", "line 4: a: size is less than the smallest block size, 65536 bytes"},
        {"[a]\nbsrange=1k-4k", "line 2: bsrange=1k-4k: bsrange is an option of fio that is not supported here"},
        {"[a]\nrwmixwrite=30", "line 2: rwmixwrite=30: rwmixwrite is an option of fio that is not supported here"},
        {"[a]\nnew_group", "line 2: new_group: new_group is an option of fio that is not supported here"},
        {"[a]\nsqthread_poll=1",
         "line 2: sqthread_poll=1: sqthread_poll is an option of fio that is not supported here"},
        {"[a]\niodpeth=4", "line 2: iodpeth=4: iodpeth is unknown; the nearest known option is iodepth"},
        {"[a]\nnum_jobs=4", "line 2: num_jobs=4: num_jobs is unknown; the nearest known option is numjobs"},
        {"[a]\nBS=4k", "line 2: BS=4k: BS is unknown; the nearest known option is bs"},
        {"[a]\nbs 4k", "line 2: bs 4k: bs 4k is no option of fio"},
        {"[a]\nfrequency=4", "line 2: frequency=4: frequency is no option of fio"},
        {"[a]\n=4k", "line 2: =4k: the name of an option is missing before ="},
        {"[a]\n\x1b[31m=4", "line 2:  [31m=4:  [31m is no option of fio"},
        {"[a]\nab\x1b[31m=4", "line 2: ab [31m=4: ab [31m is no option of fio"},
    };
    for (const auto& each : table) {
        BOOST_TEST(refusal_of(each.text) == each.message);
    }
    for (const char* const bad :
         {"0", "511", "513", "4kib", "65m", "1000000p", "4k,x", "4k,8k,16k,32k", "4k:8k", ",", ""}) {
        const std::string line = std::string{"bs="} + bad;
        BOOST_TEST(
            refusal_of("[a]\n" + line).starts_with("line 2: " + line + ": bs is a size from 512 to 64m that is a"));
        BOOST_TEST(
            refusal_of("[a]\nba" + line.substr(2)).starts_with("line 2: ba" + line.substr(2) + ": ba is a size"));
    }
}

BOOST_AUTO_TEST_CASE(too_many_jobs) {
    std::string text;
    for (int i = 1; i <= 64; ++i) {
        text += "[job" + std::to_string(i) + "]\n";
    }
    BOOST_TEST(parse(text)->jobs.count == 64u);
    BOOST_TEST(parse(text + "[global]\n")->right);
    BOOST_TEST(refusal_of(text + "[one more]\n") ==
               "line 65: [one more]: there are too many jobs: a file has at most 64");
}

// Texts are cut, never overrun, and always ended; notes only between sentences.
BOOST_AUTO_TEST_CASE(little_room_for_texts) {
    const std::string long_word(100'000, 'x');
    for (const std::string& text :
         {"[a]\n" + long_word, "[a]\nbs=" + long_word, "[a]\n" + long_word + "=1", "[" + long_word, long_word,
          std::string{"[a]\nioengine=x\ndirect=1\nthread\nbs=0"}, std::string{"[a]\nioengine=x\ndirect=1\nthread\n"}}) {
        for (const std::size_t room : {0u, 1u, 2u, 10u, 40u, 80u, 81u, 82u, 100u, 160u, 200u, 512u}) {
            std::vector<char> message(room + 8, '#');
            std::vector<char> notes(room + 8, '#');
            job_list jobs;
            static_cast<void>(parse_job_file(text, jobs, std::span{message}.first(room), std::span{notes}.first(room)));
            for (const auto& each : {message, notes}) {
                BOOST_TEST(std::count(each.begin() + static_cast<std::ptrdiff_t>(room), each.end(), '#') == 8);
            }
            BOOST_CHECK_NO_THROW(job_file_check::check(text, room, room));
        }
    }
}

BOOST_AUTO_TEST_CASE(random_files_are_read_or_refused) {
    auto chances = chance(30);
    const std::vector<std::string> words = {"[",
                                            "]",
                                            "\n",
                                            "=",
                                            " ",
                                            "#",
                                            ";",
                                            "\r\n",
                                            ":",
                                            "/",
                                            ",",
                                            "-",
                                            "%",
                                            "global",
                                            "[a]\n",
                                            "bs=",
                                            "bssplit=",
                                            "rw=",
                                            "4k",
                                            "8",
                                            "50",
                                            "100",
                                            "0x",
                                            "zipf",
                                            "random_distribution=",
                                            "size=",
                                            "runtime=",
                                            "s",
                                            "m",
                                            "iodepth=",
                                            "stonewall",
                                            "filename=",
                                            "vda",
                                            "cpus_allowed=",
                                            "percentile_list=",
                                            "99.9",
                                            "time_based",
                                            "rate_iops=",
                                            "ba=",
                                            "randread",
                                            "include",
                                            "\x01",
                                            "\xff",
                                            "name=",
                                            "ioengine=",
                                            "verify=",
                                            "crc32c",
                                            "loops",
                                            "numjobs=",
                                            "iodepth_batch="};
    int right = 0;
    for (int i = 0; i < 20'000; ++i) {
        std::string text = pick(chances, 0, 3) == 0 ? "" : "[a]\n";
        for (int k = pick(chances, 0, 12); k != 0; --k) {
            text += words[pick<std::size_t>(chances, 0, words.size() - 1)];
        }
        BOOST_REQUIRE_NO_THROW(right += job_file_check::check(text, 512, 512));
    }
    BOOST_TEST(right > 100);
    BOOST_TEST(right < 19'000);
}

BOOST_AUTO_TEST_SUITE_END()
