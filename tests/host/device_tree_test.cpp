// The reader of device trees, with libfdt as the oracle.
#include "tests/host/device_tree_writer.hpp"

namespace {

using namespace inflight::kernel;
using namespace inflight::tests;
using std::string_literals::operator""s;

} // namespace

BOOST_AUTO_TEST_SUITE(device_tree)

BOOST_AUTO_TEST_CASE(dumps_read_as_by_libfdt) {
    for (const std::string& name : dump_names) {
        BOOST_TEST_CONTEXT(name) {
            const bytes blob = load_dump(name);
            BOOST_REQUIRE_NO_THROW(BOOST_TEST(device_tree_oracle::check(blob)));
        }
    }
}

BOOST_AUTO_TEST_CASE(dumps_describe_the_machines_that_qemu_was_asked_for) {
    struct expectation {
        std::string name;
        std::vector<memory_range> memory;
        std::size_t harts;
        bool aclint = false;
    };
    const expectation expectations[] = {
        {"smp1", {{virt_memory_base, 128 << 20}}, 1},
        {"smp2", {{virt_memory_base, 128 << 20}}, 2},
        {"smp8", {{virt_memory_base, 128 << 20}}, 8},
        {"aclint8", {{virt_memory_base, 256 << 20}}, 8, true},
        {"memory3g", {{virt_memory_base, 3ull << 30}}, 2},
        {"boot", {{virt_memory_base, 128 << 20}}, 2},
        {"numa", {{virt_memory_base, 64 << 20}, {virt_memory_base + (64 << 20), 192 << 20}}, 4},
    };
    for (const expectation& expected : expectations) {
        BOOST_TEST_CONTEXT(expected.name) {
            const described_machine machine(load_dump(expected.name));
            BOOST_TEST_REQUIRE(machine.outcome == machine_error::none);
            BOOST_TEST(std::vector<memory_range>(machine.memory.begin(), machine.memory.end()) == expected.memory,
                       boost::test_tools::per_element());
            BOOST_TEST(machine.timebase_frequency == 10000000u);
            BOOST_TEST_REQUIRE(machine.uart.has_value());
            BOOST_TEST(machine.uart->registers == virt_uart);
            BOOST_TEST(machine.uart->is_standard_output);
            BOOST_TEST(machine.test_finisher.value() == virt_finisher);
            BOOST_TEST_REQUIRE(machine.virtio.size() == 8u);
            for (std::size_t slot = 0; slot < 8; ++slot) {
                BOOST_TEST(machine.virtio[slot].registers == (memory_range{virt_virtio_base + slot * 0x1000, 0x1000}));
                BOOST_TEST(machine.virtio[slot].interrupt == slot + 1);
            }
            const bool numa = expected.name == "numa";
            // The second NUMA node's PLIC serves virtio; its contexts are those of harts 2 and 3.
            BOOST_TEST(machine.wired.controllers == (numa ? 2u : 1u));
            BOOST_TEST(machine.wired.registers == (memory_range{numa ? 0xc600000u : 0xc000000u, 0x600000}));
            BOOST_TEST(machine.wired.source_count == 96u);
            BOOST_TEST(machine.uart->interrupt == (numa ? 0u : 10u));
            BOOST_TEST_REQUIRE(machine.harts.size() == expected.harts);
            std::set<std::uint64_t> ids;
            for (const hart_description& hart : machine.harts) {
                ids.insert(hart.id);
                const std::uint64_t first = numa ? 2 : 0;
                if (hart.id < first) {
                    BOOST_TEST(!hart.wired_target.has_value());
                } else {
                    BOOST_TEST(hart.wired_target.value() == 2 * (hart.id - first) + 1);
                }
                BOOST_TEST(hart.sswi_register == (expected.aclint ? 0x2f00000 + 4 * hart.id : 0));
                for (const char* const present : {"i", "m", "a", "c", "zicsr", "zba", "sstc"}) {
                    BOOST_TEST(hart.has_extension(present), present);
                }
                for (const char* const absent : {"v", "q", "sst", "sstcx", "zb", "z", "s"}) {
                    BOOST_TEST(!hart.has_extension(absent), absent);
                }
            }
            BOOST_TEST(ids.size() == expected.harts);
            BOOST_TEST(*ids.rbegin() == expected.harts - 1);
            BOOST_TEST(machine.sswi.has_value() == expected.aclint);
            if (expected.aclint) {
                BOOST_TEST(machine.sswi->base == 0x2f00000u);
            }
            const bool boot = expected.name == "boot";
            BOOST_TEST(machine.bootargs == (boot ? "disk=\"a b\" quiet='x y' depth=8" : ""));
            BOOST_TEST(machine.initrd.has_value() == boot);
            if (boot) {
                BOOST_TEST(machine.initrd->size == std::filesystem::file_size(dump_directory() / "boot.initrd"));
                BOOST_TEST(machine.initrd->base >= virt_memory_base);
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(the_advanced_interrupt_architecture_is_described) {
    using inflight::kernel::wired_controller_kind;
    struct expectation {
        std::string name;
        wired_controller_kind kind;
        std::size_t controllers;
        std::uint64_t base;
        std::vector<std::optional<std::uint32_t>> targets; // by hart id
        std::vector<std::uint64_t> files;
    };
    constexpr auto none = std::nullopt;
    const expectation all[] = {
        {"aplic", wired_controller_kind::aplic, 1, 0xd000000, {0, 1}, {0, 0}},
        {"imsic", wired_controller_kind::aplic_imsic, 1, 0xd000000, {0, 1}, {0x28000000, 0x28001000}},
        {"guests",
         wired_controller_kind::aplic_imsic,
         1,
         0xd000000,
         {0, 1, 2, 3},
         {0x28000000, 0x28004000, 0x28008000, 0x2800c000}},
        // The second socket's APLIC serves virtio. In direct mode it reaches that socket's harts only.
        {"numa-aplic", wired_controller_kind::aplic, 2, 0xd008000, {none, none, 0, 1}, {0, 0, 0, 0}},
        {"numa-imsic",
         wired_controller_kind::aplic_imsic,
         2,
         0xd008000,
         {0, 1, 2, 3},
         {0x28000000, 0x28004000, 0x29000000, 0x29004000}},
    };
    for (const expectation& expected : all) {
        BOOST_TEST_CONTEXT(expected.name) {
            const described_machine machine(load_dump(expected.name));
            BOOST_TEST_REQUIRE((machine.outcome == machine_error::none), text(machine.outcome));
            BOOST_TEST((machine.wired.kind == expected.kind));
            BOOST_TEST(machine.wired.controllers == expected.controllers);
            BOOST_TEST(machine.wired.registers == (memory_range{expected.base, 0x8000}));
            BOOST_TEST(machine.wired.source_count == 96u);
            BOOST_TEST(machine.wired.phandle != 0u);
            BOOST_TEST(machine.imsic.has_value() == (expected.kind == wired_controller_kind::aplic_imsic));
            if (machine.imsic) {
                BOOST_TEST(machine.imsic->id_count == 255u);
                BOOST_TEST(machine.imsic->phandle != 0u);
            }
            BOOST_TEST_REQUIRE(machine.harts.size() == expected.targets.size());
            for (const hart_description& hart : machine.harts) {
                BOOST_TEST((hart.wired_target == expected.targets[hart.id]), hart.id);
                BOOST_TEST(hart.interrupt_file == expected.files[hart.id]);
            }
            BOOST_TEST_REQUIRE(machine.virtio.size() == 8u);
            for (std::size_t slot = 0; slot < 8; ++slot) {
                BOOST_TEST(machine.virtio[slot].interrupt == slot + 1);
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(a_blob_needs_no_alignment) {
    const bytes aligned = load_dump("smp2");
    for (std::size_t shift = 1; shift < 8; ++shift) {
        bytes shifted(shift);
        shifted.insert(shifted.end(), aligned.begin(), aligned.end());
        const auto opened = inflight::kernel::device_tree::open(shifted.data() + shift, aligned.size());
        BOOST_TEST_REQUIRE(opened.error == error::none);
        const auto machine = std::make_unique<machine_description>();
        BOOST_TEST(describe(opened.tree, *machine) == machine_error::none);
        BOOST_TEST(machine->harts.size() == 2u);
        BOOST_TEST(machine->virtio.size() == 8u);
    }
}

BOOST_AUTO_TEST_CASE(every_error_has_its_own_sentence) {
    std::set<std::string_view> sentences;
    const auto check = [&](auto last) {
        using kind = decltype(last);
        for (int number = 0; number <= static_cast<int>(last); ++number) {
            BOOST_TEST(text(static_cast<kind>(number)).size() > 20u);
            BOOST_TEST(sentences.insert(text(static_cast<kind>(number))).second);
        }
        BOOST_TEST(!sentences.contains(text(static_cast<kind>(255))));
    };
    check(error::too_deep);
    check(machine_error::initrd_damaged);
}

BOOST_AUTO_TEST_CASE(damaged_headers_are_refused) {
    const bytes good = machine_writer().write();
    const auto with = [&](std::size_t field, std::uint32_t value) {
        bytes blob = good;
        put(blob, field * 4, value);
        return open_error(blob);
    };
    const auto size = static_cast<std::uint32_t>(good.size());
    BOOST_TEST(inflight::kernel::device_tree::open(nullptr, 4096).error == error::no_blob);
    BOOST_TEST(open_error({}) == error::truncated_header);
    BOOST_TEST(open_error(bytes(good.begin(), good.begin() + 39)) == error::truncated_header);
    BOOST_TEST(open_error(bytes(good.begin(), good.end() - 1)) == error::truncated);
    BOOST_TEST(open_error(bytes(4096)) == error::bad_magic);
    BOOST_TEST(with(0, 0xedfe0dd0) == error::bad_magic);
    BOOST_TEST(with(1, size + 1) == error::truncated);
    BOOST_TEST(with(1, 39) == error::truncated);
    BOOST_TEST(with(1, 0xffffffff) == error::truncated);
    BOOST_TEST(with(5, 16) == error::unsupported_version);
    BOOST_TEST(with(5, 18) == error::none); // says that it is compatible
    BOOST_TEST(with(6, 18) == error::unsupported_version);
    for (const std::size_t field : {2u, 3u}) {
        for (const std::uint32_t offset : {0u, 39u, size + 4, 0xfffffffcu}) {
            BOOST_TEST(with(field, offset) == error::block_outside);
        }
    }
    for (const std::size_t field : {8u, 9u}) {
        for (const std::uint32_t length : {size, 0x80000000u, 0xffffffffu}) {
            BOOST_TEST(with(field, length) == error::block_outside);
        }
        BOOST_TEST(with(field, 0) == error::structure_damaged);
    }
    BOOST_TEST(with(4, 0) == error::block_outside);
    BOOST_TEST(with(4, size) == error::reservations_unterminated);
    BOOST_TEST(with(9, get(good, 36) - 4) == error::structure_damaged); // without the end token
    BOOST_TEST(inflight::kernel::device_tree::open(good.data(), good.size() + 4096).tree.size() == good.size());
}

BOOST_AUTO_TEST_CASE(the_empty_tree_is_safe) {
    const inflight::kernel::device_tree none;
    BOOST_TEST(none.root().name() == "");
    BOOST_TEST(!none.root().first_child().has_value());
    BOOST_TEST(!none.root().find("reg").has_value());
    BOOST_TEST(!none.find_by_phandle(1).has_value());
    BOOST_TEST(none.reservation_count() == 0u);
    const auto machine = std::make_unique<machine_description>();
    BOOST_TEST(describe(none, *machine) == machine_error::no_memory);
}

BOOST_AUTO_TEST_CASE(damaged_structures_are_refused) {
    tree_writer late;
    late.begin("child").end().cells("late", {1});
    BOOST_TEST(open_error(late.finish()) == error::structure_damaged); // a property behind a child

    const bytes good = tree_writer().begin("a").text("p", "x").end().finish();
    const std::size_t structure = get(good, 8);
    const auto with = [&](std::size_t index, std::uint32_t token) {
        bytes blob = good;
        put(blob, structure + index * 4, token);
        return open_error(blob);
    };
    // begin "" begin "a" property 2 0 "x" end-node end-node end
    BOOST_TEST_REQUIRE(get(good, structure + 10 * 4) == 9u);
    BOOST_TEST(with(0, FDT_NOP) == error::structure_damaged); // a node is closed twice
    BOOST_TEST(with(0, FDT_END) == error::structure_damaged); // no root
    BOOST_TEST(with(2, FDT_END_NODE) == error::structure_damaged);
    BOOST_TEST(with(4, 5) == error::structure_damaged);    // no such token
    BOOST_TEST(with(5, 3000) == error::structure_damaged); // longer than the block
    BOOST_TEST(with(5, 0xfffffff8) == error::structure_damaged);
    BOOST_TEST(with(6, 2) == error::structure_damaged);       // name outside of the strings
    BOOST_TEST(with(8, FDT_NOP) == error::structure_damaged); // a node is left open
    BOOST_TEST(with(10, FDT_BEGIN_NODE) == error::structure_damaged);
    BOOST_TEST(with(1, 0x61000000) == error::structure_damaged); // the root has a name
    bytes unterminated = good;
    unterminated[get(good, 12) + get(good, 32) - 1] = 'q';
    BOOST_TEST(open_error(unterminated) == error::structure_damaged);
}

BOOST_AUTO_TEST_CASE(the_depth_is_limited) {
    const auto nested = [](std::size_t depth) {
        tree_writer tree;
        for (std::size_t level = 0; level < depth; ++level) {
            tree.begin("level" + std::to_string(level + 1));
        }
        for (std::size_t level = 0; level < depth; ++level) {
            tree.end();
        }
        return tree.finish();
    };
    constexpr std::size_t limit = inflight::kernel::device_tree::maximum_depth;
    const opened_tree deepest(nested(limit));
    std::size_t depth = 0;
    for (const auto& node : deepest->nodes()) {
        BOOST_TEST(node.depth() == depth++);
    }
    BOOST_TEST(depth == limit + 1);
    BOOST_TEST(open_error(nested(limit + 1)) == error::too_deep);
    BOOST_TEST(open_error(nested(1000)) == error::too_deep);
}

BOOST_AUTO_TEST_CASE(addresses_are_translated) {
    tree_writer writer;
    writer.cells("#address-cells", {2}).cells("#size-cells", {2});
    writer.begin("bus").cells("#address-cells", {1}).cells("#size-cells", {1});
    // Two windows: 0x1000..0x1fff to 0x1_4000_0000, 0x8000..0xbfff to 0x5000_0000.
    writer.cells("ranges", {0x1000, 1, 0x40000000, 0x1000, 0x8000, 0, 0x50000000, 0x4000});
    writer.begin("first").cells("reg", {0x1800, 0x800, 0x8000, 0x4000}).end();
    writer.begin("outside").cells("reg", {0x1800, 0x801, 0x2000, 1, 0xfff, 2, 0xc000, 0}).end();
    writer.begin("malformed").cells("reg", {0x1800, 0x800, 0x8000}).end();
    writer.begin("inner").cells("#address-cells", {2}).cells("#size-cells", {1});
    writer.cells("ranges", {7, 0, 0x9000, 0x100});
    writer.begin("second").cells("reg", {7, 0x10, 0x20}).end().end();
    writer.begin("identity").cells("#address-cells", {1}).cells("#size-cells", {1}).raw("ranges", "");
    writer.begin("third").cells("reg", {0x9000, 4}).end().end();
    writer.begin("closed").cells("#address-cells", {1}).cells("#size-cells", {0});
    writer.begin("fourth").cells("reg", {3}).end().end();
    writer.end();
    writer.begin("pci").cells("#address-cells", {3}).cells("#size-cells", {2});
    writer.begin("card").cells("reg", {1, 2, 3, 4, 5}).end().end();
    writer.begin("nowhere").cells("#address-cells", {0}).cells("#size-cells", {0});
    writer.begin("sixth").cells("reg", {1, 2}).end().end();
    writer.begin("sized").cells("#address-cells", {0}).cells("#size-cells", {1});
    writer.begin("seventh").cells("reg", {1}).end().end();
    writer.begin("top").cells("reg", {0xffffffff, 0xfffff000, 0, 0x1000, 0xffffffff, 0xfffff000, 0, 0x1001}).end();
    writer.begin("high").cells("#address-cells", {1}).cells("#size-cells", {1});
    writer.cells("ranges", {0, 0xffffffff, 0xffffff00, 0x200}); // a window over the end of the address space
    writer.begin("fifth").cells("reg", {0x10, 0x10}).end().end();
    const opened_tree tree(writer.finish());

    BOOST_TEST(tree.at("/bus/first").reg_count() == 2u);
    BOOST_TEST(tree.at("/bus/first").reg(0).value() == (memory_range{0x140000800, 0x800}));
    BOOST_TEST(tree.at("/bus/first").reg(1).value() == (memory_range{0x50000000, 0x4000}));
    BOOST_TEST(tree.at("/bus/first").bus_reg(0).value() == (memory_range{0x1800, 0x800}));
    BOOST_TEST(!tree.at("/bus/first").reg(2).has_value());
    BOOST_TEST(tree.at("/bus/outside").reg_count() == 4u);
    for (const std::size_t index : {0u, 1u, 2u, 3u}) {
        BOOST_TEST(!tree.at("/bus/outside").reg(index).has_value());
    }
    BOOST_TEST(tree.at("/bus/malformed").reg_count() == 0u);
    BOOST_TEST(tree.at("/bus/inner/second").reg(0).value() == (memory_range{0x50001010, 0x20}));
    BOOST_TEST(tree.at("/bus/identity/third").reg(0).value() == (memory_range{0x50001000, 4}));
    BOOST_TEST(tree.at("/bus/closed/fourth").bus_reg(0).value() == (memory_range{3, 0}));
    BOOST_TEST(!tree.at("/bus/closed/fourth").reg(0).has_value());
    BOOST_TEST(tree.at("/pci/card").reg_count() == 0u);
    BOOST_TEST(tree.at("/top").reg(0).value() == (memory_range{0xfffffffffffff000, 0x1000}));
    BOOST_TEST(!tree.at("/top").reg(1).has_value());
    BOOST_TEST(!tree.at("/high/fifth").reg(0).has_value());
    BOOST_TEST(tree.at("/nowhere/sixth").reg_count() == 0u);
    BOOST_TEST(tree.at("/sized/seventh").reg_count() == 0u);
    BOOST_TEST(tree->root().reg_count() == 0u);
}

BOOST_AUTO_TEST_CASE(interrupt_parents_are_inherited) {
    tree_writer writer;
    writer.cells("interrupt-parent", {1});
    writer.begin("plic").cells("phandle", {1}).cells("#interrupt-cells", {1}).end();
    writer.begin("wide").cells("phandle", {2}).cells("#interrupt-cells", {2});
    writer.begin("below").cells("interrupts", {8, 0}).end().end();
    writer.begin("bus").begin("own").cells("interrupt-parent", {2}).cells("interrupts", {5, 0}).end();
    writer.begin("inherits").cells("interrupts", {6, 7}).end();
    writer.begin("dangling").cells("interrupt-parent", {9}).cells("interrupts", {6}).end();
    writer.begin("short").raw("interrupts", "\0\0\1"s).end().end();
    const opened_tree tree(writer.finish());
    BOOST_TEST(tree.at("/bus/inherits").interrupt_parent()->name() == "plic");
    BOOST_TEST(tree.at("/bus/inherits").interrupt(0).value() == 6u);
    BOOST_TEST(tree.at("/bus/inherits").interrupt(1).value() == 7u);
    BOOST_TEST(!tree.at("/bus/inherits").interrupt(2).has_value());
    BOOST_TEST(tree.at("/bus/own").interrupt_parent()->name() == "wide");
    BOOST_TEST(tree.at("/bus/own").interrupt(0).value() == 5u); // two cells: the source, then the trigger
    BOOST_TEST(!tree.at("/bus/own").interrupt(1).has_value());
    BOOST_TEST(tree.at("/wide/below").interrupt_parent()->name() == "wide");
    BOOST_TEST(!tree.at("/bus/dangling").interrupt_parent().has_value());
    BOOST_TEST(!tree.at("/bus/short").interrupt(0).has_value());
    BOOST_TEST(!tree.at("/bus").interrupt(0).has_value());
}

BOOST_AUTO_TEST_CASE(extended_interrupts_are_taken_apart) {
    tree_writer writer;
    writer.begin("none").cells("phandle", {1}).cells("#interrupt-cells", {0}).end();
    writer.begin("two").cells("phandle", {2}).cells("#interrupt-cells", {2}).end();
    writer.begin("no-controller").cells("phandle", {3}).end();
    writer.begin("huge").cells("phandle", {4}).cells("#interrupt-cells", {0x40000000}).end();
    const std::vector<std::vector<std::uint32_t>> lists = {
        {2, 10, 11, 1, 0, 2, 12, 13}, {1, 2, 10}, {1, 3, 1}, {2, 1, 2, 77}, {4, 1}, {}};
    for (std::size_t index = 0; index < lists.size(); ++index) {
        writer.begin("user" + std::to_string(index)).cells("interrupts-extended", lists[index]).end();
    }
    writer.begin("odd").raw("interrupts-extended", "\0\0\0\1\0\0"s).end();
    const opened_tree tree(writer.finish());
    const auto parse = [&](std::string_view path) {
        std::string entries;
        const bool whole = tree.at(path).for_each_extended_interrupt(
            [&](std::size_t index, const auto& controller, const auto& cells) {
                entries += std::to_string(index) + std::string(controller.name());
                for (std::size_t cell = 0; cells.cell(cell); ++cell) {
                    entries += ' ' + std::to_string(*cells.cell(cell));
                }
                entries += ';';
            });
        return entries + (whole ? "whole" : "damaged");
    };
    BOOST_TEST(parse("/user0") == "0two 10 11;1none;3two 12 13;whole"); // entry 2 is empty
    BOOST_TEST(parse("/user1") == "0none;damaged");
    BOOST_TEST(parse("/user2") == "0none;damaged");
    BOOST_TEST(parse("/user3") == "0two 1 2;damaged");
    BOOST_TEST(parse("/user4") == "damaged");
    BOOST_TEST(parse("/user5") == "whole");
    BOOST_TEST(parse("/odd") == "0none;damaged");
    BOOST_TEST(parse("/none") == "damaged");
}

BOOST_AUTO_TEST_CASE(unterminated_strings_are_none) {
    tree_writer writer;
    writer.begin("a").raw("compatible", "first\0virtio,mmio"s).raw("status", "okay").raw("empty", "").end();
    writer.begin("b").text("compatible", "first\0virtio,mmio"s).text("status", "disabled").end();
    writer.begin("c").raw("status", "").raw("compatible", "\0\0"s).end();
    writer.begin("d").text("status", "ok").text("compatible", "virtio,mmiox").end();
    const opened_tree tree(writer.finish());
    BOOST_TEST(tree.at("/a").compatible("first"));
    BOOST_TEST(!tree.at("/a").compatible("virtio,mmio"));
    BOOST_TEST(!tree.at("/a").okay());
    BOOST_TEST(!tree.at("/a").string("empty").has_value());
    BOOST_TEST(tree.at("/b").compatible("virtio,mmio"));
    BOOST_TEST(tree.at("/b").find("compatible")->string(1).value() == "virtio,mmio");
    BOOST_TEST(!tree.at("/b").find("compatible")->string(2).has_value());
    BOOST_TEST(!tree.at("/b").okay());
    BOOST_TEST(!tree.at("/c").okay());
    BOOST_TEST(tree.at("/c").compatible(""));
    BOOST_TEST(tree.at("/d").okay());
    BOOST_TEST(!tree.at("/d").compatible("virtio,mmio"));
    BOOST_TEST(!tree.at("/d").compatible("virtio"));
}

BOOST_AUTO_TEST_CASE(the_first_of_equal_names_wins) {
    tree_writer writer;
    writer.begin("twin").cells("value", {1}).cells("value", {2}).cells("phandle", {7}).end();
    writer.begin("twin").cells("value", {3}).cells("phandle", {7}).end();
    writer.begin("old").cells("linux,phandle", {8}).end();
    writer.begin("both").cells("linux,phandle", {8}).cells("phandle", {9}).end();
    const opened_tree tree(writer.finish());
    BOOST_TEST(tree.at("/twin").number("value").value() == 1u);
    BOOST_TEST(tree->find_by_phandle(7)->number("value").value() == 1u);
    BOOST_TEST(tree.at("/twin").next_sibling()->number("value").value() == 3u);
    BOOST_TEST(tree->find_by_phandle(8)->name() == "old");
    BOOST_TEST(tree.at("/both").phandle() == 9u);
    BOOST_TEST(!tree->find_by_phandle(0).has_value());
    BOOST_TEST(!tree->find_by_phandle(0xffffffff).has_value());
}

BOOST_AUTO_TEST_CASE(paths_and_aliases) {
    tree_writer writer;
    writer.begin("aliases").text("serial0", "/soc/serial@2").text("loop", "loop").raw("open", "/soc").end();
    writer.begin("soc").begin("serial@1").begin("port").end().end().begin("serial@2").begin("port").end().end().end();
    const opened_tree tree(writer.finish());
    BOOST_TEST(tree.at("/soc/serial").name() == "serial@1");
    BOOST_TEST(tree.at("/soc/serial").base_name() == "serial");
    BOOST_TEST(tree.at("/soc/serial").unit_address() == "1");
    BOOST_TEST(tree.at("//soc//serial@2/").name() == "serial@2");
    BOOST_TEST(tree.at("serial0").name() == "serial@2");
    BOOST_TEST(tree.at("serial0/port").parent()->name() == "serial@2");
    BOOST_TEST(tree.at("/").depth() == 0u);
    for (const char* const absent : {"", "serial1", "loop", "open", "/soc/serial@3", "/soc/serial@", "/so", "soc"}) {
        BOOST_TEST(!tree->find_by_path(absent).has_value(), absent);
    }
}

BOOST_AUTO_TEST_CASE(extensions_are_found_in_isa_strings) {
    struct expectation {
        std::string isa;
        std::vector<const char*> present;
        std::vector<const char*> absent;
    };
    const expectation expectations[] = {
        {"rv64imac", {"i", "m", "a", "c"}, {"f", "d", "r", "v", "imac", "zicsr", "", "6"}},
        {"rv64imafdch_zicsr_zba_sstc", {"h", "zba", "sstc"}, {"z", "b", "s", "st", "zbb", "t"}},
        {"rv64gc", {"i", "m", "a", "f", "d", "c", "zicsr", "zifencei"}, {"g2", "zba", "v"}},
        {"rv64imaczicsr_sstc", {"c", "zicsr", "sstc"}, {"z", "r"}},
        {"rv64imafdcsu", {"c", "s", "u"}, {"su"}},
        {"rv64imacsvinval", {"svinval"}, {"v", "n", "s"}},
        {"rv64i2p1_m2p0_a2p1_c2_zicsr2p0_sstc1p0", {"i", "m", "a", "c", "zicsr", "sstc"}, {"p", "zicsr2p0"}},
        {"rv64i2p1m2p0a2p1c2p0_zba1p0", {"i", "m", "a", "c", "zba"}, {"p"}},
        {"RV64IMAC_ZICSR_Sstc", {"c", "zicsr", "sstc"}, {"z"}},
        {"rv64imac_zvl128b_zve32x1p0_xvendor", {"zvl128b", "zve32x", "xvendor"}, {"x", "v", "zvl", "zve"}},
        {"rv64imac__sstc_", {"sstc"}, {"_"}},
        {"rv32e", {"e"}, {"i"}},
        {"rv64", {}, {"r", "v", "i"}},
        {"riscv", {}, {"i", "s", "c"}},
        {"x", {}, {"x"}},
        {"", {}, {"i", ""}},
    };
    for (const expectation& expected : expectations) {
        BOOST_TEST_CONTEXT(expected.isa) {
            hart_description hart;
            hart.isa = expected.isa;
            for (const char* const name : expected.present) {
                BOOST_TEST(hart.has_extension(name), name);
            }
            for (const char* const name : expected.absent) {
                BOOST_TEST(!hart.has_extension(name), name);
            }
        }
    }
    tree_writer writer;
    writer.begin("cpu").text("riscv,isa-extensions", "i\0m\0zicsr\0sstc"s).end();
    const opened_tree tree(writer.finish());
    hart_description hart;
    hart.isa_extensions = tree.at("/cpu").find("riscv,isa-extensions").value();
    BOOST_TEST(hart.has_extension("i"));
    BOOST_TEST(hart.has_extension("sstc"));
    BOOST_TEST(!hart.has_extension("sst"));
    BOOST_TEST(!hart.has_extension("c"));
}
BOOST_AUTO_TEST_CASE(mutants_are_judged_as_by_libfdt) {
    const std::uint64_t seed = test_seed();
    const char* const count_set = std::getenv("INFLIGHT_DEVICE_TREE_MUTANTS");
    const std::size_t count = count_set != nullptr ? std::strtoull(count_set, nullptr, 0) : 20000;
    BOOST_TEST_MESSAGE("INFLIGHT_SEED=" << seed);
    std::cout << "device_tree mutants: INFLIGHT_SEED=" << seed << std::endl;
    std::mt19937_64 random(seed);
    const auto below = [&](std::size_t limit) {
        return static_cast<std::size_t>(random() % limit);
    };

    // Packed, so that mutations do not fall into the padding; and the offsets of each one's properties.
    std::vector<bytes> originals;
    std::vector<std::vector<std::size_t>> tokens;
    for (const std::string& name : dump_names) {
        bytes blob = load_dump(name);
        BOOST_REQUIRE(fdt_pack(blob.data()) == 0);
        blob.resize(fdt_totalsize(blob.data()));
        tokens.emplace_back();
        for (int offset = 0, next = 0; fdt_next_tag(blob.data(), offset, &next) != FDT_END; offset = next) {
            tokens.back().push_back(static_cast<std::size_t>(fdt_off_dt_struct(blob.data())) +
                                    static_cast<std::size_t>(offset));
        }
        originals.push_back(std::move(blob));
    }
    constexpr std::uint32_t interesting[] = {0,  1,  2,   3,          4,          5,          9,         15,
                                             16, 17, 100, 0x7fffffff, 0x80000000, 0xfffffff8, 0xffffffff};
    std::size_t accepted = 0;
    for (std::size_t number = 0; number < count; ++number) {
        const std::size_t which = below(originals.size());
        bytes blob = originals[which];
        const auto cell_at = [&](std::size_t offset) {
            const std::uint32_t old = get(blob, offset);
            put(blob, offset,
                below(2) == 0 ? interesting[below(std::size(interesting))]
                              : old + static_cast<std::uint32_t>(below(17)) - 8);
        };
        const auto token = [&] {
            return tokens[which][below(tokens[which].size())];
        };
        for (std::size_t change = below(4) + 1; change > 0; --change) {
            switch (below(8)) {
            case 0: blob[below(blob.size())] ^= static_cast<std::uint8_t>(1u << below(8)); break;
            case 1: blob[below(blob.size())] = static_cast<std::uint8_t>(random()); break;
            case 2: cell_at(below(10) * 4); break;              // a field of the header
            case 3: cell_at(below(blob.size() / 4) * 4); break; // any cell
            case 4: cell_at(token() + 4); break;                // a property's length or a node's name
            case 5: {                                           // a token
                constexpr std::uint32_t kinds[] = {FDT_BEGIN_NODE, FDT_END_NODE, FDT_PROP, FDT_NOP, FDT_END};
                const std::uint32_t kind = kinds[below(5)];
                put(blob, token(), kind);
                break;
            }
            case 6: { // another property's name
                const std::uint32_t name = get(blob, token() + 8);
                put(blob, token() + 8, name);
                break;
            }
            default: { // a piece of the tree over another one
                const std::size_t length = std::min(below(64) * 4, blob.size());
                const std::size_t from = below((blob.size() - length) / 4 + 1) * 4;
                const std::size_t to = below((blob.size() - length) / 4 + 1) * 4;
                std::memmove(blob.data() + to, blob.data() + from, length);
                break;
            }
            }
        }
        if (below(8) == 0) {
            blob.resize(below(blob.size()));
            if (blob.size() >= 8 && below(2) == 0) {
                put(blob, 4, static_cast<std::uint32_t>(blob.size()));
            }
        }
        try {
            accepted += device_tree_oracle::check(blob) ? 1 : 0;
        } catch (const device_tree_oracle::mismatch& failure) {
            BOOST_FAIL("mutant " << number << " of INFLIGHT_SEED=" << seed << ": " << failure.what());
        }
    }
    std::cout << "device_tree mutants: " << accepted << " of " << count << " accepted" << std::endl;
    // Both outcomes must be common, or the mutations are too tame or too wild to test anything.
    BOOST_TEST(accepted > count / 20);
    BOOST_TEST(accepted < count - count / 20);
}

BOOST_AUTO_TEST_SUITE_END()
