#pragma once

#include <array>
#include <cstddef>

namespace inflight::kernel {

// A list of limited capacity, which counts the items that it has no room for.
template <class Item, std::size_t capacity>
class bounded_list {
  public:
    void push_back(const Item& item) noexcept {
        if (size_ < capacity) {
            items_[size_++] = item;
        } else {
            ++dropped_;
        }
    }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] bool is_full() const noexcept { return size_ == capacity; }
    // How many items were pushed when the list was full.
    [[nodiscard]] std::size_t dropped() const noexcept { return dropped_; }
    [[nodiscard]] Item& operator[](std::size_t index) noexcept { return items_[index]; }
    [[nodiscard]] const Item& operator[](std::size_t index) const noexcept { return items_[index]; }
    [[nodiscard]] Item* begin() noexcept { return items_.data(); }
    [[nodiscard]] Item* end() noexcept { return items_.data() + size_; }
    [[nodiscard]] const Item* begin() const noexcept { return items_.data(); }
    [[nodiscard]] const Item* end() const noexcept { return items_.data() + size_; }

  private:
    std::array<Item, capacity> items_{};
    std::size_t size_ = 0;
    std::size_t dropped_ = 0;
};

} // namespace inflight::kernel
