#include "inflight/drivers/block/disk.hpp"

#include "inflight/arch/arch.hpp"

#include <algorithm>
#include <new>

namespace inflight::block {

namespace configuration = virtio_blk::configuration;
namespace feature = virtio_blk::feature;
using virtio::error;
using virtio_blk::request_type;

namespace {

// A request takes three descriptors, and a chain is no longer than its queue. The size of a split ring is a power of two.
constexpr std::uint16_t min_split_size = 4;
constexpr std::uint16_t min_packed_size = 3;

} // namespace

// ---- requests ----

request disk::flush() noexcept {
    return {channel(), request_type::flush, 0, nullptr, 0};
}

write_cache::request disk::set_write_cache(bool enabled) noexcept {
    return {write_cache_, enabled, properties().can_switch_write_cache ? status::ok : status::unsupported};
}

request disk::discard(std::uint64_t sector, std::uint64_t sectors) noexcept {
    return {channel(), request_type::discard, sector, nullptr, sectors};
}

request disk::discard(std::span<const sector_range> ranges) noexcept {
    return {channel(), request_type::discard, ranges};
}

request disk::write_zeroes(std::uint64_t sector, std::uint64_t sectors, unmap permission) noexcept {
    return {channel(), sector, sectors, permission};
}

request disk::write_zeroes(std::span<const sector_range> ranges, unmap permission) noexcept {
    return {channel(), ranges, permission};
}

request disk::secure_erase(std::uint64_t sector, std::uint64_t sectors) noexcept {
    return {channel(), request_type::secure_erase, sector, nullptr, sectors};
}

request disk::secure_erase(std::span<const sector_range> ranges) noexcept {
    return {channel(), request_type::secure_erase, ranges};
}

request disk::read(std::uint64_t sector, std::span<const std::span<std::byte>> buffers) noexcept {
    return {channel(), sector, buffers};
}

request disk::write(std::uint64_t sector, std::span<const std::span<const std::byte>> buffers) noexcept {
    return {channel(), sector, buffers};
}

request disk::get_id(virtio_blk::id_string& id) noexcept {
    return {channel(), request_type::get_id, 0, reinterpret_cast<const std::byte*>(id.data()), 0};
}

request disk::get_lifetime(virtio_blk::lifetime& into) noexcept {
    return {channel(), request_type::get_lifetime, 0, reinterpret_cast<const std::byte*>(&into), 0};
}

report_request disk::report_zones(std::uint64_t sector, std::span<virtio_blk::zone_descriptor> buffer) noexcept {
    return {channel(), sector, buffer};
}

request disk::open_zone(std::uint64_t zone) noexcept {
    return {channel(), request_type::zone_open, zone, nullptr, 0};
}

request disk::close_zone(std::uint64_t zone) noexcept {
    return {channel(), request_type::zone_close, zone, nullptr, 0};
}

request disk::finish_zone(std::uint64_t zone) noexcept {
    return {channel(), request_type::zone_finish, zone, nullptr, 0};
}

request disk::reset_zone(std::uint64_t zone) noexcept {
    return {channel(), request_type::zone_reset, zone, nullptr, 0};
}

request disk::reset_all_zones() noexcept {
    return {channel(), request_type::zone_reset_all, 0, nullptr, 0};
}

append_request disk::append(std::uint64_t zone, std::span<const std::byte> buffer) noexcept {
    return {channel(), zone, buffer};
}

// ---- interrupts ----

// One line serves all queues (VIRTIO 1.2, 4.2.3.4): each that has something is marked. Acknowledged first, then looked
// at, though the specification has it the other way round: so nothing that completes in between can be lost.
bool disk::handle_line() noexcept {
    const trace::handler traced{track_};
    // acquire: the channels are made before a handler finds them; pairs with the store in start().
    const arch::hart_index told = told_.load(std::memory_order_acquire);
    if (told != 1 || registers_.interrupt_status == 0) [[unlikely]] {
        return interrupt_all(told);
    }
    if (!has_cause(virtio::acknowledge_interrupt(registers_))) [[unlikely]] {
        return false;
    }
    channels_->interrupted_here();
    return true;
}

// The same where there are several harts, or none has a channel yet.
bool disk::interrupt_all(arch::hart_index told) noexcept {
    if (told == 0) {
        return interrupted_before_start(device_.acknowledge_interrupt());
    }
    if (!has_cause(device_.acknowledge_interrupt())) {
        return false;
    }
    for (block::channel& each : std::span{channels_, told}) {
        each.interrupted();
    }
    return true;
}

// Counts an interrupt. Returns true if InterruptStatus named a cause.
inline bool disk::has_cause(virtio::interrupt_cause cause) noexcept {
    interrupts_.fetch_add(1, std::memory_order_relaxed);
    if (cause.none()) [[unlikely]] {
        spurious_.fetch_add(1, std::memory_order_relaxed);
        return false;
    }
    if (cause.has(virtio::interrupt_cause::configuration_change)) [[unlikely]] {
        home_->configuration_has_changed();
    }
    return true;
}

void disk::handle_queue(std::uint16_t index) noexcept {
    const trace::handler traced{track_};
    const arch::hart_index told = told_.load(std::memory_order_acquire); // as in handle_line()
    if (told == 0 || index >= queues_in_use_) [[unlikely]] {
        handle_unused_queue(told);
        return;
    }
    interrupts_.fetch_add(1, std::memory_order_relaxed);
    if (told == 1 && queues_in_use_ == 1) {
        channels_->interrupted_here();
    } else {
        channels_[index % told].interrupted(queues_[index]);
    }
}

// Before start() has returned, or of a queue that the driver does not use.
void disk::handle_unused_queue(arch::hart_index told) noexcept {
    if (told == 0) {
        static_cast<void>(interrupted_before_start({.bits = virtio::interrupt_cause::used_buffer}));
        return;
    }
    interrupts_.fetch_add(1, std::memory_order_relaxed);
    spurious_.fetch_add(1, std::memory_order_relaxed);
}

void disk::handle_configuration() noexcept {
    const trace::handler traced{track_};
    const arch::hart_index told = told_.load(std::memory_order_acquire); // as in handle_line()
    if (told == 0) [[unlikely]] {
        static_cast<void>(interrupted_before_start({.bits = virtio::interrupt_cause::configuration_change}));
        return;
    }
    interrupts_.fetch_add(1, std::memory_order_relaxed);
    home_->configuration_has_changed();
    home_->interrupted();
}

bool disk::interrupted_before_start(virtio::interrupt_cause cause) noexcept {
    // seq_cst: the mark is set before told_ is read. Pairs with start(), which writes told_ before it reads the mark,
    // so that one of the two sees the other.
    interrupted_early_.store(true, std::memory_order_seq_cst);
    if (told_.load(std::memory_order_seq_cst) != 0) {
        home_->configuration_has_changed();
        static_cast<void>(look_for_completions());
    }
    return !cause.none();
}

bool disk::look_for_completions() noexcept {
    const arch::hart_index told = told_.load(std::memory_order_acquire); // as in handle_line()
    if (told == 0) {
        return false;
    }
    if (device_.acknowledge_interrupt().has(virtio::interrupt_cause::configuration_change)) {
        home_->configuration_has_changed();
    }
    bool found = false;
    for (block::channel& each : std::span{channels_, told}) {
        found |= each.mark_completed();
    }
    return found;
}

// ---- life of the device ----

error disk::start(dma_memory& memory, const disk_options& options) noexcept {
    options_ = options;
    track_ = trace::new_disk();
    properties_.legacy = device_.is_legacy();
    const error outcome = set_up(&memory);
    if (outcome == error::none) {
        home_ = &channel();
        write_cache_.set_home(async::executor::current());
        queues_in_use_ = properties_.queues;
        // seq_cst: pairs with handle_line(), which finds the channels, and with the mark of interrupted_before_start().
        told_.store(harts_, std::memory_order_seq_cst);
        if (interrupted_early_.load(std::memory_order_seq_cst)) {
            home_->configuration_has_changed();
        }
        recovery_.open();
    }
    return outcome;
}

bool disk::open_channels(dma_memory& memory) noexcept {
    const arch::hart_index harts = arch::harts();
    std::byte* const place = memory.allocate_private(sizeof(block::channel) * harts, alignof(block::channel));
    if (place == nullptr) {
        return false;
    }
    const channel::device shared{.transport = device_.underlying_transport(),
                                 .memory = memory,
                                 .recoveries = recovery_,
                                 .properties = properties_,
                                 .progress = progress_,
                                 .request_timeout = options_.request_timeout};
    auto* const channels = reinterpret_cast<block::channel*>(place);
    for (arch::hart_index hart = 0; hart < harts; ++hart) {
        async::executor& executor = async::executor::of(hart);
        if (hart < properties_.queues) {
            ::new (channels + hart) block::channel{shared, executor, queues().subspan(hart), harts};
        } else {
            ::new (channels + hart) block::channel{shared, executor, channels[hart % properties_.queues]};
        }
    }
    channels_ = channels;
    harts_ = harts;
    return true;
}

namespace {

// What changes while the device lives.
struct changing_configuration {
    std::uint64_t capacity = 0;
    std::uint8_t writeback = 0;

    bool operator==(const changing_configuration&) const noexcept = default;
};

changing_configuration read_changing(virtio::device& device) noexcept {
    changing_configuration raw;
    raw.capacity = device.read_config64(configuration::capacity);
    if (device.has(feature::config_wce)) {
        raw.writeback = device.read_config8(configuration::writeback);
    }
    return raw;
}

raw_configuration read_raw(virtio::device& device) noexcept {
    raw_configuration raw;
    raw.capacity = device.read_config64(configuration::capacity);
    if (device.has(feature::size_max)) {
        raw.size_max = device.read_config32(configuration::size_max);
    }
    if (device.has(feature::seg_max)) {
        raw.seg_max = device.read_config32(configuration::seg_max);
    }
    if (device.has(feature::geometry)) {
        raw.geometry = {.cylinders = device.read_config16(configuration::cylinders),
                        .heads = device.read_config8(configuration::heads),
                        .sectors = device.read_config8(configuration::sectors)};
    }
    if (device.has(feature::blk_size)) {
        raw.blk_size = device.read_config32(configuration::blk_size);
    }
    if (device.has(feature::topology)) {
        raw.physical_block_exp = device.read_config8(configuration::physical_block_exp);
        raw.alignment_offset = device.read_config8(configuration::alignment_offset);
        raw.min_io_size = device.read_config16(configuration::min_io_size);
        raw.opt_io_size = device.read_config32(configuration::opt_io_size);
    }
    if (device.has(feature::config_wce)) {
        raw.writeback = device.read_config8(configuration::writeback);
    }
    if (device.has(feature::mq)) {
        raw.num_queues = device.read_config16(configuration::num_queues);
    }
    if (device.has(feature::discard)) {
        raw.max_discard_sectors = device.read_config32(configuration::max_discard_sectors);
        raw.max_discard_seg = device.read_config32(configuration::max_discard_seg);
        raw.discard_sector_alignment = device.read_config32(configuration::discard_sector_alignment);
    }
    if (device.has(feature::write_zeroes)) {
        raw.max_write_zeroes_sectors = device.read_config32(configuration::max_write_zeroes_sectors);
        raw.max_write_zeroes_seg = device.read_config32(configuration::max_write_zeroes_seg);
        raw.write_zeroes_may_unmap = device.read_config8(configuration::write_zeroes_may_unmap);
    }
    if (device.has(feature::secure_erase)) {
        raw.max_secure_erase_sectors = device.read_config32(configuration::max_secure_erase_sectors);
        raw.max_secure_erase_seg = device.read_config32(configuration::max_secure_erase_seg);
        raw.secure_erase_sector_alignment = device.read_config32(configuration::secure_erase_sector_alignment);
    }
    if (device.has(feature::zoned)) {
        raw.zone_sectors = device.read_config32(configuration::zone_sectors);
        raw.max_open_zones = device.read_config32(configuration::max_open_zones);
        raw.max_active_zones = device.read_config32(configuration::max_active_zones);
        raw.max_append_sectors = device.read_config32(configuration::max_append_sectors);
        raw.write_granularity = device.read_config32(configuration::write_granularity);
        raw.zoned_model = static_cast<virtio_blk::zoned_model>(device.read_config8(configuration::zoned_model));
    }
    return raw;
}

} // namespace

// Everything from reset to DRIVER_OK. Without `memory`, the queues keep the memory that they have.
error disk::set_up(dma_memory* memory) noexcept {
    const auto configure_with = [this, memory]() noexcept {
        return configure(memory);
    };
    const error outcome =
        memory == nullptr
            ? device_.restore(configure_with)
            : device_.start([this](virtio::feature_set offered) noexcept { return choose_features(offered); },
                            configure_with, options_.features_off);
    if (outcome == error::features_refused && is_zoned_without_feature()) { // as a device should (VIRTIO 1.3, 5.2.5.2)
        return error::zoned_not_accepted;
    }
    if (outcome == error::none) {
        if (write_cache_.wanted()) { // the reset has undone it
            device_.write_config8(configuration::writeback, *write_cache_.wanted() ? 1 : 0);
        }
        read_changing_configuration(); // a device need not announce a change before DRIVER_OK, and QEMU does not
    }
    return outcome;
}

// The model is read before ZONED is accepted (3.1.1, step 4), because that depends on it. What a device says about its zones
// over the legacy interface, where ZONED cannot be negotiated, is believed, too: it is not to be used as an ordinary disk.
virtio::feature_set disk::choose_features(virtio::feature_set offered) noexcept {
    if ((offered & feature::zoned) != 0) {
        zoned_model_ = static_cast<virtio_blk::zoned_model>(device_.read_config8(configuration::zoned_model));
    }
    const virtio::feature_set off =
        device_.is_legacy() ? options_.features_off | feature::zoned : options_.features_off;
    return virtio_blk::wanted_features(offered, off, zoned_model_);
}

bool disk::is_zoned_without_feature() const noexcept {
    return !virtio_blk::is_ordinary(zoned_model_) && !device_.has(feature::zoned);
}

// Step 7 of virtio/device.hpp. May be called several times, also at the start: what is allocated is kept.
error disk::configure(dma_memory* memory) noexcept {
    properties_.offered = device_.offered();
    properties_.accepted = device_.accepted();
    if (is_zoned_without_feature()) { // and the device has not refused that
        return error::zoned_not_accepted;
    }
    const std::uint16_t queues = properties_.queues;
    raw_configuration raw;
    if (!device_.read_configuration(raw, read_raw)) {
        return error::configuration_unstable;
    }
    error outcome = apply_configuration(raw, properties_);
    if (outcome != error::none) {
        return outcome;
    }
    if (queues != 0) { // the number of queues never changes after the first attempt
        properties_.queues = queues;
    } else {
        const std::uint16_t wanted = std::min<std::uint16_t>(options_.queues, max_queues);
        properties_.queues = std::clamp<std::uint16_t>(properties_.queues, 1, std::max<std::uint16_t>(wanted, 1));
    }
    properties_.can_reset_queues = device_.has(virtio::feature::ring_reset) && !queue_resets_fail_;
    outcome = set_up_queues(memory);
    if (outcome == error::none && memory != nullptr && channels_ == nullptr && !open_channels(*memory)) {
        return error::out_of_memory;
    }
    return outcome;
}

virtio::queue_format disk::format_of_queues() const noexcept {
    return device_.format_of_queues(queue::chain_length(options_.queue_size, device_.has(virtio::feature::ring_packed),
                                                        device_.has(virtio::feature::in_order),
                                                        device_.has(virtio::feature::indirect_desc)));
}

// Gives the device a queue that is empty, of the size that it has.
error disk::give(queue& to_device, const virtio::queue_format& format) noexcept {
    to_device.reset(format, options_.strict_lengths);
    return device_.enable_queue(to_device.index, to_device.ring().size(), to_device.ring().addresses());
}

error disk::set_up_queues(dma_memory* memory) noexcept {
    const bool indirect = device_.has(virtio::feature::indirect_desc);
    std::uint32_t seg_max = indirect ? properties_.seg_max : 1;
    for (std::uint16_t i = 0; i < properties_.queues; ++i) {
        queue& queue = queues_[i];
        queue.index = i;
        queue.track = track_.queue(i);
        queue.on_short_length([](void* self) noexcept { static_cast<disk*>(self)->short_length(); }, this);
        const std::uint16_t has = queue.is_allocated() ? queue.ring().size() : 0;
        const virtio::queue_format format = format_of_queues();
        std::uint16_t size = 0;
        const std::uint16_t at_least = has != 0 ? has : format.packed ? min_packed_size : min_split_size;
        error outcome = device_.queue_size(i, format, at_least, has != 0 ? has : options_.queue_size, size);
        if (outcome == error::queue_missing && i != 0 && has == 0) {
            properties_.queues = i; // it has fewer than it says; these will do
            break;
        }
        if (outcome != error::none) {
            return outcome;
        }
        if (has == 0) {
            if (memory == nullptr) {
                return error::queue_missing; // there was none before the reset
            }
            const std::uint32_t segments = std::min<std::uint32_t>(seg_max, size - 2u);
            if (segments_per_block(properties_) > segments) {
                return error::limits_unusable;
            }
            const std::uint32_t ranges = std::max(
                {properties_.max_discard_seg, properties_.max_write_zeroes_seg, properties_.max_secure_erase_seg});
            if (!queue.allocate(*memory, size, format, indirect, segments, ranges)) {
                return error::out_of_memory;
            }
            properties_.queue_size = i == 0 ? size : std::min(properties_.queue_size, size);
            properties_.slots_per_queue = i == 0 ? queue.slots() : std::min(properties_.slots_per_queue, queue.slots());
        }
        seg_max = std::min(seg_max, queue.segments());
        limit_range_segments(properties_, queue.ranges());
        queue.has_zones = properties_.zone_sectors != 0;
        outcome = give(queue, format);
        if (outcome != error::none) {
            return outcome;
        }
    }
    properties_.seg_max = seg_max;
    const bool fits =
        segments_per_block(properties_) <= seg_max && (properties_.zone_sectors == 0 || limit_zone_writes(properties_));
    return fits ? error::none : error::limits_unusable;
}

// ---- recovery ----

bool disk::needs_reset() noexcept {
    return device_.needs_reset();
}

// Any hart.
void disk::short_length() noexcept {
    if (short_lengths_told_.exchange(1, std::memory_order_relaxed) == 0) {
        report(disk_event::short_lengths);
    }
}

// Returns whether the device has asked for too many resets in a row without completing anything that it had.
bool disk::asks_for_resets_only(recovery::causes_t causes) noexcept {
    std::uint64_t completed = 0;
    std::size_t in_flight = 0;
    for (const queue& each : queues()) {
        completed += each.completed();
        in_flight += each.in_flight();
    }
    const bool asked_by_device = (causes & ~(recovery::cause::without_reset | recovery::cause::needs_reset)) == 0;
    if (!asked_by_device || completed != completed_then_) {
        fruitless_resets_ = 0;
    } else if (in_flight != 0) {
        ++fruitless_resets_;
    }
    completed_then_ = completed;
    return fruitless_resets_ > max_fruitless_resets;
}

bool disk::reset(recovery::causes_t causes) noexcept {
    if ((causes & recovery::cause::device_late) != 0) {
        report(disk_event::late);
    }
    report(disk_event::reset_begins);
    const std::uint64_t before = properties_.capacity;
    failure_ = asks_for_resets_only(causes) ? device_.give_up() : set_up(nullptr);
    count_capacity_change(before);
    return failure_ == error::none;
}

void disk::reset_ended() noexcept {
    report(lost() ? disk_event::lost : disk_event::reset_ended);
}

void disk::read_configuration() noexcept {
    const std::uint64_t before = properties_.capacity;
    read_changing_configuration();
    count_capacity_change(before);
}

void disk::read_changing_configuration() noexcept {
    changing_configuration raw;
    if (device_.read_configuration(raw, read_changing)) {
        properties_.capacity = usable_capacity(raw.capacity, properties_.logical_block_size);
        if (properties_.can_switch_write_cache) {
            properties_.write_cache = raw.writeback != 0;
        }
    }
}

void disk::count_capacity_change(std::uint64_t before) noexcept {
    properties_.capacity_changes += properties_.capacity != before ? 1 : 0;
}

bool disk::is_drained(recovery::causes_t causes) noexcept {
    const bool all = (causes & recovery::cause::write_cache) != 0;
    const auto all_queues = queues();
    return std::all_of(all_queues.begin(), all_queues.end(), [all](const queue& each) { return each.is_drained(all); });
}

// An interrupt that does not come any more leaves its queue slow, but working, so the device can be asked to give all of
// it back: then the queue alone is reset, no request is executed twice, and the other queues keep what they have.
bool disk::reset_queues() noexcept {
    const std::uint64_t before = queue_resets_;
    for (queue& each : queues()) {
        if (each.reset_requested() && reset_queue(each) != error::none) {
            queue_resets_fail_ = true;
            return false;
        }
    }
    if (queue_resets_ != before) { // else the device was reset meanwhile
        report(disk_event::queues_reset);
    }
    return true;
}

// Nothing of the ring is touched before the device has confirmed that it does not use it any more.
error disk::reset_queue(queue& drained) noexcept {
    if (!device_.reset_queue(drained.index)) {
        return error::queue_in_use;
    }
    const virtio::queue_format format = format_of_queues();
    const std::uint16_t has = drained.ring().size();
    std::uint16_t size = 0;
    error outcome = device_.queue_size(drained.index, format, has, has, size);
    if (outcome == error::none) {
        outcome = give(drained, format);
    }
    queue_resets_ += outcome == error::none ? 1 : 0;
    return outcome;
}

void disk::switch_write_cache() noexcept {
    write_cache_.switch_all([this](bool enabled) { return lost() ? status::device_lost : set_writeback(enabled); });
}

status disk::set_writeback(bool enabled) noexcept {
    device_.write_config8(configuration::writeback, enabled ? 1 : 0);
    properties_.write_cache = device_.read_config8(configuration::writeback) != 0;
    return properties_.write_cache == enabled ? status::ok : status::device_error;
}

disk::counters disk::count() const noexcept {
    counters sum{.interrupts = interrupts_.load(std::memory_order_relaxed),
                 .spurious = spurious_.load(std::memory_order_relaxed),
                 .waited = 0,
                 .forwarded = 0,
                 .protocol_violations = 0,
                 .resets = recovery_.resets(),
                 .lost_interrupts = 0,
                 .queue_resets = queue_resets_,
                 .repeated_notifications = 0};
    for (arch::hart_index hart = 0; hart < harts_; ++hart) {
        const block::channel::counters& of_hart = channels_[hart].count();
        sum.waited += of_hart.waited;
        sum.forwarded += of_hart.forwarded;
        sum.protocol_violations += of_hart.protocol_violations;
        sum.lost_interrupts += of_hart.lost_interrupts;
        sum.repeated_notifications += of_hart.repeated_notifications;
    }
    return sum;
}

} // namespace inflight::block
