// Tests of the simulated machine itself with several harts at once: what the simulation of the runtime relies on.
#include "arch/arch.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstdio>
#include <functional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace inflight;
using arch::hart_index;
using arch::ticks;
using arch::host::machine;
using arch::host::machine_options;
using arch::host::run_end;
using arch::host::run_limits;
using arch::host::step_kind;
using arch::host::step_record;

machine_options small(std::uint64_t seed, hart_index harts = 2) {
    machine_options options;
    options.harts = harts;
    options.seed = seed;
    options.memory_bytes = 4096;
    return options;
}

// Everything that can be varied, by the seed.
machine_options varied(std::uint64_t seed, hart_index harts = 2) {
    machine_options options = small(seed, harts);
    constexpr unsigned switches[] = {5, 50, 300, 1000};
    options.switches = switches[seed % 4];
    options.priorities = seed / 4 % 2 == 1;
    options.longest_software_delay = seed / 8 % 2 == 1 ? 200 : 0;
    options.spurious_wake_ups = seed / 16 % 2 == 1 ? 100 : 0;
    options.pauses = seed / 32 % 2 == 1 ? 20 : 0;
    options.weak_failures = seed / 64 % 2 == 1 ? 300 : 0;
    return options;
}

bool operator==(const step_record& a, const step_record& b) {
    return a.time == b.time && a.hart == b.hart && a.kind == b.kind && a.value == b.value;
}

// A flag for one hart to sleep on.
class mailbox {
  public:
    explicit mailbox(hart_index owner) : owner_{owner} {}

    void post() {
        full_.store(1);
        arch::interrupt_hart(owner_);
    }

    // As it must be: an interrupt between the look and the wait stays pending.
    void wait_masked() {
        for (;;) {
            {
                const arch::interrupts_masked masked;
                if (full_.exchange(0) != 0) {
                    return;
                }
                arch::wait_for_interrupt();
            }
        }
    }

    // As it must not be: an interrupt between the look and the wait is taken there, and wakes nobody.
    void wait_unmasked() {
        while (full_.exchange(0) == 0) {
            arch::wait_for_interrupt();
        }
    }

    const void* word() const { return &full_; }

  private:
    hart_index owner_;
    arch::atomic<unsigned> full_{0};
};

struct exchange_outcome {
    run_end end;
    std::uint64_t digest;
    std::uint64_t steps;
    std::vector<step_record> trace;
    std::string description;
    unsigned passes;
    ticks time;
};

// Two harts throw a token to each other, `throws` times each.
exchange_outcome play(const machine_options& options, unsigned throws, void (mailbox::*wait)()) {
    machine simulated{options};
    mailbox boxes[] = {mailbox{0}, mailbox{1}};
    unsigned passes = 0;
    const auto player = [&](hart_index self) {
        return [&, self] {
            BOOST_TEST(arch::this_hart() == self);
            for (unsigned i = 0; i < throws; ++i) {
                if (self != 0 || i != 0) {
                    (boxes[self].*wait)();
                }
                ++passes; // plain: the token is what protects it
                boxes[1 - self].post();
            }
        };
    };
    const run_end end = simulated.run({player(0), player(1)});
    return {end,    simulated.trace_digest(), simulated.steps(), simulated.trace(), simulated.describe(),
            passes, simulated.time()};
}

} // namespace

BOOST_AUTO_TEST_SUITE(machine_with_harts)

BOOST_AUTO_TEST_CASE(a_token_goes_round) {
    const exchange_outcome outcome = play(small(1), 100, &mailbox::wait_masked);
    BOOST_TEST((outcome.end == run_end::finished));
    BOOST_TEST(outcome.passes == 200U);
    BOOST_TEST(outcome.time > 0U);
}

BOOST_AUTO_TEST_CASE(a_masked_sleep_is_never_too_long) {
    std::uint64_t steps = 0;
    for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
        const exchange_outcome outcome = play(varied(seed), 10, &mailbox::wait_masked);
        BOOST_REQUIRE_MESSAGE(outcome.end == run_end::finished, outcome.description);
        BOOST_TEST(outcome.passes == 20U);
        steps += outcome.steps;
    }
    std::printf("a masked sleep: 2000 seeds, %llu steps\n", static_cast<unsigned long long>(steps));
}

BOOST_AUTO_TEST_CASE(an_unmasked_sleep_is_found_out) {
    std::uint64_t found = 0;
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        const exchange_outcome outcome = play(varied(seed), 10, &mailbox::wait_unmasked);
        if (outcome.end != run_end::stalled) {
            continue;
        }
        ++found;
        BOOST_TEST(outcome.description.find("seed " + std::to_string(seed)) != std::string::npos);
        BOOST_TEST(outcome.description.find("STALL") != std::string::npos);
        const exchange_outcome again = play(varied(seed), 10, &mailbox::wait_unmasked);
        BOOST_TEST((again.end == run_end::stalled));
        BOOST_TEST(again.digest == outcome.digest);
        BOOST_TEST(again.time == outcome.time);
        // In the end somebody has taken the interrupt before the wait, not after.
        const auto& trace = outcome.trace;
        BOOST_TEST(std::any_of(trace.begin(), trace.end(),
                               [](const step_record& each) { return each.kind == step_kind::software_trap; }));
    }
    BOOST_TEST(found > 20U);
    BOOST_TEST(found < 200U);
}

BOOST_AUTO_TEST_CASE(one_seed_is_one_way) {
    std::set<std::uint64_t> digests;
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
        machine_options options = varied(seed);
        options.switches = 200;
        options.trace_length = 4096;
        const exchange_outcome first = play(options, 10, &mailbox::wait_masked);
        const exchange_outcome second = play(options, 10, &mailbox::wait_masked);
        BOOST_REQUIRE(first.steps < options.trace_length);
        BOOST_TEST(first.digest == second.digest);
        BOOST_TEST(std::equal(first.trace.begin(), first.trace.end(), second.trace.begin(), second.trace.end(),
                              [](const step_record& a, const step_record& b) { return a == b; }));
        digests.insert(first.digest);
    }
    BOOST_TEST(digests.size() == 100U);
}

// Without atomic operations one of two increments gets lost now and then; with them never.
BOOST_AUTO_TEST_CASE(harts_come_between_two_steps_and_not_within_one) {
    unsigned lost = 0;
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
        machine simulated{varied(seed, 3)};
        arch::atomic<unsigned> torn{0};
        arch::atomic<unsigned> whole{0};
        arch::atomic<unsigned> compared{0};
        const auto body = [&] {
            for (unsigned i = 0; i < 10; ++i) {
                torn.store(torn.load() + 1);
                whole.fetch_add(1);
                unsigned expected = compared.load();
                while (!compared.compare_exchange_weak(expected, expected + 1)) {
                }
            }
        };
        BOOST_TEST((simulated.run({body, body, body}) == run_end::finished));
        BOOST_TEST(whole.load() == 30U);
        BOOST_TEST(compared.load() == 30U);
        BOOST_TEST(torn.load() >= 1U);
        lost += torn.load() < 30 ? 1 : 0;
    }
    BOOST_TEST(lost > 50U);
}

BOOST_AUTO_TEST_CASE(atomics_need_no_machine) {
    arch::atomic<std::uint32_t> word{5};
    BOOST_TEST(word.fetch_or(8) == 5U);
    BOOST_TEST(word.fetch_and(12) == 13U);
    BOOST_TEST(word.fetch_sub(2) == 12U);
    BOOST_TEST(word.exchange(1) == 10U);
    std::uint32_t expected = 0;
    BOOST_TEST(!word.compare_exchange_strong(expected, 7));
    BOOST_TEST(expected == 1U);
    BOOST_TEST(word.compare_exchange_strong(expected, 7));
    BOOST_TEST(word.load() == 7U);
    arch::atomic<int*> pointer{nullptr};
    int target = 0;
    pointer.store(&target, std::memory_order_release);
    BOOST_TEST(pointer.load(std::memory_order_acquire) == &target);
    static_assert(sizeof(arch::atomic<void*>) == sizeof(void*) && sizeof(arch::atomic<bool>) == 1);
}

BOOST_AUTO_TEST_CASE(software_interrupts_take_their_time) {
    ticks shortest = ~ticks{0}, longest = 0;
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        machine_options options = small(seed);
        options.longest_software_delay = 500;
        machine simulated{options};
        ticks sent = 0, taken = 0;
        simulated.on_software_interrupt(1, [&] { taken = simulated.time(); });
        const auto sender = [&] {
            sent = arch::now();
            arch::interrupt_hart(1);
        };
        const auto sleeper = [&] {
            while (taken == 0) {
                const arch::interrupts_masked masked;
                if (!simulated.ended(0)) {
                    arch::wait_for_interrupt();
                }
            }
        };
        BOOST_REQUIRE_MESSAGE(simulated.run({sender, sleeper}, {.steps = 100'000}) == run_end::finished,
                              simulated.describe());
        BOOST_TEST(simulated.software_interrupts_taken(1) == 1U);
        BOOST_TEST(simulated.software_interrupts_taken(0) == 0U);
        BOOST_TEST(!simulated.wake_due(1));
        shortest = std::min(shortest, taken - sent);
        longest = std::max(longest, taken - sent);
    }
    BOOST_TEST(shortest < 50U);
    BOOST_TEST(longest > 450U);
    BOOST_TEST(longest < 600U);
}

BOOST_AUTO_TEST_CASE(a_shared_line_is_claimed_once) {
    unsigned claimed_by[2] = {0, 0};
    unsigned in_vain = 0;
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        machine_options options = varied(seed);
        options.longest_line_delay = seed % 2 == 0 ? 100 : 0;
        machine simulated{options};
        constexpr unsigned line = 4;
        arch::atomic<unsigned> served{0};
        simulated.enable_line(line, true);
        simulated.share_line(line, {0, 1});
        for (hart_index hart = 0; hart < 2; ++hart) {
            simulated.on_external_interrupt(hart, [&, hart] {
                const unsigned claimed = simulated.claim();
                if (claimed == machine::no_line) {
                    ++in_vain;
                    return;
                }
                BOOST_TEST(claimed == line);
                ++claimed_by[hart];
                simulated.lower_line(line);
                simulated.complete(line);
                served.fetch_add(1);
                arch::interrupt_hart(1 - hart);
            });
        }
        for (unsigned i = 0; i < 5; ++i) {
            simulated.at(1000 + i * 10'000, [&] { simulated.raise_line(line); });
        }
        const auto body = [&] {
            for (;;) {
                const arch::interrupts_masked masked;
                if (served.load() == 5) {
                    return;
                }
                arch::wait_for_interrupt();
            }
        };
        BOOST_REQUIRE_MESSAGE(simulated.run({body, body}) == run_end::finished, simulated.describe());
        BOOST_TEST(served.load() == 5U);
    }
    BOOST_TEST(claimed_by[0] + claimed_by[1] == 1000U);
    BOOST_TEST(claimed_by[0] > 200U);
    BOOST_TEST(claimed_by[1] > 200U);
    BOOST_TEST(in_vain > 50U);
}

BOOST_AUTO_TEST_CASE(lines_may_be_late_and_may_be_spurious) {
    machine_options options = small(7, 1);
    options.longest_line_delay = 1000;
    options.spurious_lines = 20;
    machine simulated{options};
    constexpr unsigned line = 2;
    unsigned with_cause = 0, without = 0;
    ticks raised = 0, longest = 0;
    simulated.line_handler(line, [&] {
        if (!simulated.line_high(line)) {
            ++without;
            return;
        }
        ++with_cause;
        longest = std::max(longest, simulated.time() - raised);
        simulated.lower_line(line);
    });
    for (unsigned i = 1; i <= 50; ++i) {
        simulated.at(ticks{5000} * i, [&] {
            raised = simulated.time();
            simulated.raise_line(line);
        });
    }
    const auto body = [&] {
        while (with_cause < 50) {
            const arch::interrupts_masked masked;
            arch::wait_for_interrupt();
        }
    };
    BOOST_REQUIRE_MESSAGE(simulated.run({body}) == run_end::finished, simulated.describe());
    BOOST_TEST(without > 0U);
    BOOST_TEST(longest > 700U);
    BOOST_TEST(longest < 1100U);
}

BOOST_AUTO_TEST_CASE(time_goes_on_when_all_wait) {
    machine simulated{small(3)};
    ticks woken[2] = {};
    const auto body = [&] {
        const hart_index self = arch::this_hart();
        arch::set_deadline(1'000'000 * (self + 1));
        while (woken[self] == 0) {
            const arch::interrupts_masked masked;
            arch::wait_for_interrupt();
            woken[self] = arch::now();
        }
    };
    BOOST_TEST((simulated.run({body, body}) == run_end::finished));
    BOOST_TEST(woken[0] >= 1'000'000U);
    BOOST_TEST(woken[0] < 1'000'100U);
    BOOST_TEST(woken[1] >= 2'000'000U);
    BOOST_TEST(woken[1] < 2'000'100U);
}

BOOST_AUTO_TEST_CASE(limits_and_violations_end_a_run) {
    const auto for_ever = [] {
        for (;;) {
            static_cast<void>(arch::now());
        }
    };
    {
        machine simulated{small(1)};
        BOOST_TEST((simulated.run({for_ever, for_ever}, {.steps = 1000}) == run_end::steps));
        BOOST_TEST(simulated.count("LIMIT") == 1U);
        simulated.clear_violations();
        BOOST_TEST((simulated.run({for_ever, for_ever}, {.time = 100'000}) == run_end::time));
        BOOST_TEST(simulated.count("LIMIT") == 1U);
        simulated.clear_violations();
        const auto nothing = [] {
        };
        BOOST_TEST((simulated.run({nothing, nothing}) == run_end::finished)); // the machine is none the worse for it
        BOOST_TEST(simulated.violations().empty());
    }
    {
        machine simulated{small(1)};
        unsigned calls = 0;
        simulated.on_step([&] {
            if (++calls == 500) {
                simulated.report("OURS", "the five hundredth step");
            }
        });
        BOOST_TEST((simulated.run({for_ever, for_ever}) == run_end::violation));
        BOOST_TEST(calls == 500U);
        BOOST_TEST(simulated.steps() == 499U);
    }
    {
        machine simulated{small(1)};
        const auto sleeper = [] {
            const arch::interrupts_masked masked;
            arch::wait_for_interrupt();
        };
        BOOST_TEST((simulated.run({sleeper, sleeper}) == run_end::stalled));
        BOOST_TEST(simulated.count("STALL") == 1U);
    }
}

BOOST_AUTO_TEST_CASE(an_exception_comes_out_of_run) {
    machine simulated{small(1)};
    const auto thrower = [] {
        static_cast<void>(arch::now());
        throw std::runtime_error{"out of a hart"};
    };
    const auto sleeper = [] {
        const arch::interrupts_masked masked;
        arch::wait_for_interrupt();
    };
    BOOST_CHECK_EXCEPTION(simulated.run({sleeper, thrower}), std::runtime_error, [](const std::runtime_error& caught) {
        return std::string{caught.what()} == "out of a hart";
    });
}

// A hart that waits for another in a loop does not keep it from running, whatever the options.
BOOST_AUTO_TEST_CASE(nobody_starves) {
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        machine_options options = small(seed, 3);
        options.switches = 0;
        options.priorities = seed % 2 == 0;
        options.longest_turn = 50;
        machine simulated{options};
        arch::atomic<unsigned> turn{0};
        const auto body = [&] {
            const unsigned self = arch::this_hart();
            for (unsigned round = 0; round < 10; ++round) {
                while (turn.load() % 3 != self) {
                }
                turn.fetch_add(1);
            }
        };
        BOOST_REQUIRE_MESSAGE(simulated.run({body, body, body}, {.steps = 100'000}) == run_end::finished,
                              simulated.describe());
    }
}

BOOST_AUTO_TEST_CASE(a_description_tells_the_last_steps) {
    machine simulated{small(11, 1)};
    arch::atomic<unsigned> word{0};
    simulated.name(&word, "the word");
    const auto body = [&] {
        word.store(3);
        arch::fence_full();
        const arch::interrupts_masked masked;
        arch::wait_for_interrupt();
    };
    BOOST_TEST((simulated.run({body}) == run_end::stalled));
    const std::string text = simulated.describe();
    for (const char* expected :
         {"seed 11", "STALL", "hart 0 store the word: 0x3", "hart 0 fence full", "hart 0 mask", "hart 0 wait"}) {
        BOOST_TEST(text.find(expected) != std::string::npos, expected << " is missing in: " << text);
    }
}

BOOST_AUTO_TEST_SUITE_END()
