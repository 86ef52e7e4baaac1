#include "src/console.hpp"

#include "arch/arch.hpp"
#include "arch/riscv64/sbi.hpp"

#include <cstdarg>
#include <cstdio>

namespace inflight::kernel::console {

namespace {

// Registers of a 16550.
constexpr std::uintptr_t transmit = 0;
constexpr std::uintptr_t line_status = 5;
constexpr std::uint8_t transmitter_empty = 0x20;

std::uintptr_t uart_registers = 0; // 0: none known
std::uint32_t uart_shift = 0;

void put(char character) noexcept {
    if (uart_registers == 0) {
        arch::sbi::put_character(character);
        return;
    }
    // Bounded: a UART that is never ready loses characters, it does not stop the kernel.
    for (int attempt = 0; attempt < 100'000; ++attempt) {
        if ((arch::mmio_read8(uart_registers + (line_status << uart_shift)) & transmitter_empty) != 0) {
            break;
        }
    }
    arch::mmio_write8(uart_registers + (transmit << uart_shift), static_cast<std::uint8_t>(character));
}

// One hart writes at a time. Who panics in the midst of a write, or finds the console held for ever, writes all the same.
class writing {
  public:
    writing() noexcept {
        for (int attempt = 0; attempt < 10'000'000; ++attempt) {
            if (taken.load(std::memory_order_relaxed) == 0 && taken.exchange(1, std::memory_order_acquire) == 0) {
                return;
            }
        }
    }
    ~writing() { taken.store(0, std::memory_order_release); }
    writing(const writing&) = delete;
    writing& operator=(const writing&) = delete;

  private:
    static inline arch::atomic<std::uint32_t> taken{0};
};

} // namespace

void open(const uart_description& uart) noexcept {
    uart_registers = uart.registers.base;
    uart_shift = uart.register_shift;
}

void write(std::string_view text) noexcept {
    const writing alone;
    for (const char character : text) {
        if (character == '\n') {
            put('\r');
        }
        put(character);
    }
}

void print(const char* format, ...) noexcept {
    char buffer[1024];
    std::va_list arguments;
    va_start(arguments, format);
    const int length = std::vsnprintf(buffer, sizeof buffer, format, arguments);
    va_end(arguments);
    if (length > 0) {
        const auto whole = static_cast<std::size_t>(length);
        write({buffer, whole < sizeof buffer ? whole : sizeof buffer - 1});
    }
}

} // namespace inflight::kernel::console
