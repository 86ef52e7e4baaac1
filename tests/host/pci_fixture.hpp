// A PCI bus of the model, as the driver finds it.
#pragma once

#include "drivers/pci/ecam.hpp"
#include "drivers/pci/enumeration.hpp"
#include "drivers/pci/placement.hpp"
#include "tests/model/pci_model.hpp"

#include <array>
#include <boost/test/unit_test.hpp>
#include <memory>
#include <ostream>
#include <utility>

namespace inflight::pci {

inline std::ostream& operator<<(std::ostream& out, function_error why) {
    return out << to_string(why);
}

inline std::ostream& operator<<(std::ostream& out, const function_address& where) {
    return out << unsigned{where.bus} << ':' << unsigned{where.device} << '.' << unsigned{where.function};
}

} // namespace inflight::pci

namespace inflight::test {

using model::bridge_function;
using model::pci_bar_kind;
using model::pci_function;

inline pci::host_windows windows_of(const model::pci_host_options& options) {
    const auto window = [](const model::pci_window& from) {
        return pci::address_window{from.bus_address, from.cpu_address, from.size};
    };
    return {window(options.io), window(options.memory32), window(options.memory64)};
}

inline std::unique_ptr<pci_function> plain_function(pci_bar_kind kind = pci_bar_kind::absent, std::uint64_t size = 0) {
    auto made = std::make_unique<pci_function>(model::pci_identity{});
    if (kind != pci_bar_kind::absent) {
        made->set_bar(0, {.kind = kind, .size = size});
    }
    return made;
}

// One bus. Each violation that the model reports fails the test.
struct pci_bus {
    explicit pci_bus(const model::pci_host_options& options = {})
        : bus{machine, options},
          buses{options.first_bus, options.last_bus},
          space{options.registers, (std::uint64_t{options.last_bus} - options.first_bus + 1) << 20, buses} {}
    ~pci_bus() { BOOST_TEST(machine.violations().empty(), machine.describe()); }
    pci_bus(const pci_bus&) = delete;
    pci_bus& operator=(const pci_bus&) = delete;

    pci_function& plug(std::uint8_t device, std::unique_ptr<pci_function> plugged, pci_function* bridge = nullptr,
                       std::uint8_t function = 0) {
        return bus.plug(device, function, std::move(plugged), bridge);
    }
    void enumerate() { pci::enumerate(space, buses, found); }
    void place() {
        enumerate();
        pci::place(space, windows_of(bus.options()), found);
    }
    void place_and_enable() {
        place();
        for (const pci::function& each : found) {
            if (!each.is_bridge() && !each.is_host_bridge()) {
                pci::enable(space, each);
            }
        }
    }
    const pci::function& at(std::uint8_t bus_number, std::uint8_t device, std::uint8_t function = 0) {
        for (const pci::function& each : found) {
            if (each.address == pci::function_address{bus_number, device, function}) {
                return each;
            }
        }
        BOOST_REQUIRE_MESSAGE(false, "there is no function " << unsigned{bus_number} << ":" << unsigned{device});
        return found[0];
    }
    // A rule was broken, and is not to fail the test.
    std::size_t take_violations(std::string_view id) {
        const std::size_t count = machine.count(id);
        machine.clear_violations();
        return count;
    }

    arch::host::machine machine{{.memory_bytes = 1 << 16}};
    model::pci_model bus;
    pci::bus_range buses;
    pci::ecam space;
    std::array<pci::function, 64> storage;
    pci::function_list found{storage};
};

} // namespace inflight::test
