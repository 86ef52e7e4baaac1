// An entropy device (VIRTIO 1.2, 5.4).
#pragma once

#include "tests/model/one_queue_model.hpp"

namespace inflight::model {

using rng_configuration = one_queue_configuration;

struct rng_behaviour : one_queue_behaviour {
    std::uint32_t max_bytes = ~0U; // written to one buffer: the device may use less than it has (5.4.6)
    bool writes_nothing = false;   // to the buffer, and claims that it has
};

class virtio_rng_model final : public one_queue_model {
  public:
    virtio_rng_model(arch::host::machine& host, rng_configuration configuration)
        : one_queue_model{host, {4, 1, 0, descriptor_flag::write, "5.4.6.1"}, configuration, behave} {}

    rng_behaviour behave;

    const std::vector<std::byte>& given() const noexcept { return given_; } // every byte that was written, in order

  private:
    std::uint32_t use(std::span<std::byte> bytes) override;

    std::vector<std::byte> given_;
};

} // namespace inflight::model
