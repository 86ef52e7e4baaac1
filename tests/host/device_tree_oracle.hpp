#pragma once

#include "src/kernel/device_tree.hpp"
#include "src/kernel/machine_description.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <libfdt.h>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

// Checks of the device tree reader that hold for any bytes whatever, shared by its tests and its fuzz target. The
// oracle is libfdt. A check that fails throws `mismatch`.
namespace inflight::kernel::device_tree_oracle {

struct mismatch : std::runtime_error {
    using std::runtime_error::runtime_error;
};

inline void require(bool condition, const std::string& what) {
    if (!condition) {
        throw mismatch(what);
    }
}

// A copy of the bytes in an allocation of exactly their size, so that the address sanitizer sees every overread.
class exact_copy {
  public:
    explicit exact_copy(std::span<const std::uint8_t> bytes)
        : bytes_(new std::uint8_t[bytes.size()]), size_(bytes.size()) {
        std::copy(bytes.begin(), bytes.end(), bytes_.get());
    }
    [[nodiscard]] const std::uint8_t* data() const { return bytes_.get(); }
    [[nodiscard]] std::size_t size() const { return size_; }

  private:
    std::unique_ptr<std::uint8_t[]> bytes_;
    std::size_t size_;
};

// Must the reader accept the blob? What fdt_check_full demands, and besides: version 17, properties before children,
// the limit of depth, and lengths of properties that are no negative numbers for libfdt.
inline bool acceptable(const exact_copy& blob) {
    // fdt_check_full 1.6.1 itself fails on older versions and does not end on some negative lengths: it comes last.
    constexpr std::size_t header_size = 40;
    const void* const original = blob.data();
    if (blob.size() < header_size || fdt_check_header(original) != 0 || fdt_version(original) < 17 ||
        fdt_totalsize(original) > blob.size()) {
        return false;
    }
    int depth = 0;
    bool root_ended = false;
    bool property_allowed = false;
    for (int offset = 0, next = 0, tag = FDT_NOP; tag != FDT_END; offset = next) {
        tag = static_cast<int>(fdt_next_tag(original, offset, &next));
        if (next <= offset) {
            return false;
        }
        if (root_ended && tag == FDT_NOP) {
            // libfdt refuses NOPs behind the root, which the specification allows. An end in place of the first one
            // makes the same tree, if only NOPs and an end follow.
            std::vector<std::uint8_t> shortened(blob.data(), blob.data() + blob.size());
            std::uint32_t last = FDT_NOP;
            for (int after = next; last == FDT_NOP && after >= 0;) {
                last = fdt_next_tag(original, after, &after);
                if (after < 0) {
                    return false;
                }
            }
            fdt32_st(shortened.data() + fdt_off_dt_struct(original) + offset, FDT_END);
            return last == FDT_END && fdt_check_full(shortened.data(), shortened.size()) == 0;
        }
        switch (tag) {
        case FDT_BEGIN_NODE:
            property_allowed = true;
            if (++depth > static_cast<int>(device_tree::maximum_depth) + 1) {
                return false;
            }
            break;
        case FDT_END_NODE:
            property_allowed = false;
            root_ended = --depth == 0;
            break;
        case FDT_PROP: {
            int length = 0;
            if (!property_allowed || fdt_get_property_by_offset(original, offset, &length) == nullptr || length < 0) {
                return false;
            }
            break;
        }
        default: break;
        }
    }
    // For fdt_check_full a block without any root is a tree.
    return root_ended && fdt_check_full(original, blob.size()) == 0;
}

inline std::string_view libfdt_name(const void* fdt, int offset) {
    int length = 0;
    const char* const name = fdt_get_name(fdt, offset, &length);
    require(name != nullptr, "libfdt finds no name");
    return {name, static_cast<std::size_t>(length)};
}

// Both views lie in the blob: the same node exactly if it is the same name in the same place.
inline bool same_node(const void* fdt, int offset, const std::optional<device_tree::node>& ours) {
    if (offset < 0 || !ours) {
        return offset < 0 && !ours;
    }
    return libfdt_name(fdt, offset).data() == ours->name().data();
}

inline void compare_property(const void* fdt, int offset, const device_tree::property& ours, const char* name,
                             const void* value, int length) {
    const auto size = static_cast<std::size_t>(length);
    require(ours.name() == name, "a property's name differs");
    require(ours.value().data() == value && ours.value().size() == size, "a property's value differs");
    for (int index = 0; index < 5; ++index) {
        int string_length = 0;
        const char* const string = fdt_stringlist_get(fdt, offset, name, index, &string_length);
        // libfdt looks the property up by its name: another one of the same name may come before.
        int first_length = 0;
        if (fdt_getprop(fdt, offset, name, &first_length) != value) {
            break;
        }
        const auto our_string = ours.string(static_cast<std::size_t>(index));
        require((string != nullptr) == our_string.has_value(), "a string list's length differs");
        if (string == nullptr) {
            break;
        }
        require(our_string->data() == string && our_string->size() == static_cast<std::size_t>(string_length),
                "a string of a list differs");
        const std::string wanted(*our_string);
        // A list with garbage behind this string is still searched by ours; libfdt as well stops at the match.
        require(wanted.find('\0') == std::string::npos && ours.contains(wanted) &&
                    fdt_stringlist_search(fdt, offset, name, wanted.c_str()) >= 0,
                "a string of a list is not found");
    }
}

inline void compare_node(const device_tree& tree, const void* fdt, int offset, int depth,
                         const device_tree::node& ours) {
    require(ours.depth() == static_cast<std::size_t>(depth), "a node's depth differs");
    require(ours.name() == libfdt_name(fdt, offset) && same_node(fdt, offset, ours), "a node's name differs");
    require(same_node(fdt, fdt_parent_offset(fdt, offset), ours.parent()), "a node's parent differs");
    require(same_node(fdt, fdt_first_subnode(fdt, offset), ours.first_child()), "a node's first child differs");
    require(depth == 0 || same_node(fdt, fdt_next_subnode(fdt, offset), ours.next_sibling()), "a sibling differs");

    const auto properties = ours.properties();
    auto our_property = properties.begin();
    int property_offset = 0;
    fdt_for_each_property_offset(property_offset, fdt, offset) {
        const char* name = nullptr;
        int length = 0;
        const void* const value = fdt_getprop_by_offset(fdt, property_offset, &name, &length);
        require(value != nullptr && !(our_property == properties.end()), "a property is missing");
        compare_property(fdt, offset, *our_property, name, value, length);
        const auto found = ours.find(name);
        require(found && found->value().data() == fdt_getprop(fdt, offset, name, &length) &&
                    found->value().size() == static_cast<std::size_t>(length),
                "a property found by name differs");
        ++our_property;
    }
    require(our_property == properties.end(), "there is a property too many");
    int length = 0;
    require((fdt_getprop(fdt, offset, "no such property", &length) != nullptr) ==
                ours.find("no such property").has_value(),
            "a property is found that does not exist");

    const std::uint32_t phandle = fdt_get_phandle(fdt, offset);
    require(ours.phandle() == phandle, "a phandle differs");
    const int by_phandle = fdt_node_offset_by_phandle(fdt, phandle);
    require(same_node(fdt, by_phandle, tree.find_by_phandle(phandle)), "the node of a phandle differs");

    // libfdt reports cell counts above 4, and no cells for addresses, as errors.
    if (const int cells = fdt_address_cells(fdt, offset); cells >= 0) {
        require(ours.address_cells() == static_cast<std::uint32_t>(cells), "#address-cells differs");
    } else {
        require(ours.address_cells().value_or(0) == 0 || ours.address_cells() > 4u, "bad #address-cells are taken");
    }
    if (const int cells = fdt_size_cells(fdt, offset); cells >= 0) {
        require(ours.size_cells() == static_cast<std::uint32_t>(cells), "#size-cells differs");
    } else {
        require(ours.size_cells().value_or(UINT32_MAX) > 4, "bad #size-cells are taken");
    }

    std::vector<char> path(4096);
    if (fdt_get_path(fdt, offset, path.data(), static_cast<int>(path.size())) == 0) {
        require(same_node(fdt, fdt_path_offset(fdt, path.data()), tree.find_by_path(path.data())),
                "the node of a path differs");
        // Without the unit address of its last component a path may mean another node.
        *std::find(path.begin() + (std::strrchr(path.data(), '/') - path.data()), path.end() - 1, '@') = '\0';
        require(same_node(fdt, fdt_path_offset(fdt, path.data()), tree.find_by_path(path.data())),
                "the node of a path without unit address differs");
    }
}

// Everything that libfdt reports of the blob, ours reports as well. Only for an acceptable blob.
inline void compare_with_libfdt(const device_tree& tree, const void* fdt) {
    require(tree.size() == fdt_totalsize(fdt), "the size differs");
    const int reservations = fdt_num_mem_rsv(fdt);
    require(reservations >= 0 && tree.reservation_count() == static_cast<std::size_t>(reservations),
            "the number of reservations differs");
    for (int index = 0; index < reservations; ++index) {
        memory_range range;
        require(fdt_get_mem_rsv(fdt, index, &range.base, &range.size) == 0 &&
                    tree.reservation(static_cast<std::size_t>(index)) == range,
                "a reservation differs");
    }
    int depth = 0;
    int offset = fdt_next_node(fdt, -1, &depth); // NOPs may come before the root
    depth = 0;
    for (const device_tree::node& ours : tree.nodes()) {
        require(offset >= 0 && depth >= 0, "there is a node too many");
        compare_node(tree, fdt, offset, depth, ours);
        offset = fdt_next_node(fdt, offset, &depth);
    }
    require(offset < 0 || depth < 0, "a node is missing");
}

// Calls every accessor on everything: all walks end, and every view lies in the blob.
inline void exercise(const device_tree& tree, const exact_copy& blob) {
    const auto inside = [&](const void* at, std::size_t size) {
        const auto* const bytes = static_cast<const std::uint8_t*>(at);
        // An absent value is an empty view of nothing.
        return (bytes == nullptr && size == 0) ||
               (bytes >= blob.data() && size <= blob.size() && bytes <= blob.data() + (blob.size() - size));
    };
    const auto check_text = [&](std::string_view text) {
        require(inside(text.data(), text.size()), "a text lies outside of the blob");
    };
    const std::size_t limit = blob.size() / 4; // each node, property, cell and entry takes four bytes or more
    for (std::size_t index = 0; index < tree.reservation_count(); ++index) {
        require(tree.reservation(index).has_value(), "a reservation is missing");
    }
    require(!tree.reservation(tree.reservation_count()), "there is a reservation too many");
    std::size_t nodes = 0;
    std::size_t compatible_nodes = 0;
    for (const device_tree::node& node : tree.nodes()) {
        require(++nodes <= limit, "the walk over the nodes does not end");
        check_text(node.name());
        require(std::string(node.base_name()) + std::string(node.unit_address()) ==
                    (node.name().find('@') == std::string_view::npos
                         ? std::string(node.name())
                         : std::string(node.name()).erase(node.name().find('@'), 1)),
                "a name does not consist of its parts");
        compatible_nodes += node.compatible("virtio,mmio") ? 1 : 0;
        std::size_t properties = 0;
        for (const device_tree::property& property : node.properties()) {
            require(++properties <= limit, "the walk over the properties does not end");
            check_text(property.name());
            require(inside(property.value().data(), property.value().size()), "a value lies outside of the blob");
            const std::size_t cells = property.value().size() / 4;
            require(property.cell(cells) == std::nullopt, "there is a cell too many");
            require(cells == 0 || property.cell(cells - 1).has_value(), "a cell is missing");
            for (std::size_t index = 0; index < 4; ++index) {
                check_text(property.string(index).value_or(std::string_view()));
            }
            static_cast<void>(property.contains("okay"));
            static_cast<void>(property.number());
        }
        std::size_t children = 0;
        for (const device_tree::node& child : node.children()) {
            require(++children <= limit, "the walk over the children does not end");
            require(child.parent() == node, "a child has another parent");
        }
        static_cast<void>(node.okay());
        const std::size_t entries = node.reg_count();
        require(entries <= limit && !node.reg(entries) && !node.bus_reg(entries), "there is a reg entry too many");
        for (std::size_t index = 0; index < std::min<std::size_t>(entries, 8); ++index) {
            for (const auto& range : {node.reg(index), node.bus_reg(index)}) {
                require(!range || range->size == 0 || range->base + (range->size - 1) >= range->base, "a range wraps");
            }
        }
        if (const auto controller = node.interrupt_parent()) {
            require(node.interrupt_at(controller->as_interrupt_controller(), 0) == node.interrupt(0),
                    "the interrupt at a known controller differs");
        }
        std::size_t interrupts = 0;
        node.for_each_extended_interrupt(
            [&](std::size_t index, const device_tree::node& controller, const device_tree::property& cells) {
                require(++interrupts <= limit && index < limit, "the walk over the interrupts does not end");
                require(controller.interrupt_cells() == cells.value().size() / 4, "an interrupt's cells differ");
                require(inside(cells.value().data(), cells.value().size()), "cells lie outside of the blob");
            });
    }
    tree.for_each_compatible("virtio,mmio", [&](const device_tree::node&) { --compatible_nodes; });
    require(compatible_nodes == 0, "the visitor misses a compatible node");

    const auto machine = std::make_unique<machine_description>();
    const machine_error error = describe(tree, *machine);
    require(!text(error).empty(), "an error has no text");
    if (error != machine_error::none) {
        return;
    }
    require(!machine->memory.empty() && !machine->harts.empty() && machine->timebase_frequency != 0 &&
                machine->wired.source_count != 0 && machine->wired.controllers != 0,
            "a machine is accepted without its necessities");
    require(machine->reservations.dropped() == 0, "a reservation was dropped");
    require(machine->imsic.has_value() == (machine->wired.kind == wired_controller_kind::aplic_imsic),
            "messages go nowhere, or come from nowhere");
    for (const hart_description& hart : machine->harts) {
        check_text(hart.isa);
        require(hart.interrupt_file % 4096 == 0 && (hart.interrupt_file == 0 || machine->imsic),
                "an interrupt file is no page, or there is no IMSIC");
        for (const char* const name : {"a", "sstc", "zicsr", "q", "x"}) {
            static_cast<void>(hart.has_extension(name));
        }
    }
    require(std::is_sorted(machine->virtio.begin(), machine->virtio.end(),
                           [](const virtio_slot& left, const virtio_slot& right) {
                               return left.registers.base < right.registers.base;
                           }),
            "the virtio slots are not sorted");
    if (machine->pci) {
        require(!text(machine->pci->outcome).empty(), "an error of a PCI host bridge has no text");
        require(machine->pci->outcome != pci_host_error::none || machine->pci->buses.first <= machine->pci->buses.last,
                "a PCI host bridge is accepted without a bus");
        pci::host_windows windows;
        require(machine->pci->read_windows(windows) != pci_host_error::none || windows.memory32.size != 0 ||
                    windows.memory64.size != 0,
                "a PCI host bridge is accepted without a window");
        for (std::uint8_t device = 0; device < 4; ++device) {
            static_cast<void>(machine->pci->interrupt_source(device, 1));
        }
    }
    if (machine->bootargs.data() != nullptr) {
        require(inside(machine->bootargs.data(), machine->bootargs.size() + 1) &&
                    machine->bootargs.data()[machine->bootargs.size()] == '\0',
                "bootargs has no NUL");
    }
}

// What holds of any bytes, without a second opinion. Returns whether the blob was accepted.
inline bool check_alone(std::span<const std::uint8_t> bytes) {
    const exact_copy blob(bytes);
    const auto opened = device_tree::open(blob.data(), blob.size());
    require(!text(opened.error).empty(), "an error has no text");
    if (opened) {
        exercise(opened.tree, blob);
    }
    return static_cast<bool>(opened);
}

// All of the above. Returns whether the blob was accepted.
inline bool check(std::span<const std::uint8_t> bytes) {
    const exact_copy blob(bytes);
    const auto opened = device_tree::open(blob.data(), blob.size());
    require(static_cast<bool>(opened) == acceptable(blob),
            "the blob is judged differently by libfdt: \"" + std::string(text(opened.error)) + "\"");
    if (!opened) {
        return false;
    }
    exercise(opened.tree, blob);
    compare_with_libfdt(opened.tree, blob.data());
    return true;
}

} // namespace inflight::kernel::device_tree_oracle
