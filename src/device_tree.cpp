#include "src/device_tree.hpp"

#include <cstring>

namespace inflight::kernel {
namespace {

using namespace std::string_view_literals;

constexpr std::uint32_t magic = 0xd00dfeed;
constexpr std::uint32_t supported_version = 17;
constexpr std::size_t header_size = 40;
constexpr std::size_t reservation_size = 16;
constexpr std::size_t cell_size = 4;

// Interrupt numbers at a hart's local controller (RISC-V privileged architecture, mcause codes).
constexpr std::uint32_t supervisor_software_interrupt = 1;
constexpr std::uint32_t supervisor_external_interrupt = 9;

constexpr std::uint64_t maximum_plic_source = 1023;

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

// Index of the first such character, or the text's size. (string_view::find would need memchr.)
std::size_t find_character(std::string_view within, char wanted) noexcept {
    std::size_t index = 0;
    while (index < within.size() && within[index] != wanted) {
        ++index;
    }
    return index;
}

// Cuts the text before the first such character off `rest`, and the character as well.
std::string_view cut(std::string_view& rest, char separator) noexcept {
    const std::size_t length = find_character(rest, separator);
    const std::string_view head(rest.data(), length);
    rest.remove_prefix(length < rest.size() ? length + 1 : length);
    return head;
}

bool wraps(const memory_range& range) noexcept {
    return range.size != 0 && range.base > UINT64_MAX - (range.size - 1);
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

// The token at that offset or, behind NOPs, the next one. Nothing where the block ends early or is damaged. The sums
// cannot wrap: the blob is smaller than 2 GiB.
std::optional<device_tree::token> device_tree::read_token(std::uint32_t offset) const noexcept {
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

// One root, nodes closed in order, properties before children, nothing too deep, and an end.
device_tree_error device_tree::check_structure() const noexcept {
    std::size_t open_nodes = 0;
    bool root_seen = false;
    bool property_allowed = false;
    for (auto current = read_token(0); current; current = read_token(current->next)) {
        switch (current->kind) {
        case token_kind::begin_node:
            if (open_nodes == 0 && (root_seen || !current->data.empty())) { // the root is one and has no name
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
    return result;
}

std::optional<device_tree::node> device_tree::node::first_child() const noexcept {
    auto result = next();
    return result && result->depth_ > depth_ ? result : std::nullopt;
}

std::optional<device_tree::node> device_tree::node::next_sibling() const noexcept {
    auto result = next();
    while (result && result->depth_ > depth_) {
        result = result->next();
    }
    return result && result->depth_ == depth_ ? result : std::nullopt;
}

std::optional<device_tree::node> device_tree::node::next() const noexcept {
    node result = *this;
    for (auto current = begin_token(); current; current = tree_.read_token(current->next)) {
        if (current->offset == path_[depth_] || current->kind == token_kind::property) {
            continue;
        }
        if (current->kind == token_kind::begin_node && result.depth_ < maximum_depth) {
            result.path_[++result.depth_] = current->offset;
            return result;
        }
        if (current->kind != token_kind::end_node || result.depth_ == 0) {
            break;
        }
        --result.depth_;
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
    const auto begin = begin_token();
    return property_range({tree_, begin ? begin->next : tree_.structure_size_});
}

std::optional<device_tree::property> device_tree::node::find(std::string_view wanted) const noexcept {
    const auto begin = begin_token();
    for (auto current = begin; current; current = tree_.read_token(current->next)) {
        if (current->kind == token_kind::property) {
            const std::uint8_t* const name = tree_.blob_ + tree_.strings_ + current->name;
            if (wanted.size() < tree_.strings_size_ - current->name && name[wanted.size()] == 0 &&
                std::memcmp(name, wanted.data(), wanted.size()) == 0) {
                return property(characters(name, wanted.size()), current->data);
            }
        } else if (current->offset != begin->offset) {
            break;
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

// The layout of a list of addresses and sizes on the bus `parent`, if it is one that a memory_range can hold.
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

std::size_t device_tree::node::reg_count() const noexcept {
    const auto bus = parent();
    const auto found = find("reg"sv);
    const auto layout = bus ? reg_layout::of(*bus) : std::nullopt;
    if (!found || !layout || found->value().size() % layout->entry_size() != 0) {
        return 0;
    }
    return found->value().size() / layout->entry_size();
}

std::optional<memory_range> device_tree::node::bus_reg(std::size_t index) const noexcept {
    if (index >= reg_count()) {
        return std::nullopt;
    }
    const reg_layout layout = *reg_layout::of(*parent());
    const std::uint8_t* const entry = find("reg"sv)->value().data() + index * layout.entry_size();
    const memory_range range{load_cells(entry, layout.address_cells),
                             load_cells(entry + layout.address_cells * cell_size, layout.size_cells)};
    return wraps(range) ? std::nullopt : std::optional(range);
}

std::optional<memory_range> device_tree::node::reg(std::size_t index) const noexcept {
    auto range = bus_reg(index);
    for (auto bus = parent(); range && bus && bus->depth_ > 0; bus = bus->parent()) {
        range = bus->translate(*range);
    }
    return range;
}

// From the address space of this node's children to that of this node.
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

std::optional<device_tree::node> device_tree::node::interrupt_parent() const noexcept {
    for (std::optional<node> current = *this; current; current = current->parent()) {
        if (current->depth_ != depth_ && current->interrupt_cells()) {
            return current;
        }
        if (const auto found = current->find("interrupt-parent"sv)) {
            const auto handle = found->cell(0);
            return handle ? tree_.find_by_phandle(*handle) : std::nullopt;
        }
    }
    return std::nullopt;
}

std::optional<std::uint32_t> device_tree::node::interrupt(std::size_t index) const noexcept {
    const auto list = find("interrupts"sv);
    const auto controller = list ? interrupt_parent() : std::nullopt;
    if (!controller || controller->interrupt_cells() != 1u) {
        return std::nullopt;
    }
    return list->cell(index);
}

namespace {

using node = device_tree::node;

bool is_digit(char character) noexcept {
    return character >= '0' && character <= '9';
}

char lower(char character) noexcept {
    return character >= 'A' && character <= 'Z' ? static_cast<char>(character - 'A' + 'a') : character;
}

bool same_extension(std::string_view announced, std::string_view wanted) noexcept {
    if (announced.size() != wanted.size()) {
        return false;
    }
    for (std::size_t index = 0; index < wanted.size(); ++index) {
        if (lower(announced[index]) != wanted[index]) {
            return false;
        }
    }
    return true;
}

// "zicsr2p0" and "zicsr2" without their version. Names themselves never end in a digit.
std::string_view without_version(std::string_view name) noexcept {
    const auto without_digits = [](std::string_view from) {
        while (!from.empty() && is_digit(from[from.size() - 1])) {
            from.remove_suffix(1);
        }
        return from;
    };
    const std::string_view major = without_digits(name);
    if (major.size() < name.size() && major.size() > 1 && lower(major[major.size() - 1]) == 'p' &&
        is_digit(major[major.size() - 2])) {
        return without_digits({major.data(), major.size() - 1});
    }
    return major;
}

// One part, without '_', of an ISA string: single letters with optional versions, at their end at most one longer name.
bool part_announces(std::string_view part, std::string_view wanted) noexcept {
    while (!part.empty()) {
        const char letter = lower(part[0]);
        const bool modes = letter == 's' && part.size() > 1 && lower(part[1]) == 'u'; // "su", of QEMU before 7.1
        if (letter == 'z' || letter == 'x' || (letter == 's' && part.size() > 1 && !(modes && part.size() == 2))) {
            return same_extension(without_version(part), wanted);
        }
        constexpr std::string_view general = "imafd";
        if (wanted.size() == 1 ? letter == wanted[0] || (letter == 'g' && find_character(general, wanted[0]) < 5)
                               : letter == 'g' && (wanted == "zicsr"sv || wanted == "zifencei"sv)) {
            return true;
        }
        part.remove_prefix(1);
        while (!part.empty() &&
               (is_digit(part[0]) || (lower(part[0]) == 'p' && part.size() > 1 && is_digit(part[1])))) {
            part.remove_prefix(1);
        }
    }
    return false;
}

bool is_plic(const node& candidate) noexcept {
    return candidate.compatible("sifive,plic-1.0.0"sv) || candidate.compatible("riscv,plic0"sv);
}

// Calls `visitor(range)` for each entry of "reg". False if the property is damaged or not translatable.
template <class Visitor>
bool for_each_reg(const node& owner, Visitor&& visitor) noexcept {
    const std::size_t count = owner.reg_count();
    for (std::size_t index = 0; index < count; ++index) {
        const auto range = owner.reg(index);
        if (!range) {
            return false;
        }
        visitor(*range);
    }
    const auto property = owner.find("reg"sv);
    return count > 0 || !property || property->value().empty();
}

device_tree_error describe_memory(const device_tree& tree, machine_description& machine) noexcept {
    for (const node& candidate : tree.root().children()) {
        if (candidate.string("device_type"sv) != "memory"sv || !candidate.okay()) {
            continue;
        }
        const auto keep = [&](const memory_range& bank) {
            if (bank.size != 0) {
                machine.memory.push_back(bank);
            }
        };
        if (!for_each_reg(candidate, keep)) {
            return device_tree_error::memory_damaged;
        }
    }
    if (machine.memory.empty()) {
        return device_tree_error::no_memory;
    }
    const auto reserve = [&](const memory_range& range) {
        machine.reservations.push_back(range);
    };
    for (std::size_t index = 0; index < tree.reservation_count(); ++index) {
        const memory_range range = *tree.reservation(index);
        if (wraps(range)) {
            return device_tree_error::reservation_damaged;
        }
        reserve(range);
    }
    // A child without "reg" asks for memory anywhere; nothing is reserved for it yet.
    if (const auto parent = tree.root().child("reserved-memory"sv)) {
        for (const node& child : parent->children()) {
            if (child.okay() && !for_each_reg(child, reserve)) {
                return device_tree_error::reservation_damaged;
            }
        }
    }
    return machine.reservations.dropped() == 0 ? device_tree_error::none : device_tree_error::too_many_reservations;
}

device_tree_error describe_harts(const device_tree& tree, machine_description& machine) noexcept {
    const auto parent = tree.root().child("cpus"sv);
    if (!parent) {
        return device_tree_error::no_harts;
    }
    machine.timebase_frequency = parent->number("timebase-frequency"sv).value_or(0);
    for (const node& cpu : parent->children()) {
        if (cpu.string("device_type"sv) != "cpu"sv || !cpu.okay()) {
            continue;
        }
        const auto id = cpu.bus_reg(0);
        if (!id) {
            return device_tree_error::hart_damaged;
        }
        hart_description hart;
        hart.id = id->base;
        hart.isa = cpu.string("riscv,isa"sv).value_or(std::string_view());
        hart.isa_extensions = cpu.find("riscv,isa-extensions"sv).value_or(device_tree::property());
        for (const node& child : cpu.children()) {
            if (child.compatible("riscv,cpu-intc"sv)) {
                hart.interrupt_controller = child.phandle();
            }
        }
        for (const hart_description& other : machine.harts) {
            if (other.id == hart.id ||
                (hart.interrupt_controller != 0 && other.interrupt_controller == hart.interrupt_controller)) {
                return device_tree_error::duplicate_hart;
            }
        }
        machine.harts.push_back(hart);
        if (machine.timebase_frequency == 0) {
            machine.timebase_frequency = cpu.number("timebase-frequency"sv).value_or(0);
        }
    }
    if (machine.harts.empty()) {
        return device_tree_error::no_harts;
    }
    return machine.timebase_frequency != 0 ? device_tree_error::none : device_tree_error::no_timebase;
}

// Calls `visitor(hart, index)` for each entry of "interrupts-extended" that names that interrupt of a described hart.
template <class Visitor>
bool for_each_hart_interrupt(const node& device, std::uint32_t interrupt, machine_description& machine,
                             Visitor&& visitor) noexcept {
    return device.for_each_extended_interrupt(
        [&](std::size_t index, const node& controller, const device_tree::property& cells) {
            if (cells.cell(0) != interrupt) {
                return;
            }
            const std::uint32_t handle = controller.phandle();
            for (hart_description& hart : machine.harts) {
                if (hart.interrupt_controller == handle) {
                    visitor(hart, index);
                }
            }
        });
}

// With several PLICs (one per NUMA node in QEMU) the one is taken that serves the first virtio slot.
std::optional<node> find_plic(const device_tree& tree, machine_description& machine) noexcept {
    std::optional<node> first;
    std::optional<node> of_virtio;
    for (const node& candidate : tree.nodes()) {
        if (!candidate.okay()) {
            continue;
        }
        if (is_plic(candidate)) {
            ++machine.plic.controllers;
            first = first ? first : candidate;
        } else if (!of_virtio && candidate.compatible("virtio,mmio"sv)) {
            const auto controller = candidate.interrupt_parent();
            of_virtio = controller && is_plic(*controller) && controller->okay() ? controller : std::nullopt;
        }
    }
    return of_virtio ? of_virtio : first;
}

device_tree_error describe_plic(const node& plic, machine_description& machine) noexcept {
    const auto registers = plic.reg(0);
    const auto sources = plic.number("riscv,ndev"sv);
    if (!registers || !sources || *sources == 0 || *sources > maximum_plic_source) {
        return device_tree_error::plic_damaged;
    }
    machine.plic.registers = *registers;
    machine.plic.source_count = static_cast<std::uint32_t>(*sources);
    bool any = false;
    const bool whole = for_each_hart_interrupt(plic, supervisor_external_interrupt, machine,
                                               [&](hart_description& hart, std::size_t index) {
                                                   if (!hart.plic_context) {
                                                       hart.plic_context = static_cast<std::uint32_t>(index);
                                                   }
                                                   any = true;
                                               });
    if (!whole) {
        return device_tree_error::plic_damaged;
    }
    return any ? device_tree_error::none : device_tree_error::no_supervisor_context;
}

std::uint32_t interrupt_at(const node& plic, const node& device) noexcept {
    return device.interrupt_parent() == plic ? device.interrupt(0).value_or(0) : 0;
}

void describe_console(const device_tree& tree, machine_description& machine) noexcept {
    const auto chosen = tree.root().child("chosen"sv);
    std::string_view path = chosen ? chosen->string("stdout-path"sv).value_or(std::string_view()) : std::string_view();
    const auto standard_output = tree.find_by_path(cut(path, ':')); // options follow ':'
    for (const node& candidate : tree.nodes()) {
        if (!candidate.okay()) {
            continue;
        }
        if (candidate.compatible("sifive,test0"sv) || candidate.compatible("sifive,test1"sv)) {
            machine.test_finisher = machine.test_finisher ? machine.test_finisher : candidate.reg(0);
        } else if (candidate.compatible("ns16550a"sv)) {
            const auto registers = candidate.reg(0);
            const auto shift = candidate.number("reg-shift"sv).value_or(0);
            const bool is_output = standard_output == candidate;
            if (registers && shift < 8 && (!machine.uart || is_output)) {
                machine.uart = {*registers, static_cast<std::uint32_t>(shift), 0, is_output};
            }
        }
    }
}

device_tree_error describe_devices(const device_tree& tree, const node& plic, machine_description& machine) noexcept {
    for (const node& device : tree.nodes()) {
        if (!device.okay()) {
            continue;
        }
        const auto registers = device.reg(0);
        if (device.compatible("virtio,mmio"sv)) {
            if (!registers) {
                return device_tree_error::device_damaged;
            }
            machine.virtio.push_back({*registers, interrupt_at(plic, device)});
        } else if (device.compatible("riscv,aclint-sswi"sv)) {
            const auto place = [&](hart_description& hart, std::size_t index) {
                hart.sswi_register = registers->base + index * sizeof(std::uint32_t);
            };
            if (!registers || !for_each_hart_interrupt(device, supervisor_software_interrupt, machine, place)) {
                return device_tree_error::device_damaged;
            }
            machine.sswi = machine.sswi ? machine.sswi : registers;
        } else if (machine.uart && registers == machine.uart->registers && device.compatible("ns16550a"sv)) {
            machine.uart->interrupt = interrupt_at(plic, device);
        }
    }
    // Insertion sort: the list is short.
    for (std::size_t end = 1; end < machine.virtio.size(); ++end) {
        const virtio_slot slot = machine.virtio[end];
        std::size_t at = end;
        for (; at > 0 && machine.virtio[at - 1].registers.base > slot.registers.base; --at) {
            machine.virtio[at] = machine.virtio[at - 1];
        }
        machine.virtio[at] = slot;
    }
    return device_tree_error::none;
}

device_tree_error describe_chosen(const device_tree& tree, machine_description& machine) noexcept {
    const auto chosen = tree.root().child("chosen"sv);
    if (!chosen) {
        return device_tree_error::none;
    }
    if (const auto arguments = chosen->find("bootargs"sv)) {
        const auto line = arguments->string();
        if (!line) {
            return device_tree_error::bootargs_damaged;
        }
        machine.bootargs = *line;
    }
    const auto has = [&](std::string_view name) {
        return chosen->find(name).has_value();
    };
    if (has("linux,initrd-start"sv) || has("linux,initrd-end"sv)) {
        const auto start = chosen->number("linux,initrd-start"sv);
        const auto end = chosen->number("linux,initrd-end"sv);
        if (!start || !end || *end < *start) {
            return device_tree_error::initrd_damaged;
        }
        if (*end > *start) {
            machine.initrd = memory_range{*start, *end - *start};
        }
    }
    return device_tree_error::none;
}

} // namespace

bool hart_description::has_extension(std::string_view name) const noexcept {
    if (isa_extensions.contains(name)) {
        return true;
    }
    std::string_view rest = isa;
    const bool has_base = rest.size() > 4 && lower(rest[0]) == 'r' && lower(rest[1]) == 'v' &&
                          ((rest[2] == '3' && rest[3] == '2') || (rest[2] == '6' && rest[3] == '4'));
    if (!has_base || name.empty()) {
        return false;
    }
    rest.remove_prefix(4);
    while (!rest.empty()) {
        if (part_announces(cut(rest, '_'), name)) {
            return true;
        }
    }
    return false;
}

device_tree_error describe(const device_tree& tree, machine_description& machine) noexcept {
    describe_console(tree, machine);
    if (const auto error = describe_memory(tree, machine); error != device_tree_error::none) {
        return error;
    }
    if (const auto error = describe_harts(tree, machine); error != device_tree_error::none) {
        return error;
    }
    const auto plic = find_plic(tree, machine);
    if (!plic) {
        return device_tree_error::no_plic;
    }
    if (const auto error = describe_plic(*plic, machine); error != device_tree_error::none) {
        return error;
    }
    if (const auto error = describe_devices(tree, *plic, machine); error != device_tree_error::none) {
        return error;
    }
    return describe_chosen(tree, machine);
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
    case device_tree_error::no_memory:
        return "the device tree has no memory: a node with device_type \"memory\" and a bank is needed"sv;
    case device_tree_error::memory_damaged: return "a memory node of the device tree has a malformed reg property"sv;
    case device_tree_error::reservation_damaged:
        return "a memory reservation of the device tree is malformed or has no physical address"sv;
    case device_tree_error::too_many_reservations:
        return "the device tree reserves more memory ranges than the kernel can keep clear of"sv;
    case device_tree_error::no_harts:
        return "the device tree has no enabled hart: /cpus lacks cpu nodes that are okay"sv;
    case device_tree_error::hart_damaged: return "a cpu node of the device tree has no well-formed hart id in reg"sv;
    case device_tree_error::duplicate_hart:
        return "two cpu nodes of the device tree have the same hart id or interrupt controller"sv;
    case device_tree_error::no_timebase:
        return "the device tree has no timebase-frequency, neither in /cpus nor in a cpu node: the timer has no unit"sv;
    case device_tree_error::no_plic: return "the device tree has no PLIC: boot with -machine virt and without aia="sv;
    case device_tree_error::plic_damaged:
        return "the PLIC node of the device tree has a malformed reg, riscv,ndev or interrupts-extended property"sv;
    case device_tree_error::no_supervisor_context:
        return "the PLIC has no supervisor context for any enabled hart: boot with harts that have that mode"sv;
    case device_tree_error::device_damaged:
        return "a virtio,mmio or ACLINT SSWI node of the device tree has a malformed reg or interrupts-extended"sv;
    case device_tree_error::bootargs_damaged: return "the property bootargs in /chosen does not end in a NUL"sv;
    case device_tree_error::initrd_damaged:
        return "linux,initrd-start and linux,initrd-end in /chosen are not two numbers in ascending order"sv;
    }
    return "unknown device tree error"sv;
}

} // namespace inflight::kernel
