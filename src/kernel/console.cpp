#include "src/kernel/console.hpp"

#include "arch/arch.hpp"
#include "arch/riscv64/sbi.hpp"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace inflight::kernel::console {

namespace {

// Registers of a 16550.
constexpr std::uintptr_t transmit = 0;
constexpr std::uintptr_t receive = 0;
constexpr std::uintptr_t line_status = 5;
constexpr std::uint8_t data_ready = 0x01;
constexpr std::uint8_t transmitter_empty = 0x20;

// At the end of the kernel, for the device.
constexpr std::uint32_t log_patience_in_seconds = 1;

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

console_log* the_log = nullptr;
char early_text[4096]; // written before there is a log
arch::atomic<std::size_t> early_bytes{0};

// A hart may be here without the lock.
void write_to_log(std::string_view text) noexcept {
    if (the_log != nullptr) {
        the_log->write(text);
        return;
    }
    const std::size_t at = early_bytes.load(std::memory_order_relaxed);
    const std::size_t length = std::min(text.size(), sizeof early_text - at);
    std::memcpy(early_text + at, text.data(), length);
    early_bytes.store(at + length, std::memory_order_relaxed);
}

// One write, character by character to the UART and in large pieces to the log.
class output {
  public:
    explicit output(bool to_log) noexcept : to_log_{to_log} {}

    // Untrusted text may contain anything, so what a terminal might take for a command is escaped.
    void put(char character) noexcept {
        const auto byte = static_cast<unsigned char>(character);
        if ((byte >= ' ' && byte != 0x7f) || character == '\t') {
            put_plain(character);
        } else if (character == '\n') {
            put_byte('\r');
            put_plain('\n');
        } else {
            constexpr char digits[] = "0123456789abcdef";
            for (const char part : {'\\', 'x', digits[byte >> 4], digits[byte & 0xf]}) {
                put_plain(part);
            }
        }
    }

    void end() noexcept {
        if (to_log_) {
            write_to_log({piece_, length_});
        }
        length_ = 0;
    }

  private:
    void put_plain(char character) noexcept {
        put_byte(character);
        piece_[length_++] = character;
        if (length_ == sizeof piece_) {
            end();
        }
    }

    bool to_log_;
    std::size_t length_ = 0;
    char piece_[256];
};

// Gives the device the next part where the hart writes much without a round of its executor. Not in an interrupt
// handler, which may have interrupted a look at the same queue.
[[gnu::noinline]] void relieve_log() noexcept {
    const bool unmasked = arch::mask_interrupts();
    arch::restore_interrupts(unmasked);
    if (unmasked) {
        the_log->flush(0);
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
    const bool to_log = !seized.load(std::memory_order_relaxed);
    {
        const writing alone;
        output out{to_log};
        for (const char character : text) {
            out.put(character);
        }
        out.end();
    }
    if (to_log && the_log != nullptr && the_log->unused() > console_log::buffer_size / 2) {
        relieve_log();
    }
}

void open_log(console_log& log) noexcept {
    const writing alone;
    log.write({early_text, early_bytes.load(std::memory_order_relaxed)});
    the_log = &log;
}

void end_log() noexcept {
    if (the_log == nullptr) {
        return;
    }
    the_log->flush(log_patience_in_seconds * arch::ticks_per_second());
    const std::size_t missing = the_log->missing();
    const virtio::error failure = the_log->failure();
    if (missing != 0 || failure != virtio::error::none) {
        print("note: the log lacks %lu bytes: %s\n", missing,
              failure != virtio::error::none ? virtio::to_string(failure) : "the device did not take them in time");
        the_log->flush(arch::ticks_per_second() / 10); // the note, too, if the device takes it
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
