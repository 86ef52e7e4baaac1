#include "tests/host/job_file_check.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

// Seeds: the job files in tests/host/jobs.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace inflight::bench;
    const std::string_view text{reinterpret_cast<const char*>(data), size};
    try {
        const bool right = job_file_check::check(text, 512, 1024);
        if (job_file_check::check(text, size % 64, size % 100) != right) {
            throw job_file_check::broken{"the room for texts decides"};
        }
    } catch (const job_file_check::broken& failure) {
        std::fprintf(stderr, "broken: %s\n", failure.what());
        std::abort();
    }
    return 0;
}
