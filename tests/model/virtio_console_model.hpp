// A console device (VIRTIO 1.2, 5.3) with one port, of which the driver only uses the transmit queue.
#pragma once

#include "tests/model/one_queue_model.hpp"

namespace inflight::model {

class virtio_console_model final : public one_queue_model {
  public:
    virtio_console_model(arch::host::machine& host, one_queue_configuration configuration)
        : one_queue_model{host, {3, 2, 1, 0, "5.3.6"}, configuration, behave} {}

    one_queue_behaviour behave;

    const std::string& text() const noexcept { return text_; } // that was transmitted

  private:
    std::uint32_t use(std::span<std::byte> bytes) override {
        text_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        return 0; // nothing is written
    }

    std::string text_;
};

} // namespace inflight::model
