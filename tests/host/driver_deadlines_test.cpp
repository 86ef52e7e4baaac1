// Requests that are stopped, and devices that are late.
//
// A stop ends what waits in line and nothing else; whatever it comes upon, every request ends once, the device sees
// nothing of what was stopped, and the others keep their order. A disk with a time limit resets a device that is late,
// and only for that. When and in which order the device is given requests is what the model tells of it; the time is
// the machine's.
#include "async/counting_scope.hpp"
#include "async/scheduler.hpp"
#include "async/stop_token.hpp"
#include "async/when_any.hpp"
#include "async/with_timeout.hpp"
#include "tests/host/driver_fixture.hpp"

#include <optional>
#include <utility>

namespace {

using namespace inflight;
using namespace inflight::test;
using async::sleep_for;
using async::stop_source;
using async::stop_token;
using async::wait_result;
using async::when_any;
using async::with_timeout;
namespace bits = model::feature;

constexpr ticks limit = 40'000;
constexpr ticks slack = 1'500; // for what a reset costs, and the round in which a request ends

struct variant {
    std::uint32_t version;
    bool event_idx;
    bool indirect;
    std::uint32_t ring;
};

std::ostream& operator<<(std::ostream& out, const variant& of) {
    return out << "version " << of.version << ", EVENT_IDX " << of.event_idx << ", INDIRECT_DESC " << of.indirect
               << ", ring of " << of.ring;
}

template <typename Function>
void for_each_variant(Function&& function, std::initializer_list<std::uint32_t> rings = {8, 512}) {
    for (const std::uint32_t version : {2U, 1U})
        for (const bool event_idx : {true, false})
            for (const bool indirect : {true, false})
                for (const std::uint32_t ring : rings) {
                    const variant of{version, event_idx, indirect, ring};
                    BOOST_TEST_CONTEXT(of) {
                        function(of);
                    }
                }
}

setup setup_of(const variant& of, ticks request_timeout = 0, unsigned queues = 1) {
    setup s;
    blk_configuration& c = s.disks[0];
    c.version = of.version;
    c.queue_size_max = of.ring;
    c.queues = queues;
    std::uint64_t features = model::usual_features(of.version);
    if (!of.event_idx)
        features &= ~bits::bit(bits::event_idx);
    if (!of.indirect)
        features &= ~bits::bit(bits::indirect_desc);
    c.features = features;
    c.capacity = 4096;
    s.disk.request_timeout = request_timeout;
    s.machine.memory_bytes = std::size_t{2} << 20;
    s.frame_memory = std::size_t{1} << 20;
    return s;
}

constexpr variant plain{2, true, true, 8};

std::size_t slots(world& w) {
    return w.disk().properties().slots_per_queue;
}

bool untouched(std::span<const std::byte> memory) {
    return std::all_of(memory.begin(), memory.end(), [](std::byte each) { return each == std::byte{0x11}; });
}

// One read, and all that there is to know about it.
struct reader {
    reader() = default; // not an aggregate: see coroutine.hpp
    std::uint64_t sector = 0;
    std::span<std::byte> memory;
    stop_source source;
    std::optional<status> outcome;
    unsigned ends = 0;
    ticks ended = 0;
    bool right = false;
};

class readers {
  public:
    explicit readers(world& w) : world_{w} {
        // In the order in which the device takes them. The answer leaves the latency to the rest.
        w.model().behave.latency_for = [this](const model::request_view& view) {
            taken.push_back(view.sector);
            return std::optional<ticks>{};
        };
    }

    reader& add(std::uint64_t sector, std::size_t bytes = 512) {
        reader& each = *all.emplace_back(std::make_unique<reader>());
        each.sector = sector;
        each.memory = world_.buffer(bytes);
        std::memset(each.memory.data(), 0x11, bytes);
        return each;
    }
    reader& start(std::uint64_t sector) {
        reader& each = add(sector);
        world_.spawn(read(each));
        return each;
    }
    void ended(reader& each, status outcome) {
        each.outcome = outcome;
        ++each.ends;
        each.ended = world_.host.time();
        each.right = same(each.memory, world_.on_disk(each.sector, each.memory.size() / 512));
    }
    // The device has all that there is room for; the others are in line.
    void fill() {
        world_.model().behave.hold = true;
        const std::uint64_t waited = world_.disk().count().waited;
        for (std::size_t i = 0; i < slots(world_); ++i)
            start(1000 + i);
        world_.settle();
        BOOST_TEST(world_.model().in_flight() == slots(world_));
        BOOST_TEST(world_.disk().count().waited == waited);
    }
    void check_ok(const reader& each) {
        BOOST_TEST(each.ends == 1U);
        BOOST_TEST((each.outcome == status::ok));
        BOOST_TEST(each.right);
    }
    void check_cancelled(const reader& each) {
        BOOST_TEST(each.ends == 1U);
        BOOST_TEST((each.outcome == status::cancelled));
        BOOST_TEST(untouched(each.memory));
        BOOST_TEST(std::count(taken.begin(), taken.end(), each.sector) == 0);
    }
    // Lets the device go on, and everything end. (It holds what waits for release(), so more than once.)
    void release() {
        world_.model().behave.hold = false;
        world_.model().release();
        world_.finish();
    }

    task<void> read(reader& each) {
        ended(each, co_await world_.disk().read(each.sector, each.memory, each.source.get_token()));
    }

    std::vector<std::uint64_t> taken;
    std::vector<std::unique_ptr<reader>> all;

  private:
    world& world_;
};

} // namespace

BOOST_AUTO_TEST_SUITE(driver_deadlines)

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
    answer = co_await with_timeout(w.disk().read(each.sector, each.memory), span);
    all.ended(each, answer.value_or(status::cancelled));
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

        // with the device: late, and the answer is the device's
        w.model().behave.hold = true;
        reader& late = all.add(2);
        before = w.host.time();
        w.spawn(read_within(w, all, late, 1000, answer));
        w.settle();
        BOOST_TEST(late.ends == 0U);
        BOOST_TEST(w.host.time() > before + 1000);
        all.release();
        all.check_ok(late);
        BOOST_TEST((answer == status::ok));

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

// ---- the disk's time limit

namespace {

enum class kind : unsigned { read, write, scattered_read, scattered_write, flush, discard, write_zeroes, get_id };
constexpr const char* kind_names[] = {"read",  "write",   "scattered read", "scattered write",
                                      "flush", "discard", "write zeroes",   "get_id"};
constexpr unsigned kinds = 8;

// Requests of every kind, each with sectors of its own.
class guests {
  public:
    struct guest {
        guest() = default; // not an aggregate: see coroutine.hpp
        kind what = kind::read;
        std::uint64_t sector = 0;
        std::span<std::byte> memory;
        std::vector<std::span<std::byte>> into;
        std::vector<std::span<const std::byte>> from;
        block::virtio_blk::id_string id{};
        std::optional<status> outcome;
        unsigned ends = 0;
        ticks began = 0, ended = 0;
        bool right = false;
    };

    explicit guests(world& w) : world_{w} {}

    guest& start(kind what) {
        guest& each = *all.emplace_back(std::make_unique<guest>());
        each.what = what;
        each.sector = next_sector_;
        next_sector_ += sectors;
        each.memory = world_.buffer(sectors * 512);
        fill_pattern(each.memory, each.sector + 1);
        each.into = cut(each.memory, 512);
        each.from = cut(std::span<const std::byte>{each.memory}, 512);
        world_.spawn(attend(each));
        return each;
    }

    // Ended once, well, and what it has done is what it was to do.
    static void check_ok(const guest& each) {
        BOOST_TEST_CONTEXT(kind_names[static_cast<unsigned>(each.what)] << " at sector " << each.sector) {
            BOOST_TEST(each.ends == 1U);
            BOOST_TEST((each.outcome == status::ok), block::to_string(each.outcome.value_or(status::device_lost)));
            BOOST_TEST(each.right);
        }
    }

    static constexpr std::uint64_t sectors = 10;
    std::vector<std::unique_ptr<guest>> all;

  private:
    block::request make(guest& each) {
        block::disk& disk = world_.disk();
        switch (each.what) {
        case kind::read: return disk.read(each.sector, each.memory);
        case kind::write: return disk.write(each.sector, each.memory);
        case kind::scattered_read: return disk.read(each.sector, each.into);
        case kind::scattered_write: return disk.write(each.sector, each.from);
        case kind::flush: return disk.flush();
        case kind::discard: return disk.discard(each.sector, sectors);
        case kind::write_zeroes: return disk.write_zeroes(each.sector, sectors);
        case kind::get_id: return disk.get_id(each.id);
        }
        std::abort();
    }

    task<void> attend(guest& each) {
        each.began = world_.host.time();
        each.outcome = co_await make(each);
        each.ended = world_.host.time();
        ++each.ends;
        const auto disk = world_.on_disk(each.sector, sectors);
        switch (each.what) {
        case kind::read:
        case kind::write:
        case kind::scattered_read:
        case kind::scattered_write: each.right = same(each.memory, disk); break;
        case kind::write_zeroes:
            each.right = std::all_of(disk.begin(), disk.end(), [](std::byte b) { return b == std::byte{0}; });
            break;
        case kind::get_id: each.right = std::string{each.id.data()} == world_.model().configuration().identifier; break;
        default: each.right = true;
        }
    }

    world& world_;
    std::uint64_t next_sector_ = 0;
};

void check_time(ticks took) {
    BOOST_TEST(took >= limit);
    BOOST_TEST(took <= limit + limit / 4 + slack);
}

// Lets the hart run until it sleeps with nothing to wait for, for ever. False if it does not.
bool sleeps_for_ever(world& w) {
    w.host.clear_stall();
    const bool asleep = !w.run_until([] { return false; }) && w.host.stalled();
    w.host.clear_stall();
    return asleep;
}

} // namespace

BOOST_AUTO_TEST_SUITE(limits)

// The victim is swallowed; of the others some are with the device then, and some in line.
BOOST_AUTO_TEST_CASE(one_that_is_swallowed_times_out_and_all_others_are_done) {
    unsigned cells = 0;
    for_each_variant([&](const variant& of) {
        for (unsigned what = 0; what < kinds; ++what) {
            BOOST_TEST_CONTEXT("victim: " << kind_names[what]) {
                world w{setup_of(of, limit, of.ring == 8 ? 1 + what % 2 : 1)};
                w.start_all();
                guests all{w};
                virtio_blk_model& device = w.model();
                bool hungry = true;
                device.behave.never_complete = [&](const model::request_view&) {
                    return std::exchange(hungry, false);
                };
                const std::uint64_t resets = device.resets();
                device.behave.latency_for = [&](const model::request_view&) {
                    return std::optional<ticks>{device.resets() == resets ? 4 * limit : 50};
                };
                const guests::guest& victim = all.start(kind{what});
                std::size_t in_line = 0;
                auto later = [&]() -> task<void> {
                    co_await sleep_for(limit / 2);
                    BOOST_TEST(!hungry);
                    for (unsigned i = 0; i < kinds; ++i)
                        all.start(kind{i});
                    for (unsigned i = 0; i < w.disk().properties().queues * slots(w) + 20; ++i)
                        all.start(kind{i % 4});
                    co_await sleep_for(100);
                    in_line = w.disk().count().waited;
                };
                w.spawn(later());
                w.finish();
                BOOST_TEST(in_line != 0U);
                BOOST_TEST(victim.ends == 1U);
                BOOST_TEST((victim.outcome == status::timed_out));
                check_time(victim.ended - victim.began);
                for (std::size_t i = 1; i < all.all.size(); ++i)
                    guests::check_ok(*all.all[i]);
                BOOST_TEST(w.disk().count().resets == 1U);
                BOOST_TEST(w.disk().count().lost_interrupts == 0U);
                BOOST_TEST(w.disk().count().device_lies == 0U);
                device.behave.never_complete = {};
                device.behave.latency_for = {};
                exercise(w);
                ++cells;
            }
        }
    });
    std::printf("swallowed requests: %u cells\n", cells);
}

// Whenever it comes, and whatever else the device is doing well.
BOOST_AUTO_TEST_CASE(the_time_counts_from_the_submission) {
    for (ticks offset = 0; offset <= limit / 2; offset += limit / 32 + 1)
        for (const poll_mode poll : {poll_mode::off, poll_mode::adaptive}) {
            setup s = setup_of(plain, limit);
            s.poll = poll;
            world w{s};
            w.start_all();
            bool over = false;
            unsigned others = 0;
            w.model().behave.never_complete = [](const model::request_view& view) {
                return view.sector == 77;
            };
            auto busy = [&]() -> task<void> {
                auto memory = w.buffer(512);
                while (!over) {
                    BOOST_TEST(co_await w.disk().read(5, memory) == status::ok);
                    co_await sleep_for(300);
                    ++others;
                }
            };
            auto victim = [&]() -> task<void> {
                auto memory = w.buffer(512);
                co_await sleep_for(offset);
                const ticks began = w.host.time();
                BOOST_TEST(co_await w.disk().read(77, memory) == status::timed_out);
                check_time(w.host.time() - began);
                over = true;
            };
            w.spawn(busy());
            w.spawn(victim());
            w.finish();
            BOOST_TEST(others > 50U);
            BOOST_TEST(w.disk().count().resets == 1U);
        }
}

// A round that takes long: what is submitted late in it has had no time yet when it is looked after.
BOOST_AUTO_TEST_CASE(time_that_the_hart_takes_is_not_the_devices) {
    for (ticks start = 0; start < limit; start += limit / 11)
        for (const ticks span : {limit / 5, limit / 2, 2 * limit}) {
            world w{setup_of(plain, limit)};
            w.start_all();
            ticks taken = 0, ended = 0;
            w.model().behave.never_complete = [&](const model::request_view& view) {
                if (view.sector == 77 && taken == 0)
                    taken = w.host.time();
                return view.sector == 77;
            };
            auto compute = [&](ticks when) -> task<void> {
                co_await sleep_for(when);
                w.host.run_until(w.host.time() + span);
            };
            auto victim = [&]() -> task<void> {
                auto memory = w.buffer(512);
                co_await sleep_for(start + 100);
                BOOST_TEST(co_await w.disk().read(77, memory) == status::timed_out);
                ended = w.host.time();
            };
            auto busy = [&]() -> task<void> { // so that the disk is watched from the beginning
                auto memory = w.buffer(512);
                while (ended == 0) {
                    BOOST_TEST(co_await w.disk().read(5, memory) == status::ok);
                    co_await sleep_for(300);
                }
            };
            w.spawn(busy());
            w.spawn(compute(start));
            w.spawn(compute(start + 50)); // in the next round, as the others, and perhaps a look
            w.spawn(victim());
            w.finish();
            BOOST_TEST(ended - taken >= limit - 10);
            BOOST_TEST(ended - taken <= limit + limit / 4 + slack);
            BOOST_TEST(w.disk().count().resets == 1U);
        }
}

BOOST_AUTO_TEST_CASE(a_device_that_swallows_everything_times_out_every_request) {
    for_each_variant(
        [](const variant& of) {
            world w{setup_of(of, limit, 2)};
            w.start_all();
            guests all{w};
            std::map<std::uint64_t, ticks> taken; // by sector, the first time
            w.model().behave.never_complete = [&](const model::request_view& view) {
                taken.try_emplace(view.sector, w.host.time());
                return true;
            };
            for (unsigned i = 0; i < kinds; ++i)
                all.start(kind{i});
            for (unsigned i = 0; i < 30; ++i)
                all.start(kind::read);
            w.finish();
            for (const auto& each : all.all) {
                BOOST_TEST(each->ends == 1U);
                BOOST_TEST((each->outcome == status::timed_out));
                if (each->what != kind::read)
                    continue;
                BOOST_TEST(each->ended - taken.at(each->sector) >= limit - 10);
                BOOST_TEST(each->ended - taken.at(each->sector) <= limit + limit / 4 + slack);
            }
            BOOST_TEST(w.disk().count().resets > 1U);
            w.model().behave.never_complete = {};
            exercise(w);
        },
        {8, 16});
}

// It goes on with what it has, and must find it as it was.
BOOST_AUTO_TEST_CASE(a_device_that_does_not_even_reset_is_lost) {
    for_each_variant([](const variant& of) {
        constexpr ticks long_limit = 1'000'000;
        setup s = setup_of(of, long_limit);
        s.machine.cost_of_access = 5000; // the driver waits a second of virtual time: not too many accesses
        world w{s};
        w.start_all();
        guests all{w};
        bool hungry = true;
        w.model().behave.never_complete = [&](const model::request_view&) {
            return std::exchange(hungry, false);
        };
        w.model().behave.latency_for = [&](const model::request_view&) {
            return std::optional<ticks>{30 * arch::ticks_per_second()};
        };
        w.model().inject(fault::reset_never);
        for (unsigned i = 0; i < slots(w) + 20; ++i)
            all.start(kind{i % kinds});
        w.finish();
        for (const auto& each : all.all) {
            BOOST_TEST(each->ends == 1U);
            BOOST_TEST((each->outcome == status::device_lost));
        }
        BOOST_TEST(w.disk().lost());
        BOOST_TEST(w.disk().count().resets == 1U);
        const ticks before = w.host.time();
        auto memory = w.buffer(512);
        BOOST_TEST(w.read(0, memory) == status::device_lost);
        BOOST_TEST(w.host.time() - before < 100U);
        BOOST_TEST(sleeps_for_ever(w)); // and no timer looks after it
        w.host.run_until(w.host.time() + 40 * arch::ticks_per_second());
        BOOST_TEST(w.model().total().completed > 0U); // whose chains the model has compared then
    });
}

BOOST_AUTO_TEST_CASE(an_interrupt_that_is_lost_is_found_at_the_next_look) {
    for_each_variant(
        [](const variant& of) {
            world w{setup_of(of, limit)};
            w.start_all();
            guests all{w};
            constexpr kind whole[] = {kind::read, kind::write, kind::flush, kind::discard,
                                      kind::get_id}; // one piece each
            for (std::uint64_t i = 1; i <= 5; ++i) {
                w.model().inject(fault::no_interrupt);
                const guests::guest& each = all.start(whole[i % std::size(whole)]);
                w.finish();
                guests::check_ok(each);
                BOOST_TEST(each.ended - each.began > 50U);
                BOOST_TEST(each.ended - each.began <= limit / 4 + slack);
                BOOST_TEST(w.disk().count().lost_interrupts == i);
                w.settle();
            }
            BOOST_TEST(w.disk().count().resets == 0U);
            BOOST_TEST(w.model().fired(fault::no_interrupt) == 5U);
        },
        {8});
}

// Done in time, and not told of until the look at which it would be late.
BOOST_AUTO_TEST_CASE(a_device_that_is_done_is_not_late_though_its_interrupt_is_lost) {
    for_each_variant(
        [](const variant& of) {
            for (ticks latency = limit * 8 / 10; latency < limit * 12 / 10; latency += limit / 20)
                for (const ticks offset : {ticks{0}, limit / 4 - 100, limit / 8}) {
                    world w{setup_of(of, limit)};
                    w.start_all();
                    w.model().behave.latency_for = [&](const model::request_view& view) {
                        return std::optional<ticks>{view.sector == 77 ? latency : 3 * limit / 10};
                    };
                    auto memory = w.buffer(512);
                    auto other = w.buffer(512);
                    auto first = [&]() -> task<void> {
                        BOOST_TEST(co_await w.disk().read(5, other) == status::ok);
                        w.model().inject(fault::no_interrupt);
                    };
                    ticks took = 0;
                    auto slow = [&]() -> task<void> {
                        co_await sleep_for(offset);
                        const ticks began = w.host.time();
                        const status outcome = co_await w.disk().read(77, memory);
                        took = w.host.time() - began;
                        if (latency < limit || outcome != status::timed_out)
                            BOOST_TEST(outcome == status::ok);
                    };
                    w.spawn(first());
                    w.spawn(slow());
                    w.finish();
                    if (latency < limit) {
                        BOOST_TEST(w.disk().count().resets == 0U);
                        BOOST_TEST(took >= latency);
                        BOOST_TEST(took <= latency + limit / 4 + slack);
                        BOOST_TEST(w.disk().count().lost_interrupts == 1U);
                    }
                }
        },
        {8});
}

BOOST_AUTO_TEST_CASE(while_nothing_is_in_flight_no_timer_runs) {
    for_each_variant([](const variant& of) {
        world w{setup_of(of, limit)};
        w.start_all();
        const ticks started = w.host.time();
        BOOST_TEST(sleeps_for_ever(w));
        BOOST_TEST(w.host.time() - started < 100U); // not even once
        for (unsigned i = 0; i < 3; ++i) {
            exercise(w);
            const ticks over = w.host.time();
            BOOST_TEST(sleeps_for_ever(w));
            BOOST_TEST(w.host.time() - over <= limit / 4 + slack); // one look, which finds nothing
        }
        // Neither after the device was looked at, nor after it was reset.
        for (const bool reset : {false, true}) {
            if (reset)
                w.model().raise_needs_reset();
            else
                w.model().raise_config_interrupt();
            const ticks over = w.host.time();
            BOOST_TEST(sleeps_for_ever(w));
            BOOST_TEST(w.host.time() - over < limit / 4);
        }
    });
}

// A change of the configuration stops the channel just when a look is due: the watch goes on afterwards.
BOOST_AUTO_TEST_CASE(a_change_of_the_device_does_not_end_the_watch) {
    for_each_variant(
        [](const variant& of) {
            world w{setup_of(of, limit)};
            w.start_all();
            w.model().behave.never_complete = [](const model::request_view& view) {
                return view.sector == 77;
            };
            for (ticks at = limit / 16; at < limit; at += limit / 16)
                w.host.after(at, [&] { w.model().raise_config_interrupt(); });
            auto memory = w.buffer(512);
            const ticks began = w.host.time();
            BOOST_TEST(w.read(77, memory) == status::timed_out);
            BOOST_TEST(w.host.time() - began >= limit);
            BOOST_TEST(w.host.time() - began <= 2 * limit);
        },
        {8});
}

BOOST_AUTO_TEST_CASE(without_a_limit_a_request_waits_for_ever) {
    for_each_variant([](const variant& of) {
        world w{setup_of(of)};
        w.start_all();
        guests all{w};
        w.model().inject(fault::never_complete);
        const guests::guest& each = all.start(kind::read);
        BOOST_TEST(sleeps_for_ever(w));
        w.settle();
        BOOST_TEST(each.ends == 0U);
        w.model().raise_needs_reset(); // then it goes in again
        w.finish();
        guests::check_ok(each);
    });
}

// The pieces that the device has swallowed are late, whoever was stopped.
BOOST_AUTO_TEST_CASE(a_stop_does_not_lift_the_limit) {
    world w{setup_of({2, true, false, 8}, limit)};
    w.start_all();
    w.model().inject(fault::never_complete, 0, model::forever);
    auto memory = w.buffer(100 * 512);
    const auto into = cut(memory, 512);
    std::optional<status> answer = status::ok;
    const ticks began = w.host.time();
    auto read = [&]() -> task<void> {
        answer = co_await with_timeout(w.disk().read(0, into), 1000);
    };
    w.run(read());
    BOOST_TEST(!answer.has_value());
    check_time(w.host.time() - began);
}

BOOST_AUTO_TEST_SUITE_END()

// ---- stops of requests that go through another hart

// A second hart beside a world, for which there is no queue.
struct neighbour {
    explicit neighbour(world& w) : world_{w}, frames(std::size_t{1} << 12), runtime{made_on(w.host)} {
        runtime.set_poll_mode(poll_mode::off);
        w.host.select_hart(0);
        w.start_all();
        rounds();
    }
    ~neighbour() {
        world_.host.select_hart(1);
        BOOST_TEST(scope.size() == 0U);
        BOOST_TEST(runtime.frames().count().live == 0U);
        world_.host.select_hart(0);
    }
    neighbour(const neighbour&) = delete;
    neighbour& operator=(const neighbour&) = delete;

    void spawn(task<void> work) { BOOST_REQUIRE(scope.spawn(std::move(work))); }

    // What a hart does within its next `count` rounds; then it is the neighbour's turn again.
    void on(arch::hart_index hart, unsigned count) {
        world_.host.select_hart(hart);
        for (unsigned i = 0; i < count; ++i) {
            world_.host.run_until(world_.host.time() + 100);
            static_cast<void>(async::executor::current().tick());
        }
        world_.host.select_hart(1);
    }
    // So many reads from here, none of which the device ends before release().
    void hold(readers& all, std::size_t count) {
        world_.model().behave.hold = true;
        for (std::size_t i = 0; i < count; ++i)
            spawn(all.read(all.add(1000 + i)));
        rounds();
    }
    void release() {
        world_.model().behave.hold = false;
        world_.model().release();
        rounds(200);
    }
    // Both, in turns.
    void rounds(unsigned count = 40) {
        for (unsigned i = 0; i < count; ++i) {
            on(0, 1);
            on(1, 1);
        }
    }

  private:
    struct alignas(64) granule {
        std::byte bytes[64];
    };
    std::span<std::byte> made_on(machine& host) {
        host.select_hart(1);
        return std::as_writable_bytes(std::span{frames});
    }
    world& world_;
    std::vector<granule> frames;

  public:
    async::executor runtime;
    async::counting_scope scope;
};

setup setup_of_two_harts() {
    setup s = setup_of(plain);
    s.machine.harts = 2;
    return s;
}

BOOST_AUTO_TEST_SUITE(stopping_on_another_hart)

BOOST_AUTO_TEST_CASE(one_in_line_there_is_stopped_and_the_others_keep_their_order) {
    for (const std::size_t which : {0U, 2U, 4U}) {
        world w{setup_of_two_harts()};
        neighbour other{w};
        readers all{w};
        other.hold(all, slots(w) + 5);
        BOOST_TEST(w.model().in_flight() == slots(w));
        BOOST_TEST(w.disk().count().waited == 5U);
        BOOST_TEST(w.disk().count().sent == slots(w) + 5);

        reader& stopped = *all.all[slots(w) + which];
        stopped.source.request_stop();
        BOOST_TEST(stopped.ends == 0U);
        other.rounds(4);
        all.check_cancelled(stopped);
        BOOST_TEST(w.model().in_flight() == slots(w)); // and nothing else has happened

        reader& with_the_device = *all.all.front(); // it is awaited
        with_the_device.source.request_stop();
        other.rounds();
        BOOST_TEST(with_the_device.ends == 0U);

        other.release();
        for (const auto& each : all.all)
            if (each.get() != &stopped)
                all.check_ok(*each);
        BOOST_TEST(std::is_sorted(all.taken.begin(), all.taken.end()));
    }
}

BOOST_AUTO_TEST_CASE(what_is_stopped_before_it_is_sent_is_stopped_there) {
    world w{setup_of_two_harts()};
    neighbour other{w};
    readers all{w};
    other.hold(all, slots(w));
    reader& late = all.add(7);
    late.source.request_stop();
    other.spawn(all.read(late));
    other.rounds(4);
    all.check_cancelled(late);
    other.release();
    for (const auto& each : all.all)
        if (each.get() != &late)
            all.check_ok(*each);
}

// While the device is being changed, nothing is asked of it: what comes then waits here, is judged by what the device can do
// afterwards, goes on its way, and can be stopped on both sides of that.
BOOST_AUTO_TEST_CASE(what_comes_while_the_device_changes_waits_for_that) {
    world w{setup_of_two_harts()};
    neighbour other{w};
    readers all{w};
    other.hold(all, slots(w));
    w.model().set_capacity(4000);
    other.on(0, 2);
    other.on(1, 1); // this hart has been told to stop, and the first waits for its answer
    reader& beyond = all.add(4000);
    reader& stopped_here = all.add(2000);
    reader& stopped_there = all.add(2001);
    reader& last = all.add(2002);
    const std::uint64_t waited = w.disk().count().waited;
    for (reader* each : {&beyond, &stopped_here, &stopped_there, &last})
        other.spawn(all.read(*each));
    other.on(1, 2);
    BOOST_TEST(w.disk().count().waited == waited + 4);
    stopped_here.source.request_stop();
    other.on(1, 2);
    all.check_cancelled(stopped_here);
    BOOST_TEST(beyond.ends == 0U);

    other.rounds();
    BOOST_TEST(w.disk().properties().capacity == 4000U);
    BOOST_TEST((beyond.outcome == status::out_of_range));
    BOOST_TEST(w.disk().count().sent == slots(w) + 2);
    stopped_there.source.request_stop();
    other.rounds(4);
    all.check_cancelled(stopped_there);
    other.release();
    all.check_ok(last);
}

// The stop meets the request everywhere on its way: it has just been sent, is in line, with the device, done, on its way back,
// and back. Either hart may be the quicker one.
BOOST_AUTO_TEST_CASE(a_stop_that_crosses_the_end_of_its_request_ends_it_once) {
    unsigned cancelled = 0;
    unsigned ok = 0;
    for (unsigned before = 0; before < 8; ++before)
        for (unsigned there = 0; there < 8; ++there)
            for (unsigned here = 0; here < 4; ++here)
                for (const bool full : {false, true}) {
                    world w{setup_of_two_harts()};
                    neighbour other{w};
                    readers all{w};
                    for (std::size_t i = 0; full && i < slots(w); ++i)
                        other.spawn(all.read(all.add(1000 + i)));
                    reader& each = all.add(7);
                    other.spawn(all.read(each));
                    for (unsigned i = 0; i < before; ++i) {
                        other.on(1, 1);
                        other.on(0, i % 2);
                    }
                    other.on(0, there);
                    each.source.request_stop();
                    other.on(1, here);
                    other.on(0, there);
                    other.rounds(200);
                    if (each.outcome == status::cancelled) {
                        all.check_cancelled(each);
                        ++cancelled;
                    } else {
                        all.check_ok(each);
                        ++ok;
                    }
                }
    BOOST_TEST(cancelled > 10U);
    BOOST_TEST(ok > 10U);
}

BOOST_AUTO_TEST_SUITE_END()

// ---- frames

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
