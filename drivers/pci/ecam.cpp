#include "inflight/drivers/pci/ecam.hpp"

#include "inflight/arch/arch.hpp"

namespace inflight::pci {

std::uintptr_t ecam::address_of(function_address where, std::uint16_t offset, unsigned width) const noexcept {
    constexpr std::uint16_t page = 4096;
    if (where.bus < buses_.first || where.bus > buses_.last || where.device >= devices_per_bus ||
        where.function >= functions_per_device || offset >= page || offset % width != 0) {
        return 0;
    }
    const std::uint32_t bus = static_cast<std::uint32_t>(where.bus) - buses_.first;
    const std::uint32_t at =
        bus << 20 | std::uint32_t{where.device} << 15 | std::uint32_t{where.function} << 12 | offset;
    return at < size_ && size_ - at >= width ? registers_ + at : 0;
}

std::uint8_t ecam::read8(function_address where, std::uint16_t offset) noexcept {
    const std::uintptr_t address = address_of(where, offset, 1);
    return address != 0 ? arch::mmio_read8(address) : std::uint8_t{0xff};
}

std::uint16_t ecam::read16(function_address where, std::uint16_t offset) noexcept {
    const std::uintptr_t address = address_of(where, offset, 2);
    return address != 0 ? arch::mmio_read16(address) : std::uint16_t{0xffff};
}

std::uint32_t ecam::read32(function_address where, std::uint16_t offset) noexcept {
    const std::uintptr_t address = address_of(where, offset, 4);
    return address != 0 ? arch::mmio_read32(address) : 0xffff'ffff;
}

void ecam::write8(function_address where, std::uint16_t offset, std::uint8_t value) noexcept {
    if (const std::uintptr_t address = address_of(where, offset, 1)) {
        arch::mmio_write8(address, value);
    }
}

void ecam::write16(function_address where, std::uint16_t offset, std::uint16_t value) noexcept {
    if (const std::uintptr_t address = address_of(where, offset, 2)) {
        arch::mmio_write16(address, value);
    }
}

void ecam::write32(function_address where, std::uint16_t offset, std::uint32_t value) noexcept {
    if (const std::uintptr_t address = address_of(where, offset, 4)) {
        arch::mmio_write32(address, value);
    }
}

} // namespace inflight::pci
