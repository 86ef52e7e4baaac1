#pragma once

#include "src/kernel/memory_range.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace inflight::kernel {

// Why a device tree cannot be read.
enum class device_tree_error : std::uint8_t {
    none,
    no_blob,
    truncated_header,
    bad_magic,
    unsupported_version,
    truncated,
    block_outside,
    reservations_unterminated,
    structure_damaged,
    too_deep,
};

// One sentence that names the cause and, where there is one, the remedy. Static storage.
[[nodiscard]] std::string_view text(device_tree_error error) noexcept;

// Reader of a flattened device tree (Devicetree Specification 0.4, chapter 5), version 17.
//
// A small value that refers to the blob, as do its nodes, its properties and the views that they return. The blob must
// not move or change while any of them is used. `open` checks the whole blob once, so that later accesses stay within
// it. Nothing allocates, nothing recurses and every walk is finite, whatever the bytes are. The blob needs no
// alignment. Any context, and several harts concurrently.
class device_tree {
  public:
    class property;
    class property_range;
    class node;
    class node_range;
    struct interrupt_controller;
    struct open_result;

    // Deeper nesting below the root is refused (known machines have four levels).
    static constexpr std::size_t maximum_depth = 15;

    // A tree with only an empty root.
    device_tree() noexcept = default;

    // Checks the blob. Reads nothing outside [blob, blob + maximum_size), whatever its header claims.
    [[nodiscard]] static open_result open(const void* blob, std::size_t maximum_size) noexcept;

    // The length of the blob in bytes, by its header: at most the `maximum_size` of `open`.
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    // The number of entries in the memory reservation block, and one of them (index < count).
    [[nodiscard]] std::size_t reservation_count() const noexcept { return reservation_count_; }
    [[nodiscard]] std::optional<memory_range> reservation(std::size_t index) const noexcept;

    [[nodiscard]] node root() const noexcept;

    // All nodes, depth first, from the root.
    [[nodiscard]] node_range nodes() const noexcept;

    // Finds a node by an absolute path ("/soc/serial@10000000"), or by a path that starts with a property name of
    // /aliases. A component without a unit address also matches the first such node that has one.
    [[nodiscard]] std::optional<node> find_by_path(std::string_view path) const noexcept;

    // Returns the first node with that phandle. 0 and 0xffffffff are no phandles.
    [[nodiscard]] std::optional<node> find_by_phandle(std::uint32_t phandle) const noexcept;

    // Calls `visitor(node)` for each node of the tree that is compatible with `name`, depth first.
    template <class Visitor>
    void for_each_compatible(std::string_view name, Visitor&& visitor) const noexcept;

  private:
    struct token;

    [[nodiscard]] std::optional<token> read_token(std::uint32_t offset) const noexcept;
    [[nodiscard]] std::optional<std::string_view> name_if(const token& found, std::string_view wanted) const noexcept;
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

    // The 32-bit cell at that index, if the value is long enough.
    [[nodiscard]] std::optional<std::uint32_t> cell(std::size_t index) const noexcept;

    // The value as a number, if it has exactly one or two cells.
    [[nodiscard]] std::optional<std::uint64_t> number() const noexcept;

    // The index-th string of the list, without its NUL. A string that is not terminated within the value does not
    // count.
    [[nodiscard]] std::optional<std::string_view> string(std::size_t index = 0) const noexcept;

    // Returns whether `wanted` is one of the strings.
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
    // The first child with that name; a `wanted` without '@' also matches a name with a unit address.
    [[nodiscard]] std::optional<node> child(std::string_view wanted) const noexcept;

    [[nodiscard]] property_range properties() const noexcept;
    // The first property with that name.
    [[nodiscard]] std::optional<property> find(std::string_view wanted) const noexcept;
    // The value of a property as a number, if it has exactly one or two cells.
    [[nodiscard]] std::optional<std::uint64_t> number(std::string_view wanted) const noexcept;
    // The first string of a property.
    [[nodiscard]] std::optional<std::string_view> string(std::string_view wanted) const noexcept;

    // Returns whether `wanted` is one of the strings of "compatible".
    [[nodiscard]] bool compatible(std::string_view wanted) const noexcept;
    // Returns whether "status" is absent, "okay" or "ok".
    [[nodiscard]] bool okay() const noexcept;
    // 0 if the node has none.
    [[nodiscard]] std::uint32_t phandle() const noexcept;

    // #address-cells and #size-cells for the node's children: 2 and 1 where absent, nothing if damaged.
    [[nodiscard]] std::optional<std::uint32_t> address_cells() const noexcept;
    [[nodiscard]] std::optional<std::uint32_t> size_cells() const noexcept;
    // #interrupt-cells of this controller; nothing if it is absent or damaged.
    [[nodiscard]] std::optional<std::uint32_t> interrupt_cells() const noexcept;

    // The number of entries in "reg"; 0 if it is absent, if its length is not a multiple of an entry, if an address or
    // a size has more than two cells (PCI), or if an address has none.
    [[nodiscard]] std::size_t reg_count() const noexcept;
    // An entry of "reg" in the address space of the parent, as for a hart id.
    [[nodiscard]] std::optional<memory_range> bus_reg(std::size_t index) const noexcept;
    // An entry of "reg" as a physical address, translated by the "ranges" of all parents. Nothing if a parent has no
    // "ranges", or if no entry of it contains the whole range.
    [[nodiscard]] std::optional<memory_range> reg(std::size_t index) const noexcept;
    // A range in the address space of the parent as a physical address, translated as for reg().
    [[nodiscard]] std::optional<memory_range> physical(const memory_range& in_parent) const noexcept;

    // The controller of "interrupts": the "interrupt-parent" of this node or of its nearest ancestor that has one, or
    // the nearest ancestor that is itself a controller.
    [[nodiscard]] std::optional<node> interrupt_parent() const noexcept;
    // The first cell of an entry of "interrupts". For a PLIC this is the source, whether #interrupt-cells is 1 or 2
    // (source and trigger).
    [[nodiscard]] std::optional<std::uint32_t> interrupt(std::size_t index) const noexcept;
    // The same if `controller` is the controller of "interrupts", else nothing. Unlike interrupt(), it does not search
    // the tree.
    [[nodiscard]] std::optional<std::uint32_t> interrupt_at(const interrupt_controller& controller,
                                                            std::size_t index) const noexcept;
    // This node as a controller for interrupt_at().
    [[nodiscard]] interrupt_controller as_interrupt_controller() const noexcept;

    // Calls `visitor(index, controller, cells)` - std::size_t, const node&, const property& - for each entry of
    // "interrupts-extended". Entries with phandle 0 are empty: they count, but are not visited. Returns false if the
    // property is absent, or at the first entry whose phandle is unknown or whose cells are truncated.
    template <class Visitor>
    bool for_each_extended_interrupt(Visitor&& visitor) const noexcept;

    // Returns whether both are the same node of the same blob.
    bool operator==(const node& other) const noexcept {
        return tree_.blob_ == other.tree_.blob_ && path_[depth_] == other.path_[other.depth_];
    }

  private:
    friend class device_tree;
    struct reg_layout;
    struct reg_list;
    struct interrupt_link;

    [[nodiscard]] std::optional<token> begin_token() const noexcept;
    [[nodiscard]] std::optional<std::uint32_t> cells(std::string_view wanted, std::uint32_t absent) const noexcept;
    [[nodiscard]] std::optional<reg_list> find_reg() const noexcept;
    [[nodiscard]] std::optional<memory_range> translate(const memory_range& range) const noexcept;
    [[nodiscard]] interrupt_link find_interrupt_link() const noexcept;
    [[nodiscard]] static std::optional<std::uint32_t> interrupt_of(const property& list, std::uint32_t cells,
                                                                   std::size_t index) noexcept;

    device_tree tree_;
    std::array<std::uint32_t, maximum_depth + 1> path_{}; // offsets of the ancestors and, at [depth_], of the node
    std::uint32_t depth_ = 0;
    std::uint32_t body_ = 0; // offset of what follows the node's name: its properties and children
};

// A controller, with what a device refers to it by.
struct device_tree::interrupt_controller {
    node self;
    std::uint32_t phandle = 0; // 0: it has none, or find_by_phandle() returns another node
    std::uint32_t cells = 0;   // its #interrupt-cells; 0: absent or damaged
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
        std::uint32_t offset_; // of the token after the current property
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
        if (!controller || controller->phandle() != *handle) { // consecutive entries usually have the same controller
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

} // namespace inflight::kernel
