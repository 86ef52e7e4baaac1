#include "src/harts.hpp"

#include "arch/arch.hpp"
#include "arch/riscv64/sbi.hpp"
#include "async/executor.hpp"
#include "src/end.hpp"
#include "src/interrupts.hpp"

#include <algorithm>
#include <new>

extern "C" {
inflight::arch::riscv64::hart boot_hart; // boot.S puts its address into tp

extern std::byte boot_stack;
extern std::byte trap_stack_end;

void _start() noexcept;                       // boot.S
[[noreturn]] void other_hart_main() noexcept; // which it calls
}

std::array<inflight::arch::riscv64::hart*, inflight::arch::most_harts + 1> inflight::arch::riscv64::all_harts{};

namespace inflight::kernel {

namespace {

// A sixteenth of the memory holds coroutine frames, within reason; the harts share it.
constexpr std::size_t least_frame_memory = 64u << 10;
constexpr std::size_t most_frame_memory = 32u << 20;

constexpr std::size_t stack_bytes = 64u << 10;
constexpr std::size_t trap_stack_bytes = 16u << 10;

constexpr arch::ticks looks_per_second = 10'000; // whether the others have come up

// What a hart needs for its start, and then for ever.
struct hart_life {
    arch::riscv64::hart self{};
    const hart_description* description = nullptr;
    std::span<std::byte> frames;
    async::poll_mode poll = async::poll_mode::adaptive;
    alignas(async::executor) std::byte executor[sizeof(async::executor)];
};

hart_life first_life; // of hart 0, but for `self`
arch::atomic<std::uint32_t> running{0};

std::byte* allocate(memory& from, std::size_t bytes, std::size_t alignment) noexcept {
    std::byte* const place = from.allocate(bytes, alignment);
    if (place == nullptr) {
        fail("the machine has too little memory for its harts: give it at least 16 MiB, and 1 MiB more for each hart "
             "(./run --memory)");
    }
    return place;
}

// On the hart itself.
async::executor& begin(hart_life& life) noexcept {
    auto& executor = *::new (life.executor) async::executor{life.frames};
    executor.set_poll_mode(life.poll);
    arch::set_deadline(arch::no_deadline);
    interrupts::open(*life.description->plic_context);
    return executor;
}

void describe_hart(arch::riscv64::hart& hart, const hart_description& description, arch::hart_index index) noexcept {
    hart.hardware_id = description.id;
    hart.software_interrupt = description.sswi_register;
    hart.index = index;
    arch::riscv64::all_harts[index] = &hart;
}

void start_hart(hart_life& life, memory& from, std::uint64_t id) noexcept {
    life.self.stack_begin = allocate(from, stack_bytes + trap_stack_bytes, 16);
    life.self.stack_end = life.self.stack_begin + stack_bytes;
    life.self.trap_stack_end = life.self.stack_end + trap_stack_bytes;
    const long error = arch::sbi::start_hart(id, reinterpret_cast<std::uint64_t>(&_start), 0);
    if (error != 0) {
        fail("the firmware does not start hart %lu (SBI error %ld): it must know the hart state management extension",
             id, error);
    }
}

} // namespace

void start_harts(const machine_description& machine, std::uint64_t first_hart, memory& from,
                 const options& wanted) noexcept {
    if (machine.harts.dropped() != 0) {
        fail("the machine has %lu harts, and the kernel knows %lu at the most: give it fewer (./run --harts)",
             machine.harts.size() + machine.harts.dropped(), machine.harts.size());
    }
    const std::size_t frames =
        std::clamp(from.available() / 16, least_frame_memory, most_frame_memory) / machine.harts.size() &
        ~(async::frame_slab::granule - 1);

    arch::hart_index next = 1;
    bool known = false;
    for (const hart_description& description : machine.harts) {
        if (!description.plic_context) {
            fail("the PLIC has no S-mode context for hart %lu, so no interrupt could reach it", description.id);
        }
        const bool first = description.id == first_hart;
        known |= first;
        hart_life& life = first ? first_life : *::new (allocate(from, sizeof(hart_life), alignof(hart_life))) hart_life;
        life.description = &description;
        life.frames = {allocate(from, frames, async::frame_slab::granule), frames};
        life.poll = wanted.poll;
        describe_hart(first ? boot_hart : life.self, description, first ? 0 : next++);
    }
    if (!known) {
        fail("the device tree does not know hart %lu, on which the kernel was started", first_hart);
    }

    arch::riscv64::hart_count = next;
    begin(first_life);
    for (arch::hart_index hart = 1; hart < next; ++hart) {
        // `self` is the first member.
        auto& life = *reinterpret_cast<hart_life*>(arch::riscv64::all_harts[hart]);
        start_hart(life, from, life.self.hardware_id);
    }
    const arch::ticks patience = arch::now() + 10 * arch::ticks_per_second();
    // acquire: pairs with the count in other_hart_main(), after which their executors can be posted to.
    while (running.load(std::memory_order_acquire) != next - 1) {
        if (arch::now() >= patience) {
            fail("of %u harts that the firmware has started, only %u have come up within 10 seconds", next - 1,
                 running.load(std::memory_order_relaxed));
        }
        // Asleep, for harts that share a core of the host come up in turns; interrupts are masked, so the deadline only wakes.
        arch::set_deadline(arch::now() + arch::ticks_per_second() / looks_per_second);
        arch::wait_for_interrupt();
    }
    arch::set_deadline(arch::no_deadline);
}

} // namespace inflight::kernel

void other_hart_main() noexcept {
    using namespace inflight;
    auto& life = *reinterpret_cast<kernel::hart_life*>(&arch::riscv64::current_hart());
    async::executor& executor = kernel::begin(life);
    arch::restore_interrupts(true);
    kernel::running.fetch_add(1, std::memory_order_release);
    const bool never = false;
    executor.run_until(never);
    arch::panic("a hart has run out of its loop");
}
