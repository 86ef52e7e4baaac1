// What must be on a disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

namespace inflight::simulation {

inline constexpr std::uint64_t sector_bytes = 512;

class disk_account {
  public:
    explicit disk_account(std::vector<std::byte> contents)
        : contents_{std::move(contents)}, known_(contents_.size() / sector_bytes, true) {}

    void write_succeeded(std::uint64_t sector, std::span<const std::byte> data) {
        std::memcpy(contents_.data() + sector * sector_bytes, data.data(), data.size());
        set_known(sector, data.size(), true);
    }
    // Any part of it may be on the disk.
    void write_failed(std::uint64_t sector, std::span<const std::byte> data) { set_known(sector, data.size(), false); }

    bool agrees(std::uint64_t sector, std::span<const std::byte> data) const {
        for (std::size_t i = 0; i < data.size() / sector_bytes; ++i) {
            if (known_[sector + i] && std::memcmp(data.data() + i * sector_bytes,
                                                  contents_.data() + (sector + i) * sector_bytes, sector_bytes) != 0) {
                return false;
            }
        }
        return true;
    }

  private:
    void set_known(std::uint64_t sector, std::size_t bytes, bool known) {
        for (std::size_t i = 0; i < bytes / sector_bytes; ++i) {
            known_[sector + i] = known;
        }
    }

    std::vector<std::byte> contents_;
    std::vector<bool> known_; // by sector; not after a write that failed
};

} // namespace inflight::simulation
