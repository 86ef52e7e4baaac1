// The walk over capabilities, and where it finds the structures of a VIRTIO device. Also of devices that are broken.
#include "drivers/pci/capabilities.hpp"
#include "drivers/virtio/pci_capabilities.hpp"
#include "tests/host/pci_fixture.hpp"

#include <functional>
#include <set>

namespace inflight::virtio {

static std::ostream& operator<<(std::ostream& out, pci_structures_error why) {
    return out << to_string(why);
}

static std::ostream& operator<<(std::ostream& out, device_id id) {
    return out << to_string(id);
}

} // namespace inflight::virtio

namespace {

using namespace inflight;
using namespace inflight::test;
using model::virtio_capability;
using model::virtio_function;
using virtio::pci_structures_error;
using enum pci_bar_kind;

constexpr std::uint8_t vendor_specific = 9;
constexpr std::uint16_t block_device = 2;

std::vector<unsigned> walk(pci_bus& bus, pci::function_address where) {
    std::vector<unsigned> offsets;
    for (pci::capability_cursor at{bus.space, where}; at; at.next()) {
        offsets.push_back(at.offset());
    }
    return offsets;
}

// A virtio function without capabilities, with a memory BAR 4 of 16 KiB and an I/O BAR 2.
std::unique_ptr<pci_function> bare_virtio() {
    auto made = std::make_unique<pci_function>(model::pci_identity{.vendor = 0x1af4, .device = 0x1042});
    made->set_bar(4, {.kind = prefetchable64, .size = 0x4000});
    made->set_bar(2, {.kind = io, .size = 0x20});
    return made;
}

struct found_structures {
    pci_structures_error outcome;
    virtio::pci_structures structures;
};

found_structures find_in(std::unique_ptr<pci_function> plugged) {
    pci_bus bus;
    bus.plug(1, std::move(plugged));
    bus.place();
    found_structures result{};
    result.outcome = virtio::find_structures(bus.space, bus.at(0, 1), result.structures);
    return result;
}

struct capability {
    std::uint8_t type;
    std::uint8_t bar = 4;
    std::uint32_t offset = 0;
    std::uint32_t length = 0x1000;
    std::uint32_t multiplier = 4;
};

const std::vector<capability> all_types{{1, 4, 0}, {2, 4, 0x3000}, {3, 4, 0x1000}, {4, 4, 0x2000}};

void add(pci_function& to, const capability& each) {
    to.add_capability(vendor_specific,
                      virtio_capability(each.type, each.bar, each.offset, each.length, each.multiplier));
}

found_structures find_with(const std::vector<capability>& capabilities) {
    auto made = bare_virtio();
    for (const capability& each : capabilities) {
        add(*made, each);
    }
    return find_in(std::move(made));
}

// All types, of which the one with that type is another.
found_structures find_with_changed(std::uint8_t type, const std::function<void(capability&)>& change) {
    std::vector<capability> changed = all_types;
    change(changed[type - 1U]);
    return find_with(changed);
}

} // namespace

BOOST_AUTO_TEST_SUITE(pci_capabilities_tests)

BOOST_AUTO_TEST_CASE(a_list_in_order) {
    pci_bus bus;
    pci_function& device = bus.plug(1, plain_function());
    const std::uint8_t body[14] = {};
    device.add_capability(1, body);
    device.add_capability(9, body);
    device.add_capability(0x11, body);
    BOOST_TEST(walk(bus, {0, 1, 0}) == (std::vector<unsigned>{0x40, 0x50, 0x60}));
    BOOST_TEST(pci::find_capability(bus.space, {0, 1, 0}, 0x11) == 0x60);
    BOOST_TEST(pci::find_capability(bus.space, {0, 1, 0}, 0x10) == 0);
}

BOOST_AUTO_TEST_CASE(without_the_status_bit_there_is_no_list) {
    pci_bus bus;
    bus.plug(1, plain_function()).poke(0x34, 1, 0x40);
    BOOST_TEST(walk(bus, {0, 1, 0}).empty());
}

BOOST_AUTO_TEST_CASE(reserved_bits_of_pointers_are_masked) {
    pci_bus bus;
    pci_function& device = bus.plug(1, plain_function());
    device.add_capability(1, {});
    device.add_capability(9, {});
    device.poke(0x34, 1, 0x43);
    device.poke(0x41, 1, 0x46);
    BOOST_TEST(walk(bus, {0, 1, 0}) == (std::vector<unsigned>{0x40, 0x44}));
}

BOOST_AUTO_TEST_CASE(a_pointer_into_the_header_ends_the_list) {
    pci_bus bus;
    pci_function& device = bus.plug(1, plain_function());
    device.add_capability(1, {});
    device.poke(0x41, 1, 0x3c);
    BOOST_TEST(walk(bus, {0, 1, 0}).size() == 1U);
    device.poke(0x34, 1, 0x04);
    BOOST_TEST(walk(bus, {0, 1, 0}).empty());
}

BOOST_AUTO_TEST_CASE(loops_end) {
    pci_bus bus;
    pci_function& device = bus.plug(1, plain_function());
    device.add_capability(1, {});
    device.add_capability(9, {});
    device.poke(0x41, 1, 0x40); // to itself
    BOOST_TEST(walk(bus, {0, 1, 0}).size() == 48U);
    device.poke(0x41, 1, 0x44);
    device.poke(0x45, 1, 0x40); // in a circle
    BOOST_TEST(walk(bus, {0, 1, 0}).size() == 48U);
    BOOST_TEST(pci::find_capability(bus.space, {0, 1, 0}, 0x11) == 0);
}

BOOST_AUTO_TEST_CASE(as_many_as_there_is_room_for) {
    pci_bus bus;
    pci_function& device = bus.plug(1, plain_function());
    for (unsigned index = 0; index < 48; ++index) {
        device.add_capability(static_cast<std::uint8_t>(index + 0x20), {});
    }
    BOOST_TEST(walk(bus, {0, 1, 0}).back() == 0xfcU);
}

BOOST_AUTO_TEST_CASE(which_functions_are_virtio_devices) {
    const auto identify = [](std::uint16_t vendor, std::uint16_t device, std::uint16_t subsystem) {
        pci::function of;
        of.vendor = vendor;
        of.device = device;
        of.subsystem = subsystem;
        return virtio::identify_pci(of);
    };
    BOOST_TEST(identify(0x1af4, 0x1042, 0x1100).is_virtio);
    BOOST_TEST(!identify(0x1af4, 0x1042, 0x1100).is_transitional);
    BOOST_TEST(identify(0x1af4, 0x1042, 0x1100).id == virtio::device_id::block);
    BOOST_TEST(identify(0x1af4, 0x1001, 2).is_transitional);
    BOOST_TEST(identify(0x1af4, 0x1001, 2).id == virtio::device_id::block);
    BOOST_TEST(identify(0x1af4, 0x1001, 0xfffe).id == virtio::device_id::block); // PCI-04: any subsystem
    BOOST_TEST(identify(0x1af4, 0x1005, 4).id == virtio::device_id::entropy);
    BOOST_TEST(identify(0x1af4, 0x103f, 18).id == virtio::device_id::input);
    BOOST_TEST(identify(0x1af4, 0x1044, 0).id == virtio::device_id::entropy);
    BOOST_TEST(identify(0x1af4, 0x1040, 0).id == virtio::device_id::none);
    BOOST_TEST(!identify(0x1af4, 0x0fff, 2).is_virtio);
    BOOST_TEST(!identify(0x1af4, 0x1080, 2).is_virtio);
    BOOST_TEST(!identify(0x1b36, 0x1042, 2).is_virtio);
    pci::function bridge;
    bridge.vendor = 0x1af4;
    bridge.device = 0x1042;
    bridge.header_type = 1;
    BOOST_TEST(!virtio::identify_pci(bridge).is_virtio);
}

BOOST_AUTO_TEST_CASE(any_revision_is_a_virtio_device) { // PCI-03
    for (const unsigned revision : {0U, 1U, 255U}) {
        pci::function of;
        of.vendor = 0x1af4;
        of.device = 0x1042;
        of.revision = static_cast<std::uint8_t>(revision);
        BOOST_TEST(virtio::identify_pci(of).id == virtio::device_id::block);
    }
}

BOOST_AUTO_TEST_CASE(the_structures_of_a_device_like_qemus) {
    for (const bool transitional : {false, true}) {
        const auto [outcome, structures] = find_in(virtio_function(block_device, transitional));
        BOOST_TEST(outcome == pci_structures_error::none);
        BOOST_TEST(structures.common == 0x400000000U);
        BOOST_TEST(structures.common_length == 0x1000U);
        BOOST_TEST(structures.isr == 0x400001000U);
        BOOST_TEST(structures.device == 0x400002000U);
        BOOST_TEST(structures.device_length == 0x1000U);
        BOOST_TEST(structures.notify == 0x400003000U);
        BOOST_TEST(structures.notify_length == 0x1000U);
        BOOST_TEST(structures.notify_off_multiplier == 4U);
    }
}

BOOST_AUTO_TEST_CASE(a_device_without_configuration_is_no_error) {
    const auto [outcome, structures] = find_with({{1}, {2}, {3}});
    BOOST_TEST(outcome == pci_structures_error::none);
    BOOST_TEST(structures.device == 0U);
    BOOST_TEST(structures.device_length == 0U);
}

BOOST_AUTO_TEST_CASE(each_missing_structure_is_named) {
    BOOST_TEST(find_with({}).outcome == pci_structures_error::not_modern);
    BOOST_TEST(find_with({{5}, {8}, {9}, {0}, {6}, {255}}).outcome == pci_structures_error::not_modern);
    BOOST_TEST(find_with({{2}, {3}, {4}}).outcome == pci_structures_error::common_missing);
    BOOST_TEST(find_with({{1}, {3}, {4}}).outcome == pci_structures_error::notify_missing);
    BOOST_TEST(find_with({{1}, {2}, {4}}).outcome == pci_structures_error::isr_missing);
}

BOOST_AUTO_TEST_CASE(reserved_types_are_passed_over) { // PCI-07
    std::vector<capability> capabilities{{0}, {6}, {7}, {255}, {5, 0, 0, 0}};
    capabilities.insert(capabilities.end(), all_types.begin(), all_types.end());
    BOOST_TEST(find_with(capabilities).outcome == pci_structures_error::none);
}

BOOST_AUTO_TEST_CASE(capabilities_of_others_are_not_virtios) {
    auto made = bare_virtio();
    made->add_capability(8, virtio_capability(1, 4, 0, 0x1000));
    for (const capability& each : all_types) {
        add(*made, {each.type, each.bar, each.offset == 0 ? 0x40 : each.offset});
    }
    BOOST_TEST(find_in(std::move(made)).structures.common == 0x400000040U);
}

BOOST_AUTO_TEST_CASE(the_first_usable_instance_counts) { // PCI-08
    std::vector<capability> capabilities{{1, 4, 0x3fff, 0x1000}, {1, 3, 0}, {1, 4, 0x200, 0x38}};
    capabilities.insert(capabilities.end(), all_types.begin(), all_types.end());
    const auto [outcome, structures] = find_with(capabilities);
    BOOST_TEST(outcome == pci_structures_error::none);
    BOOST_TEST(structures.common == 0x400000200U);
    BOOST_TEST(structures.common_length == 0x38U);
}

BOOST_AUTO_TEST_CASE(notifications_in_io_space_are_passed_over) {
    std::vector<capability> capabilities{{2, 2, 0, 4, 0}};
    capabilities.insert(capabilities.end(), all_types.begin(), all_types.end());
    BOOST_TEST(find_with(capabilities).structures.notify == 0x400003000U);
    BOOST_TEST(find_with({{1}, {2, 2, 0, 4, 0}, {3}}).outcome == pci_structures_error::notify_missing);
}

BOOST_AUTO_TEST_CASE(reserved_bars_are_passed_over) {
    BOOST_TEST(find_with_changed(3, [](capability& c) { c.bar = 6; }).outcome == pci_structures_error::isr_missing);
    BOOST_TEST(find_with_changed(3, [](capability& c) { c.bar = 255; }).outcome == pci_structures_error::isr_missing);
}

BOOST_AUTO_TEST_CASE(absent_bars) {
    for (const std::uint8_t bar : {std::uint8_t{0}, std::uint8_t{5}}) { // 5 is the upper half of 4
        BOOST_TEST(find_with_changed(1, [&](capability& c) { c.bar = bar; }).outcome ==
                   pci_structures_error::bar_missing);
    }
}

BOOST_AUTO_TEST_CASE(bars_without_a_place) {
    auto made = virtio_function(block_device, false);
    made->set_bar(0, {.kind = memory32, .size = 0x8000'0000}); // so decoding stays off
    BOOST_TEST(find_in(std::move(made)).outcome == pci_structures_error::bar_missing);
}

BOOST_AUTO_TEST_CASE(structures_lie_within_their_bar) {
    for (std::uint8_t type = 1; type <= 4; ++type) {
        const auto with = [&](std::uint32_t offset, std::uint32_t length) {
            return find_with_changed(type,
                                     [&](capability& c) {
                                         c.offset = offset;
                                         c.length = length;
                                     })
                .outcome;
        };
        BOOST_TEST_CONTEXT("type " << unsigned{type}) {
            BOOST_TEST(with(0x3f00, 0x100) == pci_structures_error::none);
            BOOST_TEST(with(0, 0x4000) == pci_structures_error::none);
            BOOST_TEST(with(0x3f00, 0x101) == pci_structures_error::outside_bar);
            BOOST_TEST(with(0x4000, 0x100) == pci_structures_error::outside_bar);
            BOOST_TEST(with(0, 0x4001) == pci_structures_error::outside_bar);
            BOOST_TEST(with(0xffff'ff00, 0x200) == pci_structures_error::outside_bar); // the sum is 0x100
            BOOST_TEST(with(0x100, 0xffff'ff00) == pci_structures_error::outside_bar);
            BOOST_TEST(with(0x4000, 0) == pci_structures_error::structure_too_short);
        }
    }
}

BOOST_AUTO_TEST_CASE(structures_are_aligned) {
    const auto with = [&](std::uint8_t type, std::uint32_t offset) {
        return find_with_changed(type, [&](capability& c) { c.offset = offset; }).outcome;
    };
    BOOST_TEST(with(1, 2) == pci_structures_error::misaligned);
    BOOST_TEST(with(4, 2) == pci_structures_error::misaligned);
    BOOST_TEST(with(2, 1) == pci_structures_error::misaligned);
    BOOST_TEST(with(2, 2) == pci_structures_error::none);
    BOOST_TEST(with(3, 3) == pci_structures_error::none);
}

BOOST_AUTO_TEST_CASE(structures_have_a_minimum_length) {
    const auto with = [&](std::uint8_t type, std::uint32_t length) {
        return find_with_changed(type, [&](capability& c) { c.length = length; }).outcome;
    };
    BOOST_TEST(with(1, 55) == pci_structures_error::structure_too_short);
    BOOST_TEST(with(1, 56) == pci_structures_error::none);
    BOOST_TEST(with(2, 1) == pci_structures_error::structure_too_short);
    BOOST_TEST(with(2, 2) == pci_structures_error::none);
    BOOST_TEST(with(3, 0) == pci_structures_error::structure_too_short);
    BOOST_TEST(with(3, 1) == pci_structures_error::none);
    BOOST_TEST(with(4, 0) == pci_structures_error::structure_too_short);
}

BOOST_AUTO_TEST_CASE(multipliers) {
    const auto with = [&](std::uint32_t multiplier) {
        return find_with_changed(2, [&](capability& c) { c.multiplier = multiplier; }).outcome;
    };
    for (const std::uint32_t good : {0U, 2U, 4U, 4096U, 0x8000'0000U}) {
        BOOST_TEST(with(good) == pci_structures_error::none);
    }
    for (const std::uint32_t bad : {1U, 3U, 6U, 0xffff'ffffU}) {
        BOOST_TEST(with(bad) == pci_structures_error::multiplier_invalid);
    }
}

BOOST_AUTO_TEST_CASE(capabilities_longer_than_known_are_accepted_and_shorter_ones_are_not) { // PCI-09
    const auto with = [](std::uint8_t type, std::uint8_t length) {
        auto made = bare_virtio();
        for (const capability& each : all_types) {
            auto body = virtio_capability(each.type, each.bar, each.offset, each.length, each.multiplier);
            body[0] = each.type == type ? length : body[0];
            made->add_capability(vendor_specific, body);
        }
        return find_in(std::move(made)).outcome;
    };
    for (std::uint8_t type = 1; type <= 4; ++type) {
        const std::uint8_t least = type == 2 ? 20 : 16;
        BOOST_TEST(with(type, least) == pci_structures_error::none);
        BOOST_TEST(with(type, 255) == pci_structures_error::none);
        BOOST_TEST(with(type, static_cast<std::uint8_t>(least - 1)) == pci_structures_error::capability_damaged);
        BOOST_TEST(with(type, 0) == pci_structures_error::capability_damaged);
    }
}

BOOST_AUTO_TEST_CASE(capabilities_at_the_end_of_the_space) {
    for (const std::uint16_t offset : {std::uint16_t{0xf0}, std::uint16_t{0xf4}, std::uint16_t{0xfc}}) {
        auto made = bare_virtio();
        for (const capability& each : all_types) {
            if (each.type != 1) {
                add(*made, each);
            }
        }
        const std::uint8_t head[] = {9, 0, 16, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0};
        for (unsigned byte = 0; byte < 16 && offset + byte < 0x100; ++byte) {
            made->poke(static_cast<std::uint16_t>(offset + byte), 1, head[byte]);
        }
        made->poke(0x40 + 20 + 16 + 1, 1, offset); // after the third
        BOOST_TEST(find_in(std::move(made)).outcome ==
                   (offset == 0xf0 ? pci_structures_error::none : pci_structures_error::capability_damaged));
    }
}

BOOST_AUTO_TEST_CASE(after_an_error_the_structures_are_as_they_were) {
    BOOST_TEST(find_with_changed(3, [](capability& c) { c.length = 0; }).structures.common == 0U);
}

BOOST_AUTO_TEST_CASE(every_error_has_a_sentence) {
    std::set<std::string> sentences;
    for (unsigned why = 0; why <= unsigned(pci_structures_error::multiplier_invalid); ++why) {
        sentences.insert(to_string(static_cast<pci_structures_error>(why)));
    }
    BOOST_TEST(sentences.size() == unsigned(pci_structures_error::multiplier_invalid) + 1);
    for (unsigned why = 0; why <= unsigned(pci::function_error::bridge_unusable); ++why) {
        sentences.insert(to_string(static_cast<pci::function_error>(why)));
    }
    BOOST_TEST(sentences.size() ==
               unsigned(pci_structures_error::multiplier_invalid) + unsigned(pci::function_error::bridge_unusable) + 1);
    BOOST_TEST(!sentences.contains("unknown error"));
}

BOOST_AUTO_TEST_SUITE_END()
