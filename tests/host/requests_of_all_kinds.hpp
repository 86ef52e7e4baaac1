// One request of every kind, each with sectors of its own, and what is to be known of how it ended.
#pragma once

#include "tests/host/driver_fixture.hpp"

#include <cstdlib>
#include <optional>

namespace inflight::test {

enum class kind : unsigned {
    read,
    write,
    scattered_read,
    scattered_write,
    flush,
    discard,
    write_zeroes,
    get_id,
    // not of every device
    zero_ranges,
    erase_ranges,
    get_lifetime,
};
inline constexpr const char* kind_names[] = {"read",        "write",        "scattered read", "scattered write",
                                             "flush",       "discard",      "write zeroes",   "get_id",
                                             "zero ranges", "erase ranges", "get lifetime"};
inline constexpr unsigned kinds = 8; // of every usual device
inline constexpr unsigned all_kinds = 11;

// Requests of every kind, each with sectors of its own.
class requests_of_all_kinds {
  public:
    struct guest {
        guest() = default; // not an aggregate: see coroutine.hpp
        kind what = kind::read;
        std::uint64_t sector = 0;
        std::span<std::byte> memory;
        std::vector<std::span<std::byte>> into;
        std::vector<std::span<const std::byte>> from;
        block::virtio_blk::id_string id{};
        std::array<block::sector_range, 3> ranges{};
        block::virtio_blk::lifetime life{};
        std::optional<status> outcome;
        unsigned ends = 0;
        ticks began = 0, ended = 0;
        bool right = false;
    };

    explicit requests_of_all_kinds(world& w) : world_{w} {}

    guest& start(kind what) {
        guest& each = *all.emplace_back(std::make_unique<guest>());
        each.what = what;
        each.sector = next_sector_;
        next_sector_ += sectors;
        each.memory = world_.buffer(sectors * 512);
        fill_pattern(each.memory, each.sector + 1);
        each.into = cut(each.memory, 512);
        each.from = cut(std::span<const std::byte>{each.memory}, 512);
        each.ranges = {{{each.sector, 4}, {each.sector + 4, 1}, {each.sector + 5, 5}}};
        world_.spawn(attend(each));
        return each;
    }

    // One of each kind that the device can do.
    void start_all() {
        for (unsigned i = 0; i < kinds; ++i)
            start(kind{i});
        const model::virtio_blk_model& device = world_.model();
        if (device.accepted(model::feature::write_zeroes))
            start(kind::zero_ranges);
        if (device.accepted(model::feature::secure_erase))
            start(kind::erase_ranges);
        if (device.accepted(model::feature::lifetime))
            start(kind::get_lifetime);
    }

    // All have ended once, like this; if well, each has done what it was to do.
    void check(status expected) const {
        for (const auto& each : all) {
            if (expected == status::ok) {
                check_ok(*each);
                continue;
            }
            BOOST_TEST_CONTEXT(kind_names[static_cast<unsigned>(each->what)] << " at sector " << each->sector) {
                BOOST_TEST(each->ends == 1U);
                BOOST_TEST((each->outcome == expected));
            }
        }
    }

    // Ended once, well, and what it has done is what it was to do.
    static void check_ok(const guest& each) {
        BOOST_TEST_CONTEXT(kind_names[static_cast<unsigned>(each.what)] << " at sector " << each.sector) {
            BOOST_TEST(each.ends == 1U);
            BOOST_TEST((each.outcome == status::ok), block::to_string(each.outcome.value_or(status::device_lost)));
            BOOST_TEST(each.right);
        }
    }

    static constexpr std::uint64_t sectors = 10;
    std::vector<std::unique_ptr<guest>> all;

  private:
    block::request make(guest& each) {
        block::disk& disk = world_.disk();
        switch (each.what) {
        case kind::read: return disk.read(each.sector, each.memory);
        case kind::write: return disk.write(each.sector, each.memory);
        case kind::scattered_read: return disk.read(each.sector, each.into);
        case kind::scattered_write: return disk.write(each.sector, each.from);
        case kind::flush: return disk.flush();
        case kind::discard: return disk.discard(each.sector, sectors);
        case kind::write_zeroes: return disk.write_zeroes(each.sector, sectors);
        case kind::get_id: return disk.get_id(each.id);
        case kind::zero_ranges: return disk.write_zeroes(each.ranges, block::unmap::permitted);
        case kind::erase_ranges: return disk.secure_erase(each.ranges);
        case kind::get_lifetime: return disk.get_lifetime(each.life);
        }
        std::abort();
    }

    task<void> attend(guest& each) {
        each.began = world_.host.time();
        each.outcome = co_await make(each);
        each.ended = world_.host.time();
        ++each.ends;
        const auto disk = world_.on_disk(each.sector, sectors);
        switch (each.what) {
        case kind::read:
        case kind::write:
        case kind::scattered_read:
        case kind::scattered_write: each.right = same(each.memory, disk); break;
        case kind::write_zeroes:
        case kind::zero_ranges:
            each.right = std::all_of(disk.begin(), disk.end(), [](std::byte b) { return b == std::byte{0}; });
            break;
        case kind::get_id: each.right = std::string{each.id.data()} == world_.model().configuration().identifier; break;
        case kind::get_lifetime:
            each.right = each.life.pre_eol_info == 1 && each.life.device_lifetime_est_typ_a == 2 &&
                         each.life.device_lifetime_est_typ_b == 3;
            break;
        default: each.right = true;
        }
    }

    world& world_;
    std::uint64_t next_sector_ = 0;
};

} // namespace inflight::test
