// The programs of the kernel, and what it gives to them.
#pragma once

#include "async/counting_scope.hpp"
#include "async/schedule_on.hpp"
#include "async/task.hpp"
#include "src/kernel/devices.hpp"
#include "src/kernel/end.hpp"
#include "src/kernel/memory.hpp"
#include "src/kernel/options.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace inflight::kernel {

struct environment {
    const machine_description& machine;
    const options& wanted;
    std::span<const virtio_device> devices;
    pci_bus* pci; // nullptr: there is no VIRTIO device on PCI
    memory& free_memory;
};

// A program, which the boot argument program= names. Each is a namespace-scope object in its own file, whose
// constructor adds it to the list of programs, so no file lists them all. Not copied, never destroyed.
class program {
  public:
    // Returns false if the program has failed; it has printed the reason.
    using entry = async::task<bool> (*)(const environment& here);

    // Before other harts run. All arguments must stay valid.
    program(std::string_view name, const char* summary, entry main) noexcept;

    program(const program&) = delete;
    program& operator=(const program&) = delete;

    // All programs in alphabetical order; null after the last.
    [[nodiscard]] static const program* first() noexcept;
    [[nodiscard]] const program* next() const noexcept { return next_; }
    // Returns null if there is no program of that name.
    [[nodiscard]] static const program* find(std::string_view name) noexcept;

    [[nodiscard]] std::string_view name() const noexcept { return name_; }
    [[nodiscard]] const char* summary() const noexcept { return summary_; }
    [[nodiscard]] async::task<bool> run(const environment& here) const { return run_(here); }

  private:
    std::string_view name_;
    const char* summary_;
    entry run_;
    program* next_;
};

// Ends the machine with one sentence if there is no usable disk.
void require_disks(const environment& here) noexcept;

// Returns whether the device is an unusable disk. If so, prints an error with the reason.
[[nodiscard]] bool is_unusable(const virtio_device& device, const char* program) noexcept;
// After identify_disks(): ends the machine with one sentence if programs must not write to the disk.
void require_overwritable(const virtio_device& disk) noexcept;

// Prints the progress of a long operation at most once a second. The host shows it on a line that it rewrites, and
// takes it as a sign of life. One object for each hart; harts that work together share a common_progress.
struct common_progress {
    const char* what;
    std::uint64_t total;
    arch::atomic<std::uint64_t> done{0};
};

class progress {
  public:
    explicit progress(common_progress& of) noexcept;

    // Adds `done` to what has been done.
    void add(std::uint64_t done) noexcept;

  private:
    common_progress& of_;
    std::uint64_t unreported_ = 0;
    arch::ticks reported_at_;
};

// Allocates contiguous buffers for `depth` requests of `block_size` bytes. Ends the machine with one sentence if the
// memory is too small.
std::span<std::byte> allocate_buffers(memory& from, std::uint32_t depth, std::uint32_t block_size) noexcept;

// One hart's share of work that is divided among the harts. Part 0 is done on hart 0, and so on.
struct part {
    std::uint32_t number;
    std::uint32_t count;         // of parts: one for each hart, but none without a request in flight
    std::uint32_t first_request; // of the part
    std::uint32_t depth;         // requests in flight of the part
    std::uint32_t whole_depth;   // requests in flight of all parts

    // Divides `whole` items: the part's are first() to last(), excluding last().
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

// The number of parts of work with `depth` requests in flight, and one of them.
std::uint32_t part_count(std::uint32_t depth) noexcept;
part make_part(std::uint32_t number, std::uint32_t count, std::uint32_t depth) noexcept;

// Allocates an object for each part, which `make` returns. Ends the machine with one sentence if there is no memory for
// it.
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

// Writes counters of the usable disk and of each of its queues as members of a JSON object: "queues":[...],"interrupts":...
void print_queues_json(const virtio_device& device) noexcept;

} // namespace inflight::kernel
