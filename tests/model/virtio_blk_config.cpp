// The configuration space of the model: its fields, and the rules about reading and writing them.
#include "tests/model/virtio_blk_model.hpp"
#include "tests/model/virtio_blk_ring.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace inflight::model {

namespace {

constexpr std::uint32_t all_ones = ~0U;

struct config_field {
    unsigned offset;
    unsigned bytes;
    unsigned width; // of one access
    int feature;    // -1: always there
};

constexpr config_field config_fields[] = {
    {0, 8, 4, -1},
    {8, 4, 4, feature::size_max},
    {12, 4, 4, feature::seg_max},
    {16, 2, 2, feature::geometry},
    {18, 1, 1, feature::geometry},
    {19, 1, 1, feature::geometry},
    {20, 4, 4, feature::blk_size},
    {24, 1, 1, feature::topology},
    {25, 1, 1, feature::topology},
    {26, 2, 2, feature::topology},
    {28, 4, 4, feature::topology},
    {32, 1, 1, feature::config_wce},
    {34, 2, 2, feature::mq},
    {36, 4, 4, feature::discard},
    {40, 4, 4, feature::discard},
    {44, 4, 4, feature::discard},
    {48, 4, 4, feature::write_zeroes},
    {52, 4, 4, feature::write_zeroes},
    {56, 1, 1, feature::write_zeroes},
    {60, 4, 4, feature::secure_erase},
    {64, 4, 4, feature::secure_erase},
    {68, 4, 4, feature::secure_erase},
    {72, 4, 4, feature::zoned},
    {76, 4, 4, feature::zoned},
    {80, 4, 4, feature::zoned},
    {84, 4, 4, feature::zoned},
    {88, 4, 4, feature::zoned},
    {92, 1, 1, feature::zoned},
};
constexpr unsigned writeback_offset = 32, num_queues_offset = 34;

const config_field* field_at(std::uint64_t offset) {
    for (const auto& field : config_fields)
        if (offset >= field.offset && offset < field.offset + field.bytes)
            return &field;
    return nullptr;
}

} // namespace

std::array<std::uint8_t, virtio_blk_model::config_bytes> virtio_blk_model::config_image() const {
    std::array<std::uint8_t, config_bytes> image{};
    const auto put = [&](unsigned offset, auto value, int number) {
        if (number < 0 || offers(static_cast<unsigned>(number)))
            std::memcpy(image.data() + offset, &value, sizeof value);
    };
    const auto put_zoned = [&](unsigned offset, auto value) {
        if (accepted(feature::zoned) || (status_ & status_bit::features_ok) == 0) // else all 0
            put(offset, value, feature::zoned);
    };
    const auto& c = configuration_;
    put(0, capacity_, -1);
    put(8, c.size_max, feature::size_max);
    put(12, c.seg_max, feature::seg_max);
    put(16, static_cast<std::uint16_t>(capacity_ / (16 * 63)), feature::geometry);
    put(18, std::uint8_t{16}, feature::geometry);
    put(19, std::uint8_t{63}, feature::geometry);
    put(20, c.blk_size, feature::blk_size);
    put(26, std::uint16_t{1}, feature::topology);
    put(writeback_offset, writeback_, feature::config_wce);
    put(num_queues_offset, c.num_queues.value_or(static_cast<std::uint16_t>(c.queues)), feature::mq);
    put(36, c.max_discard_sectors, feature::discard);
    put(40, c.max_discard_seg, feature::discard);
    put(44, c.discard_sector_alignment, feature::discard);
    put(48, c.max_write_zeroes_sectors, feature::write_zeroes);
    put(52, c.max_write_zeroes_seg, feature::write_zeroes);
    put(56, c.write_zeroes_may_unmap, feature::write_zeroes);
    put(60, c.max_secure_erase_sectors, feature::secure_erase);
    put(64, c.max_secure_erase_seg, feature::secure_erase);
    put(68, c.secure_erase_sector_alignment, feature::secure_erase);
    put_zoned(72, c.zoned.zone_sectors);
    put_zoned(76, c.zoned.max_open_zones);
    put_zoned(80, c.zoned.max_active_zones);
    put_zoned(84, c.zoned.max_append_sectors);
    put_zoned(88, c.zoned.write_granularity);
    put_zoned(92, c.zoned_model);
    for (std::size_t at = 0; at < config_bytes; ++at)
        image[at] = config_set_[at].value_or(image[at]);
    return image;
}

std::uint32_t virtio_blk_model::known_field(unsigned offset, std::uint32_t configured) const {
    std::array<std::uint8_t, 4> bytes{};
    std::memcpy(bytes.data(), &configured, sizeof configured);
    for (std::size_t at = 0; at < bytes.size(); ++at)
        bytes[at] = config_read_[offset + at].value_or(config_set_[offset + at].value_or(bytes[at]));
    std::memcpy(&configured, bytes.data(), sizeof configured);
    return configured;
}

void virtio_blk_model::set_configuration(unsigned offset, std::uint64_t value, bool announce) {
    if (offset == 0)
        return set_capacity(value, announce);
    const config_field* const field = field_at(offset);
    if (field == nullptr || field->offset != offset)
        return report("MODEL", "the configuration space has no field at " + std::to_string(offset));
    machine_.run_as_device([&] {
        for (unsigned at = 0; at < field->bytes; ++at)
            config_set_[offset + at] = static_cast<std::uint8_t>(value >> 8 * at);
        ++generation_;
        if (!announce || (status_ & status_bit::driver_ok) == 0)
            return;
        status_look_due_ = capacity_look_due_ = true;
        raise(interrupt_config);
    });
}

std::uint32_t virtio_blk_model::read_config(std::uint64_t offset, unsigned width) {
    const config_field* const field = field_at(offset);
    const std::string name = "field at " + std::to_string(offset);
    if (field == nullptr || offset + width > config_bytes) {
        report("MMIO-01", "read of " + std::to_string(width) + " bytes of configuration at " + std::to_string(offset));
        return all_ones;
    }
    if (width != field->width || (offset - field->offset) % width != 0)
        report("MMIO-05", "read of " + std::to_string(width) + " bytes of the " + name);
    if (field->feature >= 0) {
        const bool known = (features_read_ & 1) != 0 && offers(static_cast<unsigned>(field->feature));
        if (!known)
            report(field->offset == num_queues_offset ? "BLK-23" : "CFG-04",
                   "the " + name + " is read without its feature being offered and looked for");
        else if (field->offset == writeback_offset && modern() && (status_ & status_bit::features_ok) == 0)
            report("BLK-04", "writeback is read before FEATURES_OK");
    }
    const auto image = config_image();
    std::uint32_t value = 0;
    std::memcpy(&value, image.data() + offset, width);
    std::copy_n(image.begin() + static_cast<std::ptrdiff_t>(offset), width,
                config_read_.begin() + static_cast<std::ptrdiff_t>(offset));
    if (field->offset == 0 && width == 4) {
        note_capacity_read(static_cast<unsigned>(offset / 4), value);
        if (capacity_halves_read_ != 0 && fires(fault::config_tear)) {
            capacity_ = (std::uint64_t{1} << 32) + capacity_ / 2 + machine_.random_below(capacity_ / 4);
            ++generation_;
        }
    }
    if (fires(fault::config_change)) {
        ++capacity_;
        ++generation_;
    }
    return value;
}

void virtio_blk_model::note_capacity_read(unsigned half, std::uint32_t value) {
    const std::uint64_t kept = capacity_being_read_ & ~(std::uint64_t{all_ones} << 32 * half);
    capacity_being_read_ = kept | std::uint64_t{value} << 32 * half;
    capacity_halves_read_ |= 1U << half;
    if (capacity_halves_read_ != 3)
        return;
    capacity_halves_read_ = 0;
    capacity_known_ = capacity_being_read_;
    capacities_read_.push_back(capacity_known_);
    if (capacities_read_.size() > 2)
        capacities_read_.erase(capacities_read_.begin());
    capacity_look_due_ = false;
    capacity_generation_ = generation_;
}

void virtio_blk_model::write_config(std::uint64_t offset, unsigned width, std::uint32_t value) {
    const config_field* const field = field_at(offset);
    if (field == nullptr)
        return report("MMIO-01", "write to the configuration at " + std::to_string(offset));
    if (field->offset != writeback_offset)
        return report("MMIO-02", "write to the read-only configuration at " + std::to_string(offset));
    if (width != 1)
        return report("MMIO-05", "write of " + std::to_string(width) + " bytes to writeback");
    if (modern() && (status_ & status_bit::features_ok) == 0)
        return report("INIT-06", "writeback is written before FEATURES_OK");
    if (!accepted(feature::config_wce))
        return report("BLK-17", "writeback is written without CONFIG_WCE");
    if (value > 1)
        return report("BLK-17", "writeback is set to " + std::to_string(value));
    for (unsigned index = 0; index < queues_.size(); ++index)
        if (queues_[index].live && (!queues_[index].in_flight.empty() || queues_[index].ring->has_waiting())) {
            report("BLK-36", "writeback is written with requests in flight");
            break;
        }
    writeback_ = static_cast<std::uint8_t>(value);
}

// Reads of the configuration come in runs, and a run of several reads stands between two looks at the generation that
// agree. Interrupts and notifications in between do not count.
void virtio_blk_model::follow_config_reads(std::uint64_t offset, bool write) {
    if (!modern() || reg::of_interrupts(offset) || offset == reg::queue_notify ||
        (!write && offset == reg::config_generation))
        return;
    if (pci_ && !write && offset == reg::status) // as check_reset_confirmed()
        return;
    if (offset >= reg::config && !write) {
        if (config_run_++ == 0) {
            generation_before_run_ = std::exchange(generation_just_read_, false);
            reread_due_ = false;
        }
        return;
    }
    if (config_run_ > 1)
        report("CFG-03", "several configuration reads are not followed by a look at ConfigGeneration");
    if (reread_due_ && offset != reg::status)
        report("CFG-03", "ConfigGeneration has changed and the configuration is not read again");
    config_run_ = 0;
    generation_just_read_ = reread_due_ = false;
}

std::uint32_t virtio_blk_model::read_generation() {
    if (fires(fault::generation_unstable))
        ++generation_;
    if (config_run_ > 1 && !generation_before_run_)
        report("CFG-03", "several configuration reads do not follow a look at ConfigGeneration");
    else if (config_run_ > 0 && generation_before_run_)
        reread_due_ = generation_ != generation_read_;
    config_run_ = 0;
    generation_just_read_ = true;
    generation_read_ = generation_;
    if (pci_ && capacity_generation_ == generation_) // with one vector for everything, that is a look, too
        capacity_look_due_ = false;
    return generation_;
}

} // namespace inflight::model
