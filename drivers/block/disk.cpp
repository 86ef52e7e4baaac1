#include "drivers/block/disk.hpp"

#include "arch/arch.hpp"
#include "drivers/virtio/device.hpp"

#include <algorithm>
#include <bit>
#include <new>

namespace inflight::block {

namespace configuration = virtio_blk::configuration;
namespace feature = virtio_blk::feature;
using virtio::error;
using virtio_blk::request_type;

namespace {

// A request takes three descriptors, and a chain is no longer than its queue.
constexpr std::uint16_t smallest_queue = 4;

constexpr std::uint32_t round_down(std::uint32_t value, std::uint32_t unit) noexcept {
    return value - value % unit;
}

} // namespace

const char* to_string(status outcome) noexcept {
    switch (outcome) {
    case status::ok: return "ok";
    case status::io_error: return "io_error";
    case status::unsupported: return "unsupported";
    case status::out_of_range: return "out_of_range";
    case status::invalid_argument: return "invalid_argument";
    case status::read_only: return "read_only";
    case status::cancelled: return "cancelled";
    case status::out_of_memory: return "out_of_memory";
    case status::device_error: return "device_error";
    case status::timed_out: return "timed_out";
    case status::device_reset: return "device_reset";
    case status::device_lost: return "device_lost";
    }
    return "unknown";
}

// ---- requests ----

request disk::flush() noexcept {
    return {channel(), request_type::flush, 0, nullptr, 0};
}

request disk::discard(std::uint64_t sector, std::uint64_t sectors) noexcept {
    return {channel(), request_type::discard, sector, nullptr, sectors};
}

request disk::write_zeroes(std::uint64_t sector, std::uint64_t sectors) noexcept {
    return {channel(), request_type::write_zeroes, sector, nullptr, sectors};
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

status disk::check(const request& candidate) const noexcept {
    if (lost()) {
        return status::device_lost;
    }
    switch (candidate.type_) {
    case request_type::out:
        if (properties_.read_only) {
            return status::read_only;
        }
        [[fallthrough]];
    case request_type::in: {
        std::uint64_t bytes = candidate.length_;
        const std::uint32_t segments = candidate.scattered_ || candidate.result_ == request::pieces_in_flight
                                           ? candidate.pieces_.segments_left
                                           : 0;
        for (std::uint32_t i = 0; i < segments; ++i) {
            const std::uint64_t length = candidate.segment_length(i);
            if (length == 0 || length % properties_.logical_block_size != 0) {
                return status::invalid_argument;
            }
            bytes += length;
        }
        if ((bytes & (sector_size - 1)) != 0) {
            return status::invalid_argument;
        }
        return check_range(candidate.sector_, bytes >> sector_shift);
    }
    case request_type::discard:
    case request_type::write_zeroes: {
        if (properties_.read_only) {
            return status::read_only;
        }
        const bool possible = candidate.type_ == request_type::discard ? properties_.max_discard_sectors != 0
                                                                       : properties_.max_write_zeroes_sectors != 0;
        return possible ? check_range(candidate.sector_, candidate.length_) : status::unsupported;
    }
    case request_type::flush:
    case request_type::get_id: return status::ok;
    }
    return status::invalid_argument;
}

status disk::check_range(std::uint64_t sector, std::uint64_t sectors) const noexcept {
    const std::uint64_t unaligned = (properties_.logical_block_size >> sector_shift) - 1;
    if (sectors == 0 || ((sector | sectors) & unaligned) != 0) {
        return status::invalid_argument;
    }
    if (sectors > properties_.capacity || sector > properties_.capacity - sectors) {
        return status::out_of_range;
    }
    return status::ok;
}

// ---- interrupts ----

// One line serves all queues (VIRTIO 1.2, 4.2.3.4): each that has something is marked. Acknowledged first, then looked at,
// though the specification has it the other way round: so nothing that completes in between can be lost.
void disk::handle_interrupt() noexcept {
    const trace::handler traced{track_};
    interrupts_.fetch_add(1, std::memory_order_relaxed);
    const virtio::interrupt_cause cause = device_.acknowledge_interrupt();
    if (cause.none()) [[unlikely]] {
        spurious_.fetch_add(1, std::memory_order_relaxed);
        return;
    }
    if (cause.has(virtio::interrupt_cause::configuration_change)) [[unlikely]] {
        home_->attention_.store(true, std::memory_order_relaxed);
    }
    for (io_channel& channel : channels()) {
        channel.interrupted();
    }
}

// ---- life of the device ----

error disk::start(device_memory& memory, const disk_options& options) noexcept {
    executor_ = &async::executor::current();
    options_ = options;
    track_ = trace::new_disk();
    properties_.legacy = device_.is_legacy();
    const error outcome = set_up(&memory);
    if (outcome == error::none) {
        home_ = &channel();
        all_channels(phase::going_on, io_channel::step::open);
    }
    return outcome;
}

bool disk::open_channels(device_memory& memory) noexcept {
    harts_ = arch::harts();
    std::byte* const place = memory.allocate(sizeof(io_channel) * harts_, alignof(io_channel));
    if (place == nullptr) {
        return false;
    }
    channels_ = reinterpret_cast<io_channel*>(place);
    for (arch::hart_index hart = 0; hart < harts_; ++hart) {
        io_channel& channel = *::new (channels_ + hart) io_channel{*this, async::executor::of(hart)};
        if (hart < properties_.queues) {
            channel.own(queues().subspan(hart), harts_);
        } else {
            channel.go_through(channels_[hart % properties_.queues]);
        }
    }
    return true;
}

// Everything from reset to DRIVER_OK (VIRTIO 1.2, 3.1.1). Without `memory`, into the memory of the queues as they are.
error disk::set_up(device_memory* memory) noexcept {
    error outcome = virtio::begin_initialisation(device_);
    if (outcome != error::none) {
        return outcome; // not even FAILED: the device has not come out of its reset
    }
    outcome = memory != nullptr ? negotiate() : negotiate_again();
    if (outcome != error::none) {
        return outcome;
    }
    outcome = read_properties();
    if (outcome == error::none) {
        outcome = set_up_queues(memory);
    }
    if (outcome == error::none && memory != nullptr && !open_channels(*memory)) {
        outcome = error::out_of_memory;
    }
    if (outcome == error::none) {
        virtio::set_driver_ok(device_);
    } else {
        virtio::set_failed(device_);
    }
    return outcome;
}

error disk::negotiate() noexcept {
    const virtio::feature_set offered = device_.offered_features();
    virtio::feature_set wanted = virtio_blk::known_features | device_.supported_features();
    wanted &= ~options_.features_off | virtio::feature::version_1;
    if ((offered & wanted & feature::flush) == 0) {
        wanted &= ~feature::config_wce; // useless without, and not to be offered alone (5.2.5.2)
    }
    if ((offered & feature::zoned) != 0) {
        wanted &= ~feature::discard; // not to be accepted from a host-managed device (BLKZ-02), and it may be one
    }
    properties_.offered = offered;
    properties_.accepted = offered & wanted;
    return virtio::agree_on_features(device_, properties_.accepted);
}

// After a reset, exactly what was accepted before: the queues are built for it, and the device should take it again (2.2.2).
error disk::negotiate_again() noexcept {
    if ((properties_.accepted & ~device_.offered_features()) != 0) {
        virtio::set_failed(device_);
        return error::features_refused;
    }
    return virtio::agree_on_features(device_, properties_.accepted);
}

namespace {

// The configuration space as it is, as far as the features let us look.
struct raw_configuration {
    std::uint64_t capacity = 0;
    std::uint32_t size_max = request_queue::most_bytes;
    std::uint32_t seg_max = 1;
    std::uint32_t blk_size = sector_size;
    std::uint32_t opt_io_size = 0;
    std::uint32_t max_discard_sectors = 0;
    std::uint32_t max_discard_seg = 0;
    std::uint32_t discard_sector_alignment = 0;
    std::uint32_t max_write_zeroes_sectors = 0;
    std::uint32_t max_write_zeroes_seg = 0;
    std::uint16_t min_io_size = 0;
    std::uint16_t num_queues = 1;
    std::uint8_t physical_block_exp = 0;
    std::uint8_t alignment_offset = 0;
    std::uint8_t writeback = 0;

    bool operator==(const raw_configuration&) const noexcept = default;
};

raw_configuration read_raw(virtio::transport& device, virtio::feature_set features) noexcept {
    raw_configuration raw;
    raw.capacity = virtio::configuration64(device, configuration::capacity);
    if ((features & feature::size_max) != 0) {
        raw.size_max = device.configuration32(configuration::size_max);
    }
    if ((features & feature::seg_max) != 0) {
        raw.seg_max = device.configuration32(configuration::seg_max);
    }
    if ((features & feature::blk_size) != 0) {
        raw.blk_size = device.configuration32(configuration::blk_size);
    }
    if ((features & feature::topology) != 0) {
        raw.physical_block_exp = device.configuration8(configuration::physical_block_exp);
        raw.alignment_offset = device.configuration8(configuration::alignment_offset);
        raw.min_io_size = device.configuration16(configuration::min_io_size);
        raw.opt_io_size = device.configuration32(configuration::opt_io_size);
    }
    if ((features & feature::config_wce) != 0) {
        raw.writeback = device.configuration8(configuration::writeback);
    }
    if ((features & feature::mq) != 0) {
        raw.num_queues = device.configuration16(configuration::num_queues);
    }
    if ((features & feature::discard) != 0) {
        raw.max_discard_sectors = device.configuration32(configuration::max_discard_sectors);
        raw.max_discard_seg = device.configuration32(configuration::max_discard_seg);
        raw.discard_sector_alignment = device.configuration32(configuration::discard_sector_alignment);
    }
    if ((features & feature::write_zeroes) != 0) {
        raw.max_write_zeroes_sectors = device.configuration32(configuration::max_write_zeroes_sectors);
        raw.max_write_zeroes_seg = device.configuration32(configuration::max_write_zeroes_seg);
    }
    return raw;
}

} // namespace

error disk::read_properties() noexcept {
    raw_configuration raw;
    const virtio::feature_set features = properties_.accepted;
    if (!virtio::read_configuration(device_, raw,
                                    [features](virtio::transport& device) { return read_raw(device, features); })) {
        return error::configuration_unstable;
    }
    const std::uint32_t block = raw.blk_size;
    if (!std::has_single_bit(block) || block < sector_size || raw.size_max < block) {
        return error::limits_unusable;
    }
    if (raw.num_queues == 0) {
        return error::queue_missing;
    }
    const std::uint32_t block_sectors = block >> sector_shift;

    disk_properties& known = properties_;
    known.capacity = raw.capacity;
    known.logical_block_size = block;
    known.physical_block_size = raw.physical_block_exp < 16 ? block << raw.physical_block_exp : block;
    known.alignment_offset = raw.alignment_offset * block;
    known.minimum_io_size = raw.min_io_size * block;
    known.optimal_io_size = raw.opt_io_size * block;
    known.size_max = round_down(std::min(raw.size_max, request_queue::most_bytes), block);
    known.seg_max = std::clamp<std::uint32_t>(raw.seg_max, 1, request_queue::most_segments);
    known.max_discard_sectors = raw.max_discard_seg == 0 ? 0 : round_down(raw.max_discard_sectors, block_sectors);
    known.discard_sector_alignment = raw.discard_sector_alignment;
    known.max_write_zeroes_sectors =
        raw.max_write_zeroes_seg == 0 ? 0 : round_down(raw.max_write_zeroes_sectors, block_sectors);
    known.read_only = accepted(feature::read_only);
    known.can_flush = accepted(feature::flush);
    known.write_cache = accepted(feature::config_wce) ? raw.writeback != 0 : known.can_flush;
    if (known.queues == 0) { // a device that comes back from a reset keeps the queues it had
        const std::uint16_t wanted = std::min<std::uint16_t>(options_.queues, most_queues);
        known.queues = std::clamp<std::uint16_t>(raw.num_queues, 1, std::max<std::uint16_t>(wanted, 1));
    }
    return error::none;
}

error disk::set_up_queues(device_memory* memory) noexcept {
    const bool indirect = accepted(virtio::feature::indirect_desc);
    std::uint32_t seg_max = indirect ? properties_.seg_max : 1;
    for (std::uint16_t i = 0; i < properties_.queues; ++i) {
        request_queue& queue = queues_[i];
        queue.index = i;
        queue.track = track_.queue(i);
        std::uint32_t largest = 0;
        const error outcome = device_.queue_size_max(i, largest);
        if (outcome != error::none) {
            return outcome;
        }
        if (memory != nullptr) {
            if (largest == 0 && i != 0) {
                properties_.queues = i; // it has fewer than it says; these will do
                break;
            }
            const auto size = static_cast<std::uint16_t>(
                std::bit_floor(std::min({largest, std::uint32_t{options_.queue_size}, virtio::largest_queue})));
            if (size < smallest_queue) {
                return largest == 0 ? error::queue_missing : error::queue_too_small;
            }
            const std::uint32_t segments = std::min<std::uint32_t>(seg_max, size - 2u);
            if (!queue.allocate(*memory, size, properties_.legacy, indirect, segments)) {
                return error::out_of_memory;
            }
            properties_.queue_size = i == 0 ? size : std::min(properties_.queue_size, size);
            properties_.slots_per_queue = i == 0 ? queue.slots() : std::min(properties_.slots_per_queue, queue.slots());
        } else if (largest < queue.ring().size()) {
            return error::queue_missing;
        }
        seg_max = std::min(seg_max, queue.segments());
        queue.reset(properties_.legacy, accepted(virtio::feature::event_idx));
        device_.enable_queue(i, queue.ring().size(), queue.ring().addresses());
    }
    properties_.seg_max = seg_max;
    return error::none;
}

// ---- what concerns all channels ----

void disk::all_channels(phase during, io_channel::step next) noexcept {
    phase_ = during;
    not_reported_ = harts_;
    for (io_channel& channel : channels()) {
        channel.ask(next);
    }
}

// The last one's report ends a phase.
void disk::channel_reports() noexcept {
    if (--not_reported_ != 0) {
        return;
    }
    if (phase_ == phase::stopping) {
        change_device();
        all_channels(phase::going_on, io_channel::step::go_on);
        return;
    }
    phase_ = phase::running;
    if (wants_change_) { // since
        stop_channels();
    }
}

void disk::stop_channels() noexcept {
    wants_change_ = true;
    if (phase_ == phase::running) {
        all_channels(phase::stopping, io_channel::step::stop);
    }
}

// Any hart.
void disk::needs_reset(bool resubmit) noexcept {
    // acq_rel: whoever finds it clear posts; pairs with the exchange in reset(), which takes what was asked until then.
    if (reset_asked_.fetch_or(resubmit ? asks_reset : asks_reset | asks_end, std::memory_order_acq_rel) == 0) {
        reset_message_.post(*executor_);
    }
}

void disk::reset() noexcept {
    const std::uint32_t asked = reset_asked_.exchange(0, std::memory_order_acq_rel);
    wants_reset_ = true;
    wants_end_ |= (asked & asks_end) != 0;
    stop_channels();
}

// The device says that something has changed: that it needs a reset, or its capacity (VIRTIO 1.2, 3.2.1 and 5.2.6.1).
void disk::configuration_changed() noexcept {
    wants_reset_ |= (device_.status() & virtio::status_bit::device_needs_reset) != 0;
    stop_channels();
}

// All channels have stopped. Nothing that the device was given is touched before it has confirmed its reset; then the device
// is set up anew, and the channels deal with what was inside, what waits in line and what comes.
void disk::change_device() noexcept {
    wants_change_ = false;
    was_reset_ = wants_reset_;
    resubmits_ = !wants_end_;
    wants_reset_ = false;
    wants_end_ = false;
    if (was_reset_) {
        ++resets_;
        lost_.store(!device_.reset() || set_up(nullptr) != error::none, std::memory_order_relaxed);
        return;
    }
    std::uint64_t capacity = 0;
    if (virtio::read_configuration(device_, capacity, [](virtio::transport& device) {
            return virtio::configuration64(device, configuration::capacity);
        })) {
        properties_.capacity = capacity;
    }
}

disk::counters disk::count() const noexcept {
    counters sum{.interrupts = interrupts_.load(std::memory_order_relaxed),
                 .spurious = spurious_.load(std::memory_order_relaxed),
                 .waited = 0,
                 .sent = 0,
                 .device_lies = 0,
                 .resets = resets_,
                 .lost_interrupts = 0};
    for (arch::hart_index hart = 0; hart < harts_; ++hart) {
        const io_channel::counters& of_hart = channels_[hart].count();
        sum.waited += of_hart.waited;
        sum.sent += of_hart.sent;
        sum.device_lies += of_hart.device_lies;
        sum.lost_interrupts += of_hart.lost_interrupts;
    }
    return sum;
}

} // namespace inflight::block
