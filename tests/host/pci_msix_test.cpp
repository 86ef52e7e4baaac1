// MSI-X: where the table is, and how its entries are changed.
#include "drivers/pci/msix.hpp"
#include "tests/host/pci_fixture.hpp"

#include <set>

namespace inflight::pci {

static std::ostream& operator<<(std::ostream& out, msix_error why) {
    return out << to_string(why);
}

} // namespace inflight::pci

namespace {

using namespace inflight;
using namespace inflight::test;
using enum pci_bar_kind;

struct message {
    std::uint64_t address;
    std::uint32_t data;
    friend bool operator==(const message&, const message&) = default;
};

struct msix_bus : pci_bus {
    explicit msix_bus(std::uint16_t vectors, std::uint32_t pending_at = 0x800, std::uint64_t bar_size = 0x1000) {
        auto made = model::virtio_function(2, false);
        registers = std::make_unique<model::pci_msix_registers>(machine, *made, 1, vectors, pending_at, bar_size);
        registers->on_message([this](std::uint64_t address, std::uint32_t data) {
            messages.push_back({address, data});
        });
        device = &plug(1, std::move(made));
        place_and_enable();
    }
    ~msix_bus() { pci::disable(space, {0, 1, 0}); } // detaches the registers

    pci::msix_table::open_result open() { return pci::msix_table::open(space, at(0, 1)); }

    std::unique_ptr<model::pci_msix_registers> registers;
    std::vector<message> messages;
    pci_function* device = nullptr;
};

constexpr std::uint64_t far_address = 0x12'2800'1000;

// A function with a capability of these bytes and a memory BAR 1 of 4 KiB.
pci::msix_error open_with(std::uint16_t control, std::uint32_t table, std::uint32_t pending) {
    pci_bus bus;
    auto made = plain_function();
    made->set_bar(1, {.kind = memory32, .size = 0x1000});
    made->set_bar(2, {.kind = io, .size = 0x1000});
    std::vector<std::uint8_t> body;
    for (const auto& [value, width] : {std::pair{std::uint32_t{control}, 2U}, {table, 4U}, {pending, 4U}}) {
        for (unsigned byte = 0; byte < width; ++byte) {
            body.push_back(static_cast<std::uint8_t>(value >> 8 * byte));
        }
    }
    made->add_capability(0x11, body);
    bus.plug(1, std::move(made));
    bus.place();
    return pci::msix_table::open(bus.space, bus.at(0, 1)).error;
}

} // namespace

BOOST_AUTO_TEST_SUITE(pci_msix_tests)

BOOST_AUTO_TEST_CASE(messages_go_where_entries_say) {
    msix_bus bus{5};
    const auto opened = bus.open();
    BOOST_TEST_REQUIRE(opened.error == pci::msix_error::none);
    const pci::msix_table& table = opened.table;
    BOOST_TEST(table.size() == 5);
    pci::set_intx(bus.space, {0, 1, 0}, true);
    table.begin();
    BOOST_TEST((bus.device->command() & 0x400) != 0); // INTx is off
    table.set(0, far_address, 8);
    table.set(4, 0x2800'0000, 9);
    bus.registers->raise(0);
    BOOST_TEST(bus.messages.empty()); // not before enable()
    table.enable();
    bus.registers->raise(4);
    bus.registers->raise(1); // masked
    BOOST_TEST((bus.messages == std::vector<message>{{far_address, 8}, {0x2800'0000, 9}}));
    BOOST_TEST(table.is_pending(1));
    BOOST_TEST(!table.is_pending(0));
}

BOOST_AUTO_TEST_CASE(an_entry_is_masked_while_it_changes) { // else the model reports it
    msix_bus bus{2};
    const pci::msix_table table = bus.open().table;
    table.begin();
    table.set(1, far_address, 1);
    table.enable();
    table.set(1, far_address + 0x1000, 2);
    bus.registers->raise(1);
    BOOST_TEST((bus.messages == std::vector<message>{{far_address + 0x1000, 2}}));
}

BOOST_AUTO_TEST_CASE(a_masked_vector_waits) {
    msix_bus bus{40};
    const pci::msix_table table = bus.open().table;
    table.begin();
    table.set(37, far_address, 3);
    table.enable();
    table.mask(37);
    bus.registers->raise(37);
    BOOST_TEST(bus.messages.empty());
    BOOST_TEST(table.is_pending(37));
    BOOST_TEST(!table.is_pending(5));
    table.set(37, far_address, 4);
    BOOST_TEST((bus.messages == std::vector<message>{{far_address, 4}}));
    BOOST_TEST(!table.is_pending(37));
}

BOOST_AUTO_TEST_CASE(begin_masks_what_was_there_before) {
    msix_bus bus{3};
    const pci::msix_table table = bus.open().table;
    table.begin();
    table.set(2, far_address, 1);
    table.enable();
    table.begin();
    table.enable();
    bus.registers->raise(2);
    BOOST_TEST(bus.messages.empty());
    table.disable();
    BOOST_TEST(!bus.registers->is_enabled());
}

BOOST_AUTO_TEST_CASE(disable_masks_all) {
    msix_bus bus{3};
    const pci::msix_table table = bus.open().table;
    table.begin();
    table.set(0, far_address, 1);
    table.enable();
    table.disable();
    BOOST_TEST(bus.registers->is_masked(0));
    BOOST_TEST(!bus.registers->is_enabled());
}

BOOST_AUTO_TEST_CASE(tables_of_the_sizes_that_qemu_has) {
    BOOST_TEST(msix_bus(1).open().table.size() == 1);
    BOOST_TEST(msix_bus(200, 0xc80).open().table.size() == 200);
    BOOST_TEST(msix_bus(301, 0x12d0, 0x2000).open().table.size() == 301);
    BOOST_TEST(msix_bus(2048, 0x8000, 0x10000).open().table.size() == 2048);
}

BOOST_AUTO_TEST_CASE(a_function_without_msix) {
    pci_bus bus;
    bus.plug(1, model::virtio_function(2, false));
    bus.place();
    BOOST_TEST(pci::msix_table::open(bus.space, bus.at(0, 1)).error == pci::msix_error::absent);
}

BOOST_AUTO_TEST_CASE(structures_lie_within_their_bars) {
    using enum pci::msix_error;
    BOOST_TEST(open_with(0, 1, 0x801) == none);
    BOOST_TEST(open_with(0, 6, 0x801) == bar_missing); // reserved
    BOOST_TEST(open_with(0, 7, 0x801) == bar_missing);
    BOOST_TEST(open_with(0, 0, 0x801) == bar_missing); // absent
    BOOST_TEST(open_with(0, 2, 0x801) == bar_missing); // I/O
    BOOST_TEST(open_with(0, 1, 0x803) == bar_missing);
    BOOST_TEST(open_with(0, 0xff1, 0x801) == none);
    BOOST_TEST(open_with(0, 0xff9, 0x801) == table_outside); // 8 bytes are left
    BOOST_TEST(open_with(1, 0xff1, 0x801) == table_outside);
    BOOST_TEST(open_with(0, 0x1001, 1) == table_outside);
    BOOST_TEST(open_with(0, 0xffff'fff9, 1) == table_outside);
    BOOST_TEST(open_with(255, 1, 0x801) == none); // 256 entries fill the BAR
    BOOST_TEST(open_with(256, 1, 0x801) == table_outside);
    BOOST_TEST(open_with(0x7ff, 1, 0x801) == table_outside);
    BOOST_TEST(open_with(0x38ff, 1, 0x801) == none); // the other bits are not the size
    BOOST_TEST(open_with(0, 1, 0xff9) == none);
    BOOST_TEST(open_with(0, 1, 0x1001) == pba_outside);
    BOOST_TEST(open_with(64, 1, 0xff9) == pba_outside); // 65 bits
    BOOST_TEST(open_with(63, 1, 0xff9) == none);
}

BOOST_AUTO_TEST_CASE(a_capability_at_the_end_of_the_space) {
    for (const std::uint16_t offset : {std::uint16_t{0xf4}, std::uint16_t{0xf8}}) {
        pci_bus bus;
        auto made = plain_function();
        made->set_bar(0, {.kind = memory32, .size = 0x1000});
        made->add_capability(1, {});
        made->poke(0x41, 1, offset);
        made->poke(offset, 4, 0x0000'0011);
        bus.plug(1, std::move(made));
        bus.place();
        BOOST_TEST(pci::msix_table::open(bus.space, bus.at(0, 1)).error ==
                   (offset == 0xf4 ? pci::msix_error::none : pci::msix_error::damaged));
    }
}

BOOST_AUTO_TEST_CASE(bars_without_a_place) {
    pci_bus bus;
    auto made = plain_function();
    model::pci_msix_registers registers{bus.machine, *made, 1, 2};
    made->set_bar(0, {.kind = memory32, .size = 0x8000'0000});
    bus.plug(1, std::move(made));
    bus.place();
    BOOST_TEST(pci::msix_table::open(bus.space, bus.at(0, 1)).error == pci::msix_error::bar_missing);
}

BOOST_AUTO_TEST_CASE(every_error_has_a_sentence) {
    std::set<std::string> sentences;
    for (unsigned why = 0; why <= unsigned(pci::msix_error::pba_outside); ++why) {
        sentences.insert(to_string(static_cast<pci::msix_error>(why)));
    }
    BOOST_TEST(sentences.size() == unsigned(pci::msix_error::pba_outside) + 1);
    BOOST_TEST(!sentences.contains("unknown error"));
}

BOOST_AUTO_TEST_SUITE_END()
