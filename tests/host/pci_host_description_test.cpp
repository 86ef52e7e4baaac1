// What is read of the host bridge of a PCI bus in a device tree.
#include "tests/host/device_tree_writer.hpp"

#include <set>

namespace inflight::kernel {

static std::ostream& operator<<(std::ostream& out, pci_host_error error) {
    return out << text(error);
}

} // namespace inflight::kernel

namespace inflight::pci {

static bool operator==(const address_window& one, const address_window& other) {
    return one.bus_address == other.bus_address && one.cpu_address == other.cpu_address && one.size == other.size;
}

} // namespace inflight::pci

namespace {

using namespace inflight;
using namespace inflight::tests;
using cells = std::vector<std::uint32_t>;

constexpr std::uint32_t plic = 50; // phandle, of machine_writer

// A host bridge of which each test changes a property.
struct host_writer {
    cells reg = {0, 0x30000000, 0, 0x10000000};
    std::optional<cells> bus_range = cells{0, 255};
    cells ranges = {0x01000000, 0, 0,          0, 0x03000000, 0, 0x10000,
                    0x02000000, 0, 0x40000000, 0, 0x40000000, 0, 0x40000000};
    cells map = {0, 0, 0, 1, plic, 32, 0x800, 0, 0, 1, plic, 33};
    std::optional<cells> mask = cells{0x1800, 0, 0, 7};
    std::uint32_t address_cells = 3;
    std::string status = "okay";
    std::function<void(tree_writer&)> more = [](tree_writer&) {
    };

    void write(tree_writer& tree) const {
        tree.begin("pci@30000000").text("compatible", "pci-host-ecam-generic").text("status", status);
        tree.cells("#address-cells", {address_cells}).cells("#size-cells", {2}).cells("#interrupt-cells", {1});
        tree.cells("reg", reg).cells("ranges", ranges).cells("interrupt-map", map);
        if (bus_range) {
            tree.cells("bus-range", *bus_range);
        }
        if (mask) {
            tree.cells("interrupt-map-mask", *mask);
        }
        more(tree);
        tree.end();
    }
};

struct machine_with_host {
    explicit machine_with_host(const host_writer& host, const std::function<void(tree_writer&)>& beside = {},
                               std::uint32_t interrupt_cells = 1)
        : machine{blob(host, beside, interrupt_cells)} {
        BOOST_TEST(machine.outcome == machine_error::none); // whatever the host bridge is like
        BOOST_TEST(machine.virtio.size() == 2U);
        BOOST_REQUIRE(machine.pci);
    }
    const pci_host_description* operator->() const { return &*machine.pci; }

    static bytes blob(const host_writer& host, const std::function<void(tree_writer&)>& beside,
                      std::uint32_t interrupt_cells) {
        machine_writer writer;
        writer.interrupt_cells = interrupt_cells;
        writer.in_soc = [&](tree_writer& tree) {
            if (beside) {
                beside(tree);
            }
            host.write(tree);
        };
        return writer.write();
    }
    described_machine machine;
};

pci::host_windows windows_of(const pci_host_description& host) {
    pci::host_windows windows;
    BOOST_TEST(host.read_windows(windows) == pci_host_error::none);
    return windows;
}

pci_host_error windows_outcome_with(const std::function<void(host_writer&)>& change) {
    host_writer host;
    change(host);
    const machine_with_host machine{host};
    pci::host_windows windows;
    BOOST_TEST(machine->outcome == pci_host_error::none);
    const pci_host_error outcome = machine->read_windows(windows);
    if (outcome != pci_host_error::none) {
        BOOST_TEST(windows.io.size + windows.memory32.size + windows.memory64.size == 0U);
    }
    return outcome;
}

pci_host_error outcome_with(const std::function<void(host_writer&)>& change) {
    host_writer host;
    change(host);
    return machine_with_host(host)->outcome;
}

} // namespace

BOOST_AUTO_TEST_SUITE(pci_host_description_tests)

BOOST_AUTO_TEST_CASE(the_host_bridge_of_qemu) {
    for (const std::string name : {"smp1", "smp8", "memory3g"}) {
        const described_machine machine(load_dump(name));
        BOOST_TEST_CONTEXT(name) {
            BOOST_REQUIRE(machine.pci);
            BOOST_TEST(machine.pci->outcome == pci_host_error::none);
            BOOST_TEST(machine.pci->registers == (memory_range{0x30000000, 0x10000000}));
            BOOST_TEST(machine.pci->buses.first == 0);
            BOOST_TEST(machine.pci->buses.last == 255);
            BOOST_TEST((windows_of(*machine.pci).io == pci::address_window{0, 0x3000000, 0x10000}));
            BOOST_TEST((windows_of(*machine.pci).memory32 == pci::address_window{0x40000000, 0x40000000, 0x40000000}));
            BOOST_TEST(
                (windows_of(*machine.pci).memory64 == pci::address_window{0x400000000, 0x400000000, 0x400000000}));
            BOOST_TEST(machine.pci->is_dma_coherent());
            BOOST_TEST(machine.pci->msi_parent() == 0U);
            for (std::uint8_t device = 0; device < 32; ++device) {
                for (std::uint8_t pin = 1; pin <= 4; ++pin) {
                    BOOST_TEST(machine.pci->interrupt_source(device, pin) == 32U + (device + pin - 1U) % 4);
                }
                BOOST_TEST(machine.pci->interrupt_source(device, 0) == 0U);
                BOOST_TEST(machine.pci->interrupt_source(device, 5) == 0U);
            }
        }
    }
}

// The map of a machine with APLICs: two cells for each source, no #address-cells, and the controller of messages.
BOOST_AUTO_TEST_CASE(the_host_bridge_of_qemu_with_aplic) {
    for (const std::string name : {"imsic", "aplic"}) {
        const opened_tree tree(load_dump(name));
        const auto host = tree.at("/soc/pci");
        const auto map = host.find("interrupt-map");
        BOOST_REQUIRE(map);
        BOOST_TEST(map->value().size() == 16U * 7 * 4);
        const auto controller = tree->find_by_phandle(*map->cell(4));
        BOOST_REQUIRE(controller);
        pci_host_description description;
        describe_pci_host(*tree, host, controller->as_interrupt_controller(), description);
        BOOST_TEST(description.outcome == pci_host_error::none);
        BOOST_TEST((description.msi_parent() != 0) == (name == "imsic"));
        BOOST_TEST(description.interrupt_source(1, 1) == 33U);
        BOOST_TEST(description.interrupt_source(6, 2) == 35U);
        BOOST_TEST(description.interrupt_source(7, 2) == 32U);
    }
}

BOOST_AUTO_TEST_CASE(a_machine_without_a_host_bridge) {
    const described_machine machine(machine_writer{}.write());
    BOOST_TEST(!machine.pci);
    host_writer disabled;
    disabled.status = "disabled";
    const described_machine other(machine_with_host::blob(disabled, {}, 1));
    BOOST_TEST(!other.pci);
}

BOOST_AUTO_TEST_CASE(the_first_enabled_host_bridge_counts) {
    host_writer second;
    second.reg = {0, 0x60000000, 0, 0x10000000};
    host_writer disabled;
    disabled.status = "disabled";
    const machine_with_host machine{host_writer{}, [&](tree_writer& tree) {
                                        disabled.write(tree);
                                        second.write(tree);
                                    }};
    BOOST_TEST(machine->registers.base == 0x60000000U);
}

BOOST_AUTO_TEST_CASE(registers) {
    using enum pci_host_error;
    const auto with = [](const cells& reg) {
        return outcome_with([&](host_writer& host) { host.reg = reg; });
    };
    BOOST_TEST(with({0, 0x30000000, 0, 0x100000}) == none);
    BOOST_TEST(with({0, 0x30000000, 0, 0xff000}) == registers_damaged); // less than a bus
    BOOST_TEST(with({0, 0x30000800, 0, 0x100000}) == registers_damaged);
    BOOST_TEST(with({0, 0x30000000, 0}) == registers_damaged);
    BOOST_TEST(with({}) == registers_damaged);
    BOOST_TEST(with({0xffffffff, 0xfff00000, 0, 0x200000}) == registers_damaged); // beyond the end
}

BOOST_AUTO_TEST_CASE(bus_ranges) {
    using enum pci_host_error;
    const auto with = [](const std::optional<cells>& range) {
        return outcome_with([&](host_writer& host) { host.bus_range = range; });
    };
    BOOST_TEST(with(cells{3, 3}) == none);
    BOOST_TEST(with(cells{4, 3}) == bus_range_damaged);
    BOOST_TEST(with(cells{0, 256}) == bus_range_damaged);
    BOOST_TEST(with(cells{0}) == bus_range_damaged);
    BOOST_TEST(with(cells{}) == bus_range_damaged);
    host_writer host; // without one, the registers tell
    host.bus_range.reset();
    host.reg = {0, 0x30000000, 0, 0x500000};
    BOOST_TEST(machine_with_host(host)->buses.last == 4);
    host.reg = {0, 0x30000000, 1, 0};
    BOOST_TEST(machine_with_host(host)->buses.last == 255);
}

BOOST_AUTO_TEST_CASE(windows) {
    using enum pci_host_error;
    const auto with = [](const cells& ranges) {
        return windows_outcome_with([&](host_writer& host) { host.ranges = ranges; });
    };
    BOOST_TEST(with({0x02000000, 0, 0x40000000, 0, 0x40000000, 0, 0x1000000}) == none);
    BOOST_TEST(with({0x43000000, 1, 0, 0, 0x40000000, 0, 0x1000000}) == none);
    BOOST_TEST(with({0x01000000, 0, 0, 0, 0x3000000, 0, 0x10000}) == no_memory_window);
    BOOST_TEST(with({0x02000000, 0, 0x40000000, 0, 0x40000000, 0, 0}) == no_memory_window); // empty
    BOOST_TEST(with({}) == no_memory_window);
    BOOST_TEST(with({0x02000000, 0, 0x40000000, 0, 0x40000000, 0}) == ranges_damaged);
    BOOST_TEST(with({0x02000000, ~0U, 0x40000000, 0, 0x40000000, 1, 0}) == ranges_damaged);
    BOOST_TEST(with({0x02000000, 0, 0x40000000, ~0U, 0x40000000, 1, 0}) == ranges_damaged);
    BOOST_TEST(windows_outcome_with([](host_writer& host) { host.address_cells = 2; }) == ranges_damaged);
    host_writer host; // of each kind the largest; what is no space of addresses does not count
    host.ranges = {0x02000000, 0, 0x40000000, 0, 0x40000000, 0, 0x1000000, //
                   0x02000000, 0, 0x50000000, 0, 0x70000000, 0, 0x2000000, //
                   0x02000000, 0, 0x60000000, 0, 0x60000000, 0, 0x1000000, //
                   0x00000000, 0, 0,          0, 0x20000000, 0, 0x8000000};
    const machine_with_host machine{host};
    BOOST_TEST((windows_of(*machine.operator->()).memory32 == pci::address_window{0x50000000, 0x70000000, 0x2000000}));
    BOOST_TEST(windows_of(*machine.operator->()).io.size == 0U);
}

BOOST_AUTO_TEST_CASE(windows_are_translated_by_the_parents) {
    machine_writer writer;
    writer.in_soc = [](tree_writer& tree) {
        tree.begin("bus").cells("#address-cells", {1}).cells("#size-cells", {1});
        tree.cells("ranges", {0x10000000, 0, 0x30000000, 0x50000000});
        host_writer host;
        host.reg = {0x10000000, 0x10000000};
        host.ranges = {0x02000000, 0, 0x40000000, 0x20000000, 0, 0x40000000};
        host.write(tree);
        tree.end();
    };
    const described_machine machine(writer.write());
    BOOST_REQUIRE(machine.pci);
    BOOST_TEST(machine.pci->outcome == pci_host_error::none);
    BOOST_TEST(machine.pci->registers == (memory_range{0x30000000, 0x10000000}));
    BOOST_TEST((windows_of(*machine.pci).memory32 == pci::address_window{0x40000000, 0x40000000, 0x40000000}));
}

BOOST_AUTO_TEST_CASE(interrupt_maps) {
    const auto source = [](const std::function<void(host_writer&)>& change, std::uint8_t device, std::uint8_t pin) {
        host_writer host;
        change(host);
        return machine_with_host(host)->interrupt_source(device, pin);
    };
    const auto as_it_is = [](host_writer&) {
    };
    BOOST_TEST(source(as_it_is, 1, 1) == 33U);
    BOOST_TEST(source(as_it_is, 5, 1) == 33U); // masked
    BOOST_TEST(source(as_it_is, 2, 1) == 0U);
    BOOST_TEST(source(as_it_is, 1, 2) == 0U);
    const auto without_mask = [](host_writer& host) {
        host.mask.reset();
    };
    BOOST_TEST(source(without_mask, 1, 1) == 33U);
    BOOST_TEST(source(without_mask, 5, 1) == 0U);
    BOOST_TEST(source([](host_writer& host) { host.map.clear(); }, 1, 1) == 0U);
    BOOST_TEST(source([](host_writer& host) { host.map.pop_back(); }, 1, 1) == 0U); // truncated
    BOOST_TEST(source([](host_writer& host) { host.map.pop_back(); }, 0, 1) == 32U);
    BOOST_TEST(source([](host_writer& host) { host.map[4] = 77; }, 1, 1) == 0U);  // nobody's phandle
    BOOST_TEST(source([](host_writer& host) { host.map[4] = 100; }, 0, 1) == 0U); // another controller
    BOOST_TEST(source([](host_writer& host) { host.map[4] = 100; }, 1, 1) == 33U);
}

BOOST_AUTO_TEST_CASE(entries_of_maps_are_as_long_as_their_controllers_say) {
    host_writer host;
    host.map = {0, 0, 0, 1, 60, 9, 9, 4, 4, 4, 0x800, 0, 0, 1, plic, 33, 4}; // two cells of address, three of interrupt
    const auto other = [](tree_writer& tree) {
        tree.begin("other").cells("phandle", {60}).cells("#address-cells", {2}).cells("#interrupt-cells", {3}).end();
    };
    BOOST_TEST(machine_with_host(host, other, 2)->interrupt_source(1, 1) == 33U);
    BOOST_TEST(machine_with_host(host, other, 2)->interrupt_source(0, 1) == 0U);
}

BOOST_AUTO_TEST_CASE(every_error_has_a_sentence) {
    std::set<std::string_view> sentences;
    for (unsigned error = 0; error <= unsigned(pci_host_error::no_memory_window); ++error) {
        sentences.insert(text(static_cast<pci_host_error>(error)));
    }
    BOOST_TEST(sentences.size() == unsigned(pci_host_error::no_memory_window) + 1);
}

BOOST_AUTO_TEST_SUITE_END()
