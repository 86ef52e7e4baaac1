#include "protocols.hpp"

#include "async/inbox.hpp"
#include "ring.hpp"

#include <algorithm>
#include <array>
#include <span>

namespace inflight::interleavings {

namespace {

struct message {
    message() = default;
    cell<message*> next{nullptr};
    cell<int> content{0};
};

using one_word_inbox = async::basic_inbox<arch::atomic, message>;

// ---- the idle sequence, as executor::sleep() has it

enum class idle_step : std::uint8_t { mask, look, fall_asleep, wait, wake_up, unmask };

// The steps in order, with the mistake made.
std::vector<idle_step> idle_steps(mistake made) {
    using enum idle_step;
    std::vector<idle_step> steps{mask, look, fall_asleep, wait, wake_up, unmask};
    const auto without = [&](idle_step left_out) {
        std::erase(steps, left_out);
    };
    const auto later = [&](idle_step moved) {
        const auto at = std::find(steps.begin(), steps.end(), moved);
        std::iter_swap(at, at + 1);
    };
    switch (made) {
    case mistake::no_mask: without(mask); break;
    case mistake::no_look: without(look); break;
    case mistake::no_fall_asleep: without(fall_asleep); break;
    case mistake::no_wait: without(wait); break;
    case mistake::no_wake_up: without(wake_up); break;
    case mistake::no_unmask: without(unmask); break;
    case mistake::mask_after_look: later(mask); break;
    case mistake::look_after_fall_asleep: later(look); break;
    case mistake::fall_asleep_after_wait: later(fall_asleep); break;
    case mistake::wait_after_wake_up: later(wait); break;
    case mistake::wake_up_after_unmask: later(wake_up); break;
    default: break;
    }
    return steps;
}

template <typename Inbox, typename Look>
void idle(Inbox& inbox, mistake made, const std::vector<idle_step>& steps, Look has_work) {
    bool may_sleep = true;
    for (const idle_step step : steps) {
        switch (step) {
        case idle_step::mask: static_cast<void>(arch::mask_interrupts()); break;
        case idle_step::look: may_sleep = may_sleep && !has_work(); break;
        case idle_step::fall_asleep:
            may_sleep = (may_sleep && inbox.fall_asleep()) || made == mistake::sleeps_although_told_not_to;
            break;
        case idle_step::wait:
            if (may_sleep) {
                wait_for_interrupt();
            }
            break;
        case idle_step::wake_up: inbox.wake_up(); break;
        case idle_step::unmask: arch::restore_interrupts(true); break;
        }
    }
}

constexpr bool nothing() {
    return false;
}

template <typename Inbox>
void send(Inbox& inbox, message& sent, unsigned owner, mistake made = mistake::none) {
    if (made == mistake::interrupt_before_post) {
        raise(owner, cause::software);
    }
    const bool sleeps = inbox.post(sent);
    if (sleeps && made != mistake::no_interrupt && made != mistake::interrupt_before_post) {
        raise(owner, cause::software);
    }
}

// ---- other inboxes, which do not work

// A list, and beside it a word that says that the owner sleeps. Posting and falling asleep each write one and read the
// other: without sequential consistency both may read the old value.
class two_words_inbox {
  public:
    explicit two_words_inbox(bool set_late) : set_late_{set_late} {}
    bool post(message& sent) {
        message* before = list_.load(std::memory_order_relaxed);
        do {
            sent.next = before;
        } while (!list_.compare_exchange_strong(before, &sent, std::memory_order_acq_rel, std::memory_order_acquire));
        return asleep_.load(std::memory_order_acquire);
    }
    message* take_all() {
        message* last = list_.exchange(nullptr, std::memory_order_acq_rel);
        message* first = nullptr;
        while (last != nullptr) {
            message* const earlier = last->next;
            last->next = first;
            first = last;
            last = earlier;
        }
        return first;
    }
    bool fall_asleep() {
        if (!set_late_) {
            asleep_.store(true, std::memory_order_release);
        }
        const bool empty = list_.load(std::memory_order_acquire) == nullptr;
        if (set_late_) {
            asleep_.store(true, std::memory_order_release);
        }
        return empty;
    }
    void wake_up() { asleep_.store(false, std::memory_order_release); }

  private:
    bool set_late_;
    arch::atomic<message*> list_{nullptr};
    arch::atomic<bool> asleep_{false};
};

// ---- messages of two posters to an owner, which sleeps when it has none

template <typename Inbox, unsigned Messages>
class posting final : public scenario {
  public:
    template <typename... Arguments>
    explicit posting(mistake made, Arguments... arguments)
        : made_{made}, steps_{idle_steps(made)}, inbox_{arguments...} {
        name(&inbox_, "asleep");
        static constexpr const char* names[2][3] = {{"message 1.1", "message 1.2", "message 1.3"},
                                                    {"message 2.1", "message 2.2", "message 2.3"}};
        for (unsigned i = 0; i < Messages; ++i) {
            name(&messages_[0][i], names[0][i]);
            name(&messages_[1][i], names[1][i]);
        }
    }

    unsigned harts() const override { return 3; }

    void run(unsigned hart) override {
        if (hart == 0) {
            own();
            return;
        }
        for (unsigned i = 0; i < Messages; ++i) {
            message& sent = messages_[hart - 1][i];
            const int content = static_cast<int>(10 * hart + i);
            if (made_ != mistake::content_after_post) {
                sent.content = content;
            }
            send(inbox_, sent, 0, made_);
            if (made_ == mistake::content_after_post) {
                sent.content = content;
            }
        }
    }

    void at_end() override { require(inbox_.take_all() == nullptr, "a message that nobody posted"); }

  private:
    void own() {
        unsigned taken[2] = {};
        while (taken[0] + taken[1] < 2 * Messages) {
            message* next = inbox_.take_all();
            if (made_ == mistake::last_in_first_out) {
                next = reversed(next);
            }
            while (next != nullptr) {
                message* const each = next;
                next = each->next;
                const unsigned poster = each >= messages_[1].data() ? 1 : 0;
                const unsigned number = static_cast<unsigned>(each - messages_[poster].data());
                require(number < Messages && number >= taken[poster], "a message was delivered twice");
                require(number == taken[poster], "messages of one poster were delivered out of order");
                require(each->content == static_cast<int>(10 * (poster + 1) + number), "contents were lost");
                ++taken[poster];
            }
            if (taken[0] + taken[1] < 2 * Messages) {
                idle(inbox_, made_, steps_, nothing);
            }
        }
    }

    static message* reversed(message* next) {
        message* result = nullptr;
        while (next != nullptr) {
            message* const after = next->next;
            next->next = result;
            result = next;
            next = after;
        }
        return result;
    }

    mistake made_;
    std::vector<idle_step> steps_;
    Inbox inbox_;
    std::array<std::array<message, Messages>, 2> messages_;
};

template <unsigned Messages>
std::unique_ptr<scenario> make_posting(mistake made) {
    if (made == mistake::two_words || made == mistake::two_words_set_late) {
        return std::make_unique<posting<two_words_inbox, Messages>>(made, made == mistake::two_words_set_late);
    }
    return std::make_unique<posting<one_word_inbox, Messages>>(made);
}

// ---- a device whose interrupt handler marks its queue, for the owner to look at; and a poster

class interrupting final : public scenario {
  public:
    explicit interrupting(mistake made) : made_{made}, steps_{idle_steps(made)} {
        name(&inbox_, "asleep");
        name(&message_, "message");
        name(&from_handler_, "message of the handler");
    }

    unsigned harts() const override { return 3; }

    void run(unsigned hart) override {
        switch (hart) {
        case 0: own(); break;
        case 1:
            for (int i = 1; i <= completions; ++i) {
                used_.store(i, std::memory_order_relaxed);
                raise(0, cause::external);
            }
            break;
        default: message_.content = 1; send(inbox_, message_, 0);
        }
    }

    // As disk::handle_line() and virtqueue::interrupted(): acknowledge, look, mark. The first one also posts.
    void interrupted(unsigned, cause reason) override {
        if (reason == cause::software) {
            acknowledge(reason);
            return;
        }
        if (made_ != mistake::look_before_acknowledge) {
            acknowledge(reason);
        }
        if (used_.load(std::memory_order_relaxed) != seen_) {
            pending_.store(true, std::memory_order_relaxed);
        }
        if (!posted_) {
            posted_ = true;
            send(inbox_, from_handler_, 0);
        }
        if (made_ == mistake::look_before_acknowledge) {
            acknowledge(reason);
        }
    }

  private:
    static constexpr int completions = 2;

    bool is_pending() { return pending_.load(std::memory_order_relaxed); }

    void own() {
        unsigned messages = 0;
        while (seen_ < completions || messages < 2) {
            if (is_pending()) {
                if (made_ != mistake::unmark_after_look) {
                    pending_.store(false, std::memory_order_relaxed);
                }
                seen_ = used_.load(std::memory_order_relaxed);
                if (made_ == mistake::unmark_after_look) {
                    pending_.store(false, std::memory_order_relaxed);
                }
            }
            for (message* next = inbox_.take_all(); next != nullptr; next = next->next) {
                ++messages;
            }
            if (seen_ < completions || messages < 2) {
                idle(inbox_, made_, steps_, [this] { return is_pending(); });
            }
        }
    }

    mistake made_;
    std::vector<idle_step> steps_;
    one_word_inbox inbox_;
    arch::atomic<int> used_{0};
    arch::atomic<bool> pending_{false};
    int seen_ = 0; // of hart 0 and its handler
    bool posted_ = false;
    message message_;
    message from_handler_;
};

// ---- a node that is posted to say "look": at most once at a time, by whoever finds that its flag was not set

class waking final : public scenario {
  public:
    explicit waking(mistake made) : made_{made}, steps_{idle_steps(mistake::none)} {
        name(&inbox_, "asleep");
        name(&node_, "wake node");
    }

    unsigned harts() const override { return 3; }

    void run(unsigned hart) override {
        if (hart == 0) {
            own();
            return;
        }
        for (int i = 1; i <= rounds; ++i) {
            atomic<int>& written = *written_[hart - 1];
            if (made_ != mistake::written_after_flag) {
                written.store(i, std::memory_order_relaxed);
            }
            bool linked = false;
            if (made_ == mistake::flag_set_by_load_and_store) {
                linked = linked_.load(std::memory_order_acquire);
                linked_.store(true, std::memory_order_release);
            } else {
                // release: what is there to look at, before the flag; acquire: the owner has read the link, before it
                // is written again.
                linked = linked_.exchange(true, std::memory_order_acq_rel);
            }
            if (!linked) {
                send(inbox_, node_, 0);
            }
            if (made_ == mistake::written_after_flag) {
                written.store(i, std::memory_order_relaxed);
            }
        }
    }

  private:
    static constexpr int rounds = 2;

    void clear_flag() {
        if (made_ == mistake::flag_cleared_by_store) {
            linked_.store(false, std::memory_order_release);
        } else {
            // release: the link has been read; acquire: what whoever found the flag set has written. An exchange, for
            // only the last store of the flag tells of that.
            linked_.exchange(false, std::memory_order_acq_rel);
        }
    }

    void own() {
        int seen[2] = {};
        while (seen[0] < rounds || seen[1] < rounds) {
            message* next = inbox_.take_all();
            while (next != nullptr) {
                require(next == &node_, "not the node");
                if (made_ == mistake::flag_cleared_before_next_is_read) {
                    clear_flag();
                }
                next = next->next;
                if (made_ != mistake::flag_cleared_before_next_is_read && made_ != mistake::flag_cleared_after_look) {
                    clear_flag();
                }
                seen[0] = first_.load(std::memory_order_relaxed);
                seen[1] = second_.load(std::memory_order_relaxed);
                if (made_ == mistake::flag_cleared_after_look) {
                    clear_flag();
                }
            }
            if (seen[0] < rounds || seen[1] < rounds) {
                idle(inbox_, made_, steps_, nothing);
            }
        }
    }

    mistake made_;
    std::vector<idle_step> steps_;
    one_word_inbox inbox_;
    arch::atomic<bool> linked_{false};
    arch::atomic<int> first_{0};
    arch::atomic<int> second_{0};
    std::array<arch::atomic<int>*, 2> written_{&first_, &second_};
    message node_;
};

// ---- one hart stops the others, changes what all read, and lets them go on

class stopping final : public scenario {
  public:
    explicit stopping(mistake made) : made_{made}, steps_{idle_steps(mistake::none)} {
        static constexpr const char* names[3] = {"asleep 0", "asleep 1", "asleep 2"};
        for (unsigned i = 0; i < 3; ++i) {
            name(&inboxes_[i], names[i]);
        }
        for (unsigned i = 0; i < 2; ++i) {
            name(&quiesce_[i], "quiesce");
            name(&acknowledge_[i], "acknowledgement");
            name(&go_on_[i], "go on");
        }
    }

    unsigned harts() const override { return 3; }

    void run(unsigned hart) override {
        if (hart == 0) {
            coordinate();
        } else {
            work(hart);
        }
    }

  private:
    void coordinate() {
        send(inboxes_[1], quiesce_[0], 1);
        send(inboxes_[2], quiesce_[1], 2);
        for (unsigned needed = made_ == mistake::one_acknowledgement_is_enough ? 1 : 2; needed > 0;) {
            const unsigned got = static_cast<unsigned>(take(0).size());
            needed -= std::min(needed, got);
            if (needed > 0) {
                idle(inboxes_[0], mistake::none, steps_, nothing);
            }
        }
        if (made_ != mistake::go_on_before_change) {
            shared_ = 1;
        }
        send(inboxes_[1], go_on_[0], 1);
        if (made_ == mistake::go_on_before_change) {
            shared_ = 1;
        }
        send(inboxes_[2], go_on_[1], 2);
    }

    void work(unsigned hart) {
        for (;;) {
            for (message* const each : take(hart)) {
                if (each == &go_on_[hart - 1]) {
                    require(shared_ == 1, "goes on with what was before");
                    return;
                }
                if (made_ == mistake::acknowledged_too_early) {
                    send(inboxes_[0], acknowledge_[hart - 1], 0);
                    require(shared_ == 0, "changed under a hart that has not stopped");
                } else {
                    require(shared_ == 0, "changed under a hart that has not stopped");
                    send(inboxes_[0], acknowledge_[hart - 1], 0);
                }
            }
            idle(inboxes_[hart], mistake::none, steps_, nothing);
        }
    }

    // What has come, at most three.
    struct taken {
        std::array<message*, 3> messages{};
        std::size_t count = 0;
        message* const* begin() const { return messages.data(); }
        message* const* end() const { return messages.data() + count; }
        std::size_t size() const { return count; }
    };

    taken take(unsigned hart) {
        taken result;
        for (message* next = inboxes_[hart].take_all(); next != nullptr; next = next->next) {
            require(result.count < result.messages.size(), "a message was delivered twice");
            result.messages[result.count++] = next;
        }
        return result;
    }

    mistake made_;
    std::vector<idle_step> steps_;
    std::array<one_word_inbox, 3> inboxes_;
    cell<int> shared_{0};
    std::array<message, 2> quiesce_;
    std::array<message, 2> acknowledge_;
    std::array<message, 2> go_on_;
};

template <bool packed, bool event_idx, bool handled_elsewhere, unsigned requests>
std::unique_ptr<scenario> make_ring_of(mistake made) {
    return make_ring({packed, event_idx, handled_elsewhere, requests}, made == mistake::look_before_acknowledge);
}

template <typename Scenario>
std::unique_ptr<scenario> make(mistake made) {
    return std::make_unique<Scenario>(made);
}

} // namespace

const std::vector<protocol>& protocols() {
    using enum mistake;
    static const std::vector<protocol> all{
        {.name = "two posters, a message each",
         .bounds = {.preemptions = 4},
         .make = make_posting<1>,
         .wrong = {{no_mask, "no mask"},
                   {no_fall_asleep, "does not say that it sleeps"},
                   {fall_asleep_after_wait, "says that it sleeps after the wait"},
                   {no_wait, "does not wait"},
                   {wait_after_wake_up, "wakes up before the wait"},
                   {no_wake_up, "does not wake up"},
                   {sleeps_although_told_not_to, "sleeps on messages"},
                   {no_interrupt, "poster does not interrupt"},
                   {interrupt_before_post, "poster interrupts before it posts"},
                   {content_after_post, "poster writes after it posts"},
                   {two_words, "two words, flag before the look"},
                   {two_words_set_late, "two words, flag after the look"}},
         .right = {{wake_up_after_unmask, "wakes up after unmasking"}}},
        {.name = "two posters, two messages each",
         .bounds = {.preemptions = 2, .spurious_wake_ups = 0},
         .make = make_posting<2>,
         .wrong = {{last_in_first_out, "not reversed"}},
         .right = {}},
        {.name = "device, handler, poster",
         .bounds = {.preemptions = 3},
         .make = make<interrupting>,
         .wrong = {{no_mask, "no mask"},
                   {mask_after_look, "looks before it masks"},
                   {no_look, "no look before the sleep"},
                   {no_unmask, "does not unmask"},
                   {look_before_acknowledge, "handler looks before it acknowledges"},
                   {unmark_after_look, "unmarks after the look"}},
         .right = {{look_after_fall_asleep, "looks after it says that it sleeps"},
                   {wake_up_after_unmask, "wakes up after unmasking"}}},
        {.name = "wake node of two posters",
         .bounds = {.preemptions = 4, .spurious_wake_ups = 1},
         .make = make<waking>,
         .wrong = {{flag_cleared_after_look, "flag cleared after the look"},
                   {flag_cleared_before_next_is_read, "flag cleared before the link is read"},
                   {flag_cleared_by_store, "flag cleared by a store"},
                   {flag_set_by_load_and_store, "flag tested, then set"},
                   {written_after_flag, "written after the flag"}},
         .right = {}},
        {.name = "stop the world",
         .bounds = {.preemptions = 2, .spurious_wake_ups = 0},
         .make = make<stopping>,
         .wrong = {{one_acknowledgement_is_enough, "one acknowledgement is enough"},
                   {acknowledged_too_early, "acknowledged too early"},
                   {go_on_before_change, "goes on before the change"}},
         .right = {}},
        {.name = "ring and interrupts, EVENT_IDX",
         .bounds = {.preemptions = 3, .steps = 600},
         .make = make_ring_of<false, true, false, 2>,
         .wrong = {{look_before_acknowledge, "handler looks before it acknowledges"}},
         .right = {}},
        {.name = "ring and interrupts, flags",
         .bounds = {.preemptions = 2, .steps = 600},
         .make = make_ring_of<false, false, false, 2>,
         .wrong = {},
         .right = {}},
        {.name = "ring, interrupts elsewhere",
         .bounds = {.preemptions = 2, .steps = 600},
         .make = make_ring_of<false, true, true, 2>,
         .wrong = {},
         .right = {}},
        {.name = "ring, a look without an interrupt",
         .bounds = {.preemptions = 3, .spurious_wake_ups = 0},
         .make = [](mistake) { return make_look(); },
         .wrong = {},
         .right = {}},
        {.name = "packed ring, EVENT_IDX",
         .bounds = {.preemptions = 3, .steps = 600},
         .make = make_ring_of<true, true, false, 2>,
         .wrong = {{look_before_acknowledge, "handler looks before it acknowledges"}},
         .right = {}},
        {.name = "packed ring, flags",
         .bounds = {.preemptions = 2, .steps = 600},
         .make = make_ring_of<true, false, false, 2>,
         .wrong = {},
         .right = {}},
        {.name = "packed ring, interrupts elsewhere",
         .bounds = {.preemptions = 2, .steps = 600},
         .make = make_ring_of<true, true, true, 2>,
         .wrong = {},
         .right = {}},
    };
    return all;
}

} // namespace inflight::interleavings
