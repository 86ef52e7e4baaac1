// durable: writes to the first disk and prints, after each flush, what must be on it from then on. For a host that
// kills the machine at any time and then checks the disk.
//
// Each of `depth` writers has a contiguous range of blocks of 4096 bytes. In each round, counted from 0, it rewrites
// one of its last 16 blocks and writes three new ones, in an order that the seed decides, all of generation round + 1
// (stamp.hpp). Then it flushes and prints "durable WRITER ROUND". Every sector then holds what was written before the
// last flush that was printed. A sector that the next round writes holds either that or the new contents. A writer
// without new blocks ends.
//
// With flush=off it prints the line without a flush, which the host must detect.

#include "async/counting_scope.hpp"
#include "async/schedule_on.hpp"
#include "src/kernel/console.hpp"
#include "src/kernel/end.hpp"
#include "src/kernel/program.hpp"
#include "src/programs/stamp.hpp"
#include "src/support/permutation.hpp"

#include <algorithm>
#include <array>

namespace inflight::kernel {

namespace {

constexpr std::uint32_t default_depth = 16;
constexpr std::size_t block_bytes = 4096;
constexpr std::uint64_t block_sectors = block_bytes / block::sector_size;
constexpr std::uint64_t new_blocks_per_round = 3;
constexpr std::uint64_t recent_blocks = 16;

struct writer {
    block::disk& disk;
    std::uint64_t seed;
    std::uint32_t number;
    std::uint64_t first_block;
    std::uint64_t blocks;
    bool flushes;
    block::status outcome = block::status::ok;
};

async::task<void> write_block(writer& self, std::span<std::byte> buffer, std::uint64_t block, stamp::generation age) {
    const std::uint64_t sector = (self.first_block + block) * block_sectors;
    stamp::write(buffer, self.seed, sector, age);
    const block::status result = co_await self.disk.write(sector, buffer);
    if (result != block::status::ok && self.outcome == block::status::ok) {
        self.outcome = result;
    }
}

async::task<void> write_rounds(writer& self, std::span<std::byte> buffer) {
    const support::permutation order{self.blocks, self.seed + self.number};
    std::uint64_t place = 0;
    std::array<std::uint64_t, recent_blocks> recent{};
    for (std::uint64_t round = 0; (round + 1) * new_blocks_per_round <= self.blocks; ++round) {
        const auto age = static_cast<stamp::generation>(round + 1);
        if (round != 0) {
            const std::uint64_t choice = support::mix(self.seed + self.number * support::golden_gamma + round);
            const std::uint64_t known = std::min(round * new_blocks_per_round, recent_blocks);
            co_await write_block(self, buffer, recent[choice % known], age);
        }
        for (std::uint64_t i = 0; i < new_blocks_per_round; ++i) {
            const std::uint64_t block = order(place++);
            recent[(round * new_blocks_per_round + i) % recent_blocks] = block;
            co_await write_block(self, buffer, block, age);
        }
        if (self.flushes) {
            const block::status result = co_await self.disk.flush();
            self.outcome = self.outcome == block::status::ok ? result : self.outcome;
        }
        if (self.outcome != block::status::ok) {
            co_return;
        }
        console::print("durable %u %lu\n", self.number, round);
    }
}

async::task<bool> run_durable(const environment& here) {
    require_disks(here);
    const std::uint32_t depth = here.wanted.depth != 0 ? here.wanted.depth : default_depth;
    const memory::mark given_back{here.free_memory};
    const std::span<std::byte> buffers = allocate_buffers(here.free_memory, depth, block_bytes);
    const virtio_device* device = here.devices.data();
    while (device->disk == nullptr) {
        ++device;
    }
    co_await identify_disks(here.devices, here.wanted);
    require_overwritable(*device);
    const std::uint64_t share = device->disk->properties().capacity / block_sectors / depth;
    const std::span<writer> writers = here.free_memory.create<writer>(depth, [&](std::size_t number) {
        return writer{.disk = *device->disk,
                      .seed = here.wanted.seed,
                      .number = static_cast<std::uint32_t>(number),
                      .first_block = number * share,
                      .blocks = share,
                      .flushes = here.wanted.flush};
    });
    if (writers.empty() || share < new_blocks_per_round) {
        fail("durable: %s is too small, or the memory is, for %u writers: use a smaller depth", device->name, depth);
    }
    console::print("durable: %s, %u writers of %lu blocks\n", device->name, depth, share);
    async::counting_scope scope;
    for (writer& each : writers) {
        spawn(scope,
              async::on(each.number % arch::harts(),
                        write_rounds(each, buffers.subspan(each.number * block_bytes, block_bytes)).named("writer")),
              depth);
    }
    co_await scope.join();
    bool passed = true;
    for (const writer& each : writers) {
        if (each.outcome != block::status::ok) {
            console::print("error: durable: writer %u ends: %s\n", each.number, block::to_string(each.outcome));
            passed = false;
        }
    }
    console::print("@result {\"program\":\"durable\",\"disks\":[{\"name\":\"%s\",", device->name);
    print_queues_json(*device);
    console::print("}]}\n");
    co_return passed;
}

const program registered{"durable", "writes, flushes, and says what must survive the end of the machine", run_durable};

} // namespace

} // namespace inflight::kernel
