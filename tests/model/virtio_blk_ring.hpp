// What the model asks of the rings of a queue, whatever their format. Positions count from the set-up of the queue on, in the
// unit of the format: entries of the split rings, slots of the packed ring.
#pragma once

#include "tests/model/virtio_blk_model.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace inflight::model {

class virtio_blk_model::device_ring {
  public:
    struct part {
        const char* name;
        std::uint64_t alignment;
        std::size_t bytes;
        std::byte* memory = nullptr;
    };

    // The rows of the table for what both formats have a rule about.
    struct rules {
        const char* alignment;
        const char* readable_first;
        const char* too_many_bytes;
        const char* full_fence;
        const char* lost_notification;
        const char* superfluous_notification;
    };

    virtual ~device_ring() = default;
    device_ring(const device_ring&) = delete;
    device_ring& operator=(const device_ring&) = delete;

    std::array<part, 3> parts; // descriptor area, driver area, device area
    const rules rule;

    // The parts have their memory now.
    virtual void start() = 0;

    // What the driver makes available. look() is called wherever the driver can be observed.
    virtual void look() = 0;
    virtual void remember_unpublished() = 0; // at a fence that orders stores
    virtual std::uint64_t seen() const = 0;  // up to there at the last look
    virtual bool has_waiting() const = 0;    // seen and not taken
    virtual bool take(request&) = 0;         // the oldest of these; false: it cannot be followed
    virtual void scribble_over(const request&) = 0;

    // What the driver must leave as it is, and what it must not say.
    virtual void check_memory() = 0;
    virtual void check_request(const request&) = 0; // when it is completed
    virtual void check_wish() = 0;
    virtual void check_flags_of_next() {} // when the driver says, or is bound to have said, that something is available

    // Available buffer notifications.
    virtual void ask_for_notification(bool silent, unsigned ahead) = 0;
    // With EVENT_IDX: whether what the device wants to be notified of is there. The wish was known before, for the look that
    // came with it did not find it; so the notification has been sent, or will be.
    virtual bool wish_has_passed() = 0;
    virtual bool is_news() const = 0;   // that something is available
    virtual bool is_wanted() const = 0; // a notification of it
    virtual void notified() = 0;
    virtual void check_notification_data(std::uint32_t data) = 0;

    // What the device hands back: written first, then published.
    virtual std::uint64_t used() const = 0;      // published up to there
    virtual std::size_t with_device() const = 0; // how far used() is behind what the device was given
    virtual std::size_t extent(const request&) const = 0;
    virtual void release(const request&) = 0;
    virtual std::uint32_t used_id(const request&, bool& lie) = 0; // by the faults
    virtual void write_used(std::uint32_t id, std::uint32_t length, std::size_t extent) = 0;
    virtual void publish_used() = 0;
    virtual void move_used(std::int64_t by) = 0; // and publishes; the device is of no use after that
    virtual bool survives_duplicates() const = 0;

    // Used buffer notifications.
    virtual interrupt_wish wish() const = 0;
    virtual bool is_rearmed(interrupt_wish before, interrupt_wish now) const = 0;
    virtual bool wants_interrupt(std::uint64_t used_before, interrupt_wish) const = 0;

    // A hart reads a field. Returns the number of the used entry that it has to know of to do so; 0: none.
    virtual std::uint64_t note_read(const std::byte* field, arch::hart_index) = 0;

    // By the will of the test; see the functions of the model.
    virtual void push_used(std::uint32_t id, std::uint32_t length) = 0;
    virtual void rewrite_used(std::uint32_t id, std::uint32_t length) = 0;
    virtual std::uint32_t last_used_id() const = 0;
    virtual bool complete_unpublished() = 0;
    virtual void adopt_memory() = 0; // as the device has left it
    virtual const char* unused_message() const = 0;

  protected:
    device_ring(virtio_blk_model& device, virtqueue& queue, const std::array<part, 3>& its, const rules& rows)
        : parts{its}, rule{rows}, device_{device}, queue_{queue} {}

    void report(std::string_view id, const std::string& message) { device_.report(id, message); }
    std::string title() const { return device_.title(queue_); }
    arch::host::machine& host() const { return device_.machine_; }
    std::uint16_t size() const { return static_cast<std::uint16_t>(queue_.size); }

    virtio_blk_model& device_;
    virtqueue& queue_;
};

// The header of a request, from the descriptors that the device reads, as far as they are in memory.
class header_reader {
  public:
    explicit header_reader(arch::host::machine& host) : host_{host} {}

    template <typename Descriptor>
    void add(const Descriptor& element) {
        if ((element.flags & descriptor_flag::write) != 0)
            return;
        const auto bytes = std::min<std::size_t>(element.length, header_.size() - length_);
        const std::byte* const memory = bytes != 0 ? host_.translate(element.address, bytes) : nullptr;
        if (memory == nullptr)
            return;
        std::memcpy(header_.data() + length_, memory, bytes);
        length_ += bytes;
    }
    bool is_complete() const { return length_ == header_.size(); }
    const std::byte* data() const { return header_.data(); }
    std::size_t size() const { return length_; }

  private:
    arch::host::machine& host_;
    std::array<std::byte, header_bytes> header_{};
    std::size_t length_ = 0;
};

} // namespace inflight::model
