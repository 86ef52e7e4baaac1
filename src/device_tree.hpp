#pragma once

#include "arch/arch.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace inflight::kernel {

// Why a device tree cannot be read, or why the machine that it describes cannot be used.
enum class device_tree_error : std::uint8_t {
    none,
    // device_tree::open
    no_blob,
    truncated_header,
    bad_magic,
    unsupported_version,
    truncated,
    block_outside,
    reservations_unterminated,
    structure_damaged,
    too_deep,
    // describe
    no_memory,
    memory_damaged,
    reservation_damaged,
    too_many_reservations,
    no_harts,
    hart_damaged,
    duplicate_hart,
    no_timebase,
    no_plic,
    plic_damaged,
    no_supervisor_context,
    device_damaged,
    bootargs_damaged,
    initrd_damaged,
};

// One sentence that names the cause and, where there is one, the remedy. Static storage.
[[nodiscard]] std::string_view text(device_tree_error error) noexcept;

// `size` bytes from physical address `base`; never runs over the end of the 64-bit address space.
struct memory_range {
    std::uint64_t base = 0;
    std::uint64_t size = 0;

    friend bool operator==(const memory_range&, const memory_range&) noexcept = default;
};

// Reader of a flattened device tree (Devicetree Specification 0.4, chapter 5), version 17.
//
// A small value that refers to the blob, as do its nodes and properties and every view that they hand out: the blob
// must stay where it is, unchanged, for as long as any of them is used. `open` checks the whole blob once, so that
// whatever is reached afterwards lies inside it; nothing allocates, nothing recurses and every walk is finite,
// whatever the bytes are. The blob needs no alignment. May be called in every context, from several harts at once.
class device_tree {
  public:
    class property;
    class property_range;
    class node;
    class node_range;
    struct open_result;

    // Nodes nested deeper than this below the root are refused (the machines that we know have four levels).
    static constexpr std::size_t maximum_depth = 15;

    // A tree without any node but a nameless, empty root.
    device_tree() noexcept = default;

    // Checks the blob. Reads nothing outside [blob, blob + maximum_size), whatever its header claims.
    [[nodiscard]] static open_result open(const void* blob, std::size_t maximum_size) noexcept;

    // The blob's length by its header, in bytes: at most the `maximum_size` given to `open`.
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    // Number of entries in the memory reservation block, and one of them (index < count).
    [[nodiscard]] std::size_t reservation_count() const noexcept { return reservation_count_; }
    [[nodiscard]] std::optional<memory_range> reservation(std::size_t index) const noexcept;

    [[nodiscard]] node root() const noexcept;

    // All nodes, depth first, beginning with the root.
    [[nodiscard]] node_range nodes() const noexcept;

    // An absolute path ("/soc/serial@10000000"), or one that begins with a property name of /aliases whose value is
    // an absolute path. A component without unit address also matches the first such node with one.
    [[nodiscard]] std::optional<node> find_by_path(std::string_view path) const noexcept;

    // The first node with that phandle. 0 and 0xffffffff are no phandles.
    [[nodiscard]] std::optional<node> find_by_phandle(std::uint32_t phandle) const noexcept;

    // Calls `visitor(node)` for each node of the tree that is compatible with `name`, depth first.
    template <class Visitor>
    void for_each_compatible(std::string_view name, Visitor&& visitor) const noexcept;

  private:
    struct token;

    [[nodiscard]] std::optional<token> read_token(std::uint32_t offset) const noexcept;
    [[nodiscard]] device_tree_error check_structure() const noexcept;

    const std::uint8_t* blob_ = nullptr;
    std::uint32_t size_ = 0;
    std::uint32_t reservations_ = 0;
    std::uint32_t reservation_count_ = 0;
    std::uint32_t structure_ = 0;
    std::uint32_t structure_size_ = 0;
    std::uint32_t strings_ = 0;
    std::uint32_t strings_size_ = 0; // up to the last NUL: each offset below it begins a terminated string
};

// A property's name and value. Values are big endian; the accessors convert them.
class device_tree::property {
  public:
    property() noexcept = default;
    explicit property(std::string_view name, std::span<const std::uint8_t> value) noexcept
        : name_(name), value_(value) {}

    [[nodiscard]] std::string_view name() const noexcept { return name_; }
    [[nodiscard]] std::span<const std::uint8_t> value() const noexcept { return value_; }

    // The 32-bit cell at that index, if the value reaches so far.
    [[nodiscard]] std::optional<std::uint32_t> cell(std::size_t index) const noexcept;

    // The whole value as a number: exactly one cell or two.
    [[nodiscard]] std::optional<std::uint64_t> number() const noexcept;

    // The index-th string of the list, without its NUL. A string without NUL inside the value is none.
    [[nodiscard]] std::optional<std::string_view> string(std::size_t index = 0) const noexcept;

    // Is `wanted` one of the strings of the list?
    [[nodiscard]] bool contains(std::string_view wanted) const noexcept;

  private:
    std::string_view name_;
    std::span<const std::uint8_t> value_;
};

// A node: its place in the structure block and those of its ancestors.
class device_tree::node {
  public:
    // The full name ("serial@10000000"); empty for the root.
    [[nodiscard]] std::string_view name() const noexcept;
    // The name before '@'.
    [[nodiscard]] std::string_view base_name() const noexcept;
    // What follows '@', or empty.
    [[nodiscard]] std::string_view unit_address() const noexcept;

    // 0 for the root.
    [[nodiscard]] std::size_t depth() const noexcept { return depth_; }

    [[nodiscard]] std::optional<node> parent() const noexcept;
    [[nodiscard]] std::optional<node> first_child() const noexcept;
    [[nodiscard]] std::optional<node> next_sibling() const noexcept;
    // The next node of the whole tree, depth first.
    [[nodiscard]] std::optional<node> next() const noexcept;
    [[nodiscard]] node_range children() const noexcept;
    // The first child with that name; `wanted` without '@' also matches a name with unit address.
    [[nodiscard]] std::optional<node> child(std::string_view wanted) const noexcept;

    [[nodiscard]] property_range properties() const noexcept;
    // The first property with that name.
    [[nodiscard]] std::optional<property> find(std::string_view wanted) const noexcept;
    // The whole value of a property as a number (one cell or two).
    [[nodiscard]] std::optional<std::uint64_t> number(std::string_view wanted) const noexcept;
    // The first string of a property.
    [[nodiscard]] std::optional<std::string_view> string(std::string_view wanted) const noexcept;

    // Is `wanted` one of the strings of "compatible"?
    [[nodiscard]] bool compatible(std::string_view wanted) const noexcept;
    // "status" is absent, "okay" or "ok".
    [[nodiscard]] bool okay() const noexcept;
    // 0 if the node has none.
    [[nodiscard]] std::uint32_t phandle() const noexcept;

    // #address-cells and #size-cells for the node's children: 2 and 1 where absent, nothing if damaged.
    [[nodiscard]] std::optional<std::uint32_t> address_cells() const noexcept;
    [[nodiscard]] std::optional<std::uint32_t> size_cells() const noexcept;
    // #interrupt-cells of this controller; nothing if it is absent or damaged.
    [[nodiscard]] std::optional<std::uint32_t> interrupt_cells() const noexcept;

    // Number of entries in "reg"; 0 if it is absent, if its length is no multiple of an entry, or if an address or
    // size has more cells than two (PCI) or an address none.
    [[nodiscard]] std::size_t reg_count() const noexcept;
    // An entry of "reg" as it stands there, in the address space of the parent: what a hart id needs.
    [[nodiscard]] std::optional<memory_range> bus_reg(std::size_t index) const noexcept;
    // An entry of "reg" as physical address: translated by the "ranges" of all parents. Nothing if a parent has no
    // "ranges", or if none of its entries holds the whole range.
    [[nodiscard]] std::optional<memory_range> reg(std::size_t index) const noexcept;

    // The controller to which "interrupts" refers: by the "interrupt-parent" of this node or of its nearest ancestor
    // that has one, or the nearest ancestor that is itself a controller.
    [[nodiscard]] std::optional<node> interrupt_parent() const noexcept;
    // An entry of "interrupts", where the controller's #interrupt-cells is 1 (as the PLIC's).
    [[nodiscard]] std::optional<std::uint32_t> interrupt(std::size_t index) const noexcept;

    // Calls `visitor(index, controller, cells)` - std::size_t, const node&, const property& - for each entry of
    // "interrupts-extended". Entries with phandle 0 are empty: they count, but are not visited. Returns whether the
    // property is present and whole; false as well, after the entries before it, at an entry whose phandle is
    // unknown or whose cells are cut off.
    template <class Visitor>
    bool for_each_extended_interrupt(Visitor&& visitor) const noexcept;

    // The same node of the same blob?
    bool operator==(const node& other) const noexcept {
        return tree_.blob_ == other.tree_.blob_ && path_[depth_] == other.path_[other.depth_];
    }

  private:
    friend class device_tree;
    struct reg_layout;

    [[nodiscard]] std::optional<token> begin_token() const noexcept;
    [[nodiscard]] std::optional<std::uint32_t> cells(std::string_view wanted, std::uint32_t absent) const noexcept;
    [[nodiscard]] std::optional<memory_range> translate(const memory_range& range) const noexcept;

    device_tree tree_;
    std::array<std::uint32_t, maximum_depth + 1> path_{}; // offsets of the ancestors and, at [depth_], of the node
    std::uint32_t depth_ = 0;
};

// The outcome of `device_tree::open`: `tree` is the empty one unless `error` is none.
struct device_tree::open_result {
    device_tree tree;
    device_tree_error error = device_tree_error::none;

    explicit operator bool() const noexcept { return error == device_tree_error::none; }
};

// For range-based for.
class device_tree::node_range {
  public:
    struct end_marker {};

    class iterator {
      public:
        iterator(const std::optional<node>& current, bool whole_tree) noexcept
            : current_(current), whole_tree_(whole_tree) {}
        const node& operator*() const noexcept { return *current_; }
        iterator& operator++() noexcept {
            current_ = whole_tree_ ? current_->next() : current_->next_sibling();
            return *this;
        }
        bool operator==(end_marker) const noexcept { return !current_; }

      private:
        std::optional<node> current_;
        bool whole_tree_;
    };

    node_range(const std::optional<node>& first, bool whole_tree) noexcept : first_(first, whole_tree) {}
    [[nodiscard]] iterator begin() const noexcept { return first_; }
    [[nodiscard]] end_marker end() const noexcept { return {}; }

  private:
    iterator first_;
};

// For range-based for.
class device_tree::property_range {
  public:
    struct end_marker {};

    class iterator {
      public:
        iterator(const device_tree& tree, std::uint32_t offset) noexcept : tree_(tree), offset_(offset) { ++*this; }
        const property& operator*() const noexcept { return *current_; }
        iterator& operator++() noexcept;
        bool operator==(end_marker) const noexcept { return !current_; }

      private:
        device_tree tree_;
        std::uint32_t offset_; // of the token behind the current property
        std::optional<property> current_;
    };

    explicit property_range(const iterator& first) noexcept : first_(first) {}
    [[nodiscard]] iterator begin() const noexcept { return first_; }
    [[nodiscard]] end_marker end() const noexcept { return {}; }

  private:
    iterator first_;
};

template <class Visitor>
void device_tree::for_each_compatible(std::string_view name, Visitor&& visitor) const noexcept {
    for (const node& candidate : nodes()) {
        if (candidate.compatible(name)) {
            visitor(candidate);
        }
    }
}

template <class Visitor>
bool device_tree::node::for_each_extended_interrupt(Visitor&& visitor) const noexcept {
    constexpr std::string_view property_name = "interrupts-extended";
    const auto list = find(property_name);
    if (!list) {
        return false;
    }
    std::span<const std::uint8_t> rest = list->value();
    std::optional<node> controller;
    std::optional<std::uint32_t> cell_count;
    for (std::size_t index = 0; !rest.empty(); ++index) {
        const auto handle = property(property_name, rest).cell(0);
        if (!handle) {
            return false;
        }
        rest = rest.subspan(sizeof(std::uint32_t));
        if (*handle == 0) {
            continue;
        }
        if (!controller || controller->phandle() != *handle) { // neighbours mostly share their controller
            controller = tree_.find_by_phandle(*handle);
            cell_count = controller ? controller->interrupt_cells() : std::nullopt;
        }
        if (!cell_count || *cell_count > rest.size() / sizeof(std::uint32_t)) {
            return false;
        }
        const std::size_t length = *cell_count * sizeof(std::uint32_t);
        visitor(index, *controller, property(property_name, rest.first(length)));
        rest = rest.subspan(length);
    }
    return true;
}

// A fixed array that counts what it had no room for.
template <class Item, std::size_t capacity>
class bounded_list {
  public:
    void push_back(const Item& item) noexcept {
        if (size_ < capacity) {
            items_[size_++] = item;
        } else {
            ++dropped_;
        }
    }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    // How many items were pushed beyond the capacity.
    [[nodiscard]] std::size_t dropped() const noexcept { return dropped_; }
    [[nodiscard]] Item& operator[](std::size_t index) noexcept { return items_[index]; }
    [[nodiscard]] const Item& operator[](std::size_t index) const noexcept { return items_[index]; }
    [[nodiscard]] Item* begin() noexcept { return items_.data(); }
    [[nodiscard]] Item* end() noexcept { return items_.data() + size_; }
    [[nodiscard]] const Item* begin() const noexcept { return items_.data(); }
    [[nodiscard]] const Item* end() const noexcept { return items_.data() + size_; }

  private:
    std::array<Item, capacity> items_{};
    std::size_t size_ = 0;
    std::size_t dropped_ = 0;
};

struct hart_description {
    std::uint64_t id = 0;                      // mhartid
    std::string_view isa;                      // "riscv,isa"; empty if absent
    device_tree::property isa_extensions;      // "riscv,isa-extensions"; empty if absent
    std::uint32_t interrupt_controller = 0;    // phandle of its "riscv,cpu-intc"; 0: none
    std::optional<std::uint32_t> plic_context; // of its supervisor mode, at machine_description::plic
    std::uint64_t sswi_register = 0; // physical address of its SETSSIP word; 0: the machine has no ACLINT SSWI

    // Does the hart announce that extension ("c", "zba", "sstc")? Lower case; versions in the ISA string are ignored
    // and "g" stands for what it abbreviates.
    [[nodiscard]] bool has_extension(std::string_view name) const noexcept;
};

struct plic_description {
    memory_range registers;
    std::uint32_t source_count = 0; // "riscv,ndev": sources are 1 .. source_count
    std::size_t controllers = 0;    // PLICs in the tree; those of further NUMA nodes are not described
};

struct virtio_slot {
    memory_range registers;
    std::uint32_t interrupt = 0; // source at machine_description::plic; 0, which no PLIC source has: none there
};

struct uart_description {
    memory_range registers;
    std::uint32_t register_shift = 0; // register n is at base + (n << register_shift)
    std::uint32_t interrupt = 0;      // as virtio_slot::interrupt
    bool is_standard_output = false;  // /chosen/stdout-path names it
};

// What the kernel wants to know of the machine. Views refer to the blob.
struct machine_description {
    bounded_list<memory_range, 8> memory;        // in tree order, empty banks left out
    bounded_list<memory_range, 32> reservations; // reservation block and /reserved-memory; never drops: an error
    bounded_list<hart_description, arch::most_harts> harts; // in tree order, disabled ones left out
    std::uint64_t timebase_frequency = 0;                   // Hz, of the time CSR
    plic_description plic;                                  // the one that serves the virtio slots
    bounded_list<virtio_slot, 32> virtio;                   // every enabled "virtio,mmio", by ascending address
    std::optional<uart_description> uart;      // ns16550a: the standard output if it is one, else the first
    std::optional<memory_range> test_finisher; // "sifive,test0" or "sifive,test1"
    std::optional<memory_range> sswi;          // the first "riscv,aclint-sswi"; see hart_description
    std::string_view bootargs;                 // empty if absent; a NUL follows it
    std::optional<memory_range> initrd;
};

// Fills `machine`, which must be as its default constructor made it, from the tree. Whatever exceeds one of its lists
// is counted in `dropped()`. On an error the description is incomplete and must not be used, except for `uart` and
// `test_finisher`, which are looked for first so that the error can be told.
[[nodiscard]] device_tree_error describe(const device_tree& tree, machine_description& machine) noexcept;

} // namespace inflight::kernel
