// Untrusted text, escaped for the console and for a JSON string: a quote, a backslash and each byte that is not
// printable ASCII become \u00XX. So the text cannot start a line, which the host might take for a result, or send
// commands to a terminal.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace inflight::kernel {

// Keeps the first `max` bytes of the text.
template <std::size_t max>
class escaped_text {
  public:
    explicit constexpr escaped_text(std::string_view foreign) noexcept {
        for (const char each : foreign.substr(0, max)) {
            const auto byte = static_cast<unsigned char>(each);
            if (byte < ' ' || byte > '~' || byte == '"' || byte == '\\') {
                constexpr std::string_view digits = "0123456789abcdef";
                for (const char part : {'\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 0xf]}) {
                    text_[size_++] = part;
                }
            } else {
                text_[size_++] = each;
            }
        }
    }

    // Terminated by a NUL.
    [[nodiscard]] constexpr const char* c_str() const noexcept { return text_.data(); }

  private:
    std::array<char, max * 6 + 1> text_{};
    std::size_t size_ = 0;
};

} // namespace inflight::kernel
