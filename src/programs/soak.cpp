// soak: reads, writes, zeroes, discards and flushes every disk at random until `ios` requests have succeeded, and
// checks every sector that it reads against a ledger of what was last written there. The disks hold zeroes at the
// start. It counts errors and continues after them, because the host turns faults on and off. With hold=1 it waits for
// a character on the console before the machine ends.
//
// Each of `depth` workers has a contiguous range of the disk and makes one request at a time. The ledger holds the
// generation of every sector (stamp.hpp). After a write that failed, a sector may hold either the old or the new
// contents: the worker reads it until that succeeds, and accepts either. The same applies after a discard. At the end
// everything is read again, and the ledger's sum is printed, so that the host can compare it with the image.

#include "async/counting_scope.hpp"
#include "async/schedule_on.hpp"
#include "async/scheduler.hpp"
#include "src/kernel/console.hpp"
#include "src/kernel/end.hpp"
#include "src/kernel/program.hpp"
#include "src/programs/stamp.hpp"

#include <algorithm>
#include <array>
#include <type_traits>

namespace inflight::kernel {

namespace {

constexpr std::uint32_t default_depth = 64;
constexpr std::uint32_t default_block_size = 64u << 10; // of the largest request
constexpr std::uint64_t default_ios = 100'000;
constexpr std::size_t statuses = static_cast<std::size_t>(block::status::device_lost) + 1;

enum class kind : std::uint8_t { read, write, flush, discard, zeroes };
constexpr std::size_t kinds = 5;
constexpr std::array<const char*, kinds> kind_names = {"reads", "writes", "flushes", "discards", "write_zeroes"};

struct tally {
    std::array<std::uint64_t, kinds> ok{};        // requests that succeeded
    std::array<std::uint64_t, kinds> failed{};    // requests that failed
    std::array<std::uint64_t, statuses> status{}; // requests by outcome
    std::uint64_t begun = 0;
    std::uint64_t ended = 0;
    std::uint64_t checked = 0; // sectors
    std::uint64_t mismatches = 0;
    std::uint64_t first_mismatch = 0; // sector
    arch::ticks longest = 0;          // duration of a request

    void mismatch(std::uint64_t sector) noexcept {
        if (mismatches++ == 0) {
            first_mismatch = sector;
        }
    }

    void add(const tally& other) noexcept {
        for (std::size_t i = 0; i < kinds; ++i) {
            ok[i] += other.ok[i];
            failed[i] += other.failed[i];
        }
        for (std::size_t i = 0; i < statuses; ++i) {
            status[i] += other.status[i];
        }
        if (mismatches == 0) {
            first_mismatch = other.first_mismatch;
        }
        begun += other.begun;
        ended += other.ended;
        checked += other.checked;
        mismatches += other.mismatches;
        longest = std::max(longest, other.longest);
    }
};

// What the workers of one disk share on one hart.
struct shift {
    block::disk& disk;
    part share;
    std::uint64_t seed;
    std::uint64_t quota; // requests that must succeed
    progress* meter = nullptr;
    tally counts{};

    [[nodiscard]] std::uint64_t ended_well() const noexcept {
        return counts.status[static_cast<std::size_t>(block::status::ok)];
    }
};

struct worker {
    shift& on;
    std::uint64_t first; // sector
    std::span<stamp::generation> ledger;
    std::span<std::byte> buffer;
    support::random dice;
    stamp::generation newest = 0;

    [[nodiscard]] bool goes_on() const noexcept {
        return on.ended_well() < on.quota && !on.disk.lost() && on.counts.mismatches == 0;
    }
};

// Consecutive sectors of a worker, counted from its first.
struct sector_range {
    std::uint64_t first;
    std::uint64_t count;
};

async::task<block::status> perform(worker& self, kind what, sector_range where) {
    tally& counts = self.on.counts;
    const std::uint64_t sector = self.first + where.first;
    const std::span<std::byte> data = self.buffer.first(where.count * block::sector_size);
    const arch::ticks start = arch::now();
    ++counts.begun;
    block::status result = block::status::ok;
    switch (what) {
    case kind::read:
        std::memset(data.data(), 0x5a, data.size());
        result = co_await self.on.disk.read(sector, data);
        break;
    case kind::write: result = co_await self.on.disk.write(sector, data); break;
    case kind::flush: result = co_await self.on.disk.flush(); break;
    case kind::discard: result = co_await self.on.disk.discard(sector, where.count); break;
    case kind::zeroes: result = co_await self.on.disk.write_zeroes(sector, where.count); break;
    }
    ++counts.ended;
    // The clock may have stepped back, if a snapshot was loaded.
    const auto took = static_cast<std::make_signed_t<arch::ticks>>(arch::now() - start);
    counts.longest = std::max(counts.longest, static_cast<arch::ticks>(std::max<decltype(took)>(took, 0)));
    ++counts.status[static_cast<std::size_t>(result)];
    ++(result == block::status::ok ? counts.ok : counts.failed)[static_cast<std::size_t>(what)];
    self.on.meter->add(result == block::status::ok ? 1 : 0);
    co_return result;
}

// A pause after a failure: a failing disk fails fast, and most requests would be failures.
auto pause() noexcept {
    return async::sleep_for(arch::ticks_per_second() / 1000);
}

// Reads until it succeeds, and checks each sector. A sector may also hold the generation `other`; then the ledger takes
// it over.
async::task<void> read_and_check(worker& self, sector_range where, stamp::generation other) {
    for (;;) {
        const block::status result = co_await perform(self, kind::read, where);
        if (result == block::status::ok) {
            break;
        }
        if (self.on.disk.lost()) {
            co_return;
        }
        co_await pause();
    }
    for (std::uint64_t i = 0; i < where.count; ++i) {
        const std::uint64_t sector = self.first + where.first + i;
        stamp::generation& due = self.ledger[where.first + i];
        const stamp::generation found =
            stamp::read(self.buffer.subspan(i * block::sector_size, block::sector_size), self.on.seed, sector);
        if (found != due && found == other) {
            due = other;
        } else if (found != due) {
            self.on.counts.mismatch(sector);
        }
        ++self.on.counts.checked;
    }
}

constexpr stamp::generation nothing_else = stamp::not_ours - 1; // no sector reaches this generation

async::task<void> change(worker& self, kind what, sector_range where) {
    stamp::generation after = stamp::zeroes;
    if (what == kind::write) {
        after = ++self.newest;
        stamp::write(self.buffer.first(where.count * block::sector_size), self.on.seed, self.first + where.first,
                     after);
    }
    const block::status result = co_await perform(self, what, where);
    if (result == block::status::ok && what != kind::discard) {
        std::fill_n(self.ledger.begin() + static_cast<std::ptrdiff_t>(where.first), where.count, after);
        co_return;
    }
    if (result != block::status::ok) {
        co_await pause();
    }
    co_await read_and_check(self, where, after);
}

kind choose(worker& self) noexcept {
    const block::disk_properties& disk = self.on.disk.properties();
    const std::uint64_t number = self.dice.below(32);
    if (number == 0) {
        return kind::flush;
    }
    if (number == 1 && disk.max_discard_sectors != 0) {
        return kind::discard;
    }
    if (number == 2 && disk.max_write_zeroes_sectors != 0) {
        return kind::zeroes;
    }
    return number % 2 == 0 ? kind::read : kind::write;
}

async::task<void> work(worker& self) {
    const std::uint64_t unit = self.on.disk.properties().logical_block_size / block::sector_size;
    const std::uint64_t units = self.ledger.size() / unit;
    const std::uint64_t largest = std::min<std::uint64_t>(self.buffer.size() / block::sector_size / unit, units);
    while (self.goes_on()) {
        const std::uint64_t count =
            self.dice.below(self.dice.below(4) == 0 ? largest : std::min<std::uint64_t>(largest, 16)) + 1;
        const sector_range where{.first = self.dice.below(units - count + 1) * unit, .count = count * unit};
        const kind what = choose(self);
        if (what == kind::read) {
            co_await read_and_check(self, where, nothing_else);
        } else if (what == kind::flush) {
            const block::status result = co_await perform(self, what, where);
            if (result != block::status::ok) {
                co_await pause();
            }
        } else {
            co_await change(self, what, where);
        }
    }
}

// The last read of everything.
async::task<void> read_all(worker& self) {
    const std::uint64_t max_sectors = self.buffer.size() / block::sector_size;
    for (std::uint64_t at = 0; at < self.ledger.size() && !self.on.disk.lost(); at += max_sectors) {
        co_await read_and_check(
            self, sector_range{.first = at, .count = std::min(max_sectors, self.ledger.size() - at)}, nothing_else);
    }
}

async::task<void> run_shift(shift& on, common_progress& done, std::span<worker> workers,
                            async::task<void> (*does)(worker&)) {
    progress meter{done};
    on.meter = &meter;
    async::counting_scope scope;
    for (worker& each : workers) {
        spawn(scope, does(each).named("worker"), on.share.whole_depth);
    }
    co_await scope.join();
}

// One disk, with the memory of its workers.
struct job {
    const virtio_device& device;
    std::uint64_t sectors; // used sectors: a whole number of logical blocks for each worker
    std::span<stamp::generation> ledger;
    std::span<worker> workers;
    std::span<shift> shifts;
};

template <typename T, typename Make>
std::span<T> create(memory& from, std::size_t count, Make&& make) noexcept {
    const std::span<T> made = from.create<T>(count, make);
    if (made.empty()) {
        fail("soak: no memory is left for what it must remember: use smaller disks, or give the machine more (./run "
             "--memory)");
    }
    return made;
}

job prepare(const environment& here, const virtio_device& device, std::uint32_t depth,
            std::uint32_t block_size) noexcept {
    const block::disk_properties& disk = device.disk->properties();
    if (disk.read_only) {
        fail("%s is read-only, and soak writes: attach it without --read-only", device.name);
    }
    const std::uint64_t unit = disk.logical_block_size / block::sector_size;
    const std::uint64_t share = disk.capacity / depth / unit * unit;
    if (share == 0 || block_size % disk.logical_block_size != 0) {
        fail("%s is too small for %u workers, or bs=%u is no multiple of its logical block size, %u", device.name,
             depth, block_size, disk.logical_block_size);
    }
    const std::uint64_t ios = here.wanted.ios != 0 ? here.wanted.ios : default_ios;
    job made{.device = device, .sectors = share * depth, .ledger = {}, .workers = {}, .shifts = {}};
    made.ledger = create<stamp::generation>(here.free_memory, made.sectors, [](std::size_t) { return stamp::zeroes; });
    made.shifts = create_parts<shift>(here.free_memory, depth, [&](const part& share_of_hart) {
        return shift{.disk = *device.disk,
                     .share = share_of_hart,
                     .seed = here.wanted.seed,
                     .quota = share_of_hart.last(ios) - share_of_hart.first(ios)};
    });
    const std::span<std::byte> buffers = allocate_buffers(here.free_memory, depth, block_size);
    made.workers = create<worker>(here.free_memory, depth, [&](std::size_t number) {
        const auto on = std::find_if(made.shifts.begin(), made.shifts.end(), [number](const shift& candidate) {
            return number < candidate.share.first_request + candidate.share.depth;
        });
        return worker{.on = *on,
                      .first = number * share,
                      .ledger = made.ledger.subspan(number * share, share),
                      .buffer = buffers.subspan(number * block_size, block_size),
                      .dice = support::random{here.wanted.seed + number * support::golden_gamma}};
    });
    return made;
}

async::task<void> run_phase(job& all, const char* name, std::uint64_t total, async::task<void> (*does)(worker&)) {
    common_progress done{.what = name, .total = total};
    async::counting_scope harts;
    for (shift& each : all.shifts) {
        const std::span<worker> workers = all.workers.subspan(each.share.first_request, each.share.depth);
        spawn(harts, async::on(each.share.number, run_shift(each, done, workers, does)), each.share.whole_depth);
    }
    co_await harts.join();
}

// Bytes of coroutine frames of all harts. Exact if the other harts are idle.
std::uint64_t live_frames() noexcept {
    std::uint64_t live = 0;
    for (arch::hart_index hart = 0; hart < arch::harts(); ++hart) {
        live += async::executor::of(hart).frames().count().live;
    }
    return live;
}

std::size_t inside(block::disk& disk) noexcept {
    std::size_t requests = 0;
    for (std::uint16_t i = 0; i < disk.properties().queues; ++i) {
        requests += disk.count(i).in_flight;
    }
    return requests;
}

void print_result(const environment& here, const job& all, const tally& counts) noexcept {
    using console::print;
    std::uint64_t sum = 0; // of the ledger, where a sector of zeroes counts 0
    for (std::uint64_t sector = 0; sector < all.sectors; ++sector) {
        const std::uint64_t age = all.ledger[sector];
        sum += age == stamp::zeroes ? 0 : support::mix(sector << 32 ^ age);
    }
    print(
        "@result {\"program\":\"soak\",\"seed\":%lu,\"disks\":[{\"name\":\"%s\",\"sectors\":%lu,\"ledger\":%lu,"
        "\"begun\":%lu,\"ended\":%lu,\"sectors_checked\":%lu,\"mismatches\":%lu,\"in_flight\":%lu,\"longest_us\":%lu,",
        here.wanted.seed, all.device.name, all.sectors, sum, counts.begun, counts.ended, counts.checked,
        counts.mismatches, inside(*all.device.disk), counts.longest * 1'000'000 / arch::ticks_per_second());
    for (std::size_t i = 0; i < kinds; ++i) {
        print("\"%s\":%lu,\"%s_failed\":%lu,", kind_names[i], counts.ok[i], kind_names[i], counts.failed[i]);
    }
    console::write("\"statuses\":{");
    for (std::size_t i = 0; i < statuses; ++i) {
        print("%s\"%s\":%lu", i == 0 ? "" : ",", block::to_string(static_cast<block::status>(i)), counts.status[i]);
    }
    print("},\"protocol_violations\":%lu,", all.device.disk->count().protocol_violations);
    print_queues_json(all.device);
    console::write("}]}\n");
}

// Returns false if a sector was wrong, or if a request or the disk was lost.
async::task<bool> soak_disk(const environment& here, job& all) {
    std::uint64_t quota = 0;
    for (const shift& each : all.shifts) {
        quota += each.quota;
    }
    console::print("soak: begins on %s\n", all.device.name);
    co_await run_phase(all, "soak", quota, work);
    co_await run_phase(all, "soak: reading back", all.workers.size(), read_all);
    tally counts;
    for (const shift& each : all.shifts) {
        counts.add(each.counts);
    }
    ++counts.begun;
    const block::status flushed = co_await all.device.disk->flush();
    ++counts.ended;
    ++counts.status[static_cast<std::size_t>(flushed)];
    ++(flushed == block::status::ok ? counts.ok : counts.failed)[static_cast<std::size_t>(kind::flush)];
    if (counts.mismatches != 0) {
        console::print("error: soak: %lu sectors of %s are not as they should be, the first is %lu (soak needs a disk "
                       "of zeroes)\n",
                       counts.mismatches, all.device.name, counts.first_mismatch);
    }
    if (flushed != block::status::ok || all.device.disk->lost()) {
        console::print("error: soak: %s ends with %s\n", all.device.name, block::to_string(flushed));
    }
    print_result(here, all, counts);
    co_return counts.mismatches == 0 && counts.begun == counts.ended&& inside(*all.device.disk) == 0 &&
        flushed == block::status::ok && !all.device.disk->lost();
}

async::task<void> soak_one(const environment& here, job& all, bool& passed) {
    const bool well = co_await soak_disk(here, all);
    passed = passed && well;
}

async::task<bool> run_soak(const environment& here) {
    require_disks(here);
    const std::uint32_t depth = here.wanted.depth != 0 ? here.wanted.depth : default_depth;
    const std::uint32_t block_size = here.wanted.block_size != 0 ? here.wanted.block_size : default_block_size;
    co_await identify_disks(here.devices, here.wanted);
    for (const virtio_device& device : here.devices) {
        if (device.disk != nullptr) {
            require_overwritable(device);
        }
    }
    const std::size_t free_before = here.free_memory.available();
    const std::uint64_t frames_before = live_frames();
    bool passed = true;
    {
        const memory::mark given_back{here.free_memory};
        async::counting_scope disks;
        for (const virtio_device& device : here.devices) {
            if (device.disk != nullptr) {
                job* const all = create<job>(here.free_memory, 1, [&](std::size_t) {
                                     return prepare(here, device, depth, block_size);
                                 }).data();
                spawn(disks, soak_one(here, *all, passed), depth);
            }
        }
        co_await disks.join();
    }
    const std::uint64_t leaked = live_frames() - frames_before;
    console::print("@result {\"program\":\"soak\",\"memory_lost\":%lu,\"frames_lost\":%lu}\n",
                   free_before - here.free_memory.available(), leaked);
    while (here.wanted.hold && !console::read()) { // the host reads QEMU's counters, which end with the machine
        co_await pause();
    }
    co_return passed&& leaked == 0;
}

const program registered{"soak", "reads and writes every disk at random, checks each sector, and counts what failed",
                         run_soak};

} // namespace

} // namespace inflight::kernel
