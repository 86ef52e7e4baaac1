#include "src/program.hpp"

#include "src/console.hpp"
#include "src/end.hpp"

#include <algorithm>
#include <utility>

namespace inflight::kernel {

std::uint32_t part_count(std::uint32_t depth) noexcept {
    return std::min<std::uint32_t>(arch::harts(), std::max(depth, 1u));
}

part make_part(std::uint32_t number, std::uint32_t count, std::uint32_t depth) noexcept {
    part made{.number = number, .count = count, .first_request = 0, .depth = 0, .whole_depth = depth};
    made.first_request = static_cast<std::uint32_t>(made.first(depth));
    made.depth = static_cast<std::uint32_t>(made.last(depth)) - made.first_request;
    return made;
}

progress::progress(common_progress& of) noexcept : of_{of}, next_{arch::now() + arch::ticks_per_second()} {}

void progress::add(std::uint64_t done) noexcept {
    not_told_ += done;
    const arch::ticks now = async::executor::current().round_time();
    if (now >= next_) {
        next_ = now + arch::ticks_per_second();
        const std::uint64_t all = of_.done.fetch_add(not_told_, std::memory_order_relaxed) + not_told_;
        not_told_ = 0;
        const std::uint64_t percent = of_.total == 0 ? 100 : all * 100 / of_.total;
        console::print("@progress %s: %lu %%\n", of_.what, percent < 100 ? percent : 100);
    }
}

std::span<std::byte> allocate_buffers(memory& from, std::uint32_t depth, std::uint32_t block_size) noexcept {
    const std::size_t bytes = std::size_t{depth} * block_size;
    const std::size_t available = from.available();
    std::byte* const buffers = from.allocate(bytes, 4096);
    if (buffers == nullptr) {
        fail("depth=%u with blocks of %u bytes takes %lu KiB of buffers, and %lu KiB are free: use less of either, or "
             "give "
             "the machine more memory (./run --memory)",
             depth, block_size, bytes / 1024, available / 1024);
    }
    return {buffers, bytes};
}

void spawn(async::counting_scope& scope, async::task<void>&& work, std::uint32_t depth) noexcept {
    if (!scope.spawn(std::move(work))) {
        fail("depth=%u takes more coroutine frames than there is memory for: use less, or give the machine more memory "
             "(./run --memory)",
             depth);
    }
}

void print_queues_json(const block::disk& disk) noexcept {
    const block::disk::counters& device = disk.count();
    console::print("\"interrupts\":%lu,\"spurious_interrupts\":%lu,\"waited\":%lu,\"sent\":%lu,\"resets\":%lu,"
                   "\"lost_interrupts\":%lu,\"queues\":[",
                   device.interrupts, device.spurious, device.waited, device.sent, device.resets,
                   device.lost_interrupts);
    for (std::uint16_t i = 0; i < disk.properties().queues; ++i) {
        const block::request_queue::counters& queue = disk.count(i);
        console::print("%s{\"requests\":%lu,\"notifications\":%lu,\"interrupts\":%lu}", i == 0 ? "" : ",",
                       queue.requests, queue.notifications, queue.interrupts);
    }
    console::write("]");
}

} // namespace inflight::kernel
