// Requests of all kinds against the strict device model: what is refused, divided, made to wait, and where it goes.
#include "async/semaphore.hpp"
#include "async/when_all.hpp"
#include "tests/host/disk_setups.hpp"

#include <tuple>

namespace {

using namespace inflight;
using namespace inflight::test;
using virtio::error;

// A device request is one block, and one at a time fits into the queue: what is longer is in pieces, and waits.
void take_one_block_at_once(blk_configuration& c) {
    c.queue_size_max = 4;
    c.seg_max = 1;
    c.size_max = 512;
    offer(c, bits::size_max);
}

} // namespace

BOOST_AUTO_TEST_SUITE(requests)

BOOST_AUTO_TEST_CASE(a_wrong_request_is_refused_before_the_device_sees_it) {
    for (const std::uint32_t version : versions)
        for (const std::uint32_t block : {512U, 4096U}) {
            world w{of_version(version, [&](auto& c) { c.blk_size = block; })};
            w.start_all();
            const std::uint64_t unit = block / 512;
            auto memory = w.buffer(64 * 1024);
            const auto data = [&](std::size_t bytes) {
                return memory.subspan(0, bytes);
            };
            BOOST_TEST(w.read(0, data(0)) == status::invalid_argument);
            BOOST_TEST(w.write(0, data(0)) == status::invalid_argument);
            BOOST_TEST(w.read(0, data(1)) == status::invalid_argument);
            BOOST_TEST(w.read(0, data(block - 1)) == status::invalid_argument);
            BOOST_TEST(w.write(0, data(block + 8)) == status::invalid_argument);
            if (unit > 1) {
                BOOST_TEST(w.read(0, data(512)) == status::invalid_argument);
                BOOST_TEST(w.read(1, data(block)) == status::invalid_argument);
                BOOST_TEST(w.write(1, data(block)) == status::invalid_argument);
                BOOST_TEST(w.discard(1, unit) == status::invalid_argument);
                BOOST_TEST(w.write_zeroes(unit, 1) == status::invalid_argument);
            }
            BOOST_TEST(w.read(8192, data(block)) == status::out_of_range);
            BOOST_TEST(w.read(8192 - unit, data(2 * block)) == status::out_of_range);
            BOOST_TEST(w.write(8192, data(block)) == status::out_of_range);
            BOOST_TEST(w.write(~std::uint64_t{0} - unit + 1, data(block)) == status::out_of_range);
            BOOST_TEST(w.read(~std::uint64_t{0} - unit + 1, data(2 * block)) == status::out_of_range);
            BOOST_TEST(w.read(std::uint64_t{1} << 55, data(block)) == status::out_of_range);
            BOOST_TEST(w.discard(0, 0) == status::invalid_argument);
            BOOST_TEST(w.write_zeroes(0, 0) == status::invalid_argument);
            BOOST_TEST(w.discard(0, 8192 + unit) == status::out_of_range);
            BOOST_TEST(w.discard(8192, unit) == status::out_of_range);
            BOOST_TEST(w.write_zeroes(unit, std::uint64_t{0} - unit) == status::out_of_range);
            BOOST_TEST(w.write_zeroes(std::uint64_t{0} - unit, unit) == status::out_of_range);

            const std::vector<std::span<std::byte>> nothing;
            BOOST_TEST(w.await([&] { return w.disk().read(0, nothing); }) == status::invalid_argument);
            const std::vector<std::span<std::byte>> odd{data(block), data(8), data(block - 8)};
            BOOST_TEST(w.await([&] { return w.disk().read(0, odd); }) == status::invalid_argument);
            const std::vector<std::span<std::byte>> hole{data(block), data(0), data(block)};
            BOOST_TEST(w.await([&] { return w.disk().read(0, hole); }) == status::invalid_argument);
            const std::vector<std::span<const std::byte>> beyond{data(block), data(block)};
            BOOST_TEST(w.await([&] { return w.disk().write(8192 - unit, beyond); }) == status::out_of_range);
            BOOST_TEST(w.model().total().requests == 0U);

            BOOST_TEST(w.read(8192 - unit, data(block)) == status::ok);
            BOOST_TEST(w.discard(8192 - unit, unit) == status::ok);
        }
}

BOOST_AUTO_TEST_CASE(a_read_only_disk_is_not_written) {
    for (const std::uint32_t version : versions) {
        world w{of_version(version, [](auto& c) { offer(c, bits::read_only); })};
        w.start_all();
        auto memory = w.buffer(4096);
        BOOST_TEST(w.write(0, memory) == status::read_only);
        BOOST_TEST(w.discard(0, 8) == status::read_only);
        BOOST_TEST(w.write_zeroes(0, 8) == status::read_only);
        const auto list = cut(std::span<const std::byte>{memory}, 512);
        BOOST_TEST(w.await([&] { return w.disk().write(0, list); }) == status::read_only);
        BOOST_TEST(w.model().total().requests == 0U);
        BOOST_TEST(w.read(0, memory) == status::ok);
        BOOST_TEST(same(memory, w.on_disk(0, 8)));
        BOOST_TEST(w.flush() == status::ok);
    }
}

BOOST_AUTO_TEST_CASE(what_the_device_cannot_do_is_unsupported) {
    world w{one_disk([](auto& c) {
        withdraw(c, bits::discard);
        withdraw(c, bits::write_zeroes);
    })};
    w.start_all();
    BOOST_TEST(w.discard(0, 8) == status::unsupported);
    BOOST_TEST(w.write_zeroes(0, 8) == status::unsupported);
    BOOST_TEST(w.model().total().requests == 0U);
}

BOOST_AUTO_TEST_CASE(every_status_byte_has_its_meaning) {
    world w;
    w.start_all();
    auto memory = w.buffer(512);
    for (unsigned byte = 0; byte < 256; ++byte) {
        w.model().behave.status_for = [byte](const auto&) {
            return static_cast<std::uint8_t>(byte);
        };
        const status expected = byte == 0   ? status::ok
                                : byte == 1 ? status::io_error
                                : byte == 2 ? status::unsupported
                                            : status::device_error;
        BOOST_TEST(w.read(0, memory) == expected);
        BOOST_TEST(w.flush() == expected);
    }
}

// Large requests against all limits that make the driver divide them.
BOOST_AUTO_TEST_CASE(what_is_too_large_is_divided) {
    unsigned rows = 0;
    for (const std::uint32_t version : versions)
        for (const bool indirect : {true, false})
            for (const std::uint32_t size_max : {0U, 512U, 1500U, 4096U})
                for (const std::uint32_t seg_max : {1U, 2U, 5U, 254U})
                    for (const std::uint32_t ring : {4U, 16U, 512U}) {
                        world w{of_version(version, [&](auto& c) {
                            c.queue_size_max = ring;
                            c.seg_max = seg_max;
                            c.max_discard_sectors = 7;
                            c.max_write_zeroes_sectors = 5;
                            c.max_descriptors = 32;
                            if (size_max != 0) {
                                c.size_max = size_max;
                                offer(c, bits::size_max);
                            }
                            if (!indirect)
                                withdraw(c, bits::indirect_desc);
                        })};
                        w.start_all();
                        auto out = w.buffer(100 * 512);
                        auto in = w.buffer(100 * 512);
                        fill_pattern(out, 5);
                        BOOST_TEST(w.write(11, out) == status::ok);
                        BOOST_TEST(same(out, w.on_disk(11, 100)));
                        BOOST_TEST(w.read(11, in) == status::ok);
                        BOOST_TEST(same(in, out));
                        fill_pattern(out, 6);
                        const auto from = cut(std::span<const std::byte>{out}, 3 * 512);
                        BOOST_TEST(w.await([&] { return w.disk().write(200, from); }) == status::ok);
                        BOOST_TEST(same(out, w.on_disk(200, 100)));
                        const auto into = cut(in, 9 * 512);
                        BOOST_TEST(w.await([&] { return w.disk().read(200, into); }) == status::ok);
                        BOOST_TEST(same(in, out));
                        BOOST_TEST(w.write_zeroes(211, 33) == status::ok);
                        BOOST_TEST(w.discard(250, 33) == status::ok);
                        BOOST_TEST(w.read(200, in) == status::ok);
                        BOOST_TEST(same(std::span{in}.subspan(0, 11 * 512), std::span{out}.subspan(0, 11 * 512)));
                        for (std::size_t at = 11 * 512; at < 44 * 512; ++at)
                            if (in[at] != std::byte{0}) {
                                BOOST_ERROR("not zero at byte " << at);
                                break;
                            }
                        BOOST_TEST(
                            same(std::span{in}.subspan(44 * 512, 6 * 512), std::span{out}.subspan(44 * 512, 6 * 512)));
                        BOOST_TEST(same(std::span{in}.subspan(83 * 512), std::span{out}.subspan(83 * 512)));
                        ++rows;
                    }
    BOOST_TEST_MESSAGE(rows << " sets of limits");
}

BOOST_AUTO_TEST_CASE(discards_are_cut_where_the_device_says) {
    world w{one_disk([](auto& c) {
        c.max_discard_sectors = 100;
        c.discard_sector_alignment = 16;
    })};
    w.start_all();
    BOOST_TEST(w.discard(16, 1600) == status::ok); // aligned as a whole, so every piece can be
    BOOST_TEST(w.model().total().unaligned_segments == 0U);
    BOOST_TEST(w.model().total().requests == 17U); // 96 sectors each
    BOOST_TEST(w.discard(3, 300) == status::ok);
    BOOST_TEST(w.model().total().unaligned_segments == 2U); // the first and the last
}

BOOST_AUTO_TEST_CASE(one_bad_piece_fails_the_whole_and_the_rest_is_done) {
    for (const std::uint32_t version : versions) {
        world w{of_version(version, take_one_block_at_once)};
        w.start_all();
        w.model().behave.bad_sectors = {25};
        auto out = w.buffer(20 * 512);
        fill_pattern(out, 3);
        BOOST_TEST(w.write(16, out) == status::io_error);
        BOOST_TEST(same(out.subspan(0, 9 * 512), w.on_disk(16, 9)));
        BOOST_TEST(same(out.subspan(10 * 512), w.on_disk(26, 10)));
        BOOST_TEST(w.read(16, out) == status::io_error);
        BOOST_TEST(w.read(0, out) == status::ok);
        BOOST_TEST(w.model().total().requests == 60U);
    }
}

BOOST_AUTO_TEST_CASE(waiting_requests_are_served_first_come_first_served) {
    for (const std::uint32_t version : versions)
        for (const bool indirect : {true, false})
            for (const std::uint32_t ring : {4U, 8U, 64U}) {
                world w{of_version(version, [&](auto& c) {
                    c.queue_size_max = ring;
                    c.size_max = 4096;
                    offer(c, bits::size_max);
                    if (!indirect)
                        withdraw(c, bits::indirect_desc);
                })};
                w.start_all();
                std::vector<unsigned> ended;
                std::vector<std::uint64_t> started;
                w.model().behave.status_for = [&](const auto& request) -> std::optional<std::uint8_t> {
                    started.push_back(request.sector);
                    return std::nullopt;
                };
                auto work = [&](unsigned number, std::span<std::byte> buffer) -> task<void> {
                    BOOST_TEST((co_await w.disk().read(number * 16, buffer)) == status::ok);
                    BOOST_TEST(same(buffer, w.on_disk(number * 16, buffer.size() / 512)));
                    ended.push_back(number);
                };
                for (unsigned number = 0; number < 200; ++number)
                    w.spawn(work(number, w.buffer(number % 5 == 0 ? 8192 : 512)));
                w.finish();
                std::vector<unsigned> expected(200);
                for (unsigned number = 0; number < 200; ++number)
                    expected[number] = number;
                BOOST_TEST(ended == expected, boost::test_tools::per_element());
                BOOST_TEST(std::is_sorted(started.begin(), started.end()));
                BOOST_TEST(w.disk().count().waited >= 100U);
            }
}

BOOST_AUTO_TEST_CASE(rings_of_all_sizes_carry_more_than_they_hold) {
    for (const std::uint32_t version : versions)
        for (const std::uint32_t ring : {4U, 8U, 16U, 256U, 512U, 1024U, 32768U}) {
            setup s = of_version(version, [&](auto& c) { c.queue_size_max = ring; });
            s.disk.queue_size = 65535;
            s.machine.memory_bytes = (ring == 32768 ? std::size_t{64} : std::size_t{8}) << 20;
            s.frame_memory = std::size_t{4} << 20;
            world w{s};
            w.start_all();
            BOOST_TEST(w.model().queue_size(0) == ring);
            w.model().behave.random_order = true;
            w.model().behave.latency_max = 500;
            auto memory = w.buffer(512 * 512);
            auto work = [&](unsigned first) -> task<void> {
                for (unsigned i = 0; i < 8; ++i) {
                    const unsigned sector = (first * 8 + i) % 8192;
                    const auto buffer = memory.subspan((first % 512) * 512, 512);
                    BOOST_TEST((co_await w.disk().read(sector, buffer)) == status::ok);
                    BOOST_TEST(same(buffer, w.on_disk(sector, 1)));
                }
            };
            for (unsigned first = 0; first < 500; ++first)
                w.spawn(work(first));
            w.finish();
            BOOST_TEST(w.model().total().completed == 4000U);
        }
}

BOOST_AUTO_TEST_CASE(the_indices_of_the_rings_wrap) {
    for (const std::uint32_t version : versions)
        for (const bool event_idx : {true, false}) {
            world w{of_version(version, [&](auto& c) {
                c.queue_size_max = 8;
                c.superfluous_permitted = 0;
                if (!event_idx)
                    withdraw(c, bits::event_idx);
            })};
            w.start_all();
            auto memory = w.buffer(8 * 512);
            auto work = [&](unsigned number) -> task<void> {
                const auto buffer = memory.subspan(number * 512, 512);
                for (std::uint64_t i = 0; i < 66'000 / 8; ++i) {
                    const std::uint64_t sector = (i * 8 + number) % 8192;
                    const status outcome = co_await w.disk().read(sector, buffer);
                    if (outcome != status::ok || !same(buffer, w.on_disk(sector, 1)))
                        BOOST_ERROR("request " << i << " of " << number << ": " << outcome);
                }
            };
            for (unsigned number = 0; number < 8; ++number)
                w.spawn(work(number));
            w.finish();
            BOOST_TEST(w.model().total().completed == 66'000U);
            BOOST_TEST(w.disk().count(0).requests == 66'000U);
        }
}

BOOST_AUTO_TEST_CASE(all_queues_are_used) {
    for (const std::uint32_t version : versions) {
        world w{of_version(version, [](auto& c) { c.queues = 4; })};
        w.start_all();
        auto memory = w.buffer(64 * 512);
        auto work = [&](unsigned number) -> task<void> {
            const auto buffer = memory.subspan(number * 512, 512);
            for (unsigned i = 0; i < 20; ++i) {
                BOOST_TEST((co_await w.disk().read(number + i, buffer)) == status::ok);
                BOOST_TEST(same(buffer, w.on_disk(number + i, 1)));
            }
        };
        for (unsigned number = 0; number < 64; ++number)
            w.spawn(work(number));
        w.finish();
        std::uint64_t sum = 0;
        for (std::uint16_t queue = 0; queue < 4; ++queue) {
            BOOST_TEST(w.model().counters(queue).completed >= 100U);
            BOOST_TEST(w.disk().count(queue).requests == w.model().counters(queue).completed);
            BOOST_TEST(w.disk().count(queue).notifications == w.model().counters(queue).notifications);
            BOOST_TEST(w.disk().count(queue).interrupts > 0U);
            sum += w.disk().count(queue).requests;
        }
        BOOST_TEST(sum == 64U * 20);
    }
}

// A request with a timeout is not plain. Such requests are spread over the queues within a round, too.
BOOST_AUTO_TEST_CASE(requests_that_are_not_plain_use_all_queues) {
    world w{of_version(2, [](auto& c) { c.queues = 2; })};
    w.start_all();
    auto memory = w.buffer(64 * 512);
    auto work = [&](unsigned i) -> task<void> {
        const auto into = memory.subspan(i * std::size_t{512}, 512);
        BOOST_TEST((co_await w.disk().read(i, into, {.timeout = 1'000'000'000})) == status::ok);
    };
    for (unsigned i = 0; i < 64; ++i)
        w.spawn(work(i));
    w.finish();
    BOOST_TEST(w.disk().count(0).requests == 32U);
    BOOST_TEST(w.disk().count(1).requests == 32U);
}

BOOST_AUTO_TEST_CASE(fewer_queues_on_demand) {
    for (const std::uint16_t wanted : std::initializer_list<std::uint16_t>{0, 1, 2}) {
        setup s = of_version(2, [](auto& c) { c.queues = 4; });
        s.disk.queues = wanted;
        world w{s};
        w.start_all();
        BOOST_TEST(w.disk().properties().queues == std::max<std::uint16_t>(wanted, 1));
        exercise(w);
        BOOST_TEST(!w.model().queue_enabled(3));
    }
}

BOOST_AUTO_TEST_CASE(several_disks_share_a_hart) {
    setup s;
    s.disks.resize(5);
    s.disks[1].version = 1;
    s.disks[2].blk_size = 4096;
    s.disks[3].queue_size_max = 4;
    s.disks[4].queues = 3;
    for (std::size_t i = 0; i < 5; ++i)
        s.disks[i].capacity = 1024 + 8 * i;
    world w{s};
    w.start_all();
    auto memory = w.buffer(5 * 8 * 4096);
    auto work = [&](std::size_t i, unsigned number) -> task<void> {
        const auto buffer = memory.subspan((i * 8 + number) * 4096, 4096);
        for (unsigned round = 0; round < 20; ++round) {
            const std::uint64_t sector = (round * 8 + number) % 100 * 8;
            BOOST_TEST((co_await w.disk(i).read(sector, buffer)) == status::ok);
            BOOST_TEST(same(buffer, w.on_disk(sector, 8, i)));
        }
    };
    for (std::size_t i = 0; i < 5; ++i)
        for (unsigned number = 0; number < 8; ++number)
            w.spawn(work(i, number));
    w.finish();
    for (std::size_t i = 0; i < 5; ++i)
        exercise(w, i);
}

BOOST_AUTO_TEST_CASE(the_capacity_may_change_at_any_time) {
    for (const std::uint32_t version : versions) {
        world w{of_version(version)};
        w.start_all();
        auto memory = w.buffer(4096);
        BOOST_TEST(w.read(8192, memory) == status::out_of_range);
        w.model().set_capacity(9000);
        w.settle();
        BOOST_TEST(w.disk().properties().capacity == 9000U);
        BOOST_TEST(w.read(8992, memory) == status::ok);
        w.model().set_capacity(16);
        w.settle();
        BOOST_TEST(w.read(9, memory) == status::out_of_range);
        BOOST_TEST(w.read(8, memory) == status::ok);
        w.model().raise_config_interrupt(); // nothing has changed
        w.settle();
        BOOST_TEST(w.disk().properties().capacity == 16U);
        BOOST_TEST(w.disk().count().resets == 0U);
    }
}

BOOST_AUTO_TEST_CASE(what_waits_while_the_disk_shrinks_is_not_sent_beyond_its_end) {
    for (const std::uint32_t version : versions) {
        world w{of_version(version, take_one_block_at_once)};
        w.start_all();
        w.model().behave.hold = true;
        std::vector<status> outcomes(40, status::device_lost);
        auto memory = w.buffer(40 * 4096);
        auto work = [&](unsigned number) -> task<void> {
            outcomes[number] = co_await w.disk().read(number * 200, memory.subspan(number * 4096, 4096));
        };
        for (unsigned number = 0; number < 40; ++number)
            w.spawn(work(number));
        w.settle();
        w.model().set_capacity(4000);
        w.settle();
        w.model().behave.hold = false;
        w.model().release();
        w.finish();
        for (unsigned number = 1; number < 40; ++number)
            BOOST_TEST(outcomes[number] == (number < 20 ? status::ok : status::out_of_range));
    }
}

BOOST_AUTO_TEST_CASE(a_request_object_that_has_ended_can_be_awaited_again) {
    world w;
    w.start_all();
    auto memory = w.buffer(512);
    auto work = [&]() -> task<void> {
        auto flush = w.disk().flush();
        for (unsigned i = 0; i < 50; ++i)
            BOOST_TEST((co_await flush) == status::ok);
        auto read = w.disk().read(0, memory);
        BOOST_TEST((co_await read) == status::ok);
        BOOST_TEST((co_await read) == status::ok);
        // A read that was cut into pieces has used up its buffer: it is refused, and nothing is sent.
        const std::array segments{memory.first(512)};
        auto scattered = w.disk().read(0, std::span<const std::span<std::byte>>{segments});
        BOOST_TEST((co_await scattered) == status::ok);
        BOOST_TEST((co_await scattered) == status::invalid_argument);
    };
    w.run(work());
    BOOST_TEST(w.model().total().completed == 53U);
}

BOOST_AUTO_TEST_CASE(a_request_that_is_never_awaited_does_nothing) {
    world w;
    w.start_all();
    { const auto unused = w.disk().read(0, w.buffer(512)); }
    w.settle();
    BOOST_TEST(w.model().total().requests == 0U);
}

BOOST_AUTO_TEST_CASE(several_reads_are_awaited_at_once) {
    world w;
    w.start_all();
    auto memory = w.buffer(3 * 512);
    auto work = [&]() -> task<void> {
        for (unsigned i = 0; i < 20; ++i) {
            const auto outcomes =
                co_await async::when_all(w.disk().read(i, memory.subspan(0, 512)), w.disk().read(8192, memory),
                                         w.disk().read(i + 100, memory.subspan(512, 1024)));
            BOOST_TEST(std::get<0>(outcomes) == status::ok);
            BOOST_TEST(std::get<1>(outcomes) == status::out_of_range);
            BOOST_TEST(std::get<2>(outcomes) == status::ok);
            BOOST_TEST(same(memory.subspan(0, 512), w.on_disk(i, 1)));
            BOOST_TEST(same(memory.subspan(512), w.on_disk(i + 100, 2)));
        }
    };
    w.run(work());
}

BOOST_AUTO_TEST_CASE(a_legacy_device_may_report_any_length) {
    world w{of_version(1)};
    w.start_all();
    w.model().behave.odd_lengths = true;
    for (unsigned i = 0; i < 20; ++i)
        exercise(w);
    BOOST_TEST(w.disk().count().protocol_violations == 0U);
    BOOST_TEST(w.disk().count(0).short_lengths == 0U);
}

// Nothing is allocated for a request: after the first round the slab hands out no frame more.
BOOST_AUTO_TEST_CASE(a_request_costs_no_allocation) {
    world w;
    w.start_all();
    auto memory = w.buffer(16 * 512);
    auto work = [&](unsigned number) -> task<void> {
        for (unsigned i = 0; i < 100; ++i)
            BOOST_TEST((co_await w.disk().read(i, memory.subspan(number * 512, 512))) == status::ok);
    };
    for (unsigned number = 0; number < 16; ++number)
        w.spawn(work(number));
    const auto before = w.hart.frames().count().allocations;
    w.finish();
    BOOST_TEST(w.hart.frames().count().allocations == before);
}

BOOST_AUTO_TEST_SUITE_END()
