// stop_relay, stoppable_branch: stopping what is awaited together. What when_any and with_timeout are made of, beside
// branches.
//
//     bool example() {
//         event never;
//         auto wait = never.wait(stop_token{});
//         stop_relay relay;
//         stoppable_branch<decltype(wait)> one{wait};
//         join_point all{1};
//         const bool ended_at_once = one.start(relay, all.one_ended());
//         relay.source().request_stop();
//         return !ended_at_once && all.suspend(std::noop_coroutine()) && one.result() == wait_result::stopped;
//     }
#pragma once

#include "inflight/async/branch.hpp"
#include "inflight/async/stop_token.hpp"
#include "inflight/async/task_record.hpp"

#include <coroutine>
#include <optional>

namespace inflight::async {

// Has a source of its own, which others' requests can be passed on to. The base of an awaiter that stops its branches.
class stop_relay : public has_stop_token {
  public:
    [[nodiscard]] stop_source& source() noexcept { return source_; }

    // The function of a stop_callback that passes the request on to the relay given as its argument.
    static void pass_on(void* relay) noexcept { static_cast<stop_relay*>(relay)->source_.request_stop(); }

  protected:
    // For await_suspend(), before a branch is started: `frame` waits for what it began, and a stop that is requested by
    // the relay's own token or, without one, by that of `frame` is passed on from here.
    template <typename Promise>
    void begin(std::coroutine_handle<Promise> frame) noexcept {
        note_.begin(frame, "what it began");
        inherit_stop_token(stop_token_of(frame));
        outer_.emplace(get_stop_token(), pass_on, this);
    }

    // For await_resume(), whether it was suspended or not.
    void end() noexcept {
        note_.end();
        outer_.reset();
    }

  private:
    stop_source source_;
    std::optional<stop_callback> outer_;
    wait_note note_;
};

// A branch that is given the relay's token in place of its own, as far as it takes one.
template <typename Awaitable>
class stoppable_branch : public branch<Awaitable> {
  public:
    using branch<Awaitable>::branch;

    [[nodiscard]] bool start(stop_relay& relay, std::coroutine_handle<> ended) noexcept {
        if constexpr (stoppable<Awaitable>) {
            own_.emplace(this->get_stop_token(), stop_relay::pass_on, &relay);
            this->set_stop_token(relay.source().get_token());
        }
        return branch<Awaitable>::start(ended);
    }

    value_or_monostate<await_result_t<Awaitable>> result() noexcept {
        own_.reset();
        return branch<Awaitable>::result();
    }

  private:
    std::optional<stop_callback> own_; // the token that it had
};

} // namespace inflight::async
