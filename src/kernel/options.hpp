// The kernel command line: `key=value` words, which are all checked before anything runs. Words that loaders add for
// Linux are accepted and have no effect.
#pragma once

#include "async/executor.hpp"
#include "drivers/virtio/features.hpp"
#include "src/kernel/bounded_list.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace inflight::kernel {

enum class access_pattern : std::uint8_t { random_read, random_write, sequential_read, sequential_write, random_mixed };

// Which harts take the disks' interrupts.
enum class interrupt_routing : std::uint8_t {
    nobody,     // to test that nothing else completes requests
    first_hart, // hart 0, which wakes the hart that a queue belongs to
    any_hart,   // the hart that claims an interrupt first; it wakes that hart, too
};

// How `crash` panics.
enum class crash_kind : std::uint8_t {
    null,   // writes to address 0
    stack,  // calls itself until its stack overflows
    text,   // writes to the kernel's code
    rodata, // writes to a constant
    data,   // jumps into data
};

struct options {
    std::string_view program = "info";
    std::uint32_t depth = 0;      // requests in flight; 0: the program's own choice
    std::uint32_t bytes = 0;      // that random prints; 0: the program's own choice
    std::uint32_t block_size = 0; // bytes in one request; 0: the program's own choice
    access_pattern rw = access_pattern::random_read;
    std::uint32_t seconds = 0; // duration of a measurement; 0: the program's own choice
    std::uint64_t ios = 0;     // or number of its requests; 0: not given
    std::uint64_t seed = 1;
    async::poll_mode poll = async::poll_mode::adaptive;
    std::uint16_t queues = 64;
    std::uint16_t queue_size = 1024;
    virtio::feature_set features_off = 0;
    crash_kind kind = crash_kind::null;
    interrupt_routing interrupts = interrupt_routing::first_hart;
    std::uint32_t request_timeout = 30; // seconds before a disk with an overdue request is reset; 0: never
    bool strict_lengths = false;        // a short used length fails its request
    bool tasks = false;                 // print the tasks when the program ends, and when it hangs
    bool floor = true;                  // bench also measures the raw loop after each job that only reads
    bool flush = true;                  // durable flushes before it reports a round
    bool hold = false;                  // soak waits for a character on the console before it ends
    bool icount = false;                // the machine counts instructions, so instruction counts are meaningful
    bounded_list<std::string_view, 16> for_linux; // words for Linux, which have no effect here
    std::string_view overwrite; // the serial numbers of the disks that programs may write to, see names_serial()
};

// Parses `line`. Returns false if a word is wrong; then `message` is one sentence that names the word and what is
// valid.
[[nodiscard]] bool parse_options(std::string_view line, options& parsed, std::span<char> message) noexcept;

// Returns whether `list`, a valid value of overwrite=, names this serial number. Commas separate the serial numbers.
// Any byte may be written as %XX; white space, a comma and a percent sign must be. A serial number has 1 to 20 bytes,
// as the devices report it.
[[nodiscard]] bool names_serial(std::string_view list, std::string_view serial) noexcept;

// The pattern's name in fio's language.
const char* to_string(access_pattern rw) noexcept;

} // namespace inflight::kernel
