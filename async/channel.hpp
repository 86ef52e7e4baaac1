// channel<T, N>: values from senders to receivers, in order, with room for N that no receiver has asked for yet.
//
//     task<void> count_to(int last, channel<int, 2>& numbers) {
//         for (int i = 1; i <= last; ++i) {
//             static_cast<void>(co_await numbers.send(i)); // waits while there is no room
//         }
//         numbers.close();
//     }
//
//     task<int> sum_of(channel<int, 2>& numbers) {
//         int sum = 0;
//         while (const std::optional<int> number = co_await numbers.receive()) {
//             sum += *number;
//         }
//         co_return sum;
//     }
//
//     task<bool> example() {
//         channel<int, 2> numbers;
//         const auto results = co_await when_all(count_to(10, numbers), sum_of(numbers));
//         co_return std::get<1>(results) == 55;
//     }
//
// A value goes straight to the receiver that has waited longest. What a sender has in line moves up when a value is
// received. If send() returns anything but `done`, the value is dropped, and no receiver has had it.
#pragma once

#include "inflight/async/wait_operation.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>

namespace inflight::async {

// How a send ended: the channel has the value, or it is closed, or the wait for room was stopped.
enum class [[nodiscard]] send_result : std::uint8_t{done, closed, stopped};

template <typename T, std::size_t N>
class channel {
    static_assert(N > 0, "a channel has room for one value at least: a sender and a receiver do not meet without");
    static_assert(std::is_object_v<T>, "a channel carries values: send pointers in place of references");
    static_assert(std::is_nothrow_move_constructible_v<T>,
                  "a channel moves values, and a move must not throw: send pointers to what cannot be moved");

    struct sender : operation {
        static constexpr const char* awaited = "room in a channel";

        sender(channel& to, T&& sent) noexcept : channel_{to}, value{std::move(sent)} {}

        [[nodiscard]] bool ready() const noexcept {
            if (outcome == send_result::done) [[unlikely]] {
                arch::panic("a send was awaited again after its value had been sent");
            }
            return channel_.closed_ || channel_.size_ < N;
        }
        void take() noexcept {
            outcome = channel_.closed_ ? send_result::closed : send_result::done;
            if (!channel_.closed_) {
                channel_.put(std::move(value));
            }
        }
        [[nodiscard]] operation_list& line() noexcept { return channel_.senders_; }
        [[nodiscard]] send_result result() const noexcept { return outcome; }

        channel& channel_;
        T value;
        send_result outcome = send_result::stopped; // unless it comes otherwise
    };

    struct receiver : operation {
        static constexpr const char* awaited = "a value from a channel";

        explicit receiver(channel& from) noexcept : channel_{from} {}

        [[nodiscard]] bool ready() const noexcept { return channel_.closed_ || channel_.size_ != 0; }
        void take() noexcept { value = channel_.try_receive(); }
        [[nodiscard]] operation_list& line() noexcept { return channel_.receivers_; }
        [[nodiscard]] std::optional<T> result() noexcept { return std::exchange(value, std::nullopt); }

        channel& channel_;
        std::optional<T> value;
    };

  public:
    channel() noexcept = default;
    channel(const channel&) = delete;
    channel& operator=(const channel&) = delete;
    ~channel() {
        if (!senders_.empty() || !receivers_.empty()) {
            arch::panic("a channel ends while coroutines wait for it");
        }
    }

    // co_await send(value): waits in line for room. Answers a send_result, without a token `done` or `closed`.
    wait_operation<sender> send(T value) noexcept { return wait_operation<sender>{*this, std::move(value)}; }
    stoppable_wait<sender> send(T value, stop_token token) noexcept {
        return stoppable_wait<sender>{token, *this, std::move(value)};
    }

    // co_await receive(): waits in line for a value. Answers std::nullopt if the channel is closed and nothing is left
    // in it; with a token, also if the wait was stopped.
    wait_operation<receiver> receive() noexcept { return wait_operation<receiver>{*this}; }
    stoppable_wait<receiver> receive(stop_token token) noexcept { return stoppable_wait<receiver>{token, *this}; }

    // A value if there is one.
    [[nodiscard]] std::optional<T> try_receive() noexcept {
        if (size_ == 0) {
            return std::nullopt;
        }
        std::optional<T> first = std::exchange(ring_[first_], std::nullopt);
        first_ = (first_ + 1) % N;
        --size_;
        if (operation* const next = senders_.pop_front()) {
            sender& moves_up = *static_cast<sender*>(next);
            moves_up.take();
            executor::current().make_ready(moves_up);
        }
        return first;
    }

    // Nothing can be sent any more: a sender that waits for room gets `closed`. What is in the channel can still be
    // received.
    void close() noexcept {
        closed_ = true;
        while (operation* const next = senders_.pop_front()) {
            static_cast<sender*>(next)->outcome = send_result::closed;
            executor::current().make_ready(*next);
        }
        while (operation* const next = receivers_.pop_front()) {
            executor::current().make_ready(*next);
        }
    }

    [[nodiscard]] bool is_closed() const noexcept { return closed_; }

    // How many values are in it, without those of senders that wait.
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

  private:
    // There is room: if receivers wait, the ring is empty.
    void put(T&& value) noexcept {
        if (operation* const next = receivers_.pop_front()) {
            static_cast<receiver*>(next)->value.emplace(std::move(value));
            executor::current().make_ready(*next);
        } else {
            ring_[(first_ + size_) % N].emplace(std::move(value));
            ++size_;
        }
    }

    std::array<std::optional<T>, N> ring_;
    std::size_t first_ = 0;
    std::size_t size_ = 0;
    bool closed_ = false;
    operation_list senders_;
    operation_list receivers_;
};

} // namespace inflight::async
