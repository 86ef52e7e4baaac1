// Interrupts, notifications and polling: nothing is lost, and nothing is said in vain.
#include "tests/host/disk_setups.hpp"

namespace {

using namespace inflight;
using namespace inflight::test;
using virtio::error;

} // namespace

BOOST_AUTO_TEST_SUITE(interrupts)

struct way {
    poll_mode poll;
    std::uint32_t version;
    bool event_idx;
};

std::vector<way> all_ways() {
    std::vector<way> ways;
    for (const poll_mode poll : {poll_mode::off, poll_mode::adaptive, poll_mode::always})
        for (const std::uint32_t version : versions)
            for (const bool event_idx : {true, false})
                ways.push_back({poll, version, event_idx});
    return ways;
}

setup of_way(const way& how, unsigned queues = 1) {
    setup s = of_version(how.version, [&](auto& c) {
        c.queues = queues;
        c.superfluous_permitted = 0;
        if (!how.event_idx)
            withdraw(c, bits::event_idx);
    });
    s.poll = how.poll;
    s.machine.cost_of_now = how.poll == poll_mode::off ? 1 : 20;
    return s;
}

BOOST_AUTO_TEST_CASE(nothing_is_lost_whatever_the_device_does_with_interrupts) {
    using arrangement = std::function<void(world&)>;
    const std::pair<const char*, arrangement> arrangements[] = {
        {"nothing",
         [](world&) {
         }},
        {"completion in the window after re-arming",
         [](world& w) {
             w.model().behave.complete_in_rearm_window = true;
         }},
        {"completion at the acknowledgement",
         [](world& w) {
             w.model().behave.complete_at_acknowledge = true;
         }},
        {"both",
         [](world& w) {
             w.model().behave.complete_in_rearm_window = true;
             w.model().behave.complete_at_acknowledge = true;
         }},
        {"spurious interrupts",
         [](world& w) {
             w.model().behave.spurious_chance = 500;
         }},
        {"suppressed interrupts come",
         [](world& w) {
             w.model().behave.interrupt_suppressed_chance = 500;
         }},
        {"undefined bits",
         [](world& w) {
             w.model().behave.undefined_interrupt_bits = true;
         }},
        {"slow and in bursts",
         [](world& w) {
             w.model().behave.burst = 5;
             w.model().behave.latency_max = 5000;
             w.model().behave.random_order = true;
         }},
        {"no notification wanted for a while",
         [](world& w) {
             w.model().behave.suppress_for = 300;
         }},
        {"notification wanted later",
         [](world& w) {
             w.model().behave.avail_event_ahead = 6;
         }},
        {"noise in the field that does not count",
         [](world& w) {
             w.model().behave.used_flags_noise = true;
             w.model().behave.avail_event_noise = true;
         }},
        {"at once",
         [](world& w) {
             w.model().behave.notification_latency_min = w.model().behave.notification_latency_max = 0;
             w.model().behave.latency_min = w.model().behave.latency_max = 0;
         }},
        {"waking up for nothing",
         [](world& w) {
             auto options = w.host.options();
             options.spurious_wake_ups = 300;
             w.host.options(options);
         }},
    };
    unsigned cells = 0;
    for (const way& how : all_ways())
        for (const auto& [name, arrange] : arrangements)
            for (const unsigned queues : {1U, 3U})
                BOOST_TEST_CONTEXT(name << ", poll " << static_cast<int>(how.poll) << ", version " << how.version
                                        << ", EVENT_IDX " << how.event_idx << ", queues " << queues) {
                    world w{of_way(how, queues)};
                    w.start_all();
                    arrange(w);
                    read_a_lot(w, 1, 20);
                    read_a_lot(w, 12, 20);
                    w.model().behave.burst = 1;
                    ++cells;
                }
    BOOST_TEST_MESSAGE(cells << " cells of interrupt discipline");
}

BOOST_AUTO_TEST_CASE(an_interrupt_with_no_cause_is_counted_and_harmless) {
    for (const way& how : all_ways()) {
        world w{of_way(how)};
        w.start_all();
        for (unsigned i = 0; i < 5; ++i)
            w.model().raise_used_interrupt();
        w.disk().handle_line(); // a shared line
        BOOST_TEST(w.disk().count().interrupts == 6U);
        BOOST_TEST(w.disk().count().spurious == 1U);
        exercise(w);
    }
}

// A line may be shared, stuck, or left over from whoever used the device before: its interrupt can come at any time.
BOOST_AUTO_TEST_CASE(an_interrupt_before_the_disk_has_started_is_harmless) {
    for (const std::uint32_t version : versions) {
        world w{of_version(version)};
        const std::uintptr_t base = w.model().configuration().base;
        BOOST_REQUIRE_EQUAL(virtio::identify_mmio(base).outcome, error::none);
        modern_transport device{base};
        block::disk disk{device};
        w.model().clear_accesses();
        BOOST_TEST(!disk.handle_line());
        BOOST_TEST(!disk.look_for_completions());
        for (const model::register_access& each : w.model().accesses())
            BOOST_TEST((each.offset == 0x60 || each.offset == 0x64)); // InterruptStatus and InterruptACK
        w.start_all();
        exercise(w);
    }
    // And a disk that could not be started.
    world w{one_disk([](auto& c) { c.queue_size_max = 2; })};
    BOOST_TEST(w.start() == error::queue_too_small);
    w.model().raise_used_interrupt();
    w.disk().handle_line();
    w.model().raise_config_interrupt();
    w.disk().handle_line();
    w.checked_at_end = false;
}

// A change that is announced while the disk starts is not lost: not even one that comes just after the look at it.
BOOST_AUTO_TEST_CASE(a_change_at_any_moment_of_the_start_is_seen) {
    constexpr std::uint64_t now_sectors = 1234;
    unsigned before = 0;
    for (const std::uint32_t version : versions)
        for (ticks when = 1; when < 200; ++when) {
            world w{of_version(version)};
            bool changed = false;
            w.host.at(when, [&] {
                changed = true;
                w.model().set_capacity(now_sectors);
            });
            w.start_all();
            before += changed ? 1 : 0;
            w.settle();
            if (!changed)
                continue;
            BOOST_TEST(w.disk().properties().capacity == now_sectors, "version " << version << ", at " << when);
        }
    BOOST_TEST(before > 20U);
}

// Whose interrupts do not arrive is served by looks, as by interrupts.
BOOST_AUTO_TEST_CASE(a_look_finds_what_an_interrupt_should_have_told) {
    for (const way& how : all_ways()) {
        world w{of_way(how)};
        w.start_all();
        w.host.enable_line(w.model().configuration().line, false);
        std::vector<status> ends;
        auto into = w.buffer(4096);
        auto reads = [&]() -> task<void> {
            for (std::uint64_t sector = 0; sector < 50; ++sector)
                ends.push_back(co_await w.disk().read(8 * sector, into));
        };
        w.spawn(reads());
        unsigned found = 0;
        std::function<void()> look;
        async::callback calling{[](void* self) noexcept { (*static_cast<std::function<void()>*>(self))(); }, &look};
        async::timer clock;
        look = [&] {
            found += w.disk().look_for_completions() ? 1 : 0;
            clock.deadline = arch::now() + 1000;
            w.hart.make_ready_at(clock);
        };
        clock.continuation = calling.handle();
        clock.deadline = arch::now() + 1000;
        w.hart.make_ready_at(clock);
        w.finish();
        w.hart.cancel(clock);
        BOOST_TEST(ends.size() == 50U);
        BOOST_TEST(std::count(ends.begin(), ends.end(), status::ok) == 50);
        if (how.poll == poll_mode::off)
            BOOST_TEST(found == 50U);
        BOOST_TEST(w.disk().count().interrupts == 0U);
        BOOST_TEST(w.disk().count(0).interrupts == 0U);
        w.checked_at_end = false; // its last interrupt is still pending at the line that nobody serves
    }
}

// The driver is driven by interrupts: without any, it waits for ever.
BOOST_AUTO_TEST_CASE(without_its_interrupt_a_sleeping_hart_waits) {
    for (const std::uint32_t version : versions) {
        world w{of_version(version)};
        w.start_all();
        w.model().inject(fault::no_interrupt);
        auto memory = w.buffer(512);
        status outcome = status::device_lost;
        auto work = [&]() -> task<void> {
            outcome = co_await w.disk().read(0, memory);
        };
        w.spawn(work());
        BOOST_TEST(!w.run_until([&] { return w.scope.size() == 0; }));
        w.host.clear_stall();
        w.model().raise_used_interrupt();
        w.finish();
        BOOST_TEST(outcome == status::ok);
    }
}

BOOST_AUTO_TEST_CASE(one_doorbell_and_one_interrupt_serve_a_batch) {
    for (const way& how : all_ways()) {
        world w{of_way(how)};
        w.start_all();
        w.model().behave.burst = 32;
        read_a_lot(w, 32, 100);
        const model::queue_counters count = w.model().total();
        BOOST_TEST(count.completed == 3200U);
        // A hart that polls may try for 32 rounds whether this device stays awake once it is notified early. It does
        // not.
        const unsigned trial = how.poll == poll_mode::off ? 0 : 32;
        BOOST_TEST((count.notifications == 100U || count.notifications == 100U + trial), count.notifications);
        BOOST_TEST(count.interrupts <= 100U);
        BOOST_TEST(w.disk().count(0).notifications == count.notifications);
        if (how.poll == poll_mode::off)
            BOOST_TEST(w.disk().count().interrupts == 100U);
    }
}

BOOST_AUTO_TEST_CASE(alone_each_request_has_its_doorbell_and_its_interrupt) {
    for (const way& how : all_ways()) {
        if (how.poll != poll_mode::off)
            continue;
        world w{of_way(how)};
        w.start_all();
        read_a_lot(w, 1, 100);
        BOOST_TEST(w.model().total().notifications == 100U);
        BOOST_TEST(w.model().total().interrupts == 100U);
        BOOST_TEST(w.disk().count(0).interrupts == 100U);
        BOOST_TEST(w.hart.count().sleeps >= 100U);
    }
}

BOOST_AUTO_TEST_CASE(a_polling_hart_takes_no_interrupts) {
    for (const way& how : all_ways()) {
        if (how.poll != poll_mode::always)
            continue;
        world w{of_way(how)};
        w.start_all();
        read_a_lot(w, 8, 100);
        BOOST_TEST(w.hart.count().sleeps == 0U);
        BOOST_TEST(w.disk().count().interrupts <= 1U); // with EVENT_IDX the first wish stands at index 0
    }
}

BOOST_AUTO_TEST_CASE(suppressed_notifications_are_not_sent) {
    for (const way& how : all_ways()) {
        world w{of_way(how)};
        w.start_all();
        w.model().behave.suppress_for = 400;
        read_a_lot(w, 16, 100);
        BOOST_TEST(w.model().total().superfluous == 0U);
        BOOST_TEST(w.model().total().notifications < 1600U / 4);
    }
}

BOOST_AUTO_TEST_SUITE_END()
