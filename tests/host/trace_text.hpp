// The records of all harts, as the text that a kernel writes: for tests that leave a picture of what happened. The program
// is linked to inflight_traced; src/launcher/trace_json.py makes the picture.
#pragma once

#include "async/trace.hpp"

#include <string>

namespace inflight::tests {

// Ends the recording; trace::restart() begins the next.
inline std::string trace_text() {
    std::string text;
    trace::write([](void* to, std::string_view line) noexcept { *static_cast<std::string*>(to) += line; }, &text);
    return text;
}

} // namespace inflight::tests
