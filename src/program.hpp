// What the kernel can run, and what it gives to it.
#pragma once

#include "async/counting_scope.hpp"
#include "async/schedule_on.hpp"
#include "async/task.hpp"
#include "src/disks.hpp"
#include "src/end.hpp"
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
// The host shows it as a line that is rewritten, and takes it as a sign of life. One for each hart; what they share, if they
// do something together, is counted together.
struct common_progress {
    const char* what;
    std::uint64_t total;
    arch::atomic<std::uint64_t> done{0};
};

class progress {
  public:
    explicit progress(common_progress& of) noexcept;

    // So much more is done.
    void add(std::uint64_t done) noexcept;

  private:
    common_progress& of_;
    std::uint64_t not_told_ = 0;
    arch::ticks next_;
};

// The buffers of `depth` requests of `block_size` bytes each, one behind the other. Ends the machine with one sentence if
// the memory is too small for them.
std::span<std::byte> allocate_buffers(memory& from, std::uint32_t depth, std::uint32_t block_size) noexcept;

// What falls to one hart of something that the harts do together. Part 0 is done on hart 0, and so on.
struct part {
    std::uint32_t number;
    std::uint32_t count;         // of parts: as many as there are harts, but none without a request in flight
    std::uint32_t first_request; // of those in flight, this and
    std::uint32_t depth;         // so many from it on are the part's,
    std::uint32_t whole_depth;   // of so many

    // Of `whole` things, those from first() to last(), the latter excluded, are the part's.
    [[nodiscard]] std::uint64_t first(std::uint64_t whole) const noexcept {
        return whole / count * number + rest(whole, number);
    }
    [[nodiscard]] std::uint64_t last(std::uint64_t whole) const noexcept {
        return whole / count * (number + 1) + rest(whole, number + 1);
    }

  private:
    [[nodiscard]] std::uint64_t rest(std::uint64_t whole, std::uint64_t parts) const noexcept {
        return whole % count < parts ? whole % count : parts;
    }
};

// How many parts something with `depth` requests in flight has; and one of them.
std::uint32_t part_count(std::uint32_t depth) noexcept;
part make_part(std::uint32_t number, std::uint32_t count, std::uint32_t depth) noexcept;

// What each part of something with `depth` requests in flight has of its own: a row of what `make` answers for a part. Ends
// the machine with one sentence if there is no memory for it.
template <typename T, typename Make>
std::span<T> create_parts(memory& from, std::uint32_t depth, Make&& make) noexcept {
    const std::uint32_t count = part_count(depth);
    const std::span<T> parts = from.create<T>(
        count, [&](std::size_t number) { return make(make_part(static_cast<std::uint32_t>(number), count, depth)); });
    if (parts.empty()) {
        fail("no memory is left for the work of %u harts: give the machine more (./run --memory)", count);
    }
    return parts;
}

// Starts one of `depth` tasks in the scope. Ends the machine with one sentence if there is no memory for its frame.
void spawn(async::counting_scope& scope, async::task<void>&& work, std::uint32_t depth) noexcept;

// Writes counters of every queue of `disk` as members of a JSON object: "queues":[...],"interrupts":...
void print_queues_json(const block::disk& disk) noexcept;

} // namespace inflight::kernel
