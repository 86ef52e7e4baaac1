#include "tests/fuzz/device/fuzzed_device.hpp"

#include "tests/fuzz/device/require.hpp"

#include <cstring>

namespace inflight::fuzz {

namespace reg = model::reg;
namespace status_bit = model::status_bit;

namespace {

constexpr std::uint32_t high_bit(unsigned feature) {
    return static_cast<std::uint32_t>(model::feature::bit(feature) >> 32);
}

} // namespace

fuzzed_device::fuzzed_device(arch::host::machine& host, input& in, const driver_memory& memory, request_table& requests)
    : queues{device_queue{host, memory, requests, own}, device_queue{host, memory, requests, own},
             device_queue{host, memory, requests, own}},
      host_{host},
      in_{in} {
    host_.attach(base, 0x200, *this);
    host_.observe(*this);
}

fuzzed_device::~fuzzed_device() {
    host_.stop_observing(*this);
    host_.detach(*this);
}

void fuzzed_device::offer(std::uint32_t version, std::uint64_t features) {
    version_ = version;
    features_ = features;
}

void fuzzed_device::on_fence(arch::host::fence_kind) {
    for (device_queue& each : queues) // what is published, before the driver can see an answer
        each.look();
    interfere();
}

void fuzzed_device::raise(std::uint32_t bits) {
    interrupt_status_ |= bits;
    if (!removed_)
        host_.raise_line(line);
}

void fuzzed_device::complete(device_queue& of, std::uint16_t head) {
    if (of.complete(head))
        raise(model::interrupt_used);
}

void fuzzed_device::serve(device_queue& of) {
    of.look();
    for (std::uint16_t head = 0; head < of.size && of.live && head < largest_queue; ++head)
        complete(of, head);
}

void fuzzed_device::become_honest() {
    honest_ = true;
    claimed_.reset();
}

// ---- registers

void fuzzed_device::end_reset() {
    status_ = 0;
    interrupt_status_ = 0;
    accepted_high_ = 0;
    host_.lower_line(line);
    own.clear();
    for (device_queue& each : queues)
        each.disable();
}

std::uint32_t fuzzed_device::read(std::uint64_t offset, unsigned width) {
    interfere();
    if (removed_)
        return ~0U;
    if (claimed_ && claimed_->first == offset) {
        std::uint32_t value = std::exchange(claimed_, std::nullopt)->second;
        if (offset == reg::device_features && feature_sel_ == 1) // it can keep no other promise
            value &= high_bit(model::feature::version_1) | high_bit(model::feature::ring_packed);
        if (offset == reg::status && value == 0 && resetting_ != 0) { // that confirms the reset, whoever says it
            resetting_ = 0;
            end_reset();
        }
        return value;
    }
    if (offset >= reg::config) {
        std::uint32_t value = 0;
        const std::size_t at = offset - reg::config;
        require(at + width <= configuration_.size(), "a read beyond the configuration space");
        std::memcpy(&value, &configuration_[at], width);
        return value;
    }
    return read_register(offset);
}

std::uint32_t fuzzed_device::read_register(std::uint64_t offset) {
    const device_queue* const queue = selected();
    switch (offset) {
    case reg::magic_value: return model::magic;
    case reg::version: return version_;
    case reg::device_id: return 2;
    case reg::device_features: return feature_sel_ > 1 ? 0 : static_cast<std::uint32_t>(features_ >> 32 * feature_sel_);
    case reg::queue_size_max: return queue == nullptr ? 0 : largest_queue;
    case reg::queue_ready:
    case reg::queue_pfn: return queue != nullptr && queue->live ? 1 : 0;
    case reg::interrupt_status: return interrupt_status_;
    case reg::status:
        if (resetting_ != 0 && --resetting_ == 0)
            end_reset();
        return resetting_ != 0 ? 1 : status_;
    case reg::config_generation: return generation_;
    default: return 0;
    }
}

void fuzzed_device::write(std::uint64_t offset, unsigned, std::uint32_t value) {
    interfere();
    if (removed_)
        return;
    write_register(offset, value);
}

void fuzzed_device::write_register(std::uint64_t offset, std::uint32_t value) {
    device_queue* const queue = selected();
    const auto put_half = [&](unsigned which, bool high) {
        if (queue != nullptr)
            queue->address[which] = high ? (queue->address[which] & 0xffff'ffff) | std::uint64_t{value} << 32
                                         : (queue->address[which] & ~std::uint64_t{0xffff'ffff}) | value;
    };
    switch (offset) {
    case reg::device_features_sel: feature_sel_ = value; break;
    case reg::driver_features_sel: driver_feature_sel_ = value; break;
    case reg::driver_features:
        if (driver_feature_sel_ == 1)
            accepted_high_ = value;
        break;
    case reg::queue_sel: queue_sel_ = value; break;
    case reg::queue_size:
        if (queue != nullptr)
            queue->size = value;
        break;
    case reg::guest_page_size: page_size_ = value; break;
    case reg::queue_pfn:
        if (queue != nullptr && value != 0) {
            const std::uint64_t start = std::uint64_t{value} * page_size_;
            queue->address[0] = start;
            queue->address[1] = start + 16 * queue->size;
            queue->address[2] = (queue->address[1] + 6 + 2 * queue->size + 4095) & ~std::uint64_t{4095};
            queue->enable(false);
        }
        break;
    case reg::queue_desc_low:
    case reg::queue_desc_high: put_half(0, offset == reg::queue_desc_high); break;
    case reg::queue_driver_low:
    case reg::queue_driver_high: put_half(1, offset == reg::queue_driver_high); break;
    case reg::queue_device_low:
    case reg::queue_device_high: put_half(2, offset == reg::queue_device_high); break;
    case reg::queue_ready:
        if (queue != nullptr && value == 1)
            queue->enable((accepted_high_ & high_bit(model::feature::ring_packed)) != 0);
        break;
    case reg::config + 32: configuration_[32] = static_cast<std::uint8_t>(value); break; // writeback
    case reg::queue_notify:
        value &= 0xffff; // with NOTIFICATION_DATA, the rest is about the ring
        if (honest_ && value < max_queues)
            serve(queues[value]);
        break;
    case reg::interrupt_ack:
        interrupt_status_ &= ~value;
        if (interrupt_status_ == 0)
            host_.lower_line(line);
        break;
    case reg::status:
        if (value != 0) {
            status_ = value | (status_ & status_bit::needs_reset);
            break;
        }
        resetting_ = honest_ ? 1 : 1 + in_.below(3);
        break;
    default: break;
    }
}

} // namespace inflight::fuzz
