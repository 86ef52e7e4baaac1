// The log on a console device against the strict model of that device.

#include "async/message.hpp"
#include "drivers/console/console_log.hpp"
#include "tests/host/one_queue_fixture.hpp"
#include "tests/model/virtio_console_model.hpp"

#include <numeric>

namespace {

using namespace inflight;
using namespace inflight::test;
using model::virtio_console_model;
using virtio::error;
namespace bits = model::feature;

constexpr ticks patience = 200'000;

class log_world : public one_queue_world<console_log, virtio_console_model> {
  public:
    explicit log_world(one_queue_configuration configuration = {}, delivery by = delivery::line,
                       std::size_t memory_bytes = std::size_t{1} << 17)
        : one_queue_world{virtio::device_id::console, configuration, by, memory_bytes} {}

    error start() { return driver->start(memory, 0); }

    // Rounds until the hart and the device have nothing to do.
    void settle() {
        for (int round = 0; !host.stalled(); ++round) {
            if (round > 200'000)
                arch::panic("the log does not settle");
            if (!hart.tick())
                hart.idle();
        }
        host.clear_stall();
    }

    void write(std::string_view text) {
        driver->write(text);
        written += text;
    }

    // All that was written has arrived, once and in order.
    void check_complete() const {
        BOOST_TEST((device.text() == written)); // without printing either
        BOOST_TEST(driver->missing() == 0U);
        BOOST_TEST(driver->failure() == error::none);
        BOOST_TEST(device.in_flight() == 0U);
    }

    std::string written;
};

std::string text_of(std::size_t bytes) {
    std::string text(bytes, ' ');
    for (std::size_t i = 0; i < bytes; ++i)
        text[i] = static_cast<char>('!' + i * i % 91);
    return text;
}

BOOST_AUTO_TEST_SUITE(console_log_tests)

BOOST_AUTO_TEST_CASE(what_is_written_arrives_in_order) {
    for (const way& how : all_ways()) {
        log_world w{how.configuration, how.by};
        BOOST_REQUIRE_EQUAL(w.start(), error::none);
        w.settle();
        BOOST_TEST(w.device.notifications() == 0U);
        // Across the end of the buffer several times.
        for (const std::size_t bytes : {0U, 1U, 80U, 1023U, 65'536U, 3U, 40'000U, 40'000U, 65'535U, 65'536U, 1U}) {
            w.write(text_of(bytes));
            w.settle();
            w.check_complete();
        }
        BOOST_TEST(w.device.resets() == 1U);
        BOOST_TEST(w.device.notifications() == w.device.buffers().size());
    }
}

BOOST_AUTO_TEST_CASE(what_is_written_meanwhile_goes_with_the_next_part) {
    for (const way& how : all_ways()) {
        log_world w{how.configuration, how.by};
        BOOST_REQUIRE_EQUAL(w.start(), error::none);
        w.device.behave.latency = 100'000;
        w.write("first ");
        w.hart.tick();
        for (int line = 0; line < 500; ++line)
            w.write("a line of the log, and not a short one\n");
        w.settle();
        w.check_complete();
        BOOST_TEST(w.device.buffers().size() == 2U); // not one for each line
        BOOST_TEST(w.device.notifications() == 2U);
    }
}

BOOST_AUTO_TEST_CASE(text_without_room_is_dropped_as_a_whole_and_counted) {
    log_world w;
    BOOST_REQUIRE_EQUAL(w.start(), error::none);
    const std::string first = text_of(console_log::buffer_size - 10);
    w.driver->write(first);
    w.driver->write("eleven char"); // one too many
    w.driver->write("ten chars\n");
    w.driver->write("!");
    BOOST_TEST(w.driver->missing() == console_log::buffer_size + 12);
    w.settle();
    BOOST_TEST(w.device.text() == first + "ten chars\n");
    BOOST_TEST(w.driver->missing() == 12U);
    w.driver->write(text_of(console_log::buffer_size + 1)); // never has room
    BOOST_TEST(w.driver->missing() == 12 + console_log::buffer_size + 1);
    w.driver->write("and on\n");
    w.settle();
    BOOST_TEST(w.device.text() == first + "ten chars\nand on\n");
    BOOST_TEST(w.driver->failure() == error::none);
}

BOOST_AUTO_TEST_CASE(text_before_the_start_is_dropped) {
    log_world w;
    w.driver->write("early");
    BOOST_TEST(w.driver->missing() == 5U);
    BOOST_REQUIRE_EQUAL(w.start(), error::none);
    w.write("late");
    w.settle();
    BOOST_TEST(w.device.text() == "late");
    BOOST_TEST(w.driver->missing() == 5U);
}

// ---- flush: where no round comes any more

BOOST_AUTO_TEST_CASE(a_flush_waits_until_the_device_has_used_everything) {
    for (const way& how : all_ways())
        for (const bool within_a_round : {false, true}) {
            log_world w{how.configuration, how.by};
            BOOST_REQUIRE_EQUAL(w.start(), error::none);
            w.driver->flush(patience); // nothing to wait for
            w.write(text_of(50'000));
            w.settle(); // the hart slept: the queue is armed
            w.write(text_of(60'000));
            if (within_a_round) {
                const auto last_words = [&]() -> task<void> {
                    w.write("the last words\n");
                    w.driver->flush(patience);
                    w.check_complete();
                    co_return;
                };
                async::counting_scope scope;
                BOOST_REQUIRE(scope.spawn(last_words()));
                while (scope.size() != 0)
                    w.hart.tick();
            } else {
                const arch::interrupts_masked no_interrupt_tells;
                w.driver->flush(patience);
                w.check_complete();
            }
            w.write("and after that\n");
            w.settle();
            w.check_complete();
        }
}

BOOST_AUTO_TEST_CASE(a_flush_has_a_time_limit) {
    for (const way& how : all_ways()) {
        log_world w{how.configuration, how.by};
        BOOST_REQUIRE_EQUAL(w.start(), error::none);
        w.device.behave.silent = 1;
        w.driver->write("lost");
        w.settle();
        const ticks before = w.host.time();
        w.driver->flush(patience);
        BOOST_TEST(w.host.time() - before >= patience);
        BOOST_TEST(w.host.time() - before < 2 * patience);
        BOOST_TEST(w.driver->missing() == 4U);
        BOOST_TEST(w.driver->failure() == error::none);
        // What is written from now on is dropped once there is no more room.
        for (std::size_t bytes = 0; bytes < 2 * console_log::buffer_size; bytes += 1000)
            w.driver->write(text_of(1000));
        w.settle();
        BOOST_TEST(w.driver->missing() == 4 + 132'000U);
        BOOST_TEST(w.device.text().empty());
        BOOST_TEST(w.device.buffers().size() == 1U);
    }
}

// ---- devices that break the rules

struct lie {
    const char* name;
    std::optional<std::uint32_t> length, id;
    std::uint16_t index_step = 1;
};

BOOST_AUTO_TEST_CASE(a_device_that_lies_ends_the_log_and_nothing_else) {
    const lie lies[] = {{"a byte was written", 1, {}},  {"all bytes were written", ~0U, {}},
                        {"an id that is none", {}, 64}, {"an id of all ones", {}, ~0U},
                        {"another descriptor", {}, 1},  {"two at once", {}, {}, 2},
                        {"backwards", {}, {}, 0xffff},  {"half way round", {}, {}, 0x8000}};
    for (const way& how : all_ways())
        for (const lie& each : lies)
            for (const bool flushes : {false, true}) {
                BOOST_TEST_CONTEXT(each.name << ", version " << how.configuration.version) {
                    log_world w{how.configuration, how.by};
                    BOOST_REQUIRE_EQUAL(w.start(), error::none);
                    w.write("honest\n");
                    w.settle();
                    w.device.behave.lies = 1;
                    w.device.behave.used_length = each.length;
                    w.device.behave.used_id = each.id;
                    w.device.behave.used_index_step = each.index_step;
                    w.driver->write("12345");
                    const ticks before = w.host.time();
                    flushes ? w.driver->flush(patience) : w.settle();
                    BOOST_TEST(w.host.time() - before < patience);
                    if (each.length && how.configuration.version == 1) { // is to be ignored
                        BOOST_TEST(w.driver->failure() == error::none);
                        BOOST_TEST(w.driver->missing() == 0U);
                        continue;
                    }
                    BOOST_TEST(w.driver->failure() == error::protocol_violation);
                    BOOST_TEST(w.driver->missing() == 5U);
                    w.driver->write("6789");
                    w.settle(); // the hart sleeps
                    w.driver->flush(patience);
                    BOOST_TEST(w.host.time() - before < patience);
                    BOOST_TEST(w.driver->missing() == 9U);
                    BOOST_TEST(w.device.text() == "honest\n12345");
                    BOOST_TEST(w.device.buffers().size() == 2U);
                }
            }
}

BOOST_AUTO_TEST_CASE(a_buffer_that_was_never_given_ends_the_log_and_keeps_no_hart_awake) {
    for (const way& how : all_ways()) {
        log_world w{how.configuration, how.by};
        BOOST_REQUIRE_EQUAL(w.start(), error::none);
        w.settle();
        w.device.use_nothing();
        w.settle();
        BOOST_TEST(w.driver->failure() == error::protocol_violation);
        BOOST_TEST(w.driver->missing() == 0U);
    }
}

BOOST_AUTO_TEST_CASE(a_device_that_asks_for_a_reset_ends_the_log) {
    for (const way& how : all_ways())
        for (const bool has_a_buffer : {false, true})
            for (const bool flushes : {false, true}) {
                log_world w{how.configuration, how.by};
                BOOST_REQUIRE_EQUAL(w.start(), error::none);
                w.settle();
                if (has_a_buffer) {
                    w.device.behave.needs_reset = 1;
                    w.driver->write("lost");
                } else {
                    w.device.raise_needs_reset();
                }
                const ticks before = w.host.time();
                flushes ? w.driver->flush(patience) : w.settle();
                w.settle();
                BOOST_TEST(w.host.time() - before < patience);
                BOOST_TEST(w.driver->failure() == error::needs_reset);
                BOOST_TEST(w.driver->missing() == (has_a_buffer ? 4U : 0U));
                BOOST_TEST(w.device.resets() == 1U);
            }
}

// ---- devices that cannot be used

BOOST_AUTO_TEST_CASE(a_device_that_cannot_be_used_says_why) {
    const struct {
        const char* name;
        error outcome;
        one_queue_configuration configuration;
        bool features_ok = true;
        std::size_t memory = std::size_t{1} << 17;
    } cases[] = {
        {"no queue", error::queue_missing, {.queue_size_max = 0}},
        {"no VERSION_1", error::version_1_missing, {.features = bits::bit(bits::event_idx)}},
        {"features refused", error::features_refused, {}, false},
        {"no memory", error::out_of_memory, {}, true, 1000},
        {"memory for the text alone", error::out_of_memory, {}, true, 65'700},
    };
    for (const auto& each : cases) {
        BOOST_TEST_CONTEXT(each.name) {
            log_world w{each.configuration, delivery::line, each.memory};
            w.device.behave.features_ok = each.features_ok;
            BOOST_TEST(w.start() == each.outcome);
            BOOST_TEST(w.driver->failure() == each.outcome);
            BOOST_TEST(!w.driver->handle_line());
            w.driver->handle_queue();
            w.driver->write("nothing");
            w.driver->flush(patience);
            BOOST_TEST(w.driver->missing() == 7U);
            BOOST_TEST(!w.device.live());
        }
    }
}

BOOST_AUTO_TEST_CASE(only_features_of_ring_and_transport_are_accepted) {
    log_world w;
    BOOST_REQUIRE_EQUAL(w.start(), error::none);
    BOOST_TEST(w.device.accepted() ==
               (bits::bit(bits::version_1) | bits::bit(bits::event_idx) | bits::bit(bits::indirect_desc)));
    BOOST_TEST(w.driver->device().accepted() == w.device.accepted());
    BOOST_TEST(w.driver->queue_size() == 8U);
}

// ---- several harts

// Each hart writes lines of its own, while hart 0 alone talks with the device. Lines that meet are dropped and counted; the others
// arrive whole, and those of one hart in order. The last line of hart 1 waits until hart 0 sleeps, and needs no other to arrive.
BOOST_AUTO_TEST_CASE(all_harts_write) {
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        machine host{{.harts = 3, .memory_bytes = std::size_t{1} << 18, .seed = seed, .spurious_wake_ups = 800}};
        virtio_console_model device{host, {.version = 1 + static_cast<std::uint32_t>(seed % 2)}};
        bounded_memory memory{host, std::size_t{1} << 18};
        device.behave.latency = 1 + seed * 7 % 500;
        modern_transport modern{device.configuration().base};
        virtio::legacy_mmio_transport legacy{device.configuration().base};
        console_log log{seed % 2 != 0 ? static_cast<virtio::transport&>(modern) : legacy};
        host.line_handler(device.configuration().line, [&] { log.handle_line(); });
        host.route_line(device.configuration().line, static_cast<arch::hart_index>(seed % 3));
        alignas(64) std::byte frames[3][16384];
        std::array<bool, 3> ends{};
        std::array<std::size_t, 3> bytes{};
        std::array<arch::atomic<async::executor*>, 3> executors{};
        arch::atomic<bool> started{false};
        arch::atomic<int> finished{0};
        bool all_written = false;
        const auto set = [](void* flag) noexcept {
            *static_cast<bool*>(flag) = true;
        };
        async::message wake{set, &all_written};
        async::message end_first{set, &ends[1]};
        async::message end_second{set, &ends[2]};
        const auto write_lines = [&](unsigned hart) {
            for (int line = 0; line < 5; ++line) {
                const std::string text = std::to_string(hart) + " writes line " + std::to_string(line) + "\n";
                log.write(text);
                bytes[hart] += text.size();
            }
            if (finished.fetch_add(1) == 2)
                wake.post(*executors[0].load());
        };
        const auto first = [&] {
            async::executor hart{frames[0]};
            hart.set_poll_mode(poll_mode::off);
            BOOST_TEST((virtio::identify_mmio(device.configuration().base).id == virtio::device_id::console));
            BOOST_TEST(log.start(memory, 0) == error::none);
            executors[0].store(&hart);
            for (const unsigned other : {1U, 2U})
                while (executors[other].load() == nullptr) {
                }
            started.store(true);
            write_lines(0);
            hart.run_until(all_written);
            if (seed % 4 < 2)
                log.flush(10'000'000);
            while (log.unused() != 0) // what was written has woken this hart, or does
                if (!hart.tick() && log.unused() != 0)
                    hart.idle();
            BOOST_TEST(log.failure() == error::none);
            end_first.post(*executors[1].load());
            end_second.post(*executors[2].load());
            for (int round = 0; round < 10; ++round)
                hart.tick();
        };
        const auto other = [&](unsigned self) {
            async::executor hart{frames[self]};
            hart.set_poll_mode(poll_mode::off);
            executors[self].store(&hart);
            while (!started.load()) {
            }
            write_lines(self);
            if (self == 2)
                log.flush(10'000'000); // while hart 0 runs its executor, or flushes, too
            hart.run_until(ends[self]);
        };
        BOOST_REQUIRE_MESSAGE(host.run({first, [&] { other(1); },
                                        [&] {
                                            other(2);
                                        }}) == arch::host::run_end::finished,
                              host.describe());
        BOOST_TEST(host.time() < 10'000'000U); // not by a time limit
        BOOST_TEST(device.text().size() + log.missing() == std::accumulate(bytes.begin(), bytes.end(), std::size_t{0}));
        std::array<int, 3> next{};
        for (std::size_t at = 0; at < device.text().size();) {
            const std::size_t length = device.text().find('\n', at) - at;
            const std::string line = device.text().substr(at, length);
            BOOST_REQUIRE_MESSAGE(line.size() == 15 && line.substr(1, 13) == " writes line ", line);
            const auto hart = static_cast<std::size_t>(line[0] - '0');
            BOOST_TEST(line[14] - '0' >= next[hart]);
            next[hart] = line[14] - '0' + 1;
            at += length + 1;
        }
        for (const auto& each : host.violations())
            BOOST_ERROR(each.id << ": " << each.message);
    }
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
