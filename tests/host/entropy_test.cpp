// The entropy driver against the strict model of its device.

#include "async/message.hpp"
#include "async/sync_wait.hpp"
#include "drivers/entropy/entropy.hpp"
#include "tests/host/one_queue_fixture.hpp"
#include "tests/model/virtio_rng_model.hpp"

namespace {

using namespace inflight;
using namespace inflight::test;
using model::rng_configuration;
using model::virtio_rng_model;
using virtio::error;
namespace bits = model::feature;

constexpr ticks patience = 50'000;

class rng_world : public one_queue_world<entropy, virtio_rng_model> {
  public:
    explicit rng_world(rng_configuration configuration = {}, delivery by = delivery::line,
                       std::size_t memory_bytes = std::size_t{1} << 16)
        : one_queue_world{virtio::device_id::entropy, configuration, by, memory_bytes} {}

    error start() { return driver->start(memory, patience, 0); }

    task<void> fill_one(std::span<std::byte> into, error& outcome) { outcome = co_await driver->fill(into); }

    // Runs until nothing happens any more.
    void run() {
        for (int round = 0; scope.size() != 0; ++round) {
            if (round > 200'000 || host.stalled()) {
                BOOST_ERROR("a fill does not end");
                arch::panic("a fill does not end");
            }
            if (!hart.tick() && scope.size() != 0)
                hart.idle();
        }
    }
    error fill(std::span<std::byte> into) {
        error outcome = error::no_device;
        BOOST_REQUIRE(scope.spawn(fill_one(into, outcome)));
        run();
        return outcome;
    }
    // Fills so many bytes, and requires that they are what the device has written since, and that no other is touched.
    void fill_and_check(std::size_t bytes) {
        const std::size_t before = device.given().size();
        std::vector<std::byte> all(bytes + 32, std::byte{0x5a});
        BOOST_TEST(fill(std::span{all}.subspan(16, bytes)) == error::none);
        BOOST_REQUIRE_EQUAL(device.given().size(), before + bytes);
        BOOST_TEST(
            std::equal(all.begin() + 16, all.end() - 16, device.given().begin() + static_cast<std::ptrdiff_t>(before)));
        for (std::size_t i = 0; i < 16; ++i)
            BOOST_TEST((all[i] == std::byte{0x5a} && all[bytes + 16 + i] == std::byte{0x5a}));
    }

    async::counting_scope scope;
};

BOOST_AUTO_TEST_SUITE(entropy_tests)

BOOST_AUTO_TEST_CASE(every_byte_is_filled_with_what_the_device_gave) {
    for (const way& how : all_ways()) {
        rng_world w{how.configuration, how.by};
        BOOST_REQUIRE_EQUAL(w.start(), error::none);
        for (const std::size_t bytes : {0U, 1U, 2U, 511U, 512U, 513U, 1024U, 5000U})
            w.fill_and_check(bytes);
        BOOST_TEST(w.driver->failure() == error::none);
        BOOST_TEST(w.device.resets() == 1U);
        BOOST_TEST(w.device.notifications() == w.device.buffers().size());
    }
}

// The device MAY use less of a buffer than it has (5.4.6).
BOOST_AUTO_TEST_CASE(a_buffer_that_is_filled_in_part_is_asked_for_again) {
    for (const way& how : all_ways())
        for (const std::uint32_t most : {1U, 7U, 500U}) {
            rng_world w{how.configuration, how.by};
            BOOST_REQUIRE_EQUAL(w.start(), error::none);
            w.device.behave.max_bytes = most;
            w.fill_and_check(1300);
            w.fill_and_check(3);
        }
}

BOOST_AUTO_TEST_CASE(fills_at_once_are_served_one_after_the_other) {
    rng_world w;
    BOOST_REQUIRE_EQUAL(w.start(), error::none);
    w.device.behave.max_bytes = 100;
    std::vector<std::vector<std::byte>> bytes(5, std::vector<std::byte>(700));
    std::vector<error> outcomes(bytes.size(), error::no_device);
    for (std::size_t i = 0; i < bytes.size(); ++i)
        BOOST_REQUIRE(w.scope.spawn(w.fill_one(bytes[i], outcomes[i])));
    w.run();
    std::vector<std::byte> all;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        BOOST_TEST(outcomes[i] == error::none);
        all.insert(all.end(), bytes[i].begin(), bytes[i].end());
    }
    BOOST_TEST((all == w.device.given()));
}

// ---- devices that break the rules

struct lie {
    const char* name;
    std::optional<std::uint32_t> length, id;
    std::uint16_t index_step = 1;
};

BOOST_AUTO_TEST_CASE(what_the_device_claims_is_bounded_by_what_it_was_asked_for) {
    const lie lies[] = {{"one byte too many", 101, {}},
                        {"all ones", ~0U, {}},
                        {"the whole buffer", 512, {}},
                        {"half of the numbers", 1U << 31, {}},
                        {"nothing", 0, {}},
                        {"an id that is none", {}, 64},
                        {"an id of all ones", {}, ~0U},
                        {"another descriptor", {}, 1},
                        {"two at once", {}, {}, 2},
                        {"backwards", {}, {}, 0xffff},
                        {"half way round", {}, {}, 0x8000}};
    for (const way& how : all_ways())
        for (const lie& each : lies) {
            BOOST_TEST_CONTEXT(each.name << ", version " << how.configuration.version) {
                rng_world w{how.configuration, how.by};
                BOOST_REQUIRE_EQUAL(w.start(), error::none);
                w.fill_and_check(40);
                w.device.behave.lies = 1;
                w.device.behave.used_length = each.length;
                w.device.behave.used_id = each.id;
                w.device.behave.used_index_step = each.index_step;
                std::vector<std::byte> all(132, std::byte{0x5a});
                BOOST_TEST(w.fill(std::span{all}.subspan(16, 100)) == error::protocol_violation);
                BOOST_TEST(std::all_of(all.begin(), all.end(), [](std::byte b) { return b == std::byte{0x5a}; }));
                BOOST_TEST(w.driver->failure() == error::none);
                w.fill_and_check(600); // after a reset it is as good as new
                BOOST_TEST(w.device.resets() == 2U);
            }
        }
}

// What it gave before is not taken for something new.
BOOST_AUTO_TEST_CASE(a_device_that_writes_nothing_repeats_nothing) {
    rng_world w;
    BOOST_REQUIRE_EQUAL(w.start(), error::none);
    w.fill_and_check(512);
    w.device.behave.writes_nothing = true;
    std::byte bytes[512];
    BOOST_TEST(w.fill(bytes) == error::none);
    BOOST_TEST(std::all_of(std::begin(bytes), std::end(bytes), [](std::byte b) { return b == std::byte{0}; }));
}

BOOST_AUTO_TEST_CASE(a_buffer_that_was_never_given_ends_nothing_and_keeps_no_hart_awake) {
    for (const way& how : all_ways()) {
        rng_world w{how.configuration, how.by};
        BOOST_REQUIRE_EQUAL(w.start(), error::none);
        w.fill_and_check(40);
        while (w.hart.tick()) {
        }
        w.device.use_nothing();
        for (int round = 0; round < 20; ++round)
            w.hart.tick();
        BOOST_TEST(!w.hart.tick());
        w.hart.idle(); // stalls: there is nothing that it waits for
        BOOST_TEST(w.host.stalled());
        w.host.clear_stall();
        w.fill_and_check(40);
        BOOST_TEST(w.device.resets() == 2U);
    }
}

BOOST_AUTO_TEST_CASE(a_device_that_asks_for_a_reset_gets_it) {
    for (const way& how : all_ways()) {
        rng_world w{how.configuration, how.by};
        BOOST_REQUIRE_EQUAL(w.start(), error::none);
        w.fill_and_check(40);
        w.device.raise_needs_reset(); // while it has nothing to do
        w.fill_and_check(40);
        BOOST_TEST(w.device.resets() == 2U);
        w.device.behave.needs_reset = 1; // while it has the buffer
        w.fill_and_check(1000);
        BOOST_TEST(w.device.resets() == 3U);
        const ticks before = w.host.time();
        w.device.behave.needs_reset = ~0U;
        std::byte bytes[10];
        BOOST_TEST(w.fill(bytes) == error::needs_reset);
        BOOST_TEST(w.host.time() - before < patience); // it did not even have to wait
        w.device.behave.needs_reset = 0;
        w.fill_and_check(10);
    }
}

BOOST_AUTO_TEST_CASE(a_silent_device_ends_in_time) {
    for (const way& how : all_ways()) {
        rng_world w{how.configuration, how.by};
        BOOST_REQUIRE_EQUAL(w.start(), error::none);
        w.device.behave.silent = 1;
        const ticks before = w.host.time();
        std::byte bytes[600];
        BOOST_TEST(w.fill(bytes) == error::timed_out);
        BOOST_TEST(w.host.time() - before < 2 * patience);
        BOOST_TEST(w.driver->failure() == error::none);
        w.fill_and_check(600);
        BOOST_TEST(w.device.resets() == 2U);
    }
}

BOOST_AUTO_TEST_CASE(a_device_that_does_not_even_reset_is_lost) {
    for (const std::uint32_t version :
         {1U, 2U}) { // its second of patience is long on a machine that simulates each look
        rng_world w{{.version = version}};
        BOOST_REQUIRE_EQUAL(w.start(), error::none);
        w.device.behave.silent = 1;
        w.device.behave.never_resets = true;
        std::byte bytes[600];
        BOOST_TEST(w.fill(bytes) == error::timed_out);
        BOOST_TEST(w.fill(bytes) == error::reset_timeout);
        BOOST_TEST(w.driver->failure() == error::reset_timeout);
        const std::uint64_t resets = w.device.resets();
        BOOST_TEST(w.fill(bytes) == error::reset_timeout);
        BOOST_TEST(w.device.resets() == resets);
    }
}

// ---- devices that cannot be used

BOOST_AUTO_TEST_CASE(a_device_that_cannot_be_used_says_why) {
    const struct {
        const char* name;
        error outcome;
        rng_configuration configuration;
        bool features_ok = true;
        std::size_t memory = std::size_t{1} << 16;
    } cases[] = {
        {"no queue", error::queue_missing, {.queue_size_max = 0}},
        {"no VERSION_1", error::version_1_missing, {.features = bits::bit(bits::event_idx)}},
        {"features refused", error::features_refused, {}, false},
        {"no memory", error::out_of_memory, {}, true, 100},
        {"memory for the ring alone", error::out_of_memory, {}, true, 1000},
    };
    for (const auto& each : cases) {
        BOOST_TEST_CONTEXT(each.name) {
            rng_world w{each.configuration, delivery::line, each.memory};
            w.device.behave.features_ok = each.features_ok;
            BOOST_TEST(w.start() == each.outcome);
            BOOST_TEST(w.driver->failure() == each.outcome);
            BOOST_TEST(!w.driver->handle_line());
            w.driver->handle_queue();
            std::byte bytes[10];
            BOOST_TEST(w.fill(bytes) == each.outcome);
            BOOST_TEST(!w.device.live());
        }
    }
}

BOOST_AUTO_TEST_CASE(only_features_of_ring_and_transport_are_accepted) {
    rng_world w;
    BOOST_REQUIRE_EQUAL(w.start(), error::none);
    BOOST_TEST(w.device.accepted() ==
               (bits::bit(bits::version_1) | bits::bit(bits::event_idx) | bits::bit(bits::indirect_desc)));
    BOOST_TEST(w.driver->device().accepted() == w.device.accepted());
    BOOST_TEST(w.driver->queue_size() == 8U);
}

// Hart 1 takes the interrupts while hart 0 sleeps.
BOOST_AUTO_TEST_CASE(an_interrupt_that_another_hart_takes_wakes_the_hart_that_waits) {
    for (std::uint64_t seed = 1; seed <= 300; ++seed)
        for (const delivery by : {delivery::line, delivery::messages}) {
            machine host{{.harts = 2, .memory_bytes = std::size_t{1} << 17, .seed = seed, .spurious_wake_ups = 800}};
            virtio_rng_model device{host, {}};
            bounded_memory memory{host, std::size_t{1} << 18};
            device.behave.needs_reset = 1;
            device.behave.latency = seed;
            modern_transport line{device.configuration().base};
            message_transport messages{device.configuration().base};
            entropy driver{by == delivery::line ? static_cast<virtio::transport&>(line) : messages};
            bool ends = false; // of hart 1
            async::message end{[](void* flag) noexcept { *static_cast<bool*>(flag) = true; }, &ends};
            arch::atomic<async::executor*> other{nullptr};
            host.line_handler(device.configuration().line, [&] {
                if (by == delivery::line) {
                    driver.handle_line();
                    return;
                }
                const virtio::interrupt_cause cause = line.acknowledge_interrupt();
                if (cause.has(virtio::interrupt_cause::used_buffer))
                    driver.handle_queue();
                if (cause.has(virtio::interrupt_cause::configuration_change))
                    driver.handle_configuration();
            });
            host.route_line(device.configuration().line, 1);
            alignas(64) std::byte frames[2][16384];
            std::byte bytes[1000] = {};
            error outcome = error::no_device;
            const auto first = [&] {
                async::executor hart{frames[0]};
                hart.set_poll_mode(poll_mode::off);
                BOOST_TEST((virtio::identify_mmio(device.configuration().base).id == virtio::device_id::entropy));
                outcome = driver.start(memory, 10'000'000, 0);
                if (outcome == error::none)
                    outcome = async::sync_wait(driver.fill(bytes));
                while (other.load() == nullptr) {
                }
                end.post(*other.load());
            };
            const auto second = [&] {
                async::executor hart{frames[1]};
                hart.set_poll_mode(poll_mode::off);
                other.store(&hart);
                hart.run_until(ends);
            };
            BOOST_REQUIRE_MESSAGE(host.run({first, second}) == arch::host::run_end::finished, host.describe());
            BOOST_TEST(outcome == error::none);
            BOOST_TEST(host.time() < 10'000'000U); // not by the time limit
            BOOST_TEST(std::equal(device.given().begin(), device.given().end(), std::begin(bytes)));
        }
}

BOOST_AUTO_TEST_CASE(without_a_frame_there_is_an_error) {
    rng_world w;
    BOOST_REQUIRE_EQUAL(w.start(), error::none);
    error outcome = error::no_device;
    std::byte bytes[10];
    const auto starve = [&]() -> task<void> {
        std::vector<void*> taken;
        while (void* const frame = w.hart.frames().allocate(256))
            taken.push_back(frame);
        outcome = co_await w.driver->fill(bytes);
        for (void* const frame : taken)
            w.hart.frames().deallocate(frame, 256);
    };
    BOOST_REQUIRE(w.scope.spawn(starve()));
    w.run();
    BOOST_TEST(outcome == error::out_of_memory);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
