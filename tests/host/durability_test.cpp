// What a power cut leaves.
#include "tests/host/disk_setups.hpp"

namespace {

using namespace inflight;
using namespace inflight::test;
using virtio::error;

} // namespace

BOOST_AUTO_TEST_SUITE(durability)

BOOST_AUTO_TEST_CASE(what_was_flushed_survives_a_power_cut) {
    unsigned lost_without_flush = 0;
    for (const std::uint32_t version : versions)
        for (std::uint64_t seed = 1; seed <= 40; ++seed) {
            setup s = of_version(version, [](auto& c) { c.queues = 2; });
            s.machine.seed = seed;
            world w{s};
            w.start_all();
            w.model().behave.random_order = true;
            w.model().behave.latency_max = 2000;
            auto memory = w.buffer(64 * 512);
            fill_pattern(memory, seed);
            std::vector<std::uint8_t> state(64, 0); // 1: written, 2: flushed
            bool alive = true;
            auto work = [&](unsigned number) -> task<void> {
                const status written = co_await w.disk().write(number * 3, memory.subspan(number * 512, 512));
                if (!alive)
                    co_return;
                BOOST_TEST(written == status::ok);
                state[number] = 1;
                if (number % 8 != 0)
                    co_return;
                const std::vector<std::uint8_t> ended_before = state;
                const status flushed = co_await w.disk().flush();
                if (!alive)
                    co_return;
                BOOST_TEST(flushed == status::ok);
                for (unsigned i = 0; i < 64; ++i)
                    if (ended_before[i] == 1)
                        state[i] = 2;
            };
            for (unsigned number = 0; number < 64; ++number)
                w.spawn(work(number));
            const std::size_t when = 1 + seed % 60;
            BOOST_TEST(w.run_until([&] {
                return static_cast<std::size_t>(
                           std::count_if(state.begin(), state.end(), [](auto each) { return each != 0; })) >= when;
            }));
            const auto flushed = state;
            // The machine dies here. What the coroutines still do is only so that they end.
            alive = false;
            w.model().power_cut();
            for (unsigned i = 0; i < 64; ++i) {
                const bool there =
                    same(memory.subspan(i * 512, 512), std::span{w.model().durable()}.subspan(i * 3 * 512, 512));
                if (flushed[i] == 2)
                    BOOST_TEST(there, "seed " << seed << ": a flushed write is lost");
                lost_without_flush += flushed[i] == 1 && !there ? 1 : 0;
            }
            w.checked_at_end = false; // the model forgot what the driver did to it, and the driver does not know
            arch::host::machine_options options = w.host.options();
            options.cost_of_access = 1000;
            w.host.options(options);
            w.model().remove();
            w.disk().handle_line();
            w.finish();
        }
    BOOST_TEST(lost_without_flush > 0U); // or the test could not fail
}

BOOST_AUTO_TEST_CASE(without_a_cache_a_write_that_has_ended_survives) {
    for (const std::uint32_t version : versions)
        for (const bool config : {true, false}) {
            world w{of_version(version, [&](auto& c) {
                c.writeback = 0;
                if (!config) {
                    withdraw(c, bits::flush);
                    withdraw(c, bits::config_wce);
                }
            })};
            w.start_all();
            BOOST_TEST(!w.disk().properties().write_cache);
            auto memory = w.buffer(4096);
            fill_pattern(memory, 9);
            BOOST_TEST(w.write(100, memory) == status::ok);
            BOOST_TEST(same(memory, std::span{w.model().durable()}.subspan(100 * 512, 4096)));
        }
}

BOOST_AUTO_TEST_SUITE_END()
