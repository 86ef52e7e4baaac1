#include "tests/model/zones.hpp"

#include "tests/model/specification.hpp"

#include <algorithm>

namespace inflight::model {

namespace {

namespace done_with = request_status;
using condition = zone_condition;

bool is_open(const zones::zone& zone) {
    return zone.condition == condition::implicitly_open || zone.condition == condition::explicitly_open;
}

bool is_active(const zones::zone& zone) {
    return is_open(zone) || zone.condition == condition::closed;
}

bool is_writable(const zones::zone& zone) {
    return is_active(zone) || zone.condition == condition::empty;
}

} // namespace

zones::zones(const zone_configuration& configuration, std::uint64_t capacity) : configuration_{configuration} {
    for (std::uint64_t start = 0; start < capacity; start += configuration_.zone_sectors) {
        zone each;
        each.start = each.pointer = start;
        each.end = std::min(start + configuration_.zone_sectors, capacity);
        each.conventional = zones_.size() < configuration_.conventional;
        each.writable_end = each.conventional ? each.end : each.end - configuration_.unwritable;
        each.condition = each.conventional ? condition::not_wp : condition::empty;
        zones_.push_back(each);
    }
}

bool zones::touches_sequential(std::uint64_t sector, std::uint64_t sectors) const {
    for (std::uint64_t each = sector; each < sector + sectors; each = at(each).end)
        if (!at(each).conventional)
            return true;
    return false;
}

std::uint64_t zones::open_zones() const {
    return static_cast<std::uint64_t>(std::count_if(zones_.begin(), zones_.end(), is_open));
}

std::uint64_t zones::active_zones() const {
    return static_cast<std::uint64_t>(std::count_if(zones_.begin(), zones_.end(), is_active));
}

// A range that must not go from zone to zone does not, and no zone of it is offline.
std::uint8_t zones::check_range(std::uint64_t sector, std::uint64_t sectors) const {
    const bool crosses = sector + sectors > at(sector).end;
    if (crosses && touches_sequential(sector, sectors))
        return done_with::zone_invalid_cmd;
    for (std::uint64_t each = sector; each < sector + sectors; each = at(each).end)
        if (at(each).condition == condition::offline)
            return done_with::zone_invalid_cmd;
    return done_with::ok;
}

std::uint8_t zones::read(std::uint64_t sector, std::uint64_t sectors) const {
    return check_range(sector, sectors);
}

// What stands in the way of one more open zone, which is active then; nothing if there is room, or can be made.
std::optional<std::uint8_t> zones::make_room(const zone& wanted) {
    const auto& c = configuration_;
    if (!is_active(wanted) && c.max_active_zones != 0 && active_zones() >= c.max_active_zones)
        return done_with::zone_active_resource;
    if (is_open(wanted) || c.max_open_zones == 0 || open_zones() < c.max_open_zones)
        return std::nullopt;
    const auto other = std::find_if(zones_.begin(), zones_.end(),
                                    [](const zone& each) { return each.condition == condition::implicitly_open; });
    if (!c.closes_implicitly || other == zones_.end())
        return done_with::zone_open_resource;
    other->condition = condition::closed;
    return std::nullopt;
}

std::uint8_t zones::begin_write(zone& to) {
    if (is_open(to))
        return done_with::ok;
    if (const auto obstacle = make_room(to))
        return *obstacle;
    to.condition = condition::implicitly_open;
    return done_with::ok;
}

void zones::advance(zone& written, std::uint64_t sectors) {
    written.pointer += sectors;
    if (written.pointer == written.writable_end)
        written.condition = condition::full;
}

std::uint8_t zones::write(std::uint64_t sector, std::uint64_t sectors) {
    if (const std::uint8_t outcome = check_range(sector, sectors); outcome != done_with::ok)
        return outcome;
    zone& to = at(sector);
    if (to.conventional)
        return done_with::ok;
    if (!is_writable(to))
        return done_with::zone_invalid_cmd;
    if (sector != to.pointer || (sector + sectors) * sector_bytes % configuration_.write_granularity != 0)
        return done_with::zone_unaligned_wp;
    if (sector + sectors > to.writable_end)
        return done_with::zone_invalid_cmd;
    if (const std::uint8_t outcome = begin_write(to); outcome != done_with::ok)
        return outcome;
    advance(to, sectors);
    return done_with::ok;
}

std::uint8_t zones::append(std::uint64_t sector, std::uint64_t sectors, std::uint64_t& where) {
    if (configuration_.max_append_sectors == 0)
        return done_with::unsupported;
    zone* const to = sequential_zone_at_start(sector);
    if (to == nullptr || sectors > configuration_.max_append_sectors || !is_writable(*to))
        return done_with::zone_invalid_cmd;
    if (sectors * sector_bytes % configuration_.write_granularity != 0)
        return done_with::zone_unaligned_wp;
    if (sectors > to->writable_end - to->pointer)
        return done_with::zone_invalid_cmd;
    if (const std::uint8_t outcome = begin_write(*to); outcome != done_with::ok)
        return outcome;
    where = to->pointer;
    advance(*to, sectors);
    return done_with::ok;
}

zones::zone* zones::sequential_zone_at_start(std::uint64_t sector) {
    if (!has_zone(sector) || at(sector).start != sector || at(sector).conventional)
        return nullptr;
    return &at(sector);
}

std::uint8_t zones::open(std::uint64_t sector) {
    zone* const wanted = sequential_zone_at_start(sector);
    if (wanted == nullptr || !is_writable(*wanted))
        return done_with::zone_invalid_cmd;
    if (const auto obstacle = make_room(*wanted))
        return *obstacle;
    wanted->condition = condition::explicitly_open;
    return done_with::ok;
}

std::uint8_t zones::close(std::uint64_t sector) {
    zone* const wanted = sequential_zone_at_start(sector);
    if (wanted == nullptr || !is_active(*wanted))
        return done_with::zone_invalid_cmd;
    wanted->condition = wanted->pointer == wanted->start ? condition::empty : condition::closed;
    return done_with::ok;
}

std::uint8_t zones::finish(std::uint64_t sector) {
    zone* const wanted = sequential_zone_at_start(sector);
    if (wanted == nullptr || !(is_open(*wanted) || wanted->condition == condition::full))
        return done_with::zone_invalid_cmd;
    wanted->condition = condition::full;
    return done_with::ok;
}

std::uint8_t zones::reset(std::uint64_t sector) {
    zone* const wanted = sequential_zone_at_start(sector);
    if (wanted == nullptr || !(is_writable(*wanted) || wanted->condition == condition::full))
        return done_with::zone_invalid_cmd;
    wanted->condition = condition::empty;
    wanted->pointer = wanted->start;
    return done_with::ok;
}

std::vector<std::uint64_t> zones::reset_all() {
    std::vector<std::uint64_t> starts;
    for (zone& each : zones_)
        if (is_active(each) || each.condition == condition::full) {
            static_cast<void>(reset(each.start));
            starts.push_back(each.start);
        }
    return starts;
}

std::vector<std::byte> zones::report(std::uint64_t sector, std::uint64_t bytes) const {
    constexpr std::uint64_t unit = 64; // of the header, and of each descriptor
    const auto first = static_cast<std::size_t>(sector / configuration_.zone_sectors);
    const std::uint64_t room = bytes < unit ? 0 : bytes / unit - 1;
    const std::uint64_t count = std::min<std::uint64_t>(room, zones_.size() - std::min(first, zones_.size()));
    std::vector<std::byte> text(static_cast<std::size_t>(unit * (count + 1)));
    store(text.data(), count);
    for (std::size_t i = 0; i < count; ++i) {
        const zone& each = zones_[first + i];
        std::byte* const to = text.data() + unit * (i + 1);
        store(to, each.writable_end - each.start);
        store(to + 8, each.start);
        store(to + 16, is_writable(each) ? each.pointer : ~std::uint64_t{0}); // else undefined
        to[24] = std::byte{each.conventional ? std::uint8_t{1} : std::uint8_t{2}};
        to[25] = static_cast<std::byte>(each.condition);
    }
    return text;
}

} // namespace inflight::model
