// Reads the last sector of the first disk by an interrupt, writes it to the first, and prints what it has read.

#include "arch/arch.hpp" // the kernel's own
#include "inflight/async/executor.hpp"
#include "inflight/async/sync_wait.hpp"
#include "inflight/drivers/block/disk.hpp"
#include "inflight/drivers/virtio/mmio.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

using namespace inflight;

// What the compiler calls.
extern "C" void* memcpy(void* to, const void* from, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i) {
        static_cast<volatile std::byte*>(to)[i] = static_cast<const std::byte*>(from)[i];
    }
    return to;
}
extern "C" void* memset(void* to, int value, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i) {
        static_cast<volatile std::byte*>(to)[i] = static_cast<std::byte>(value);
    }
    return to;
}

namespace {

void print(const char* text) noexcept {
    for (; *text != '\0'; ++text) {
        ::arch::at<std::uint8_t>(::arch::uart) = static_cast<std::uint8_t>(*text);
    }
}

[[noreturn]] void end(bool well) noexcept {
    ::arch::at<std::uint32_t>(::arch::finisher) = well ? 0x5555 : 1 << 16 | 0x3333;
    for (;;) {
        asm volatile("wfi");
    }
}

class pool final : public dma_memory {
  public:
    std::byte* allocate(std::size_t bytes, std::size_t alignment) noexcept override {
        next_ = (next_ + alignment - 1) / alignment * alignment;
        std::byte* const place = memory_.data() + next_;
        next_ += bytes;
        return next_ <= memory_.size() ? place : nullptr;
    }

  private:
    alignas(65536) std::array<std::byte, 1 << 20> memory_;
    std::size_t next_ = 0;
};

alignas(async::frame_slab::granule) std::array<std::byte, 64 << 10> frames;
pool memory;
std::uint32_t interrupts = 0;
alignas(512) std::array<std::byte, 512> buffer;

async::task<block::status> copy_last(block::disk& disk) {
    const std::uint64_t last = disk.properties().capacity - 1;
    block::status outcome = co_await disk.read(last, buffer);
    if (outcome == block::status::ok) {
        outcome = co_await disk.write(0, buffer);
    }
    if (outcome == block::status::ok) {
        outcome = co_await disk.flush();
    }
    co_return outcome;
}

void enable_interrupt(std::uint32_t source) noexcept {
    ::arch::at<std::uint32_t>(::arch::plic + 4 * source) = 1;        // its priority
    ::arch::at<std::uint32_t>(::arch::plic + 0x2000) = 1u << source; // for hart 0 in M-mode
    ::arch::at<std::uint32_t>(::arch::plic + 0x200000) = 0;          // the threshold
}

void serve_interrupt(void* disk) noexcept {
    volatile std::uint32_t& claim = ::arch::at<std::uint32_t>(::arch::plic + 0x200004);
    const std::uint32_t source = claim;
    if (source != 0) {
        ++interrupts;
        static_cast<block::disk*>(disk)->handle_line();
        claim = source;
    }
}

} // namespace

void inflight::arch::panic(const char* message) noexcept {
    print("panic: ");
    print(message);
    print("\n");
    end(false);
}

using constructor = void (*)();
extern "C" constructor init_array_begin[];
extern "C" constructor init_array_end[];

extern "C" void kernel_main() {
    for (constructor* next = init_array_begin; next != init_array_end; ++next) {
        (*next)();
    }
    async::executor executor{frames};
    executor.set_poll_mode(async::poll_mode::off);
    for (std::uint32_t slot = 0; slot < ::arch::slots; ++slot) {
        const std::uintptr_t registers = ::arch::first_slot + 0x1000 * slot;
        const virtio::mmio_identity identity = virtio::identify_mmio(registers);
        if (identity.outcome != virtio::error::none || identity.id != virtio::device_id::block ||
            identity.version != 2) {
            continue;
        }
        static virtio::mmio_transport transport{registers};
        static block::disk disk{transport};
        inflight::arch::set_interrupt_handler(inflight::arch::interrupt::external, {serve_interrupt, &disk});
        enable_interrupt(slot + 1);
        if (const virtio::error failure = disk.start(memory, {.queues = 1, .queue_size = 16});
            failure != virtio::error::none) {
            print(virtio::to_string(failure));
            end(false);
        }
        const block::status outcome = async::sync_wait(copy_last(disk));
        print(block::to_string(outcome));
        print(interrupts != 0 ? ", by interrupts: " : ", without an interrupt: ");
        for (const std::byte each : buffer) {
            const std::array<char, 3> digits{"0123456789abcdef"[static_cast<unsigned>(each) >> 4],
                                             "0123456789abcdef"[static_cast<unsigned>(each) & 0xf], '\0'};
            print(digits.data());
        }
        print("\n");
        end(outcome == block::status::ok);
    }
    print("there is no disk\n");
    end(false);
}
