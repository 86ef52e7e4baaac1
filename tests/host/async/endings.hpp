// How waits ended, in the order in which they did.
#pragma once

#include "async/wait_operation.hpp"

#include <vector>

namespace inflight::tests {

// What became of the waits, in the order in which they ended: the id, and how it ended.
struct ending {
    int id;
    async::wait_result result;
    friend bool operator==(const ending&, const ending&) = default;
    friend std::ostream& operator<<(std::ostream& to, const ending& of) {
        return to << of.id << (of.result == async::wait_result::done ? " done" : " stopped");
    }
};

using endings = std::vector<ending>;

constexpr ending done(int id) {
    return {id, async::wait_result::done};
}

constexpr ending stopped(int id) {
    return {id, async::wait_result::stopped};
}

} // namespace inflight::tests
