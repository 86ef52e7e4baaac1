// RING_RESET: a queue whose interrupts have stopped is reset by itself when it has nothing in flight, and the device if it does
// not do that. The model reports a queue that is reset while it has requests.
#include "async/scheduler.hpp"
#include "tests/host/disk_setups.hpp"
#include "tests/host/readers.hpp"

#include <optional>
#include <ostream>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::test;
using virtio::error;

struct place {
    bool on_pci;
    std::uint16_t vectors;
    bool packed;
};

std::ostream& operator<<(std::ostream& out, const place& where) {
    return out << (where.on_pci ? "PCI, " : "MMIO, ") << where.vectors << " vectors"
               << (where.packed ? ", packed" : ", split");
}

constexpr place places[] = {{false, 0, false}, {false, 0, true}, {true, 0, false},
                            {true, 0, true},   {true, 3, false}, {true, 3, true}};

constexpr unsigned until_reset = block::queue::lost_until_reset;

setup at_place(const place& where, unsigned queues = 1) {
    setup s = of_version(2, [&](blk_configuration& c) {
        c.queues = queues;
        c.queue_size_max = 8;
        offer(c, bits::ring_reset);
        if (where.packed)
            offer(c, bits::ring_packed);
        if (where.on_pci)
            c.pci.emplace().vectors = where.vectors;
    });
    s.vectors = where.vectors;
    s.disk.request_timeout = limit;
    return s;
}

// The queues of the device interrupt no more, until one of them is reset, or the device.
void stop_interrupts(world& w, const std::function<void()>& at_reset = {}) {
    w.model().inject(fault::no_interrupt, 0, model::forever);
    const bool on_pci = w.model().configuration().pci.has_value();
    w.model().behave.before_access = [&w, on_pci, at_reset](std::uint64_t, std::uint64_t offset, bool write) {
        const bool resets_queue = offset == (on_pci ? 58U : model::reg::queue_reset);
        const bool resets_device = offset == (on_pci ? 20U : model::reg::status);
        if (!write || !(resets_queue || resets_device))
            return;
        if (resets_queue && at_reset)
            at_reset();
        w.model().clear_faults();
        w.model().behave.before_access = {};
    };
}

// Reads one sector after the other.
void read_slowly(world& w, unsigned times) {
    auto memory = w.buffer(512);
    for (unsigned i = 0; i < times; ++i) {
        BOOST_TEST(w.read(i, memory) == status::ok);
        BOOST_TEST(same(memory, w.on_disk(i, 1)));
    }
}

} // namespace

BOOST_AUTO_TEST_SUITE(queue_reset)

BOOST_AUTO_TEST_CASE(a_queue_whose_interrupts_have_stopped_is_reset) {
    for (const place& where : places)
        for (const bool slow : {false, true})
            BOOST_TEST_CONTEXT(where << (slow ? ", slow" : "")) {
                world w{at_place(where)};
                w.start_all();
                BOOST_TEST(w.model().accepted(bits::ring_reset));
                w.model().behave.queue_reset_reads = slow ? 100 : 0;
                exercise(w);
                for (std::uint64_t round = 1; round <= 3; ++round) {
                    read_slowly(w, 11); // so that the indices are anywhere
                    const std::uint64_t resets = w.model().resets();
                    const std::uint64_t interrupts = w.disk().count(0).interrupts;
                    stop_interrupts(w);
                    read_slowly(w, until_reset);
                    w.settle();
                    BOOST_TEST(w.disk().count().queue_resets == round);
                    BOOST_TEST(w.disk().count().lost_interrupts == round * until_reset);
                    BOOST_TEST(w.disk().count(0).interrupts == interrupts);
                    const ticks before = w.host.time();
                    read_slowly(w, 11);
                    BOOST_TEST(w.host.time() - before < limit / 4);
                    BOOST_TEST(w.disk().count(0).interrupts == interrupts + 11);
                    BOOST_TEST(w.model().resets() == resets);
                }
                BOOST_TEST(w.disk().count().resets == 0U);
                exercise(w);
            }
}

BOOST_AUTO_TEST_CASE(an_interrupt_between_those_that_are_lost_is_enough) {
    world w{at_place(places[0])};
    w.start_all();
    for (unsigned round = 0; round < 5; ++round) {
        w.model().inject(fault::no_interrupt, 0, until_reset - 1);
        read_slowly(w, until_reset);
    }
    BOOST_TEST(w.disk().count().lost_interrupts == 5 * (until_reset - 1));
    BOOST_TEST(w.disk().count().queue_resets == 0U);
}

BOOST_AUTO_TEST_CASE(without_the_feature_the_queue_stays_as_it_is) {
    for (const place& where : places)
        BOOST_TEST_CONTEXT(where) {
            setup s = at_place(where);
            s.disk.features_off = bit(bits::ring_reset);
            world w{s};
            w.start_all();
            BOOST_TEST(!w.model().accepted(bits::ring_reset));
            w.model().inject(fault::no_interrupt, 0, model::forever);
            read_slowly(w, 2 * until_reset);
            BOOST_TEST(w.disk().count().lost_interrupts == 2 * until_reset);
            BOOST_TEST(w.disk().count().queue_resets == 0U);
            BOOST_TEST(w.disk().count().resets == 0U);
        }
}

// What the queue has is awaited, and nothing is submitted meanwhile. (The model says so if it is not.)
BOOST_AUTO_TEST_CASE(what_the_queue_has_is_awaited) {
    for (const place& where : places)
        BOOST_TEST_CONTEXT(where) {
            world w{at_place(where)};
            w.start_all();
            w.model().behave.random_order = true;
            w.model().behave.latency_for = [](const model::request_view& view) {
                return std::optional<ticks>{view.sector % 2 == 0 ? 50 : 3 * limit / 8};
            };
            stop_interrupts(w);
            unsigned over = 0;
            auto reader = [&](std::uint64_t first) -> task<void> {
                auto memory = w.buffer(512);
                for (std::uint64_t i = 0; i < 40; ++i) {
                    BOOST_TEST(co_await w.disk().read(first + i, memory) == status::ok);
                    BOOST_TEST(same(memory, w.on_disk(first + i, 1)));
                }
                ++over;
            };
            for (std::uint64_t i = 0; i < 6; ++i)
                w.spawn(reader(100 * i + i));
            w.finish();
            BOOST_TEST(over == 6U);
            BOOST_TEST(w.disk().count().queue_resets == 1U);
            BOOST_TEST(w.disk().count().resets == 0U);
        }
}

// The device has a slow request of the queue when the third interrupt is lost.
BOOST_AUTO_TEST_CASE(a_slow_request_of_the_queue_is_awaited) {
    constexpr std::uint64_t slow_sector = 4000;
    for (const place& where : places)
        BOOST_TEST_CONTEXT(where) {
            world w{at_place(where)};
            w.start_all();
            w.model().behave.random_order = true;
            w.model().behave.latency_for = [](const model::request_view& view) {
                return std::optional<ticks>{view.sector == slow_sector ? 7 * limit / 4 : 50};
            };
            unsigned resets = 0;
            stop_interrupts(w, [&] {
                ++resets;
                BOOST_TEST(w.model().in_flight() == 0U);
            });
            bool slow_ended = false;
            auto slow = [&]() -> task<void> {
                auto memory = w.buffer(512);
                BOOST_TEST(co_await w.disk().read(slow_sector, memory) == status::ok);
                BOOST_TEST(same(memory, w.on_disk(slow_sector, 1)));
                BOOST_TEST(w.disk().count().lost_interrupts >= until_reset); // so the reset was requested before
                slow_ended = true;
            };
            auto reader = [&]() -> task<void> {
                auto memory = w.buffer(512);
                std::uint64_t i = 0;
                while (!slow_ended) {
                    BOOST_TEST(co_await w.disk().read(i, memory) == status::ok);
                    BOOST_TEST(same(memory, w.on_disk(i, 1)));
                    ++i;
                }
            };
            w.spawn(slow());
            w.spawn(reader());
            w.finish();
            BOOST_TEST(resets == 1U);
            BOOST_TEST(w.disk().count().queue_resets == 1U);
            BOOST_TEST(w.disk().count().resets == 0U);
            w.model().behave.latency_for = {};
            exercise(w);
        }
}

// What another queue has stays with the device.
BOOST_AUTO_TEST_CASE(only_the_queue_itself_has_to_be_empty) {
    constexpr std::uint64_t slow_sector = 4000;
    for (const place& where : places)
        BOOST_TEST_CONTEXT(where) {
            world w{at_place(where, 2)};
            w.start_all();
            w.model().behave.random_order = true;
            w.model().behave.latency_for = [](const model::request_view& view) {
                return std::optional<ticks>{view.sector == slow_sector ? 7 * limit / 4 : 50};
            };
            bool slow_ended = false;
            auto slow = [&]() -> task<void> {
                auto memory = w.buffer(512);
                BOOST_TEST(co_await w.disk().read(slow_sector, memory) == status::ok);
                BOOST_TEST(same(memory, w.on_disk(slow_sector, 1)));
                slow_ended = true;
            };
            unsigned resets = 0;
            stop_interrupts(w, [&] {
                ++resets;
                BOOST_TEST(w.model().in_flight() == 1U); // in a queue that has lost fewer
                BOOST_TEST(!slow_ended);
            });
            auto reader = [&]() -> task<void> { // the queues take turns
                auto memory = w.buffer(512);
                std::uint64_t i = 0;
                while (!slow_ended) {
                    ++i;
                    BOOST_TEST(co_await w.disk().read(i, memory) == status::ok);
                    BOOST_TEST(same(memory, w.on_disk(i, 1)));
                    if (resets != 0)
                        co_await async::sleep_for(limit / 8);
                }
            };
            auto both = [&]() -> task<void> {
                w.spawn(slow());
                co_await async::sleep_for(100); // the device has it, in the first queue
                w.spawn(reader());
            };
            w.run(both());
            BOOST_TEST(resets == 1U);
            BOOST_TEST(w.disk().count().queue_resets == 1U);
            BOOST_TEST(w.disk().count().resets == 0U);
            w.model().behave.latency_for = {};
            exercise(w);
        }
}

struct failure {
    const char* what;
    std::function<void(virtio_blk_model&)> arrange;
};

// As QEMU on MMIO: the register reads 0, and the queue goes on. Then the device is reset, once.
BOOST_AUTO_TEST_CASE(a_device_that_does_not_reset_its_queues_is_reset) {
    const failure failures[] = {
        {"ignored",
         [](virtio_blk_model& m) {
             m.behave.queue_reset_ignored = true;
         }},
        {"never done",
         [](virtio_blk_model& m) {
             m.behave.queue_reset_reads = ~0U;
         }},
    };
    for (const place& where : places)
        for (const failure& each : failures)
            BOOST_TEST_CONTEXT(where << ", " << each.what) {
                setup s = at_place(where);
                s.machine.cost_of_access = 5000;
                s.disk.request_timeout = 100 * limit;
                world w{s};
                w.start_all();
                each.arrange(w.model());
                stop_interrupts(w);
                read_slowly(w, until_reset);
                w.settle();
                BOOST_TEST(w.disk().count().resets == 1U);
                BOOST_TEST(w.disk().count().queue_resets == 0U);
                BOOST_TEST(!w.disk().properties().can_reset_queues);
                BOOST_TEST(w.host.time() < 3 * arch::ticks_per_second());
                exercise(w);
                w.model().inject(fault::no_interrupt, 0, model::forever);
                read_slowly(w, 2 * until_reset);
                BOOST_TEST(w.disk().count().resets == 1U);
            }
}

// A device that ignores the reset may still read the ring, so nothing is written there before the device is reset.
BOOST_AUTO_TEST_CASE(the_ring_of_a_queue_that_was_not_reset_stays_as_it_is) {
    for (const place& where : places)
        BOOST_TEST_CONTEXT(where) {
            world w{at_place(where)};
            w.start_all();
            w.model().behave.queue_reset_ignored = true;
            w.model().inject(fault::no_interrupt, 0, model::forever);
            const auto ring = [&w] {
                virtio::virtqueue& of = w.disk().unsafe_queue(0).ring();
                const std::size_t bytes = of.size() * std::size_t{16}; // a descriptor
                const std::byte* first = w.host.translate(of.addresses().descriptors, bytes);
                return std::vector<std::byte>{first, first + bytes};
            };
            std::vector<std::byte> before;
            unsigned device_resets = 0;
            w.model().behave.before_access = [&](std::uint64_t, std::uint64_t offset, bool write) {
                if (write && offset == (where.on_pci ? 58U : model::reg::queue_reset)) {
                    w.model().clear_faults();
                    before = ring();
                } else if (write && offset == (where.on_pci ? 20U : model::reg::status) && device_resets++ == 0) {
                    BOOST_TEST(!before.empty());
                    BOOST_TEST(ring() == before);
                }
            };
            read_slowly(w, until_reset);
            w.settle();
            BOOST_TEST(device_resets != 0U);
            BOOST_TEST(w.disk().count().resets == 1U);
            exercise(w);
            w.model().behave.before_access = {};
        }
}

// The queue was reset, and the device does not take it again as it was.
BOOST_AUTO_TEST_CASE(a_device_that_does_not_take_its_queue_again_is_reset) {
    for (const place& where : places)
        for (const fault what : {fault::queue_size_zero, fault::notify_out_of_range, fault::vector_refused}) {
            if (what != fault::queue_size_zero && !where.on_pci)
                continue;
            if (what == fault::vector_refused && where.vectors == 0)
                continue;
            BOOST_TEST_CONTEXT(where << ", fault " << static_cast<int>(what)) {
                world w{at_place(where)};
                w.start_all();
                stop_interrupts(w);
                const auto clear = w.model().behave.before_access;
                w.model().behave.before_access = [&w, clear, what](std::uint64_t n, std::uint64_t offset, bool write) {
                    clear(n, offset, write);
                    if (w.model().fired(fault::no_interrupt) == 0)
                        w.model().inject(what);
                };
                read_slowly(w, until_reset);
                w.settle();
                BOOST_TEST(w.model().fired(what) == 1U);
                BOOST_TEST(w.disk().count().resets == 1U);
                BOOST_TEST(w.disk().count().queue_resets == 0U);
                exercise(w);
            }
        }
}

BOOST_AUTO_TEST_SUITE_END()
