#include "inflight/drivers/console/console_log.hpp"

#include "inflight/arch/time_limit.hpp"

#include <algorithm>
#include <cstring>

namespace inflight {

using virtio::error;

error console_log::start(dma_memory& memory, virtio::feature_set features_off) noexcept {
    home_ = &async::executor::current();
    buffer_ = memory.allocate(buffer_size, 64);
    error outcome = error::out_of_memory;
    if (buffer_ != nullptr && allocate(memory) && slots_.allocate(memory, max_queue_size, max_queue_size)) {
        const auto configure = [this]() noexcept {
            slots_.clear_free();
            slots_.free_all([](slot&) {});
            return set_up();
        };
        // No feature of the device type: without MULTIPORT there is one port and no control queue (5.3.3).
        outcome = device_.start([](auto) noexcept { return virtio::feature_set{0}; }, configure, features_off);
    }
    failure_.store(outcome, std::memory_order_relaxed);
    if (outcome == error::none) {
        open();
    }
    return outcome;
}

void console_log::write(std::string_view text) noexcept {
    const bool alone = failure() == error::none && writing_.exchange(1, std::memory_order_acquire) == 0;
    const bool fits = alone && text.size() <= buffer_size - unused();
    if (fits) {
        const std::size_t at = written_.load(std::memory_order_relaxed);
        const std::size_t first = std::min(text.size(), buffer_size - at % buffer_size);
        std::memcpy(buffer_ + at % buffer_size, text.data(), first);
        std::memcpy(buffer_, text.data() + first, text.size() - first);
        written_.store(at + text.size(), std::memory_order_release);
    }
    if (alone) {
        writing_.store(0, std::memory_order_release);
    }
    if (!fits) {
        dropped_.fetch_add(text.size(), std::memory_order_relaxed);
    } else if (wake_posted_.exchange(1, std::memory_order_acq_rel) == 0) {
        wake_.post(*home_);
    }
}

void console_log::send() noexcept {
    if (is_open() && !slots_.full() && unused() != 0) {
        const std::size_t begin = used_.load(std::memory_order_relaxed) % buffer_size;
        in_flight_ = static_cast<std::uint32_t>(std::min(unused(), buffer_size - begin));
        slot& taken = slots_.take();
        taken.expected = slot::irregular;
        ring().make_available(taken.id, {arch::device_address(buffer_ + begin), in_flight_, 0});
    }
}

void console_log::flush(arch::ticks patience) noexcept {
    arch::time_limit limit{patience};
    do {
        if (arch::this_hart() == home_->hart()) {
            send();
            look();
        }
    } while (unused() != 0 && failure() == error::none && !limit.is_over());
}

bool console_log::take_used(std::size_t count) noexcept {
    // Nothing is writable, so the length is 0. A legacy device may say anything.
    const auto wrote_nothing = [this](slot&, std::uint32_t length, bool reserved) noexcept {
        return length == 0 || reserved || device_.is_legacy();
    };
    const bool honest = slots_.for_each_checked(ring(), count, wrote_nothing);
    if (honest) {
        used_.fetch_add(in_flight_, std::memory_order_release);
        send();
    }
    return honest;
}

} // namespace inflight
