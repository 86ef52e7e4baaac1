#include "tests/model/pci_model.hpp"

#include <algorithm>
#include <cstdio>

namespace inflight::model {

namespace {

constexpr std::uint16_t command_register = 0x04;
constexpr std::uint16_t status_register = 0x06;
constexpr std::uint16_t first_bar = 0x10;
constexpr std::uint16_t capability_pointer = 0x34;
constexpr std::uint8_t vendor_specific = 9; // id of a capability
constexpr unsigned io_decoding = 1, memory_decoding = 2, bus_master = 4;

std::string hexadecimal(std::uint64_t value) {
    char text[24];
    std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
    return text;
}

bool touches(std::uint16_t offset, unsigned width, unsigned begin, unsigned end) {
    return offset < end && offset + width > begin;
}

unsigned end_of_bars(const pci_function& of) {
    return of.is_bridge() ? 0x18 : 0x28;
}

bool holds(std::uint64_t base, std::uint64_t limit, std::uint64_t address, std::uint64_t size) {
    return address >= base && address <= limit && size - 1 <= limit - address;
}

bool holds(const pci_window& window, std::uint64_t address, std::uint64_t size) {
    return window.size != 0 && holds(window.bus_address, window.bus_address + window.size - 1, address, size);
}

struct open_window {
    std::uint64_t base;
    std::uint64_t limit; // below the base: closed
};

open_window io_window(const pci_function& bridge) {
    return {std::uint64_t{bridge.peek(0x1c, 1) & 0xf0} << 8 | std::uint64_t{bridge.peek(0x30, 2)} << 16,
            std::uint64_t{bridge.peek(0x1d, 1) & 0xf0} << 8 | 0xfff | std::uint64_t{bridge.peek(0x32, 2)} << 16};
}

open_window memory_window(const pci_function& bridge) {
    return {std::uint64_t{bridge.peek(0x20, 2) & 0xfff0} << 16,
            std::uint64_t{bridge.peek(0x22, 2) & 0xfff0} << 16 | 0xf'ffff};
}

open_window prefetchable_window(const pci_function& bridge) {
    return {std::uint64_t{bridge.peek(0x24, 2) & 0xfff0} << 16 | std::uint64_t{bridge.peek(0x28, 4)} << 32,
            std::uint64_t{bridge.peek(0x26, 2) & 0xfff0} << 16 | 0xf'ffff | std::uint64_t{bridge.peek(0x2c, 4)} << 32};
}

// Whether the bridge forwards any byte of the range, or with `all` each of them.
bool forwards(const pci_function& bridge, pci_bar_kind kind, std::uint64_t address, std::uint64_t size, bool all) {
    const auto meets = [&](const open_window& window) {
        return window.base <= window.limit && (all ? holds(window.base, window.limit, address, size)
                                                   : address <= window.limit && address + (size - 1) >= window.base);
    };
    if (kind == pci_bar_kind::io) {
        return (bridge.command() & io_decoding) != 0 && meets(io_window(bridge));
    }
    return (bridge.command() & memory_decoding) != 0 &&
           (meets(memory_window(bridge)) ||
            ((kind == pci_bar_kind::prefetchable64 || !all) && meets(prefetchable_window(bridge))));
}

} // namespace

pci_function::pci_function(const pci_identity& identity) {
    poke(0x00, 2, identity.vendor);
    poke(0x02, 2, identity.device);
    poke(0x08, 4, identity.class_code << 8 | identity.revision);
    poke(0x0e, 1, identity.header_type);
    poke(0x3d, 1, identity.interrupt_pin);
    writable_[command_register] = 0x47;
    writable_[command_register + 1] = 0x05;
    writable_[0x3c] = 0xff;
    if (is_bridge()) {
        std::fill(&writable_[0x18], &writable_[0x1c], std::uint8_t{0xff}); // bus numbers, latency timer
        for (const unsigned offset : {0x20U, 0x22U}) {
            writable_[offset] = 0xf0;
            writable_[offset + 1] = 0xff;
        }
        set_windows(true, true);
    } else {
        poke(0x2c, 2, identity.subsystem_vendor);
        poke(0x2e, 2, identity.subsystem);
    }
}

pci_function& pci_function::set_bar(std::size_t index, const pci_bar& bar) {
    bars_[index] = bar;
    const auto offset = static_cast<std::uint16_t>(first_bar + 4 * index);
    const std::uint64_t mask = ~(bar.size - 1);
    using enum pci_bar_kind;
    set_writable(offset, 4, bar.kind == absent ? 0 : static_cast<std::uint32_t>(mask) & (bar.kind == io ? ~3U : ~15U));
    poke(offset, 4, bar.kind == io ? 1 : bar.kind == memory64 ? 4 : bar.kind == prefetchable64 ? 0xc : 0);
    if (bar.kind == memory64 || bar.kind == prefetchable64) {
        set_writable(static_cast<std::uint16_t>(offset + 4), 4, static_cast<std::uint32_t>(mask >> 32));
    }
    return *this;
}

std::uint16_t pci_function::add_capability(std::uint8_t id, std::span<const std::uint8_t> body,
                                           std::span<const std::uint8_t> writable) {
    const std::uint16_t offset = end_of_capabilities_;
    poke(status_register, 1, peek(status_register, 1) | 0x10);
    poke(last_capability_ == 0 ? capability_pointer : static_cast<std::uint16_t>(last_capability_ + 1), 1, offset);
    poke(offset, 1, id);
    is_header_[offset] = is_header_[offset + 1U] = true;
    if (id == vendor_specific) {
        std::fill_n(&is_vendor_specific_[offset], 2 + body.size(), true);
    }
    std::ranges::copy(body, &bytes_.at(offset + 2U));
    std::ranges::copy(writable, &writable_[offset + 2U]);
    last_capability_ = offset;
    end_of_capabilities_ = static_cast<std::uint16_t>((offset + 2U + body.size() + 3U) & ~3U);
    return offset;
}

pci_function& pci_function::set_windows(bool io, bool prefetchable64) {
    writable_[0x1c] = writable_[0x1d] = io ? 0xf0 : 0;
    for (const std::uint16_t offset : {std::uint16_t{0x24}, std::uint16_t{0x26}}) {
        writable_[offset] = prefetchable64 ? 0xf0 : 0;
        writable_[offset + 1U] = prefetchable64 ? 0xff : 0;
        poke(offset, 2, prefetchable64 ? 1 : 0);
    }
    std::fill(&writable_[0x28], &writable_[0x30], prefetchable64 ? std::uint8_t{0xff} : std::uint8_t{0});
    return *this;
}

std::uint32_t pci_function::peek(std::uint16_t offset, unsigned width) const {
    std::uint32_t value = 0;
    for (unsigned byte = 0; byte < width; ++byte) {
        value |= std::uint32_t{bytes_.at(offset + byte)} << 8 * byte;
    }
    return value;
}

void pci_function::poke(std::uint16_t offset, unsigned width, std::uint32_t value) {
    for (unsigned byte = 0; byte < width; ++byte) {
        bytes_.at(offset + byte) = static_cast<std::uint8_t>(value >> 8 * byte);
    }
}

void pci_function::set_writable(std::uint16_t offset, unsigned width, std::uint32_t bits) {
    for (unsigned byte = 0; byte < width; ++byte) {
        writable_.at(offset + byte) = static_cast<std::uint8_t>(bits >> 8 * byte);
    }
}

std::uint64_t pci_function::bar_address(std::size_t index) const {
    const auto offset = static_cast<std::uint16_t>(first_bar + 4 * index);
    using enum pci_bar_kind;
    switch (bars_[index].kind) {
    case absent: return 0;
    case io: return peek(offset, 4) & ~3U;
    case memory32: return peek(offset, 4) & ~15U;
    case memory64:
    case prefetchable64: break;
    }
    return std::uint64_t{peek(static_cast<std::uint16_t>(offset + 4), 4)} << 32 | (peek(offset, 4) & ~15U);
}

pci_model::pci_model(arch::host::machine& machine, const pci_host_options& options)
    : machine_{machine}, options_{options} {
    machine.attach(options.registers, std::size_t{options.last_bus - options.first_bus + 1U} << 20, *this);
    plug(0, 0,
         std::make_unique<pci_function>(pci_identity{.vendor = 0x1b36,
                                                     .device = 0x0008,
                                                     .class_code = 0x060000,
                                                     .revision = 0,
                                                     .subsystem_vendor = 0x1af4,
                                                     .subsystem = 0x1100,
                                                     .interrupt_pin = 0,
                                                     .header_type = 0}));
}

pci_model::~pci_model() {
    for (pci_function* const each : all_) {
        for (std::size_t index = 0; index < each->bars_.size(); ++index) {
            attach(*each, index, 0);
        }
    }
    machine_.detach(*this);
}

pci_function& pci_model::plug(std::uint8_t device, std::uint8_t function, std::unique_ptr<pci_function> plugged,
                              pci_function* bridge) {
    functions& bus = bridge != nullptr ? bridge->behind_ : root_;
    const auto at = static_cast<std::uint8_t>(device << 3 | function);
    pci_function& there = *(bus[at] = std::move(plugged));
    there.bridge_ = bridge;
    there.name_ =
        (bridge != nullptr ? bridge->name_ + "/" : "") + std::to_string(device) + "." + std::to_string(function);
    all_.push_back(&there);
    const auto first = bus.find(static_cast<std::uint8_t>(device << 3));
    if (const auto next = bus.upper_bound(static_cast<std::uint8_t>(device << 3));
        first != bus.end() && next != bus.end() && next->first >> 3 == device) {
        first->second->bytes_[0x0e] |= 0x80;
    }
    return there;
}

bool pci_model::is_bus_master(const pci_function& of) {
    return (of.command() & bus_master) != 0 && (of.bridge_ == nullptr || is_bus_master(*of.bridge_));
}

// Follows the bus numbers of bridges, as an access does.
pci_function* pci_model::find(unsigned bus, std::uint8_t device_and_function) {
    functions* here = &root_;
    unsigned number = options_.first_bus;
    while (number != bus) {
        pci_function* way = nullptr;
        for (const auto& [at, each] : *here) {
            const unsigned secondary = each->peek(0x19, 1);
            if (each->is_bridge() && secondary != 0 && secondary <= bus && bus <= each->peek(0x1a, 1)) {
                if (way != nullptr) {
                    report("PCI-BUS-NUMBERS", *each,
                           "leads to bus " + std::to_string(bus) + ", as " + way->name_ + " does");
                }
                way = each.get();
            }
        }
        if (way == nullptr) {
            return nullptr;
        }
        number = way->peek(0x19, 1);
        here = &way->behind_;
    }
    const auto found = here->find(device_and_function);
    return found == here->end() ? nullptr : found->second.get();
}

bool pci_model::may_access(const pci_function& to, std::uint16_t offset, unsigned width) {
    if (width != 4 && touches(offset, width, first_bar, end_of_bars(to))) {
        report("PCI-WIDTH", to, "a BAR is accessed with " + std::to_string(width) + " bytes");
        return false;
    }
    return offset + width <= pci_function::space_bytes;
}

std::uint32_t pci_model::read(std::uint64_t offset, unsigned width) {
    ++accesses_;
    const pci_function* const from =
        find(options_.first_bus + static_cast<unsigned>(offset >> 20), static_cast<std::uint8_t>(offset >> 12));
    const auto at = static_cast<std::uint16_t>(offset & 0xfff);
    if (from == nullptr) {
        return ~0U >> (32 - 8 * width);
    }
    return may_access(*from, at, width) ? from->peek(at, width) : 0;
}

void pci_model::check_write(const pci_function& to, std::uint16_t offset, unsigned width) {
    const auto all = [&](auto&& holds_for) {
        bool result = true;
        for (unsigned byte = offset; byte < offset + width; ++byte) {
            result = result && holds_for(byte);
        }
        return result;
    };
    const unsigned decoding = to.command() & (io_decoding | memory_decoding);
    if (touches(offset, width, first_bar, end_of_bars(to)) && decoding != 0) {
        report("PCI-SIZING", to, "a BAR is written while the function decodes");
    } else if (to.is_bridge() && touches(offset, width, 0x1c, 0x34) && !touches(offset, width, 0x1e, 0x20) &&
               decoding != 0) {
        report("PCI-WINDOW", to, "a window is written while the bridge forwards");
    }
    if (!all([&](unsigned byte) { return !to.is_vendor_specific_[byte]; })) {
        report("PCI-14", to, "a write to a capability at " + hexadecimal(offset));
        return;
    }
    const bool may_be_absent = touches(offset, width, first_bar, 0x34) || touches(offset, width, 0x38, 0x3c);
    if (touches(offset, width, status_register, status_register + 2) ||
        (to.is_bridge() && touches(offset, width, 0x1e, 0x20)) ||
        !all([&](unsigned byte) { return !to.is_header_[byte]; }) ||
        (!may_be_absent && all([&](unsigned byte) { return to.writable_[byte] == 0; }))) {
        report("PCI-READ-ONLY", to, "a write to what is read-only at " + hexadecimal(offset));
    }
}

void pci_model::write(std::uint64_t offset, unsigned width, std::uint32_t value) {
    ++accesses_;
    pci_function* const to =
        find(options_.first_bus + static_cast<unsigned>(offset >> 20), static_cast<std::uint8_t>(offset >> 12));
    const auto at = static_cast<std::uint16_t>(offset & 0xfff);
    if (to == nullptr || !may_access(*to, at, width)) {
        return;
    }
    check_write(*to, at, width);
    const unsigned before = to->command();
    for (unsigned byte = 0; byte < width; ++byte) {
        const std::uint8_t mask = to->writable_[at + byte];
        std::uint8_t& kept = to->bytes_[at + byte];
        kept = static_cast<std::uint8_t>((kept & ~mask) | (value >> 8 * byte & mask));
    }
    decode_all();
    const unsigned turned_on = to->command() & ~before;
    for (std::size_t index = 0; index < to->bars_.size(); ++index) {
        const pci_bar_kind kind = to->bars_[index].kind;
        const unsigned decoding = kind == pci_bar_kind::io ? io_decoding : memory_decoding;
        if (kind != pci_bar_kind::absent && (turned_on & decoding) != 0 && to->attached_[index] == 0) {
            report("PCI-NO-ADDRESS", *to,
                   "decodes BAR " + std::to_string(index) + " at " + hexadecimal(to->bar_address(index)) +
                       ", where nothing reaches it");
        }
    }
    if (to->on_write) {
        to->on_write(at, width);
    }
}

// Where a hart reaches the BAR; 0 if it does not.
std::uint64_t pci_model::forwarded(const pci_function& of, std::size_t index) const {
    const pci_bar& bar = of.bars_[index];
    const std::uint64_t address = of.bar_address(index);
    const bool is_io = bar.kind == pci_bar_kind::io;
    if (bar.kind == pci_bar_kind::absent || address == 0 ||
        (of.command() & (is_io ? io_decoding : memory_decoding)) == 0) {
        return 0;
    }
    for (const pci_function* bridge = of.bridge_; bridge != nullptr; bridge = bridge->bridge_) {
        if (!forwards(*bridge, bar.kind, address, bar.size, true)) {
            return 0;
        }
    }
    for (const pci_window* const window : {&options_.io, &options_.memory32, &options_.memory64}) {
        if ((window == &options_.io) == is_io && holds(*window, address, bar.size)) {
            return window->cpu_address + (address - window->bus_address);
        }
    }
    return 0;
}

void pci_model::decode_all() {
    for (pci_function* const each : all_) {
        for (std::size_t index = 0; index < each->bars_.size(); ++index) {
            const std::uint64_t address = forwarded(*each, index);
            if (address != each->attached_[index]) {
                attach(*each, index, address);
                if (address != 0) {
                    check_overlap(*each, index);
                }
            }
        }
    }
}

void pci_model::attach(pci_function& of, std::size_t index, std::uint64_t address) {
    const pci_bar& bar = of.bars_[index];
    if (bar.registers != nullptr && of.attached_[index] != 0) {
        machine_.detach(*bar.registers);
    }
    of.attached_[index] = address;
    if (bar.registers != nullptr && address != 0) {
        machine_.attach(address, bar.size, *bar.registers);
    }
}

void pci_model::check_overlap(const pci_function& of, std::size_t index) {
    const std::uint64_t begin = of.attached_[index];
    const std::uint64_t end = begin + of.bars_[index].size;
    const std::string bar = "BAR " + std::to_string(index) + " overlaps ";
    for (const pci_function* const other : all_) {
        for (std::size_t at = 0; at < other->bars_.size(); ++at) {
            const std::uint64_t base = other->attached_[at];
            if (base != 0 && (other != &of || at != index) && base < end && begin < base + other->bars_[at].size) {
                report("PCI-OVERLAP", of, bar + "BAR " + std::to_string(at) + " of " + other->name_);
            }
        }
        bool is_behind = false;
        for (const pci_function* bridge = of.bridge_; bridge != nullptr; bridge = bridge->bridge_) {
            is_behind = is_behind || bridge == other;
        }
        if (other->is_bridge() && !is_behind &&
            forwards(*other, of.bars_[index].kind, of.bar_address(index), of.bars_[index].size, false)) {
            report("PCI-OVERLAP", of, bar + "a window of the bridge " + other->name_);
        }
    }
}

void pci_model::report(const char* id, const pci_function& of, const std::string& what) {
    machine_.report(id, "function " + of.name_ + ": " + what);
}

} // namespace inflight::model
