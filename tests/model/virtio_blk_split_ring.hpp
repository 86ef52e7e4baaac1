// The split rings of a queue, as the device works with them.
#pragma once

#include "tests/model/virtio_blk_ring.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace inflight::model {

class virtio_blk_model::split_ring final : public device_ring {
  public:
    split_ring(virtio_blk_model&, virtqueue&);

    void start() override;
    void look() override;
    void remember_unpublished() override;
    std::uint64_t seen() const override { return seen_; }
    bool has_waiting() const override { return taken_ != seen_; }
    bool take(request&) override;
    void scribble_over(const request&) override;
    void check_memory() override;
    void check_request(const request&) override;
    void check_wish() override;
    void ask_for_notification(bool silent, unsigned ahead) override;
    bool wish_has_passed() override;
    bool is_news() const override { return seen_ != notified_; }
    bool is_wanted() const override;
    void notified() override { notified_ = seen_; }
    void check_notification_data(std::uint32_t data) override;
    std::uint64_t used() const override { return used_index_; }
    std::size_t with_device() const override { return queue_.in_flight.size() + exposed_.size(); }
    std::size_t extent(const request&) const override { return 1; }
    void release(const request&) override;
    std::uint32_t used_id(const request&, bool& lie) override;
    void write_used(std::uint32_t id, std::uint32_t length, std::size_t extent) override;
    void publish_used() override;
    void move_used(std::int64_t by) override;
    bool survives_duplicates() const override { return true; }
    interrupt_wish wish() const override;
    bool is_rearmed(interrupt_wish before, interrupt_wish now) const override;
    bool wants_interrupt(std::uint64_t used_before, interrupt_wish) const override;
    std::uint64_t note_read(const std::byte* field, arch::hart_index) override;
    void push_used(std::uint32_t id, std::uint32_t length) override;
    void rewrite_used(std::uint32_t id, std::uint32_t length) override;
    std::uint32_t last_used_id() const override;
    bool complete_unpublished() override;
    void adopt_memory() override;
    const char* unused_message() const override { return "used.idx is not avail.idx"; }

  private:
    const std::byte* descriptors() const { return parts[0].memory; }
    std::byte* available() const { return parts[1].memory; }
    std::byte* used_ring() const { return parts[2].memory; }
    std::size_t event_offset() const { return 4 + std::size_t{8} * size(); } // of avail_event
    std::size_t used_offset(std::uint16_t position) const { return 4 + std::size_t{8} * (position & (size() - 1)); }
    std::uint16_t avail_flags() const { return load<std::uint16_t>(available()); }
    std::uint16_t avail_index() const { return load<std::uint16_t>(available() + 2); }
    std::uint16_t avail_entry(std::uint16_t position) const;
    descriptor table_entry(std::uint16_t slot) const;
    bool was_published(std::size_t position, const capture& now) const;
    void take_capture(std::uint16_t head, std::size_t limit, capture& out) const;
    bool walk(request&);
    bool walk_table(request&, const descriptor&);
    template <class T>
    void store_used(std::size_t offset, T value) {
        store(used_ring() + offset, value);
        store(used_copy_.data() + offset, value);
    }

    std::uint16_t seen_ = 0;  // avail.idx at the last look
    std::uint16_t taken_ = 0; // requests taken
    std::uint16_t written_ = 0;
    std::uint16_t used_index_ = 0;
    std::uint16_t notified_ = 0; // seen_ at the last notification
    std::uint16_t next_in_order_ = 0;
    std::deque<capture> exposed_;     // seen and not taken
    std::vector<std::uint8_t> owned_; // per slot: 1 exposed head, 2 in flight
    std::vector<std::byte> used_copy_;
    std::uint16_t last_position_ = 0; // of the used entry that was published last

    std::vector<capture> window_; // what the last publishing fence found behind avail.idx
    std::uint16_t window_start_ = 0;
    std::size_t window_length_ = 0;
    bool window_cut_ = false; // there may have been more entries than it holds
    std::uint16_t largest_advance_ = 1;
    std::vector<std::uint32_t> stamps_;
    std::uint32_t stamp_ = 0;
};

} // namespace inflight::model
