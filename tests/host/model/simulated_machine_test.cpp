// Tests of the simulated machine: time, events, interrupts, memory.
#include "arch/arch.hpp"

#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

namespace {

using namespace inflight;
using arch::host::machine;
using arch::host::machine_options;

} // namespace

BOOST_AUTO_TEST_SUITE(simulated_machine_tests)

BOOST_AUTO_TEST_CASE(a_pending_interrupt_ends_the_wait_at_once_and_is_taken_when_unmasked) {
    machine host;
    unsigned taken = 0;
    host.line_handler(3, [&] {
        ++taken;
        host.lower_line(3);
    });
    BOOST_TEST(arch::mask_interrupts());
    BOOST_TEST(!arch::mask_interrupts());
    host.raise_line(3);
    const auto before = host.time();
    arch::wait_for_interrupt();
    BOOST_TEST(host.time() == before);
    BOOST_TEST(!host.stalled());
    BOOST_TEST(taken == 0U);
    arch::restore_interrupts(false);
    BOOST_TEST(taken == 0U);
    arch::restore_interrupts(true);
    BOOST_TEST(taken == 1U);
}

BOOST_AUTO_TEST_CASE(waiting_jumps_to_the_event_that_interrupts) {
    machine host;
    unsigned taken = 0, quiet = 0;
    host.line_handler(3, [&] {
        ++taken;
        host.lower_line(3);
    });
    host.at(100, [&] { ++quiet; });
    host.at(500, [&] { host.raise_line(3); });
    arch::wait_for_interrupt();
    BOOST_TEST(host.time() == 500U);
    BOOST_TEST(quiet == 1U);
    BOOST_TEST(taken == 1U);
}

BOOST_AUTO_TEST_CASE(nothing_left_to_wait_for_is_a_stall) {
    machine host;
    unsigned told = 0;
    host.on_stall([&] { ++told; });
    arch::wait_for_interrupt();
    BOOST_TEST(host.stalled());
    BOOST_TEST(!host.stall_reason().empty());
    BOOST_TEST(told == 1U);
}

BOOST_AUTO_TEST_CASE(a_deadline_interrupts_and_replaces_the_one_before) {
    machine host;
    unsigned fired = 0;
    host.on_timer_interrupt(0, [&] {
        ++fired;
        arch::set_deadline(arch::no_deadline);
    });
    arch::set_deadline(1000);
    arch::set_deadline(2000);
    arch::wait_for_interrupt();
    BOOST_TEST(host.time() == 2000U);
    BOOST_TEST(fired == 1U);
    arch::set_deadline(0); // in the past: at once
    BOOST_TEST(fired == 2U);
}

// By the contract: each kind has its own handler, with the context that was registered, and with interrupts masked.
BOOST_AUTO_TEST_CASE(registered_handlers_take_the_interrupts_of_their_hart) {
    machine host{{.harts = 2}};
    static std::string taken;
    taken.clear();
    char names[] = {'s', 't', 'e', 'S'};
    const auto handler = [](char& name) {
        return arch::interrupt_handler{[](void* context) noexcept {
                                           taken += *static_cast<char*>(context);
                                           BOOST_TEST(!arch::mask_interrupts());
                                           arch::set_deadline(arch::no_deadline);
                                           machine::current().lower_line(3);
                                       },
                                       &name};
    };
    arch::set_interrupt_handler(arch::interrupt::software, handler(names[0]));
    arch::set_interrupt_handler(arch::interrupt::timer, handler(names[1]));
    arch::set_interrupt_handler(arch::interrupt::external, handler(names[2]));
    host.select_hart(1);
    arch::set_interrupt_handler(arch::interrupt::software, handler(names[3]));
    host.enable_line(3, true);
    arch::interrupt_hart(0);
    BOOST_TEST(taken == "");
    arch::interrupt_hart(1);
    BOOST_TEST(taken == "S");
    host.select_hart(0);
    BOOST_TEST(taken == "Ss");
    arch::set_deadline(0);
    BOOST_TEST(taken == "Sst");
    host.raise_line(3);
    BOOST_TEST(taken == "Sste");
}

BOOST_AUTO_TEST_CASE(a_loop_with_a_deadline_ends) {
    machine host;
    const auto end = arch::now() + 100;
    unsigned rounds = 0;
    while (arch::now() < end)
        BOOST_REQUIRE(++rounds < 200);
    BOOST_TEST(rounds > 90U);
}

BOOST_AUTO_TEST_CASE(events_run_in_order_of_time_and_then_of_addition) {
    machine host;
    std::string order_seen;
    host.at(20, [&] { order_seen += 'c'; });
    host.at(10, [&] { order_seen += 'a'; });
    host.at(10, [&] { order_seen += 'b'; });
    host.run_until(20);
    BOOST_TEST(order_seen == "abc");
    BOOST_TEST(host.time() == 20U);
}

BOOST_AUTO_TEST_CASE(an_interrupt_that_nobody_quiets_is_a_storm) {
    machine host;
    unsigned taken = 0;
    host.line_handler(3, [&] { ++taken; });
    host.raise_line(3);
    BOOST_TEST(host.count("STORM") == 1U);
    BOOST_TEST(taken > 1000U);
}

BOOST_AUTO_TEST_CASE(lines_go_to_the_hart_they_are_routed_to) {
    machine host{{.harts = 2}};
    unsigned taken = 0;
    host.line_handler(3, [&] {
        ++taken;
        BOOST_TEST(arch::this_hart() == 1U);
        host.lower_line(3);
    });
    host.route_line(3, 1);
    host.raise_line(3);
    BOOST_TEST(taken == 0U);
    int one = 0;
    arch::hart_local() = &one;
    host.select_hart(1);
    BOOST_TEST(taken == 1U);
    BOOST_TEST(arch::hart_local() == nullptr);
}

BOOST_AUTO_TEST_CASE(accesses_to_nowhere_and_misaligned_ones_are_reported) {
    machine host;
    arch::mmio_read32(0x1000);
    BOOST_TEST(host.count("BUS") == 1U);
    arch::mmio_write32(0x1002, 0);
    BOOST_TEST(host.count("BUS") == 2U);
}

BOOST_AUTO_TEST_CASE(device_addresses_reach_the_memory_and_nothing_else) {
    machine host;
    std::byte* const memory = host.allocate(64, 64);
    BOOST_TEST(reinterpret_cast<std::uintptr_t>(memory) % 64 == 0U);
    BOOST_TEST(std::to_integer<int>(*memory) == 0xa5);
    const auto address = arch::device_address(memory);
    BOOST_TEST(address >= machine::memory_base);
    BOOST_TEST(host.translate(address, 64) == memory);
    BOOST_TEST(host.translate(machine::memory_base, host.options().memory_bytes) != nullptr);
    BOOST_TEST(host.translate(machine::memory_base + 1, host.options().memory_bytes) == nullptr);
    BOOST_TEST(host.translate(address, ~std::uint64_t{0}) == nullptr);
    BOOST_TEST(host.translate(0, 1) == nullptr);
    BOOST_TEST(host.violations().empty());
    int elsewhere = 0;
    BOOST_TEST(host.translate(arch::device_address(&elsewhere), 1) == nullptr);
    BOOST_TEST(host.count("RSVD-05") == 1U);
}

BOOST_AUTO_TEST_CASE(the_seed_decides_alone) {
    std::vector<std::uint64_t> first, second, other;
    for (auto* list : {&first, &second, &other}) {
        machine host{{.seed = list == &other ? 2U : 1U}};
        for (int i = 0; i < 10; ++i)
            list->push_back(host.random());
    }
    BOOST_TEST(first == second);
    BOOST_TEST(first != other);
}

BOOST_AUTO_TEST_CASE(the_clock_steps_and_deadlines_with_it) {
    machine host;
    unsigned taken = 0;
    host.on_timer_interrupt(0, [&] {
        ++taken;
        arch::set_deadline(arch::no_deadline);
    });
    arch::set_deadline(arch::now() + 1000);
    host.step_clock(900);
    host.run_until(host.time() + 50);
    BOOST_TEST(taken == 0U);
    host.run_until(host.time() + 60);
    BOOST_TEST(taken == 1U);
    arch::set_deadline(arch::now() + 1000);
    host.step_clock(2000); // over it
    static_cast<void>(arch::now());
    BOOST_TEST(taken == 2U);
    const auto before = arch::now();
    arch::set_deadline(before + 1000);
    host.step_clock(-500);
    BOOST_TEST(arch::now() == before - 499);
    host.run_until(host.time() + 1400);
    BOOST_TEST(taken == 2U);
    host.run_until(host.time() + 200);
    BOOST_TEST(taken == 3U);
    arch::set_deadline(arch::no_deadline);
    host.step_clock(-static_cast<std::int64_t>(arch::now()) - 100); // below 0: the register has no sign
    BOOST_TEST(arch::now() == ~arch::ticks{0} - 98);
}

BOOST_AUTO_TEST_SUITE_END()
