#include "inflight/drivers/pci/placement.hpp"

#include "inflight/drivers/pci/address_pool.hpp"
#include "inflight/drivers/pci/bars.hpp"
#include "inflight/drivers/pci/bridge_windows.hpp"
#include "inflight/drivers/pci/registers.hpp"

#include <algorithm>
#include <cstddef>

namespace inflight::pci {

namespace {

constexpr std::uint64_t io_limit = 0x1'0000;
constexpr std::uint64_t memory32_limit = 0x1'0000'0000;

// I/O BARs are for those who cannot use others: without them, a function with BARs in memory space still works. A
// bridge must turn on both, for what is behind it.
void fail(function& of, const base_address& bar, function_error why) noexcept {
    const bool has_memory = std::ranges::any_of(of.bars, &base_address::is_memory);
    if (of.outcome == function_error::none && (bar.is_memory() || !has_memory || of.is_bridge())) {
        of.outcome = why;
    }
}

class placer {
  public:
    placer(configuration_space& space, function_list& functions) noexcept : space_{space}, functions_{functions} {}

    void measure_all() noexcept {
        for (function& each : functions_) {
            if (each.is_host_bridge()) {
                continue;
            }
            size_bars(space_, each);
            for (const base_address& bar : each.bars) {
                if (bar.kind != bar_kind::absent && bar.size == 0) {
                    fail(each, bar, function_error::bar_damaged);
                }
            }
        }
    }

    // Places what is on one bus, and then what is behind its bridges. `pools` is what that bus can reach.
    void place_bus(std::uint16_t parent, address_pools& pools) noexcept {
        // The small ones first: what does not fit in the end is then the largest, and not all others.
        for (std::uint64_t size = next_size(parent, 0); size != 0; size = next_size(parent, size)) {
            for (function& each : functions_) {
                if (each.parent == parent) {
                    place_bars(each, size, pools);
                }
            }
        }
        for (std::size_t index = 0; index < functions_.size(); ++index) {
            if (functions_[index].parent == parent && functions_[index].secondary_bus != 0) {
                place_behind(index, pools);
            }
        }
    }

  private:
    // The smallest size of a BAR on the bus that is larger than `than`; 0: none.
    [[nodiscard]] std::uint64_t next_size(std::uint16_t parent, std::uint64_t than) const noexcept {
        std::uint64_t next = 0;
        for (const function& each : functions_) {
            for (const base_address& bar : each.bars) {
                if (each.parent == parent && bar.size > than && (next == 0 || bar.size < next)) {
                    next = bar.size;
                }
            }
        }
        return next;
    }

    void place_bars(function& of, std::uint64_t size, address_pools& pools) noexcept {
        for (std::size_t index = 0; index < max_bars; ++index) {
            base_address& bar = of.bars[index];
            if (bar.kind == bar_kind::absent || bar.size != size) {
                continue;
            }
            pools.place(bar);
            if (!bar.is_placed()) {
                fail(of, bar, function_error::bar_does_not_fit);
            } else if (!write_bar(space_, of, index, bar.bus_address)) {
                bar.bus_address = 0;
                fail(of, bar, function_error::bar_does_not_hold);
            }
        }
    }

    // enumerate() bounds how deep bridges are within bridges.
    void place_behind(std::size_t index, address_pools& pools) noexcept {
        const function& bridge = functions_[index];
        if (bridge.outcome != function_error::none) {
            give_up_behind(bridge);
            return;
        }
        const bridge_windows windows{space_, bridge.address};
        const address_pools reachable = windows.reachable(pools);
        address_pools below = reachable;
        place_bus(static_cast<std::uint16_t>(index), below);
        windows.open(reachable, below, pools);
        space_.write16(bridge.address, registers::command,
                       command_bit::io | command_bit::memory | command_bit::bus_master | command_bit::intx_disable);
    }

    void give_up_behind(const function& bridge) noexcept {
        for (function& each : functions_) {
            if (each.address.bus >= bridge.secondary_bus && each.address.bus <= bridge.subordinate_bus &&
                each.outcome == function_error::none) {
                each.outcome = function_error::bridge_unusable;
            }
        }
    }

    configuration_space& space_;
    function_list& functions_;
};

void set_command(configuration_space& space, function_address where, unsigned cleared, unsigned set) noexcept {
    const unsigned command = space.read16(where, registers::command);
    space.write16(where, registers::command, static_cast<std::uint16_t>((command & ~cleared) | set));
}

constexpr unsigned decoding_and_bus_master = command_bit::io | command_bit::memory | command_bit::bus_master;

} // namespace

void place(configuration_space& space, const host_windows& windows, function_list& functions) noexcept {
    address_pools root{.io = {windows.io, io_limit},
                       .memory32 = {windows.memory32, memory32_limit},
                       .memory64 = {windows.memory64, UINT64_MAX},
                       .is_root = true};
    placer work{space, functions};
    work.measure_all();
    work.place_bus(no_parent, root);
}

std::uint16_t enable(configuration_space& space, const function& of) noexcept {
    const unsigned bits =
        (of.decodes_memory() ? unsigned{command_bit::memory} : 0) | (of.decodes_io() ? unsigned{command_bit::io} : 0);
    set_command(space, of.address, decoding_and_bus_master, bits | command_bit::bus_master);
    return static_cast<std::uint16_t>(bits | command_bit::bus_master);
}

void disable(configuration_space& space, function_address where) noexcept {
    set_command(space, where, decoding_and_bus_master, command_bit::intx_disable);
}

void isolate(configuration_space& space, function_address where) noexcept {
    set_command(space, where, command_bit::bus_master, command_bit::intx_disable);
}

void set_intx(configuration_space& space, function_address where, bool enabled) noexcept {
    set_command(space, where, command_bit::intx_disable, enabled ? 0U : unsigned{command_bit::intx_disable});
}

} // namespace inflight::pci
