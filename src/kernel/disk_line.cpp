#include "src/kernel/disk_line.hpp"

#include "src/kernel/console.hpp"

#include <algorithm>

namespace inflight::kernel {

using console::print;

disk_line::disk_line(std::string_view name, block::disk& of, std::uint32_t tree_line) noexcept
    : disk_{of}, tree_line_{tree_line}, home_{async::executor::current()} {
    std::copy_n(name.begin(), std::min(name.size(), name_.size() - 1), name_.begin());
    serve = [](void* disk) noexcept {
        return static_cast<block::disk*>(disk)->handle_line();
    };
    context = &of;
    masked = [](interrupt_connection& connection, std::uint32_t masked_line, interrupt_storm why) noexcept {
        disk_line& self = static_cast<disk_line&>(connection);
        self.masked_line_ = masked_line;
        self.storm_ = why;
        self.masked_message_.post(self.home_); // this may be any hart, in any context
    };
}

void disk_line::begin(interrupt_controller& by, interrupt_target target) noexcept {
    if (by.connect(tree_line_, target, *this)) {
        poll_again_in(arch::ticks_per_second() / unproven_polls_per_second);
        return;
    }
    if (tree_line_ == 0) {
        print("note: %s has no interrupt in the device tree: it is polled\n", name_.data());
    } else {
        print("note: the device tree gives %s line %u, which the PLIC does not have: it is polled\n", name_.data(),
              tree_line_);
    }
    poll();
}

void disk_line::poll_again_in(arch::ticks span) noexcept {
    if (!poll_is_due_) {
        poll_is_due_ = true;
        timer_.deadline = home_.now() + span;
        home_.make_ready_at(timer_);
    }
}

void disk_line::look() noexcept {
    poll_is_due_ = false;
    ++looks_;
    switch (state_) {
    case state::unproven: prove(); break;
    case state::interrupted: break;
    case state::polled:
        span_ = disk_.look_for_completions() ? arch::ticks_per_second() / max_polls_per_second
                                             : std::min(2 * span_, arch::ticks_per_second() / min_polls_per_second);
        poll_again_in(span_);
        break;
    }
}

void disk_line::prove() noexcept {
    const block::disk::counters count = disk_.count();
    const std::uint64_t interrupted = count.interrupts - count.spurious; // read before `strayed`
    const std::uint64_t by_others = strayed.load(std::memory_order_relaxed);
    const std::uint64_t by_own = interrupted - std::min(interrupted, by_others);
    // Both happen by chance, too: with swapped lines, a device completes something just before its own line interrupts;
    // with correct lines, just before another line interrupts for no reason.
    const bool mostly_by_own = by_own >= by_others * 4;
    if (by_own >= enough && mostly_by_own) {
        state_ = state::interrupted;
        return;
    }
    if (by_others >= enough && !mostly_by_own) {
        strays.store(true, std::memory_order_relaxed);
        state_ = state::interrupted;
        print("note: %s interrupts on line %u, but the device tree says %u: it is served anyway\n", name_.data(),
              strayed_by.load(std::memory_order_relaxed), tree_line_);
        return;
    }
    lost_ += disk_.look_for_completions() ? 1 : 0;
    if (lost_ >= enough && lost_ > interrupted) {
        print("note: no interrupt of %s arrives on line %u, which the device tree gives: it is polled\n", name_.data(),
              tree_line_);
        poll();
        return;
    }
    poll_again_in(arch::ticks_per_second() / unproven_polls_per_second);
}

void disk_line::poll() noexcept {
    state_ = state::polled;
    span_ = std::max<arch::ticks>(arch::ticks_per_second() / max_polls_per_second, 1);
    poll_again_in(span_);
}

void disk_line::line_was_masked() noexcept {
    const char* const why =
        storm_ == interrupt_storm::no_cause ? "keeps interrupting for no reason" : "does not stop interrupting";
    print("note: line %u %s: it is masked, and %s is polled\n", masked_line_, why, name_.data());
    poll();
}

} // namespace inflight::kernel
