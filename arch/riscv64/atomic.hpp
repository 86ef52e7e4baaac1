// atomic<T> of the contract: std::atomic<T>, but for what GCC 12 gets wrong.
//
// GCC 12 takes the fence before a compare_exchange from the order for failure, not from the one for success: with
// (release, relaxed), and with (acq_rel, relaxed) and (acq_rel, acquire) too, it writes neither a fence nor .rl, so
// what was written before is not ordered before the exchange. Here a compare_exchange that releases names seq_cst for
// failure, with which GCC 12 writes the fence. Those that name one order or none are left out: they would fall into the
// same trap.
#pragma once

#include <atomic>

namespace inflight::arch {

template <typename T>
class atomic : public std::atomic<T> {
  public:
    using std::atomic<T>::atomic;

    bool compare_exchange_weak(T& expected, T desired, std::memory_order success, std::memory_order failure) noexcept {
        return std::atomic<T>::compare_exchange_weak(expected, desired, success, on_failure(success, failure));
    }

    bool compare_exchange_strong(T& expected, T desired, std::memory_order success,
                                 std::memory_order failure) noexcept {
        return std::atomic<T>::compare_exchange_strong(expected, desired, success, on_failure(success, failure));
    }

  private:
    static constexpr std::memory_order on_failure(std::memory_order success, std::memory_order failure) noexcept {
        const bool releases = success == std::memory_order_release || success == std::memory_order_acq_rel;
        return releases ? std::memory_order_seq_cst : failure;
    }
};

} // namespace inflight::arch
