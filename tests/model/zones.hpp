// The zones of a host-managed zoned block device: types, write pointers, states, and the resources that they take, by VIRTIO
// 1.3, 5.2.6. It holds no data.
//
// Where the specification lists no transition for a request, the request ends with ZONE_INVALID_CMD: finishing an empty or a
// closed zone, closing an empty one, opening a full one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace inflight::model {

struct zone_configuration {
    std::uint32_t zone_sectors = 0; // 0: the device has no zones
    std::uint32_t max_open_zones = 0;
    std::uint32_t max_active_zones = 0;
    std::uint32_t max_append_sectors = 0;
    std::uint32_t write_granularity = 512;
    std::uint64_t conventional = 0; // so many zones at the beginning
    std::uint64_t unwritable = 0;   // so many sectors at the end of each sequential zone
    bool closes_implicitly = true;  // an implicitly open zone, to make room for another
};

enum class zone_condition : std::uint8_t {
    not_wp = 0,
    empty = 1,
    implicitly_open = 2,
    explicitly_open = 3,
    closed = 4,
    read_only = 13,
    full = 14,
    offline = 15,
};

class zones {
  public:
    struct zone {
        std::uint64_t start = 0, end = 0;
        std::uint64_t writable_end = 0; // start and zone capacity
        std::uint64_t pointer = 0;
        bool conventional = false;
        zone_condition condition = zone_condition::empty;
    };

    zones(const zone_configuration&, std::uint64_t capacity);

    // Each returns the status of a request.
    std::uint8_t read(std::uint64_t sector, std::uint64_t sectors) const;
    std::uint8_t write(std::uint64_t sector, std::uint64_t sectors);
    std::uint8_t append(std::uint64_t sector, std::uint64_t sectors, std::uint64_t& where);
    std::uint8_t open(std::uint64_t sector);
    std::uint8_t close(std::uint64_t sector);
    std::uint8_t finish(std::uint64_t sector);
    std::uint8_t reset(std::uint64_t sector);
    std::vector<std::uint64_t> reset_all(); // returns the first sectors of the zones that were not empty

    // Header and descriptors, as many whole ones as fit.
    std::vector<std::byte> report(std::uint64_t sector, std::uint64_t bytes) const;

    bool has_zone(std::uint64_t sector) const { return sector / configuration_.zone_sectors < zones_.size(); }
    zone& at(std::uint64_t sector) { return zones_.at(static_cast<std::size_t>(sector / configuration_.zone_sectors)); }
    const zone& at(std::uint64_t sector) const {
        return zones_.at(static_cast<std::size_t>(sector / configuration_.zone_sectors));
    }
    // Whether a range that lies within the zones touches one that must be written in sequence.
    bool touches_sequential(std::uint64_t sector, std::uint64_t sectors) const;
    std::uint64_t open_zones() const;
    std::uint64_t active_zones() const;
    const std::vector<zone>& all() const noexcept { return zones_; }

  private:
    std::uint8_t check_range(std::uint64_t sector, std::uint64_t sectors) const;
    std::uint8_t begin_write(zone&);
    std::optional<std::uint8_t> make_room(const zone&);
    void advance(zone&, std::uint64_t sectors);
    zone* sequential_zone_at_start(std::uint64_t sector);

    zone_configuration configuration_;
    std::vector<zone> zones_;
};

} // namespace inflight::model
