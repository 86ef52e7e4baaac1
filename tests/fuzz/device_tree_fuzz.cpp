#include "tests/host/device_tree_oracle.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

// Seeds: device trees that QEMU dumped, best packed with `dtc -I dtb -O dtb`.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        inflight::kernel::device_tree_oracle::check({data, size});
    } catch (const inflight::kernel::device_tree_oracle::mismatch& failure) {
        std::fprintf(stderr, "mismatch: %s\n", failure.what());
        std::abort();
    }
    return 0;
}
