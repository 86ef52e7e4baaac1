// What is known about a function on a PCI bus.
#pragma once

#include "inflight/drivers/pci/configuration_space.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::pci {

// Why a function, or what is behind a bridge, cannot be used. The other functions are not affected.
enum class function_error : std::uint8_t {
    none,
    unknown_header,    // neither a function nor a bridge to PCI
    no_bus_number,     // a bridge that no bus number is left for
    too_deep,          // a bridge behind too many bridges
    bridge_damaged,    // a bridge that does not keep its bus numbers
    bar_damaged,       // a BAR whose bits are no size
    bar_does_not_fit,  // no window has room for a BAR
    bar_does_not_hold, // a BAR does not keep the address that was written
    bridge_unusable,   // it is behind a bridge that has an outcome of its own
};

// One sentence that names the cause and the remedy.
[[nodiscard]] const char* to_string(function_error why) noexcept;

enum class bar_kind : std::uint8_t { absent, io, memory32, memory64 };

// A base address register. A 64-bit one takes two slots; the second one is absent.
struct base_address {
    bar_kind kind = bar_kind::absent;
    bool prefetchable = false;
    std::uint64_t size = 0;        // a power of two; 0: absent or damaged
    std::uint64_t bus_address = 0; // 0: it has no place
    std::uint64_t cpu_address = 0; // where a hart finds it, also if it is an I/O BAR; meaningful only with a place

    [[nodiscard]] bool is_memory() const noexcept { return kind == bar_kind::memory32 || kind == bar_kind::memory64; }
    [[nodiscard]] bool is_placed() const noexcept { return bus_address != 0; }
};

inline constexpr std::size_t max_bars = 6;

inline constexpr std::uint16_t no_parent = 0xffff;

struct function {
    function_address address;
    function_error outcome = function_error::none;
    std::uint16_t vendor = 0;
    std::uint16_t device = 0;
    std::uint32_t class_code = 0; // class, subclass, interface: 24 bits
    std::uint8_t revision = 0;
    std::uint8_t header_type = 0;            // without the multi-function bit; 1: a bridge
    std::uint16_t subsystem_vendor = 0;      // 0 for a bridge
    std::uint16_t subsystem = 0;             // 0 for a bridge
    std::uint8_t interrupt_pin = 0;          // 1 .. 4: INTA .. INTD; 0: none
    std::uint8_t root_device = 0;            // the device on the root bus that it is, or is behind
    std::uint8_t root_pin = 0;               // its pin there, swizzled by each bridge on the way; 0: none
    std::uint16_t parent = no_parent;        // index of its bridge in the list; no_parent: on the root bus
    std::uint8_t secondary_bus = 0;          // of a bridge; 0: not numbered
    std::uint8_t subordinate_bus = 0;        // of a bridge
    std::array<base_address, max_bars> bars; // filled by place()

    // Returns whether it has BARs in that space, and each has a place. Otherwise decoding stays off.
    [[nodiscard]] bool decodes_memory() const noexcept { return decodes(true); }
    [[nodiscard]] bool decodes_io() const noexcept { return decodes(false); }

    [[nodiscard]] bool is_bridge() const noexcept { return header_type == 1; }
    [[nodiscard]] bool is_host_bridge() const noexcept { return class_code >> 8 == 0x0600; }

  private:
    [[nodiscard]] bool decodes(bool memory) const noexcept;
};

// The functions of a host bridge, in memory of the caller. The functions of a bus are together, ordered by address; a
// bridge comes before what is behind it.
class function_list {
  public:
    explicit function_list(std::span<function> storage) noexcept : storage_{storage} {}

    // Returns false, and counts, if there is no room.
    bool push_back(const function& found) noexcept {
        if (size_ == storage_.size()) {
            ++dropped_;
            return false;
        }
        storage_[size_++] = found;
        return true;
    }

    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    // How many functions were found that there was no room for. Their decoding is off.
    [[nodiscard]] std::size_t dropped() const noexcept { return dropped_; }
    [[nodiscard]] function& operator[](std::size_t index) noexcept { return storage_[index]; }
    [[nodiscard]] const function& operator[](std::size_t index) const noexcept { return storage_[index]; }
    [[nodiscard]] function* begin() noexcept { return storage_.data(); }
    [[nodiscard]] function* end() noexcept { return storage_.data() + size_; }
    [[nodiscard]] const function* begin() const noexcept { return storage_.data(); }
    [[nodiscard]] const function* end() const noexcept { return storage_.data() + size_; }

  private:
    std::span<function> storage_;
    std::size_t size_ = 0;
    std::size_t dropped_ = 0;
};

} // namespace inflight::pci
