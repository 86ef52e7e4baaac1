// One virtqueue of a disk with its request slots: from a request to descriptors and back.
//
// A slot is a chain of descriptors that is built once and used again and again; its number is the index of its first
// descriptor. Header, status byte and small payloads of a slot lie in memory that the queue owns for ever, so no frame or
// stack is ever known to the device. A request writes only what differs from the last one.
#pragma once

#include "arch/arch.hpp"
#include "async/executor.hpp"
#include "async/trace.hpp"
#include "drivers/block/request.hpp"
#include "drivers/block/virtio_blk.hpp"
#include "drivers/virtio/split_virtqueue.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::block {

// Memory that devices can reach. Given once, for ever: what a device has known is never used for anything else.
class device_memory {
  public:
    // nullptr if there is none left. The contents are undefined.
    [[nodiscard]] virtual std::byte* allocate(std::size_t bytes, std::size_t alignment) noexcept = 0;

  protected:
    ~device_memory() = default;
};

class request_queue {
  public:
    struct counters {
        std::uint64_t requests;      // requests of the device that have completed
        std::uint64_t notifications; // doorbells rung
        std::uint64_t interrupts;    // interrupts that found something completed here
        std::uint64_t short_lengths; // requests failed because the device claims to have written less than their status
    };

    struct data_segment {
        const std::byte* data;
        std::uint32_t length;
    };

    // The largest number of data segments in one request of the device.
    static constexpr std::uint32_t most_segments = 30;

    // Bytes in one request of the device, where it sets no limit of its own: large enough to be rare, small enough for the
    // 32-bit lengths of descriptors and used elements, with the status byte.
    static constexpr std::uint32_t most_bytes = 1u << 30;

    request_queue() noexcept = default;
    request_queue(const request_queue&) = delete;
    request_queue& operator=(const request_queue&) = delete;

    // Takes its memory, once; a later reset() uses it again. `size` is a power of two, at least 4.
    [[nodiscard]] bool allocate(device_memory& memory, std::uint16_t size, bool legacy, bool indirect,
                                std::uint32_t segments) noexcept;

    // Lays out an empty queue, all zero, as the device wants to be given it. The device does not know it, or has been reset.
    void reset(bool legacy, bool event_idx) noexcept;

    // Builds the chains of all free slots, and offers again what is inside; after the device has been given the queue, before
    // anything is submitted.
    void rebuild() noexcept;

    [[nodiscard]] virtio::split_virtqueue& ring() noexcept { return ring_; }

    // How many requests of the device fit in at once, and how many are inside.
    [[nodiscard]] std::uint32_t slots() const noexcept { return slot_count_; }
    [[nodiscard]] std::size_t in_flight() const noexcept { return ring_.in_flight(); }
    [[nodiscard]] bool full() const noexcept { return free_ == &no_slot; }

    // The largest number of data segments in one request of the device.
    [[nodiscard]] std::uint32_t segments() const noexcept { return table_entries_ == 0 ? 1 : table_entries_ - 2; }

    // Puts one request of the device, a read or write with one data segment, into a free slot; the device sees it at the
    // next publish. False, and nothing happens, if there is no free slot of that shape at hand, or the turn has ended.
    bool submit_plain(request& owner, virtio_blk::request_type type, std::uint64_t sector, const std::byte* data,
                      std::uint64_t length) noexcept {
        slot* const taken = free_;
        if (taken->shape != shape_of(type, 1) || turn_has_ended()) [[unlikely]] {
            return false;
        }
        free_ = taken->next_free;
        taken->data->address = arch::device_address(data);
        taken->data->length = static_cast<std::uint32_t>(length);
        offer(*taken, owner, sector, type == virtio_blk::request_type::in ? length + 1 : 1);
        return true;
    }

    // A turn: how many plain requests the queue takes before another one's turn comes. begin_turn() begins one of so many; it
    // ends early where the ring begins again.
    void begin_turn(std::uint32_t requests) noexcept { ring_.begin_stretch(requests); }
    [[nodiscard]] bool turn_has_ended() const noexcept { return ring_.stretch_has_ended(); }

    // The same for every kind of request; there must be a free slot. Nothing of it is split: lengths and number of segments
    // are within the limits.
    void submit_data(request& owner, std::uint64_t sector, std::span<const data_segment> segments) noexcept;
    void submit_range(request& owner, const virtio_blk::range_segment& range) noexcept;
    void submit_flush(request& owner) noexcept;
    void submit_get_id(request& owner) noexcept;

    // For a benchmark that offers chains to ring() itself: builds slot number `slot` into a read, and answers its head.
    // Nobody waits for it, so its completion must be taken from ring() too.
    std::uint16_t build_unowned_read(std::uint32_t slot, std::uint64_t sector, std::span<std::byte> buffer) noexcept;

    enum class drained : std::uint8_t { device_lies, nothing, something };

    // Takes all used chains, and makes ready the requests that are complete with them. Each used element is authenticated:
    // no more than are in flight, index of a slot in flight (so never twice), length credible, status written.
    drained drain(async::executor& hart) noexcept;

    // Ends what is inside with `outcome`, if it has seen so many calls of grow_older(). The device has been reset, or is lost.
    void abandon(async::executor& hart, status outcome, std::uint32_t age = 0) noexcept;

    // Everything that is inside is one call older; answers how many the oldest has seen.
    std::uint32_t grow_older() noexcept;

    // Marks the queue if something has completed that an interrupt was to tell of, and has not.
    bool mark_if_untold() noexcept;

    // Interrupts on, then a look: true if something is waiting already. Interrupts off.
    [[nodiscard]] bool arm() noexcept;
    void disarm() noexcept;
    [[nodiscard]] bool armed() const noexcept { return armed_at_.load(std::memory_order_relaxed) != not_armed; }

    // Set by the interrupt handler, taken back by drain().
    [[nodiscard]] bool pending() const noexcept { return pending_.load(std::memory_order_relaxed); }

    // Interrupt context, of any hart: if interrupts are on and something has completed since, marks the queue and says so.
    // Otherwise its hart looks for itself, at the latest when it turns them on.
    bool interrupted() noexcept;

    // The queue's doorbell was rung.
    void notified() noexcept { ++counters_.notifications; }

    [[nodiscard]] counters count() const noexcept {
        counters now = counters_;
        now.interrupts = interrupts_.load(std::memory_order_relaxed);
        return now;
    }

    [[no_unique_address]] trace::track track; // of which queue the trace speaks
    request_queue* sibling = nullptr;         // the next queue of the same channel
    std::uint16_t index = 0;                  // of the device's queues

  private:
    // What the device sees of a slot beside its descriptors: one cache line.
    struct alignas(64) slot_memory {
        virtio_blk::request_header header;
        virtio_blk::range_segment range;
        virtio_blk::id_string id;
        virtio::shared<std::uint8_t> status;
    };
    static_assert(sizeof(slot_memory) == 64);

    // A slot: that, and a cache line that only the driver sees.
    struct slot {
        slot_memory memory;
        request* owner; // nullptr: free
        slot* next_free;
        virtio::descriptor* data; // first data descriptor of the chain as it is laid out now
        std::uint64_t expected;   // of the device, see below
        std::uint16_t shape;      // what the chain and its header are laid out for now, see shape_of()
        std::uint16_t head;       // index of the first descriptor
        virtio::descriptor kept;  // during a reset: the one data descriptor of a chain that goes in again

        [[nodiscard]] std::uint32_t shape_segments() const noexcept { return (shape + 1u) & 0xffu; }
    };
    static_assert(sizeof(slot) == 128);

    // What is expected: the length that the device has to claim, which is how many bytes of the chain it may write; above its
    // 32 bits, whether this is only a piece of a request, and the age, see grow_older(). So one comparison with what it claims
    // tells the common case, a whole request that was done in time, from all others.
    static constexpr std::uint64_t a_piece = std::uint64_t{1} << 32;
    static constexpr std::uint64_t one_look_old = std::uint64_t{1} << 33;
    static constexpr std::uint32_t writable(const slot& inside) noexcept {
        return static_cast<std::uint32_t>(inside.expected);
    }

    // The type and the number of data segments of a request, in one word: a slot of the right shape is used as it is. A read
    // with one segment is 0, which is the quickest to compare with.
    static constexpr std::uint16_t shape_of(virtio_blk::request_type type, std::uint32_t segments) noexcept {
        return static_cast<std::uint16_t>(static_cast<std::uint32_t>(type) << 8 | ((segments - 1) & 0xffu));
    }

    // A free slot (there must be one) of the owner's type, with so many data segments.
    slot& take_slot(const request& owner, std::uint32_t segments) noexcept;

    // Gives a slot whose data is in place to the ring.
    void offer(slot& taken, request& owner, std::uint64_t sector, std::uint64_t expected) noexcept {
        ring_.offer(taken.head);
        taken.owner = &owner;
        taken.expected = expected;
        taken.memory.header.sector = sector;
        taken.memory.status.store(virtio_blk::status_byte::poison);
        trace::record(trace::event::submit, track, taken.head);
    }

    void reshape(slot& free_slot, virtio_blk::request_type type, std::uint32_t segments) noexcept;
    drained drain_closely(async::executor& hart, std::size_t used) noexcept;
    void took(const virtio::split_virtqueue::used_chains& popped, std::size_t count) noexcept {
        ring_.advance_used(popped, count);
        counters_.requests += count;
    }
    enum class ended : std::uint8_t { request, piece, device_lies };
    [[nodiscard]] ended look_closely(const slot& done, std::uint64_t length) noexcept;
    static bool finish_piece(request& owner, const slot_memory& memory, status outcome) noexcept;

    // The end of a list of free slots. Of no shape, so that nothing takes it for one.
    static constexpr std::uint16_t no_shape = 0xffff;
    static slot no_slot;

    slot* free_ = &no_slot;
    virtio::split_virtqueue ring_;
    counters counters_{};
    slot* slots_ = nullptr; // by head descriptor; those between heads are never in use
    std::uint32_t slot_count_ = 0;
    bool trusts_length_ = true;
    // With interrupts on, the used index at which they were turned on, and a bit above it. An interrupt handler reads it on
    // any hart.
    static constexpr std::uint32_t not_armed = 0;
    static constexpr std::uint32_t armed_from(std::uint16_t used) noexcept { return 1u << 16 | used; }
    arch::atomic<std::uint32_t> armed_at_{not_armed};
    arch::atomic<bool> pending_{false};
    arch::atomic<std::uint64_t> interrupts_{0};

    std::byte* ring_memory_ = nullptr;
    virtio::descriptor* tables_ = nullptr; // indirect tables, one per slot
    std::uint32_t table_entries_ = 0;      // 0: no indirect descriptors
    std::uint16_t stride_ = 3;             // descriptors per slot
    std::uint16_t size_ = 0;
};

// Inline: a channel asks each of its queues, which are one or two, so the calls would cost more than what is done.

inline void request_queue::disarm() noexcept {
    if (armed()) {
        armed_at_.store(not_armed, std::memory_order_relaxed);
        ring_.disable_interrupts();
    }
}

inline bool request_queue::arm() noexcept {
    if (!armed()) {
        // Before the look: pairs with the handler, which looks first and then asks whether interrupts are on.
        armed_at_.store(armed_from(ring_.next_used()), std::memory_order_relaxed);
        if (ring_.enable_interrupts()) {
            disarm();
            return true;
        }
    }
    return pending();
}

inline bool request_queue::interrupted() noexcept {
    const std::uint16_t used = ring_.used_index();
    arch::fence_consume(); // the used index before the wish: pairs with the fence between wish and look in arm()
    const std::uint32_t armed_at = armed_at_.load(std::memory_order_relaxed);
    if (armed_at == not_armed || armed_at == armed_from(used)) {
        return false;
    }
    pending_.store(true, std::memory_order_relaxed);
    interrupts_.fetch_add(1, std::memory_order_relaxed);
    return true;
}

} // namespace inflight::block
