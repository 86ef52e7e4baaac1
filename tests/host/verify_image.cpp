// Writes and checks images of verify=crc32c, for fio_interop.py.
//   verify_image fill FILE BYTES BS SEED       blocks of BS bytes one after the other, each with a seed of its own
//   verify_image check FILE BS                 0 if all blocks are right; else describes the first that is not, and 1
#include "bench/fio/verify_block.hpp"
#include "src/support/random.hpp"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

using namespace inflight;
using namespace inflight::bench;

int main(int count, char** arguments) {
    const std::vector<std::string> words{arguments + 1, arguments + count};
    if (words.size() == 5 && words[0] == "fill") {
        std::ofstream file{words[1], std::ios::binary};
        std::vector<std::uint64_t> words_of_block(std::stoul(words[3]) / sizeof(std::uint64_t));
        const auto block = std::as_writable_bytes(std::span{words_of_block});
        support::random chance{std::stoull(words[4])};
        std::uint16_t number = 0;
        for (std::uint64_t offset = 0; offset < std::stoull(words[2]); offset += block.size()) {
            fill_verify_block(block, {.seed = chance.next() | 1, .offset = offset, .seconds = 1, .number = number++});
            file.write(reinterpret_cast<const char*>(block.data()), static_cast<std::streamsize>(block.size()));
        }
        return file.flush().good() ? 0 : 2;
    }
    if (words.size() == 3 && words[0] == "check") {
        std::ifstream file{words[1], std::ios::binary};
        std::vector<std::uint64_t> words_of_block(std::stoul(words[2]) / sizeof(std::uint64_t));
        const auto block = std::as_writable_bytes(std::span{words_of_block});
        std::uint64_t offset = 0;
        for (; file.read(reinterpret_cast<char*>(block.data()), static_cast<std::streamsize>(block.size()));
             offset += block.size()) {
            if (const verify_result result = check_verify_block(block, offset, std::nullopt); !result) {
                std::vector<char> text(1500);
                describe_verify_fault(text, "vda", block, offset, std::nullopt, result);
                std::cout << text.data();
                return 1;
            }
        }
        std::cout << offset / block.size() << " blocks are right\n";
        return offset == 0 ? 2 : 0;
    }
    std::cerr << "verify_image fill FILE BYTES BS SEED, verify_image check FILE BS\n";
    return 2;
}
