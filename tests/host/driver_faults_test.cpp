// The villain matrix: all that a device must not do, in every state of the driver. Whatever it does, every waiter
// ends once, no buffer that was handed back is written again, and the disk works afterwards or is lost cleanly.
//
// Without a time limit (watchdog_test.cpp has those) what a device keeps for ever ends when the device is found
// to need a reset. Where a fault leaves requests behind, the test says so to the driver, first by an interrupt, then by
// DEVICE_NEEDS_RESET.
#include "tests/host/request_group.hpp"

#include <cstdlib>
#include <map>

namespace {

using namespace inflight;
using namespace inflight::test;
namespace bits = model::feature;

struct villainy {
    fault what;
    const char* name;
    bool needs_a_reset_to_show; // its opportunity comes when the device is set up again
    bool hidden;                // the data may be wrong and nothing tells
};

constexpr villainy villainies[] = {
    {fault::used_index_jump, "used_index_jump", false, false},
    {fault::used_index_backwards, "used_index_backwards", false, false},
    {fault::used_id_out_of_range, "used_id_out_of_range", false, false},
    {fault::used_id_free, "used_id_free", false, false},
    {fault::used_id_mid_chain, "used_id_mid_chain", false, false},
    {fault::used_duplicate, "used_duplicate", false, false},
    {fault::length_too_long, "length_too_long", false, false},
    {fault::length_too_short, "length_too_short", false, false},
    {fault::status_not_written, "status_not_written", false, false},
    {fault::status_unknown, "status_unknown", false, false},
    {fault::io_error, "io_error", false, false},
    {fault::unsupported, "unsupported", false, false},
    {fault::wrong_data, "wrong_data", false, true},
    {fault::no_interrupt, "no_interrupt", false, false},
    {fault::never_complete, "never_complete", false, false},
    {fault::scribble, "scribble", false, false},
    {fault::needs_reset, "needs_reset", false, false},
    {fault::spurious_interrupt, "spurious_interrupt", false, false},
    {fault::interrupt_stuck, "interrupt_stuck", false, false},
    {fault::config_tear, "config_tear", true, false},
    {fault::config_change, "config_change", true, false},
    {fault::generation_unstable, "generation_unstable", true, false},
    {fault::features_refused, "features_refused", true, false},
    {fault::queue_size_zero, "queue_size_zero", true, false},
    {fault::queue_in_use, "queue_in_use", true, false},
    {fault::reset_never, "reset_never", true, false},
    {fault::complete_during_reset, "complete_during_reset", true, false},
    {fault::removed, "removed", false, false},
};

enum class state : unsigned { idle, one, full, draining, scattered, resetting };
constexpr const char* state_names[] = {"idle",     "one in flight", "full with waiters",
                                       "draining", "scattered",     "resetting"};

setup villain_setup(std::uint32_t version, bool event_idx, bool indirect, poll_mode poll, std::uint64_t seed) {
    setup s;
    blk_configuration& c = s.disks[0];
    c.version = version;
    c.queue_size_max = 8;
    c.queues = 2;
    std::uint64_t features = model::usual_features(version);
    if (!event_idx)
        features &= ~bits::bit(bits::event_idx);
    if (!indirect)
        features &= ~bits::bit(bits::indirect_desc);
    c.features = features;
    s.machine.cost_of_access = 100;
    s.machine.cost_of_now = 20;
    s.machine.memory_bytes = std::size_t{1} << 20;
    s.frame_memory = std::size_t{64} << 10;
    c.capacity = 2048;
    s.machine.seed = seed;
    s.poll = poll;
    return s;
}

// Makes the driver look, ever more urgently, until everything has ended.
void bring_to_an_end(world& w, const request_group& requests) {
    const auto over = [&] {
        return requests.over();
    };
    if (w.run_until(over))
        return;
    w.host.clear_stall();
    w.model().raise_used_interrupt();
    if (w.run_until(over))
        return;
    w.host.clear_stall();
    w.model().raise_needs_reset();
    w.disk().handle_line(); // a device that is gone cannot interrupt, but another one on its line can
    if (!w.run_until(over)) {
        BOOST_ERROR("requests do not end\n" << w.host.describe());
        std::abort(); // their frames cannot be destroyed
    }
}

void provoke(world& w, const villainy& evil, std::uint64_t after) {
    w.model().inject(evil.what, after, evil.what == fault::generation_unstable ? model::forever : 1);
    if (evil.needs_a_reset_to_show)
        w.model().raise_needs_reset();
}

struct tally {
    unsigned cells = 0, fired = 0, lost = 0, usable = 0;
};

void run_cell(const villainy& evil, state when, std::uint32_t version, bool event_idx, bool indirect, poll_mode poll,
              std::uint64_t seed, tally& sum) {
    setup s = villain_setup(version, event_idx, indirect, poll, seed);
    if (evil.what == fault::reset_never || evil.what == fault::removed)
        s.machine.cost_of_access = 5000; // the driver waits a second of virtual time: not too many accesses
    world w{s};
    w.start_all();
    request_group requests{w};
    virtio_blk_model& device = w.model();
    std::uint64_t after = 0;
    switch (when) {
    case state::idle:
        provoke(w, evil, 0);
        device.raise_used_interrupt();
        device.raise_config_interrupt();
        w.settle();
        requests.start(0, 4096, 4096, false);
        break;
    case state::one:
        requests.start(0, 4096, 4096, true);
        provoke(w, evil, 0);
        break;
    case state::full:
        device.behave.hold = evil.needs_a_reset_to_show;
        after = 3;
        for (unsigned i = 0; i < 40; ++i)
            requests.start(i * 16, i % 4 == 3 ? 8192 : 512, 4096, i % 3 == 0);
        w.hart.tick();
        provoke(w, evil, evil.needs_a_reset_to_show ? 0 : after);
        break;
    case state::draining:
        device.behave.burst = 6;
        device.behave.hold = evil.needs_a_reset_to_show;
        for (unsigned i = 0; i < 12; ++i)
            requests.start(i * 8, 4096, 2048, i % 2 == 0);
        w.hart.tick();
        provoke(w, evil, evil.needs_a_reset_to_show ? 0 : 2);
        break;
    case state::scattered:
        device.behave.hold = evil.needs_a_reset_to_show;
        requests.start(64, 48 * 512, 512, true);
        requests.start(256, 100 * 512, 512, false);
        requests.start(1024, 512, 512, false);
        w.hart.tick();
        provoke(w, evil, evil.needs_a_reset_to_show ? 0 : 1);
        break;
    case state::resetting:
        device.behave.hold = true;
        device.behave.reset_reads = 3;
        for (unsigned i = 0; i < 20; ++i)
            requests.start(i * 8, 4096, 1024, i % 2 == 0);
        w.hart.tick();
        w.host.run_until(w.host.time() + 2000);
        device.inject(evil.what, 0, evil.what == fault::generation_unstable ? model::forever : 2);
        device.raise_needs_reset();
        device.behave.hold = false;
        break;
    }
    if (device.behave.hold) {
        w.run_until([&] { return w.disk().count().resets != 0; });
        device.behave.hold = false;
    }
    bring_to_an_end(w, requests);
    w.settle();
    const bool fired = device.fired(evil.what) != 0;
    device.clear_faults();
    device.behave = {};
    requests.check(evil.hidden ? requests.size() : 0);

    // A reset that the device did not confirm gives no buffer back; an index out of bounds completes nothing.
    if (evil.what == fault::reset_never || evil.what == fault::removed)
        BOOST_TEST(requests.count(status::device_reset) == 0U);
    if (evil.what == fault::used_index_jump || evil.what == fault::used_index_backwards)
        BOOST_TEST(requests.count(status::device_error) == 0U);

    // And now? A lost disk is lost at once, for ever and without another access; any other one works.
    if (evil.what == fault::scribble && !w.disk().lost()) { // the chains that it wrote over come back with a reset only
        device.raise_needs_reset();
        w.settle();
    }
    if (evil.what == fault::removed && !w.disk().lost())
        w.disk().handle_line();
    w.settle();
    auto memory = w.buffer(20 * 512);
    const auto pieces = cut(memory, 512);
    if (w.disk().lost()) {
        const std::size_t accesses = device.accesses().size();
        const ticks time = w.host.time();
        for (unsigned i = 0; i < 3; ++i)
            BOOST_TEST(w.read(0, memory) == status::device_lost);
        BOOST_TEST(w.flush() == status::device_lost);
        BOOST_TEST(w.discard(0, 8) == status::device_lost);
        BOOST_TEST(device.accesses().size() == accesses);
        BOOST_TEST(w.host.time() - time < 10'000U);
        ++sum.lost;
    } else {
        for (unsigned i = 0; i < 20; ++i) { // through all slots
            BOOST_TEST(w.read(i, memory) == status::ok);
            BOOST_TEST(same(memory, w.on_disk(i, 20)));
        }
        BOOST_TEST(w.await([&] { return w.disk().read(100, pieces); }) == status::ok);
        BOOST_TEST(same(memory, w.on_disk(100, 20)));
        BOOST_TEST(w.flush() == status::ok);
        ++sum.usable;
    }
    requests.check(requests.size()); // still nothing was written
    ++sum.cells;
    sum.fired += fired ? 1 : 0;
}

} // namespace

BOOST_AUTO_TEST_SUITE(driver_faults)

BOOST_AUTO_TEST_CASE(the_villain_matrix) {
    tally sum;
    std::map<fault, unsigned> fired;
    for (const villainy& evil : villainies)
        for (unsigned when = 0; when < std::size(state_names); ++when)
            for (const std::uint32_t version : {2U, 1U})
                for (const bool event_idx : {true, false})
                    for (const bool indirect : {true, false})
                        for (const poll_mode poll : {poll_mode::off, poll_mode::adaptive}) {
                            const bool legacy_has_none =
                                evil.what == fault::generation_unstable || evil.what == fault::features_refused;
                            if (version == 1 && legacy_has_none)
                                continue;
                            BOOST_TEST_CONTEXT(evil.name << ", " << state_names[when] << ", version " << version
                                                         << ", EVENT_IDX " << event_idx << ", INDIRECT_DESC "
                                                         << indirect << ", poll " << static_cast<int>(poll)) {
                                const unsigned before = sum.fired;
                                run_cell(evil, state{when}, version, event_idx, indirect, poll, 1 + when, sum);
                                fired[evil.what] += sum.fired - before;
                            }
                        }
    for (const villainy& evil : villainies)
        BOOST_TEST(fired[evil.what] != 0U, "never happened: " << evil.name);
    BOOST_TEST(sum.lost > 0U);
    BOOST_TEST(sum.usable > sum.lost);
    std::printf("villain matrix: %u cells, the fault happened in %u, usable afterwards %u, lost %u\n", sum.cells,
                sum.fired, sum.usable, sum.lost);
}

// Old entries of the used ring look like completions of what is in flight now. The index tells that they are none.
BOOST_AUTO_TEST_CASE(an_index_that_jumps_completes_nothing) {
    for (const std::uint32_t version : {2U, 1U})
        for (const fault jump : {fault::used_index_jump, fault::used_index_backwards}) {
            setup s = villain_setup(version, true, true, poll_mode::off, 1);
            s.disks[0].queues = 1;
            world w{s};
            w.start_all();
            request_group before{w};
            for (unsigned i = 0; i < 24; ++i)
                before.start(i, 512, 512, false);
            w.finish();
            request_group requests{w};
            w.model().behave.hold = true;
            for (unsigned i = 0; i < 8; ++i)
                requests.start(100 + i, 512, 512, false);
            w.settle();
            BOOST_TEST(w.model().in_flight() == 8U);
            w.model().inject(jump);
            w.model().release(1);
            bring_to_an_end(w, requests);
            BOOST_TEST(requests.count(status::device_reset) == 8U);
            BOOST_TEST(w.disk().count().protocol_violations == 1U);
            w.settle();
            requests.check(0);
        }
}

// A completion for what was never asked for.
BOOST_AUTO_TEST_CASE(unsolicited_completions_are_lies) {
    for (const std::uint32_t version : {2U, 1U})
        for (const std::uint32_t id : {0U, 1U, 7U, 8U, 0xffffU, 0xffff'ffffU})
            for (const bool busy : {false, true}) {
                world w{villain_setup(version, true, true, poll_mode::off, 1)};
                w.start_all();
                request_group requests{w};
                w.model().behave.hold = true;
                if (busy)
                    requests.start(0, 512, 512, false);
                w.settle();
                w.model().push_used(1, id, 1); // the queue that has nothing
                w.settle();
                w.model().behave.hold = false;
                bring_to_an_end(w, requests);
                BOOST_TEST(w.disk().count().resets >= 1U);
                auto memory = w.buffer(512);
                BOOST_TEST(w.read(9, memory) == status::ok);
                BOOST_TEST(same(memory, w.on_disk(9, 1)));
            }
}

// A request that was pushed through a device in trouble again and again: none is lost, and none ends twice.
BOOST_AUTO_TEST_CASE(a_thousand_resets_lose_nothing) {
    for (const std::uint32_t version : {2U, 1U}) {
        world w{villain_setup(version, true, true, poll_mode::off, 5)};
        w.start_all();
        auto memory = w.buffer(64 * 512);
        auto work = [&](unsigned number) -> task<void> {
            const auto buffer = memory.subspan(number * std::size_t{512}, 512);
            for (unsigned i = 0; i < 400; ++i) {
                const status outcome = co_await w.disk().read(number + i, buffer);
                BOOST_TEST(outcome == status::ok);
                BOOST_TEST(same(buffer, w.on_disk(number + i, 1)));
            }
        };
        for (unsigned number = 0; number < 64; ++number)
            w.spawn(work(number));
        unsigned troubles = 0;
        const std::function<void()> trouble = [&] {
            if (w.scope.size() == 0)
                return;
            if (w.model().in_flight() != 0) {
                w.model().raise_needs_reset();
                ++troubles;
            }
            if (troubles < 1000)
                w.host.after(1 + w.host.random_below(1500), trouble);
        };
        w.host.after(100, trouble);
        w.finish();
        BOOST_TEST(troubles > 500U);
        BOOST_TEST(w.disk().count().resets > 500U);
    }
}

// Interrupts that never stop make the machine disable the line, and the disk still answers when asked.
BOOST_AUTO_TEST_CASE(an_interrupt_that_cannot_be_acknowledged_does_not_hang_the_hart) {
    for (const std::uint32_t version : {2U, 1U}) {
        world w{villain_setup(version, true, true, poll_mode::off, 1)};
        w.start_all();
        w.permitted = {"STORM", "IDLE"};
        w.model().inject(fault::interrupt_stuck, 0, model::forever);
        auto memory = w.buffer(512);
        BOOST_TEST(w.read(3, memory) == status::ok);
        BOOST_TEST(same(memory, w.on_disk(3, 1)));
        BOOST_TEST(w.host.count("STORM") == 1U);
        w.hart.set_poll_mode(poll_mode::always);
        BOOST_TEST(w.read(5, memory) == status::ok);
        BOOST_TEST(same(memory, w.on_disk(5, 1)));
    }
}

BOOST_AUTO_TEST_SUITE_END()
