#include "tests/host/device_tree_oracle.hpp"

#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <random>
#include <set>

namespace inflight::kernel {

static std::ostream& operator<<(std::ostream& out, device_tree_error error) {
    return out << text(error);
}

static std::ostream& operator<<(std::ostream& out, const memory_range& range) {
    return out << std::hex << "base 0x" << range.base << " size 0x" << range.size << std::dec;
}

} // namespace inflight::kernel

namespace {

using namespace inflight::kernel;
using error = device_tree_error;
using bytes = std::vector<std::uint8_t>;
using std::string_literals::operator""s;

// What QEMU 7.2 documents of its machine "virt".
constexpr memory_range virt_uart{0x10000000, 0x100};
constexpr memory_range virt_finisher{0x100000, 0x1000};
constexpr std::uint64_t virt_memory_base = 0x80000000;
constexpr std::uint64_t virt_virtio_base = 0x10001000;

// The directory with the dumps: environment before build.
std::filesystem::path dump_directory() {
    if (const char* const set = std::getenv("INFLIGHT_DEVICE_TREES")) {
        return set;
    }
#ifdef INFLIGHT_DEVICE_TREES
    return INFLIGHT_DEVICE_TREES;
#else
    return "device_trees";
#endif
}

bytes load_dump(const std::string& name) {
    const auto path = dump_directory() / (name + ".dtb");
    std::ifstream file(path, std::ios::binary);
    BOOST_REQUIRE_MESSAGE(file, path << " is missing: INFLIGHT_DEVICE_TREES must name the directory of QEMU's dumps");
    return {std::istreambuf_iterator<char>(file), {}};
}

const std::vector<std::string> dump_names = {"smp1", "smp2", "smp8", "aclint8", "memory3g", "boot", "numa", "aplic"};

void put(bytes& blob, std::size_t offset, std::uint32_t cell) {
    for (int shift = 24; shift >= 0; shift -= 8) {
        blob[offset++] = static_cast<std::uint8_t>(cell >> shift);
    }
}

std::uint32_t get(const bytes& blob, std::size_t offset) {
    return fdt32_ld(reinterpret_cast<const fdt32_t*>(&blob[offset]));
}

// Writes trees with libfdt.
class tree_writer {
  public:
    explicit tree_writer(const std::vector<memory_range>& reservations = {}) {
        ok(fdt_create(blob_.data(), static_cast<int>(blob_.size())));
        for (const memory_range& range : reservations) {
            ok(fdt_add_reservemap_entry(blob_.data(), range.base, range.size));
        }
        ok(fdt_finish_reservemap(blob_.data()));
        begin("");
    }
    tree_writer& begin(const std::string& name) {
        ok(fdt_begin_node(blob_.data(), name.c_str()));
        return *this;
    }
    tree_writer& end() {
        ok(fdt_end_node(blob_.data()));
        return *this;
    }
    // A value without added NUL.
    tree_writer& raw(const std::string& name, const std::string& value) {
        ok(fdt_property(blob_.data(), name.c_str(), value.data(), static_cast<int>(value.size())));
        return *this;
    }
    tree_writer& text(const std::string& name, const std::string& value) { return raw(name, value + '\0'); }
    tree_writer& cells(const std::string& name, const std::vector<std::uint32_t>& values) {
        bytes value(values.size() * 4);
        for (std::size_t index = 0; index < values.size(); ++index) {
            put(value, index * 4, values[index]);
        }
        return raw(name, std::string(value.begin(), value.end()));
    }
    // Ends the root and the tree.
    bytes finish() {
        end();
        ok(fdt_finish(blob_.data()));
        blob_.resize(fdt_totalsize(blob_.data()));
        return blob_;
    }

  private:
    static void ok(int result) { BOOST_REQUIRE_MESSAGE(result == 0, "libfdt: " << fdt_strerror(result)); }
    bytes blob_ = bytes(1 << 20);
};

// A whole machine, of which each test changes what it is about.
struct machine_writer {
    struct cpu {
        std::uint32_t id;
        std::string status = "okay";
        std::uint32_t intc = 0; // phandle; 0: 100 + id
        std::uint32_t handle() const { return intc != 0 ? intc : 100 + id; }
    };
    std::vector<memory_range> reservation_block = {};
    std::vector<std::uint32_t> memory = {0, 0x80000000, 0, 0x8000000};
    std::function<void(tree_writer&)> reserved_memory = [](tree_writer&) {
    };
    std::vector<cpu> cpus = {{0}};
    std::vector<std::uint32_t> timebase = {10000000};
    std::vector<std::uint32_t> cpu_timebase = {};
    bool plic = true;
    std::vector<std::uint32_t> source_count = {96};
    std::vector<std::uint32_t> contexts = {100, 11, 100, 9};
    std::vector<std::uint32_t> virtio = {0x10002000, 0x10001000};
    std::string virtio_status = "okay";
    std::function<void(tree_writer&)> in_soc = [](tree_writer&) {
    };
    std::function<void(tree_writer&)> in_chosen = [](tree_writer&) {
    };

    bytes write() const {
        tree_writer tree(reservation_block);
        tree.cells("#address-cells", {2}).cells("#size-cells", {2});
        tree.begin("chosen");
        in_chosen(tree);
        tree.end();
        tree.begin("memory@80000000").text("device_type", "memory").cells("reg", memory).end();
        reserved_memory(tree);
        tree.begin("cpus").cells("#address-cells", {1}).cells("#size-cells", {0});
        if (!timebase.empty()) {
            tree.cells("timebase-frequency", timebase);
        }
        for (const cpu& each : cpus) {
            tree.begin("cpu@" + std::to_string(each.id)).text("device_type", "cpu").cells("reg", {each.id});
            tree.text("status", each.status).text("riscv,isa", "rv64imac_sstc");
            if (!cpu_timebase.empty()) {
                tree.cells("timebase-frequency", cpu_timebase);
            }
            tree.begin("interrupt-controller").text("compatible", "riscv,cpu-intc");
            tree.cells("#interrupt-cells", {1}).cells("phandle", {each.handle()}).end().end();
        }
        tree.end();
        tree.begin("soc").cells("#address-cells", {2}).cells("#size-cells", {2}).raw("ranges", "");
        if (plic) {
            tree.begin("plic@c000000").text("compatible", "sifive,plic-1.0.0\0riscv,plic0"s);
            tree.cells("reg", {0, 0xc000000, 0, 0x600000}).cells("riscv,ndev", source_count);
            tree.cells("interrupts-extended", contexts).cells("phandle", {50}).cells("#interrupt-cells", {1}).end();
        }
        for (const std::uint32_t address : virtio) {
            tree.begin("virtio_mmio").text("compatible", "virtio,mmio").text("status", virtio_status);
            tree.cells("reg", {0, address, 0, 0x1000}).cells("interrupt-parent", {50});
            tree.cells("interrupts", {(address - 0x10000000) / 0x1000}).end();
        }
        in_soc(tree);
        return tree.end().finish();
    }
};

// A tree that keeps its bytes, after all checks that hold for any tree.
class opened_tree {
  public:
    explicit opened_tree(const bytes& blob) : blob_(blob) {
        BOOST_REQUIRE_NO_THROW(BOOST_REQUIRE(device_tree_oracle::check(blob)));
        tree_ = device_tree::open(blob_.data(), blob_.size()).tree;
    }
    const device_tree* operator->() const { return &tree_; }
    const device_tree& operator*() const { return tree_; }
    device_tree::node at(std::string_view path) const {
        const auto found = tree_.find_by_path(path);
        BOOST_REQUIRE_MESSAGE(found, path << " is missing");
        return *found;
    }

  private:
    device_tree_oracle::exact_copy blob_;
    device_tree tree_;
};

struct described_machine : machine_description {
    explicit described_machine(const bytes& blob) : tree(blob), outcome(describe(*tree, *this)) {}
    opened_tree tree;
    device_tree_error outcome;
};

error open_error(const bytes& blob) {
    BOOST_CHECK_NO_THROW(device_tree_oracle::check(blob));
    const device_tree_oracle::exact_copy copy(blob);
    return device_tree::open(copy.data(), copy.size()).error;
}

error describe_error(const machine_writer& machine) {
    return described_machine(machine.write()).outcome;
}

std::uint64_t test_seed() {
    const char* const set = std::getenv("INFLIGHT_SEED");
    return set != nullptr ? std::strtoull(set, nullptr, 0) : std::random_device()();
}

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
            BOOST_TEST_REQUIRE(machine.outcome == error::none);
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
            BOOST_TEST(machine.plic.controllers == (numa ? 2u : 1u));
            BOOST_TEST(machine.plic.registers == (memory_range{numa ? 0xc600000u : 0xc000000u, 0x600000}));
            BOOST_TEST(machine.plic.source_count == 96u);
            BOOST_TEST(machine.uart->interrupt == (numa ? 0u : 10u));
            BOOST_TEST_REQUIRE(machine.harts.size() == expected.harts);
            std::set<std::uint64_t> ids;
            for (const hart_description& hart : machine.harts) {
                ids.insert(hart.id);
                const std::uint64_t first = numa ? 2 : 0;
                if (hart.id < first) {
                    BOOST_TEST(!hart.plic_context.has_value());
                } else {
                    BOOST_TEST(hart.plic_context.value() == 2 * (hart.id - first) + 1);
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

BOOST_AUTO_TEST_CASE(without_a_plic_the_remedy_is_named) {
    const described_machine machine(load_dump("aplic"));
    BOOST_TEST(machine.outcome == error::no_plic);
    BOOST_TEST(text(machine.outcome) == "the device tree has no PLIC: boot with -machine virt and without aia=");
    BOOST_TEST(machine.uart.has_value()); // to tell it
    BOOST_TEST(machine.test_finisher.has_value());
}

BOOST_AUTO_TEST_CASE(a_blob_needs_no_alignment) {
    const bytes aligned = load_dump("smp2");
    for (std::size_t shift = 1; shift < 8; ++shift) {
        bytes shifted(shift);
        shifted.insert(shifted.end(), aligned.begin(), aligned.end());
        const auto opened = inflight::kernel::device_tree::open(shifted.data() + shift, aligned.size());
        BOOST_TEST_REQUIRE(opened.error == error::none);
        const auto machine = std::make_unique<machine_description>();
        BOOST_TEST(describe(opened.tree, *machine) == error::none);
        BOOST_TEST(machine->harts.size() == 2u);
        BOOST_TEST(machine->virtio.size() == 8u);
    }
}

BOOST_AUTO_TEST_CASE(every_error_has_its_own_sentence) {
    std::set<std::string_view> sentences;
    for (int number = 0; number <= static_cast<int>(error::initrd_damaged); ++number) {
        BOOST_TEST(text(static_cast<error>(number)).size() > 20u);
        BOOST_TEST(sentences.insert(text(static_cast<error>(number))).second);
    }
    BOOST_TEST(!sentences.contains(text(static_cast<error>(255))));
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
    BOOST_TEST(describe(none, *machine) == error::no_memory);
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
    BOOST_TEST(!tree.at("/bus/own").interrupt(0).has_value());
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

BOOST_AUTO_TEST_CASE(harts_with_holes_and_absent_contexts) {
    machine_writer writer;
    writer.cpus = {{0, "disabled"}, {2}, {7, "ok"}, {9}};
    // Hart 0 has only a machine-mode context, those of machine mode are hidden from the others, hart 9's is missing.
    writer.contexts = {100, 11, 102, 0xffffffff, 102, 9, 107, 0xffffffff, 107, 9, 109, 0xffffffff, 102, 9};
    const described_machine machine(writer.write());
    BOOST_TEST_REQUIRE(machine.outcome == error::none);
    BOOST_TEST_REQUIRE(machine.harts.size() == 3u);
    BOOST_TEST(machine.harts[0].id == 2u);
    BOOST_TEST(machine.harts[0].plic_context.value() == 2u); // the first of two
    BOOST_TEST(machine.harts[1].id == 7u);
    BOOST_TEST(machine.harts[1].plic_context.value() == 4u);
    BOOST_TEST(machine.harts[2].id == 9u);
    BOOST_TEST(machine.harts[2].interrupt_controller == 109u);
    BOOST_TEST(!machine.harts[2].plic_context.has_value());
    BOOST_TEST(machine.virtio[0].registers.base == 0x10001000u); // sorted
    BOOST_TEST(machine.virtio[1].interrupt == 2u);
}

BOOST_AUTO_TEST_CASE(unusable_machines_are_refused) {
    machine_writer good;
    BOOST_TEST(describe_error(good) == error::none);
    const auto with = [&](const std::function<void(machine_writer&)>& change) {
        machine_writer changed = good;
        change(changed);
        return describe_error(changed);
    };
    BOOST_TEST(with([](auto& machine) { machine.memory = {}; }) == error::no_memory);
    BOOST_TEST(with([](auto& machine) { machine.memory = {0, 0x80000000, 0, 0}; }) == error::no_memory);
    BOOST_TEST(with([](auto& machine) { machine.memory = {0, 0x80000000, 0}; }) == error::memory_damaged);
    BOOST_TEST(with([](auto& machine) { machine.memory = {~0u, ~0u, 0, 2}; }) == error::memory_damaged);
    BOOST_TEST(with([](auto& machine) { machine.reservation_block = {{~0ull, 2}}; }) == error::reservation_damaged);
    BOOST_TEST(with([](auto& machine) { machine.cpus = {}; }) == error::no_harts);
    BOOST_TEST(with([](auto& machine) { machine.cpus = {{0, "disabled"}}; }) == error::no_harts);
    BOOST_TEST(with([](auto& machine) { machine.cpus = {{0}, {0}}; }) == error::duplicate_hart);
    BOOST_TEST(with([](auto& machine) { machine.cpus = {{0}, {1, "okay", 100}}; }) == error::duplicate_hart);
    BOOST_TEST(with([](auto& machine) { machine.timebase = {}; }) == error::no_timebase);
    BOOST_TEST(with([](auto& machine) { machine.timebase = {0}; }) == error::no_timebase);
    BOOST_TEST(with([](auto& machine) { machine.plic = false; }) == error::no_plic);
    BOOST_TEST(with([](auto& machine) { machine.source_count = {}; }) == error::plic_damaged);
    BOOST_TEST(with([](auto& machine) { machine.source_count = {0}; }) == error::plic_damaged);
    BOOST_TEST(with([](auto& machine) { machine.source_count = {1024}; }) == error::plic_damaged);
    BOOST_TEST(with([](auto& machine) { machine.contexts = {100, 11, 100}; }) == error::plic_damaged);
    BOOST_TEST(with([](auto& machine) { machine.contexts = {99, 9, 100, 9}; }) == error::plic_damaged);
    BOOST_TEST(with([](auto& machine) { machine.contexts = {100, 11}; }) == error::no_supervisor_context);
    BOOST_TEST(with([](auto& machine) { machine.contexts = {}; }) == error::no_supervisor_context);
    BOOST_TEST(with([](auto& machine) {
                   machine.in_soc = [](tree_writer& tree) {
                       tree.begin("v").text("compatible", "virtio,mmio").cells("reg", {1, 2, 3}).end();
                   };
               }) == error::device_damaged);
    BOOST_TEST(with([](auto& machine) {
                   machine.in_chosen = [](tree_writer& tree) {
                       tree.raw("bootargs", "no end");
                   };
               }) == error::bootargs_damaged);
    const auto with_initrd = [&](const std::vector<std::uint32_t>& start, const std::vector<std::uint32_t>& end) {
        return with([&](auto& machine) {
            machine.in_chosen = [&](tree_writer& tree) {
                tree.cells("linux,initrd-start", start).cells("linux,initrd-end", end);
            };
        });
    };
    BOOST_TEST(with_initrd({2}, {1}) == error::initrd_damaged);
    BOOST_TEST(with_initrd({1, 2, 3}, {1}) == error::initrd_damaged);
    BOOST_TEST(with_initrd({0x80000000}, {1, 0}) == error::none);

    tree_writer no_id;
    no_id.begin("memory").text("device_type", "memory").cells("reg", {0, 1, 1}).end();
    no_id.begin("cpus").begin("cpu").text("device_type", "cpu").end().end();
    BOOST_TEST(described_machine(no_id.finish()).outcome == error::hart_damaged);
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
    BOOST_TEST_REQUIRE(machine.outcome == error::none);
    const std::vector<memory_range> expected = {
        {0x80000000, 0x1000}, {0x1234, 0x10}, {0x80040000, 0x20000}, {0x100000000, 0x200000000}};
    BOOST_TEST(std::vector<memory_range>(machine.reservations.begin(), machine.reservations.end()) == expected,
               boost::test_tools::per_element());

    writer.reserved_memory = [](tree_writer& tree) { // not translatable
        tree.begin("reserved-memory").cells("#address-cells", {1}).cells("#size-cells", {1});
        tree.begin("mmode").cells("reg", {1, 1}).end().end();
    };
    BOOST_TEST(describe_error(writer) == error::reservation_damaged);
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
        BOOST_TEST_REQUIRE(machine.outcome == error::none);
        BOOST_TEST(machine.memory.size() == 8u);
        BOOST_TEST(machine.memory.dropped() == 2u);
        BOOST_TEST(machine.harts.size() == 64u);
        BOOST_TEST(machine.harts.dropped() == 6u);
        BOOST_TEST(machine.harts[63].plic_context.value() == 63u);
        BOOST_TEST(machine.virtio.size() == 32u);
        BOOST_TEST(machine.virtio.dropped() == 8u);
    }
    writer.reserved_memory = [](tree_writer& tree) {
        tree.begin("reserved-memory").cells("#address-cells", {2}).cells("#size-cells", {2}).raw("ranges", "");
        tree.begin("many").cells("reg", std::vector<std::uint32_t>(33 * 4, 1)).end().end();
    };
    BOOST_TEST(describe_error(writer) == error::too_many_reservations);
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
    BOOST_TEST(machine.outcome == error::none);
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
    BOOST_TEST_REQUIRE(machine.outcome == error::none);
    BOOST_TEST_REQUIRE(machine.virtio.size() == 1u);
    BOOST_TEST(machine.virtio[0].registers == (memory_range{0x5000, 0x200}));
    BOOST_TEST(machine.virtio[0].interrupt == 0u); // of another controller
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
