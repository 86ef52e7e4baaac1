// Device trees for tests: QEMU's dumps, trees written with libfdt, whole machines; and what is read of them.
#pragma once

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

inline std::ostream& operator<<(std::ostream& out, device_tree_error error) {
    return out << text(error);
}

inline std::ostream& operator<<(std::ostream& out, machine_error error) {
    return out << text(error);
}

inline std::ostream& operator<<(std::ostream& out, const memory_range& range) {
    return out << std::hex << "base 0x" << range.base << " size 0x" << range.size << std::dec;
}

} // namespace inflight::kernel

namespace inflight::tests {

using namespace kernel; // NOLINT(google-build-using-namespace): of these tests alone
using error = device_tree_error;
using bytes = std::vector<std::uint8_t>;
using std::string_literals::operator""s;

// What QEMU 7.2 documents of its machine "virt".
inline constexpr memory_range virt_uart{0x10000000, 0x100};
inline constexpr memory_range virt_finisher{0x100000, 0x1000};
inline constexpr std::uint64_t virt_memory_base = 0x80000000;
inline constexpr std::uint64_t virt_virtio_base = 0x10001000;

// The directory with the dumps: environment before build.
inline std::filesystem::path dump_directory() {
    if (const char* const set = std::getenv("INFLIGHT_DEVICE_TREES")) {
        return set;
    }
#ifdef INFLIGHT_DEVICE_TREES
    return INFLIGHT_DEVICE_TREES;
#else
    return "device_trees";
#endif
}

inline bytes load_dump(const std::string& name) {
    const auto path = dump_directory() / (name + ".dtb");
    std::ifstream file(path, std::ios::binary);
    BOOST_REQUIRE_MESSAGE(file, path << " is missing: INFLIGHT_DEVICE_TREES must name the directory of QEMU's dumps");
    return {std::istreambuf_iterator<char>(file), {}};
}

inline const std::vector<std::string> dump_names = {"smp1",     "smp2", "smp8", "aclint8",
                                                    "memory3g", "boot", "numa", "imsic"};

inline void put(bytes& blob, std::size_t offset, std::uint32_t cell) {
    for (int shift = 24; shift >= 0; shift -= 8) {
        blob[offset++] = static_cast<std::uint8_t>(cell >> shift);
    }
}

inline std::uint32_t get(const bytes& blob, std::size_t offset) {
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
    std::string isa = "rv64imac_sstc";
    std::vector<std::uint32_t> timebase = {10000000};
    std::vector<std::uint32_t> cpu_timebase = {};
    bool plic = true;
    std::string plic_compatible = "sifive,plic-1.0.0\0riscv,plic0"s;
    std::uint32_t interrupt_cells = 1;
    bool tells_source_count = true;
    std::vector<std::uint32_t> source_count = {96};
    std::vector<std::uint32_t> contexts = {100, 11, 100, 9};
    std::vector<std::uint32_t> virtio = {0x10002000, 0x10001000};
    std::string virtio_status = "okay";
    bool extended = false; // the devices' interrupts are told by "interrupts-extended"
    bool device_types = true;
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
        tree.begin("memory@80000000").cells("reg", memory);
        if (device_types) {
            tree.text("device_type", "memory");
        }
        tree.end();
        reserved_memory(tree);
        tree.begin("cpus").cells("#address-cells", {1}).cells("#size-cells", {0});
        if (!timebase.empty()) {
            tree.cells("timebase-frequency", timebase);
        }
        for (const cpu& each : cpus) {
            tree.begin("cpu@" + std::to_string(each.id)).cells("reg", {each.id});
            if (device_types) {
                tree.text("device_type", "cpu");
            }
            tree.text("status", each.status).text("riscv,isa", isa);
            if (!cpu_timebase.empty()) {
                tree.cells("timebase-frequency", cpu_timebase);
            }
            tree.begin("interrupt-controller").text("compatible", "riscv,cpu-intc");
            tree.cells("#interrupt-cells", {1}).cells("phandle", {each.handle()}).end().end();
        }
        tree.end();
        tree.begin("soc").cells("#address-cells", {2}).cells("#size-cells", {2}).raw("ranges", "");
        if (plic) {
            tree.begin("plic@c000000").text("compatible", plic_compatible);
            tree.cells("reg", {0, 0xc000000, 0, 0x600000});
            if (tells_source_count) {
                tree.cells("riscv,ndev", source_count);
            }
            tree.cells("interrupts-extended", contexts).cells("phandle", {50});
            tree.cells("#interrupt-cells", {interrupt_cells}).end();
        }
        for (const std::uint32_t address : virtio) {
            tree.begin("virtio_mmio").text("compatible", "virtio,mmio").text("status", virtio_status);
            tree.cells("reg", {0, address, 0, 0x1000});
            std::vector<std::uint32_t> interrupt = {(address - 0x10000000) / 0x1000};
            interrupt.resize(interrupt_cells, 4); // level-sensitive, active high
            if (extended) {
                interrupt.insert(interrupt.begin(), 50);
                tree.cells("interrupts-extended", interrupt).end();
            } else {
                tree.cells("interrupt-parent", {50}).cells("interrupts", interrupt).end();
            }
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
    machine_error outcome;
};

inline error open_error(const bytes& blob) {
    BOOST_CHECK_NO_THROW(device_tree_oracle::check(blob));
    const device_tree_oracle::exact_copy copy(blob);
    return device_tree::open(copy.data(), copy.size()).error;
}

inline machine_error describe_error(const machine_writer& machine) {
    return described_machine(machine.write()).outcome;
}

inline std::uint64_t test_seed() {
    const char* const set = std::getenv("INFLIGHT_SEED");
    return set != nullptr ? std::strtoull(set, nullptr, 0) : std::random_device()();
}

} // namespace inflight::tests
