// What concerns the whole device: a reset, or a change of its configuration or of its queues. All channels are quiesced
// for it, each on its hart.
//
//                request(cause), from any hart
//     running ─────────────────────────────────► quiescing    each channel: obey(quiesce), then it reports
//        ▲                                           │ the last report
//        │                                           ▼
//        │                                  target::reset() or read_configuration(), on the home hart
//        │ the last report                           │
//        └────────────────────────────────────── resuming     each channel: obey(resume), then it reports
//
// The write cache may only be switched while nothing is in flight, and a queue reset by itself while it has nothing in
// flight. If something is, the channels obey(hold) in place of resume: they take completions and submit nothing. Each one
// that has nothing left to wait for requests the recovery again.
//
// A request may come at any time. While the channels quiesce, it joins this recovery; later, it begins another one
// after the last report. The state machine runs on the home hart of the device. What it publishes for the channels
// (causes(), was_reset(), lost()) changes only while they are quiesced, so a channel reads it in obey(resume) without a
// race.
#pragma once

#include "inflight/arch/arch.hpp"
#include "inflight/async/executor.hpp"
#include "inflight/async/message.hpp"

#include <cstddef>
#include <cstdint>

namespace inflight::block {

class recovery {
  public:
    // Why a recovery is requested: bits.
    using causes_t = std::uint32_t;
    struct cause {
        static constexpr causes_t configuration = 1;      // the configuration has changed; or the device needs a reset
        static constexpr causes_t needs_reset = 2;        // the device needs a reset
        static constexpr causes_t request_late = 4;       // a request's time is over
        static constexpr causes_t protocol_violation = 8; // the device broke the rules of a ring
        static constexpr causes_t device_late = 16;       // the device has made no progress for the time limit
        static constexpr causes_t write_cache = 32;       // the write cache is to be switched
        static constexpr causes_t queue_reset = 64;       // queues are to be reset by themselves

        static constexpr causes_t when_drained = write_cache | queue_reset;
        static constexpr causes_t without_reset = configuration | when_drained;
    };

    enum class command : std::uint8_t { open, quiesce, hold, resume };

    // The device. All functions are called on the home hart, and all channels are quiesced, unless it says otherwise.
    class target {
      public:
        target() noexcept = default;
        target(const target&) = delete;
        target& operator=(const target&) = delete;

        // Whether DEVICE_NEEDS_RESET is set. Not quiesced.
        [[nodiscard]] virtual bool needs_reset() noexcept = 0;

        // Resets the device and sets it up again. False if it is lost.
        [[nodiscard]] virtual bool reset(causes_t causes) noexcept = 0;

        // Called after reset(), when lost() is what it has returned.
        virtual void reset_ended() noexcept = 0;

        // Reads again what may change in the configuration of a live device.
        virtual void read_configuration() noexcept = 0;

        // Whether nothing is in flight that has to end before what these causes ask for: for the write cache anything,
        // for the reset of queues what is in those queues.
        [[nodiscard]] virtual bool is_drained(causes_t causes) noexcept = 0;

        // Called while nothing is in flight, or the device is lost.
        virtual void switch_write_cache() noexcept = 0;

        // Resets by themselves the queues for which that was requested, and which have nothing in flight. False if the
        // device has to be reset instead.
        [[nodiscard]] virtual bool reset_queues() noexcept = 0;

        // All channels have resumed. Not quiesced.
        virtual void resumed() noexcept = 0;

      protected:
        ~target() = default;
    };

    // A channel: one hart's part.
    class participant {
      public:
        participant(recovery& of, async::executor& hart) noexcept : recovery_{&of}, hart_{&hart} {}
        participant(const participant&) = delete;
        participant& operator=(const participant&) = delete;

      protected:
        ~participant() = default;

        // On its own hart. When it returns, the channel has obeyed.
        virtual void obey(command next) noexcept = 0;

      private:
        friend class recovery;
        void command_arrives() noexcept;

        recovery* recovery_;
        async::executor* hart_;
        participant* next_ = nullptr;
        command command_ = command::open;
        bool reports_ = false; // the message is on its way back
        async::message message_{[](void* self) noexcept { static_cast<participant*>(self)->command_arrives(); }, this};
    };

    explicit recovery(target& device) noexcept : device_{&device} {}
    recovery(const recovery&) = delete;
    recovery& operator=(const recovery&) = delete;

    // Before open(): whose part is quiesced with the others.
    void add(participant& part) noexcept {
        part.next_ = participants_;
        participants_ = &part;
    }

    // Makes this hart the home hart, and opens all channels.
    void open() noexcept;

    // Requests a recovery. Any hart; on the home hart it begins at once if it can.
    void request(causes_t causes) noexcept;

    // True once the device is beyond repair. Any hart.
    [[nodiscard]] bool lost() const noexcept { return lost_.load(std::memory_order_relaxed); }

    // Of the recovery that is being done: for a channel that obeys.
    [[nodiscard]] causes_t causes() const noexcept { return causes_; }
    [[nodiscard]] bool was_reset() const noexcept { return was_reset_; }

    // In obey(quiesce): whether the device is going to be reset.
    [[nodiscard]] bool quiesces_for_reset() const noexcept { return quiesces_for_reset_; }

    // How often the device was reset. Home hart.
    [[nodiscard]] std::uint64_t resets() const noexcept { return resets_; }

  private:
    enum class state : std::uint8_t { running, quiescing, resuming };

    void take_requests() noexcept;
    void begin() noexcept;
    void change() noexcept;
    void command_all(command next) noexcept;
    void reported() noexcept;

    target* device_;
    participant* participants_ = nullptr;
    async::executor* home_ = nullptr;
    state state_ = state::running;
    std::size_t reports_missing_ = 0;
    causes_t pending_ = 0; // for the next recovery
    causes_t causes_ = 0;
    bool was_reset_ = false;
    bool quiesces_for_reset_ = false;
    causes_t held_ = 0; // of when_drained: what waits for something in flight
    std::uint64_t resets_ = 0;
    arch::atomic<bool> lost_{false};

    arch::atomic<causes_t> requested_{0};
    async::message message_{[](void* self) noexcept { static_cast<recovery*>(self)->take_requests(); }, this};
};

} // namespace inflight::block
