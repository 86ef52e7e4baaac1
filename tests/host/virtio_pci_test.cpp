// The driver on PCI: the modern and the legacy interface, with the line and with 1, 2, or queues + 1 vectors, split and
// packed; and devices on PCI that refuse, claim nonsense or are slow.
#include "tests/host/disk_setups.hpp"
#include "tests/host/random_work.hpp"

#include <ostream>
#include <string>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::test;
using virtio::error;

constexpr std::uint16_t queues = 4;

struct way {
    std::uint32_t version;
    std::uint16_t vectors;
    bool packed;
};

std::ostream& operator<<(std::ostream& out, const way& how) {
    return out << (how.version == 1 ? "legacy, " : "modern, ") << how.vectors << " vectors"
               << (how.packed ? ", packed" : "");
}

std::vector<way> all_ways() {
    std::vector<way> ways;
    constexpr std::uint16_t counts[] = {0, 1, 2, queues + 1};
    for (const std::uint16_t vectors : counts)
        for (const std::uint32_t version : versions)
            for (const bool packed : {false, true})
                if (version != 1 || !packed)
                    ways.push_back({version, vectors, packed});
    return ways;
}

setup of_way(const way& how, const std::function<void(blk_configuration&)>& change = {}) {
    setup s = of_version(how.version, [&](blk_configuration& c) {
        c.queues = queues;
        c.queue_size_max = 64;
        c.pci.emplace().vectors = how.vectors;
        if (how.packed)
            offer(c, bits::ring_packed);
        if (change)
            change(c);
    });
    s.vectors = how.vectors;
    return s;
}

} // namespace

BOOST_AUTO_TEST_SUITE(virtio_pci)

BOOST_AUTO_TEST_CASE(requests_of_all_kinds_in_every_way) {
    for (const way& how : all_ways())
        BOOST_TEST_CONTEXT(how) {
            world w{of_way(how)};
            w.start_all();
            BOOST_TEST(w.devices[0].pci->transport().vectors().count == how.vectors);
            BOOST_TEST(
                (w.devices[0].pci->transport().interrupts() ==
                 (how.vectors > 2 ? virtio::interrupt_delivery::per_queue : virtio::interrupt_delivery::shared_line)));
            BOOST_TEST(w.disk().properties().queues == queues);
            BOOST_TEST(w.model().accepted(bits::ring_packed) == how.packed);
            exercise(w);
            read_a_lot(w, 12, 20);
            // One hart uses all queues. Nothing but queues interrupts, each by the vector that is its own.
            BOOST_TEST(w.disk().count().interrupts != 0U);
            BOOST_TEST(w.disk().count().spurious == 0U);
            for (std::uint16_t vector = 0; vector <= queues; ++vector) {
                const bool used = how.vectors > 2 ? vector != 0 : how.vectors != 0 && vector == how.vectors - 1;
                BOOST_TEST((w.model().messages(vector) != 0) == used, "vector " << vector);
                if (how.vectors > 2 && used)
                    BOOST_TEST(w.model().messages(vector) == w.model().counters(vector - 1u).interrupts);
            }
        }
}

BOOST_AUTO_TEST_CASE(a_reset_and_its_recovery_in_every_way) {
    for (const way& how : all_ways())
        BOOST_TEST_CONTEXT(how) {
            world w{of_way(how)};
            w.start_all();
            exercise(w);
            for (unsigned i = 1; i <= 3; ++i) {
                w.model().behave.reset_reads = i;
                w.model().raise_needs_reset();
                w.settle();
                BOOST_TEST(w.disk().count().resets == i);
                exercise(w);
                read_a_lot(w, 8, 4);
            }
            BOOST_TEST(!w.disk().lost());
        }
}

BOOST_AUTO_TEST_CASE(a_reset_with_requests_in_flight) {
    for (const way& how : all_ways())
        BOOST_TEST_CONTEXT(how) {
            world w{of_way(how)};
            w.start_all();
            w.model().inject(fault::needs_reset, 7);
            read_a_lot(w, 12, 6);
            BOOST_TEST(w.disk().count().resets == 1U);
            exercise(w);
        }
}

BOOST_AUTO_TEST_CASE(a_change_of_the_capacity_is_seen_in_every_way) {
    for (const way& how : all_ways())
        BOOST_TEST_CONTEXT(how) {
            world w{of_way(how)};
            w.start_all();
            for (const std::uint64_t sectors : {1234UL, 4000UL}) {
                w.model().set_capacity(sectors);
                w.settle();
                BOOST_TEST(w.disk().properties().capacity == sectors);
            }
            exercise(w);
        }
}

// Where one message may mean anything, the configuration is looked at only when it may have changed.
BOOST_AUTO_TEST_CASE(with_one_vector_the_configuration_is_not_read_at_each_interrupt) {
    world w{of_way({2, 1, false})};
    w.start_all();
    read_a_lot(w, 1, 1);
    w.settle();
    w.model().clear_accesses();
    read_a_lot(w, 1, 20);
    for (const model::register_access& each : w.model().accesses())
        BOOST_TEST((each.offset < model::pci_configuration::device || each.offset >= model::pci_configuration::notify));
}

// ---- vectors

BOOST_AUTO_TEST_CASE(the_device_gets_as_many_vectors_as_it_takes) {
    for (const std::uint32_t version : versions)
        for (std::uint16_t table = 0; table <= queues + 2; ++table)
            for (std::uint16_t accepted = 0; accepted <= table; ++accepted)
                BOOST_TEST_CONTEXT("version " << version << ", " << accepted << " of a table of " << table) {
                    setup s = of_way({version, queues + 1, false}, [table](auto& c) { c.pci->vectors = table; });
                    world w{s};
                    w.model().behave.vectors_accepted = accepted;
                    w.start_all();
                    const unsigned expected = accepted > queues ? queues + 1U : accepted < 3 ? accepted : 2U;
                    BOOST_TEST(w.devices[0].pci->transport().vectors().count == expected);
                    exercise(w);
                    w.model().raise_needs_reset();
                    w.settle();
                    exercise(w);
                }
}

BOOST_AUTO_TEST_CASE(a_vector_that_is_refused_ends_the_start) {
    for (const std::uint32_t version : versions)
        for (std::uint16_t which = 0; which <= queues; ++which) {
            world w{of_way({version, queues + 1, false})};
            w.model().inject(fault::vector_refused, queues + 1u + which); // try_vectors() has written them all once
            BOOST_TEST(w.start() == error::vector_refused);
            w.checked_at_end = false;
            BOOST_TEST(w.host.violations().empty(), w.host.describe());
        }
}

BOOST_AUTO_TEST_CASE(a_vector_that_is_refused_after_a_reset_loses_the_disk) {
    for (const std::uint32_t version : versions)
        for (std::uint16_t which = 0; which <= queues; ++which) {
            world w{of_way({version, queues + 1, false})};
            w.start_all();
            exercise(w);
            w.model().inject(fault::vector_refused, which);
            w.model().raise_needs_reset();
            w.settle();
            BOOST_TEST(w.disk().lost());
            BOOST_TEST(w.disk().failure() == error::vector_refused);
            auto memory = w.buffer(512);
            BOOST_TEST(w.read(0, memory) == status::device_lost);
        }
}

// Of interrupts at any time before the disk has started.
BOOST_AUTO_TEST_CASE(an_interrupt_before_the_start_is_harmless) {
    for (const way& how : all_ways())
        BOOST_TEST_CONTEXT(how) {
            world w{of_way(how)};
            w.find_on_pci(0);
            w.devices[0].disk = std::make_unique<block::disk>(*w.devices[0].transport);
            w.disk().handle_line();
            w.disk().handle_queue(3);
            w.disk().handle_configuration();
            BOOST_TEST(!w.disk().look_for_completions());
            w.devices[0].disk.reset();
            w.start_all();
            w.disk().handle_queue(99);
            BOOST_TEST(w.disk().count().spurious == 1U);
            exercise(w);
        }
}

// Each hart has a queue. Its interrupts come to it, and to no other, and no hart has to tell another.
BOOST_AUTO_TEST_CASE(each_queue_interrupts_its_own_hart) {
    for (const way& how : all_ways()) {
        if (how.vectors <= 2)
            continue;
        BOOST_TEST_CONTEXT(how) {
            // The model takes the accesses of all harts for those of one, which then sleeps too early.
            setup s = of_way(how, [](auto& c) { c.tolerated.insert({"SPLIT-24", "SPLIT-27", "PACK-17"}); });
            s.machine.harts = queues;
            world w{s};
            struct alignas(64) granule {
                std::byte bytes[64];
            };
            std::vector<granule> frames[queues];
            std::unique_ptr<async::executor> others[queues];
            async::counting_scope scopes[queues];
            for (arch::hart_index hart = 1; hart < queues; ++hart) {
                w.host.select_hart(hart);
                frames[hart].resize(1024);
                others[hart] = std::make_unique<async::executor>(std::as_writable_bytes(std::span{frames[hart]}));
                others[hart]->set_poll_mode(poll_mode::off);
            }
            w.host.select_hart(0);
            w.start_all();
            for (std::uint16_t queue = 0; queue < queues; ++queue)
                w.host.route_line(w.devices[0].pci->line_of(static_cast<std::uint16_t>(1 + queue)), queue);
            const auto work = [&](arch::hart_index hart) -> task<void> {
                auto memory = w.buffer(512);
                for (unsigned i = 0; i < 20; ++i) {
                    const std::uint64_t sector = hart * 100 + i;
                    const status outcome = co_await w.disk().read(sector, memory);
                    BOOST_TEST(outcome == status::ok);
                    BOOST_TEST(same(memory, w.on_disk(sector, 1)));
                    BOOST_TEST(arch::this_hart() == hart);
                }
            };
            std::vector<machine::callback> bodies;
            for (arch::hart_index hart = 0; hart < queues; ++hart) {
                w.host.select_hart(hart);
                BOOST_REQUIRE(scopes[hart].spawn(work(hart)));
                bodies.emplace_back([&, hart] {
                    while (scopes[hart].size() != 0)
                        if (!async::executor::current().tick() && scopes[hart].size() != 0)
                            async::executor::current().idle();
                });
            }
            w.host.select_hart(0);
            BOOST_REQUIRE_MESSAGE(w.host.run(bodies) == arch::host::run_end::finished, w.host.describe());
            unsigned seen[queues + 1] = {};
            for (const world::message& each : w.messages) {
                BOOST_TEST(each.vector == 1U + each.hart);
                ++seen[each.vector];
            }
            for (std::uint16_t queue = 0; queue < queues; ++queue) {
                BOOST_TEST(seen[1 + queue] >= 10U); // the others were found without
                BOOST_TEST(w.host.software_interrupts_taken(queue) == 0U);
            }
            BOOST_TEST(seen[0] == 0U);
            for (arch::hart_index hart = queues - 1; hart > 0; --hart) {
                w.host.select_hart(hart);
                others[hart].reset();
            }
            w.host.select_hart(0);
        }
    }
}

// ---- devices that are not as they should be

BOOST_AUTO_TEST_CASE(the_notify_addresses_follow_from_the_multiplier) {
    for (const std::uint32_t multiplier : {0U, 2U, 4U, 4096U})
        for (const bool packed : {false, true}) {
            world w{of_way({2, queues + 1, packed}, [multiplier](auto& c) { c.pci->notify_multiplier = multiplier; })};
            w.start_all();
            read_a_lot(w, 12, 6);
        }
}

BOOST_AUTO_TEST_CASE(a_notify_address_outside_of_its_structure_ends_the_start) {
    for (std::uint16_t which = 0; which < queues; ++which) {
        world w{of_way({2, 0, false})};
        w.model().inject(fault::notify_out_of_range, which);
        BOOST_TEST(w.start() == error::notify_out_of_range);
        BOOST_TEST(w.host.violations().empty(), w.host.describe());
        w.checked_at_end = false;
    }
    // And by one byte: the last two bytes of a structure are an address, and one byte is not.
    for (const std::uint32_t missing : {0U, 1U}) {
        world w{of_way({2, 0, false})};
        virtio::pci_structures where = structures_of(w.model());
        where.notify_length = (queues - 1) * 4 + 2 - missing;
        modern_pci_transport transport{where};
        block::disk disk{transport};
        BOOST_TEST(disk.start(w.memory, {}) == (missing == 0 ? error::none : error::notify_out_of_range));
        w.checked_at_end = false;
    }
}

// Whatever length the device gives its configuration, nothing beyond is read; the driver gets all ones for it.
BOOST_AUTO_TEST_CASE(a_configuration_of_any_length) {
    unsigned started = 0;
    for (std::uint32_t length = 0; length <= 96; ++length)
        BOOST_TEST_CONTEXT("length " << length) {
            world w{of_way({2, 0, false}, [length](auto& c) { c.pci->device_length = length; })};
            const error outcome = w.start();
            BOOST_TEST((outcome == error::none || outcome == error::limits_unusable));
            BOOST_TEST(w.host.violations().empty(), w.host.describe());
            if (outcome == error::none) {
                ++started;
                auto memory = w.buffer(512);
                BOOST_TEST(w.read(5, memory) == status::ok);
            }
            w.checked_at_end = false;
        }
    BOOST_TEST(started > 10U);
    world w{of_way({2, 0, false})};
    virtio::legacy_pci_transport short_window{w.model().configuration().base, 20};
    BOOST_TEST(short_window.read_config8(0) == 0xff);
    BOOST_TEST(short_window.read_config16(0) == 0xffff);
    BOOST_TEST(short_window.read_config32(~std::size_t{0}) == ~0U);
    BOOST_TEST(w.model().access_count() == 0U);
    w.checked_at_end = false;
}

BOOST_AUTO_TEST_CASE(the_queues_of_a_legacy_device_have_its_size) {
    const struct {
        std::uint32_t device;
        std::uint16_t allowed;
        error expected;
    } cases[] = {
        {64, 64, error::none},
        {64, 1024, error::none},
        {1024, 1024, error::none},
        {64, 32, error::queue_size_fixed},
        {1024, 512, error::queue_size_fixed},
        {24, 64, error::queue_size_fixed},
        {32768, 1024, error::queue_size_fixed},
        {2, 64, error::queue_too_small},
        {0, 64, error::queue_missing},
    };
    for (const auto& each : cases) {
        setup s = of_way({1, 0, false}, [&](auto& c) { c.queue_size_max = each.device; });
        s.disk.queue_size = each.allowed;
        world w{s};
        BOOST_TEST(w.start() == each.expected, each.device << " of " << each.allowed);
        if (each.expected == error::none) {
            BOOST_TEST(w.disk().properties().queue_size == each.device);
            exercise(w);
        } else {
            w.checked_at_end = false;
        }
    }
}

BOOST_AUTO_TEST_CASE(a_device_with_more_queues_than_the_transport_serves) {
    for (const std::uint32_t version : versions) {
        world w{of_way({version, 70, false}, [](auto& c) {
            c.queues = 70;
            c.queue_size_max = 8;
            c.pci->vectors = 71;
        })};
        w.start_all();
        BOOST_TEST(w.disk().properties().queues == 64U);
        std::uint32_t size = 99;
        BOOST_TEST(w.devices[0].pci->transport().queue_size_max(64, size) == error::none);
        BOOST_TEST(size == 0U);
        exercise(w);
    }
}

BOOST_AUTO_TEST_CASE(a_reset_that_does_not_end_is_given_up) {
    for (const std::uint32_t version : versions) {
        setup s = of_way({version, 0, false});
        s.machine.cost_of_access = 5'000;
        world w{s};
        w.find_on_pci(0);
        w.model().inject(fault::reset_never);
        w.devices[0].disk = std::make_unique<block::disk>(*w.devices[0].transport);
        BOOST_TEST(w.disk().start(w.memory, {}) == error::reset_timeout);
        BOOST_TEST(w.host.violations().empty(), w.host.describe());
        w.checked_at_end = false;
    }
}

// ---- random work

BOOST_AUTO_TEST_CASE(random_work_comes_out_right_on_pci) {
    std::uint64_t requests = 0;
    for (std::uint64_t seed = 1; seed <= 24; ++seed)
        BOOST_TEST_CONTEXT("seed " << seed) {
            random_work work{seed, false, false, [seed](setup& s) {
                                 for (blk_configuration& c : s.disks) {
                                     if (c.version == 1) // whose queues must be of this size
                                         c.queue_size_max = std::bit_floor(c.queue_size_max);
                                     c.pci.emplace().vectors = static_cast<std::uint16_t>(c.queues + 1);
                                     c.pci->notify_multiplier = seed % 2 == 0 ? 4 : 0;
                                     if (c.version == 2 && seed % 3 != 0)
                                         offer(c, bits::notif_config_data);
                                 }
                                 const std::uint16_t counts[] = {0, 1, 2, 8};
                                 s.vectors = counts[seed / 2 % 4];
                             }};
            work.run();
            requests += work.requests;
        }
    BOOST_TEST(requests >= 96U);
}

BOOST_AUTO_TEST_SUITE_END()
