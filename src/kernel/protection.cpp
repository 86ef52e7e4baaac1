#include "src/kernel/protection.hpp"

#include "arch/arch.hpp"
#include "arch/riscv64/page_table.hpp"
#include "src/kernel/end.hpp"

#include <algorithm>
#include <cstdio>

extern "C" {
extern const std::byte kernel_begin; // kernel.ld
extern const std::byte text_end;
extern const std::byte rodata_begin;
extern const std::byte data_begin;
extern const std::byte kernel_end;
}

namespace inflight::kernel {

namespace {

using arch::riscv64::hart;
using arch::riscv64::page_bytes;
using arch::riscv64::page_table;
using arch::riscv64::permission;
using arch::riscv64::stack_guard_bytes;

struct address_range {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    [[nodiscard]] bool holds(std::uint64_t address) const noexcept { return address >= begin && address < end; }
};

std::uint64_t address_of(const std::byte* place) noexcept {
    return reinterpret_cast<std::uintptr_t>(place);
}

address_range pages_of(std::uint64_t base, std::uint64_t size) noexcept {
    const std::uint64_t last = base + size - 1; // a range never exceeds the address space
    return size == 0 ? address_range{} : address_range{base & ~(page_bytes - 1), (last | (page_bytes - 1)) + 1};
}

address_range pages_of(const memory_range& range) noexcept {
    return pages_of(range.base, range.size);
}

address_range text() noexcept {
    return {address_of(&kernel_begin), address_of(&rodata_begin)};
}

address_range constants() noexcept {
    return {address_of(&rodata_begin), address_of(&data_begin)};
}

address_range data() noexcept {
    return {address_of(&data_begin), address_of(&kernel_end)};
}

address_range guard_below(const std::byte* stack) noexcept {
    return {address_of(stack) - stack_guard_bytes, address_of(stack)};
}

// Set once, before the others start.
std::uint64_t satp = 0; // 0: the machine does not translate
address_range free_memory;
address_range device_tree_pages;
address_range initrd_pages;

class table_maker {
  public:
    explicit table_maker(memory& from) noexcept : tables_{&table_maker::allocate, &from} {}

    void set(address_range pages, permission allowed) noexcept {
        if (pages.end < pages.begin || pages.end > page_table::sv48_reach) {
            reaches_all_ = false; // not even with Sv48
        } else if (!tables_.set(pages.begin, pages.end, allowed)) {
            fail("the machine has too little memory for its page tables: give it at least 16 MiB (./run --memory)");
        }
    }

    // 0: something is beyond the reach of every mode.
    [[nodiscard]] std::uint64_t satp() const noexcept { return reaches_all_ ? tables_.satp() : 0; }

  private:
    static std::byte* allocate(void* from) noexcept {
        return static_cast<memory*>(from)->allocate(page_bytes, page_bytes);
    }

    page_table tables_;
    bool reaches_all_ = true;
};

template <typename Visit>
void for_each_hart(Visit&& visit) noexcept {
    for (const hart* const* each = arch::riscv64::all_harts.data(); *each != nullptr; ++each) {
        visit(**each);
    }
}

// The pattern below a stack.

constexpr std::uint64_t canary = 0x57ac'c0de'dead'57ac;
bool canaries_are_set = false;

std::span<std::uint64_t> canary_below(const hart& owner) noexcept {
    constexpr std::size_t words = stack_guard_bytes / sizeof canary;
    return {reinterpret_cast<std::uint64_t*>(owner.stack_begin) - words, words};
}

void say_overflow(arch::hart_index index, std::span<char> words) noexcept {
    std::snprintf(words.data(), words.size(), "stack overflow of hart %u", index);
}

enum class access : std::uint8_t { none, execute, read, write };

access access_of(std::uint64_t cause) noexcept {
    switch (cause) {
    case 1:
    case 12: return access::execute;
    case 5:
    case 13: return access::read;
    case 7:
    case 15: return access::write;
    default: return access::none;
    }
}

const char* words_for(access tried, std::uint64_t address) noexcept {
    const bool constant = constants().holds(address) || device_tree_pages.holds(address) || initrd_pages.holds(address);
    if (address < page_bytes) {
        return tried == access::execute ? "jump to a null pointer" : "null access";
    }
    if (tried == access::execute && (constant || data().holds(address) || free_memory.holds(address))) {
        return "jump into data";
    }
    if (tried == access::write && text().holds(address)) {
        return "write to the kernel's code";
    }
    if (tried == access::write && constant) {
        return "write to read-only data";
    }
    if (!arch::riscv64::translates()) {
        return nullptr; // all of memory is accessible, so the machine refused
    }
    return tried == access::execute ? "jump to where no memory is mapped" : "access to memory that is not mapped";
}

} // namespace

void protect_memory(const machine_description& machine, memory& memory,
                    std::span<const std::byte> device_tree) noexcept {
    free_memory = {address_of(memory.whole().data()), address_of(memory.whole().data() + memory.whole().size())};
    device_tree_pages = pages_of(address_of(device_tree.data()), device_tree.size());
    initrd_pages = machine.initrd ? pages_of(*machine.initrd) : address_range{};

    // Later calls override earlier ones, so a wrong device in the tree does not change the kernel's own memory.
    table_maker maker{memory};
    const auto map_device = [&maker](const memory_range& registers) {
        maker.set(pages_of(registers), permission::read_write);
    };
    map_device(machine.wired.registers);
    for (const virtio_slot& slot : machine.virtio) {
        map_device(slot.registers);
    }
    map_device(machine.uart ? machine.uart->registers : memory_range{});
    map_device(machine.test_finisher.value_or(memory_range{}));
    if (machine.pci && machine.pci->outcome == pci_host_error::none && machine.pci->is_used) {
        map_device(machine.pci->registers);
        pci::host_windows windows; // none after an error, which pci_bus reports
        if (machine.pci->read_windows(windows) == pci_host_error::none) {
            for (const pci::address_window* const window : {&windows.io, &windows.memory32, &windows.memory64}) {
                map_device({window->cpu_address, window->size});
            }
        }
    }
    for (const hart_description& each : machine.harts) { // harts may have different devices
        map_device({each.sswi_register, each.sswi_register == 0 ? 0 : sizeof(std::uint32_t)});
        map_device({each.interrupt_file, each.interrupt_file == 0 ? 0 : page_bytes});
    }
    maker.set(free_memory, permission::read_write);
    maker.set(initrd_pages, permission::read);
    maker.set(device_tree_pages, permission::read);
    maker.set(text(), permission::read_execute);
    maker.set(constants(), permission::read);
    maker.set(data(), permission::read_write);
    for_each_hart([&maker](const hart& each) {
        std::ranges::fill(canary_below(each), canary);
        maker.set(guard_below(each.stack_begin), permission::none);
        maker.set(guard_below(each.trap_stack_begin), permission::none);
    });
    canaries_are_set = true;
    satp = maker.satp();
    protect_memory_here();
}

void protect_memory_here() noexcept {
    // If this fails, stack_watch checks the pattern instead.
    static_cast<void>(satp != 0 && arch::riscv64::translate(satp));
}

bool explain_fault(std::uint64_t cause, std::uint64_t address, std::span<char> words) noexcept {
    const access tried = access_of(cause);
    if (tried == access::none) {
        return false;
    }
    const hart* broken = nullptr;
    for_each_hart([&](const hart& each) {
        if (guard_below(each.stack_begin).holds(address) || guard_below(each.trap_stack_begin).holds(address)) {
            broken = &each;
        }
    });
    if (broken != nullptr && broken != &arch::riscv64::current_hart()) {
        std::snprintf(words.data(), words.size(), "access to the guard of a stack of hart %u", broken->index);
    } else if (broken != nullptr) {
        say_overflow(broken->index, words);
    } else if (const char* const known = words_for(tried, address)) {
        std::snprintf(words.data(), words.size(), "%s", known);
    } else {
        return false;
    }
    return true;
}

bool stack_has_overflowed(const hart& owner) noexcept {
    return canaries_are_set && !arch::riscv64::translates() &&
           std::ranges::any_of(canary_below(owner), [](std::uint64_t word) { return word != canary; });
}

void stack_watch::begin(async::executor& here) noexcept {
    if (!arch::riscv64::translates()) {
        here.add(*this);
    }
}

// Only one word in 64, so that a round stays cheap; a panic checks all.
bool stack_watch::poll() noexcept {
    constexpr std::size_t step = 64;
    const hart& here = arch::riscv64::current_hart();
    const std::span<const std::uint64_t> words = canary_below(here);
    for (std::size_t at = words.size(); at != 0; at -= step) {
        if (words[at - 1] != canary) {
            char message[64];
            say_overflow(here.index, message);
            arch::panic(message);
        }
    }
    return false;
}

} // namespace inflight::kernel
