// Switching the write cache of a disk (VIRTIO 1.2, 5.2.6: writeback, with CONFIG_WCE).
//
//     origin                              home
//   1. co_await ─────────── message ────► arrive: waits until nothing is in flight on any hart (recovery.hpp)
//   2.                                    switch_all: the device is told, the properties follow
//   3.                                    resumed: every hart has the new properties
//   4. the coroutine is resumed ◄──────── post
//
// Nothing is allocated: a request lives in the frame of the coroutine that awaits it.
#pragma once

#include "inflight/arch/arch.hpp"
#include "inflight/async/executor.hpp"
#include "inflight/async/message.hpp"
#include "inflight/async/operation.hpp"
#include "inflight/async/task_record.hpp"
#include "inflight/drivers/block/recovery.hpp"
#include "inflight/drivers/block/status.hpp"

#include <coroutine>
#include <optional>

namespace inflight::block {

// Of block::disk. All functions but those of a request are called on the home hart.
class write_cache {
  public:
    class [[nodiscard]] request : private async::operation {
      public:
        // For block::disk. Ends at once with `refusal`, unless that is ok.
        request(write_cache& of, bool enabled, status refusal) noexcept
            : cache_{of}, enabled_{enabled}, result_{refusal} {}
        request(const request&) = delete;
        request& operator=(const request&) = delete;
        ~request() {
            if (pending_) {
                arch::panic("a coroutine ends while it waits for the write cache to be switched");
            }
        }

        [[nodiscard]] bool await_ready() const noexcept { return result_ != status::ok; }
        template <typename Promise>
        void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
            note_.begin(frame, "the write cache to be switched");
            continuation = frame;
            begin();
        }
        status await_resume() noexcept {
            note_.end();
            return result_;
        }

      private:
        friend class write_cache;
        void begin() noexcept;

        write_cache& cache_;
        async::executor* origin_ = nullptr;
        bool enabled_;
        bool pending_ = false;
        status result_;
        async::wait_note note_;
        async::message message_{[](void* self) noexcept {
                                    request& arrived = *static_cast<request*>(self);
                                    arrived.cache_.arrive(arrived);
                                },
                                this};
    };

    explicit write_cache(recovery& of) noexcept : recovery_{of} {}
    write_cache(const write_cache&) = delete;
    write_cache& operator=(const write_cache&) = delete;

    // Before any request.
    void set_home(async::executor& home) noexcept { home_ = &home; }

    // Calls `set(enabled)`, which returns a status, for each request that has arrived, in order.
    template <typename Set>
    void switch_all(Set&& set) noexcept {
        while (async::operation* const first = arrived_.pop_front()) {
            request& each = static_cast<request&>(*first);
            each.result_ = set(each.enabled_);
            if (each.result_ == status::ok) {
                wanted_ = each.enabled_;
            }
            switched_.push_back(each);
        }
    }

    // The requests that were switched end.
    void resumed() noexcept;

    // What the last request that succeeded has asked for: a reset of the device must not change it.
    [[nodiscard]] std::optional<bool> wanted() const noexcept { return wanted_; }

  private:
    void arrive(request& arrived) noexcept;

    recovery& recovery_;
    async::executor* home_ = nullptr;
    async::operation_list arrived_;
    async::operation_list switched_;
    std::optional<bool> wanted_;
};

} // namespace inflight::block
