// The driver of the PCI bus against functions of which every byte comes from the fuzzer: what they contain, which bits of
// it can be written, and with `is_fickle` what each read returns. Whatever they say, the driver ends, and what it places
// and finds lies within bounds.
#include "arch/arch.hpp"
#include "drivers/pci/enumeration.hpp"
#include "drivers/pci/msix.hpp"
#include "drivers/pci/placement.hpp"
#include "drivers/virtio/pci_capabilities.hpp"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <span>
#include <vector>

namespace {

using namespace inflight;

void demand(bool holds, const char* what) {
    if (!holds) {
        std::fprintf(stderr, "violated: %s\n", what);
        std::abort();
    }
}

class input {
  public:
    explicit input(std::span<const std::uint8_t> bytes) noexcept : bytes_{bytes} {}
    std::uint8_t byte() noexcept {
        if (bytes_.empty()) {
            return 0;
        }
        const std::uint8_t first = bytes_.front();
        bytes_ = bytes_.subspan(1);
        return first;
    }
    [[nodiscard]] bool empty() const noexcept { return bytes_.empty(); }

  private:
    std::span<const std::uint8_t> bytes_;
};

// 256 bytes. A run of bytes of the input is a place and what is there.
struct registers {
    std::array<std::uint8_t, 256> bytes{};
    std::array<std::uint8_t, 256> writable{};

    explicit registers(input& from) {
        writable.fill(0xff);
        for (unsigned runs = from.byte() % 32; runs != 0 && !from.empty(); --runs) {
            std::array<std::uint8_t, 256>& filled = (from.byte() & 1) != 0 ? writable : bytes;
            std::uint8_t at = from.byte();
            for (unsigned length = from.byte() % 32; length != 0; --length) {
                filled[at++] = from.byte();
            }
        }
    }
};

class fuzzed_space final : public pci::configuration_space {
  public:
    explicit fuzzed_space(input from) : rest_{from} {
        is_fickle_ = (rest_.byte() & 1) != 0;
        for (unsigned count = rest_.byte() % 8; count != 0; --count) {
            const std::uint8_t bus = rest_.byte() % 8;
            const std::uint8_t at = rest_.byte();
            functions_.try_emplace(bus << 8 | at, rest_);
        }
    }

    std::uint8_t read8(pci::function_address where, std::uint16_t offset) noexcept override {
        return static_cast<std::uint8_t>(read(where, offset, 1));
    }
    std::uint16_t read16(pci::function_address where, std::uint16_t offset) noexcept override {
        return static_cast<std::uint16_t>(read(where, offset, 2));
    }
    std::uint32_t read32(pci::function_address where, std::uint16_t offset) noexcept override {
        return read(where, offset, 4);
    }
    void write8(pci::function_address where, std::uint16_t offset, std::uint8_t value) noexcept override {
        write(where, offset, 1, value);
    }
    void write16(pci::function_address where, std::uint16_t offset, std::uint16_t value) noexcept override {
        write(where, offset, 2, value);
    }
    void write32(pci::function_address where, std::uint16_t offset, std::uint32_t value) noexcept override {
        write(where, offset, 4, value);
    }

  private:
    registers* find(pci::function_address where, std::uint16_t offset, unsigned width) {
        demand(++accesses_ < 2'000'000, "the driver does not end");
        demand(where.device < 32 && where.function < 8, "an address that no function has");
        demand(offset % width == 0 && offset + width <= 256, "an access that leaves the configuration space");
        const auto found = functions_.find(where.bus << 8 | where.device << 3 | where.function);
        return found != functions_.end() ? &found->second : nullptr;
    }
    std::uint32_t read(pci::function_address where, std::uint16_t offset, unsigned width) {
        const registers* const from = find(where, offset, width);
        std::uint32_t value = 0;
        for (unsigned byte = 0; byte < width; ++byte) {
            const std::uint8_t other = from != nullptr && is_fickle_ ? rest_.byte() : std::uint8_t{0};
            value |= std::uint32_t{from != nullptr ? from->bytes[offset + byte] ^ other : 0xffU} << 8 * byte;
        }
        return value;
    }
    void write(pci::function_address where, std::uint16_t offset, unsigned width, std::uint32_t value) {
        registers* const to = find(where, offset, width);
        for (unsigned byte = 0; to != nullptr && byte < width; ++byte) {
            const std::uint8_t mask = to->writable[offset + byte];
            std::uint8_t& kept = to->bytes[offset + byte];
            kept = static_cast<std::uint8_t>((kept & ~mask) | (value >> 8 * byte & mask));
        }
    }

    input rest_;
    bool is_fickle_ = false;
    std::map<int, registers> functions_;
    unsigned accesses_ = 0;
};

// Where the BARs are.
class window_registers final : public arch::host::mmio_device {
  public:
    std::uint32_t read(std::uint64_t, unsigned) override { return 0; }
    void write(std::uint64_t, unsigned, std::uint32_t) override {}
};

constexpr pci::host_windows windows{.io = {0, 0x0300'0000, 0x1'0000},
                                    .memory32 = {0x4000'0000, 0x4000'0000, 0x4000'0000},
                                    .memory64 = {0x8'0000'0000, 0x4'0000'0000, 0x4'0000'0000}};

bool is_within(const pci::address_window& window, const pci::base_address& bar) {
    return bar.size <= window.size && bar.bus_address >= window.bus_address &&
           bar.bus_address - window.bus_address <= window.size - bar.size &&
           bar.cpu_address - window.cpu_address == bar.bus_address - window.bus_address;
}

void check_bars(const pci::function_list& functions) {
    std::vector<pci::base_address> placed;
    for (const pci::function& each : functions) {
        for (const pci::base_address& bar : each.bars) {
            if (!bar.is_placed()) {
                continue;
            }
            demand(bar.bus_address % bar.size == 0, "a BAR is not aligned");
            demand(bar.is_memory() ? is_within(windows.memory32, bar) ||
                                         (bar.kind == pci::bar_kind::memory64 && is_within(windows.memory64, bar))
                                   : is_within(windows.io, bar),
                   "a BAR is outside of the windows");
            for (const pci::base_address& other : placed) {
                demand(bar.is_memory() != other.is_memory() || bar.bus_address >= other.bus_address + other.size ||
                           other.bus_address >= bar.bus_address + bar.size,
                       "two BARs overlap");
            }
            placed.push_back(bar);
        }
    }
}

bool is_in_a_bar(const pci::function& of, std::uint64_t address, std::uint64_t length) {
    for (const pci::base_address& bar : of.bars) {
        if (bar.is_memory() && bar.is_placed() && address >= bar.cpu_address && length <= bar.size &&
            address - bar.cpu_address <= bar.size - length) {
            return true;
        }
    }
    return false;
}

void check_structures(pci::configuration_space& space, const pci::function& of) {
    virtio::pci_structures found;
    const auto outcome = virtio::find_structures(space, of, found);
    if (outcome != virtio::pci_structures_error::none) {
        demand(found.common == 0, "an error, and structures");
        return;
    }
    demand(found.common_length >= 56 && is_in_a_bar(of, found.common, found.common_length), "the common structure");
    demand(is_in_a_bar(of, found.isr, 1), "the interrupt status");
    demand(found.notify_length >= 2 && is_in_a_bar(of, found.notify, found.notify_length), "the notify structure");
    demand(found.device == 0 || is_in_a_bar(of, found.device, found.device_length), "the device configuration");
}

// The machine reports accesses to where nothing is.
void check_msix(arch::host::machine& machine, pci::configuration_space& space, const pci::function& of) {
    const auto opened = pci::msix_table::open(space, of);
    if (!opened) {
        return;
    }
    demand(opened.table.size() >= 1 && opened.table.size() <= 2048, "the size of the MSI-X table");
    opened.table.begin();
    const auto last = static_cast<std::uint16_t>(opened.table.size() - 1);
    opened.table.set(last, 0x2800'0000, 1);
    opened.table.enable();
    static_cast<void>(opened.table.is_pending(last));
    opened.table.disable();
    demand(machine.violations().empty(), "an access of the MSI-X table outside of the windows");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static arch::host::machine machine{{.memory_bytes = 1 << 16}};
    static window_registers memory32;
    static window_registers memory64;
    static bool attached = false;
    if (!attached) {
        machine.attach(windows.memory32.cpu_address, windows.memory32.size, memory32);
        machine.attach(windows.memory64.cpu_address, windows.memory64.size, memory64);
        attached = true;
    }
    fuzzed_space space{input{{data, size}}};
    std::array<pci::function, 24> storage;
    pci::function_list functions{storage};
    pci::enumerate(space, {0, 7}, functions);
    pci::place(space, windows, functions);
    check_bars(functions);
    for (const pci::function& each : functions) {
        demand(each.root_pin <= 4 && each.root_device < 32, "a pin at the root bus");
        demand(each.parent == pci::no_parent || each.parent < functions.size(), "a parent");
        const std::uint16_t command = pci::enable(space, each);
        demand((command & pci::command_bit::memory) == 0 || each.decodes_memory(), "decoding without addresses");
        static_cast<void>(virtio::identify_pci(each));
        check_structures(space, each);
        check_msix(machine, space, each);
        pci::disable(space, each.address);
    }
    return 0;
}
