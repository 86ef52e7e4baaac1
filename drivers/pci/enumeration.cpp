#include "inflight/drivers/pci/enumeration.hpp"

#include "inflight/drivers/pci/capabilities.hpp"
#include "inflight/drivers/pci/placement.hpp"
#include "inflight/drivers/pci/registers.hpp"

namespace inflight::pci {

namespace {

constexpr std::uint8_t multi_function = 0x80; // of the register header type

// Reads what a function of every header type has.
function identify(configuration_space& space, function_address where, std::uint32_t id) noexcept {
    function found;
    found.address = where;
    found.vendor = static_cast<std::uint16_t>(id);
    found.device = static_cast<std::uint16_t>(id >> 16);
    const std::uint32_t class_revision = space.read32(where, registers::class_revision);
    found.class_code = class_revision >> 8;
    found.revision = static_cast<std::uint8_t>(class_revision);
    found.header_type = space.read8(where, registers::header_type) & static_cast<std::uint8_t>(~multi_function);
    const std::uint8_t pin = space.read8(where, registers::interrupt_pin);
    found.interrupt_pin = pin <= 4 ? pin : std::uint8_t{0};
    return found;
}

void set_bus_numbers(configuration_space& space, const function& bridge, std::uint32_t numbers) noexcept {
    const std::uint32_t latency_timer = space.read32(bridge.address, registers::bus_numbers) & 0xff00'0000;
    space.write32(bridge.address, registers::bus_numbers, latency_timer | numbers);
}

// Turns off what the firmware may have left on, so that nothing answers at an address that is given to another.
void quiet(configuration_space& space, function& found) noexcept {
    if (found.header_type > 1) {
        found.outcome = function_error::unknown_header;
    }
    if (found.is_host_bridge()) {
        return;
    }
    disable(space, found.address);
    if (found.header_type == 0) {
        const std::uint32_t subsystem = space.read32(found.address, registers::subsystem);
        found.subsystem_vendor = static_cast<std::uint16_t>(subsystem);
        found.subsystem = static_cast<std::uint16_t>(subsystem >> 16);
        space.write32(found.address, registers::expansion_rom, 0);
    } else if (found.header_type == 1) {
        set_bus_numbers(space, found, 0);
        space.write32(found.address, registers::bridge_expansion_rom, 0);
    }
}

class enumerator {
  public:
    enumerator(configuration_space& space, bus_range buses, function_list& functions) noexcept
        : space_{space}, functions_{functions}, last_bus_{buses.last}, newest_bus_{buses.first} {}

    void scan(std::uint8_t bus, std::uint16_t parent, unsigned depth) noexcept {
        const std::size_t first = functions_.size();
        const std::uint8_t devices = has_one_device(parent) ? std::uint8_t{1} : devices_per_bus;
        for (std::uint8_t device = 0; device < devices; ++device) {
            scan_device(bus, device, parent);
        }
        // Only now: until here each bridge of this bus has been closed, so that none forwards a bus of another one.
        const std::size_t end = functions_.size();
        for (std::size_t index = first; index < end; ++index) {
            if (functions_[index].is_bridge()) {
                scan_behind(index, depth);
            }
        }
    }

  private:
    // A link has one device at its other end, and some ports answer for it at each number.
    bool has_one_device(std::uint16_t parent) noexcept {
        if (parent == no_parent) {
            return false;
        }
        const function_address port = functions_[parent].address;
        const std::uint16_t express = find_capability(space_, port, capability_id::express);
        const unsigned type =
            express != 0 ? unsigned{space_.read16(port, static_cast<std::uint16_t>(express + 2))} >> 4 & 0xf : 0;
        return type == 4 || type == 6; // root port, downstream port
    }

    void scan_device(std::uint8_t bus, std::uint8_t device, std::uint16_t parent) noexcept {
        std::uint8_t count = 1;
        for (std::uint8_t number = 0; number < count; ++number) {
            const function_address where{bus, device, number};
            const std::uint32_t id = space_.read32(where, registers::id);
            if ((id & 0xffff) == 0xffff || (id & 0xffff) == 0) { // no vendor has these
                continue;
            }
            if (number == 0 && (space_.read8(where, registers::header_type) & multi_function) != 0) {
                count = functions_per_device;
            }
            function found = identify(space_, where, id);
            found.parent = parent;
            swizzle(found);
            quiet(space_, found);
            functions_.push_back(found);
        }
    }

    // A bridge connects pin p of device d behind it to its own pin (p + d) mod 4 (Bridge Architecture 1.2, 9.1).
    void swizzle(function& of) const noexcept {
        std::uint8_t device = of.address.device;
        std::uint8_t pin = of.interrupt_pin;
        for (std::uint16_t at = of.parent; at != no_parent; at = functions_[at].parent) {
            pin = pin == 0 ? std::uint8_t{0} : static_cast<std::uint8_t>((pin - 1 + device) % 4 + 1);
            device = functions_[at].address.device;
        }
        of.root_device = device;
        of.root_pin = pin;
    }

    void scan_behind(std::size_t index, unsigned depth) noexcept {
        function& bridge = functions_[index];
        if (depth == max_depth) {
            bridge.outcome = function_error::too_deep;
            return;
        }
        if (newest_bus_ >= last_bus_) {
            bridge.outcome = function_error::no_bus_number;
            return;
        }
        const std::uint8_t secondary = ++newest_bus_;
        const std::uint32_t numbers = bridge.address.bus | std::uint32_t{secondary} << 8;
        const std::uint32_t wanted = numbers | std::uint32_t{last_bus_} << 16;
        set_bus_numbers(space_, bridge, wanted);
        if ((space_.read32(bridge.address, registers::bus_numbers) & 0x00ff'ffff) != wanted) {
            bridge.outcome = function_error::bridge_damaged;
            set_bus_numbers(space_, bridge, 0);
            return;
        }
        bridge.secondary_bus = secondary;
        scan(secondary, static_cast<std::uint16_t>(index), depth + 1);
        bridge.subordinate_bus = newest_bus_;
        set_bus_numbers(space_, bridge, numbers | std::uint32_t{newest_bus_} << 16);
    }

    configuration_space& space_;
    function_list& functions_;
    std::uint8_t last_bus_;
    std::uint8_t newest_bus_; // the last number that was given
};

} // namespace

void enumerate(configuration_space& space, bus_range buses, function_list& functions) noexcept {
    enumerator{space, buses, functions}.scan(buses.first, no_parent, 0);
}

} // namespace inflight::pci
