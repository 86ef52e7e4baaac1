// The rings of the model in the split format.
#include "tests/model/virtio_blk_split_ring.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace inflight::model {

namespace {

// Bounds of what is remembered of a chain behind avail.idx; longer chains are compared up to here.
constexpr std::size_t window_chain_limit = 64;
constexpr std::uint8_t exposed_head = 1, taken_slot = 2;

bool all_zero(const std::byte* memory, std::size_t bytes) {
    return std::all_of(memory, memory + bytes, [](std::byte each) { return each == std::byte{0}; });
}

} // namespace

virtio_blk_model::split_ring::split_ring(virtio_blk_model& device, virtqueue& queue)
    : device_ring{device,
                  queue,
                  {{{"descriptor table", 16, std::size_t{16} * queue.size},
                    {"available ring", 2, 6 + std::size_t{2} * queue.size},
                    {"used ring", 4, 6 + std::size_t{8} * queue.size}}},
                  {.alignment = "SPLIT-01",
                   .readable_first = "SPLIT-02",
                   .too_many_bytes = "SPLIT-04",
                   .full_fence = "SPLIT-27",
                   .lost_notification = device.event_idx() ? "SPLIT-24" : "SPLIT-22",
                   .superfluous_notification = device.event_idx() ? "SPLIT-25" : "SPLIT-21"}} {}

void virtio_blk_model::split_ring::start() {
    if (device_.modern()) { // version 1 has been looked at as a whole
        if (load<std::uint16_t>(used_ring()) != 0)
            report("SPLIT-19", "used.flags is not 0 when the queue is enabled");
        for (unsigned number = 0; number < 3; ++number) {
            const std::size_t skipped = number == 2 ? 2 : 0;
            const auto& each = parts[number];
            if (!all_zero(each.memory + skipped, each.bytes - skipped))
                report("MMIO-36", std::string{"the "} + each.name + " is not zero when the queue is enabled");
        }
    }
    owned_.assign(size(), 0);
    stamps_.assign(size(), 0);
    adopt_memory();
}

void virtio_blk_model::split_ring::adopt_memory() {
    used_copy_.assign(used_ring(), used_ring() + parts[2].bytes);
}

std::uint16_t virtio_blk_model::split_ring::avail_entry(std::uint16_t position) const {
    return load<std::uint16_t>(available() + 4 + std::size_t{2} * (position & (size() - 1)));
}

descriptor virtio_blk_model::split_ring::table_entry(std::uint16_t slot) const {
    return load<descriptor>(descriptors() + descriptor_bytes * slot);
}

// ---- looking at what the driver publishes

void virtio_blk_model::split_ring::look() {
    const std::uint16_t published = avail_index();
    const auto advance = static_cast<std::uint16_t>(published - seen_);
    if (advance == 0)
        return;
    if (advance > size()) {
        report("SPLIT-11",
               title() + "avail.idx goes from " + std::to_string(seen_) + " to " + std::to_string(published));
        return break_queue(queue_);
    }
    if (advance + with_device() > size()) {
        report("SPLIT-38", title() + "more requests than the queue has entries");
        return break_queue(queue_);
    }
    bool unpublished = false;
    for (std::uint16_t position = 0; position < advance; ++position) {
        const std::uint16_t head = avail_entry(static_cast<std::uint16_t>(seen_ + position));
        if (head >= size()) {
            report("SPLIT-33", title() + "the available entry holds " + std::to_string(head));
            return break_queue(queue_);
        }
        if (owned_[head] != 0) {
            report("SPLIT-38", title() + "slot " + std::to_string(head) + " is made available while it is in flight");
            return break_queue(queue_);
        }
        owned_[head] = exposed_head;
        take_capture(head, window_chain_limit, exposed_.emplace_back());
        unpublished = unpublished || !was_published(position, exposed_.back());
    }
    if (unpublished)
        report("SPLIT-26", title() + "avail.idx became " + std::to_string(published) +
                               " without a fence after the descriptors and entries were written");
    seen_ = published;
    queue_.full_since_advance = queue_.doorbell_since_advance = false;
    largest_advance_ = std::max(largest_advance_, advance);
}

bool virtio_blk_model::split_ring::was_published(std::size_t position, const capture& now) const {
    if (window_start_ != seen_)
        return false;
    if (position >= window_length_)
        return window_cut_;
    const capture& then = window_[position];
    return then.head == now.head && then.bytes == now.bytes;
}

// Remembers the entries behind avail.idx that the driver may be about to publish. They are recognised by naming slots that
// are free; old entries that look so too do no harm.
void virtio_blk_model::split_ring::remember_unpublished() {
    const std::size_t free = size() - with_device();
    const std::size_t limit = std::min(free, std::max<std::size_t>(8, std::size_t{2} * largest_advance_));
    ++stamp_;
    window_start_ = seen_;
    window_length_ = 0;
    if (window_.size() < limit)
        window_.resize(limit);
    while (window_length_ < limit) {
        const auto head = avail_entry(static_cast<std::uint16_t>(seen_ + window_length_));
        if (head >= size() || owned_[head] != 0 || stamps_[head] == stamp_)
            break;
        stamps_[head] = stamp_;
        take_capture(head, window_chain_limit, window_[window_length_++]);
    }
    window_cut_ = window_length_ == limit && limit < free;
}

void virtio_blk_model::split_ring::take_capture(std::uint16_t head, std::size_t limit, capture& out) const {
    out.head = head;
    out.bytes.clear();
    header_reader header{host()};
    const auto append = [&](const std::byte* from, std::size_t bytes) {
        out.bytes.insert(out.bytes.end(), from, from + bytes);
    };
    std::uint16_t slot = head;
    for (std::size_t count = 0; count < limit && slot < size(); ++count) {
        const descriptor entry = table_entry(slot);
        append(descriptors() + descriptor_bytes * slot, descriptor_bytes);
        if ((entry.flags & descriptor_flag::indirect) != 0) {
            const std::size_t entries = std::min<std::size_t>(entry.length / descriptor_bytes, limit);
            const std::byte* const table = host().translate(entry.address, entries * descriptor_bytes);
            if (table != nullptr) {
                append(table, entries * descriptor_bytes);
                std::size_t at = 0;
                for (std::size_t steps = 0; steps < entries && at < entries; ++steps) {
                    const auto element = load<descriptor>(table + at * descriptor_bytes);
                    header.add(element);
                    if ((element.flags & descriptor_flag::next) == 0 || header.is_complete())
                        break;
                    at = element.next;
                }
            }
        } else {
            header.add(entry);
        }
        if ((entry.flags & descriptor_flag::next) == 0)
            break;
        slot = entry.next;
    }
    out.descriptor_part = out.bytes.size();
    append(header.data(), header.size());
}

// ---- what must stay as it is

void virtio_blk_model::split_ring::check_wish() {
    const std::uint16_t flags = avail_flags();
    if (device_.event_idx() ? flags != 0 : flags > 1)
        report(device_.event_idx() ? "SPLIT-14" : "SPLIT-12", title() + "avail.flags is " + std::to_string(flags));
}

void virtio_blk_model::split_ring::check_memory() {
    if (std::memcmp(used_ring(), used_copy_.data(), used_copy_.size()) == 0)
        return;
    report("SPLIT-34", title() + "the driver wrote to the used ring");
    std::memcpy(used_copy_.data(), used_ring(), used_copy_.size());
}

void virtio_blk_model::split_ring::check_request(const request& done) {
    capture now;
    take_capture(done.id, size(), now);
    const auto& then = done.taken;
    const auto split = static_cast<std::ptrdiff_t>(then.descriptor_part);
    if (now.descriptor_part != then.descriptor_part ||
        !std::equal(then.bytes.begin(), then.bytes.begin() + split, now.bytes.begin()))
        report("CLEAN-01", "descriptors were changed while their request was in flight");
    else if (then.bytes != now.bytes)
        report("BUFFER", "the header was changed while its request was in flight");
}

// ---- notifications

bool virtio_blk_model::split_ring::wish_has_passed() {
    return device_.event_idx() &&
           event_passed(load<std::uint16_t>(used_ring() + event_offset()), avail_index(), taken_);
}

void virtio_blk_model::split_ring::ask_for_notification(bool silent, unsigned ahead) {
    if (device_.event_idx()) {
        // The index just passed will not be passed again for 65535 entries.
        const std::uint32_t event = silent ? taken_ - 1U : taken_ + ahead;
        store_used(event_offset(), static_cast<std::uint16_t>(event));
        store_used(0, std::uint16_t{device_.behave.used_flags_noise});
    } else {
        store_used(0, std::uint16_t{silent});
        if (device_.behave.avail_event_noise)
            store_used(event_offset(), static_cast<std::uint16_t>(host().random()));
    }
}

bool virtio_blk_model::split_ring::is_wanted() const {
    return device_.event_idx() ? event_passed(load<std::uint16_t>(used_ring() + event_offset()), seen_, notified_)
                               : (load<std::uint16_t>(used_ring()) & 1) == 0;
}

void virtio_blk_model::split_ring::check_notification_data(std::uint32_t data) {
    if (data != seen_)
        report("NOTE-02",
               "the notification carries index " + std::to_string(data) + ", avail.idx is " + std::to_string(seen_));
}

virtio_blk_model::interrupt_wish virtio_blk_model::split_ring::wish() const {
    return {.event =
                device_.event_idx() ? load<std::uint16_t>(available() + 4 + std::size_t{2} * size()) : std::uint16_t{0},
            .flags = avail_flags()};
}

bool virtio_blk_model::split_ring::is_rearmed(interrupt_wish before, interrupt_wish now) const {
    return now.event != before.event || (now.flags == 0 && before.flags != 0);
}

bool virtio_blk_model::split_ring::wants_interrupt(std::uint64_t used_before, interrupt_wish wish) const {
    return device_.event_idx() ? event_passed(wish.event, used_index_, static_cast<std::uint16_t>(used_before))
                               : (wish.flags & 1) == 0;
}

// A hart may read what the index hands over before it reads the index, unless it says otherwise in between.
std::uint64_t virtio_blk_model::split_ring::note_read(const std::byte* field, arch::hart_index hart) {
    if (field < used_ring() || field >= used_ring() + used_copy_.size())
        return 0;
    const auto offset = static_cast<std::size_t>(field - used_ring());
    if (offset == 2)
        queue_.looked[hart] = queue_.entries_published;
    return offset >= 4 && (offset - 4) / 8 < size() ? queue_.entry_numbers[(offset - 4) / 8] : 0;
}

// ---- taking requests

bool virtio_blk_model::split_ring::take(request& taken) {
    const capture exposed = std::move(exposed_.front());
    exposed_.pop_front();
    taken.id = exposed.head;

    if (avail_entry(taken_) != exposed.head)
        report("CLEAN-01", "an available entry was changed before the device had taken it");
    take_capture(taken.id, window_chain_limit, taken.taken);
    if (taken.taken.bytes != exposed.bytes)
        report("CLEAN-01", "a request was changed after it was made available");
    take_capture(taken.id, size(), taken.taken);
    ++taken_;
    if (!walk(taken))
        return false;
    if (device_.accepted(feature::in_order) && taken.id != next_in_order_)
        report("SPLIT-39",
               "head " + std::to_string(taken.id) + " where " + std::to_string(next_in_order_) + " was next");
    next_in_order_ = static_cast<std::uint16_t>((taken.id + taken.slots.size()) % size());
    return true;
}

bool virtio_blk_model::split_ring::walk(request& walked) {
    std::uint16_t slot = walked.id;
    for (;;) {
        if (owned_[slot] == taken_slot || (owned_[slot] == exposed_head && slot != walked.id)) {
            const bool own = std::find(walked.slots.begin(), walked.slots.end(), slot) != walked.slots.end();
            report(own ? "SPLIT-04" : "SPLIT-38", own ? "a chain loops" : "a chain uses a slot of another one");
            return false;
        }
        owned_[slot] = taken_slot;
        walked.slots.push_back(slot);
        if (holds_scribble(queue_, descriptors() + descriptor_bytes * slot, descriptor_bytes))
            return false;
        const descriptor entry = table_entry(slot);
        const bool chained = (entry.flags & descriptor_flag::next) != 0;
        if ((entry.flags & ~7) != 0)
            report("SPLIT-35", "unknown descriptor flags " + std::to_string(entry.flags));
        if ((entry.flags & descriptor_flag::indirect) != 0) {
            if (!device_.accepted(feature::indirect_desc))
                report("SPLIT-06", "an indirect descriptor without INDIRECT_DESC");
            if (chained)
                report("SPLIT-09", "INDIRECT and NEXT in one descriptor");
            if (!walk_table(walked, entry))
                return false;
        } else if (!device_.add_element(queue_, walked, entry.address, entry.length,
                                        (entry.flags & descriptor_flag::write) != 0)) {
            return false;
        }
        if (!chained)
            break;
        if (entry.next >= size()) {
            report("SPLIT-35", "a chain goes on at slot " + std::to_string(entry.next));
            return false;
        }
        if (device_.accepted(feature::in_order) && entry.next != (slot + 1) % size())
            report("SPLIT-05", "the chain goes from " + std::to_string(slot) + " to " + std::to_string(entry.next));
        slot = entry.next;
    }
    if (walked.elements > size())
        report("SPLIT-08", "a chain of " + std::to_string(walked.elements) + " descriptors");
    if (device_.configuration_.max_descriptors != 0 && walked.elements > device_.configuration_.max_descriptors)
        report("SPLIT-03", "a request of " + std::to_string(walked.elements) + " descriptors");
    return true;
}

bool virtio_blk_model::split_ring::walk_table(request& walked, const descriptor& reference) {
    const std::size_t entries = reference.length / descriptor_bytes;
    if (entries == 0 || reference.length % descriptor_bytes != 0) {
        report("SPLIT-35", "an indirect table of " + std::to_string(reference.length) + " bytes");
        return false;
    }
    std::byte* const table = host().translate(reference.address, reference.length);
    if (table == nullptr) {
        report("RSVD-05", "an indirect table is not in memory");
        return false;
    }
    queue_.shared[table] = reference.length;
    std::size_t at = 0;
    for (std::size_t count = 0;; ++count) {
        if (count == entries) {
            report("SPLIT-04", "an indirect table loops");
            return false;
        }
        if (holds_scribble(queue_, table + at * descriptor_bytes, descriptor_bytes))
            return false;
        const auto entry = load<descriptor>(table + at * descriptor_bytes);
        if ((entry.flags & descriptor_flag::indirect) != 0) {
            report("SPLIT-07", "INDIRECT inside an indirect table");
            return false;
        }
        if ((entry.flags & ~7) != 0)
            report("SPLIT-35", "unknown descriptor flags " + std::to_string(entry.flags));
        if (!device_.add_element(queue_, walked, entry.address, entry.length,
                                 (entry.flags & descriptor_flag::write) != 0))
            return false;
        if ((entry.flags & descriptor_flag::next) == 0)
            return true;
        if (entry.next >= entries) {
            report("SPLIT-35", "an indirect table goes on at entry " + std::to_string(entry.next));
            return false;
        }
        if (device_.accepted(feature::in_order) && entry.next != at + 1)
            report("SPLIT-10",
                   "an indirect table goes from " + std::to_string(at) + " to " + std::to_string(entry.next));
        at = entry.next;
    }
}

void virtio_blk_model::split_ring::scribble_over(const request& victim) {
    for (const std::uint16_t slot : victim.slots) {
        const descriptor entry = table_entry(slot);
        if ((entry.flags & descriptor_flag::indirect) != 0)
            device_.scribble(queue_, host().translate(entry.address, entry.length), entry.length);
        device_.scribble(queue_, parts[0].memory + descriptor_bytes * slot, descriptor_bytes);
    }
    const auto position = static_cast<std::uint16_t>(taken_ - 1);
    store(available() + 4 + std::size_t{2} * (position & (size() - 1)), static_cast<std::uint16_t>(host().random()));
}

// ---- handing them back

void virtio_blk_model::split_ring::release(const request& done) {
    for (const std::uint16_t slot : done.slots)
        owned_[slot] = 0;
}

std::uint32_t virtio_blk_model::split_ring::used_id(const request& done, bool& lie) {
    const auto beyond = [&] {
        return host().chance(500) ? queue_.size : queue_.size + static_cast<std::uint32_t>(host().random() >> 33);
    };
    const auto free_slot = [&] {
        for (std::uint32_t slot = 0; slot < size(); ++slot)
            if (owned_[slot] == 0 && std::find(done.slots.begin(), done.slots.end(), slot) == done.slots.end())
                return slot;
        return beyond();
    };
    lie = true;
    if (device_.fires(fault::used_id_out_of_range))
        return beyond();
    if (device_.fires(fault::used_id_free))
        return free_slot();
    if (device_.fires(fault::used_id_mid_chain))
        return done.slots.size() > 1 ? done.slots[1] : free_slot();
    lie = false;
    return done.id;
}

void virtio_blk_model::split_ring::write_used(std::uint32_t id, std::uint32_t length, std::size_t extent) {
    store_used(used_offset(written_), id);
    store_used(used_offset(written_) + 4, length);
    last_position_ = written_;
    queue_.entry_numbers[written_ & (size() - 1)] = ++queue_.entries_written;
    written_ = static_cast<std::uint16_t>(written_ + extent);
}

void virtio_blk_model::split_ring::publish_used() {
    used_index_ = written_;
    queue_.entries_published = queue_.entries_written;
    store_used(2, used_index_);
}

void virtio_blk_model::split_ring::move_used(std::int64_t by) {
    written_ = static_cast<std::uint16_t>(written_ + by);
    publish_used();
    break_queue(queue_);
}

// ---- at the will of the test

void virtio_blk_model::split_ring::push_used(std::uint32_t id, std::uint32_t length) {
    write_used(id, length, 1);
    publish_used();
}

void virtio_blk_model::split_ring::rewrite_used(std::uint32_t id, std::uint32_t length) {
    store_used(used_offset(last_position_), id);
    store_used(used_offset(last_position_) + 4, length);
}

std::uint32_t virtio_blk_model::split_ring::last_used_id() const {
    return load<std::uint32_t>(used_ring() + used_offset(last_position_));
}

bool virtio_blk_model::split_ring::complete_unpublished() {
    const std::uint16_t head = avail_entry(seen_);
    if (head >= size() || owned_[head] != 0)
        return false;
    request guessed;
    guessed.id = head;
    const std::vector<std::uint8_t> owned = owned_;
    const bool is_a_chain = walk(guessed);
    owned_ = owned;
    if (!is_a_chain || guessed.writable.empty())
        return false;
    const span& last = guessed.writable.back();
    last.data[last.length - 1] = std::byte{0};
    push_used(head, static_cast<std::uint32_t>(guessed.writable_bytes));
    break_queue(queue_);
    return true;
}

} // namespace inflight::model
