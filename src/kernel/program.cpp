#include "src/kernel/program.hpp"

#include "async/trace.hpp"
#include "src/kernel/console.hpp"
#include "src/kernel/end.hpp"

#include <algorithm>
#include <utility>

namespace inflight::kernel {

namespace {

constinit program* first_program = nullptr;

} // namespace

program::program(std::string_view name, const char* summary, entry main) noexcept
    : name_{name}, summary_{summary}, run_{main} {
    program** place = &first_program;
    while (*place != nullptr && (*place)->name_ < name) {
        place = &(*place)->next_;
    }
    next_ = *place;
    *place = this;
}

const program* program::first() noexcept {
    return first_program;
}

const program* program::find(std::string_view name) noexcept {
    const program* candidate = first_program;
    while (candidate != nullptr && candidate->name_ != name) {
        candidate = candidate->next_;
    }
    return candidate;
}

void require_disks(const environment& here) noexcept {
    for (const virtio_device& device : here.devices) {
        if (device.disk != nullptr) {
            return;
        }
    }
    for (const virtio_device& device : here.devices) {
        if (device.is_disk()) {
            fail("%s cannot be used, and there is no other disk: %s", device.name, device.failure);
        }
    }
    fail("there is no virtio-blk device in any of the %lu slots%s: give the machine a disk (./run --disk)",
         here.machine.virtio.size(), here.machine.pci ? ", and none on PCI" : "");
}

bool is_unusable(const virtio_device& device, const char* program) noexcept {
    const bool unusable = device.disk == nullptr && device.is_disk();
    if (unusable) {
        console::print("error: %s: %s cannot be used: %s\n", program, device.name, device.failure);
    }
    return unusable;
}

void require_overwritable(const virtio_device& disk) noexcept {
    if (const char* const why = disk.disk_id->write_refusal(); why != nullptr) {
        fail("%s (serial '%s') is not overwritten: %s; ./run names the disks that it made and, with --destroy, every "
             "--disk",
             disk.name, disk.disk_id->printable().c_str(), why);
    }
}

std::uint32_t part_count(std::uint32_t depth) noexcept {
    return std::min<std::uint32_t>(arch::harts(), std::max(depth, 1u));
}

part make_part(std::uint32_t number, std::uint32_t count, std::uint32_t depth) noexcept {
    part made{.number = number, .count = count, .first_request = 0, .depth = 0, .whole_depth = depth};
    made.first_request = static_cast<std::uint32_t>(made.first(depth));
    made.depth = static_cast<std::uint32_t>(made.last(depth)) - made.first_request;
    return made;
}

progress::progress(common_progress& of) noexcept : of_{of}, reported_at_{arch::now()} {}

void progress::add(std::uint64_t done) noexcept {
    unreported_ += done;
    const arch::ticks now = async::executor::current().round_time();
    if (now - reported_at_ >= arch::ticks_per_second()) { // also if the clock has stepped back
        reported_at_ = now;
        const std::uint64_t all = of_.done.fetch_add(unreported_, std::memory_order_relaxed) + unreported_;
        unreported_ = 0;
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

void print_queues_json(const virtio_device& device) noexcept {
    const block::disk& disk = *device.disk;
    block::disk::counters count;
    {
        // An interrupt may come after the last request, if the one before it found everything. Masked, so that the trace tells
        // which interrupts of this hart are counted here.
        const arch::interrupts_masked masked;
        count = disk.count();
        trace::record(trace::event::counted);
    }
    console::print("\"interrupts\":%lu,\"spurious_interrupts\":%lu,\"waited\":%lu,\"sent\":%lu,\"resets\":%lu,"
                   "\"lost_interrupts\":%lu,\"queue_resets\":%lu,\"repeated_notifications\":%lu,\"queues\":[",
                   count.interrupts, count.spurious, count.waited, count.forwarded, count.resets, count.lost_interrupts,
                   count.queue_resets, count.repeated_notifications);
    for (std::uint16_t i = 0; i < disk.properties().queues; ++i) {
        const block::queue::counters& queue = disk.count(i);
        console::print("%s{\"requests\":%lu,\"notifications\":%lu,\"interrupts\":%lu,\"short_lengths\":%lu,\"hart\":%u",
                       i == 0 ? "" : ",", queue.requests, queue.notifications, queue.interrupts, queue.short_lengths,
                       static_cast<unsigned>(i % arch::harts()));
        if (device.route.is_per_queue) {
            console::print(",\"interrupts_elsewhere\":%lu", device.interrupts->taken_elsewhere(i));
        }
        console::write("}");
    }
    console::write("]");
}

} // namespace inflight::kernel
