#include "inflight/drivers/block/channel.hpp"

#include "inflight/arch/arch.hpp"
#include "inflight/drivers/block/resubmission.hpp"

namespace inflight::block {

using virtio_blk::request_type;

namespace {

// The queue whose quantum it is while a channel is quiesced, or has none: it has no slots.
constinit queue no_queue;

} // namespace

channel::channel(const device& of, async::executor& hart, std::span<queue> queues, std::size_t stride) noexcept
    : participant{of.recoveries, hart},
      current_{&no_queue},
      executor_{&hart},
      recovery_{&of.recoveries},
      transport_{&of.transport},
      waiting_{hart},
      memory_{&of.memory},
      device_properties_{&of.properties},
      properties_{of.properties},
      watchdog_{hart, *this, of.progress, of.request_timeout},
      deadlines_{hart, [](void* self) noexcept { static_cast<channel*>(self)->deadlines_pass(); }, this} {
    if (!queues.empty()) {
        first_ = queues.data();
        for (std::size_t i = stride; i < queues.size(); i += stride) {
            queues[i - stride].sibling = &queues[i];
        }
    }
    of.recoveries.add(*this);
}

channel::channel(const device& of, async::executor& hart, channel& server) noexcept : channel{of, hart, {}, 1} {
    forwarding_.emplace(
        hart, *server.executor_,
        [](void* at, operation& arrived) noexcept { static_cast<channel*>(at)->submit(arrived); }, &server);
}

// ---- from operations to the queues ----

// A plain operation that the current queue has not taken: its quantum has ended, all its slots are taken, or the free
// one is laid out for another kind of request; or the channel has no queue. Usually others wait already, because a queue
// is full. That path calls nothing unless as its last step, so that no register is saved for it.
void channel::submit_plain_later(operation& started) noexcept {
    if (!waiting_.empty()) [[likely]] {
        wait_whole(started); // there is no free slot: push_waiting() has given them all away
    } else if (forwarding_) {
        ++counters_.forwarded;
        forwarding_->send_plain(started);
    } else if (current_->submit_plain_packed_first(started)) {
        started.begin(operation_state::whole_in_flight);
    } else {
        submit_plain_elsewhere(started);
    }
}

void channel::submit_plain_elsewhere(operation& started) noexcept {
    end_quantum_if_over();
    queue* const to = queue_with_room();
    if (to == nullptr) {
        wait_whole(started);
        return;
    }
    started.begin(operation_state::whole_in_flight);
    to->submit_whole(started);
}

inline void channel::wait_whole(operation& started) noexcept {
    ++counters_.waited;
    started.begin(operation_state::whole_in_line);
    waiting_.push_back(started);
}

void channel::submit_slow_path(operation& started) noexcept {
    if (!quiesced_) { // else resume() checks it, by what the device can do then
        const status refusal = recovery_->lost() ? status::device_lost : check(started, properties_);
        if (refusal != status::ok || is_noop(started, properties_)) {
            started.refuse(refusal);
            executor_->make_ready(started);
            return;
        }
        if (forwarding_) {
            ++counters_.forwarded;
            forwarding_->send(started);
            return;
        }
    }
    started.begin_pieces();
    deadlines_.watch(started);
    if (!stopped_ && waiting_.empty()) {
        end_quantum_if_over();
        if (push(started)) {
            end_if_failed(started);
            return;
        }
    }
    ++counters_.waited;
    waiting_.push_back(started);
}

// Gives the device as much of an operation as there is room for. True if nothing is left to give: it has all of it, or
// the rest has failed, which end_if_failed() deals with. Where there is no room to share its data, it waits as long as
// something is in flight here: when that completes, there is more room, and push_waiting() is called.
bool channel::push(operation& started) noexcept {
    do {
        queue* const to = queue_with_room();
        if (to == nullptr) {
            return false;
        }
        const operation_position before = started.position();
        const status outcome = push_piece(started, *to);
        if (outcome == status::out_of_memory && is_busy()) {
            started.go_to(before);
            return false;
        }
        if (outcome != status::ok) {
            started.pieces.failure = outcome;
            return true;
        }
        ++started.pieces.in_flight;
    } while (started.has_more());
    return true;
}

// Ends what push() could not give to the device: now, or with the last piece that the device has.
void channel::end_if_failed(operation& pushed) noexcept {
    if (pushed.pieces.failure != status::ok) {
        waiting_.end(pushed, pushed.pieces.failure);
    }
}

status channel::push_piece(operation& started, queue& to) noexcept {
    switch (started.type) {
    case request_type::in:
    case request_type::out:
    case request_type::zone_append: {
        data_piece piece;
        next_piece(started, properties_, *memory_, piece);
        if (piece.count == 0 || (started.has_more() && is_indivisible(started, properties_))) {
            return status::invalid_argument;
        }
        return to.submit_data(started, piece) ? status::ok : status::out_of_memory;
    }
    case request_type::discard:
    case request_type::write_zeroes:
    case request_type::secure_erase: {
        range_piece piece;
        next_piece(started, properties_, piece);
        to.submit_ranges(started, piece);
        break;
    }
    case request_type::zone_report: {
        data_piece piece;
        whole_report(started, properties_, *memory_, piece);
        if (piece.count == 0) {
            return status::invalid_argument;
        }
        return to.submit_data(started, piece) ? status::ok : status::out_of_memory;
    }
    case request_type::zone_open:
    case request_type::zone_close:
    case request_type::zone_finish:
    case request_type::zone_reset:
    case request_type::zone_reset_all:
    case request_type::flush: to.submit_without_data(started); break;
    case request_type::get_id: to.submit_get_id(started); break;
    case request_type::get_lifetime: to.submit_get_lifetime(started); break;
    }
    return status::ok;
}

void channel::push_waiting() noexcept {
    while (operation* const first = waiting_.front()) {
        if (first->state == operation_state::whole_in_line) {
            queue* const to = queue_with_room();
            if (to == nullptr) {
                return;
            }
            first->begin(operation_state::whole_in_flight);
            waiting_.pop_front();
            to->submit_whole(*first);
        } else {
            if (!push(*first)) {
                return;
            }
            waiting_.pop_front();
            end_if_failed(*first);
        }
    }
}

queue* channel::other_queue_with_room() noexcept {
    for (queue* each = first_; each != nullptr; each = each->sibling) {
        if (!each->full()) {
            return each;
        }
    }
    return nullptr;
}

// Requests go to the queues in quanta, of a round or requests_per_quantum at the most: the requests of a quantum share
// a notification, and a deep workload keeps all queues busy.
void channel::begin_quantum(queue& of) noexcept {
    current_ = &of;
    of.begin_quantum(has_several_queues() ? requests_per_quantum : of.ring().size());
}

void channel::next_quantum() noexcept {
    queue* const next = current_->sibling;
    begin_quantum(next != nullptr ? *next : *first_);
}

void channel::end_quantum_if_over() noexcept {
    if (current_->quantum_has_ended()) {
        next_quantum();
    }
}

// ---- for the executor ----

// Returns true, so that callers can return its result.
bool channel::violates() noexcept {
    ++counters_.protocol_violations;
    quiesce();
    recovery_->request(recovery::cause::protocol_violation);
    return true;
}

bool channel::drain_rest(std::size_t used) noexcept {
    if (first_->drain_rest(*executor_, used) == queue::drained::protocol_violation) [[unlikely]] {
        return violates();
    }
    return push_waiting_after_poll();
}

bool channel::drain_rest_packed() noexcept {
    if (first_->drain_rest_packed(*executor_) == queue::drained::protocol_violation) [[unlikely]] {
        return violates();
    }
    return push_waiting_after_poll();
}

bool channel::push_waiting_after_poll() noexcept {
    push_waiting();
    return true;
}

// With one queue, as most channels have, all that is not rare is inline, and what is rare ends in a call that nothing
// follows: so no register is saved.
bool channel::poll() noexcept {
    queue* const only = only_;
    if (only == nullptr || configuration_changed_.load(std::memory_order_relaxed)) [[unlikely]] {
        return poll_slow_path();
    }
    const std::size_t used = only->ring().begin_drain_split_unless_armed();
    if (used == 0) {
        return false;
    }
    if (used == virtio::virtqueue::protocol_violation) [[unlikely]] {
        return violates();
    }
    if (!only->all_published()) [[unlikely]] {
        return drain_rest(used);
    }
    const std::size_t taken = only->drain_expected(*executor_, used);
    if (taken != used) [[unlikely]] {
        return drain_rest(used - taken);
    }
    if (!waiting_.empty()) [[unlikely]] {
        return push_waiting_after_poll();
    }
    return true;
}

// As poll(), for a packed ring.
bool channel::poll_slow_path() noexcept {
    queue* const only = only_packed_;
    if (only == nullptr || configuration_changed_.load(std::memory_order_relaxed)) [[unlikely]] {
        return poll_all();
    }
    if (!only->ring().disarm_unless_armed_packed()) {
        return false;
    }
    const bool found = only->drain_in_order_packed(*executor_);
    if (only->ring().packed().some_used()) [[unlikely]] {
        return drain_rest_packed();
    }
    if (!found) {
        return false;
    }
    if (!waiting_.empty()) [[unlikely]] {
        return push_waiting_after_poll();
    }
    return true;
}

// While the channel holds, it takes completions and submits nothing.
bool channel::poll_all() noexcept {
    if (stopped_ && !holds_) [[unlikely]] {
        return false;
    }
    if (configuration_changed_.load(std::memory_order_relaxed)) [[unlikely]] {
        configuration_changed_.store(false, std::memory_order_relaxed);
        recovery_->request(recovery::cause::configuration);
        return true;
    }
    bool found = false;
    for (queue* each = first_; each != nullptr; each = each->sibling) {
        if (each->ring().armed()) {
            continue; // an interrupt will tell
        }
        const queue::drained outcome = each->drain(*executor_);
        if (outcome == queue::drained::protocol_violation) [[unlikely]] {
            return violates();
        }
        found |= outcome == queue::drained::something;
    }
    if (stopped_) [[unlikely]] {
        report_if_drained();
    } else if (found && !waiting_.empty()) {
        push_waiting();
    }
    return found;
}

void channel::report_if_drained() noexcept {
    if (reports_drained_ && is_drained()) {
        reports_drained_ = false;
        recovery_->request(recovery_->causes() & recovery::cause::when_drained);
    }
}

// Of a channel that holds: whether nothing is in flight here that has to end first.
bool channel::is_drained() noexcept {
    const bool all = (recovery_->causes() & recovery::cause::write_cache) != 0;
    bool drained = true;
    for_each_queue([all, &drained](queue& each) { drained = drained && each.is_drained(all); });
    return drained;
}

// Returns true if there was anything to publish.
inline bool channel::publish(queue& own) noexcept {
    if (!own.ring().has_unpublished()) {
        return false;
    }
    if (own.publish()) {
        notify(own);
    }
    return true;
}

void channel::notify(queue& own) noexcept {
    own.notified();
    trace::record(trace::event::notify, own.track);
    transport_->notify(own.index, own.ring().next_available());
}

inline void channel::end_publishing() noexcept {
    if (has_several_queues()) {
        next_quantum();
    }
    watchdog_.begin();
}

void channel::publish() noexcept {
    if (stopped_) [[unlikely]] {
        return;
    }
    bool published = false;
    for_each_queue([this, &published](queue& each) { published |= publish(each); });
    if (published) {
        end_publishing();
    }
}

bool channel::publish_early(bool may_notify) noexcept {
    if (stopped_) [[unlikely]] {
        return false;
    }
    bool published = false;
    bool notified = false;
    for_each_queue([this, may_notify, &published, &notified](queue& each) {
        const bool would_notify = each.publish_would_notify();
        if (may_notify || !would_notify) {
            const bool shown = publish(each);
            published |= shown;
            notified |= shown && would_notify;
        }
    });
    if (published) {
        watchdog_.begin();
    }
    return notified;
}

bool channel::begin_to_watch(bool work) noexcept {
    watchdog_.begin();
    return work;
}

// As poll().
bool channel::arm_and_publish() noexcept {
    queue* const only = only_;
    if (only == nullptr || configuration_changed_.load(std::memory_order_relaxed)) [[unlikely]] {
        return arm_and_publish_slow_path();
    }
    const std::size_t available = only->ring().split().available();
    if (!only->ring().wants_arm_and_publish_split(available)) [[unlikely]] {
        return arm_and_publish_slow_path();
    }
    const bool work = only->arm_and_publish_split(
        available, [ this, only ]() __attribute__((always_inline)) {
            only->notified();
            trace::record(trace::event::notify, only->track);
            virtio::notify(registers_, [only] { return only->ring().split().next_available(); });
        });
    if (!watchdog_.watches()) [[unlikely]] {
        return begin_to_watch(work);
    }
    return work;
}

// As arm_and_publish(), for a packed ring.
bool channel::arm_and_publish_slow_path() noexcept {
    queue* const only = only_packed_;
    if (only == nullptr || configuration_changed_.load(std::memory_order_relaxed) ||
        !only->ring().wants_arm_and_publish_packed()) [[unlikely]] {
        return arm_and_publish_all();
    }
    const bool work = only->arm_and_publish_packed([ this, only ]() __attribute__((always_inline)) {
        only->notified();
        trace::record(trace::event::notify, only->track);
        virtio::notify(registers_, [only] { return only->ring().packed().next_available(); });
    });
    if (!watchdog_.watches()) [[unlikely]] {
        return begin_to_watch(work);
    }
    return work;
}

bool channel::arm_and_publish_all() noexcept {
    if (stopped_ && !holds_) [[unlikely]] {
        return false;
    }
    bool work = configuration_changed_.load(std::memory_order_relaxed);
    bool published = false;
    for_each_queue([this, &work, &published](queue& each) {
        work |= each.ring().arm();
        published |= !stopped_ && publish(each);
    });
    if (published) {
        end_publishing();
    }
    return work;
}

void channel::disarm() noexcept {
    if (!stopped_ || holds_) {
        for_each_queue([](queue& each) { each.ring().disarm(); });
    }
}

bool channel::has_unpublished() noexcept {
    bool found = false;
    for_each_queue([&found](queue& each) { found |= each.ring().has_unpublished(); });
    return found && !stopped_;
}

// ---- interrupts ----

void channel::interrupted_here_slow_path() noexcept {
    if (only_packed_ == nullptr) [[unlikely]] {
        interrupted();
        return;
    }
    static_cast<void>(only_packed_->ring().interrupted());
}

void channel::interrupted() noexcept {
    bool found = configuration_changed_.load(std::memory_order_relaxed);
    for_each_queue([&found](queue& each) { found |= each.ring().interrupted(); });
    wake_if(found);
}

void channel::wake() noexcept {
    // acq_rel: the marks before the flag, pairs with the exchange in woken(): whoever finds it set leaves its marks to
    // the one who clears it.
    if (wake_posted_.exchange(1, std::memory_order_acq_rel) == 0) {
        wake_message_.post(*executor_);
    }
}

bool channel::mark_completed() noexcept {
    bool found = configuration_changed_.load(std::memory_order_relaxed);
    for_each_queue([&found](queue& each) { found |= each.ring().mark_if_completed(); });
    wake_if(found);
    return found;
}

// The message only wakes the hart. The marks are found by poll(), in this round or before the hart sleeps again.
void channel::woken() noexcept {
    // acq_rel: the flag before the marks, pairs with the exchange in wake().
    static_cast<void>(wake_posted_.exchange(0, std::memory_order_acq_rel));
}

// ---- time limits ----

// Takes completions first, because a device that has done its work is not late even if its interrupt was lost.
// Publishes what was submitted, so that no request is older than the time for which the device has had it.
void channel::look_for_lost_interrupts() noexcept {
    if (!stopped_ || holds_) {
        bool stopped = false; // the interrupts of a queue have
        for_each_queue([this, &stopped](queue& each) { stopped |= interrupt_lost(each); });
        static_cast<void>(poll());
        publish();
        if (stopped) {
            recovery_->request(recovery::cause::queue_reset);
        }
    }
}

void channel::look_for_lost_notifications() noexcept {
    if (!stopped_ || holds_) {
        for_each_queue([this](queue& each) {
            // What is not published yet is going to be notified of, and where that is cannot be told before.
            if (!each.ring().has_unpublished() && each.seems_unnoticed()) {
                ++counters_.repeated_notifications;
                notify(each);
            }
        });
    }
}

// Returns true if it has requested a reset of the queue.
bool channel::interrupt_lost(queue& own) noexcept {
    if (!own.ring().mark_if_interrupt_lost()) {
        return false;
    }
    ++counters_.lost_interrupts;
    if (!own.interrupt_was_lost() || !properties_.can_reset_queues) {
        return false;
    }
    own.request_reset();
    return true;
}

bool channel::is_busy() noexcept {
    bool busy = false;
    for_each_queue([&busy](queue& each) { busy |= each.in_flight() != 0; });
    return busy && (!stopped_ || holds_);
}

std::uint64_t channel::completed() noexcept {
    std::uint64_t sum = 0;
    for_each_queue([&sum](queue& each) { sum += each.completed(); });
    return sum;
}

bool channel::grow_older(std::uint32_t old) noexcept {
    bool starves = false;
    for_each_queue([&starves, old](queue& each) { starves |= each.grow_older(old); });
    return starves;
}

void channel::is_late(bool whole_device) noexcept {
    quiesce();
    recovery_->request(whole_device ? recovery::cause::device_late : recovery::cause::request_late);
}

void channel::deadlines_pass() noexcept {
    look_for_lost_interrupts();
    bool expired = false;
    deadlines_.expire([this, &expired](operation& late) noexcept { expired |= expire(late); });
    if (expired) {
        is_late(false);
    }
}

// Returns whether the device has a part of the operation. That part ends with a reset, which the caller has to request.
bool channel::expire(operation& late) noexcept {
    if (late.pieces.in_line) {
        waiting_.remove(late);
        const bool is_pending = late.pieces.in_flight != 0;
        waiting_.end(late, status::timed_out);
        if (!is_pending) {
            return false;
        }
    }
    late.flags |= operation::is_late;
    return true;
}

// ---- recovery ----

void channel::obey(recovery::command next) noexcept {
    switch (next) {
    case recovery::command::open:
        executor_->add(*this);
        for_each_queue([](queue& each) { each.build(); });
        resume();
        break;
    case recovery::command::quiesce:
        // What was made available cannot be taken back, so the device sees it before its new capacity is read. A device
        // that needs a reset is not notified any more (2.1.2).
        if (!recovery_->quiesces_for_reset()) {
            publish();
        }
        quiesce();
        break;
    case recovery::command::hold: hold(); break;
    case recovery::command::resume:
        if (recovery_->was_reset()) {
            watchdog_.forgive();
            resubmission{*recovery_, waiting_, *executor_}.take_back(first_, properties_);
        }
        if (!recovery_->lost()) { // a device that has not confirmed its reset may still read the chains
            for_each_queue([](queue& each) {
                if (!each.is_built()) {
                    each.build();
                }
            });
        }
        resume();
        break;
    }
}

void channel::quiesce() noexcept {
    quiesced_ = true;
    stopped_ = true;
    holds_ = false;
    only_ = nullptr;
    only_packed_ = nullptr;
    current_ = &no_queue;
    admission_.close();
}

// Quiesced, but what is in flight completes.
void channel::hold() noexcept {
    holds_ = true;
    reports_drained_ = !is_drained();
    if (is_busy()) {
        watchdog_.begin();
    }
}

void channel::wake_capacity_waiters() noexcept {
    while (async::operation* const first = capacity_waiters_.pop_front()) {
        executor_->make_ready(*first);
    }
}

void channel::resume() noexcept {
    quiesced_ = false;
    const bool capacity_has_changed = properties_.capacity_changes != device_properties_->capacity_changes;
    properties_ = *device_properties_;
    stopped_ = recovery_->lost();
    if (first_ != nullptr) {
        registers_ = transport_->registers_of_fast_path(first_->index);
    }
    if (capacity_has_changed || stopped_) {
        wake_capacity_waiters();
    }
    const bool is_quick = !stopped_ && first_ != nullptr && !has_several_queues() && registers_.can_notify();
    only_ = is_quick && !first_->ring().is_packed() && !first_->ring().is_in_order() ? first_ : nullptr;
    only_packed_ = is_quick && first_->ring().is_packed() ? first_ : nullptr;
    if (!stopped_ && memory_->is_direct()) {
        admission_.open(properties_);
    }
    resubmission{*recovery_, waiting_, *executor_}.check_waiting(properties_);
    if (forwarding_) {
        while (operation* const first = waiting_.front()) {
            waiting_.pop_front(); // it goes on waiting, elsewhere
            ++counters_.forwarded;
            forwarding_->send(*first);
        }
    } else if (!stopped_ && first_ != nullptr) {
        begin_quantum(*first_);
        push_waiting();
        if (is_busy()) {
            watchdog_.begin();
        }
    }
}

} // namespace inflight::block
