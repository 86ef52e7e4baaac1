// How a finding is reported: libFuzzer keeps the input of a run that aborts.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace inflight::fuzz {

[[noreturn]] inline void wrong(const char* what) {
    std::fprintf(stderr, "device_fuzz: %s\n", what);
    std::abort();
}

inline void require(bool holds, const char* what) {
    if (!holds)
        wrong(what);
}

} // namespace inflight::fuzz
