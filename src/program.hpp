// What the kernel can run, and what it gives to it.
#pragma once

#include "async/counting_scope.hpp"
#include "async/task.hpp"
#include "src/disks.hpp"
#include "src/memory.hpp"
#include "src/options.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace inflight::kernel {

struct environment {
    const machine_description& machine;
    const options& wanted;
    std::span<const virtio_device> devices;
    memory& free_memory;
};

struct program {
    std::string_view name;
    const char* summary;
    async::task<bool> (*run)(const environment& here); // false: the program's verdict is failure, and it has told why
};

// All programs.
std::span<const program> programs() noexcept;

// Says on the console how far something long has come, once a second at the most: `update` costs a comparison otherwise.
// The host shows it as a line that is rewritten, and takes it as a sign of life.
class progress {
  public:
    explicit progress(const char* what, std::uint64_t total) noexcept;
    void update(std::uint64_t done) noexcept;

  private:
    const char* what_;
    std::uint64_t total_;
    arch::ticks next_;
};

// The buffers of `depth` requests of `block_size` bytes each, one behind the other. Ends the machine with one sentence if
// the memory is too small for them.
std::span<std::byte> allocate_buffers(memory& from, std::uint32_t depth, std::uint32_t block_size) noexcept;

// Starts one of `depth` tasks in the scope. Ends the machine with one sentence if there is no memory for its frame.
void spawn(async::counting_scope& scope, async::task<void>&& work, std::uint32_t depth) noexcept;

// Writes counters of every queue of `disk` as members of a JSON object: "queues":[...],"interrupts":...
void print_queues_json(const block::disk& disk) noexcept;

} // namespace inflight::kernel
