// A hart's way to a disk: its own queues, its own line of waiting requests, and nothing that another hart touches.
//
// Queue i belongs to hart i modulo the number of harts. A hart without a queue, where there are more harts than queues, sends
// its requests to the hart that has one, and gets them back through its inbox: whoever awaits resumes on his own hart either
// way. What concerns the whole device (a reset above all) is block::disk's, which stops the channels for it.
#pragma once

#include "arch/arch.hpp"
#include "async/executor.hpp"
#include "async/message.hpp"
#include "drivers/block/request.hpp"
#include "drivers/block/request_queue.hpp"
#include "drivers/block/status.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::block {

class disk;

// Its size is a power of two, for each request finds its hart's among others.
class alignas(512) io_channel final : private async::completion_source {
  public:
    struct counters {
        std::uint64_t waited;          // requests that found all slots taken
        std::uint64_t device_lies;     // times the device broke the rules of a ring
        std::uint64_t sent;            // requests that went through another hart, for want of a queue
        std::uint64_t interrupted;     // times an interrupt that another hart took woke this one
        std::uint64_t lost_interrupts; // times the watch found what an interrupt should have told of
    };

    // Neither has queues nor a way to some yet: one of own() and go_through() comes next.
    io_channel(disk& owner, async::executor& hart) noexcept;
    io_channel(const io_channel&) = delete;
    io_channel& operator=(const io_channel&) = delete;

    [[nodiscard]] const counters& count() const noexcept { return counters_; }

  private:
    friend class disk;
    friend class request;

    // What the disk asks of a channel on its hart, and what the channel reports.
    enum class step : std::uint8_t { open, stop, go_on, report };

    bool poll() noexcept override;
    void publish() noexcept override;
    bool arm() noexcept override;
    void disarm() noexcept override;
    [[nodiscard]] bool has_unpublished() noexcept override;

    // Every queue of this channel.
    template <typename Function>
    void for_each_queue(Function&& function) noexcept {
        for (request_queue* queue = first_; queue != nullptr; queue = queue->sibling) {
            function(*queue);
        }
    }

    [[nodiscard]] bool is_plain(const request& candidate) const noexcept;
    void submit(request& started) noexcept;
    void submit_slowly(request& started) noexcept;
    [[nodiscard]] bool has_nothing_to_do(const request& candidate) const noexcept;
    void send(request& started) noexcept;
    static void arrived(void* sent) noexcept;
    static void returned(void* sent) noexcept;
    static void stop_away(void* sent) noexcept;
    static void stop_arrived(void* sent) noexcept;
    static void stop_returned(void* sent) noexcept;
    static void came_home(void* sent) noexcept;
    [[nodiscard]] bool push(request& started) noexcept;
    void push_piece(request& started, request_queue& queue) noexcept;
    void push_range(request& started, request_queue& queue) noexcept;
    void push_data(request& started, request_queue& queue) noexcept;
    [[nodiscard]] request_queue* queue_with_room() noexcept;
    void push_waiting() noexcept;
    void check_waiting() noexcept;
    void wait_in_line(request& started) noexcept;
    static void register_stop(request& started, async::stop_callback::function call) noexcept;
    static void unregister_stop(request& ended) noexcept;
    static void stop_waiting(void* stopped) noexcept;
    static void end_waiting(request& started) noexcept;
    void end_early(request& waiting, status outcome) noexcept;
    void begin_turn(request_queue& queue) noexcept;
    void next_turn() noexcept;

    // Interrupt context, any hart: marks the queues in which something has completed, and wakes their hart.
    void interrupted() noexcept;
    [[gnu::noinline]] void wake() noexcept;

    // The first of these queues and every `stride`-th after it; or, without any, another channel.
    void own(std::span<request_queue> queues, std::size_t stride) noexcept;
    void go_through(io_channel& other) noexcept;

    // Does a step where it is to be done: at once if that is here, else by a message.
    void ask(step next) noexcept;
    void take_step() noexcept;
    void stop() noexcept;
    void stop_for_a_lie() noexcept;
    void go_on() noexcept;
    void admit() noexcept;
    void woken() noexcept;

    // While requests are with the device, a timer looks after them every quarter of the time that they may take.
    void watch() noexcept;
    void look_after() noexcept;
    [[nodiscard]] bool busy() noexcept;
    static constexpr std::uint32_t looks_until_late = 5; // so between once and 1.25 times the limit

    // How many requests a queue takes before the next one's turn comes, within a round; if there is a next one.
    static constexpr std::uint32_t requests_per_turn = 16;
    [[nodiscard]] bool has_several_queues() const noexcept { return first_->sibling != nullptr; }

    // What a plain read or write may be: how many sectors at once (0: none at all), up to which one, and which low bits of
    // its place and length must be 0.
    std::uint64_t most_plain_read_ = 0;
    std::uint64_t most_plain_write_ = 0;
    std::uint64_t capacity_ = 0;
    std::uint64_t unaligned_ = 0;

    request_queue* current_; // the queue whose turn it is to take requests; while stopped, one without slots

    disk* disk_;
    async::executor* executor_;
    request_queue* first_ = nullptr;      // of the queues of this channel, which are linked
    io_channel* through_ = nullptr;       // without a queue: the channel that requests are sent through
    bool stopped_ = true;                 // the rings mean nothing: the device is just being changed, or it is lost
    bool changing_ = true;                // just now: what is known of the device is not to be read
    arch::atomic<bool> attention_{false}; // the device says that something about it has changed
    async::operation_list waiting_;
    counters counters_{};

    // At most one of each is on its way at any time.
    step next_step_ = step::open;
    async::message step_message_{[](void* self) noexcept { static_cast<io_channel*>(self)->take_step(); }, this};
    async::message wake_message_{[](void* self) noexcept { static_cast<io_channel*>(self)->woken(); }, this};
    struct watch_timer : async::timer {
        explicit watch_timer(io_channel& of) noexcept
            : look{[](void* self) noexcept { static_cast<io_channel*>(self)->look_after(); }, &of} {
            continuation = look.handle();
        }
        async::callback look;
    };
    watch_timer watch_{*this};
    bool watching_ = false;
    arch::atomic<std::uint32_t> wake_posted_{0}; // a flag; GCC 12 exchanges words, not bytes
};

// Settles the common case in a few instructions; at the rest, submit_slowly() looks closely. `most` is 0 or no more than the
// capacity, so the last comparison does not wrap.
inline bool io_channel::is_plain(const request& candidate) const noexcept {
    std::uint64_t most = 0;
    if (candidate.type_ == virtio_blk::request_type::in) {
        most = most_plain_read_;
    } else if (candidate.type_ == virtio_blk::request_type::out) {
        most = most_plain_write_;
    }
    const std::uint64_t sectors = candidate.length_ >> sector_shift;
    return !candidate.scattered_ && sectors - 1 < most &&
           ((candidate.sector_ << sector_shift | candidate.length_) & unaligned_) == 0 &&
           candidate.sector_ <= capacity_ - sectors;
}

// Inline, with what it calls: where the request is made, most of what it looks at is known to the compiler. While requests
// wait in line there is no free slot, for whoever frees one hands it to them at once; so this cannot overtake them. All that
// is rare ends in a call that nothing follows, or the common way would have to save registers for it.
inline void io_channel::submit(request& started) noexcept {
    if (!is_plain(started) ||
        !current_->submit_plain(started, started.type_, started.sector_, started.data_, started.length_)) [[unlikely]] {
        submit_slowly(started);
        return;
    }
    started.result_ = request::whole_in_flight;
}

inline void io_channel::interrupted() noexcept {
    bool found = attention_.load(std::memory_order_relaxed);
    for_each_queue([&found](request_queue& queue) { found |= queue.interrupted(); });
    if (found && executor_ != &async::executor::current()) {
        wake();
    }
}

inline void request::await_suspend(std::coroutine_handle<> frame) noexcept {
    continuation = frame;
    channel_->submit(*this);
}

} // namespace inflight::block
