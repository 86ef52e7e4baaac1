#include "inflight/arch/riscv64/aplic.hpp"

#include "inflight/arch/arch.hpp"

namespace inflight::arch {

namespace {

// RISC-V AIA 1.0, 4.5.
constexpr std::uintptr_t domaincfg = 0x0000;
constexpr std::uintptr_t in_clrip = 0x1d00; // a read returns the inputs
constexpr std::uintptr_t setienum = 0x1edc;
constexpr std::uintptr_t clrie = 0x1f00;
constexpr std::uintptr_t clrienum = 0x1fdc;
constexpr std::uintptr_t setipnum_le = 0x2000;

constexpr std::uint32_t domaincfg_ie = 1u << 8;
constexpr std::uint32_t domaincfg_dm = 1u << 2;

constexpr std::uint32_t level_high = 6;
constexpr unsigned target_hart_shift = 18;
constexpr std::uint32_t target_priority = 1;

constexpr std::uintptr_t sourcecfg(std::uint32_t source) noexcept {
    return std::uintptr_t{4} * source;
}

constexpr std::uintptr_t target_of(std::uint32_t source) noexcept {
    return 0x3000 + std::uintptr_t{4} * source;
}

// 32 sources to a word.
constexpr std::uintptr_t word_of(std::uint32_t source) noexcept {
    return std::uintptr_t{4} * (source / 32);
}

// The IDC of a hart, and its registers.
constexpr std::uintptr_t idc(std::uint32_t target_hart) noexcept {
    return 0x4000 + std::uintptr_t{32} * target_hart;
}
constexpr std::uintptr_t idelivery = 0x00;
constexpr std::uintptr_t ithreshold = 0x08;
constexpr std::uintptr_t topi = 0x18;
static_assert(topi + aplic::claim_after_top == 0x1c);

} // namespace

bool aplic::open(delivery mode, std::uint32_t last_source) noexcept {
    for (std::uint32_t source = 0; source <= last_source; source += 32) {
        mmio_write32(registers_ + clrie + word_of(source), ~std::uint32_t{0});
    }
    const std::uint32_t wanted = mode == delivery::messages ? domaincfg_dm : 0;
    mmio_write32(registers_ + domaincfg, domaincfg_ie | wanted);
    return (mmio_read32(registers_ + domaincfg) & domaincfg_dm) == wanted;
}

void aplic::open_hart(std::uint32_t target_hart) noexcept {
    mmio_write32(registers_ + idc(target_hart) + ithreshold, 0);
    mmio_write32(registers_ + idc(target_hart) + idelivery, 1);
}

void aplic::enable(std::uint32_t source, std::uint32_t target_hart) noexcept {
    enable_with_target(source, target_hart << target_hart_shift | target_priority);
}

void aplic::enable(std::uint32_t source, std::uint32_t target_hart, std::uint32_t id) noexcept {
    enable_with_target(source, target_hart << target_hart_shift | id);
}

// The target of an inactive source is read-only.
void aplic::enable_with_target(std::uint32_t source, std::uint32_t target) noexcept {
    mmio_write32(registers_ + sourcecfg(source), level_high);
    mmio_write32(registers_ + target_of(source), target);
    mmio_write32(registers_ + setienum, source);
}

void aplic::mask(std::uint32_t source) noexcept {
    mmio_write32(registers_ + clrienum, source);
}

void aplic::end_of_service(std::uint32_t source) noexcept {
    if ((mmio_read32(registers_ + in_clrip + word_of(source)) >> source % 32 & 1) != 0) {
        mmio_write32(registers_ + setipnum_le, source);
    }
}

std::uintptr_t aplic::top_register(std::uint32_t target_hart) const noexcept {
    return registers_ + idc(target_hart) + topi;
}

} // namespace inflight::arch
