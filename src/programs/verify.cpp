// verify: fills every disk in random order with blocks that contain their own number, with many requests in flight,
// rewrites, zeroes and discards some of them, and reads everything back. The contents afterwards follow from the seed
// alone, so the host checks the image again with its own code.
//
// A block of 4096 bytes, little-endian: "inflight", u64 seed, u64 block number, u32 generation, u32 0; 507 words of
// splitmix64; 4 bytes of zero; CRC-32 of all before.

#include "async/counting_scope.hpp"
#include "src/kernel/console.hpp"
#include "src/kernel/end.hpp"
#include "src/kernel/program.hpp"
#include "src/support/checksum.hpp"
#include "src/support/permutation.hpp"
#include "src/support/random.hpp"

#include <cstring>

namespace inflight::kernel {

namespace {

constexpr std::uint32_t default_depth = 128;
constexpr std::size_t block_bytes = 4096;
constexpr std::uint64_t block_sectors = block_bytes / block::sector_size;

struct block_header {
    char magic[8];
    std::uint64_t seed;
    std::uint64_t number;
    std::uint32_t generation;
    std::uint32_t reserved;
};
static_assert(sizeof(block_header) == 32);

constexpr std::size_t words = 507;
constexpr std::size_t words_offset = 32;
constexpr std::size_t crc_offset = 4092;

void fill_block(std::span<std::byte> buffer, std::uint64_t seed, std::uint64_t number,
                std::uint32_t generation) noexcept {
    const block_header header{.magic = {'i', 'n', 'f', 'l', 'i', 'g', 'h', 't'},
                              .seed = seed,
                              .number = number,
                              .generation = generation,
                              .reserved = 0};
    std::memcpy(buffer.data(), &header, sizeof header);
    std::uint64_t state = seed ^ number ^ std::uint64_t{generation} << 32;
    for (std::size_t i = 0; i < words; ++i) {
        const std::uint64_t word = support::mix(state);
        std::memcpy(buffer.data() + words_offset + i * sizeof word, &word, sizeof word);
        state += support::golden_gamma;
    }
    std::memset(buffer.data() + words_offset + words * 8, 0, 4);
    const std::uint32_t crc = support::crc32(buffer.first(crc_offset));
    std::memcpy(buffer.data() + crc_offset, &crc, sizeof crc);
}

bool is_zero(std::span<const std::byte> buffer) noexcept {
    for (std::size_t i = 0; i < block_bytes; i += 8) {
        std::uint64_t word;
        std::memcpy(&word, buffer.data() + i, sizeof word);
        if (word != 0) {
            return false;
        }
    }
    return true;
}

// Returns whether `buffer` is block `number` of that generation. The checksum covers what is not in the header.
bool is_block(std::span<const std::byte> buffer, std::uint64_t seed, std::uint64_t number,
              std::uint32_t generation) noexcept {
    block_header header;
    std::memcpy(&header, buffer.data(), sizeof header);
    std::uint32_t crc;
    std::memcpy(&crc, buffer.data() + crc_offset, sizeof crc);
    return std::memcmp(header.magic, "inflight", 8) == 0 && header.seed == seed && header.number == number &&
           header.generation == generation && header.reserved == 0 && crc == support::crc32(buffer.first(crc_offset));
}

// What happens to a block after the first write.
enum class fate : std::uint8_t { stays, rewritten, zeroed, discarded, discarded_and_rewritten };

fate fate_of(std::uint64_t seed, std::uint64_t number, bool zeroes, bool discards) noexcept {
    switch (support::mix(seed + number * support::golden_gamma) % 8) {
    case 0: return fate::rewritten;
    case 1: return zeroes ? fate::zeroed : fate::stays;
    case 2: return discards ? fate::discarded : fate::stays;
    case 3: return discards ? fate::discarded_and_rewritten : fate::stays;
    default: return fate::stays;
    }
}

bool is_as_due(std::span<const std::byte> buffer, std::uint64_t seed, std::uint64_t number, fate due) noexcept {
    switch (due) {
    case fate::stays: return is_block(buffer, seed, number, 1);
    case fate::rewritten: return is_block(buffer, seed, number, 2);
    case fate::zeroed: return is_zero(buffer);
    case fate::discarded: return is_zero(buffer) || is_block(buffer, seed, number, 1);
    case fate::discarded_and_rewritten: return is_block(buffer, seed, number, 3);
    }
    return false;
}

// What the workers of one disk share on one hart: a contiguous range of its blocks.
struct verification {
    block::disk& disk;
    part share;
    std::uint64_t seed;
    std::uint64_t first_block;
    std::uint64_t blocks;
    bool zeroes;
    bool discards;
    support::permutation order{};
    std::uint64_t place = 0; // in that order: blocks that this phase has started
    progress* meter = nullptr;

    std::uint64_t writes = 0;
    std::uint64_t reads = 0;
    std::uint64_t flushes = 0;
    std::uint64_t zeroed = 0;
    std::uint64_t discarded = 0;

    std::uint64_t wrong_blocks = 0;
    std::uint64_t first_wrong = 0;
    block::status outcome = block::status::ok;
    const char* what = "";

    // Returns true if there has been no error, including this result.
    bool expect(block::status result, const char* operation, std::uint64_t number) noexcept {
        if (result != block::status::ok && outcome == block::status::ok) {
            outcome = result;
            what = operation;
            first_wrong = number;
        }
        return outcome == block::status::ok;
    }

    void wrong(std::uint64_t number) noexcept {
        if (wrong_blocks++ == 0) {
            first_wrong = number;
        }
    }

    // Whether this phase has another block, and the next block in the phase's order.
    [[nodiscard]] bool has_next() const noexcept { return place < order.count(); }
    std::uint64_t next_block() noexcept { return first_block + order(place++); }

    // Adds the result of another hart.
    void add(const verification& other) noexcept {
        writes += other.writes;
        reads += other.reads;
        flushes += other.flushes;
        zeroed += other.zeroed;
        discarded += other.discarded;
        if (other.wrong_blocks != 0) {
            first_wrong = wrong_blocks == 0 ? other.first_wrong : first_wrong;
            wrong_blocks += other.wrong_blocks;
        }
        static_cast<void>(expect(other.outcome, other.what, other.first_wrong));
    }

    [[nodiscard]] fate fate_of_block(std::uint64_t number) const noexcept {
        return fate_of(seed, number, zeroes, discards);
    }
};

constexpr std::uint64_t flush_every = 64;
constexpr std::uint64_t read_back_every = 4;

// Phase 1: writes every block once, in random order; reads some back at once, and flushes now and then.
async::task<void> fill(verification& shared, std::span<std::byte> buffer) {
    while (shared.has_next() && shared.outcome == block::status::ok) {
        const std::uint64_t step = shared.place;
        const std::uint64_t number = shared.next_block();
        shared.meter->add(1);
        fill_block(buffer, shared.seed, number, 1);
        block::status result = co_await shared.disk.write(number * block_sectors, buffer);
        if (!shared.expect(result, "write", number)) {
            co_return;
        }
        ++shared.writes;
        if (step % flush_every == 0) {
            result = co_await shared.disk.flush();
            if (!shared.expect(result, "flush", number)) {
                co_return;
            }
            ++shared.flushes;
        }
        if (step % read_back_every == 0) {
            std::memset(buffer.data(), 0x5a, buffer.size());
            result = co_await shared.disk.read(number * block_sectors, buffer);
            if (!shared.expect(result, "read", number)) {
                co_return;
            }
            ++shared.reads;
            if (!is_block(buffer, shared.seed, number, 1)) {
                shared.wrong(number);
            }
        }
    }
}

// Phase 2: does with each block what the seed decides.
async::task<void> change(verification& shared, std::span<std::byte> buffer) {
    while (shared.has_next() && shared.outcome == block::status::ok) {
        const std::uint64_t number = shared.next_block();
        const std::uint64_t sector = number * block_sectors;
        shared.meter->add(1);
        const fate due = shared.fate_of_block(number);
        if (due == fate::zeroed) {
            const block::status result = co_await shared.disk.write_zeroes(sector, block_sectors);
            if (!shared.expect(result, "write-zeroes", number)) {
                co_return;
            }
            ++shared.zeroed;
        }
        if (due == fate::discarded || due == fate::discarded_and_rewritten) {
            const block::status result = co_await shared.disk.discard(sector, block_sectors);
            if (!shared.expect(result, "discard", number)) {
                co_return;
            }
            ++shared.discarded;
        }
        if (due == fate::rewritten || due == fate::discarded_and_rewritten) {
            fill_block(buffer, shared.seed, number, due == fate::rewritten ? 2 : 3);
            const block::status result = co_await shared.disk.write(sector, buffer);
            if (!shared.expect(result, "write", number)) {
                co_return;
            }
            ++shared.writes;
        }
    }
}

// Phase 3: reads and checks every block.
async::task<void> check(verification& shared, std::span<std::byte> buffer) {
    while (shared.has_next() && shared.outcome == block::status::ok) {
        const std::uint64_t number = shared.next_block();
        shared.meter->add(1);
        std::memset(buffer.data(), 0x5a, buffer.size());
        const block::status result = co_await shared.disk.read(number * block_sectors, buffer);
        if (!shared.expect(result, "read", number)) {
            co_return;
        }
        ++shared.reads;
        if (!is_as_due(buffer, shared.seed, number, shared.fate_of_block(number))) {
            shared.wrong(number);
        }
    }
}

// Runs one phase of a part, on its hart.
async::task<void> run_part(verification& shared, common_progress& done, std::span<std::byte> buffers,
                           async::task<void> (*worker)(verification&, std::span<std::byte>)) {
    progress meter{done};
    shared.meter = &meter;
    shared.order = support::permutation{shared.blocks, shared.seed};
    shared.place = 0;
    async::counting_scope workers;
    for (std::uint32_t i = 0; i < shared.share.depth && i < shared.blocks; ++i) {
        spawn(workers, worker(shared, buffers.subspan((shared.share.first_request + i) * block_bytes, block_bytes)),
              shared.share.whole_depth);
    }
    co_await workers.join();
}

// Runs one phase on all harts. Returns true if nothing has failed.
async::task<bool> run_phase(std::span<verification> parts, const char* name, std::uint64_t blocks,
                            std::span<std::byte> buffers,
                            async::task<void> (*worker)(verification&, std::span<std::byte>)) {
    common_progress done{.what = name, .total = blocks};
    async::counting_scope harts;
    for (verification& each : parts) {
        spawn(harts, async::on(each.share.number, run_part(each, done, buffers, worker)), each.share.whole_depth);
    }
    co_await harts.join();
    for (const verification& each : parts) {
        if (each.outcome != block::status::ok) {
            co_return false;
        }
    }
    co_return true;
}

std::span<verification> divide(memory& from, block::disk& disk, std::uint64_t seed, std::uint32_t depth) noexcept {
    const block::disk_properties& properties = disk.properties();
    const std::uint64_t blocks = properties.capacity / block_sectors;
    return create_parts<verification>(from, depth, [&](const part& share) {
        return verification{.disk = disk,
                            .share = share,
                            .seed = seed,
                            .first_block = share.first(blocks),
                            .blocks = share.last(blocks) - share.first(blocks),
                            .zeroes = properties.max_write_zeroes_sectors >= block_sectors,
                            .discards = properties.max_discard_sectors >= block_sectors};
    });
}

// Prints a note if `max` sectors in a request are too few.
void print_left_out(const char* disk, const char* requests, std::uint32_t max) noexcept {
    if (max == 0) {
        console::print("verify: %s, %s are left out: the disk does not take them\n", disk, requests);
    } else if (max < block_sectors) {
        console::print("verify: %s, %s are left out: the disk takes %u sectors in one, and a block has %lu\n", disk,
                       requests, max, block_sectors);
    }
}

// Prints what is not verified on a disk.
void print_left_out(const char* disk, const block::disk_properties& properties) noexcept {
    print_left_out(disk, "discards", properties.max_discard_sectors);
    print_left_out(disk, "write-zeroes", properties.max_write_zeroes_sectors);
    if (const std::uint64_t tail = properties.capacity % block_sectors; tail != 0) {
        console::print("verify: %s, the last sectors are left out, as they fill no block: %lu of %lu\n", disk, tail,
                       properties.capacity);
    }
}

async::task<bool> verify_disk(const environment& here, const virtio_device& device, std::uint32_t depth,
                              std::span<std::byte> buffers) {
    const std::uint64_t seed = here.wanted.seed;
    const memory::mark given_back{here.free_memory};
    const std::span<verification> parts = divide(here.free_memory, *device.disk, seed, depth);
    const std::uint64_t blocks = device.disk->properties().capacity / block_sectors;
    verification& shared = parts.front();
    bool well = co_await run_phase(parts, "verify: writing", blocks, buffers, fill);
    if (well) {
        well = co_await run_phase(parts, "verify: rewriting, zeroing, discarding", blocks, buffers, change);
    }
    if (well) {
        const block::status result = co_await device.disk->flush();
        if (shared.expect(result, "flush", 0)) {
            ++shared.flushes;
            well = co_await run_phase(parts, "verify: reading back", blocks, buffers, check);
        }
    }
    for (const verification& each : parts.subspan(1)) {
        shared.add(each);
    }

    const bool passed = shared.outcome == block::status::ok && shared.wrong_blocks == 0;
    if (shared.outcome != block::status::ok) {
        console::print("error: verify: %s of block %lu (sector %lu) of %s failed: %s\n", shared.what,
                       shared.first_wrong, shared.first_wrong * block_sectors, device.name,
                       block::to_string(shared.outcome));
    } else if (shared.wrong_blocks != 0) {
        console::print(
            "error: verify: %lu blocks of %s are not what was written, the first is block %lu (sector %lu)\n",
            shared.wrong_blocks, device.name, shared.first_wrong, shared.first_wrong * block_sectors);
    } else {
        console::print("verify: %s, %lu blocks of 4096 bytes are as they should be (seed %lu, depth %u): %lu writes, "
                       "%lu reads, %lu flushes, %lu write-zeroes, %lu discards\n",
                       device.name, blocks, seed, depth, shared.writes, shared.reads, shared.flushes, shared.zeroed,
                       shared.discarded);
        print_left_out(device.name, device.disk->properties());
    }
    console::print("@result {\"program\":\"verify\",\"seed\":%lu,\"disks\":[{\"name\":\"%s\",\"blocks\":%lu,"
                   "\"write_zeroes\":%s,\"discard\":%s,\"wrong_blocks\":%lu,\"passed\":%s,",
                   seed, device.name, blocks, shared.zeroes ? "true" : "false", shared.discards ? "true" : "false",
                   shared.wrong_blocks, passed ? "true" : "false");
    device.disk_id->print_json();
    console::print(",");
    print_queues_json(device);
    console::print("}]}\n");
    co_return passed;
}

async::task<bool> run_verify(const environment& here) {
    require_disks(here);
    const std::uint32_t depth = here.wanted.depth != 0 ? here.wanted.depth : default_depth;
    const memory::mark given_back{here.free_memory};
    const std::span<std::byte> buffers = allocate_buffers(here.free_memory, depth, block_bytes);
    bool passed = true;
    co_await identify_disks(here.devices, here.wanted);
    for (const virtio_device& device : here.devices) {
        if (device.disk == nullptr) {
            passed = !is_unusable(device, "verify") && passed;
            continue;
        }
        if (const char* const why = device.disk_id->write_refusal(); why != nullptr) {
            console::print("error: verify: %s (serial '%s') is left out, not overwritten: %s; ./run names the disks "
                           "that it made and, with --destroy, every --disk\n",
                           device.name, device.disk_id->printable().c_str(), why);
            passed = false;
            continue;
        }
        const block::disk_properties& properties = device.disk->properties();
        if (properties.read_only) {
            fail("%s is read-only, and verify writes: attach it without --read-only", device.name);
        }
        if (properties.capacity < block_sectors) {
            fail("%s has %lu sectors; verify needs at least %lu", device.name, properties.capacity, block_sectors);
        }
        if (properties.logical_block_size > block_bytes) {
            fail("%s has logical blocks of %u bytes; verify writes blocks of 4096", device.name,
                 properties.logical_block_size);
        }
        passed = co_await verify_disk(here, device, depth, buffers) && passed;
    }
    co_return passed;
}

const program registered{"verify", "writes every disk in random order, reads all of it back, and checks it",
                         run_verify};

} // namespace

} // namespace inflight::kernel
