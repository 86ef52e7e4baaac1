#include "src/kernel/disk_interrupts.hpp"

#include "src/kernel/console.hpp"

#include <algorithm>

namespace inflight::kernel {

using console::print;

disk_interrupts::disk_interrupts(std::string_view name, block::disk& of, std::uint32_t tree_line) noexcept
    : disk_interrupts{name, of, {.line = tree_line, .messages = {}}, {}} {}

disk_interrupts::disk_interrupts(std::string_view name, block::disk& of, const interrupt_route& route,
                                 std::span<connection> messages) noexcept
    : disk_{of},
      tree_line_{route.line},
      messages_{messages},
      per_queue_{route.is_per_queue},
      home_{async::executor::current()} {
    std::copy_n(name.begin(), std::min(name.size(), name_.size() - 1), name_.begin());
    fill(line_, nullptr);
    line_.serve = [](void* disk) noexcept { // without a step in between: each interrupt of a line counts it
        return static_cast<block::disk*>(disk)->handle_line();
    };
    line_.context = &of;
    for (std::size_t i = 0; i < messages.size(); ++i) {
        const bool is_configuration = i == 0 && messages.size() > 1;
        fill(messages[i], is_configuration ? serve_configuration : per_queue_ ? serve_queue : serve_all);
        messages[i].message = route.messages[i];
        messages[i].queue = static_cast<std::uint16_t>(i == 0 ? 0 : i - 1);
        messages[i].may_stray = false;
    }
}

void disk_interrupts::fill(connection& made, bool (*serve)(void* connection) noexcept) noexcept {
    made.serve = serve;
    made.context = &made;
    made.owner = this;
    made.masked = [](interrupt_connection& masked, std::uint32_t source, interrupt_storm why) noexcept {
        disk_interrupts& self = *static_cast<connection&>(masked).owner;
        // This may be any hart, in any context, and several at once: the first one is reported.
        if (self.was_masked_once_.exchange(1, std::memory_order_relaxed) == 0) {
            self.masked_source_ = source;
            self.storm_ = why;
            self.masked_message_.post(self.home_);
        }
    };
}

bool disk_interrupts::serve_all(void* connection) noexcept {
    return static_cast<disk_interrupts::connection*>(connection)->owner->disk_.handle_line();
}

bool disk_interrupts::serve_configuration(void* connection) noexcept {
    static_cast<disk_interrupts::connection*>(connection)->owner->disk_.handle_configuration();
    return true;
}

bool disk_interrupts::serve_queue(void* connection) noexcept {
    auto& self = *static_cast<disk_interrupts::connection*>(connection);
    if (self.message.hart != arch::this_hart()) [[unlikely]] {
        self.taken_elsewhere.fetch_add(1, std::memory_order_relaxed);
    }
    self.owner->disk_.handle_queue(self.queue);
    return true;
}

void disk_interrupts::begin(interrupt_controller& by, interrupt_target target) noexcept {
    if (!messages_.empty() ? connect_messages(by) : by.connect(tree_line_, target, line_)) {
        poll_again_in(arch::ticks_per_second() / unproven_polls_per_second);
        return;
    }
    if (!messages_.empty()) {
        print("note: the interrupt controller does not take the messages of %s: it is polled\n", name_.data());
    } else if (tree_line_ == 0) {
        print("note: %s has no interrupt in the device tree: it is polled\n", name_.data());
    } else {
        print("note: the device tree gives %s line %u, which the interrupt controller does not have: it is polled\n",
              name_.data(), tree_line_);
    }
    poll();
}

bool disk_interrupts::connect_messages(interrupt_controller& by) noexcept {
    return std::ranges::all_of(
        messages_, [&](connection& each) { return by.connect(each.message.source, each.message.hart, each); });
}

void disk_interrupts::poll_again_in(arch::ticks span) noexcept {
    if (!poll_is_due_) {
        poll_is_due_ = true;
        timer_.deadline = home_.now() + span;
        home_.make_ready_at(timer_);
    }
}

void disk_interrupts::look() noexcept {
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

void disk_interrupts::prove() noexcept {
    const block::disk::counters count = disk_.count();
    const std::uint64_t interrupted = count.interrupts - count.spurious; // read before `strayed`
    const std::uint64_t by_others = line_.strayed.load(std::memory_order_relaxed);
    const std::uint64_t by_own = interrupted - std::min(interrupted, by_others);
    // Both happen by chance, too: with swapped lines, a device completes something just before its own line interrupts;
    // with correct lines, just before another line interrupts for no reason.
    const bool mostly_by_own = by_own >= by_others * 4;
    const bool silent = has_silent_queue();
    if (by_own >= enough && mostly_by_own && !silent) {
        state_ = state::interrupted;
        return;
    }
    if (by_others >= enough && !mostly_by_own) {
        line_.strays.store(true, std::memory_order_relaxed);
        state_ = state::interrupted;
        print("note: %s interrupts on line %u, but the device tree says %u: it is served anyway\n", name_.data(),
              line_.strayed_by.load(std::memory_order_relaxed), tree_line_);
        return;
    }
    lost_ += disk_.look_for_completions() ? 1 : 0;
    if (lost_ >= enough && (lost_ > interrupted || silent)) {
        if (messages_.empty()) {
            print("note: no interrupt of %s arrives on line %u, which the device tree gives: it is polled\n",
                  name_.data(), tree_line_);
        } else {
            print("note: messages of %s do not arrive at the interrupt controller: it is polled\n", name_.data());
        }
        poll();
        return;
    }
    poll_again_in(arch::ticks_per_second() / unproven_polls_per_second);
}

// Whether a queue with a message of its own has completed requests, and none of its messages has arrived. Others prove
// nothing about it.
bool disk_interrupts::has_silent_queue() const noexcept {
    for (std::uint16_t queue = 0; per_queue_ && queue < disk_.properties().queues; ++queue) {
        const block::queue::counters count = disk_.count(queue);
        if (count.requests >= enough && count.interrupts == 0) {
            return true;
        }
    }
    return false;
}

void disk_interrupts::poll() noexcept {
    state_ = state::polled;
    span_ = std::max<arch::ticks>(arch::ticks_per_second() / max_polls_per_second, 1);
    poll_again_in(span_);
}

void disk_interrupts::was_masked() noexcept {
    const char* const why =
        storm_ == interrupt_storm::no_cause ? "keeps interrupting for no reason" : "does not stop interrupting";
    print("note: %s %u %s: it is masked, and %s is polled\n", messages_.empty() ? "line" : "message", masked_source_,
          why, name_.data());
    poll();
}

} // namespace inflight::kernel
