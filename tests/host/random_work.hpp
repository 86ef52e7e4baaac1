// Random work on random devices. Each worker owns a region of the disk, and an account is kept of what must be there,
// so that requests in flight never overlap and every byte that is read has one right value.
#pragma once

#include "tests/host/driver_fixture.hpp"

#include <cstdio>
#include <random>

namespace inflight::test {

namespace bits = model::feature;

class random_work {
  public:
    // With `bounces`, devices reach buffers through a small pool only, and buffers lie anywhere.
    // `change` is applied to the setup that was drawn.
    random_work(std::uint64_t seed, bool verbose, bool bounces = false, std::function<void(setup&)> change = {})
        : seed_{seed}, verbose_{verbose}, bounces_{bounces}, change_{std::move(change)}, random_{seed} {}

    void run() {
        setup s = random_setup();
        if (bounces_) {
            s.disks.resize(1); // a channel waits for room in the pool only while it holds some itself
            s.bounce_pool = small_pool;
        }
        if (change_)
            change_(s);
        world w{s};
        w.start_all();
        for (std::size_t i = 0; i < s.disks.size(); ++i)
            misbehave(w, i);
        const std::uint64_t depth = 1 + below(64);
        const std::uint64_t rounds = 4 + below(400 / depth + 8);
        say("depth " + std::to_string(depth) + ", rounds " + std::to_string(rounds));
        for (std::size_t i = 0; i < s.disks.size(); ++i)
            oracles_.emplace_back(w.model(i).disk());
        std::vector<std::unique_ptr<worker>> workers;
        for (std::uint64_t i = 0; i < depth; ++i)
            workers.push_back(std::make_unique<worker>(*this, w, i, depth));
        for (const auto& each : workers)
            w.spawn(each->go(rounds));
        w.finish();
        for (const auto& each : workers)
            each->check_at_end();
        for (std::size_t i = 0; i < s.disks.size(); ++i) {
            BOOST_TEST(w.disk(i).count().protocol_violations == 0U);
            BOOST_TEST(w.disk(i).count().resets == 0U);
            w.model(i).behave.burst = 1;
        }
        refused = bounces_ ? w.bouncing->refused : 0;
    }

    std::uint64_t requests = 0, failed = 0;
    std::uint64_t refused = 0; // times the pool had no room

  private:
    static constexpr std::size_t small_pool = std::size_t{180} << 10; // more than any request, less than all of them

    std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
    bool chance(unsigned percent) { return below(100) < percent; }
    void say(const std::string& what) const {
        if (verbose_)
            std::printf("%s\n", what.c_str());
    }

    setup random_setup() {
        setup s;
        s.frame_memory = std::size_t{1} << 20;
        s.disks.resize(chance(20) ? 2 : 1);
        s.machine.seed = seed_;
        s.machine.memory_bytes = std::size_t{10} << 20;
        s.machine.spurious_wake_ups = chance(30) ? 200 : 0;
        s.machine.cost_of_now = 1 + below(30);
        s.machine.cost_of_access = 1 + below(100);
        constexpr poll_mode modes[] = {poll_mode::off, poll_mode::off, poll_mode::adaptive, poll_mode::always};
        s.poll = modes[below(4)];
        if (s.poll == poll_mode::always)
            s.machine.cost_of_now = 20;
        constexpr std::uint32_t rings[] = {4, 5, 8, 16, 64, 256, 512, 1024};
        for (blk_configuration& c : s.disks) {
            c.version = chance(50) ? 1 : 2;
            c.capacity = 4096;
            c.queues = static_cast<unsigned>(1 + below(4));
            c.queue_size_max = rings[below(std::size(rings))];
            c.blk_size = chance(15) ? 4096 : 512;
            c.superfluous_permitted = 0;
            std::uint64_t features = model::usual_features(c.version);
            for (const unsigned number : {bits::event_idx, bits::indirect_desc, bits::mq, bits::seg_max, bits::flush,
                                          bits::config_wce, bits::discard, bits::write_zeroes, bits::topology})
                if (chance(20))
                    features &= ~bits::bit(number);
            if (c.version == 2 && seed_ % 3 == 0) // drawn from nothing, so that older seeds stay what they were
                features |= bits::bit(bits::ring_packed);
            if (c.version == 2 &&
                seed_ % 4 == 1) // as above; the driver drops it where it has no tables, or packed rings
                features |= bits::bit(bits::in_order);
            if (c.version == 2 && seed_ % 7 < 4)
                features |= bits::bit(bits::order_platform) | bits::bit(bits::notification_data);
            if (c.blk_size == 512 && chance(20))
                features &= ~bits::bit(bits::blk_size);
            if (chance(50)) {
                features |= bits::bit(bits::size_max);
                c.size_max = static_cast<std::uint32_t>(c.blk_size * (1 + below(20)) + below(512));
            }
            if (chance(50))
                c.seg_max = static_cast<std::uint32_t>(below(12));
            if (chance(50)) {
                c.max_discard_sectors = static_cast<std::uint32_t>(8 * (1 + below(4)));
                c.max_write_zeroes_sectors = static_cast<std::uint32_t>(8 * (1 + below(4)));
                c.discard_sector_alignment = 8;
            }
            if (seed_ % 5 < 2) // as above
                features |= bits::bit(bits::secure_erase) | bits::bit(bits::lifetime);
            if (seed_ % 4 < 3) {
                const auto segments = static_cast<std::uint32_t>(1 + seed_ % 7);
                c.max_discard_seg = c.max_write_zeroes_seg = c.max_secure_erase_seg = segments;
                c.max_secure_erase_sectors = c.max_discard_sectors;
                c.secure_erase_sector_alignment = c.discard_sector_alignment;
            }
            c.features = features;
            say("version " + std::to_string(c.version) + ", queues " + std::to_string(c.queues) + " of " +
                std::to_string(c.queue_size_max) + ", block " + std::to_string(c.blk_size) + ", features " +
                std::to_string(features) + ", size_max " + std::to_string(c.size_max) + ", seg_max " +
                std::to_string(c.seg_max) + ", poll " + std::to_string(static_cast<int>(s.poll)));
        }
        return s;
    }

    // Where blocks may have several segments, a buffer may begin anywhere, so that they lie across pages.
    std::span<std::byte> buffer(world& w, std::size_t bytes, const block::disk_properties& of) {
        if (!bounces_)
            return w.buffer(bytes);
        const std::size_t offset = of.seg_max > 1 ? 8 * below(512) : 0;
        return {w.bouncing->unreachable(offset + bytes, 4096) + offset, bytes};
    }

    void misbehave(world& w, std::size_t i) {
        model::behaviour& b = w.model(i).behave;
        b.notification_latency_max = b.notification_latency_min + below(100);
        b.latency_min = below(100);
        b.latency_max = b.latency_min + below(5000);
        b.random_order = chance(60);
        b.burst = chance(40) ? static_cast<unsigned>(1 + below(16)) : 1;
        b.spurious_chance = chance(30) ? 200 : 0;
        b.interrupt_suppressed_chance = chance(30) ? 200 : 0;
        b.complete_in_rearm_window = chance(30);
        b.complete_at_acknowledge = chance(30);
        b.undefined_interrupt_bits = chance(30);
        b.suppress_for = chance(30) ? 1 + below(1000) : 0;
        b.avail_event_ahead = chance(30) ? static_cast<unsigned>(below(8)) : 0;
        b.used_flags_noise = chance(30);
        b.avail_event_noise = chance(30);
        b.odd_lengths = chance(30);
        b.used_without_write = seed_ % 2 == 0; // as QEMU does it
        b.used_descriptor_noise = seed_ % 4 < 2;
        b.interrupt_each_lap = seed_ % 8 < 4;
        b.in_order_batches = seed_ % 8 < 6;
        if (chance(40))
            for (unsigned n = 0; n < 40; ++n)
                b.bad_sectors.insert(below(4096));
    }

    // One coroutine with its region. Regions are whole blocks of 4096 bytes.
    class worker {
      public:
        worker(random_work& of, world& w, std::uint64_t number, std::uint64_t depth)
            : of_{of},
              world_{w},
              device_{static_cast<std::size_t>(number) % w.devices.size()},
              unit_{w.disk(device_).properties().logical_block_size / 512},
              blocks_{std::min<std::uint64_t>(4096 / depth, 320) / 8 * 8 / unit_},
              first_{number * (4096 / depth / 8 * 8)},
              memory_{of.buffer(w, static_cast<std::size_t>(blocks_ * unit_ * 512), w.disk(device_).properties())},
              oracle_{of.oracles_[device_]} {}

        task<void> go(std::uint64_t rounds) {
            for (std::uint64_t round = 0; round < rounds; ++round) {
                // A part of the region: mostly small.
                const std::uint64_t most = of_.chance(70) ? std::min<std::uint64_t>(blocks_, 16 / unit_) : blocks_;
                const std::uint64_t count = 1 + of_.below(most);
                const std::uint64_t sector = first_ + of_.below(blocks_ - count + 1) * unit_;
                const std::uint64_t sectors = count * unit_;
                const auto part = memory_.subspan(0, static_cast<std::size_t>(sectors * 512));
                const unsigned kind = static_cast<unsigned>(of_.below(100));
                ++of_.requests;
                of_.say(std::to_string(world_.host.time()) + ": kind " + std::to_string(kind) + ", disk " +
                        std::to_string(device_) + ", sector " + std::to_string(sector) + ", sectors " +
                        std::to_string(sectors));
                block::disk& disk = world_.disk(device_);
                if (kind < 40) {
                    fill_pattern(part, of_.random_());
                    status outcome = status::ok;
                    if (kind < 30) {
                        outcome = co_await disk.write(sector, part);
                    } else {
                        const auto pieces = random_pieces(std::span<const std::byte>{part});
                        outcome = co_await disk.write(sector, pieces);
                    }
                    expect(outcome, touches_bad(sector, sectors) ? status::io_error : status::ok);
                    if (outcome == status::ok)
                        oracle_.write(sector, part);
                    else
                        oracle_.forget(sector, sectors);
                } else if (kind < 80) {
                    std::memset(part.data(), 0xEE, part.size());
                    status outcome = status::ok;
                    if (kind < 70) {
                        outcome = co_await disk.read(sector, part);
                    } else {
                        const auto pieces = random_pieces(part);
                        outcome = co_await disk.read(sector, pieces);
                    }
                    expect(outcome, touches_bad(sector, sectors) ? status::io_error : status::ok);
                    if (outcome == status::ok)
                        BOOST_TEST(oracle_.agrees(sector, part),
                                   "wrong data at sector " << sector << ", sectors " << sectors);
                } else if (kind < 86) {
                    const status outcome = co_await disk.flush();
                    expect(outcome, status::ok);
                } else if (kind < 92) {
                    const auto ranges = two_ranges(sector, count);
                    status outcome = status::ok;
                    if (kind < 89) {
                        outcome = co_await disk.discard(sector, sectors);
                    } else if (kind < 91) {
                        outcome = co_await disk.discard(ranges);
                    } else {
                        outcome = co_await disk.secure_erase(ranges);
                    }
                    expect(outcome,
                           accepts(kind < 91 ? bits::discard : bits::secure_erase) ? status::ok : status::unsupported);
                    if (outcome == status::ok)
                        oracle_.forget(sector, sectors);
                } else if (kind < 98) {
                    const auto ranges = two_ranges(sector, count);
                    status outcome = status::ok;
                    if (kind < 95) {
                        outcome = co_await disk.write_zeroes(sector, sectors);
                    } else {
                        outcome = co_await disk.write_zeroes(ranges, block::unmap::permitted);
                    }
                    expect(outcome, accepts(bits::write_zeroes) ? status::ok : status::unsupported);
                    if (outcome == status::ok)
                        oracle_.zero(sector, sectors);
                } else if (round % 3 == 0 && kind == 98) {
                    const bool switchable = disk.properties().can_switch_write_cache;
                    const status outcome = co_await disk.set_write_cache(round % 2 == 0);
                    expect(outcome, switchable ? status::ok : status::unsupported);
                } else if (round % 3 == 0) {
                    block::virtio_blk::lifetime life{};
                    const status outcome = co_await disk.get_lifetime(life);
                    expect(outcome, accepts(bits::lifetime) ? status::ok : status::unsupported);
                    BOOST_TEST(life.pre_eol_info == (outcome == status::ok ? 1 : 0));
                } else {
                    block::virtio_blk::id_string id;
                    id.fill('x');
                    const status outcome = co_await disk.get_id(id);
                    expect(outcome, status::ok);
                    BOOST_TEST(std::string(id.data()) == "inflight-model");
                }
            }
        }

        void check_at_end() {
            for (std::uint64_t i = 0; i < blocks_ * unit_; ++i)
                if (!oracle_.agrees(first_ + i, world_.on_disk(first_ + i, 1, device_))) {
                    BOOST_ERROR("sector " << first_ + i << " of the disk is not what was written");
                    return;
                }
        }

      private:
        bool accepts(unsigned number) const { return world_.model(device_).accepted(number); }
        // The same sectors in two parts, the second one first; or in one, if there is no second block.
        std::vector<block::sector_range> two_ranges(std::uint64_t sector, std::uint64_t count) const {
            const std::uint64_t first = count / 2 * unit_;
            std::vector<block::sector_range> ranges{{sector + first, count * unit_ - first}};
            if (first != 0)
                ranges.push_back({sector, first});
            return ranges;
        }
        bool touches_bad(std::uint64_t sector, std::uint64_t sectors) const {
            const auto& bad = world_.model(device_).behave.bad_sectors;
            const auto found = bad.lower_bound(sector);
            return found != bad.end() && *found < sector + sectors;
        }
        void expect(status outcome, status expected) {
            of_.failed += outcome != status::ok ? 1 : 0;
            if (outcome != expected)
                BOOST_ERROR("status " << outcome << " instead of " << expected);
        }
        template <typename Byte>
        std::vector<std::span<Byte>> random_pieces(std::span<Byte> whole) {
            std::vector<std::span<Byte>> pieces;
            while (!whole.empty()) {
                const std::size_t block = static_cast<std::size_t>(unit_) * 512;
                const std::size_t bytes = std::min(whole.size(), (1 + of_.below(5)) * block);
                pieces.push_back(whole.subspan(0, bytes));
                whole = whole.subspan(bytes);
            }
            return pieces;
        }

        random_work& of_;
        world& world_;
        std::size_t device_;
        std::uint64_t unit_;   // sectors in a block
        std::uint64_t blocks_; // in the region
        std::uint64_t first_;  // sector
        std::span<std::byte> memory_;
        oracle& oracle_;
    };

    std::uint64_t seed_;
    bool verbose_;
    bool bounces_;
    std::function<void(setup&)> change_;
    std::mt19937_64 random_;
    std::vector<oracle> oracles_; // one of each disk
};

} // namespace inflight::test
