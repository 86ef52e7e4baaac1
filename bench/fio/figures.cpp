#include "bench/fio/figures.hpp"

#include <memory>

namespace inflight::bench {

std::uint64_t job_figures::ios() const noexcept {
    std::uint64_t sum = 0;
    for (const direction_figures& each : of) {
        sum += each.ios;
    }
    return sum;
}

void job_figures::begin(arch::ticks now) noexcept {
    for (direction_figures& each : of) {
        std::construct_at(&each); // in place: too large for a stack
    }
    std::construct_at(&flushes);
    std::fill(depths.begin(), depths.end(), 0);
    submitted = {};
    completed = {};
    since = now;
}

void job_figures::forget_times() noexcept {
    const auto forget = [](direction_figures& figures) {
        const std::uint64_t ios = figures.ios;
        const std::uint64_t bytes = figures.bytes;
        std::construct_at(&figures); // in place: too large for a stack
        figures.ios = ios;
        figures.bytes = bytes;
    };
    std::for_each(of.begin(), of.end(), forget);
    forget(flushes);
}

void rate_sampler::begin(arch::ticks now) noexcept {
    sampled_ = {};
    sampled_at_ = now;
}

void rate_sampler::sample(job_figures& figures, arch::ticks now) noexcept {
    const arch::ticks passed = now - sampled_at_;
    for (std::size_t i = 0; i < directions; ++i) {
        direction_figures& each = figures.of[i];
        const std::uint64_t ios = each.ios - sampled_[i].ios;
        const std::uint64_t bytes = each.bytes - sampled_[i].bytes;
        if (ios != 0) {
            const std::uint64_t bytes_per_second = bytes * arch::ticks_per_second() / passed;
            const std::uint64_t ios_per_second = ios * arch::ticks_per_second() / passed;
            each.bytes_per_second.record(bytes_per_second, bytes_per_second / 1024);
            each.ios_per_second.record(ios_per_second, ios_per_second);
        }
        sampled_[i] = {.ios = each.ios, .bytes = each.bytes};
    }
    sampled_at_ = now;
}

} // namespace inflight::bench
