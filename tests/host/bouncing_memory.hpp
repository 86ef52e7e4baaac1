// Memory of a kernel whose devices reach none of its callers' buffers: what a device is to read or write is copied through a
// bounded pool. A buffer is contiguous up to the end of its page, as under page tables.
//
// It checks its caller: each unshare() ends one share() with the same arguments, no piece crosses a page, nothing is shared twice
// at once, a device keeps off what surrounds its pieces and off what it only reads, and at the end nothing is shared any more.
#pragma once

#include "arch/arch.hpp"
#include "drivers/memory/dma_memory.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <vector>

namespace inflight::test {

class bouncing_memory final : public dma_memory {
  public:
    bouncing_memory(arch::host::machine& host, std::size_t pool_bytes)
        : host_{host}, pool_{host.allocate(pool_bytes + guard, page_size)}, pool_bytes_{pool_bytes} {
        BOOST_REQUIRE(pool_ != nullptr);
        std::memset(pool_, poison, pool_bytes_ + guard);
    }
    ~bouncing_memory() {
        BOOST_TEST(shared_.size() == kept_by_lost_devices, "pieces that are still shared at the end");
    }
    bouncing_memory(const bouncing_memory&) = delete;
    bouncing_memory& operator=(const bouncing_memory&) = delete;

    std::byte* allocate(std::size_t bytes, std::size_t alignment) noexcept override {
        return host_.allocate(bytes, alignment);
    }
    std::byte* allocate_private(std::size_t bytes, std::size_t alignment) noexcept override {
        return unreachable(bytes, alignment);
    }

    // Memory that no device reaches; it stays as long as this.
    std::byte* unreachable(std::size_t bytes, std::size_t alignment) {
        const std::align_val_t to{std::max<std::size_t>(alignment, 16)};
        auto* const start = static_cast<std::byte*>(::operator new(bytes, to));
        unreachable_.emplace_back(start, [to](std::byte* each) { ::operator delete(each, to); });
        std::memset(start, poison, bytes);
        return start;
    }

    bool is_direct() const noexcept override { return false; }

    std::size_t contiguous(const std::byte* start, std::size_t length) const noexcept override {
        return std::min(length, page_size - reinterpret_cast<std::uintptr_t>(start) % page_size);
    }

    bool share(const std::byte* start, std::size_t length, dma_direction direction,
               std::uint64_t& address) noexcept override {
        BOOST_TEST(length != 0U);
        BOOST_TEST(length <= contiguous(start, length), "a piece crosses a page");
        const auto overlaps = [start, length](const auto& of) {
            return start < of.second.start + of.second.length && of.second.start < start + length;
        };
        BOOST_TEST(std::none_of(shared_.begin(), shared_.end(), overlaps), "a piece is shared twice");
        std::size_t offset = 0;
        for (const auto& [at, each] : shared_) { // in the order of their offsets: the first gap that is large enough
            if (at - offset >= guard + length + guard)
                break;
            offset = at + each.length;
        }
        if (offset + guard + length > pool_bytes_) {
            ++refused;
            return false;
        }
        std::byte* const place = pool_ + offset + guard;
        if (direction == dma_direction::to_device)
            std::memcpy(place, start, length);
        shared_[offset + guard] = {start, length, direction};
        max_shared = std::max(max_shared, shared_.size());
        ++shares;
        address = arch::device_address(place);
        return true;
    }

    void unshare(std::byte* start, std::size_t length, dma_direction direction,
                 std::uint64_t address) noexcept override {
        const std::uint64_t offset = address - arch::device_address(pool_);
        const auto found = shared_.find(static_cast<std::size_t>(offset));
        if (found == shared_.end()) {
            BOOST_ERROR("what is unshared is not shared");
            return;
        }
        const piece& each = found->second;
        BOOST_TEST((each.start == start && each.length == length && each.direction == direction),
                   "unshare() has other arguments than share()");
        std::byte* const place = pool_ + offset;
        if (direction == dma_direction::from_device)
            std::memcpy(start, place, length);
        else
            BOOST_TEST(std::memcmp(start, place, length) == 0, "a device or a driver has written into what it reads");
        BOOST_TEST((poisoned(place - guard) && poisoned(place + length)), "a device has written beside its piece");
        std::memset(place, poison, length);
        shared_.erase(found);
        ++unshares;
    }

    static constexpr std::uint8_t poison = 0xb7;

    std::size_t now_shared() const { return shared_.size(); }

    std::uint64_t shares = 0, unshares = 0, refused = 0;
    std::size_t max_shared = 0;
    std::size_t kept_by_lost_devices = 0; // how many pieces may be shared at the end

  private:
    static constexpr std::size_t guard = 64; // bytes before and behind a piece

    struct piece {
        const std::byte* start;
        std::size_t length;
        dma_direction direction;
    };

    static bool poisoned(const std::byte* start) {
        return std::all_of(start, start + guard, [](std::byte each) { return each == std::byte{poison}; });
    }

    arch::host::machine& host_;
    std::byte* pool_;
    std::size_t pool_bytes_;
    std::map<std::size_t, piece> shared_; // by offset in the pool
    std::vector<std::shared_ptr<std::byte>> unreachable_;
};

} // namespace inflight::test
