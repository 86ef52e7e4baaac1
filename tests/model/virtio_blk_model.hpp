// A strict model of a virtio block device: on MMIO, version 2 or 1 (legacy), or on PCI, modern or legacy; with split and packed
// rings.
//
// It is written from the specification alone and does two things. It watches: whatever the driver does that the
// specification, or a rule of ours, does not permit is reported to the machine under the id of the rule (a row of the
// requirement table). And it misbehaves on demand, see `behaviour` and `fault`.
//
// The rules of our own: POISON (the status byte of a request holds no valid status when the request is handed over),
// BUFFER (header and data stay as they are while the device has them), CONSUME (used elements and status bytes are read
// after a fence that follows the look at the index, or at the flags, that told of them), OWNER (the driver leaves the
// device event suppression structure of a packed ring alone), DOORBELL and ACKNOWLEDGE (the fences of those names are
// where they must be), DRAINED (a queue that is reset by itself has no requests), NOTIFY (more superfluous notifications
// than permitted), IDLE (something is left at the end of a test), ZONES (a request to a zoned device goes from one zone to
// another, which the specification does not forbid and the device refuses); MODEL is something that this model cannot
// follow.
#pragma once

#include "arch/arch.hpp"
#include "tests/model/specification.hpp"
#include "tests/model/zones.hpp"

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace inflight::model {

using arch::ticks;

// What QEMU's virtio-blk-device offers for a writable disk with several queues, less RING_RESET and RING_PACKED.
std::uint64_t usual_features(std::uint32_t version);

// How the device is on PCI. Its registers lie in one window.
struct pci_configuration {
    static constexpr std::uint64_t common = 0, isr = 0x1000, device = 0x2000,
                                   notify = 0x3000; // of the modern interface

    std::uint16_t vectors = 0; // in its MSI-X table; 0: it has no MSI-X
    std::uint32_t notify_multiplier = 4;
    std::uint32_t device_length = 96; // of the device-specific configuration, modern only
};

// What the device is. It does not change while the device lives, except through the functions of the model.
struct blk_configuration {
    std::uint32_t version = 2; // 1 is the legacy interface
    std::uint32_t magic_value = magic;
    std::uint32_t device_id = 2; // 0 is an empty slot
    std::uint32_t vendor_id = 0x4d4f444c;
    std::optional<std::uint64_t> features; // offered; absent: usual_features(version)

    std::uintptr_t base = 0x1000'8000; // of the registers
    unsigned line = 8;
    std::optional<pci_configuration> pci; // absent: on MMIO

    unsigned queues = 1;                                 // that exist
    std::optional<std::uint16_t> num_queues;             // that the configuration space claims; absent: the truth
    std::uint32_t queue_size_max = 256;                  // of every queue
    std::map<unsigned, std::uint32_t> queue_size_max_of; // of single queues

    std::uint64_t capacity = 8192; // sectors of 512 bytes
    std::uint32_t size_max = 1 << 16;
    std::uint32_t seg_max = 254;
    std::uint32_t blk_size = 512;
    std::uint8_t writeback = 1;
    std::uint32_t max_discard_sectors = 0x3fffff;
    std::uint32_t max_discard_seg = 1;
    std::uint32_t discard_sector_alignment = 1;
    std::uint32_t max_write_zeroes_sectors = 0x3fffff;
    std::uint32_t max_write_zeroes_seg = 1;
    std::uint8_t write_zeroes_may_unmap = 1;
    std::uint32_t max_secure_erase_sectors = 0x3fffff;
    std::uint32_t max_secure_erase_seg = 1;
    std::uint32_t secure_erase_sector_alignment = 1;
    std::uint8_t zoned_model = 0; // a host-aware device has no zones here: its driver is one that does without
    zone_configuration zoned;
    std::array<std::uint8_t, 6> lifetime{1, 0, 2, 0, 3, 0};
    std::string identifier = "inflight-model"; // at most 20 characters

    // What the checks let pass.
    unsigned max_descriptors = 0;              // of one request (SPLIT-03, PACK-06, PACK-14); 0: no bound
    std::uint64_t superfluous_permitted = ~0U; // notifications per queue
    // Rows of the table that the driver deviates from by decision: it need not use packed rings.
    std::set<std::string, std::less<>> tolerated{"RSVD-06"};
};

// What a callback is told of a request.
struct request_view {
    unsigned queue;
    std::uint64_t number; // counts the requests of the device from 0
    std::uint32_t type;
    std::uint64_t sector;
    std::uint64_t bytes; // of data
};

// The used length that a device claims. Devices exist that do each of these; the work is done, and the status is written.
enum class used_lengths : std::uint8_t {
    full, // all that the device may write: data and status
    zero,
    one,  // as if it had written a status and no data
    data, // without the status byte
    more, // longer than what is device-writable
};

// How the device goes about its work. May be changed at any time. Chances are out of 1000.
struct behaviour {
    // latencies, in ticks; a value is drawn from each range for each use
    ticks notification_latency_min = 5, notification_latency_max = 5; // from the doorbell to the look at the ring
    ticks latency_min = 50, latency_max = 50;                         // from that look to the completion
    bool random_order = false;                                        // of completions within a queue
    unsigned burst = 1;                                               // completions are held back until so many are due
    bool hold = false; // nothing completes until release(); what is due while it is set waits

    // what comes of a request; a callback that returns nothing leaves the choice to the rest
    unsigned error_chance = 0;                                                  // IOERR
    std::set<std::uint64_t> bad_sectors;                                        // IOERR for a request that touches one
    std::function<std::optional<std::uint8_t>(const request_view&)> status_for; // written instead, the work is not done
    std::function<std::optional<ticks>(const request_view&)> latency_for;
    std::function<bool(const request_view&)> never_complete;

    // interrupts
    unsigned spurious_chance = 0;             // after a look at the ring: one with nothing used
    unsigned interrupt_suppressed_chance = 0; // one although the driver asked for none
    bool complete_in_rearm_window =
        false;                            // completes one request, without interrupt, at the full fence after re-arming
    bool complete_at_acknowledge = false; // completes one request just before the acknowledgement takes effect
    bool undefined_interrupt_bits = false; // random bits above the two that exist in InterruptStatus

    // notifications
    ticks suppress_for = 0;            // after a look the device asks for no notification and polls so much later
    unsigned avail_event_ahead = 0;    // asks for its notification up to so many entries later, and polls meanwhile
    bool trusts_notifications = false; // that poll leaves to the notification what has passed the wish for it
    bool used_flags_noise = false;     // with EVENT_IDX: sets used.flags to 1 (the driver has to ignore it)
    bool avail_event_noise = false;    // without EVENT_IDX: writes random avail_event

    bool odd_lengths = false; // legacy: random used lengths
    used_lengths lengths = used_lengths::full;
    bool pads_identifier =
        true; // else what follows the NUL of the identifier stays as the driver left it, as QEMU does it
    std::optional<std::uint16_t> index_jump; // how far used_index_jump goes beyond what is in flight; absent: at random
    ticks service_interval = 0;              // the whole device completes no more than one request in so many ticks
    bool in_order_batches = false;           // with IN_ORDER: one used entry retires a burst

    // packed rings
    bool used_without_write = false;    // used descriptors never have WRITE, as QEMU leaves them
    bool used_descriptor_noise = false; // what is reserved in a used descriptor is random: address, NEXT, INDIRECT, and
                                        // the length where WRITE is not set
    bool interrupt_each_lap = false;    // with EVENT_IDX: one more whenever the used counter wraps, as QEMU does it

    // slowness of registers, in reads that still show the old state
    unsigned reset_reads = 0;
    unsigned queue_stop_reads = 0;
    unsigned queue_reset_reads = 0;
    bool queue_reset_ignored = false; // RING_RESET is offered but does nothing, as in QEMU 7.2

    bool forgets_to_refuse_zones = false; // a host-managed device keeps FEATURES_OK without ZONED, as QEMU does it

    std::uint16_t vectors_accepted = 0xffff; // MSI-X: vectors from this one on are refused

    // Called before each access to a register takes effect, with its number from 0 on: what the device does just then.
    std::function<void(std::uint64_t number, std::uint64_t offset, bool write)> before_access;
};

// Things that a device must not do, or that seldom happen. `inject` arms one; in brackets the opportunity that it waits
// for. In a packed ring, where there is no used.idx, used_index_jump marks slots from the used counter on as used, down to some
// that the device was never given; used_index_backwards marks the last ones that were used as available again.
enum class fault : std::uint8_t {
    used_index_jump,       // used.idx runs ahead of what is in flight                      [completion]
    used_index_backwards,  // used.idx goes back                                            [completion]
    used_id_out_of_range,  // id >= queue size; the request is lost                         [completion]
    used_id_free,          // id of a slot that is not in use; the request is lost          [completion]
    used_id_mid_chain,     // id of a slot in a chain, split only; the request is lost      [completion]
    used_duplicate,        // the same id twice; a packed queue goes no further             [completion]
    length_too_long,       // longer than what is device-writable                           [completion]
    length_too_short,      // the length leaves out the status and some data, which are written     [completion]
    status_not_written,    // the status byte stays poisoned                                [completion]
    status_unknown,        // a status from 3 to 255                                        [completion]
    io_error,              // IOERR                                                         [completion]
    unsupported,           // UNSUPP                                                        [completion]
    wrong_data,            // a read returns other data, status 0                           [completion]
    partial_segments,      // DISCARD / WRITE_ZEROES: a random part is done, then IOERR     [completion]
    no_interrupt,          // completes without an interrupt                                [completion]
    never_complete,        // the request stays with the device                             [request taken]
    scribble,              // overwrites descriptors, table and ring entry; no flags of a packed ring [request taken]
    needs_reset,           // DEVICE_NEEDS_RESET, nothing is done any more                  [request taken]
    spurious_interrupt,    // an interrupt with nothing used                                [look at the ring]
    interrupt_stuck,       // acknowledging does not lower the line                         [acknowledgement]
    config_tear,           // capacity changes between the reads of its halves              [capacity half read]
    config_change,         // capacity grows by a sector after a configuration read         [configuration read]
    generation_unstable,   // ConfigGeneration is never the same twice                      [its read]
    features_refused,      // FEATURES_OK does not stay                                     [its write]
    queue_size_zero,       // QueueSizeMax reads 0                                          [its read]
    queue_in_use,          // QueueReady reads 1, QueuePFN non-zero, before set-up          [its read]
    reset_never,           // Status does not read 0 again after a reset                    [reset]
    complete_during_reset, // a request completes after the reset was written and before Status read 0 [status read]
    removed,               // all registers read all ones from here on                      [register access]
    vector_refused,        // PCI: a vector reads back as NO_VECTOR                         [its write]
    notification_lost,     // the device does not look at its ring                          [notification]
    notify_out_of_range,   // PCI: queue_notify_off is far beyond the structure             [its read]
};

inline constexpr std::uint64_t forever = ~std::uint64_t{0};

struct queue_counters {
    std::uint64_t requests = 0;           // taken from the available ring, or from the packed one
    std::uint64_t completed = 0;          // put into the used ring; packed: lists that are used
    std::uint64_t batched = 0;            // of those: with IN_ORDER, without a used entry of their own
    std::uint64_t notifications = 0;      // writes to QueueNotify
    std::uint64_t superfluous = 0;        // of those: suppressed, or without anything new
    std::uint64_t interrupts = 0;         // raised for this queue
    std::uint64_t interrupts_avoided = 0; // completions that the driver wanted no interrupt for
    std::uint64_t segments = 0;           // of discard, write-zeroes and secure-erase requests
    std::uint64_t unmapping_segments = 0; // of these, with the unmap flag
    std::uint64_t unaligned_segments = 0; // discard or erase segments off their alignment (BLK-34)
};

struct register_access {
    ticks time;
    bool write;
    std::uint64_t offset;
    unsigned width;
    std::uint32_t value;
};

class virtio_blk_model final : public arch::host::mmio_device, public arch::host::observer {
  public:
    // Attaches itself to the machine and observes it until the end of its life.
    explicit virtio_blk_model(arch::host::machine&, blk_configuration = {});
    ~virtio_blk_model() override;
    virtio_blk_model(const virtio_blk_model&) = delete;
    virtio_blk_model& operator=(const virtio_blk_model&) = delete;

    behaviour behave; // read at each use

    // The fault happens at the opportunity number `after` from now, counted from 0, and at the following `times` - 1.
    void inject(fault, std::uint64_t after = 0, std::uint64_t times = 1);
    void clear_faults() { armed_.clear(); }
    std::uint64_t fired(fault) const; // how often it has happened

    // PCI. The register that enables MSI-X is not the model's: the test says what is in it. While it is enabled,
    // `deliver_message` is called for each interrupt, with its vector.
    void enable_msix(bool on);
    std::function<void(std::uint16_t vector)> deliver_message;
    std::uint64_t messages(std::uint16_t vector) const;
    std::uint32_t notify_length() const; // of the notification structure
    std::uint16_t notify_off(unsigned queue) const;
    std::uint16_t notif_data(unsigned queue) const; // what a notification names with that feature

    // What happens now, by the will of the test.
    void release(std::size_t requests = ~std::size_t{0}); // completes held requests, oldest first (or at random)
    // A used entry out of thin air, with interrupt. A packed queue goes no further.
    void push_used(unsigned queue, std::uint32_t id, std::uint32_t length);
    void keep_one(); // the oldest request in flight, of any queue, stays with the device for ever
    // Changes the last used entry that was published, or the status byte of its request, after the fact.
    void rewrite_used(unsigned queue, std::uint32_t id, std::uint32_t length);
    void rewrite_status(unsigned queue, std::uint8_t status);
    // What the last used entry that was published says; and how many bytes of its request are device-writable.
    std::uint32_t last_used_id(unsigned queue) const;
    std::uint32_t last_used_writable(unsigned queue) const { return queues_.at(queue).last_writable; }
    // used.idx goes so far ahead, or back, and nothing else happens but an interrupt. Packed: so many slots are marked used,
    // or available again.
    void move_used_index(unsigned queue, int entries);
    // Completes the first chain that lies in the available ring behind avail.idx: offered, and not published. Packed: the
    // list whose first flags are missing. False if there is none that looks so.
    bool complete_unpublished(unsigned queue);
    // Writes over all that a driver shares with the device and that is not the data of a user: rings, indirect tables,
    // headers, status bytes and the payloads of requests that are neither read nor write. The device is of no use after that.
    void scribble_over_everything();
    // From then on the configuration space has this value in the field at `offset`. What the device does is not affected, but
    // for the capacity. No field makes the disk larger than max_disk_sectors: what is claimed beyond fails with IOERR.
    void set_configuration(unsigned offset, std::uint64_t value, bool announce = true);
    static constexpr std::uint64_t max_disk_sectors = std::uint64_t{1} << 14;
    void set_capacity(std::uint64_t sectors, bool announce = true);
    void raise_needs_reset();
    void raise_config_interrupt(); // nothing changed
    void raise_used_interrupt();   // nothing used
    void remove();
    // Power fails: what was not durable is gone, writes in flight may be there in part, the device is as after a reset.
    void power_cut();

    // Whether nothing is in flight, everything that was made available came back, and the line is low; what is left is
    // reported as IDLE, changes of the configuration that nobody looked at as INIT-15 and BLK-05.
    bool idle();

    bool modern() const noexcept { return configuration_.version != 1; }
    std::uint64_t offered() const noexcept { return offered_; }
    std::uint64_t accepted() const noexcept { return accepted_; }
    bool accepted(unsigned bit) const noexcept { return (accepted_ >> bit & 1) != 0; }
    std::uint32_t status() const noexcept { return status_; }
    std::uint64_t resets() const noexcept { return resets_; }
    std::uint64_t capacity() const noexcept { return capacity_; }
    std::size_t in_flight() const; // taken and not completed, all queues
    std::size_t in_flight(unsigned queue) const;
    bool queue_enabled(unsigned queue) const { return queues_.at(queue).live; }
    bool queue_broken(unsigned queue) const { return queues_.at(queue).broken; } // not served any more
    std::uint32_t queue_size(unsigned queue) const { return queues_.at(queue).size; }
    const queue_counters& counters(unsigned queue) const { return queues_.at(queue).counters; }
    queue_counters total() const;
    const blk_configuration& configuration() const noexcept { return configuration_; }

    std::vector<std::byte>& disk() noexcept { return disk_; }                   // what reads see
    model::zones& zones() noexcept { return *zones_; }                          // of a host-managed device
    const std::vector<std::byte>& durable() const noexcept { return durable_; } // what a power cut leaves
    void fill(std::uint64_t seed);                                              // both, with a pattern of that seed

    std::uint64_t access_count() const noexcept { return access_count_; }
    const std::deque<register_access>& accesses() const noexcept { return accesses_; } // the last ones
    void clear_accesses() { accesses_.clear(); }

    std::uint32_t read(std::uint64_t offset, unsigned width) override;
    void write(std::uint64_t offset, unsigned width, std::uint32_t value) override;
    void on_fence(arch::host::fence_kind) override;
    void on_mmio_read(std::uintptr_t address, unsigned width) override;
    void on_mmio_write(std::uintptr_t address, unsigned width, std::uint32_t value) override;
    void on_wait_for_interrupt() override;
    void on_device_word_read(const void* word) override;

  private:
    struct span {
        std::byte* data;
        std::uint64_t length;
    };

    // Bytes of a request as they were at some moment: descriptors and indirect table first, then the request header.
    struct capture {
        std::uint16_t head = 0;
        std::size_t descriptor_part = 0;
        std::vector<std::byte> bytes;
    };

    struct request {
        std::uint64_t number = 0;
        unsigned queue = 0;
        std::uint16_t id = 0;             // in the used ring: the head of the chain, or the buffer id of the list
        std::vector<std::uint16_t> slots; // in the descriptor table or ring
        std::vector<span> readable, writable;
        std::uint64_t readable_bytes = 0, writable_bytes = 0;
        std::size_t elements = 0;
        std::uint32_t type = 0;
        std::uint64_t sector = 0;
        std::uint64_t data_bytes = 0;
        std::byte* status = nullptr;
        std::uint8_t verdict = request_status::ok; // what the checks say must come of it
        bool well_formed = false;
        bool watched = true; // compare with `taken` at completion
        capture taken;
        std::uint64_t payload_digest = 0;
        std::uint64_t log_position = 0; // flush: writes before this one are covered
        bool due = false;
        bool never = false;
    };
    using request_pointer = std::unique_ptr<request>;

    // What the driver asks for in the way of interrupts.
    struct interrupt_wish {
        std::uint16_t event = 0; // used_event, or offset and wrap counter
        std::uint16_t flags = 0;
        bool operator==(const interrupt_wish&) const = default;
    };

    class device_ring; // virtio_blk_ring.hpp
    class split_ring;  // virtio_blk_split_ring.hpp
    class packed_ring; // virtio_blk_packed_ring.hpp
    class pci_front;   // virtio_blk_pci.hpp

    struct virtqueue {
        virtqueue();
        ~virtqueue();
        virtqueue(virtqueue&&) noexcept;
        virtqueue& operator=(virtqueue&&) noexcept;

        // registers
        std::uint32_t size_max = 0;
        std::uint32_t size = 0;
        std::uint32_t align = 0;
        std::uint32_t pfn = 0;
        std::uint64_t descriptor_area = 0, driver_area = 0, device_area = 0;
        bool ready = false;
        bool enabled_before = false; // since the reset of the device

        // what the driver did to set it up
        bool in_use_read = false; // QueueReady or QueuePFN
        bool size_max_read = false;
        bool size_written = false;
        bool align_written = false;
        std::uint32_t addresses_written = 0; // one bit per register
        bool stopping = false;               // QueueReady was set to 0 and not yet seen to be 0
        unsigned stop_reads_left = 0;
        bool resetting = false;
        unsigned reset_reads_left = 0;

        // rings
        bool live = false;                 // then there is a ring
        bool broken = false;               // the driver has confused it beyond repair: it is left alone
        std::unique_ptr<device_ring> ring; // of the format that was negotiated
        std::byte* last_status = nullptr;  // of the request that was completed last
        std::uint32_t last_writable = 0;
        std::map<const std::byte*, std::uint32_t> scribbled; // by the device, each word of 32 bits, and into what
        std::map<std::byte*, std::uint64_t> shared;          // what the driver shares beside the rings: start, bytes
        std::vector<request_pointer> in_flight;              // oldest first
        unsigned looks_scheduled = 0;
        bool misses_notification = false;                // the last one, so that it asks for no other
        std::optional<std::uint64_t> lost_kick_reported; // where the driver stood then

        // order of memory
        bool full_since_advance = true;
        bool doorbell_since_advance = true;
        bool doorbell_since_laid_out = false; // fence_doorbell() since the driver has asked for QueueSizeMax
        // The same from the device to the driver. Used entries are counted from 1 as they are written; so many had been
        // published when a hart last looked at what tells of them, and when it last looked and then fenced.
        std::uint64_t entries_written = 0;
        std::uint64_t entries_published = 0;
        std::vector<std::uint64_t> entry_numbers;                 // by position: which one is there
        std::map<const std::byte*, std::uint64_t> status_numbers; // of the entry that hands the status byte over
        std::vector<std::uint64_t> looked, ordered;               // by hart
        interrupt_wish wish;                                      // before the last full fence

        queue_counters counters;
    };

    struct logged_write {
        std::uint64_t position;
        std::uint64_t sector;
        std::vector<std::byte> bytes;
    };

    struct armed {
        std::uint64_t after;
        std::uint64_t times;
        std::uint64_t fired;
    };

    // virtio_blk_model.cpp: reports, faults, what tests ask for
    void report(std::string_view id, const std::string& message);
    bool fires(fault);
    ticks draw(ticks low, ticks high);
    bool offers(unsigned bit) const noexcept { return (offered_ >> bit & 1) != 0; }
    void raise(std::uint32_t interrupt_bits, const virtqueue* of = nullptr);
    void update_line();
    void begin_reset();
    void finish_reset();
    void forget_queue(virtqueue&);

    // virtio_blk_registers.cpp
    std::uint32_t read_mmio(std::uint64_t offset, unsigned width);
    void write_mmio(std::uint64_t offset, unsigned width, std::uint32_t value);
    void check_access(std::uint64_t meaning, bool write, std::uint32_t value);
    std::optional<unsigned> notified_queue(std::uintptr_t address, std::uint32_t value) const;
    std::uint32_t read_register(std::uint64_t offset);
    void write_register(std::uint64_t offset, std::uint32_t value);
    void announce_access(std::uint64_t offset, bool write);
    void note_access(std::uint64_t offset, unsigned width, bool write, std::uint32_t value);
    void check_identification(std::uint64_t offset, bool write);
    void check_reset_confirmed(std::uint64_t offset, bool write);
    void check_given_up(std::uint64_t offset, bool write, std::uint32_t value);
    void check_queue_stopped(std::uint64_t offset, bool write);
    bool check_register(std::uint64_t offset, bool write);
    virtqueue* selected_queue(std::uint64_t offset, bool write, std::uint32_t value);
    std::uint32_t read_status();
    std::uint32_t read_queue_register(std::uint64_t offset);
    void write_queue_register(std::uint64_t offset, std::uint32_t value);
    void write_queue_size(virtqueue&, std::uint32_t value);
    void check_driver_ok();
    void write_status(std::uint32_t value);
    void check_accepted_features();
    void write_queue_ready(virtqueue&, unsigned index, std::uint32_t value);
    void write_queue_pfn(virtqueue&, unsigned index, std::uint32_t value);
    void write_queue_address(virtqueue&, std::uint64_t offset, std::uint32_t value);
    void check_queue_count(unsigned index);
    void check_laid_out(const virtqueue&);
    void write_queue_notify(std::uint32_t value);
    void write_interrupt_ack(std::uint32_t value);

    // virtio_blk_config.cpp
    std::uint32_t read_config(std::uint64_t offset, unsigned width);
    void write_config(std::uint64_t offset, unsigned width, std::uint32_t value);
    static constexpr std::size_t config_bytes = 96;
    std::array<std::uint8_t, config_bytes> config_image() const;
    // A field of 32 bits as the driver has read it last; else as it was set, or configured.
    std::uint32_t known_field(unsigned offset, std::uint32_t configured) const;
    void follow_config_reads(std::uint64_t offset, bool write);
    std::uint32_t read_generation();
    void note_capacity_read(unsigned half, std::uint32_t value);

    // virtio_blk_ring.cpp
    void start_queue(unsigned index, std::uint64_t descriptor_area, std::uint64_t driver_area,
                     std::uint64_t device_area);
    bool event_idx() const noexcept { return accepted(feature::event_idx); }
    bool packed() const noexcept { return accepted(feature::ring_packed); }
    bool keeps_order() const noexcept { return !behave.random_order || accepted(feature::in_order); }
    unsigned index_of(const virtqueue& queue) const { return static_cast<unsigned>(&queue - queues_.data()); }
    std::string title(const virtqueue& queue) const { return "queue " + std::to_string(index_of(queue)) + ": "; }
    void look_at(unsigned index);
    void check_untouched(const virtqueue&, const request&);
    void schedule(ticks delay, std::function<void()> work); // void after a reset
    void schedule_look(unsigned index, ticks delay, bool notified);
    void process(unsigned index);
    void ask_for_notification(unsigned index, bool busy);
    void take(unsigned index);
    static void break_queue(virtqueue&);
    bool add_element(const virtqueue&, request&, std::uint64_t address, std::uint32_t length, bool writable);
    void note_shared(virtqueue&, const request&);
    void scribble(virtqueue&, std::byte* start, std::size_t bytes);
    static bool holds_scribble(const virtqueue&, const std::byte* start, std::size_t bytes);
    void schedule_completion(unsigned index, const request&);
    void request_due(unsigned index, std::uint64_t number);
    void complete_due(unsigned index);
    void complete(unsigned index, std::vector<request_pointer>);
    request_pointer detach_request(virtqueue&, std::size_t position);
    bool complete_one_anywhere(bool interrupt);
    void interrupt_for(virtqueue&, std::uint64_t before, interrupt_wish);

    // virtio_blk_requests.cpp
    request_view view(const request&) const;
    void inspect(virtqueue&, request&);
    void inspect_framing(const request&);
    void inspect_read_write(request&);
    void inspect_segments(virtqueue&, request&);
    void inspect_zone_write(request&);
    void inspect_zone_request(request&);
    std::uint8_t execute_zone_request(request&);
    void forget_zone(std::uint64_t start);
    static std::uint64_t trailer_bytes(std::uint32_t type); // device-writable, behind the data
    bool touches_bad_sector(const request&) const;
    std::uint32_t perform(request&); // returns the used length
    std::uint32_t claimed_length(const request&);
    std::uint8_t execute(request&);
    void execute_segments(const request&, bool partly);
    std::vector<std::byte> gather(const request&, std::uint64_t offset, std::uint64_t length) const;
    void scatter(const request&, std::uint64_t offset, const std::byte* from, std::uint64_t length) const;
    void fill_with_garbage(const request&, std::uint64_t offset, std::uint64_t length);
    std::uint64_t payload_digest(const request&) const;
    void write_sectors(std::uint64_t sector, std::vector<std::byte> bytes);
    void commit(std::uint64_t position);
    void apply(const logged_write&);
    bool write_through() const;

    arch::host::machine& machine_;
    const blk_configuration configuration_;
    const std::uint64_t offered_;
    std::vector<virtqueue> queues_;
    std::unique_ptr<pci_front> pci_; // nullptr: on MMIO
    std::map<std::uint16_t, std::uint64_t> messages_;
    std::map<fault, armed> armed_;
    std::uint64_t epoch_ = 0;                                    // events of an earlier one are void
    std::shared_ptr<char> life_ = std::make_shared<char>();      // and those of a model that is gone
    bool interrupt_forced_ = false, interrupt_withheld_ = false; // by a fault, for the completion under way
    bool removed_ = false;

    // registers
    std::uint32_t status_ = 0;
    std::uint32_t interrupt_status_ = 0;
    std::uint32_t generation_ = 0;
    std::uint32_t queue_sel_ = 0;
    std::uint32_t device_features_sel_ = 0;
    std::uint32_t driver_features_sel_ = 0;
    std::uint32_t guest_page_size_ = 0;
    std::uint64_t accepted_ = 0;
    std::uint8_t writeback_ = 1;
    std::uint64_t capacity_ = 0;

    // how far the driver has come; the first group survives resets
    std::uint32_t identification_reads_ = 0; // bits: magic, version, device id
    bool reset_once_ = false;
    std::uint64_t resets_ = 0;
    bool resetting_ = false;
    unsigned reset_reads_left_ = 0;
    bool reset_hangs_ = false;
    bool reset_unconfirmed_ = false;

    bool device_features_selected_ = false;
    bool driver_features_selected_ = false;
    std::uint32_t features_read_ = 0;    // bits: words
    std::uint32_t features_written_ = 0; // bits: words
    bool features_refused_ = false;
    bool features_ok_confirmed_ = false;
    bool queue_selected_ = false;
    bool interrupt_status_read_ = false;
    std::uint32_t interrupt_bits_shown_ = 0;
    bool acknowledge_fence_due_ = false;
    bool needs_reset_seen_ = false;
    bool status_look_due_ = false;   // a configuration interrupt was raised and Status not read since
    bool capacity_look_due_ = false; // the same for capacity

    // reads of the configuration
    unsigned config_run_ = 0; // reads since the last other access
    bool generation_just_read_ = false;
    bool generation_before_run_ = false;
    std::uint32_t generation_read_ = 0;
    std::uint32_t capacity_generation_ = 0; // when the driver has read the capacity last
    bool reread_due_ = false;
    std::uint32_t capacity_halves_read_ = 0; // bits
    std::uint64_t capacity_being_read_ = 0;
    std::uint64_t capacity_known_ = 0; // as the driver read it last
    std::vector<std::uint64_t> capacities_read_;
    std::array<std::optional<std::uint8_t>, config_bytes> config_set_;  // by set_configuration()
    std::array<std::optional<std::uint8_t>, config_bytes> config_read_; // bytes that the driver has read, as they were
    ticks service_ends_ = 0;                                            // of the request that was scheduled last
    std::uint64_t access_count_ = 0;

    // the disk
    std::unique_ptr<model::zones> zones_; // nullptr: without any
    std::vector<std::byte> disk_;
    std::vector<std::byte> durable_;
    std::deque<logged_write> log_;
    std::uint64_t log_end_ = 0;
    std::uint64_t log_bytes_ = 0;
    std::vector<std::uint64_t> durable_position_; // per sector: the write whose data is durable
    std::uint64_t requests_taken_ = 0;

    std::deque<register_access> accesses_;
};

} // namespace inflight::model
