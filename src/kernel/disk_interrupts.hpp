// Tells a disk's harts about completions: by its line or its messages, once they are known to arrive, or else by polls,
// which a timer repeats.
//
// The device tree may lack the line, or give a wrong one; an interrupt may never arrive, or be masked because it does not
// end. Each of these costs a note, and none of them costs the disk.
#pragma once

#include "async/callback.hpp"
#include "async/message.hpp"
#include "async/timer.hpp"
#include "drivers/block/disk.hpp"
#include "src/kernel/interrupt_controller.hpp"
#include "src/kernel/interrupt_route.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace inflight::kernel {

class disk_interrupts final {
  public:
    // The disk's end of one message, or of its line.
    struct connection : interrupt_connection {
        disk_interrupts* owner = nullptr;
        std::uint16_t queue = 0;                        // whose message it is
        interrupt_message message;                      // nothing: the line
        arch::atomic<std::uint64_t> taken_elsewhere{0}; // interrupts of a queue's message that another hart took
    };

    // Of a disk that is started on this hart. `tree_line` is the line that the device tree gives; 0: none. Never destroyed.
    disk_interrupts(std::string_view name, block::disk& of, std::uint32_t tree_line) noexcept;
    // Of a disk with messages, for each of which there is a connection in `messages`.
    disk_interrupts(std::string_view name, block::disk& of, const interrupt_route& route,
                    std::span<connection> messages) noexcept;
    disk_interrupts(const disk_interrupts&) = delete;
    disk_interrupts& operator=(const disk_interrupts&) = delete;

    // Once: connects the interrupts and starts the timer. Messages go to their harts whatever the target.
    void begin(interrupt_controller& by, interrupt_target target) noexcept;

    // With a message for each queue: how many interrupts of a queue were taken by a hart that does not own it.
    [[nodiscard]] std::uint64_t taken_elsewhere(std::uint16_t queue) const noexcept {
        return messages_[queue + std::size_t{1}].taken_elsewhere.load(std::memory_order_relaxed);
    }

    // Polls on this hart, for a caller that counts its resumptions.
    [[nodiscard]] static std::uint64_t looks() noexcept { return looks_; }

  private:
    enum class state : std::uint8_t {
        unproven,    // few interrupts have arrived: polls check whether they are lost
        interrupted, // interrupts arrive
        polled,      // they do not arrive: polls only
    };

    void fill(connection& made, bool (*serve)(void* connection) noexcept) noexcept;
    [[nodiscard]] bool connect_messages(interrupt_controller& by) noexcept;
    static bool serve_all(void* connection) noexcept;
    static bool serve_queue(void* connection) noexcept;
    static bool serve_configuration(void* connection) noexcept;
    void look() noexcept;
    void prove() noexcept;
    void poll() noexcept;
    void poll_again_in(arch::ticks span) noexcept;
    [[nodiscard]] bool has_silent_queue() const noexcept;
    void was_masked() noexcept;

    // This many interrupts by the disk's own line prove it, and by other lines disprove it. After this many polls that
    // found a completion without its interrupt, interrupts count as lost. Each applies only if the other two are few.
    static constexpr std::uint32_t enough = 8;

    static constexpr arch::ticks unproven_polls_per_second = 100;
    // A poll that finds something is repeated soon; each that finds nothing doubles the time, up to the maximum.
    static constexpr arch::ticks max_polls_per_second = 50'000;
    static constexpr arch::ticks min_polls_per_second = 1'000;

    struct poll_timer : async::timer {
        explicit poll_timer(disk_interrupts& of) noexcept
            : call{[](void* self) noexcept { static_cast<disk_interrupts*>(self)->look(); }, &of} {
            continuation = call.handle();
        }
        async::callback call;
    };

    static inline std::uint64_t looks_ = 0;

    std::array<char, 8> name_{};
    block::disk& disk_;
    std::uint32_t tree_line_;
    connection line_;
    std::span<connection> messages_;
    bool per_queue_ = false;
    async::executor& home_;
    state state_ = state::unproven;
    bool poll_is_due_ = false;
    std::uint32_t lost_ = 0;                         // completions that polls found
    arch::ticks span_ = 0;                           // between polls
    arch::atomic<std::uint32_t> was_masked_once_{0}; // GCC 12 exchanges words, not bytes
    std::uint32_t masked_source_ = 0;                // with storm_, the content of masked_message_
    interrupt_storm storm_{};
    poll_timer timer_{*this};
    async::message masked_message_{[](void* self) noexcept { static_cast<disk_interrupts*>(self)->was_masked(); },
                                   this};
};

} // namespace inflight::kernel
