#include "bench/fio/job.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <limits>

namespace inflight::bench {

namespace {

// ---- Values, as fio 3.33 reads them. Values that fio silently misreads ("1.5k" as 1, "10sec" as ten microseconds) are
// refused.

constexpr std::uint64_t max_number = std::numeric_limits<std::int64_t>::max(); // as in fio, whose numbers are signed

constexpr char lower_case(char letter) noexcept {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
}

bool equal_in_any_case(std::string_view text, std::string_view lower) noexcept {
    return std::equal(text.begin(), text.end(), lower.begin(), lower.end(),
                      [](char a, char b) { return lower_case(a) == b; });
}

// Removes the number at the beginning of `text`. Hexadecimal numbers take no unit.
bool take_number(std::string_view& text, std::uint64_t& value) noexcept {
    const bool hexadecimal = text.starts_with("0x") || text.starts_with("0X");
    if (hexadecimal) {
        text.remove_prefix(2);
    }
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, hexadecimal ? 16 : 10);
    if (error != std::errc{} || value > max_number) {
        return false;
    }
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return !hexadecimal || text.empty();
}

bool multiply(std::uint64_t& value, std::uint64_t factor) noexcept {
    if (value > max_number / factor) {
        return false;
    }
    value *= factor;
    return true;
}

// Parses an integer with fio's unit of bytes, which fio permits for any number. With kb_base=1024, fio swaps the units:
// k is 1024, and kib is 1000. Contrary to its HOWTO, fio reads ki as k.
bool parse_number(std::string_view text, std::uint64_t& value) noexcept {
    if (!take_number(text, value)) {
        return false;
    }
    if (text.empty() || equal_in_any_case(text, "b")) {
        return true;
    }
    const std::size_t power = std::string_view{"kmgtp"}.find(lower_case(text.front()));
    text.remove_prefix(1);
    const bool decimal = equal_in_any_case(text, "ib");
    if (power == std::string_view::npos ||
        !(decimal || text.empty() || equal_in_any_case(text, "b") || equal_in_any_case(text, "i"))) {
        return false;
    }
    std::uint64_t factor = 1;
    for (std::size_t i = 0; i <= power; ++i) {
        factor *= decimal ? 1000 : 1024;
    }
    return multiply(value, factor);
}

template <typename Number>
bool parse_number(std::string_view text, std::uint64_t least, std::uint64_t most, Number& parsed) noexcept {
    std::uint64_t value = 0;
    if (!parse_number(text, value) || value < least || value > most) {
        return false;
    }
    parsed = static_cast<Number>(value);
    return true;
}

// Parses a number of bytes or a percentage, which replaces both earlier values.
bool parse_size(std::string_view text, job_size& parsed) noexcept {
    std::uint64_t value = 0;
    if (text.ends_with('%')) {
        text.remove_suffix(1);
        if (!take_number(text, value) || !text.empty() || value > 100) {
            return false;
        }
        parsed = {.bytes = 0, .percent = static_cast<std::uint32_t>(value)};
        return true;
    }
    if (!parse_number(text, value)) {
        return false;
    }
    parsed = {.bytes = value, .percent = 0};
    return true;
}

// Parses a time in microseconds. A number without a unit counts `unit` microseconds.
bool parse_time(std::string_view text, std::uint64_t unit, std::uint64_t most, std::uint64_t& parsed) noexcept {
    constexpr struct {
        std::string_view name;
        std::uint64_t microseconds;
    } units[] = {{"us", 1},        {"usec", 1},       {"ms", 1'000},          {"msec", 1'000},
                 {"s", 1'000'000}, {"m", 60'000'000}, {"h", 3'600'000'000ul}, {"d", 86'400'000'000ul}};
    std::uint64_t value = 0;
    if (text.find_first_of("xX") != std::string_view::npos || !take_number(text, value)) { // fio: 0x10 is 16 us
        return false;
    }
    std::uint64_t factor = text.empty() ? unit : 0;
    for (const auto& known : units) {
        if (equal_in_any_case(text, known.name)) {
            factor = known.microseconds;
        }
    }
    if (factor == 0 || !multiply(value, factor) || value > most) {
        return false;
    }
    parsed = value;
    return true;
}

// Parses a decimal fraction, in millionths, up to `most` of them.
bool parse_millionths(std::string_view text, std::uint32_t most, std::uint32_t& parsed) noexcept {
    std::uint64_t value = 0;
    int digits = 0;
    int behind_point = -1;
    for (const char letter : text) {
        if (letter == '.' && behind_point < 0) {
            behind_point = 0;
            continue;
        }
        if (letter < '0' || letter > '9' || behind_point == 6) {
            return false;
        }
        value = value * 10 + static_cast<std::uint64_t>(letter - '0');
        if (value > most) {
            return false;
        }
        ++digits;
        behind_point += behind_point >= 0 ? 1 : 0;
    }
    for (int i = std::max(behind_point, 0); i < 6; ++i) {
        value *= 10; // at most 2^32 * 10^6
    }
    if (digits == 0 || value > most) {
        return false;
    }
    parsed = static_cast<std::uint32_t>(value);
    return true;
}

bool parse_switch(std::string_view text, bool& parsed) noexcept {
    if (text != "0" && text != "1") {
        return false;
    }
    parsed = text == "1";
    return true;
}

// The pieces of a text between separators. next() returns false if none is left.
class pieces {
  public:
    pieces(std::string_view text, char separator) noexcept : rest_{text}, separator_{separator} {}

    bool next(std::string_view& piece) noexcept {
        if (over_) {
            return false;
        }
        const std::size_t end = rest_.find(separator_);
        piece = rest_.substr(0, end);
        over_ = end == std::string_view::npos;
        rest_.remove_prefix(over_ ? rest_.size() : end + 1);
        return true;
    }

  private:
    std::string_view rest_;
    char separator_;
    bool over_ = false;
};

// Parses "reads,writes,trims". An empty piece keeps the earlier value. Missing pieces are equal to the last one, unless
// that is empty.
template <typename Value, typename Parse>
bool parse_directions(std::string_view text, std::array<Value, directions>& parsed, std::array<bool, directions>& given,
                      Parse parse) noexcept {
    std::array<Value, directions> values = parsed;
    given = {};
    std::size_t count = 0;
    pieces list{text, ','};
    for (std::string_view piece; list.next(piece); ++count) {
        if (count == directions) {
            return false;
        }
        if (!piece.empty()) {
            if (!parse(piece, values[count])) {
                return false;
            }
            given[count] = true;
        }
    }
    if (given[count - 1]) {
        for (std::size_t i = count; i < directions; ++i) {
            values[i] = values[count - 1];
            given[i] = true;
        }
    }
    parsed = values;
    return std::find(given.begin(), given.end(), true) != given.end();
}

// Parses a block size: a multiple of virtio's sectors of 512 bytes.
bool parse_block_size(std::string_view text, std::uint32_t& parsed) noexcept {
    return parse_number(text, 512, job::largest_block, parsed) && parsed % 512 == 0;
}

// Parses "4k/60:64k/40". Sizes without a share, or with share 0, get equal parts of the remaining percentage. The
// remainder of that division goes to the largest share (the last of several), because fio searches for the size in the
// order of shares and takes the last one if none fits.
bool parse_split(std::string_view text, block_sizes& parsed) noexcept {
    block_sizes sizes{.shares = {}, .count = 0};
    std::uint32_t together = 0;
    std::uint32_t without = 0;
    pieces list{text, ':'};
    for (std::string_view piece; list.next(piece); ++sizes.count) {
        if (sizes.count == block_sizes::most) {
            return false;
        }
        block_size_share& share = sizes.shares[sizes.count];
        const std::size_t slash = piece.find('/');
        if (!parse_block_size(piece.substr(0, slash), share.bytes)) {
            return false;
        }
        if (slash != std::string_view::npos && slash + 1 != piece.size()) {
            std::uint64_t percent = 0;
            piece.remove_prefix(slash + 1);
            if (!take_number(piece, percent) || !piece.empty() || percent > 100) {
                return false;
            }
            share.percent = static_cast<std::uint32_t>(percent);
        }
        together += share.percent;
        without += share.percent == 0 ? 1 : 0;
    }
    if (together > 100 || (together < 100 && without == 0)) {
        return false;
    }
    const std::uint32_t part = without == 0 ? 0 : (100 - together) / without;
    block_size_share* largest = sizes.shares.data();
    for (block_size_share& share : std::span{sizes.shares}.first(sizes.count)) {
        share.percent = share.percent == 0 ? part : share.percent;
        if (share.percent >= largest->percent) {
            largest = &share;
        }
    }
    largest->percent += 100 - together - part * without;
    parsed = sizes;
    return true;
}

bool parse_harts(std::string_view text, std::uint64_t& parsed) noexcept {
    std::uint64_t harts = 0;
    pieces list{text, ','};
    for (std::string_view piece; list.next(piece);) {
        const std::size_t dash = piece.find('-');
        std::string_view first_text = piece.substr(0, dash);
        std::uint64_t first = 0;
        if (!take_number(first_text, first) || !first_text.empty()) {
            return false;
        }
        std::uint64_t last = first;
        if (dash != std::string_view::npos) {
            piece.remove_prefix(dash + 1);
            if (!take_number(piece, last) || !piece.empty()) {
                return false;
            }
        }
        if (first > last || last > 63) {
            return false;
        }
        for (std::uint64_t hart = first; hart <= last; ++hart) {
            harts |= std::uint64_t{1} << hart;
        }
    }
    parsed = harts;
    return true;
}

bool parse_percentiles(std::string_view text, job& parsed) noexcept {
    parsed.percentile_count = 0;
    pieces list{text, ':'};
    for (std::string_view piece; list.next(piece); ++parsed.percentile_count) {
        if (parsed.percentile_count == job::max_percentiles) {
            return false;
        }
        std::uint32_t& each = parsed.percentile_list[parsed.percentile_count];
        if (!parse_millionths(piece, 100'000'000, each) || each == 0) {
            return false;
        }
    }
    std::sort(parsed.percentile_list.begin(), parsed.percentile_list.begin() + parsed.percentile_count);
    return true;
}

bool parse_distribution(std::string_view text, random_distribution& parsed) noexcept {
    constexpr std::uint32_t one = 1'000'000;
    const std::size_t colon = text.find(':');
    const std::string_view name = text.substr(0, colon);
    random_distribution read{};
    if (name == "random") {
        parsed = read;
        return colon == std::string_view::npos;
    }
    if (name == "zipf") {
        read = {.kind = random_distribution::shape::zipf, .parameter = 1'100'000}; // fio's default
    } else if (name == "pareto") {
        read = {.kind = random_distribution::shape::pareto, .parameter = 200'000}; // fio's default
    } else {
        return false;
    }
    const bool zipf = read.kind == random_distribution::shape::zipf;
    if (colon != std::string_view::npos &&
        !parse_millionths(text.substr(colon + 1), zipf ? 100 * one : one - 1, read.parameter)) {
        return false;
    }
    parsed = read;
    return read.parameter != 0 && read.parameter != one;
}

// Parses the kernel's names vda, vdb, ...; also Linux's /dev/vda, so that the same file runs there.
bool parse_disk(std::string_view text, std::string_view& parsed) noexcept {
    constexpr std::string_view directory = "/dev/";
    if (text.starts_with(directory)) {
        text.remove_prefix(directory.size());
    }
    parsed = text;
    return text.size() == 3 && text.starts_with("vd") && text[2] >= 'a' && text[2] <= 'z';
}

struct pattern_name {
    std::string_view name;
    job_pattern rw;
};

constexpr pattern_name patterns[] = {
    {"read", job_pattern::read},           {"write", job_pattern::write}, {"randread", job_pattern::randread},
    {"randwrite", job_pattern::randwrite}, {"rw", job_pattern::rw},       {"readwrite", job_pattern::rw},
    {"randrw", job_pattern::randrw},       {"trim", job_pattern::trim},   {"randtrim", job_pattern::randtrim},
    {"trimwrite", job_pattern::trimwrite},
};

bool parse_pattern(std::string_view text, job_pattern& parsed) noexcept {
    for (const pattern_name& candidate : patterns) {
        if (candidate.name == text) {
            parsed = candidate.rw;
            return true;
        }
    }
    return false;
}

// ---- Options.

// A section that is being read.
struct draft {
    job values{};
    std::array<bool, directions> split{}; // bssplit= was given, which overrides bs= in any order
};

struct known_option {
    std::string_view name;
    std::string_view alias; // or empty
    bool flag;              // may stand without a value, which means 1
    bool (*parse)(std::string_view value, draft& into) noexcept;
    const char* right;            // describes the valid values
    const char* effect = nullptr; // why the option has no effect; nullptr if it has one
};

constexpr char a_switch[] = "0 or 1";
constexpr char a_flag[] = "0 or 1, which is also what it means without a value";
constexpr char a_size[] = "a number of bytes, with k, m, g, t or p if you like, or percent of the disk, as in 50%";
constexpr char a_limit[] = "a time with us, ms, s, m, h or d, or else in seconds";

constexpr known_option known_options[] = {
    {"rw", "readwrite", false, [](auto value, draft& into) noexcept { return parse_pattern(value, into.values.rw); },
     "one of read, write, randread, randwrite, rw, readwrite, randrw, trim, randtrim, trimwrite"},
    {"rwmixread", "", false,
     [](auto value, draft& into) noexcept { return parse_number(value, 0, 100, into.values.rwmixread); },
     "a number of percent from 0 to 100, without a sign"},
    {"bs", "blocksize", false,
     [](auto value, draft& into) noexcept {
         std::array<std::uint32_t, directions> sizes{};
         std::array<bool, directions> given{};
         if (!parse_directions(value, sizes, given, parse_block_size)) {
             return false;
         }
         for (std::size_t i = 0; i < directions; ++i) {
             if (given[i] && !into.split[i]) {
                 into.values.bs[i] = {.shares = {block_size_share{.bytes = sizes[i], .percent = 100}}, .count = 1};
             }
         }
         return true;
     },
     "a size from 512 to 64m that is a multiple of 512 (k is 1024 and kib is 1000, as in fio), or up to three with "
     "commas, "
     "for reads, writes and trims"},
    {"bssplit", "", false,
     [](auto value, draft& into) noexcept {
         std::array<bool, directions> given{};
         if (!parse_directions(value, into.values.bs, given, parse_split)) {
             return false;
         }
         for (std::size_t i = 0; i < directions; ++i) {
             into.split[i] = into.split[i] || given[i];
         }
         return true;
     },
     "up to 16 sizes from 512 to 64m, multiples of 512, with their shares, as in 4k/60:64k/40, that add up to 100 "
     "percent, "
     "or up to three such lists with commas, for reads, writes and trims"},
    {"ba", "blockalign", false,
     [](auto value, draft& into) noexcept {
         std::array<bool, directions> given{};
         return parse_directions(value, into.values.blockalign, given, parse_block_size);
     },
     "a size from 512 to 64m that is a multiple of 512, or up to three with commas, for reads, writes and trims"},
    {"random_distribution", "", false,
     [](auto value, draft& into) noexcept { return parse_distribution(value, into.values.distribution); },
     "random, zipf or zipf:THETA (above 0, at most 100, not 1), or pareto or pareto:H (between 0 and 1), with at most "
     "six digits after the point"},
    {"randseed", "", false,
     [](auto value, draft& into) noexcept {
         into.values.randseed_given = true;
         return parse_number(value, into.values.randseed);
     },
     "a number below 2^63"},
    {"norandommap", "", true,
     [](auto value, draft& into) noexcept { return parse_switch(value, into.values.norandommap); }, a_flag},
    {"filename", "", false,
     [](auto value, draft& into) noexcept {
         pieces list{value, ':'};
         for (std::string_view piece; list.next(piece); ++into.values.filename_count) {
             if (into.values.filename_count == job::max_files ||
                 !parse_disk(piece, into.values.filenames[into.values.filename_count])) {
                 return false;
             }
         }
         return true;
     },
     "a disk, vda to vdz, or several with colons, at most 8 together with those that were named before"},
    {"offset", "fileoffset", false,
     [](auto value, draft& into) noexcept { return parse_size(value, into.values.offset); }, a_size},
    {"size", "", false, [](auto value, draft& into) noexcept { return parse_size(value, into.values.size); }, a_size},
    {"io_size", "io_limit", false,
     [](auto value, draft& into) noexcept { return parse_size(value, into.values.io_size); }, a_size},
    {"number_ios", "", false,
     [](auto value, draft& into) noexcept { return parse_number(value, into.values.number_ios); },
     "a number of requests below 2^63"},
    {"runtime", "timeout", false,
     [](auto value, draft& into) noexcept { return parse_time(value, 1'000'000, max_number, into.values.runtime); },
     a_limit},
    {"ramp_time", "", false,
     [](auto value, draft& into) noexcept { return parse_time(value, 1'000'000, max_number, into.values.ramp_time); },
     a_limit},
    {"time_based", "", true,
     [](auto value, draft& into) noexcept { return parse_switch(value, into.values.time_based); }, a_flag},
    {"loops", "", false,
     [](auto value, draft& into) noexcept {
         const bool right = parse_number(value, 0, 0xffff'ffff, into.values.loops);
         into.values.loops = std::max(into.values.loops, 1u); // as in fio
         return right;
     },
     "a number below 2^32"},
    {"iodepth", "", false,
     [](auto value, draft& into) noexcept { return parse_number(value, 1, 65536, into.values.iodepth); },
     "a number of requests from 1 to 65536"},
    {"iodepth_batch", "iodepth_batch_submit", false,
     [](auto value, draft& into) noexcept { return parse_number(value, 0, 65536, into.values.iodepth_batch_submit); },
     "a number of requests from 0, which means iodepth, to 65536"},
    {"iodepth_batch_complete_min", "iodepth_batch_complete", false,
     [](auto value, draft& into) noexcept {
         return parse_number(value, 0, 65536, into.values.iodepth_batch_complete_min);
     },
     "a number of requests from 0 to 65536"},
    {"numjobs", "", false,
     [](auto value, draft& into) noexcept { return parse_number(value, 1, job::max_clones, into.values.numjobs); },
     "a number from 1 to 4096"},
    {"cpus_allowed", "", false,
     [](auto value, draft& into) noexcept { return parse_harts(value, into.values.cpus_allowed); },
     "a list of harts from 0 to 63, as in 0,2-3"},
    {"hipri", "", true, [](auto value, draft& into) noexcept { return parse_switch(value, into.values.hipri); },
     a_flag},
    {"rate_iops", "", false,
     [](auto value, draft& into) noexcept {
         std::array<bool, directions> given{};
         return parse_directions(value, into.values.rate_iops, given, [](auto piece, std::uint64_t& rate) {
             return parse_number(piece, 0, 0xffff'ffff, rate);
         });
     },
     "a number of requests a second below 2^32 (0: no limit), or up to three with commas, for reads, writes and trims"},
    {"thinktime", "", false,
     [](auto value, draft& into) noexcept { return parse_time(value, 1, 0xffff'ffff, into.values.thinktime); },
     "a time below 2^32 us with us, ms, s, m, h or d, or else in microseconds"},
    {"verify", "", false,
     [](auto value, draft& into) noexcept {
         into.values.verify = value == "crc32c" || value == "crc32c-intel";
         return into.values.verify || value == "0";
     },
     "crc32c or 0: no other checksum of fio's is supported here"},
    {"do_verify", "", false,
     [](auto value, draft& into) noexcept { return parse_switch(value, into.values.do_verify); }, a_switch},
    {"fsync", "", false,
     [](auto value, draft& into) noexcept { return parse_number(value, 0, 0xffff'ffff, into.values.fsync); },
     "a number of writes below 2^32"},
    {"fdatasync", "", false,
     [](auto value, draft& into) noexcept { return parse_number(value, 0, 0xffff'ffff, into.values.fdatasync); },
     "a number of writes below 2^32"},
    {"percentile_list", "", false,
     [](auto value, draft& into) noexcept { return parse_percentiles(value, into.values); },
     "up to 20 numbers above 0 and up to 100 with colons, as in 50:99:99.9, with at most six digits after the point"},
    {"group_reporting", "", true,
     [](auto value, draft& into) noexcept { return parse_switch(value, into.values.group_reporting); }, a_flag},
    {"stonewall", "wait_for_previous", true,
     [](auto value, draft& into) noexcept { return parse_switch(value, into.values.stonewall); }, a_flag},
    {"name", "", false, [](auto value, draft& into) noexcept { return !(into.values.name = value).empty(); }, "a name"},

    // Options with no effect here.
    {"description", "", false, [](auto value, draft&) noexcept { return !value.empty(); }, "some text",
     "it is not reported"},
    {"ioengine", "", false, [](auto value, draft&) noexcept { return !value.empty(); }, "a name",
     "requests go straight to the driver"},
    {"direct", "", false, [](auto value, draft&) noexcept { return value == "1"; },
     "1: there is no page cache to go through", "there is no page cache to go through"},
    {"buffered", "", false, [](auto value, draft&) noexcept { return value == "0"; },
     "0: there is no page cache to go through", "there is no page cache to go through"},
    {"invalidate", "", false, [](auto value, draft&) noexcept { return value == "0" || value == "1"; }, a_switch,
     "there is no page cache to invalidate"},
    {"thread", "", true, [](auto value, draft&) noexcept { return value == "0" || value == "1"; }, a_flag,
     "there are no processes that threads could replace"},
    {"randrepeat", "", false, [](auto value, draft&) noexcept { return value == "1"; },
     "1: what is random here repeats with its seed", "what is random here repeats with its seed"},
    {"kb_base", "", false, [](auto value, draft&) noexcept { return value == "1024"; },
     "1024: fio's other units are not supported here", "units are these"},
};
static_assert(std::size(known_options) <= job::max_options);

// All options of fio, one a line, to tell unsupported options from misspelt ones.
constexpr std::string_view fio_option_names =
#include "bench/fio/option_names.inc"
    ;

bool is_option_of_fio(std::string_view name) noexcept {
    pieces names{fio_option_names, '\n'};
    for (std::string_view each; names.next(each);) {
        if (each == name) {
            return true;
        }
    }
    return false;
}

// A repeated option replaces the earlier one.
void record(job& into, std::string_view name, std::string_view value) noexcept {
    std::size_t place = 0;
    while (place < into.option_count && into.options[place].name != name) {
        ++place;
    }
    into.options[place] = {.name = name, .value = value}; // there is room: max_options, above
    into.option_count = std::max(into.option_count, place + 1);
}

const known_option* find_option(std::string_view name) noexcept {
    for (const known_option& known : known_options) {
        if (known.name == name || (!known.alias.empty() && known.alias == name)) {
            return &known;
        }
    }
    return nullptr;
}

// Returns the Levenshtein distance of two names, ignoring case.
std::size_t distance(std::string_view from, std::string_view to) noexcept {
    std::array<std::size_t, 64> row{};
    for (std::size_t i = 0; i <= to.size(); ++i) {
        row[i] = i;
    }
    for (const char letter : from) {
        std::size_t diagonal = row[0]++;
        for (std::size_t i = 1; i <= to.size(); ++i) {
            const std::size_t replaced = diagonal + (lower_case(letter) == to[i - 1] ? 0 : 1);
            diagonal = row[i];
            row[i] = std::min({replaced, row[i] + 1, row[i - 1] + 1});
        }
    }
    return row[to.size()];
}

// Returns the nearest option, or an empty name if none is near enough.
std::string_view nearest_option(std::string_view name) noexcept {
    if (name.size() > 40) {
        return {};
    }
    std::string_view nearest;
    std::size_t least = std::max<std::size_t>(name.size() / 3, 1) + 1;
    for (const known_option& known : known_options) {
        for (const std::string_view candidate : {known.name, known.alias}) {
            const std::size_t far = candidate.empty() ? least : distance(name, candidate);
            if (far < least) {
                least = far;
                nearest = candidate;
            }
        }
    }
    return nearest;
}

// ---- Lines.

constexpr std::string_view white_space = " \t\n\v\f\r";

bool is_control(char letter) noexcept {
    const auto code = static_cast<unsigned char>(letter);
    return code < ' ' || code == 0x7f;
}

// Removes white space at both ends; like fio, also control characters at the end.
std::string_view stripped(std::string_view text) noexcept {
    text.remove_prefix(std::min(text.find_first_not_of(white_space), text.size()));
    while (!text.empty() && (text.back() == ' ' || is_control(text.back()))) {
        text.remove_suffix(1);
    }
    return text;
}

int printable_length(std::string_view text) noexcept {
    return static_cast<int>(std::min<std::size_t>(text.size(), 60));
}

// Replaces control characters by blanks, because the text is foreign and a console may obey them.
void make_printable(std::span<char> text) noexcept {
    for (char& letter : text) {
        if (letter == '\0') {
            return;
        }
        letter = is_control(letter) && letter != '\n' ? ' ' : letter;
    }
}

class reader {
  public:
    reader(job_list& parsed, std::span<char> message, std::span<char> notes) noexcept
        : parsed_{parsed}, message_{message}, notes_{notes} {
        if (!notes_.empty()) {
            notes_[0] = '\0';
        }
    }

    bool read(std::string_view text) noexcept {
        parsed_.count = 0;
        pieces lines{text, '\n'};
        for (std::string_view line; lines.next(line);) {
            ++line_;
            line = stripped(line.substr(0, line.find_first_of(";#")));
            if (!line.empty() && !(line.front() == '[' ? section(line) : option(line))) {
                return false;
            }
        }
        if (!end_section()) {
            return false;
        }
        if (parsed_.count == 0) {
            std::snprintf(message_.data(), message_.size(), "there is no job: a line [NAME] begins one");
            return false;
        }
        return true;
    }

  private:
    enum class place { before_sections, in_global, in_job };

    bool refuse(std::uint32_t line, std::string_view text, const char* why) noexcept {
        std::snprintf(message_.data(), message_.size(), "line %u: %.*s: %s", line, printable_length(text), text.data(),
                      why);
        make_printable(message_);
        return false;
    }

    void note(std::uint32_t line, std::string_view text, const char* why) noexcept {
        const int length = std::snprintf(notes_.data(), notes_.size(), "line %u: %.*s: %s\n", line,
                                         printable_length(text), text.data(), why);
        if (static_cast<std::size_t>(length) >= notes_.size()) { // no half sentences
            if (!notes_.empty()) {
                notes_[0] = '\0';
            }
            notes_ = {};
            return;
        }
        make_printable(notes_);
        notes_ = notes_.subspan(static_cast<std::size_t>(length));
    }

    bool section(std::string_view line) noexcept {
        if (!end_section()) {
            return false;
        }
        if (!line.ends_with(']') || line.size() < 3) {
            return refuse(line_, line, "a section is a name between [ and ]");
        }
        const std::string_view name = line.substr(1, line.size() - 2);
        if (name.starts_with("global")) { // as in fio, whatever follows
            place_ = place::in_global;
            return true;
        }
        if (parsed_.count == job_list::most) {
            return refuse(line_, line, "there are too many jobs: a file has at most 64");
        }
        place_ = place::in_job;
        job_ = global_;
        job_.values.name = name;
        job_.values.line = line_;
        return true;
    }

    bool option(std::string_view line) noexcept {
        if (place_ == place::before_sections) {
            return refuse(line_, line, "an option stands before the first section; a line [NAME] begins one");
        }
        if (line.starts_with("include")) { // as in fio, whatever follows
            return refuse(line_, line, "include is not supported here; put the lines of the other file in its place");
        }
        const std::size_t equals = line.find('=');
        const std::string_view name = stripped(line.substr(0, equals));
        if (name.empty()) {
            return refuse(line_, line, "the name of an option is missing before =");
        }
        const known_option* const known = find_option(name);
        if (known == nullptr) {
            return refuse_name(line, name);
        }
        const bool bare = equals == std::string_view::npos;
        const std::string_view value = bare ? std::string_view{} : stripped(line.substr(equals + 1));
        draft& into = place_ == place::in_global ? global_ : job_;
        const std::size_t files = into.values.filename_count;
        if ((bare && !known->flag) || !known->parse(bare ? std::string_view{"1"} : value, into)) {
            char why[320];
            std::snprintf(why, sizeof why, "%s is %s", known->name.data(), known->right);
            return refuse(line_, line, why);
        }
        record(into.values, known->name, value);
        if (known->effect != nullptr) {
            char why[160];
            std::snprintf(why, sizeof why, "changes nothing here: %s", known->effect);
            note(line_, line, why);
        } else if (known->name == "name" && place_ == place::in_global) {
            note(line_, line, "changes nothing: a job has the name of its own section");
        } else if (known->name == "filename" && files != 0) {
            note(line_, line, "is added to the disks that were named before, as in fio");
        }
        return true;
    }

    bool refuse_name(std::string_view line, std::string_view name) noexcept {
        char why[160];
        if (is_option_of_fio(name)) {
            std::snprintf(why, sizeof why, "%.*s is an option of fio that is not supported here",
                          printable_length(name), name.data());
        } else if (const std::string_view nearest = nearest_option(name); !nearest.empty()) {
            std::snprintf(why, sizeof why, "%.*s is unknown; the nearest known option is %s", printable_length(name),
                          name.data(), nearest.data());
        } else {
            std::snprintf(why, sizeof why, "%.*s is no option of fio", printable_length(name), name.data());
        }
        return refuse(line_, line, why);
    }

    // Completes the job: resolves dependencies between options as fio does.
    bool end_section() noexcept {
        if (place_ != place::in_job) {
            return true;
        }
        job& done = job_.values;
        std::uint32_t smallest = done.bs[0].smallest();
        for (const block_sizes& sizes : done.bs) {
            smallest = std::min(smallest, sizes.smallest());
        }
        if (done.size.bytes != 0 && done.size.bytes < smallest) {
            char why[80];
            std::snprintf(why, sizeof why, "size is less than the smallest block size, %u bytes", smallest);
            return refuse(done.line, done.name, why);
        }
        for (std::size_t i = 0; i < directions; ++i) {
            if (!is_random(done.rw)) {
                done.blockalign[i] = 0;
            } else if (done.blockalign[i] != 0 && done.blockalign[i] != done.bs[i].smallest()) {
                done.norandommap = true;
            }
        }
        if (done.distribution.kind != random_distribution::shape::random) {
            done.norandommap = true;
        }
        if (done.iodepth_batch_submit == 0 || done.iodepth_batch_submit > done.iodepth) {
            done.iodepth_batch_submit = done.iodepth;
        }
        done.iodepth_batch_complete_min = std::min(done.iodepth_batch_complete_min, done.iodepth);
        if (done.time_based && done.runtime == 0) {
            done.time_based = false;
            note(done.line, done.name, "time_based changes nothing without runtime");
        }
        parsed_.jobs[parsed_.count++] = done;
        return true;
    }

    job_list& parsed_;
    std::span<char> message_;
    std::span<char> notes_;
    std::uint32_t line_ = 0;
    place place_ = place::before_sections;
    draft global_{};
    draft job_{};
};

} // namespace

const char* to_string(job_pattern rw) noexcept {
    for (const pattern_name& candidate : patterns) {
        if (candidate.rw == rw) {
            return candidate.name.data();
        }
    }
    return "unknown";
}

std::uint32_t block_sizes::smallest() const noexcept {
    std::uint32_t least = shares[0].bytes;
    for (const block_size_share& share : std::span{shares}.first(count)) {
        least = std::min(least, share.bytes);
    }
    return least;
}

std::uint32_t block_sizes::largest() const noexcept {
    std::uint32_t max_bytes = shares[0].bytes;
    for (const block_size_share& share : std::span{shares}.first(count)) {
        max_bytes = std::max(max_bytes, share.bytes);
    }
    return max_bytes;
}

bool parse_job_file(std::string_view text, job_list& parsed, std::span<char> message, std::span<char> notes) noexcept {
    reader file{parsed, message, notes};
    return file.read(text);
}

} // namespace inflight::bench
