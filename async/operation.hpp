// An operation: one asynchronous step that a coroutine awaits.
//
// It lives where the awaiter lives, which is the awaiting coroutine's frame; nothing is allocated for it. While it is
// pending, exactly one list holds it (a ready list, a line of waiters, a device's slot), linked through `next`.
//
//     bool example() {
//         int calls = 0;
//         callback counting{[](void* count) noexcept { ++*static_cast<int*>(count); }, &calls};
//         operation step;
//         step.continuation = counting.handle();
//         operation_list line;
//         line.push_back(step);
//         line.pop_front()->continuation.resume();
//         return line.empty() && calls == 1;
//     }
#pragma once

#include <coroutine>
#include <cstddef>

namespace inflight::async {

struct operation {
    operation() noexcept {} // leaves `next` as it is: the list that links the operation sets it
    constexpr explicit operation(std::coroutine_handle<> resumed) noexcept : next{nullptr}, continuation{resumed} {}
    operation(const operation&) = delete;
    operation& operator=(const operation&) = delete;

    operation* next;
    std::coroutine_handle<> continuation;
};

// A first-in, first-out list of operations, linked through the operations themselves. Owns nothing. Not for two harts.
class operation_list {
  public:
    operation_list() noexcept = default;
    operation_list(const operation_list&) = delete;
    operation_list& operator=(const operation_list&) = delete;

    [[nodiscard]] bool empty() const noexcept { return head_ == nullptr; }

    [[nodiscard]] operation* front() const noexcept { return head_; }

    // For the report of a broken kernel, which may meet a list in the middle of a change: whether `which` is the last
    // one. Its link leads nowhere.
    [[nodiscard]] bool is_last(const operation& which) const noexcept { return tail_ == &which.next; }

    void push_back(operation& last) noexcept {
        last.next = nullptr;
        *tail_ = &last;
        tail_ = &last.next;
    }

    // Puts a chain at the end, whose last operation's link is nullptr.
    void append(operation& first, operation& last) noexcept {
        *tail_ = &first;
        tail_ = &last.next;
    }

    // Puts many at the end, with the end in a register. Nobody else touches the list until it is destroyed.
    class appender {
      public:
        explicit appender(operation_list& list) noexcept : list_{list}, tail_{list.tail_} {}
        appender(const appender&) = delete;
        appender& operator=(const appender&) = delete;
        ~appender() {
            *tail_ = nullptr;
            list_.tail_ = tail_;
        }

        void push_back(operation& last) noexcept {
            *tail_ = &last;
            tail_ = &last.next;
        }

      private:
        operation_list& list_;
        operation** tail_;
    };

    // The first operation, unlinked; nullptr if there is none.
    operation* pop_front() noexcept {
        operation* const first = head_;
        if (first != nullptr) {
            head_ = first->next;
            if (head_ == nullptr) {
                tail_ = &head_;
            }
        }
        return first;
    }

    // Takes `which` out of the middle; false if it is not here. Linear: it is for stopping what waits, which ends waits
    // in the order in which they began, so that it finds them at the head.
    bool remove(operation& which) noexcept {
        for (operation** link = &head_; *link != nullptr; link = &(*link)->next) {
            if (*link == &which) {
                *link = which.next;
                if (tail_ == &which.next) {
                    tail_ = link;
                }
                return true;
            }
        }
        return false;
    }

    // Empties the list, and returns its first operation; the others follow through `next`.
    operation* take_all() noexcept {
        operation* const first = head_;
        head_ = nullptr;
        tail_ = &head_;
        return first;
    }

  private:
    operation* head_ = nullptr;
    operation** tail_ = &head_;
};

} // namespace inflight::async
