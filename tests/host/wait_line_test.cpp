// Requests in line that are stopped. A stop ends what waits in line and nothing else; whatever it comes upon, every request ends
// once, the device sees nothing of what was stopped, and the others keep their order.
#include "async/counting_scope.hpp"
#include "async/scheduler.hpp"
#include "async/when_any.hpp"
#include "async/with_timeout.hpp"
#include "tests/host/readers.hpp"
#include "tests/host/requests_of_all_kinds.hpp"

#include <utility>

namespace {

using namespace inflight;
using namespace inflight::test;
using async::sleep_for;
using async::wait_result;
using async::when_any;
using async::with_timeout;
namespace bits = model::feature;

} // namespace

BOOST_AUTO_TEST_SUITE(wait_line_tests)

BOOST_AUTO_TEST_SUITE(stopping)

BOOST_AUTO_TEST_CASE(what_is_stopped_before_it_begins_waits_for_nothing) {
    for_each_variant([](const variant& of) {
        world w{setup_of(of)};
        w.start_all();
        readers all{w};
        reader& with_room = all.add(7);
        with_room.source.request_stop();
        w.run(all.read(with_room)); // there was room: it is done
        all.check_ok(with_room);

        all.fill();
        reader& without = all.add(8);
        without.source.request_stop();
        w.spawn(all.read(without));
        const ticks before = w.host.time();
        BOOST_TEST(w.run_until([&] { return without.ends != 0; }));
        all.check_cancelled(without);
        BOOST_TEST(without.ended - before < 100U);
        BOOST_TEST(w.model().in_flight() == slots(w)); // and nothing else has happened
        all.release();
        for (std::size_t i = 2; i < all.all.size(); ++i)
            if (all.all[i].get() != &without)
                all.check_ok(*all.all[i]);
    });
}

BOOST_AUTO_TEST_CASE(one_in_line_is_stopped_and_the_others_keep_their_order) {
    for_each_variant([](const variant& of) {
        for (const std::size_t which : {0U, 3U, 6U}) { // first, in the middle, last
            world w{setup_of(of)};
            w.start_all();
            readers all{w};
            all.fill();
            std::vector<reader*> line;
            for (std::uint64_t i = 0; i < 7; ++i)
                line.push_back(&all.start(2000 - 8 * i));
            w.settle();
            BOOST_TEST(w.disk().count().waited == 7U);
            all.taken.clear();
            reader& stopped = *line[which];
            stopped.source.request_stop();
            BOOST_TEST(stopped.ends == 0U); // not within request_stop()
            w.settle();
            all.check_cancelled(stopped);
            BOOST_TEST(w.model().in_flight() == slots(w));
            for (const auto& each : all.all)
                BOOST_TEST(each->ends == (each.get() == &stopped ? 1U : 0U));

            w.model().behave.hold = false;
            for (std::size_t i = 0; i < all.all.size(); ++i) { // one by one, so that each is taken alone
                w.model().release(1);
                w.settle();
            }
            w.finish();
            std::vector<std::uint64_t> expected;
            for (reader* each : line)
                if (each != &stopped)
                    expected.push_back(each->sector);
            BOOST_TEST(all.taken == expected, boost::test_tools::per_element());
            for (const auto& each : all.all)
                if (each.get() != &stopped)
                    all.check_ok(*each);
        }
    });
}

BOOST_AUTO_TEST_CASE(all_in_line_are_stopped_in_any_order) {
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        std::mt19937_64 random{seed};
        BOOST_TEST_CONTEXT("seed " << seed) {
            world w{setup_of({seed % 2 == 0 ? 2U : 1U, seed % 3 == 0, seed % 5 < 3, 8})};
            w.start_all();
            readers all{w};
            all.fill();
            std::vector<reader*> line;
            for (std::uint64_t i = 0; i < 20; ++i)
                line.push_back(&all.start(i));
            w.settle();
            std::shuffle(line.begin(), line.end(), random);
            for (std::size_t i = 0; i < line.size(); ++i) {
                line[i]->source.request_stop();
                if (random() % 3 == 0)
                    w.settle();
                if (random() % 8 == 0)
                    w.model().release(1);
            }
            all.release();
            for (const auto& each : all.all) {
                if (each->outcome == status::cancelled)
                    all.check_cancelled(*each);
                else
                    all.check_ok(*each);
            }
            BOOST_TEST(all.taken.size() ==
                       static_cast<std::size_t>(std::count_if(all.all.begin(), all.all.end(), [](const auto& each) {
                           return each->outcome == status::ok;
                       })));
        }
    }
}

// In pieces, each a request of the device; the rest of them waits in line.
class in_pieces {
  public:
    static constexpr std::size_t count = 600;

    explicit in_pieces(world& w) : world_{w}, memory{w.buffer(count * 512)}, into{cut(memory, 512)} {
        std::memset(memory.data(), 0x11, memory.size());
    }
    task<void> read() {
        block::request whole = world_.disk().read(0, into);
        whole.set_stop_token(source.get_token());
        outcome = co_await whole;
    }

  private:
    world& world_;

  public:
    std::span<std::byte> memory;
    std::vector<std::span<std::byte>> into;
    stop_source source;
    std::optional<status> outcome;
};

BOOST_AUTO_TEST_CASE(with_pieces_inside_it_ends_with_the_last_of_them) {
    for_each_variant(
        [](const variant& of) {
            world w{setup_of(of)};
            w.start_all();
            readers all{w};
            w.model().behave.hold = true;
            in_pieces some{w};
            w.spawn(some.read());
            w.settle();
            BOOST_TEST(w.model().in_flight() == slots(w));
            const std::size_t inside = all.taken.size();
            BOOST_TEST(inside == slots(w));
            reader& behind = all.start(3000);
            w.settle();
            some.source.request_stop();
            w.settle();
            BOOST_TEST(!some.outcome.has_value());
            for (std::size_t left = inside; left > 1; --left) {
                w.model().release(1);
                w.settle();
                BOOST_TEST(!some.outcome.has_value(), left << " pieces are with the device");
            }
            BOOST_TEST(std::count(all.taken.begin(), all.taken.end(), 3000) == 1); // it has found room
            w.model().release(1);
            w.settle();
            BOOST_TEST((some.outcome == status::cancelled));
            all.release();
            all.check_ok(behind);
            // What the device had of it is there, the rest as it was.
            BOOST_TEST(all.taken.size() == inside + 1);
            const std::size_t bytes = (of.indirect ? 6 : 1) * inside * 512;
            BOOST_TEST(same(some.memory.first(bytes), w.on_disk(0, bytes / 512)));
            BOOST_TEST(untouched(some.memory.subspan(bytes)));
        },
        {8});
}

BOOST_AUTO_TEST_CASE(a_piece_that_failed_before_the_stop_is_what_is_told) {
    world w{setup_of({2, true, false, 8})};
    w.start_all();
    w.model().behave.hold = true;
    w.model().behave.bad_sectors = {0};
    in_pieces some{w};
    w.spawn(some.read());
    w.settle();
    w.model().release(1);
    w.settle();
    some.source.request_stop();
    w.model().behave.hold = false;
    w.model().release();
    w.finish();
    BOOST_TEST((some.outcome == status::io_error));
}

BOOST_AUTO_TEST_CASE(what_the_device_has_is_not_stopped) {
    for_each_variant([](const variant& of) {
        for (const std::optional<std::uint8_t> answer :
             {std::optional<std::uint8_t>{}, std::optional<std::uint8_t>{1}}) {
            world w{setup_of(of)};
            w.start_all();
            readers all{w};
            w.model().behave.hold = true;
            w.model().behave.status_for = [&](const model::request_view&) {
                return answer;
            };
            reader& inside = all.start(3);
            w.settle();
            inside.source.request_stop();
            w.settle();
            BOOST_TEST(inside.ends == 0U);
            all.release();
            BOOST_TEST(inside.ends == 1U);
            BOOST_TEST((inside.outcome == (answer ? status::io_error : status::ok)));
            if (!answer)
                BOOST_TEST(inside.right);
        }
    });
}

BOOST_AUTO_TEST_CASE(what_waited_and_was_given_to_the_device_is_not_stopped) {
    for_each_variant([](const variant& of) {
        world w{setup_of(of)};
        w.start_all();
        readers all{w};
        all.fill();
        reader& waited = all.start(3);
        w.settle();
        w.model().release(1);
        w.settle();
        BOOST_TEST(std::count(all.taken.begin(), all.taken.end(), 3) == 1);
        waited.source.request_stop();
        w.settle();
        BOOST_TEST(waited.ends == 0U);
        all.release();
        all.check_ok(waited);
    });
}

BOOST_AUTO_TEST_CASE(what_has_completed_is_not_stopped_though_it_was_not_resumed) {
    for_each_variant([](const variant& of) {
        world w{setup_of(of)};
        w.start_all();
        readers all{w};
        reader& each = all.start(3);
        unsigned looks = 0;
        auto stop = [&]() -> task<void> {
            // Ready since the last round, so it runs before what this round's poll has made ready.
            while (w.model().total().completed == 0) {
                ++looks;
                co_await async::yield{};
            }
            BOOST_TEST(each.ends == 0U);
            each.source.request_stop();
        };
        w.spawn(stop());
        w.host.after(200, [] {});
        w.host.options([&] {
            auto slow = w.host.options();
            slow.cost_of_now = 10; // time passes with each round
            return slow;
        }());
        w.finish();
        BOOST_TEST(looks > 0U);
        all.check_ok(each);
    });
}

BOOST_AUTO_TEST_CASE(a_scope_stops_its_readers) {
    for_each_variant(
        [](const variant& of) {
            world w{setup_of(of)};
            w.start_all();
            readers all{w};
            w.model().behave.hold = true;
            async::counting_scope scope;
            auto attend = [&](reader& each) -> task<void> {
                const stop_token token = co_await async::get_stop_token();
                all.ended(each, co_await w.disk().read(each.sector, each.memory, token));
            };
            for (std::uint64_t i = 0; i < 200; ++i)
                BOOST_REQUIRE(scope.spawn(attend(all.add(i))));
            w.settle();
            BOOST_TEST(w.model().in_flight() == slots(w));
            BOOST_TEST(w.disk().count().waited == 200 - slots(w));
            BOOST_TEST(scope.request_stop());
            const ticks before = w.host.time();
            BOOST_TEST(w.run_until([&] { return scope.size() == slots(w); }));
            BOOST_TEST(w.host.time() - before < 500U);
            w.model().behave.hold = false;
            w.model().release();
            BOOST_TEST(w.run_until([&] { return scope.size() == 0; }));
            for (std::size_t i = 0; i < all.all.size(); ++i) {
                if (i < slots(w))
                    all.check_ok(*all.all[i]);
                else
                    all.check_cancelled(*all.all[i]);
            }
            BOOST_TEST(w.model().total().requests == slots(w));
        },
        {8, 64});
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(timeouts)

// A read within so many ticks. Answers what with_timeout answered.
task<void> read_within(world& w, readers& all, reader& each, ticks span, std::optional<status>& answer) {
    const async::timed_result<status> told = co_await with_timeout(w.disk().read(each.sector, each.memory), span);
    BOOST_TEST(told.has_value() != told.late.has_value());
    all.ended(each, told.has_value() ? *told : *told.late);
    answer = told;
}

BOOST_AUTO_TEST_CASE(with_timeout_ends_what_waits_in_line_and_nothing_else) {
    for_each_variant([](const variant& of) {
        world w{setup_of(of)};
        w.start_all();
        readers all{w};
        std::optional<status> answer;

        // quick: in time, and the hart does not wait for the rest of it
        reader& quick = all.add(1);
        ticks before = w.host.time();
        w.run(read_within(w, all, quick, 100'000, answer));
        all.check_ok(quick);
        BOOST_TEST(quick.ended - before < 1000U);

        // with the device: late, and what the device answered is told beside that
        w.model().behave.hold = true;
        reader& late = all.add(2);
        before = w.host.time();
        w.spawn(read_within(w, all, late, 1000, answer));
        w.settle();
        BOOST_TEST(late.ends == 0U);
        BOOST_TEST(w.host.time() > before + 1000);
        all.release();
        all.check_ok(late);
        BOOST_TEST(!answer.has_value());

        // refused: at once
        w.run([](world& in, std::optional<status>& told, std::span<std::byte> into) -> task<void> {
            told = co_await with_timeout(in.disk().read(1 << 20, into), 1000);
        }(w, answer, quick.memory));
        BOOST_TEST((answer == status::out_of_range));

        // in line: ended by the timeout
        all.fill();
        reader& waits = all.add(3);
        before = w.host.time();
        w.spawn(read_within(w, all, waits, 1000, answer));
        BOOST_TEST(w.run_until([&] { return waits.ends != 0; }));
        BOOST_TEST(!answer.has_value());
        all.check_cancelled(waits);
        BOOST_TEST(waits.ended - before >= 1000U);
        BOOST_TEST(waits.ended - before < 1100U);

        // in line, and served in time
        reader& served = all.add(4);
        w.spawn(read_within(w, all, served, 500'000, answer));
        w.settle();
        all.release();
        all.check_ok(served);

        // in line, and stopped by who awaits it: then the result is the answer
        all.fill();
        reader& told = all.add(5);
        auto with_token = [&](stop_token token) -> task<void> {
            answer = co_await with_timeout(w.disk().read(told.sector, told.memory, token), 500'000);
            all.ended(told, answer.value_or(status::device_lost));
        };
        w.spawn(with_token(told.source.get_token()));
        w.settle();
        told.source.request_stop();
        w.settle();
        BOOST_TEST((answer == status::cancelled));
        all.check_cancelled(told);
        all.release();
    });
}

BOOST_AUTO_TEST_CASE(with_timeout_waits_for_the_pieces_inside) {
    for (const bool indirect : {true, false}) {
        world w{setup_of({2, true, indirect, 8})};
        w.start_all();
        w.model().behave.hold = true;
        auto memory = w.buffer(100 * 512);
        const auto into = cut(memory, 512);
        bool over = false;
        std::optional<status> answer = status::ok;
        auto read = [&]() -> task<void> {
            answer = co_await with_timeout(w.disk().read(0, into), 1000);
            over = true;
        };
        w.spawn(read());
        w.settle();
        const std::size_t inside = w.model().in_flight();
        BOOST_TEST(inside == slots(w));
        w.model().release(inside - 1);
        w.settle();
        BOOST_TEST(!over);
        w.model().release(1);
        w.settle();
        BOOST_TEST(over);
        BOOST_TEST(!answer.has_value());
        BOOST_TEST(w.model().total().requests == inside);
    }
}

BOOST_AUTO_TEST_CASE(a_read_against_a_sleep) {
    for_each_variant([](const variant& of) {
        world w{setup_of(of)};
        w.start_all();
        readers all{w};
        std::size_t first = 9;
        wait_result slept = wait_result::done;
        auto race = [&](reader& each, ticks span) -> task<void> {
            const auto ended =
                co_await when_any(w.disk().read(each.sector, each.memory, stop_token{}), sleep_for(span, stop_token{}));
            first = ended.index;
            slept = std::get<1>(ended.results);
            all.ended(each, std::get<0>(ended.results));
        };
        reader& wins = all.add(1);
        w.run(race(wins, 100'000));
        BOOST_TEST(first == 0U);
        BOOST_TEST((slept == wait_result::stopped));
        all.check_ok(wins);

        w.model().behave.hold = true; // with the device it loses, and has its result all the same
        reader& loses = all.add(2);
        w.spawn(race(loses, 1000));
        w.settle();
        BOOST_TEST(loses.ends == 0U);
        all.release();
        BOOST_TEST(first == 1U);
        BOOST_TEST((slept == wait_result::done));
        all.check_ok(loses);

        all.fill();
        reader& waits = all.add(3);
        const ticks before = w.host.time();
        w.spawn(race(waits, 1000));
        BOOST_TEST(w.run_until([&] { return waits.ends != 0; }));
        BOOST_TEST(first == 1U);
        all.check_cancelled(waits);
        BOOST_TEST(waits.ended - before < 1100U);
        all.release();
    });
}

BOOST_AUTO_TEST_SUITE_END()

[[gnu::noinline]] task<status> read_one(world& w, std::span<std::byte> memory) {
    co_return co_await w.disk().read(0, memory);
}

BOOST_AUTO_TEST_CASE(a_task_without_a_frame_answers_out_of_memory) {
    setup s = setup_of(plain);
    s.frame_memory = std::size_t{16} << 10;
    world w{s};
    w.start_all();
    w.checked_at_end = false; // frames fail here
    auto memory = w.buffer(512);
    std::optional<status> without, with;
    std::optional<std::optional<status>> timed;
    auto use_up = [&]() -> task<void> {
        {
            std::vector<task<status>> taken;
            for (;;) {
                taken.push_back(read_one(w, memory));
                if (!taken.back().has_frame())
                    break;
            }
            BOOST_TEST(taken.size() > 1U);
            without = co_await read_one(w, memory);
            timed = co_await with_timeout(read_one(w, memory), 1000);
        }
        with = co_await read_one(w, memory);
    };
    w.run(use_up());
    BOOST_TEST((without == status::out_of_memory));
    BOOST_TEST((timed.has_value() && *timed == status::out_of_memory));
    BOOST_TEST((with == status::ok));
    BOOST_TEST(w.model().total().requests == 1U);
    BOOST_TEST(w.hart.frames().count().live == 0U);
    BOOST_TEST(w.host.violations().empty());
}

BOOST_AUTO_TEST_SUITE_END()
