#include "src/options.hpp"

#include <charconv>
#include <cstdio>
#include <limits>

namespace inflight::kernel {

namespace {

// A number, with k, m or g for powers of 1024 behind it where sizes are meant.
template <typename Number>
bool parse_number(std::string_view text, Number least, Number most, bool suffix, Number& parsed) noexcept {
    unsigned shift = 0;
    if (suffix && !text.empty()) {
        switch (text.back()) {
        case 'k':
        case 'K': shift = 10; break;
        case 'm':
        case 'M': shift = 20; break;
        case 'g':
        case 'G': shift = 30; break;
        default: break;
        }
        if (shift != 0) {
            text.remove_suffix(1);
        }
    }
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() ||
        value > std::numeric_limits<std::uint64_t>::max() >> shift) {
        return false;
    }
    value <<= shift;
    if (value < least || value > most) {
        return false;
    }
    parsed = static_cast<Number>(value);
    return true;
}

template <typename Value>
struct choice {
    std::string_view name;
    Value value;
};

template <typename Value, std::size_t count>
bool parse_choice(std::string_view text, const choice<Value> (&choices)[count], Value& parsed) noexcept {
    for (const choice<Value>& candidate : choices) {
        if (candidate.name == text) {
            parsed = candidate.value;
            return true;
        }
    }
    return false;
}

constexpr choice<access_pattern> patterns[] = {
    {"randread", access_pattern::random_read}, {"randwrite", access_pattern::random_write},
    {"read", access_pattern::sequential_read}, {"write", access_pattern::sequential_write},
    {"randrw", access_pattern::random_mixed},
};

constexpr choice<async::poll_mode> poll_modes[] = {
    {"off", async::poll_mode::off}, {"adaptive", async::poll_mode::adaptive}, {"always", async::poll_mode::always}};

constexpr choice<interrupt_routing> routings[] = {
    {"on", interrupt_routing::first_hart}, {"any", interrupt_routing::any_hart}, {"off", interrupt_routing::nobody}};

constexpr choice<bool> switches[] = {{"on", true}, {"off", false}, {"1", true}, {"0", false}};

constexpr choice<virtio::feature_set> optional_features[] = {
    {"event_idx", virtio::feature::event_idx},
    {"indirect_desc", virtio::feature::indirect_desc},
    {"seg_max", 1u << 2},
    {"flush", 1u << 9},
    {"topology", 1u << 10},
    {"config_wce", 1u << 11},
    {"mq", 1u << 12},
    {"discard", 1u << 13},
    {"write_zeroes", 1u << 14},
};

bool parse_features(std::string_view text, virtio::feature_set& parsed) noexcept {
    parsed = 0;
    if (text.empty()) {
        return true;
    }
    for (;;) {
        const std::size_t comma = text.find(',');
        virtio::feature_set bit = 0;
        if (!parse_choice(text.substr(0, comma), optional_features, bit)) {
            return false;
        }
        parsed |= bit;
        if (comma == std::string_view::npos) {
            return true;
        }
        text.remove_prefix(comma + 1);
    }
}

struct known_option {
    std::string_view key;
    bool (*parse)(std::string_view value, options& parsed) noexcept;
    const char* right; // what a right value is
};

constexpr known_option known_options[] = {
    {"program", [](std::string_view value, options& parsed) noexcept { return !(parsed.program = value).empty(); },
     "the name of a program"},
    {"depth",
     [](std::string_view value, options& parsed) noexcept {
         return parse_number<std::uint32_t>(value, 1, 65536, false, parsed.depth);
     },
     "a number of requests from 1 to 65536"},
    {"bs",
     [](std::string_view value, options& parsed) noexcept {
         return parse_number<std::uint32_t>(value, 512, 64u << 20, true, parsed.block_size) &&
                parsed.block_size % 512 == 0;
     },
     "a size from 512 to 64m that is a multiple of 512"},
    {"rw", [](std::string_view value, options& parsed) noexcept { return parse_choice(value, patterns, parsed.rw); },
     "one of randread, randwrite, read, write, randrw"},
    {"seconds",
     [](std::string_view value, options& parsed) noexcept {
         return parse_number<std::uint32_t>(value, 1, 3600, false, parsed.seconds);
     },
     "a number from 1 to 3600"},
    {"ios",
     [](std::string_view value, options& parsed) noexcept {
         return parse_number<std::uint64_t>(value, 1, 1'000'000'000'000, true, parsed.ios);
     },
     "a number of requests from 1 to 1000000000000"},
    {"seed",
     [](std::string_view value, options& parsed) noexcept {
         return parse_number<std::uint64_t>(value, 0, ~std::uint64_t{0}, false, parsed.seed);
     },
     "a number below 2^64"},
    {"poll",
     [](std::string_view value, options& parsed) noexcept { return parse_choice(value, poll_modes, parsed.poll); },
     "one of off, adaptive, always"},
    {"queues",
     [](std::string_view value, options& parsed) noexcept {
         return parse_number<std::uint16_t>(value, 1, 64, false, parsed.queues);
     },
     "a number from 1 to 64"},
    {"queue_size",
     [](std::string_view value, options& parsed) noexcept {
         return parse_number<std::uint16_t>(value, 4, 32768, false, parsed.queue_size) &&
                (parsed.queue_size & (parsed.queue_size - 1)) == 0;
     },
     "a power of two from 4 to 32768"},
    {"features_off",
     [](std::string_view value, options& parsed) noexcept { return parse_features(value, parsed.features_off); },
     "a list, with commas, of event_idx, indirect_desc, seg_max, flush, topology, config_wce, mq, discard, "
     "write_zeroes"},
    {"interrupts",
     [](std::string_view value, options& parsed) noexcept { return parse_choice(value, routings, parsed.interrupts); },
     "one of on (hart 0 takes them), any (the first hart to claim), off"},
    {"request_timeout",
     [](std::string_view value, options& parsed) noexcept {
         return parse_number<std::uint32_t>(value, 0, 86'400, false, parsed.request_timeout);
     },
     "a number of seconds up to 86400; 0 waits for ever"},
    {"tasks",
     [](std::string_view value, options& parsed) noexcept { return parse_choice(value, switches, parsed.tasks); },
     "0 or 1"},
    {"floor",
     [](std::string_view value, options& parsed) noexcept { return parse_choice(value, switches, parsed.floor); },
     "on or off"},
    {"icount",
     [](std::string_view value, options& parsed) noexcept { return parse_choice(value, switches, parsed.icount); },
     "0 or 1"},
};

int printable_length(std::string_view text) noexcept {
    return static_cast<int>(text.size() < 80 ? text.size() : 80);
}

} // namespace

const char* to_string(access_pattern rw) noexcept {
    for (const choice<access_pattern>& candidate : patterns) {
        if (candidate.value == rw) {
            return candidate.name.data();
        }
    }
    return "unknown";
}

bool parse_options(std::string_view line, options& parsed, std::span<char> message) noexcept {
    constexpr std::string_view white_space = " \t\n";
    for (;;) {
        const std::size_t begin = line.find_first_not_of(white_space);
        if (begin == std::string_view::npos) {
            return true;
        }
        line.remove_prefix(begin);
        const std::string_view word = line.substr(0, line.find_first_of(white_space));
        line.remove_prefix(word.size());

        const std::size_t equals = word.find('=');
        const std::string_view key = word.substr(0, equals);
        const std::string_view value = equals == std::string_view::npos ? std::string_view{} : word.substr(equals + 1);
        const known_option* found = nullptr;
        for (const known_option& known : known_options) {
            if (known.key == key) {
                found = &known;
            }
        }
        if (found == nullptr) {
            const int length =
                std::snprintf(message.data(), message.size(), "boot argument '%.*s' is unknown; there are",
                              printable_length(word), word.data());
            std::size_t used = static_cast<std::size_t>(length);
            for (const known_option& known : known_options) {
                if (used < message.size()) {
                    used += static_cast<std::size_t>(
                        std::snprintf(message.data() + used, message.size() - used, " %s", known.key.data()));
                }
            }
            return false;
        }
        if (!found->parse(value, parsed)) {
            std::snprintf(message.data(), message.size(), "boot argument '%.*s' is wrong: %s is %s",
                          printable_length(word), word.data(), found->key.data(), found->right);
            return false;
        }
    }
}

} // namespace inflight::kernel
