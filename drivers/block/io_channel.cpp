#include "drivers/block/io_channel.hpp"

#include "arch/arch.hpp"
#include "drivers/block/disk.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <new>

namespace inflight::block {

using virtio_blk::request_type;

namespace {

// The queue whose turn it is while a channel is stopped, or has none: it has no slots.
request_queue no_queue;

} // namespace

// ---- requests ----

void request::destroyed_in_flight() noexcept {
    arch::panic("a block request was destroyed in flight: the device may still write into its buffer");
}

void request::next_segment() noexcept {
    --pieces_.segments_left;
    if (type_ == request_type::in) {
        const std::span<std::byte>& segment = *pieces_.into++;
        data_ = segment.data();
        length_ = segment.size();
    } else {
        const std::span<const std::byte>& segment = *pieces_.from++;
        data_ = segment.data();
        length_ = segment.size();
    }
}

void io_channel::submit_slowly(request& started) noexcept {
    if (current_ != &no_queue && current_->turn_has_ended()) { // that may be all that is rare about it
        next_turn();
        submit(started);
        return;
    }
    if (changing_) { // go_on() checks it, by what the device can do then
        started.begin_pieces();
        wait_in_line(started);
        return;
    }
    const status refusal = disk_->check(started);
    if (refusal != status::ok || has_nothing_to_do(started)) {
        started.result_ = refusal;
        executor_->make_ready(started);
        return;
    }
    if (through_ != nullptr) {
        send(started);
        return;
    }
    started.begin_pieces();
    if (stopped_ || !waiting_.empty() || !push(started)) {
        wait_in_line(started);
    }
}

// Where there is no write cache that could be flushed.
bool io_channel::has_nothing_to_do(const request& candidate) const noexcept {
    return candidate.type_ == request_type::flush && !disk_->properties_.can_flush;
}

void io_channel::wait_in_line(request& started) noexcept {
    ++counters_.waited;
    waiting_.push_back(started);
    if (started.may_stop_) {
        register_stop(started, stop_waiting);
    }
}

void io_channel::register_stop(request& started, async::stop_callback::function call) noexcept {
    ::new (started.stopping_.registration) async::stop_callback{started.stopping_.token, call, &started};
}

void io_channel::unregister_stop(request& ended) noexcept {
    std::destroy_at(std::launder(reinterpret_cast<async::stop_callback*>(ended.stopping_.registration)));
}

// Called when a stop is requested of a request in line: at once, or while it is registered.
void io_channel::stop_waiting(void* stopped) noexcept {
    request& waiting = *static_cast<request*>(stopped);
    if (waiting.channel_->waiting_.remove(waiting)) {
        waiting.channel_->end_early(waiting, status::cancelled);
    }
}

// The request leaves the line, or has left it: no stop concerns it from here on.
void io_channel::end_waiting(request& waiting) noexcept {
    if (waiting.may_stop_) {
        unregister_stop(waiting);
        waiting.may_stop_ = false;
    }
}

// Ends a request that has left the line: now, or with the last of its pieces that the device has.
void io_channel::end_early(request& waiting, status outcome) noexcept {
    if (waiting.pieces_.failure == status::ok) { // else a piece has failed before
        waiting.pieces_.failure = outcome;
    }
    waiting.length_ = 0;
    waiting.pieces_.segments_left = 0;
    if (waiting.pieces_.inside == 0) {
        waiting.result_ = waiting.pieces_.failure;
        executor_->make_ready(waiting);
    }
}

// ---- requests that go through another hart ----

void io_channel::send(request& started) noexcept {
    ++counters_.sent;
    started.result_ = request::whole_in_flight; // for its destructor: it is on its way
    request::journey& journey = started.journey_;
    journey.home = executor_;
    journey.away = through_->executor_;
    journey.frame = started.continuation;
    journey.may_stop = started.may_stop_;
    journey.stop_is_away = false;
    journey.waits_for_it = false;
    started.may_stop_ = false; // its token belongs to this hart
    auto* const arrival = ::new (journey.arrival) async::callback{arrived, &started};
    started.continuation = arrival->handle();
    started.channel_ = through_;
    journey.away->post(started);
    if (journey.may_stop) { // after the request, so that a stop finds it there
        register_stop(started, stop_away);
    }
}

// On the hart that has a queue: from here on it is a request like others there, but for what resuming it does.
void io_channel::arrived(void* sent) noexcept {
    request& started = *static_cast<request*>(sent);
    auto* const arrival = ::new (started.journey_.arrival) async::callback{returned, &started};
    started.continuation = arrival->handle();
    started.channel_->submit(started);
}

void io_channel::returned(void* sent) noexcept {
    request& ended = *static_cast<request*>(sent);
    if (ended.journey_.may_stop) {
        auto* const arrival = ::new (ended.journey_.arrival) async::callback{came_home, &ended};
        ended.continuation = arrival->handle();
    } else {
        ended.continuation = ended.journey_.frame;
    }
    ended.journey_.home->post(ended);
}

// The way of a stop: from home, to where the request is, and back.
void io_channel::stop_away(void* sent) noexcept {
    request::journey& journey = static_cast<request*>(sent)->journey_;
    journey.stop_is_away = true;
    (::new (journey.stop) async::message{stop_arrived, sent})->post(*journey.away);
}

void io_channel::stop_arrived(void* sent) noexcept {
    request::journey& journey = static_cast<request*>(sent)->journey_;
    stop_waiting(sent);
    (::new (journey.stop) async::message{stop_returned, sent})->post(*journey.home);
}

void io_channel::stop_returned(void* sent) noexcept {
    request& stopped = *static_cast<request*>(sent);
    stopped.journey_.stop_is_away = false;
    if (stopped.journey_.waits_for_it) {
        stopped.journey_.home->make_ready(stopped);
    }
}

// At home, and ended.
void io_channel::came_home(void* sent) noexcept {
    request& ended = *static_cast<request*>(sent);
    unregister_stop(ended);
    ended.continuation = ended.journey_.frame;
    if (ended.journey_.stop_is_away) {
        ended.journey_.waits_for_it = true;
    } else {
        ended.journey_.home->make_ready(ended);
    }
}

// ---- from requests to the queues ----

// Gives the device as much of a request as there is room for. True if that was all of it.
bool io_channel::push(request& started) noexcept {
    do {
        request_queue* const queue = queue_with_room();
        if (queue == nullptr) {
            return false;
        }
        push_piece(started, *queue);
    } while (started.has_more());
    return true;
}

void io_channel::begin_turn(request_queue& queue) noexcept {
    current_ = &queue;
    queue.begin_turn(has_several_queues() ? requests_per_turn : queue.ring().size());
}

// Requests go to the queues in turns, of a round or so many requests at the most: a doorbell is shared by a turn's
// requests, and a deep workload keeps all queues busy.
void io_channel::next_turn() noexcept {
    request_queue* const next = current_->sibling;
    begin_turn(next != nullptr ? *next : *first_);
}

request_queue* io_channel::queue_with_room() noexcept {
    if (!current_->full()) {
        return current_;
    }
    for (request_queue* queue = first_; queue != nullptr; queue = queue->sibling) {
        if (!queue->full()) {
            return queue;
        }
    }
    return nullptr;
}

void io_channel::push_piece(request& started, request_queue& queue) noexcept {
    ++started.pieces_.inside;
    switch (started.type_) {
    case request_type::in:
    case request_type::out: push_data(started, queue); break;
    case request_type::discard:
    case request_type::write_zeroes: push_range(started, queue); break;
    case request_type::flush: queue.submit_flush(started); break;
    case request_type::get_id: queue.submit_get_id(started); break;
    }
}

void io_channel::push_data(request& started, request_queue& queue) noexcept {
    const disk_properties& properties = disk_->properties_;
    std::array<request_queue::data_segment, request_queue::most_segments> segments;
    std::uint32_t count = 0;
    std::uint32_t bytes = 0;
    while (started.has_more() && count < properties.seg_max && bytes < request_queue::most_bytes) {
        if (started.length_ == 0) {
            started.next_segment();
        }
        const auto part = static_cast<std::uint32_t>(
            std::min<std::size_t>({started.length_, properties.size_max, request_queue::most_bytes - bytes}));
        segments[count++] = {.data = started.data_, .length = part};
        started.data_ += part;
        started.length_ -= part;
        bytes += part;
    }
    const std::uint64_t sector = started.sector_;
    started.sector_ += bytes >> sector_shift;
    queue.submit_data(started, sector, std::span{segments.data(), count});
}

// One range per request of the device: every device that knows ranges takes one.
void io_channel::push_range(request& started, request_queue& queue) noexcept {
    const disk_properties& properties = disk_->properties_;
    const bool discards = started.type_ == request_type::discard;
    const std::uint32_t most = discards ? properties.max_discard_sectors : properties.max_write_zeroes_sectors;
    std::uint64_t part = started.length_;
    if (part > most) {
        part = most;
        if (discards) {
            // Cut where the device says that its pieces end, if there is such a place within reach.
            const std::uint64_t unit = std::max<std::uint32_t>(properties.discard_sector_alignment, 1);
            const std::uint64_t over = (started.sector_ + part) % unit;
            part = over < part ? part - over : part;
        }
    }
    const virtio_blk::range_segment range{
        .sector = started.sector_, .num_sectors = static_cast<std::uint32_t>(part), .flags = 0};
    started.sector_ += part;
    started.length_ -= part;
    queue.submit_range(started, range);
}

void io_channel::push_waiting() noexcept {
    while (async::operation* const first = waiting_.front()) {
        if (!push(static_cast<request&>(*first))) {
            return;
        }
        waiting_.pop_front();
        end_waiting(static_cast<request&>(*first));
    }
}

// What waits was admitted to the disk as it was, or came while it changed. What has failed since, or does not fit, goes no
// further.
void io_channel::check_waiting() noexcept {
    async::operation* next = waiting_.take_all();
    while (next != nullptr) {
        request& waiting = static_cast<request&>(*next);
        next = next->next;
        if (waiting.pieces_.failure == status::ok) {
            waiting.pieces_.failure = disk_->check(waiting);
        }
        if (waiting.pieces_.failure == status::ok && !has_nothing_to_do(waiting)) {
            waiting_.push_back(waiting);
            continue;
        }
        end_waiting(waiting);
        end_early(waiting, waiting.pieces_.failure);
    }
}

// ---- what the executor asks ----

bool io_channel::poll() noexcept {
    if (stopped_) [[unlikely]] {
        return false; // its rings mean nothing just now
    }
    if (attention_.load(std::memory_order_relaxed)) [[unlikely]] {
        attention_.store(false, std::memory_order_relaxed);
        disk_->configuration_changed();
        return true;
    }
    bool found = false;
    for (request_queue* queue = first_; queue != nullptr; queue = queue->sibling) {
        if (queue->armed() && !queue->pending()) {
            continue; // its interrupt will tell
        }
        const request_queue::drained outcome = queue->drain(*executor_);
        if (outcome == request_queue::drained::device_lies) [[unlikely]] {
            stop_for_a_lie();
            return true;
        }
        found |= outcome == request_queue::drained::something;
    }
    if (found && !waiting_.empty()) {
        push_waiting();
    }
    return found;
}

void io_channel::stop_for_a_lie() noexcept {
    ++counters_.device_lies;
    stop();
    disk_->needs_reset(false);
}

void io_channel::publish() noexcept {
    if (stopped_) [[unlikely]] {
        return;
    }
    bool published = false;
    for (request_queue* queue = first_; queue != nullptr; queue = queue->sibling) {
        if (queue->ring().has_unpublished()) {
            published = true;
            if (queue->ring().publish()) {
                queue->notified();
                trace::record(trace::event::notify, queue->track);
                disk_->device_.notify(queue->index);
            }
        }
    }
    if (published) {
        if (has_several_queues()) {
            next_turn();
        }
        if (!watching_) {
            watch();
        }
    }
}

bool io_channel::arm() noexcept {
    if (stopped_) [[unlikely]] {
        return false;
    }
    bool work = attention_.load(std::memory_order_relaxed);
    for_each_queue([&work](request_queue& queue) { work |= queue.arm(); });
    return work;
}

bool io_channel::has_unpublished() noexcept {
    bool found = false;
    for_each_queue([&found](request_queue& queue) { found |= queue.ring().has_unpublished(); });
    return found && !stopped_;
}

void io_channel::disarm() noexcept {
    if (!stopped_) {
        for_each_queue([](request_queue& queue) { queue.disarm(); });
    }
}

// ---- interrupts ----

void io_channel::wake() noexcept {
    // acq_rel: the marks before the flag, pairs with the exchange in woken(): whoever finds it set leaves its marks to the one
    // who takes it down.
    if (wake_posted_.exchange(1, std::memory_order_acq_rel) == 0) {
        wake_message_.post(*executor_);
    }
}

// Being woken is all: the marks are found by poll(), in this round or before the hart sleeps again.
void io_channel::woken() noexcept {
    // acq_rel: the flag before the marks, pairs with the exchange in interrupted().
    static_cast<void>(wake_posted_.exchange(0, std::memory_order_acq_rel));
    ++counters_.interrupted;
}

// ---- time limits ----

void io_channel::watch() noexcept {
    const arch::ticks limit = disk_->options_.request_timeout;
    if (limit != 0) {
        watching_ = true;
        watch_.deadline = arch::now() + limit / (looks_until_late - 1) + 1; // rounded up
        executor_->make_ready_at(watch_);
    }
}

bool io_channel::busy() noexcept {
    bool inside = false;
    for_each_queue([&inside](request_queue& queue) { inside |= queue.in_flight() != 0; });
    return inside;
}

// Takes what is there first: a device that has done its work is not late, though its interrupt may be lost. And gives
// the device what it has not seen yet, so that nothing is older than the time that the device has had it. While the
// channel is stopped there is nothing to look after; go_on() sees to it.
void io_channel::look_after() noexcept {
    if (!stopped_) {
        for_each_queue([this](request_queue& queue) { counters_.lost_interrupts += queue.mark_if_untold() ? 1 : 0; });
        static_cast<void>(poll());
        publish();
    }
    watching_ = false;
    if (stopped_ || !busy()) {
        return;
    }
    watch();
    bool late = false;
    for_each_queue([&late](request_queue& queue) { late |= queue.grow_older() >= looks_until_late; });
    if (late) {
        stop();
        disk_->needs_reset(true);
    }
}

// ---- steps of the disk ----

io_channel::io_channel(disk& owner, async::executor& hart) noexcept
    : current_{&no_queue}, disk_{&owner}, executor_{&hart} {}

void io_channel::own(std::span<request_queue> queues, std::size_t stride) noexcept {
    first_ = queues.data();
    for (std::size_t i = stride; i < queues.size(); i += stride) {
        queues[i - stride].sibling = &queues[i];
    }
    for_each_queue([](request_queue& queue) { queue.rebuild(); });
}

void io_channel::go_through(io_channel& other) noexcept {
    through_ = &other;
}

void io_channel::ask(step next) noexcept {
    next_step_ = next;
    async::executor& where = next == step::report ? *disk_->executor_ : *executor_;
    if (&where == &async::executor::current()) {
        take_step();
    } else {
        step_message_.post(where);
    }
}

void io_channel::take_step() noexcept {
    switch (next_step_) {
    case step::open:
        executor_->add(*this);
        go_on();
        break;
    case step::stop: stop(); break;
    case step::go_on: go_on(); break;
    case step::report: disk_->channel_reports(); return;
    }
    ask(step::report);
}

void io_channel::stop() noexcept {
    changing_ = true;
    stopped_ = true;
    current_ = &no_queue;
}

void io_channel::go_on() noexcept {
    changing_ = false;
    stopped_ = disk_->lost();
    admit();
    if (disk_->was_reset_) {
        for_each_queue([this](request_queue& queue) {
            if (disk_->resubmits_ && !disk_->lost()) {
                queue.abandon(*executor_, status::timed_out, looks_until_late);
            } else {
                queue.abandon(*executor_, disk_->lost() ? status::device_lost : status::device_reset);
            }
            if (!disk_->lost()) { // a device that has not confirmed its reset may still read the chains
                queue.rebuild();
            }
        });
    }
    check_waiting();
    if (through_ != nullptr) {
        while (async::operation* const first = waiting_.pop_front()) {
            request& waited = static_cast<request&>(*first);
            if (waited.may_stop_) {
                unregister_stop(waited); // it goes on waiting, elsewhere
            }
            send(waited);
        }
    } else if (!stopped_) {
        begin_turn(*first_);
        push_waiting();
        if (!watching_ && busy()) {
            watch();
        }
    }
}

// Sets what the quick check lets through.
void io_channel::admit() noexcept {
    const disk_properties& properties = disk_->properties_;
    capacity_ = properties.capacity;
    unaligned_ = properties.logical_block_size - 1;
    most_plain_read_ = disk_->lost() ? 0 : std::min<std::uint64_t>(properties.size_max >> sector_shift, capacity_);
    most_plain_write_ = properties.read_only ? 0 : most_plain_read_;
}

} // namespace inflight::block
