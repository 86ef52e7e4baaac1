// Deadlines of one hart: an intrusive pairing heap, its nodes in the frames of those who sleep. Nothing is allocated.
#pragma once

#include "arch/arch.hpp"
#include "async/operation.hpp"

namespace inflight::async {

// An operation that becomes ready at a point in time.
struct timer : operation {
    arch::ticks deadline = arch::no_deadline;

    // Links of the heap.
    timer* first_child = nullptr;
    timer* next_sibling = nullptr;
};

class timer_queue {
  public:
    // The earliest deadline; arch::no_deadline if nobody sleeps.
    [[nodiscard]] arch::ticks earliest() const noexcept {
        return root_ == nullptr ? arch::no_deadline : root_->deadline;
    }

    // O(1).
    void insert(timer& node) noexcept {
        node.first_child = nullptr;
        node.next_sibling = nullptr;
        root_ = root_ == nullptr ? &node : meld(*root_, node);
    }

    // Takes out the earliest timer if its deadline is not after `now`; nullptr if there is none. O(log n) amortised.
    timer* pop_due(arch::ticks now) noexcept {
        if (root_ == nullptr || root_->deadline > now) {
            return nullptr;
        }
        timer* const due = root_;
        root_ = combine(due->first_child);
        return due;
    }

  private:
    static timer* meld(timer& one, timer& other) noexcept {
        timer& parent = other.deadline < one.deadline ? other : one;
        timer& child = &parent == &one ? other : one;
        child.next_sibling = parent.first_child;
        parent.first_child = &child;
        return &parent;
    }

    // Pairs up siblings from left to right, then melds the pairs from right to left.
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
        return root;
    }

    timer* root_ = nullptr;
};

} // namespace inflight::async
