// Which functions the driver finds on a PCI bus, and how it numbers the buses behind bridges.
#include "tests/host/pci_fixture.hpp"

#include <set>

namespace {

using namespace inflight;
using namespace inflight::test;

constexpr std::uint16_t command_register = 4;

} // namespace

BOOST_AUTO_TEST_SUITE(pci_enumeration_tests)

BOOST_AUTO_TEST_CASE(an_empty_bus_has_its_host_bridge_and_costs_few_accesses) {
    pci_bus bus;
    bus.enumerate();
    BOOST_REQUIRE_EQUAL(bus.found.size(), 1U);
    BOOST_TEST(bus.found[0].is_host_bridge());
    BOOST_TEST(bus.bus.accesses() <= 32U + 4U); // an absent device costs one
}

BOOST_AUTO_TEST_CASE(what_a_function_says_of_itself) {
    pci_bus bus;
    bus.plug(5, std::make_unique<pci_function>(model::pci_identity{.vendor = 0x1af4,
                                                                   .device = 0x1042,
                                                                   .class_code = 0x010000,
                                                                   .revision = 7,
                                                                   .subsystem_vendor = 0x1234,
                                                                   .subsystem = 0xfffe,
                                                                   .interrupt_pin = 3}));
    bus.enumerate();
    const pci::function& found = bus.at(0, 5);
    BOOST_TEST(found.outcome == pci::function_error::none);
    BOOST_TEST(found.vendor == 0x1af4);
    BOOST_TEST(found.device == 0x1042);
    BOOST_TEST(found.class_code == 0x010000U);
    BOOST_TEST(found.revision == 7);
    BOOST_TEST(found.subsystem_vendor == 0x1234);
    BOOST_TEST(found.subsystem == 0xfffe);
    BOOST_TEST(found.interrupt_pin == 3);
    BOOST_TEST(found.root_pin == 3);
    BOOST_TEST(found.root_device == 5);
    BOOST_TEST(found.parent == pci::no_parent);
}

BOOST_AUTO_TEST_CASE(functions_of_a_device_are_sparse) {
    pci_bus bus;
    bus.plug(5, plain_function());
    bus.plug(5, plain_function(), nullptr, 3);
    bus.plug(6, plain_function());
    bus.enumerate();
    BOOST_TEST(bus.found.size() == 4U);
    BOOST_TEST(bus.at(0, 5, 3).address.function == 3);
}

BOOST_AUTO_TEST_CASE(functions_beside_one_without_the_multi_function_bit_do_not_exist) {
    pci_bus bus;
    pci_function& first = bus.plug(5, plain_function());
    bus.plug(5, plain_function(), nullptr, 3);
    first.poke(0x0e, 1, 0);
    bus.enumerate();
    BOOST_TEST(bus.found.size() == 2U);
}

BOOST_AUTO_TEST_CASE(a_device_without_function_0_has_none) {
    pci_bus bus;
    bus.plug(5, plain_function(), nullptr, 3);
    bus.enumerate();
    BOOST_TEST(bus.found.size() == 1U);
}

BOOST_AUTO_TEST_CASE(bridges_are_numbered_depth_first) {
    pci_bus bus;
    pci_function& left = bus.plug(1, bridge_function());
    pci_function& inner = bus.plug(2, bridge_function(), &left);
    pci_function& right = bus.plug(3, bridge_function());
    bus.plug(4, plain_function(), &inner);
    bus.plug(5, plain_function(), &right);
    bus.enumerate();
    BOOST_TEST(left.peek(0x18, 4) == 0x00020100U);
    BOOST_TEST(inner.peek(0x18, 4) == 0x00020201U);
    BOOST_TEST(right.peek(0x18, 4) == 0x00030300U);
    BOOST_TEST(bus.at(0, 1).secondary_bus == 1);
    BOOST_TEST(bus.at(0, 1).subordinate_bus == 2);
    BOOST_TEST(bus.found[bus.at(2, 4).parent].address.device == 2);
    BOOST_TEST(bus.found[bus.at(3, 5).parent].address.device == 3);
}

BOOST_AUTO_TEST_CASE(bus_numbers_of_the_firmware_mislead_nobody) {
    pci_bus bus;
    pci_function& left = bus.plug(1, bridge_function());
    pci_function& right = bus.plug(3, bridge_function());
    bus.plug(4, plain_function(), &left);
    bus.plug(5, plain_function(), &right);
    left.poke(0x18, 4, 0xa0090500);
    right.poke(0x18, 4, 0xff010100); // what the left one gets
    bus.enumerate();
    BOOST_TEST(left.peek(0x18, 4) == 0xa0010100U); // the latency timer stays
    BOOST_TEST(right.peek(0x18, 4) == 0xff020200U);
    BOOST_TEST(bus.found.size() == 5U);
}

BOOST_AUTO_TEST_CASE(the_first_bus_need_not_be_0) {
    pci_bus bus{{.first_bus = 0x20, .last_bus = 0x2f}};
    pci_function& bridge = bus.plug(1, bridge_function());
    bus.plug(2, plain_function(), &bridge);
    bus.enumerate();
    BOOST_TEST(bridge.peek(0x18, 4) == 0x00212120U);
    BOOST_TEST(bus.at(0x21, 2).root_device == 1);
}

BOOST_AUTO_TEST_CASE(pins_are_swizzled_by_each_bridge) {
    pci_bus bus;
    pci_function& first = bus.plug(1, bridge_function());
    pci_function& second = bus.plug(6, bridge_function(), &first);
    bus.plug(3, plain_function(), &first);
    bus.plug(3, plain_function(), &second);
    bus.plug(4, std::make_unique<pci_function>(model::pci_identity{.interrupt_pin = 0}), &second);
    bus.plug(5, std::make_unique<pci_function>(model::pci_identity{.interrupt_pin = 5}), &second);
    bus.enumerate();
    BOOST_TEST(bus.at(1, 3).root_device == 1);
    BOOST_TEST(bus.at(1, 3).root_pin == 4); // ((1 - 1 + 3) mod 4) + 1
    BOOST_TEST(bus.at(2, 3).root_device == 1);
    BOOST_TEST(bus.at(2, 3).root_pin == 2); // 4, and then ((4 - 1 + 6) mod 4) + 1
    BOOST_TEST(bus.at(2, 4).root_pin == 0);
    BOOST_TEST(bus.at(2, 5).root_pin == 0); // there are four
}

BOOST_AUTO_TEST_CASE(behind_a_root_port_is_one_device) {
    pci_bus bus;
    pci_function& port = bus.plug(4, bridge_function(true));
    bus.plug(0, plain_function(), &port);
    bus.plug(7, plain_function(), &port); // as a port that answers for device 0 at each number
    bus.enumerate();
    BOOST_TEST(bus.found.size() == 3U);
    BOOST_TEST(bus.at(1, 0).root_device == 4);
    BOOST_TEST(bus.at(1, 0).root_pin == 1);
}

BOOST_AUTO_TEST_CASE(a_bridge_beyond_the_last_bus_is_an_error_of_its_own) {
    pci_bus bus{{.last_bus = 1}};
    pci_function& first = bus.plug(1, bridge_function());
    bus.plug(2, bridge_function());
    bus.plug(3, plain_function());
    bus.plug(0, plain_function(), &first);
    bus.enumerate();
    BOOST_TEST(bus.at(0, 1).outcome == pci::function_error::none);
    BOOST_TEST(bus.at(0, 2).outcome == pci::function_error::no_bus_number);
    BOOST_TEST(bus.at(0, 3).outcome == pci::function_error::none);
    BOOST_TEST(bus.at(1, 0).outcome == pci::function_error::none);
}

BOOST_AUTO_TEST_CASE(a_bridge_behind_too_many_bridges_is_an_error_of_its_own) {
    pci_bus bus;
    pci_function* behind = nullptr;
    for (unsigned depth = 0; depth <= pci::max_depth + 3; ++depth) {
        behind = &bus.plug(1, bridge_function(), behind);
        bus.plug(2, plain_function(), behind);
    }
    bus.enumerate();
    BOOST_TEST(bus.found.size() == 1 + 2 * pci::max_depth + 1);
    BOOST_TEST(bus.at(pci::max_depth, 1).outcome == pci::function_error::too_deep);
    BOOST_TEST(bus.at(pci::max_depth, 2).outcome == pci::function_error::none);
}

BOOST_AUTO_TEST_CASE(a_bridge_that_keeps_no_bus_numbers_is_not_followed) {
    pci_bus bus;
    pci_function& bridge = bus.plug(1, bridge_function());
    bus.plug(2, plain_function(), &bridge);
    bridge.set_writable(0x1a, 1, 0);
    bus.enumerate();
    BOOST_TEST(bus.at(0, 1).outcome == pci::function_error::bridge_damaged);
    BOOST_TEST(bus.found.size() == 2U);
    BOOST_TEST(bridge.peek(0x19, 1) == 0U);
}

BOOST_AUTO_TEST_CASE(unknown_header_types_are_reported_and_passed_over) {
    pci_bus bus;
    bus.plug(1, std::make_unique<pci_function>(model::pci_identity{.header_type = 2}));
    bus.plug(2, std::make_unique<pci_function>(model::pci_identity{.header_type = 0x7f}));
    bus.plug(3, plain_function());
    bus.place();
    BOOST_TEST(bus.at(0, 1).outcome == pci::function_error::unknown_header);
    BOOST_TEST(bus.at(0, 2).outcome == pci::function_error::unknown_header);
    BOOST_TEST(bus.at(0, 3).outcome == pci::function_error::none);
}

BOOST_AUTO_TEST_CASE(what_the_firmware_left_on_is_turned_off) {
    pci_bus bus;
    pci_function& left_on = bus.plug(1, plain_function(pci_bar_kind::memory32, 0x1000));
    left_on.poke(0x10, 4, 0x50000000);
    left_on.poke(command_register, 2, 0x0147);
    bus.enumerate();
    BOOST_TEST(left_on.command() == 0x0540); // the others stay, INTx is off
}

BOOST_AUTO_TEST_CASE(functions_without_room_are_counted_and_off) {
    pci_bus bus;
    for (std::uint8_t device = 1; device < 6; ++device) {
        bus.plug(device, plain_function()).poke(command_register, 2, 7);
    }
    pci_function& bridge = bus.plug(6, bridge_function());
    pci::function_list few{std::span{bus.storage}.first(3)};
    pci::enumerate(bus.space, bus.buses, few);
    BOOST_TEST(few.size() == 3U);
    BOOST_TEST(few.dropped() == 4U);
    BOOST_TEST(bridge.peek(0x19, 1) == 0U);
    pci::place(bus.space, windows_of({}), few);
    bus.found = pci::function_list{bus.storage};
    bus.enumerate();
    BOOST_TEST(bus.found.size() == 7U);
}

// Everything that can exist: it ends, and each bus is counted once.
BOOST_AUTO_TEST_CASE(a_full_bus_is_bounded) {
    pci_bus bus;
    for (std::uint8_t device = 1; device < 32; ++device) {
        for (std::uint8_t function = 0; function < 8; ++function) {
            pci_function& bridge = bus.plug(device, bridge_function(), nullptr, function);
            bus.plug(1, plain_function(), &bridge);
        }
    }
    std::vector<pci::function> storage(1000);
    pci::function_list all{storage};
    pci::enumerate(bus.space, bus.buses, all);
    BOOST_TEST(all.size() == 1U + 2U * 248U);
    std::set<unsigned> numbers;
    for (const pci::function& each : all) {
        if (each.is_bridge()) {
            BOOST_TEST(numbers.insert(each.secondary_bus).second);
        }
    }
}

BOOST_AUTO_TEST_CASE(ecam_has_bounds) {
    pci_bus bus{{.first_bus = 2, .last_bus = 3}};
    constexpr pci::function_address there{2, 0, 0};
    BOOST_TEST(bus.space.read16(there, 0) == 0x1b36);
    BOOST_TEST(bus.space.read8(there, 1) == 0x1b);
    const std::uint64_t before = bus.bus.accesses();
    for (const pci::function_address outside :
         {pci::function_address{1, 0, 0}, {4, 0, 0}, {2, 32, 0}, {2, 0, 8}, {255, 255, 255}}) {
        BOOST_TEST(bus.space.read32(outside, 0) == 0xffffffffU);
        BOOST_TEST(bus.space.read16(outside, 0) == 0xffffU);
        BOOST_TEST(bus.space.read8(outside, 0) == 0xffU);
        bus.space.write8(outside, 4, 0);
        bus.space.write16(outside, 4, 0);
        bus.space.write32(outside, 4, 0);
    }
    BOOST_TEST(bus.space.read32(there, 4096) == 0xffffffffU);
    BOOST_TEST(bus.space.read32(there, 2) == 0xffffffffU);
    BOOST_TEST(bus.space.read16(there, 1) == 0xffffU);
    BOOST_TEST(bus.bus.accesses() == before);
    // The tree may promise more buses than its window has.
    pci::ecam small{0x3000'0000, 0x2000, {2, 3}};
    BOOST_TEST(small.read16(there, 0) == 0x1b36);
    BOOST_TEST(small.read32({2, 0, 2}, 0) == 0xffffffffU);
    BOOST_TEST(small.read32({3, 0, 0}, 0) == 0xffffffffU);
    pci::ecam tiny{0x3000'0000, 2, {2, 3}};
    BOOST_TEST(tiny.read16(there, 0) == 0x1b36);
    BOOST_TEST(tiny.read32(there, 0) == 0xffffffffU);
}

BOOST_AUTO_TEST_SUITE_END()
