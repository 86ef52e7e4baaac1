// Operations of a hart without a queue, where there are more harts than queues: they go to a hart that has one, and
// come back.
//
//      origin                              server
//   1. send ─────────────── operation ───► arrived: submits it, like one of its own
//   2.                                     ... completed ...
//   3. back ◄────────────── operation ──── completed
//      └─ the coroutine is resumed
//
//   A stop is requested at the origin, whose token it is:
//   a. stop ─────────────── message ─────► stop_arrived: ends the operation if it waits in line
//   b. stop_returned ◄───── message ──────
//      The message lies in the operation, so an operation that is back waits for it.
//
// What is left of a timeout travels with the operation, because each hart has a clock of its own.
#pragma once

#include "inflight/async/executor.hpp"
#include "inflight/drivers/block/operation.hpp"

namespace inflight::block {

class forwarding {
  public:
    // Called on the server's hart with `context` for each operation that arrives.
    using submit_function = void (*)(void* context, operation& arrived) noexcept;

    forwarding(async::executor& origin, async::executor& server, submit_function submit, void* context) noexcept
        : origin_{&origin}, server_{&server}, submit_{submit}, context_{context} {}
    forwarding(const forwarding&) = delete;
    forwarding& operator=(const forwarding&) = delete;

    // On the origin's hart: sends an operation that is in no line. It resumes here when it has ended.
    void send(operation& started) noexcept;

    // The same for an operation without a timeout.
    void send_plain(operation& started) noexcept;

  private:
    inline void hand_over(operation& started, bool may_stop) noexcept;
    [[gnu::noinline]] void send_with_limit(operation& started) noexcept;
    static void arrived(void* step) noexcept;
    [[gnu::noinline]] static void arrived_with_timeout(operation& started) noexcept;
    static void completed(void* step) noexcept;
    static void back(void* step) noexcept;
    static void stop(void* sent) noexcept;
    static void stop_arrived(void* sent) noexcept;
    static void stop_returned(void* sent) noexcept;
    static void resume(operation& ended) noexcept;

    async::executor* origin_;
    async::executor* server_;
    submit_function submit_;
    void* context_;
};

} // namespace inflight::block
