#include "src/kernel/options.hpp"

#include "drivers/block/virtio_blk.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <iterator>
#include <limits>

namespace inflight::kernel {

namespace {

// A number. A size may have a suffix k, m or g, for powers of 1024.
template <typename Number>
bool parse_number(std::string_view text, Number min, Number max, bool suffix, Number& parsed) noexcept {
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
    if (value < min || value > max) {
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

constexpr choice<crash_kind> crash_kinds[] = {{"null", crash_kind::null},
                                              {"stack", crash_kind::stack},
                                              {"text", crash_kind::text},
                                              {"rodata", crash_kind::rodata},
                                              {"data", crash_kind::data}};

constexpr choice<bool> switches[] = {{"on", true}, {"off", false}, {"1", true}, {"0", false}};

constexpr choice<virtio::feature_set> optional_features[] = {
    {"event_idx", virtio::feature::event_idx},
    {"indirect_desc", virtio::feature::indirect_desc},
    {"ring_packed", virtio::feature::ring_packed},
    {"in_order", virtio::feature::in_order},
    {"access_platform", virtio::feature::access_platform},
    {"order_platform", virtio::feature::order_platform},
    {"notification_data", virtio::feature::notification_data},
    {"notif_config_data", virtio::feature::notif_config_data},
    {"ring_reset", virtio::feature::ring_reset},
    {"seg_max", 1u << 2},
    {"geometry", 1u << 4},
    {"flush", 1u << 9},
    {"topology", 1u << 10},
    {"config_wce", 1u << 11},
    {"mq", 1u << 12},
    {"discard", 1u << 13},
    {"write_zeroes", 1u << 14},
    {"lifetime", 1u << 15},
    {"secure_erase", 1u << 16},
    {"zoned", 1u << 17},
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

int hex_digit(char digit) noexcept {
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    const char lower = static_cast<char>(digit | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// A decoded serial number of a list.
struct serial_name {
    std::array<char, block::virtio_blk::id_length> bytes;
    std::size_t size = 0;
};

// Returns false if it violates the format of names_serial().
bool decode_serial(std::string_view word, serial_name& decoded) noexcept {
    while (!word.empty()) {
        int byte = static_cast<unsigned char>(word.front());
        if (byte == '%') {
            if (word.size() < 3 || hex_digit(word[1]) < 0 || hex_digit(word[2]) < 0) {
                return false;
            }
            byte = hex_digit(word[1]) << 4 | hex_digit(word[2]);
            word.remove_prefix(2);
        }
        word.remove_prefix(1);
        if (byte == 0 || decoded.size == decoded.bytes.size()) {
            return false;
        }
        decoded.bytes[decoded.size++] = static_cast<char>(byte);
    }
    return decoded.size != 0;
}

// Calls `visit` with each serial number of the list until it returns false. Returns false then, and if the list is
// invalid.
template <typename Visit>
bool for_each_serial(std::string_view list, Visit visit) noexcept {
    for (;;) {
        const std::size_t comma = list.find(',');
        serial_name decoded;
        if (!decode_serial(list.substr(0, comma), decoded) ||
            !visit(std::string_view{decoded.bytes.data(), decoded.size})) {
            return false;
        }
        if (comma == std::string_view::npos) {
            return true;
        }
        list.remove_prefix(comma + 1);
    }
}

struct known_option {
    std::string_view key;
    bool (*parse)(std::string_view value, options& parsed) noexcept;
    const char* right; // what a valid value is
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
    {"bytes",
     [](std::string_view value, options& parsed) noexcept {
         return parse_number<std::uint32_t>(value, 1, 64u << 20, true, parsed.bytes);
     },
     "a number of bytes from 1 to 64m"},
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
     "a list, with commas, of event_idx, indirect_desc, ring_packed, in_order, access_platform, order_platform, "
     "notification_data, notif_config_data, ring_reset, seg_max, geometry, flush, topology, config_wce, mq, discard, "
     "write_zeroes, lifetime, secure_erase, zoned"},
    {"interrupts",
     [](std::string_view value, options& parsed) noexcept { return parse_choice(value, routings, parsed.interrupts); },
     "one of on (hart 0 takes them), any (the first hart to claim), off"},
    {"request_timeout",
     [](std::string_view value, options& parsed) noexcept {
         return parse_number<std::uint32_t>(value, 0, 86'400, false, parsed.request_timeout);
     },
     "a number of seconds up to 86400; 0 waits forever"},
    {"strict_lengths",
     [](std::string_view value, options& parsed) noexcept {
         return parse_choice(value, switches, parsed.strict_lengths);
     },
     "0 or 1"},
    {"tasks",
     [](std::string_view value, options& parsed) noexcept { return parse_choice(value, switches, parsed.tasks); },
     "0 or 1"},
    {"floor",
     [](std::string_view value, options& parsed) noexcept { return parse_choice(value, switches, parsed.floor); },
     "on or off"},
    {"kind",
     [](std::string_view value, options& parsed) noexcept { return parse_choice(value, crash_kinds, parsed.kind); },
     "what crash does: one of null, stack, text, rodata, data"},
    {"flush",
     [](std::string_view value, options& parsed) noexcept { return parse_choice(value, switches, parsed.flush); },
     "on or off"},
    {"hold",
     [](std::string_view value, options& parsed) noexcept { return parse_choice(value, switches, parsed.hold); },
     "0 or 1"},
    {"overwrite",
     [](std::string_view value, options& parsed) noexcept {
         parsed.overwrite = value;
         return for_each_serial(value, [](std::string_view) noexcept { return true; });
     },
     "a list, with commas, of serial numbers of 1 to 20 bytes, with %XX for a space, a comma or a percent sign"},
    {"icount",
     [](std::string_view value, options& parsed) noexcept { return parse_choice(value, switches, parsed.icount); },
     "0 or 1"},
};

// Parameters of Linux (its Documentation/admin-guide/kernel-parameters.txt) that loaders and users give to any kernel.
// Some are Linux's only without a value: "rw=randread" is ours.
struct linux_word {
    std::string_view key;
    enum class form : std::uint8_t { any, alone } form = form::any;
};
constexpr auto alone = linux_word::form::alone;

constexpr linux_word linux_words[] = {
    {"console"},
    {"earlycon"},
    {"earlyprintk"},
    {"quiet", alone},
    {"debug", alone},
    {"loglevel"},
    {"ignore_loglevel", alone},
    {"log_buf_len"},
    {"keep_bootcon", alone},
    {"splash"},
    {"nosplash", alone},
    {"root"},
    {"rootfstype"},
    {"rootflags"},
    {"rootwait"},
    {"rootdelay"},
    {"ro", alone},
    {"rw", alone},
    {"init"},
    {"rdinit"},
    {"initrd"},
    {"noinitrd", alone},
    {"initcall_debug", alone},
    {"nfsroot"},
    {"nfsaddrs"},
    {"ip"},
    {"resume"},
    {"noresume", alone},
    {"panic"},
    {"panic_on_warn"},
    {"oops"},
    {"reboot"},
    {"mem"},
    {"memmap"},
    {"maxcpus"},
    {"nr_cpus"},
    {"possible_cpus"},
    {"nosmp", alone},
    {"isolcpus"},
    {"nohz"},
    {"nohz_full"},
    {"rcu_nocbs"},
    {"hugepages"},
    {"hugepagesz"},
    {"default_hugepagesz"},
    {"transparent_hugepage"},
    {"cma"},
    {"crashkernel"},
    {"swiotlb"},
    {"iommu"},
    {"pci"},
    {"acpi"},
    {"efi"},
    {"kaslr", alone},
    {"nokaslr", alone},
    {"mitigations"},
    {"security"},
    {"selinux"},
    {"apparmor"},
    {"audit"},
    {"lsm"},
    {"nomodule", alone},
    {"modprobe"},
    {"module_blacklist"},
    {"clocksource"},
    {"no_timer_check", alone},
    {"noreplace-smp", alone},
    {"nowatchdog", alone},
    {"sysrq_always_enabled", alone},
    {"kgdboc"},
    {"ftrace"},
    {"trace_event"},
    {"single", alone},
    {"emergency", alone},
    {"BOOT_IMAGE"},
};

// The edit distance of two words; `max` + 1 if one of them is too long to be one of ours.
std::size_t distance(std::string_view one, std::string_view other, std::size_t max) noexcept {
    constexpr std::size_t longest = 32;
    if (one.size() > longest || other.size() > longest) {
        return max + 1;
    }
    std::size_t row[longest + 1] = {};
    for (std::size_t j = 0; j <= other.size(); ++j) {
        row[j] = j;
    }
    for (std::size_t i = 1; i <= one.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= other.size(); ++j) {
            const std::size_t changed = diagonal + (one[i - 1] == other[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({changed, row[j] + 1, row[j - 1] + 1});
        }
    }
    return row[other.size()];
}

// Returns whether the word is probably a misspelling of one of our keys.
bool looks_like_ours(std::string_view key) noexcept {
    static constexpr std::size_t slips = 2;
    return std::any_of(std::begin(known_options), std::end(known_options), [key](const known_option& known) {
        return distance(known.key, key, slips) <= std::min(slips, known.key.size() / 2);
    });
}

// A parameter of a Linux module or of a user program: "virtio_mmio.device", "systemd.unit".
bool is_dotted(std::string_view key) noexcept {
    const std::size_t dot = key.find('.');
    return dot != 0 && dot < key.size() - 1 && std::all_of(key.begin(), key.end(), [](char each) {
               return (each >= 'a' && each <= 'z') || (each >= 'A' && each <= 'Z') || (each >= '0' && each <= '9') ||
                      each == '_' || each == '-' || each == '.';
           });
}

bool is_for_linux(std::string_view key, bool has_value) noexcept {
    for (const linux_word& known : linux_words) {
        if (known.key == key) {
            return known.form == linux_word::form::any || !has_value;
        }
    }
    return is_dotted(key) && !looks_like_ours(key);
}

// A word ends at white space outside double quotes, as in Linux.
std::size_t word_length(std::string_view line, std::string_view white_space) noexcept {
    bool quoted = false;
    std::size_t length = 0;
    while (length < line.size() && (quoted || white_space.find(line[length]) == std::string_view::npos)) {
        quoted ^= line[length++] == '"';
    }
    return quoted ? std::min(line.find_first_of(white_space), line.size())
                  : length; // an unclosed quote is an ordinary character
}

int printable_length(std::string_view text) noexcept {
    return static_cast<int>(text.size() < 80 ? text.size() : 80);
}

} // namespace

bool names_serial(std::string_view list, std::string_view serial) noexcept {
    bool found = false;
    static_cast<void>(for_each_serial(list, [&](std::string_view named) noexcept {
        found = named == serial;
        return !found;
    }));
    return found;
}

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
        const std::string_view word = line.substr(0, word_length(line, white_space));
        line.remove_prefix(word.size());
        if (word == "--") { // the rest is for Linux's first process
            parsed.for_linux.push_back(word);
            return true;
        }

        const std::size_t equals = word.find('=');
        const std::string_view key = word.substr(0, equals);
        const std::string_view value = equals == std::string_view::npos ? std::string_view{} : word.substr(equals + 1);
        const known_option* found = nullptr;
        for (const known_option& known : known_options) {
            if (known.key == key) {
                found = &known;
            }
        }
        if ((found == nullptr || equals == std::string_view::npos) &&
            is_for_linux(key, equals != std::string_view::npos)) {
            parsed.for_linux.push_back(word);
            continue;
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
