#include "drivers/block/disk.hpp"

#include "arch/arch.hpp"
#include "drivers/virtio/device.hpp"

#include <algorithm>
#include <bit>

namespace inflight::block {

namespace configuration = virtio_blk::configuration;
namespace feature = virtio_blk::feature;
using virtio::error;
using virtio_blk::request_type;

namespace {

// A request takes three descriptors, and a chain is no longer than its queue.
constexpr std::uint16_t smallest_queue = 4;

// Bytes in one request of the device, where it sets no limit of its own: large enough to be rare, small enough for the
// 32-bit lengths of descriptors and used elements, with the status byte.
constexpr std::uint32_t largest_piece = 1u << 30;

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
    case status::device_error: return "device_error";
    case status::device_reset: return "device_reset";
    case status::device_lost: return "device_lost";
    }
    return "unknown";
}

// ---- requests ----

void request::destroyed_in_flight() noexcept {
    arch::panic("a block request was destroyed in flight: the device may still write into its buffer");
}

void request::next_segment() noexcept {
    --segments_left_;
    if (type_ == request_type::in) {
        const std::span<std::byte>& segment = *into_++;
        data_ = segment.data();
        length_ = segment.size();
    } else {
        const std::span<const std::byte>& segment = *from_++;
        data_ = segment.data();
        length_ = segment.size();
    }
}

request disk::flush() noexcept {
    return {*this, request_type::flush, 0, nullptr, 0};
}

request disk::discard(std::uint64_t sector, std::uint64_t sectors) noexcept {
    return {*this, request_type::discard, sector, nullptr, sectors};
}

request disk::write_zeroes(std::uint64_t sector, std::uint64_t sectors) noexcept {
    return {*this, request_type::write_zeroes, sector, nullptr, sectors};
}

request disk::read(std::uint64_t sector, std::span<const std::span<std::byte>> buffers) noexcept {
    return {*this, sector, buffers};
}

request disk::write(std::uint64_t sector, std::span<const std::span<const std::byte>> buffers) noexcept {
    return {*this, sector, buffers};
}

request disk::get_id(virtio_blk::id_string& id) noexcept {
    return {*this, request_type::get_id, 0, reinterpret_cast<const std::byte*>(id.data()), 0};
}

// True if the request ends here, with its result.
bool disk::refuse(request& candidate) const noexcept {
    candidate.result_ = check(candidate);
    const bool nothing_to_do = candidate.type_ == request_type::flush && !properties_.can_flush;
    return candidate.result_ != status::ok || nothing_to_do;
}

status disk::check(const request& candidate) const noexcept {
    if (lost_) {
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
        for (std::uint32_t i = 0; i < candidate.segments_left_; ++i) {
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

void disk::submit_slowly(request& started) noexcept {
    started.plain_ = false;
    if (!waiting_.empty() || !push(started)) {
        ++counters_.waited;
        waiting_.push_back(started);
    }
}

// Gives the device as much of a request as there is room for. True if that was all of it.
bool disk::push(request& started) noexcept {
    do {
        request_queue* const queue = queue_with_room();
        if (queue == nullptr) {
            return false;
        }
        push_piece(started, *queue);
    } while (started.has_more());
    return true;
}

// Requests go to the queues in turns, of a round or so many requests at the most: a doorbell is shared by a turn's requests,
// and a deep workload keeps all queues busy.
void disk::next_turn() noexcept {
    turn_ = requests_per_turn;
    if (++current_ == queues_.data() + properties_.queues) {
        current_ = queues_.data();
    }
}

request_queue* disk::queue_with_room() noexcept {
    if (!current_->full()) {
        return current_;
    }
    for (request_queue& queue : queues()) {
        if (!queue.full()) {
            return &queue;
        }
    }
    return nullptr;
}

void disk::push_piece(request& started, request_queue& queue) noexcept {
    ++started.pieces_;
    switch (started.type_) {
    case request_type::in:
    case request_type::out: push_data(started, queue); break;
    case request_type::discard:
    case request_type::write_zeroes: push_range(started, queue); break;
    case request_type::flush: queue.submit_flush(started); break;
    case request_type::get_id: queue.submit_get_id(started); break;
    }
}

void disk::push_data(request& started, request_queue& queue) noexcept {
    std::array<request_queue::data_segment, request_queue::most_segments> segments;
    std::uint32_t count = 0;
    std::uint32_t bytes = 0;
    while (started.has_more() && count < properties_.seg_max && bytes < largest_piece) {
        if (started.length_ == 0) {
            started.next_segment();
        }
        const auto part =
            static_cast<std::uint32_t>(std::min<std::size_t>({started.length_, most_bytes_, largest_piece - bytes}));
        segments[count++] = {.data = started.data_, .length = part};
        started.data_ += part;
        started.length_ -= part;
        bytes += part;
    }
    const std::uint64_t sector = started.sector_;
    started.sector_ += bytes >> sector_shift;
    if (count == 1) {
        queue.submit_data(started, sector, segments[0].data, segments[0].length);
    } else {
        queue.submit_data(started, sector, std::span{segments.data(), count});
    }
}

// One range per request of the device: every device that knows ranges takes one.
void disk::push_range(request& started, request_queue& queue) noexcept {
    const bool discards = started.type_ == request_type::discard;
    const std::uint32_t most = discards ? properties_.max_discard_sectors : properties_.max_write_zeroes_sectors;
    std::uint64_t part = started.length_;
    if (part > most) {
        part = most;
        if (discards) {
            // Cut where the device says that its pieces end, if there is such a place within reach.
            const std::uint64_t unit = std::max<std::uint32_t>(properties_.discard_sector_alignment, 1);
            const std::uint64_t over = (started.sector_ + part) % unit;
            part = over < part ? part - over : part;
        }
    }
    const virtio_blk::range_segment range{
        .sector = started.sector_, .num_sectors = static_cast<std::uint32_t>(part), .flags = 0};
    started.sector_ += part;
    started.length_ -= part;
    queue.submit_range(started, range);
}

void disk::push_waiting() noexcept {
    while (async::operation* const first = waiting_.front()) {
        if (!push(static_cast<request&>(*first))) {
            return;
        }
        waiting_.pop_front();
    }
}

// What waits was admitted to the disk as it was. What has failed since, or no longer fits, goes no further.
void disk::check_waiting() noexcept {
    async::operation* next = waiting_.take_all();
    while (next != nullptr) {
        request& waiting = static_cast<request&>(*next);
        next = next->next;
        if (waiting.result_ == status::ok) {
            waiting.result_ = check(waiting);
        }
        if (waiting.result_ == status::ok) {
            waiting_.push_back(waiting);
            continue;
        }
        waiting.length_ = 0;
        waiting.segments_left_ = 0;
        if (waiting.pieces_ == 0) { // else it ends with the last piece that the device has
            complete(waiting, waiting.result_);
        }
    }
}

void disk::complete(request& ended, status outcome) noexcept {
    ended.result_ = outcome;
    ended.state_ = request::state::completed;
    executor_->make_ready(ended);
}

// ---- what the executor asks ----

bool disk::poll() noexcept {
    if (lost_) [[unlikely]] {
        return false; // its rings mean nothing any more
    }
    if (configuration_change_.load(std::memory_order_relaxed)) [[unlikely]] {
        configuration_change_.store(false, std::memory_order_relaxed);
        configuration_changed();
        return true;
    }
    bool found = false;
    for (request_queue& queue : queues()) {
        if (queue.armed() && !queue.pending()) {
            continue; // its interrupt will tell
        }
        switch (queue.drain(*executor_)) {
        case request_queue::drained::nothing: break;
        case request_queue::drained::something: found = true; break;
        case request_queue::drained::device_lies:
            ++counters_.device_lies;
            recover();
            return true;
        }
    }
    if (found && !waiting_.empty()) {
        push_waiting();
    }
    return found;
}

void disk::publish() noexcept {
    if (lost_) [[unlikely]] {
        return;
    }
    bool published = false;
    for (request_queue& queue : queues()) {
        if (queue.ring().has_unpublished()) {
            published = true;
            if (queue.ring().publish()) {
                device_.notify(static_cast<std::uint16_t>(&queue - queues_.data()));
                ++queue.count.notifications;
            }
        }
    }
    if (published) {
        next_turn();
    }
}

bool disk::arm() noexcept {
    if (lost_) [[unlikely]] {
        return false;
    }
    bool work = configuration_change_.load(std::memory_order_relaxed);
    for (request_queue& queue : queues()) {
        work |= queue.arm();
    }
    return work;
}

void disk::disarm() noexcept {
    for (request_queue& queue : queues()) {
        queue.disarm();
    }
}

// One line serves all queues (VIRTIO 1.2, 4.2.3.4): each that has something is marked. Acknowledged first, then looked at,
// though the specification has it the other way round: so nothing that completes in between can be lost.
void disk::handle_interrupt() noexcept {
    ++counters_.interrupts;
    const virtio::interrupt_cause cause = device_.acknowledge_interrupt();
    if (cause.used_buffer) {
        for (request_queue& queue : queues()) {
            queue.interrupted();
        }
    }
    if (cause.configuration_change) {
        configuration_change_.store(true, std::memory_order_relaxed);
    }
    if (!cause.used_buffer && !cause.configuration_change) {
        ++counters_.spurious;
    }
}

// ---- life of the device ----

error disk::start(device_memory& memory, const disk_options& options) noexcept {
    executor_ = &async::executor::current();
    options_ = options;
    properties_.legacy = device_.is_legacy();
    const error outcome = set_up(&memory);
    if (outcome == error::none) {
        current_ = queues_.data();
        turn_ = requests_per_turn;
        executor_->add(*this);
    }
    return outcome;
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
    std::uint32_t size_max = largest_piece;
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
    known.size_max = round_down(std::min(raw.size_max, largest_piece), block);
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
    most_bytes_ = known.size_max;
    unaligned_bytes_ = block - 1;
    unaligned_sectors_ = block_sectors - 1;
    admit();
    return error::none;
}

// Sets what the quick check lets through.
void disk::admit() noexcept {
    readable_sectors_ = lost_ ? 0 : properties_.capacity;
    plain_sectors_ = most_bytes_ >> sector_shift;
    writable_sectors_ = properties_.read_only ? 0 : readable_sectors_;
}

error disk::set_up_queues(device_memory* memory) noexcept {
    const bool indirect = accepted(virtio::feature::indirect_desc);
    std::uint32_t seg_max = indirect ? properties_.seg_max : 1;
    for (std::uint16_t i = 0; i < properties_.queues; ++i) {
        request_queue& queue = queues_[i];
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
        queue.build_chains();
    }
    properties_.seg_max = seg_max;
    return error::none;
}

// The device says that something has changed: that it needs a reset, or its capacity (VIRTIO 1.2, 3.2.1 and 5.2.6.1).
void disk::configuration_changed() noexcept {
    if ((device_.status() & virtio::status_bit::device_needs_reset) != 0) {
        recover();
        return;
    }
    std::uint64_t capacity = 0;
    if (virtio::read_configuration(device_, capacity, [](virtio::transport& device) {
            return virtio::configuration64(device, configuration::capacity);
        })) {
        properties_.capacity = capacity;
        admit();
        check_waiting();
    }
}

// Nothing that the device was given is touched before it has confirmed its reset; then everything inside ends, and the
// device is set up anew for what waits in line and what comes.
void disk::recover() noexcept {
    ++counters_.resets;
    const bool reset = device_.reset();
    for (request_queue& queue : queues()) {
        queue.abandon(*executor_, reset ? status::device_reset : status::device_lost);
    }
    lost_ = !reset || set_up(nullptr) != error::none;
    admit();
    check_waiting();
    push_waiting();
}

} // namespace inflight::block
