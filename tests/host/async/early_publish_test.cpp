// Tests of early_publish: a hart goes on notifying early where that saves notifications, and stops where it costs one.
#include "async/early_publish.hpp"

#include <boost/test/unit_test.hpp>

namespace {

using inflight::async::early_publish;

// How many of `rounds` rounds publish early, if the device needs a notification for every `period`-th of those.
unsigned rounds_that_publish_early(early_publish& early, unsigned rounds, unsigned period) {
    unsigned allowed = 0;
    for (unsigned i = 0; i < rounds; ++i) {
        const bool may = early.pays();
        allowed += may ? 1 : 0;
        early.round_ended(may && i % period == 0);
    }
    return allowed;
}

} // namespace

BOOST_AUTO_TEST_SUITE(early_publish_tests)

BOOST_AUTO_TEST_CASE(it_begins_by_trying) {
    BOOST_TEST(early_publish{}.pays());
}

BOOST_AUTO_TEST_CASE(a_device_that_stays_awake_is_always_notified_early) {
    early_publish early;
    BOOST_TEST(rounds_that_publish_early(early, 100'000, 2) == 100'000u);
}

// The price of finding out is two rounds in a hundred at the most.
BOOST_AUTO_TEST_CASE(a_device_that_needs_each_notification_is_left_alone) {
    early_publish early;
    const unsigned allowed = rounds_that_publish_early(early, 100'000, 1);
    BOOST_TEST(allowed < 2'000u);
    BOOST_TEST(allowed > 1'000u); // it is tried again and again
}

BOOST_AUTO_TEST_CASE(it_follows_a_device_that_changes) {
    early_publish early;
    static_cast<void>(rounds_that_publish_early(early, 10'000, 1));
    static_cast<void>(rounds_that_publish_early(early, 2'200, 1'000));
    BOOST_TEST(rounds_that_publish_early(early, 10'000, 1'000) == 10'000u);
    static_cast<void>(rounds_that_publish_early(early, 32, 1));
    BOOST_TEST(rounds_that_publish_early(early, 2'000, 1) < 100u);
}

BOOST_AUTO_TEST_SUITE_END()
