// What the tests of the runtime run on: one hart of the simulated machine with its executor; and a way to see a panic.
#pragma once

#include "async/executor.hpp"
#include "async/sync_wait.hpp"

#include <boost/test/unit_test.hpp>
#include <csignal>
#include <cstdio>
#include <functional>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace inflight::tests {

// A machine with one hart, and the hart's executor. Counts the waits.
struct hart : arch::host::observer {
    explicit hart(std::size_t slab_bytes = std::size_t{1} << 20, arch::host::machine_options options = {})
        : simulated{small(options)}, memory(slab_bytes + 64), runtime{aligned(slab_bytes)} {
        simulated.observe(*this);
    }
    ~hart() override { simulated.stop_observing(*this); }
    hart(const hart&) = delete;
    hart& operator=(const hart&) = delete;

    void on_wait_for_interrupt() override { ++waits; }

    // Runs until nothing is ready; answers the number of rounds.
    unsigned run_ready() {
        unsigned rounds = 1;
        while (runtime.tick()) {
            ++rounds;
        }
        return rounds;
    }

    [[nodiscard]] std::size_t live() const { return runtime.frames().count().live; }

    arch::host::machine simulated;
    std::vector<std::byte> memory;
    mutable async::executor runtime;
    unsigned waits = 0;

  private:
    // No device reaches memory here, so the machine has little.
    static arch::host::machine_options small(arch::host::machine_options options) {
        options.memory_bytes = 4096;
        return options;
    }
    std::span<std::byte> aligned(std::size_t bytes) {
        const auto start = reinterpret_cast<std::uintptr_t>(memory.data());
        return {memory.data() + (-start & 63), bytes};
    }
};

// Runs `work` in a process of its own, where it must panic with a message that contains `expected`.
inline void expect_panic(const std::string& expected, const std::function<void()>& work) {
    int ends[2];
    BOOST_REQUIRE_EQUAL(pipe(ends), 0);
    std::fflush(nullptr);
    const pid_t child = fork();
    BOOST_REQUIRE(child >= 0);
    if (child == 0) {
        std::signal(SIGABRT, SIG_DFL); // not the test framework's
        const rlimit no_core{0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        alarm(20);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        work();
        _exit(0);
    }
    close(ends[1]);
    std::string said;
    char part[512];
    for (ssize_t got; (got = read(ends[0], part, sizeof part)) > 0;) {
        said.append(part, static_cast<std::size_t>(got));
    }
    close(ends[0]);
    int status = 0;
    BOOST_REQUIRE_EQUAL(waitpid(child, &status, 0), child);
    BOOST_CHECK_MESSAGE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
                        "expected a panic '" + expected + "', got status " + std::to_string(status) + ": " + said);
    BOOST_CHECK_MESSAGE(said.find("panic: ") != std::string::npos && said.find(expected) != std::string::npos,
                        "expected '" + expected + "', got: " + said);
}

// Runs a task made by `make` on a hart of its own, which has to panic.
template <typename Make>
void expect_panic_of(const std::string& expected, Make make, std::size_t slab_bytes = std::size_t{1} << 20) {
    expect_panic(expected, [make, slab_bytes] {
        hart h{slab_bytes};
        static_cast<void>(async::sync_wait(make()));
    });
}

} // namespace inflight::tests
