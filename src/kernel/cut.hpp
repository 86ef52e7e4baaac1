// Splits text without string_view::find, which needs functions of a C library.
#pragma once

#include <cstddef>
#include <string_view>

namespace inflight::kernel {

// Returns the index of the first `wanted`, or the size of the text.
[[nodiscard]] constexpr std::size_t find_character(std::string_view within, char wanted) noexcept {
    std::size_t index = 0;
    while (index < within.size() && within[index] != wanted) {
        ++index;
    }
    return index;
}

// Removes the text up to the first `separator` from `rest`, with the separator, and returns it without.
constexpr std::string_view cut(std::string_view& rest, char separator) noexcept {
    const std::size_t length = find_character(rest, separator);
    const std::string_view head(rest.data(), length);
    rest.remove_prefix(length < rest.size() ? length + 1 : length);
    return head;
}

} // namespace inflight::kernel
