// The inbox of a hart: the only word of it that other harts write.
//
// A message is an operation, linked through `next`; the inbox owns none. The word says at any time in which of three
// states the hart is: nullptr, awake and without messages; an address, awake or about to be, with messages, the last
// one posted first; the inbox's own address, which no message has, asleep or about to be. Because it is one word, a
// message cannot slip in between a last look and the decision to sleep: either the decision fails, or the poster finds
// the hart asleep and interrupts it. For the same reason only the poster that finds it asleep pays for an interrupt.
//
// The owner sleeps in this order: mask interrupts; look whether there is other work; fall_asleep(); if that is true,
// wait for an interrupt; wake_up(), in any case; unmask. An interrupt that another hart sends from fall_asleep() on
// stays pending while it is masked, and ends the wait.
//
//     bool example() {
//         inbox own;
//         operation one;
//         operation two;
//         const bool awake = !own.post(one) && !own.post(two) && !own.fall_asleep(); // there are messages
//         operation* const first = own.take_all();
//         return awake && first == &one && first->next == &two && own.fall_asleep() && own.post(one); // interrupt it
//     }
#pragma once

#include "inflight/arch/arch.hpp"
#include "inflight/async/operation.hpp"

#include <atomic>

namespace inflight::async {

// `Node` has a member `next` that a Node* can be written to. Both parameters are for tests that stand in for them.
template <template <typename> class Atomic = arch::atomic, typename Node = operation>
class basic_inbox {
  public:
    basic_inbox() noexcept = default;
    basic_inbox(const basic_inbox&) = delete;
    basic_inbox& operator=(const basic_inbox&) = delete;

    // Any hart, interrupt handlers included. Hands `message`, and all that this hart wrote before, to the owner; from
    // here on it is the owner's. True if the owner sleeps: then the caller must interrupt its hart.
    [[nodiscard]] bool post(Node& message) noexcept {
        Node* before = word_.load(std::memory_order_relaxed); // a guess: what counts is what the exchange finds
        do {
            message.next = before == asleep() ? nullptr : before;
            // release: the message and its link before the word, pairs with the exchange in take_all(). Nothing is
            // acquired: the messages that are there already are not looked at. On failure `before` is a guess again.
        } while (!word_.compare_exchange_weak(before, &message, std::memory_order_release, std::memory_order_relaxed));
        return before == asleep();
    }

    // Owner, awake. All messages, in the order in which they were posted, linked through `next`; nullptr if there are
    // none. `last` is set to the last one.
    [[nodiscard]] Node* take_all(Node*& last) noexcept {
        // relaxed: nothing is taken on the strength of it. A message missed here is found in the next round, or by
        // fall_asleep().
        if (word_.load(std::memory_order_relaxed) == nullptr) {
            return nullptr;
        }
        // acquire: the word before the messages, pairs with the exchange in post() of each message taken: those of the
        // earlier ones are in its release sequence, because only exchanges follow them.
        last = word_.exchange(nullptr, std::memory_order_acquire);
        Node* first = nullptr;
        for (Node* each = last; each != nullptr;) {
            Node* const earlier = each->next;
            each->next = first;
            first = each;
            each = earlier;
        }
        return first;
    }

    [[nodiscard]] Node* take_all() noexcept {
        Node* last;
        return take_all(last);
    }

    // Owner. Whether there are messages, for what it is worth: one may be on its way.
    [[nodiscard]] bool has_messages() const noexcept {
        const Node* const word = word_.load(std::memory_order_relaxed); // as in take_all()
        return word != nullptr && word != asleep();
    }

    // Owner, awake and with interrupts masked. After this returns true, a hart that posts a message interrupts this
    // hart. False if there are messages: then the hart must not sleep.
    [[nodiscard]] bool fall_asleep() noexcept {
        // relaxed: it either finds the nullptr that this hart wrote itself, or nothing is done about what it finds.
        // post() reads nothing of ours because of it.
        Node* expected = nullptr;
        return word_.compare_exchange_strong(expected, asleep(), std::memory_order_relaxed, std::memory_order_relaxed);
    }

    // Owner. Awake from here on, if it was not already because of a message: without effect then.
    void wake_up() noexcept {
        // relaxed: it takes back this hart's own word, or leaves the messages to take_all().
        Node* expected = asleep();
        static_cast<void>(
            word_.compare_exchange_strong(expected, nullptr, std::memory_order_relaxed, std::memory_order_relaxed));
    }

  private:
    // Never dereferenced.
    [[nodiscard]] Node* asleep() noexcept { return static_cast<Node*>(static_cast<void*>(this)); }
    [[nodiscard]] const Node* asleep() const noexcept {
        return static_cast<const Node*>(static_cast<const void*>(this));
    }

    Atomic<Node*> word_{nullptr};
};

using inbox = basic_inbox<>;

} // namespace inflight::async
