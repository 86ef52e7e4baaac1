// generator<T>: values made one at a time, on demand, by a coroutine that does not wait for anything.
//
//     generator<int> squares(int count) {
//         for (int i = 1; i <= count; ++i) {
//             co_yield i * i;
//         }
//     }
//
//     bool example() {
//         int sum = 0;
//         for (const int square : squares(4)) {
//             sum += square;
//         }
//         return sum == 1 + 4 + 9 + 16;
//     }
//
// Its frame comes from the hart's slab. Without a frame, it is empty: has_frame() tells that from one with nothing to
// yield. It may be dropped before its end.
#pragma once

#include "inflight/async/coroutine.hpp"

#include <coroutine>
#include <cstddef>
#include <iterator>
#include <memory>
#include <type_traits>
#include <utility>

namespace inflight::async {

template <typename T>
class [[nodiscard]] generator {
    static_assert(std::is_object_v<T>, "a generator yields values: let it yield pointers in place of references");

  public:
    struct promise_type : promise_base {
        using promise_base::promise_base;

        generator get_return_object() noexcept {
            return generator{std::coroutine_handle<promise_type>::from_promise(*this)};
        }
        static generator get_return_object_on_allocation_failure() noexcept { return generator{}; }

        [[nodiscard]] starts_suspended initial_suspend() noexcept { return starts_suspended{*this}; }
        [[nodiscard]] std::suspend_always final_suspend() const noexcept { return {}; }

        // What is yielded lives until the generator goes on, also if it is a temporary.
        std::suspend_always yield_value(const T& value) noexcept {
            current = std::addressof(value);
            return {};
        }
        void return_void() const noexcept {}

        void await_transform(auto&&) = delete; // whoever iterates cannot wait

        const T* current = nullptr;
    };

    class iterator {
      public:
        using iterator_concept = std::input_iterator_tag;
        using difference_type = std::ptrdiff_t;
        using value_type = T;

        iterator() noexcept = default;
        explicit iterator(std::coroutine_handle<promise_type> frame) noexcept : frame_{frame} {}

        const T& operator*() const noexcept { return *frame_.promise().current; }
        iterator& operator++() noexcept {
            if (*this == std::default_sentinel) [[unlikely]] {
                arch::panic("a generator was asked for another value after its end");
            }
            frame_.resume();
            return *this;
        }
        void operator++(int) noexcept { ++*this; }

        friend bool operator==(const iterator& at, std::default_sentinel_t) noexcept {
            return !at.frame_ || at.frame_.done();
        }

      private:
        std::coroutine_handle<promise_type> frame_;
    };

    generator() noexcept = default;
    generator(generator&& other) noexcept : frame_{std::exchange(other.frame_, nullptr)} {}
    generator& operator=(generator&& other) noexcept {
        std::swap(frame_, other.frame_);
        return *this;
    }
    ~generator() {
        if (frame_) {
            frame_.destroy();
        }
    }

    [[nodiscard]] bool has_frame() const noexcept { return static_cast<bool>(frame_); }

    // Runs to the first value. Once: a second time it panics.
    [[nodiscard]] iterator begin() noexcept {
        if (frame_) {
            if (frame_.done() || frame_.promise().current != nullptr) [[unlikely]] {
                arch::panic("a generator was begun a second time: it makes its values once");
            }
            frame_.resume();
        }
        return iterator{frame_};
    }
    [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  private:
    explicit generator(std::coroutine_handle<promise_type> frame) noexcept : frame_{frame} {}

    std::coroutine_handle<promise_type> frame_;
};

} // namespace inflight::async
