// Deadlines of one hart: an intrusive pairing heap, its nodes in the frames of the sleeping coroutines. Nothing is
// allocated.
//
//     bool example() {
//         timer soon;
//         soon.deadline = 10;
//         timer later;
//         later.deadline = 20;
//         timer_queue queue;
//         queue.insert(later);
//         queue.insert(soon);
//         return queue.pop_due(15) == &soon && queue.pop_due(15) == nullptr && queue.remove(later) && !queue.remove(soon);
//     }
#pragma once

#include "inflight/arch/arch.hpp"
#include "inflight/async/operation.hpp"

#include <cstdint>

namespace inflight::async {

// An operation that becomes ready at a point in time.
struct timer : operation {
    arch::ticks deadline = arch::no_deadline; // by executor::now()
    std::uint64_t number = 0;                 // which insertion this was: equal deadlines come in that order

    // Links of the heap. `previous` is the sibling before this one or, of a first child, the parent.
    timer* first_child = nullptr;
    timer* next_sibling = nullptr;
    timer* previous = nullptr;
};

class timer_queue {
  public:
    // The earliest deadline; arch::no_deadline if there is none.
    [[nodiscard]] arch::ticks earliest() const noexcept { return earliest_; }

    // O(1).
    void insert(timer& node) noexcept {
        node.number = inserted_++;
        node.first_child = nullptr;
        node.next_sibling = nullptr;
        node.previous = nullptr;
        set_root(root_ == nullptr ? &node : meld(*root_, node));
    }

    // Takes out the earliest timer if its deadline is not after `now`; nullptr if there is none. Of equal deadlines,
    // the one that was inserted first. O(log n) amortised.
    timer* pop_due(arch::ticks now) noexcept {
        if (earliest_ > now || root_ == nullptr) {
            return nullptr;
        }
        timer* const due = root_;
        set_root(combine(due->first_child));
        return due;
    }

    // Takes a timer out before its time; false if it is not here, because it has been taken out. O(log n) amortised.
    bool remove(timer& node) noexcept {
        if (&node == root_) {
            set_root(combine(node.first_child));
            return true;
        }
        if (node.previous == nullptr) {
            return false;
        }
        timer*& link = node.previous->first_child == &node ? node.previous->first_child : node.previous->next_sibling;
        link = node.next_sibling;
        if (node.next_sibling != nullptr) {
            node.next_sibling->previous = node.previous;
        }
        node.previous = nullptr;
        if (timer* const below = combine(node.first_child)) {
            set_root(meld(*root_, *below));
        }
        return true;
    }

  private:
    static bool precedes(const timer& one, const timer& other) noexcept {
        return one.deadline < other.deadline || (one.deadline == other.deadline && one.number < other.number);
    }

    static timer* meld(timer& one, timer& other) noexcept {
        timer& parent = precedes(other, one) ? other : one;
        timer& child = &parent == &one ? other : one;
        child.next_sibling = parent.first_child;
        child.previous = &parent;
        if (parent.first_child != nullptr) {
            parent.first_child->previous = &child;
        }
        parent.first_child = &child;
        return &parent;
    }

    // Pairs up siblings from left to right, then melds the pairs from right to left. The result has no parent.
    static timer* combine(timer* sibling) noexcept {
        timer* pairs = nullptr;
        while (sibling != nullptr) {
            timer* const first = sibling;
            timer* const second = first->next_sibling;
            sibling = second == nullptr ? nullptr : second->next_sibling;
            timer* const pair = second == nullptr ? first : meld(*first, *second);
            pair->next_sibling = pairs;
            pairs = pair;
        }
        timer* root = nullptr;
        while (pairs != nullptr) {
            timer* const rest = pairs->next_sibling;
            pairs->next_sibling = nullptr;
            root = root == nullptr ? pairs : meld(*root, *pairs);
            pairs = rest;
        }
        if (root != nullptr) {
            root->previous = nullptr;
        }
        return root;
    }

    void set_root(timer* root) noexcept {
        root_ = root;
        earliest_ = root == nullptr ? arch::no_deadline : root->deadline;
    }

    timer* root_ = nullptr;
    arch::ticks earliest_ = arch::no_deadline; // the root's deadline: one load in each round
    std::uint64_t inserted_ = 0;
};

} // namespace inflight::async
