#include "tests/model/one_queue_model.hpp"

#include <algorithm>
#include <bit>

namespace inflight::model {

one_queue_model::one_queue_model(arch::host::machine& host, const device_type& type,
                                 one_queue_configuration configuration, one_queue_behaviour& behaviour)
    : host_{host}, type_{type}, configuration_{configuration}, behaviour_{behaviour} {
    host_.attach(configuration_.base, 0x200, *this);
    host_.observe(*this);
}

one_queue_model::~one_queue_model() {
    host_.stop_observing(*this);
    host_.detach(*this);
}

void one_queue_model::on_fence(arch::host::fence_kind kind) {
    doorbell_ = doorbell_ || kind == arch::host::fence_kind::doorbell;
}

std::byte* one_queue_model::memory(std::uint64_t address, std::uint64_t length, const char* what) {
    std::byte* const found = length == 0 ? nullptr : host_.translate(address, length);
    if (found == nullptr)
        report("RSVD-05", std::string{what} + " is not in memory that the device reaches");
    return found;
}

// True for as many calls as the count says.
static bool counts_down(std::uint32_t& count) {
    return count != 0 && count-- != 0;
}

// ---- registers

std::uint32_t one_queue_model::read(std::uint64_t offset, unsigned width) {
    if (offset >= reg::config) {
        report("CFG-04", "the configuration is read, which depends on features that were not accepted");
        return 0;
    }
    if (width != 4 || offset % 4 != 0)
        report("MMIO-04", "a register is not read as a whole");
    const std::uint64_t word = offered() >> (32 * std::min(device_sel_, 2U) % 64);
    switch (offset) {
    case reg::magic_value: identified_[0] = true; return magic;
    case reg::version: identified_[1] = true; return configuration_.version;
    case reg::device_id: identified_[2] = true; return type_.id;
    case reg::vendor_id: return 0x4d454551;
    case reg::device_features:
        if ((status_ & status_bit::driver) == 0 || (status_ & status_bit::features_ok) != 0)
            report("INIT-04", "DeviceFeatures is read out of turn");
        read_words_ |= 1U << std::min(device_sel_, 2U);
        return device_sel_ > 1 ? 0 : static_cast<std::uint32_t>(word);
    case reg::queue_size_max: return queue_sel_ < type_.queues ? configuration_.queue_size_max : 0;
    case reg::queue_ready:
        if (!modern())
            report("MMIOL-12", "QueueReady is of version 2");
        found_free_ = !ready_;
        return ready_ ? 1 : 0;
    case reg::queue_pfn:
        if (modern())
            report("MMIO-01", "QueuePFN is of version 1");
        found_free_ = !ready_;
        return ready_ ? static_cast<std::uint32_t>(addresses_[0] / page_size_) : 0;
    case reg::interrupt_status: return interrupt_status_;
    case reg::status: return status_ | (behaviour_.never_resets && status_ == 0 ? status_bit::acknowledge : 0);
    case reg::config_generation: return 0;
    default: report("MMIO-03", "a register that cannot be read: " + std::to_string(offset)); return 0;
    }
}

void one_queue_model::write(std::uint64_t offset, unsigned width, std::uint32_t value) {
    if (width != 4 || offset % 4 != 0 || offset >= reg::config)
        return report("MMIO-04", "a register is not written as a whole, or there is none");
    if (!identified_[0] || !identified_[1] || !identified_[2])
        report("MMIO-24", "a register is written before the device was identified");
    const bool setting_up = (status_ & (modern() ? status_bit::features_ok : status_bit::driver)) != 0 && !live();
    if (offset >= reg::guest_page_size && offset < reg::queue_notify && offset != reg::queue_sel && !setting_up &&
        offset != reg::guest_page_size)
        report("INIT-10", "a queue is set up out of turn");
    const auto half = [this, value](std::uint64_t& address, bool is_high) {
        const unsigned shift = is_high ? 32 : 0;
        address = (address & ~(std::uint64_t{0xffff'ffff} << shift)) | std::uint64_t{value} << shift;
        if (!modern())
            report("MMIOL-12", "queue addresses are of version 2");
    };
    switch (offset) {
    case reg::device_features_sel: device_sel_ = value; return;
    case reg::driver_features_sel: driver_sel_ = value; return;
    case reg::driver_features:
        if ((status_ & status_bit::features_ok) != 0)
            report("FEAT-09", "features are written after FEATURES_OK");
        if (driver_sel_ > 1)
            return;
        written_words_ |= 1U << driver_sel_;
        accepted_ = (accepted_ & ~(std::uint64_t{0xffff'ffff} << (32 * driver_sel_))) | std::uint64_t{value}
                                                                                            << (32 * driver_sel_);
        return;
    case reg::guest_page_size: page_size_ = value; return;
    case reg::queue_sel: queue_sel_ = value; return;
    case reg::queue_size:
        if (!std::has_single_bit(value) || value > configuration_.queue_size_max || !found_free_ ||
            queue_sel_ != type_.used_queue)
            report("MMIO-14", "queue " + std::to_string(queue_sel_) + " of size " + std::to_string(value));
        size_ = value;
        return;
    case reg::queue_align: align_ = value; return;
    case reg::queue_pfn:
        if (page_size_ == 0 || !std::has_single_bit(align_) || size_ == 0 || modern())
            return report("MMIOL-07", "QueuePFN is written before what it depends on");
        addresses_[0] = std::uint64_t{value} * page_size_;
        addresses_[1] = addresses_[0] + std::uint64_t{16} * size_;
        addresses_[2] = (addresses_[1] + 6 + std::uint64_t{2} * size_ + align_ - 1) / align_ * align_;
        return enable_queue();
    case reg::queue_desc_low: return half(addresses_[0], false);
    case reg::queue_desc_high: return half(addresses_[0], true);
    case reg::queue_driver_low: return half(addresses_[1], false);
    case reg::queue_driver_high: return half(addresses_[1], true);
    case reg::queue_device_low: return half(addresses_[2], false);
    case reg::queue_device_high: return half(addresses_[2], true);
    case reg::queue_ready:
        if (value != 1 || !modern())
            return report("MMIO-37", "QueueReady is written with " + std::to_string(value));
        return enable_queue();
    case reg::queue_notify:
        if (!live() || !ready_ || value != type_.used_queue)
            return report("MMIO-38", "a notification of a queue that is not live");
        if (!doorbell_)
            report("DOORBELL", "no fence between the available index and the notification");
        doorbell_ = false;
        ++notifications_;
        return host_.after(behaviour_.latency, [this, life = life_] {
            if (life == life_)
                look();
        });
    case reg::interrupt_ack:
        if ((value & ~interrupt_status_) != 0 || value == 0)
            report("MMIO-30", "InterruptACK of what InterruptStatus did not say");
        interrupt_status_ &= ~value;
        if (interrupt_status_ == 0)
            host_.lower_line(configuration_.line);
        return;
    case reg::status: return write_status(value);
    default: return report("MMIO-02", "a register that cannot be written: " + std::to_string(offset));
    }
}

void one_queue_model::reset() {
    ++resets_;
    ++life_;
    status_ = interrupt_status_ = driver_sel_ = device_sel_ = queue_sel_ = 0;
    read_words_ = written_words_ = size_ = align_ = page_size_ = 0;
    accepted_ = 0;
    found_free_ = ready_ = false;
    std::fill(std::begin(addresses_), std::end(addresses_), 0);
    seen_ = used_index_ = notified_ = 0;
    owned_.clear();
    host_.lower_line(configuration_.line);
}

void one_queue_model::write_status(std::uint32_t value) {
    using namespace status_bit;
    if (value == 0)
        return reset();
    const std::uint32_t before = status_ & ~needs_reset;
    if ((before & ~value) != 0 || (value & needs_reset) != 0)
        report("STAT-02", "Status " + std::to_string(value) + " clears a bit, or sets that of the device");
    const std::uint32_t fresh = value & ~before;
    if ((before & failed) != 0)
        report("INIT-13", "Status is written after FAILED");
    if ((fresh & (fresh - 1)) != 0)
        report("STAT-01", "steps of initialisation are taken together");
    if ((fresh == driver && before != acknowledge) ||
        (fresh == features_ok && (before != (acknowledge | driver) || !modern())) ||
        (fresh == driver_ok && before != (acknowledge | driver | (modern() ? features_ok : 0))))
        report("STAT-01", "a step of initialisation is taken out of turn");
    if (fresh == features_ok || (fresh == driver_ok && !modern())) {
        if (read_words_ != (modern() ? 3U : 1U) || written_words_ != (modern() ? 3U : 1U))
            report("INIT-04", "not all words of the features were read and written");
        if ((accepted_ & ~offered()) != 0)
            report("FEAT-01", "accepted and not offered");
        if ((accepted_ & ((std::uint64_t{1} << 24) - 1)) != 0)
            report("FEAT-05", "features of the device type are accepted, and the driver knows none");
        if (modern() && (accepted_ & feature::bit(feature::version_1)) == 0)
            report("RSVD-01", "VERSION_1 is offered and not accepted");
        const std::uint64_t not_modelled = feature::bit(feature::ring_packed) | feature::bit(feature::in_order) |
                                           feature::bit(feature::notification_data) | feature::bit(feature::ring_reset);
        if ((accepted_ & not_modelled) != 0)
            report("FEAT-05", "a feature is accepted that the driver cannot know");
    }
    if (fresh == driver_ok && !ready_)
        report("INIT-10", "DRIVER_OK and no queue is set up");
    status_ = (status_ & needs_reset) | value;
    if (fresh == features_ok && !behaviour_.features_ok)
        status_ &= ~features_ok;
}

void one_queue_model::enable_queue() {
    if (queue_sel_ != type_.used_queue || ready_ || size_ == 0)
        return report("MMIO-37", "one queue is used, and it is enabled once, after its size");
    if (!doorbell_)
        report("DOORBELL", "no fence between the zeroes in the rings and their hand-over");
    doorbell_ = false;
    const std::uint64_t lengths[3] = {std::uint64_t{16} * size_, 6 + std::uint64_t{2} * size_,
                                      6 + std::uint64_t{8} * size_};
    constexpr std::uint64_t alignments[3] = {16, 2, 4};
    std::byte* parts[3];
    for (int part = 0; part < 3; ++part) {
        parts[part] = memory(addresses_[part], lengths[part], "a part of the queue");
        if (parts[part] == nullptr)
            return;
        if (addresses_[part] % alignments[part] != 0)
            report("SPLIT-01", "a part of the queue is not aligned");
        if (part != 0 &&
            std::any_of(parts[part], parts[part] + lengths[part], [](std::byte b) { return b != std::byte{0}; }))
            report("MMIOL-08", "a ring is not zeroed");
    }
    table_ = parts[0];
    available_ = parts[1];
    used_ = parts[2];
    ready_ = true;
}

// ---- the queue

void one_queue_model::look() {
    if ((status_ & (status_bit::needs_reset | status_bit::failed)) != 0)
        return;
    const auto index = load<std::uint16_t>(available_ + 2);
    if (static_cast<std::uint16_t>(index - seen_) > size_)
        return report("SPLIT-11", "the available index goes further than the ring is long");
    if (index == notified_)
        report("NOTIFY", "a superfluous notification");
    notified_ = index;
    while (seen_ != index) {
        take(load<std::uint16_t>(available_ + 4 + std::size_t{2} * (seen_ % size_)));
        ++seen_;
    }
    store(used_ + 4 + std::size_t{8} * size_, seen_); // avail_event: every buffer is worth a notification
}

void one_queue_model::take(std::uint16_t head) {
    if (head >= size_)
        return report("SPLIT-33", "a head that is no descriptor");
    const auto first = load<descriptor>(table_ + descriptor_bytes * head);
    if (first.flags != type_.buffer_flags)
        return report(type_.buffer_rule, "a buffer that is not one descriptor of the right direction");
    std::byte* const bytes = memory(first.address, first.length, "a buffer");
    if (bytes == nullptr)
        return;
    if (std::any_of(owned_.begin(), owned_.end(), [head](const buffer& each) { return each.head == head; }))
        return report("SPLIT-38", "a buffer is made available while the device has it");
    const std::span<std::byte> all{bytes, first.length};
    buffers_.push_back(all);
    owned_.push_back({.head = head, .bytes = all, .before = {all.begin(), all.end()}});
    if (counts_down(behaviour_.silent))
        return;
    host_.after(behaviour_.latency, [this, life = life_] {
        if (life == life_ && (status_ & status_bit::needs_reset) == 0)
            complete();
    });
}

void one_queue_model::complete() {
    if (counts_down(behaviour_.needs_reset))
        return raise_needs_reset();
    const buffer done = owned_.front();
    owned_.pop_front();
    if (!std::equal(done.bytes.begin(), done.bytes.end(), done.before.begin()))
        report("BUFFER", "the driver wrote to a buffer that the device has");
    const std::uint32_t length = use(done.bytes);
    const bool lies = counts_down(behaviour_.lies);
    publish(lies ? behaviour_.used_id.value_or(done.head) : done.head,
            lies ? behaviour_.used_length.value_or(length) : length,
            lies ? behaviour_.used_index_step : std::uint16_t{1});
}

void one_queue_model::publish(std::uint32_t id, std::uint32_t length, std::uint16_t step) {
    const std::size_t entry = 4 + std::size_t{8} * (used_index_ % size_);
    store(used_ + entry, id);
    store(used_ + entry + 4, length);
    const std::uint16_t before = used_index_;
    used_index_ = static_cast<std::uint16_t>(used_index_ + step);
    store(used_ + 2, used_index_);
    const bool wanted =
        event_idx() ? event_passed(load<std::uint16_t>(available_ + 4 + std::size_t{2} * size_), used_index_, before)
                    : (load<std::uint16_t>(available_) & 1) == 0;
    if (wanted || step != 1)
        raise(interrupt_used);
}

void one_queue_model::raise(std::uint32_t bits) {
    interrupt_status_ |= bits;
    host_.raise_line(configuration_.line);
}

void one_queue_model::raise_needs_reset() {
    status_ |= status_bit::needs_reset;
    if (live())
        host_.run_as_device([this] { raise(interrupt_config); });
}

void one_queue_model::use_nothing() {
    host_.run_as_device([this] { publish(0, 1, 1); });
}

} // namespace inflight::model
