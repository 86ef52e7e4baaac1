// The packed ring of a queue, as the device works with it.
//
// Positions count the slots that have been passed since the set-up, so that slot and wrap counter follow from a position and
// need not be kept. The device owns the slots from used_ to seen_; the driver may write to the others.
#pragma once

#include "tests/model/virtio_blk_ring.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <vector>

namespace inflight::model {

class virtio_blk_model::packed_ring final : public device_ring {
  public:
    packed_ring(virtio_blk_model&, virtqueue&);

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
    void check_flags_of_next() override;
    void ask_for_notification(bool silent, unsigned ahead) override;
    bool wish_has_passed() override;
    bool is_news() const override { return seen_ != notified_; }
    bool is_wanted() const override;
    void notified() override { notified_ = seen_; }
    void check_notification_data(std::uint32_t data) override;
    std::uint64_t used() const override { return used_; }
    std::size_t with_device() const override { return seen_ - written_; }
    std::size_t extent(const request& of) const override { return of.slots.size(); }
    void release(const request& done) override { lists_.erase(done.id); }
    std::uint32_t used_id(const request&, bool& lie) override;
    void write_used(std::uint32_t id, std::uint32_t length, std::size_t extent) override;
    void publish_used() override;
    void move_used(std::int64_t by) override;
    bool survives_duplicates() const override { return false; }
    interrupt_wish wish() const override { return wish_at(parts[1].memory); }
    bool is_rearmed(interrupt_wish before, interrupt_wish now) const override;
    bool wants_interrupt(std::uint64_t used_before, interrupt_wish) const override;
    std::uint64_t note_read(const std::byte* field, arch::hart_index) override;
    void push_used(std::uint32_t id, std::uint32_t length) override;
    void rewrite_used(std::uint32_t id, std::uint32_t length) override;
    std::uint32_t last_used_id() const override;
    bool complete_unpublished() override;
    void adopt_memory() override;
    const char* unused_message() const override { return "lists were made available that are not used"; }

  private:
    using descriptor_list = std::vector<packed_descriptor>;

    struct exposed_list {
        descriptor_list descriptors;
        std::size_t table_part = 0; // of `contents`, which the indirect table and the header are
        std::vector<std::byte> contents;
    };

    // What lay in a slot, and behind it, before its flags told what it is.
    struct unpublished {
        packed_descriptor descriptor{};
        std::size_t start_bytes = 0;
        std::array<std::byte, header_bytes> start{}; // of the buffer
        std::vector<std::byte> table;                // if the descriptor is indirect, and the header that it names
    };

    std::size_t slot_of(std::uint64_t position) const { return position % size(); }
    bool wrap_of(std::uint64_t position) const { return position / size() % 2 == 0; } // the wrap counter begins with 1
    std::byte* memory_of(std::uint64_t position) const {
        return parts[0].memory + descriptor_bytes * slot_of(position);
    }
    packed_descriptor descriptor_at(std::uint64_t position) const {
        return load<packed_descriptor>(memory_of(position));
    }
    packed_descriptor& known_at(std::uint64_t position) { return known_[slot_of(position)]; }
    bool is_available(const packed_descriptor&, std::uint64_t position) const;
    std::uint64_t room_end() const { return used_ + size(); } // where slots begin that the device owns
    std::string slot_name(std::uint64_t position) const { return "slot " + std::to_string(slot_of(position)); }

    bool expose(bool& in_order); // the list at seen_; false: the queue is broken
    bool was_seen_used(std::uint64_t position);
    bool check_flags(const packed_descriptor&, std::uint64_t position, std::uint64_t first);
    bool is_in_use(std::uint16_t id) const;
    void remember(std::uint64_t position, unpublished&) const;
    bool was_written(std::uint64_t first, const descriptor_list&) const;
    std::vector<std::byte> contents_of(const descriptor_list&, std::size_t& table_part) const;
    bool walk(request&, const descriptor_list&);
    bool walk_table(request&, const packed_descriptor&);

    static interrupt_wish wish_at(const std::byte* area);
    interrupt_wish wish_for(std::uint64_t position) const;
    // Whether a structure asks to be told of one of the positions from `begin` to `end`, which are not more than a lap.
    bool asks(interrupt_wish, std::uint64_t begin, std::uint64_t end) const;
    void ask(interrupt_wish);
    void store_slot(std::uint64_t position, const packed_descriptor&);

    std::uint64_t seen_ = 0, taken_ = 0, written_ = 0, used_ = 0, notified_ = 0;
    std::uint64_t last_position_ = 0;      // of the used descriptor that was published last
    std::vector<packed_descriptor> known_; // per slot: as it was made available, or used
    std::vector<std::byte> device_area_;   // as the device has left it
    // Where the slots end that a used descriptor has given back, and its number among the used ones.
    struct given_back {
        std::uint64_t end, number;
    };
    std::deque<given_back> given_back_;
    std::deque<exposed_list> exposed_;               // seen and not taken
    std::map<std::uint16_t, descriptor_list> lists_; // taken and not used, by buffer id

    std::vector<unpublished> window_; // what the last publishing fence found from window_start_ on
    std::uint64_t window_start_ = 0;
    std::size_t window_length_ = 0;
    bool window_cut_ = false; // there may have been more descriptors than it holds
    std::uint64_t largest_advance_ = 1;
};

} // namespace inflight::model
