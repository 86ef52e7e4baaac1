#include "tests/fuzz/device/workload.hpp"

#include "tests/fuzz/device/require.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace inflight::fuzz {

using async::task;
using block::status;

namespace {

constexpr std::byte red{0xa7};

} // namespace

workload::workload(arch::host::machine& host, input& in, std::byte* buffers, request_table& requests)
    : host_{host}, in_{in}, buffers_{buffers}, requests_{requests} {
    for (unsigned i = 0; i < max_requests; ++i) {
        std::byte* const start = buffers_ + i * (buffer_bytes + red_zone);
        std::memset(start, std::to_integer<int>(red), red_zone);
        requests_.records[i].buffer = start + red_zone;
    }
    std::memset(buffers_ + max_requests * (buffer_bytes + red_zone), std::to_integer<int>(red), red_zone);
}

void workload::close_scopes() {
    for (auto& each : scopes_)
        each.reset();
}

void workload::stop_a_request() {
    if (request_record& it = requests_.records[in_.below(max_requests)]; it.active)
        it.source->request_stop();
}

void workload::ended(request_record& of, status outcome) {
    ++of.ended;
    require(of.ended == of.started, "a request ended twice");
    of.active = false;
    of.outcome = outcome;
    if (outcome == status::ok && of.has_data)
        require(of.shown >= of.bytes || of.unseen, "a request ended with ok, and the device was never shown all of it");
    of.check_then = of.has_data && outcome != status::device_lost;
    if (of.check_then)
        std::copy_n(of.buffer, of.bytes, of.then.begin());
}

template <typename Request>
task<void> workload::attend(block::disk& disk, request_record& of, Request make) {
    block::request request = make(disk);
    request.set_stop_token(of.source->get_token());
    const status outcome = co_await request;
    ended(of, outcome);
}

task<void> workload::attend_scattered(block::disk& disk, request_record& of, std::uint64_t sector, unsigned pieces) {
    const std::size_t piece = of.bytes / pieces;
    for (unsigned i = 0; i < pieces; ++i) {
        of.into[i] = {of.buffer + i * piece, piece};
        of.from[i] = {of.buffer + i * piece, piece};
    }
    block::request request = of.writes ? disk.write(sector, std::span{of.from}.first(pieces))
                                       : disk.read(sector, std::span{of.into}.first(pieces));
    request.set_stop_token(of.source->get_token());
    const status outcome = co_await request;
    ended(of, outcome);
}

task<void> workload::attend_switch(block::disk& disk, request_record& of, bool enabled) {
    const status outcome = co_await disk.set_write_cache(enabled);
    ended(of, outcome);
}

task<void> workload::attend_append(block::disk& disk, request_record& of, std::uint64_t zone) {
    block::append_request request = disk.append(zone, std::span<const std::byte>{of.buffer, of.bytes});
    request.set_stop_token(of.source->get_token());
    const block::append_result appended = co_await request;
    ended(of, appended.outcome);
}

task<void> workload::attend_report(block::disk& disk, request_record& of, std::uint64_t sector) {
    using descriptor = block::virtio_blk::zone_descriptor;
    block::report_request request =
        disk.report_zones(sector, std::span{reinterpret_cast<descriptor*>(of.buffer), of.bytes / sizeof(descriptor)});
    request.set_stop_token(of.source->get_token());
    const block::zone_report told = co_await request;
    require((told.outcome == status::ok) == !told.zones.empty(), "a report without zones, or zones without a report");
    ended(of, told.outcome);
}

void workload::start_request(block::disk& disk, bool unseen) {
    const unsigned hart = in_.below(harts);
    request_record& it = requests_.records[in_.below(max_requests)];
    if (it.active)
        return;
    const unsigned kind = in_.below(20);
    const std::uint64_t sector = (in_.byte() & 7) != 0 ? in_.byte() : in_.interesting();
    it.has_data = kind < 6 || kind == 14 || kind == 15;
    it.writes = kind % 2 == 1;
    it.bytes = std::size_t{512} * (1 + in_.below(4));
    it.shown = 0;
    it.unseen = unseen || kind == 14; // a report may be shorter than its buffer
    it.check_then = false;
    it.source.emplace();
    for (std::size_t i = 0; i < it.bytes; ++i)
        it.buffer[i] = static_cast<std::byte>(i * 7 + kind);
    if (it.writes && it.has_data)
        std::copy_n(it.buffer, it.bytes, it.then.begin());
    it.active = true;
    ++it.started;
    host_.select_hart(hart);
    auto spawn = [&](task<void> work) {
        require(scopes_[hart]->spawn(std::move(work)), "no memory for a frame");
    };
    switch (kind) {
    case 0:
    case 2:
        spawn(attend(disk, it, [&it, sector](block::disk& d) {
            return d.read(sector, std::span{it.buffer, it.bytes});
        }));
        break;
    case 1:
    case 3:
        spawn(attend(disk, it, [&it, sector](block::disk& d) {
            return d.write(sector, std::span<const std::byte>{it.buffer, it.bytes});
        }));
        break;
    case 4:
    case 5: spawn(attend_scattered(disk, it, sector, static_cast<unsigned>(it.bytes / 512))); break;
    case 6: spawn(attend(disk, it, [](block::disk& d) { return d.flush(); })); break;
    case 7: spawn(attend(disk, it, [sector](block::disk& d) { return d.discard(sector, 8); })); break;
    case 8: spawn(attend(disk, it, [sector](block::disk& d) { return d.write_zeroes(sector, 8); })); break;
    case 9: spawn(attend(disk, it, [&it](block::disk& d) { return d.get_id(it.id); })); break;
    case 10:
        it.ranges = {{{sector, 8}, {sector / 2, 11}, {0, 1}}};
        spawn(attend(disk, it, [&it](block::disk& d) { return d.write_zeroes(it.ranges, block::unmap::permitted); }));
        break;
    case 11:
        it.ranges = {{{sector, 6}, {1, 1}, {sector, 13}}};
        spawn(attend(disk, it, [&it](block::disk& d) { return d.secure_erase(it.ranges); }));
        break;
    case 12: spawn(attend(disk, it, [&it](block::disk& d) { return d.get_lifetime(it.life); })); break;
    case 13: spawn(attend_switch(disk, it, (sector & 1) != 0)); break;
    case 14: spawn(attend_report(disk, it, sector)); break;
    case 15: spawn(attend_append(disk, it, sector & ~std::uint64_t{63})); break;
    case 16:
        spawn(attend(disk, it, [sector](block::disk& d) { return d.open_zone(sector & ~std::uint64_t{63}); }));
        break;
    case 17: spawn(attend(disk, it, [sector](block::disk& d) { return d.finish_zone(sector); })); break;
    case 18: spawn(attend(disk, it, [](block::disk& d) { return d.reset_all_zones(); })); break;
    default:
        spawn(attend(disk, it, [sector](block::disk& d) { return d.reset_zone(sector & ~std::uint64_t{63}); }));
        break;
    }
}

const request_record& workload::start_read(block::disk& disk, std::size_t bytes) {
    request_record& last = requests_.records[0];
    last.has_data = true;
    last.writes = false;
    last.bytes = bytes;
    last.shown = 0;
    last.unseen = false;
    last.source.emplace();
    last.active = true;
    ++last.started;
    host_.select_hart(0);
    const auto read = [&last](block::disk& d) {
        return d.read(0, std::span{last.buffer, last.bytes});
    };
    require(scopes_[0]->spawn(attend(disk, last, read)), "no memory for a frame");
    return last;
}

void workload::check_memory() const {
    for (unsigned i = 0; i <= max_requests; ++i) {
        const std::byte* const zone = buffers_ + i * (buffer_bytes + red_zone);
        require(std::all_of(zone, zone + red_zone, [](std::byte each) { return each == red; }),
                "memory between the buffers was touched");
    }
    for (const request_record& each : requests_.records)
        if ((!each.active && each.check_then) || (each.active && each.has_data && each.writes))
            require(std::equal(each.buffer, each.buffer + each.bytes, each.then.begin()),
                    "a buffer was written that was not to be, or that had been handed back");
}

} // namespace inflight::fuzz
