#include "inflight/drivers/pci/capabilities.hpp"

#include "inflight/drivers/pci/registers.hpp"

namespace inflight::pci {

namespace {

constexpr std::uint16_t has_capabilities = 1 << 4; // of the register status
constexpr std::uint8_t first_offset = 0x40;
constexpr std::uint8_t max_steps = 48; // (0x100 - first_offset) / 4

} // namespace

capability_cursor::capability_cursor(configuration_space& space, function_address where) noexcept
    : space_{space}, where_{where} {
    if ((space.read16(where, registers::status) & has_capabilities) != 0) {
        go_to(space.read8(where, registers::capabilities));
    }
}

void capability_cursor::next() noexcept {
    go_to(next_);
}

void capability_cursor::go_to(std::uint8_t pointer) noexcept {
    pointer &= 0xfc; // the low bits are reserved
    if (pointer < first_offset || steps_ == max_steps) {
        offset_ = 0;
        return;
    }
    ++steps_;
    offset_ = pointer;
    const std::uint16_t header = space_.read16(where_, offset_);
    id_ = static_cast<std::uint8_t>(header);
    next_ = static_cast<std::uint8_t>(header >> 8);
}

std::uint16_t find_capability(configuration_space& space, function_address where, std::uint8_t id) noexcept {
    for (capability_cursor at{space, where}; at; at.next()) {
        if (at.id() == id) {
            return at.offset();
        }
    }
    return 0;
}

} // namespace inflight::pci
