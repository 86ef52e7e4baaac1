// A hart's way to a disk: its own queues and its own line of waiting operations. Other harts, in interrupt handlers,
// only mark its queues and wake it.
//
// Queue i belongs to hart i modulo the number of harts. A hart without a queue, where there are more harts than queues,
// forwards its operations to the hart that has one (forwarding.hpp): the coroutine resumes on its own hart either way.
// What concerns the whole device, a reset above all, is done with all channels quiesced (recovery.hpp).
#pragma once

#include "inflight/arch/arch.hpp"
#include "inflight/async/executor.hpp"
#include "inflight/async/message.hpp"
#include "inflight/async/operation.hpp"
#include "inflight/drivers/block/admission.hpp"
#include "inflight/drivers/block/deadlines.hpp"
#include "inflight/drivers/block/forwarding.hpp"
#include "inflight/drivers/block/limits.hpp"
#include "inflight/drivers/block/operation.hpp"
#include "inflight/drivers/block/queue.hpp"
#include "inflight/drivers/block/recovery.hpp"
#include "inflight/drivers/block/status.hpp"
#include "inflight/drivers/block/wait_line.hpp"
#include "inflight/drivers/block/watchdog.hpp"
#include "inflight/drivers/memory/dma_memory.hpp"
#include "inflight/drivers/virtio/transport.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace inflight::block {

// Its size is a power of two, so that `channels[hart]` is a shift.
class alignas(512) channel final : private async::completion_source,
                                   private recovery::participant,
                                   private watchdog::subject {
  public:
    struct counters {
        std::uint64_t waited;                 // operations that found all slots taken, or no room to share their data
        std::uint64_t protocol_violations;    // times the device broke the rules of a ring
        std::uint64_t forwarded;              // operations that went through another hart, for want of a queue
        std::uint64_t lost_interrupts;        // times the watchdog found what an interrupt should have told of
        std::uint64_t repeated_notifications; // those of the watchdog, for what the device seemed not to have seen
    };

    // What all channels of a disk share. It outlives them.
    struct device {
        virtio::transport& transport;
        dma_memory& memory;
        recovery& recoveries;
        const disk_properties& properties; // written while all channels are quiesced
        watchdog::progress& progress;
        arch::ticks request_timeout;
    };

    // A channel of `hart` with the first of these queues and every `stride`-th after it.
    channel(const device& of, async::executor& hart, std::span<queue> queues, std::size_t stride) noexcept;

    // A channel of `hart` without a queue, which forwards to another one.
    channel(const device& of, async::executor& hart, channel& server) noexcept;

    channel(const channel&) = delete;
    channel& operator=(const channel&) = delete;

    // Gives an operation to the device, now or when there is room. It resumes on this hart when it has ended; one that
    // is refused, too. On this hart.
    //
    // Inline, with what it calls: where the operation is made, most of what it looks at is known to the compiler. While
    // operations wait in line there is no free slot, because a slot that becomes free goes to the line at once, so this
    // cannot overtake the line. What is rare ends in a call that nothing follows, so that the common way saves no
    // registers for it.
    [[gnu::always_inline]] void submit(operation& started) noexcept {
        if (!admission_.is_plain(started)) [[unlikely]] {
            submit_slow_path(started);
            return;
        }
        if (current_->submit_plain(started)) [[likely]] {
            started.begin(operation_state::whole_in_flight);
            return;
        }
        if (!current_->submit_plain_packed(started)) [[unlikely]] {
            submit_plain_later(started);
            return;
        }
        started.begin(operation_state::whole_in_flight);
        asm(""); // else it shares the end of the way of a split ring, which then takes an instruction more
    }

    // Interrupt context, any hart: marks the queues in which something has completed, and wakes their hart.
    [[gnu::noinline]] void interrupted() noexcept;

    // The same where there is one hart.
    void interrupted_here() noexcept {
        if (only_ == nullptr) [[unlikely]] {
            interrupted_here_slow_path();
            return;
        }
        static_cast<void>(only_->ring().interrupted_split());
    }

    // The same for one queue of this channel, which has an interrupt of its own.
    void interrupted(queue& own) noexcept { wake_if(own.ring().interrupted()); }

    // The same without an interrupt. Any context and hart. Returns whether it marked anything.
    bool mark_completed() noexcept;

    // The device says that its configuration has changed: the channel's hart starts a recovery. Any context and hart;
    // interrupted() is to follow.
    void configuration_has_changed() noexcept { configuration_changed_.store(true, std::memory_order_relaxed); }

    // What this hart knows of the device. On this hart.
    [[nodiscard]] const disk_properties& properties() const noexcept { return properties_; }

    // What waits on this hart for another capacity than the one after `seen` changes. On this hart.
    struct capacity_waiter : async::operation {
        static constexpr const char* awaited = "a change of capacity";

        capacity_waiter(channel& of, std::uint64_t changes) noexcept : channel_{of}, seen_{changes} {}

        [[nodiscard]] bool ready() const noexcept {
            return channel_.properties_.capacity_changes != seen_ || channel_.recovery_->lost();
        }
        void take() const noexcept {}
        [[nodiscard]] async::operation_list& line() noexcept { return channel_.capacity_waiters_; }
        void result() const noexcept {}

      private:
        channel& channel_;
        std::uint64_t seen_;
    };

    [[nodiscard]] const counters& count() const noexcept { return counters_; }

  private:
    [[gnu::noinline]] void interrupted_here_slow_path() noexcept;
    [[gnu::noinline]] bool arm_and_publish_slow_path() noexcept;
    [[gnu::noinline]] bool arm_and_publish_all() noexcept;
    [[gnu::noinline]] bool poll_slow_path() noexcept;
    [[gnu::noinline]] bool poll_all() noexcept;
    [[gnu::noinline]] void report_if_drained() noexcept;
    [[gnu::noinline]] bool violates() noexcept;
    [[gnu::noinline]] bool drain_rest(std::size_t used) noexcept;
    [[gnu::noinline]] bool drain_rest_packed() noexcept;
    [[gnu::noinline]] bool push_waiting_after_poll() noexcept;
    [[gnu::noinline]] bool begin_to_watch(bool work) noexcept;
    bool poll() noexcept override;
    void publish() noexcept override;
    bool publish_early(bool may_notify) noexcept override;
    bool arm_and_publish() noexcept override;
    void disarm() noexcept override;
    [[nodiscard]] bool has_unpublished() noexcept override;

    void obey(recovery::command next) noexcept override;
    void quiesce() noexcept;
    void hold() noexcept;
    void resume() noexcept;
    void wake_capacity_waiters() noexcept;

    void look_for_lost_interrupts() noexcept override;
    void look_for_lost_notifications() noexcept override;
    void notify(queue& own) noexcept;
    [[nodiscard]] bool interrupt_lost(queue& own) noexcept;
    [[nodiscard]] bool is_busy() noexcept override;
    [[nodiscard]] bool is_drained() noexcept;
    [[nodiscard]] std::uint64_t completed() noexcept override;
    bool grow_older(std::uint32_t old) noexcept override;
    void is_late(bool whole_device) noexcept override;
    void deadlines_pass() noexcept;
    [[nodiscard]] bool expire(operation& late) noexcept;

    inline bool publish(queue& own) noexcept;
    inline void end_publishing() noexcept;

    template <typename Function>
    void for_each_queue(Function&& function) noexcept {
        for (queue* each = first_; each != nullptr; each = each->sibling) {
            function(*each);
        }
    }

    void submit_slow_path(operation& started) noexcept;
    void submit_plain_later(operation& started) noexcept;
    [[gnu::noinline]] void submit_plain_elsewhere(operation& started) noexcept;
    inline void wait_whole(operation& started) noexcept;
    [[nodiscard]] bool push(operation& started) noexcept;
    [[nodiscard]] status push_piece(operation& started, queue& to) noexcept;
    void end_if_failed(operation& pushed) noexcept;
    void push_waiting() noexcept;
    [[nodiscard]] queue* queue_with_room() noexcept { return !current_->full() ? current_ : other_queue_with_room(); }
    [[nodiscard]] queue* other_queue_with_room() noexcept;
    void begin_quantum(queue& of) noexcept;
    void next_quantum() noexcept;
    void end_quantum_if_over() noexcept;
    // Wakes the channel's hart if something was marked there, and this is another hart.
    void wake_if(bool found) noexcept {
        if (found && executor_ != &async::executor::current()) {
            wake();
        }
    }
    [[gnu::noinline]] void wake() noexcept;
    void woken() noexcept;

    // How many requests a queue takes within a round before it is the next one's turn, if there is a next one.
    static constexpr std::uint32_t requests_per_quantum = 16;
    [[nodiscard]] bool has_several_queues() const noexcept { return first_->sibling != nullptr; }

    admission admission_;
    // Whose quantum it is. A sentinel without slots while the channel is quiesced, or if it has no queue.
    queue* current_;

    async::executor* executor_;
    queue* first_ = nullptr; // of the queues of this channel, which are linked
    // The same if it has no sibling, its ring is split and without IN_ORDER, and the transport has fast_path_registers:
    // then what is done once per round is inline.
    queue* only_ = nullptr;
    queue* only_packed_ = nullptr; // the same if its ring is packed
    recovery* recovery_;
    virtio::transport* transport_;
    virtio::fast_path_registers registers_;
    bool stopped_ = true;          // the rings must not be used: the device is being changed, or it is lost
    bool holds_ = false;           // stopped, but completions are taken
    bool reports_drained_ = false; // of a channel that holds: it is not drained, and is to tell when it is
    bool quiesced_ = true;         // the properties of the device are being rewritten; do not judge by them
    arch::atomic<bool> configuration_changed_{false};
    wait_line waiting_;
    counters counters_{};

    dma_memory* memory_;
    const disk_properties* device_properties_; // read in obey(resume) only
    disk_properties properties_;               // as they were then
    async::operation_list capacity_waiters_;
    watchdog watchdog_;
    deadlines deadlines_;
    std::optional<forwarding> forwarding_; // of a channel without a queue

    // A message that wakes the hart, and whether it is on its way. GCC 12 exchanges words, not bytes.
    async::message wake_message_{[](void* self) noexcept { static_cast<channel*>(self)->woken(); }, this};
    arch::atomic<std::uint32_t> wake_posted_{0};
};

static_assert(std::has_single_bit(sizeof(channel)));

} // namespace inflight::block
