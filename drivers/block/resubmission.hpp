// What becomes of the operations of a channel after a recovery: each ends, or is submitted again.
#pragma once

#include "inflight/async/executor.hpp"
#include "inflight/drivers/block/limits.hpp"
#include "inflight/drivers/block/operation.hpp"
#include "inflight/drivers/block/queue.hpp"
#include "inflight/drivers/block/recovery.hpp"
#include "inflight/drivers/block/status.hpp"
#include "inflight/drivers/block/wait_line.hpp"

#include <cstdint>

namespace inflight::block {

// For the duration of one obey(resume), on the hart of the channel.
class resubmission {
  public:
    resubmission(const recovery& of, wait_line& line, async::executor& hart) noexcept
        : recovery_{of}, line_{line}, executor_{hart} {}
    resubmission(const resubmission&) = delete;
    resubmission& operator=(const resubmission&) = delete;

    // After a reset: each operation that was in flight in `queues`, which are linked, ends or goes to the front of the
    // line. `limits` are those of the device as it was.
    void take_back(queue* queues, const disk_properties& limits) noexcept;

    // Ends what waits in line and has failed, or does not fit the device as it is now. What waits was admitted to the
    // device as it was, or came while the channel was quiesced.
    void check_waiting(const disk_properties& limits) noexcept;

  private:
    void take_back(operation& in_flight, std::uint32_t age, const disk_properties& limits) noexcept;

    // How an operation ends that was in flight when the device was reset; ok if it is submitted again.
    [[nodiscard]] status verdict(const operation& in_flight, std::uint32_t age,
                                 const disk_properties& limits) const noexcept;

    const recovery& recovery_;
    wait_line& line_;
    async::executor& executor_;
};

} // namespace inflight::block
