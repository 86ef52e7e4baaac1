// What the model does with requests between the rings and the disk, whatever the format of the rings.
#include "tests/model/virtio_blk_ring.hpp"

#include "tests/model/virtio_blk_packed_ring.hpp"
#include "tests/model/virtio_blk_split_ring.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace inflight::model {

namespace {

template <class Part>
bool overlap(const Part& a, const Part& b) {
    return a.memory < b.memory + b.bytes && b.memory < a.memory + a.bytes;
}

} // namespace

// ---- set-up

virtio_blk_model::virtqueue::virtqueue() = default;
virtio_blk_model::virtqueue::~virtqueue() = default;
virtio_blk_model::virtqueue::virtqueue(virtqueue&&) noexcept = default;
virtio_blk_model::virtqueue& virtio_blk_model::virtqueue::operator=(virtqueue&&) noexcept = default;

void virtio_blk_model::start_queue(unsigned index, std::uint64_t descriptor_area, std::uint64_t driver_area,
                                   std::uint64_t device_area) {
    auto& queue = queues_[index];
    queue.enabled_before = true;
    if (queue.size == 0 || queue.size > 32768 || !(packed() || std::has_single_bit(queue.size)))
        return; // has been reported with QueueSize
    queue.ring.reset();
    if (packed())
        queue.ring = std::make_unique<packed_ring>(*this, queue);
    else
        queue.ring = std::make_unique<split_ring>(*this, queue);
    auto& ring = *queue.ring;
    const std::uint64_t addresses[] = {descriptor_area, driver_area, device_area};
    for (unsigned part = 0; part < 3; ++part) {
        auto& each = ring.parts[part];
        const std::string name = std::string{"the "} + each.name;
        if (addresses[part] % each.alignment != 0)
            report(ring.rule.alignment, name + " is not aligned");
        each.memory = machine_.translate(addresses[part], each.bytes);
        if (each.memory == nullptr)
            return report("RSVD-05", name + " is not in memory");
        for (unsigned other = 0; other < part; ++other)
            if (overlap(each, ring.parts[other]))
                report("MMIO-36", name + " and the " + ring.parts[other].name + " overlap");
    }
    for (const auto& other : queues_) {
        if (&other == &queue || !other.live)
            continue;
        for (const auto& each : ring.parts)
            for (const auto& theirs : other.ring->parts)
                if (overlap(each, theirs))
                    report("MMIO-36",
                           "queues " + std::to_string(index) + " and " + std::to_string(index_of(other)) + " overlap");
    }
    queue.broken = false;
    queue.scribbled.clear();
    queue.shared.clear();
    queue.last_status = nullptr;
    queue.last_writable = 0;
    queue.entries_written = queue.entries_published = 0;
    queue.entry_numbers.assign(queue.size, 0);
    queue.status_numbers.clear();
    queue.looked.assign(machine_.harts(), 0);
    queue.ordered.assign(machine_.harts(), 0);
    ring.start();
    queue.live = true;
}

void virtio_blk_model::break_queue(virtqueue& queue) {
    queue.broken = true;
}

// ---- looking at what the driver publishes

// Called at every point where the driver can be observed.
void virtio_blk_model::look_at(unsigned index) {
    auto& queue = queues_[index];
    if (queue.live && !queue.broken && !removed_)
        queue.ring->look();
}

void virtio_blk_model::check_untouched(const virtqueue& queue, const request& done) {
    if (done.watched)
        queue.ring->check_request(done);
    if (payload_digest(done) != done.payload_digest)
        report("BUFFER", "data to be written was changed while its request was in flight");
}

// ---- the device's look at the ring

void virtio_blk_model::schedule(ticks delay, std::function<void()> work) {
    machine_.after(delay, [this, epoch = epoch_, life = std::weak_ptr<char>{life_}, work = std::move(work)] {
        if (!life.expired() && epoch == epoch_)
            work();
    });
}

void virtio_blk_model::schedule_look(unsigned index, ticks delay, bool notified) {
    ++queues_[index].looks_scheduled;
    schedule(delay, [this, index, notified] {
        auto& queue = queues_[index];
        if (queue.looks_scheduled != 0) // a queue that was stopped and set up again starts from 0
            --queue.looks_scheduled;
        if (notified || !behave.trusts_notifications || !queue.live || !queue.ring->wish_has_passed())
            process(index);
    });
}

void virtio_blk_model::process(unsigned index) {
    auto& queue = queues_[index];
    if (!queue.live || removed_)
        return;
    look_at(index);
    queue.ring->check_memory();
    bool busy = false;
    while (!queue.broken && queue.ring->has_waiting() && (status_ & status_bit::needs_reset) == 0) {
        take(index);
        busy = true;
    }
    if (queue.broken || (status_ & status_bit::needs_reset) != 0)
        return;
    ask_for_notification(index, busy);
    if (fires(fault::spurious_interrupt) || machine_.chance(behave.spurious_chance))
        raise(interrupt_used, &queue);
}

void virtio_blk_model::ask_for_notification(unsigned index, bool busy) {
    auto& queue = queues_[index];
    const bool silent = busy && behave.suppress_for != 0;
    auto ahead = static_cast<unsigned>(
        busy && event_idx() ? machine_.random_below(std::uint64_t{behave.avail_event_ahead} + 1) : 0);
    if (packed()) // the wish has to be about the lap that comes
        ahead = std::min(ahead, queue.size - 1);
    queue.ring->ask_for_notification(silent, ahead);
    if (silent || ahead != 0) // an entry may come without a notification
        schedule_look(index, std::max<ticks>(behave.suppress_for, 100), false);
}

void virtio_blk_model::take(unsigned index) {
    auto& queue = queues_[index];
    auto owner = std::make_unique<request>();
    request& taken = *owner;
    taken.number = requests_taken_++;
    taken.queue = index;
    ++queue.counters.requests;
    if (!queue.ring->take(taken))
        return break_queue(queue);
    inspect(queue, taken);
    note_shared(queue, taken);
    taken.payload_digest = payload_digest(taken);
    if (taken.writable_bytes != 0 && (taken.type != request_type::get_id || behave.pads_identifier))
        fill_with_garbage(taken, 0, taken.writable_bytes - 1);
    if (fires(fault::scribble)) {
        taken.watched = false;
        queue.ring->scribble_over(taken);
    }
    const bool stays = fires(fault::never_complete) || (behave.never_complete && behave.never_complete(view(taken)));
    taken.never = stays;
    queue.in_flight.push_back(std::move(owner));
    if (fires(fault::needs_reset))
        raise_needs_reset();
    else if (!stays)
        schedule_completion(index, taken);
}

bool virtio_blk_model::add_element(const virtqueue& queue, request& walked, std::uint64_t address, std::uint32_t length,
                                   bool writable) {
    const auto& rule = queue.ring->rule;
    ++walked.elements;
    std::byte* const memory = machine_.translate(address, length);
    if (memory == nullptr) {
        report("RSVD-05", "a descriptor names what is not in memory");
        return false;
    }
    if (writable) {
        walked.writable.push_back({memory, length});
        walked.writable_bytes += length;
    } else {
        if (!walked.writable.empty())
            report(rule.readable_first, "a device-readable element after a device-writable one");
        walked.readable.push_back({memory, length});
        walked.readable_bytes += length;
    }
    if (walked.readable_bytes + walked.writable_bytes > std::uint64_t{1} << 32) {
        report(rule.too_many_bytes, "a chain of more than 2^32 bytes");
        return false;
    }
    return true;
}

void virtio_blk_model::scribble(virtqueue& queue, std::byte* start, std::size_t bytes) {
    for (std::size_t at = 0; at + 4 <= bytes; at += 4) {
        const auto word = static_cast<std::uint32_t>(machine_.random());
        store(start + at, word);
        queue.scribbled[start + at] = word;
    }
}

// Whether the device would read there what it has scribbled itself. Then it has nobody to blame for what it finds, and does
// not go on with the queue.
bool virtio_blk_model::holds_scribble(const virtqueue& queue, const std::byte* start, std::size_t bytes) {
    const auto end = queue.scribbled.lower_bound(start + bytes);
    return std::any_of(queue.scribbled.lower_bound(start), end,
                       [](const auto& each) { return load<std::uint32_t>(each.first) == each.second; });
}

// What of a request is the driver's memory and not its user's.
void virtio_blk_model::note_shared(virtqueue& queue, const request& seen) {
    if (!seen.readable.empty())
        queue.shared[seen.readable.front().data] = std::min<std::uint64_t>(seen.readable.front().length, header_bytes);
    if (seen.status != nullptr)
        queue.shared[seen.status] = 1;
    if (seen.type == request_type::in || seen.type == request_type::out || !seen.well_formed)
        return;
    for (std::size_t i = 1; i < seen.readable.size(); ++i)
        queue.shared[seen.readable[i].data] = seen.readable[i].length;
    for (const span& each : seen.writable)
        queue.shared[each.data] = each.length;
}

// ---- completion

void virtio_blk_model::schedule_completion(unsigned index, const request& taken) {
    const auto wish = behave.latency_for ? behave.latency_for(view(taken)) : std::nullopt;
    ticks latency = wish ? *wish : draw(behave.latency_min, behave.latency_max);
    if (behave.service_interval != 0) {
        service_ends_ = std::max(service_ends_ + behave.service_interval, machine_.time() + latency);
        latency = service_ends_ - machine_.time();
    }
    schedule(latency, [this, index, number = taken.number] { request_due(index, number); });
}

void virtio_blk_model::request_due(unsigned index, std::uint64_t number) {
    auto& queue = queues_[index];
    if ((status_ & status_bit::needs_reset) != 0)
        return;
    if (!keeps_order() && !behave.latency_for) { // equal latencies must not mean equal order
        std::vector<request*> waiting;
        for (auto& each : queue.in_flight)
            if (!each->due && !each->never)
                waiting.push_back(each.get());
        if (!waiting.empty())
            waiting[machine_.random_below(waiting.size())]->due = true;
    } else {
        for (auto& each : queue.in_flight)
            if (each->number == number)
                each->due = true;
    }
    if (!behave.hold)
        complete_due(index);
}

void virtio_blk_model::complete_due(unsigned index) {
    auto& queue = queues_[index];
    std::vector<std::size_t> positions;
    bool others = false;
    for (std::size_t position = 0; position < queue.in_flight.size(); ++position) {
        const request& each = *queue.in_flight[position];
        if (each.never) {
            others = others || accepted(feature::in_order); // nothing overtakes it then
            continue;
        }
        if (each.due && !(keeps_order() && others))
            positions.push_back(position);
        else
            others = true;
    }
    if (positions.empty() || (positions.size() < behave.burst && others))
        return;
    std::vector<request_pointer> batch;
    for (auto position = positions.rbegin(); position != positions.rend(); ++position)
        batch.push_back(detach_request(queue, *position));
    std::reverse(batch.begin(), batch.end());
    if (!keeps_order())
        for (std::size_t left = batch.size(); left > 1; --left)
            std::swap(batch[left - 1], batch[machine_.random_below(left)]);
    const std::uint64_t before = queue.ring->used();
    complete(index, std::move(batch));
    interrupt_for(queue, before, queue.ring->wish());
}

virtio_blk_model::request_pointer virtio_blk_model::detach_request(virtqueue& queue, std::size_t position) {
    request_pointer detached = std::move(queue.in_flight[position]);
    queue.in_flight.erase(queue.in_flight.begin() + static_cast<std::ptrdiff_t>(position));
    return detached;
}

bool virtio_blk_model::complete_one_anywhere(bool interrupt) {
    std::vector<std::pair<unsigned, std::size_t>> candidates; // the oldest of each queue, or all
    for (unsigned index = 0; index < queues_.size(); ++index) {
        auto& queue = queues_[index];
        for (std::size_t position = 0; queue.live && position < queue.in_flight.size(); ++position)
            if (queue.in_flight[position]->never) {
                if (accepted(feature::in_order))
                    break;
            } else {
                candidates.emplace_back(index, position);
                if (keeps_order())
                    break;
            }
    }
    if (candidates.empty())
        return false;
    const auto number = [&](const auto& each) {
        return queues_[each.first].in_flight[each.second]->number;
    };
    const auto chosen = keeps_order()
                            ? *std::min_element(candidates.begin(), candidates.end(),
                                                [&](const auto& a, const auto& b) { return number(a) < number(b); })
                            : candidates[machine_.random_below(candidates.size())];
    auto& queue = queues_[chosen.first];
    const std::uint64_t before = queue.ring->used();
    std::vector<request_pointer> one;
    one.push_back(detach_request(queue, chosen.second));
    complete(chosen.first, std::move(one));
    if (interrupt)
        interrupt_for(queue, before, queue.ring->wish());
    return true;
}

// Hands the requests back, in this order, and publishes them at once.
void virtio_blk_model::complete(unsigned index, std::vector<request_pointer> batch) {
    auto& queue = queues_[index];
    auto& ring = *queue.ring;
    ring.check_memory();
    if (!queue.broken)
        ring.check_wish();
    const bool one_entry = behave.in_order_batches && accepted(feature::in_order) && batch.size() > 1;
    std::size_t extent = 0; // of the batch
    std::int64_t duplicates = 0;
    for (auto& done : batch) {
        check_untouched(queue, *done);
        const std::uint32_t length = perform(*done);
        queue.status_numbers[done->status] = queue.entries_written + 1; // the entry that comes next
        ring.release(*done);
        ++queue.counters.completed;
        queue.last_status = done->status;
        queue.last_writable = static_cast<std::uint32_t>(done->writable_bytes);
        extent += ring.extent(*done);
        if (one_entry) {
            if (done == batch.back())
                ring.write_used(done->id, length, extent);
            else
                ++queue.counters.batched;
            continue;
        }
        bool lie = false;
        const std::uint32_t id = ring.used_id(*done, lie);
        interrupt_forced_ = interrupt_forced_ || lie;
        ring.write_used(id, length, ring.extent(*done));
        if (fires(fault::used_duplicate)) {
            interrupt_forced_ = true;
            ++duplicates;
            ring.write_used(id, length, ring.extent(*done));
        }
        interrupt_withheld_ = interrupt_withheld_ || fires(fault::no_interrupt);
    }
    if (fires(fault::used_index_jump)) {
        const std::uint64_t beyond = behave.index_jump ? *behave.index_jump : 1 + machine_.random_below(1000);
        interrupt_forced_ = true;
        ring.move_used(static_cast<std::int64_t>(ring.with_device() + beyond));
    } else if (fires(fault::used_index_backwards)) {
        const auto back = static_cast<std::int64_t>(extent + 1 + machine_.random_below(1000));
        interrupt_forced_ = true;
        ring.move_used(-back - duplicates);
    } else {
        ring.publish_used();
    }
    if (duplicates != 0 && !ring.survives_duplicates())
        break_queue(queue);
}

// Whether the entries from `used_before` on are worth an interrupt, by the driver's wish as the device knows it.
void virtio_blk_model::interrupt_for(virtqueue& queue, std::uint64_t used_before, interrupt_wish wish) {
    const bool forced = std::exchange(interrupt_forced_, false);
    if (std::exchange(interrupt_withheld_, false))
        return;
    const bool wanted = queue.ring->wants_interrupt(used_before, wish);
    if (!wanted)
        ++queue.counters.interrupts_avoided;
    if (!wanted && !forced && !machine_.chance(behave.interrupt_suppressed_chance))
        return;
    ++queue.counters.interrupts;
    raise(interrupt_used, &queue);
}

} // namespace inflight::model
