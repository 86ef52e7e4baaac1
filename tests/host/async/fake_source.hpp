// A device that is none, for the tests of the executor.
#pragma once

#include "async/executor.hpp"
#include "async/operation.hpp"
#include "async/task.hpp"
#include "tests/host/hart_fixture.hpp"

#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace inflight::tests {

using namespace async;

// A device that completes what it was given some time after it was published, and raises its line if asked to. What the
// executor asks is written down: p poll, P publish, a arm and publish, d disarm.
class fake_source final : public completion_source {
  public:
    class operation_of : operation {
      public:
        operation_of(fake_source& on, arch::ticks latency) noexcept : source_{on}, latency_{latency} {}
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> frame) noexcept {
            continuation = frame;
            source_.submitted_.push_back({this, latency_});
        }
        void await_resume() const noexcept {}

      private:
        friend class fake_source;
        fake_source& source_;
        arch::ticks latency_;
    };

    static constexpr unsigned line = 3;

    explicit fake_source(hart& on) : hart_{on} {
        hart_.simulated.line_handler(line, [this] {
            hart_.simulated.lower_line(line);
            announced_ = !used_.empty();
            ++interrupts;
        });
        hart_.runtime.add(*this);
    }

    operation_of io(arch::ticks latency) noexcept { return operation_of{*this, latency}; }

    bool poll() noexcept override {
        note('p');
        if (on_poll) {
            on_poll();
        }
        if (armed_ && !announced_) {
            return false;
        }
        announced_ = false;
        const bool found = !used_.empty();
        while (!used_.empty()) {
            hart_.runtime.make_ready(*used_.front());
            used_.pop_front();
        }
        return found;
    }
    void publish() noexcept override {
        note('P');
        hand_over();
    }
    bool arm_and_publish() noexcept override {
        note('a');
        armed_ = true;
        pass_time(); // a device that finishes here finishes before the look
        const bool found = !used_.empty() && !announced_;
        armed_ = !found;
        pass_time();
        const bool work = found || announced_;
        pass_time();
        hand_over();
        return work;
    }
    void disarm() noexcept override {
        note('d');
        armed_ = false;
        note(0);
    }

    bool has_unpublished() noexcept override { return !submitted_.empty(); }

    void complete(operation_of& done) {
        used_.push_back(&done);
        if (armed_) {
            hart_.simulated.raise_line(line);
        }
    }

    // What an interrupt would have said: ends a test that has failed.
    void rescue() { announced_ = !used_.empty(); }

    [[nodiscard]] std::string take_log() { return std::exchange(log, {}); }
    [[nodiscard]] bool armed() const { return armed_; }

    std::string log;
    std::vector<arch::ticks> times; // of the calls in `log`
    std::function<void()> on_poll;
    unsigned interrupts = 0;

  private:
    void hand_over() {
        for (const auto& each : submitted_) {
            hart_.simulated.after(each.second, [this, done = each.first] { complete(*done); });
        }
        submitted_.clear();
        pass_time();
    }
    void pass_time() { static_cast<void>(arch::now()); }
    void note(char call) {
        if (call != 0) {
            log.push_back(call);
            times.push_back(hart_.simulated.time());
        }
        pass_time(); // lets events happen in the middle
    }

    hart& hart_;
    std::deque<std::pair<operation_of*, arch::ticks>> submitted_;
    std::deque<operation_of*> used_;
    bool armed_ = false;
    bool announced_ = false;
};

inline task<void> do_io(fake_source& device, arch::ticks latency, int times, int& done) {
    for (int i = 0; i < times; ++i) {
        co_await device.io(latency);
        ++done;
    }
}

inline constexpr poll_mode all_modes[] = {poll_mode::off, poll_mode::adaptive, poll_mode::always};

} // namespace inflight::tests
