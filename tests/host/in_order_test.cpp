// IN_ORDER: descriptors in the order of the ring, and used entries that stand for a batch. Each request of a batch has its
// own status, and a device that names what it was not given, or has not used, breaks the rules.
#include "tests/host/disk_setups.hpp"

#include <ostream>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::test;
using virtio::error;

setup in_order(bool packed, bool event_idx, const std::function<void(blk_configuration&)>& change = {}) {
    return of_version(2, [&](blk_configuration& c) {
        c.queue_size_max = 16;
        c.superfluous_permitted = 0;
        offer(c, bits::in_order);
        if (packed)
            offer(c, bits::ring_packed);
        if (!event_idx)
            withdraw(c, bits::event_idx);
        if (change)
            change(c);
    });
}

// Reads at sectors of their own, all at a time; what each has ended with.
struct readers {
    explicit readers(world& of) : w{of} {}

    void start(std::size_t count) {
        outcomes.assign(count, status::device_lost);
        memory = w.buffer(count * 512);
        for (std::size_t i = 0; i < count; ++i)
            w.spawn(read(i));
    }
    task<void> read(std::size_t i) {
        const auto part = memory.subspan(i * 512, 512);
        outcomes[i] = co_await w.disk().read(sector_of(i), part);
        if (outcomes[i] == status::ok)
            BOOST_TEST(same(part, w.on_disk(sector_of(i), 1)));
    }
    static std::uint64_t sector_of(std::size_t i) { return 8 * i; }

    world& w;
    std::span<std::byte> memory;
    std::vector<status> outcomes;
};

void check_all(const readers& of, status expected) {
    for (const status each : of.outcomes)
        BOOST_TEST(each == expected);
}

} // namespace

BOOST_AUTO_TEST_SUITE(in_order_tests)

BOOST_AUTO_TEST_CASE(it_is_accepted_with_tables_or_packed_rings) {
    for (unsigned choice = 0; choice < 8; ++choice) {
        const bool indirect = (choice & 1) != 0, packed = (choice & 2) != 0, off = (choice & 4) != 0;
        setup s = in_order(packed, true, [&](blk_configuration& c) {
            if (!indirect)
                withdraw(c, bits::indirect_desc);
        });
        s.disk.features_off = off ? bit(bits::in_order) : 0;
        world w{s};
        w.start_all();
        BOOST_TEST(w.model().accepted(bits::in_order) == ((indirect || packed) && !off));
        BOOST_TEST(w.model().accepted(bits::ring_packed) == packed);
        exercise(w);
    }
}

// Where a ring has room for three descriptors for each request, too.
BOOST_AUTO_TEST_CASE(the_descriptors_of_a_large_ring_are_used_one_after_another) {
    for (const bool packed : {false, true}) {
        world w{in_order(packed, true, [](blk_configuration& c) { c.queue_size_max = 1024; })};
        w.start_all();
        BOOST_TEST(w.disk().properties().slots_per_queue == 1024U);
        readers all{w};
        for (unsigned round = 0; round < 12; ++round) {
            all.start(200);
            w.finish();
            check_all(all, status::ok);
        }
        exercise(w);
    }
}

void use_batches(world& w, unsigned burst, bool batches) {
    w.start_all();
    w.model().behave.burst = burst;
    w.model().behave.in_order_batches = batches;
    w.model().behave.latency_max = 400;
    readers all{w};
    for (unsigned round = 0; round < 20; ++round) { // many laps of the rings
        all.start(23);
        w.finish();
        check_all(all, status::ok);
    }
    BOOST_TEST((w.model().total().batched != 0) == batches);
    BOOST_TEST(w.disk().count().protocol_violations == 0U);
    BOOST_TEST(w.disk().count(0).short_lengths == 0U);
    w.model().behave.burst = 1;
    exercise(w);
    w.model().raise_needs_reset();
    w.settle();
    BOOST_TEST(w.disk().count().resets == 1U);
    all.start(23);
    w.finish();
    check_all(all, status::ok);
}

BOOST_AUTO_TEST_CASE(a_used_entry_stands_for_a_batch) {
    for (unsigned choice = 0; choice < 16; ++choice)
        for (const unsigned queues : {1U, 3U})
            for (const unsigned burst : {1U, 2U, 5U, 16U}) {
                const bool packed = (choice & 1) != 0, event_idx = (choice & 2) != 0, batches = (choice & 4) != 0;
                const bool indirect = (choice & 8) != 0;
                if (!packed && !indirect)
                    continue;
                BOOST_TEST_CONTEXT(queues << " queues, burst " << burst << (packed ? ", packed" : ", split")
                                          << (batches ? ", batches" : "") << (indirect ? ", tables" : "")) {
                    world w{in_order(packed, event_idx, [&](blk_configuration& c) {
                        c.queues = queues;
                        if (!indirect)
                            withdraw(c, bits::indirect_desc);
                    })};
                    use_batches(w, burst, batches);
                }
            }
}

BOOST_AUTO_TEST_CASE(each_request_of_a_batch_has_its_own_status) {
    for (const bool packed : {false, true})
        for (std::size_t bad = 0; bad < 8; ++bad)
            for (const fault what :
                 {fault::io_error, fault::unsupported, fault::status_not_written, fault::status_unknown}) {
                world w{in_order(packed, true)};
                w.start_all();
                w.model().behave.burst = 8;
                w.model().behave.in_order_batches = true;
                w.model().inject(what, bad);
                readers all{w};
                all.start(8);
                w.finish();
                BOOST_TEST(w.model().total().batched == 7U);
                const status expected = what == fault::io_error      ? status::io_error
                                        : what == fault::unsupported ? status::unsupported
                                                                     : status::device_error;
                for (std::size_t i = 0; i < 8; ++i)
                    BOOST_TEST(all.outcomes[i] == (i == bad ? expected : status::ok), "request " << i);
                BOOST_TEST(w.disk().count().protocol_violations == 0U);
                w.model().behave.burst = 1;
                exercise(w);
            }
}

// Requests of several pieces, and of all kinds, end within batches, too.
void use_all_kinds(bool packed) {
    world w{in_order(packed, true, [](blk_configuration& c) {
        c.seg_max = 2;
        c.size_max = 1024;
        offer(c, bits::size_max);
        offer(c, bits::secure_erase);
        offer(c, bits::lifetime);
    })};
    w.start_all();
    w.model().behave.in_order_batches = true;
    w.model().behave.burst = 4;
    auto memory = w.buffer(64 * 512);
    auto whole = [&](std::uint64_t sector, std::span<std::byte> part) -> task<void> {
        fill_pattern(part, sector);
        BOOST_TEST(co_await w.disk().write(sector, part) == status::ok);
        BOOST_TEST(co_await w.disk().flush() == status::ok);
        block::virtio_blk::id_string id;
        BOOST_TEST(co_await w.disk().get_id(id) == status::ok);
        BOOST_TEST(std::string(id.data()) == "inflight-model");
        block::virtio_blk::lifetime life{};
        BOOST_TEST(co_await w.disk().get_lifetime(life) == status::ok);
        BOOST_TEST(life.pre_eol_info == 1);
        BOOST_TEST(co_await w.disk().read(sector, part) == status::ok);
        BOOST_TEST(same(part, w.on_disk(sector, part.size() / 512)));
        BOOST_TEST(co_await w.disk().write_zeroes(sector, 2) == status::ok);
    };
    for (std::uint64_t i = 0; i < 8; ++i)
        w.spawn(whole(100 * i, memory.subspan(static_cast<std::size_t>(i) * 8 * 512, 8 * 512)));
    w.finish();
    BOOST_TEST(w.model().total().batched != 0U);
    w.model().behave.burst = 1;
}

BOOST_AUTO_TEST_CASE(all_kinds_of_requests_in_batches) {
    for (const bool packed : {false, true})
        use_all_kinds(packed);
}

// ---- devices that lie

// Three requests are with the device, which holds them, and says something.
struct lie {
    const char* what;
    std::function<void(virtio_blk_model&)> tell;
    status expected; // of all three
    bool violates;
};

void tell(bool packed, const lie& told) {
    world w{in_order(packed, true)};
    w.start_all();
    w.model().behave.hold = true;
    readers all{w};
    all.start(3);
    w.settle();
    BOOST_TEST(w.model().in_flight() == 3U);
    told.tell(w.model());
    w.model().behave.hold = false;
    w.settle();
    BOOST_TEST(w.disk().count().protocol_violations == (told.violates ? 1U : 0U));
    BOOST_TEST(all.outcomes[0] == told.expected);
    if (told.violates) {
        BOOST_TEST(all.outcomes[1] == status::device_reset);
        BOOST_TEST(all.outcomes[2] == status::device_reset);
        w.finish();
        exercise(w);
    } else {
        check_all(all, told.expected);
        w.checked_at_end = false; // the model has requests that the driver does not wait for
    }
}

BOOST_AUTO_TEST_CASE(lies_about_batches_are_found) {
    const lie of_any_ring[] = {
        {"one that the device was never given", [](virtio_blk_model& m) { m.push_used(0, 3, 513); },
         status::device_reset, true},
        {"no id", [](virtio_blk_model& m) { m.push_used(0, 16, 513); }, status::device_reset, true},
        {"a length that is too long", [](virtio_blk_model& m) { m.push_used(0, 0, 514); }, status::device_reset, true},
        {"the first, twice",
         [](virtio_blk_model& m) {
             m.push_used(0, 0, 513);
             m.push_used(0, 0, 513);
         },
         status::device_error, true},
    };
    const lie of_split_rings[] = {
        {"the last of three, and one is used", [](virtio_blk_model& m) { m.push_used(0, 2, 513); },
         status::device_reset, true},
        {"an id beyond 2^31", [](virtio_blk_model& m) { m.push_used(0, 0x8000'0000, 513); }, status::device_reset,
         true},
        {"all three, and no status was written",
         [](virtio_blk_model& m) {
             m.push_used(0, 2, 513);
             m.move_used_index(0, 2);
         },
         status::device_error, false},
        {"more than there are",
         [](virtio_blk_model& m) {
             m.push_used(0, 2, 513);
             m.move_used_index(0, 3);
         },
         status::device_reset, true},
    };
    const lie of_packed_rings[] = {
        {"all three, and no status was written", [](virtio_blk_model& m) { m.push_used(0, 2, 513); },
         status::device_error, false},
    };
    for (const bool packed : {false, true}) {
        for (const lie& each : of_any_ring)
            BOOST_TEST_CONTEXT(each.what << (packed ? ", packed" : ", split")) {
                tell(packed, each);
            }
        for (const lie& each : packed ? std::span<const lie>{of_packed_rings} : std::span<const lie>{of_split_rings})
            BOOST_TEST_CONTEXT(each.what << (packed ? ", packed" : ", split")) {
                tell(packed, each);
            }
    }
}

BOOST_AUTO_TEST_SUITE_END()
