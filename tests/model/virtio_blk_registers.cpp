// The register side of the model: identification, status, features, set-up of queues, interrupts.
#include "tests/model/virtio_blk_model.hpp"
#include "tests/model/virtio_blk_pci.hpp"
#include "tests/model/virtio_blk_ring.hpp"

#include <algorithm>
#include <bit>
#include <cstdio>

namespace inflight::model {

namespace {

constexpr std::size_t accesses_kept = 4096;
constexpr std::uint32_t all_ones = ~0U;
constexpr std::uint32_t driver_status_bits =
    status_bit::acknowledge | status_bit::driver | status_bit::driver_ok | status_bit::features_ok | status_bit::failed;
constexpr std::uint32_t all_addresses = 0x3f;
constexpr std::uint32_t magic_read = 1, version_read = 2, device_id_read = 4;

std::string hexadecimal(std::uint64_t value) {
    char text[24];
    std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
    return text;
}

enum class access : std::uint8_t { none, read_only, write_only, read_write };

// Which of the control registers exist, and for whom.
access control_register(std::uint64_t offset, bool modern) {
    using enum access;
    switch (offset) {
    case reg::magic_value:
    case reg::version:
    case reg::device_id:
    case reg::vendor_id:
    case reg::device_features:
    case reg::queue_size_max:
    case reg::interrupt_status: return read_only;
    case reg::device_features_sel:
    case reg::driver_features:
    case reg::driver_features_sel:
    case reg::queue_sel:
    case reg::queue_size:
    case reg::queue_notify:
    case reg::interrupt_ack: return write_only;
    case reg::status: return read_write;
    case reg::guest_page_size:
    case reg::queue_align: return modern ? none : write_only;
    case reg::queue_pfn: return modern ? none : read_write;
    case reg::queue_ready:
    case reg::queue_reset: return modern ? read_write : none;
    case reg::queue_desc_low:
    case reg::queue_desc_high:
    case reg::queue_driver_low:
    case reg::queue_driver_high:
    case reg::queue_device_low:
    case reg::queue_device_high: return modern ? write_only : none;
    case reg::config_generation: return modern ? read_only : none;
    default: return none;
    }
}

bool is_address(std::uint64_t offset) {
    return offset >= reg::queue_desc_low && offset <= reg::queue_device_high;
}

// Bits that a driver for this bus and device type may accept, whatever is offered.
std::uint64_t acceptable_features(bool modern, bool on_pci) {
    using namespace feature;
    std::uint64_t bits = bit(indirect_desc) | bit(event_idx);
    for (const unsigned number : {size_max, seg_max, geometry, read_only, blk_size, flush, topology, config_wce, mq,
                                  discard, write_zeroes, lifetime, secure_erase})
        bits |= bit(number);
    if (modern)
        for (const unsigned number :
             {zoned, version_1, access_platform, ring_packed, in_order, order_platform, notification_data, ring_reset})
            bits |= bit(number);
    else
        bits |= bit(barrier) | bit(scsi) | bit(notify_on_empty) | bit(any_layout);
    if (modern && on_pci)
        bits |= bit(notif_config_data);
    return bits;
}

} // namespace

// ---- every access

void virtio_blk_model::announce_access(std::uint64_t offset, bool write) {
    if (const auto call = behave.before_access) // a copy: it may put another in its place
        call(access_count_, offset, write);
    ++access_count_;
}

std::uint32_t virtio_blk_model::read(std::uint64_t offset, unsigned width) {
    announce_access(offset, false);
    if (fires(fault::removed))
        remove();
    if (removed_) {
        note_access(offset, width, false, all_ones);
        return all_ones;
    }
    const std::uint32_t value = pci_ ? pci_->read(offset, width) : read_mmio(offset, width);
    note_access(offset, width, false, value);
    return value;
}

std::uint32_t virtio_blk_model::read_mmio(std::uint64_t offset, unsigned width) {
    check_identification(offset, false);
    check_access(offset, false, 0);
    if (offset >= reg::config)
        return read_config(offset - reg::config, width);
    if (width != 4 || offset % 4 != 0)
        report("MMIO-04", "read of " + std::to_string(width) + " bytes at " + hexadecimal(offset));
    else if (check_register(offset, false))
        return read_register(offset);
    return 0;
}

void virtio_blk_model::write(std::uint64_t offset, unsigned width, std::uint32_t value) {
    announce_access(offset, true);
    if (fires(fault::removed))
        remove();
    note_access(offset, width, true, value);
    if (removed_)
        return;
    if (pci_)
        pci_->write(offset, width, value);
    else
        write_mmio(offset, width, value);
}

void virtio_blk_model::write_mmio(std::uint64_t offset, unsigned width, std::uint32_t value) {
    check_identification(offset, true);
    check_access(offset, true, value);
    if (offset >= reg::config)
        write_config(offset - reg::config, width, value);
    else if (width != 4 || offset % 4 != 0)
        report("MMIO-04", "write of " + std::to_string(width) + " bytes at " + hexadecimal(offset));
    else if (check_register(offset, true))
        write_register(offset, value);
}

// What holds for a register of this meaning, whatever the bus: `meaning` is its offset on MMIO.
void virtio_blk_model::check_access(std::uint64_t meaning, bool write, std::uint32_t value) {
    if (write && !reset_once_ && !(meaning == reg::status && value == 0))
        report("INIT-01", "the first write is to " + hexadecimal(meaning) + " and not a reset");
    check_reset_confirmed(meaning, write);
    check_given_up(meaning, write, value);
    check_queue_stopped(meaning, write);
    follow_config_reads(meaning, write);
}

std::optional<unsigned> virtio_blk_model::notified_queue(std::uintptr_t address, std::uint32_t value) const {
    if (address < configuration_.base)
        return std::nullopt;
    if (pci_)
        return address < configuration_.base + pci_->window_bytes()
                   ? pci_->notified(address - configuration_.base, value)
                   : std::nullopt;
    const std::uint32_t index = value & 0xffff;
    return address == configuration_.base + reg::queue_notify && index < queues_.size() ? std::optional<unsigned>{index}
                                                                                        : std::nullopt;
}

void virtio_blk_model::note_access(std::uint64_t offset, unsigned width, bool write, std::uint32_t value) {
    if (accesses_.size() == accesses_kept)
        accesses_.pop_front();
    accesses_.push_back({machine_.time(), write, offset, width, value});
}

void virtio_blk_model::check_identification(std::uint64_t offset, bool write) {
    constexpr std::uint32_t both = magic_read | version_read;
    const bool first_two = !write && (offset == reg::magic_value || offset == reg::version);
    if (!first_two && configuration_.magic_value != magic)
        return report("MMIO-06", "access to " + hexadecimal(offset) + " of something that has not the magic value");
    if (!first_two && configuration_.version != 1 && configuration_.version != 2)
        return report("MMIO-08", "access to " + hexadecimal(offset) + " of a device of unknown version");
    if (!first_two && (identification_reads_ & both) != both)
        report("MMIO-24", "access to " + hexadecimal(offset) + " before MagicValue and Version were read");
    else if (!first_two && (write || offset != reg::device_id)) {
        if (configuration_.device_id == 0)
            return report("MMIO-27", "access to " + hexadecimal(offset) + " of an empty slot");
        if ((identification_reads_ & device_id_read) == 0)
            report("MMIO-25", "access to " + hexadecimal(offset) + " before DeviceID was read");
    }
    if (!write && offset == reg::magic_value)
        identification_reads_ |= magic_read;
    if (!write && offset == reg::version)
        identification_reads_ |= version_read;
    if (offset >= reg::device_id) // said once is enough
        identification_reads_ = both | device_id_read;
}

void virtio_blk_model::check_reset_confirmed(std::uint64_t offset, bool write) {
    if (!resetting_ && !(modern() && reset_unconfirmed_))
        return;
    if (offset == reg::status || reg::of_interrupts(offset) || (!write && offset <= reg::device_id))
        return;
    if (pci_ && !write && offset == reg::config_generation) // by a handler whose message may mean anything
        return;
    report("RST-01", "access to " + hexadecimal(offset) + " after a reset and before Status read 0");
    reset_unconfirmed_ = false;
}

void virtio_blk_model::check_given_up(std::uint64_t offset, bool write, std::uint32_t value) {
    if (offset == reg::status || reg::of_interrupts(offset))
        return;
    if (features_refused_ && (status_ & status_bit::failed) == 0)
        report("INIT-09", "access to " + hexadecimal(offset) + " although FEATURES_OK was not accepted");
    else if (write && (status_ & status_bit::failed) != 0)
        report("INIT-13", "write of " + hexadecimal(value) + " to " + hexadecimal(offset) + " after FAILED");
}

// After a queue was told to stop or to reset, the next thing is to ask whether it has.
void virtio_blk_model::check_queue_stopped(std::uint64_t offset, bool write) {
    if (offset == reg::status || reg::of_interrupts(offset))
        return;
    for (auto& queue : queues_) {
        if (queue.stopping && (write || offset != reg::queue_ready)) {
            queue.stopping = false;
            report("MMIO-17", "access to " + hexadecimal(offset) + " before QueueReady was read back as 0");
        }
        if (queue.resetting && (write || (offset != reg::queue_reset && offset != reg::queue_ready))) {
            queue.resetting = false;
            report("MMIO-21", "access to " + hexadecimal(offset) + " before QueueReset read 0");
        }
    }
}

bool virtio_blk_model::check_register(std::uint64_t offset, bool write) {
    const access kind = control_register(offset, modern());
    const std::string name = hexadecimal(offset);
    if (kind == access::none) {
        if (!modern() && (control_register(offset, true) != access::none ||
                          (offset >= reg::shm_sel && offset <= reg::shm_base_high)))
            report("MMIOL-12", "access to " + name + ", which version 1 does not have");
        else if (offset >= reg::shm_sel && offset <= reg::shm_base_high)
            report("MMIO-28", "access to the shared memory register " + name);
        else
            report("MMIO-01", "access to " + name + ", where no register is");
        return false;
    }
    if (write && kind == access::read_only) {
        report("MMIO-02", "write to the read-only register " + name);
        return false;
    }
    if (!write && kind == access::write_only) {
        report("MMIO-03", "read of the write-only register " + name);
        if (is_address(offset) || offset == reg::queue_size)
            for (std::size_t index = 0; index < queues_.size(); ++index)
                if (index == queue_sel_ && queues_[index].ready)
                    report("MMIO-15", "read of " + name + " while the queue is ready");
        return false;
    }
    return true;
}

// ---- control registers

std::uint32_t virtio_blk_model::read_register(std::uint64_t offset) {
    switch (offset) {
    case reg::magic_value: return configuration_.magic_value;
    case reg::version: return configuration_.version;
    case reg::device_id: return configuration_.device_id;
    case reg::vendor_id: return configuration_.vendor_id;
    case reg::device_features:
        if (!device_features_selected_)
            report("MMIO-12", "DeviceFeatures is read before DeviceFeaturesSel was written");
        if ((status_ & status_bit::driver) == 0)
            report("INIT-03", "DeviceFeatures is read before DRIVER was set");
        if (device_features_sel_ > 1)
            return 0;
        features_read_ |= 1U << device_features_sel_;
        return static_cast<std::uint32_t>(offered_ >> 32 * device_features_sel_);
    case reg::interrupt_status: {
        interrupt_status_read_ = true;
        interrupt_bits_shown_ |= interrupt_status_;
        const auto noise = behave.undefined_interrupt_bits ? static_cast<std::uint32_t>(machine_.random()) & ~3U : 0U;
        return interrupt_status_ | noise;
    }
    case reg::status: return read_status();
    case reg::config_generation: return read_generation();
    default: return read_queue_register(offset);
    }
}

void virtio_blk_model::write_register(std::uint64_t offset, std::uint32_t value) {
    switch (offset) {
    case reg::device_features_sel:
        device_features_selected_ = true;
        device_features_sel_ = value;
        return;
    case reg::driver_features_sel:
        driver_features_selected_ = true;
        driver_features_sel_ = value;
        return;
    case reg::driver_features:
        if (!driver_features_selected_)
            report("MMIO-13", "DriverFeatures is written before DriverFeaturesSel");
        if ((status_ & status_bit::driver) == 0)
            report("INIT-03", "DriverFeatures is written before DRIVER was set");
        if ((status_ & status_bit::features_ok) != 0)
            return report("INIT-08", "DriverFeatures is written after FEATURES_OK");
        if ((status_ & status_bit::driver_ok) != 0)
            return report("FEAT-09", "DriverFeatures is written after DRIVER_OK");
        if (driver_features_sel_ <= 1) {
            const unsigned shift = 32 * driver_features_sel_;
            accepted_ = (accepted_ & ~(std::uint64_t{all_ones} << shift)) | std::uint64_t{value} << shift;
            features_written_ |= 1U << driver_features_sel_;
        } else if (value != 0) {
            report("FEAT-01", "bits beyond 63 are accepted");
        }
        return;
    case reg::guest_page_size:
        if (!std::has_single_bit(value))
            report("MMIOL-02", "GuestPageSize " + std::to_string(value) + " is not a power of two");
        for (const auto& queue : queues_)
            if (queue.pfn != 0)
                report("MMIOL-02", "GuestPageSize is written after a queue was set up");
        guest_page_size_ = value;
        return;
    case reg::queue_sel:
        queue_selected_ = true;
        queue_sel_ = value;
        return;
    case reg::queue_notify: return write_queue_notify(value);
    case reg::interrupt_ack: return write_interrupt_ack(value);
    case reg::status: return write_status(value);
    default: return write_queue_register(offset, value);
    }
}

// ---- status and features

std::uint32_t virtio_blk_model::read_status() {
    status_look_due_ = false;
    if (resetting_) {
        if (fires(fault::complete_during_reset)) {
            complete_one_anywhere(true);
        } else if (!reset_hangs_) {
            if (reset_reads_left_ == 0)
                finish_reset();
            else
                --reset_reads_left_;
        }
        if (resetting_)
            return status_ != 0 ? status_ : status_bit::acknowledge;
    }
    reset_unconfirmed_ = false;
    if ((status_ & status_bit::features_ok) != 0)
        features_ok_confirmed_ = true;
    if ((status_ & status_bit::needs_reset) != 0)
        needs_reset_seen_ = true;
    return status_;
}

void virtio_blk_model::write_status(std::uint32_t value) {
    using namespace status_bit;
    if (value == 0)
        return begin_reset();
    if (resetting_)
        return report("RST-01", "Status is written before it read 0 after a reset");
    if (reset_unconfirmed_ && modern()) {
        reset_unconfirmed_ = false;
        report("RST-01", "Status is written before it read 0 after a reset");
    }
    if ((status_ & failed) != 0)
        report("STAT-03", "Status is written after FAILED without a reset");
    if ((status_ & driver_status_bits & ~value) != 0)
        report("STAT-02", "Status goes from " + hexadecimal(status_) + " to " + hexadecimal(value));
    if ((value & ~driver_status_bits & ~(status_ & needs_reset)) != 0)
        report("STAT-01", "Status " + hexadecimal(value) + " has bits that are not the driver's");
    const std::uint32_t added = value & ~status_ & driver_status_bits;
    if (std::popcount(added & ~failed) > 1)
        report("STAT-01", "several steps are reported at once: Status goes from " + hexadecimal(status_) + " to " +
                              hexadecimal(value));
    if ((added & driver) != 0 && (value & acknowledge) == 0)
        report("INIT-02", "DRIVER without ACKNOWLEDGE");
    if ((added & features_ok) != 0) {
        if (!modern())
            report("LEG-12", "FEATURES_OK on the legacy interface");
        if ((value & driver) == 0)
            report("INIT-03", "FEATURES_OK without DRIVER");
        if ((status_ & driver_ok) != 0)
            report("INIT-11", "FEATURES_OK after DRIVER_OK");
        check_accepted_features();
        const bool does_without_zones = modern() && offers(feature::zoned) && !accepted(feature::zoned) &&
                                        configuration_.zoned_model == zoned_model::host_managed &&
                                        !behave.forgets_to_refuse_zones;
        if (fires(fault::features_refused) || does_without_zones) {
            features_refused_ = true;
            value &= ~features_ok;
        }
    }
    status_ = (value & driver_status_bits) | (status_ & needs_reset);
    if ((added & driver_ok) != 0)
        check_driver_ok();
    if ((added & driver_ok) != 0 && pci_)
        pci_->check_driver_ok();
}

void virtio_blk_model::check_driver_ok() {
    if ((status_ & status_bit::driver) == 0)
        report("INIT-03", "DRIVER_OK without DRIVER");
    if (features_refused_)
        report("INIT-09", "DRIVER_OK although FEATURES_OK was not accepted");
    else if (modern() && (status_ & status_bit::features_ok) == 0)
        report("INIT-07", "DRIVER_OK without FEATURES_OK");
    else if (modern() && !features_ok_confirmed_)
        report("INIT-09", "DRIVER_OK and Status was not read again after FEATURES_OK");
    else if (std::none_of(queues_.begin(), queues_.end(), [](const virtqueue& queue) { return queue.live; }))
        report("INIT-10", "DRIVER_OK and no queue is set up");
    if (modern())
        return;
    check_accepted_features();
    const auto& read = capacities_read_;
    if (!read.empty() && (read.size() < 2 || read[read.size() - 1] != read[read.size() - 2]))
        report("LEG-04", "capacity was not read until two reads agreed");
}

void virtio_blk_model::check_accepted_features() {
    using namespace feature;
    const std::uint32_t words = modern() ? 3 : 1;
    if ((features_read_ & words) != words)
        report("INIT-04", "not all words of DeviceFeatures were read");
    if ((features_written_ & words) != words)
        report("INIT-04", "not all words of DriverFeatures were written");
    if ((accepted_ & ~offered_) != 0)
        report("FEAT-01", "accepted and not offered: " + hexadecimal(accepted_ & ~offered_));
    std::uint64_t strange = accepted_ & offered_ & ~acceptable_features(modern(), pci_ != nullptr);
    const struct {
        unsigned number;
        const char* id;
    } never[] = {{sr_iov, "RSVD-10"}, {admin_vq, "MMIO-40"}, {unused, "LEG-14"}};
    for (const auto& each : never)
        if ((strange & bit(each.number)) != 0) {
            report(each.id, "bit " + std::to_string(each.number) + " is accepted");
            strange &= ~bit(each.number);
        }
    if (strange != 0)
        report("FEAT-05", "accepted and not for this driver: " + hexadecimal(strange));
    if (offers(zoned) && configuration_.zoned_model == zoned_model::host_managed && accepted(discard))
        report("BLKZ-02", "DISCARD is accepted from a host-managed zoned device");
    const struct {
        unsigned number;
        const char* id;
        bool of_modern, of_legacy;
    } wanted[] = {{version_1, "RSVD-01", true, false},   {access_platform, "RSVD-03", true, false},
                  {ring_packed, "RSVD-06", true, false}, {order_platform, "RSVD-07", true, false},
                  {read_only, "BLK-07", true, true},     {any_layout, "LEG-13", false, true}};
    for (const auto& each : wanted)
        if ((modern() ? each.of_modern : each.of_legacy) && offers(each.number) && !accepted(each.number))
            report(each.id, "bit " + std::to_string(each.number) + " is offered and not accepted");
    if (pci_ && modern() && offers(notif_config_data) && !accepted(notif_config_data)) // MMIO has no carrier for it
        report("RSVD-13", "NOTIF_CONFIG_DATA is offered and not accepted");
}

// ---- queues

virtio_blk_model::virtqueue* virtio_blk_model::selected_queue(std::uint64_t offset, bool write, std::uint32_t value) {
    if (!queue_selected_)
        report(modern() ? "MMIO-33" : "MMIOL-03", hexadecimal(offset) + " is used before QueueSel was written");
    virtqueue* const queue = queue_sel_ < queues_.size() ? &queues_[queue_sel_] : nullptr;
    const bool stop = write && value == 0 && (offset == reg::queue_ready || offset == reg::queue_pfn);
    const bool live = (status_ & status_bit::driver_ok) != 0;
    const bool again = queue != nullptr && queue->enabled_before && accepted(feature::ring_reset);
    const bool watching = offset == reg::queue_ready || offset == reg::queue_reset || offset == reg::queue_pfn;
    const bool early = modern() ? (status_ & status_bit::features_ok) == 0 : (status_ & status_bit::driver) == 0;
    if (early || (live && !stop && !again && !(watching && (!write || offset == reg::queue_reset)))) {
        // Looking at the size of a running legacy queue has a rule of its own.
        if (!(live && !modern() && offset == reg::queue_size_max))
            report("INIT-10",
                   hexadecimal(offset) + " is used " + (early ? "before the features are settled" : "after DRIVER_OK"));
    }
    return queue;
}

std::uint32_t virtio_blk_model::read_queue_register(std::uint64_t offset) {
    virtqueue* const queue = selected_queue(offset, false, 0);
    if (queue == nullptr)
        return 0;
    switch (offset) {
    case reg::queue_size_max:
        if (queue->pfn != 0 && !pci_)
            report("MMIOL-04", "QueueSizeMax is read while QueuePFN is not 0");
        queue->size_max_read = false;
        queue->doorbell_since_laid_out = false;
        if (fires(fault::queue_size_zero) || queue->size_max == 0)
            return 0;
        queue->size_max_read = true;
        return queue->size_max;
    case reg::queue_pfn:
        queue->in_use_read = false;
        if (queue->pfn == 0 && fires(fault::queue_in_use))
            return 0x12345;
        queue->in_use_read = queue->pfn == 0;
        return queue->pfn;
    case reg::queue_ready:
        if (queue->stopping) {
            if (queue->stop_reads_left != 0) {
                --queue->stop_reads_left;
                return 1;
            }
            const bool enabled_before = queue->enabled_before;
            forget_queue(*queue);
            queue->enabled_before = enabled_before;
        }
        queue->in_use_read = false;
        if (!queue->ready && !queue->enabled_before && fires(fault::queue_in_use))
            return 1;
        queue->in_use_read = !queue->ready;
        return queue->ready ? 1 : 0;
    case reg::queue_reset:
        if (!accepted(feature::ring_reset))
            report("VQR-04", "QueueReset is read without RING_RESET");
        if (!queue->resetting)
            return 0;
        if (queue->reset_reads_left != 0) {
            --queue->reset_reads_left;
            return 1;
        }
        forget_queue(*queue);
        queue->enabled_before = true;
        if (pci_)
            pci_->forget_vector(queue_sel_);
        return 0;
    default: return 0;
    }
}

void virtio_blk_model::write_queue_register(std::uint64_t offset, std::uint32_t value) {
    virtqueue* const queue = selected_queue(offset, true, value);
    if (queue == nullptr) {
        if (value != 0)
            report(modern() ? "MMIO-35" : "MMIOL-06",
                   "set-up of queue " + std::to_string(queue_sel_) + ", which does not exist");
        return;
    }
    switch (offset) {
    case reg::queue_size: return write_queue_size(*queue, value);
    case reg::queue_align:
        if (!queue->size_written)
            report("MMIOL-07", "QueueAlign is written before QueueSize");
        if (!std::has_single_bit(value))
            report("MMIOL-09", "QueueAlign " + std::to_string(value) + " is not a power of two");
        queue->align = value;
        queue->align_written = true;
        return;
    case reg::queue_pfn: return write_queue_pfn(*queue, queue_sel_, value);
    case reg::queue_ready: return write_queue_ready(*queue, queue_sel_, value);
    case reg::queue_reset:
        if (!accepted(feature::ring_reset))
            return report("VQR-04", "QueueReset is written without RING_RESET");
        if (value != 1)
            return report("MMIO-21", "QueueReset is written with another value than 1");
        if (!queue->in_flight.empty() || (queue->live && queue->ring->has_waiting()))
            report("DRAINED", title(*queue) + "is reset while it has requests");
        if (behave.queue_reset_ignored)
            return;
        queue->resetting = true;
        queue->reset_reads_left = behave.queue_reset_reads;
        queue->live = false;
        queue->ready = false;
        queue->in_flight.clear();
        return;
    default: return write_queue_address(*queue, offset, value);
    }
}

void virtio_blk_model::write_queue_size(virtqueue& queue, std::uint32_t value) {
    if (queue.ready)
        return report("MMIO-15", "QueueSize is written while the queue is ready");
    if (!queue.in_use_read)
        report(modern() ? "MMIO-34" : "MMIOL-05", "the queue was not found to be free before its set-up");
    if (!queue.size_max_read)
        report(modern() ? "MMIO-35" : "MMIOL-06", "QueueSizeMax was not found to be above 0 before set-up");
    if (value == 0 || value > 32768 || !(packed() || std::has_single_bit(value)))
        report(packed() ? "PACK-28" : "SPLIT-37", "queue size " + std::to_string(value));
    if (value > queue.size_max)
        report(modern() ? "MMIO-14" : "MMIOL-07", "queue size " + std::to_string(value) + " is above the maximum");
    if (!modern() && guest_page_size_ == 0)
        report("MMIOL-02", "a queue is set up before GuestPageSize was written");
    queue.size = value;
    queue.size_written = true;
}

void virtio_blk_model::write_queue_address(virtqueue& queue, std::uint64_t offset, std::uint32_t value) {
    if (queue.ready)
        return report("MMIO-15", hexadecimal(offset) + " is written while the queue is ready");
    if (!queue.size_written)
        report("MMIO-37", "an address is written before QueueSize");
    const bool high = offset % 8 != 0;
    const unsigned area = static_cast<unsigned>((offset - reg::queue_desc_low) / 0x10);
    std::uint64_t& address = area == 0 ? queue.descriptor_area : area == 1 ? queue.driver_area : queue.device_area;
    address = high ? (address & all_ones) | std::uint64_t{value} << 32 : (address & ~std::uint64_t{all_ones}) | value;
    queue.addresses_written |= 1U << (2 * area + (high ? 1 : 0));
}

void virtio_blk_model::check_queue_count(unsigned index) {
    const unsigned usable = !accepted(feature::mq)
                                ? 1
                                : configuration_.num_queues.value_or(static_cast<std::uint16_t>(configuration_.queues));
    if (index >= usable)
        report("BLK-22", "queue " + std::to_string(index) + " is enabled, and there are " + std::to_string(usable));
}

void virtio_blk_model::check_laid_out(const virtqueue& queue) {
    if (!queue.doorbell_since_laid_out)
        report("DOORBELL", "no fence_doorbell() between the zeroes in the rings and their hand-over to the device");
}

void virtio_blk_model::write_queue_ready(virtqueue& queue, unsigned index, std::uint32_t value) {
    if (value == 0) {
        if (!queue.ready)
            return;
        queue.ready = queue.live = false;
        queue.in_flight.clear();
        queue.stopping = true;
        queue.stop_reads_left = behave.queue_stop_reads;
        return;
    }
    if (value != 1)
        report("MMIO-37", "QueueReady is written with " + std::to_string(value));
    if (queue.ready)
        return report("MMIO-34", "QueueReady is set while it is set");
    if (!queue.size_written || queue.addresses_written != all_addresses)
        return report(queue.enabled_before ? "VQR-03" : "MMIO-37", "the queue is enabled before size and addresses");
    check_queue_count(index);
    check_laid_out(queue);
    queue.ready = true;
    start_queue(index, queue.descriptor_area, queue.driver_area, queue.device_area);
}

void virtio_blk_model::write_queue_pfn(virtqueue& queue, unsigned index, std::uint32_t value) {
    if (value == 0) {
        if (queue.pfn == 0 && !queue.live)
            report("MMIOL-10", "QueuePFN 0 is no address");
        return forget_queue(queue);
    }
    if (queue.pfn != 0)
        return report("MMIOL-05", "QueuePFN is written while the queue is in use");
    if (!queue.size_written)
        return report("MMIOL-07", "QueuePFN is written before QueueSize");
    if (!queue.align_written)
        return report("MMIOL-09", "QueuePFN is written before QueueAlign");
    if (guest_page_size_ == 0)
        return;
    check_queue_count(index);
    queue.pfn = value;
    const std::uint64_t size = queue.size;
    const std::uint64_t align = queue.align;
    const std::uint64_t start = std::uint64_t{value} * guest_page_size_;
    const std::uint64_t available_end = 16 * size + 2 * (3 + size);
    const std::uint64_t used = (available_end + align - 1) & ~(align - 1);
    const std::uint64_t total = used + ((6 + 8 * size + align - 1) & ~(align - 1));
    if (machine_.translate(start, 1) == nullptr)
        return report("MMIOL-10", "QueuePFN " + hexadecimal(value) + " names no memory");
    const std::byte* const memory = machine_.translate(start, total);
    if (memory == nullptr)
        return report("LEG-07", "the memory of the queue reaches beyond the machine's");
    for (std::uint64_t at = 0; at < total; ++at) // padding included: the formula says how much is the queue's
        if (memory[at] != std::byte{0}) {
            const bool in_rings = at < available_end || (at >= used && at < used + 6 + 8 * size);
            report(in_rings ? "MMIOL-08" : "LEG-07", "byte " + std::to_string(at) + " of the queue is not zero");
            break;
        }
    check_laid_out(queue);
    start_queue(index, start, start + 16 * size, start + used);
}

void virtio_blk_model::write_queue_notify(std::uint32_t value) {
    using namespace status_bit;
    const std::uint32_t index = accepted(feature::notification_data) ? value & 0xffff : value;
    if ((status_ & driver_ok) == 0)
        return report("INIT-14", "a notification before DRIVER_OK");
    if (needs_reset_seen_)
        report("STAT-04", "a notification after DEVICE_NEEDS_RESET was seen");
    if (index > 0xffff)
        return report("NOTE-01", "a notification of " + hexadecimal(value));
    if (index >= queues_.size() || !queues_[index].live)
        return report("MMIO-38", "a notification of queue " + std::to_string(index) + ", which is not enabled");
    auto& queue = queues_[index];
    auto& ring = *queue.ring;
    if (accepted(feature::notification_data))
        ring.check_notification_data(value >> 16);
    ++queue.counters.notifications;
    if (!queue.broken)
        ring.check_wish();
    if (!ring.is_news() || !ring.is_wanted()) {
        ++queue.counters.superfluous;
        if (queue.counters.superfluous > configuration_.superfluous_permitted)
            report(!ring.is_news() ? "NOTIFY" : ring.rule.superfluous_notification,
                   "superfluous notification of queue " + std::to_string(index));
    }
    ring.notified();
    queue.misses_notification = fires(fault::notification_lost);
    if (queue.misses_notification)
        return;
    schedule_look(index, draw(behave.notification_latency_min, behave.notification_latency_max), true);
}

// ---- interrupts

void virtio_blk_model::write_interrupt_ack(std::uint32_t value) {
    if ((value & ~3U) != 0)
        report("MMIO-20", "InterruptACK is written with " + hexadecimal(value));
    value &= 3;
    if (!interrupt_status_read_)
        report("MMIO-30", "InterruptACK is written before InterruptStatus was read");
    else if ((value & ~interrupt_bits_shown_) != 0)
        report("MMIO-32", "an event is acknowledged that InterruptStatus did not show");
    interrupt_bits_shown_ &= ~value;
    if (behave.complete_at_acknowledge)
        complete_one_anywhere(true);
    acknowledge_fence_due_ = (value & interrupt_used) != 0;
    if (fires(fault::interrupt_stuck))
        return;
    interrupt_status_ &= ~value;
    update_line();
}

} // namespace inflight::model
