// How BARs are sized and placed, and what bridges forward.
#include "drivers/pci/bars.hpp"
#include "tests/host/pci_fixture.hpp"

#include <random>

namespace {

using namespace inflight;
using namespace inflight::test;
using enum pci_bar_kind;

constexpr std::uint16_t io_decoding = 1, memory_decoding = 2, bus_master = 4, intx_disable = 0x400;

} // namespace

BOOST_AUTO_TEST_SUITE(pci_placement_tests)

BOOST_AUTO_TEST_CASE(bars_of_all_kinds) {
    pci_bus bus;
    pci_function& device = bus.plug(1, plain_function(io, 0x80));
    device.set_bar(1, {.kind = memory32, .size = 0x1000});
    device.set_bar(2, {.kind = memory64, .size = 0x200});
    device.set_bar(4, {.kind = prefetchable64, .size = std::uint64_t{8} << 30});
    bus.place_and_enable();
    const pci::function& found = bus.at(0, 1);
    BOOST_TEST(found.outcome == pci::function_error::none);
    BOOST_TEST((found.bars[0].kind == pci::bar_kind::io));
    BOOST_TEST(found.bars[0].size == 0x80U);
    BOOST_TEST((found.bars[1].kind == pci::bar_kind::memory32));
    BOOST_TEST(found.bars[1].size == 0x1000U);
    BOOST_TEST((found.bars[2].kind == pci::bar_kind::memory64));
    BOOST_TEST(!found.bars[2].prefetchable);
    BOOST_TEST((found.bars[3].kind == pci::bar_kind::absent));
    BOOST_TEST(found.bars[4].size == std::uint64_t{8} << 30);
    BOOST_TEST(found.bars[4].prefetchable);
    BOOST_TEST((found.bars[5].kind == pci::bar_kind::absent));
    for (const std::size_t index : {0U, 1U, 2U, 4U}) {
        BOOST_TEST(found.bars[index].bus_address == device.bar_address(index));
        BOOST_TEST(found.bars[index].cpu_address == device.cpu_address(index));
        BOOST_TEST(found.bars[index].bus_address % found.bars[index].size == 0U);
    }
    BOOST_TEST(device.command() == (io_decoding | memory_decoding | bus_master | intx_disable));
}

BOOST_AUTO_TEST_CASE(sizing_keeps_the_registers) {
    pci_bus bus;
    pci_function& device = bus.plug(1, plain_function(prefetchable64, 0x4000));
    device.poke(0x10, 4, 0x8000400c);
    device.poke(0x14, 4, 0x80000001);
    bus.enumerate();
    pci::function& found = bus.found[1];
    pci::size_bars(bus.space, found);
    BOOST_TEST(found.bars[0].size == 0x4000U);
    BOOST_TEST(device.peek(0x10, 4) == 0x8000400cU);
    BOOST_TEST(device.peek(0x14, 4) == 0x80000001U);
}

BOOST_AUTO_TEST_CASE(what_the_firmware_placed_is_placed_anew) {
    pci_bus bus;
    for (std::uint8_t device = 1; device < 4; ++device) { // where another one is going to be
        pci_function& placed = bus.plug(device, plain_function(memory32, 0x1000));
        placed.poke(0x10, 4, 0x4000'3000U - device * 0x1000U);
        placed.poke(4, 2, memory_decoding);
    }
    bus.place_and_enable();
    BOOST_TEST(bus.at(0, 1).bars[0].bus_address == 0x40000000U);
    BOOST_TEST(bus.at(0, 3).bars[0].bus_address == 0x40002000U);
}

BOOST_AUTO_TEST_CASE(addresses_of_the_bus_are_not_those_of_a_hart) {
    pci_bus bus{{.io = {0, 0x5000'0000, 0x4000},
                 .memory32 = {0x1000'0000, 0x6000'0000, 0x1000'0000},
                 .memory64 = {0x80'0000'0000, 0x4'0000'0000, 0x1'0000'0000}}};
    bus.plug(1, plain_function(io, 0x20)).set_bar(1, {.kind = memory32, .size = 0x1000});
    bus.plug(2, plain_function(prefetchable64, 0x4000));
    bus.place_and_enable();
    BOOST_TEST(bus.at(0, 1).bars[0].bus_address == 0x1000U); // not 0
    BOOST_TEST(bus.at(0, 1).bars[0].cpu_address == 0x50001000U);
    BOOST_TEST(bus.at(0, 1).bars[1].cpu_address == 0x60000000U);
    BOOST_TEST(bus.at(0, 2).bars[0].bus_address == 0x8000000000U);
    BOOST_TEST(bus.at(0, 2).bars[0].cpu_address == 0x400000000U);
}

BOOST_AUTO_TEST_CASE(a_bar_that_does_not_fit_is_an_error_of_its_function_only) {
    pci_bus bus;
    bus.plug(1, plain_function(memory32, 0x8000'0000));
    bus.plug(2, plain_function(memory32, 0x1000));
    bus.plug(3, plain_function(memory32, 0x4000'0000)); // the whole window, were it alone
    pci_function& both = bus.plug(4, plain_function(memory32, 0x8000'0000));
    both.set_bar(1, {.kind = memory32, .size = 0x2000});
    bus.place();
    BOOST_TEST(bus.at(0, 1).outcome == pci::function_error::bar_does_not_fit);
    BOOST_TEST(bus.at(0, 2).outcome == pci::function_error::none);
    BOOST_TEST(bus.at(0, 3).outcome == pci::function_error::bar_does_not_fit);
    BOOST_TEST(bus.at(0, 4).outcome == pci::function_error::bar_does_not_fit);
    for (const pci::function& each : bus.found) {
        pci::enable(bus.space, each);
    }
    BOOST_TEST(both.command() == (bus_master | intx_disable)); // no decoding with a BAR that has no place
}

BOOST_AUTO_TEST_CASE(a_window_may_end_within_the_last_bar) {
    pci_bus bus{{.memory32 = {0x4000'0000, 0x4000'0000, 0x3000}}};
    bus.plug(1, plain_function(memory32, 0x1000));
    bus.plug(2, plain_function(memory32, 0x2000)); // at 0x2000, of which 0x1000 are left
    bus.place_and_enable();
    BOOST_TEST(bus.at(0, 1).outcome == pci::function_error::none);
    BOOST_TEST(bus.at(0, 2).outcome == pci::function_error::bar_does_not_fit);
}

BOOST_AUTO_TEST_CASE(an_io_bar_without_a_place_costs_only_io) {
    pci_bus bus{{.io = {}}};
    pci_function& device = bus.plug(1, plain_function(io, 0x80));
    device.set_bar(1, {.kind = memory32, .size = 0x1000});
    pci_function& legacy = bus.plug(2, plain_function(io, 0x80));
    bus.place_and_enable();
    BOOST_TEST(bus.at(0, 1).outcome == pci::function_error::none);
    BOOST_TEST(!bus.at(0, 1).bars[0].is_placed());
    BOOST_TEST(device.command() == (memory_decoding | bus_master | intx_disable));
    BOOST_TEST(bus.at(0, 2).outcome == pci::function_error::bar_does_not_fit);
    BOOST_TEST(legacy.command() == (bus_master | intx_disable));
}

BOOST_AUTO_TEST_CASE(bars_whose_bits_are_no_size) {
    struct damage {
        std::uint32_t fixed;    // what the register reads besides
        std::uint32_t writable; // bits
    };
    for (const damage each :
         {damage{0, 0xffff'1000}, {2, 0xffff'f000}, {6, 0xffff'f000}, {8, 0}, {1, 0}, {4, 0}, {1, 0x0000'1004}}) {
        pci_bus bus;
        pci_function& broken = bus.plug(1, plain_function(memory32, 0x1000));
        broken.set_writable(0x10, 4, each.writable);
        broken.poke(0x10, 4, each.fixed);
        bus.plug(2, plain_function(memory32, 0x1000));
        bus.place_and_enable();
        BOOST_TEST_CONTEXT("fixed " << each.fixed << " writable " << each.writable) {
            BOOST_TEST(bus.at(0, 1).outcome == pci::function_error::bar_damaged);
            BOOST_TEST(broken.command() == (bus_master | intx_disable));
            BOOST_TEST(bus.at(0, 2).outcome == pci::function_error::none);
        }
    }
}

BOOST_AUTO_TEST_CASE(an_io_bar_may_decode_16_bits_only) {
    pci_bus bus;
    bus.plug(1, plain_function(io, 0x80)).set_writable(0x10, 4, 0xff80);
    bus.place_and_enable();
    BOOST_TEST(bus.at(0, 1).outcome == pci::function_error::none);
    BOOST_TEST(bus.at(0, 1).bars[0].size == 0x80U);
}

BOOST_AUTO_TEST_CASE(a_64_bit_bar_in_the_last_slot_has_no_upper_half) {
    pci_bus bus;
    pci_function& broken = bus.plug(1, plain_function());
    broken.set_bar(5, {.kind = memory32, .size = 0x1000});
    broken.poke(0x24, 4, 4);
    broken.set_writable(0x28, 4, ~0U); // as an upper half would be
    bus.place();
    BOOST_TEST(bus.at(0, 1).outcome == pci::function_error::bar_damaged);
}

BOOST_AUTO_TEST_CASE(a_bar_that_keeps_no_address) {
    pci_bus bus;
    pci_function& broken = bus.plug(1, plain_function(memory32, 0x1000));
    bus.enumerate();
    broken.on_write = [&](std::uint16_t offset, unsigned) {
        if (offset == 0x10 && broken.peek(0x10, 4) == 0x4000'0000) {
            broken.poke(0x10, 4, 0x4000'1000);
        }
    };
    pci::place(bus.space, windows_of({}), bus.found);
    BOOST_TEST(bus.at(0, 1).outcome == pci::function_error::bar_does_not_hold);
    BOOST_TEST(!bus.at(0, 1).decodes_memory());
}

BOOST_AUTO_TEST_CASE(a_host_bridge_is_left_alone) {
    pci_bus bus;
    pci_function& host = bus.plug(1, std::make_unique<pci_function>(model::pci_identity{.class_code = 0x060000}));
    host.set_bar(0, {.kind = memory32, .size = 0x1000});
    host.poke(4, 2, bus_master);
    bus.place();
    BOOST_TEST(!bus.at(0, 1).bars[0].is_placed());
    BOOST_TEST(host.command() == bus_master);
}

BOOST_AUTO_TEST_CASE(bridges_forward_what_is_behind_them) {
    pci_bus bus;
    pci_function& outer = bus.plug(1, bridge_function());
    pci_function& inner = bus.plug(2, bridge_function(true), &outer);
    pci_function& other = bus.plug(3, bridge_function());
    pci_function& near = bus.plug(1, plain_function(memory32, 0x1000), &outer);
    near.set_bar(1, {.kind = io, .size = 0x80});
    pci_function& far = bus.plug(0, plain_function(prefetchable64, 0x4000), &inner);
    far.set_bar(2, {.kind = memory32, .size = 0x20'0000});
    bus.plug(4, plain_function(memory32, 0x1000));
    pci_function& third = bus.plug(5, plain_function(prefetchable64, 0x10'0000), &other);
    bus.place_and_enable();
    for (const pci::function& each : bus.found) {
        BOOST_TEST_CONTEXT(each.address) {
            BOOST_TEST(each.outcome == pci::function_error::none);
        }
    }
    BOOST_TEST(near.cpu_address(0) == bus.at(1, 1).bars[0].cpu_address);
    BOOST_TEST(near.cpu_address(1) == bus.at(1, 1).bars[1].cpu_address);
    BOOST_TEST(far.cpu_address(0) == bus.at(2, 0).bars[0].cpu_address);
    BOOST_TEST(far.cpu_address(0) >= 0x4'0000'0000U);
    BOOST_TEST(far.cpu_address(2) == bus.at(2, 0).bars[2].cpu_address);
    BOOST_TEST(third.cpu_address(0) != 0U);
    for (const pci_function* const bridge : {&outer, &inner, &other}) {
        BOOST_TEST(bridge->command() == (io_decoding | memory_decoding | bus_master | intx_disable));
    }
    // What nothing is behind is closed: base above limit.
    BOOST_TEST(inner.peek(0x1c, 2) == 0x00f0U);
    BOOST_TEST(other.peek(0x1c, 2) == 0x00f0U);
    BOOST_TEST(other.peek(0x20, 4) == 0x0000fff0U);
    BOOST_TEST(bus.bus.is_bus_master(far));
}

BOOST_AUTO_TEST_CASE(a_bridge_without_anything_behind_is_closed) {
    pci_bus bus;
    pci_function& bridge = bus.plug(1, bridge_function());
    bridge.poke(0x20, 4, 0x7ff0'4000); // of the firmware
    bridge.poke(0x1c, 2, 0xf000);
    bridge.poke(0x28, 4, 1);
    bus.plug(2, plain_function(memory32, 0x1000));
    bus.place_and_enable();
    BOOST_TEST(bridge.peek(0x1c, 2) == 0x00f0U);
    BOOST_TEST(bridge.peek(0x20, 4) == 0x0000fff0U);
    BOOST_TEST(bridge.peek(0x24, 4) == 0x0001fff1U);
    BOOST_TEST(bridge.peek(0x28, 4) == 0U);
}

BOOST_AUTO_TEST_CASE(bridges_without_some_windows) {
    pci_bus bus;
    auto poor = bridge_function();
    poor->set_windows(false, false);
    pci_function& bridge = bus.plug(1, std::move(poor));
    bus.plug(1, plain_function(prefetchable64, 0x4000), &bridge);
    pci_function& with_io = bus.plug(2, plain_function(io, 0x20), &bridge);
    with_io.set_bar(1, {.kind = memory32, .size = 0x1000});
    bus.place_and_enable();
    BOOST_TEST(bus.at(1, 1).outcome == pci::function_error::none);
    BOOST_TEST(bus.at(1, 1).bars[0].bus_address < 0x1'0000'0000U); // not beyond what the bridge forwards
    BOOST_TEST(bus.at(1, 2).outcome == pci::function_error::none);
    BOOST_TEST(!bus.at(1, 2).bars[0].is_placed());
}

BOOST_AUTO_TEST_CASE(not_prefetchable_behind_a_bridge_is_below_4_gib) {
    pci_bus bus;
    pci_function& bridge = bus.plug(1, bridge_function());
    bus.plug(1, plain_function(memory64, 0x4000), &bridge);
    bus.plug(2, plain_function(memory64, 0x4000));
    bus.place_and_enable();
    BOOST_TEST(bus.at(1, 1).bars[0].bus_address < 0x1'0000'0000U);
    BOOST_TEST(bus.at(0, 2).bars[0].bus_address >= 0x1'0000'0000U);
}

BOOST_AUTO_TEST_CASE(without_a_64_bit_window_all_is_below_4_gib) {
    pci_bus bus{{.memory64 = {}}};
    pci_function& bridge = bus.plug(1, bridge_function());
    bus.plug(1, plain_function(prefetchable64, 0x4000), &bridge);
    bus.plug(2, plain_function(prefetchable64, 0x4000));
    bus.place_and_enable();
    BOOST_TEST(bus.at(0, 2).bars[0].bus_address == 0x4000'0000U);
    BOOST_TEST(bus.at(1, 1).bars[0].bus_address == 0x4010'0000U);
}

BOOST_AUTO_TEST_CASE(what_is_behind_a_bridge_without_addresses_is_an_error_each) {
    pci_bus bus;
    auto bad = bridge_function();
    bad->set_bar(0, {.kind = memory32, .size = 0x8000'0000});
    pci_function& bridge = bus.plug(1, std::move(bad));
    pci_function& inner = bus.plug(1, bridge_function(), &bridge);
    bus.plug(2, plain_function(memory32, 0x1000), &inner);
    bus.plug(2, plain_function(memory32, 0x1000));
    bus.place();
    BOOST_TEST(bus.at(0, 1).outcome == pci::function_error::bar_does_not_fit);
    BOOST_TEST(bus.at(1, 1).outcome == pci::function_error::bridge_unusable);
    BOOST_TEST(bus.at(2, 2).outcome == pci::function_error::bridge_unusable);
    BOOST_TEST(bus.at(0, 2).outcome == pci::function_error::none);
    BOOST_TEST((bridge.command() & (io_decoding | memory_decoding)) == 0);
}

BOOST_AUTO_TEST_CASE(disable_and_intx) {
    pci_bus bus;
    pci_function& device = bus.plug(1, plain_function(memory32, 0x1000));
    bus.place();
    const pci::function& found = bus.at(0, 1);
    BOOST_TEST(pci::enable(bus.space, found) == (memory_decoding | bus_master));
    BOOST_TEST(bus.bus.is_bus_master(device));
    pci::set_intx(bus.space, found.address, true);
    BOOST_TEST(device.command() == (memory_decoding | bus_master));
    pci::isolate(bus.space, found.address);
    BOOST_TEST(device.command() == (memory_decoding | intx_disable));
    pci::disable(bus.space, found.address);
    BOOST_TEST(device.command() == intx_disable);
}

// Whatever is plugged in: the model finds no overlap, and what has no outcome is reachable.
BOOST_AUTO_TEST_CASE(random_trees) {
    for (unsigned seed = 0; seed < 60; ++seed) {
        std::mt19937 random{seed};
        pci_bus bus;
        std::vector<pci_function*> bridges{nullptr};
        std::vector<pci_function*> devices;
        for (std::uint8_t device = 1; device < 24; ++device) {
            pci_function* const behind = bridges[random() % bridges.size()];
            if (random() % 3 == 0) {
                auto bridge = bridge_function();
                bridge->set_windows(random() % 4 != 0, random() % 4 != 0);
                bridges.push_back(&bus.plug(device, std::move(bridge), behind));
                continue;
            }
            auto made = plain_function();
            for (std::size_t index = 0; index < 6; ++index) {
                const auto kind = static_cast<pci_bar_kind>(random() % 5);
                const bool is_wide = kind == memory64 || kind == prefetchable64;
                if (kind != absent && !(is_wide && index == 5)) {
                    const unsigned bits = kind == io ? 2 + random() % 8 : 4 + random() % (seed % 2 == 0 ? 18 : 28);
                    made->set_bar(index, {.kind = kind, .size = std::uint64_t{1} << bits});
                    index += is_wide ? 1 : 0;
                }
            }
            devices.push_back(&bus.plug(device, std::move(made), behind));
        }
        bus.place_and_enable();
        for (const pci_function* const device : devices) {
            bool decodes = (device->command() & memory_decoding) != 0;
            for (std::size_t index = 0; index < 6; ++index) {
                const pci_bar_kind kind = device->bar(index).kind;
                BOOST_TEST((!decodes || kind == absent || kind == io || device->cpu_address(index) != 0));
            }
        }
        BOOST_TEST_REQUIRE(bus.machine.violations().empty(), "seed " << seed << ": " << bus.machine.describe());
    }
}

BOOST_AUTO_TEST_SUITE_END()
