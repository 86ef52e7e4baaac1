// Tells a disk's hart about completions: by the interrupt, once it is known to arrive, or else by polls, which a timer
// repeats.
//
// The device tree may lack the interrupt, or give a wrong one; the interrupt may never arrive, or be masked because it
// does not end. Each of these costs a note, and none of them costs the disk.
#pragma once

#include "async/callback.hpp"
#include "async/message.hpp"
#include "async/timer.hpp"
#include "drivers/block/disk.hpp"
#include "src/kernel/interrupt_controller.hpp"

#include <array>
#include <cstdint>
#include <string_view>

namespace inflight::kernel {

class disk_line final : private interrupt_connection {
  public:
    // Of a disk that has started on this hart. `tree_line` is the line that the device tree gives; 0: none. Never
    // destroyed.
    disk_line(std::string_view name, block::disk& of, std::uint32_t tree_line) noexcept;
    disk_line(const disk_line&) = delete;
    disk_line& operator=(const disk_line&) = delete;

    // Once: connects the interrupt and starts the timer.
    void begin(interrupt_controller& by, interrupt_target target) noexcept;

    // Polls on this hart, for a caller that counts its resumptions.
    [[nodiscard]] static std::uint64_t looks() noexcept { return looks_; }

  private:
    enum class state : std::uint8_t {
        unproven,    // few interrupts have arrived: polls check whether they are lost
        interrupted, // interrupts arrive
        polled,      // they do not arrive: polls only
    };

    void look() noexcept;
    void prove() noexcept;
    void poll() noexcept;
    void poll_again_in(arch::ticks span) noexcept;
    void line_was_masked() noexcept;

    // This many interrupts by the disk's own line prove it, and by other lines disprove it. After this many polls that
    // found a completion without its interrupt, interrupts count as lost. Each applies only if the other two are few.
    static constexpr std::uint32_t enough = 8;

    static constexpr arch::ticks unproven_polls_per_second = 100;
    // A poll that finds something is repeated soon; each that finds nothing doubles the time, up to the maximum.
    static constexpr arch::ticks max_polls_per_second = 50'000;
    static constexpr arch::ticks min_polls_per_second = 1'000;

    struct poll_timer : async::timer {
        explicit poll_timer(disk_line& of) noexcept
            : call{[](void* self) noexcept { static_cast<disk_line*>(self)->look(); }, &of} {
            continuation = call.handle();
        }
        async::callback call;
    };

    static inline std::uint64_t looks_ = 0;

    std::array<char, 8> name_{};
    block::disk& disk_;
    std::uint32_t tree_line_;
    async::executor& home_;
    state state_ = state::unproven;
    bool poll_is_due_ = false;
    std::uint32_t lost_ = 0;        // completions that polls found
    arch::ticks span_ = 0;          // between polls
    std::uint32_t masked_line_ = 0; // with storm_, the content of masked_message_
    interrupt_storm storm_{};
    poll_timer timer_{*this};
    async::message masked_message_{[](void* self) noexcept { static_cast<disk_line*>(self)->line_was_masked(); }, this};
};

} // namespace inflight::kernel
