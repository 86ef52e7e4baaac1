// requests: reads commands from the console, makes these requests to the first disk, and prints how each ended. For
// tests in which the host does something between two requests, or during one.
//
//     read SECTOR COUNT [TIMES]                  a request of COUNT sectors; TIMES of them, one behind the other on the disk
//     write SECTOR COUNT GENERATION [TIMES]      sectors of that generation (stamp.hpp)
//     discard SECTOR COUNT, zeroes SECTOR COUNT, unmap SECTOR COUNT, erase SECTOR COUNT, flush, id, lifetime
//                                                unmap: zeroes, and the device may deallocate the sectors
//     ranges SECTOR COUNT TIMES                  zeroes of TIMES ranges in one request, with a gap of COUNT between them
//     cache 0|1                                  switches the write cache off or on
//     open|close|finish|reset ZONE, reset-all    of a zoned disk; ZONE is its first sector
//     append ZONE COUNT GENERATION PLACE         sectors as they are to be from PLACE on; the line has where they are
//     report SECTOR COUNT                        prints COUNT zones, from the one with SECTOR on
//     watch TIMES                                prints the next TIMES changes of the capacity
//     wait                                       prints "idle" when all requests and watches have ended
//     capacity                                   prints the capacity in sectors
//     mode                                       prints the mode of the write cache
//     end
//
// The requests of one line are in flight together. Each prints one line when it ends, numbered from 1:
//
//     request 7: read 8+4 ok 2*3 0*1             three sectors of generation 2, and one of zeroes
//     request 8: write 8+4 io_error

#include "async/counting_scope.hpp"
#include "async/scheduler.hpp"
#include "async/semaphore.hpp"
#include "src/kernel/console.hpp"
#include "src/kernel/end.hpp"
#include "src/kernel/program.hpp"
#include "src/programs/stamp.hpp"

#include <array>
#include <charconv>
#include <cstdio>
#include <optional>
#include <string_view>

namespace inflight::kernel {

namespace {

constexpr std::uint32_t default_depth = 128;
constexpr std::uint32_t default_block_size = 64u << 10;
constexpr std::size_t max_ranges = 32;
constexpr std::uint64_t looks_per_second = 2000; // at the console, for input

struct command {
    std::string_view name;
    std::array<std::uint64_t, 4> numbers{};
    std::size_t count = 0;
};

// Returns false if a word is not a number, or if there are too many.
bool parse(std::string_view line, command& parsed) noexcept {
    const auto take_word = [&line] {
        line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
        const std::string_view word = line.substr(0, line.find(' '));
        line.remove_prefix(word.size());
        return word;
    };
    parsed.name = take_word();
    for (std::string_view word = take_word(); !word.empty(); word = take_word()) {
        if (parsed.count == parsed.numbers.size()) {
            return false;
        }
        const auto [end, error] =
            std::from_chars(word.data(), word.data() + word.size(), parsed.numbers[parsed.count++]);
        if (error != std::errc{} || end != word.data() + word.size()) {
            return false;
        }
    }
    return true;
}

// A type of request, and the minimum count of numbers in its command.
enum class kind : std::uint8_t {
    read,
    write,
    discard,
    zeroes,
    unmap,
    erase,
    ranges,
    flush,
    id,
    lifetime,
    cache,
    open,
    close,
    finish,
    reset,
    reset_all,
    append,
    report
};
struct known_kind {
    std::string_view name;
    kind what;
    std::size_t numbers;
    bool has_data;
};
constexpr known_kind known_kinds[] = {
    {"read", kind::read, 2, true},        {"write", kind::write, 3, true},
    {"discard", kind::discard, 2, false}, {"zeroes", kind::zeroes, 2, false},
    {"unmap", kind::unmap, 2, false},     {"erase", kind::erase, 2, false},
    {"ranges", kind::ranges, 3, false},   {"flush", kind::flush, 0, false},
    {"id", kind::id, 0, false},           {"lifetime", kind::lifetime, 0, false},
    {"cache", kind::cache, 1, false},     {"open", kind::open, 1, false},
    {"close", kind::close, 1, false},     {"finish", kind::finish, 1, false},
    {"reset", kind::reset, 1, false},     {"reset-all", kind::reset_all, 0, false},
    {"append", kind::append, 4, true},    {"report", kind::report, 2, true},
};

struct session {
    // Has a constructor, because a session is an argument of coroutines (async/coroutine.hpp).
    session(block::disk& of, std::uint64_t the_seed, std::uint32_t max_bytes, std::span<std::byte*> buffers) noexcept
        : disk{of}, seed{the_seed}, block_size{max_bytes}, free_buffers{buffers}, free_count{buffers.size()} {}

    block::disk& disk;
    std::uint64_t seed;
    std::uint32_t block_size;
    std::span<std::byte*> free_buffers; // the first free_count of them
    std::size_t free_count;
    async::counting_scope scope;
    std::uint64_t begun = 0;
};

struct order {
    std::uint64_t number;
    const known_kind* type;
    std::uint64_t sector;
    std::uint64_t count;
    stamp::generation age;
    std::uint64_t place; // of an append
    std::byte* buffer;
};

void append(std::array<char, 512>& text, std::size_t& used, stamp::generation age, std::uint64_t run) noexcept {
    const int length = age == stamp::not_ours
                           ? std::snprintf(text.data() + used, text.size() - used, " wrong*%lu", run)
                           : std::snprintf(text.data() + used, text.size() - used, " %u*%lu", age, run);
    used = std::min(used + static_cast<std::size_t>(length), text.size() - 1);
}

void tell(const session& here, const order& done, block::status result) noexcept {
    std::array<char, 512> contents{};
    std::size_t used = 0;
    if (result == block::status::ok && done.type->what == kind::read) {
        stamp::generation age = 0;
        std::uint64_t run = 0;
        for (std::uint64_t i = 0; i < done.count; ++i) {
            const std::span sector{done.buffer + i * block::sector_size, block::sector_size};
            const stamp::generation found = stamp::read(sector, here.seed, done.sector + i);
            if (run != 0 && found != age) {
                append(contents, used, age, run);
                run = 0;
            }
            age = found;
            ++run;
        }
        append(contents, used, age, run);
    }
    console::print("request %lu: %.*s %lu+%lu %s%s\n", done.number, static_cast<int>(done.type->name.size()),
                   done.type->name.data(), done.sector, done.count, block::to_string(result), contents.data());
}

async::task<block::status> zero_ranges(session& here, std::uint64_t sector, std::uint64_t count, std::size_t times) {
    std::array<block::sector_range, max_ranges> ranges{};
    times = std::min(times, ranges.size());
    for (std::size_t i = 0; i < times; ++i) {
        ranges[i] = {.sector = sector + 2 * i * count, .sectors = count};
    }
    co_return co_await here.disk.write_zeroes(std::span{ranges}.first(times));
}

// Of a kind that returns a status, and takes no memory but data.
block::request make(block::disk& disk, const order& wanted, std::span<std::byte> data) noexcept {
    switch (wanted.type->what) {
    case kind::read: return disk.read(wanted.sector, data);
    case kind::write: return disk.write(wanted.sector, data);
    case kind::discard: return disk.discard(wanted.sector, wanted.count);
    case kind::zeroes: return disk.write_zeroes(wanted.sector, wanted.count);
    case kind::unmap: return disk.write_zeroes(wanted.sector, wanted.count, block::unmap::permitted);
    case kind::erase: return disk.secure_erase(wanted.sector, wanted.count);
    case kind::open: return disk.open_zone(wanted.sector);
    case kind::close: return disk.close_zone(wanted.sector);
    case kind::finish: return disk.finish_zone(wanted.sector);
    case kind::reset: return disk.reset_zone(wanted.sector);
    case kind::reset_all: return disk.reset_all_zones();
    default: return disk.flush();
    }
}

void tell(const block::zone_report& told) noexcept {
    for (const block::virtio_blk::zone_descriptor& zone : told.zones) {
        console::print("zone %lu: type %u, state %u, capacity %lu, write pointer %lu\n", zone.z_start,
                       static_cast<unsigned>(zone.z_type), static_cast<unsigned>(zone.z_state), zone.z_cap, zone.z_wp);
    }
}

async::task<void> perform(session& here, order wanted) {
    block::status result = block::status::ok;
    const std::span<std::byte> data{wanted.buffer, wanted.buffer == nullptr ? 0 : wanted.count * block::sector_size};
    const kind what = wanted.type->what;
    if (what == kind::read) {
        std::memset(data.data(), 0x5a, data.size());
    } else if (what == kind::write || what == kind::append) {
        stamp::write(data, here.seed, what == kind::append ? wanted.place : wanted.sector, wanted.age);
    }
    switch (what) {
    case kind::ranges: result = co_await zero_ranges(here, wanted.sector, wanted.count, wanted.age); break;
    case kind::cache: result = co_await here.disk.set_write_cache(wanted.sector != 0); break;
    case kind::lifetime: {
        block::virtio_blk::lifetime life{};
        result = co_await here.disk.get_lifetime(life);
        break;
    }
    case kind::id: {
        block::virtio_blk::id_string id;
        result = co_await here.disk.get_id(id);
        break;
    }
    case kind::append: {
        const block::append_result appended = co_await here.disk.append(wanted.sector, data);
        result = appended.outcome;
        wanted.sector = appended.sector;
        break;
    }
    case kind::report: {
        const std::span into{reinterpret_cast<block::virtio_blk::zone_descriptor*>(wanted.buffer), wanted.count + 1};
        const block::zone_report told = co_await here.disk.report_zones(wanted.sector, into);
        tell(told);
        result = told.outcome;
        break;
    }
    default: result = co_await make(here.disk, wanted, data); break;
    }
    tell(here, wanted, result);
    if (wanted.buffer != nullptr && result != block::status::device_lost) { // a lost device may still write to it
        here.free_buffers[here.free_count++] = wanted.buffer;
    }
}

// Prints the next `changes` changes of the capacity. The first one counts from `seen` on.
async::task<void> watch(session& here, std::uint64_t seen, std::uint64_t changes) {
    for (; changes != 0 && !here.disk.lost(); --changes) {
        co_await here.disk.capacity_changed(seen);
        ++seen;
        console::print("capacity has changed to %lu\n", here.disk.properties().capacity);
    }
}

// Starts the requests of a command. Returns false if the command is invalid.
bool begin(session& here, const known_kind& type, const command& wanted) noexcept {
    if (wanted.count < type.numbers) {
        return false;
    }
    const std::uint64_t count = wanted.numbers[1];
    const std::uint64_t times = wanted.count > type.numbers ? wanted.numbers[type.numbers] : 1;
    if (type.has_data && (count == 0 || count > here.block_size / block::sector_size)) {
        return false;
    }
    for (std::uint64_t i = 0; i < times; ++i) {
        std::byte* buffer = nullptr;
        if (type.has_data) {
            if (here.free_count == 0) {
                return false;
            }
            buffer = here.free_buffers[--here.free_count];
        }
        const order one{.number = ++here.begun,
                        .type = &type,
                        .sector = wanted.numbers[0] + i * count,
                        .count = count,
                        .age = static_cast<stamp::generation>(wanted.numbers[2]),
                        .place = wanted.numbers[3],
                        .buffer = buffer};
        spawn(here.scope, perform(here, one), static_cast<std::uint32_t>(times));
    }
    return true;
}

// Returns false at the end of the session.
async::task<bool> obey(session& here, std::string_view line) {
    command wanted;
    const bool parsed = parse(line, wanted);
    bool understood = false;
    if (parsed && wanted.name == "end") {
        co_return false;
    }
    if (parsed && wanted.name == "wait") {
        co_await here.scope.join();
        console::print("idle\n");
        understood = true;
    } else if (parsed && wanted.name == "capacity") {
        console::print("capacity %lu\n", here.disk.properties().capacity);
        understood = true;
    } else if (parsed && wanted.name == "mode") {
        console::print("write cache %s\n", here.disk.properties().write_cache ? "on" : "off");
        understood = true;
    } else if (parsed && wanted.name == "watch" && wanted.count == 1) {
        spawn(here.scope, watch(here, here.disk.properties().capacity_changes, wanted.numbers[0]), 1);
        understood = true;
    } else if (parsed) {
        for (const known_kind& type : known_kinds) {
            if (type.name == wanted.name) {
                understood = begin(here, type, wanted);
            }
        }
    }
    if (!understood) {
        console::print("error: requests: '%.*s' is no command, or asks for too much\n", static_cast<int>(line.size()),
                       line.data());
    }
    co_return true;
}

async::task<void> read_line(std::array<char, 128>& line, std::size_t& length) {
    length = 0;
    for (;;) {
        const std::optional<char> character = console::read();
        if (!character) {
            co_await async::sleep_for(arch::ticks_per_second() / looks_per_second);
        } else if (*character == '\n' || *character == '\r') {
            co_return;
        } else if (length < line.size()) {
            line[length++] = *character;
        }
    }
}

async::task<bool> run_requests(const environment& here) {
    require_disks(here);
    const std::uint32_t depth = here.wanted.depth != 0 ? here.wanted.depth : default_depth;
    const std::uint32_t block_size = here.wanted.block_size != 0 ? here.wanted.block_size : default_block_size;
    const memory::mark given_back{here.free_memory};
    const std::span<std::byte> buffers = allocate_buffers(here.free_memory, depth, block_size);
    const std::span<std::byte*> free_buffers = here.free_memory.create<std::byte*>(
        depth, [&](std::size_t number) { return buffers.data() + number * block_size; });
    if (free_buffers.empty()) {
        fail("no memory is left for a list of %u buffers: give the machine more (./run --memory)", depth);
    }
    const virtio_device* device = here.devices.data();
    while (device->disk == nullptr) {
        ++device;
    }
    co_await identify_disks(here.devices, here.wanted);
    require_overwritable(*device);
    session ours{*device->disk, here.wanted.seed, block_size, free_buffers};
    console::print("requests: %s is ready\n", device->name);
    std::array<char, 128> line{};
    std::size_t length = 0;
    bool goes_on = true;
    while (goes_on) {
        co_await read_line(line, length);
        if (length != 0) {
            goes_on = co_await obey(ours, {line.data(), length});
        }
    }
    co_await ours.scope.join();
    console::print("@result {\"program\":\"requests\",\"requests\":%lu,\"disks\":[{\"name\":\"%s\",", ours.begun,
                   device->name);
    print_queues_json(*device);
    console::print("}]}\n");
    co_return true;
}

const program registered{"requests", "does the requests that are typed on the console, and says how each ended",
                         run_requests};

} // namespace

} // namespace inflight::kernel
