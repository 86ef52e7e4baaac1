// A strict model of a device of which the driver uses one queue, with one descriptor for each buffer, on MMIO, version 2 or 1: an
// oracle that is independent of the driver, and a source of faults. It reports what a driver must not do; the ids are rows of the
// requirement table, as in virtio_blk_model. What the device is for is in the class of its type.
#pragma once

#include "arch/arch.hpp"
#include "tests/model/specification.hpp"

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace inflight::model {

struct one_queue_configuration {
    std::uintptr_t base = 0x1000'1000;
    unsigned line = 1;
    std::uint32_t version = 2;
    std::uint32_t queue_size_max = 64;
    std::uint64_t features = feature::bit(feature::event_idx) | feature::bit(feature::indirect_desc) |
                             feature::bit(feature::version_1) | feature::bit(feature::in_order) |
                             feature::bit(feature::ring_reset) | 0xff; // of the device type: all are refused
};

// Read at each use. A count says how many buffers are treated so, from the next one on.
struct one_queue_behaviour {
    arch::ticks latency = 200;
    std::uint32_t silent = 0;                 // kept for ever
    std::uint32_t needs_reset = 0;            // DEVICE_NEEDS_RESET instead of a completion
    std::uint32_t lies = 0;                   // completed with the next three
    std::optional<std::uint32_t> used_length; // instead of what use() returned
    std::optional<std::uint32_t> used_id;     // instead of the head
    std::uint16_t used_index_step = 1;        // how far the used index goes
    bool never_resets = false;                // Status never reads 0 again
    bool features_ok = true;                  // whether FEATURES_OK stays set
};

struct device_type {
    std::uint32_t id;
    std::uint32_t queues;       // that the device has
    std::uint32_t used_queue;   // that the driver is to use
    std::uint16_t buffer_flags; // of its descriptors
    const char* buffer_rule;    // that says so
};

class one_queue_model : public arch::host::mmio_device, public arch::host::observer {
  public:
    ~one_queue_model() override;
    one_queue_model(const one_queue_model&) = delete;
    one_queue_model& operator=(const one_queue_model&) = delete;

    const one_queue_configuration& configuration() const noexcept { return configuration_; }
    const std::vector<std::span<std::byte>>& buffers() const noexcept {
        return buffers_;
    } // every buffer that was taken
    std::uint64_t accepted() const noexcept { return accepted_; }
    std::uint64_t resets() const noexcept { return resets_; }
    std::uint64_t notifications() const noexcept { return notifications_; }
    bool live() const noexcept { return (status_ & status_bit::driver_ok) != 0; }
    std::size_t in_flight() const noexcept { return owned_.size(); }

    void raise_needs_reset();
    void use_nothing(); // the used index goes one ahead, and an interrupt follows

  protected:
    one_queue_model(arch::host::machine& host, const device_type& type, one_queue_configuration configuration,
                    one_queue_behaviour& behaviour);

    // The task of the device. Returns the used length.
    virtual std::uint32_t use(std::span<std::byte> bytes) = 0;
    arch::host::machine& host() noexcept { return host_; }

  private:
    std::uint32_t read(std::uint64_t offset, unsigned width) override;
    void write(std::uint64_t offset, unsigned width, std::uint32_t value) override;
    void on_fence(arch::host::fence_kind kind) override;

    void report(const char* id, const std::string& what) { host_.report(id, what); }
    bool modern() const noexcept { return configuration_.version == 2; }
    bool event_idx() const noexcept { return (accepted_ & feature::bit(feature::event_idx)) != 0; }
    std::uint64_t offered() const noexcept {
        return modern() ? configuration_.features : configuration_.features & 0xffff'ffff;
    }
    void write_status(std::uint32_t value);
    void reset();
    void enable_queue();
    void look();
    void take(std::uint16_t head);
    void complete();
    void publish(std::uint32_t id, std::uint32_t length, std::uint16_t step);
    void raise(std::uint32_t bits);
    std::byte* memory(std::uint64_t address, std::uint64_t length, const char* what);

    struct buffer {
        std::uint16_t head;
        std::span<std::byte> bytes;
        std::vector<std::byte> before; // what was in it: nobody writes there meanwhile
    };

    arch::host::machine& host_;
    device_type type_;
    one_queue_configuration configuration_;
    one_queue_behaviour& behaviour_; // of the class of the type
    std::uint32_t status_ = 0, interrupt_status_ = 0, driver_sel_ = 0, device_sel_ = 0, queue_sel_ = 0;
    std::uint32_t read_words_ = 0, written_words_ = 0, page_size_ = 0, align_ = 0;
    std::uint64_t accepted_ = 0, resets_ = 0, notifications_ = 0, life_ = 0;
    bool identified_[3] = {};
    bool found_free_ = false, ready_ = false, doorbell_ = false;
    std::uint32_t size_ = 0;
    std::uint64_t addresses_[3] = {}; // descriptors, driver area, device area
    std::byte* table_ = nullptr;
    std::byte* available_ = nullptr;
    std::byte* used_ = nullptr;
    std::uint16_t seen_ = 0, used_index_ = 0, notified_ = 0;
    std::deque<buffer> owned_;
    std::vector<std::span<std::byte>> buffers_;
};

} // namespace inflight::model
