// Zoned disks against the strict device model: what is accepted of them, every request, what is refused before the device sees
// it, every status, and random work against an oracle of zones.
#include "async/stop_token.hpp"
#include "tests/host/disk_setups.hpp"
#include "tests/host/seed.hpp"

#include <array>
#include <string>
#include <utility>

namespace {

using namespace inflight;
using namespace inflight::test;
using block::append_result;
using block::zone_report;
using block::virtio_blk::zone_descriptor;
using block::virtio_blk::zone_state;
using block::virtio_blk::zone_type;
using model::zone_condition;
using virtio::error;

constexpr std::uint64_t zone_sectors = 256;
constexpr std::uint64_t unit = 8;             // sectors in write_granularity
constexpr std::uint64_t first = 512;          // of the first sequential zone
constexpr std::uint64_t second = 768;         // and of the next one
constexpr std::uint64_t capacity = 8192 + 64; // the last zone is a small one

void host_managed(blk_configuration& c) {
    offer(c, bits::zoned);
    c.zoned_model = model::zoned_model::host_managed;
    c.capacity = capacity;
    c.zoned = {.zone_sectors = zone_sectors,
               .max_open_zones = 3,
               .max_active_zones = 5,
               .max_append_sectors = 64,
               .write_granularity = unit * 512,
               .conventional = 2,
               .unwritable = 16};
}

setup zoned(const std::function<void(blk_configuration&)>& change = {}) {
    return of_version(2, [&](auto& c) {
        host_managed(c);
        if (change)
            change(c);
    });
}

status open(world& w, std::uint64_t zone) {
    return w.await([&] { return w.disk().open_zone(zone); });
}
status close(world& w, std::uint64_t zone) {
    return w.await([&] { return w.disk().close_zone(zone); });
}
status finish(world& w, std::uint64_t zone) {
    return w.await([&] { return w.disk().finish_zone(zone); });
}
status reset(world& w, std::uint64_t zone) {
    return w.await([&] { return w.disk().reset_zone(zone); });
}
status reset_all(world& w) {
    return w.await([&] { return w.disk().reset_all_zones(); });
}
append_result append(world& w, std::uint64_t zone, std::span<const std::byte> from) {
    append_result outcome{status::device_lost, 0};
    auto work = [&]() -> task<void> {
        outcome = co_await w.disk().append(zone, from);
    };
    w.run(work());
    return outcome;
}

// Memory for a report of `zones` zones.
std::span<zone_descriptor> room_for(world& w, std::size_t zones) {
    const auto bytes = w.buffer((zones + 1) * sizeof(zone_descriptor));
    std::memset(bytes.data(), 0xee, bytes.size());
    return {reinterpret_cast<zone_descriptor*>(bytes.data()), zones + 1};
}
zone_report report(world& w, std::uint64_t sector, std::span<zone_descriptor> into) {
    zone_report outcome{status::device_lost, {}};
    auto work = [&]() -> task<void> {
        outcome = co_await w.disk().report_zones(sector, into);
    };
    w.run(work());
    return outcome;
}

// The zone as the device reports it.
zone_descriptor look_at(world& w, std::uint64_t zone) {
    const zone_report told = report(w, zone, room_for(w, 1));
    BOOST_TEST(told.outcome == status::ok);
    BOOST_REQUIRE_EQUAL(told.zones.size(), 1U);
    BOOST_TEST(told.zones[0].z_start == zone);
    return told.zones[0];
}

std::span<std::byte> pattern(world& w, std::uint64_t sectors, std::uint64_t seed) {
    const auto data = w.buffer(static_cast<std::size_t>(sectors * 512));
    fill_pattern(data, seed);
    return data;
}

std::uint64_t requests(world& w) {
    return w.model().total().requests;
}

} // namespace

BOOST_AUTO_TEST_SUITE(zoned_tests)

// ---- negotiation

BOOST_AUTO_TEST_CASE(a_host_managed_disk_is_accepted_with_its_zones) {
    world w{zoned([](auto& c) { offer(c, bits::secure_erase); })};
    w.start_all();
    BOOST_TEST(w.model().accepted(bits::zoned));
    BOOST_TEST(!w.model().accepted(bits::discard)); // BLKZ-02
    BOOST_TEST(!w.model().accepted(bits::write_zeroes));
    const auto& disk = w.disk().properties();
    BOOST_TEST(disk.zone_sectors == zone_sectors);
    BOOST_TEST(disk.max_open_zones == 3U);
    BOOST_TEST(disk.max_active_zones == 5U);
    BOOST_TEST(disk.max_append_sectors == 64U);
    BOOST_TEST(disk.write_granularity == unit * 512);
    BOOST_TEST(disk.max_zone_write_sectors == zone_sectors);
    BOOST_TEST(w.discard(0, 8) == status::unsupported);
    BOOST_TEST(w.write_zeroes(0, 8) == status::unsupported);
    BOOST_TEST(requests(w) == 0U);
}

// BLKZ-01, 03, 06, 07: a device that needs no care is an ordinary disk, whatever else it says of zones.
BOOST_AUTO_TEST_CASE(other_models_are_ordinary_disks) {
    for (const std::uint8_t model : {model::zoned_model::none, model::zoned_model::host_aware})
        for (const bool off : {false, true}) {
            setup s = zoned([&](auto& c) {
                c.zoned_model = model;
                c.capacity = 8192;
                c.zoned.zone_sectors = 7;
            });
            s.disk.features_off = off ? block::virtio_blk::feature::zoned : 0;
            world w{s};
            w.start_all();
            BOOST_TEST(!w.model().accepted(bits::zoned));
            BOOST_TEST(w.model().accepted(bits::discard));
            BOOST_TEST(w.disk().properties().zone_sectors == 0U);
            exercise(w);
            const std::uint64_t before = requests(w);
            BOOST_TEST(open(w, 0) == status::unsupported);
            BOOST_TEST(close(w, 0) == status::unsupported);
            BOOST_TEST(finish(w, 0) == status::unsupported);
            BOOST_TEST(reset(w, 0) == status::unsupported);
            BOOST_TEST(reset_all(w) == status::unsupported);
            BOOST_TEST(append(w, 0, w.buffer(4096)).outcome == status::unsupported);
            BOOST_TEST(report(w, 0, room_for(w, 1)).outcome == status::unsupported);
            BOOST_TEST(requests(w) == before);
        }
}

// Without ZONED, such a device must not keep FEATURES_OK; QEMU's does, and it must not be written to either.
BOOST_AUTO_TEST_CASE(a_host_managed_disk_is_never_an_ordinary_one) {
    for (const bool forgets : {false, true}) {
        setup s = zoned();
        s.disk.features_off = block::virtio_blk::feature::zoned;
        world w{s};
        w.model().behave.forgets_to_refuse_zones = forgets;
        BOOST_TEST(w.start() == error::zoned_not_accepted);
        BOOST_TEST((w.model().status() & model::status_bit::failed) != 0U);
        BOOST_TEST((w.model().status() & model::status_bit::driver_ok) == 0U);
    }
    world old{of_version(1, host_managed)}; // ZONED cannot be negotiated there
    BOOST_TEST(old.start() == error::zoned_not_accepted);
    BOOST_TEST((old.model().status() & model::status_bit::failed) != 0U);
}

BOOST_AUTO_TEST_CASE(zones_that_contradict_themselves_are_refused) {
    const struct {
        const char* what;
        std::function<void(blk_configuration&)> lie;
        error outcome;
    } rows[] = {
        {"no zone_sectors", [](auto& c) { c.zoned.zone_sectors = 0; }, error::zones_unusable},
        {"zone_sectors no multiple of write_granularity", [](auto& c) { c.zoned.zone_sectors = 260; },
         error::zones_unusable},
        {"zone_sectors no multiple of blk_size",
         [](auto& c) {
             c.zoned.zone_sectors = 20;
             c.zoned.write_granularity = 512;
             c.blk_size = 4096;
         },
         error::zones_unusable},
        {"no write_granularity", [](auto& c) { c.zoned.write_granularity = 0; }, error::zones_unusable},
        {"write_granularity below a sector", [](auto& c) { c.zoned.write_granularity = 256; }, error::none},
        {"odd write_granularity", [](auto& c) { c.zoned.write_granularity = 768; }, error::zones_unusable},
        {"huge write_granularity", [](auto& c) { c.zoned.write_granularity = 0x8000'0000; }, error::zones_unusable},
        {"max_append_sectors below write_granularity", [](auto& c) { c.zoned.max_append_sectors = 7; },
         error::zones_unusable},
        {"no append", [](auto& c) { c.zoned.max_append_sectors = 0; }, error::none},
        {"max_append_sectors beyond the zone", [](auto& c) { c.zoned.max_append_sectors = ~0U; }, error::none},
        {"model 3", [](auto& c) { c.zoned_model = 3; }, error::zones_unusable},
        {"model 255", [](auto& c) { c.zoned_model = 255; }, error::zones_unusable},
        {"zones of the size of the disk", [](auto& c) { c.zoned.zone_sectors = 0x8000'0000; }, error::none},
    };
    for (const auto& row : rows)
        BOOST_TEST_CONTEXT(row.what) {
            world w{zoned(row.lie)};
            BOOST_TEST(w.start() == row.outcome);
            if (row.outcome != error::none) {
                BOOST_TEST((w.model().status() & model::status_bit::failed) != 0U);
                BOOST_TEST(std::string{block::describe(row.outcome)}.find("zone") != std::string::npos);
            }
        }
    world w{zoned([](auto& c) { c.zoned.max_append_sectors = 0; })};
    w.start_all();
    BOOST_TEST(append(w, first, w.buffer(4096)).outcome == status::unsupported);
    BOOST_TEST(requests(w) == 0U);
}

// What goes into one request of the device is less than a zone, or not even the smallest write.
BOOST_AUTO_TEST_CASE(limits_of_segments_bound_a_write) {
    const auto segments = [](std::uint32_t size_max, std::uint32_t seg_max, bool indirect = true) {
        return [=](blk_configuration& c) {
            c.size_max = size_max;
            c.seg_max = seg_max;
            offer(c, bits::size_max);
            if (!indirect)
                withdraw(c, bits::indirect_desc);
        };
    };
    const struct {
        std::function<void(blk_configuration&)> limits;
        std::uint32_t write, append;
    } rows[] = {
        {segments(4096, 2), 16, 16}, {segments(4096, 30), 240, 64}, {segments(512, 17), 16, 16},
        {segments(1500, 8), 16, 16}, {segments(300, 16), 8, 8},     {segments(1 << 16, 30, false), 128, 64},
        {segments(512, 7), 0, 0},    {segments(300, 15), 0, 0},
    };
    for (const auto& row : rows) {
        world w{zoned(row.limits)};
        if (row.write == 0) {
            BOOST_TEST(w.start() == error::limits_unusable);
            continue;
        }
        w.start_all();
        BOOST_TEST(w.disk().properties().max_zone_write_sectors == row.write);
        BOOST_TEST(w.disk().properties().max_append_sectors == row.append);
        BOOST_TEST(w.write(first, pattern(w, row.write + unit, 1)) == status::invalid_argument);
        BOOST_TEST(append(w, first, pattern(w, row.append + unit, 1)).outcome == status::invalid_argument);
        BOOST_TEST(requests(w) == 0U);
        const auto data = pattern(w, row.write, 2);
        BOOST_TEST(w.write(first, data) == status::ok);
        BOOST_TEST(requests(w) == 1U);
        BOOST_TEST(same(data, w.on_disk(first, row.write)));
        BOOST_TEST(append(w, second, data.first(row.append * 512)).outcome == status::ok);
        BOOST_TEST(requests(w) == 2U);
        const auto scattered = cut(std::span<const std::byte>{data}, 512); // more segments than fit
        const status outcome = w.await([&] { return w.disk().write(second + 256, scattered); });
        BOOST_TEST(outcome == (row.write > w.disk().properties().seg_max ? status::invalid_argument : status::ok));
    }
}

// ---- requests

BOOST_AUTO_TEST_CASE(a_report_tells_of_every_zone) {
    world w{zoned()};
    w.start_all();
    BOOST_TEST(w.write(first, pattern(w, 16, 1)) == status::ok);
    const std::size_t zones = (capacity + zone_sectors - 1) / zone_sectors;
    for (const std::size_t room : {std::size_t{1}, std::size_t{2}, std::size_t{7}, zones, zones + 5})
        for (const std::uint64_t sector :
             {std::uint64_t{0}, std::uint64_t{1}, first + 255, std::uint64_t{capacity - 1}}) {
            const auto into = room_for(w, room);
            const zone_report told = report(w, sector, into);
            BOOST_TEST(told.outcome == status::ok);
            BOOST_TEST(told.zones.size() == std::min<std::size_t>(room, zones - sector / zone_sectors));
            BOOST_TEST(told.zones.data() == &into[1]);
            for (std::size_t i = 0; i < told.zones.size(); ++i) {
                const zone_descriptor& each = told.zones[i];
                const auto& truth = w.model().zones().all()[sector / zone_sectors + i];
                BOOST_TEST(each.z_start == truth.start);
                BOOST_TEST(each.z_cap == truth.writable_end - truth.start);
                BOOST_TEST((each.z_type ==
                            (truth.conventional ? zone_type::conventional : zone_type::sequential_write_required)));
                BOOST_TEST(static_cast<unsigned>(each.z_state) == static_cast<unsigned>(truth.condition));
                if (!truth.conventional)
                    BOOST_TEST(each.z_wp == truth.pointer);
            }
        }
    BOOST_TEST((look_at(w, first).z_state == zone_state::implicitly_open));
    BOOST_TEST(look_at(w, first).z_wp == first + 16);
    for (const std::size_t room : {std::size_t{0}, std::size_t{1}}) { // no room for a zone
        const std::uint64_t before = requests(w);
        BOOST_TEST(report(w, 0, room_for(w, 1).first(room)).outcome == status::invalid_argument);
        BOOST_TEST(requests(w) == before);
    }
    BOOST_TEST(report(w, capacity, room_for(w, 1)).outcome == status::out_of_range);
    BOOST_TEST(report(w, ~std::uint64_t{0}, room_for(w, 1)).outcome == status::out_of_range);
}

// A buffer in more pieces than the device takes gives a shorter report.
BOOST_AUTO_TEST_CASE(a_report_is_as_long_as_the_limits_allow) {
    setup s = zoned([](auto& c) {
        c.seg_max = 2;
        c.size_max = 512;
        offer(c, bits::size_max);
        c.zoned.write_granularity = 512;
    });
    world w{s};
    w.start_all();
    BOOST_TEST(report(w, 0, room_for(w, 20)).zones.size() == 15U);
    BOOST_TEST(report(w, 15 * zone_sectors, room_for(w, 20)).zones.size() == 15U);
    BOOST_TEST(report(w, 30 * zone_sectors, room_for(w, 20)).zones.size() == 3U);
}

// One segment, and the buffer begins right before the end of a page: QEMU breaks where not even one zone has room.
BOOST_AUTO_TEST_CASE(a_report_that_has_room_for_no_zone_is_not_sent) {
    setup s = zoned([](auto& c) { withdraw(c, bits::indirect_desc); });
    s.bounce_pool = std::size_t{64} << 10;
    world w{s};
    w.start_all();
    std::byte* const page = w.bouncing->unreachable(8192, 4096);
    const auto into_from = [page](std::size_t offset) {
        return std::span{reinterpret_cast<zone_descriptor*>(page + offset), 4};
    };
    BOOST_TEST(report(w, 0, into_from(4096 - 64)).outcome == status::invalid_argument);
    BOOST_TEST(requests(w) == 0U);
    BOOST_TEST(report(w, 0, into_from(4096 - 128)).zones.size() == 1U);
    BOOST_TEST(report(w, 0, into_from(4096 - 192)).zones.size() == 2U);
    BOOST_TEST(report(w, 0, into_from(4096)).zones.size() == 3U);
}

BOOST_AUTO_TEST_CASE(each_request_changes_the_zone_as_it_should) {
    world w{zoned()};
    w.start_all();
    const auto state = [&](std::uint64_t zone) {
        return look_at(w, zone).z_state;
    };
    BOOST_TEST((state(0) == zone_state::not_write_pointer));
    BOOST_TEST((state(first) == zone_state::empty));
    BOOST_TEST(open(w, first) == status::ok);
    BOOST_TEST((state(first) == zone_state::explicitly_open));
    BOOST_TEST(close(w, first) == status::ok); // nothing was written
    BOOST_TEST((state(first) == zone_state::empty));
    const auto data = pattern(w, 16, 3);
    BOOST_TEST(w.write(first, data) == status::ok);
    BOOST_TEST((state(first) == zone_state::implicitly_open));
    BOOST_TEST(close(w, first) == status::ok);
    BOOST_TEST((state(first) == zone_state::closed));
    const append_result appended = append(w, first, data);
    BOOST_TEST(appended.outcome == status::ok);
    BOOST_TEST(appended.sector == first + 16);
    BOOST_TEST(same(data, w.on_disk(first + 16, 16)));
    BOOST_TEST((state(first) == zone_state::implicitly_open));
    BOOST_TEST(open(w, first) == status::ok);
    BOOST_TEST((state(first) == zone_state::explicitly_open));
    BOOST_TEST(finish(w, first) == status::ok);
    BOOST_TEST((state(first) == zone_state::full));
    BOOST_TEST(finish(w, first) == status::ok);
    BOOST_TEST(reset(w, first) == status::ok);
    BOOST_TEST((state(first) == zone_state::empty));
    auto in = w.buffer(16 * 512);
    BOOST_TEST(w.read(first, in) == status::ok);
    BOOST_TEST(std::all_of(in.begin(), in.end(), [](std::byte each) { return each == std::byte{0}; }));
    BOOST_TEST(w.write(first, pattern(w, 240, 4)) == status::ok); // its capacity
    BOOST_TEST((state(first) == zone_state::full));
    BOOST_TEST(w.write(second, data) == status::ok);
    BOOST_TEST(open(w, second + zone_sectors) == status::ok);
    BOOST_TEST(reset_all(w) == status::ok);
    for (const auto& each : w.model().zones().all())
        BOOST_TEST((each.conventional || each.condition == zone_condition::empty));
    const auto anywhere = pattern(w, 24, 5); // in a conventional zone
    BOOST_TEST(w.write(120, anywhere) == status::ok);
    BOOST_TEST(w.write(96, anywhere) == status::ok);
    BOOST_TEST(same(anywhere, w.on_disk(96, 24)));
}

BOOST_AUTO_TEST_CASE(a_secure_erase_resets_whole_zones) {
    world w{zoned([](auto& c) {
        offer(c, bits::secure_erase);
        c.max_secure_erase_sectors = 700;
        c.secure_erase_sector_alignment = 8; // it lies: must be a multiple of zone_sectors
        c.max_secure_erase_seg = 4;
    })};
    w.start_all();
    BOOST_TEST(w.disk().properties().max_secure_erase_sectors == 512U);
    const auto erase = [&](std::uint64_t sector, std::uint64_t sectors) {
        return w.await([&] { return w.disk().secure_erase(sector, sectors); });
    };
    BOOST_TEST(w.write(first, pattern(w, 16, 1)) == status::ok);
    BOOST_TEST(w.write(second, pattern(w, 16, 2)) == status::ok);
    const std::uint64_t before = requests(w);
    BOOST_TEST(erase(first, 255) == status::invalid_argument);
    BOOST_TEST(erase(first + 8, 256) == status::invalid_argument);
    const std::array<block::sector_range, 2> ranges{{{first, 256}, {second, 128}}};
    BOOST_TEST(w.await([&] { return w.disk().secure_erase(ranges); }) == status::invalid_argument);
    BOOST_TEST(requests(w) == before);
    BOOST_TEST(erase(first, 6 * zone_sectors) == status::ok);
    BOOST_TEST((w.model().zones().at(first).condition == zone_condition::empty));
    BOOST_TEST((w.model().zones().at(second).condition == zone_condition::empty));
}

// With every ring, and with buffers that devices do not reach.
BOOST_AUTO_TEST_CASE(every_ring_carries_every_request) {
    for (const bool packed : {false, true})
        for (const bool indirect : {false, true})
            for (const std::uint32_t ring : {4U, 256U, 512U})
                for (const bool bounces : {false, true}) {
                    setup s = zoned([&](auto& c) {
                        c.queue_size_max = ring;
                        c.superfluous_permitted = 0;
                        if (packed)
                            offer(c, bits::ring_packed);
                        if (!indirect)
                            withdraw(c, bits::indirect_desc);
                    });
                    if (bounces)
                        s.bounce_pool = std::size_t{64} << 10;
                    world w{s};
                    w.start_all();
                    // A page, which is one segment even where devices reach no buffer.
                    const std::span data{bounces ? w.bouncing->unreachable(4096, 4096) : w.host.allocate(4096, 4096),
                                         4096};
                    fill_pattern(data, 7);
                    for (unsigned lap = 0; lap < 5; ++lap) { // slots change their shapes
                        BOOST_TEST(w.write(first, data) == status::ok);
                        const append_result appended = append(w, first, data);
                        BOOST_TEST(appended.outcome == status::ok);
                        BOOST_TEST(appended.sector == first + 8);
                        BOOST_TEST(look_at(w, first).z_wp == first + 16);
                        auto in = w.buffer(4096);
                        BOOST_TEST(w.read(first + 8, in) == status::ok);
                        BOOST_TEST(same(in, data));
                        block::virtio_blk::id_string id{};
                        BOOST_TEST(w.await([&] { return w.disk().get_id(id); }) == status::ok);
                        BOOST_TEST(std::string{id.data()} == "inflight-model");
                        BOOST_TEST(w.flush() == status::ok);
                        BOOST_TEST(close(w, first) == status::ok);
                        BOOST_TEST(open(w, first) == status::ok);
                        BOOST_TEST(finish(w, first) == status::ok);
                        BOOST_TEST(reset(w, first) == status::ok);
                        BOOST_TEST(reset_all(w) == status::ok);
                    }
                }
}

// ---- rules

BOOST_AUTO_TEST_CASE(a_request_against_the_rules_is_refused_before_the_device_sees_it) {
    world w{zoned()};
    w.start_all();
    const auto data = [&](std::uint64_t sectors) {
        return pattern(w, sectors, 1);
    };
    // BLKZ-17, 18, 19: size, place, and end of a write
    BOOST_TEST(w.write(first, data(1)) == status::invalid_argument);
    BOOST_TEST(w.write(first, data(7)) == status::invalid_argument);
    BOOST_TEST(w.write(first + 4, data(8)) == status::invalid_argument);
    BOOST_TEST(w.write(first + 248, data(16)) == status::invalid_argument);
    BOOST_TEST(w.write(0, data(264)) == status::invalid_argument);
    BOOST_TEST(w.write(248, data(16)) == status::invalid_argument); // conventional zones, too
    const std::vector<std::span<const std::byte>> parts{data(4), data(3)};
    BOOST_TEST(w.await([&] { return w.disk().write(first, parts); }) == status::invalid_argument);
    BOOST_TEST(w.write(capacity, data(8)) == status::out_of_range);
    BOOST_TEST(w.write(capacity - 8, data(16)) == status::out_of_range);
    // BLKZ-13, 14, 15: appends
    BOOST_TEST(append(w, first + 8, data(8)).outcome == status::invalid_argument);
    BOOST_TEST(append(w, first, data(0)).outcome == status::invalid_argument);
    BOOST_TEST(append(w, first, data(4)).outcome == status::invalid_argument);
    BOOST_TEST(append(w, first, data(72)).outcome == status::invalid_argument);
    BOOST_TEST(append(w, first, data(8).first(4095)).outcome == status::invalid_argument);
    BOOST_TEST(append(w, capacity - capacity % zone_sectors, data(72)).outcome == status::out_of_range);
    BOOST_TEST(append(w, capacity - capacity % zone_sectors + zone_sectors, data(8)).outcome == status::out_of_range);
    // BLKZ-11: what acts on a zone
    for (const auto act : {open, close, finish, reset}) {
        BOOST_TEST(act(w, first + 8) == status::invalid_argument);
        BOOST_TEST(act(w, first - 1) == status::invalid_argument);
        BOOST_TEST(act(w, capacity - capacity % zone_sectors + zone_sectors) == status::out_of_range);
        BOOST_TEST(act(w, std::uint64_t{1} << 63) == status::out_of_range);
    }
    BOOST_TEST(requests(w) == 0U);
}

BOOST_AUTO_TEST_CASE(a_read_only_zoned_disk_only_reports_and_reads) {
    world w{zoned([](auto& c) { offer(c, bits::read_only); })};
    w.start_all();
    for (const auto act : {open, close, finish, reset})
        BOOST_TEST(act(w, first) == status::read_only);
    BOOST_TEST(reset_all(w) == status::read_only);
    BOOST_TEST(append(w, first, w.buffer(4096)).outcome == status::read_only);
    BOOST_TEST(w.write(first, w.buffer(4096)) == status::read_only);
    BOOST_TEST(requests(w) == 0U);
    BOOST_TEST(report(w, 0, room_for(w, 4)).zones.size() == 4U);
    auto in = w.buffer(512);
    BOOST_TEST(w.read(first, in) == status::ok);
    BOOST_TEST(same(in, w.on_disk(first, 1)));
}

// The device refuses a read that goes from zone to zone.
BOOST_AUTO_TEST_CASE(a_read_is_cut_where_a_zone_ends) {
    for (const std::uint32_t block : {512U, 4096U})
        for (const std::uint64_t zone : {std::uint64_t{256}, std::uint64_t{24}, std::uint64_t{8}}) {
            setup s = zoned([&](auto& c) {
                c.blk_size = block;
                c.zoned.zone_sectors = static_cast<std::uint32_t>(zone);
                c.zoned.unwritable = 0;
                c.zoned.max_append_sectors = 8;
            });
            s.machine.memory_bytes = std::size_t{32} << 20;
            world w{s};
            w.start_all();
            const std::uint64_t step = block / 512;
            for (const std::uint64_t sectors :
                 {std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{3}, std::uint64_t{70}})
                for (std::uint64_t sector = 500 - 500 % step; sector < 540; sector += step) {
                    auto in = w.buffer(static_cast<std::size_t>(sectors * block));
                    BOOST_TEST(w.read(sector, in) == status::ok);
                    BOOST_TEST(same(in, w.on_disk(sector, sectors * step)));
                }
            auto all = w.buffer(static_cast<std::size_t>(capacity * 512));
            BOOST_TEST(w.read(0, all) == status::ok);
            BOOST_TEST(same(all, w.on_disk(0, capacity)));
            const auto into = cut(all, block);
            BOOST_TEST(w.await([&] { return w.disk().read(0, into); }) == status::ok);
        }
}

// ---- statuses

BOOST_AUTO_TEST_CASE(the_device_says_what_the_state_of_a_zone_does_not_allow) {
    world w{zoned([](auto& c) { c.zoned.closes_implicitly = false; })};
    w.start_all();
    const auto data = pattern(w, 8, 1);
    BOOST_TEST(w.write(first + 8, data) == status::zone_unaligned_write_pointer);
    BOOST_TEST(w.write(first, data) == status::ok);
    BOOST_TEST(w.write(first, data) == status::zone_unaligned_write_pointer);
    BOOST_TEST(w.write(second, pattern(w, 240, 2)) == status::ok);
    BOOST_TEST(w.write(second + 240, data) == status::zone_invalid_command); // beyond the capacity
    BOOST_TEST(append(w, second, data).outcome == status::zone_invalid_command);
    BOOST_TEST(open(w, second) == status::zone_invalid_command);
    for (const auto act : {open, close, finish, reset})
        BOOST_TEST(act(w, 0) == status::zone_invalid_command); // conventional
    BOOST_TEST(append(w, 0, data).outcome == status::zone_invalid_command);

    const auto zone = [](std::uint64_t number) {
        return number * zone_sectors;
    };
    BOOST_TEST(open(w, zone(4)) == status::ok);
    BOOST_TEST(open(w, zone(5)) == status::ok); // with the first one, three
    BOOST_TEST(open(w, zone(6)) == status::zone_open_resource);
    BOOST_TEST(w.write(zone(6), data) == status::zone_open_resource);
    BOOST_TEST(append(w, zone(6), data).outcome == status::zone_open_resource);
    BOOST_TEST(close(w, first) == status::ok);
    BOOST_TEST(w.write(zone(6), data) == status::ok);
    BOOST_TEST(close(w, zone(6)) == status::ok);
    BOOST_TEST(w.write(zone(7), data) == status::ok);
    BOOST_TEST(open(w, zone(8)) == status::zone_active_resource);
    BOOST_TEST(append(w, zone(8), data).outcome == status::zone_active_resource);

    w.model().zones().at(zone(9)).condition = zone_condition::read_only;
    w.model().zones().at(zone(10)).condition = zone_condition::offline;
    BOOST_TEST(w.write(zone(9), data) == status::zone_invalid_command);
    BOOST_TEST(reset(w, zone(9)) == status::zone_invalid_command);
    auto in = w.buffer(4096);
    BOOST_TEST(w.read(zone(9), in) == status::ok);
    BOOST_TEST(w.read(zone(10), in) == status::zone_invalid_command);
    BOOST_TEST((look_at(w, zone(9)).z_state == zone_state::read_only));
    BOOST_TEST((look_at(w, zone(10)).z_state == zone_state::offline));
}

BOOST_AUTO_TEST_CASE(every_status_byte_has_its_meaning_with_zones) {
    world w{zoned()};
    w.start_all();
    const auto data = pattern(w, 8, 1);
    for (unsigned byte = 1; byte < 256; ++byte) {
        w.model().behave.status_for = [byte](const auto&) {
            return static_cast<std::uint8_t>(byte);
        };
        constexpr status known[] = {status::ok,
                                    status::io_error,
                                    status::unsupported,
                                    status::zone_invalid_command,
                                    status::zone_unaligned_write_pointer,
                                    status::zone_open_resource,
                                    status::zone_active_resource};
        const status expected = byte < std::size(known) ? known[byte] : status::device_error;
        BOOST_TEST(w.write(first, data) == expected);
        BOOST_TEST(append(w, first, data).outcome == expected);
        BOOST_TEST(open(w, first) == expected);
        BOOST_TEST(reset_all(w) == expected);
        BOOST_TEST(report(w, 0, room_for(w, 1)).outcome == expected);
    }
    for (const status each : {status::zone_invalid_command, status::zone_unaligned_write_pointer,
                              status::zone_open_resource, status::zone_active_resource})
        BOOST_TEST(std::string{block::to_string(each)}.starts_with("zone_"));
}

// ---- answers

BOOST_AUTO_TEST_CASE(an_answer_that_is_not_credible_is_an_error) {
    const block::disk_properties limits = [] {
        block::disk_properties known{};
        known.zone_sectors = 256;
        known.capacity = 1000; // the last zone is a small one
        return known;
    }();
    BOOST_TEST(block::check_append(256, 8, 256, limits).sector == 256U);
    BOOST_TEST(block::check_append(256, 8, 504, limits).sector == 504U);
    for (const std::uint64_t sector : {std::uint64_t{255}, std::uint64_t{505}, std::uint64_t{512}, ~std::uint64_t{0}})
        BOOST_TEST(block::check_append(256, 8, sector, limits).outcome == status::device_error);

    std::array<zone_descriptor, 4> buffer{};
    const auto count = [&](std::uint64_t zones) {
        std::memcpy(buffer.data(), &zones, sizeof zones);
    };
    const auto zone = [](std::uint64_t start, zone_type type, zone_state state, std::uint64_t pointer) {
        zone_descriptor each{};
        each.z_cap = 240;
        each.z_start = start;
        each.z_wp = pointer;
        each.z_type = type;
        each.z_state = state;
        return each;
    };
    constexpr zone_type swr = zone_type::sequential_write_required;
    const auto right = [&] {
        buffer[1] = zone(256, zone_type::conventional, zone_state::not_write_pointer, ~std::uint64_t{0});
        buffer[2] = zone(512, swr, zone_state::implicitly_open, 520);
        buffer[3] = zone(768, swr, zone_state::full, ~std::uint64_t{0});
        count(3);
    };
    const auto outcome = [&] {
        return block::check_report(300, buffer, limits).outcome;
    };
    right();
    BOOST_TEST(outcome() == status::ok);
    BOOST_TEST(block::check_report(300, buffer, limits).zones.size() == 3U);
    const std::vector<std::function<void()>> lies = {
        [&] { count(0); },
        [&] { count(4); },
        [&] { count(~std::uint64_t{0}); },
        [&] { buffer[1].z_start = 0; },
        [&] { buffer[2].z_start = 513; },
        [&] { buffer[3].z_start = 1024; },
        [&] { buffer[2].z_cap = 257; },
        [&] { buffer[2].z_cap = 7; }, // behind the write pointer
        [&] { buffer[2].z_wp = 511; },
        [&] { buffer[2].z_wp = 753; },
        [&] { buffer[2].z_state = zone_state::empty; }, // and written
        [&] { buffer[2].z_state = zone_state::not_write_pointer; },
        [&] { buffer[1].z_state = zone_state::empty; },
        [&] { buffer[2].z_state = static_cast<zone_state>(5); },
        [&] { buffer[2].z_type = static_cast<zone_type>(0); },
        [&] { buffer[2].z_type = static_cast<zone_type>(4); },
    };
    for (std::size_t i = 0; i < lies.size(); ++i)
        BOOST_TEST_CONTEXT("lie " << i) {
            right();
            lies[i]();
            BOOST_TEST(outcome() == status::device_error);
            BOOST_TEST(block::check_report(300, buffer, limits).zones.empty());
        }
    for (const zone_state state :
         {zone_state::closed, zone_state::explicitly_open, zone_state::read_only, zone_state::offline}) {
        right();
        buffer[2].z_state = state;
        BOOST_TEST(outcome() == status::ok);
    }
    right();
    BOOST_TEST(block::check_report(1000, buffer, limits).outcome == status::device_error); // no such zone

    world w{zoned()};
    w.start_all();
    for (unsigned i = 0; i < 10; ++i) {
        w.model().inject(fault::wrong_data);
        BOOST_TEST(append(w, first, pattern(w, 8, i)).outcome == status::device_error);
        w.model().inject(fault::wrong_data);
        BOOST_TEST(report(w, 0, room_for(w, 8)).outcome == status::device_error);
    }
}

// A device that says ok and has done nothing; where it should have written, an earlier answer lies.
BOOST_AUTO_TEST_CASE(an_earlier_answer_is_not_taken_for_another) {
    world w{zoned([](auto& c) { c.queue_size_max = 4; })};
    w.start_all();
    const auto into = room_for(w, 8);
    for (unsigned i = 0; i < 10; ++i) {
        BOOST_TEST(append(w, first, pattern(w, 8, i)).outcome == status::ok);
        BOOST_TEST(report(w, 0, into).outcome == status::ok);
    }
    w.model().behave.status_for = [](const auto&) -> std::uint8_t {
        return 0;
    };
    for (unsigned i = 0; i < 10; ++i) {
        BOOST_TEST(append(w, first, pattern(w, 8, i)).outcome == status::device_error);
        BOOST_TEST(report(w, 0, into).outcome == status::device_error);
    }
}

// ---- time, resets, and company

BOOST_AUTO_TEST_CASE(many_appends_at_once_find_places_of_their_own) {
    for (const unsigned queues : {1U, 3U}) {
        world w{zoned([&](auto& c) {
            c.queues = queues;
            c.queue_size_max = 16;
        })};
        w.start_all();
        w.model().behave.random_order = true;
        w.model().behave.latency_max = 500;
        std::vector<bool> taken(zone_sectors / unit);
        auto work = [&](unsigned number) -> task<void> {
            const auto data = pattern(w, unit, number);
            const append_result appended = co_await w.disk().append(first, data);
            BOOST_TEST(appended.outcome == status::ok);
            BOOST_TEST(same(data, w.on_disk(appended.sector, unit)));
            const std::size_t place = (appended.sector - first) / unit;
            BOOST_TEST(!taken.at(place));
            taken.at(place) = true;
        };
        for (unsigned number = 0; number < 30; ++number)
            w.spawn(work(number));
        w.finish();
        BOOST_TEST((w.model().zones().at(first).condition == zone_condition::full));
    }
}

// What may have been done is not done again. What changes nothing is.
BOOST_AUTO_TEST_CASE(after_a_reset_no_zone_is_changed_twice) {
    unsigned done = 0, not_done = 0;
    for (unsigned seed = 0; seed < 40; ++seed) {
        setup s = zoned();
        s.machine.seed = 100 + seed;
        world w{s};
        w.start_all();
        w.model().behave.hold = true;
        const auto data = pattern(w, unit, 1);
        const auto in = w.buffer(512);
        const auto into = room_for(w, 4);
        unsigned ends = 0;
        auto change = [&](unsigned what) -> task<void> {
            status outcome = status::ok;
            switch (what) {
            case 0: outcome = (co_await w.disk().append(first, data)).outcome; break;
            case 1: outcome = co_await w.disk().write(second, data); break;
            case 2: outcome = co_await w.disk().open_zone(4 * zone_sectors); break;
            case 3: outcome = co_await w.disk().close_zone(5 * zone_sectors); break;
            case 4: outcome = co_await w.disk().finish_zone(6 * zone_sectors); break;
            default: outcome = co_await w.disk().reset_zone(7 * zone_sectors); break;
            }
            BOOST_TEST(outcome == status::device_reset);
            ++ends;
        };
        auto reads = [&]() -> task<void> {
            BOOST_TEST((co_await w.disk().read(0, in)) == status::ok);
            ++ends;
        };
        auto reports = [&]() -> task<void> {
            const zone_report told = co_await w.disk().report_zones(0, into);
            BOOST_TEST(told.outcome == status::ok);
            ++ends;
        };
        for (unsigned what = 0; what < 6; ++what)
            w.spawn(change(what));
        w.spawn(reads());
        w.spawn(reports());
        w.run_until([&] { return w.model().in_flight() == 8; });
        w.model().raise_needs_reset();
        w.model().behave.hold = false;
        w.finish();
        BOOST_TEST(ends == 8U);
        BOOST_TEST(requests(w) == 10U);
        const std::uint64_t wp = look_at(w, first).z_wp - first;
        BOOST_TEST((wp == 0 || wp == unit)); // never twice
        ++(wp == 0 ? not_done : done);
        BOOST_TEST(w.disk().count().resets == 1U);
    }
    BOOST_TEST(done > 5U);
    BOOST_TEST(not_done > 5U);
}

BOOST_AUTO_TEST_CASE(an_append_that_waits_is_not_lost_by_a_reset) {
    setup s = zoned([](auto& c) { c.queue_size_max = 4; });
    world w{s};
    w.start_all();
    w.model().behave.hold = true;
    unsigned ok = 0, reset_ones = 0;
    auto work = [&](unsigned number) -> task<void> {
        const append_result appended = co_await w.disk().append(first, pattern(w, unit, number));
        if (appended.outcome == status::ok)
            ++ok;
        else
            BOOST_TEST(appended.outcome == status::device_reset);
        reset_ones += appended.outcome == status::device_reset ? 1 : 0;
    };
    for (unsigned number = 0; number < 20; ++number)
        w.spawn(work(number));
    w.run_until([&] { return w.model().in_flight() == 4; });
    w.model().raise_needs_reset();
    w.model().behave.hold = false;
    w.finish();
    BOOST_TEST(reset_ones == 4U);
    BOOST_TEST(ok == 16U);
    const std::uint64_t written = (look_at(w, first).z_wp - first) / unit;
    BOOST_TEST(written >= 16U);
    BOOST_TEST(written <= 20U);
}

BOOST_AUTO_TEST_CASE(an_append_has_time_limits_and_can_be_stopped) {
    world w{zoned([](auto& c) { c.queue_size_max = 4; })};
    w.start_all();
    async::stop_source stop;
    w.model().behave.never_complete = [](const auto& request) {
        return request.number == 0;
    };
    auto late = [&]() -> task<void> {
        auto request = w.disk().append(first, pattern(w, unit, 1));
        request.set_timeout(arch::ticks_per_second() / 100);
        const append_result outcome = co_await request;
        BOOST_TEST(outcome.outcome == status::timed_out);
    };
    w.run(late());
    BOOST_TEST(w.disk().count().resets == 1U);
    w.model().behave.never_complete = {};
    w.model().behave.hold = true;
    auto fills = [&](unsigned number) -> task<void> {
        BOOST_TEST((co_await w.disk().append(second, pattern(w, unit, number))).outcome == status::ok);
    };
    auto stopped = [&]() -> task<void> {
        auto request = w.disk().append(second, pattern(w, unit, 9));
        request.set_stop_token(stop.get_token());
        BOOST_TEST((co_await request).outcome == status::cancelled);
    };
    for (unsigned number = 0; number < 4; ++number)
        w.spawn(fills(number));
    w.spawn(stopped());
    w.run_until([&] { return w.model().in_flight() == 4; });
    stop.request_stop();
    w.model().behave.hold = false;
    w.model().release();
    w.finish();
    BOOST_TEST(look_at(w, second).z_wp == second + 4 * unit);
}

// Each worker has zones of its own, and knows what must be in them. The device is reset now and then.
BOOST_AUTO_TEST_CASE(random_work_on_zones_comes_out_right) {
    std::uint64_t total = 0, resets = 0;
    std::array<std::uint64_t, 32> seen{};
    for (std::uint64_t seed = 1; seed <= 60; ++seed)
        BOOST_TEST_CONTEXT("seed " << seed) {
            auto dice = inflight::tests::chance(seed);
            const auto roll = [&dice](std::uint64_t sides) {
                return inflight::tests::pick<std::uint64_t>(dice, 0, sides - 1);
            };
            setup s = zoned([&](auto& c) {
                c.queues = static_cast<unsigned>(1 + roll(3));
                c.queue_size_max = 4U << roll(6);
                c.blk_size = roll(2) == 0 ? 512 : 4096;
                c.zoned.max_open_zones = static_cast<std::uint32_t>(roll(5));
                c.zoned.max_active_zones = static_cast<std::uint32_t>(roll(8));
                c.zoned.closes_implicitly = roll(2) == 0;
                c.zoned.unwritable = 8 * roll(5);
                c.zoned.conventional = 0;
                if (roll(2) == 0)
                    offer(c, bits::ring_packed);
                if (roll(3) == 0)
                    withdraw(c, bits::indirect_desc);
            });
            s.machine.seed = seed;
            world w{s};
            w.start_all();
            w.model().behave.random_order = roll(2) == 0;
            w.model().behave.latency_max = 50 + roll(500);
            const bool with_resets = roll(2) == 0;
            const std::uint64_t writable = zone_sectors - s.disks[0].zoned.unwritable;

            struct account {
                account() = default; // not an aggregate: see coroutine.hpp
                std::uint64_t start = 0;
                std::uint64_t pointer = 0; // within the zone
                bool full = false;
                std::vector<std::byte> bytes = std::vector<std::byte>(zone_sectors * 512);
            };
            std::vector<account> accounts(8);
            for (std::size_t i = 0; i < accounts.size(); ++i)
                accounts[i].start = i * zone_sectors;

            auto worker = [&](account& own) -> task<void> {
                const auto buffer = w.buffer(64 * 512);
                const auto into = room_for(w, 1);
                const auto in = w.buffer(static_cast<std::size_t>(zone_sectors * 512));
                const auto wrote = [&](std::uint64_t sectors) {
                    std::memcpy(own.bytes.data() + own.pointer * 512, buffer.data(), sectors * 512);
                    own.pointer += sectors;
                    own.full = own.pointer == writable;
                };
                const auto emptied = [&] {
                    own.pointer = 0;
                    own.full = false;
                    std::fill(own.bytes.begin(), own.bytes.end(), std::byte{0});
                };
                for (unsigned step = 0; step < 40; ++step) {
                    ++total;
                    const std::uint64_t sectors = unit * (1 + roll(8));
                    const auto data = buffer.first(static_cast<std::size_t>(sectors * 512));
                    const bool fits = !own.full && own.pointer + sectors <= writable;
                    const std::uint64_t what = roll(8);
                    status outcome = status::ok;
                    const std::uint64_t before = own.pointer;
                    fill_pattern(data, seed * 1000 + own.start + step);
                    switch (what) {
                    case 0:
                    case 1: {
                        const append_result appended = co_await w.disk().append(own.start, data);
                        outcome = appended.outcome;
                        if (outcome == status::ok) {
                            BOOST_TEST(fits);
                            BOOST_TEST(appended.sector == own.start + own.pointer);
                            wrote(sectors);
                        } else if (outcome == status::zone_invalid_command) {
                            BOOST_TEST(!fits);
                        }
                        break;
                    }
                    case 2:
                    case 3:
                        if (own.pointer + sectors > zone_sectors)
                            continue;
                        outcome = co_await w.disk().write(own.start + own.pointer, data);
                        if (outcome == status::ok) {
                            BOOST_TEST(fits);
                            wrote(sectors);
                        } else if (outcome == status::zone_invalid_command) {
                            BOOST_TEST(!fits);
                        }
                        break;
                    case 4:
                        outcome = co_await w.disk().reset_zone(own.start);
                        if (outcome == status::ok)
                            emptied();
                        break;
                    case 5:
                        outcome = co_await w.disk().finish_zone(own.start);
                        if (outcome == status::ok)
                            own.full = true;
                        break;
                    case 6:
                        outcome = roll(2) == 0 ? co_await w.disk().open_zone(own.start)
                                               : co_await w.disk().close_zone(own.start);
                        break;
                    default:
                        outcome = co_await w.disk().read(own.start, in);
                        BOOST_TEST(outcome == status::ok);
                        BOOST_TEST(same(std::span{in}.first(own.pointer * 512),
                                        std::span{own.bytes}.first(own.pointer * 512)));
                    }
                    ++seen.at(static_cast<std::size_t>(outcome));
                    if (outcome == status::device_reset) { // done, or not done
                        const zone_report told = co_await w.disk().report_zones(own.start, into);
                        BOOST_TEST(told.outcome == status::ok);
                        if (told.zones.empty())
                            co_return;
                        const zone_descriptor& zone = told.zones[0];
                        if (zone.z_state == zone_state::full) {
                            if (what < 4 && fits && before + sectors == writable)
                                wrote(sectors);
                            own.full = true;
                        } else if (what == 4) {
                            BOOST_TEST((zone.z_wp == own.start || zone.z_wp == own.start + own.pointer));
                            if (zone.z_wp == own.start)
                                emptied();
                        } else {
                            const std::uint64_t now = zone.z_wp - own.start;
                            BOOST_TEST((now == before || (what < 4 && now == before + sectors)));
                            if (now == before + sectors)
                                wrote(sectors);
                            BOOST_TEST(own.pointer == now);
                        }
                    }
                }
            };
            for (account& each : accounts)
                w.spawn(worker(each));
            while (with_resets && w.scope.size() != 0) {
                const ticks then = w.host.time() + 300 + roll(5'000);
                w.run_until([&] { return w.scope.size() == 0 || w.host.time() >= then; });
                if (w.scope.size() != 0)
                    w.model().raise_needs_reset();
            }
            w.finish();
            resets += w.disk().count().resets;
            for (const account& each : accounts)
                BOOST_TEST(same(std::span{each.bytes}.first(each.pointer * 512), w.on_disk(each.start, each.pointer)));
        }
    BOOST_TEST(total > 10'000U);
    BOOST_TEST(resets > 50U);
    for (const status each : {status::ok, status::zone_invalid_command, status::zone_open_resource,
                              status::zone_active_resource, status::device_reset})
        BOOST_TEST(seen.at(static_cast<std::size_t>(each)) > 20U, block::to_string(each));
}

BOOST_AUTO_TEST_SUITE_END()
