#include "src/kernel/device_tree.hpp"

#include "src/kernel/cut.hpp"

#include <cstring>

namespace inflight::kernel {
namespace {

using namespace std::string_view_literals;

constexpr std::uint32_t magic = 0xd00dfeed;
constexpr std::uint32_t supported_version = 17;
constexpr std::size_t header_size = 40;
constexpr std::size_t reservation_size = 16;
constexpr std::size_t cell_size = 4;

std::uint32_t load_cell(const std::uint8_t* bytes) noexcept {
    return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 | std::uint32_t{bytes[2]} << 8 |
           std::uint32_t{bytes[3]};
}

// `count` cells (0, 1 or 2) as one number.
std::uint64_t load_cells(const std::uint8_t* bytes, std::uint32_t count) noexcept {
    std::uint64_t value = 0;
    for (std::uint32_t index = 0; index < count; ++index) {
        value = value << 32 | load_cell(bytes + index * cell_size);
    }
    return value;
}

std::string_view characters(const std::uint8_t* bytes, std::size_t size) noexcept {
    return {reinterpret_cast<const char*>(bytes), size};
}

bool inside(std::uint64_t offset, std::uint64_t size, std::uint64_t total) noexcept {
    return offset >= header_size && offset <= total && size <= total - offset;
}

} // namespace

enum class token_kind : std::uint32_t { begin_node = 1, end_node = 2, property = 3, nop = 4, end = 9 };

struct device_tree::token {
    token_kind kind;
    std::uint32_t offset;               // of the token itself, in the structure block
    std::uint32_t next;                 // of what follows it
    std::uint32_t name;                 // of a property, in the strings block
    std::span<const std::uint8_t> data; // name of a node, value of a property
};

// Returns the token at that offset, after any NOPs; nothing if the block ends early or is damaged. The sums cannot
// wrap, because the blob is smaller than 2 GiB. Inlined, because walks are most of the cost of reading a tree.
[[gnu::always_inline]] inline std::optional<device_tree::token>
device_tree::read_token(std::uint32_t offset) const noexcept {
    const std::uint8_t* const structure = blob_ + structure_;
    const auto room = [&](std::uint32_t from) {
        return from < structure_size_ ? structure_size_ - from : 0;
    };
    while (room(offset) >= cell_size) {
        token result{token_kind{load_cell(structure + offset)}, offset, offset + 4, 0, {}};
        switch (result.kind) {
        case token_kind::nop: offset = result.next; continue;
        case token_kind::end_node:
        case token_kind::end: return result;
        case token_kind::begin_node: {
            const std::string_view rest = characters(structure + result.next, room(result.next));
            const std::size_t length = find_character(rest, '\0');
            if (length == rest.size()) {
                return std::nullopt;
            }
            result.data = {structure + result.next, length};
            result.next += static_cast<std::uint32_t>(length) + 1;
            break;
        }
        case token_kind::property: {
            if (room(result.next) < 2 * cell_size) {
                return std::nullopt;
            }
            const std::uint32_t length = load_cell(structure + result.next);
            result.name = load_cell(structure + result.next + 4);
            result.next += 8;
            if (length > room(result.next) || result.name >= strings_size_) {
                return std::nullopt;
            }
            result.data = {structure + result.next, length};
            result.next += length;
            break;
        }
        default: return std::nullopt;
        }
        result.next = (result.next + 3) & ~std::uint32_t{3};
        return result;
    }
    return std::nullopt;
}

// Returns the name of that property in the blob, if it is `wanted`.
[[gnu::always_inline]] inline std::optional<std::string_view>
device_tree::name_if(const token& found, std::string_view wanted) const noexcept {
    const std::uint8_t* const name = blob_ + strings_ + found.name;
    const bool same = wanted.size() < strings_size_ - found.name && name[wanted.size()] == 0 &&
                      std::memcmp(name, wanted.data(), wanted.size()) == 0;
    return same ? std::optional(characters(name, wanted.size())) : std::nullopt;
}

// Checks that there is one root, that nodes are closed in order, that properties precede children, that nothing is
// nested too deep, and that the block ends.
device_tree_error device_tree::check_structure() const noexcept {
    std::size_t open_nodes = 0;
    bool root_seen = false;
    bool property_allowed = false;
    for (auto current = read_token(0); current; current = read_token(current->next)) {
        switch (current->kind) {
        case token_kind::begin_node:
            if (open_nodes == 0 && (root_seen || !current->data.empty())) { // there is one root, without a name
                return device_tree_error::structure_damaged;
            }
            if (open_nodes > maximum_depth) {
                return device_tree_error::too_deep;
            }
            ++open_nodes;
            root_seen = property_allowed = true;
            break;
        case token_kind::property:
            if (!property_allowed) {
                return device_tree_error::structure_damaged;
            }
            break;
        case token_kind::end_node:
            if (open_nodes == 0) {
                return device_tree_error::structure_damaged;
            }
            --open_nodes;
            property_allowed = false;
            break;
        default: return root_seen && open_nodes == 0 ? device_tree_error::none : device_tree_error::structure_damaged;
        }
    }
    return device_tree_error::structure_damaged;
}

device_tree::open_result device_tree::open(const void* blob, std::size_t maximum_size) noexcept {
    const auto failed = [](device_tree_error error) {
        return open_result{device_tree(), error};
    };
    if (blob == nullptr) {
        return failed(device_tree_error::no_blob);
    }
    if (maximum_size < header_size) {
        return failed(device_tree_error::truncated_header);
    }
    const auto* const bytes = static_cast<const std::uint8_t*>(blob);
    const auto field = [&](std::size_t index) {
        return load_cell(bytes + index * cell_size);
    };
    if (field(0) != magic) {
        return failed(device_tree_error::bad_magic);
    }
    if (field(5) < supported_version || field(6) > supported_version) { // version, last compatible version
        return failed(device_tree_error::unsupported_version);
    }
    device_tree tree;
    tree.blob_ = bytes;
    tree.size_ = field(1);
    tree.structure_ = field(2);
    tree.strings_ = field(3);
    tree.reservations_ = field(4);
    tree.strings_size_ = field(8);
    tree.structure_size_ = field(9);
    if (tree.size_ > maximum_size || tree.size_ < header_size || tree.size_ > INT32_MAX) {
        return failed(device_tree_error::truncated);
    }
    if (!inside(tree.structure_, tree.structure_size_, tree.size_) ||
        !inside(tree.strings_, tree.strings_size_, tree.size_) || !inside(tree.reservations_, 0, tree.size_)) {
        return failed(device_tree_error::block_outside);
    }
    while (tree.strings_size_ > 0 && bytes[tree.strings_ + tree.strings_size_ - 1] != 0) {
        --tree.strings_size_;
    }
    std::size_t offset = tree.reservations_;
    for (;; offset += reservation_size, ++tree.reservation_count_) {
        if (!inside(offset, reservation_size, tree.size_)) {
            return failed(device_tree_error::reservations_unterminated);
        }
        if (load_cells(bytes + offset + 8, 2) == 0) {
            break;
        }
    }
    if (const device_tree_error error = tree.check_structure(); error != device_tree_error::none) {
        return failed(error);
    }
    return {tree, device_tree_error::none};
}

std::optional<memory_range> device_tree::reservation(std::size_t index) const noexcept {
    if (index >= reservation_count_) {
        return std::nullopt;
    }
    const std::uint8_t* const entry = blob_ + reservations_ + index * reservation_size;
    return memory_range{load_cells(entry, 2), load_cells(entry + 8, 2)};
}

device_tree::node device_tree::root() const noexcept {
    node result;
    result.tree_ = *this;
    if (const auto first = read_token(0)) {
        result.path_[0] = first->offset;
        result.body_ = first->next;
    }
    return result;
}

device_tree::node_range device_tree::nodes() const noexcept {
    return {root(), true};
}

std::optional<device_tree::node> device_tree::find_by_path(std::string_view path) const noexcept {
    std::optional<node> result = root();
    if (path.empty()) {
        return std::nullopt;
    }
    std::string_view rest = path;
    std::string_view alias_rest;
    if (path[0] != '/') {
        const std::string_view alias = cut(rest, '/');
        const auto aliases = result->child("aliases"sv);
        const auto target = aliases ? aliases->string(alias) : std::nullopt;
        if (!target || target->empty() || (*target)[0] != '/') {
            return std::nullopt;
        }
        alias_rest = rest;
        rest = *target;
    }
    for (const std::string_view part : {rest, alias_rest}) {
        for (std::string_view components = part; result && !components.empty();) {
            const std::string_view component = cut(components, '/');
            if (!component.empty()) {
                result = result->child(component);
            }
        }
    }
    return result;
}

std::optional<device_tree::node> device_tree::find_by_phandle(std::uint32_t phandle) const noexcept {
    if (phandle == 0 || phandle == UINT32_MAX) {
        return std::nullopt;
    }
    for (const node& candidate : nodes()) {
        if (candidate.phandle() == phandle) {
            return candidate;
        }
    }
    return std::nullopt;
}

std::optional<std::uint32_t> device_tree::property::cell(std::size_t index) const noexcept {
    if (index >= value_.size() / cell_size) {
        return std::nullopt;
    }
    return load_cell(value_.data() + index * cell_size);
}

std::optional<std::uint64_t> device_tree::property::number() const noexcept {
    if (value_.size() != cell_size && value_.size() != 2 * cell_size) {
        return std::nullopt;
    }
    return load_cells(value_.data(), static_cast<std::uint32_t>(value_.size() / cell_size));
}

std::optional<std::string_view> device_tree::property::string(std::size_t index) const noexcept {
    std::string_view rest = characters(value_.data(), value_.size());
    for (;; --index) {
        const std::size_t length = find_character(rest, '\0');
        if (length == rest.size()) {
            return std::nullopt;
        }
        if (index == 0) {
            return std::string_view(rest.data(), length);
        }
        rest.remove_prefix(length + 1);
    }
}

bool device_tree::property::contains(std::string_view wanted) const noexcept {
    std::string_view rest = characters(value_.data(), value_.size());
    for (;;) {
        const std::size_t length = find_character(rest, '\0');
        if (length == rest.size()) {
            return false;
        }
        if (std::string_view(rest.data(), length) == wanted) {
            return true;
        }
        rest.remove_prefix(length + 1);
    }
}

device_tree::property_range::iterator& device_tree::property_range::iterator::operator++() noexcept {
    const auto current = tree_.read_token(offset_);
    if (!current || current->kind != token_kind::property) {
        current_.reset();
        return *this;
    }
    offset_ = current->next;
    const std::string_view names = characters(tree_.blob_ + tree_.strings_, tree_.strings_size_);
    std::string_view name(names.data() + current->name, names.size() - current->name);
    current_.emplace(cut(name, '\0'), current->data);
    return *this;
}

std::optional<device_tree::token> device_tree::node::begin_token() const noexcept {
    return tree_.read_token(path_[depth_]);
}

std::string_view device_tree::node::name() const noexcept {
    const auto begin = begin_token();
    return begin ? characters(begin->data.data(), begin->data.size()) : std::string_view();
}

std::string_view device_tree::node::base_name() const noexcept {
    std::string_view rest = name();
    return cut(rest, '@');
}

std::string_view device_tree::node::unit_address() const noexcept {
    std::string_view rest = name();
    cut(rest, '@');
    return rest;
}

std::optional<device_tree::node> device_tree::node::parent() const noexcept {
    if (depth_ == 0) {
        return std::nullopt;
    }
    node result = *this;
    --result.depth_;
    const auto begin = result.begin_token();
    result.body_ = begin ? begin->next : 0;
    return result;
}

std::optional<device_tree::node> device_tree::node::first_child() const noexcept {
    auto result = next();
    return result && result->depth_ > depth_ ? result : std::nullopt;
}

std::optional<device_tree::node> device_tree::node::next_sibling() const noexcept {
    std::size_t open_nodes = 1; // this node and those below it
    for (auto current = tree_.read_token(body_); current; current = tree_.read_token(current->next)) {
        if (current->kind == token_kind::begin_node) {
            if (open_nodes == 0) {
                node result = *this;
                result.path_[depth_] = current->offset;
                result.body_ = current->next;
                return result;
            }
            ++open_nodes;
        } else if (current->kind != token_kind::property && open_nodes-- == 0) { // end of the parent or of the tree
            break;
        }
    }
    return std::nullopt;
}

std::optional<device_tree::node> device_tree::node::next() const noexcept {
    std::uint32_t depth = depth_;
    for (auto current = tree_.read_token(body_); current; current = tree_.read_token(current->next)) {
        if (current->kind == token_kind::property) {
            continue;
        }
        if (current->kind == token_kind::begin_node && depth < maximum_depth) {
            node result = *this;
            result.path_[++depth] = current->offset;
            result.depth_ = depth;
            result.body_ = current->next;
            return result;
        }
        if (current->kind != token_kind::end_node || depth == 0) {
            break;
        }
        --depth;
    }
    return std::nullopt;
}

device_tree::node_range device_tree::node::children() const noexcept {
    return {first_child(), false};
}

std::optional<device_tree::node> device_tree::node::child(std::string_view wanted) const noexcept {
    const bool whole_name = find_character(wanted, '@') < wanted.size();
    for (const node& candidate : children()) {
        if (candidate.name() == wanted || (!whole_name && candidate.base_name() == wanted)) {
            return candidate;
        }
    }
    return std::nullopt;
}

device_tree::property_range device_tree::node::properties() const noexcept {
    return property_range({tree_, body_});
}

std::optional<device_tree::property> device_tree::node::find(std::string_view wanted) const noexcept {
    for (auto current = tree_.read_token(body_); current && current->kind == token_kind::property;
         current = tree_.read_token(current->next)) {
        if (const auto name = tree_.name_if(*current, wanted)) {
            return property(*name, current->data);
        }
    }
    return std::nullopt;
}

std::optional<std::uint64_t> device_tree::node::number(std::string_view wanted) const noexcept {
    const auto found = find(wanted);
    return found ? found->number() : std::nullopt;
}

std::optional<std::string_view> device_tree::node::string(std::string_view wanted) const noexcept {
    const auto found = find(wanted);
    return found ? found->string() : std::nullopt;
}

bool device_tree::node::compatible(std::string_view wanted) const noexcept {
    const auto found = find("compatible"sv);
    return found && found->contains(wanted);
}

bool device_tree::node::okay() const noexcept {
    const auto found = find("status"sv);
    if (!found) {
        return true;
    }
    const auto status = found->string();
    return status && (*status == "okay"sv || *status == "ok"sv);
}

std::uint32_t device_tree::node::phandle() const noexcept {
    for (const std::string_view name : {"phandle"sv, "linux,phandle"sv}) {
        if (const auto found = find(name); found && found->value().size() == cell_size) {
            return *found->cell(0);
        }
    }
    return 0;
}

std::optional<std::uint32_t> device_tree::node::cells(std::string_view wanted, std::uint32_t absent) const noexcept {
    const auto found = find(wanted);
    if (!found) {
        return absent;
    }
    return found->value().size() == cell_size ? found->cell(0) : std::nullopt;
}

std::optional<std::uint32_t> device_tree::node::address_cells() const noexcept {
    return cells("#address-cells"sv, 2);
}

std::optional<std::uint32_t> device_tree::node::size_cells() const noexcept {
    return cells("#size-cells"sv, 1);
}

std::optional<std::uint32_t> device_tree::node::interrupt_cells() const noexcept {
    constexpr std::uint32_t absent = UINT32_MAX;
    const auto count = cells("#interrupt-cells"sv, absent);
    return count && *count != absent ? count : std::nullopt;
}

// Returns the layout of a list of addresses and sizes on the bus `parent`, if a memory_range can hold them.
struct device_tree::node::reg_layout {
    std::uint32_t address_cells;
    std::uint32_t size_cells;

    [[nodiscard]] static std::optional<reg_layout> of(const node& bus) noexcept {
        const auto address = bus.address_cells();
        const auto size = bus.size_cells();
        if (!address || !size || *address < 1 || *address > 2 || *size > 2) {
            return std::nullopt;
        }
        return reg_layout{*address, *size};
    }
    [[nodiscard]] std::size_t entry_size() const noexcept { return (address_cells + size_cells) * cell_size; }
};

// The number of complete entries of that layout.
struct device_tree::node::reg_list {
    reg_layout layout;
    std::span<const std::uint8_t> entries;
};

std::optional<device_tree::node::reg_list> device_tree::node::find_reg() const noexcept {
    const auto found = find("reg"sv);
    const auto bus = found ? parent() : std::nullopt;
    const auto layout = bus ? reg_layout::of(*bus) : std::nullopt;
    if (!layout || found->value().size() % layout->entry_size() != 0) {
        return std::nullopt;
    }
    return reg_list{*layout, found->value()};
}

std::size_t device_tree::node::reg_count() const noexcept {
    const auto list = find_reg();
    return list ? list->entries.size() / list->layout.entry_size() : 0;
}

std::optional<memory_range> device_tree::node::bus_reg(std::size_t index) const noexcept {
    const auto list = find_reg();
    if (!list || index >= list->entries.size() / list->layout.entry_size()) {
        return std::nullopt;
    }
    const reg_layout& layout = list->layout;
    const std::uint8_t* const entry = list->entries.data() + index * layout.entry_size();
    const memory_range range{load_cells(entry, layout.address_cells),
                             load_cells(entry + layout.address_cells * cell_size, layout.size_cells)};
    return wraps(range) ? std::nullopt : std::optional(range);
}

std::optional<memory_range> device_tree::node::reg(std::size_t index) const noexcept {
    const auto range = bus_reg(index);
    return range ? physical(*range) : std::nullopt;
}

std::optional<memory_range> device_tree::node::physical(const memory_range& in_parent) const noexcept {
    std::optional<memory_range> range = in_parent;
    for (auto bus = parent(); range && bus && bus->depth_ > 0; bus = bus->parent()) {
        range = bus->translate(*range);
    }
    return range;
}

// Translates from the address space of this node's children to that of this node.
std::optional<memory_range> device_tree::node::translate(const memory_range& range) const noexcept {
    const auto ranges = find("ranges"sv);
    if (!ranges) {
        return std::nullopt;
    }
    std::span<const std::uint8_t> rest = ranges->value();
    if (rest.empty()) {
        return range;
    }
    const auto below = reg_layout::of(*this);
    const auto above = reg_layout::of(*parent());
    if (!below || !above || below->size_cells == 0) {
        return std::nullopt;
    }
    const std::size_t parent_at = below->address_cells * cell_size;
    const std::size_t size_at = parent_at + above->address_cells * cell_size;
    const std::size_t entry_size = size_at + below->size_cells * cell_size;
    for (; rest.size() >= entry_size; rest = rest.subspan(entry_size)) {
        const std::uint64_t base = load_cells(rest.data(), below->address_cells);
        const std::uint64_t size = load_cells(rest.data() + size_at, below->size_cells);
        if (range.base < base || range.base - base >= size || range.size > size - (range.base - base)) {
            continue;
        }
        const memory_range window{load_cells(rest.data() + parent_at, above->address_cells), size};
        if (wraps(window)) {
            return std::nullopt;
        }
        return memory_range{window.base + (range.base - base), range.size};
    }
    return std::nullopt;
}

// An ancestor that is a controller, or the phandle of a controller. Neither: damaged or absent.
struct device_tree::node::interrupt_link {
    std::optional<node> ancestor;
    std::uint32_t phandle = 0;
};

device_tree::node::interrupt_link device_tree::node::find_interrupt_link() const noexcept {
    for (std::optional<node> current = *this; current; current = current->parent()) {
        if (current->depth_ != depth_ && current->interrupt_cells()) {
            return {current};
        }
        if (const auto found = current->find("interrupt-parent"sv)) {
            return {std::nullopt, found->cell(0).value_or(0)};
        }
    }
    return {};
}

std::optional<device_tree::node> device_tree::node::interrupt_parent() const noexcept {
    const interrupt_link link = find_interrupt_link();
    return link.ancestor ? link.ancestor : tree_.find_by_phandle(link.phandle);
}

std::optional<std::uint32_t> device_tree::node::interrupt(std::size_t index) const noexcept {
    const auto list = find("interrupts"sv);
    const auto controller = list ? interrupt_parent() : std::nullopt;
    return controller ? interrupt_of(*list, controller->interrupt_cells().value_or(0), index) : std::nullopt;
}

std::optional<std::uint32_t> device_tree::node::interrupt_at(const interrupt_controller& controller,
                                                             std::size_t index) const noexcept {
    const auto list = find("interrupts"sv);
    if (!list) {
        return std::nullopt;
    }
    const interrupt_link link = find_interrupt_link();
    const bool there =
        link.ancestor ? *link.ancestor == controller.self : link.phandle != 0 && link.phandle == controller.phandle;
    return there ? interrupt_of(*list, controller.cells, index) : std::nullopt;
}

std::optional<std::uint32_t> device_tree::node::interrupt_of(const property& list, std::uint32_t cells,
                                                             std::size_t index) noexcept {
    const bool reaches = cells != 0 && index < list.value().size() / cell_size / cells;
    return reaches ? list.cell(index * cells) : std::nullopt;
}

device_tree::interrupt_controller device_tree::node::as_interrupt_controller() const noexcept {
    const std::uint32_t handle = phandle();
    const bool is_found = tree_.find_by_phandle(handle) == *this;
    return {*this, is_found ? handle : 0, interrupt_cells().value_or(0)};
}

std::string_view text(device_tree_error error) noexcept {
    static_assert(device_tree::maximum_depth == 15, "one of the texts names it");
    switch (error) {
    case device_tree_error::none: return "the device tree is in order"sv;
    case device_tree_error::no_blob:
        return "there is no device tree: the firmware must pass its address in register a1"sv;
    case device_tree_error::truncated_header: return "the device tree is shorter than its header of 40 bytes"sv;
    case device_tree_error::bad_magic:
        return "no device tree is there: the magic number 0xd00dfeed is missing; was register a1 kept?"sv;
    case device_tree_error::unsupported_version:
        return "the device tree's format is not compatible with version 17, the only one that is supported"sv;
    case device_tree_error::truncated:
        return "the device tree is truncated: its header claims more bytes than are there or fewer than a header has"sv;
    case device_tree_error::block_outside:
        return "the device tree is damaged: its header places a block outside of the blob"sv;
    case device_tree_error::reservations_unterminated:
        return "the device tree is damaged: its memory reservation block has no end inside the blob"sv;
    case device_tree_error::structure_damaged:
        return "the device tree is damaged: its structure block is not one well-formed tree of nodes and properties"sv;
    case device_tree_error::too_deep: return "the device tree nests nodes more than 15 levels below its root"sv;
    }
    return "unknown device tree error"sv;
}

} // namespace inflight::kernel
