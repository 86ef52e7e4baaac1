#include "inflight/drivers/entropy/entropy.hpp"

#include "inflight/async/with_timeout.hpp"

#include <algorithm>
#include <cstring>

namespace inflight {

using virtio::error;

error entropy::start(dma_memory& memory, arch::ticks timeout, virtio::feature_set features_off) noexcept {
    timeout_ = timeout;
    buffer_ = memory.allocate(buffer_size, 64);
    if (buffer_ == nullptr || !allocate(memory) || !slots_.allocate(memory, max_queue_size, max_queue_size)) {
        return failure_ = error::out_of_memory;
    }
    const auto no_features = [](virtio::feature_set) noexcept {
        return virtio::feature_set{0};
    }; // 5.4.3
    failure_ = device_.start(
        no_features, [this]() noexcept { return configure(); }, features_off);
    if (failure_ == error::none) {
        open();
    }
    return failure_;
}

error entropy::configure() noexcept {
    slots_.take_back([](slot&, std::uint32_t) {});
    slots_.clear_free();
    slots_.free_all([](slot&) {});
    return set_up();
}

async::task<error> entropy::fill(std::span<std::byte> bytes) {
    const async::mutex::guard held = co_await one_at_a_time_.scoped_lock();
    int resets = 0;
    while (!bytes.empty() && failure_ == error::none) {
        if (!is_open()) {
            if (resets++ == virtio::device::set_up_attempts) {
                co_return error::needs_reset;
            }
            failure_ = device_.restore([this]() noexcept { return configure(); });
            if (failure_ != error::none) {
                break;
            }
            open();
        }
        slot& taken = slots_.take();
        taken.expected = slot::irregular | std::min(bytes.size(), buffer_size); // the device may write less (5.4.6)
        ring().make_available(taken.id, {.address = arch::device_address(buffer_),
                                         .length = taken.expected_length(),
                                         .flags = virtio::descriptor_flag::write});
        ended_.reset();
        outcome_ = error::timed_out;
        static_cast<void>(co_await async::with_timeout(ended_.wait(async::stop_token{}), timeout_));
        if (outcome_ == error::none) {
            std::memcpy(bytes.data(), buffer_, received_);
            std::memset(buffer_, 0, received_); // so that a device that writes nothing does not repeat it
            bytes = bytes.subspan(received_);
            continue;
        }
        close(); // the buffer is the device's until the reset, which comes before the next use
        if (outcome_ != error::needs_reset) {
            co_return outcome_;
        }
    }
    co_return failure_;
}

void entropy::end(error outcome) noexcept {
    outcome_ = outcome;
    ended_.set();
}

bool entropy::take_used(std::size_t count) noexcept {
    const bool honest =
        slots_.for_each_checked(ring(), count, [this](slot& given, std::uint32_t length, bool) noexcept {
            received_ = length;
            return length != 0 && length <= given.expected_length(); // at least one byte (5.4.6.2)
        });
    if (honest) {
        end(error::none);
    }
    return honest;
}

} // namespace inflight
