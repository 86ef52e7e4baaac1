#include "inflight/arch/riscv64/plic.hpp"

#include "inflight/arch/arch.hpp"

namespace inflight::arch {

namespace {

std::uintptr_t priority(std::uint32_t source) noexcept {
    return std::uintptr_t{4} * source;
}

// 32 sources to a word, 0x80 bytes to a context.
std::uintptr_t enables(std::uint32_t source, std::uint32_t context) noexcept {
    return 0x2000 + std::uintptr_t{0x80} * context + std::uintptr_t{4} * (source / 32);
}

std::uintptr_t threshold(std::uint32_t context) noexcept {
    return 0x200000 + std::uintptr_t{0x1000} * context;
}

} // namespace

void plic::open(std::uint32_t context, std::uint32_t last_source) noexcept {
    for (std::uint32_t source = 0; source <= last_source; source += 32) {
        mmio_write32(registers_ + enables(source, context), 0);
    }
    mmio_write32(registers_ + threshold(context), 0);
}

void plic::enable(std::uint32_t source, std::uint32_t context) noexcept {
    mmio_write32(registers_ + priority(source), 1);
    const std::uintptr_t word = registers_ + enables(source, context);
    mmio_write32(word, mmio_read32(word) | std::uint32_t{1} << (source % 32));
}

// By the priority, which all contexts share: a source of priority 0 never interrupts.
void plic::mask(std::uint32_t source) noexcept {
    mmio_write32(registers_ + priority(source), 0);
}

std::uintptr_t plic::claim_register(std::uint32_t context) const noexcept {
    return registers_ + threshold(context) + 4;
}

} // namespace inflight::arch
