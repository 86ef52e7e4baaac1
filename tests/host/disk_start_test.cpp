// How a disk starts: initialisation, and which features are accepted. The models report whatever the specification does not
// permit, and each world fails its test for that when it ends.
#include "tests/host/disk_setups.hpp"

namespace {

using namespace inflight;
using namespace inflight::test;
using virtio::error;

} // namespace

BOOST_AUTO_TEST_SUITE(initialisation)

BOOST_AUTO_TEST_CASE(the_status_goes_up_one_step_at_a_time) {
    for (const std::uint32_t version : versions) {
        world w{of_version(version)};
        w.start_all();
        std::vector<std::uint32_t> steps;
        for (const auto& each : w.model().accesses())
            if (each.write && each.offset == model::reg::status)
                steps.push_back(each.value);
        const std::vector<std::uint32_t> expected =
            version == 1 ? std::vector<std::uint32_t>{0, 1, 3, 7} : std::vector<std::uint32_t>{0, 1, 3, 11, 15};
        BOOST_TEST(steps == expected, boost::test_tools::per_element());
        exercise(w);
    }
}

BOOST_AUTO_TEST_CASE(a_slow_reset_is_waited_for) {
    for (const std::uint32_t version : versions) {
        world w{of_version(version)};
        w.model().behave.reset_reads = 1000;
        w.start_all();
        exercise(w);
    }
}

struct bad_device {
    const char* name;
    error expected;
    bool failed; // FAILED is set
    std::function<void(setup&)> configure;
    std::function<void(virtio_blk_model&)> arrange;
    bool modern = true, legacy = true;
};

BOOST_AUTO_TEST_CASE(a_device_that_cannot_be_used_is_given_up_with_the_cause) {
    const auto configuration = [](std::function<void(blk_configuration&)> change) {
        return [change](setup& s) {
            change(s.disks[0]);
        };
    };
    const auto queue_size = [&](std::uint32_t size) {
        return configuration([size](auto& c) { c.queue_size_max = size; });
    };
    const auto block_size = [&](std::uint32_t size) {
        return configuration([size](auto& c) { c.blk_size = size; });
    };
    const auto injected = [](fault what, std::uint64_t times = 1) {
        return [what, times](virtio_blk_model& m) {
            m.inject(what, 0, times);
        };
    };
    const bad_device devices[] = {
        {"wrong magic", error::not_virtio, false, configuration([](auto& c) { c.magic_value = 0x74726977; }), {}},
        {"version 0", error::unknown_version, false, configuration([](auto& c) { c.version = 0; }), {}, true, false},
        {"version 3", error::unknown_version, false, configuration([](auto& c) { c.version = 3; }), {}, true, false},
        {"an empty slot", error::no_device, false, configuration([](auto& c) { c.device_id = 0; }), {}},
        {"the reset never ends", error::reset_timeout, false, {}, injected(fault::reset_never)},
        {"FEATURES_OK refused", error::features_refused, true, {}, injected(fault::features_refused), true, false},
        {"VERSION_1 missing",
         error::version_1_missing,
         true,
         configuration([](auto& c) { withdraw(c, bits::version_1); }),
         {},
         true,
         false},
        {"queue of 0", error::queue_missing, true, queue_size(0), {}},
        {"queue of 1", error::queue_too_small, true, queue_size(1), {}},
        {"queue of 2", error::queue_too_small, true, queue_size(2), {}},
        {"queue of 3", error::queue_too_small, true, queue_size(3), {}},
        {"num_queues 0", error::queue_missing, true, configuration([](auto& c) { c.num_queues = 0; }), {}},
        {"queue reads 0 once", error::queue_missing, true, {}, injected(fault::queue_size_zero)},
        {"queue in use", error::queue_in_use, true, {}, injected(fault::queue_in_use)},
        {"blk_size 0", error::limits_unusable, true, block_size(0), {}},
        {"blk_size 1", error::limits_unusable, true, block_size(1), {}},
        {"blk_size 256", error::limits_unusable, true, block_size(256), {}},
        {"blk_size 513", error::limits_unusable, true, block_size(513), {}},
        {"blk_size 1536", error::limits_unusable, true, block_size(1536), {}},
        {"blk_size 2^32-1", error::limits_unusable, true, block_size(~0U), {}},
        {"a block takes more segments than a request may have",
         error::limits_unusable,
         true,
         [](setup& s) {
             s.disks[0].size_max = 16;
             s.disks[0].blk_size = 512;
             offer(s.disks[0], bits::size_max);
         },
         {}},
        {"a block of two segments, of which a request may have one",
         error::limits_unusable,
         true,
         [](setup& s) {
             s.disks[0].size_max = 511;
             s.disks[0].seg_max = 1;
             offer(s.disks[0], bits::size_max);
             offer(s.disks[0], bits::seg_max);
         },
         {}},
        {"a block of two segments, without a table",
         error::limits_unusable,
         true,
         [](setup& s) {
             s.disks[0].size_max = 2048;
             s.disks[0].blk_size = 4096;
             offer(s.disks[0], bits::size_max);
             withdraw(s.disks[0], bits::indirect_desc);
         },
         {}},
        {"generation never settles",
         error::configuration_unstable,
         true,
         {},
         injected(fault::generation_unstable, model::forever),
         true,
         false},
        {"configuration never settles",
         error::configuration_unstable,
         true,
         {},
         injected(fault::config_change, model::forever)},
        {"no memory at all", error::out_of_memory, true, [](setup& s) { s.queue_memory = 0; }, {}},
        {"memory for the ring only", error::out_of_memory, true, [](setup& s) { s.queue_memory = 16'700; }, {}},
        {"memory for all but the last queue",
         error::out_of_memory,
         true,
         [](setup& s) {
             s.disks[0].queues = 64;
             s.queue_memory = 1 << 20;
         },
         {}},
    };
    unsigned rows = 0;
    for (const bad_device& row : devices)
        for (const std::uint32_t version : versions) {
            if (version == 2 ? !row.modern : !row.legacy)
                continue;
            BOOST_TEST_CONTEXT(row.name << ", version " << version) {
                setup s = of_version(version);
                s.machine.cost_of_access = 100;
                if (row.configure)
                    row.configure(s);
                world w{s};
                if (row.arrange)
                    row.arrange(w.model());
                BOOST_TEST(w.start() == row.expected);
                BOOST_TEST(((w.model().status() & 0x80) != 0) == row.failed);
                BOOST_TEST(w.host.time() < 11 * arch::ticks_per_second() / 10);
                const auto accesses = w.model().accesses().size();
                const ticks time = w.host.time();
                w.model().clear_faults();
                w.settle(); // the executor must know nothing of it
                BOOST_TEST(w.model().accesses().size() == accesses);
                BOOST_TEST(w.host.time() >= time);
                BOOST_TEST(w.model().total().notifications == 0U);
            }
            ++rows;
        }
    BOOST_TEST_MESSAGE(rows << " devices that cannot be used");
}

BOOST_AUTO_TEST_CASE(another_type_of_device_is_left_alone) {
    world w{one_disk([](auto& c) { c.device_id = 1; })};
    BOOST_TEST(w.start() == error::none);
    BOOST_TEST((w.devices[0].disk == nullptr));
    const virtio::mmio_identity slot = virtio::identify_mmio(w.model().configuration().base);
    BOOST_TEST((slot.id == virtio::device_id::network));
    for (const auto& each : w.model().accesses())
        BOOST_TEST(!each.write);
}

BOOST_AUTO_TEST_CASE(odd_but_usable_devices_are_used) {
    struct odd {
        const char* name;
        std::function<void(blk_configuration&)> change;
        std::function<void(const block::disk_properties&)> check;
    };
    const odd devices[] = {
        {"more queues said than there are",
         [](auto& c) {
             c.queues = 2;
             c.num_queues = 40;
         },
         [](auto& p) {
             BOOST_TEST(p.queues == 2);
         }},
        {"65535 queues said",
         [](auto& c) {
             c.queues = 3;
             c.num_queues = 65535;
         },
         [](auto& p) {
             BOOST_TEST(p.queues == 3);
         }},
        {"queue of 4", [](auto& c) { c.queue_size_max = 4; },
         [](auto& p) {
             BOOST_TEST(p.queue_size == 4);
         }},
        {"queue of 5", [](auto& c) { c.queue_size_max = 5; },
         [](auto& p) {
             BOOST_TEST(p.queue_size == 4);
         }},
        {"queue of 7", [](auto& c) { c.queue_size_max = 7; },
         [](auto& p) {
             BOOST_TEST(p.queue_size == 4);
         }},
        {"queue of 1000", [](auto& c) { c.queue_size_max = 1000; },
         [](auto& p) {
             BOOST_TEST(p.queue_size == 512);
         }},
        {"queue of 65536", [](auto& c) { c.queue_size_max = 65536; },
         [](auto& p) {
             BOOST_TEST(p.queue_size == 1024);
         }},
        {"queue of 2^32-1", [](auto& c) { c.queue_size_max = ~0U; },
         [](auto& p) {
             BOOST_TEST(p.queue_size == 1024);
         }},
        {"queues of different sizes",
         [](auto& c) {
             c.queues = 3;
             c.queue_size_max_of = {{0, 256}, {1, 4}, {2, 1024}};
         },
         [](auto& p) {
             BOOST_TEST(p.queue_size == 4);
         }},
        {"seg_max 0", [](auto& c) { c.seg_max = 0; },
         [](auto& p) {
             BOOST_TEST(p.seg_max == 1U);
         }},
        {"seg_max 2^32-1", [](auto& c) { c.seg_max = ~0U; },
         [](auto& p) {
             BOOST_TEST(p.seg_max == 30U);
         }},
        {"size_max 512",
         [](auto& c) {
             c.size_max = 512;
             offer(c, bits::size_max);
         },
         [](auto& p) {
             BOOST_TEST(p.size_max == 512U);
         }},
        {"size_max 1000",
         [](auto& c) {
             c.size_max = 1000;
             offer(c, bits::size_max);
         },
         [](auto& p) {
             BOOST_TEST(p.size_max == 512U);
         }},
        {"size_max 2^32-1",
         [](auto& c) {
             c.size_max = ~0U;
             offer(c, bits::size_max);
         },
         [](auto& p) {
             BOOST_TEST(p.size_max % 512 == 0U);
         }},
        {"discard of nothing", [](auto& c) { c.max_discard_sectors = 0; },
         [](auto&) {
         }},
        {"discard in no segment", [](auto& c) { c.max_discard_seg = 0; },
         [](auto&) {
         }},
        {"write-zeroes of nothing", [](auto& c) { c.max_write_zeroes_sectors = 0; },
         [](auto&) {
         }},
        {"discard alignment 0", [](auto& c) { c.discard_sector_alignment = 0; },
         [](auto&) {
         }},
        {"blocks of 4096 bytes", [](auto& c) { c.blk_size = 4096; },
         [](auto& p) {
             BOOST_TEST(p.logical_block_size == 4096U);
         }},
        {"read-only", [](auto& c) { offer(c, bits::read_only); },
         [](auto& p) {
             BOOST_TEST(p.read_only);
         }},
        {"a name of 20 characters", [](auto& c) { c.identifier = "12345678901234567890"; },
         [](auto&) {
         }},
        {"no name", [](auto& c) { c.identifier.clear(); },
         [](auto&) {
         }},
    };
    for (const odd& row : devices)
        for (const std::uint32_t version : versions)
            BOOST_TEST_CONTEXT(row.name << ", version " << version) {
                world w{of_version(version, row.change)};
                BOOST_TEST(w.start() == error::none);
                row.check(w.disk().properties());
                exercise(w);
            }
}

BOOST_AUTO_TEST_CASE(a_block_size_beyond_the_disk_leaves_nothing_to_read) {
    world w{one_disk([](auto& c) { c.blk_size = 1U << 30; })};
    BOOST_TEST(w.start() == error::none);
    BOOST_TEST(w.read(0, w.buffer(4096)) == status::invalid_argument);
    BOOST_TEST(w.model().total().requests == 0U);
}

BOOST_AUTO_TEST_CASE(a_disk_without_sectors_starts) {
    world w{one_disk([](auto& c) { c.capacity = 0; })};
    BOOST_TEST(w.start() == error::none);
    BOOST_TEST(w.read(0, w.buffer(512)) == status::out_of_range);
    BOOST_TEST(w.flush() == status::ok);
}

BOOST_AUTO_TEST_CASE(a_capacity_that_changes_while_it_is_read_is_read_whole) {
    for (const std::uint32_t version : versions)
        for (const fault what : {fault::config_tear, fault::config_change})
            for (std::uint64_t after = 0; after < 4; ++after) {
                world w{of_version(version)};
                w.model().inject(what, after);
                BOOST_TEST(w.start() == error::none);
                w.settle(); // a change at the second look, behind DRIVER_OK, is seen to by the first round
                BOOST_TEST(w.disk().properties().capacity == w.model().capacity());
            }
}

// Wherever in its initialisation a device goes away: an end, in time.
BOOST_AUTO_TEST_CASE(a_device_that_is_removed_meanwhile_is_given_up_in_time) {
    unsigned started = 0, given_up = 0;
    for (const std::uint32_t version : versions)
        for (std::uint64_t after = 0; after < 100; ++after) {
            setup s = of_version(version);
            s.machine.cost_of_access = 500;
            world w{s};
            w.model().inject(fault::removed, after);
            const error outcome = w.start();
            BOOST_TEST(w.host.time() < 11 * arch::ticks_per_second() / 10);
            if (w.model().fired(fault::removed) == 0) {
                BOOST_TEST(outcome == error::none);
                ++started;
            } else {
                given_up += outcome != error::none ? 1 : 0;
            }
            if (outcome != error::none || w.model().fired(fault::removed) == 0 || w.devices[0].disk == nullptr)
                continue;
            // It went away too late to be noticed. The first look at it will tell.
            w.disk().handle_line();
            w.settle();
            BOOST_TEST(w.disk().lost());
            BOOST_TEST(w.read(0, w.buffer(512)) == status::device_lost);
        }
    BOOST_TEST(started > 20U);
    BOOST_TEST(given_up > 60U);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(features)

BOOST_AUTO_TEST_CASE(of_all_features_only_those_on_the_list_are_accepted) {
    for (const std::uint32_t version : versions)
        for (const std::uint8_t zoned : {std::uint8_t{0}, std::uint8_t{1}, std::uint8_t{2}}) {
            world w{of_version(version, [&](auto& c) {
                c.features = ~std::uint64_t{0};
                c.zoned_model = zoned;
                c.zoned.zone_sectors = 4096;
                c.zoned.conventional = 1;
            })};
            const bool is_host_managed = zoned == 1;
            if (version == 1 && is_host_managed) { // no ordinary disk, and ZONED is for the modern interface
                BOOST_TEST(w.start() == error::zoned_not_accepted);
                continue;
            }
            BOOST_TEST(w.start() == error::none);
            std::uint64_t list = bit(bits::size_max) | bit(bits::seg_max) | bit(bits::read_only) | bit(bits::blk_size) |
                                 bit(bits::flush) | bit(bits::topology) | bit(bits::config_wce) | bit(bits::mq) |
                                 bit(bits::write_zeroes) | bit(bits::indirect_desc) | bit(bits::event_idx) |
                                 bit(bits::geometry) | bit(bits::lifetime) | bit(bits::secure_erase);
            list |= version == 2 ? bit(bits::version_1) | bit(bits::access_platform) | bit(bits::ring_packed) |
                                       bit(bits::order_platform) | bit(bits::notification_data) |
                                       bit(bits::ring_reset) | bit(bits::in_order)
                                 : bit(bits::any_layout);
            list = is_host_managed ? (list & ~bit(bits::write_zeroes)) | bit(bits::zoned) : list | bit(bits::discard);
            BOOST_TEST(w.model().accepted() == list);
            exercise(w);
        }
}

BOOST_AUTO_TEST_CASE(strange_bits_one_by_one_are_ignored) {
    const std::uint64_t known = bit(bits::size_max) | bit(bits::read_only) | bit(bits::access_platform) |
                                bit(bits::ring_packed) | bit(bits::order_platform) | bit(bits::notification_data) |
                                bit(bits::ring_reset) | bit(bits::in_order) | bit(bits::any_layout) |
                                bit(bits::lifetime) | bit(bits::secure_erase);
    unsigned strange = 0;
    for (const std::uint32_t version : versions)
        for (unsigned number = 0; number < (version == 2 ? 64U : 32U); ++number) {
            if (((known | usual_features(version)) & bit(number)) != 0)
                continue;
            world w{of_version(version, [&](auto& c) { offer(c, number); })};
            BOOST_TEST(w.start() == error::none);
            BOOST_TEST(!w.model().accepted(number));
            auto in = w.buffer(4096);
            BOOST_TEST(w.read(0, in) == status::ok);
            ++strange;
        }
    BOOST_TEST(strange > 50U);
}

BOOST_AUTO_TEST_CASE(each_optional_feature_may_be_missing) {
    for (const std::uint32_t version : versions)
        for (unsigned number = 0; number < 32; ++number) {
            if ((usual_features(version) & bit(number)) == 0)
                continue;
            world w{of_version(version, [&](auto& c) { withdraw(c, number); })};
            BOOST_TEST_CONTEXT("version " << version << " without feature " << number) {
                BOOST_TEST(w.start() == error::none);
                exercise(w);
            }
        }
}

BOOST_AUTO_TEST_CASE(all_combinations_of_features_work) {
    const unsigned optional[] = {bits::event_idx, bits::indirect_desc, bits::mq,         bits::seg_max,
                                 bits::flush,     bits::config_wce,    bits::ring_packed};
    unsigned combinations = 0;
    for (const std::uint32_t version : versions)
        for (unsigned choice = 0; choice < (version == 2 ? 128U : 64U); ++choice)
            for (const bool switched_off : {false, true}) { // by the device, or by our options
                setup s = of_version(version, [](auto& c) {
                    c.queues = 3;
                    c.superfluous_permitted = 0;
                });
                std::uint64_t missing = 0;
                for (unsigned i = 0; i < std::size(optional); ++i)
                    missing |= (choice >> i & 1) == 0 ? bit(optional[i]) : 0;
                const std::uint64_t all = usual_features(version) | (version == 2 ? bit(bits::ring_packed) : 0);
                s.disks[0].features = switched_off ? all : all & ~missing;
                s.disks[0].tolerated.insert("RSVD-06"); // packed rings may be switched off
                if (switched_off)
                    s.disk.features_off = missing;
                world w{s};
                BOOST_TEST_CONTEXT("version " << version << ", missing " << missing) {
                    BOOST_TEST(w.start() == error::none);
                    BOOST_TEST((w.model().accepted() & missing) == 0U);
                    BOOST_TEST(w.disk().properties().queues == ((missing & bit(bits::mq)) != 0 ? 1 : 3));
                    exercise(w);
                }
                ++combinations;
            }
    BOOST_TEST_MESSAGE(combinations << " combinations of features");
}

BOOST_AUTO_TEST_CASE(the_write_cache_is_understood) {
    const struct {
        bool flush, config_wce;
        std::uint8_t writeback;
        bool can_flush, cache;
    } rows[] = {{true, true, 1, true, true},
                {true, true, 0, true, false},
                {true, false, 1, true, true},
                {false, true, 1, false, false},
                {false, false, 1, false, false}};
    for (const auto& row : rows)
        for (const std::uint32_t version : versions) {
            world w{of_version(version, [&](auto& c) {
                c.writeback = row.writeback;
                if (!row.flush)
                    withdraw(c, bits::flush);
                if (!row.config_wce)
                    withdraw(c, bits::config_wce);
            })};
            BOOST_TEST(w.start() == error::none);
            BOOST_TEST(w.disk().properties().can_flush == row.can_flush);
            BOOST_TEST(w.disk().properties().write_cache == row.cache);
            const auto before = w.model().total().requests;
            BOOST_TEST(w.flush() == status::ok);
            BOOST_TEST(w.model().total().requests == before + (row.can_flush ? 1 : 0));
        }
}

BOOST_AUTO_TEST_SUITE_END()
