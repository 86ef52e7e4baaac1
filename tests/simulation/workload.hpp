// The coroutines that use the runtime and the disks.
#pragma once

#include "async/stop_token.hpp"
#include "async/task.hpp"
#include "tests/simulation/run_context.hpp"
#include "tests/simulation/simulated_disk.hpp"
#include "tests/simulation/simulated_harts.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace inflight::simulation {

// One coroutine with its own sectors of one disk, and its own buffer.
struct worker {
    worker() = default; // not an aggregate: see coroutine.hpp

    hart_index home;
    simulated_disk* on;
    std::uint64_t first;
    std::uint64_t sectors;
    std::span<std::byte> buffer;
    unsigned rounds;
    ticks last_seen = 0;
    unsigned ended = 0;

    // Of the request under way.
    std::optional<async::stop_source> stop;
    hart_index stops_on = 0; // the source belongs to that hart
};

class workload {
  public:
    workload(run_context& in, simulated_harts& harts) : in_{in}, harts_{harts} {}

    void start(const std::vector<std::unique_ptr<simulated_disk>>& disks);
    bool each_ended_once() const;

  private:
    template <typename T>
    using task = async::task<T>;

    task<void> work(worker&);
    task<void> travel(worker&);
    void check_scheduled(hart_index here);
    task<void> transfer(worker&, async::stop_token token = {});
    task<void> guarded_transfer(worker&);
    task<void> errand(worker&);
    task<hart_index> told_transfer(worker&);
    task<void> flush(worker&);
    task<void> switch_write_cache(worker&);
    void stop_somebody();

    run_context& in_;
    simulated_harts& harts_;
    std::vector<std::unique_ptr<worker>> workers_;
};

} // namespace inflight::simulation
