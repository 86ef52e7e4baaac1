// A PCI bus for host tests: a host bridge with an ECAM, bridges, and functions with BARs and capabilities. It knows
// nothing of the driver's code, and reports what a driver must not do.
//
// It reports PCI-14 of the table of requirements: a write to a capability of VIRTIO. Rules of its own, by id:
//   PCI-WIDTH        an access that is not naturally aligned, or to a BAR or a structure not as a whole
//   PCI-READ-ONLY    a write to what is read-only: ids, the header of a capability, the status register
//   PCI-SIZING       a BAR that is written while it decodes
//   PCI-NO-ADDRESS   decoding turned on with a BAR that has no address, or one that no window forwards
//   PCI-OVERLAP      two BARs that decode the same address
//   PCI-BUS-NUMBERS  a bus that two bridges lead to
//   PCI-WINDOW       a bridge's window that is changed while the bridge forwards
//   PCI-MSIX         an MSI-X entry that is changed while it is unmasked
#pragma once

#include "arch/arch.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace inflight::model {

enum class pci_bar_kind : std::uint8_t { absent, io, memory32, memory64, prefetchable64 };

struct pci_bar {
    pci_bar_kind kind = pci_bar_kind::absent;
    std::uint64_t size = 0;
    arch::host::mmio_device* registers = nullptr; // attached where the BAR decodes; nullptr: nobody accesses it
};

struct pci_identity {
    std::uint16_t vendor = 0x1b36;
    std::uint16_t device = 0x0005;
    std::uint32_t class_code = 0x00ff00;
    std::uint8_t revision = 0;
    std::uint16_t subsystem_vendor = 0x1af4;
    std::uint16_t subsystem = 0x1100;
    std::uint8_t interrupt_pin = 1;
    std::uint8_t header_type = 0;
};

// A function, of header type 0 or, if it is a bridge, 1.
class pci_function {
  public:
    static constexpr std::size_t space_bytes = 256;

    explicit pci_function(const pci_identity& identity);

    // Before the first access. BAR `index` of 64 bits takes the next slot, too.
    pci_function& set_bar(std::size_t index, const pci_bar& bar);
    // Appends a capability: its bytes after the two of the header, and which of their bits can be written. Returns its
    // offset.
    std::uint16_t add_capability(std::uint8_t id, std::span<const std::uint8_t> body,
                                 std::span<const std::uint8_t> writable = {});
    // Of a bridge: which windows it has.
    pci_function& set_windows(bool io, bool prefetchable64);

    // The registers as they are, for tests: not reported.
    [[nodiscard]] std::uint32_t peek(std::uint16_t offset, unsigned width) const;
    void poke(std::uint16_t offset, unsigned width, std::uint32_t value);
    // Defects: which bits of 8, 16 or 32 the register keeps.
    void set_writable(std::uint16_t offset, unsigned width, std::uint32_t bits);

    [[nodiscard]] bool is_bridge() const { return (bytes_[0x0e] & 0x7f) == 1; }
    [[nodiscard]] std::uint16_t command() const { return static_cast<std::uint16_t>(peek(4, 2)); }
    [[nodiscard]] const pci_bar& bar(std::size_t index) const { return bars_[index]; }
    [[nodiscard]] std::uint64_t bar_address(std::size_t index) const;                             // on the bus
    [[nodiscard]] std::uint64_t cpu_address(std::size_t index) const { return attached_[index]; } // 0: not decoded
    // Called after each write, with offset and width.
    std::function<void(std::uint16_t, unsigned)> on_write;

  private:
    friend class pci_model;

    std::string name_;
    std::array<std::uint8_t, space_bytes> bytes_{};
    std::array<std::uint8_t, space_bytes> writable_{};
    std::array<bool, space_bytes> is_header_{};          // of a capability
    std::array<bool, space_bytes> is_vendor_specific_{}; // a byte of such a capability, as those of VIRTIO are
    std::array<pci_bar, 6> bars_{};
    std::array<std::uint64_t, 6> attached_{};
    std::uint16_t last_capability_ = 0;
    std::uint16_t end_of_capabilities_ = 0x40;
    std::map<std::uint8_t, std::unique_ptr<pci_function>> behind_; // of a bridge, by device and function
    pci_function* bridge_ = nullptr;                               // that it is behind
};

// The addresses that the host bridge forwards.
struct pci_window {
    std::uint64_t bus_address = 0;
    std::uint64_t cpu_address = 0;
    std::uint64_t size = 0;
};

struct pci_host_options { // as QEMU's
    std::uintptr_t registers = 0x3000'0000;
    std::uint8_t first_bus = 0;
    std::uint8_t last_bus = 255;
    pci_window io{0, 0x0300'0000, 0x1'0000};
    pci_window memory32{0x4000'0000, 0x4000'0000, 0x4000'0000};
    pci_window memory64{0x4'0000'0000, 0x4'0000'0000, 0x4'0000'0000};
};

class pci_model final : public arch::host::mmio_device {
  public:
    // Attaches the ECAM, and function 0 of device 0: a host bridge without BARs.
    explicit pci_model(arch::host::machine& machine, const pci_host_options& options = {});
    ~pci_model() override;
    pci_model(const pci_model&) = delete;
    pci_model& operator=(const pci_model&) = delete;

    // Plugs a function in, behind `bridge` or on the root bus. Sets the multi-function bit of function 0 if another
    // one is there.
    pci_function& plug(std::uint8_t device, std::uint8_t function, std::unique_ptr<pci_function> plugged,
                       pci_function* bridge = nullptr);

    // Whether the function, and each bridge before it, may access memory.
    [[nodiscard]] static bool is_bus_master(const pci_function& of);
    // Accesses of the configuration space so far.
    [[nodiscard]] std::uint64_t accesses() const { return accesses_; }
    [[nodiscard]] const pci_host_options& options() const { return options_; }

    std::uint32_t read(std::uint64_t offset, unsigned width) override;
    void write(std::uint64_t offset, unsigned width, std::uint32_t value) override;

  private:
    using functions = std::map<std::uint8_t, std::unique_ptr<pci_function>>;

    pci_function* find(unsigned bus, std::uint8_t device_and_function);
    bool may_access(const pci_function& to, std::uint16_t offset, unsigned width);
    void check_write(const pci_function& to, std::uint16_t offset, unsigned width);
    void decode_all();
    [[nodiscard]] std::uint64_t forwarded(const pci_function& of, std::size_t index) const;
    void attach(pci_function& of, std::size_t index, std::uint64_t address);
    void check_overlap(const pci_function& of, std::size_t index);
    void report(const char* id, const pci_function& of, const std::string& what);

    arch::host::machine& machine_;
    pci_host_options options_;
    functions root_;
    std::vector<pci_function*> all_;
    std::uint64_t accesses_ = 0;
};

// The table and the pending bits of MSI-X, in a BAR of their own.
class pci_msix_registers final : public arch::host::mmio_device {
  public:
    using message = std::function<void(std::uint64_t address, std::uint32_t data)>;

    // Adds the capability to `owner`, and the BAR: the table at 0 and the pending bits at `pending_at`.
    pci_msix_registers(arch::host::machine& machine, pci_function& owner, std::size_t bar, std::uint16_t vectors,
                       std::uint32_t pending_at = 0x800, std::uint64_t bar_size = 0x1000);

    // The device wants to interrupt: sends the vector's message, or remembers it while it is masked.
    void raise(std::uint16_t vector);
    void on_message(message deliver) { deliver_ = std::move(deliver); }

    [[nodiscard]] bool is_enabled() const { return (control() & 0x8000) != 0; }
    [[nodiscard]] bool is_masked(std::uint16_t vector) const;
    [[nodiscard]] std::uint16_t vectors() const { return static_cast<std::uint16_t>(entries_.size()); }

    std::uint32_t read(std::uint64_t offset, unsigned width) override;
    void write(std::uint64_t offset, unsigned width, std::uint32_t value) override;

  private:
    [[nodiscard]] std::uint16_t control() const;
    void send_pending(); // of what is not masked any more

    arch::host::machine& machine_;
    pci_function* owner_;
    std::uint16_t capability_;
    std::uint32_t pending_at_;
    std::vector<std::array<std::uint32_t, 4>> entries_;
    std::vector<bool> pending_;
    message deliver_;
};

// Where the structures of a VIRTIO function are, as in QEMU.
struct pci_virtio_layout {
    std::uint8_t bar = 4;
    std::uint32_t common = 0x0000;
    std::uint32_t isr = 0x1000;
    std::uint32_t device = 0x2000;
    std::uint32_t notify = 0x3000;
    std::uint32_t length = 0x1000; // of each
    std::uint32_t multiplier = 4;
};

// A capability of VIRTIO (1.2, 4.1.4) after its header. The `multiplier` only for cfg_type 2.
[[nodiscard]] std::vector<std::uint8_t> virtio_capability(std::uint8_t cfg_type, std::uint8_t bar, std::uint32_t offset,
                                                          std::uint32_t length, std::uint32_t multiplier = 0);

// A virtio device of that type as QEMU shows it, without MSI-X: BAR 4 has the structures, and is attached to
// `registers`. A transitional one has an I/O BAR 0 of 128 bytes besides.
[[nodiscard]] std::unique_ptr<pci_function> virtio_function(std::uint16_t type, bool transitional,
                                                            arch::host::mmio_device* registers = nullptr,
                                                            const pci_virtio_layout& layout = {});

// A bridge: a root port of PCI Express, or a bridge to a PCI bus, which has other functions than device 0 behind it.
[[nodiscard]] std::unique_ptr<pci_function> bridge_function(bool root_port = false);

} // namespace inflight::model
