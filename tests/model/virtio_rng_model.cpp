#include "tests/model/virtio_rng_model.hpp"

#include <algorithm>

namespace inflight::model {

std::uint32_t virtio_rng_model::use(std::span<std::byte> bytes) {
    const std::size_t most = std::min<std::size_t>(bytes.size(), behave.max_bytes);
    const std::size_t length = most < bytes.size() ? 1 + host().random_below(most) : most;
    for (std::byte& each : bytes.first(behave.writes_nothing ? 0 : length)) {
        each = static_cast<std::byte>(host().random() >> 40);
        given_.push_back(each);
    }
    return static_cast<std::uint32_t>(length);
}

} // namespace inflight::model
