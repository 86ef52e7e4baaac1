#include "src/kernel/console.hpp"

#include "arch/arch.hpp"
#include "arch/riscv64/sbi.hpp"

#include <cstdarg>
#include <cstdio>

namespace inflight::kernel::console {

namespace {

// Registers of a 16550.
constexpr std::uintptr_t transmit = 0;
constexpr std::uintptr_t receive = 0;
constexpr std::uintptr_t line_status = 5;
constexpr std::uint8_t data_ready = 0x01;
constexpr std::uint8_t transmitter_empty = 0x20;

std::uintptr_t uart_registers = 0; // 0: none known
std::uint32_t uart_shift = 0;

void put_byte(char character) noexcept {
    if (uart_registers == 0) {
        arch::sbi::put_character(character);
        return;
    }
    // Bounded: a UART that is never ready loses characters and does not stop the kernel.
    for (int attempt = 0; attempt < 100'000; ++attempt) {
        if ((arch::mmio_read8(uart_registers + (line_status << uart_shift)) & transmitter_empty) != 0) {
            break;
        }
    }
    arch::mmio_write8(uart_registers + (transmit << uart_shift), static_cast<std::uint8_t>(character));
}

// Untrusted text may contain anything, so what a terminal might take for a command is escaped.
void put(char character) noexcept {
    const auto byte = static_cast<unsigned char>(character);
    if ((byte >= ' ' && byte != 0x7f) || character == '\t') {
        put_byte(character);
    } else if (character == '\n') {
        put_byte('\r');
        put_byte('\n');
    } else {
        constexpr char digits[] = "0123456789abcdef";
        for (const char part : {'\\', 'x', digits[byte >> 4], digits[byte & 0xf]}) {
            put_byte(part);
        }
    }
}

arch::atomic<bool> seized{false};

// One hart writes at a time. A hart that panics, or that waits too long for the console, writes without the lock.
class writing {
  public:
    writing() noexcept {
        if (seized.load(std::memory_order_relaxed)) {
            return;
        }
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

void seize() noexcept {
    seized.store(true, std::memory_order_relaxed);
}

void write(std::string_view text) noexcept {
    const writing alone;
    for (const char character : text) {
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

std::optional<char> read() noexcept {
    if (uart_registers == 0 || (arch::mmio_read8(uart_registers + (line_status << uart_shift)) & data_ready) == 0) {
        return std::nullopt;
    }
    return static_cast<char>(arch::mmio_read8(uart_registers + (receive << uart_shift)));
}

} // namespace inflight::kernel::console
