// One virtqueue of a disk with its request slots: from an operation to descriptors and back.
//
// A slot is a chain of descriptors that is built once and used again and again; its id is the index of its first
// descriptor. Header, status byte and small payloads of a slot lie in memory that the queue owns for ever, so no frame
// or stack is ever known to the device. A request writes only what differs from the last one.
//
// The driver's own state of a slot and the memory that the device can reach lie in different pages. The device's memory
// has two kinds of fields. The driver can only write the first kind (virtio::driver_written), so it cannot read its
// state back from there. The device writes the second kind (virtio::device_written): used index, used elements, status
// byte, serial number. Only drain() and what it calls take a decision by them, after they were checked; other readers
// only ask whether the used index has moved.
#pragma once

#include "inflight/arch/arch.hpp"
#include "inflight/async/executor.hpp"
#include "inflight/async/trace.hpp"
#include "inflight/drivers/block/operation.hpp"
#include "inflight/drivers/block/pieces.hpp"
#include "inflight/drivers/block/virtio_blk.hpp"
#include "inflight/drivers/memory/dma_memory.hpp"
#include "inflight/drivers/virtio/packed_slot_table.hpp"
#include "inflight/drivers/virtio/slot_table.hpp"
#include "inflight/drivers/virtio/virtqueue.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::block {

class queue {
  public:
    struct counters {
        std::uint64_t requests;      // device requests that have completed
        std::uint64_t notifications; // notifications sent to the device
        std::uint64_t interrupts;    // interrupts that found something completed here
        std::uint64_t in_flight;     // device requests that the device has now
        std::uint64_t short_lengths; // device requests of which the device claims to have written less than it did
    };

    queue() noexcept = default;
    queue(const queue&) = delete;
    queue& operator=(const queue&) = delete;

    // How many descriptors of the ring a request takes where a ring may have `size` descriptors.
    [[nodiscard]] static std::uint16_t chain_length(std::uint32_t size, bool packed, bool in_order,
                                                    bool indirect) noexcept;

    // Takes its memory, once; a later reset() uses it again. `size` is as device::queue_size() gives it, at least 3.
    // `ranges` is the largest number of them in one device request. False if no memory is left.
    [[nodiscard]] bool allocate(dma_memory& memory, std::uint16_t size, const virtio::queue_format& format,
                                bool indirect, std::uint32_t segments, std::uint32_t ranges) noexcept;
    [[nodiscard]] bool is_allocated() const noexcept { return slots_.is_allocated() || packed_slots_.is_allocated(); }

    // Lays out an empty queue, all zero, as the device wants to be given it. The device does not know it, or was reset.
    // With `strict_lengths`, a request ends with device_error if the device says that it has written less than it has
    // to.
    void reset(const virtio::queue_format& format, bool strict_lengths) noexcept;

    // Makes all slots free, after the device has been given the queue and before anything is submitted. The chain of a
    // slot is built when the slot is first used, so that a large queue costs nothing until it is needed.
    void build() noexcept;
    [[nodiscard]] bool is_built() const noexcept { return is_built_; } // since the last reset()

    // An interrupt of this queue was lost. True if it is time for a reset of the queue: `lost_until_reset` were lost and
    // none has come meanwhile.
    static constexpr std::uint32_t lost_until_reset = 3;
    [[nodiscard]] bool interrupt_was_lost() noexcept;

    // True if the device has had something since the last call, has completed nothing, and still wants to be notified
    // of what is in flight: then it has not seen a notification.
    [[nodiscard]] bool seems_unnoticed() noexcept;

    // The queue is to be reset by itself when nothing is in flight here; until reset().
    void request_reset() noexcept { reset_requested_ = true; }
    [[nodiscard]] bool reset_requested() const noexcept { return reset_requested_; }

    // True if nothing is in flight here that must end first: before the reset of this queue that was requested, or before
    // a change for which all queues must be empty (`all`).
    [[nodiscard]] bool is_drained(bool all) const noexcept { return in_flight() == 0 || !(all || reset_requested_); }

    [[nodiscard]] virtio::virtqueue& ring() noexcept { return ring_; }

    // How many device requests fit in at once, and how many are in flight.
    [[nodiscard]] std::uint32_t slots() const noexcept { return slots_.size() + packed_slots_.size(); }
    [[nodiscard]] std::size_t in_flight() const noexcept {
        return ring_.is_packed() ? packed_slots_.in_flight(ring_.packed()) : ring_.in_flight();
    }
    [[nodiscard]] bool full() const noexcept { return slots_.full() && packed_slots_.full(); } // one has none

    // The largest number of data segments in one device request.
    [[nodiscard]] std::uint32_t segments() const noexcept { return table_entries_ == 0 ? 1 : table_entries_ - 2; }

    // The largest number of ranges in one device request.
    [[nodiscard]] std::uint32_t ranges() const noexcept { return ranges_per_slot_; }

    // Puts a whole read or write with one data segment into a free slot of a split ring; the device sees it at the next
    // publish. False, and nothing happens, if there is no free slot of that shape at hand, if the quantum has ended, or
    // if the ring is not split.
    bool submit_plain(operation& owner) noexcept {
        if (slots_.front().shape != shape_of(owner.type, 1) || ring_.split().run_has_ended()) [[unlikely]] {
            return false;
        }
        submit_into(slots_.take(), owner);
        return true;
    }

    // The same for a packed ring with indirect descriptors, where the request does not begin a batch.
    [[gnu::always_inline]] bool submit_plain_packed(operation& owner) noexcept {
        if (packed_slots_.front().shape != shape_of(owner.type, 1)) [[unlikely]] {
            return false;
        }
        slot& taken = packed_slots_.take();
        const std::uint64_t word = packed_slots_.word_of(taken);
        submit_into_packed(taken, owner).word.store(word);
        return true;
    }

    // The same where it begins one.
    bool submit_plain_packed_first(operation& owner) noexcept {
        if (!packed_slots_.is_between_batches() || packed_slots_.batch_front().shape != shape_of(owner.type, 1))
            [[unlikely]] {
            return false;
        }
        slot& taken = packed_slots_.take_batch_front();
        const std::uint64_t word = packed_slots_.word_of(taken);
        ring_.packed().hold_back(submit_into_packed(taken, owner), word);
        return true;
    }

    // The same into any free slot of any ring. There must be one. The quantum may have ended.
    void submit_whole(operation& owner) noexcept {
        if (slots_.front().shape != shape_of(owner.type, 1)) [[unlikely]] {
            submit_whole_slow_path(owner);
        } else {
            submit_into(slots_.take(), owner);
        }
    }

    // The same for a piece of any kind of operation; there must be a free slot. submit_data() returns false if there is
    // no room to share the data with the device; nothing is submitted then.
    [[nodiscard]] bool submit_data(operation& owner, const data_piece& piece) noexcept;
    void submit_ranges(operation& owner, const range_piece& piece) noexcept;
    void submit_without_data(operation& owner) noexcept;
    void submit_get_id(operation& owner) noexcept;
    void submit_get_lifetime(operation& owner) noexcept;

    // Shows the device what was submitted. True if it wants a notification for that.
    [[nodiscard]] bool publish() noexcept {
        if (ring_.is_packed()) {
            packed_slots_.publish(ring_.packed());
        } else {
            slots_.published();
        }
        return ring_.publish();
    }

    // Whether the device would want a notification if publish() were called now: it may change its mind until then.
    [[nodiscard]] bool publish_would_notify() noexcept {
        if (ring_.is_packed()) {
            packed_slots_.catch_up(ring_.packed());
        }
        return ring_.publish_would_notify();
    }

    // The same, and arms the queue before, where ring().wants_arm_and_publish_split(). Calls notify() if the device
    // wants a notification. Returns true if something has completed already.
    template <typename Notify>
    [[nodiscard, gnu::always_inline]] inline bool arm_and_publish_split(std::size_t available,
                                                                        Notify&& notify) noexcept {
        slots_.published();
        return ring_.arm_and_publish_split(available, notify);
    }

    // The same where ring().wants_arm_and_publish_packed().
    template <typename Notify>
    [[nodiscard, gnu::always_inline]] inline bool arm_and_publish_packed(Notify&& notify) noexcept {
        packed_slots_.publish(ring_.packed());
        return ring_.arm_and_publish_packed(notify);
    }

    // A quantum: how many plain requests the queue takes before it is another queue's turn. It ends early where the
    // ring begins again.
    void begin_quantum(std::uint32_t requests) noexcept {
        if (ring_.is_packed()) {
            packed_slots_.begin_run(ring_.packed(), requests);
        } else {
            ring_.split().begin_run(requests);
        }
    }
    [[nodiscard]] bool quantum_has_ended() const noexcept {
        return ring_.is_packed() ? packed_slots_.run_has_ended() : ring_.split().run_has_ended();
    }

    enum class drained : std::uint8_t { protocol_violation, nothing, something };

    // Takes all used chains, and makes ready the operations that are complete with them. Each used element is
    // authenticated: no more than were published, id of a slot whose chain was published and not used since, length
    // credible, status written.
    drained drain(async::executor& hart) noexcept;

    // drain() in two steps, after ring().begin_drain(). The first takes what is exactly as expected, and returns how
    // many; only of a split ring, and where all_published(). The second takes anything.
    [[nodiscard]] bool all_published() const noexcept { return !slots_.some_unpublished(ring_.split()); }
    [[gnu::always_inline]] std::size_t drain_expected(async::executor& hart, std::size_t used) noexcept {
        async::executor::many_ready ready{hart};
        return slots_.for_each_expected_published(
            ring_.split(),
            used, [&](slot & done) __attribute__((always_inline)) { return complete_expected(done, ready); });
    }
    drained drain_rest(async::executor& hart, std::size_t used) noexcept;

    // The same of a packed ring, which is not armed. The first takes what comes in order, and returns whether there was
    // any.
    [[gnu::always_inline]] bool drain_in_order_packed(async::executor& hart) noexcept {
        async::executor::many_ready ready{hart};
        return packed_slots_.take_in_order(
            ring_.packed(), [&](slot & done) __attribute__((always_inline)) { return complete_expected(done, ready); });
    }
    drained drain_rest_packed(async::executor& hart) noexcept;

    // Takes everything back that is in flight, after the device was reset or lost. Calls take(owner, age) for each
    // device request; `age` is the number of calls of grow_older() that it has seen. `confirmed`: the device does not
    // use the memory any more.
    template <typename Take>
    void take_back(bool confirmed, Take&& take) noexcept {
        const auto take_one = [this, confirmed, &take](slot& each, std::uint32_t age) {
            if (confirmed) {
                unshare(each);
            }
            take(*each.owner, age);
        };
        if (ring_.is_packed()) {
            packed_slots_.take_back(take_one);
        } else {
            slots_.take_back(take_one);
        }
    }

    // Makes everything in flight one period older. Marks an operation late, and returns true, if it has seen `old`
    // periods and the queue has completed several times as many others as it holds since the first of them.
    bool grow_older(std::uint32_t old) noexcept;

    // A notification was sent.
    void notified() noexcept { ++notifications_; }

    // How many device requests have completed. Exact on the queue's own hart.
    [[nodiscard]] std::uint64_t completed() const noexcept { return completed_before_reset_ + ring_.taken(); }
    [[nodiscard]] counters count() const noexcept {
        return {.requests = completed(),
                .notifications = notifications_,
                .interrupts = ring_.interrupts(),
                .in_flight = in_flight(),
                .short_lengths = short_lengths_};
    }

    // Called with `context` when the first used length was too short.
    void on_short_length(void (*call)(void* context) noexcept, void* context) noexcept {
        short_length_call_ = call;
        short_length_context_ = context;
    }

    // For a benchmark that drives ring() itself: what it takes between these two is not counted as requests. Nothing is
    // in flight.
    void begin_raw() noexcept {
        ring_.disarm();
        taken_before_raw_ = ring_.taken();
    }
    void end_raw() noexcept {
        completed_before_reset_ -= ring_.taken() - taken_before_raw_;
        if (ring_.is_packed()) {
            packed_slots_.free_all(ring_.packed(), [](slot&) {});
        }
    }

    // For a benchmark that drives ring() itself: builds slot number `slot` into a read, and makes it available. Nobody
    // waits for it, so its completion must be taken from ring() too.
    void submit_unowned_read(std::uint32_t slot, std::uint64_t sector, std::span<std::byte> buffer) noexcept;

    // The same with a slot that was built so, by the id of its chain.
    [[gnu::always_inline]] inline void resubmit_unowned(std::uint64_t id) noexcept {
        if (ring_.is_packed()) {
            resubmit_unowned_packed(packed_slots_.slot(static_cast<std::uint32_t>(id)));
        } else {
            ring_.split().make_available(static_cast<std::uint16_t>(id));
        }
    }

    [[no_unique_address]] trace::track track; // of which queue the trace speaks
    queue* sibling = nullptr;                 // the next queue of the same channel
    std::uint16_t index = 0;                  // of the device's queues
    bool has_zones = false;                   // the device may end a request with a status of zones

  private:
    struct range_memory {
        virtio::driver_written<std::uint64_t> sector;
        virtio::driver_written<std::uint32_t> num_sectors;
        virtio::driver_written<std::uint32_t> flags;
    };
    static_assert(sizeof(range_memory) == sizeof(virtio_blk::range_segment));

    // What the device sees of a slot beside its descriptors: one cache line.
    struct alignas(64) slot_memory {
        struct {
            virtio::driver_written<std::uint32_t> type;
            virtio::driver_written<std::uint32_t> reserved;
            virtio::driver_written<std::uint64_t> sector;
        } header;                                                           // virtio_blk::request_header
        range_memory range;                                                 // of a request with one
        std::array<virtio::device_written<char>, virtio_blk::id_length> id; // its end: append_sector of a zone append
        virtio::device_written<std::uint8_t> status;
        struct {
            virtio::device_written<std::uint16_t> pre_eol_info;
            virtio::device_written<std::uint16_t> device_lifetime_est_typ_a;
            virtio::device_written<std::uint16_t> device_lifetime_est_typ_b;
        } lifetime; // virtio_blk::lifetime
    };
    static_assert(sizeof(slot_memory) == 64);
    static_assert(offsetof(slot_memory, id) + virtio_blk::id_length == offsetof(slot_memory, status));
    static_assert(sizeof(slot_memory::header) == sizeof(virtio_blk::request_header));
    static_assert(sizeof(slot_memory::lifetime) == sizeof(virtio_blk::lifetime));

    // A piece of a caller's buffer that the device has by dma_memory::share().
    struct shared_segment {
        std::byte* data;
        std::uint32_t length;
        dma_direction direction;
        std::uint64_t address;
    };

    static constexpr std::uint16_t no_shape = 0xffff;

    // A slot: one cache line that only the driver sees.
    struct slot : virtio::slot_base<slot> {
        std::uint16_t shape = no_shape;      // what the chain and its header are laid out for now, see shape_of()
        std::uint16_t shared = 0;            // how many of its segments are shared, see shared_segments()
        operation* owner = nullptr;          // of what is in flight
        slot_memory* memory = nullptr;       // what the device sees of it
        virtio::descriptor* chain = nullptr; // its first descriptor, as it is laid out now; the second one is of data
    };
    static_assert(sizeof(slot) == 64);

    // The type and the number of data segments of a request, in one word: a slot of the right shape is used as it is. A
    // read with one segment is 0, which is the quickest to compare with.
    static constexpr std::uint16_t shape_of(virtio_blk::request_type type, std::uint32_t segments) noexcept {
        return static_cast<std::uint16_t>(static_cast<std::uint32_t>(type) << 8 | ((segments - 1) & 0xffu));
    }
    // The same in this queue: the quick ways of a packed ring are for tables, so no shape of another chain is theirs.
    static constexpr std::uint16_t no_table = 0x8000;
    [[nodiscard]] std::uint16_t shape_here(virtio_blk::request_type type, std::uint32_t segments) const noexcept {
        return static_cast<std::uint16_t>(shape_of(type, segments) | (chains_ != nullptr ? no_table : 0));
    }

    // A free slot (there must be one) of the owner's type, with that many data segments.
    slot& take_slot(const operation& owner, std::uint32_t segments) noexcept {
        slot& taken = ring_.is_packed() ? packed_slots_.take_any(ring_.packed()) : slots_.take();
        if (taken.shape != shape_here(owner.type, segments)) {
            reshape(taken, owner.type, segments);
        }
        return taken;
    }

    // The fields are read before anything is stored, because the compiler cannot prove that a store leaves them as they
    // are.
    void submit_into(slot& taken, operation& owner) noexcept {
        const std::uint64_t sector = owner.sector;
        const std::byte* const data = owner.data;
        const std::uint64_t length = owner.length;
        const std::uint64_t expected = owner.device_writes() ? length + 1 : 1;
        taken.chain[1].address.store(arch::device_address(data));
        taken.chain[1].length.store(static_cast<std::uint32_t>(length));
        ring_.split().make_available(taken.id);
        begin(taken, *taken.memory, owner, sector, expected);
    }
    // The same for a packed ring, but for the word of the descriptor that is returned.
    [[gnu::always_inline]] virtio::packed_descriptor& submit_into_packed(slot& taken, operation& owner) noexcept {
        const std::uint64_t sector = owner.sector;
        const std::byte* const data = owner.data;
        const std::uint64_t length = owner.length;
        const std::uint64_t expected = taken.word() + (owner.device_writes() ? length : 0);
        virtio::descriptor* const table = taken.chain;
        virtio::packed_descriptor& place = *taken.place;
        table[1].address.store(arch::device_address(data));
        table[1].length.store(static_cast<std::uint32_t>(length));
        // Each time, because a device may write anything into the address of a used descriptor.
        place.address.store(arch::device_address(table));
        begin(taken, memory_before(table), owner, sector, expected);
        return place;
    }
    [[gnu::noinline]] void submit_whole_slow_path(operation& owner) noexcept;
    [[nodiscard]] bool drain_expected_packed(async::executor& hart) noexcept;

    // Gives a slot whose data is in place to a ring of any format.
    void make_available(slot& taken, operation& owner, std::uint64_t sector, std::uint64_t expected) noexcept;
    void make_available_packed(const slot& taken) noexcept;
    void resubmit_unowned_packed(const slot& built) noexcept;
    // The descriptor of a packed ring that points to the table of a slot.
    [[nodiscard]] static virtio::buffer table_buffer(const slot& of) noexcept;

    // What the driver remembers of a slot that is given to the device, and what differs from request to request.
    void begin(slot& taken, slot_memory& memory, operation& owner, std::uint64_t sector,
               std::uint64_t expected) noexcept {
        taken.owner = &owner;
        taken.expected = expected;
        memory.header.sector.store(sector);
        memory.status.preset(virtio_blk::status_byte::poison);
        trace::record(trace::event::submit, track, taken.id);
    }

    [[nodiscard]] bool allocate_slots(dma_memory& memory, bool packed) noexcept;
    void reshape(slot& free_slot, virtio_blk::request_type type, std::uint32_t segments) noexcept;
    // The device-writable end of a request: the status, and before it what a zone append returns.
    [[nodiscard]] static virtio::buffer end_of(slot_memory& memory, virtio_blk::request_type type) noexcept;
    void build_split(slot& free_slot, std::uint32_t segments, bool device_writes, const virtio::buffer& end) noexcept;
    void build_packed_table(slot& free_slot, std::uint32_t segments, bool device_writes,
                            const virtio::buffer& end) noexcept;
    void build_packed_chain(slot& free_slot, std::uint32_t segments, bool device_writes,
                            const virtio::buffer& end) noexcept;
    // The indirect table of a slot lies behind its memory.
    [[nodiscard]] static virtio::descriptor* table_of(const slot& of) noexcept {
        return reinterpret_cast<virtio::descriptor*>(of.memory + 1);
    }
    [[nodiscard]] static slot_memory& memory_before(virtio::descriptor* table) noexcept {
        return reinterpret_cast<slot_memory*>(table)[-1];
    }
    // Slots counted without gaps.
    [[nodiscard]] std::size_t number_of(const slot& of) const noexcept {
        return ring_.is_packed() ? of.id : of.id / stride_;
    }
    void set_data(slot& taken, std::uint32_t segment, std::uint64_t address, std::uint32_t length) noexcept;
    [[nodiscard]] virtio::buffer* chain_of(const slot& of) noexcept { return chains_ + number_of(of) * stride_; }
    [[nodiscard]] bool share(slot& taken, const operation& owner, const data_piece& piece) noexcept;
    void unshare(slot& used) noexcept;
    [[nodiscard]] shared_segment* shared_segments(const slot& of) noexcept {
        return shared_ + number_of(of) * segments();
    }
    [[gnu::noinline]] drained drain_in_order(async::executor& hart, std::size_t used) noexcept;
    // Returns false if the device says that it has failed.
    [[gnu::always_inline]] bool complete_expected(slot& done, async::executor::many_ready& ready) noexcept {
        if (done.memory->status.load() != virtio_blk::status_byte::ok) [[unlikely]] {
            return false;
        }
        operation* const owner = done.owner;
        owner->end(status::ok);
        trace::record(trace::event::used, track, done.id);
        ready.make_ready(*owner);
        return true;
    }
    [[nodiscard]] static std::span<virtio::device_written<char>> append_sector_of(slot_memory& of) noexcept {
        return std::span{of.id}.last<virtio_blk::append_sector_length>();
    }
    void take_result(const slot& done) noexcept;
    [[nodiscard]] bool complete_checked(slot& done, std::uint32_t length, bool reserved,
                                        async::executor& hart) noexcept;

    virtio::virtqueue ring_;
    virtio::slot_table<slot> slots_;               // of a split ring
    virtio::packed_slot_table<slot> packed_slots_; // of a packed one
    std::uint64_t completed_before_reset_ = 0;     // less what was taken between begin_raw() and end_raw()
    std::uint64_t taken_before_raw_ = 0;
    std::uint64_t notifications_ = 0;
    std::uint64_t short_lengths_ = 0;
    bool trusts_length_ = true;   // at all: a length that is too long is a protocol violation
    bool strict_lengths_ = false; // a length that is too short fails the request
    bool is_built_ = false;
    bool reset_requested_ = false;
    std::uint32_t lost_in_a_row_ = 0;
    std::uint64_t interrupts_then_ = 0; // when one was lost
    std::size_t taken_then_ = 0;        // see seems_unnoticed()
    std::size_t published_then_ = 0;

    void (*short_length_call_)(void* context) noexcept = nullptr;
    void* short_length_context_ = nullptr;

    dma_memory* sharing_ = nullptr; // nullptr if devices reach every buffer where it lies
    shared_segment* shared_ = nullptr;
    range_memory* ranges_ = nullptr; // ranges_per_slot_ of each slot; nullptr if that is 1
    std::uint32_t ranges_per_slot_ = 1;
    std::byte* ring_memory_ = nullptr;
    std::uint32_t table_entries_ = 0;  // of the indirect table of a slot; 0: no indirect descriptors
    virtio::buffer* chains_ = nullptr; // of a packed ring without them: the chains, for the driver only
    std::uint16_t stride_ = 3;         // descriptors per slot
    std::uint16_t size_ = 0;
};

} // namespace inflight::block
