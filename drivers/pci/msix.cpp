#include "inflight/drivers/pci/msix.hpp"

#include "inflight/arch/arch.hpp"
#include "inflight/drivers/pci/capabilities.hpp"
#include "inflight/drivers/pci/placement.hpp"
#include "inflight/drivers/pci/registers.hpp"

namespace inflight::pci {

namespace {

// The capability.
constexpr std::uint16_t control = 2;
constexpr std::uint16_t table = 4;
constexpr std::uint16_t pending_bits = 8;
constexpr std::uint16_t capability_length = 12;
constexpr std::uint16_t size_less_one = 0x7ff;
constexpr std::uint16_t function_mask = 1 << 14;
constexpr std::uint16_t enabled = 1 << 15;
constexpr std::uint32_t bar_index = 7; // of the registers table and pending_bits

// An entry of the table.
constexpr std::uintptr_t entry_size = 16;
constexpr std::uintptr_t address_low = 0;
constexpr std::uintptr_t address_high = 4;
constexpr std::uintptr_t message_data = 8;
constexpr std::uintptr_t vector_control = 12;
constexpr std::uint32_t masked = 1;

struct place_in_bar {
    std::uintptr_t address = 0;
    msix_error error = msix_error::none;
};

// Where the `length` bytes are that a register of the capability refers to.
place_in_bar locate(const function& of, std::uint32_t reference, std::uint32_t length, msix_error outside) noexcept {
    const std::uint32_t index = reference & bar_index;
    const std::uint32_t offset = reference & ~bar_index;
    if (index >= max_bars || !of.bars[index].is_memory() || !of.decodes_memory()) {
        return {.address = 0, .error = msix_error::bar_missing};
    }
    const base_address& bar = of.bars[index];
    if (offset >= bar.size || length > bar.size - offset) {
        return {.address = 0, .error = outside};
    }
    return {.address = static_cast<std::uintptr_t>(bar.cpu_address + offset), .error = msix_error::none};
}

} // namespace

const char* to_string(msix_error why) noexcept {
    switch (why) {
    case msix_error::none: return "no error";
    case msix_error::absent: return "the PCI function has no MSI-X: its interrupts come by its pin";
    case msix_error::damaged:
        return "the MSI-X capability leaves the configuration space: the device is broken, its interrupts come by its "
               "pin";
    case msix_error::bar_missing:
        return "the MSI-X table is in a BAR that does not exist or has no address: interrupts come by the pin";
    case msix_error::table_outside:
        return "the MSI-X table leaves its BAR: the device is broken, its interrupts come by its pin";
    case msix_error::pba_outside:
        return "the pending bits of MSI-X leave their BAR: the device is broken, its interrupts come by its pin";
    }
    return "unknown error";
}

msix_table::open_result msix_table::open(configuration_space& space, const function& of) noexcept {
    const auto fail = [](msix_error why) {
        return open_result{.table = {}, .error = why};
    };
    const std::uint16_t capability = find_capability(space, of.address, capability_id::msix);
    if (capability == 0) {
        return fail(msix_error::absent);
    }
    if (capability > registers::end_of_capabilities - capability_length) {
        return fail(msix_error::damaged);
    }
    const auto at = [&](std::uint16_t offset) {
        return static_cast<std::uint16_t>(capability + offset);
    };
    const auto size = static_cast<std::uint16_t>((space.read16(of.address, at(control)) & size_less_one) + 1);
    const auto entries = locate(of, space.read32(of.address, at(pci::table)), std::uint32_t{size} * entry_size,
                                msix_error::table_outside);
    if (entries.error != msix_error::none) {
        return fail(entries.error);
    }
    const std::uint32_t pending_bytes = (std::uint32_t{size} + 63) / 64 * 8;
    const auto pending = locate(of, space.read32(of.address, at(pending_bits)), pending_bytes, msix_error::pba_outside);
    if (pending.error != msix_error::none) {
        return fail(pending.error);
    }
    open_result opened;
    opened.table.space_ = &space;
    opened.table.where_ = of.address;
    opened.table.capability_ = capability;
    opened.table.size_ = size;
    opened.table.entries_ = entries.address;
    opened.table.pending_ = pending.address;
    return opened;
}

void msix_table::set(std::uint16_t index, std::uint64_t address, std::uint32_t data) const noexcept {
    mask(index); // an entry must not change while it is unmasked
    const std::uintptr_t entry = entries_ + index * entry_size;
    arch::mmio_write32(entry + address_low, static_cast<std::uint32_t>(address));
    arch::mmio_write32(entry + address_high, static_cast<std::uint32_t>(address >> 32));
    arch::mmio_write32(entry + message_data, data);
    arch::mmio_write32(entry + vector_control, 0);
}

void msix_table::mask(std::uint16_t index) const noexcept {
    arch::mmio_write32(entries_ + index * entry_size + vector_control, masked);
}

void msix_table::mask_all() const noexcept {
    for (std::uint16_t index = 0; index < size_; ++index) {
        mask(index);
    }
}

bool msix_table::is_pending(std::uint16_t index) const noexcept {
    return (arch::mmio_read32(pending_ + std::uintptr_t{4} * (index / 32)) >> index % 32 & 1) != 0;
}

void msix_table::begin() const noexcept {
    set_control(enabled | function_mask);
    set_intx(*space_, where_, false);
    mask_all();
}

void msix_table::enable() const noexcept {
    set_control(enabled);
}

void msix_table::disable() const noexcept {
    mask_all();
    set_control(0);
}

void msix_table::set_control(std::uint16_t bits) const noexcept {
    const auto offset = static_cast<std::uint16_t>(capability_ + control);
    const unsigned others = space_->read16(where_, offset) & ~unsigned{enabled | function_mask};
    space_->write16(where_, offset, static_cast<std::uint16_t>(others | bits));
}

} // namespace inflight::pci
