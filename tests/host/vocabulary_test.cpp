// Tests of what coroutines wait for: stop tokens, semaphore, mutex, events, latch, channel, sleeps, scope; and of generators.
// Each kind of wait is stopped in each state that it can be in.
#include "async/auto_reset_event.hpp"
#include "async/channel.hpp"
#include "async/counting_scope.hpp"
#include "async/event.hpp"
#include "async/generator.hpp"
#include "async/latch.hpp"
#include "async/mutex.hpp"
#include "async/scheduler.hpp"
#include "async/semaphore.hpp"
#include "async/stop_token.hpp"
#include "async/sync_wait.hpp"
#include "tests/host/hart_fixture.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <boost/mpl/list.hpp>
#include <boost/test/unit_test.hpp>
#include <deque>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::async;
using boost::test_tools::per_element;
using tests::chance;
using tests::expect_panic;
using tests::hart;
using tests::pick;

// What became of the waits, in the order in which they ended: the id, and how it ended.
struct ending {
    int id;
    wait_result result;
    friend bool operator==(const ending&, const ending&) = default;
    friend std::ostream& operator<<(std::ostream& to, const ending& of) {
        return to << of.id << (of.result == wait_result::done ? " done" : " stopped");
    }
};
using endings = std::vector<ending>;

constexpr ending done(int id) {
    return {id, wait_result::done};
}
constexpr ending stopped(int id) {
    return {id, wait_result::stopped};
}

template <typename Kind>
task<void> wait_with(Kind& what, stop_token token, endings& into, int id) {
    const wait_result result = co_await what.wait(token);
    into.push_back({id, result});
}

template <typename Kind>
task<void> wait_without(Kind& what, endings& into, int id) {
    co_await what.wait();
    into.push_back(done(id));
}

// One of each kind, from which nothing is to be had at first. give() gives it to one, or to all if `to_all`. With constructors, as what coroutines
// are given has.
struct of_semaphore {
    of_semaphore() noexcept {}
    static constexpr bool to_all = false;
    auto wait() { return permits.acquire(); }
    auto wait(stop_token token) { return permits.acquire(token); }
    void give() { permits.release(); }
    [[nodiscard]] bool available() const { return permits.available() == 1; }
    semaphore permits{0};
};
struct of_mutex {
    static constexpr bool to_all = false;
    of_mutex() { BOOST_REQUIRE(lock.try_lock()); }
    ~of_mutex() {
        if (lock.is_locked()) {
            lock.unlock();
        }
    }
    auto wait() { return lock.lock(); }
    auto wait(stop_token token) { return lock.lock(token); }
    void give() { lock.unlock(); }
    [[nodiscard]] bool available() const { return !lock.is_locked(); }
    mutex lock;
};
struct of_event {
    of_event() noexcept {}
    static constexpr bool to_all = true;
    auto wait() { return happened.wait(); }
    auto wait(stop_token token) { return happened.wait(token); }
    void give() { happened.set(); }
    [[nodiscard]] bool available() const { return happened.is_set(); }
    event happened;
};
struct of_auto_reset_event {
    of_auto_reset_event() noexcept {}
    static constexpr bool to_all = false;
    auto wait() { return bell.wait(); }
    auto wait(stop_token token) { return bell.wait(token); }
    void give() { bell.set(); }
    [[nodiscard]] bool available() const { return bell.is_set(); }
    auto_reset_event bell;
};
struct of_latch {
    of_latch() noexcept {}
    static constexpr bool to_all = true;
    auto wait() { return count.wait(); }
    auto wait(stop_token token) { return count.wait(token); }
    void give() {
        if (!count.try_wait()) {
            count.count_down();
        }
    }
    [[nodiscard]] bool available() const { return count.try_wait(); }
    latch count{1};
};
using kinds = boost::mpl::list<of_semaphore, of_mutex, of_event, of_auto_reset_event, of_latch>;

} // namespace

BOOST_AUTO_TEST_SUITE(stop_tokens)

struct noted {
    std::vector<int>* log;
    int id;
    static void call(void* self) noexcept {
        const noted& note = *static_cast<noted*>(self);
        note.log->push_back(note.id);
    }
};

BOOST_AUTO_TEST_CASE(a_default_token_never_stops) {
    const stop_token token;
    BOOST_TEST(!token.stop_possible());
    BOOST_TEST(!token.stop_requested());
    int calls = 0;
    const stop_callback never{token, [](void* count) noexcept { ++*static_cast<int*>(count); }, &calls};
    BOOST_TEST(calls == 0);
}

BOOST_AUTO_TEST_CASE(every_callback_is_called_once_in_order) {
    std::vector<int> log;
    noted notes[] = {{&log, 0}, {&log, 1}, {&log, 2}, {&log, 3}};
    stop_source source;
    const stop_token token = source.get_token();
    BOOST_TEST(token.stop_possible());
    const stop_callback zero{token, noted::call, &notes[0]};
    {
        const stop_callback gone{token, noted::call, &notes[1]};
        const stop_callback two{token, noted::call, &notes[2]};
    }
    const stop_callback two{token, noted::call, &notes[2]};
    BOOST_TEST(!token.stop_requested());
    BOOST_TEST(source.request_stop());
    BOOST_TEST(token.stop_requested());
    BOOST_TEST(log == (std::vector{0, 2}), per_element());
    BOOST_TEST(!source.request_stop());
    const stop_callback late{token, noted::call, &notes[3]};
    BOOST_TEST(log == (std::vector{0, 2, 3}), per_element()); // at once
}

// Deregistration from everywhere, against a vector.
BOOST_AUTO_TEST_CASE(the_ring_of_callbacks_agrees_with_a_vector) {
    auto random = chance(20);
    for (int run = 0; run < 200; ++run) {
        std::vector<int> log;
        std::deque<noted> notes;
        std::vector<std::pair<int, std::unique_ptr<stop_callback>>> registered;
        stop_source source;
        for (int i = 0; i < 40; ++i) {
            if (registered.empty() || pick(random, 0, 2) != 0) {
                notes.push_back({&log, i});
                registered.emplace_back(
                    i, std::make_unique<stop_callback>(source.get_token(), noted::call, &notes.back()));
            } else {
                const auto which = pick<std::size_t>(random, 0, registered.size() - 1);
                registered.erase(registered.begin() + static_cast<std::ptrdiff_t>(which));
            }
        }
        source.request_stop();
        std::vector<int> expected;
        for (const auto& each : registered) {
            expected.push_back(each.first);
        }
        BOOST_REQUIRE(log == expected);
    }
}

BOOST_AUTO_TEST_CASE(a_call_may_destroy_callbacks) {
    struct doomed {
        int calls = 0;
        std::optional<stop_callback> self, next, last;
        static void call(void* it) noexcept {
            doomed& all = *static_cast<doomed*>(it);
            ++all.calls;
            all.self.reset();
            all.next.reset();
        }
    } all;
    stop_source source;
    all.self.emplace(source.get_token(), doomed::call, &all);
    all.next.emplace(source.get_token(), doomed::call, &all);
    all.last.emplace(source.get_token(), doomed::call, &all);
    source.request_stop();
    BOOST_TEST(all.calls == 2); // of the first and of the last
}

BOOST_AUTO_TEST_CASE(a_source_does_not_end_before_its_callbacks) {
    expect_panic("a stop source ends while callbacks are registered", [] {
        std::optional<stop_source> source{std::in_place};
        const stop_callback callback{source->get_token(), [](void*) noexcept {}, nullptr};
        source.reset();
    });
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(lines)

BOOST_AUTO_TEST_CASE(removal_from_a_list_agrees_with_a_deque) {
    auto random = chance(21);
    std::vector<operation> nodes(8);
    operation_list list;
    std::deque<operation*> oracle;
    for (int step = 0; step < 20'000; ++step) {
        operation& node = nodes[pick<std::size_t>(random, 0, nodes.size() - 1)];
        const auto at = std::find(oracle.begin(), oracle.end(), &node);
        if (pick(random, 0, 3) == 0) {
            operation* const first = oracle.empty() ? nullptr : oracle.front();
            BOOST_REQUIRE(list.pop_front() == first);
            if (first != nullptr) {
                oracle.pop_front();
            }
        } else if (at == oracle.end() && pick(random, 0, 2) != 0) {
            list.push_back(node);
            oracle.push_back(&node);
        } else {
            BOOST_REQUIRE(list.remove(node) == (at != oracle.end()));
            if (at != oracle.end()) {
                oracle.erase(at);
            }
        }
        BOOST_REQUIRE(list.empty() == oracle.empty());
        BOOST_REQUIRE(list.front() == (oracle.empty() ? nullptr : oracle.front()));
    }
}

BOOST_AUTO_TEST_CASE(removal_from_the_heap_agrees_with_a_multimap) {
    auto random = chance(22);
    for (const arch::ticks range : {arch::ticks{20}, arch::ticks{1'000'000}}) {
        std::vector<timer> nodes(64);
        std::vector<bool> in(nodes.size());
        timer_queue queue;
        std::multimap<arch::ticks, std::size_t> oracle;
        const auto forget = [&](std::size_t which) {
            const auto [first, last] = oracle.equal_range(nodes[which].deadline);
            const auto found = std::find_if(first, last, [&](const auto& each) { return each.second == which; });
            BOOST_REQUIRE(found != last);
            oracle.erase(found);
            in[which] = false;
        };
        for (int step = 0; step < 40'000; ++step) {
            const auto which = pick<std::size_t>(random, 0, nodes.size() - 1);
            switch (pick(random, 0, 4)) {
            case 0:
                BOOST_REQUIRE(queue.remove(nodes[which]) == in[which]);
                if (in[which]) {
                    forget(which);
                }
                break;
            case 1:
                if (timer* const due = queue.pop_due(pick<arch::ticks>(random, 0, range))) {
                    BOOST_REQUIRE(due->deadline == oracle.begin()->first);
                    forget(static_cast<std::size_t>(due - nodes.data()));
                }
                break;
            default:
                if (!in[which]) {
                    nodes[which].deadline = pick<arch::ticks>(random, 0, range);
                    queue.insert(nodes[which]);
                    oracle.emplace(nodes[which].deadline, which);
                    in[which] = true;
                }
            }
            BOOST_REQUIRE(queue.earliest() == (oracle.empty() ? arch::no_deadline : oracle.begin()->first));
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(waits)

BOOST_AUTO_TEST_CASE_TEMPLATE(first_come_first_served, Kind, kinds) {
    hart h;
    Kind what;
    endings log;
    stop_source source;
    counting_scope scope;
    for (int id = 0; id < 6; id += 2) { // both forms stand in the same line
        BOOST_REQUIRE(scope.spawn(wait_with(what, source.get_token(), log, id)));
        BOOST_REQUIRE(scope.spawn(wait_without(what, log, id + 1)));
    }
    h.run_ready();
    BOOST_TEST(log.empty());
    for (int gifts = 1; gifts <= 6; ++gifts) {
        what.give();
        BOOST_TEST(what.available() == Kind::to_all); // it has an owner already
        h.run_ready();
        BOOST_TEST(log.size() == (Kind::to_all ? 6u : static_cast<unsigned>(gifts)));
    }
    BOOST_TEST(log == (endings{done(0), done(1), done(2), done(3), done(4), done(5)}), per_element());
    BOOST_TEST(h.live() == 0u);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_stop_before_the_wait_takes_what_is_there_or_nothing, Kind, kinds) {
    hart h;
    Kind what;
    endings log;
    stop_source source;
    source.request_stop();
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(wait_with(what, source.get_token(), log, 0)));
    h.run_ready();
    BOOST_TEST(log == (endings{stopped(0)}), per_element());
    what.give();
    BOOST_TEST(what.available()); // the one who was stopped is not in line
    BOOST_REQUIRE(scope.spawn(wait_with(what, source.get_token(), log, 1)));
    h.run_ready();
    BOOST_TEST(log == (endings{stopped(0), done(1)}), per_element());
    BOOST_TEST(what.available() == Kind::to_all);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_stop_takes_the_wait_out_of_the_line_wherever_it_is, Kind, kinds) {
    for (int which = 0; which < 3; ++which) {
        hart h;
        Kind what;
        endings log;
        stop_source sources[3];
        counting_scope scope;
        for (int id = 0; id < 3; ++id) {
            BOOST_REQUIRE(scope.spawn(wait_with(what, sources[id].get_token(), log, id)));
        }
        h.run_ready();
        sources[which].request_stop();
        BOOST_TEST(log.empty()); // a request does not run anybody
        h.run_ready();
        endings expected{stopped(which)};
        BOOST_TEST(log == expected, per_element());
        for (int id = 0; id < 3; ++id) {
            if (id != which) {
                what.give();
                expected.push_back(done(id));
            }
        }
        h.run_ready();
        BOOST_TEST(log == expected, per_element());
        what.give();
        BOOST_TEST(what.available()); // nothing was lost to the one who was stopped, and nothing is left over
        BOOST_REQUIRE(scope.spawn(wait_without(what, log, 7)));
        h.run_ready();
        BOOST_TEST(scope.size() == 0u);
    }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_stop_after_the_hand_over_comes_too_late, Kind, kinds) {
    hart h;
    Kind what;
    endings log;
    stop_source source;
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(wait_with(what, source.get_token(), log, 0)));
    BOOST_REQUIRE(scope.spawn(wait_with(what, source.get_token(), log, 1)));
    h.run_ready();
    what.give();
    source.request_stop();
    BOOST_TEST(log.empty());
    h.run_ready();
    BOOST_TEST(log == (endings{done(0), Kind::to_all ? done(1) : stopped(1)}), per_element());
    BOOST_TEST(what.available() == Kind::to_all);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_stop_of_many_ends_them_in_their_order, Kind, kinds) {
    hart h;
    Kind what;
    endings log;
    endings expected;
    stop_source source;
    counting_scope scope;
    for (int id = 0; id < 100; ++id) {
        BOOST_REQUIRE(scope.spawn(wait_with(what, source.get_token(), log, id)));
        expected.push_back(stopped(id));
    }
    h.run_ready();
    source.request_stop();
    h.run_ready();
    BOOST_TEST(log == expected, per_element());
    what.give();
    BOOST_TEST(what.available());
}

// Ready or not, what a loop of awaits takes is spent from the round; others get their turns.
template <typename Step>
void expect_fairness(Step step, std::uint64_t least_steps = 100) {
    hart h;
    struct shared {
        shared() noexcept {}
        int turns = 0;
        std::uint64_t steps = 0;
        bool enough = false;
    } seen;
    const auto greedy = [](shared& with, Step& once) -> task<void> {
        while (!with.enough && with.steps < 100'000) {
            static_cast<void>(co_await once());
            ++with.steps;
        }
    };
    const auto modest = [](shared& with) -> task<void> {
        for (; with.turns < 10; ++with.turns) {
            co_await yield{};
        }
        with.enough = true;
    };
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(greedy(seen, step)));
    BOOST_REQUIRE(scope.spawn(modest(seen)));
    h.run_ready();
    BOOST_TEST(seen.turns == 10);
    BOOST_TEST(seen.steps <= 12 * executor::round_budget);
    BOOST_TEST(seen.steps >= least_steps); // it is not held up either
    BOOST_TEST(scope.size() == 0u);
}

BOOST_AUTO_TEST_CASE(a_loop_of_ready_awaits_starves_nobody) {
    semaphore permits{1};
    expect_fairness([&] {
        if (permits.available() == 0) {
            permits.release();
        }
        return permits.acquire();
    });
    permits.release();
    expect_fairness([&] {
        if (permits.available() == 0) {
            permits.release();
        }
        return permits.acquire(stop_token{});
    });
    mutex lock;
    expect_fairness([&] {
        if (lock.is_locked()) {
            lock.unlock();
        }
        return lock.lock();
    });
    lock.unlock();
    expect_fairness([&] { return lock.scoped_lock(); });
    event happened;
    happened.set();
    expect_fairness([&] { return happened.wait(); });
    auto_reset_event bell;
    expect_fairness([&] {
        bell.set();
        return bell.wait();
    });
    latch open{0};
    expect_fairness([&] { return open.wait(); });
    expect_fairness([&] { return sleep_until(0); });
    expect_fairness([&] { return sleep_until(0, stop_token{}); });
    channel<int, 2> values;
    expect_fairness([&] {
        static_cast<void>(values.try_receive());
        return values.send(1);
    });
    values.close();
    expect_fairness([&] { return values.receive(); });
    expect_fairness([&] { return values.send(1); });
    counting_scope empty;
    expect_fairness([&] { return empty.join(); });
    // One that would wait, but is stopped at once, has one turn a round.
    stop_source source;
    source.request_stop();
    event never;
    expect_fairness([&] { return never.wait(source.get_token()); }, 10);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(sleeps)

task<void> sleep_then_log(arch::ticks deadline, stop_token token, endings& log, int id) {
    const wait_result result = co_await sleep_until(deadline, token);
    log.push_back({id, result});
}

BOOST_AUTO_TEST_CASE(a_sleep_ends_at_its_deadline_or_at_a_stop) {
    hart h;
    endings log;
    stop_source sources[4];
    counting_scope scope;
    for (int id = 0; id < 4; ++id) {
        BOOST_REQUIRE(
            scope.spawn(sleep_then_log(100'000 + static_cast<arch::ticks>(id), sources[id].get_token(), log, id)));
    }
    h.run_ready();
    sources[2].request_stop();
    sources[0].request_stop();
    h.run_ready();
    BOOST_TEST(log == (endings{stopped(2), stopped(0)}), per_element());
    BOOST_TEST(h.simulated.time() < 100'000u);
    while (scope.size() != 0) {
        if (!h.runtime.tick()) {
            h.runtime.idle();
        }
    }
    BOOST_TEST(log == (endings{stopped(2), stopped(0), done(1), done(3)}), per_element());
    BOOST_TEST(h.simulated.time() >= 100'003u);
}

BOOST_AUTO_TEST_CASE(a_stop_in_the_round_of_the_deadline_comes_too_late) {
    hart h;
    endings log;
    stop_source source;
    counting_scope scope;
    const auto stop_at = [](arch::ticks when, stop_source& what) -> task<void> {
        co_await sleep_until(when);
        what.request_stop();
    };
    const arch::ticks when = h.simulated.time() + 1000;
    BOOST_REQUIRE(scope.spawn(stop_at(when, source)));
    BOOST_REQUIRE(scope.spawn(sleep_then_log(when + 1, source.get_token(), log, 0)));
    BOOST_REQUIRE(scope.spawn(sleep_then_log(when + 100'000'000, source.get_token(), log, 1)));
    h.runtime.tick();
    h.simulated.run_until(when + 1000);
    h.run_ready();
    BOOST_TEST(log == (endings{done(0), stopped(1)}), per_element());
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(mutexes)

BOOST_AUTO_TEST_CASE(a_guard_unlocks_once_and_can_be_moved) {
    static_assert(!std::is_copy_constructible_v<mutex::guard> && std::is_nothrow_move_constructible_v<mutex::guard>);
    hart h;
    mutex lock;
    const auto work = [](mutex& one) -> task<bool> {
        std::optional<mutex::guard> outer;
        {
            mutex::guard inner = co_await one.scoped_lock();
            if (one.try_lock()) {
                co_return false;
            }
            outer.emplace(std::move(inner));
        }
        const bool held = one.is_locked();
        outer.reset();
        co_return held && !one.is_locked();
    };
    BOOST_TEST(sync_wait(work(lock)));
}

BOOST_AUTO_TEST_CASE(only_one_is_inside) {
    hart h;
    struct shared {
        shared() noexcept {}
        mutex lock;
        int inside = 0;
        int most = 0;
        std::vector<int> order;
    } all;
    const auto work = [](shared& with, int id) -> task<void> {
        for (int i = 0; i < 3; ++i) {
            const mutex::guard held = co_await with.lock.scoped_lock();
            with.most = std::max(with.most, ++with.inside);
            with.order.push_back(id);
            co_await yield{};
            --with.inside;
        }
    };
    counting_scope scope;
    for (int id = 0; id < 3; ++id) {
        BOOST_REQUIRE(scope.spawn(work(all, id)));
    }
    h.run_ready();
    BOOST_TEST(all.most == 1);
    BOOST_TEST(all.order == (std::vector{0, 1, 2, 0, 1, 2, 0, 1, 2}), per_element()); // no barging
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(channels)

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

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(latches)

BOOST_AUTO_TEST_CASE(all_who_arrive_go_on_with_the_last) {
    hart h;
    latch all{3};
    std::vector<int> log;
    counting_scope scope;
    const auto arrive = [](latch& at, std::vector<int>& into, int id) -> task<void> {
        co_await at.arrive_and_wait();
        into.push_back(id);
    };
    BOOST_REQUIRE(scope.spawn(arrive(all, log, 0)));
    BOOST_REQUIRE(scope.spawn(arrive(all, log, 1)));
    h.run_ready();
    BOOST_TEST(log.empty());
    BOOST_TEST(!all.try_wait());
    BOOST_REQUIRE(scope.spawn(arrive(all, log, 2)));
    h.run_ready();
    BOOST_TEST(log == (std::vector{2, 0, 1}), per_element()); // the last need not wait
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(scopes)

task<void> until_stopped(endings& log, int id) {
    const stop_token token = co_await get_stop_token();
    const wait_result result = co_await sleep_for(arch::no_deadline, token);
    log.push_back({id, result});
}

BOOST_AUTO_TEST_CASE(a_stop_of_the_scope_reaches_its_tasks) {
    hart h;
    endings log;
    stop_source own;
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(until_stopped(log, 0)));
    task<void> independent = until_stopped(log, 1);
    independent.set_stop_token(own.get_token());
    BOOST_REQUIRE(scope.spawn(std::move(independent)));
    BOOST_REQUIRE(scope.spawn(until_stopped(log, 2)));
    h.run_ready();
    BOOST_TEST(scope.request_stop());
    BOOST_TEST(!scope.request_stop());
    h.run_ready();
    BOOST_TEST(log == (endings{stopped(0), stopped(2)}), per_element());
    BOOST_REQUIRE(scope.spawn(until_stopped(log, 3))); // stopped before it began
    h.run_ready();
    BOOST_TEST(log.back() == stopped(3));
    own.request_stop();
    h.run_ready();
    BOOST_TEST(log.back() == stopped(1));
    BOOST_TEST(scope.size() == 0u);
}

BOOST_AUTO_TEST_CASE(a_closed_scope_refuses) {
    hart h;
    endings log;
    counting_scope scope;
    BOOST_REQUIRE(scope.spawn(until_stopped(log, 0)));
    scope.close();
    BOOST_TEST(!scope.spawn(until_stopped(log, 1)));
    BOOST_TEST(scope.size() == 1u);
    h.run_ready();
    scope.request_stop();
    h.run_ready();
    BOOST_TEST(scope.size() == 0u);
    BOOST_TEST(log == (endings{stopped(0)}), per_element());
    BOOST_TEST(h.live() == 0u);
}

BOOST_AUTO_TEST_CASE(a_join_can_be_stopped_and_is_told_the_truth) {
    hart h;
    endings log;
    stop_source source;
    counting_scope scope;
    counting_scope joiners;
    const auto join = [](counting_scope& what, stop_token token, endings& into, int id) -> task<void> {
        const wait_result result = co_await what.join(token);
        into.push_back({id, result});
    };
    BOOST_REQUIRE(scope.spawn(until_stopped(log, 0)));
    BOOST_REQUIRE(joiners.spawn(join(scope, source.get_token(), log, 1)));
    h.run_ready();
    source.request_stop();
    h.run_ready();
    BOOST_TEST(log == (endings{stopped(1)}), per_element());
    BOOST_TEST(scope.size() == 1u); // the wait was stopped, not the tasks
    stop_source late;
    BOOST_REQUIRE(joiners.spawn(join(scope, late.get_token(), log, 2)));
    h.run_ready();
    scope.request_stop();
    h.runtime.tick(); // the task ends
    late.request_stop();
    h.run_ready();
    BOOST_TEST(log == (endings{stopped(1), stopped(0), done(2)}), per_element());
}

// What the header of the scope says of one that is not closed.
BOOST_AUTO_TEST_CASE(a_scope_may_be_filled_before_the_joiner_has_its_turn) {
    hart h;
    std::size_t found = 99;
    event go;
    counting_scope scope;
    counting_scope others;
    const auto wait_for = [](event& what) -> task<void> {
        co_await what.wait();
    };
    const auto join = [](counting_scope& what, std::size_t& size) -> task<void> {
        co_await what.join();
        size = what.size();
    };
    BOOST_REQUIRE(scope.spawn(wait_for(go)));
    BOOST_REQUIRE(others.spawn(join(scope, found)));
    h.run_ready();
    go.set();
    h.runtime.set_poll_mode(poll_mode::off);
    h.runtime.tick(); // the last task ends, the joiner is ready
    go.reset();
    BOOST_REQUIRE(scope.size() == 0u);
    BOOST_REQUIRE(scope.spawn(wait_for(go)));
    h.run_ready();
    BOOST_TEST(found == 1u);
    go.set();
    h.run_ready();
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(generators)

generator<int> numbers(int from, int to) {
    for (int i = from; i <= to; ++i) {
        co_yield i;
    }
}

generator<std::unique_ptr<int>> boxes(std::shared_ptr<int> witness, int count) {
    for (int i = 0; i < count; ++i) {
        co_yield std::make_unique<int>(*witness + i);
    }
}

BOOST_AUTO_TEST_CASE(values_come_on_demand) {
    hart h;
    std::vector<int> seen;
    for (const int number : numbers(3, 6)) {
        seen.push_back(number);
    }
    BOOST_TEST(seen == (std::vector{3, 4, 5, 6}), per_element());
    for ([[maybe_unused]] const int number : numbers(1, 0)) {
        BOOST_ERROR("there is none");
    }
    BOOST_TEST(h.live() == 0u);
}

BOOST_AUTO_TEST_CASE(a_generator_may_be_dropped_before_its_end) {
    hart h;
    const auto witness = std::make_shared<int>(10);
    int sum = 0;
    for (const std::unique_ptr<int>& box : boxes(witness, 100)) {
        sum += *box;
        if (sum > 30) {
            break;
        }
    }
    BOOST_TEST(sum == 10 + 11 + 12);
    BOOST_TEST(witness.use_count() == 1);
    { const auto unused = boxes(witness, 1); }
    BOOST_TEST(witness.use_count() == 1);
    BOOST_TEST(h.live() == 0u);
}

BOOST_AUTO_TEST_CASE(without_a_frame_it_is_empty) {
    hart h{0};
    auto none = numbers(1, 3);
    BOOST_TEST(!none.has_frame());
    for ([[maybe_unused]] const int number : none) {
        BOOST_ERROR("there is none");
    }
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(misuse)

template <typename Wait>
task<void> wait_on(Wait make) {
    static_cast<void>(co_await make());
}

BOOST_AUTO_TEST_CASE(nothing_ends_while_somebody_waits_for_it) {
    // Runs a task that waits, then ends what it waits for.
    const auto ends_early = [](const char* message, auto make, auto wait) {
        expect_panic(message, [make, wait] {
            hart h;
            counting_scope scope;
            auto what = make();
            auto* const it = what.get();
            static_cast<void>(scope.spawn(wait_on([it, wait] { return wait(*it); })));
            h.runtime.tick();
            what.reset();
        });
    };
    ends_early(
        "an auto-reset event ends while coroutines wait for it", [] { return std::make_unique<auto_reset_event>(); },
        [](auto_reset_event& what) { return what.wait(stop_token{}); });
    ends_early(
        "a latch ends while coroutines wait for it", [] { return std::make_unique<latch>(1); },
        [](latch& what) { return what.wait(stop_token{}); });
    ends_early(
        "a channel ends while coroutines wait for it", [] { return std::make_unique<channel<int, 1>>(); },
        [](channel<int, 1>& what) { return what.receive(); });
    ends_early(
        "a semaphore ends while coroutines wait for it", [] { return std::make_unique<semaphore>(0); },
        [](semaphore& what) { return what.acquire(stop_token{}); });
    expect_panic("a channel ends while coroutines wait for it", [] {
        hart h;
        counting_scope scope;
        std::optional<channel<int, 1>> full{std::in_place};
        for (int i = 0; i < 2; ++i) {
            static_cast<void>(scope.spawn(wait_on([&full] { return full->send(1); })));
        }
        h.runtime.tick();
        full.reset();
    });
    expect_panic("a mutex ends while it is locked", [] {
        mutex held;
        static_cast<void>(held.try_lock());
    });
}

BOOST_AUTO_TEST_CASE(what_is_not_held_is_not_given_back) {
    expect_panic("a mutex was unlocked that is not locked", [] {
        mutex free;
        free.unlock();
    });
    expect_panic("a latch was counted down below zero", [] {
        latch two{2};
        two.count_down();
        two.count_down(2);
    });
}

BOOST_AUTO_TEST_SUITE_END()
