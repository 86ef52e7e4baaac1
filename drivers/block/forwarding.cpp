#include "inflight/drivers/block/forwarding.hpp"

#include "inflight/async/scheduler.hpp"
#include "inflight/drivers/block/deadlines.hpp"
#include "inflight/drivers/block/wait_line.hpp"

#include <memory>
#include <new>

namespace inflight::block {

namespace {

// What is called where the operation would resume its coroutine, from now on; and the operation of such a call.
void continue_with(operation& sent, async::resumable::function call) noexcept {
    sent.continuation = (::new (sent.forwarding.step) forwarding_step{call, sent})->handle();
}
operation& sent_by(void* step) noexcept {
    return *static_cast<forwarding_step*>(static_cast<async::resumable*>(step))->of;
}

} // namespace

inline void forwarding::hand_over(operation& started, bool may_stop) noexcept {
    started.begin(operation_state::forwarded);
    operation_forwarding& way = started.forwarding;
    way.by = this;
    way.frame = started.continuation;
    way.result = status::ok; // with what follows one store
    way.may_stop = may_stop;
    way.stop_is_away = false;
    way.waits_for_stop = false;
    continue_with(started, arrived);
    server_->post(started);
}

// What is rare ends in a call that nothing follows, so that the common way saves no registers for it.
void forwarding::send_plain(operation& started) noexcept {
    if (started.may_stop) [[unlikely]] {
        send_with_limit(started);
        return;
    }
    hand_over(started, false);
}

void forwarding::send(operation& started) noexcept {
    if (started.has(operation::has_timeout)) {
        send_with_limit(started);
    } else {
        send_plain(started);
    }
}

void forwarding::send_with_limit(operation& started) noexcept {
    if (started.has(operation::has_timeout)) {
        started.leave_deadlines();                       // the server keeps them
        deadlines::set(started);                         // unless it has waited here, and has one
        arch::ticks& deadline = started.timing.deadline; // on the way, what is left of it
        const arch::ticks now = origin_->now();
        deadline = deadline > now ? deadline - now : 0;
    }
    const bool may_stop = started.may_stop;
    started.may_stop = false; // its token belongs to this hart
    started.stopping.line = nullptr;
    hand_over(started, may_stop);
    if (may_stop) { // after the operation, so that a stop finds it there
        ::new (started.stopping.registration) async::stop_callback{started.stopping.token, stop, &started};
    }
}

void forwarding::arrived(void* step) noexcept {
    operation& started = sent_by(step);
    static_cast<async::resumable*>(step)->set(completed);
    if (started.has(operation::has_timeout)) [[unlikely]] {
        arrived_with_timeout(started);
        return;
    }
    const forwarding& way = *started.forwarding.by;
    way.submit_(way.context_, started);
}

void forwarding::arrived_with_timeout(operation& started) noexcept {
    started.timing.deadline = async::deadline_after(started.timing.deadline);
    const forwarding& way = *started.forwarding.by;
    way.submit_(way.context_, started);
}

void forwarding::completed(void* step) noexcept {
    operation& ended = sent_by(step);
    if (ended.forwarding.may_stop) [[unlikely]] {
        ended.forwarding.result = ended.result;
        ended.begin(operation_state::forwarded);
        continue_with(ended, back);
    } else {
        ended.continuation = ended.forwarding.frame; // step 3 is the coroutine itself
    }
    ended.forwarding.by->origin_->post(ended);
}

void forwarding::back(void* step) noexcept {
    operation& ended = sent_by(step);
    ended.may_stop = true;
    std::destroy_at(std::launder(reinterpret_cast<async::stop_callback*>(ended.stopping.registration)));
    if (ended.forwarding.stop_is_away) {
        ended.forwarding.waits_for_stop = true;
    } else {
        resume(ended);
    }
}

void forwarding::resume(operation& ended) noexcept {
    ended.end(ended.forwarding.result);
    ended.continuation = ended.forwarding.frame;
    ended.forwarding.by->origin_->make_ready(ended);
}

void forwarding::stop(void* sent) noexcept {
    operation_forwarding& way = static_cast<operation*>(sent)->forwarding;
    way.stop_is_away = true;
    (::new (way.stop) async::message{stop_arrived, sent})->post(*way.by->server_);
}

void forwarding::stop_arrived(void* sent) noexcept {
    operation& stopped = *static_cast<operation*>(sent);
    wait_line::cancel(stopped);
    (::new (stopped.forwarding.stop) async::message{stop_returned, sent})->post(*stopped.forwarding.by->origin_);
}

void forwarding::stop_returned(void* sent) noexcept {
    operation& stopped = *static_cast<operation*>(sent);
    stopped.forwarding.stop_is_away = false;
    if (stopped.forwarding.waits_for_stop) {
        resume(stopped);
    }
}

} // namespace inflight::block
