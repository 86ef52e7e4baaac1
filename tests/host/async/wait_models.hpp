// Models of what is waited for, which say who gets what, in which order; and the comparison with the real things at random, with
// stops at any time.
//
// Between two runs of the executor there are several steps (handing over, stopping, closing), so that stops come before and
// after the hand-over; at the end of each, what became of the waits must be what the model says, in its order.
#pragma once

#include "async/counting_scope.hpp"
#include "async/stop_token.hpp"
#include "async/task.hpp"
#include "tests/host/hart_fixture.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

namespace inflight::tests {

using namespace async;

// (who, what came of it), in the order in which they were resumed.
using record = std::vector<std::pair<int, int>>;

inline constexpr int is_done = -1;

inline constexpr int is_stopped = -2;

inline constexpr int is_closed = -3;

// The waits of a run, each with a source of its own.
class stop_sources {
  public:
    // A token for the next wait; sometimes one that is stopped already.
    std::pair<int, stop_token> next(bool requested) {
        sources_.push_back(std::make_unique<stop_source>());
        if (requested) {
            sources_.back()->request_stop();
        }
        return {static_cast<int>(sources_.size()) - 1, sources_.back()->get_token()};
    }
    void request(int id) { sources_[static_cast<std::size_t>(id)]->request_stop(); }
    [[nodiscard]] int size() const { return static_cast<int>(sources_.size()); }

  private:
    std::vector<std::unique_ptr<stop_source>> sources_;
};

// A line of ids; leave() is what a stop does.
struct line : std::deque<int> {
    bool leave(int id) {
        const auto at = std::find(begin(), end(), id);
        const bool found = at != end();
        if (found) {
            erase(at);
        }
        return found;
    }
    int take() {
        const int first = front();
        pop_front();
        return first;
    }
};

// Permits; with one permit, a mutex.
struct permits_model {
    std::size_t permits;
    line waiting{};
    record ended{};

    void begin(int id, bool stop_requested) {
        if (permits != 0) {
            --permits;
            ended.emplace_back(id, is_done);
        } else if (stop_requested) {
            ended.emplace_back(id, is_stopped);
        } else {
            waiting.push_back(id);
        }
    }
    void release() {
        if (waiting.empty()) {
            ++permits;
        } else {
            ended.emplace_back(waiting.take(), is_done);
        }
    }
    void stop(int id) {
        if (waiting.leave(id)) {
            ended.emplace_back(id, is_stopped);
        }
    }
};

template <typename Wait>
task<void> take(Wait wait, int id, record& ended) {
    const wait_result result = co_await wait();
    ended.emplace_back(id, result == wait_result::done ? is_done : is_stopped);
}

// `acquire(token)`, `release()` and `available()` of the real thing, against the model.
template <typename Acquire, typename Release, typename Available>
void compare_at_random(std::uint64_t salt, std::size_t permits, Acquire acquire, Release release, Available available) {
    auto random = chance(salt);
    hart h;
    stop_sources sources;
    permits_model model{permits};
    record ended;
    counting_scope scope;
    for (int step = 0; step < 4000; ++step) {
        const auto held = [&] { // by those who have been served, whether they know or not
            return permits - model.permits;
        };
        switch (pick(random, 0, 4)) {
        case 0:
        case 1: {
            const bool requested = pick(random, 0, 7) == 0;
            const auto [id, token] = sources.next(requested);
            h.run_ready(); // who was served before is resumed before
            BOOST_REQUIRE(scope.spawn(take([&acquire, wait_token = token] { return acquire(wait_token); }, id, ended)));
            model.begin(id, requested);
            h.run_ready();
            break;
        }
        case 2:
            if (held() != 0) {
                release();
                model.release();
            }
            break;
        case 3:
            if (sources.size() != 0) {
                const int id = pick(random, 0, sources.size() - 1);
                sources.request(id);
                model.stop(id);
            }
            break;
        default: h.run_ready(); BOOST_REQUIRE(ended == model.ended);
        }
        BOOST_REQUIRE(available() == model.permits);
    }
    for (int id = 0; id < sources.size(); ++id) {
        sources.request(id);
        model.stop(id);
    }
    h.run_ready();
    BOOST_REQUIRE(ended == model.ended);
    BOOST_TEST(scope.size() == 0u);
    while (model.permits != permits) {
        release();
        model.release();
    }
    BOOST_TEST(available() == permits); // none was lost
    BOOST_TEST(h.live() == 0u);
    BOOST_TEST(std::count_if(ended.begin(), ended.end(), [](const auto& each) { return each.second == is_done; }) >
               100);
    BOOST_TEST(std::count_if(ended.begin(), ended.end(), [](const auto& each) { return each.second != is_done; }) >
               100);
}

} // namespace inflight::tests
