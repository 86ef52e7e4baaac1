// The harts of a run: each with its executor, and what is known of the messages and permits there.
#pragma once

#include "async/counting_scope.hpp"
#include "async/executor.hpp"
#include "async/message.hpp"
#include "async/operation.hpp"
#include "async/semaphore.hpp"
#include "tests/simulation/run_context.hpp"

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace inflight::simulation {

struct simulated_hart {
    explicit simulated_hart(std::size_t permits_of_it) : all_permits{permits_of_it}, permits{permits_of_it} {}

    std::vector<std::byte> frame_memory;
    std::unique_ptr<async::executor> executor;
    async::counting_scope scope;
    std::size_t all_permits;
    async::semaphore permits;
    std::size_t holders = 0;
    std::uint64_t came = 0, served = 0; // of those who had to wait

    std::int64_t posted = 0;                      // by what has come back from post(), less what has arrived
    std::vector<std::uint64_t> sent_to, got_from; // by hart
    bool over = false;
    bool runs_in_one = false; // in executor::run_until(), or else step by step
    std::unique_ptr<async::message> the_end;
};

class simulated_harts {
  public:
    explicit simulated_harts(run_context&);

    simulated_hart& operator[](hart_index hart) { return *harts_[hart]; }
    const simulated_hart& operator[](hart_index hart) const { return *harts_[hart]; }
    auto begin() const { return harts_.begin(); }
    auto end() const { return harts_.end(); }
    hart_index size() const { return static_cast<hart_index>(harts_.size()); }

    void run(hart_index);                                 // until all tasks have ended
    bool any_polls_always() const { return any_always_; } // a stall is not how the run ends then
    void destroy();

  private:
    bool all_ended() const;

    run_context& in_;
    std::vector<std::unique_ptr<simulated_hart>> harts_;
    bool any_always_ = false;
    bool told_ = false; // the harts that poll for ever, to end
};

// An awaitable that resumes on another hart.
class hop : async::operation {
  public:
    hop(run_context& in, simulated_harts& harts, hart_index to) : in_{in}, harts_{harts}, to_{to} {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> frame) noexcept;
    void await_resume() const noexcept;

  private:
    run_context& in_;
    simulated_harts& harts_;
    hart_index to_;
    hart_index from_ = 0;
    std::uint64_t number_ = 0;
};

} // namespace inflight::simulation
