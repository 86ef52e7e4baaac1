#include "tests/simulation/simulated_harts.hpp"

#include <algorithm>
#include <span>
#include <string>

namespace inflight::simulation {

using async::poll_mode;

simulated_harts::simulated_harts(run_context& in) : in_{in} {
    chooser& choose = in.choose;
    machine& host = in.host;
    constexpr poll_mode modes[] = {poll_mode::off, poll_mode::off, poll_mode::adaptive, poll_mode::always};
    const poll_mode for_all = choose.one_of(modes);
    const bool mixed = choose.percent(20);
    for (hart_index hart = 0; hart < host.harts(); ++hart) {
        host.select_hart(hart);
        auto& made = *harts_.emplace_back(std::make_unique<simulated_hart>(choose.between(1, 3)));
        made.frame_memory.resize((std::size_t{64} << 10) + 64);
        const auto start = reinterpret_cast<std::uintptr_t>(made.frame_memory.data());
        made.executor =
            std::make_unique<async::executor>(std::span{made.frame_memory.data() + (-start & 63), 64 << 10});
        const poll_mode mode = mixed ? choose.one_of(modes) : for_all;
        made.executor->set_poll_mode(mode);
        made.runs_in_one = choose.percent(75);
        any_always_ |= mode == poll_mode::always;
        in.say("hart " + std::to_string(hart) + ": poll mode " + std::to_string(static_cast<int>(mode)));
        made.sent_to.resize(host.harts());
        made.got_from.resize(host.harts());
        made.the_end =
            std::make_unique<async::message>([](void* over) noexcept { *static_cast<bool*>(over) = true; }, &made.over);
    }
    host.select_hart(0);
}

void simulated_harts::run(hart_index hart) {
    simulated_hart& self = *harts_[hart];
    if (!any_always_ && self.runs_in_one) { // as a kernel does it
        self.executor->run_until(self.over);
    }
    while (!self.over) {
        if (self.executor->tick()) {
            continue;
        }
        // A hart that looks for completions for ever has to be told.
        if (any_always_ && !told_ && all_ended()) {
            told_ = true;
            for (const auto& each : harts_) {
                each->the_end->post(*each->executor);
            }
        }
        if (!self.over) {
            self.executor->idle();
        }
    }
}

bool simulated_harts::all_ended() const {
    return std::all_of(harts_.begin(), harts_.end(), [](const auto& each) { return each->scope.size() == 0; });
}

void simulated_harts::destroy() {
    for (hart_index hart = 0; hart < size(); ++hart) {
        in_.host.select_hart(hart);
        harts_[hart].reset();
    }
    harts_.clear();
}

void hop::await_suspend(std::coroutine_handle<> frame) noexcept {
    continuation = frame;
    from_ = arch::this_hart();
    number_ = harts_[from_].sent_to[to_]++;
    simulated_hart& target = harts_[to_]; // this may have gone when the post has been done
    target.executor->post(*this);
    ++target.posted;
}

void hop::await_resume() const noexcept {
    simulated_hart& here = harts_[to_];
    --here.posted;
    ++in_.counted.hops;
    in_.expect(arch::this_hart() == to_, "what was posted arrives on another hart");
    in_.expect(number_ == here.got_from[from_]++, "what was posted arrives out of order");
}

} // namespace inflight::simulation
