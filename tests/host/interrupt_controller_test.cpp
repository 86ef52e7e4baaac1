// What every interrupt controller of the kernel does with its sources, without the registers of any.

#include "arch/arch.hpp"
#include "src/kernel/interrupt_controller.hpp"

#include <boost/test/unit_test.hpp>
#include <set>
#include <vector>

namespace {

using namespace inflight;
using kernel::interrupt_connection;
using kernel::interrupt_controller;
using kernel::interrupt_storm;

class controller final : public interrupt_controller {
  public:
    bool open(const kernel::hart_description&) noexcept override { return true; }

    // As the handler of a hart does, unless the source is masked.
    void interrupt(std::uint32_t source, unsigned times = 1) {
        for (; times != 0 && !masked.contains(source); --times) {
            serve(source);
        }
    }

    std::set<std::uint32_t> enabled;
    std::set<std::uint32_t> masked;

  private:
    bool can_connect(std::uint32_t source, arch::hart_index hart) const noexcept override {
        return source < 10 && hart == 0;
    }
    void enable(std::uint32_t source, arch::hart_index) noexcept override { enabled.insert(source); }
    void mask(std::uint32_t source) noexcept override { masked.insert(source); }
};

struct device : interrupt_connection {
    device() {
        context = this;
        serve = [](void* self) noexcept {
            auto& served = *static_cast<device*>(self);
            ++served.calls;
            return served.has_cause;
        };
        interrupt_connection::masked = [](interrupt_connection& self, std::uint32_t by, interrupt_storm why) noexcept {
            static_cast<device&>(self).told.emplace_back(by, why);
        };
    }
    bool has_cause = true;
    unsigned calls = 0;
    std::vector<std::pair<std::uint32_t, interrupt_storm>> told;
};

struct fixture {
    arch::host::machine machine; // for the calling hart's index
    controller interrupts;
    device first;
    device second;
    device third;

    void connect(std::uint32_t source, device& to) { BOOST_TEST(interrupts.connect(source, 0, to)); }
};

constexpr unsigned limit = interrupt_controller::max_without_cause;

} // namespace

BOOST_AUTO_TEST_SUITE(interrupt_controller_test)

BOOST_FIXTURE_TEST_CASE(a_source_calls_its_device, fixture) {
    connect(3, first);
    connect(4, second);
    BOOST_TEST((interrupts.enabled == std::set<std::uint32_t>{3, 4}));
    interrupts.interrupt(3, 10'000);
    BOOST_TEST(first.calls == 10'000U);
    BOOST_TEST(second.calls == 0U);
}

BOOST_FIXTURE_TEST_CASE(a_shared_source_calls_all_its_devices, fixture) {
    connect(3, first);
    connect(3, second);
    connect(3, third);
    first.has_cause = third.has_cause = false;
    interrupts.interrupt(3, 10'000);
    BOOST_TEST(first.calls == 10'000U);
    BOOST_TEST(second.calls == 10'000U);
    BOOST_TEST(third.calls == 10'000U);
    BOOST_TEST(interrupts.masked.empty());
}

BOOST_FIXTURE_TEST_CASE(what_is_refused_changes_nothing, fixture) {
    BOOST_TEST(!interrupts.connect(0, 0, first));
    BOOST_TEST(!interrupts.connect(10, 0, first));
    BOOST_TEST(!interrupts.connect(interrupt_controller::max_sources, 0, first));
    BOOST_TEST(!interrupts.connect(3, 1, first));
    BOOST_TEST(interrupts.enabled.empty());
    connect(3, first); // as if nothing had happened
    BOOST_TEST(!interrupts.connect(4, 0, first));
    BOOST_TEST((interrupts.enabled == std::set<std::uint32_t>{3}));
}

BOOST_FIXTURE_TEST_CASE(a_source_without_a_cause_is_masked_and_costs_only_itself, fixture) {
    connect(3, first);
    connect(4, second);
    first.has_cause = second.has_cause = false;
    interrupts.interrupt(3, limit - 1);
    BOOST_TEST(interrupts.masked.empty());
    interrupts.interrupt(3);
    BOOST_TEST((interrupts.masked == std::set<std::uint32_t>{3}));
    BOOST_REQUIRE(first.told.size() == 1U);
    BOOST_TEST(first.told[0].first == 3U);
    BOOST_TEST((first.told[0].second == interrupt_storm::no_cause));
    BOOST_TEST(second.told.empty());
    BOOST_TEST(second.strayed.load() == 0U);
    second.has_cause = true;
    const unsigned before = second.calls;
    interrupts.interrupt(4, 10);
    BOOST_TEST(second.calls - before == 10U);
}

BOOST_FIXTURE_TEST_CASE(a_source_that_no_device_is_connected_to_is_masked, fixture) {
    connect(4, second);
    second.has_cause = false;
    interrupts.interrupt(5, limit);
    BOOST_TEST((interrupts.masked == std::set<std::uint32_t>{5}));
    BOOST_TEST(second.told.empty());
}

BOOST_FIXTURE_TEST_CASE(a_cause_in_between_starts_the_count_again, fixture) {
    connect(3, first);
    for (int round = 0; round < 20; ++round) {
        first.has_cause = false;
        interrupts.interrupt(3, limit - 1);
        first.has_cause = true;
        interrupts.interrupt(3);
    }
    BOOST_TEST(interrupts.masked.empty());
}

BOOST_FIXTURE_TEST_CASE(a_device_is_served_by_the_source_that_it_really_has, fixture) {
    connect(3, first);
    connect(4, second);
    first.has_cause = false;
    interrupts.interrupt(3, 10 * limit); // the second device interrupts by it
    BOOST_TEST(second.calls == 10 * limit);
    BOOST_TEST(second.strayed.load() == 10 * limit);
    BOOST_TEST(second.strayed_by.load() == 3U);
    BOOST_TEST(first.strayed.load() == 0U);
    BOOST_TEST(interrupts.masked.empty());
    // It depends on that source, so it is told of its end, too; and only once.
    second.strays.store(true);
    second.has_cause = false;
    interrupts.interrupt(3, limit);
    interrupts.interrupt(4, limit);
    BOOST_TEST((interrupts.masked == std::set<std::uint32_t>{3, 4}));
    BOOST_TEST(first.told.size() == 1U);
    BOOST_REQUIRE(second.told.size() == 1U);
    BOOST_TEST(second.told[0].first == 3U);
}

// No executor runs here, so no interrupt sees one make progress.
BOOST_FIXTURE_TEST_CASE(a_source_that_stops_all_progress_is_masked, fixture) {
    for (const bool shared : {false, true}) {
        const std::uint32_t source = shared ? 4 : 3;
        device& one = shared ? second : first;
        connect(source, one);
        if (shared) {
            connect(source, third);
        }
        interrupts.interrupt(source, 2 * interrupt_controller::max_without_progress);
        BOOST_TEST(interrupts.masked.contains(source));
        BOOST_TEST(one.calls == interrupt_controller::max_without_progress);
        BOOST_REQUIRE(one.told.size() == 1U);
        BOOST_TEST((one.told[0].second == interrupt_storm::no_end));
    }
}

BOOST_AUTO_TEST_SUITE_END()
