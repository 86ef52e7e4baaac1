// MSI-X: interrupts of a function that are messages (PCI Local Bus 3.0, 6.8.2).
#pragma once

#include "inflight/drivers/pci/configuration_space.hpp"
#include "inflight/drivers/pci/function.hpp"

#include <cstdint>

namespace inflight::pci {

// Why a function has no usable MSI-X.
enum class msix_error : std::uint8_t {
    none,
    absent,        // no such capability; nothing is wrong
    damaged,       // the capability leaves the configuration space
    bar_missing,   // the table or the pending bits are in a BAR that does not exist or has no address
    table_outside, // the table does not lie within its BAR
    pba_outside,   // the pending bits do not lie within their BAR
};

// One sentence that names the cause and the remedy.
[[nodiscard]] const char* to_string(msix_error why) noexcept;

// A small value; the functions write the registers of the device. The function's memory decoding must be on for what
// touches entries (set, mask, mask_all, is_pending).
class msix_table {
  public:
    struct open_result;

    // Finds the capability and checks that its structures lie within the BARs that place() has placed.
    [[nodiscard]] static open_result open(configuration_space& space, const function& of) noexcept;

    msix_table() noexcept = default;

    // The number of vectors, 1 .. 2048; 0 of a default-constructed table.
    [[nodiscard]] std::uint16_t size() const noexcept { return size_; }

    // Sets where vector `index` (below size()) writes which value, and unmasks it.
    void set(std::uint16_t index, std::uint64_t address, std::uint32_t data) const noexcept;
    void mask(std::uint16_t index) const noexcept;
    void mask_all() const noexcept;
    // Returns whether a message of a masked vector is pending.
    [[nodiscard]] bool is_pending(std::uint16_t index) const noexcept;

    // In this order: begin() turns MSI-X on, with all messages held back and each vector masked, and INTx off; set() for
    // each vector that is used; enable() lets the messages of unmasked vectors go.
    void begin() const noexcept;
    void enable() const noexcept;
    // Turns MSI-X off, with each entry masked. INTx stays off.
    void disable() const noexcept;

  private:
    void set_control(std::uint16_t bits) const noexcept;

    configuration_space* space_ = nullptr;
    function_address where_;
    std::uint16_t capability_ = 0;
    std::uint16_t size_ = 0;
    std::uintptr_t entries_ = 0;
    std::uintptr_t pending_ = 0;
};

struct msix_table::open_result {
    msix_table table;
    msix_error error = msix_error::none;
    explicit operator bool() const noexcept { return error == msix_error::none; }
};

} // namespace inflight::pci
