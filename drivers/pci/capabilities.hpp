// The list of capabilities of a function (PCI Local Bus 3.0, 6.7).
#pragma once

#include "inflight/drivers/pci/configuration_space.hpp"

#include <cstdint>
#include <utility>

namespace inflight::pci {

namespace capability_id {
inline constexpr std::uint8_t vendor_specific = 0x09;
inline constexpr std::uint8_t express = 0x10;
inline constexpr std::uint8_t msix = 0x11;
} // namespace capability_id

// A position in the list: valid while `offset` is not 0. Whatever the function answers, the offset is 0x40 .. 0xfc and a
// multiple of 4, and the walk ends after 48 steps: as many as there is room for.
class capability_cursor {
  public:
    // The first capability.
    capability_cursor(configuration_space& space, function_address where) noexcept;

    [[nodiscard]] explicit operator bool() const noexcept { return offset_ != 0; }
    [[nodiscard]] std::uint16_t offset() const noexcept { return offset_; }
    [[nodiscard]] std::uint8_t id() const noexcept { return id_; }
    void next() noexcept;

  private:
    void go_to(std::uint8_t pointer) noexcept;

    configuration_space& space_;
    function_address where_;
    std::uint16_t offset_ = 0;
    std::uint8_t id_ = 0;
    std::uint8_t next_ = 0;
    std::uint8_t steps_ = 0;
};

// The offset of the first capability with that id, 0 if there is none.
[[nodiscard]] std::uint16_t find_capability(configuration_space& space, function_address where,
                                            std::uint8_t id) noexcept;

} // namespace inflight::pci
