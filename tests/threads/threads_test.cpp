// Harts that really run at once: the inbox and the executor under the thread sanitizer, which aborts at the first race.
#include "arch/arch.hpp"
#include "async/counting_scope.hpp"
#include "async/executor.hpp"
#include "async/inbox.hpp"
#include "async/message.hpp"
#include "async/scheduler.hpp"
#include "async/task.hpp"

#include <array>
#include <barrier>
#include <boost/test/unit_test.hpp>
#include <memory>
#include <thread>
#include <vector>

namespace inflight::async {

namespace {

struct numbered : operation {
    unsigned poster = 0;
    unsigned number = 0;
};

// Resumes the coroutine on another hart, in its next round. For the test: frames must end where they began.
class hop : operation {
  public:
    explicit hop(arch::hart_index to) noexcept : to_{to} {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> frame) noexcept {
        continuation = frame;
        executor::of(to_).post(*this);
    }
    void await_resume() const noexcept {}

  private:
    arch::hart_index to_;
};

// Of one hart, and not atomic: whoever is there may change it.
struct alignas(64) visited {
    std::uint64_t visits = 0;
};

task<void> travel(std::vector<visited>& places, arch::hart_index home, unsigned rounds, unsigned stride) {
    const auto harts = static_cast<arch::hart_index>(places.size());
    arch::hart_index at = home;
    for (unsigned i = 0; i < rounds; ++i) {
        at = (at + stride) % harts;
        co_await hop{at};
        ++places[arch::this_hart()].visits;
        if (i % 16 == 0) {
            co_await yield{};
        }
    }
    co_await hop{home};
}

// Told by a message to each hart.
struct ending {
    explicit ending(bool& flag) noexcept : message_{set, &flag} {}
    static void set(void* flag) noexcept { *static_cast<bool*>(flag) = true; }
    message message_;
};

} // namespace

BOOST_AUTO_TEST_SUITE(threads_tests)

// Every message once, in the order of its poster, with what was written before it.
BOOST_AUTO_TEST_CASE(messages_arrive) {
    constexpr unsigned posters = 3;
    constexpr unsigned messages = 50'000;
    inbox box;
    std::vector<std::unique_ptr<numbered[]>> sent;
    for (unsigned i = 0; i < posters; ++i) {
        sent.push_back(std::make_unique<numbered[]>(messages));
    }
    std::array<unsigned, posters> taken{};
    bool in_order = true;
    unsigned sleeps = 0;
    arch::threads::run(posters + 1, [&](arch::hart_index hart) {
        if (hart != 0) {
            for (unsigned i = 0; i < messages; ++i) {
                numbered& each = sent[hart - 1][i];
                each.poster = hart - 1;
                each.number = i;
                if (box.post(each)) {
                    arch::interrupt_hart(0);
                }
                if (i % 64 == 0) {
                    std::this_thread::yield(); // so that the owner comes to sleep
                }
            }
            return;
        }
        while (taken[0] + taken[1] + taken[2] < posters * messages) {
            operation* next = box.take_all();
            const bool any = next != nullptr;
            while (next != nullptr) {
                const auto& each = static_cast<const numbered&>(*next);
                next = next->next;
                in_order = in_order && each.poster < posters && each.number == taken[each.poster];
                ++taken[each.poster % posters];
            }
            if (!any) {
                const arch::interrupts_masked masked;
                if (box.fall_asleep()) {
                    ++sleeps;
                    arch::wait_for_interrupt();
                    box.wake_up();
                }
            }
        }
    });
    BOOST_TEST(in_order);
    BOOST_TEST(sleeps != 0u);
    for (const unsigned each : taken) {
        BOOST_TEST(each == messages);
    }
    BOOST_TEST_MESSAGE("slept " << sleeps << " times");
}

// Coroutines of every hart go round all of them.
BOOST_AUTO_TEST_CASE(coroutines_travel) {
    constexpr arch::hart_index harts = 4;
    constexpr unsigned travellers = 8;
    constexpr unsigned rounds = 5'000;
    for (const poll_mode mode : {poll_mode::off, poll_mode::adaptive}) {
        std::vector<visited> places(harts);
        std::array<bool, harts> ended{};
        std::array<std::uint64_t, harts> sleeps{};
        std::array<unsigned, harts> refused{};
        std::vector<std::unique_ptr<ending>> endings;
        for (bool& each : ended) {
            endings.push_back(std::make_unique<ending>(each));
        }
        std::barrier all{harts};
        arch::atomic<unsigned> at_home{0};
        arch::threads::run(harts, [&](arch::hart_index hart) {
            alignas(64) static thread_local std::array<std::byte, 256 * 1024> memory;
            executor runs{memory};
            runs.set_poll_mode(mode);
            all.arrive_and_wait(); // every hart has an executor
            {
                counting_scope scope;
                for (unsigned i = 0; i < travellers; ++i) {
                    refused[hart] += scope.spawn(travel(places, hart, rounds, 1 + i % harts)) ? 0 : 1;
                }
                // The last one at home ends all, by messages.
                bool home = false;
                const auto wait = [](counting_scope& of, arch::atomic<unsigned>& count,
                                     std::vector<std::unique_ptr<ending>>& tell, bool& done) -> task<void> {
                    co_await of.join();
                    done = true;
                    if (count.fetch_add(1, std::memory_order_relaxed) + 1 == harts) {
                        for (arch::hart_index to = 0; to < harts; ++to) {
                            tell[to]->message_.post(executor::of(to));
                        }
                    }
                };
                counting_scope waiting;
                refused[hart] += waiting.spawn(wait(scope, at_home, endings, home)) ? 0 : 1;
                runs.run_until(ended[hart]);
                refused[hart] += home ? 0 : 1;
            }
            sleeps[hart] = runs.count().sleeps;
            all.arrive_and_wait(); // nobody posts any more
        });
        std::uint64_t visits = 0;
        for (arch::hart_index hart = 0; hart < harts; ++hart) {
            BOOST_TEST(refused[hart] == 0u);
            visits += places[hart].visits;
            BOOST_TEST_MESSAGE("hart " << hart << " slept " << sleeps[hart] << " times");
        }
        BOOST_TEST(visits == std::uint64_t{harts} * travellers * rounds);
    }
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace inflight::async
