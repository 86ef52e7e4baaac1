// A split virtqueue, driver side (VIRTIO 1.2, 2.7): puts chains in, takes used ones out, and says when to notify.
//
// It knows rings, not requests. The indices it works with are its own; what the device can write is read once and never
// taken for state. One hart uses it.
#pragma once

#include "arch/arch.hpp"
#include "drivers/virtio/split_ring.hpp"
#include "drivers/virtio/transport.hpp"

#include <cstddef>
#include <cstdint>

namespace inflight::virtio {

class split_virtqueue {
  public:
    // A used element. Both fields have 32 bits in the ring, and are widened as numbers with a sign, as the hart does it when it
    // loads them: what is 2^31 or more there, which no honest device says, is larger still here.
    struct used {
        std::uint64_t id;
        std::uint64_t length;
    };

    split_virtqueue() noexcept = default;

    // Lays a queue of `size` descriptors (a power of two) into `memory`, which has ring_layout::of(size, legacy).bytes
    // bytes of its alignment, and zeroes it. The device must not know the memory yet, or have been reset.
    void lay_out(std::byte* memory, std::uint16_t size, bool legacy, bool event_idx) noexcept;

    [[nodiscard]] queue_addresses addresses() const noexcept;
    [[nodiscard]] std::uint16_t size() const noexcept { return size_; }

    // The descriptor table. A descriptor of a chain in flight must not be touched.
    [[nodiscard]] descriptor& descriptor_at(std::uint16_t index) noexcept { return descriptors_[index]; }

    // Puts the chain that begins at `head` into the available ring. The device sees it at the next publish(). There is
    // always room: heads in flight are distinct, and no more than there are descriptors.
    void offer(std::uint16_t head) noexcept {
        if (stretch_has_ended()) [[unlikely]] {
            begin_stretch(size_);
        }
        shared<std::uint16_t>* const place = next_available_;
        next_available_ = place + 1;
        place->store(head);
    }

    // Chains are offered in stretches of entries that lie in a row, so that one comparison tells both that the ring ends here
    // and that a caller wants to be told. begin_stretch() begins one of so many entries, or fewer where the ring ends.
    void begin_stretch(std::size_t entries) noexcept;
    [[nodiscard]] bool stretch_has_ended() const noexcept { return next_available_ == stretch_end_; }

    // How many chains were ever offered, and how many of them have not been taken out again.
    [[nodiscard]] std::size_t offered() const noexcept {
        return before_this_lap_ + static_cast<std::size_t>(next_available_ - available_);
    }
    [[nodiscard]] std::size_t in_flight() const noexcept { return offered() - taken_; }

    [[nodiscard]] bool has_unpublished() const noexcept { return offered() != published_; }

    // Shows the device all that was offered since the last time. True if the device wants to be notified of it.
    [[nodiscard]] bool publish() noexcept {
        const std::uint16_t before = low16(published_);
        published_ = offered();
        const std::uint16_t now = low16(published_);
        arch::fence_publish(); // chains and ring entries before the index: pairs with the device's read of the index
        field(driver_area_, ring_index).store(now);
        arch::
            fence_full(); // the index before the device's wish is read: pairs with its wish, then its look at the index
        if (event_idx_) {
            const std::uint16_t event = field(device_area_, ring_entries + sizeof(used_element) * size_).load();
            return crossed(event, now, before);
        }
        return (field(device_area_, ring_flags).load() & used_no_notify) == 0;
    }

    // The device's index of used chains, which any hart may read; and the index of the next one to take.
    [[nodiscard]] std::uint16_t used_index() const noexcept { return field(device_area_, ring_index).load(); }
    [[nodiscard]] std::uint16_t next_used() const noexcept { return low16(taken_); }

    // How many used chains the device says are waiting. More than are in flight is a lie; the caller checks.
    [[nodiscard]] std::size_t used_count() const noexcept { return low16(used_index() - taken_); }

    // The first used chains, one after the other: as many as used_count() has said, after one fence_consume() since.
    class used_chains {
      public:
        [[nodiscard]] bool empty() noexcept {
            if (next_ == end_ && behind_the_end_ != 0) [[unlikely]] {
                next_ = ring_;
                end_ = ring_ + behind_the_end_;
                behind_the_end_ = 0;
            }
            return next_ == end_;
        }
        // Read once: the device may write it again.
        [[nodiscard]] used front() const noexcept {
            return {.id = widened(next_->id.load()), .length = widened(next_->length.load())};
        }
        void pop_front() noexcept { ++next_; }
        [[nodiscard]] std::size_t size() const noexcept {
            return static_cast<std::size_t>(end_ - next_) + behind_the_end_;
        }

      private:
        friend class split_virtqueue;
        static constexpr std::uint64_t widened(std::uint32_t field) noexcept {
            return static_cast<std::uint64_t>(static_cast<std::int32_t>(field));
        }
        used_chains(const used_element* ring, const used_element* ring_end, const used_element* next,
                    std::size_t count) noexcept
            : ring_{ring}, next_{next}, end_{ring_end} {
            const auto in_a_row = static_cast<std::size_t>(ring_end - next);
            if (count <= in_a_row) [[likely]] {
                end_ = next + count;
            } else {
                behind_the_end_ = count - in_a_row;
            }
        }

        const used_element* ring_;
        const used_element* next_;
        const used_element* end_;        // of those in a row
        std::size_t behind_the_end_ = 0; // how many follow where the ring begins again
    };
    [[nodiscard]] used_chains first_used(std::size_t count) const noexcept {
        return {used_, used_end_, next_used_, count};
    }

    // Steps over so many used chains, which have been popped.
    void advance_used(const used_chains& popped, std::size_t count) noexcept {
        next_used_ = popped.next_;
        taken_ += count;
    }

    // Asks for an interrupt at the next used chain. True if chains are waiting already, for which none may come.
    [[nodiscard]] bool enable_interrupts() noexcept {
        if (event_idx_) {
            field(driver_area_, ring_entries + sizeof(std::uint16_t) * size_).store(low16(taken_));
        } else {
            field(driver_area_, ring_flags).store(0);
        }
        arch::fence_full(); // the wish before the look: pairs with the device's used index, then its read of the wish
        return used_count() != 0;
    }

    // Asks for no interrupt. A hint: one may come nevertheless. With EVENT_IDX there is nothing to say: the index named
    // last has passed, and comes round again only after 65536 chains.
    void disable_interrupts() noexcept {
        if (!event_idx_) {
            field(driver_area_, ring_flags).store(avail_no_interrupt);
        }
    }

  private:
    // 2.7.10: whether the step from `before` to `now` put an entry at `event`.
    static bool crossed(std::uint16_t event, std::uint16_t now, std::uint16_t before) noexcept {
        return static_cast<std::uint16_t>(now - event - 1) < static_cast<std::uint16_t>(now - before);
    }

    static constexpr std::uint16_t low16(std::size_t index) noexcept { return static_cast<std::uint16_t>(index); }

    static shared<std::uint16_t>& field(std::byte* area, std::size_t offset) noexcept {
        return *reinterpret_cast<shared<std::uint16_t>*>(area + offset);
    }

    descriptor* descriptors_ = nullptr;
    shared<std::uint16_t>* available_ = nullptr;
    std::byte* driver_area_ = nullptr;
    std::byte* device_area_ = nullptr;
    shared<std::uint16_t>* next_available_ = nullptr; // where the next chain goes
    shared<std::uint16_t>* stretch_end_ = nullptr;
    const used_element* used_ = nullptr;
    const used_element* used_end_ = nullptr;
    const used_element* next_used_ = nullptr; // the next used chain to take, or where the ring ends
    // Indices count on in whole words, which saves the hart cutting them; the ring sees their low 16 bits.
    std::size_t before_this_lap_ = 0; // of chains offered: how many until the ring began again
    std::size_t published_ = 0;       // what the device has been shown
    std::size_t taken_ = 0;           // how many used chains
    std::uint16_t size_ = 0;
    bool event_idx_ = false;
};

} // namespace inflight::virtio
