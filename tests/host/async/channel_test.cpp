// Tests of channels, also against a model.
#include "async/channel.hpp"
#include "async/counting_scope.hpp"
#include "async/stop_token.hpp"
#include "async/sync_wait.hpp"
#include "async/task.hpp"
#include "tests/host/async/wait_models.hpp"
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
using boost::test_tools::per_element;
using tests::chance;
using tests::expect_panic;
using tests::hart;
using tests::is_closed;
using tests::is_done;
using tests::is_stopped;
using tests::line;
using tests::pick;
using tests::record;
using tests::stop_sources;

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

BOOST_AUTO_TEST_SUITE(channel_tests)

task<void> send_then_log(channel<int, 2>& to, int value, stop_token token, std::vector<std::pair<int, int>>& log) {
    const send_result result = co_await to.send(value, token);
    log.emplace_back(value, static_cast<int>(result));
}

task<void> receive_then_log(channel<int, 2>& from, stop_token token, std::vector<int>& log) {
    const std::optional<int> value = co_await from.receive(token);
    log.push_back(value.value_or(-1));
}

constexpr int sent = static_cast<int>(send_result::done);

constexpr int refused = static_cast<int>(send_result::closed);

constexpr int given_up = static_cast<int>(send_result::stopped);

using sends = std::vector<std::pair<int, int>>;

BOOST_AUTO_TEST_CASE(values_arrive_in_the_order_in_which_they_were_sent) {
    hart h;
    channel<int, 2> values;
    sends sends_ended;
    std::vector<int> received;
    counting_scope scope;
    for (int value = 1; value <= 5; ++value) {
        BOOST_REQUIRE(scope.spawn(send_then_log(values, value, {}, sends_ended)));
    }
    h.run_ready();
    BOOST_TEST((sends_ended == sends{{1, sent}, {2, sent}})); // there is room for two
    BOOST_TEST(values.size() == 2u);
    for (int i = 0; i < 7; ++i) { // two more than there are
        BOOST_REQUIRE(scope.spawn(receive_then_log(values, {}, received)));
    }
    h.run_ready();
    BOOST_TEST(received == (std::vector{1, 2, 3, 4, 5}), per_element());
    BOOST_TEST((sends_ended == sends{{1, sent}, {2, sent}, {3, sent}, {4, sent}, {5, sent}}));
    BOOST_REQUIRE(scope.spawn(send_then_log(values, 6, {}, sends_ended)));
    h.runtime.tick();
    BOOST_TEST(values.size() == 0u); // handed over directly
    BOOST_REQUIRE(scope.spawn(send_then_log(values, 7, {}, sends_ended)));
    h.run_ready();
    BOOST_TEST(received == (std::vector{1, 2, 3, 4, 5, 6, 7}), per_element());
}

BOOST_AUTO_TEST_CASE(after_close_receivers_drain_and_senders_are_refused) {
    hart h;
    channel<int, 2> values;
    sends sends_ended;
    std::vector<int> received;
    counting_scope scope;
    for (int value = 1; value <= 3; ++value) {
        BOOST_REQUIRE(scope.spawn(send_then_log(values, value, {}, sends_ended)));
    }
    h.run_ready();
    values.close();
    BOOST_TEST(values.is_closed());
    BOOST_REQUIRE(scope.spawn(send_then_log(values, 4, {}, sends_ended)));
    h.run_ready();
    BOOST_TEST((sends_ended == sends{{1, sent}, {2, sent}, {3, refused}, {4, refused}}));
    for (int i = 0; i < 3; ++i) {
        BOOST_REQUIRE(scope.spawn(receive_then_log(values, {}, received)));
    }
    h.run_ready();
    BOOST_TEST(received == (std::vector{1, 2, -1}), per_element());
}

BOOST_AUTO_TEST_CASE(close_wakes_receivers) {
    hart h;
    channel<int, 2> values;
    std::vector<int> received;
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(receive_then_log(values, {}, received)));
    BOOST_REQUIRE(scope.spawn(receive_then_log(values, {}, received)));
    h.run_ready();
    BOOST_TEST(received.empty());
    values.close();
    h.run_ready();
    BOOST_TEST(received == (std::vector{-1, -1}), per_element());
}

BOOST_AUTO_TEST_CASE(who_is_stopped_has_neither_sent_nor_received) {
    hart h;
    channel<int, 2> values;
    sends sends_ended;
    std::vector<int> received;
    stop_source source;
    counting_scope scope;
    for (int value = 1; value <= 4; ++value) {
        BOOST_REQUIRE(
            scope.spawn(send_then_log(values, value, value == 3 ? source.get_token() : stop_token{}, sends_ended)));
    }
    h.run_ready();
    source.request_stop();
    h.run_ready();
    BOOST_TEST((sends_ended == sends{{1, sent}, {2, sent}, {3, given_up}}));
    for (int i = 0; i < 4; ++i) {
        BOOST_REQUIRE(scope.spawn(receive_then_log(values, {}, received)));
    }
    h.run_ready();
    BOOST_TEST(received == (std::vector{1, 2, 4}), per_element());

    stop_source other;
    BOOST_REQUIRE(scope.spawn(receive_then_log(values, other.get_token(), received)));
    h.run_ready();
    BOOST_REQUIRE(scope.spawn(send_then_log(values, 5, {}, sends_ended))); // to the fourth receiver
    h.run_ready();
    BOOST_TEST(received.back() == 5);
    auto send = [](channel<int, 2>& to, stop_source& then) -> task<void> {
        static_cast<void>(co_await to.send(6));
        then.request_stop(); // the value is on its way
    };
    BOOST_REQUIRE(scope.spawn(send(values, other)));
    h.run_ready();
    BOOST_TEST(received.back() == 6);
    BOOST_REQUIRE(scope.spawn(receive_then_log(values, other.get_token(), received)));
    h.run_ready();
    BOOST_TEST(received.back() == -1); // stopped
    BOOST_TEST(values.size() == 0u);
}

BOOST_AUTO_TEST_CASE(an_awaiter_of_a_channel_may_be_awaited_again) {
    const auto work = []() -> task<bool> {
        channel<std::unique_ptr<int>, 1> values;
        stop_source source;
        source.request_stop();
        static_cast<void>(co_await values.send(std::make_unique<int>(1)));
        auto send = values.send(std::make_unique<int>(2), source.get_token());
        const send_result stopped = co_await send;
        auto receive = values.receive();
        const auto first = co_await receive;
        const send_result done = co_await send; // what was not sent is still there
        const auto second = co_await receive;
        values.close();
        const auto none = co_await receive; // and not what the one before has left
        co_return stopped == send_result::stopped&& done == send_result::done&& first&&** first == 1 &&
            second&&* second != nullptr&&** second == 2 && !none.has_value();
    };
    {
        hart h;
        BOOST_TEST(sync_wait(work()));
    }
    expect_panic("a send was awaited again after its value had been sent", [] {
        hart on;
        const auto twice = []() -> task<void> {
            channel<int, 4> values;
            auto send = values.send(1);
            static_cast<void>(co_await send);
            static_cast<void>(co_await send);
        };
        sync_wait(twice());
    });
}

BOOST_AUTO_TEST_CASE(values_are_moved_and_none_is_left) {
    hart h;
    const auto counted = std::make_shared<int>(0);
    {
        channel<std::shared_ptr<int>, 2> values;
        const auto send = [](auto& to, std::shared_ptr<int> value) -> task<void> {
            static_cast<void>(co_await to.send(std::move(value)));
        };
        counting_scope scope;
        for (int i = 0; i < 4; ++i) {
            BOOST_REQUIRE(scope.spawn(send(values, counted)));
        }
        h.run_ready();
        BOOST_TEST(counted.use_count() == 5);
        BOOST_TEST(values.try_receive().has_value());
        h.run_ready();
        BOOST_TEST(counted.use_count() == 4);
        values.close();
        h.run_ready();
        BOOST_TEST(counted.use_count() == 3); // the two in the ring
    }
    BOOST_TEST(counted.use_count() == 1);
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
