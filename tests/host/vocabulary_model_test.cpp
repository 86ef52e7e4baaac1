// Semaphore, mutex and channel at random, with stops at any time, against models that say who gets what, in which order.
//
// Between two runs of the executor there are several steps (handing over, stopping, closing), so that stops come before and
// after the hand-over; at the end of each, what became of the waits must be what the model says, in its order.
#include "async/channel.hpp"
#include "async/counting_scope.hpp"
#include "async/mutex.hpp"
#include "async/semaphore.hpp"
#include "async/stop_token.hpp"
#include "tests/host/hart_fixture.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::async;
using tests::chance;
using tests::hart;
using tests::pick;

// (who, what came of it), in the order in which they were resumed.
using record = std::vector<std::pair<int, int>>;
constexpr int is_done = -1;
constexpr int is_stopped = -2;
constexpr int is_closed = -3;

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
void compare(std::uint64_t salt, std::size_t permits, Acquire acquire, Release release, Available available) {
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

constexpr std::size_t room = 3;

struct channel_model {
    bool closed = false;
    std::deque<int> ring{};
    line senders{}; // each sends its id
    line receivers{};
    record ended{};

    void send(int id, bool stop_requested) {
        if (closed) {
            ended.emplace_back(id, is_closed);
        } else if (!receivers.empty()) {
            ended.emplace_back(id, is_done); // it goes on at once, whom it serves has to be resumed
            ended.emplace_back(receivers.take(), id);
        } else if (ring.size() < room) {
            ring.push_back(id);
            ended.emplace_back(id, is_done);
        } else if (stop_requested) {
            ended.emplace_back(id, is_stopped);
        } else {
            senders.push_back(id);
        }
    }
    std::optional<int> first() {
        if (ring.empty()) {
            return std::nullopt;
        }
        const int value = ring.front();
        ring.pop_front();
        return value;
    }
    void move_up() {
        if (!senders.empty() && ring.size() < room) {
            ring.push_back(senders.front());
            ended.emplace_back(senders.take(), is_done);
        }
    }
    void receive(int id, bool stop_requested) {
        if (const std::optional<int> value = first()) {
            ended.emplace_back(id, *value);
            move_up();
        } else if (closed) {
            ended.emplace_back(id, is_closed);
        } else if (stop_requested) {
            ended.emplace_back(id, is_closed); // a receiver is not told why there is nothing
        } else {
            receivers.push_back(id);
        }
    }
    void close() {
        closed = true;
        while (!senders.empty()) {
            ended.emplace_back(senders.take(), is_closed);
        }
        while (!receivers.empty()) {
            ended.emplace_back(receivers.take(), is_closed);
        }
    }
    void stop(int id) {
        if (senders.leave(id)) {
            ended.emplace_back(id, is_stopped);
        } else if (receivers.leave(id)) {
            ended.emplace_back(id, is_closed);
        }
    }
};

task<void> send_one(channel<int, room>& to, int id, stop_token token, record& ended) {
    const send_result result = co_await to.send(id, token);
    ended.emplace_back(id, result == send_result::done     ? is_done
                           : result == send_result::closed ? is_closed
                                                           : is_stopped);
}

task<void> receive_one(channel<int, room>& from, int id, stop_token token, record& ended) {
    const std::optional<int> value = co_await from.receive(token);
    ended.emplace_back(id, value.value_or(is_closed));
}

} // namespace

BOOST_AUTO_TEST_SUITE(models)

BOOST_AUTO_TEST_CASE(a_semaphore_with_stops) {
    for (const std::size_t permits : {0u, 1u, 2u, 7u}) {
        semaphore real{permits};
        if (permits == 0) {
            real.release(); // one comes later
        }
        compare(
            100 + permits, std::max<std::size_t>(permits, 1), [&](stop_token token) { return real.acquire(token); },
            [&] { real.release(); }, [&] { return real.available(); });
    }
}

BOOST_AUTO_TEST_CASE(a_mutex_with_stops) {
    for (std::uint64_t run = 0; run < 4; ++run) {
        mutex real;
        compare(
            200 + run, 1, [&](stop_token token) { return real.lock(token); }, [&] { real.unlock(); },
            [&] { return std::size_t{!real.is_locked()}; });
    }
}

BOOST_AUTO_TEST_CASE(a_channel_with_stops_and_a_close) {
    for (std::uint64_t run = 0; run < 40; ++run) {
        auto random = chance(300 + run);
        hart h;
        channel<int, room> real;
        stop_sources sources;
        channel_model model;
        record ended;
        counting_scope scope;
        const int more_senders = pick(random, 1, 5); // or fewer
        const auto compare_now = [&] {
            h.run_ready();
            BOOST_REQUIRE(ended == model.ended);
        };
        for (int step = 0; step < 600; ++step) {
            switch (pick(random, 0, 9)) {
            case 0:
            case 1:
            case 2:
            case 3:
            case 4: {
                compare_now();
                const bool requested = pick(random, 0, 7) == 0;
                const auto [id, token] = sources.next(requested);
                if (pick(random, 0, 6) < more_senders) {
                    BOOST_REQUIRE(scope.spawn(send_one(real, id, token, ended)));
                    model.send(id, requested);
                } else {
                    BOOST_REQUIRE(scope.spawn(receive_one(real, id, token, ended)));
                    model.receive(id, requested);
                }
                if (pick(random, 0, 2) != 0) {
                    h.runtime.tick(); // it has its turn; whom it serves may still have to wait for theirs
                } else {
                    compare_now();
                }
                break;
            }
            case 5:
            case 6:
            case 7:
                if (sources.size() != 0) {
                    h.runtime.tick();
                    const int id = sources.size() - 1 - pick(random, 0, std::min(sources.size() - 1, 12));
                    sources.request(id);
                    model.stop(id);
                }
                break;
            case 8: {
                h.runtime.tick();
                const std::optional<int> value = model.first();
                BOOST_REQUIRE((real.try_receive() == value));
                if (value.has_value()) {
                    model.move_up();
                }
                break;
            }
            default:
                compare_now();
                if (step > 500 && !model.closed) {
                    real.close();
                    model.close();
                }
            }
            BOOST_REQUIRE(real.is_closed() == model.closed);
        }
        if (!model.closed) {
            real.close();
            model.close();
        }
        compare_now();
        BOOST_TEST(real.size() == model.ring.size());
        BOOST_TEST(scope.size() == 0u);
        BOOST_TEST(h.live() == 0u);
    }
}

BOOST_AUTO_TEST_SUITE_END()
