// What the kernel learns of its machine from a device tree.
#include "tests/host/device_tree_writer.hpp"

namespace {

using namespace inflight::kernel;
using namespace inflight::tests;
using std::string_literals::operator""s;

// A machine with an APLIC and, if it sends messages, an IMSIC.
struct aia_writer {
    bool messages = true;
    std::vector<std::uint32_t> aplic_reg = {0, 0xd000000, 0, 0x8000};
    std::vector<std::uint32_t> source_count = {96};
    std::vector<std::uint32_t> aplic_harts = {100, 9, 101, 9};
    std::vector<std::uint32_t> msi_parent = {60};
    std::string imsic_compatible = "qemu,imsics\0riscv,imsics"s;
    std::vector<std::uint32_t> imsic_reg = {0, 0x28000000, 0, 0x2000};
    std::vector<std::uint32_t> id_count = {255};
    std::vector<std::uint32_t> imsic_harts = {100, 9, 101, 9};
    std::vector<std::pair<std::string, std::vector<std::uint32_t>>> imsic_more = {};
    machine_writer machine;

    aia_writer() {
        machine.plic = false;
        machine.interrupt_cells = 2;
        machine.cpus = {{0}, {1}};
        machine.isa = "rv64imac_smaia_ssaia_sstc";
    }

    bytes write() const {
        machine_writer whole = machine;
        whole.in_soc = [this](tree_writer& tree) {
            // Of machine mode, in front of the ones of supervisor mode.
            tree.begin("aplic@c000000").text("compatible", "riscv,aplic");
            tree.cells("reg", {0, 0xc000000, 0, 0x8000}).cells("riscv,num-sources", {96});
            tree.cells("riscv,children", {50}).cells("phandle", {49}).cells("#interrupt-cells", {2});
            if (messages) {
                tree.cells("msi-parent", {59});
            } else {
                tree.cells("interrupts-extended", {100, 11, 101, 11});
            }
            tree.end();
            tree.begin("aplic@d000000").text("compatible", "qemu,aplic\0riscv,aplic"s);
            tree.cells("reg", aplic_reg).cells("riscv,num-sources", source_count);
            tree.cells("phandle", {50}).cells("#interrupt-cells", {2});
            if (messages) {
                tree.cells("msi-parent", msi_parent);
            } else {
                tree.cells("interrupts-extended", aplic_harts);
            }
            tree.end();
            if (!messages) {
                return;
            }
            tree.begin("imsics@24000000").text("compatible", "riscv,imsics").cells("reg", {0, 0x24000000, 0, 0x2000});
            tree.cells("interrupts-extended", {100, 11, 101, 11}).cells("phandle", {59}).end();
            tree.begin("imsics@28000000").text("compatible", imsic_compatible).cells("reg", imsic_reg);
            tree.cells("riscv,num-ids", id_count).cells("interrupts-extended", imsic_harts).cells("phandle", {60});
            for (const auto& [name, value] : imsic_more) {
                tree.cells(name, value);
            }
            tree.end();
        };
        return whole.write();
    }
};

} // namespace

BOOST_AUTO_TEST_SUITE(machine_description_tests)

BOOST_AUTO_TEST_CASE(an_aplic_of_supervisor_mode_is_found_by_what_it_interrupts) {
    for (const bool messages : {false, true}) {
        for (const bool virtio : {false, true}) { // without a device, by its interrupts alone
            BOOST_TEST_CONTEXT("messages " << messages << ", virtio " << virtio) {
                aia_writer writer;
                writer.messages = messages;
                if (!virtio) {
                    writer.machine.virtio = {};
                }
                const described_machine machine(writer.write());
                BOOST_TEST_REQUIRE((machine.outcome == machine_error::none), text(machine.outcome));
                BOOST_TEST(machine.wired.registers.base == 0xd000000u);
                BOOST_TEST(machine.wired.controllers == 1u);
                BOOST_TEST(machine.wired.phandle == 50u);
                BOOST_TEST(machine.harts[1].wired_target.value() == 1u);
                BOOST_TEST(machine.harts[1].interrupt_file == (messages ? 0x28001000u : 0u));
                BOOST_TEST(machine.imsic.has_value() == messages);
                if (virtio) {
                    BOOST_TEST(machine.virtio[1].interrupt == 2u);
                }
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(a_damaged_aplic_or_imsic_is_refused) {
    const auto with = [](bool messages, const std::function<void(aia_writer&)>& change) {
        aia_writer changed;
        changed.messages = messages;
        change(changed);
        return described_machine(changed.write()).outcome;
    };
    using error = machine_error;
    for (const bool messages : {false, true}) {
        BOOST_TEST(with(messages, [](auto&) {}) == error::none);
        BOOST_TEST(with(messages, [](auto& aia) { aia.aplic_reg = {0, 0xd000000, 0}; }) == error::aplic_damaged);
        BOOST_TEST(with(messages, [](auto& aia) { aia.aplic_reg[3] = 0x3fff; }) == error::aplic_damaged);
        BOOST_TEST(with(messages, [](auto& aia) { aia.source_count = {0}; }) == error::aplic_damaged);
        BOOST_TEST(with(messages, [](auto& aia) { aia.source_count = {1024}; }) == error::aplic_damaged);
        BOOST_TEST(with(messages, [](auto& aia) { aia.source_count = {1, 2, 3}; }) == error::aplic_damaged);
    }
    // Direct: the part of hart 1 ends behind the registers.
    BOOST_TEST(with(false, [](auto& aia) { aia.aplic_reg[3] = 0x4040; }) == error::none);
    BOOST_TEST(with(false, [](auto& aia) { aia.aplic_reg[3] = 0x403f; }) == error::aplic_damaged);
    BOOST_TEST(with(false, [](auto& aia) { aia.aplic_harts = {100, 9, 101}; }) == error::aplic_damaged);
    BOOST_TEST(with(false, [](auto& aia) { aia.aplic_harts = {77, 9}; }) == error::aplic_damaged);
    BOOST_TEST(with(false, [](auto& aia) { aia.aplic_harts = {100, 11}; }) == error::no_supervisor_context);
    // With messages.
    BOOST_TEST(with(true, [](auto& aia) { aia.msi_parent = {77}; }) == error::aplic_damaged);
    BOOST_TEST(with(true, [](auto& aia) { aia.msi_parent = {}; }) == error::aplic_damaged);
    BOOST_TEST(with(true, [](auto& aia) { aia.imsic_compatible = "riscv,imsic"; }) == error::aplic_damaged);
    BOOST_TEST(with(true, [](auto& aia) { aia.id_count = {62}; }) == error::imsic_damaged);
    BOOST_TEST(with(true, [](auto& aia) { aia.id_count = {63}; }) == error::none);
    BOOST_TEST(with(true, [](auto& aia) { aia.id_count = {2048}; }) == error::imsic_damaged);
    BOOST_TEST(with(true, [](auto& aia) { aia.id_count = {}; }) == error::imsic_damaged);
    BOOST_TEST(with(true, [](auto& aia) { aia.imsic_reg[3] = 0x1fff; }) == error::imsic_damaged);
    BOOST_TEST(with(true, [](auto& aia) { aia.imsic_reg[1] = 0x28000800; }) == error::imsic_damaged);
    BOOST_TEST(with(true, [](auto& aia) { aia.imsic_reg = {0, 0x28000000, 0}; }) == error::imsic_damaged);
    BOOST_TEST(with(true, [](auto& aia) { aia.imsic_harts = {100, 9, 101}; }) == error::imsic_damaged);
    BOOST_TEST(with(true, [](auto& aia) { aia.imsic_harts = {100, 11}; }) == error::imsic_without_hart);
    BOOST_TEST(with(true, [](auto& aia) { aia.machine.isa = "rv64imac_sstc"; }) == error::imsic_without_hart);
    for (const auto& [name, value] : std::initializer_list<std::pair<std::string, std::vector<std::uint32_t>>>{
             {"riscv,guest-index-bits", {8}},
             {"riscv,guest-index-bits", {1}}, // hart 1 would be behind the registers
             {"riscv,guest-index-bits", {1, 2, 3}},
             {"riscv,hart-index-bits", {16}},
             {"riscv,group-index-bits", {8}},
             {"riscv,group-index-shift", {56}},
             {"riscv,group-index-shift", {}}}) {
        BOOST_TEST(with(true, [&name = name, &value = value](auto& aia) {
                       aia.imsic_more = {{name, value}};
                   }) == error::imsic_damaged);
    }
    // The group's bits in the middle of the hart's.
    BOOST_TEST(with(true, [](auto& aia) {
                   aia.imsic_more = {{"riscv,group-index-bits", {1}}, {"riscv,group-index-shift", {12}}};
               }) == error::imsic_damaged);
}

BOOST_AUTO_TEST_CASE(interrupt_files_follow_one_another_in_each_entry_of_reg) {
    aia_writer writer;
    writer.machine.cpus = {{0}, {1}, {2}};
    writer.imsic_harts = {100, 9, 101, 9, 102, 9};
    // Four pages a hart; the first entry ends with the first page of hart 1.
    writer.imsic_reg = {0, 0x28000000, 0, 0x5000, 1, 0x29000000, 0, 0x1000};
    writer.imsic_more = {
        {"riscv,guest-index-bits", {2}}, {"riscv,hart-index-bits", {1}}, {"riscv,group-index-bits", {1}}};
    const described_machine machine(writer.write());
    BOOST_TEST_REQUIRE((machine.outcome == machine_error::none), text(machine.outcome));
    BOOST_TEST(machine.harts[0].interrupt_file == 0x28000000u);
    BOOST_TEST(machine.harts[1].interrupt_file == 0x28004000u);
    BOOST_TEST(machine.harts[2].interrupt_file == 0x129000000u);
    BOOST_TEST(machine.harts[0].wired_target.value() == 0u);
    BOOST_TEST(machine.harts[1].wired_target.value() == 1u);
    BOOST_TEST(machine.harts[2].wired_target.value() == 2u); // group 1, hart 0
}

BOOST_AUTO_TEST_CASE(harts_with_holes_and_absent_contexts) {
    machine_writer writer;
    writer.cpus = {{0, "disabled"}, {2}, {7, "ok"}, {9}};
    // Hart 0 has only a machine-mode context, those of machine mode are hidden from the others, hart 9's is missing.
    writer.contexts = {100, 11, 102, 0xffffffff, 102, 9, 107, 0xffffffff, 107, 9, 109, 0xffffffff, 102, 9};
    const described_machine machine(writer.write());
    BOOST_TEST_REQUIRE(machine.outcome == machine_error::none);
    BOOST_TEST_REQUIRE(machine.harts.size() == 3u);
    BOOST_TEST(machine.harts[0].id == 2u);
    BOOST_TEST(machine.harts[0].wired_target.value() == 2u); // the first of two
    BOOST_TEST(machine.harts[1].id == 7u);
    BOOST_TEST(machine.harts[1].wired_target.value() == 4u);
    BOOST_TEST(machine.harts[2].id == 9u);
    BOOST_TEST(machine.harts[2].interrupt_controller == 109u);
    BOOST_TEST(!machine.harts[2].wired_target.has_value());
    BOOST_TEST(machine.virtio[0].registers.base == 0x10001000u); // sorted
    BOOST_TEST(machine.virtio[1].interrupt == 2u);
}

BOOST_AUTO_TEST_CASE(unusable_machines_are_refused) {
    machine_writer good;
    BOOST_TEST(describe_error(good) == machine_error::none);
    const auto with = [&](const std::function<void(machine_writer&)>& change) {
        machine_writer changed = good;
        change(changed);
        return describe_error(changed);
    };
    BOOST_TEST(with([](auto& machine) { machine.memory = {}; }) == machine_error::no_memory);
    BOOST_TEST(with([](auto& machine) { machine.memory = {0, 0x80000000, 0, 0}; }) == machine_error::no_memory);
    BOOST_TEST(with([](auto& machine) { machine.memory = {0, 0x80000000, 0}; }) == machine_error::memory_damaged);
    BOOST_TEST(with([](auto& machine) { machine.memory = {~0u, ~0u, 0, 2}; }) == machine_error::memory_damaged);
    BOOST_TEST(with([](auto& machine) {
                   machine.reservation_block = {{~0ull, 2}};
               }) == machine_error::reservation_damaged);
    BOOST_TEST(with([](auto& machine) { machine.cpus = {}; }) == machine_error::no_harts);
    BOOST_TEST(with([](auto& machine) { machine.cpus = {{0, "disabled"}}; }) == machine_error::no_harts);
    BOOST_TEST(with([](auto& machine) { machine.cpus = {{0}, {0}}; }) == machine_error::duplicate_hart);
    BOOST_TEST(with([](auto& machine) { machine.cpus = {{0}, {1, "okay", 100}}; }) == machine_error::duplicate_hart);
    BOOST_TEST(with([](auto& machine) { machine.timebase = {}; }) == machine_error::no_timebase);
    BOOST_TEST(with([](auto& machine) { machine.timebase = {0}; }) == machine_error::no_timebase);
    BOOST_TEST(with([](auto& machine) { machine.plic = false; }) == machine_error::no_wired_controller);
    BOOST_TEST(with([](auto& machine) { machine.source_count = {1, 2, 3}; }) == machine_error::plic_damaged);
    BOOST_TEST(with([](auto& machine) { machine.source_count = {0}; }) == machine_error::plic_damaged);
    BOOST_TEST(with([](auto& machine) { machine.source_count = {1024}; }) == machine_error::plic_damaged);
    BOOST_TEST(with([](auto& machine) { machine.contexts = {100, 11, 100}; }) == machine_error::plic_damaged);
    BOOST_TEST(with([](auto& machine) { machine.contexts = {99, 9, 100, 9}; }) == machine_error::plic_damaged);
    BOOST_TEST(with([](auto& machine) { machine.contexts = {100, 11}; }) == machine_error::no_supervisor_context);
    BOOST_TEST(with([](auto& machine) { machine.contexts = {}; }) == machine_error::no_supervisor_context);
    BOOST_TEST(with([](auto& machine) {
                   machine.in_chosen = [](tree_writer& tree) {
                       tree.raw("bootargs", "no end");
                   };
               }) == machine_error::bootargs_damaged);
    const auto with_initrd = [&](const std::vector<std::uint32_t>& start, const std::vector<std::uint32_t>& end) {
        return with([&](auto& machine) {
            machine.in_chosen = [&](tree_writer& tree) {
                tree.cells("linux,initrd-start", start).cells("linux,initrd-end", end);
            };
        });
    };
    BOOST_TEST(with_initrd({2}, {1}) == machine_error::initrd_damaged);
    BOOST_TEST(with_initrd({1, 2, 3}, {1}) == machine_error::initrd_damaged);
    BOOST_TEST(with_initrd({0x80000000}, {1, 0}) == machine_error::none);

    tree_writer no_id;
    no_id.begin("memory").text("device_type", "memory").cells("reg", {0, 1, 1}).end();
    no_id.begin("cpus").begin("cpu").text("device_type", "cpu").end().end();
    BOOST_TEST(described_machine(no_id.finish()).outcome == machine_error::hart_damaged);
}

// Both legal ways of telling a thing.
BOOST_AUTO_TEST_CASE(an_interrupt_may_be_told_in_four_ways) {
    for (const bool extended : {false, true}) {
        for (const std::uint32_t cells : {1u, 2u, 3u}) {
            BOOST_TEST_CONTEXT("extended " << extended << ", " << cells << " cells") {
                machine_writer writer;
                writer.extended = extended;
                writer.interrupt_cells = cells;
                const described_machine machine(writer.write());
                BOOST_TEST_REQUIRE(machine.outcome == machine_error::none);
                BOOST_TEST(machine.virtio[0].interrupt == 1u);
                BOOST_TEST(machine.virtio[1].interrupt == 2u);
            }
        }
    }
    machine_writer writer;
    writer.virtio.clear();
    writer.in_soc = [](tree_writer& tree) {
        const auto device = [&](std::uint32_t address) -> tree_writer& {
            return tree.begin("v").text("compatible", "virtio,mmio").cells("reg", {0, address, 0, 0x200});
        };
        tree.begin("other").cells("phandle", {51}).cells("#interrupt-cells", {2}).end();
        device(0x1000).cells("interrupts-extended", {51, 7, 7, 50, 8}).end(); // at another controller, too
        device(0x2000).cells("interrupts-extended", {0, 50, 9, 50, 10}).end();
        // Of both, interrupts-extended counts.
        device(0x3000)
            .cells("interrupts-extended", {50, 11})
            .cells("interrupt-parent", {50})
            .cells("interrupts", {3})
            .end();
        device(0x4000)
            .cells("interrupts-extended", {51, 7, 7})
            .cells("interrupt-parent", {50})
            .cells("interrupts", {3})
            .end();
        device(0x5000).cells("interrupts-extended", {50, 1023, 99}).end(); // then a damaged entry
        device(0x6000).cells("interrupts-extended", {50}).end();
        device(0x7000).end(); // told in no way
    };
    const described_machine machine(writer.write());
    BOOST_TEST_REQUIRE(machine.outcome == machine_error::none);
    const std::uint32_t expected[] = {8, 9, 11, 0, 1023, 0, 0};
    BOOST_TEST_REQUIRE(machine.virtio.size() == std::size(expected));
    for (std::size_t i = 0; i < std::size(expected); ++i) {
        BOOST_TEST(machine.virtio[i].interrupt == expected[i]);
    }
}

BOOST_AUTO_TEST_CASE(a_plic_may_be_of_another_kind_and_tell_no_sources) {
    for (const std::string& compatible :
         {"sifive,fu540-c000-plic\0sifive,plic-1.0.0"s, "riscv,plic0"s, "allwinner,sun20i-d1-plic\0thead,c900-plic"s,
          "renesas,r9a07g043-plic\0andestech,nceplic100"s}) {
        BOOST_TEST_CONTEXT(compatible) {
            machine_writer writer;
            writer.plic_compatible = compatible;
            writer.interrupt_cells = 2;
            writer.tells_source_count = false;
            const described_machine machine(writer.write());
            BOOST_TEST_REQUIRE(machine.outcome == machine_error::none);
            BOOST_TEST(machine.wired.source_count == 1023u);
            BOOST_TEST(machine.virtio[1].interrupt == 2u);
        }
    }
    machine_writer writer;
    writer.source_count = {1023};
    BOOST_TEST(described_machine(writer.write()).wired.source_count == 1023u);
}

BOOST_AUTO_TEST_CASE(memory_and_harts_may_be_told_by_their_names_alone) {
    machine_writer writer;
    writer.device_types = false;
    const described_machine machine(writer.write());
    BOOST_TEST_REQUIRE(machine.outcome == machine_error::none);
    BOOST_TEST(machine.memory.size() == 1u);
    BOOST_TEST(machine.harts.size() == 1u);

    tree_writer other; // a node that says that it is something else
    other.begin("memory@0").text("device_type", "cache").cells("reg", {0, 1, 1}).end();
    BOOST_TEST(described_machine(other.finish()).outcome == machine_error::no_memory);
}

BOOST_AUTO_TEST_CASE(what_is_told_wrongly_is_left_out_alone) {
    machine_writer writer;
    writer.in_soc = [](tree_writer& tree) {
        tree.begin("none").text("compatible", "virtio,mmio").end();
        tree.begin("odd").text("compatible", "virtio,mmio").cells("reg", {1, 2, 3}).end();
        tree.begin("twice").text("compatible", "virtio,mmio").cells("reg", {0, 0x10001800, 0, 0x1000}).end();
        tree.begin("unused").text("compatible", "virtio,mmio").text("status", "disabled").end();
        tree.begin("sswi").text("compatible", "riscv,aclint-sswi").end();
        tree.begin("sswi").text("compatible", "riscv,aclint-sswi").cells("reg", {0, 0x3000, 0, 0x1000});
        tree.cells("interrupts-extended", {77}).end();
        tree.begin("serial").text("compatible", "ns16550a").end();
        tree.begin("wide")
            .text("compatible", "ns16550a")
            .cells("reg", {0, 0x4000, 0, 0x100})
            .cells("reg-io-width", {4})
            .end();
        tree.begin("plic").text("compatible", "riscv,plic0").end();
        tree.begin("memory").text("device_type", "memory").end();
    };
    writer.reserved_memory = [](tree_writer& tree) {
        tree.begin("memory@1").text("device_type", "memory").cells("reg", {1}).end();
        tree.begin("memory@2").text("device_type", "memory").end();
    };
    const described_machine machine(writer.write());
    BOOST_TEST_REQUIRE(machine.outcome == machine_error::none);
    BOOST_TEST(machine.memory.size() == 1u);
    BOOST_TEST(machine.virtio.size() == 2u);
    BOOST_TEST(machine.virtio_unusable == 3u);
    BOOST_TEST(!machine.sswi.has_value());
    BOOST_TEST(machine.harts[0].sswi_register == 0u);
    BOOST_TEST(!machine.uart.has_value());
}

BOOST_AUTO_TEST_CASE(many_reservations_leave_the_largest_stretch) {
    machine_writer writer;
    for (std::uint64_t i = 0; i < 200; ++i) { // single pages, in an order that is not theirs, and empty ones
        writer.reservation_block.push_back({0x80000000 + (i * 77 % 200) * 0x10000, 0x1000});
    }
    const described_machine machine(writer.write());
    BOOST_TEST_REQUIRE(machine.outcome == machine_error::none);
    BOOST_TEST(machine.reservations.size() == 200u);
    const std::span<const memory_range> banks{machine.memory.begin(), machine.memory.size()};
    const std::span<const memory_range> taken{machine.reservations.begin(), machine.reservations.size()};
    BOOST_TEST(largest_free_range(banks, taken) ==
               (memory_range{0x80000000 + 199 * 0x10000 + 0x1000, 0x8000000 - 199 * 0x10000 - 0x1000}));
}

// Against a map of single units.
BOOST_AUTO_TEST_CASE(the_largest_free_range_is_that_of_a_map) {
    constexpr std::size_t units = 64;
    const std::uint64_t seed = test_seed();
    std::cout << "largest_free_range: INFLIGHT_SEED=" << seed << std::endl;
    std::mt19937_64 random(seed);
    for (int round = 0; round < 2000; ++round) {
        const std::uint64_t origin = round % 3 == 0 ? 0 - std::uint64_t{units} - 1 : random() >> (random() % 60 + 4);
        const auto ranges = [&](std::size_t most) {
            std::vector<memory_range> list(random() % (most + 1));
            for (memory_range& range : list) {
                const std::uint64_t first = random() % units;
                range = {origin + first, random() % (units - first + 1)};
            }
            return list;
        };
        const auto banks = ranges(3);
        const auto taken = ranges(12);
        std::size_t longest = 0;
        std::uint64_t begin = 0;
        for (const memory_range& bank : banks) {
            std::size_t length = 0;
            for (std::uint64_t unit = 0; unit < bank.size; ++unit) {
                const std::uint64_t at = bank.base + unit;
                const bool is_taken = std::any_of(taken.begin(), taken.end(), [&](const memory_range& range) {
                    return at >= range.base && at - range.base < range.size;
                });
                length = is_taken ? 0 : length + 1;
                if (length > longest) {
                    longest = length;
                    begin = at + 1 - length;
                }
            }
        }
        const memory_range found = largest_free_range(banks, taken);
        BOOST_TEST_REQUIRE(found.size == longest, "seed " << seed << ", round " << round);
        if (longest != 0) {
            BOOST_TEST_REQUIRE(found.base == begin, "seed " << seed << ", round " << round);
        }
    }
}

BOOST_AUTO_TEST_CASE(reservations_come_from_both_places) {
    machine_writer writer;
    writer.reservation_block = {{0x80000000, 0x1000}, {0x1234, 0x10}};
    writer.reserved_memory = [](tree_writer& tree) {
        tree.begin("reserved-memory").cells("#address-cells", {2}).cells("#size-cells", {2}).raw("ranges", "");
        tree.begin("mmode").cells("reg", {0, 0x80040000, 0, 0x20000, 1, 0, 2, 0}).end();
        tree.begin("anywhere").cells("size", {0, 0x1000}).end();
        tree.begin("unused").text("status", "disabled").cells("reg", {0, 1, 0, 1}).end().end();
    };
    const described_machine machine(writer.write());
    BOOST_TEST_REQUIRE(machine.outcome == machine_error::none);
    const std::vector<memory_range> expected = {
        {0x80000000, 0x1000}, {0x1234, 0x10}, {0x80040000, 0x20000}, {0x100000000, 0x200000000}};
    BOOST_TEST(std::vector<memory_range>(machine.reservations.begin(), machine.reservations.end()) == expected,
               boost::test_tools::per_element());

    writer.reserved_memory = [](tree_writer& tree) { // not translatable
        tree.begin("reserved-memory").cells("#address-cells", {1}).cells("#size-cells", {1});
        tree.begin("mmode").cells("reg", {1, 1}).end().end();
    };
    BOOST_TEST(describe_error(writer) == machine_error::reservation_damaged);
}

BOOST_AUTO_TEST_CASE(what_exceeds_a_list_is_counted) {
    machine_writer writer;
    writer.memory = {};
    for (std::uint32_t bank = 0; bank < 10; ++bank) {
        writer.memory.insert(writer.memory.end(), {bank, 0, 0, 0x1000});
    }
    writer.cpus.clear();
    writer.contexts.clear();
    for (std::uint32_t id = 0; id < 70; ++id) {
        writer.cpus.push_back({id});
        writer.contexts.insert(writer.contexts.end(), {100 + id, 9});
    }
    writer.virtio.clear();
    for (std::uint32_t slot = 40; slot > 0; --slot) {
        writer.virtio.push_back(0x10000000 + slot * 0x1000);
    }
    {
        const described_machine machine(writer.write());
        BOOST_TEST_REQUIRE(machine.outcome == machine_error::none);
        BOOST_TEST(machine.memory.size() == 8u);
        BOOST_TEST(machine.memory.dropped() == 2u);
        BOOST_TEST(machine.harts.size() == 64u);
        BOOST_TEST(machine.harts.dropped() == 6u);
        BOOST_TEST(machine.harts[63].wired_target.value() == 63u);
        BOOST_TEST(machine.virtio.size() == 32u);
        BOOST_TEST(machine.virtio.dropped() == 8u);
    }
    writer.reserved_memory = [](tree_writer& tree) {
        tree.begin("reserved-memory").cells("#address-cells", {2}).cells("#size-cells", {2}).raw("ranges", "");
        tree.begin("many").cells("reg", std::vector<std::uint32_t>((max_reservations + 1) * 4, 1)).end().end();
    };
    BOOST_TEST(describe_error(writer) == machine_error::too_many_reservations);
}

BOOST_AUTO_TEST_CASE(the_standard_output_is_preferred) {
    machine_writer writer;
    writer.in_soc = [](tree_writer& tree) {
        tree.begin("serial@1000").text("compatible", "ns16550a").cells("reg", {0, 0x1000, 0, 8}).end();
        tree.begin("serial@2000").text("compatible", "other\0ns16550a"s).cells("reg", {0, 0x2000, 0, 0x100});
        tree.cells("reg-shift", {2}).cells("interrupts", {33}).cells("interrupt-parent", {50}).end();
    };
    {
        const described_machine machine(writer.write());
        BOOST_TEST(machine.uart->registers.base == 0x1000u);
        BOOST_TEST(!machine.uart->is_standard_output);
        BOOST_TEST(machine.uart->interrupt == 0u);
        BOOST_TEST(!machine.test_finisher.has_value());
    }
    writer.in_chosen = [](tree_writer& tree) {
        tree.text("stdout-path", "/soc/serial@2000:115200n8");
    };
    const described_machine machine(writer.write());
    BOOST_TEST(machine.uart->registers.base == 0x2000u);
    BOOST_TEST(machine.uart->is_standard_output);
    BOOST_TEST(machine.uart->register_shift == 2u);
    BOOST_TEST(machine.uart->interrupt == 33u);
}

BOOST_AUTO_TEST_CASE(the_timebase_may_be_wide_or_the_cpus) {
    machine_writer writer;
    writer.timebase = {1, 2};
    BOOST_TEST(described_machine(writer.write()).timebase_frequency == 0x100000002u);
    writer.timebase = {};
    writer.cpu_timebase = {32768};
    const described_machine machine(writer.write());
    BOOST_TEST(machine.outcome == machine_error::none);
    BOOST_TEST(machine.timebase_frequency == 32768u);
}

BOOST_AUTO_TEST_CASE(disabled_and_foreign_virtio_slots) {
    machine_writer writer;
    writer.virtio_status = "disabled";
    writer.in_soc = [](tree_writer& tree) {
        tree.begin("other").cells("phandle", {51}).cells("#interrupt-cells", {1}).end();
        tree.begin("v").text("compatible", "virtio,mmio").cells("reg", {0, 0x5000, 0, 0x200});
        tree.cells("interrupt-parent", {51}).cells("interrupts", {4}).end();
    };
    const described_machine machine(writer.write());
    BOOST_TEST_REQUIRE(machine.outcome == machine_error::none);
    BOOST_TEST_REQUIRE(machine.virtio.size() == 1u);
    BOOST_TEST(machine.virtio[0].registers == (memory_range{0x5000, 0x200}));
    BOOST_TEST(machine.virtio[0].interrupt == 0u); // of another controller
}

BOOST_AUTO_TEST_SUITE_END()
