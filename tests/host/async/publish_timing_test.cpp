// Tests of publish_timing: which of the two ways of publishing it keeps, in worlds where it is known which one is better.
#include "async/publish_timing.hpp"

#include <boost/test/unit_test.hpp>
#include <cstdint>

namespace {

using namespace inflight;
using inflight::async::publish_timing;

// What a round takes and how many it resumes, when it publishes at once and when it waits.
struct rounds_of {
    arch::ticks at_once;
    arch::ticks waiting;
    std::uint32_t resumed_at_once = 1;
    std::uint32_t resumed_waiting = 1;
};

constexpr unsigned one_period = 2176; // rounds: tries of both ways, and as long as the better one is kept

class hart_that_polls {
  public:
    explicit hart_that_polls(arch::ticks clock = 0) : now_{clock} {}

    // Runs some rounds; how many of a thousand have waited.
    unsigned run(const rounds_of& world, unsigned rounds) {
        unsigned waited = 0;
        for (unsigned i = 0; i < rounds; ++i) {
            const bool waits = timing_.waits();
            waited += waits ? 1 : 0;
            now_ += waits ? world.waiting : world.at_once;
            timing_.round_ended(waits ? world.resumed_waiting : world.resumed_at_once, now_);
        }
        return waited * 1000 / rounds;
    }

  private:
    publish_timing timing_;
    arch::ticks now_;
};

} // namespace

BOOST_AUTO_TEST_SUITE(publish_timing_tests)

BOOST_AUTO_TEST_CASE(it_begins_at_once) {
    const publish_timing fresh;
    BOOST_TEST(!fresh.waits());
}

// The loss by trying the worse way is a few in a hundred of all rounds.
BOOST_AUTO_TEST_CASE(the_better_way_is_kept_nearly_always) {
    BOOST_TEST(hart_that_polls{}.run({100, 50}, 50 * one_period) > 960u);
    const unsigned at_once_is_better = hart_that_polls{}.run({50, 100}, 50 * one_period);
    BOOST_TEST(at_once_is_better < 40u);
    BOOST_TEST(at_once_is_better > 0u); // it is tried
}

// It is not the length of a round that counts, but what is resumed in the time.
BOOST_AUTO_TEST_CASE(what_is_resumed_per_time_counts) {
    BOOST_TEST(hart_that_polls{}.run({50, 100, 4, 12}, 50 * one_period) > 960u);
    BOOST_TEST(hart_that_polls{}.run({100, 50, 12, 4}, 50 * one_period) < 40u);
}

BOOST_AUTO_TEST_CASE(waiting_has_to_be_better_by_more_than_a_sixteenth) {
    BOOST_TEST(hart_that_polls{}.run({1000, 1000}, 50 * one_period) < 40u);
    BOOST_TEST(hart_that_polls{}.run({1000, 950}, 50 * one_period) < 40u);
    BOOST_TEST(hart_that_polls{}.run({1000, 930}, 50 * one_period) > 960u);
}

BOOST_AUTO_TEST_CASE(it_changes_its_mind_within_a_period) {
    hart_that_polls hart;
    for (int i = 0; i < 5; ++i) {
        hart.run({100, 50}, 3 * one_period + 100 * static_cast<unsigned>(i));
        hart.run({50, 100}, one_period + 128); // both are tried in this world once
        BOOST_TEST(hart.run({50, 100}, 10 * one_period) < 40u);
        hart.run({100, 50}, one_period + 128);
        BOOST_TEST(hart.run({100, 50}, 10 * one_period) > 960u);
    }
}

BOOST_AUTO_TEST_CASE(it_changes_its_mind_by_what_is_resumed_too) {
    hart_that_polls hart;
    for (int i = 0; i < 5; ++i) {
        hart.run({100, 100, 1, 3}, one_period + 128);
        BOOST_TEST(hart.run({100, 100, 1, 3}, 10 * one_period) > 960u);
        hart.run({100, 100, 3, 1}, one_period + 128);
        BOOST_TEST(hart.run({100, 100, 3, 1}, 10 * one_period) < 40u);
    }
}

// The clock may begin anywhere: also such that it begins again from 0 meanwhile.
BOOST_AUTO_TEST_CASE(only_differences_of_times_count) {
    for (const arch::ticks clock :
         {arch::ticks{0}, arch::ticks{1} << 40, ~arch::ticks{0} - 3000, ~arch::ticks{0} - 300'000}) {
        BOOST_TEST(hart_that_polls{clock}.run({100, 50}, 50 * one_period) > 960u);
        BOOST_TEST(hart_that_polls{clock}.run({50, 100}, 50 * one_period) < 40u);
    }
}

BOOST_AUTO_TEST_SUITE_END()
