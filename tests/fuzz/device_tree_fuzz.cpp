#include "tests/host/device_tree_oracle.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

// Seeds: the trees beside this file, compiled. With INFLIGHT_FUZZ_ORACLE=libfdt in the
// environment every input is judged by libfdt, too: for a replay of the corpus, because that takes most of the time.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace inflight::kernel::device_tree_oracle;
    static const char* const oracle = std::getenv("INFLIGHT_FUZZ_ORACLE");
    static const bool with_libfdt = oracle != nullptr && std::string_view(oracle) == "libfdt";
    try {
        with_libfdt ? check({data, size}) : check_alone({data, size});
    } catch (const mismatch& failure) {
        std::fprintf(stderr, "mismatch: %s\n", failure.what());
        std::abort();
    }
    return 0;
}
