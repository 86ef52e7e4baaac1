// The ring of the model in the packed format.
#include "tests/model/virtio_blk_packed_ring.hpp"

#include "arch/arch.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

namespace inflight::model {

namespace {

namespace flag = descriptor_flag;

// Bounds of what is remembered of a list that is not available yet; longer tables are compared when they are.
constexpr std::size_t window_table_limit = 64 * descriptor_bytes;
constexpr std::uint16_t known_flags = flag::next | flag::write | flag::indirect | flag::available | flag::used;
constexpr std::uint16_t offset_mask = 0x7fff;

bool same(const packed_descriptor& a, const packed_descriptor& b) {
    return std::memcmp(&a, &b, sizeof a) == 0;
}

[[noreturn]] void has_no_meaning(const char* what) {
    std::fprintf(stderr, "%s has no meaning for a packed ring\n", what);
    std::abort();
}

} // namespace

// ---- set-up

virtio_blk_model::packed_ring::packed_ring(virtio_blk_model& device, virtqueue& queue)
    : device_ring{device,
                  queue,
                  {{{"descriptor ring", 16, descriptor_bytes * queue.size},
                    {"driver event suppression structure", 4, 4},
                    {"device event suppression structure", 4, 4}}},
                  {.alignment = "PACK-01",
                   .readable_first = "PACK-08",
                   .too_many_bytes = "PACK-06",
                   .full_fence = "PACK-17",
                   .lost_notification = "PACK-17",
                   .superfluous_notification = "NOTIFY"}} {}

void virtio_blk_model::packed_ring::start() {
    for (const auto& each : parts)
        if (std::any_of(each.memory, each.memory + each.bytes, [](std::byte byte) { return byte != std::byte{0}; }))
            report("PACK-27", std::string{"the "} + each.name + " is not zero when the queue is enabled");
    adopt_memory();
}

void virtio_blk_model::packed_ring::adopt_memory() {
    known_.resize(size());
    std::memcpy(known_.data(), parts[0].memory, parts[0].bytes);
    device_area_.assign(parts[2].memory, parts[2].memory + parts[2].bytes);
}

bool virtio_blk_model::packed_ring::is_available(const packed_descriptor& entry, std::uint64_t position) const {
    const bool wrap = wrap_of(position);
    return ((entry.flags & flag::available) != 0) == wrap && ((entry.flags & flag::used) != 0) != wrap;
}

void virtio_blk_model::packed_ring::store_slot(std::uint64_t position, const packed_descriptor& entry) {
    known_at(position) = entry;
    store(memory_of(position), entry);
}

// ---- looking at what the driver makes available

void virtio_blk_model::packed_ring::look() {
    const std::uint64_t before = seen_;
    bool in_order = true;
    while (is_available(descriptor_at(seen_), seen_)) {
        if (holds_scribble(queue_, memory_of(seen_), descriptor_bytes))
            return break_queue(queue_);
        if (seen_ == room_end()) {
            report("PACK-02", title() + slot_name(seen_) + " is made available while the device owns it");
            return break_queue(queue_);
        }
        if (!expose(in_order))
            return break_queue(queue_);
    }
    if (!in_order)
        report("PACK-16", title() + "descriptors became available without a fence after they were written, from " +
                              slot_name(before) + " on");
    if (seen_ == before)
        return;
    queue_.full_since_advance = queue_.doorbell_since_advance = false;
    largest_advance_ = std::max(largest_advance_, seen_ - before);
}

bool virtio_blk_model::packed_ring::expose(bool& in_order) {
    const std::uint64_t first = seen_;
    exposed_list list;
    for (std::uint64_t position = first;; ++position) {
        if (position - first == size()) {
            report("PACK-07", title() + "the list at " + slot_name(first) + " does not end");
            return false;
        }
        if (position == room_end()) {
            report("PACK-10", title() + "the list at " + slot_name(first) + " goes on in " + slot_name(position) +
                                  ", which the device owns");
            return false;
        }
        const packed_descriptor entry = descriptor_at(position);
        if (!check_flags(entry, position, first))
            return false;
        list.descriptors.push_back(entry);
        if ((entry.flags & flag::next) == 0)
            break;
    }
    const std::uint16_t id = list.descriptors.back().id;
    if (is_in_use(id)) {
        report("PACK-22", title() + "buffer id " + std::to_string(id) + " is made available while it is in flight");
        return false;
    }
    if (!was_seen_used(first + list.descriptors.size() - 1)) {
        report("PACK-02", title() + "slots from " + slot_name(first) +
                              " on are made available again, and nobody has seen that they were used");
        return false;
    }
    in_order = in_order && was_written(first, list.descriptors);
    for (std::size_t at = 0; at < list.descriptors.size(); ++at)
        known_at(first + at) = list.descriptors[at];
    seen_ = first + list.descriptors.size();
    list.contents = contents_of(list.descriptors, list.table_part);
    exposed_.push_back(std::move(list));
    return true;
}

// Whether a hart has read the flags of the used descriptor that gave the slot back, or of a later one. A driver that does not
// read through device words is not seen to read at all.
bool virtio_blk_model::packed_ring::was_seen_used(std::uint64_t position) {
    const std::uint64_t seen = *std::max_element(queue_.looked.begin(), queue_.looked.end());
    if (seen == 0 || position < size())
        return true;
    while (!given_back_.empty() && given_back_.front().end <= position - size())
        given_back_.pop_front();
    return given_back_.empty() || given_back_.front().number <= seen;
}

bool virtio_blk_model::packed_ring::check_flags(const packed_descriptor& entry, std::uint64_t position,
                                                std::uint64_t first) {
    const std::string where = title() + slot_name(position) + " of the list at " + slot_name(first);
    if (!is_available(entry, position)) {
        const bool of_other_lap = is_available(entry, position + size());
        if (entry.flags == known_at(position).flags)
            report("PACK-11", where + " is not written yet");
        else if (of_other_lap && wrap_of(position) != wrap_of(first))
            report("PACK-20", where + " has the flags of the last lap");
        else
            report("PACK-23", where + " has flags " + std::to_string(entry.flags));
        return false;
    }
    if ((entry.flags & ~known_flags) != 0)
        report("PACK-23", where + " has unknown flags: " + std::to_string(entry.flags));
    if ((entry.flags & flag::indirect) != 0 && (position != first || (entry.flags & flag::next) != 0))
        report("PACK-15", where + " is indirect, and the list has other descriptors");
    return true;
}

bool virtio_blk_model::packed_ring::is_in_use(std::uint16_t id) const {
    return lists_.count(id) != 0 || std::any_of(exposed_.begin(), exposed_.end(), [id](const exposed_list& each) {
               return each.descriptors.back().id == id;
           });
}

// A first descriptor whose flags the driver has stored, and which is not available for all that.
void virtio_blk_model::packed_ring::check_flags_of_next() {
    auto& known = known_at(seen_);
    const packed_descriptor entry = descriptor_at(seen_);
    if (seen_ == room_end() || entry.flags == known.flags)
        return;
    // Flags of a used descriptor of the lap before are no fault: a driver that holds the first descriptor of a batch back
    // may store it so.
    const std::uint16_t both = flag::available | flag::used;
    const std::uint16_t as_used = wrap_of(seen_) ? both : std::uint16_t{0};
    if (is_available(entry, seen_ + size())) {
        report("PACK-20", title() + slot_name(seen_) + " has the flags of another lap: " + std::to_string(entry.flags));
        known.flags = entry.flags;
    } else if ((entry.flags & both) == as_used) {
        report("PACK-21",
               title() + slot_name(seen_) + " is written as if it were used: " + std::to_string(entry.flags));
        known.flags = entry.flags;
    }
}

// ---- order of memory

// Remembers the slots that the driver may be about to make available. The flags of a first descriptor come later, so it
// remembers of each slot what it would be with these flags or those; what lies in old descriptors does no harm.
void virtio_blk_model::packed_ring::remember_unpublished() {
    const std::uint64_t free = room_end() - seen_;
    const std::uint64_t limit = std::min(free, std::max<std::uint64_t>(8, 2 * largest_advance_));
    window_start_ = seen_;
    window_length_ = limit;
    window_cut_ = limit < free;
    if (window_.size() < limit)
        window_.resize(limit);
    for (std::uint64_t at = 0; at < limit; ++at)
        remember(seen_ + at, window_[at]);
}

void virtio_blk_model::packed_ring::remember(std::uint64_t position, unpublished& out) const {
    const packed_descriptor& entry = out.descriptor = descriptor_at(position);
    out.start_bytes = std::min<std::size_t>(entry.length, header_bytes);
    const std::byte* const start = host().translate(entry.address, out.start_bytes);
    if (start == nullptr)
        out.start_bytes = 0;
    else
        std::memcpy(out.start.data(), start, out.start_bytes);
    out.table.clear();
    if (entry.length % descriptor_bytes == 0 && entry.length <= window_table_limit) {
        packed_descriptor as_table = entry;
        as_table.flags = flag::indirect;
        std::size_t table_part = 0;
        out.table = contents_of({as_table}, table_part);
    }
}

// Whether the list, but for the flags of its first descriptor, was in memory at the last fence that orders stores.
bool virtio_blk_model::packed_ring::was_written(std::uint64_t first, const descriptor_list& list) const {
    std::size_t of_header = header_bytes;
    for (std::size_t at = 0; at < list.size(); ++at) {
        const std::uint64_t place = first + at - window_start_;
        if (first < window_start_ || place >= window_length_)
            return first >= window_start_ && window_cut_;
        const unpublished& then = window_[place];
        unpublished now;
        remember(first + at, now);
        packed_descriptor expected = list[at];
        if (at == 0)
            expected.flags = then.descriptor.flags;
        if (!same(expected, then.descriptor))
            return false;
        if ((list[at].flags & flag::indirect) != 0) {
            if (now.table != then.table)
                return false;
        } else if ((list[at].flags & flag::write) == 0) {
            const std::size_t compared = std::min(of_header, now.start_bytes);
            if (std::memcmp(now.start.data(), then.start.data(), compared) != 0)
                return false;
            of_header -= compared;
        }
    }
    return true;
}

// The indirect table, if there is one, and the header of the request.
std::vector<std::byte> virtio_blk_model::packed_ring::contents_of(const descriptor_list& list,
                                                                  std::size_t& table_part) const {
    std::vector<std::byte> contents;
    header_reader header{host()};
    for (const auto& entry : list) {
        if ((entry.flags & flag::indirect) == 0) {
            header.add(entry);
            continue;
        }
        const std::size_t entries = entry.length / descriptor_bytes;
        const std::byte* const table = host().translate(entry.address, entries * descriptor_bytes);
        if (table == nullptr)
            continue;
        contents.insert(contents.end(), table, table + entries * descriptor_bytes);
        for (std::size_t at = 0; at < entries && !header.is_complete(); ++at)
            header.add(load<packed_descriptor>(table + at * descriptor_bytes));
    }
    table_part = contents.size();
    contents.insert(contents.end(), header.data(), header.data() + header.size());
    return contents;
}

// ---- what must stay as it is

void virtio_blk_model::packed_ring::check_memory() {
    if (queue_.broken)
        return;
    for (std::uint64_t position = used_; position < seen_; ++position) {
        const packed_descriptor entry = descriptor_at(position);
        if (same(entry, known_at(position)))
            continue;
        report(position < taken_ ? "PACK-02" : "PACK-03",
               title() + slot_name(position) + " is changed while the device owns it");
        known_at(position) = entry;
    }
    if (std::memcmp(parts[2].memory, device_area_.data(), device_area_.size()) != 0) {
        report("OWNER", title() + "the driver wrote to the device event suppression structure");
        device_area_.assign(parts[2].memory, parts[2].memory + parts[2].bytes);
    }
}

void virtio_blk_model::packed_ring::check_request(const request& done) {
    const auto list = lists_.find(done.id);
    if (list == lists_.end())
        return;
    std::size_t table_part = 0;
    const auto now = contents_of(list->second, table_part);
    const auto& then = done.taken;
    const auto split = static_cast<std::ptrdiff_t>(then.descriptor_part);
    if (table_part != then.descriptor_part || !std::equal(then.bytes.begin(), then.bytes.begin() + split, now.begin()))
        report("CLEAN-01", "an indirect table was changed while its request was in flight");
    else if (then.bytes != now)
        report("BUFFER", "the header was changed while its request was in flight");
}

void virtio_blk_model::packed_ring::check_wish() {
    const interrupt_wish its = wish();
    const std::uint16_t kind = its.flags & 3;
    if ((its.flags & ~3) != 0)
        report("PACK-30",
               title() + "the flags of the driver event suppression structure are " + std::to_string(its.flags));
    else if (kind == 3 || (kind == event_flag::at_descriptor && !device_.event_idx()))
        report("PACK-29", title() + "the flags of the driver event suppression structure are " + std::to_string(kind));
    else if (kind == event_flag::at_descriptor && (its.event & offset_mask) >= size())
        report("PACK-29",
               title() + "the driver asks for an interrupt at slot " + std::to_string(its.event & offset_mask));
}

// ---- notifications, both ways

virtio_blk_model::interrupt_wish virtio_blk_model::packed_ring::wish_at(const std::byte* area) {
    return {.event = load<std::uint16_t>(area), .flags = load<std::uint16_t>(area + 2)};
}

virtio_blk_model::interrupt_wish virtio_blk_model::packed_ring::wish_for(std::uint64_t position) const {
    return {.event = static_cast<std::uint16_t>(slot_of(position) | (wrap_of(position) ? 1U << 15 : 0U)),
            .flags = event_flag::at_descriptor};
}

bool virtio_blk_model::packed_ring::asks(interrupt_wish wish, std::uint64_t begin, std::uint64_t end) const {
    const unsigned kind = wish.flags & 3U;
    if (kind == event_flag::disable)
        return false;
    if (kind != event_flag::at_descriptor || !device_.event_idx())
        return true;
    // Slot and wrap counter come again after two laps.
    const std::uint64_t period = std::uint64_t{2} * size();
    const std::uint64_t event = (wish.event & offset_mask) + (wish.event >> 15 != 0 ? 0U : std::uint64_t{size()});
    return (event + period - begin % period) % period < end - begin;
}

void virtio_blk_model::packed_ring::ask(interrupt_wish its) {
    store(parts[2].memory, its.event);
    store(parts[2].memory + 2, its.flags);
    device_area_.assign(parts[2].memory, parts[2].memory + parts[2].bytes);
}

void virtio_blk_model::packed_ring::ask_for_notification(bool silent, unsigned ahead) {
    interrupt_wish its = wish_for(taken_ + ahead);
    if (!device_.event_idx())
        its = {.event =
                   device_.behave.avail_event_noise ? static_cast<std::uint16_t>(host().random()) : std::uint16_t{0},
               .flags = silent ? event_flag::disable : event_flag::enable};
    else if (silent && host().chance(500))
        its.flags = event_flag::disable;
    else if (silent)
        its = wish_for(taken_ - 1); // passed; comes again after two laps
    ask(its);
}

bool virtio_blk_model::packed_ring::wish_has_passed() {
    const interrupt_wish its = wish_at(parts[2].memory);
    if (!device_.event_idx() || its.flags != event_flag::at_descriptor)
        return false;
    device_.look_at(device_.index_of(queue_));
    return !queue_.broken && asks(its, taken_, seen_);
}

bool virtio_blk_model::packed_ring::is_wanted() const {
    // What lies more than a lap back was used, so there have been notifications, or none was wanted.
    const std::uint64_t since = seen_ - std::min<std::uint64_t>(seen_ - notified_, size());
    return asks(wish_at(parts[2].memory), since, seen_);
}

void virtio_blk_model::packed_ring::check_notification_data(std::uint32_t data) {
    const std::uint32_t expected = wish_for(seen_).event;
    if (data == expected)
        return;
    const bool right_slot = ((data ^ expected) & offset_mask) == 0;
    report(right_slot || (data & offset_mask) >= size() ? "NOTE-03" : "PACK-04",
           "the notification carries slot " + std::to_string(data & offset_mask) + " and wrap counter " +
               std::to_string(data >> 15) + ", the next one is " + slot_name(seen_) + " with " +
               std::to_string(wrap_of(seen_)));
}

bool virtio_blk_model::packed_ring::is_rearmed(interrupt_wish before, interrupt_wish now) const {
    return now != before && now.flags != event_flag::disable;
}

bool virtio_blk_model::packed_ring::wants_interrupt(std::uint64_t used_before, interrupt_wish wish) const {
    if (asks(wish, used_before, used_))
        return true;
    return device_.behave.interrupt_each_lap && wish.flags == event_flag::at_descriptor &&
           used_before / size() != used_ / size();
}

// The flags of a used descriptor hand over the rest of it, the status and the data. Id, length and flags may be read at once,
// which is a read at the length; so a length that is read by itself is taken for that.
std::uint64_t virtio_blk_model::packed_ring::note_read(const std::byte* field, arch::hart_index hart) {
    if (field >= parts[2].memory && field < parts[2].memory + parts[2].bytes) {
        device_.look_at(device_.index_of(queue_));
        if (!queue_.full_since_advance && !queue_.broken) {
            queue_.full_since_advance = true;
            report("PACK-17", title() + "the device event suppression structure is read without a full fence before");
        }
    }
    if (field < parts[0].memory || field >= parts[0].memory + parts[0].bytes)
        return 0;
    const auto offset = static_cast<std::size_t>(field - parts[0].memory);
    const std::uint64_t number = queue_.entry_numbers[offset / descriptor_bytes];
    switch (offset % descriptor_bytes) {
    case 8:
    case 14: queue_.looked[hart] = std::max(queue_.looked[hart], number); return 0;
    case 12: return number;
    default: return 0;
    }
}

// ---- taking requests

bool virtio_blk_model::packed_ring::take(request& taken) {
    exposed_list list = std::move(exposed_.front());
    exposed_.pop_front();
    taken.id = list.descriptors.back().id;
    for (std::size_t at = 0; at < list.descriptors.size(); ++at)
        taken.slots.push_back(static_cast<std::uint16_t>(slot_of(taken_ + at)));
    taken_ += list.descriptors.size();
    taken.taken.bytes = contents_of(list.descriptors, taken.taken.descriptor_part);
    if (taken.taken.bytes != list.contents)
        report("CLEAN-01", "a request was changed after it was made available");
    if (!walk(taken, list.descriptors))
        return false;
    lists_[taken.id] = std::move(list.descriptors);
    return true;
}

bool virtio_blk_model::packed_ring::walk(request& walked, const descriptor_list& list) {
    bool has_table = false;
    for (const auto& entry : list) {
        if ((entry.flags & flag::indirect) == 0) {
            if (!device_.add_element(queue_, walked, entry.address, entry.length, (entry.flags & flag::write) != 0))
                return false;
            continue;
        }
        has_table = true;
        if (!device_.accepted(feature::indirect_desc))
            report("PACK-12", "an indirect descriptor without INDIRECT_DESC");
        if (!walk_table(walked, entry))
            return false;
    }
    const std::size_t permitted = device_.configuration_.max_descriptors;
    if ((permitted != 0 && walked.elements > permitted) || (has_table && walked.elements > queue_.size_max))
        report(has_table ? "PACK-14" : "PACK-06", "a request of " + std::to_string(walked.elements) + " descriptors");
    return true;
}

bool virtio_blk_model::packed_ring::walk_table(request& walked, const packed_descriptor& reference) {
    if (reference.length == 0 || reference.length % descriptor_bytes != 0) {
        report("PACK-13", "an indirect table of " + std::to_string(reference.length) + " bytes");
        return false;
    }
    std::byte* const table = host().translate(reference.address, reference.length);
    if (table == nullptr) {
        report("RSVD-05", "an indirect table is not in memory");
        return false;
    }
    queue_.shared[table] = reference.length;
    for (std::size_t at = 0; at < reference.length; at += descriptor_bytes) {
        if (holds_scribble(queue_, table + at, descriptor_bytes))
            return false;
        const auto entry = load<packed_descriptor>(table + at);
        if ((entry.flags & ~flag::write) != 0)
            report("PACK-13", "flags in an indirect table: " + std::to_string(entry.flags));
        if (!device_.add_element(queue_, walked, entry.address, entry.length, (entry.flags & flag::write) != 0))
            return false;
    }
    return true;
}

// The flags stay: with others it would claim to have used the slots.
void virtio_blk_model::packed_ring::scribble_over(const request& victim) {
    for (const auto& entry : lists_.at(victim.id))
        if ((entry.flags & flag::indirect) != 0)
            device_.scribble(queue_, host().translate(entry.address, entry.length), entry.length);
    for (const std::uint16_t slot : victim.slots) {
        std::byte* const memory = parts[0].memory + descriptor_bytes * slot;
        device_.scribble(queue_, memory, offsetof(packed_descriptor, id));
        store(memory + offsetof(packed_descriptor, id), static_cast<std::uint16_t>(host().random()));
        known_[slot] = load<packed_descriptor>(memory);
    }
}

// ---- handing them back

std::uint32_t virtio_blk_model::packed_ring::used_id(const request& done, bool& lie) {
    constexpr std::uint32_t ids = 1 << 16;
    const auto beyond = [&] {
        return host().chance(500) ? queue_.size
                                  : queue_.size + static_cast<std::uint32_t>(host().random_below(ids - queue_.size));
    };
    lie = true;
    if (device_.fires(fault::used_id_out_of_range))
        return beyond();
    if (device_.fires(fault::used_id_free)) {
        for (std::uint16_t id = 0; id < size(); ++id)
            if (id != done.id && !is_in_use(id))
                return id;
        return beyond();
    }
    if (device_.fires(fault::used_id_mid_chain))
        has_no_meaning("used_id_mid_chain");
    lie = false;
    return done.id;
}

void virtio_blk_model::packed_ring::write_used(std::uint32_t id, std::uint32_t length, std::size_t extent) {
    const bool tells_length = !device_.behave.used_without_write;
    packed_descriptor entry = descriptor_at(written_);
    entry.id = static_cast<std::uint16_t>(id);
    entry.length = length;
    entry.flags = wrap_of(written_) ? flag::available | flag::used : 0;
    entry.flags = static_cast<std::uint16_t>(entry.flags | (tells_length ? flag::write : 0));
    if (device_.behave.used_descriptor_noise) {
        entry.address = host().random();
        entry.flags = static_cast<std::uint16_t>(entry.flags | (host().random() & (flag::next | flag::indirect)));
        if (!tells_length)
            entry.length = static_cast<std::uint32_t>(host().random());
    }
    store_slot(written_, entry);
    last_position_ = written_;
    queue_.entry_numbers[slot_of(written_)] = ++queue_.entries_written;
    written_ += extent;
    given_back_.push_back({written_, queue_.entries_written});
}

void virtio_blk_model::packed_ring::publish_used() {
    used_ = written_;
    queue_.entries_published = queue_.entries_written;
}

// Changes the flags of slots and nothing else in them.
void virtio_blk_model::packed_ring::move_used(std::int64_t by) {
    const bool ahead = by > 0;
    // Ahead, up to what was used before and the driver may not have seen.
    const std::uint64_t room = ahead ? std::min(used_, last_position_) + size() - written_ : written_;
    const auto slots = std::min<std::uint64_t>({static_cast<std::uint64_t>(ahead ? by : -by), room, size()});
    for (std::uint64_t at = 0; at < slots; ++at) {
        const std::uint64_t position = ahead ? written_ + at : written_ - 1 - at;
        packed_descriptor entry = descriptor_at(position);
        const unsigned kept = entry.flags & (flag::next | flag::write | flag::indirect);
        const unsigned mark = ahead ? flag::available | flag::used : flag::available;
        const unsigned other = ahead ? 0 : flag::used;
        entry.flags = static_cast<std::uint16_t>(kept | (wrap_of(position) ? mark : other));
        store_slot(position, entry);
        if (ahead)
            queue_.entry_numbers[slot_of(position)] = ++queue_.entries_written;
    }
    publish_used();
    break_queue(queue_);
}

// ---- at the will of the test

void virtio_blk_model::packed_ring::push_used(std::uint32_t id, std::uint32_t length) {
    write_used(id, length, 1);
    publish_used();
    break_queue(queue_);
}

void virtio_blk_model::packed_ring::rewrite_used(std::uint32_t id, std::uint32_t length) {
    packed_descriptor entry = descriptor_at(last_position_);
    entry.id = static_cast<std::uint16_t>(id);
    entry.length = length;
    store_slot(last_position_, entry);
}

std::uint32_t virtio_blk_model::packed_ring::last_used_id() const {
    return descriptor_at(last_position_).id;
}

// The flags that are missing are guessed: if the next slot is available, the list goes on there, else it is a table.
bool virtio_blk_model::packed_ring::complete_unpublished() {
    packed_descriptor first = descriptor_at(seen_);
    if (seen_ == room_end() || same(first, known_at(seen_)))
        return false;
    descriptor_list list;
    if (seen_ + 1 < room_end() && is_available(descriptor_at(seen_ + 1), seen_ + 1)) {
        first.flags = flag::next;
        list.push_back(first);
        while ((list.back().flags & flag::next) != 0 && seen_ + list.size() < room_end())
            list.push_back(descriptor_at(seen_ + list.size()));
    } else {
        first.flags = flag::indirect;
        list.push_back(first);
    }
    const bool is_a_table = first.length != 0 && first.length % descriptor_bytes == 0;
    if ((first.flags & flag::indirect) != 0 && !is_a_table)
        return false;
    request guessed;
    if ((list.back().flags & flag::next) != 0 || is_in_use(list.back().id) || !walk(guessed, list) ||
        guessed.writable.empty())
        return false;
    const span& last = guessed.writable.back();
    last.data[last.length - 1] = std::byte{0};
    push_used(list.back().id, static_cast<std::uint32_t>(guessed.writable_bytes));
    return true;
}

} // namespace inflight::model
