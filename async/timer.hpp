// Deadlines of one hart: an intrusive pairing heap, its nodes in the frames of those who sleep. Nothing is allocated.
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

#include "arch/arch.hpp"
#include "async/operation.hpp"

namespace inflight::async {

// An operation that becomes ready at a point in time.
struct timer : operation {
    arch::ticks deadline = arch::no_deadline;

    // Links of the heap. `previous` is the sibling before this one or, of a first child, the parent.
    timer* first_child = nullptr;
    timer* next_sibling = nullptr;
    timer* previous = nullptr;
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
        node.previous = nullptr;
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

    // Takes a timer out before its time; false if it is not here, because it has been taken out. O(log n) amortised.
    bool remove(timer& node) noexcept {
        if (&node == root_) {
            root_ = combine(node.first_child);
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
            root_ = meld(*root_, *below);
        }
        return true;
    }

  private:
    static timer* meld(timer& one, timer& other) noexcept {
        timer& parent = other.deadline < one.deadline ? other : one;
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

    timer* root_ = nullptr;
};

} // namespace inflight::async
