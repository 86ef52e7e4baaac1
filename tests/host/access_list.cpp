// Prints the requests of one pass, a line each, for fio_interop.py: access_list RW BEGIN END SEED [OPTION=VALUE]...
// with bs, blockalign, rwmixread, norandommap, and bssplit=BYTES/PERCENT:BYTES/PERCENT.
#include "bench/fio/access.hpp"

#include <iostream>
#include <map>
#include <sstream>
#include <string>

using namespace inflight::bench;

int main(int count, char** arguments) {
    const std::map<std::string, job_pattern> patterns{{"read", job_pattern::read},
                                                      {"write", job_pattern::write},
                                                      {"trim", job_pattern::trim},
                                                      {"randread", job_pattern::randread},
                                                      {"randwrite", job_pattern::randwrite},
                                                      {"randtrim", job_pattern::randtrim},
                                                      {"rw", job_pattern::rw},
                                                      {"randrw", job_pattern::randrw},
                                                      {"trimwrite", job_pattern::trimwrite}};
    if (count < 5 || !patterns.contains(arguments[1])) {
        std::cerr << "access_list RW BEGIN END SEED [OPTION=VALUE]...\n";
        return 2;
    }
    job of;
    of.rw = patterns.at(arguments[1]);
    for (int i = 5; i < count; ++i) {
        const std::string word = arguments[i];
        const std::string key = word.substr(0, word.find('='));
        const std::string value = word.substr(word.find('=') + 1);
        if (key == "bs") {
            for (block_sizes& each : of.bs) {
                each.shares[0].bytes = static_cast<std::uint32_t>(std::stoul(value));
            }
        } else if (key == "bssplit") {
            block_sizes sizes;
            sizes.count = 0;
            std::istringstream text{value};
            char separator = 0;
            do {
                block_size_share& share = sizes.shares.at(sizes.count++);
                text >> share.bytes >> separator >> share.percent;
            } while (text >> separator);
            of.bs.fill(sizes);
        } else if (key == "blockalign") {
            of.blockalign.fill(static_cast<std::uint32_t>(std::stoul(value)));
        } else if (key == "rwmixread") {
            of.rwmixread = static_cast<std::uint32_t>(std::stoul(value));
        } else if (key == "norandommap") {
            of.norandommap = value == "1";
        } else {
            std::cerr << "unknown option " << key << '\n';
            return 2;
        }
    }
    access_sequence sequence{
        of, {.begin = std::stoull(arguments[2]), .end = std::stoull(arguments[3])}, std::stoull(arguments[4])};
    access each{};
    constexpr const char* names[] = {"read", "write", "trim"};
    while (sequence.next(each)) {
        std::cout << names[static_cast<std::size_t>(each.what)] << ' ' << each.offset << ' ' << each.length << '\n';
    }
    return 0;
}
