#include "inflight/arch/riscv64/sbi.hpp"

#include "inflight/arch/arch.hpp"

namespace inflight::arch {

namespace sbi {

namespace {

constexpr std::uint64_t time_extension = 0x54494d45;         // "TIME"
constexpr std::uint64_t interrupt_extension = 0x735049;      // "sPI"
constexpr std::uint64_t hart_state_extension = 0x48534d;     // "HSM"
constexpr std::uint64_t system_reset_extension = 0x53525354; // "SRST"
constexpr std::uint64_t legacy_put_character = 1;

struct answer {
    std::uint64_t error;
    std::uint64_t value;
};

answer call(std::uint64_t extension, std::uint64_t function, std::uint64_t first = 0, std::uint64_t second = 0,
            std::uint64_t third = 0) noexcept {
    register std::uint64_t a0 asm("a0") = first;
    register std::uint64_t a1 asm("a1") = second;
    register std::uint64_t a2 asm("a2") = third;
    register std::uint64_t a6 asm("a6") = function;
    register std::uint64_t a7 asm("a7") = extension;
    asm volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a6), "r"(a7) : "memory");
    return {.error = a0, .value = a1};
}

} // namespace

void set_timer(std::uint64_t deadline) noexcept {
    call(time_extension, 0, deadline);
}

void send_interrupt(std::uint64_t hardware_id) noexcept {
    call(interrupt_extension, 0, 1, hardware_id); // a mask of one hart, counted from that id
}

long start_hart(std::uint64_t hardware_id, std::uint64_t entry, std::uint64_t argument) noexcept {
    // Memory writes before whatever the firmware starts the hart with: not every firmware orders them.
    asm volatile("fence iorw, iorw" : : : "memory");
    return static_cast<long>(call(hart_state_extension, 0, hardware_id, entry, argument).error);
}

const char* hart_status(std::uint64_t hardware_id) noexcept {
    const answer status = call(hart_state_extension, 2, hardware_id);
    if (status.error != 0) {
        return "unknown";
    }
    switch (status.value) {
    case 0: return "started";
    case 1: return "stopped";
    case 2: return "about to start";
    case 3: return "about to stop";
    default: return "suspended";
    }
}

void shut_down() noexcept {
    call(system_reset_extension, 0, 0, 0);
}

void put_character(char character) noexcept {
    call(legacy_put_character, 0, static_cast<unsigned char>(character));
}

} // namespace sbi

namespace riscv64 {

void set_deadline_by_firmware(ticks deadline) noexcept {
    sbi::set_timer(deadline);
}

void interrupt_hart_by_firmware(std::uint64_t hardware_id) noexcept {
    sbi::send_interrupt(hardware_id);
}

} // namespace riscv64

} // namespace inflight::arch
