// What the kernel needs to know about the machine, from its device tree.
#pragma once

#include "arch/arch.hpp"
#include "src/kernel/bounded_list.hpp"
#include "src/kernel/device_tree.hpp"
#include "src/kernel/memory_range.hpp"
#include "src/kernel/pci_host_description.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace inflight::kernel {

// Why the machine that the device tree describes cannot be used.
enum class machine_error : std::uint8_t {
    none,
    no_memory,
    memory_damaged,
    reservation_damaged,
    too_many_reservations,
    no_harts,
    hart_damaged,
    duplicate_hart,
    no_timebase,
    no_wired_controller,
    plic_damaged,
    aplic_damaged,
    imsic_damaged,
    imsic_without_hart,
    no_supervisor_context,
    bootargs_damaged,
    initrd_damaged,
};

// One sentence that names the cause and, where there is one, the remedy. Static storage.
[[nodiscard]] std::string_view text(machine_error error) noexcept;

struct hart_description {
    std::uint64_t id = 0;                   // mhartid
    std::string_view isa;                   // "riscv,isa"; empty if absent
    device_tree::property isa_extensions;   // "riscv,isa-extensions"; empty if absent
    std::uint32_t interrupt_controller = 0; // phandle of its "riscv,cpu-intc"; 0: none

    // What machine_description::wired calls its supervisor mode: the context of a PLIC, the hart index of an APLIC.
    // None: no wired source reaches this hart.
    std::optional<std::uint32_t> wired_target;

    // Physical address of the interrupt file of its supervisor mode, to which messages are written: 4 KiB of the
    // machine's IMSIC. 0: it has none.
    std::uint64_t interrupt_file = 0;

    std::uint64_t sswi_register = 0; // physical address of its SETSSIP word; 0: the machine has no ACLINT SSWI

    // Returns whether the hart announces that extension ("c", "zba", "sstc"), in lower case. Ignores versions in the
    // ISA string, and expands "g".
    [[nodiscard]] bool has_extension(std::string_view name) const noexcept;
};

enum class wired_controller_kind : std::uint8_t {
    plic,
    aplic,       // in direct mode: interrupts harts itself
    aplic_imsic, // in MSI mode: sends messages to the IMSIC
};

// A controller whose sources are wires from devices.
struct wired_controller_description {
    wired_controller_kind kind = wired_controller_kind::plic;
    memory_range registers;
    std::uint32_t phandle = 0;      // as "interrupt-parent" and the interrupt map of a PCI host bridge name it; 0: none
    std::uint32_t source_count = 0; // sources are 1 .. source_count: "riscv,ndev" of a PLIC (where it is absent, all
                                    // 1023), "riscv,num-sources" of an APLIC
    std::size_t controllers = 0;    // such nodes of supervisor mode in the tree; those of further NUMA nodes are not
                                    // described
};

// The interrupt files of the harts, to which devices send messages. The address of each is in hart_description.
struct imsic_description {
    std::uint32_t phandle = 0;  // as "msi-parent" names it; 0: none
    std::uint32_t id_count = 0; // "riscv,num-ids": identities are 1 .. id_count, in each file
};

struct virtio_slot {
    memory_range registers;
    std::uint32_t interrupt = 0; // source at machine_description::wired; 0, which no controller has: none there.
                                 // Several devices may share a source.
};

struct uart_description {
    memory_range registers;
    std::uint32_t register_shift = 0; // register n is at base + (n << register_shift)
    std::uint32_t interrupt = 0;      // as virtio_slot::interrupt
    bool is_standard_output = false;  // /chosen/stdout-path names it
};

inline constexpr std::size_t max_reservations = 256;

// The views refer to the blob.
struct machine_description {
    bounded_list<memory_range, 8> memory; // in tree order, without empty banks
    // Reservation block and /reserved-memory, without empty ones. It never drops one: too many are an error.
    bounded_list<memory_range, max_reservations> reservations;
    bounded_list<hart_description, arch::max_harts> harts; // in tree order, without disabled ones
    std::uint64_t timebase_frequency = 0;                  // Hz, of the time CSR
    wired_controller_description wired;                    // the one that serves the virtio slots
    std::optional<imsic_description> imsic;                // exactly if it is of kind aplic_imsic
    bounded_list<virtio_slot, 32> virtio;      // every enabled "virtio,mmio" with registers, by ascending address
    std::size_t virtio_unusable = 0;           // others, whose "reg" is damaged or overlaps another's
    std::optional<pci_host_description> pci;   // the first enabled "pci-host-ecam-generic"; it may be unusable
    std::optional<uart_description> uart;      // ns16550a: the standard output if it is one, else the first
    std::optional<memory_range> test_finisher; // "sifive,test0" or "sifive,test1"
    std::optional<memory_range> sswi;          // the first "riscv,aclint-sswi"; see hart_description
    std::string_view bootargs;                 // empty if absent; a NUL follows it
    std::optional<memory_range> initrd;
};

// Fills a default-constructed `machine` from the tree. The lists count what they have no room for in `dropped()`. After
// an error the description is incomplete and must not be used, except for `uart` and `test_finisher`: these are found
// first, so that the error can be reported.
[[nodiscard]] machine_error describe(const device_tree& tree, machine_description& machine) noexcept;

// Returns the largest contiguous range of the banks that does not overlap `taken`; of equal ones, the first. Its size
// is 0 if there is none. Ranges may be empty, overlap and be in any order.
[[nodiscard]] memory_range largest_free_range(std::span<const memory_range> banks,
                                              std::span<const memory_range> taken) noexcept;

} // namespace inflight::kernel
