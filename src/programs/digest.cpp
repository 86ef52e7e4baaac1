// digest: reads every sector of every disk, many requests in flight, and prints the checksum of POSIX cksum.

#include "async/counting_scope.hpp"
#include "src/kernel/console.hpp"
#include "src/kernel/elapsed.hpp"
#include "src/kernel/end.hpp"
#include "src/kernel/program.hpp"
#include "src/support/checksum.hpp"

#include <algorithm>

namespace inflight::kernel {

namespace {

constexpr std::uint32_t default_depth = 128;
constexpr std::uint32_t default_block_size = 64u << 10;

// What the readers of one disk share on one hart: a contiguous range of its sectors.
struct digest {
    block::disk& disk;
    part share;
    std::uint64_t next; // sector
    std::uint64_t end;
    support::posix_cksum checksum;
    progress meter;
    std::uint64_t requests = 0;
    std::uint64_t failed_sector = 0;
    block::status outcome = block::status::ok;

    void fail(block::status how, std::uint64_t sector) noexcept {
        // Failed requests may complete in any order: the lowest sector is reported.
        if (outcome == block::status::ok || sector < failed_sector) {
            outcome = how;
            failed_sector = sector;
        }
    }

    // Adds the result of another hart.
    void add(const digest& other) noexcept {
        checksum.add(other.checksum);
        requests += other.requests;
        if (other.outcome != block::status::ok) {
            fail(other.outcome, other.failed_sector);
        }
    }
};

async::task<void> reader(digest& shared, std::span<std::byte> buffer) {
    while (shared.next < shared.end && shared.outcome == block::status::ok) {
        const std::uint64_t sector = shared.next;
        const std::uint64_t sectors = std::min<std::uint64_t>(buffer.size() / block::sector_size, shared.end - sector);
        shared.next += sectors;
        const std::span<std::byte> chunk = buffer.first(sectors * block::sector_size);
        const block::status outcome = co_await shared.disk.read(sector, chunk);
        if (outcome != block::status::ok) {
            shared.fail(outcome, sector);
            co_return;
        }
        shared.checksum.add(sector * block::sector_size, chunk);
        ++shared.requests;
        shared.meter.add(sectors);
    }
}

// On the part's hart. `buffers` are those of all requests, `block_size` bytes each.
async::task<void> read_part(digest& shared, std::span<std::byte> buffers, std::uint32_t block_size, std::size_t apart) {
    async::counting_scope readers;
    for (std::uint32_t i = 0; i < shared.share.depth; ++i) {
        spawn(readers,
              reader(shared, buffers.subspan((shared.share.first_request + i) * apart, block_size)).named("reader"),
              shared.share.whole_depth);
    }
    co_await readers.join();
}

// Small enough that a small disk has work for all requests in flight.
std::uint32_t chunk_size(const block::disk_properties& disk, std::uint32_t depth) noexcept {
    const std::uint64_t smallest = std::max<std::uint32_t>(4096, disk.logical_block_size);
    const std::uint64_t share = disk.capacity * block::sector_size / depth;
    return static_cast<std::uint32_t>(
        std::clamp<std::uint64_t>(share / smallest * smallest, smallest, default_block_size));
}

// Only whole logical blocks can be read.
std::uint64_t readable_sectors(const block::disk_properties& disk) noexcept {
    const std::uint64_t block_sectors = disk.logical_block_size / block::sector_size;
    return disk.capacity / block_sectors * block_sectors;
}

// A contiguous range of whole chunks for each hart.
std::span<digest> divide(memory& from, block::disk& disk, std::uint32_t depth, std::uint32_t block_size,
                         common_progress& done) noexcept {
    const std::uint64_t capacity = readable_sectors(disk.properties());
    const std::uint64_t chunk = block_size / block::sector_size;
    const std::uint64_t chunks = (capacity + chunk - 1) / chunk;
    return create_parts<digest>(from, depth, [&](const part& share) {
        return digest{.disk = disk,
                      .share = share,
                      .next = share.first(chunks) * chunk,
                      .end = std::min(share.last(chunks) * chunk, capacity),
                      .checksum = support::posix_cksum{capacity * block::sector_size},
                      .meter = progress{done}};
    });
}

async::task<bool> run_digest(const environment& here) {
    require_disks(here);
    const std::uint32_t depth = here.wanted.depth != 0 ? here.wanted.depth : default_depth;
    const std::uint32_t max_block_size = here.wanted.block_size != 0 ? here.wanted.block_size : default_block_size;
    const memory::mark given_back{here.free_memory};
    const std::span<std::byte> buffers = allocate_buffers(here.free_memory, depth, max_block_size);
    bool passed = true;
    bool first = true;
    co_await identify_disks(here.devices, here.wanted); // for ./run, which compares the checksums

    for (const virtio_device& device : here.devices) {
        if (device.disk == nullptr) {
            passed = !is_unusable(device, "digest") && passed;
            continue;
        }
        const std::uint64_t capacity = readable_sectors(device.disk->properties());
        const std::uint64_t bytes = capacity * block::sector_size;
        if (capacity == 0) {
            fail("%s is empty: its capacity is %lu sectors, with blocks of %u bytes", device.name,
                 device.disk->properties().capacity, device.disk->properties().logical_block_size);
        }
        const std::uint32_t block_size =
            here.wanted.block_size != 0 ? here.wanted.block_size : chunk_size(device.disk->properties(), depth);
        if (block_size % device.disk->properties().logical_block_size != 0) {
            fail("bs=%u is not a multiple of %s's logical block size, %u", block_size, device.name,
                 device.disk->properties().logical_block_size);
        }
        const arch::ticks start = arch::now();
        const memory::mark parts_given_back{here.free_memory};
        common_progress done{.what = device.name, .total = capacity};
        const std::span<digest> parts = divide(here.free_memory, *device.disk, depth, block_size, done);
        async::counting_scope harts;
        for (digest& each : parts) {
            spawn(harts,
                  async::on(each.share.number, read_part(each, buffers, block_size, max_block_size).named("part")),
                  depth);
        }
        co_await harts.join();
        digest& shared = parts.front();
        for (const digest& each : parts.subspan(1)) {
            shared.add(each);
        }
        const std::optional<arch::ticks> span = elapsed(start, arch::now());

        if (shared.outcome != block::status::ok) {
            console::print("error: digest: %s cannot be read at sector %lu: %s\n", device.name, shared.failed_sector,
                           block::to_string(shared.outcome));
            passed = false;
            continue;
        }
        const std::uint32_t checksum = shared.checksum.value();
        const std::uint64_t per_second = arch::ticks_per_second();
        const char* const plural = device.disk->properties().queues == 1 ? "" : "s";
        console::print("digest: %s %u %lu (", device.name, checksum, bytes);
        if (span) {
            const std::uint64_t kilobytes_per_second = bytes / 1000 * per_second / *span;
            console::print("%lu.%lu MB/s, %lu IOPS of ", kilobytes_per_second / 1000, kilobytes_per_second / 100 % 10,
                           shared.requests * per_second / *span);
        } else {
            console::print("the clock stepped back, so no speed was measured; requests of ");
        }
        if (block_size % 1024 == 0) {
            console::print("%u KiB", block_size / 1024);
        } else {
            console::print("%u bytes", block_size);
        }
        console::print(", depth %u, %u queue%s)\n", depth, device.disk->properties().queues, plural);
        for (std::uint16_t i = 0; i < device.disk->properties().queues; ++i) {
            const block::queue::counters& queue = device.disk->count(i);
            console::print("  queue %u, since the start: requests %lu, notifications %lu, interrupts %lu\n", i,
                           queue.requests, queue.notifications, queue.interrupts);
        }
        console::print("@result {\"program\":\"digest\",\"disks\":[{\"name\":\"%s\",\"cksum\":%u,\"bytes\":%lu,"
                       "\"block_size\":%u,",
                       device.name, checksum, bytes, device.disk->properties().logical_block_size);
        if (span) {
            console::print("\"seconds_e9\":%lu,\"iops\":%lu,", to_nanoseconds(*span),
                           shared.requests * per_second / *span);
        }
        device.disk_id->print_json();
        console::print(",");
        print_queues_json(device);
        console::print("}]}\n");
        first = false;
    }
    co_return passed && !first;
}

const program registered{
    "digest", "reads every sector of every disk, and prints what POSIX cksum prints for the same image", run_digest};

} // namespace

} // namespace inflight::kernel
