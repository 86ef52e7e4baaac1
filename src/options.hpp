// The kernel command line: `key=value` words, all of which are known here and checked before anything runs.
#pragma once

#include "async/executor.hpp"
#include "drivers/virtio/features.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace inflight::kernel {

enum class access_pattern : std::uint8_t { random_read, random_write, sequential_read, sequential_write, random_mixed };

// Which harts take the disks' interrupts.
enum class interrupt_routing : std::uint8_t {
    nobody,     // to see that nothing else completes requests
    first_hart, // hart 0, which wakes the hart that a queue belongs to
    any_hart,   // whoever claims an interrupt first, and does the same
};

struct options {
    std::string_view program = "info";
    std::uint32_t depth = 0;      // requests in flight; 0: the program's own choice
    std::uint32_t block_size = 0; // bytes in one request; 0: the program's own choice
    access_pattern rw = access_pattern::random_read;
    std::uint32_t seconds = 0; // length of a measurement; 0: the program's own choice
    std::uint64_t ios = 0;     // or its number of requests; 0: not given
    std::uint64_t seed = 1;
    async::poll_mode poll = async::poll_mode::adaptive;
    std::uint16_t queues = 64;
    std::uint16_t queue_size = 1024;
    virtio::feature_set features_off = 0;
    interrupt_routing interrupts = interrupt_routing::first_hart;
    std::uint32_t request_timeout = 30; // seconds that a disk may take for a request before it is reset; 0: for ever
    bool tasks = false;                 // print the tasks when the program ends, and when it hangs
    bool floor = true;                  // bench measures the raw loop, too, after each job that only reads
    bool icount = false;                // the machine counts instructions, so figures made of them mean something
};

// Parses `line`. True if all is well; else `message` holds one sentence that names the word and says what is right.
[[nodiscard]] bool parse_options(std::string_view line, options& parsed, std::span<char> message) noexcept;

// The pattern's name in fio's language.
const char* to_string(access_pattern rw) noexcept;

} // namespace inflight::kernel
