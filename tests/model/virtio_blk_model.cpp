#include "tests/model/virtio_blk_model.hpp"

#include "tests/model/virtio_blk_pci.hpp"
#include "tests/model/virtio_blk_ring.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace inflight::model {

using arch::host::fence_kind;

namespace {

constexpr std::size_t register_bytes = 0x200;

std::uint64_t offered_features(const blk_configuration& configuration) {
    const std::uint64_t features = configuration.features.value_or(usual_features(configuration.version));
    return configuration.version == 1 ? features & 0xffff'ffff : features;
}

} // namespace

std::uint64_t usual_features(std::uint32_t version) {
    using namespace feature;
    const std::uint64_t common = bit(seg_max) | bit(geometry) | bit(blk_size) | bit(flush) | bit(topology) |
                                 bit(config_wce) | bit(mq) | bit(discard) | bit(write_zeroes) | bit(indirect_desc) |
                                 bit(event_idx);
    return version == 1 ? common | bit(scsi) | bit(notify_on_empty) : common | bit(version_1);
}

virtio_blk_model::virtio_blk_model(arch::host::machine& machine, blk_configuration configuration)
    : machine_{machine},
      configuration_{std::move(configuration)},
      offered_{offered_features(configuration_)},
      queues_(configuration_.queues),
      writeback_{configuration_.writeback},
      capacity_{configuration_.capacity},
      disk_(configuration_.capacity * sector_bytes),
      durable_(disk_),
      durable_position_(static_cast<std::size_t>(configuration_.capacity)) {
    if (configuration_.pci) {
        pci_ = std::make_unique<pci_front>(*this);
        pci_->reset();
    }
    if (offers(feature::zoned) && configuration_.zoned_model == zoned_model::host_managed &&
        configuration_.zoned.zone_sectors != 0)
        zones_ = std::make_unique<model::zones>(configuration_.zoned, configuration_.capacity);
    for (auto& queue : queues_)
        forget_queue(queue);
    machine_.attach(configuration_.base, pci_ ? pci_->window_bytes() : register_bytes, *this);
    machine_.observe(*this);
}

virtio_blk_model::~virtio_blk_model() {
    machine_.stop_observing(*this);
    machine_.detach(*this);
}

void virtio_blk_model::report(std::string_view id, const std::string& message) {
    if (pci_)
        id = pci_front::rule(id);
    if (configuration_.tolerated.find(id) == configuration_.tolerated.end())
        machine_.report(id, message);
}

// ---- faults

void virtio_blk_model::inject(fault what, std::uint64_t after, std::uint64_t times) {
    auto& entry = armed_[what];
    entry.after = after;
    entry.times = times;
}

std::uint64_t virtio_blk_model::fired(fault what) const {
    const auto found = armed_.find(what);
    return found == armed_.end() ? 0 : found->second.fired;
}

bool virtio_blk_model::fires(fault what) {
    const auto found = armed_.find(what);
    if (found == armed_.end() || found->second.times == 0)
        return false;
    auto& entry = found->second;
    if (entry.after != 0) {
        --entry.after;
        return false;
    }
    if (entry.times != forever)
        --entry.times;
    ++entry.fired;
    return true;
}

ticks virtio_blk_model::draw(ticks low, ticks high) {
    return high > low ? low + machine_.random_below(high - low + 1) : low;
}

// ---- interrupts

void virtio_blk_model::raise(std::uint32_t interrupt_bits, const virtqueue* of) {
    if (removed_ || interrupt_bits == 0 || (pci_ && pci_->interrupt(interrupt_bits, of)))
        return;
    if (interrupt_status_ == 0)
        interrupt_status_read_ = false;
    interrupt_status_ |= interrupt_bits;
    update_line();
}

void virtio_blk_model::update_line() {
    if (interrupt_status_ != 0)
        machine_.raise_line(configuration_.line);
    else
        machine_.lower_line(configuration_.line);
}

// ---- reset

void virtio_blk_model::begin_reset() {
    reset_once_ = true;
    reset_unconfirmed_ = true;
    ++resets_;
    resetting_ = true;
    reset_reads_left_ = behave.reset_reads;
    reset_hangs_ = reset_hangs_ || fires(fault::reset_never);
    const auto late = armed_.find(fault::complete_during_reset);
    const bool late_completion = late != armed_.end() && late->second.times != 0;
    if (reset_reads_left_ == 0 && !reset_hangs_ && !late_completion)
        finish_reset();
}

// From here on nothing of what was before touches memory.
void virtio_blk_model::finish_reset() {
    ++epoch_;
    for (auto& queue : queues_) {
        for (auto& each : queue.in_flight) // a write that was under way may have reached the disk or not
            if (each->well_formed && each->verdict == request_status::ok &&
                (each->type == request_type::out || each->type == request_type::zone_append ||
                 (each->type >= request_type::zone_open && each->type <= request_type::zone_reset_all)) &&
                machine_.chance(500))
                static_cast<void>(execute(*each));
        forget_queue(queue);
    }
    resetting_ = false;
    status_ = 0;
    interrupt_status_ = 0;
    interrupt_bits_shown_ = 0;
    update_line();
    queue_sel_ = device_features_sel_ = driver_features_sel_ = guest_page_size_ = 0;
    accepted_ = 0;
    writeback_ = configuration_.writeback;
    device_features_selected_ = driver_features_selected_ = queue_selected_ = false;
    features_read_ = features_written_ = 0;
    features_refused_ = features_ok_confirmed_ = false;
    interrupt_status_read_ = acknowledge_fence_due_ = needs_reset_seen_ = false;
    status_look_due_ = capacity_look_due_ = false;
    config_run_ = 0;
    generation_just_read_ = reread_due_ = false;
    capacity_halves_read_ = 0;
    capacity_known_ = 0;
    capacities_read_.clear();
    if (pci_)
        pci_->reset();
}

void virtio_blk_model::forget_queue(virtqueue& queue) {
    const unsigned index = index_of(queue);
    const queue_counters counters = queue.counters;
    queue = virtqueue{};
    queue.counters = counters;
    const auto special = configuration_.queue_size_max_of.find(index);
    queue.size_max =
        special == configuration_.queue_size_max_of.end() ? configuration_.queue_size_max : special->second;
    if (pci_)
        pci_->preset(queue);
}

// ---- PCI

void virtio_blk_model::enable_msix(bool on) {
    pci_->msix_enabled = on;
}

std::uint64_t virtio_blk_model::messages(std::uint16_t vector) const {
    const auto found = messages_.find(vector);
    return found == messages_.end() ? 0 : found->second;
}

std::uint32_t virtio_blk_model::notify_length() const {
    return pci_->notify_length();
}

std::uint16_t virtio_blk_model::notify_off(unsigned queue) const {
    return pci_->notify_off(queue);
}

std::uint16_t virtio_blk_model::notif_data(unsigned queue) const {
    return pci_->notif_data(queue);
}

// ---- at the will of the test

void virtio_blk_model::release(std::size_t requests) {
    machine_.run_as_device([&] {
        for (std::size_t done = 0; done < requests && complete_one_anywhere(true); ++done) {
        }
    });
}

void virtio_blk_model::push_used(unsigned index, std::uint32_t id, std::uint32_t length) {
    machine_.run_as_device([&] {
        auto& queue = queues_.at(index);
        if (!queue.live)
            return;
        queue.ring->push_used(id, length);
        ++queue.counters.interrupts;
        raise(interrupt_used, &queue);
    });
}

void virtio_blk_model::keep_one() {
    request* oldest = nullptr;
    for (auto& queue : queues_)
        for (auto& each : queue.in_flight)
            if (!each->never && (oldest == nullptr || each->number < oldest->number))
                oldest = each.get();
    if (oldest != nullptr)
        oldest->never = true;
}

void virtio_blk_model::rewrite_used(unsigned index, std::uint32_t id, std::uint32_t length) {
    machine_.run_as_device([&] {
        if (queues_.at(index).live)
            queues_[index].ring->rewrite_used(id, length);
    });
}

void virtio_blk_model::rewrite_status(unsigned index, std::uint8_t status) {
    machine_.run_as_device([&] {
        if (std::byte* const last = queues_.at(index).last_status)
            *last = std::byte{status};
    });
}

std::uint32_t virtio_blk_model::last_used_id(unsigned index) const {
    const auto& queue = queues_.at(index);
    return queue.live ? queue.ring->last_used_id() : 0;
}

void virtio_blk_model::move_used_index(unsigned index, int entries) {
    machine_.run_as_device([&] {
        auto& queue = queues_.at(index);
        if (!queue.live)
            return;
        queue.ring->move_used(entries);
        ++queue.counters.interrupts;
        raise(interrupt_used, &queue);
    });
}

bool virtio_blk_model::complete_unpublished(unsigned index) {
    bool done = false;
    machine_.run_as_device([&] {
        auto& queue = queues_.at(index);
        if (!queue.live)
            return;
        look_at(index);
        if (!queue.ring->complete_unpublished())
            return;
        ++queue.counters.interrupts;
        raise(interrupt_used, &queue);
        done = true;
    });
    return done;
}

void virtio_blk_model::scribble_over_everything() {
    machine_.run_as_device([&] {
        const auto scribble = [&](std::byte* start, std::uint64_t bytes) {
            for (std::uint64_t at = 0; at < bytes; ++at)
                start[at] = static_cast<std::byte>(machine_.random());
        };
        for (auto& queue : queues_) {
            if (!queue.live)
                continue;
            for (const auto& part : queue.ring->parts)
                scribble(part.memory, part.bytes);
            queue.ring->adopt_memory();
            for (const auto& [start, bytes] : queue.shared)
                scribble(start, bytes);
            for (auto& each : queue.in_flight)
                each->never = true;
            break_queue(queue);
        }
    });
}

void virtio_blk_model::set_capacity(std::uint64_t sectors, bool announce) {
    machine_.run_as_device([&] {
        capacity_ = sectors;
        ++generation_;
        const std::uint64_t real = std::min(sectors, max_disk_sectors);
        if (real * sector_bytes > disk_.size()) {
            disk_.resize(real * sector_bytes);
            durable_.resize(disk_.size());
            durable_position_.resize(real);
        }
        if (!announce || (status_ & status_bit::driver_ok) == 0)
            return;
        status_look_due_ = capacity_look_due_ = true;
        raise(interrupt_config);
    });
}

void virtio_blk_model::raise_needs_reset() {
    machine_.run_as_device([&] {
        status_ |= status_bit::needs_reset;
        if ((status_ & status_bit::driver_ok) == 0)
            return;
        status_look_due_ = true;
        raise(interrupt_config);
    });
}

void virtio_blk_model::raise_config_interrupt() {
    machine_.run_as_device([&] {
        status_look_due_ = capacity_look_due_ = true;
        raise(interrupt_config);
    });
}

void virtio_blk_model::raise_used_interrupt() {
    machine_.run_as_device([&] { raise(interrupt_used); });
}

void virtio_blk_model::remove() {
    ++epoch_;
    removed_ = true;
    for (auto& queue : queues_)
        forget_queue(queue);
    interrupt_status_ = 0;
    update_line();
}

void virtio_blk_model::power_cut() {
    machine_.run_as_device([&] {
        for (auto& queue : queues_)
            for (auto& each : queue.in_flight)
                if (each->well_formed && each->type == request_type::out && each->verdict == request_status::ok) {
                    const auto data = gather(*each, header_bytes, each->data_bytes);
                    for (std::uint64_t done = 0; done < each->data_bytes; done += sector_bytes)
                        if (machine_.chance(500))
                            std::memcpy(durable_.data() + each->sector * sector_bytes + done, data.data() + done,
                                        sector_bytes);
                }
        for (auto& queue : queues_)
            queue.in_flight.clear();
        finish_reset();
        log_.clear();
        log_bytes_ = 0;
        disk_ = durable_;
        removed_ = reset_once_ = reset_unconfirmed_ = reset_hangs_ = false;
        identification_reads_ = 0;
    });
}

bool virtio_blk_model::idle() {
    const std::size_t before = machine_.violations().size();
    for (unsigned index = 0; index < queues_.size(); ++index) {
        auto& queue = queues_[index];
        if (!queue.live || removed_)
            continue;
        look_at(index);
        auto& ring = *queue.ring;
        ring.check_memory();
        if (!queue.broken)
            ring.check_flags_of_next();
        if (!queue.in_flight.empty())
            report("IDLE", title(queue) + std::to_string(queue.in_flight.size()) + " requests in flight");
        if (ring.has_waiting())
            report("IDLE", title(queue) + "available requests were never taken");
        else if (queue.in_flight.empty() && ring.used() != ring.seen())
            report("IDLE", title(queue) + ring.unused_message());
    }
    if (machine_.line_high(configuration_.line))
        report("IDLE", "the interrupt line is still high");
    if (status_look_due_)
        report("INIT-15", "Status was not read after a configuration interrupt");
    if (capacity_look_due_)
        report("BLK-05", "capacity was not read after a configuration interrupt");
    return machine_.violations().size() == before;
}

std::size_t virtio_blk_model::in_flight() const {
    std::size_t sum = 0;
    for (unsigned index = 0; index < queues_.size(); ++index)
        sum += in_flight(index);
    return sum;
}

std::size_t virtio_blk_model::in_flight(unsigned queue) const {
    return queues_.at(queue).in_flight.size();
}

queue_counters virtio_blk_model::total() const {
    queue_counters sum;
    for (const auto& queue : queues_) {
        sum.requests += queue.counters.requests;
        sum.completed += queue.counters.completed;
        sum.batched += queue.counters.batched;
        sum.notifications += queue.counters.notifications;
        sum.superfluous += queue.counters.superfluous;
        sum.interrupts += queue.counters.interrupts;
        sum.interrupts_avoided += queue.counters.interrupts_avoided;
        sum.segments += queue.counters.segments;
        sum.unmapping_segments += queue.counters.unmapping_segments;
        sum.unaligned_segments += queue.counters.unaligned_segments;
    }
    return sum;
}

void virtio_blk_model::fill(std::uint64_t seed) {
    for (std::size_t at = 0; at + 8 <= disk_.size(); at += 8) {
        std::uint64_t value = (seed + at) * 0x9e3779b97f4a7c15;
        value ^= value >> 29;
        store(disk_.data() + at, value);
    }
    durable_ = disk_;
}

// ---- what the machine tells

void virtio_blk_model::on_fence(fence_kind kind) {
    if (acknowledge_fence_due_) {
        acknowledge_fence_due_ = false;
        if (kind != fence_kind::acknowledge)
            report("ACKNOWLEDGE", "another fence than fence_acknowledge() follows the acknowledgement");
    }
    for (unsigned index = 0; index < queues_.size(); ++index) {
        auto& queue = queues_[index];
        if (kind == fence_kind::doorbell)
            queue.doorbell_since_laid_out = true;
        if (!queue.live || queue.broken)
            continue;
        look_at(index);
        if (queue.broken)
            continue;
        if (kind == fence_kind::doorbell)
            queue.doorbell_since_advance = true;
        if (kind == fence_kind::consume || kind == fence_kind::full)
            queue.ordered[machine_.selected_hart()] = queue.looked[machine_.selected_hart()];
        if (kind == fence_kind::publish || kind == fence_kind::full)
            queue.ring->remember_unpublished();
        if (kind != fence_kind::full)
            continue;
        queue.full_since_advance = true;
        const interrupt_wish wish = queue.ring->wish();
        const interrupt_wish old_wish = std::exchange(queue.wish, wish);
        if (!behave.complete_in_rearm_window || !queue.ring->is_rearmed(old_wish, wish) || queue.in_flight.empty() ||
            removed_)
            continue;
        // The device completes a request while the new wish is still on its way to memory, so it goes by the old one.
        const std::uint64_t before = queue.ring->used();
        std::vector<request_pointer> one;
        for (std::size_t position = 0; position < queue.in_flight.size(); ++position)
            if (!queue.in_flight[position]->never) {
                one.push_back(detach_request(queue, position));
                break;
            } else if (accepted(feature::in_order)) {
                break;
            }
        if (one.empty())
            continue;
        complete(index, std::move(one));
        interrupt_for(queue, before, old_wish);
    }
}

void virtio_blk_model::on_mmio_read(std::uintptr_t, unsigned) {
    if (acknowledge_fence_due_) {
        acknowledge_fence_due_ = false;
        report("ACKNOWLEDGE", "a register is read before fence_acknowledge() follows the acknowledgement");
    }
    for (unsigned index = 0; index < queues_.size(); ++index)
        look_at(index);
}

void virtio_blk_model::on_mmio_write(std::uintptr_t address, unsigned, std::uint32_t value) {
    if (acknowledge_fence_due_) {
        acknowledge_fence_due_ = false;
        report("ACKNOWLEDGE", "a register is written before fence_acknowledge() follows the acknowledgement");
    }
    for (unsigned index = 0; index < queues_.size(); ++index)
        look_at(index);
    const std::optional<unsigned> target = notified_queue(address, value);
    if (!target || removed_)
        return;
    auto& queue = queues_[*target];
    if (!queue.live || queue.broken)
        return;
    if (!queue.full_since_advance)
        report(queue.ring->rule.full_fence,
               title(queue) + "no full fence between making available and the notification");
    if (!queue.doorbell_since_advance)
        report("DOORBELL", title(queue) + "no fence_doorbell() between making available and the notification");
    queue.ring->check_flags_of_next();
    queue.full_since_advance = queue.doorbell_since_advance = true;
}

void virtio_blk_model::on_device_word_read(const void* word) {
    const auto* const at = static_cast<const std::byte*>(word);
    const auto hart = machine_.selected_hart();
    for (auto& queue : queues_) {
        if (!queue.live || queue.broken)
            continue;
        std::uint64_t number = queue.ring->note_read(at, hart);
        if (const auto status = queue.status_numbers.find(at); number == 0 && status != queue.status_numbers.end())
            number = status->second;
        if (number > queue.ordered[hart])
            report("CONSUME", title(queue) + "a used element or its status is read, and no fence follows the look at " +
                                  "what tells of it");
    }
}

// The driver goes to sleep: whatever it has made available must be known to the device by now.
void virtio_blk_model::on_wait_for_interrupt() {
    if (acknowledge_fence_due_) {
        acknowledge_fence_due_ = false;
        report("ACKNOWLEDGE", "no fence_acknowledge() between the acknowledgement and the wait");
    }
    if (removed_ || (status_ & status_bit::driver_ok) == 0 || (status_ & status_bit::needs_reset) != 0 || resetting_)
        return;
    for (unsigned index = 0; index < queues_.size(); ++index) {
        look_at(index);
        auto& queue = queues_[index];
        if (!queue.live || queue.broken)
            continue;
        if (!queue.full_since_advance) {
            queue.full_since_advance = true;
            report(queue.ring->rule.full_fence, title(queue) + "no full fence after making available");
        }
        queue.ring->check_flags_of_next();
        if (queue.looks_scheduled != 0 || queue.misses_notification || !queue.ring->has_waiting() ||
            queue.lost_kick_reported == queue.ring->seen())
            continue;
        queue.lost_kick_reported = queue.ring->seen();
        report(queue.ring->rule.lost_notification,
               title(queue) + "the driver waits without having sent a notification");
    }
}

} // namespace inflight::model
