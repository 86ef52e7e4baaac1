// Prints what bench/fio/job_file.cpp makes of job files, a line of JSON for each: for job_file_oracle.py.
#include "bench/fio/job.hpp"

#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

namespace {

using namespace inflight::bench;

std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (const char each : text) {
        char escaped[8];
        std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(each)));
        out += each >= ' ' && each != '"' && each != '\\' && each < 0x7f ? std::string(1, each) : std::string{escaped};
    }
    return out + "\"";
}

std::string field(const char* name, std::uint64_t value) {
    return quoted(name) + ":" + std::to_string(value) + ",";
}

std::string field(const char* name, const job_size& size) {
    return quoted(name) + ":{" + field("bytes", size.bytes) + "\"percent\":" + std::to_string(size.percent) + "},";
}

template <typename List, typename Print>
std::string array(const char* name, const List& list, std::size_t count, Print print) {
    std::string out = quoted(name) + ":[";
    for (std::size_t i = 0; i < count; ++i) {
        out += (i == 0 ? "" : ",") + print(list[i]);
    }
    return out + "],";
}

std::string number(std::uint64_t value) {
    return std::to_string(value);
}

std::string json_of(const job& each) {
    std::string out = "{\"name\":" + quoted(each.name) + ",\"rw\":" + quoted(to_string(each.rw)) + ",";
    out += field("line", each.line) + field("stonewall", each.stonewall) + field("rwmixread", each.rwmixread);
    out += array("bs", each.bs, directions, [](const block_sizes& sizes) {
        std::string shares = "{" + array("shares", sizes.shares, sizes.count, [](const block_size_share& share) {
                                 return "[" + number(share.bytes) + "," + number(share.percent) + "]";
                             });
        return shares + field("smallest", sizes.smallest()) + "\"largest\":" + number(sizes.largest()) + "}";
    });
    out += array("blockalign", each.blockalign, directions, number);
    out += field("distribution", static_cast<std::uint64_t>(each.distribution.kind));
    out += field("parameter", each.distribution.parameter);
    out += field("randseed", each.randseed) + field("randseed_given", each.randseed_given);
    out += field("norandommap", each.norandommap);
    out += array("filenames", each.filenames, each.filename_count, quoted);
    out += field("offset", each.offset) + field("size", each.size) + field("io_size", each.io_size);
    out += field("number_ios", each.number_ios) + field("runtime", each.runtime) + field("ramp_time", each.ramp_time);
    out += field("time_based", each.time_based) + field("loops", each.loops) + field("iodepth", each.iodepth);
    out += field("iodepth_batch_submit", each.iodepth_batch_submit);
    out += field("iodepth_batch_complete_min", each.iodepth_batch_complete_min);
    out += field("numjobs", each.numjobs) + field("cpus_allowed", each.cpus_allowed) + field("hipri", each.hipri);
    out += array("rate_iops", each.rate_iops, directions, number) + field("thinktime", each.thinktime);
    out += field("verify", each.verify) + field("do_verify", each.do_verify);
    out += field("fsync", each.fsync) + field("fdatasync", each.fdatasync);
    out += array("percentile_list", each.percentile_list, each.percentile_count, number);
    out += array("options", each.options, each.option_count, [](const given_option& option) {
        return "[" + quoted(option.name) + "," + quoted(option.value) + "]";
    });
    return out + "\"group_reporting\":" + number(each.group_reporting) + "}";
}

} // namespace

int main(int count, char** names) {
    for (int i = 1; i < count; ++i) {
        std::ifstream file{names[i], std::ios::binary};
        if (!file) {
            std::fprintf(stderr, "%s cannot be read\n", names[i]);
            return 1;
        }
        const std::string text{std::istreambuf_iterator<char>{file}, {}};
        const auto jobs = std::make_unique<job_list>();
        char message[512] = "";
        char notes[4096] = "";
        const bool right = parse_job_file(text, *jobs, message, notes);
        std::string out = "{\"refused\":" + (right ? std::string{"null"} : quoted(message)) + ",";
        out += array("jobs", jobs->jobs, right ? jobs->count : 0, json_of);
        out += "\"notes\":" + quoted(notes) + "}";
        std::puts(out.c_str());
    }
    return 0;
}
