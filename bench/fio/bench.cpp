// bench: runs the jobs of a fio job file, group by group. A stonewall begins a group. The jobs of a group and their
// clones (numjobs) run at the same time, each on one hart.

#include "async/event.hpp"
#include "async/with_timeout.hpp"
#include "bench/counters.hpp"
#include "bench/fio/job_run.hpp"
#include "bench/raw/floor.hpp"
#include "src/kernel/boot_time.hpp"
#include "src/kernel/console.hpp"
#include "src/kernel/elapsed.hpp"
#include "src/kernel/end.hpp"
#include "src/kernel/program.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <string_view>

namespace inflight::bench {

namespace {

using kernel::console::print;

// The arguments of "%.*s" for a string view.
#define INFLIGHT_TEXT(view) static_cast<int>((view).size()), (view).data()

const kernel::virtio_device& find_disk(const kernel::environment& here, const job& of, std::string_view name) noexcept {
    for (const kernel::virtio_device& device : here.devices) {
        if (!device.is_disk() || (!name.empty() && name != device.name)) {
            continue;
        }
        if (device.disk == nullptr) {
            kernel::fail("line %u: job '%.*s': %s cannot be used: %s", of.line, INFLIGHT_TEXT(of.name), device.name,
                         device.failure);
        }
        return device;
    }
    name = name.empty() ? "vda" : name;
    kernel::fail("line %u: job '%.*s': there is no disk '%.*s': attach it (./run --disk), or name an existing one",
                 of.line, INFLIGHT_TEXT(of.name), INFLIGHT_TEXT(name));
}

std::uint64_t bytes_of(const job_size& size, std::uint64_t whole) noexcept {
    return size.percent != 0 ? whole / 100 * size.percent + whole % 100 * size.percent / 100 : size.bytes;
}

[[noreturn]] void refuse(const job& of, const char* disk, const char* why) noexcept {
    kernel::fail("line %u: job '%.*s' on %s: %s", of.line, INFLIGHT_TEXT(of.name), disk, why);
}

bool does(job_pattern rw, direction what) noexcept {
    switch (what) {
    case direction::read: return reads(rw);
    case direction::write: return writes(rw);
    case direction::trim: return trims(rw);
    }
    return false;
}

// Determines the job's range on a disk, and refuses what the disk cannot do.
job_place place_of(const kernel::virtio_device& device, const job& of) noexcept {
    const block::disk_properties& properties = device.disk->properties();
    const std::uint64_t capacity = properties.capacity * block::sector_size;
    const std::uint64_t unit = properties.logical_block_size;
    const std::uint64_t files = std::max<std::size_t>(of.filename_count, 1);
    const std::uint64_t begin = bytes_of(of.offset, capacity) / unit * unit;
    const std::uint64_t size =
        of.size.given() ? bytes_of(of.size, capacity) / files : capacity - std::min(begin, capacity);
    if (begin >= capacity || size == 0 || size > capacity - begin) {
        refuse(of, device.name, "offset and size reach beyond the end of the disk");
    }
    const job_place place{
        .disk = device.disk, .name = device.name, .range = {.begin = begin, .end = begin + size / unit * unit}};
    for (std::size_t i = 0; i < directions; ++i) {
        const auto what = static_cast<direction>(i);
        if (!does(of.rw, what)) {
            continue;
        }
        for (std::size_t share = 0; share < of.bs[i].count; ++share) {
            if (of.bs[i].shares[share].bytes % unit != 0) {
                refuse(of, device.name, "bs is not a multiple of the disk's logical block size");
            }
        }
        if (of.blockalign[i] % unit != 0) {
            refuse(of, device.name, "blockalign is not a multiple of the disk's logical block size");
        }
        if (of.bs[i].largest() > place.range.end - place.range.begin) {
            refuse(of, device.name, "a block of bs is larger than the job's part of the disk");
        }
    }
    if ((writes(of.rw) || trims(of.rw)) && properties.read_only) {
        refuse(of, device.name, "the disk is read-only");
    }
    if (writes(of.rw) || trims(of.rw)) {
        kernel::require_overwritable(device);
    }
    if (trims(of.rw) && properties.max_discard_sectors == 0) {
        refuse(of, device.name, "the disk cannot discard, so nothing can be trimmed");
    }
    return place;
}

// Returns the hart of a clone. Clones are distributed over the allowed harts in turn.
arch::hart_index hart_of(const job& of, std::uint32_t clone, std::uint32_t running) noexcept {
    if (of.cpus_allowed == 0) {
        return running % arch::harts();
    }
    std::uint64_t allowed = of.cpus_allowed;
    const auto count = static_cast<std::uint32_t>(std::popcount(allowed));
    for (std::uint32_t skip = clone % count; skip != 0; --skip) {
        allowed &= allowed - 1;
    }
    const auto hart = static_cast<arch::hart_index>(std::countr_zero(allowed));
    if (hart >= arch::harts()) {
        kernel::fail(
            "line %u: job '%.*s': cpus_allowed names hart %u, but the machine has %u: give it more (./run --harts)",
            of.line, INFLIGHT_TEXT(of.name), hart, arch::harts());
    }
    return hart;
}

async::task<void> count_hart(hart_counters& into) {
    into = hart_counters::now();
    co_return;
}

async::task<void> count_harts(std::span<hart_counters> into) {
    for (arch::hart_index hart = 0; hart < arch::harts(); ++hart) {
        co_await async::on(hart, count_hart(into[hart]));
    }
}

// ---- the progress line ----

// Jobs that run at the same time.
struct group {
    std::uint32_t number;
    std::span<job_run> runs;
};

char letter_of(const job_run& run) noexcept {
    if (run.has_ended()) {
        return '_';
    }
    switch (run.description().rw) {
    case job_pattern::read: return 'R';
    case job_pattern::write: return 'W';
    case job_pattern::randread: return 'r';
    case job_pattern::randwrite: return 'w';
    case job_pattern::rw: return 'M';
    case job_pattern::randrw: return 'm';
    case job_pattern::trim:
    case job_pattern::trimwrite: return 'D';
    case job_pattern::randtrim: return 'd';
    }
    return '?';
}

// Prints a progress line like fio's, once a second until the jobs have ended.
async::task<void> tell_progress(const group& of, async::event& ended) {
    std::array<std::uint64_t, directions> ios_before{};
    std::array<std::uint64_t, directions> bytes_before{};
    const arch::ticks begin = arch::now();
    arch::ticks before = begin;
    while (!(co_await async::with_timeout(ended.wait(async::stop_token{}), arch::ticks_per_second())).has_value()) {
        std::array<std::uint64_t, directions> ios{};
        std::array<std::uint64_t, directions> bytes{};
        std::uint64_t done = 1000;
        std::size_t running = 0;
        constexpr std::size_t max_letters = 32;
        std::array<char, max_letters + 1> letters{};
        for (std::size_t i = 0; i < of.runs.size(); ++i) {
            const job_run& run = of.runs[i];
            const job_run::told& told = run.progress();
            for (std::size_t d = 0; d < directions; ++d) {
                ios[d] += told.ios[d].load(std::memory_order_relaxed);
                bytes[d] += told.bytes[d].load(std::memory_order_relaxed);
            }
            if (!run.has_ended()) {
                done = std::min(done, told.done.load(std::memory_order_relaxed));
                ++running;
            }
            if (i < max_letters) {
                letters[i] = letter_of(run);
            }
        }
        const arch::ticks now = arch::now();
        const std::optional<arch::ticks> span = kernel::elapsed(before, now);
        const auto rate = [&](std::uint64_t sum, std::uint64_t sum_before) {
            return sum < sum_before || !span ? 0 : (sum - sum_before) * arch::ticks_per_second() / *span;
        };
        constexpr unsigned mib_shift = 20;
        print("@progress bench: Jobs: %lu (f=%lu): [%s][%lu.%lu%%][r=%luMiB/s,w=%luMiB/s][r=%lu,w=%lu IOPS]", running,
              running, letters.data(), done / 10, done % 10, rate(bytes[0], bytes_before[0]) >> mib_shift,
              rate(bytes[1], bytes_before[1]) >> mib_shift, rate(ios[0], ios_before[0]), rate(ios[1], ios_before[1]));
        if (const std::optional<arch::ticks> whole = kernel::elapsed(begin, now); whole && done != 0) {
            const std::uint64_t left = *whole * (1000 - done) / done / arch::ticks_per_second();
            print("[eta %02lum:%02lus]\n", left / 60, left % 60);
        } else {
            print("[eta --]\n");
        }
        ios_before = ios;
        bytes_before = bytes;
        before = now;
    }
}

// ---- the floor ----

// Runs the raw loop over the same rings (floor.hpp), as long and as deep as the job. It only reads, and each request
// has one data segment.
async::task<void> run_floor_of(const job_run& run, floor_result& into) {
    const job& what = run.description();
    const std::uint32_t bytes = what.bs[0].largest();
    const arch::ticks span = std::min(run.elapsed(), arch::ticks_per_second());
    async::publish_timing timing;
    into = run_floor(*run.place().disk, {.first = run.came_from().hart, .stride = arch::harts()}, what.iodepth, bytes,
                     run.buffers().data(), arch::now() + span, ~std::uint64_t{0}, timing);
    co_return;
}

bool has_floor(const job_run& run, const block::disk& disk) noexcept {
    const job& what = run.description();
    return !run.failed() && reads(what.rw) && !writes(what.rw) && what.filename_count <= 1 &&
           what.bs[0].largest() <= disk.properties().size_max && run.came_from().hart < disk.properties().queues &&
           (disk.properties().accepted & virtio::feature::in_order) == 0;
}

// ---- groups ----

// Returns the counters of all queues, disk by disk.
std::span<block::queue::counters> count_queues(const kernel::environment& here) noexcept {
    std::size_t count = 0;
    for (const kernel::virtio_device& device : here.devices) {
        count += device.disk != nullptr ? device.disk->properties().queues : 0;
    }
    const auto counted =
        here.free_memory.create<block::queue::counters>(count, [](std::size_t) { return block::queue::counters{}; });
    std::size_t i = 0;
    for (const kernel::virtio_device& device : here.devices) {
        for (std::uint16_t queue = 0; device.disk != nullptr && queue < device.disk->properties().queues; ++queue) {
            if (i < counted.size()) {
                counted[i++] = device.disk->count(queue);
            }
        }
    }
    return counted;
}

device_counters count_devices(const kernel::environment& here) noexcept {
    device_counters all{};
    for (const kernel::virtio_device& device : here.devices) {
        if (device.disk != nullptr) {
            all += device_counters::of(*device.disk);
        }
    }
    return all;
}

struct group_figures {
    arch::ticks elapsed = 0; // 0: the clock has stepped back, and no time was measured
    device_counters devices{};
    std::uint64_t instructions = 0; // of all harts together
    std::span<hart_counters> harts; // of each hart
    std::span<block::queue::counters> queues_before;
    std::span<block::queue::counters> queues_after;
    floor_result floor{};
};

void print_group(const kernel::environment& here, const group& of, const group_figures& figures) noexcept {
    std::uint64_t ios = 0;
    for (const job_run& run : of.runs) {
        ios += run.figures().ios();
        print("@result {\"program\":\"bench\",\"jobs\":[");
        print_json(run);
        print("]}\n");
    }
    hart_counters all{};
    for (const hart_counters& hart : figures.harts) {
        all += hart;
    }
    print("@result {\"program\":\"bench\",\"groups\":[{\"group\":%u,\"elapsed\":%lu,\"ios\":%lu,\"notifications\":%lu,"
          "\"interrupts\":%lu,\"mmio_accesses\":%lu,\"instructions\":%lu,\"allocations\":%lu,\"floor_ios\":%lu,\"floor_"
          "elapsed\":%lu,"
          "\"harts\":[",
          of.number, figures.elapsed, ios, figures.devices.notifications, figures.devices.interrupts, all.mmio_accesses,
          figures.instructions, all.allocations, figures.floor.ios, figures.floor.elapsed);
    for (std::size_t i = 0; i < figures.harts.size(); ++i) {
        const hart_counters& hart = figures.harts[i];
        print("%s{\"hart\":%lu,\"asleep\":%lu,\"sleeps\":%lu,\"rounds\":%lu,\"resumptions\":%lu}", i == 0 ? "" : ",", i,
              figures.elapsed == 0 ? 0 : hart.asleep, hart.sleeps, hart.rounds, hart.resumptions);
    }
    print("],\"queues\":[");
    std::size_t i = 0;
    for (const kernel::virtio_device& device : here.devices) {
        for (std::uint16_t queue = 0; device.disk != nullptr && queue < device.disk->properties().queues;
             ++queue, ++i) {
            const block::queue::counters& before = figures.queues_before[i];
            const block::queue::counters& after = figures.queues_after[i];
            print("%s{\"disk\":\"%s\",\"queue\":%u,\"requests\":%lu,\"notifications\":%lu,\"interrupts\":%lu}",
                  i == 0 ? "" : ",", device.name, queue, after.requests - before.requests,
                  after.notifications - before.notifications, after.interrupts - before.interrupts);
        }
    }
    print("]}]}\n");
}

async::task<bool> run_group(const kernel::environment& here, const group& of) {
    const auto make_counters = [](std::size_t) {
        return hart_counters{};
    };
    const std::span<hart_counters> before = here.free_memory.create<hart_counters>(arch::harts(), make_counters);
    const std::span<hart_counters> after = here.free_memory.create<hart_counters>(arch::harts(), make_counters);
    group_figures figures;
    figures.queues_before = count_queues(here);
    if (before.empty() || after.empty() || figures.queues_before.empty()) {
        kernel::fail("no memory is left for the figures of a group of jobs: give the machine more (./run --memory)");
    }
    const device_counters devices_before = count_devices(here);
    co_await count_harts(before);
    const std::uint64_t instructions_before = instructions_of_all();

    async::event ended;
    async::counting_scope telling;
    async::counting_scope working;
    kernel::spawn(telling, tell_progress(of, ended), 1);
    const arch::ticks begin = arch::now();
    for (job_run& run : of.runs) {
        kernel::spawn(working, async::on(run.came_from().hart, run.run()), static_cast<std::uint32_t>(of.runs.size()));
    }
    co_await working.join();
    const bool stepped =
        std::any_of(of.runs.begin(), of.runs.end(), [](const job_run& run) { return run.clock_has_stepped(); });
    const std::optional<arch::ticks> span = kernel::elapsed(begin, arch::now());
    if (!stepped && !span) { // after the end of the jobs, or before their beginning
        print("bench: the clock stepped back (was a snapshot loaded, or the machine moved?): times are not measured\n");
    }
    figures.elapsed = stepped ? 0 : span.value_or(0);
    figures.instructions = instructions_of_all() - instructions_before;
    ended.set();
    co_await telling.join();

    co_await count_harts(after);
    for (std::size_t i = 0; i < after.size(); ++i) {
        after[i] = after[i] - before[i];
    }
    figures.harts = after;
    figures.devices = count_devices(here) - devices_before;
    figures.queues_after = count_queues(here);
    if (figures.queues_after.empty()) {
        kernel::fail("no memory is left for the figures of a group of jobs: give the machine more (./run --memory)");
    }

    const job_run& first = of.runs.front();
    const block::disk& disk = *first.place().disk;
    if (here.wanted.floor && of.runs.size() == 1 && figures.elapsed != 0 && has_floor(first, disk)) {
        co_await async::on(first.came_from().hart, run_floor_of(first, figures.floor));
    }
    print_group(here, of, figures);
    co_return figures.elapsed != 0 &&
        std::none_of(of.runs.begin(), of.runs.end(), [](const job_run& run) { return run.failed(); });
}

// Returns the leading jobs that run together: up to the next stonewall.
std::span<const job> jobs_together(std::span<const job> first) noexcept {
    std::size_t count = 1;
    while (count < first.size() && !first[count].stonewall) {
        ++count;
    }
    return first.first(count);
}

std::span<const job_place> places_of(const kernel::environment& here, const job& of) noexcept {
    const std::size_t count = std::max<std::size_t>(of.filename_count, 1);
    const auto places = here.free_memory.create<job_place>(count, [&](std::size_t i) {
        return place_of(find_disk(here, of, of.filename_count == 0 ? std::string_view{} : of.filenames[i]), of);
    });
    if (places.empty()) {
        kernel::fail("no memory is left for the jobs: give the machine more (./run --memory)");
    }
    return places;
}

// Refuses everything that can be refused before anything runs.
void check(const kernel::environment& here, std::span<const job> jobs) noexcept {
    const kernel::memory::mark given_back{here.free_memory};
    for (const job& each : jobs) {
        static_cast<void>(places_of(here, each));
        static_cast<void>(hart_of(each, 0, 0));
    }
}

group make_group(const kernel::environment& here, std::span<const job> jobs, std::uint32_t number) noexcept {
    std::size_t count = 0;
    for (const job& each : jobs) {
        count += each.numjobs;
    }
    const job* of = jobs.data();
    std::uint32_t clone = 0;
    const std::span<job_run> runs = here.free_memory.create<job_run>(count, [&](std::size_t i) {
        if (clone == of->numjobs) {
            ++of;
            clone = 0;
        }
        const std::span<const job_place> places = places_of(here, *of);
        std::uint64_t size = 0;
        for (const job_place& each : places) {
            size += each.range.end - each.range.begin;
        }
        const std::uint64_t seed = of->randseed_given ? of->randseed : here.wanted.seed;
        const job_run::origin begin{.of = of,
                                    .clone = clone,
                                    .group = number,
                                    .hart = hart_of(*of, clone, static_cast<std::uint32_t>(i)),
                                    .seed = support::mix(seed + support::golden_gamma * (i + 1)),
                                    .io_size = of->io_size.given() ? bytes_of(of->io_size, size) : 0,
                                    .places = places};
        ++clone;
        return job_run{begin, here.free_memory};
    });
    if (runs.empty()) {
        kernel::fail(
            "%lu jobs at the same time take more memory than is free: use fewer, or give the machine more (./run "
            "--memory)",
            count);
    }
    return {.number = number, .runs = runs};
}

// Returns the text of the job file, which is the machine's initrd.
std::string_view job_text(const kernel::environment& here) noexcept {
    if (!here.machine.initrd) {
        kernel::fail("bench runs a fio job file, but the machine has none: ./run bench JOB.fio, or ./run bench "
                     "--rw=randread --bs=4k --iodepth=32");
    }
    return {reinterpret_cast<const char*>(here.machine.initrd->base), here.machine.initrd->size};
}

async::task<bool> run_bench(const kernel::environment& here) {
    // Not a static object, because the default values of its jobs would take a third of the kernel's image.
    const std::span<job_list> place = here.free_memory.create<job_list>(1, [](std::size_t) { return job_list{}; });
    if (place.empty()) {
        kernel::fail("no memory is left for the jobs: give the machine more (./run --memory)");
    }
    job_list& jobs = place.front();
    static std::array<char, 512> message;
    static std::array<char, 4096> notes;
    if (!parse_job_file(job_text(here), jobs, message, notes)) {
        kernel::fail("%s", message.data());
    }
    kernel::console::write(notes.data());
    kernel::require_disks(here);
    const std::span<const job> all = jobs.all();
    if (std::any_of(all.begin(), all.end(), [](const job& each) { return writes(each.rw) || trims(each.rw); })) {
        co_await kernel::identify_disks(here.devices, here.wanted);
    }
    check(here, all);

    // Times the first read, from the first job's disk, since the machine's first instruction.
    block::disk& first_disk = *find_disk(here, jobs.jobs[0], jobs.jobs[0].filenames[0]).disk;
    {
        const kernel::memory::mark given_back{here.free_memory};
        const std::uint32_t bytes = first_disk.properties().logical_block_size;
        const block::status outcome = co_await first_disk.read(0, kernel::allocate_buffers(here.free_memory, 1, bytes));
        if (outcome != block::status::ok) {
            kernel::fail("the first read failed: %s", block::to_string(outcome));
        }
    }
    if (here.wanted.icount) {
        co_await count_instructions_of_all();
    }
    const arch::ticks first_read = kernel::elapsed(kernel::boot_time(), arch::now()).value_or(0);

    bool passed = true;
    std::uint32_t number = 0;
    for (std::span<const job> left = jobs.all(); !left.empty(); ++number) {
        const std::span<const job> together = jobs_together(left);
        const kernel::memory::mark given_back{here.free_memory};
        const bool well = co_await run_group(here, make_group(here, together, number));
        passed = passed && well;
        left = left.subspan(together.size());
    }
    print("@result "
          "{\"program\":\"bench\",\"version\":1,\"ticks_per_second\":%lu,\"icount\":%s,\"boot_to_first_read\":%lu,"
          "\"memory_kib\":%lu}\n",
          arch::ticks_per_second(), here.wanted.icount ? "true" : "false", first_read,
          (kernel::kernel_bytes() + here.free_memory.max_used()) / 1024);
    co_return passed;
}

const kernel::program registered{"bench", "runs a fio job file, and reports what fio would, and more", run_bench};

} // namespace

} // namespace inflight::bench
