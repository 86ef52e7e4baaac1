// Tests of the trace: that everything is in it, that it disturbs nothing, and that its rings forget the oldest. Leaves
// trace_test.txt for the test of the picture.
#include "async/message.hpp"
#include "async/schedule_on.hpp"
#include "async/scheduler.hpp"
#include "async/task_table.hpp"
#include "tests/host/driver_fixture.hpp"
#include "tests/host/trace_text.hpp"

#include <fstream>
#include <map>
#include <sstream>

namespace {

using namespace inflight;
using namespace inflight::test;
using tests::trace_text;

static_assert(INFLIGHT_TRACE == 1);

setup two_disks_of_two_queues() {
    setup s;
    s.disks.resize(2);
    for (blk_configuration& disk : s.disks) {
        disk.queues = 2;
        disk.num_queues = 2;
    }
    return s;
}

task<void> reader(block::disk& disk, std::span<std::byte> buffer, std::uint64_t first, std::uint64_t reads) {
    for (std::uint64_t i = 0; i < reads; ++i) {
        const status outcome = co_await disk.read((first + i) * 8 % 64, buffer);
        BOOST_TEST(outcome == status::ok);
    }
}

constexpr std::uint64_t readers = 10;
constexpr std::uint64_t reads = 20;

void read_all(world& w) {
    w.start_all();
    for (std::uint64_t i = 0; i < readers * 2; ++i) {
        w.spawn(reader(w.disk(i % 2), w.buffer(4096), i, reads).named("reader"));
    }
    w.finish();
}

// How many records of each event there are: of the text, counted with nothing but its description in mind.
std::map<char, std::uint64_t> count_events(const std::string& text) {
    std::map<char, std::uint64_t> found;
    std::istringstream lines{text};
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words{line};
        std::string word;
        words >> word;
        BOOST_REQUIRE(word == "@trace");
        words >> word;
        if (word != "main" && word != "interrupts") {
            continue;
        }
        words >> word; // the hart
        while (words >> word) {
            ++found[word.at(word.find_first_not_of("0123456789abcdef"))];
        }
    }
    return found;
}

} // namespace

BOOST_AUTO_TEST_SUITE(trace_of_harts)

BOOST_AUTO_TEST_CASE(everything_is_in_it) {
    trace::restart();
    world w{two_disks_of_two_queues()};
    read_all(w);
    const std::string text = trace_text();
    std::ofstream{"trace_test.txt"} << text;

    std::uint64_t notifications = 0;
    std::uint64_t interrupts = 0;
    std::uint64_t requests = 0;
    for (std::size_t disk = 0; disk < 2; ++disk) {
        interrupts += w.disk(disk).count().interrupts;
        for (std::uint16_t queue = 0; queue < 2; ++queue) {
            notifications += w.disk(disk).count(queue).notifications;
            requests += w.disk(disk).count(queue).requests;
        }
    }
    std::map<char, std::uint64_t> events = count_events(text);
    BOOST_TEST(requests == 2 * readers * reads);
    BOOST_TEST(events['s'] == requests);
    BOOST_TEST(events['u'] == requests);
    BOOST_TEST(events['n'] == notifications);
    BOOST_TEST(events['i'] == interrupts);
    BOOST_TEST(events['j'] == interrupts);
    BOOST_TEST(events['r'] == w.hart.count().resumptions);
    BOOST_TEST(events['t'] == events['r']);
    BOOST_TEST(events['l'] == events['r']); // all have the name
    BOOST_TEST(events['g'] == events['r']);
    BOOST_TEST(events['p'] == w.hart.count().rounds);
    BOOST_TEST(events['q'] == events['p']);
    BOOST_TEST(events['y'] == w.hart.count().sleeps);
    BOOST_TEST(events['z'] == events['y']);
    BOOST_TEST(events['v'] == events['w']);
    BOOST_TEST((text.find(" reader\n") != std::string::npos));
    BOOST_TEST(text.ends_with("@trace end\n"));
}

// The machine goes through the same with and without: what only a trace can show is what happened without it.
BOOST_AUTO_TEST_CASE(it_disturbs_nothing) {
    std::vector<std::vector<std::uint64_t>> runs;
    for (const bool recorded : {false, true}) {
        trace::restart();
        trace::recording = recorded;
        setup s = two_disks_of_two_queues();
        s.machine.spurious_wake_ups = 100;
        world w{s};
        read_all(w);
        runs.push_back({w.host.time(), w.host.random(), w.host.interrupts_taken(), w.host.instructions(),
                        w.hart.count().rounds, w.hart.count().sleeps, w.disk(0).count().interrupts});
        BOOST_TEST(count_events(trace_text()).empty() != recorded);
    }
    BOOST_TEST(runs[0] == runs[1]);
}

BOOST_AUTO_TEST_CASE(the_oldest_is_forgotten_and_counted) {
    const arch::host::machine host;
    trace::ring<8> ring;
    for (std::uint64_t i = 0; i < 20; ++i) {
        BOOST_TEST(ring.lost() == (i < 8 ? 0 : i - 8));
        BOOST_TEST(ring.count() == (i < 8 ? i : 8));
        ring.push(trace::event::message, i);
        BOOST_TEST(ring[ring.count() - 1].argument() == i);
        BOOST_TEST(ring[0].argument() == (i < 8 ? 0 : i - 7));
    }
    ring.push(trace::event::submit, (std::uint64_t{1} << 56) - 1);
    BOOST_TEST((ring[7].what() == trace::event::submit));
    BOOST_TEST(ring[7].argument() == (std::uint64_t{1} << 56) - 1);
    ring.clear();
    BOOST_TEST(ring.count() + ring.lost() == 0u);
}

BOOST_AUTO_TEST_CASE(each_hart_has_its_own) {
    trace::restart();
    arch::host::machine host{{.harts = 2}};
    trace::record(trace::event::message, 1);
    trace::record(trace::event::hart_interrupt, 1);
    host.select_hart(1);
    trace::record(trace::event::round_begin);
    BOOST_TEST(trace_text() == "@trace hart 0 10000000 0 0\n@trace main 0 0m1 0h1\n"
                               "@trace hart 1 10000000 0 0\n@trace main 1 0p\n@trace end\n");
    trace::record(trace::event::message, 1); // the recording has ended
    BOOST_TEST(trace::rings[1].main.count() == 1u);
}

// A message interrupts a hart that sleeps, and is traced by who takes it. What a handler records stays with the handler.
BOOST_AUTO_TEST_CASE(messages_between_harts) {
    trace::restart();
    arch::host::machine host{{.harts = 2, .memory_bytes = 4096}};
    std::vector<std::byte> memory(std::size_t{1} << 17);
    const async::executor first{std::span{memory}.subspan(0, memory.size() / 2)};
    host.select_hart(1);
    async::executor second{std::span{memory}.subspan(memory.size() / 2)};
    bool called = false;
    async::message greeting{[](void* flag) noexcept { *static_cast<bool*>(flag) = true; }, &called};
    second.set_poll_mode(async::poll_mode::off);
    const trace::track disk = trace::new_disk();
    host.at(host.time() + 50, [&] {
        host.select_hart(0);
        {
            const trace::handler handling{disk};
            greeting.post(second);
        }
        trace::record(trace::event::round_begin);
        host.select_hart(1);
    });
    second.idle();
    BOOST_TEST(!called);
    second.tick();
    BOOST_TEST(called);
    std::vector<char> main;
    for (std::uint64_t i = 0; i < trace::rings[0].main.count(); ++i) {
        main.push_back(static_cast<char>(trace::rings[0].main[i].what()));
    }
    BOOST_TEST(main == std::vector<char>{'p'}, boost::test_tools::per_element());
    const auto& handled = trace::rings[0].interrupts;
    BOOST_REQUIRE(handled.count() == 3u);
    BOOST_TEST((handled[0].what() == trace::event::interrupt_begin));
    BOOST_TEST((handled[1].what() == trace::event::hart_interrupt));
    BOOST_TEST(handled[1].argument() == 1u);
    BOOST_TEST((handled[2].what() == trace::event::interrupt_end));
    std::map<char, std::uint64_t> events = count_events(trace_text());
    BOOST_TEST(events['m'] == 1u);
    BOOST_TEST(events['h'] == 1u);
    BOOST_TEST(events['y'] == 1u);
}

// A task knows how often it was resumed, for as long as it lives.
BOOST_AUTO_TEST_CASE(resumptions_are_counted) {
    trace::restart();
    world w;
    const auto yields = [](unsigned times) -> task<void> {
        for (unsigned i = 0; i < times; ++i) {
            co_await async::yield{};
        }
    };
    w.spawn(yields(5));
    for (std::uint64_t round = 1; round <= 5; ++round) {
        BOOST_TEST(w.hart.tick());
        std::uint64_t resumptions = 0;
        const async::task_table table{w.hart};
        table.for_each([&](const async::task_record& task) {
            resumptions = task.resumptions;
            return true;
        });
        BOOST_TEST(resumptions == round);
    }
    w.finish();
}

BOOST_AUTO_TEST_SUITE_END()
