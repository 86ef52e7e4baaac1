// An interrupt controller: connects a source of interrupts to a device's callback on a hart.
//
// A source is a wired line, or the identity of a message, as the implementation defines. The device tree may describe
// the sources wrongly, and a device may be broken. So an interrupt whose source has no device with a cause is offered
// to the devices at other sources, and a source that interrupts for no reason, or without end, is masked. That costs
// only the devices at that source.
#pragma once

#include "arch/arch.hpp"
#include "src/kernel/machine_description.hpp"

#include <array>
#include <cstdint>
#include <optional>

namespace inflight::kernel {

enum class interrupt_storm : std::uint8_t {
    no_cause, // many interrupts in a row for which no device had a reason
    no_end,   // many interrupts during which the hart made no progress
};

enum class interrupt_target : std::uint8_t {
    this_hart, // or, if the controller cannot interrupt it, the first hart that it can interrupt
    all_harts, // every hart that it can send the source to. A source of an APLIC has one target: then as this_hart
};

// A device's end of a connection. It must never move or be destroyed after connect(). Both functions are called with
// interrupts masked, on the hart that took the interrupt, and possibly on several harts at once.
struct interrupt_connection {
    // Returns true if the device had a reason to interrupt.
    bool (*serve)(void* context) noexcept = nullptr;
    void* context = nullptr;

    // The source by which the device interrupts has been masked: the device causes no more interrupts. Called at most
    // once.
    void (*masked)(interrupt_connection& self, std::uint32_t source, interrupt_storm why) noexcept = nullptr;

    // False for a message: the device tree cannot be wrong about it, and serve() has no register that names a cause.
    bool may_stray = true;

    // How often the device was served when another source interrupted for no reason, and the last such source. This
    // also counts coincidences: the device may have completed something just then. So the owner sets `strays` once it
    // depends on that source.
    arch::atomic<std::uint32_t> strayed{0};
    arch::atomic<std::uint32_t> strayed_by{0};
    arch::atomic<bool> strays{false};

    std::uint32_t source = 0; // from here on, private to the controller
    arch::atomic<std::uint32_t> was_told{0};
    interrupt_connection* next_at_source = nullptr;
    interrupt_connection* next = nullptr;
};

// An interrupt that a device sends as a write to memory (PCI with MSI-X).
struct interrupt_message {
    std::uint32_t source = 0; // for connect(), on `hart` only
    arch::hart_index hart = 0;
    std::uint32_t data = 0;
    std::uint64_t address = 0;
};

// An implementation registers a handler with arch::set_interrupt_handler() on each hart. The handler claims a source,
// calls serve(), and completes the source if the hardware wants that. It calls count_spurious() if there was nothing to
// claim.
class interrupt_controller {
  public:
    // Limits on one source: interrupts in a row without a cause, and interrupts on one hart without a round of its
    // executor.
    static constexpr std::uint32_t max_without_cause = 1000;
    static constexpr std::uint32_t claims_per_check = 4096;
    static constexpr std::uint32_t max_without_progress = 16 * claims_per_check;

    static constexpr std::size_t max_sources = 1024; // source 0 does not exist

    interrupt_controller(const interrupt_controller&) = delete;
    interrupt_controller& operator=(const interrupt_controller&) = delete;

    // Lets the controller interrupt the calling hart, which `self` describes. No source is enabled yet, whatever the
    // firmware enabled. Returns false if the controller cannot interrupt this hart. Once per hart, with interrupts
    // masked.
    [[nodiscard]] virtual bool open(const hart_description& self) noexcept = 0;

    // Sends `source` to `hart` and calls `to` for each interrupt. A connection may be connected to several harts, at
    // the same source: the hart that claims an interrupt first serves it. Several devices may share a source. Returns
    // false, and changes nothing, if there is no such source, if `hart` has not opened the controller, if `to` is
    // connected to another source, or if the source is sent to another hart and can have one target only. Not
    // concurrently, and after all harts have called open().
    [[nodiscard]] bool connect(std::uint32_t source, arch::hart_index hart, interrupt_connection& to) noexcept;

    // Returns true if at least one hart is connected.
    [[nodiscard]] bool connect(std::uint32_t source, interrupt_target target, interrupt_connection& to) noexcept;

    // Allocates a source that interrupts `hart` when a device sends the message. Returns nothing if the controller takes
    // no messages, if `hart` has not opened it, or if none is left. Not concurrently, and after all harts have called
    // open().
    [[nodiscard]] virtual std::optional<interrupt_message> allocate_message(arch::hart_index) noexcept { return {}; }

    // Interrupts of any hart with nothing to claim. Any hart.
    [[nodiscard]] std::uint64_t spurious() const noexcept { return spurious_.load(std::memory_order_relaxed); }

  protected:
    interrupt_controller() noexcept;
    ~interrupt_controller() = default;

    // Handles an interrupt of a source below max_sources, which the caller has claimed, so that no other hart serves
    // it.
    void serve(std::uint32_t source) noexcept {
        source_state& state = states_[source];
        const bool had_cause = state.serve(state.context);
        if (!had_cause || --state.claims_left == 0) [[unlikely]] {
            serve_slow_path(source, had_cause);
        }
    }

    void count_spurious() noexcept { spurious_.fetch_add(1, std::memory_order_relaxed); }

  private:
    // The read side of each interrupt. The hart that claimed the source owns its counters. It may see another hart's
    // last writes late, which makes a limit inexact by a few interrupts.
    struct source_state {
        bool (*serve)(void* context) noexcept; // of the first connection
        void* context;
        interrupt_connection* first;
        // Interrupts until the next call of serve_slow_path(). Always 1 if the source is shared, because all its
        // devices are served.
        std::uint32_t claims_left;
    };
    static_assert(sizeof(source_state) == 32);

    // Only for serve_slow_path().
    struct source_history {
        std::uint32_t shared_claims_left; // of a shared source, instead of claims_left
        std::uint32_t without_progress;   // claims
        std::uint32_t without_cause;      // in a row
        std::uint32_t last_without_cause; // the value of claims_left at that time
    };

    [[nodiscard]] virtual bool can_connect(std::uint32_t source, arch::hart_index hart) const noexcept = 0;
    virtual void enable(std::uint32_t source, arch::hart_index hart) noexcept = 0; // after can_connect()
    virtual void mask(std::uint32_t source) noexcept = 0;                          // on all harts. Any hart

    void add(std::uint32_t source, interrupt_connection& to) noexcept;
    [[gnu::cold, gnu::noinline]] void serve_slow_path(std::uint32_t source, bool had_cause) noexcept;
    [[nodiscard]] bool serve_strays(std::uint32_t source) noexcept;
    void check_for_cause(std::uint32_t source, std::uint32_t claims_left) noexcept;
    void check_for_progress(std::uint32_t source) noexcept;
    void give_up(std::uint32_t source, interrupt_storm why) noexcept;

    std::array<source_state, max_sources> states_;
    std::array<source_history, max_sources> histories_;
    interrupt_connection* connections_ = nullptr;
    std::array<std::uint64_t, arch::max_harts> rounds_at_check_{}; // by hart
    arch::atomic<std::uint64_t> spurious_{0};
};

} // namespace inflight::kernel
