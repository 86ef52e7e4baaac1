// A device model on PCI as the kernel makes use of one: its transport, as many vectors as it takes, and its interrupts.
#pragma once

#include "drivers/block/disk.hpp"
#include "drivers/virtio/pci.hpp"
#include "tests/model/virtio_blk_model.hpp"

#include <algorithm>
#include <cstdint>
#include <memory>

namespace inflight::test {

// Final, as whoever destroys it knows what it is.
struct modern_pci_transport final : virtio::pci_transport {
    using virtio::pci_transport::pci_transport;
};

inline virtio::pci_structures structures_of(const model::virtio_blk_model& device) {
    using registers = model::pci_configuration;
    const std::uintptr_t base = device.configuration().base;
    return {.common = base + registers::common,
            .common_length = 60,
            .isr = base + registers::isr,
            .device = base + registers::device,
            .device_length = device.configuration().pci->device_length,
            .notify = base + registers::notify,
            .notify_length = device.notify_length(),
            .notify_off_multiplier = device.configuration().pci->notify_multiplier};
}

class virtio_pci_function {
  public:
    // `first_line` and the lines that follow stand for the vectors.
    virtio_pci_function(arch::host::machine& host, model::virtio_blk_model& device, unsigned first_line)
        : host_{host}, device_{device}, first_line_{first_line} {
        if (device.modern()) {
            const auto modern = std::make_shared<modern_pci_transport>(structures_of(device));
            transport_ = modern;
            shared_ = modern;
        } else {
            constexpr std::uint32_t window_bytes = 128;
            const auto legacy =
                std::make_shared<virtio::legacy_pci_transport>(device.configuration().base, window_bytes);
            transport_ = legacy;
            shared_ = legacy;
        }
        device.deliver_message = [this](std::uint16_t vector) {
            host_.raise_line(line_of(vector));
        };
    }
    virtio_pci_function(const virtio_pci_function&) = delete;
    virtio_pci_function& operator=(const virtio_pci_function&) = delete;

    [[nodiscard]] virtio::pci_transport& transport() const { return *transport_; }
    [[nodiscard]] std::shared_ptr<virtio::transport> shared_transport() const { return shared_; }
    [[nodiscard]] unsigned line_of(std::uint16_t vector) const { return first_line_ + vector; }

    // Uses `wanted` vectors, or as many of 2, 1 and none as the device accepts.
    void choose_vectors(std::uint16_t wanted) {
        const model::blk_configuration& configuration = device_.configuration();
        const std::uint16_t most = std::min(wanted, configuration.pci->vectors);
        const std::uint16_t counts[] = {most, std::min<std::uint16_t>(most, 2), std::min<std::uint16_t>(most, 1)};
        for (const std::uint16_t count : counts) {
            device_.enable_msix(count != 0);
            if (transport_->try_vectors({count}, static_cast<std::uint16_t>(configuration.queues)))
                return;
        }
        device_.enable_msix(false);
        static_cast<void>(transport_->try_vectors({}, 0));
    }

    // What the handler of a vector does; nullptr: there is no disk yet.
    void handle(std::uint16_t vector, block::disk* disk) {
        host_.lower_line(line_of(vector)); // a message is an event
        if (disk == nullptr)
            return;
        const std::uint16_t count = transport_->vectors().count;
        if (vector == 0 && count > 1)
            disk->handle_configuration();
        else if (transport_->interrupts() == virtio::interrupt_delivery::shared_line)
            disk->handle_line();
        else
            disk->handle_queue(static_cast<std::uint16_t>(vector - 1));
    }

  private:
    arch::host::machine& host_;
    model::virtio_blk_model& device_;
    unsigned first_line_;
    std::shared_ptr<virtio::transport> shared_;
    std::shared_ptr<virtio::pci_transport> transport_;
};

} // namespace inflight::test
