#include "src/kernel/harts.hpp"

#include "arch/arch.hpp"
#include "arch/riscv64/page_table.hpp"
#include "arch/riscv64/sbi.hpp"
#include "arch/time_limit.hpp"
#include "async/executor.hpp"
#include "src/kernel/end.hpp"
#include "src/kernel/panic.hpp"
#include "src/kernel/protection.hpp"

#include <algorithm>
#include <new>

extern "C" void _start() noexcept; // boot.S

namespace inflight::kernel {

namespace {

// A sixteenth of the memory, within these limits, holds coroutine frames; the harts share it.
constexpr std::size_t min_frame_memory = 64u << 10;
constexpr std::size_t max_frame_memory = 32u << 20;

constexpr std::size_t stack_bytes = 64u << 10;
constexpr std::size_t trap_stack_bytes = 16u << 10;

constexpr arch::ticks looks_per_second = 10'000; // at the other harts
constexpr arch::ticks patience_seconds = 30;     // with the other harts: firmware on a busy host may be slow

// Everything of a hart that is never destroyed.
struct hart_life {
    arch::riscv64::hart self{};
    const hart_description* description = nullptr;
    std::span<std::byte> frames;
    async::poll_mode poll = async::poll_mode::adaptive;
    arch::atomic<bool> is_up{false};
    stack_watch watch;
    alignas(async::executor) std::byte executor[sizeof(async::executor)];
};

hart_life first_life; // of hart 0, without `self`
interrupt_controller* controller = nullptr;

std::byte* or_fail(std::byte* place) noexcept {
    if (place == nullptr) {
        fail("the machine has too little memory for its harts: give it at least 16 MiB, and 1 MiB more for each hart "
             "(./run --memory)");
    }
    return place;
}

std::byte* allocate(memory& from, std::size_t bytes, std::size_t alignment) noexcept {
    return or_fail(from.allocate(bytes, alignment));
}

void handle_timer(void* executor) noexcept {
    arch::set_deadline(arch::no_deadline);
    static_cast<async::executor*>(executor)->alarm_has_rung(); // its next round reads the clock
}

// On the hart itself.
async::executor& begin(hart_life& life) noexcept {
    auto& executor = *::new (life.executor) async::executor{life.frames};
    executor.set_poll_mode(life.poll);
    life.watch.begin(executor);
    arch::set_deadline(arch::no_deadline);
    arch::set_interrupt_handler(arch::interrupt::timer, {handle_timer, &executor});
    arch::set_interrupt_handler(arch::interrupt::software, {[](void*) noexcept { stop_if_panicking(); }, nullptr});
    // If this fails, no device interrupts this hart: it computes, and other harts wake it.
    static_cast<void>(controller->open(*life.description));
    return executor;
}

void describe_hart(arch::riscv64::hart& hart, const hart_description& description, arch::hart_index index) noexcept {
    hart.hardware_id = description.id;
    hart.software_interrupt.store(description.sswi_register, std::memory_order_relaxed);
    hart.index = index;
    // The description before its entry in the table: pairs with the fence in boot.S, where a hart looks itself up.
    arch::fence_publish();
    arch::riscv64::all_harts[index] = &hart;
}

// `self` is the first member. Not of hart 0.
hart_life& life_of(arch::hart_index hart) noexcept {
    return *reinterpret_cast<hart_life*>(arch::riscv64::all_harts[hart]);
}

// Each stack begins above its guard.
void allocate_stacks(arch::riscv64::hart& hart, memory& from) noexcept {
    constexpr std::size_t guard = arch::riscv64::stack_guard_bytes;
    hart.stack_begin =
        allocate(from, guard + stack_bytes + guard + trap_stack_bytes, arch::riscv64::page_bytes) + guard;
    hart.stack_end = hart.stack_begin + stack_bytes;
    hart.trap_stack_begin = hart.stack_end + guard;
    hart.trap_stack_end = hart.trap_stack_begin + trap_stack_bytes;
}

void start_hart(std::uint64_t id) noexcept {
    const long error = arch::sbi::start_hart(id, reinterpret_cast<std::uint64_t>(&_start), 0);
    if (error != 0 && error != arch::sbi::already_available) { // it started without our call
        fail("the firmware does not start hart %lu (SBI error %ld): it must know the hart state management extension",
             id, error);
    }
}

[[noreturn]] void other_hart_main() noexcept {
    protect_memory_here();
    // `self` is the first member.
    auto& life = *reinterpret_cast<hart_life*>(&arch::riscv64::current_hart());
    async::executor& executor = begin(life);
    arch::restore_interrupts(true);
    life.is_up.store(true, std::memory_order_release);
    const bool never = false;
    executor.run_until(never);
    arch::panic("a hart has left its loop");
}

} // namespace

void describe_harts(const machine_description& machine, std::uint64_t first_hart, memory& from,
                    const options& wanted) noexcept {
    if (machine.harts.dropped() != 0) {
        fail("the machine has %lu harts, and the kernel supports at most %lu: give it fewer (./run --harts)",
             machine.harts.size() + machine.harts.dropped(), machine.harts.size());
    }
    const std::size_t frames =
        std::clamp(from.available() / 16, min_frame_memory, max_frame_memory) / machine.harts.size() &
        ~(async::frame_slab::granule - 1);

    arch::hart_index next = 1;
    bool known = false;
    for (const hart_description& description : machine.harts) {
        const bool first = description.id == first_hart;
        known |= first;
        hart_life& life = first ? first_life : *::new (allocate(from, sizeof(hart_life), alignof(hart_life))) hart_life;
        life.description = &description;
        // Private, because devices must not reach the requests in the frames.
        life.frames = {or_fail(from.allocate_private(frames, async::frame_slab::granule)), frames};
        life.poll = wanted.poll;
        if (!first) {
            allocate_stacks(life.self, from);
            life.self.main = other_hart_main;
        }
        describe_hart(first ? arch::riscv64::boot_hart : life.self, description, first ? 0 : next++);
    }
    if (!known) {
        fail("the device tree does not know hart %lu, on which the kernel was started", first_hart);
    }

    arch::riscv64::hart_count = next;
}

void start_harts(interrupt_controller& interrupts) noexcept {
    controller = &interrupts; // the others are started after this
    const arch::hart_index next = arch::harts();
    begin(first_life);
    for (arch::hart_index hart = 1; hart < next; ++hart) {
        start_hart(life_of(hart).self.hardware_id);
    }
    arch::time_limit patience{patience_seconds * arch::ticks_per_second()};
    for (arch::hart_index hart = 1; hart < next;) {
        // acquire: pairs with the release in other_hart_main(), after which its executor can be posted to.
        if (life_of(hart).is_up.load(std::memory_order_acquire)) {
            ++hart;
            continue;
        }
        if (patience.is_over()) {
            const std::uint64_t id = life_of(hart).self.hardware_id;
            fail("hart %lu, which the firmware was asked to start, has not come up within %lu seconds; the firmware "
                 "says "
                 "that it is %s",
                 id, patience_seconds, arch::sbi::hart_status(id));
        }
        stop_if_panicking(); // interrupts are masked
        // Sleeps, because the other harts may share this one's core of the host. With interrupts masked, the deadline
        // only ends the wait.
        arch::set_deadline(arch::now() + arch::ticks_per_second() / looks_per_second);
        arch::wait_for_interrupt();
    }
    arch::set_deadline(arch::no_deadline);
}

} // namespace inflight::kernel
