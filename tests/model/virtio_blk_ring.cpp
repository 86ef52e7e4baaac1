// The ring side of the model: split queues, order of memory, notifications, completions.
#include "tests/model/virtio_blk_model.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>
#include <utility>

namespace inflight::model {

namespace {

// Bounds of what is remembered of a chain behind avail.idx; longer chains are compared up to here.
constexpr std::size_t window_chain_limit = 64;
constexpr std::uint8_t exposed_head = 1, with_device = 2;

bool overlap(std::uint64_t a, std::uint64_t a_bytes, std::uint64_t b, std::uint64_t b_bytes) {
    return a < b + b_bytes && b < a + a_bytes;
}

bool all_zero(const std::byte* memory, std::size_t bytes) {
    return std::all_of(memory, memory + bytes, [](std::byte each) { return each == std::byte{0}; });
}

} // namespace

// ---- set-up

void virtio_blk_model::start_queue(unsigned index, std::uint64_t descriptor_area, std::uint64_t driver_area,
                                   std::uint64_t device_area) {
    auto& queue = queues_[index];
    queue.enabled_before = true;
    if (!std::has_single_bit(queue.size))
        return; // has been reported with QueueSize
    const std::size_t size = queue.size;
    const struct {
        std::uint64_t address;
        std::size_t bytes;
        std::uint64_t alignment;
        const char* name;
    } parts[] = {{descriptor_area, 16 * size, 16, "descriptor table"},
                 {driver_area, 6 + 2 * size, 2, "available ring"},
                 {device_area, 6 + 8 * size, 4, "used ring"}};
    std::byte* memory[3];
    for (unsigned part = 0; part < 3; ++part) {
        const auto& each = parts[part];
        if (each.address % each.alignment != 0)
            report("SPLIT-01", std::string{"the "} + each.name + " is not aligned");
        memory[part] = machine_.translate(each.address, each.bytes);
        if (memory[part] == nullptr)
            return report("RSVD-05", std::string{"the "} + each.name + " is not in memory");
        for (unsigned other = 0; other < part; ++other)
            if (overlap(each.address, each.bytes, parts[other].address, parts[other].bytes))
                report("MMIO-36", std::string{"the "} + each.name + " and the " + parts[other].name + " overlap");
    }
    for (unsigned other = 0; other < queues_.size(); ++other) {
        if (other == index || !queues_[other].live)
            continue;
        const std::size_t others_size = queues_[other].size;
        const std::byte* const theirs[] = {queues_[other].descriptors, queues_[other].available, queues_[other].used};
        const std::size_t their_bytes[] = {16 * others_size, 6 + 2 * others_size, 6 + 8 * others_size};
        for (unsigned part = 0; part < 3; ++part)
            for (unsigned their_part = 0; their_part < 3; ++their_part)
                if (memory[part] < theirs[their_part] + their_bytes[their_part] &&
                    theirs[their_part] < memory[part] + parts[part].bytes)
                    report("MMIO-36", "queues " + std::to_string(index) + " and " + std::to_string(other) + " overlap");
    }
    if (modern()) { // version 1 has been looked at as a whole
        if (load<std::uint16_t>(memory[2]) != 0)
            report("SPLIT-19", "used.flags is not 0 when the queue is enabled");
        for (unsigned part = 0; part < 3; ++part) {
            const std::size_t skipped = part == 2 ? 2 : 0;
            if (!all_zero(memory[part] + skipped, parts[part].bytes - skipped))
                report("MMIO-36", std::string{"the "} + parts[part].name + " is not zero when the queue is enabled");
        }
    }
    queue.descriptors = memory[0];
    queue.available = memory[1];
    queue.used = memory[2];
    queue.seen = queue.taken = queue.used_index = queue.notified = queue.next_in_order = 0;
    queue.exposed.clear();
    queue.broken = false;
    queue.window_start = 0;
    queue.window_length = 0;
    queue.window_cut = false;
    queue.owned.assign(size, 0);
    queue.scribbled.clear();
    queue.shared.clear();
    queue.last_position = 0;
    queue.last_status = nullptr;
    queue.last_writable = 0;
    queue.stamps.assign(size, 0);
    queue.entries_written = queue.entries_published = 0;
    queue.entry_numbers.assign(size, 0);
    queue.status_numbers.clear();
    queue.looked.assign(machine_.harts(), 0);
    queue.ordered.assign(machine_.harts(), 0);
    queue.used_copy.assign(queue.used, queue.used + parts[2].bytes);
    queue.live = true;
}

std::uint16_t virtio_blk_model::avail_entry(const virtqueue& queue, std::uint16_t position) const {
    return load<std::uint16_t>(queue.available + 4 + std::size_t{2} * (position & (queue.size - 1)));
}

descriptor virtio_blk_model::table_entry(const virtqueue& queue, std::uint16_t slot) const {
    return load<descriptor>(queue.descriptors + descriptor_bytes * slot);
}

void virtio_blk_model::break_queue(virtqueue& queue) {
    queue.broken = true;
}

// ---- looking at what the driver publishes

// Called at every point where the driver can be observed.
void virtio_blk_model::look_at(unsigned index) {
    auto& queue = queues_[index];
    if (!queue.live || queue.broken || removed_)
        return;
    const auto published = load<std::uint16_t>(queue.available + 2);
    const auto advance = static_cast<std::uint16_t>(published - queue.seen);
    if (advance == 0)
        return;
    const std::string name = "queue " + std::to_string(index) + ": ";
    if (advance > queue.size) {
        report("SPLIT-11",
               name + "avail.idx goes from " + std::to_string(queue.seen) + " to " + std::to_string(published));
        return break_queue(queue);
    }
    if (advance + queue.exposed.size() + queue.in_flight.size() > queue.size) {
        report("SPLIT-38", name + "more requests than the queue has entries");
        return break_queue(queue);
    }
    bool unpublished = false;
    for (std::uint16_t position = 0; position < advance; ++position) {
        const std::uint16_t head = avail_entry(queue, static_cast<std::uint16_t>(queue.seen + position));
        if (head >= queue.size) {
            report("SPLIT-33", name + "the available entry holds " + std::to_string(head));
            return break_queue(queue);
        }
        if (queue.owned[head] != 0) {
            report("SPLIT-38", name + "slot " + std::to_string(head) + " is made available while it is in flight");
            return break_queue(queue);
        }
        queue.owned[head] = exposed_head;
        take_capture(queue, head, window_chain_limit, queue.exposed.emplace_back());
        unpublished = unpublished || !was_published(queue, position, queue.exposed.back());
    }
    if (unpublished)
        report("SPLIT-26", name + "avail.idx became " + std::to_string(published) +
                               " without a fence after the descriptors and entries were written");
    queue.seen = published;
    queue.full_since_advance = queue.doorbell_since_advance = false;
    queue.largest_advance = std::max(queue.largest_advance, advance);
}

bool virtio_blk_model::was_published(const virtqueue& queue, std::size_t position, const capture& now) const {
    if (queue.window_start != queue.seen)
        return false;
    if (position >= queue.window_length)
        return queue.window_cut;
    const capture& then = queue.window[position];
    return then.head == now.head && then.bytes == now.bytes;
}

// At a fence that orders stores: remembers the entries behind avail.idx that the driver may be about to publish. They
// are recognised by naming slots that are free; old entries that look so too do no harm.
void virtio_blk_model::record_window(virtqueue& queue) {
    const std::size_t free = queue.size - queue.exposed.size() - queue.in_flight.size();
    const std::size_t limit = std::min(free, std::max<std::size_t>(8, std::size_t{2} * queue.largest_advance));
    ++queue.stamp;
    queue.window_start = queue.seen;
    queue.window_length = 0;
    if (queue.window.size() < limit)
        queue.window.resize(limit);
    while (queue.window_length < limit) {
        const auto head = avail_entry(queue, static_cast<std::uint16_t>(queue.seen + queue.window_length));
        if (head >= queue.size || queue.owned[head] != 0 || queue.stamps[head] == queue.stamp)
            break;
        queue.stamps[head] = queue.stamp;
        take_capture(queue, head, window_chain_limit, queue.window[queue.window_length++]);
    }
    queue.window_cut = queue.window_length == limit && limit < free;
}

void virtio_blk_model::take_capture(const virtqueue& queue, std::uint16_t head, std::size_t limit, capture& out) const {
    out.head = head;
    out.bytes.clear();
    std::array<std::byte, header_bytes> header{};
    std::size_t header_length = 0;
    const auto append = [&](const std::byte* from, std::size_t bytes) {
        out.bytes.insert(out.bytes.end(), from, from + bytes);
    };
    const auto add_to_header = [&](const descriptor& element) {
        if ((element.flags & descriptor_flag::write) != 0)
            return;
        const auto bytes = std::min<std::size_t>(element.length, header.size() - header_length);
        const std::byte* const memory = bytes != 0 ? machine_.translate(element.address, bytes) : nullptr;
        if (memory == nullptr)
            return;
        std::memcpy(header.data() + header_length, memory, bytes);
        header_length += bytes;
    };
    std::uint16_t slot = head;
    for (std::size_t count = 0; count < limit && slot < queue.size; ++count) {
        const descriptor entry = table_entry(queue, slot);
        append(queue.descriptors + descriptor_bytes * slot, descriptor_bytes);
        if ((entry.flags & descriptor_flag::indirect) != 0) {
            const std::size_t entries = std::min<std::size_t>(entry.length / descriptor_bytes, limit);
            const std::byte* const table = machine_.translate(entry.address, entries * descriptor_bytes);
            if (table != nullptr) {
                append(table, entries * descriptor_bytes);
                std::size_t at = 0;
                for (std::size_t steps = 0; steps < entries && at < entries; ++steps) {
                    const auto element = load<descriptor>(table + at * descriptor_bytes);
                    add_to_header(element);
                    if ((element.flags & descriptor_flag::next) == 0 || header_length == header.size())
                        break;
                    at = element.next;
                }
            }
        } else {
            add_to_header(entry);
        }
        if ((entry.flags & descriptor_flag::next) == 0)
            break;
        slot = entry.next;
    }
    out.descriptor_part = out.bytes.size();
    append(header.data(), header_length);
}

void virtio_blk_model::check_avail_flags(const virtqueue& queue, unsigned index) {
    if (queue.broken)
        return;
    const std::uint16_t flags = avail_flags(queue);
    if (event_idx() ? flags != 0 : flags > 1)
        report(event_idx() ? "SPLIT-14" : "SPLIT-12",
               "queue " + std::to_string(index) + ": avail.flags is " + std::to_string(flags));
}

void virtio_blk_model::check_used_ring_untouched(virtqueue& queue, unsigned index) {
    if (std::memcmp(queue.used, queue.used_copy.data(), queue.used_copy.size()) == 0)
        return;
    report("SPLIT-34", "queue " + std::to_string(index) + ": the driver wrote to the used ring");
    std::memcpy(queue.used_copy.data(), queue.used, queue.used_copy.size());
}

void virtio_blk_model::check_untouched(const virtqueue& queue, const request& done) {
    if (done.watched) {
        capture now;
        take_capture(queue, done.head, queue.size, now);
        const auto& then = done.taken;
        const auto split = static_cast<std::ptrdiff_t>(then.descriptor_part);
        if (now.descriptor_part != then.descriptor_part ||
            !std::equal(then.bytes.begin(), then.bytes.begin() + split, now.bytes.begin()))
            report("CLEAN-01", "descriptors were changed while their request was in flight");
        else if (then.bytes != now.bytes)
            report("BUFFER", "the header was changed while its request was in flight");
    }
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
        if (notified || !behave.trusts_notifications || !wish_has_passed(queue))
            process(index);
    });
}

// With EVENT_IDX: whether the entry that the device wants to be notified of is there. The wish was known before, for
// the look that came with it did not find the entry; so the notification has been sent, or will be.
bool virtio_blk_model::wish_has_passed(const virtqueue& queue) const {
    if (!queue.live || !event_idx())
        return false;
    const auto wish = load<std::uint16_t>(queue.used + 4 + std::size_t{8} * queue.size);
    return event_passed(wish, load<std::uint16_t>(queue.available + 2), queue.taken);
}

void virtio_blk_model::process(unsigned index) {
    auto& queue = queues_[index];
    if (!queue.live || removed_)
        return;
    look_at(index);
    check_used_ring_untouched(queue, index);
    bool busy = false;
    while (!queue.broken && queue.taken != queue.seen && (status_ & status_bit::needs_reset) == 0) {
        take(index);
        busy = true;
    }
    if (queue.broken || (status_ & status_bit::needs_reset) != 0)
        return;
    ask_for_notification(index, busy);
    if (fires(fault::spurious_interrupt) || machine_.chance(behave.spurious_chance))
        raise(interrupt_used);
}

void virtio_blk_model::ask_for_notification(unsigned index, bool busy) {
    auto& queue = queues_[index];
    const bool silent = busy && behave.suppress_for != 0;
    const auto ahead = static_cast<std::uint16_t>(
        busy && event_idx() ? machine_.random_below(std::uint64_t{behave.avail_event_ahead} + 1) : 0);
    const std::size_t event_offset = 4 + std::size_t{8} * queue.size;
    if (event_idx()) {
        // The index just passed will not be passed again for 65535 entries.
        const int event = silent ? queue.taken - 1 : queue.taken + ahead;
        store_used(queue, event_offset, static_cast<std::uint16_t>(event));
        store_used(queue, 0, std::uint16_t{behave.used_flags_noise});
    } else {
        store_used(queue, 0, std::uint16_t{silent});
        if (behave.avail_event_noise)
            store_used(queue, event_offset, static_cast<std::uint16_t>(machine_.random()));
    }
    if (silent || ahead != 0) // an entry may come without a notification
        schedule_look(index, std::max<ticks>(behave.suppress_for, 100), false);
}

void virtio_blk_model::take(unsigned index) {
    auto& queue = queues_[index];
    auto owner = std::make_unique<request>();
    request& taken = *owner;
    taken.number = requests_taken_++;
    taken.queue = index;
    const capture exposed = std::move(queue.exposed.front());
    queue.exposed.pop_front();
    taken.head = exposed.head;

    if (avail_entry(queue, queue.taken) != exposed.head)
        report("CLEAN-01", "an available entry was changed before the device had taken it");
    take_capture(queue, taken.head, window_chain_limit, taken.taken);
    if (taken.taken.bytes != exposed.bytes)
        report("CLEAN-01", "a request was changed after it was made available");
    take_capture(queue, taken.head, queue.size, taken.taken);
    const std::uint16_t position = queue.taken++;
    ++queue.counters.requests;

    if (!walk(queue, taken))
        return break_queue(queue);
    if (accepted(feature::in_order) && taken.head != queue.next_in_order)
        report("SPLIT-39",
               "head " + std::to_string(taken.head) + " where " + std::to_string(queue.next_in_order) + " was next");
    queue.next_in_order = static_cast<std::uint16_t>((taken.head + taken.slots.size()) % queue.size);
    inspect(queue, taken);
    note_shared(queue, taken);
    taken.payload_digest = payload_digest(taken);
    if (taken.writable_bytes != 0 && (taken.type != request_type::get_id || behave.pads_identifier))
        fill_with_garbage(taken, 0, taken.writable_bytes - 1);
    if (fires(fault::scribble)) {
        taken.watched = false;
        scribble_over(queue, taken);
        store(queue.available + 4 + std::size_t{2} * (position & (queue.size - 1)),
              static_cast<std::uint16_t>(machine_.random()));
    }
    const bool stays = fires(fault::never_complete) || (behave.never_complete && behave.never_complete(view(taken)));
    taken.never = stays;
    queue.in_flight.push_back(std::move(owner));
    if (fires(fault::needs_reset))
        raise_needs_reset();
    else if (!stays)
        schedule_completion(index, taken);
}

bool virtio_blk_model::walk(virtqueue& queue, request& walked) {
    std::uint16_t slot = walked.head;
    for (;;) {
        if (queue.owned[slot] == with_device || (queue.owned[slot] == exposed_head && slot != walked.head)) {
            const bool own = std::find(walked.slots.begin(), walked.slots.end(), slot) != walked.slots.end();
            report(own ? "SPLIT-04" : "SPLIT-38", own ? "a chain loops" : "a chain uses a slot of another one");
            return false;
        }
        queue.owned[slot] = with_device;
        walked.slots.push_back(slot);
        if (holds_scribble(queue, queue.descriptors + descriptor_bytes * slot, descriptor_bytes))
            return false;
        const descriptor entry = table_entry(queue, slot);
        const bool chained = (entry.flags & descriptor_flag::next) != 0;
        if ((entry.flags & ~7) != 0)
            report("SPLIT-35", "unknown descriptor flags " + std::to_string(entry.flags));
        if ((entry.flags & descriptor_flag::indirect) != 0) {
            if (!accepted(feature::indirect_desc))
                report("SPLIT-06", "an indirect descriptor without INDIRECT_DESC");
            if (chained)
                report("SPLIT-09", "INDIRECT and NEXT in one descriptor");
            if (!walk_table(queue, walked, entry))
                return false;
        } else if (!add_element(walked, entry)) {
            return false;
        }
        if (!chained)
            break;
        if (entry.next >= queue.size) {
            report("SPLIT-35", "a chain goes on at slot " + std::to_string(entry.next));
            return false;
        }
        if (accepted(feature::in_order) && entry.next != (slot + 1) % queue.size)
            report("SPLIT-05", "the chain goes from " + std::to_string(slot) + " to " + std::to_string(entry.next));
        slot = entry.next;
    }
    if (walked.elements > queue.size)
        report("SPLIT-08", "a chain of " + std::to_string(walked.elements) + " descriptors");
    if (configuration_.max_descriptors != 0 && walked.elements > configuration_.max_descriptors)
        report("SPLIT-03", "a request of " + std::to_string(walked.elements) + " descriptors");
    return true;
}

bool virtio_blk_model::walk_table(virtqueue& queue, request& walked, const descriptor& reference) {
    const std::size_t entries = reference.length / descriptor_bytes;
    if (entries == 0 || reference.length % descriptor_bytes != 0) {
        report("SPLIT-35", "an indirect table of " + std::to_string(reference.length) + " bytes");
        return false;
    }
    std::byte* const table = machine_.translate(reference.address, reference.length);
    if (table == nullptr) {
        report("RSVD-05", "an indirect table is not in memory");
        return false;
    }
    queue.shared[table] = reference.length;
    std::size_t at = 0;
    for (std::size_t count = 0;; ++count) {
        if (count == entries) {
            report("SPLIT-04", "an indirect table loops");
            return false;
        }
        if (holds_scribble(queue, table + at * descriptor_bytes, descriptor_bytes))
            return false;
        const auto entry = load<descriptor>(table + at * descriptor_bytes);
        if ((entry.flags & descriptor_flag::indirect) != 0) {
            report("SPLIT-07", "INDIRECT inside an indirect table");
            return false;
        }
        if ((entry.flags & ~7) != 0)
            report("SPLIT-35", "unknown descriptor flags " + std::to_string(entry.flags));
        if (!add_element(walked, entry))
            return false;
        if ((entry.flags & descriptor_flag::next) == 0)
            return true;
        if (entry.next >= entries) {
            report("SPLIT-35", "an indirect table goes on at entry " + std::to_string(entry.next));
            return false;
        }
        if (accepted(feature::in_order) && entry.next != at + 1)
            report("SPLIT-10",
                   "an indirect table goes from " + std::to_string(at) + " to " + std::to_string(entry.next));
        at = entry.next;
    }
}

bool virtio_blk_model::add_element(request& walked, const descriptor& entry) {
    ++walked.elements;
    std::byte* const memory = machine_.translate(entry.address, entry.length);
    if (memory == nullptr) {
        report("RSVD-05", "a descriptor names what is not in memory");
        return false;
    }
    if ((entry.flags & descriptor_flag::write) != 0) {
        walked.writable.push_back({memory, entry.length});
        walked.writable_bytes += entry.length;
    } else {
        if (!walked.writable.empty())
            report("SPLIT-02", "a device-readable element after a device-writable one");
        walked.readable.push_back({memory, entry.length});
        walked.readable_bytes += entry.length;
    }
    if (walked.readable_bytes + walked.writable_bytes > std::uint64_t{1} << 32) {
        report("SPLIT-04", "a chain of more than 2^32 bytes");
        return false;
    }
    return true;
}

void virtio_blk_model::scribble_over(virtqueue& queue, const request& victim) {
    const auto scribble = [&](std::byte* start, std::size_t bytes) {
        for (std::size_t at = 0; at + 4 <= bytes; at += 4) {
            const auto word = static_cast<std::uint32_t>(machine_.random());
            store(start + at, word);
            queue.scribbled[start + at] = word;
        }
    };
    for (const std::uint16_t slot : victim.slots) {
        const descriptor entry = table_entry(queue, slot);
        if ((entry.flags & descriptor_flag::indirect) != 0)
            scribble(machine_.translate(entry.address, entry.length), entry.length);
        scribble(queue.descriptors + descriptor_bytes * slot, descriptor_bytes);
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
        if (each.never)
            continue;
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
    const std::uint16_t before = queue.used_index;
    complete(index, std::move(batch));
    interrupt_for(queue, before, used_event(queue), avail_flags(queue));
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
            if (!queue.in_flight[position]->never) {
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
    const std::uint16_t before = queue.used_index;
    std::vector<request_pointer> one;
    one.push_back(detach_request(queue, chosen.second));
    complete(chosen.first, std::move(one));
    if (interrupt)
        interrupt_for(queue, before, used_event(queue), avail_flags(queue));
    return true;
}

// Puts the requests into the used ring, in this order, and publishes them at once.
void virtio_blk_model::complete(unsigned index, std::vector<request_pointer> batch) {
    auto& queue = queues_[index];
    check_used_ring_untouched(queue, index);
    check_avail_flags(queue, index);
    const std::uint16_t before = queue.used_index;
    const bool one_entry = behave.in_order_batches && accepted(feature::in_order) && batch.size() > 1;
    std::uint16_t position = before;
    for (auto& done : batch) {
        check_untouched(queue, *done);
        const std::uint32_t length = perform(*done);
        queue.status_numbers[done->status] = queue.entries_written + 1; // the entry that comes next
        for (const std::uint16_t slot : done->slots)
            queue.owned[slot] = 0;
        ++queue.counters.completed;
        queue.last_status = done->status;
        queue.last_writable = static_cast<std::uint32_t>(done->writable_bytes);
        if (one_entry) {
            if (done == batch.back())
                write_used_entry(queue, before, done->head, length);
            ++position;
            continue;
        }
        bool lie = false;
        const std::uint32_t id = used_id(queue, *done, lie);
        interrupt_forced_ = interrupt_forced_ || lie;
        write_used_entry(queue, position++, id, length);
        if (fires(fault::used_duplicate)) {
            interrupt_forced_ = true;
            write_used_entry(queue, position++, id, length);
        }
        interrupt_withheld_ = interrupt_withheld_ || fires(fault::no_interrupt);
    }
    if (fires(fault::used_index_jump)) {
        const std::uint64_t beyond = behave.index_jump ? *behave.index_jump : 1 + machine_.random_below(1000);
        position = static_cast<std::uint16_t>(position + queue.in_flight.size() + queue.exposed.size() + beyond);
        interrupt_forced_ = true;
        break_queue(queue);
    } else if (fires(fault::used_index_backwards)) {
        position = static_cast<std::uint16_t>(before - 1 - machine_.random_below(1000));
        interrupt_forced_ = true;
        break_queue(queue);
    }
    publish_used_index(queue, position);
}

std::uint32_t virtio_blk_model::used_id(virtqueue& queue, const request& done, bool& lie) {
    const auto beyond = [&] {
        return machine_.chance(500) ? queue.size : queue.size + static_cast<std::uint32_t>(machine_.random() >> 33);
    };
    const auto free_slot = [&] {
        for (std::uint32_t slot = 0; slot < queue.size; ++slot)
            if (queue.owned[slot] == 0 && std::find(done.slots.begin(), done.slots.end(), slot) == done.slots.end())
                return slot;
        return beyond();
    };
    lie = true;
    if (fires(fault::used_id_out_of_range))
        return beyond();
    if (fires(fault::used_id_free))
        return free_slot();
    if (fires(fault::used_id_mid_chain))
        return done.slots.size() > 1 ? done.slots[1] : free_slot();
    lie = false;
    return done.head;
}

void virtio_blk_model::write_used_entry(virtqueue& queue, std::uint16_t position, std::uint32_t id,
                                        std::uint32_t length) {
    const std::size_t offset = 4 + std::size_t{8} * (position & (queue.size - 1));
    store_used(queue, offset, id);
    store_used(queue, offset + 4, length);
    queue.last_position = position;
    queue.entry_numbers[position & (queue.size - 1)] = ++queue.entries_written;
}

void virtio_blk_model::publish_used_index(virtqueue& queue, std::uint16_t index) {
    queue.used_index = index;
    queue.entries_published = queue.entries_written;
    store_used(queue, 2, index);
}

// Whether the entries from `before` on are worth an interrupt, by the driver's wish as the device knows it.
void virtio_blk_model::interrupt_for(virtqueue& queue, std::uint16_t before, std::uint16_t wish_index,
                                     std::uint16_t wish_flags) {
    const bool forced = std::exchange(interrupt_forced_, false);
    if (std::exchange(interrupt_withheld_, false))
        return;
    const bool wanted = event_idx() ? event_passed(wish_index, queue.used_index, before) : (wish_flags & 1) == 0;
    if (!wanted)
        ++queue.counters.interrupts_avoided;
    if (!wanted && !forced && !machine_.chance(behave.interrupt_suppressed_chance))
        return;
    ++queue.counters.interrupts;
    raise(interrupt_used);
}

} // namespace inflight::model
