// Tests of generators.
#include "async/generator.hpp"
#include "tests/host/hart_fixture.hpp"

#include <boost/test/unit_test.hpp>
#include <memory>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::async;
using boost::test_tools::per_element;
using tests::expect_panic;
using tests::hart;

generator<int> two() {
    co_yield 1;
    co_yield 2;
}

} // namespace

BOOST_AUTO_TEST_SUITE(generator_tests)

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

BOOST_AUTO_TEST_CASE(a_generator_is_begun_once) {
    for (const bool to_its_end : {true, false}) {
        expect_panic("panic: a generator was begun a second time: it makes its values once\n", [to_its_end] {
            hart h;
            generator<int> numbers = two();
            int count = 0;
            for (const int each : numbers) {
                count += each;
                if (!to_its_end) {
                    break;
                }
            }
            BOOST_TEST(count == (to_its_end ? 3 : 1));
            static_cast<void>(numbers.begin());
        });
    }
    expect_panic("panic: a generator was asked for another value after its end\n", [] {
        hart h;
        generator<int> numbers = two();
        auto at = numbers.begin();
        for (int i = 0; i < 3; ++i) {
            ++at;
        }
    });
}

BOOST_AUTO_TEST_SUITE_END()
