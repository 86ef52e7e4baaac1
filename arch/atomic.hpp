// atomic<T> of the contract, for every port: std::atomic<T> without a defect of GCC 12 on RISC-V.
//
// GCC 12 derives the fence before a compare_exchange from the order for failure instead of the order for success. With
// (release, relaxed), (acq_rel, relaxed) and (acq_rel, acquire) it emits neither a fence nor .rl, so earlier writes are
// not ordered before the exchange. Here a compare_exchange that releases uses seq_cst for failure, for which GCC 12
// emits the fence; other compilers pay little or nothing. The overloads with one order or none are left out, because
// they have the same defect.
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
