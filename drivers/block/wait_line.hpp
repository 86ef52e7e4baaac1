// The line of operations that wait for a free slot, of one hart: first come, first served. A stop ends an operation
// here.
#pragma once

#include "inflight/async/executor.hpp"
#include "inflight/drivers/block/operation.hpp"

namespace inflight::block {

class wait_line {
  public:
    // Operations that end here resume on `hart`.
    explicit wait_line(async::executor& hart) noexcept : executor_{&hart} {}
    wait_line(const wait_line&) = delete;
    wait_line& operator=(const wait_line&) = delete;

    [[nodiscard]] bool empty() const noexcept { return line_.empty(); }
    [[nodiscard]] operation* front() const noexcept { return static_cast<operation*>(line_.front()); }

    // At the end of the line, whole or in pieces, as its state says. From now on a stop ends it with status::cancelled.
    void push_back(operation& waiting) noexcept {
        if (waiting.state == operation_state::in_pieces) {
            waiting.pieces.in_line = true;
        }
        line_.push_back(waiting);
        waiting.stopping.line = this;
        if (waiting.may_stop) [[unlikely]] { // last: a stop that was requested already ends the operation at once
            register_stop(waiting);
        }
    }

    // Takes the first one out, or any: linear. A stop does not concern it any more.
    void pop_front() noexcept { leave(static_cast<operation&>(*line_.pop_front())); }
    void remove(operation& waiting) noexcept;

    // Empties the line. Its operations stay registered for a stop: push_back_again(), or leave(), is next for each.
    // They are linked by async::operation::next.
    [[nodiscard]] async::operation* take_all() noexcept { return line_.take_all(); }
    void push_back_again(operation& waiting) noexcept { line_.push_back(waiting); }
    static void leave(operation& waiting) noexcept {
        if (waiting.state == operation_state::in_pieces) {
            waiting.pieces.in_line = false;
        }
        if (waiting.may_stop) [[unlikely]] {
            unregister_stop(waiting);
        }
    }

    // Ends an operation in pieces that has left the line with `outcome`: now, or with the last piece that the device
    // has.
    void end(operation& left, status outcome) noexcept;

    // Ends an operation in line, if it is in one, with status::cancelled. On the hart of that line. `stopping.line` is
    // nullptr before the first push_back().
    static void cancel(operation& stopped) noexcept;

  private:
    static void register_stop(operation& waiting) noexcept;
    static void unregister_stop(operation& waiting) noexcept;

    async::executor* executor_;
    async::operation_list line_;
};

} // namespace inflight::block
