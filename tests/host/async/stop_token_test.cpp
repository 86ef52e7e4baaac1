// Tests of stop tokens and their callbacks.
#include "async/callback.hpp"
#include "async/stop_token.hpp"
#include "tests/host/hart_fixture.hpp"
#include "tests/host/seed.hpp"

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
using tests::pick;

} // namespace

BOOST_AUTO_TEST_SUITE(stop_token_tests)

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
