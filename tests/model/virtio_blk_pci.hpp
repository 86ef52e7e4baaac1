// The registers of the model on PCI (VIRTIO 1.2, 4.1): the structures of the modern interface, or the legacy one, and the
// vectors of MSI-X. What the registers mean is the device's, whatever the bus; here is where they lie and how they may be
// accessed. Meanings are the offsets of the same registers on MMIO.
//
// Rules of our own: SELECT (a select register is written before what depends on it is used), MSIX (the vector fields are
// left alone while MSI-X is off).
#pragma once

#include "tests/model/virtio_blk_model.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace inflight::model {

class virtio_blk_model::pci_front {
  public:
    explicit pci_front(virtio_blk_model& device);

    // Of the window that the registers lie in.
    [[nodiscard]] std::size_t window_bytes() const;
    [[nodiscard]] std::uint32_t notify_length() const;
    [[nodiscard]] std::uint16_t notify_off(unsigned queue) const;
    [[nodiscard]] std::uint16_t notif_data(unsigned queue) const;

    std::uint32_t read(std::uint64_t offset, unsigned width);
    void write(std::uint64_t offset, unsigned width, std::uint32_t value);

    // The device has been reset: no vector is set.
    void reset();
    void forget_vector(unsigned queue) { queue_vectors_[queue] = {}; } // the queue has been reset
    // What a queue has without any write of the driver's.
    void preset(virtqueue&) const;
    void check_driver_ok();

    // Sends messages, if MSI-X is on. False: the line has to tell.
    bool interrupt(std::uint32_t interrupt_bits, const virtqueue*);
    // The queue that a write there notifies.
    [[nodiscard]] std::optional<unsigned> notified(std::uint64_t offset, std::uint32_t value) const;

    // The row of the table for PCI, where a rule about MMIO has one.
    static std::string_view rule(std::string_view id);

    bool msix_enabled = false;

  private:
    static constexpr std::uint16_t no_vector = 0xffff;

    // A field for a vector, and what the driver has done to it.
    struct vector_field {
        std::uint16_t value = no_vector;
        std::uint16_t written = no_vector; // last
        bool read_back = true;             // since then
    };
    struct field {
        std::uint64_t offset;
        unsigned width;
        std::uint64_t meaning;
        bool writable;
    };

    [[nodiscard]] bool legacy() const { return !device_.modern(); }
    [[nodiscard]] std::span<const field> fields() const;
    [[nodiscard]] std::uint64_t config_start() const;
    // The field that is accessed so, by the rules; nullptr if there is none, which was reported.
    const field* find(std::uint64_t offset, unsigned width, bool write);

    std::uint32_t read_field(std::uint64_t meaning);
    void write_field(std::uint64_t meaning, std::uint32_t value);
    std::uint32_t read_isr();
    void notify(std::uint64_t offset, unsigned width, std::uint32_t value);
    // The queue that the low half of a notification names.
    [[nodiscard]] std::optional<unsigned> named(std::uint32_t value) const;
    void enable_queue(std::uint32_t value);
    vector_field* selected_vector(bool write);
    std::uint32_t read_vector(vector_field*);
    void write_vector(vector_field*, std::uint32_t value);
    void check_vector(const vector_field&, const char* whose);
    void send(std::uint16_t vector);

    virtio_blk_model& device_;
    const pci_configuration& configuration_;
    vector_field configuration_vector_;
    std::vector<vector_field> queue_vectors_;
};

} // namespace inflight::model
