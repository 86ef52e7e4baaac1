// The disk side of the model: what a request says, what comes of it, and what survives a power cut.
#include "tests/model/virtio_blk_model.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

namespace inflight::model {

namespace {

constexpr std::uint64_t log_bytes_kept = std::uint64_t{32} << 20;
constexpr std::uint32_t unmap_flag = 1;

struct segment {
    std::uint64_t sector;
    std::uint32_t sectors;
    std::uint32_t flags;
};
static_assert(sizeof(segment) == segment_bytes);

bool within(std::uint64_t sector, std::uint64_t sectors, std::uint64_t capacity) {
    return sector <= capacity && sectors <= capacity - sector;
}

bool has_segments(std::uint32_t type) {
    return type == request_type::discard || type == request_type::write_zeroes || type == request_type::secure_erase;
}

std::string named(const char* text, std::uint64_t value) {
    return text + std::to_string(value);
}

} // namespace

request_view virtio_blk_model::view(const request& of) const {
    return {of.queue, of.number, of.type, of.sector, of.data_bytes};
}

// ---- what it says

void virtio_blk_model::inspect(virtqueue& queue, request& seen) {
    seen.verdict = request_status::io_error;
    if (seen.writable_bytes == 0)
        return report("BLK-29", "a request without a device-writable byte for the status");
    const auto last =
        std::find_if(seen.writable.rbegin(), seen.writable.rend(), [](const span& each) { return each.length != 0; });
    seen.status = last->data + (last->length - 1);
    if (std::to_integer<unsigned>(*seen.status) <=
        (accepted(feature::zoned) ? request_status::zone_active_resource : request_status::unsupported))
        report("POISON", "the status byte holds a valid status when the request is handed over");
    if (seen.readable_bytes < header_bytes)
        return report("BLK-29", named("the device-readable part is too short for a header: ", seen.readable_bytes));
    const auto header = gather(seen, 0, header_bytes);
    seen.type = load<std::uint32_t>(header.data());
    seen.sector = load<std::uint64_t>(header.data() + 8);
    const std::uint64_t readable = seen.readable_bytes - header_bytes;
    if (seen.writable_bytes < trailer_bytes(seen.type))
        return report("BLK-29", named("the device-writable part of a zone append has bytes: ", seen.writable_bytes));
    const std::uint64_t writable = seen.writable_bytes - trailer_bytes(seen.type);
    seen.data_bytes = readable + writable;
    seen.well_formed = true;
    seen.verdict = request_status::ok;
    if (load<std::uint32_t>(header.data() + 4) != 0)
        report("BLK-31", "the reserved field of the header is not 0");
    inspect_framing(seen);

    const auto requires_feature = [&](unsigned number) {
        if (accepted(number))
            return;
        report("BLK-28", named("a request of type ", seen.type) + " without its feature");
        seen.verdict = request_status::unsupported;
    };
    const auto permits_data = [&](bool device_reads, bool device_writes) {
        if ((readable != 0 && !device_reads) || (writable != 0 && !device_writes))
            report("BLK-29", named("data in the wrong direction, type ", seen.type));
    };
    const auto requires_no_sector = [&] {
        if (seen.sector != 0)
            report("BLK-30", named("a sector in a request of type ", seen.type));
    };
    switch (seen.type) {
    case request_type::in: permits_data(false, true); return inspect_read_write(seen);
    case request_type::out: permits_data(true, false); return inspect_read_write(seen);
    case request_type::flush:
        requires_feature(feature::flush);
        if (seen.sector != 0)
            report("BLK-08", named("a flush of sector ", seen.sector));
        if (seen.data_bytes != 0)
            report("BLK-09", named("a flush with data, bytes: ", seen.data_bytes));
        seen.log_position = log_end_;
        return;
    case request_type::get_id:
        requires_no_sector();
        permits_data(false, true);
        if (writable != identifier_bytes)
            report("BLK-13", named("the buffer for the id has bytes: ", writable));
        return;
    case request_type::get_lifetime:
        requires_feature(feature::lifetime);
        requires_no_sector();
        permits_data(false, true);
        if (writable != configuration_.lifetime.size())
            report("BLK-29", named("the buffer for the lifetime has bytes: ", writable));
        return;
    case request_type::discard:
        requires_feature(feature::discard);
        requires_no_sector();
        permits_data(true, false);
        return inspect_segments(queue, seen);
    case request_type::write_zeroes:
        requires_feature(feature::write_zeroes);
        requires_no_sector();
        permits_data(true, false);
        return inspect_segments(queue, seen);
    case request_type::secure_erase:
        requires_feature(feature::secure_erase);
        requires_no_sector();
        permits_data(true, false);
        return inspect_segments(queue, seen);
    case request_type::zone_append:
    case request_type::zone_report:
    case request_type::zone_open:
    case request_type::zone_close:
    case request_type::zone_finish:
    case request_type::zone_reset:
    case request_type::zone_reset_all:
        requires_feature(feature::zoned);
        permits_data(seen.type == request_type::zone_append, seen.type == request_type::zone_report);
        if (zones_ == nullptr) {
            seen.verdict = request_status::unsupported;
            return;
        }
        return inspect_zone_request(seen);
    case request_type::flush_out:
        report("BLKL-05", "a request of type 5");
        seen.verdict = request_status::unsupported;
        return;
    default:
        report("BLK-28", named("a request of type ", seen.type));
        seen.verdict = request_status::unsupported;
        return;
    }
}

void virtio_blk_model::inspect_framing(const request& seen) {
    std::size_t data_elements = 0;
    std::uint64_t longest = 0;
    std::uint64_t offset = 0;
    for (const auto& each : seen.readable) {
        const std::uint64_t of_header = offset < header_bytes ? std::min(each.length, header_bytes - offset) : 0;
        data_elements += each.length > of_header ? 1 : 0;
        longest = std::max(longest, each.length - of_header);
        offset += each.length;
    }
    std::uint64_t of_data = seen.writable_bytes - trailer_bytes(seen.type);
    for (const auto& each : seen.writable) {
        const std::uint64_t data = std::min(each.length, of_data);
        of_data -= data;
        data_elements += data != 0 ? 1 : 0;
        longest = std::max(longest, data);
    }
    const std::uint32_t size_max = known_field(8, configuration_.size_max);
    if (accepted(feature::size_max) && size_max != 0 && longest > size_max) // 0: the device does not say
        report("BLK-24", named("a data segment of bytes: ", longest));
    // A device that says 0 still has to take one, or it could do nothing at all.
    if (accepted(feature::seg_max) && data_elements > std::max(known_field(12, configuration_.seg_max), 1U))
        report("BLK-25", named("data segments: ", data_elements));
    if (modern() || accepted(feature::any_layout))
        return;
    if (seen.readable.front().length != header_bytes || seen.writable.back().length != 1)
        report("BLKL-10", "header and status are not descriptors of their own");
}

void virtio_blk_model::inspect_read_write(request& seen) {
    const bool writes = seen.type == request_type::out;
    if (seen.data_bytes % sector_bytes != 0) {
        report("BLK-10", named("data of bytes: ", seen.data_bytes));
        seen.verdict = request_status::io_error;
        return;
    }
    const std::uint64_t sectors = seen.data_bytes / sector_bytes;
    if (!within(seen.sector, sectors, std::max(capacity_, capacity_known_)))
        report("BLK-06", named("sector ", seen.sector) + named(" and sectors: ", sectors));
    if (!within(seen.sector, sectors, std::min<std::uint64_t>(capacity_, disk_.size() / sector_bytes)))
        seen.verdict = request_status::io_error;
    const std::uint64_t unit = configuration_.blk_size / sector_bytes;
    if (offers(feature::blk_size) && unit > 1 && (seen.sector % unit != 0 || sectors % unit != 0)) {
        report("BLK-27", named("not a whole number of blocks: sector ", seen.sector) + named(", sectors: ", sectors));
        seen.verdict = request_status::io_error;
    }
    if (writes && offers(feature::read_only)) {
        report("BLK-26", "a write to a read-only device");
        seen.verdict = request_status::io_error;
    }
    if (zones_ == nullptr || seen.verdict != request_status::ok || sectors == 0)
        return;
    if (zones_->touches_sequential(seen.sector, sectors)) {
        if (seen.sector + sectors > zones_->at(seen.sector).end)
            report("ZONES", named("sector ", seen.sector) + named(" and sectors: ", sectors));
        if (writes)
            inspect_zone_write(seen);
    }
}

// A write to a sequential zone, or an append. What the write pointer decides is the business of the device.
void virtio_blk_model::inspect_zone_write(request& seen) {
    const std::uint32_t granularity = known_field(88, configuration_.zoned.write_granularity);
    const bool appends = seen.type == request_type::zone_append;
    if (granularity == 0)
        return;
    if (seen.data_bytes % granularity != 0)
        report(appends ? "BLKZ-14" : "BLKZ-17", named("a write to a sequential zone, of bytes: ", seen.data_bytes));
    if (seen.sector * sector_bytes % granularity != 0)
        report("BLKZ-18", named("a write to a sequential zone, at sector ", seen.sector));
    const auto& zone = zones_->at(seen.sector);
    if (seen.data_bytes / sector_bytes > zone.writable_end - zone.start)
        report("BLKZ-19", named("more than a zone may hold, bytes: ", seen.data_bytes));
}

void virtio_blk_model::inspect_zone_request(request& seen) {
    const bool names_zone = zones_->has_zone(seen.sector);
    const bool names_start = names_zone && zones_->at(seen.sector).start == seen.sector;
    const std::string where = named("type ", seen.type) + named(", sector ", seen.sector);
    switch (seen.type) {
    case request_type::zone_report:
        if (!names_zone)
            report("BLKZ-09", where);
        if (seen.data_bytes < 128)
            report("MODEL", named("a report buffer that breaks QEMU, of bytes: ", seen.data_bytes));
        return;
    case request_type::zone_reset_all:
        if (seen.sector != 0)
            report("BLKZ-12", where);
        break;
    case request_type::zone_append:
        if (!names_start)
            report("BLKZ-13", where);
        if (seen.data_bytes > std::uint64_t{known_field(84, configuration_.zoned.max_append_sectors)} * sector_bytes)
            report("BLKZ-15", named("an append of bytes: ", seen.data_bytes));
        if (seen.data_bytes == 0 || seen.data_bytes % sector_bytes != 0) {
            report("BLKZ-14", named("an append of bytes: ", seen.data_bytes));
            seen.verdict = request_status::zone_invalid_cmd;
        }
        if (names_start)
            inspect_zone_write(seen);
        break;
    default:
        if (!names_start)
            report("BLKZ-11", where);
    }
    if (offers(feature::read_only)) {
        report("BLK-26", named("a change to a read-only device, type ", seen.type));
        seen.verdict = request_status::io_error;
    }
}

std::uint64_t virtio_blk_model::trailer_bytes(std::uint32_t type) {
    return type == request_type::zone_append ? append_sector_bytes + 1 : 1;
}

void virtio_blk_model::inspect_segments(virtqueue& queue, request& seen) {
    const bool discards = seen.type == request_type::discard;
    const bool erases = seen.type == request_type::secure_erase;
    const auto& c = configuration_;
    // A limit of 0 says nothing: one segment, of any length.
    const std::uint32_t segments_said = discards ? known_field(40, c.max_discard_seg)
                                        : erases ? known_field(64, c.max_secure_erase_seg)
                                                 : known_field(52, c.max_write_zeroes_seg);
    const std::uint32_t segments_permitted = segments_said != 0 ? segments_said : 1;
    const std::uint32_t sectors_said = discards ? known_field(36, c.max_discard_sectors)
                                       : erases ? known_field(60, c.max_secure_erase_sectors)
                                                : known_field(48, c.max_write_zeroes_sectors);
    const std::uint32_t sectors_permitted = sectors_said != 0 ? sectors_said : ~0U;
    const std::uint32_t alignment = discards ? known_field(44, c.discard_sector_alignment)
                                    : erases ? known_field(68, c.secure_erase_sector_alignment)
                                             : 1;
    if (offers(feature::read_only)) {
        report("BLK-26", named("a change to a read-only device, type ", seen.type));
        seen.verdict = request_status::io_error;
    }
    const std::uint64_t readable = seen.readable_bytes - header_bytes;
    if (readable == 0 || readable % segment_bytes != 0) {
        report(erases ? "BLK-12" : "BLK-11", named("segments of bytes: ", readable));
        seen.verdict = request_status::io_error;
        return;
    }
    const std::uint64_t count = readable / segment_bytes;
    queue.counters.segments += count;
    if (count > segments_permitted) {
        report(discards ? "BLK-14" : erases ? "BLK-15" : "BLK-16", named("segments: ", count));
        seen.verdict = request_status::unsupported;
    }
    const auto bytes = gather(seen, header_bytes, readable);
    for (std::uint64_t at = 0; at < readable; at += segment_bytes) {
        const auto each = load<segment>(bytes.data() + at);
        if ((each.flags & unmap_flag) != 0 && seen.type != request_type::write_zeroes) {
            report("BLK-19", named("unmap in a request of type ", seen.type));
            seen.verdict = request_status::unsupported;
        }
        queue.counters.unmapping_segments += (each.flags & unmap_flag) != 0 ? 1 : 0;
        if ((each.flags & ~unmap_flag) != 0) {
            report("BLK-32", named("segment flags ", each.flags));
            seen.verdict = request_status::unsupported;
        }
        const bool inside = within(each.sector, each.sectors, std::max(capacity_, capacity_known_));
        if (each.sectors > sectors_permitted || !inside)
            report("BLK-33", named("segment at sector ", each.sector) + named(", sectors: ", each.sectors));
        if ((each.sectors > sectors_permitted ||
             !within(each.sector, each.sectors, std::min<std::uint64_t>(capacity_, disk_.size() / sector_bytes))) &&
            seen.verdict == request_status::ok)
            seen.verdict = request_status::io_error;
        const std::uint64_t unit = offers(feature::blk_size) ? configuration_.blk_size / sector_bytes : 1;
        if (unit > 1 && (each.sector % unit != 0 || each.sectors % unit != 0)) {
            report("BLK-27", named("not a whole number of blocks: segment at sector ", each.sector) +
                                 named(", sectors: ", each.sectors));
            seen.verdict = request_status::io_error;
        }
        const std::uint64_t zone = zones_ != nullptr && erases ? known_field(72, c.zoned.zone_sectors) : 1;
        if (zone > 1 && (each.sector % zone != 0 || each.sectors % zone != 0)) {
            report("BLKZ-20", named("an erase at sector ", each.sector) + named(", sectors: ", each.sectors));
            seen.verdict = request_status::zone_invalid_cmd;
        }
        if (alignment > 1 && (each.sector % alignment != 0 || each.sectors % alignment != 0))
            ++queue.counters.unaligned_segments;
    }
}

// ---- what comes of it

bool virtio_blk_model::touches_bad_sector(const request& of) const {
    if (of.type != request_type::in && of.type != request_type::out)
        return false;
    const auto first = behave.bad_sectors.lower_bound(of.sector);
    return first != behave.bad_sectors.end() && *first - of.sector < of.data_bytes / sector_bytes;
}

std::uint32_t virtio_blk_model::claimed_length(const request& done) {
    constexpr std::uint32_t most = std::numeric_limits<std::uint32_t>::max();
    const auto full = static_cast<std::uint32_t>(std::min<std::uint64_t>(done.writable_bytes, most));
    if (fires(fault::length_too_short))
        return static_cast<std::uint32_t>(machine_.random_below(done.writable_bytes));
    if (fires(fault::length_too_long))
        return full + static_cast<std::uint32_t>(1 + machine_.random_below(1 << 20));
    if (!modern() && behave.odd_lengths)
        return static_cast<std::uint32_t>(machine_.random());
    switch (behave.lengths) {
    case used_lengths::full: break;
    case used_lengths::zero: return 0;
    case used_lengths::one: return 1;
    case used_lengths::data: return full - 1;
    case used_lengths::more: return full + 1;
    }
    return full;
}

// Does the work, writes the status, and says what the used length is.
std::uint32_t virtio_blk_model::perform(request& done) {
    if (done.status == nullptr)
        return 0;
    std::uint8_t status = done.verdict;
    const auto wish = behave.status_for ? behave.status_for(view(done)) : std::nullopt;
    if (wish)
        status = *wish;
    else if (fires(fault::io_error) || touches_bad_sector(done) || machine_.chance(behave.error_chance))
        status = request_status::io_error;
    else if (fires(fault::unsupported))
        status = request_status::unsupported;
    else if (fires(fault::status_unknown))
        status = static_cast<std::uint8_t>(accepted(feature::zoned) ? 7 + machine_.random_below(249)
                                                                    : 3 + machine_.random_below(253));
    else if (status == request_status::ok)
        status = execute(done);

    const std::uint64_t data = done.writable_bytes - 1;
    if (fires(fault::wrong_data) && data != 0)
        fill_with_garbage(done, 0, data);
    const std::uint32_t length = claimed_length(done);
    if (!fires(fault::status_not_written))
        *done.status = std::byte{status};
    return length;
}

std::uint8_t virtio_blk_model::execute(request& done) {
    switch (done.type) {
    case request_type::in:
        if (!within(done.sector, done.data_bytes / sector_bytes,
                    std::min<std::uint64_t>(capacity_, disk_.size() / sector_bytes)))
            return request_status::io_error; // the device has shrunk meanwhile
        if (zones_ != nullptr && done.data_bytes != 0)
            if (const std::uint8_t status = zones_->read(done.sector, done.data_bytes / sector_bytes); status != 0)
                return status;
        scatter(done, 0, disk_.data() + done.sector * sector_bytes, done.data_bytes);
        return request_status::ok;
    case request_type::out:
        if (!within(done.sector, done.data_bytes / sector_bytes,
                    std::min<std::uint64_t>(capacity_, disk_.size() / sector_bytes)))
            return request_status::io_error;
        if (zones_ != nullptr && done.data_bytes != 0)
            if (const std::uint8_t status = zones_->write(done.sector, done.data_bytes / sector_bytes); status != 0)
                return status;
        write_sectors(done.sector, gather(done, header_bytes, done.data_bytes));
        return request_status::ok;
    case request_type::zone_append:
    case request_type::zone_report:
    case request_type::zone_open:
    case request_type::zone_close:
    case request_type::zone_finish:
    case request_type::zone_reset:
    case request_type::zone_reset_all: return execute_zone_request(done);
    case request_type::flush: commit(done.log_position); return request_status::ok;
    case request_type::get_id: {
        std::array<std::byte, identifier_bytes> identifier{};
        const auto& text = configuration_.identifier;
        std::memcpy(identifier.data(), text.data(), std::min(text.size(), identifier.size()));
        const std::uint64_t written = behave.pads_identifier ? identifier.size() : text.size() + 1;
        scatter(done, 0, identifier.data(),
                std::min<std::uint64_t>({written, identifier.size(), done.writable_bytes - 1}));
        return request_status::ok;
    }
    case request_type::get_lifetime: {
        const auto* const lifetime = reinterpret_cast<const std::byte*>(configuration_.lifetime.data());
        scatter(done, 0, lifetime, std::min<std::uint64_t>(configuration_.lifetime.size(), done.writable_bytes - 1));
        return request_status::ok;
    }
    default:
        if (!has_segments(done.type))
            return request_status::unsupported;
        const bool partly = fires(fault::partial_segments);
        execute_segments(done, partly);
        return partly ? request_status::io_error : request_status::ok;
    }
}

std::uint8_t virtio_blk_model::execute_zone_request(request& done) {
    const std::uint64_t sector = done.sector;
    switch (done.type) {
    case request_type::zone_append: {
        std::uint64_t where = 0;
        const std::uint8_t status = zones_->append(sector, done.data_bytes / sector_bytes, where);
        if (status != request_status::ok)
            return status;
        write_sectors(where, gather(done, header_bytes, done.data_bytes));
        scatter(done, 0, reinterpret_cast<const std::byte*>(&where), append_sector_bytes);
        return request_status::ok;
    }
    case request_type::zone_report: {
        if (!zones_->has_zone(sector))
            return request_status::zone_invalid_cmd;
        const std::vector<std::byte> text = zones_->report(sector, done.data_bytes);
        scatter(done, 0, text.data(), std::min<std::uint64_t>(text.size(), done.data_bytes));
        return request_status::ok;
    }
    case request_type::zone_open: return zones_->open(sector);
    case request_type::zone_close: return zones_->close(sector);
    case request_type::zone_finish: return zones_->finish(sector);
    case request_type::zone_reset: {
        const std::uint8_t status = zones_->reset(sector);
        if (status == request_status::ok)
            forget_zone(sector);
        return status;
    }
    default:
        for (const std::uint64_t start : zones_->reset_all())
            forget_zone(start);
        return request_status::ok;
    }
}

// What reads find that was not written yet: zeroes.
void virtio_blk_model::forget_zone(std::uint64_t start) {
    const auto& zone = zones_->at(start);
    write_sectors(start, std::vector<std::byte>(static_cast<std::size_t>((zone.end - start) * sector_bytes)));
}

void virtio_blk_model::execute_segments(const request& done, bool partly) {
    const std::uint64_t length = done.readable_bytes - header_bytes;
    const auto bytes = gather(done, header_bytes, length);
    for (std::uint64_t at = 0; at < length; at += segment_bytes) {
        if (partly && machine_.chance(500))
            continue;
        const auto each = load<segment>(bytes.data() + at);
        if (zones_ != nullptr && done.type == request_type::secure_erase) { // as the reset of each of these zones
            for (std::uint64_t start = each.sector; start < each.sector + each.sectors; start = zones_->at(start).end)
                if (zones_->reset(start) == request_status::ok)
                    forget_zone(start);
            continue;
        }
        std::vector<std::byte> contents(each.sectors * sector_bytes);
        if (done.type != request_type::write_zeroes) // what is left of discarded sectors is anything at all
            for (std::size_t word = 0; word < contents.size(); word += 8)
                store(contents.data() + word, machine_.random());
        write_sectors(each.sector, std::move(contents));
    }
}

// ---- bytes of a request

std::vector<std::byte> virtio_blk_model::gather(const request& of, std::uint64_t offset, std::uint64_t length) const {
    std::vector<std::byte> bytes;
    bytes.reserve(length);
    for (const auto& each : of.readable) {
        const std::uint64_t skipped = std::min(offset, each.length);
        offset -= skipped;
        const std::uint64_t part = std::min(each.length - skipped, length - bytes.size());
        bytes.insert(bytes.end(), each.data + skipped, each.data + skipped + part);
    }
    return bytes;
}

void virtio_blk_model::scatter(const request& of, std::uint64_t offset, const std::byte* from,
                               std::uint64_t length) const {
    for (const auto& each : of.writable) {
        const std::uint64_t skipped = std::min(offset, each.length);
        offset -= skipped;
        const std::uint64_t part = std::min(each.length - skipped, length);
        if (part != 0)
            std::memcpy(each.data + skipped, from, part);
        from += part;
        length -= part;
    }
}

void virtio_blk_model::fill_with_garbage(const request& of, std::uint64_t offset, std::uint64_t length) {
    std::vector<std::byte> garbage((length + 7) / 8 * 8);
    std::uint64_t word = machine_.random();
    for (std::size_t at = 0; at < garbage.size(); at += 8)
        store(garbage.data() + at, word += 0x9e3779b97f4a7c15);
    scatter(of, offset, garbage.data(), length);
}

// Of the data that the device reads; the header is compared as it is.
std::uint64_t virtio_blk_model::payload_digest(const request& of) const {
    std::uint64_t digest = 0;
    const auto mix = [&](std::uint64_t value) {
        digest = (digest ^ value) * 0x9e3779b97f4a7c15 ^ digest >> 31;
    };
    std::uint64_t to_skip = header_bytes;
    for (const auto& each : of.readable) {
        std::uint64_t at = std::min(to_skip, each.length);
        to_skip -= at;
        for (; at + 8 <= each.length; at += 8)
            mix(load<std::uint64_t>(each.data + at));
        for (; at < each.length; ++at)
            mix(std::to_integer<std::uint64_t>(each.data[at]));
    }
    return digest;
}

// ---- durability

bool virtio_blk_model::write_through() const {
    return accepted(feature::config_wce) ? writeback_ == 0 : !accepted(feature::flush);
}

void virtio_blk_model::write_sectors(std::uint64_t sector, std::vector<std::byte> bytes) {
    if (bytes.empty() || !within(sector, bytes.size() / sector_bytes, disk_.size() / sector_bytes))
        return;
    std::memcpy(disk_.data() + sector * sector_bytes, bytes.data(), bytes.size());
    logged_write entry{++log_end_, sector, std::move(bytes)};
    if (write_through())
        return apply(entry);
    log_bytes_ += entry.bytes.size();
    log_.push_back(std::move(entry));
    while (log_bytes_ > log_bytes_kept) // a cache may write back what it likes, the oldest first here
        commit(log_.front().position);
}

// Makes the writes up to this position durable.
void virtio_blk_model::commit(std::uint64_t position) {
    while (!log_.empty() && log_.front().position <= position) {
        apply(log_.front());
        log_bytes_ -= log_.front().bytes.size();
        log_.pop_front();
    }
}

void virtio_blk_model::apply(const logged_write& entry) {
    for (std::size_t at = 0; at < entry.bytes.size(); at += sector_bytes) {
        const auto sector = static_cast<std::size_t>(entry.sector + at / sector_bytes);
        if (durable_position_[sector] > entry.position)
            continue; // a later write through the cache was faster
        durable_position_[sector] = entry.position;
        std::memcpy(durable_.data() + sector * sector_bytes, entry.bytes.data() + at, sector_bytes);
    }
}

} // namespace inflight::model
