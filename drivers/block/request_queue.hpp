// One virtqueue of a disk with its request slots: from a request to descriptors and back.
//
// A slot is a chain of descriptors that is built once and used again and again; its number is the index of its first
// descriptor. Header, status byte and small payloads of a slot lie in memory that the queue owns for ever, so no frame or
// stack is ever known to the device. A request writes only what differs from the last one.
#pragma once

#include "arch/arch.hpp"
#include "async/executor.hpp"
#include "drivers/block/request.hpp"
#include "drivers/block/virtio_blk.hpp"
#include "drivers/virtio/split_virtqueue.hpp"

#include <atomic>
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

    request_queue() noexcept = default;
    request_queue(const request_queue&) = delete;
    request_queue& operator=(const request_queue&) = delete;

    // Takes its memory, once; a later reset() uses it again. `size` is a power of two, at least 4.
    [[nodiscard]] bool allocate(device_memory& memory, std::uint16_t size, bool legacy, bool indirect,
                                std::uint32_t segments) noexcept;

    // Lays out an empty queue, all zero, as the device wants to be given it. The device does not know it, or has been reset.
    void reset(bool legacy, bool event_idx) noexcept;

    // Builds the chains of all slots; after the device has been given the queue, before anything is submitted.
    void build_chains() noexcept;

    [[nodiscard]] virtio::split_virtqueue& ring() noexcept { return ring_; }

    // How many requests of the device fit in at once, and how many are inside.
    [[nodiscard]] std::uint32_t slots() const noexcept { return slot_count_; }
    [[nodiscard]] std::uint32_t in_flight() const noexcept {
        return slot_count_ - static_cast<std::uint32_t>(free_count_);
    }
    [[nodiscard]] bool full() const noexcept { return free_count_ == 0; }

    // The largest number of data segments in one request of the device.
    [[nodiscard]] std::uint32_t segments() const noexcept { return table_entries_ == 0 ? 1 : table_entries_ - 2; }

    // True if there is a free slot whose chain, as it is, takes one data segment.
    [[nodiscard]] bool has_plain_slot() const noexcept {
        return free_count_ != 0 && slots_[free_[free_count_ - 1]].segments == 1;
    }

    // Puts one request of the device into a free slot (there must be one); the device sees it at the next publish.
    // Nothing of it is split: lengths and number of segments are within the limits.
    void submit_data(request& owner, std::uint64_t sector, const std::byte* data, std::uint32_t length) noexcept {
        fill_data(take_slot(1), owner, sector, data, length);
    }
    // The same if has_plain_slot(): short enough to be inline.
    void submit_plain_data(request& owner, std::uint64_t sector, const std::byte* data, std::uint32_t length) noexcept {
        fill_data(free_[--free_count_], owner, sector, data, length);
    }
    void submit_data(request& owner, std::uint64_t sector, std::span<const data_segment> segments) noexcept;
    void submit_range(request& owner, const virtio_blk::range_segment& range) noexcept;
    void submit_flush(request& owner) noexcept;
    void submit_get_id(request& owner) noexcept;

    // For a benchmark that offers chains to ring() itself: builds slot number `slot` into a read, and answers its head.
    // Nobody waits for it, so its completion must be taken from ring() too.
    std::uint16_t build_unowned_read(std::uint32_t slot, std::uint64_t sector, std::span<std::byte> buffer) noexcept;

    enum class drained : std::uint8_t { nothing, something, device_lies };

    // Takes all used chains, and makes ready the requests that are complete with them. Each used element is authenticated:
    // no more than are in flight, index of a slot in flight (so never twice), length credible, status written.
    drained drain(async::executor& hart) noexcept;

    // Ends everything inside with `outcome`. The device has been reset, or is lost.
    void abandon(async::executor& hart, status outcome) noexcept;

    // Interrupts on, then a look: true if something is waiting already. Interrupts off.
    [[nodiscard]] bool arm() noexcept;
    void disarm() noexcept;
    [[nodiscard]] bool armed() const noexcept { return armed_; }

    // Set by the interrupt handler, taken back by drain().
    [[nodiscard]] bool pending() const noexcept { return pending_.load(std::memory_order_relaxed); }

    // Interrupt context: marks the queue if something has completed in it.
    void interrupted() noexcept;

    counters count{};

  private:
    // What the device sees of a slot beside its descriptors: one cache line.
    struct alignas(64) slot_memory {
        virtio_blk::request_header header;
        virtio_blk::range_segment range;
        virtio_blk::id_string id;
        virtio::shared<std::uint8_t> status;
    };
    static_assert(sizeof(slot_memory) == 64);

    struct slot {
        request* owner; // nullptr: free
        slot_memory* memory;
        virtio::descriptor* data; // first data descriptor of the chain as it is laid out now
        std::uint32_t writable;   // bytes of the chain that the device may write
        std::uint32_t segments;   // data descriptors of the chain as it is laid out now
    };

    // The head of a free slot, whose chain has so many data descriptors.
    std::uint16_t take_slot(std::uint32_t segments) noexcept {
        const std::uint16_t head = free_[--free_count_];
        if (slots_[head].segments != segments) [[unlikely]] {
            chain(head, segments);
        }
        return head;
    }

    void fill_data(std::uint16_t head, request& owner, std::uint64_t sector, const std::byte* data,
                   std::uint32_t length) noexcept {
        const bool reads = owner.type_ == virtio_blk::request_type::in;
        virtio::descriptor& buffer = *slots_[head].data;
        buffer.address = arch::device_address(data);
        buffer.length = length;
        buffer.flags = reads ? device_writes : device_reads;
        offer(head, owner, sector, reads ? length + 1 : 1);
    }

    // Gives a slot whose data is in place to the ring. `writable`: how many bytes of the chain the device may write.
    void offer(std::uint16_t head, request& owner, std::uint64_t sector, std::uint32_t writable) noexcept {
        slot& taken = slots_[head];
        taken.owner = &owner;
        taken.writable = writable;
        taken.memory->header.type = static_cast<std::uint32_t>(owner.type_);
        taken.memory->header.sector = sector;
        taken.memory->status.store(virtio_blk::status_byte::poison);
        ring_.offer(head);
    }

    void chain(std::uint16_t head, std::uint32_t segments) noexcept;
    static bool finish_piece(request& owner, const slot_memory& memory) noexcept;

    static constexpr std::uint16_t device_reads = virtio::descriptor_flag::next;
    static constexpr std::uint16_t device_writes = virtio::descriptor_flag::next | virtio::descriptor_flag::write;

    virtio::split_virtqueue ring_;
    slot* slots_ = nullptr; // by head descriptor; those between heads are never in use
    std::uint16_t* free_ = nullptr;
    std::size_t free_count_ = 0;
    std::uint32_t slot_count_ = 0;
    bool trusts_length_ = true;
    bool armed_ = false;
    std::atomic<bool> pending_{false};

    std::byte* ring_memory_ = nullptr;
    virtio::descriptor* tables_ = nullptr; // indirect tables, one per slot
    std::uint32_t table_entries_ = 0;      // 0: no indirect descriptors
    std::uint16_t stride_ = 3;             // descriptors per slot
    std::uint16_t size_ = 0;
};

} // namespace inflight::block
