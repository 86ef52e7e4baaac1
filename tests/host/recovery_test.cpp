// The state machine of a recovery, on two harts, with a device and channels that only watch: the order of its steps, requests at
// each of them, and a device that is lost.
#include "drivers/block/recovery.hpp"
#include "tests/host/seed.hpp"

#include <algorithm>
#include <array>
#include <boost/test/unit_test.hpp>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace inflight;
using block::recovery;
using causes_t = recovery::causes_t;
constexpr causes_t configuration = recovery::cause::configuration;
constexpr causes_t needs_reset_bit = recovery::cause::needs_reset;
constexpr causes_t late = recovery::cause::device_late;
constexpr causes_t violation = recovery::cause::protocol_violation;
constexpr causes_t write_cache = recovery::cause::write_cache;
constexpr causes_t queue_reset = recovery::cause::queue_reset;

// A device, two harts with a part each, and what happened to them.
class two_harts final : recovery::target {
  public:
    two_harts() {
        for (arch::hart_index hart = 0; hart < 2; ++hart) {
            host.select_hart(hart);
            harts[hart] = std::make_unique<async::executor>(std::as_writable_bytes(std::span{frames[hart]}));
        }
        for (arch::hart_index hart = 0; hart < 2; ++hart) {
            parts[hart] = std::make_unique<part>(*this, hart);
            under_test.add(*parts[hart]);
        }
        host.select_hart(0);
        under_test.open();
    }
    two_harts(const two_harts&) = delete;
    two_harts& operator=(const two_harts&) = delete;

    // One round of a hart; of both in turns, until nothing happens any more.
    void round(arch::hart_index hart) {
        host.select_hart(hart);
        harts[hart]->tick();
        host.select_hart(0);
    }
    void settle() {
        for (int i = 0; i < 60; ++i)
            round(static_cast<arch::hart_index>(i % 2));
    }
    void request(arch::hart_index from, causes_t causes) {
        const arch::hart_index before = host.selected_hart();
        host.select_hart(from);
        under_test.request(causes);
        host.select_hart(before);
    }
    std::string take_log() { return std::exchange(log, {}); }

    // What happens at a step, once: "quiesce 0", "quiesce 1", "reset", "reset ended", "read", "resume 0", "resume 1".
    std::string step;
    std::function<void()> at_step;

    bool asks_for_reset = false; // DEVICE_NEEDS_RESET
    bool survives = true;
    bool busy = false;             // something is in flight
    bool resets_queues = true;     // by themselves
    std::vector<causes_t> changes; // the causes of each reset and reading
    std::vector<bool> resets;      // which of them were resets
    std::string log;

    arch::host::machine host{arch::host::machine_options{.harts = 2, .memory_bytes = 4096}};

  private:
    struct alignas(64) granule {
        std::byte bytes[64];
    };
    enum class state { closed, running, holding, quiesced };

    struct part final : recovery::participant {
        part(two_harts& of, arch::hart_index hart)
            : participant{of.under_test, *of.harts[hart]}, of_{of}, hart_{hart} {}
        void obey(recovery::command next) noexcept override {
            BOOST_TEST(arch::this_hart() == hart_);
            const std::string name = std::to_string(hart_);
            switch (next) {
            case recovery::command::open:
                BOOST_TEST((now == state::closed));
                now = state::running;
                of_.happens("open " + name);
                break;
            case recovery::command::quiesce:
                BOOST_TEST((now == state::running || now == state::holding));
                now = state::quiesced;
                of_.happens("quiesce " + name);
                break;
            case recovery::command::hold:
                BOOST_TEST((now == state::quiesced));
                now = state::holding;
                of_.happens("hold " + name);
                break;
            case recovery::command::resume:
                BOOST_TEST((now == state::quiesced));
                BOOST_TEST(of_.under_test.causes() == of_.changed_for);
                BOOST_TEST(of_.under_test.was_reset() == of_.was_reset);
                now = state::running;
                of_.happens("resume " + name);
                break;
            }
        }
        two_harts& of_;
        arch::hart_index hart_;
        state now = state::closed;
    };

    void happens(const std::string& what) {
        log += (log.empty() ? "" : ", ") + what;
        if (what == step) {
            step.clear();
            at_step();
        }
    }
    void check_quiesced() const {
        BOOST_TEST(arch::this_hart() == 0U);
        for (const auto& each : parts)
            BOOST_TEST((each->now == state::quiesced));
    }

    bool needs_reset() noexcept override {
        BOOST_TEST(arch::this_hart() == 0U);
        return asks_for_reset;
    }
    bool reset(causes_t causes) noexcept override {
        check_quiesced();
        BOOST_TEST(!under_test.lost());
        changes.push_back(causes);
        resets.push_back(true);
        changed_for = causes;
        was_reset = true;
        asks_for_reset = false;
        happens("reset");
        return survives;
    }
    void reset_ended() noexcept override {
        check_quiesced();
        BOOST_TEST(under_test.lost() == !survives);
        happens("reset ended");
    }
    void read_configuration() noexcept override {
        check_quiesced();
        changes.push_back(under_test.causes());
        resets.push_back(false);
        changed_for = under_test.causes();
        was_reset = false;
        happens("read");
    }
    bool is_drained(causes_t causes) noexcept override {
        check_quiesced();
        BOOST_TEST(causes == under_test.causes());
        return !busy;
    }
    bool reset_queues() noexcept override {
        check_quiesced();
        BOOST_TEST(!busy);
        BOOST_TEST(!under_test.lost());
        changed_for = under_test.causes();
        was_reset = false;
        happens("reset queues");
        return resets_queues;
    }
    void switch_write_cache() noexcept override {
        check_quiesced();
        BOOST_TEST((!busy || under_test.lost() || under_test.was_reset()));
        changed_for = under_test.causes();
        was_reset = under_test.was_reset();
        happens("switch");
    }
    void resumed() noexcept override {
        for (const auto& each : parts)
            BOOST_TEST((each->now == state::running));
        ++resumptions;
    }

  public:
    causes_t changed_for = 0;
    bool was_reset = false;
    unsigned resumptions = 0;

    std::array<std::vector<granule>, 2> frames{std::vector<granule>(64), std::vector<granule>(64)};
    std::array<std::unique_ptr<async::executor>, 2> harts;
    recovery under_test{*this};
    std::array<std::unique_ptr<part>, 2> parts;
};

constexpr const char* a_reset = "quiesce 0, quiesce 1, reset, reset ended, resume 0, resume 1";
constexpr const char* a_reading = "quiesce 0, quiesce 1, read, resume 0, resume 1";

} // namespace

BOOST_AUTO_TEST_SUITE(recovery_tests)

BOOST_AUTO_TEST_CASE(each_channel_is_opened_on_its_hart) {
    two_harts w;
    BOOST_TEST(w.log == "open 0");
    w.settle();
    BOOST_TEST(w.take_log() == "open 0, open 1");
}

BOOST_AUTO_TEST_CASE(a_device_is_changed_while_all_are_quiesced) {
    two_harts w;
    w.settle();
    w.take_log();
    w.request(0, late);
    BOOST_TEST(w.log == "quiesce 0"); // at once
    BOOST_TEST(w.under_test.quiesces_for_reset());
    for (int i = 0; i < 5; ++i)
        w.round(0); // the other hart has not said that it is
    BOOST_TEST(w.log == "quiesce 0");
    w.round(1);
    BOOST_TEST(w.log == "quiesce 0, quiesce 1");
    w.round(0);
    BOOST_TEST(w.log == "quiesce 0, quiesce 1, reset, reset ended, resume 0");
    w.settle();
    BOOST_TEST(w.take_log() == a_reset);
    BOOST_TEST(w.under_test.resets() == 1U);
    BOOST_TEST((w.changes == std::vector<causes_t>{late}));

    w.request(1, configuration);
    BOOST_TEST(w.log.empty()); // it begins at home
    w.settle();
    BOOST_TEST(w.take_log() == a_reading);
    BOOST_TEST(!w.under_test.quiesces_for_reset());
    BOOST_TEST(w.under_test.resets() == 1U);
}

BOOST_AUTO_TEST_CASE(a_change_may_turn_out_to_be_a_reset) {
    for (const arch::hart_index from : {0U, 1U}) {
        two_harts w;
        w.settle();
        w.take_log();
        w.asks_for_reset = true;
        w.request(from, configuration);
        w.settle();
        BOOST_TEST(w.take_log() == a_reset);
        BOOST_TEST((w.changes == std::vector<causes_t>{configuration | needs_reset_bit}));
    }
}

// At each step, from each hart: what is requested while the channels are being quiesced is done with what they are quiesced for,
// anything later follows.
BOOST_AUTO_TEST_CASE(requests_at_every_step_are_done) {
    const struct {
        const char* step;
        bool joins;
    } steps[] = {{"quiesce 0", true}, {"quiesce 1", true}, {"reset", false},   {"reset ended", false},
                 {"read", false},     {"resume 0", false}, {"resume 1", false}};
    for (const auto& at : steps)
        for (const causes_t first : {late, configuration})
            for (const causes_t second : {violation, configuration})
                for (const arch::hart_index from : {0U, 1U})
                    for (const bool again : {false, true})
                        BOOST_TEST_CONTEXT("at '" << at.step << "' of " << first << " hart " << from << " requests "
                                                  << second << (again ? ", twice" : "")) {
                            if ((first == late) == (std::string{at.step} == "read") &&
                                std::string{at.step} != "quiesce 0" &&
                                (std::string{at.step} == "read" || std::string{at.step}.starts_with("reset")))
                                continue; // there is no such step
                            two_harts w;
                            w.settle();
                            w.take_log();
                            w.step = at.step;
                            w.at_step = [&] {
                                for (int i = 0; i < (again ? 2 : 1); ++i)
                                    w.request(from, second);
                            };
                            w.request(0, first);
                            w.settle();
                            BOOST_TEST(w.step.empty()); // it has come
                            const std::string one = w.resets.at(0) ? a_reset : a_reading;
                            if (at.joins) {
                                BOOST_TEST((w.changes == std::vector<causes_t>{first | second}));
                                BOOST_TEST(w.take_log() == one);
                            } else {
                                BOOST_TEST((w.changes == std::vector<causes_t>{first, second}));
                                BOOST_TEST(w.take_log() == one + ", " + (w.resets.at(1) ? a_reset : a_reading));
                            }
                            BOOST_TEST(w.resets.back() == (w.changes.back() != configuration));
                            w.request(1, late); // and it works on
                            w.settle();
                            BOOST_TEST(w.take_log() == a_reset);
                        }
}

BOOST_AUTO_TEST_CASE(a_reset_within_a_reset_follows_it) {
    two_harts w;
    w.settle();
    w.take_log();
    unsigned left = 5;
    w.step = "reset";
    w.at_step = [&] {
        if (--left != 0)
            w.step = "reset"; // of the next one
        w.request(left % 2, violation);
    };
    w.request(0, late);
    for (int i = 0; i < 10; ++i)
        w.settle();
    BOOST_TEST(w.under_test.resets() == 6U);
    BOOST_TEST(w.changes.size() == 6U);
}

// A device that is lost is not touched any more; the channels still hear that there was something.
BOOST_AUTO_TEST_CASE(a_device_that_is_lost_stays_lost) {
    two_harts w;
    w.settle();
    w.take_log();
    w.survives = false;
    w.request(0, late);
    BOOST_TEST(!w.under_test.lost());
    w.settle();
    BOOST_TEST(w.take_log() == a_reset);
    BOOST_TEST(w.under_test.lost());
    for (const causes_t each : {configuration, violation, late}) {
        w.changed_for = each;
        w.was_reset = false;
        w.request(each == late ? 1 : 0, each);
        w.settle();
        BOOST_TEST(w.take_log() == "quiesce 0, quiesce 1, resume 0, resume 1");
        BOOST_TEST(!w.under_test.was_reset());
    }
    BOOST_TEST(w.under_test.lost());
    BOOST_TEST(w.under_test.resets() == 1U);
}

BOOST_AUTO_TEST_CASE(the_write_cache_is_switched_while_nothing_is_in_flight) {
    for (const arch::hart_index from : {0U, 1U}) {
        two_harts w;
        w.settle();
        w.take_log();
        w.resumptions = 0;
        w.request(from, write_cache);
        w.settle();
        BOOST_TEST(w.take_log() == "quiesce 0, quiesce 1, switch, resume 0, resume 1");
        BOOST_TEST(!w.under_test.quiesces_for_reset());
        BOOST_TEST(w.resumptions == 1U);

        w.busy = true;
        w.request(from, write_cache);
        w.settle();
        BOOST_TEST(w.take_log() == "quiesce 0, quiesce 1, hold 0, hold 1");
        w.request(from, configuration); // a change meanwhile: it still holds
        w.settle();
        BOOST_TEST(w.take_log() == "quiesce 0, quiesce 1, read, hold 0, hold 1");
        BOOST_TEST(w.resumptions == 1U);
        w.busy = false;
        w.request(1, write_cache); // who was busy says so
        w.settle();
        BOOST_TEST(w.take_log() == "quiesce 0, quiesce 1, switch, resume 0, resume 1");
        BOOST_TEST(w.resumptions == 2U);
        BOOST_TEST(w.under_test.resets() == 0U);
        w.request(0, configuration); // and it is over
        w.settle();
        BOOST_TEST(w.take_log() == a_reading);
    }
}

// A device that was reset has nothing in flight; one that is lost is not switched, but who waits for it hears.
BOOST_AUTO_TEST_CASE(a_reset_ends_the_wait_for_the_write_cache) {
    for (const bool survives : {true, false}) {
        two_harts w;
        w.settle();
        w.take_log();
        w.busy = true;
        w.survives = survives;
        w.request(0, write_cache);
        w.settle();
        w.take_log();
        w.request(1, late);
        w.settle();
        BOOST_TEST(w.take_log() == "quiesce 0, quiesce 1, reset, reset ended, switch, resume 0, resume 1");
        BOOST_TEST(w.under_test.lost() == !survives);
        if (!survives) {
            w.request(0, write_cache);
            w.settle();
            BOOST_TEST(w.take_log() == "quiesce 0, quiesce 1, switch, resume 0, resume 1");
        }
    }
}

BOOST_AUTO_TEST_CASE(queues_are_reset_by_themselves_when_they_are_drained) {
    for (const arch::hart_index from : {0U, 1U}) {
        two_harts w;
        w.settle();
        w.take_log();
        w.request(from, queue_reset);
        w.settle();
        BOOST_TEST(w.take_log() == "quiesce 0, quiesce 1, reset queues, resume 0, resume 1");
        BOOST_TEST(!w.under_test.quiesces_for_reset());
        BOOST_TEST(w.under_test.resets() == 0U);

        w.busy = true;
        w.request(from, queue_reset);
        w.settle();
        BOOST_TEST(w.take_log() == "quiesce 0, quiesce 1, hold 0, hold 1");
        BOOST_TEST(w.under_test.causes() == queue_reset);
        w.request(0, write_cache); // both wait
        w.settle();
        BOOST_TEST(w.take_log() == "quiesce 0, quiesce 1, hold 0, hold 1");
        w.busy = false;
        w.request(1, queue_reset);
        w.settle();
        BOOST_TEST(w.take_log() == "quiesce 0, quiesce 1, reset queues, switch, resume 0, resume 1");

        // What the device does not do for its queues is done with the device, and then it is over.
        w.resets_queues = false;
        w.request(from, queue_reset);
        w.settle();
        BOOST_TEST(w.take_log() == "quiesce 0, quiesce 1, reset queues, reset, reset ended, resume 0, resume 1");
        BOOST_TEST(w.under_test.resets() == 1U);
        w.request(0, queue_reset | late); // a reset of the device is one of its queues
        w.settle();
        BOOST_TEST(w.take_log() == a_reset);
        w.survives = false;
        w.request(0, late);
        w.settle();
        w.take_log();
        w.changed_for = queue_reset; // and nothing is changed for it
        w.was_reset = false;
        w.request(0, queue_reset);
        w.settle();
        BOOST_TEST(w.under_test.lost());
        BOOST_TEST(w.take_log() == "quiesce 0, quiesce 1, resume 0, resume 1");
    }
}

BOOST_AUTO_TEST_CASE(whatever_is_requested_at_any_time_is_done_later) {
    std::mt19937_64 random = tests::chance(401);
    std::uint64_t resets = 0;
    for (unsigned run = 0; run < 300; ++run)
        BOOST_TEST_CONTEXT("run " << run) {
            two_harts w;
            std::vector<std::pair<causes_t, std::size_t>> requests; // and how many changes there had been
            for (unsigned step = 0; step < 100; ++step) {
                if (random() % 5 == 0) {
                    const causes_t what = causes_t{1} << random() % 5;
                    requests.emplace_back(what, w.changes.size());
                    w.request(static_cast<arch::hart_index>(random() % 2), what);
                } else {
                    w.round(static_cast<arch::hart_index>(random() % 2));
                }
            }
            w.settle();
            for (const auto& each : requests)
                BOOST_TEST(std::any_of(w.changes.begin() + static_cast<std::ptrdiff_t>(each.second), w.changes.end(),
                                       [what = each.first](causes_t change) { return (change & what) != 0; }));
            for (causes_t what = 1; what < 32; what <<= 1) // and nothing that nobody requested
                BOOST_TEST(std::count_if(w.changes.begin(), w.changes.end(), [what](causes_t each) {
                               return (each & what) != 0;
                           }) <= std::count_if(requests.begin(), requests.end(), [what](const auto& each) {
                               return each.first == what;
                           }));
            BOOST_TEST(w.under_test.resets() ==
                       static_cast<std::uint64_t>(std::count(w.resets.begin(), w.resets.end(), true)));
            resets += w.under_test.resets();
        }
    BOOST_TEST(resets > 500U);
}

BOOST_AUTO_TEST_SUITE_END()
