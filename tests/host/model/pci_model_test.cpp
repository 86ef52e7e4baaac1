// What the model of the PCI bus reports of a driver that is wrong in its configuration space.
#include "tests/model/pci_model.hpp"

#include <array>
#include <boost/test/unit_test.hpp>
#include <functional>
#include <memory>

namespace {

using namespace inflight;
using namespace inflight::model;
using enum pci_bar_kind;

constexpr std::uint16_t command_register = 4;
constexpr std::uint32_t memory_decoding = 2;

// Two functions, of which the first has a BAR of 4 KiB and a capability of VIRTIO.
struct bus_world {
    bus_world() {
        for (const std::uint8_t device : {std::uint8_t{1}, std::uint8_t{2}}) {
            auto made = std::make_unique<pci_function>(pci_identity{.vendor = 0x1af4, .device = 0x1042});
            made->set_bar(0, {.kind = memory32, .size = 0x1000});
            functions[device - 1U] = &bus.plug(device, 0, std::move(made));
        }
        capability = functions[0]->add_capability(9, virtio_capability(1, 0, 0, 0x1000));
    }
    std::uintptr_t at(std::uint8_t device, std::uint16_t offset) const {
        return bus.options().registers + (std::uintptr_t{device} << 15) + offset;
    }
    void place(std::uint8_t device, std::uint32_t address) {
        arch::mmio_write32(at(device, 0x10), address);
        arch::mmio_write16(at(device, command_register), memory_decoding);
    }

    arch::host::machine host{{.memory_bytes = 1 << 16}};
    pci_model bus{host};
    std::array<pci_function*, 2> functions{};
    std::uint16_t capability = 0;
};

struct broken_rule {
    const char* id;
    const char* how;
    std::function<void(bus_world&)> act;
};

} // namespace

BOOST_AUTO_TEST_SUITE(pci_model_tests)

BOOST_AUTO_TEST_CASE(a_correct_driver_places_bars_without_a_word) {
    bus_world w;
    w.place(1, 0x4000'0000);
    w.place(2, 0x4000'1000);
    BOOST_TEST(arch::mmio_read32(w.at(1, 0)) == 0x1042'1af4U);
    BOOST_TEST(w.host.violations().empty(), w.host.describe());
}

BOOST_AUTO_TEST_CASE(wrong_accesses_are_reported) {
    const broken_rule rules[] = {
        {"PCI-14", "the header of a capability is written",
         [](bus_world& w) {
             arch::mmio_write8(w.at(1, w.capability), 9);
         }},
        {"PCI-14", "the offset in a capability is written",
         [](bus_world& w) {
             arch::mmio_write32(w.at(1, static_cast<std::uint16_t>(w.capability + 8)), 0);
         }},
        {"PCI-WIDTH", "half of a BAR is read",
         [](bus_world& w) {
             static_cast<void>(arch::mmio_read16(w.at(1, 0x10)));
         }},
        {"PCI-READ-ONLY", "an id is written",
         [](bus_world& w) {
             arch::mmio_write16(w.at(1, 2), 0x1041);
         }},
        {"PCI-SIZING", "a BAR is written while it decodes",
         [](bus_world& w) {
             w.place(1, 0x4000'0000);
             arch::mmio_write32(w.at(1, 0x10), ~0U);
         }},
        {"PCI-NO-ADDRESS", "a BAR without an address decodes",
         [](bus_world& w) {
             arch::mmio_write16(w.at(1, command_register), memory_decoding);
         }},
        {"PCI-OVERLAP", "two BARs decode one address",
         [](bus_world& w) {
             w.place(1, 0x4000'0000);
             w.place(2, 0x4000'0000);
         }},
    };
    for (const broken_rule& rule : rules) {
        BOOST_TEST_CONTEXT(rule.id << ": " << rule.how) {
            bus_world w;
            rule.act(w);
            BOOST_TEST(w.host.count(rule.id) > 0U);
            for (const auto& each : w.host.violations()) {
                BOOST_TEST(each.id == rule.id, "also reported: " << each.id << ": " << each.message);
            }
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
