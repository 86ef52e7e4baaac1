// Watches a device from one hart: a timer looks for progress every quarter of the time limit while the device has
// requests. The device is late if periods_until_late periods in a row bring none, on any hart. Periods are counted, not
// ticks, so that a clock that steps makes no device late.
#pragma once

#include "inflight/arch/arch.hpp"
#include "inflight/async/executor.hpp"
#include "inflight/drivers/block/alarm.hpp"

#include <cstdint>

namespace inflight::block {

class watchdog {
  public:
    static constexpr std::uint32_t periods_until_late = 5; // so between once and 1.25 times the limit

    // Whose requests are watched: one hart's part of the device. All functions are called on that hart.
    class subject {
      public:
        subject() noexcept = default;
        subject(const subject&) = delete;
        subject& operator=(const subject&) = delete;

        // Looks for completions whose interrupt was lost, before the device is judged.
        virtual void look_for_lost_interrupts() noexcept = 0;

        // Sends a notification again that the device has not seen, of requests that it had at the last call already.
        // Called when the watch begins, and at the end of each period.
        virtual void look_for_lost_notifications() noexcept = 0;

        // True if the device has requests; how many it has completed.
        [[nodiscard]] virtual bool is_busy() noexcept = 0;
        [[nodiscard]] virtual std::uint64_t completed() noexcept = 0;

        // Makes what the device has one period older. Returns true if a request starves: it is that old, and the device
        // has completed several times as many others since as its queue holds.
        virtual bool grow_older(std::uint32_t old) noexcept = 0;

        // The device is late, or only some of its requests.
        virtual void is_late(bool whole_device) noexcept = 0;

      protected:
        ~subject() = default;
    };

    // Progress of one device on all harts: how many periods have found some.
    using progress = arch::atomic<std::uint32_t>;

    // `time_limit` in ticks; 0: nothing is watched.
    watchdog(async::executor& hart, subject& watched, progress& of_device, arch::ticks time_limit) noexcept
        : executor_{&hart},
          subject_{&watched},
          progress_{&of_device},
          time_limit_{time_limit},
          alarm_{[](void* self) noexcept { static_cast<watchdog*>(self)->period_ends(); }, this} {}
    watchdog(const watchdog&) = delete;
    watchdog& operator=(const watchdog&) = delete;

    // Begins to watch, unless it does. It ends by itself when the device has nothing.
    void begin() noexcept {
        if (!watching_) {
            begin_watch();
        }
    }

    [[nodiscard]] bool watches() const noexcept { return watching_; }

    // After a reset, the device has time again.
    void forgive() noexcept { without_progress_ = 0; }

  private:
    void begin_watch() noexcept;
    void begin_period() noexcept;
    void period_ends() noexcept;
    [[nodiscard]] bool device_is_late() noexcept;

    async::executor* executor_;
    subject* subject_;
    progress* progress_;
    arch::ticks time_limit_;
    alarm alarm_;
    bool watching_ = false;
    std::uint32_t without_progress_ = 0; // periods
    std::uint32_t progress_seen_ = 0;    // at the end of the last period
    std::uint64_t completed_then_ = 0;
};

} // namespace inflight::block
